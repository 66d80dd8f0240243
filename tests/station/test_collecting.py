"""Collectors in the station: fed with what is committed, kept over restarts, shown and decided on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from station.collecting import Collectors
from station.config import load
from station.model import ConfigError, Mark, Reading, WrongArgument
from station.store import Store
from station.verbs import verbs
from tests.station.commands import station
from tests.station.conftest import CONFIG, START, Rig

BALANCE = """
[[bus.device]]
name = "dust"
driver = "stream"
profile = "mtsics-balance"
poll_seconds = 300
point = "site"
"""
COLLECTOR = """
[[collector]]
name = "roof"
device = "dust"
"""
DAY = 86400


def config(collector: str = COLLECTOR, device: str = BALANCE) -> str:
    """The rig's configuration with a balance in place of the dust monitor."""
    begin, end = CONFIG.index("[[bus.device]]"), CONFIG.index("[[uplink]]")
    return CONFIG[:begin] + device.lstrip() + collector + "\n" + CONFIG[end:]


class Roof(Rig):
    """A rig whose one instrument is a balance under a jar."""

    def start(self):  # type: ignore[no-untyped-def]
        self.instrument.units = {"collector_mass": "g"}
        self.instrument._shown = {}
        self.instrument.show(collector_mass=self.grams)
        return super().start()

    grams = 1042.3817

    def weigh(self, seconds: float, grams: float) -> None:
        """Let *seconds* pass with *grams* on the balance."""
        self.grams = grams
        self.instrument.show(collector_mass=grams)
        self.run(seconds, step=300)

    def weigh_days(self, days: int, grams: float) -> None:
        """The same over days, handed to the collectors without the station's other work."""
        self.grams = grams
        self.instrument.show(collector_mass=grams)
        count = days * DAY // 300
        times = [self.clock.now() + timedelta(seconds=300 * n) for n in range(1, count + 1)]
        readings = [Reading("dust", "site", "collector_mass", at, grams, grams) for at in times]
        self.clock.advance(days * DAY)
        assert self.engine.collectors is not None
        self.engine.collectors.take(readings)
        self.engine.commit()

    @property
    def roof(self) -> dict[str, object]:
        """What the collector says."""
        (found,) = verbs(self.engine)["collector"]({})
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Roof]:
    made = Roof(tmp_path, config())
    yield made
    made.engine.shut_down()


def test_dust_grows_from_committed_weights_to_a_result(rig: Roof) -> None:
    """40 mg in 8 days are 8.4 t; before a week is over there is none."""
    rig.weigh(2 * 3600, 1042.3817)
    for day in range(9):
        rig.weigh_days(1, 1042.3817 + 0.005 * (day + 1))
        if day == 5:
            assert (rig.roof["value"], rig.roof["held"]) == (None, "young")
    found = rig.roof
    assert found["reportable"] is True
    assert found["held"] is None
    assert found["mass_mg"] == 40.0  # the driest of the last 24 hours
    assert found["value"] == pytest.approx(40e-3 / 176.7146 / found["days"] * 30e4, rel=0.01)
    assert [code for code in rig.events() if code.startswith("collector")] == ["collector_tared"]


def test_no_reading_of_dust_fall_is_made_and_none_is_sent(rig: Roof) -> None:
    """It is screening: a34011 is for the manual method."""
    rig.weigh(3 * 3600, 1042.3817)
    assert rig.engine.store.query("SELECT DISTINCT parameter FROM series") == [("collector_mass",)]


def test_a_restart_goes_on_where_the_last_commit_was(rig: Roof) -> None:
    """The tare stays, no event is repeated, and what was weighed since the last record counts."""
    rig.weigh(2 * 3600, 1042.3817)
    before = rig.roof
    rig.restart()
    assert rig.roof == before | {"at": rig.roof["at"]}  # not "settling": the last hour was weighed again
    rig.weigh_days(2, 1042.3827)
    rig.restart()
    assert rig.roof["mass_mg"] == 1.0
    assert [code for code in rig.events() if code.startswith("collector")] == ["collector_tared"]


def test_an_unsound_weight_is_not_weighed(rig: Roof) -> None:
    """Marked values tell nothing."""
    rig.instrument.show(mark=Mark.D, collector_mass=1042.3817)
    rig.run(2 * 3600, step=300)
    assert (rig.roof["tared"], rig.roof["held"]) == (None, "no_weight")


def test_a_person_s_decision_is_an_event_with_its_name_and_is_kept(rig: Roof) -> None:
    """A leaf of 2 g stops the result; taken out, it goes on."""
    rig.weigh(2 * 3600, 1042.3817)
    rig.weigh_days(2, 1044.3817)
    assert (rig.roof["held"], rig.roof["figures"]) == ("foreign", {"grams": 2.0})
    rig.engine.collectors.decide("roof", "exclude", "Wang Fang", rig.clock.now())
    rig.engine.commit()
    rig.restart()
    assert rig.roof["held"] in (None, "young", "settling")
    assert rig.roof["mass_mg"] == pytest.approx(0.0)
    rows = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'collector_decision'")
    assert [json.loads(row[0]) for row in rows] == [
        {"collector": "roof", "decision": "exclude", "grams": 2.0, "user": "Wang Fang"}
    ]


def test_a_decision_through_the_socket_is_committed_when_it_is_answered(rig: Roof) -> None:
    """The technician's tare begins a new exposure."""
    rig.weigh(2 * 3600, 1042.3817)
    ask = verbs(rig.engine)["collector"]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, {"name": "roof", "decision": "tare", "by": "Wang Fang"})
        while not answer.done():
            rig.engine.tick()
    assert answer.result()[0]["tared"] is None
    assert rig.events()[-1] == "collector_decision"
    rig.weigh(3600, 1042.9)
    assert rig.roof["mass_mg"] == 0.0


