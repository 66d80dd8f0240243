"""What happens at a station: kept as records, told to the platforms that take them, found by a recall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Device
from station import ledger, recall
from station.clock import to_ms
from station.commands import SETTABLE
from station.config import BusConfig, load
from station.engine import Engine
from station.model import Command, Kind, Lane, Mark, Outcome, Reading, Reason, Record, Result, StoreError
from station.parameters import catalogue
from station.records import TOLD
from tests.station.conftest import CONFIG, FakeLine, Rig
from uplink.base import Context
from uplink.hj212.link import Hj212Settings, Hj212Uplink
from uplink.hj212.verbs import meaning

START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
KINDS = '"realtime", "minute", "hour", "day"'
ALLOW = '["sample", "check", "reporting", "set_parameter"]'
HERE = [kind for kind in TOLD if kind not in ("alarm", "snapshot")]  # 2005 alone: test_alarms_told.py; HTTPS alone
TELLING = CONFIG.replace('standard = "2017"', 'standard = "2025"').replace(
    "realtime_seconds = 30", f"realtime_seconds = 30\nallow = {ALLOW}\nkinds = [{KINDS}, {', '.join(map(repr, HERE))}]"
)


class Site(Rig):
    """A rig whose reports are worded by HJ 212, and whose instrument can be swapped."""

    def start(self) -> Engine:
        settings = self.loaded.config.uplink[0]
        assert isinstance(settings, Hj212Settings)
        context = Context(
            catalogue=catalogue(),
            zone=self.loaded.zone,
            now=self.clock.now,
            monotonic=self.clock.monotonic,
            secret=self.loaded.secret,
            started=self.clock.now(),
        )
        buses: list[tuple[BusConfig, Sequence[Device], FakeLine]] = [
            (self.loaded.config.bus[0], [self.instrument], FakeLine())
        ]
        uplinks = [(settings, Hj212Uplink(settings, context, self.loaded.systems))]
        return Engine(
            self.loaded, self.open_store(), self.clock, buses=buses, uplinks=uplinks, reader=self.reader,
            trusted=lambda: self.trust,
        )  # fmt: skip

    def run(self, seconds: float, step: float = 1.0) -> None:
        """As the rig does, with the errands of each bus."""
        for _ in range(round(seconds / step)):
            self.work()
            super().run(step, step)

    def work(self) -> None:
        """Let each bus do what waits for it."""
        for poller in self.engine.pollers:
            while not poller._errands.empty():
                poller.turn()

    def keep(self, kind: str, body: Mapping[str, Any], at: datetime | None = None, point: str = "site") -> None:
        self.engine.keep(Record(kind, at or self.clock.now(), body, point), urgent=True)

    def told(self, kind: Kind) -> list[str]:
        """The messages of *kind*, without DataTime."""
        self.engine.commit()
        rows = self.engine.store.query("SELECT text FROM message WHERE kind = ? ORDER BY id", (int(kind),))
        return [text.split(";", 1)[1] for (text,) in rows]

    def ask(self, verb: str, **arguments: str) -> Result:
        """What the desk answers once the bus has come round."""
        results: list[Result] = []
        now = self.clock.now()
        self.engine.desk.submit(Command(verb, "district", "site", arguments, f"{verb} {now}", now), results.append)
        self.work()
        self.engine.tick()
        self.clock.advance(1)
        return results[0]

    def recall(self, kind: str, first: datetime, last: datetime) -> list[str]:
        result = self.ask("recall", kind=kind, **{"from": first.isoformat(), "to": last.isoformat()})
        return [message.text for message in result.records if message is not None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, TELLING)
    yield made
    made.engine.shut_down()


SOME: dict[str, tuple[dict[str, Any], str]] = {
    "equipment": ({"states": {"1": "running"}}, "SB1-RS=1"),
    "equipment_hours": ({"hours": {"1": 5.5}}, "SB1-RT=5.50"),
    "noise": ({"levels": {"noise": 60.0}}, "LA-Data=60.0"),
    "check": (
        {"parameter": "pm25", "value": 98.0, "standard": 100.0, "passed": True},
        "a34004-SampleRd=98.0,a34004-StandardValue=100.0,a34004-ResultType=1",
    ),
    "kept_sample": ({"vase": 4}, "VaseNo=4"),
    "identity": ({"serial": "B", "before": "A", "parameters": ["pm25"]}, "PolId=a34004;a34004-SN=B"),
    "site_info": ({"item": "logger_state", "value": "fault"}, "i22001-Info=2"),
    "seal_head": (
        {"platform": "district", "block": 7, "head": "0c31" * 16, "sealed": "2026-03-01T00:00:00+00:00", "month": ""},
        f"i21001-Info=//seal block 7 head {'0c31' * 16} sealed 2026-03-01T00:00:00+00:00 month -//",
    ),
    "raw": (
        {
            "sampled": "2026-03-01T08:00:00+08:00",
            "completed": "2026-03-01T08:00:20+08:00",
            "values": {"pm25": [1, "N"]},
        },
        "a34004-SampleTime=20260301080000,a34004-CompleteTime=20260301080020,a34004-Avg=1.0,a34004-Flag=N",
    ),
}


@pytest.mark.parametrize("kind", HERE)
def test_a_record_is_told_with_its_commit_and_owed_until_it_is_answered(site: Site, kind: str) -> None:
    """Live like a power-on report, across a power cut, and once."""
    body, text = SOME[kind]
    outbox = site.engine.outboxes["district"]
    outbox.connected()
    site.keep(kind, body)
    assert site.told(TOLD[kind]) == [text]
    (message,) = [m for m in outbox.next(Lane.LIVE, 9) if m.kind is TOLD[kind]]
    assert (message.point, message.version) == ("site", 1)
    site.restart()
    again = site.engine.outboxes["district"]
    again.connected()
    (owed,) = [m for m in again.next(Lane.HISTORY, 9) if m.kind is TOLD[kind]]
    assert (owed.id, owed.text) == (message.id, message.text)
    again.answered([owed.id])
    site.engine.commit()
    assert [m for m in again.next(Lane.HISTORY, 9) if m.kind is TOLD[kind]] == []
    assert site.told(TOLD[kind]) == [text]


def test_a_platform_that_does_not_name_a_kind_is_not_told_and_can_ask(tmp_path: Path) -> None:
    site = Site(tmp_path, CONFIG)
    for kind, (body, _) in SOME.items():
        site.keep(kind, body)
    assert [site.told(kind) for kind in TOLD.values()] == [[]] * len(TOLD)
    (text,) = site.recall("check", START, START + timedelta(hours=1))
    assert text == f"DataTime=20260301080030;{SOME['check'][1]}"
    site.engine.shut_down()


def test_what_was_told_is_recalled_word_for_word_and_what_was_not_is_worded_then(site: Site) -> None:
    """Digits frozen with the message; nothing comes twice, and in the order of time."""
    site.keep("check", SOME["check"][0])
    site.engine.commit()
    with site.engine.store.transaction() as db:
        db.execute("UPDATE message SET text = 'as it was told' WHERE kind = ?", (int(Kind.CHECK),))
    before = Record("check", START - timedelta(hours=2), SOME["check"][0], "site")  # from before the platform took them
    with site.engine.store.transaction():
        site.engine.store.add_records([before])
    found = site.recall("check", START - timedelta(days=1), START + timedelta(days=1))
    assert found == [f"DataTime=20260301060030;{SOME['check'][1]}", "as it was told"]


def test_minute_records_named_by_their_end_are_recalled_by_it_however_long_they_are(tmp_path: Path) -> None:
    """A platform asks with the DataTime it was told, of records from before and after it changed their length."""
    site = Site(tmp_path, TELLING.replace('allow = ["', 'datatime = "end"\nallow = ["set_interval", "'))
    site.clock.advance(30)
    site.run(5 * 60, 30)
    assert site.ask("set_minute_interval", minutes="10").outcome is Outcome.DONE
    site.run(25 * 60, 30)
    told = [f"DataTime={m.text[9:23]}" for m in site.engine.outboxes["district"].recall(
        Kind.MINUTE, "site", START - timedelta(days=1), START + timedelta(days=1))]  # fmt: skip
    assert told[0] == "DataTime=20260301080200"
    assert told[-2:] == ["DataTime=20260301082000", "DataTime=20260301083000"]
    wording = site.engine.senders[0].uplink._wording  # type: ignore[attr-defined]
    for one, data in ((one, one.replace("DataTime=", "")) for one in told):
        asked = meaning("2051", "").arguments(f"BeginTime={data};EndTime={data}", wording)
        assert [text[:23] for text in (m.text for m in site.ask("recall", **asked).records)] == [one]
    first, last = told[0].replace("DataTime", "BeginTime"), told[-1].replace("DataTime", "EndTime")
    asked = meaning("2051", "").arguments(f"{first};{last}", wording)
    assert [m.text[:23] for m in site.ask("recall", **asked).records] == told
    site.engine.shut_down()


def test_results_that_were_told_late_are_recalled_once_and_in_the_order_of_time(site: Site) -> None:
    """A check dated by its instrument may be kept after a younger one."""
    for minutes in (50, 10, 40, 20, 30):
        site.keep("check", SOME["check"][0], START + timedelta(minutes=minutes))
    site.clock.advance(3600)
    site.engine.commit()
    found = site.recall("check", START, START + timedelta(hours=1))
    assert [text[9:23] for text in found] == [f"2026030108{minutes}30" for minutes in (10, 20, 30, 40, 50)]


def test_two_records_of_one_kind_and_point_never_share_a_second(site: Site) -> None:
    for vase in range(3):
        site.keep("kept_sample", {"vase": vase})
    site.engine.commit()
    found = site.recall("equipment", START, START)
    assert found == []
    rows = site.engine.store.records("kept_sample", START, START + timedelta(hours=1))
    assert [(r.at - START, r.body["vase"]) for r in rows] == [(timedelta(seconds=n), n) for n in range(3)]


def test_what_happens_is_never_counted_as_expected(site: Site) -> None:
    site.keep("kept_sample", {"vase": 1})
    site.run(600)
    now = site.clock.now()
    rows = ledger.completeness(site.engine.store, "district", START, now, now, site.loaded.zone)
    assert {row.kind for row in rows} == {*ledger.KINDS} - {Kind.FURNACE}  # of which this platform is told nothing
    assert ledger.gaps(site.engine.store, "district", START, START, now, site.loaded.zone) == []


def test_equipment_is_told_until_the_platform_stops_it(site: Site) -> None:
    """2022 and 2021: what is not told is kept all the same."""
    site.keep("equipment", {"states": {"1": "running"}})
    assert site.told(Kind.EQUIPMENT) == ["SB1-RS=1"]
    assert site.ask("stop_equipment").outcome is Outcome.DONE
    site.keep("equipment", {"states": {"1": "alarm"}})
    assert site.told(Kind.EQUIPMENT) == ["SB1-RS=1"]
    assert site.ask("start_equipment").outcome is Outcome.DONE
    site.keep("equipment", {"states": {"1": "off"}})
    assert site.told(Kind.EQUIPMENT) == ["SB1-RS=1", "SB1-RS=0"]
    assert len(site.recall("equipment", START, START + timedelta(hours=1))) == 3


def test_all_equipment_is_told_again_at_an_interval_where_it_is_wanted(tmp_path: Path) -> None:
    """Every state as it stands, from what this run has seen; kept once, and not while the platform has stopped it."""
    site = Site(tmp_path, TELLING.replace("realtime_seconds = 30", "realtime_seconds = 30\nequipment_seconds = 60"))
    site.run(70)
    assert site.told(Kind.EQUIPMENT) == []  # nothing is watched yet
    site.keep("equipment", {"states": {"1": "running", "2": "off"}})
    site.run(60)
    site.keep("equipment", {"states": {"2": "alarm"}})
    site.run(60)
    assert site.told(Kind.EQUIPMENT) == [
        "SB1-RS=1;SB2-RS=0",
        "SB1-RS=1;SB2-RS=0",
        "SB2-RS=4",
        "SB1-RS=1;SB2-RS=4",
    ]
    assert len(site.engine.store.records("equipment", START, site.clock.now())) == 2
    assert site.ask("stop_equipment").outcome is Outcome.DONE
    site.run(180)
    assert len(site.told(Kind.EQUIPMENT)) == 4
    site.engine.shut_down()


def test_equipment_status_that_a_commit_failed_to_keep_is_told_by_the_next(tmp_path: Path) -> None:
    site = Site(tmp_path, TELLING.replace("realtime_seconds = 30", "realtime_seconds = 30\nequipment_seconds = 600"))
    site.keep("equipment", {"states": {"1": "running"}})
    site.run(500)
    assert site.told(Kind.EQUIPMENT) == ["SB1-RS=1"]
    write, outbox = site.engine.senders[0].outbox.write, site.engine.senders[0].outbox

    def refuse(*args: Any, **more: Any) -> None:
        raise StoreError("station.db: the disk is full")

    outbox.write = refuse  # type: ignore[method-assign]
    site.run(100)
    assert site.engine.store_error
    outbox.write = write  # type: ignore[method-assign]
    site.run(30)
    assert site.told(Kind.EQUIPMENT) == ["SB1-RS=1", "SB1-RS=1"]
    site.engine.shut_down()


# -- hours of a day


def test_the_hours_of_a_day_are_those_it_was_seen_running(tmp_path: Path) -> None:
    """From midnight to midnight of the station's zone; told once, also after a restart."""
    midnight = datetime(2026, 3, 1, 16, tzinfo=UTC)  # 2 March in Beijing
    site = Site(tmp_path, TELLING)  # from 1 March 08:00:30
    site.keep("equipment", {"states": {"1": "running", "2": "off"}}, START)
    site.clock.advance((midnight - START - timedelta(hours=4)).total_seconds())
    site.keep("equipment", {"states": {"1": "alarm", "2": "running"}})
    site.clock.advance(4 * 3600 + 10)
    site.engine.tick()
    assert site.told(Kind.EQUIPMENT_HOURS) == ["SB1-RT=11.99;SB2-RT=4.00"]
    site.restart()
    site.clock.advance(60)
    site.engine.tick()
    assert site.told(Kind.EQUIPMENT_HOURS) == ["SB1-RT=11.99;SB2-RT=4.00"]
    day = midnight - timedelta(days=1)
    assert site.recall("equipment_hours", day, day) == ["DataTime=20260301000000;SB1-RT=11.99;SB2-RT=4.00"]
    site.engine.shut_down()


