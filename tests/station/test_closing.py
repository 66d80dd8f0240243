"""Slow results fall into their own hour: an analyser's periods are closed behind its delay, all others at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.base import Device, closing_delay
from station.clock import ManualClock
from station.config import BusConfig, load
from station.engine import Engine
from station.model import ConfigError, Kind, Reading, Report, replace
from tests.station.conftest import CONFIG, FakeInstrument, FakeLine, Rig

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
OUTFALL = (
    CONFIG.replace('code = "site"\nname = "Site"\nst = "39"', 'code = "site"\nname = "Outfall"\nst = "32"')
    .replace('parameters = ["pm25", "pm10"]', 'parameters = ["pm10"]')
    .replace("poll_seconds = 5", "poll_seconds = 20")
    .replace(
        "[[uplink]]\n",
        '[[bus.device]]\nname = "cod"\ndriver = "analyser"\nunit_id = 2\npoll_seconds = 60\npoint = "site"\n'
        'results = { cod = { address = 10, type = "f32" } }\nresult_time = { address = 20, type = "time_unix" }\n'
        "confirmed = true\n\n[[uplink]]\n",
    )
)


class Plant(Rig):
    """An outfall with a flow meter (quick) and an analyser of a result an hour, had 40 minutes after its sampling."""

    closing_seconds = closing_delay(3600)

    def start(self) -> Engine:
        """As the rig's own, with two instruments."""
        quick = FakeInstrument("dust", self.clock, flow_water="L/s")
        quick.show(flow_water=10.0)
        self.analyser = FakeInstrument("cod", self.clock, cod="mg/L")
        self.analyser.every_seconds = 3600.0
        self.analyser.closing_seconds = self.closing_seconds  # type: ignore[attr-defined]
        bus = self.loaded.config.bus[0]
        buses: list[tuple[BusConfig, Sequence[Device], FakeLine]] = [(bus, [quick, self.analyser], FakeLine())]
        uplink = replace(self.loaded.config.uplink[0], revisions=getattr(self, "revisions", True))
        return Engine(
            self.loaded, self.open_store(), self.clock, buses=buses, uplinks=[(uplink, self.uplink)],
            reader=self.reader, trusted=lambda: self.trust,
        )  # fmt: skip

    def result(self, value: float, sampled: datetime) -> None:
        """The analyser has a result, dated to its sampling."""
        self.engine.recorder.add([Reading("cod", "site", "cod", sampled, value, value)], self.clock.monotonic())

    def until(self, moment: datetime) -> None:
        """Let time pass until *moment*."""
        self.run((moment - self.clock.now()).total_seconds() / 20, step=20) if moment > self.clock.now() else None

    def run(self, seconds: float, step: float = 1.0) -> None:
        """In turns of *step* seconds."""
        super().run(seconds * step, step) if step != 1.0 else super().run(seconds)

    def hour(self, start: datetime) -> tuple[int, dict[str, float | None]]:
        """Version and means of the hour from *start* on, as known now."""
        found = self.engine.store.average(Kind.HOUR, "site", start)
        return (0, {}) if found is None else (found.version, {a.parameter: a.mean for a in found.averages})


def plant(folder: Path, now: datetime = MIDNIGHT, *, revisions: bool = True) -> Plant:
    """A plant whose platform takes *revisions* or not."""
    made = Plant.__new__(Plant)
    made.revisions = revisions  # type: ignore[attr-defined]
    made.__init__(folder, OUTFALL, now)  # type: ignore[misc]
    return made