def test_an_unknown_collector_or_decision_is_named(rig: Roof) -> None:
    """Nothing is kept."""
    with pytest.raises(WrongArgument, match=r'^there is no collector "rof"; known: roof; did you mean roof\?$'):
        rig.engine.collectors.decide("rof", "tare", "x", rig.clock.now())
    with pytest.raises(WrongArgument, match=r"^a collector cannot reset; tare, keep or exclude$"):
        rig.engine.collectors.decide("roof", "reset", "x", rig.clock.now())


def test_a_weighing_transmitter_is_never_a_balance(tmp_path: Path) -> None:
    """Whatever its jar does, it reports events only."""
    device = BALANCE.replace('driver = "stream"\nprofile = "mtsics-balance"', 'profile = "laumas-tlb"\nunit_id = 1')
    rig = Roof(tmp_path, config(device=device))
    rig.weigh_days(9, 1042.3)
    assert (rig.roof["value"], rig.roof["held"], rig.roof["reportable"]) == (None, "events_only", False)
    rig.engine.shut_down()


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (COLLECTOR.replace('"dust"', '"dst"'), 'collector[0].device: there is no device "dst"; did you mean dust?'),
        (COLLECTOR + 'rain = "dust"\n', 'collector[0].rain: "dust" does not deliver rain'),
        (COLLECTOR + "celsius = [40, 10]\n", "collector[0].celsius: 40 is not below 10"),
        (COLLECTOR * 2, 'collector[1].name: "roof" is already collector[0]'),
    ],
)
def test_a_collector_that_cannot_be_is_a_fault(tmp_path: Path, table: str, fault: str) -> None:
    """Each names its place."""
    (tmp_path / "station.toml").write_text(config(table))
    (tmp_path / "password").write_text("123456")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "station.toml")
    assert fault in str(caught.value)


GAUGE = """
[[input]]
name = "gauge"
kind = "rain"
pin = 12
point = "site"
mm_per_tip = 0.2
"""


def test_rain_may_be_counted_by_a_pin(tmp_path: Path) -> None:
    """2 mm from a tipping bucket explain a rise of 35 g; afterwards the jar is given time to dry."""
    (tmp_path / "station.toml").write_text(config(COLLECTOR + 'rain = "gauge"\n' + GAUGE))
    (tmp_path / "password").write_text("123456")
    loaded, at, happened = load(tmp_path / "station.toml"), START, []
    store = Store.open(tmp_path / "station.db")
    made = Collectors(
        loaded.config, store, lambda at, code, **more: happened.append((code, more)), lambda record: None, at
    )
    made.take(
        [Reading("gauge", "site", "rain", at, 10.0, 10.0), Reading("dust", "site", "collector_mass", at, 1e3, 1e3)]
    )
    at += timedelta(minutes=10)
    made.take(
        [Reading("dust", "site", "collector_mass", at, 1035.0, 1035.0), Reading("gauge", "site", "rain", at, 12, 12)]
    )
    made.take([Reading("dust", "site", "collector_mass", at + timedelta(minutes=5), 1035.0, 1035.0)])
    assert [(code, more.get("cause"), more.get("mm")) for code, more in happened] == [
        ("collector_rise", "unexplained", 0.0),
        ("collector_rain", None, 2.0),
    ]
    (found,) = made.results(at + timedelta(minutes=6))
    assert (found["held"], found["figures"]["mm"]) == ("rain", 2.0)


def test_one_instrument_may_tell_rain_and_temperature_at_one_moment(tmp_path: Path) -> None:
    """As weather stations do."""
    weather = (
        BALANCE.replace("dust", "jar")
        + """
[[bus]]
name = "second"
port = "second"
[[bus.device]]
name = "weather"
profile = "renke-fsxcs"
variant = "tenths-pm"
unit_id = 1
point = "site"
parameters = ["rain", "air_temperature"]
"""
    )
    table = COLLECTOR.replace("dust", "jar") + 'rain = "weather"\ntemperature = "weather"\n'
    (tmp_path / "station.toml").write_text(config(table, weather))
    (tmp_path / "password").write_text("123456")
    loaded, happened = load(tmp_path / "station.toml"), []
    store = Store.open(tmp_path / "station.db")
    made = Collectors(loaded.config, store, lambda at, code, **more: happened.append(code), lambda record: None, START)
    for n in range(8):
        at = START + timedelta(minutes=5 * n)
        told = {("weather", "rain"): 3.0, ("weather", "air_temperature"): 20.0, ("jar", "collector_mass"): 1042.0}
        made.take([Reading(device, "site", parameter, at, v, v) for (device, parameter), v in told.items()])
    assert happened == ["collector_tared"]
    store.close()


def test_the_last_record_is_shown_when_no_station_runs(rig: Roof, tmp_path: Path) -> None:
    """In both languages, and as JSON."""
    rig.weigh(2 * 3600, 1042.3817)
    rig.engine.commit()
    path = str(tmp_path / "station.toml")
    (row,) = json.loads(station("collector", "show", "--json", "--config", path).out)
    assert (row["name"], row["held"], row["mass_mg"]) == ("roof", "young", 0.0)
    assert "exposed for 0.0 days only" in station("collector", "show", "--config", path).out
    assert "仅供筛查" in station("collector", "show", "--lang", "zh", "--config", path).out
    failed = station("collector", "decide", "roof", "tare", "--user", "Wang Fang", "--config", path)
    assert (failed.code, "no station is running" in failed.err) == (69, True)