def test_nothing_counts_as_running_while_the_station_was_off(tmp_path: Path) -> None:
    site = Site(tmp_path, TELLING)
    site.keep("equipment", {"states": {"1": "running"}}, START)
    site.run(60)
    site.engine.shut_down()
    site.clock.advance(6 * 3600)
    site.engine = site.start()
    site.run(60)
    site.clock.advance((datetime(2026, 3, 1, 16, 0, 10, tzinfo=UTC) - site.clock.now()).total_seconds())
    site.engine.tick()
    assert site.told(Kind.EQUIPMENT_HOURS) == ["SB1-RT=9.99"]
    site.engine.shut_down()


# -- raw readings


def test_raw_readings_are_recalled_as_they_were_read(site: Site) -> None:
    """Every poll with its marks; the ends included, at most a window of them in memory."""
    site.run(31)
    site.instrument.show(mark=Mark.T, reason=Reason.ABOVE_RANGE, pm25=900.0)
    site.run(1200)
    site.engine.commit()
    found = site.recall("raw", START, START + timedelta(seconds=1300))
    assert len(found) == len({text.split(";")[0] for text in found}) >= 246
    assert found == sorted(found)
    time = "a34004-SampleTime=20260301080030,a34004-CompleteTime=20260301080030"
    assert f"{time},a34004-Avg=35.0,a34004-Flag=N" in found[0]
    assert "a34004-Avg=900.0,a34004-Flag=T" in found[-1]
    at = START + timedelta(seconds=20)
    assert site.recall("raw", at, at) == [text for text in found if text.startswith("DataTime=20260301080050;")]
    assert site.recall("raw", START - timedelta(days=9), START - timedelta(days=8)) == []
    assert site.recall("raw", START + timedelta(days=8), START + timedelta(days=9)) == []