@pytest.fixture(params=[True, False], ids=["revisions", "no revisions"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plant]:
    """A plant, its platform of either kind."""
    made = plant(tmp_path, revisions=request.param)
    yield made
    made.engine.shut_down()


def test_a_result_falls_into_the_hour_of_its_sampling_and_the_flow_does_not_wait(rig: Plant) -> None:
    """Sampled at 00:25, had at 01:05: the hour of the flow is closed at 01:00, that of COD 75 minutes later."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    assert rig.hour(MIDNIGHT) == (1, {"flow_water": 10.0})
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 14 * MINUTE)
    assert rig.hour(MIDNIGHT) == (1, {"flow_water": 10.0})
    rig.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    assert rig.hour(MIDNIGHT) == (2, {"cod": 50.0, "flow_water": 10.0})
    assert rig.hour(MIDNIGHT + HOUR) == (1, {"flow_water": 10.0})


def test_a_result_had_within_its_hour_does_not_close_it_early(rig: Plant) -> None:
    """A second one may still come."""
    rig.until(MIDNIGHT + 45 * MINUTE)
    rig.result(40.0, MIDNIGHT + 5 * MINUTE)
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    assert rig.hour(MIDNIGHT) == (1, {"flow_water": 10.0})
    rig.result(60.0, MIDNIGHT + 55 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    assert rig.hour(MIDNIGHT) == (2, {"cod": 50.0, "flow_water": 10.0})


def test_a_platform_without_revisions_gets_what_was_added_and_nothing_twice(tmp_path: Path) -> None:
    """It never takes a period again; the analyser's part of it is no revision.  A recall brings both."""
    made = plant(tmp_path, revisions=False)
    made.until(MIDNIGHT + HOUR + 5 * MINUTE)
    made.result(50.0, MIDNIGHT + 25 * MINUTE)
    made.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    hours = [text for text in made.texts("HOUR")]
    assert hours == ["HOUR site flow_water=10N", "HOUR site flow_water=10N", "HOUR site cod=50N"]
    minutes = [text for text in made.texts("MINUTE") if "cod" in text]
    assert minutes == ["MINUTE site cod=50N"]
    outbox = made.engine.outboxes["district"]
    found = outbox.recall(Kind.HOUR, "site", MIDNIGHT, MIDNIGHT)
    assert [one.text for one in found] == ["HOUR site flow_water=10N", "HOUR site cod=50N"]
    assert outbox.resend(MIDNIGHT, MIDNIGHT + HOUR, [Kind.HOUR]) == 0  # nothing is answered yet: all is owed anyway
    made.engine.shut_down()


def test_a_platform_with_revisions_gets_the_whole_hour_as_its_next_version(tmp_path: Path) -> None:
    """The newest version is all there is to say of a period."""
    made = plant(tmp_path)
    made.until(MIDNIGHT + HOUR + 5 * MINUTE)
    made.result(50.0, MIDNIGHT + 25 * MINUTE)
    made.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    found = made.engine.outboxes["district"].recall(Kind.HOUR, "site", MIDNIGHT, MIDNIGHT)
    assert [(one.version, one.text) for one in found] == [(2, "HOUR site cod=50N flow_water=10N")]
    made.engine.shut_down()


def test_a_day_waits_for_its_last_hour(rig: Plant) -> None:
    """It holds every hour's result, the one sampled at 23:50 (in the station's time) included."""
    midnight = MIDNIGHT + timedelta(hours=16)  # in UTC+8
    rig.clock.advance((midnight - 2 * HOUR - rig.clock.now()).total_seconds())
    rig.until(midnight - 50 * MINUTE)
    rig.result(20.0, midnight - 90 * MINUTE)
    rig.until(midnight + 30 * MINUTE)
    rig.result(40.0, midnight - 10 * MINUTE)
    day = midnight - timedelta(hours=24)
    first = rig.engine.store.average(Kind.DAY, "site", day)
    assert first is not None
    assert [a.parameter for a in first.averages] == ["flow_water"]
    rig.until(midnight + 76 * MINUTE)
    found = rig.engine.store.average(Kind.DAY, "site", day)
    assert found is not None
    assert (found.version, {a.parameter: a.parts for a in found.averages}["cod"]) == (2, 2)


@pytest.mark.parametrize("off", [MINUTE, 20 * MINUTE, 5 * HOUR, timedelta(days=3)])
def test_a_restart_while_an_hour_waits_neither_loses_nor_doubles_it(rig: Plant, off: timedelta) -> None:
    """Killed behind the result and before the hour was closed; later it is closed once, whenever the start is."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + HOUR + 10 * MINUTE)
    rig.clock.advance(off.total_seconds())
    rig.restart()
    rig.until(max(rig.clock.now(), MIDNIGHT + 2 * HOUR + 14 * MINUTE) + 3 * MINUTE)
    assert rig.hour(MIDNIGHT) == (2, {"cod": 50.0, "flow_water": 10.0})
    sent = [text for text in rig.texts("HOUR") if "cod" in text]
    rig.restart()
    rig.until(rig.clock.now() + 3 * MINUTE)
    assert [text for text in rig.texts("HOUR") if "cod" in text] == sent
    assert len(sent) == 1


def test_a_restart_behind_the_closing_closes_nothing_again(rig: Plant) -> None:
    """What is word for word as stored makes no version."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    before = rig.engine.store.query("SELECT kind, start_ms, version FROM average WHERE kind > 2 ORDER BY id")
    for _ in range(3):
        rig.restart()
        rig.until(rig.clock.now() + MINUTE)
    after = rig.engine.store.query("SELECT kind, start_ms, version FROM average WHERE kind > 2 ORDER BY id")
    assert after == before


def test_a_clock_set_back_takes_no_result_out_of_an_hour_that_has_it(rig: Plant) -> None:
    """The hour comes again and is closed again for the flow: COD stays what it was until its own closing."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    rig.clock.step(-2 * 3600)
    rig.until(MIDNIGHT + 2 * HOUR + 20 * MINUTE)
    assert rig.hour(MIDNIGHT)[1]["cod"] == 50.0
    cod = [text for text in rig.texts("HOUR") if "cod" in text and "cod=50N" not in text]
    assert cod == []


def test_a_clock_set_forward_past_the_delay_closes_the_hour(rig: Plant) -> None:
    """Nothing waits for ever."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + HOUR + 10 * MINUTE)
    rig.clock.step(6 * 3600)
    rig.until(rig.clock.now() + 2 * MINUTE)
    assert rig.hour(MIDNIGHT) == (2, {"cod": 50.0, "flow_water": 10.0})


def test_a_result_behind_its_delay_makes_a_later_version(rig: Plant) -> None:
    """It is kept in its own hour all the same."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 20 * MINUTE)
    rig.result(70.0, MIDNIGHT + 50 * MINUTE)
    rig.until(MIDNIGHT + 2 * HOUR + 22 * MINUTE)
    assert rig.hour(MIDNIGHT) == (3, {"cod": 60.0, "flow_water": 10.0})


def test_a_late_flow_closes_the_hour_again_and_lets_cod_wait(rig: Plant) -> None:
    """What waits stays out of a version that something else makes."""
    rig.until(MIDNIGHT + HOUR + 5 * MINUTE)
    rig.result(50.0, MIDNIGHT + 25 * MINUTE)
    late = Reading("dust", "site", "flow_water", MIDNIGHT + 30 * MINUTE + timedelta(seconds=7), 40.0, 40.0)
    rig.engine.recorder.add([late], rig.clock.monotonic())
    rig.until(MIDNIGHT + HOUR + 10 * MINUTE)
    version, means = rig.hour(MIDNIGHT)
    assert (version, list(means)) == (2, ["flow_water"])
    rig.until(MIDNIGHT + 2 * HOUR + 16 * MINUTE)
    assert (rig.hour(MIDNIGHT)[0], rig.hour(MIDNIGHT)[1]["cod"]) == (3, 50.0)


def test_the_hosts_zone_and_its_summer_time_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed by UTC and the station's offset, over the night a host's zone would skip an hour."""
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        night = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # 02:00 becomes 03:00 in Berlin at 01:00 UTC
        made = plant(tmp_path, night)
        made.until(night + HOUR + 5 * MINUTE)
        made.result(50.0, night + 25 * MINUTE)
        made.until(night + 3 * HOUR + 16 * MINUTE)
        rows = made.engine.store.query(
            "SELECT start_ms, version FROM average WHERE kind = 3 ORDER BY start_ms, version"
        )
        hour_ms = 3_600_000
        first = rows[0][0]
        assert [((at - first) // hour_ms, version) for at, version in rows] == [(0, 1), (0, 2), (1, 1), (2, 1)]
        made.engine.shut_down()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_alarm_of_an_hour_waits_for_the_analyser(tmp_path: Path) -> None:
    """An hour without its result is not undetermined before the result is due."""
    alarm = '[[alarm]]\nname = "cod"\npoint = "site"\nparameter = "cod"\nperiod = "1h"\nabove = 40.0\n\n[[uplink]]\n'
    made = Plant(tmp_path, OUTFALL.replace("[[uplink]]\n", alarm, 1), MIDNIGHT)
    for hour in range(4):
        made.until(MIDNIGHT + hour * HOUR + 45 * MINUTE)
        made.result(50.0, MIDNIGHT + hour * HOUR + 5 * MINUTE)
    made.until(MIDNIGHT + 5 * HOUR)
    told = [(r.body["state"], r.at) for r in made.engine.store.records("alarm", MIDNIGHT, MIDNIGHT + 9 * HOUR)]
    assert [state for state, _ in told] == ["alarm"]
    assert told[0][1] >= MIDNIGHT + 2 * HOUR + 15 * MINUTE
    made.engine.shut_down()


def test_the_delay_is_the_stations_where_it_says_so(tmp_path: Path) -> None:
    """0: the hour is closed with what is there, as all others are."""
    text = OUTFALL.replace("unit_id = 2\n", "unit_id = 2\nclosing_delay_minutes = 0\n")
    made = Plant(tmp_path, text, MIDNIGHT)
    made.until(MIDNIGHT + 45 * MINUTE)
    made.result(50.0, MIDNIGHT + 5 * MINUTE)
    made.until(MIDNIGHT + HOUR + MINUTE)
    assert made.hour(MIDNIGHT) == (1, {"cod": 50.0, "flow_water": 10.0})
    made.engine.shut_down()


@pytest.mark.parametrize("value", ["-1", "121", '"soon"', "nan"])
def test_a_delay_that_cannot_be_is_a_fault_of_the_configuration(tmp_path: Path, value: str) -> None:
    """Two hours at most."""
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    path = tmp_path / "station.toml"
    path.write_text(OUTFALL.replace("unit_id = 2\n", f"unit_id = 2\nclosing_delay_minutes = {value}\n"))
    with pytest.raises(ConfigError, match=r"bus\[0\]\.device\[1\]\.closing_delay_minutes"):
        load(path)


def test_real_time_data_repeat_the_last_result_with_the_time_of_its_sample(tmp_path: Path) -> None:
    """Until the next one, over a restart too, and no longer than two cycles (HJ 212-2017 table of fields)."""
    made = plant(tmp_path)
    made.uplink.compose = sampled  # type: ignore[method-assign]
    made.until(MIDNIGHT + HOUR + 5 * MINUTE)
    made.result(50.0, MIDNIGHT + 25 * MINUTE)
    made.until(MIDNIGHT + HOUR + 10 * MINUTE)
    assert made.texts("REALTIME")[-1] == "REALTIME cod=50 sampled 00:25, flow_water=10"
    made.restart()
    made.until(MIDNIGHT + HOUR + 20 * MINUTE)
    assert made.texts("REALTIME")[-1] == "REALTIME cod=50 sampled 00:25, flow_water=10"
    made.until(MIDNIGHT + 3 * HOUR + 30 * MINUTE)
    assert made.texts("REALTIME")[-1] == "REALTIME cod=None, flow_water=10"
    made.engine.shut_down()


def sampled(report: Report) -> str | None:
    said = (
        f"{a.parameter}={a.mean and round(a.mean)}" + (f" sampled {a.sampled:%H:%M}" if a.sampled else "")
        for a in report.averages
    )
    return f"{report.kind.name} {', '.join(said)}".strip()


def test_only_what_is_dated_back_waits() -> None:
    """Cycle and 15 minutes, 2 hours at most; who says nothing does not wait."""
    assert [closing_delay(60 * minutes) / 60 for minutes in (5, 60, 105, 240)] == [20, 75, 120, 120]
    assert not hasattr(FakeInstrument("dust", ManualClock(MIDNIGHT)), "closing_seconds")