def test_a_long_search_for_what_is_not_there_lets_the_rest_have_its_turn(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw readings of a point that has none, log lines of an instrument nothing happened to: the link goes on."""
    monkeypatch.setattr(recall, "PAUSE_WINDOWS", 2)
    monkeypatch.setattr(recall, "PAUSE_CHUNKS", 1)
    site.run(3600, 60)
    for _ in range(recall.CHUNK):
        site.engine.note("something", device="another")
    site.engine.commit()
    first, last = START.isoformat(), (START + timedelta(hours=2)).isoformat()
    results: list[Result] = []
    asked = {"kind": "raw", "from": first, "to": last}
    site.engine.desk.submit(Command("recall", "district", "elsewhere", asked, "1", site.clock.now()), results.append)
    asked = {"item": "instrument_log", "parameter": "pm25", "from": first, "to": last}
    site.engine.desk.submit(Command("read_site_info", "district", "site", asked, "2", site.clock.now()), results.append)
    raw, lines = (list(result.records) for result in results)
    assert (set(raw), len(raw)) == ({None}, 3)
    assert lines == [None]


def test_a_recall_of_a_whole_life_of_nothing_ends_soon(site: Site) -> None:
    """The bounds are a platform's: what is not there is not walked through."""
    site.run(30)
    first, last = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    for kind in ("noise", "equipment_hours"):
        assert site.recall(kind, first, last) == []
    assert len(site.recall("raw", first, last)) == 6


# -- who an instrument is, and how it is


class Named:
    """An instrument's answer to who it is."""

    def __init__(self, site: Site, serial: str) -> None:
        self.serial = serial
        site.instrument.actions = {"read_identity": ("pm25", "pm10")}
        site.instrument.act = self.act  # type: ignore[method-assign]

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        assert verb == "read_identity"
        return {"serial": self.serial}


def test_a_swapped_instrument_is_told_once_it_answers_again(site: Site) -> None:
    named = Named(site, "SN-7")
    site.run(30)
    assert site.told(Kind.IDENTITY) == []  # the first one replaces none
    site.instrument.go_silent()
    site.run(60)
    named.serial = "SN-8"
    site.instrument.come_back()
    site.run(90)
    assert site.told(Kind.IDENTITY) == ["PolId=a34004;a34004-SN=SN-8"]
    assert "instrument_swapped" in site.events()
    site.restart()
    site.run(60)
    assert site.told(Kind.IDENTITY) == ["PolId=a34004;a34004-SN=SN-8"]


def test_an_instrument_swapped_while_the_station_was_off_is_told_too(site: Site) -> None:
    named = Named(site, "SN-7")
    site.run(30)
    site.engine.commit()
    site.restart()
    named.serial = "SN-9"
    site.run(30)
    assert site.told(Kind.IDENTITY) == ["PolId=a34004;a34004-SN=SN-9"]


def test_states_and_links_are_told_when_they_changed_and_stay_so(site: Site) -> None:
    site.instrument.show(mark=Mark.M, reason=Reason.STATUS, pm25=1.0)
    site.run(30)
    assert site.told(Kind.SITE_INFO) == ["PolId=a34004;i12001-Info=1", "i22003-Info=1"]  # nobody connects here
    site.instrument.show(pm25=1.0)
    site.instrument.go_silent()
    site.run(60)
    site.instrument.come_back()
    site.run(120)
    assert site.told(Kind.SITE_INFO)[2:] == [
        "PolId=a34004;i12002-Info=1",
        "PolId=a34004;i12001-Info=0",
        "PolId=a34004;i12002-Info=0",
    ]


def test_a_stop_is_told_at_the_next_start_and_not_twice(tmp_path: Path) -> None:
    site = Site(tmp_path, TELLING)
    site.run(30)
    site.engine.shut_down()
    site.engine = site.start()
    site.run(40)
    states = [text for text in site.told(Kind.SITE_INFO) if text.startswith("i22001")]
    assert states == ["i22001-Info=1", "i22001-Info=0"]
    site.engine.shut_down()


# -- what a platform asks of the site


@pytest.mark.parametrize(
    ("item", "value"),
    [("instrument_state", "running"), ("instrument_link", "good"), ("slope", "1"), ("intercept", "0")],
)
def test_what_the_station_knows_of_an_instrument_is_answered(site: Site, item: str, value: str) -> None:
    site.run(10)
    result = site.ask("read_site_info", item=item, parameter="pm25")
    assert (result.outcome, result.values["value"]) == (Outcome.DONE, value)


def test_the_logger_and_its_link_need_no_instrument(site: Site) -> None:
    assert site.ask("read_site_info", item="logger_state").values["value"] == "running"
    site.engine.outboxes["district"].connected()
    assert site.ask("read_site_info", item="platform_link").values["value"] == "good"


def test_what_nobody_knows_is_a_condition_that_is_not_met(site: Site) -> None:
    for more in ({"item": "range", "parameter": "pm25"}, {"item": "instrument_state", "parameter": "cod"}):
        assert site.ask("read_site_info", **more) == Result(
            Outcome.CONDITIONS, reason="no instrument of this point can do that"
        )
    assert site.ask("read_site_info", item="logger_log").reason == "logger_log needs from and to"


def test_a_log_is_read_from_the_events_second_by_second(site: Site) -> None:
    """All of them for the logger, its own for an instrument; without what would break a frame."""
    site.run(10)
    site.engine.note("valve", device="dust", text="a;b=c//d&&")
    site.engine.note("valve", device="other", text="not this one")
    site.engine.note("door", text="清洗" * 300)
    site.engine.note("link_down", platform="province", error="192.0.2.7:9000: connection refused")
    site.engine.commit()
    site.clock.advance(5)  # the second is over, and those its text goes on in
    bounds = {"from": START.isoformat(), "to": (START + timedelta(hours=1)).isoformat()}
    mine = site.ask("read_site_info", item="instrument_log", parameter="pm25", **bounds)
    (text,) = [message.text for message in mine.records]
    assert text == "DataTime=20260301080040;PolId=a34004;i11001-Info=//valve device dust text a b c/d//"
    everything = [m.text for m in site.ask("read_site_info", item="logger_log", **bounds).records]
    assert everything[0].startswith("DataTime=20260301080030;i21001-Info=//start version ")
    assert sum(text.count("清洗") for text in everything) == 300
    times = [text.split(";")[0] for text in everything]
    assert times[-3:] == ["DataTime=20260301080040", "DataTime=20260301080041", "DataTime=20260301080042"]
    assert len(set(times)) == len(times)
    assert all(len(text.encode()) < 944 for text in everything)
    assert not any("province" in text for text in everything)
    early = {"from": "2020-01-01T00:00:00+08:00", "to": "2020-01-02T00:00:00+08:00"}
    assert site.ask("read_site_info", item="logger_log", **early).outcome is Outcome.NO_DATA


def logged(site: Site, first: float, last: float) -> list[str]:
    """The logger's log from *first* to *last* seconds behind the start."""
    bounds = {name: (START + timedelta(seconds=n)).isoformat() for name, n in (("from", first), ("to", last))}
    found = site.ask("read_site_info", item="logger_log", **bounds).records
    return [message.text for message in found if message is not None]


def test_a_text_of_several_frames_keeps_its_seconds_whatever_piece_of_the_log_is_asked_for(site: Site) -> None:
    """Platforms drop what has an MN, CN, DataTime and factor they know: nothing may share them, in no two recalls."""
    for second in range(3):
        site.engine.note("door", text=f"{second} " + "清洗" * 300)
        site.run(1)
    site.engine.commit()
    site.clock.advance(60)
    whole = logged(site, 0, 60)
    times = [text.split(";")[0] for text in whole]
    assert len(set(times)) == len(times) >= 9
    assert sum(text.count("清洗") for text in whole) == 900
    for parts in ([(n, n) for n in range(61)], [(0, 3), (4, 4), (5, 60)]):
        assert [text for part in parts for text in logged(site, *part)] == whole


def test_a_second_that_is_not_over_is_left_for_the_next_recall(site: Site) -> None:
    """What still happens in it would stand under a DataTime that the platform has."""
    site.run(3)
    site.engine.note("door", text="first")
    site.engine.commit()
    asked = logged(site, 0, 60)
    site.clock.advance(-1)  # asking took one
    site.engine.note("door", text="second")
    site.engine.commit()
    assert not any("first" in text for text in asked)
    site.clock.advance(5)
    (text,) = [text for text in logged(site, 0, 60) if "first" in text]
    assert text.startswith("DataTime=20260301080033;i21001-Info=//door text first command ")
    assert text.endswith(" door text second//")


@pytest.mark.parametrize(
    ("item", "value", "reason"),
    [
        ("slope", "1.1", "slope is not set from afar"),
        ("digestion_minutes", "121", "digestion_minutes '121' is not a number from 1 to 120"),
        ("digestion_temperature", "1e2", "digestion_temperature '1e2' is not a number from 100 to 200"),
        ("digestion_temperature", "168", "no instrument of this point can do that"),
    ],
)
def test_only_listed_parameters_are_set_and_only_within_their_limits(
    site: Site, item: str, value: str, reason: str
) -> None:
    site.instrument.actions = {"set_parameter": ("pm10",)}
    result = site.ask("set_parameter", item=item, value=value, parameter="pm25")
    assert (result.outcome, result.reason) == (Outcome.CONDITIONS, reason)
    assert site.instrument.acted == []


def test_an_instrument_that_can_is_told_its_new_parameter(site: Site) -> None:
    site.instrument.actions = {"set_parameter": ("pm25",)}
    assert set(SETTABLE) == {"digestion_temperature", "digestion_minutes"}
    asked = {"item": "digestion_temperature", "value": "168.0", "parameter": "pm25"}
    assert site.ask("set_parameter", **asked).outcome is Outcome.DONE
    assert site.instrument.acted == [("set_parameter", asked)]


# -- what an action brings


def test_what_an_action_brings_is_kept_and_told(site: Site) -> None:
    """A bottle and a check, as instruments report them."""
    brought = {
        "keep_sample": {"vase": "7"},
        "start_check": {"value": "97.5", "standard": "100", "passed": "1"},
    }
    site.instrument.actions = {verb: ("pm25",) for verb in brought}
    site.instrument.act = lambda verb, arguments: brought[verb]  # type: ignore[method-assign]
    at = site.clock.now().isoformat()
    assert site.ask("keep_sample", parameter="pm25").values == {"time": at, "vase": "7"}
    assert site.ask("start_check", parameter="pm25").outcome is Outcome.DONE
    assert site.told(Kind.KEPT_SAMPLE) == ["VaseNo=7"]
    assert site.told(Kind.CHECK) == ["a34004-SampleRd=97.5,a34004-StandardValue=100.0,a34004-ResultType=1"]
    (record,) = site.engine.store.records("check", START, START + timedelta(hours=1))
    assert (record.device, record.body["passed"]) == ("dust", True)


def test_an_action_that_brings_half_of_it_keeps_nothing(site: Site) -> None:
    site.instrument.actions = {"start_check": ("pm25",)}
    site.instrument.act = lambda verb, arguments: {"value": "97.5"}  # type: ignore[method-assign]
    assert site.ask("start_check", parameter="pm25").outcome is Outcome.DONE
    assert site.told(Kind.CHECK) == []


# -- what late data change


@pytest.mark.parametrize(("revisions", "minutes"), [("true", 2), ("false", 1)])
def test_a_period_that_late_data_changed_is_reported_again_where_it_is_wanted(
    tmp_path: Path, revisions: str, minutes: int
) -> None:
    """The station's own average has its second version either way."""
    config = CONFIG.replace("realtime_seconds = 30", f"realtime_seconds = 30\nrevisions = {revisions}")
    site = Site(tmp_path, config)
    site.run(100)
    at = START.replace(minute=1, second=0)
    late = Reading("dust", "site", "pm25", at + timedelta(seconds=30), 95.0, 95.0)
    site.engine.recorder.add([late], site.clock.monotonic())
    site.engine.commit()
    (report,) = site.engine.store.averages(Kind.MINUTE, at, at + timedelta(seconds=1))
    assert report.version == 2
    rows = site.engine.store.query("SELECT version FROM message WHERE kind = 2 AND start_ms = ?", (to_ms(at),))
    assert [version for (version,) in rows] == list(range(1, minutes + 1))
    site.engine.shut_down()


# -- what a platform set, and the file


def test_what_a_platform_set_holds_until_station_toml_is_changed(tmp_path: Path) -> None:
    """Who edits the file later means it; what is not edited stays as the platform wants it."""
    config = CONFIG.replace("realtime_seconds = 30", 'realtime_seconds = 30\nallow = ["set_interval", "set_timeouts"]')
    site = Site(tmp_path, config)
    assert site.ask("set_realtime_interval", seconds="60").outcome is Outcome.DONE
    assert site.ask("set_timeouts", seconds="7", resends="2").outcome is Outcome.DONE
    site.restart()
    assert site.engine.terms["district"].realtime_seconds == 60
    path = site.folder / "station.toml"
    path.write_text(config.replace("realtime_seconds = 30", "realtime_seconds = 45"))
    site.loaded = load(path)
    for _ in range(2):
        site.restart()
        assert site.engine.terms["district"].realtime_seconds == 45
        assert site.engine.store.remembered("district")["timeout_seconds"] == "7"
    site.engine.commit()
    assert site.events().count("setting_overruled") == 1
    assert site.ask("set_realtime_interval", seconds="90").outcome is Outcome.DONE
    site.restart()
    assert site.engine.terms["district"].realtime_seconds == 90
    site.engine.shut_down()
