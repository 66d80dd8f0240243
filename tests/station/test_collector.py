"""A jar on a balance, on synthetic days: rain, evaporation, dew, emptying, a bird, a warm day."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from station.collector import CELLS, Collector, Held, Terms
from station.dustfall import dustfall

START = datetime(2026, 6, 1, tzinfo=UTC)
TERMS = Terms(diameter_cm=15.0)
STEP = timedelta(minutes=5)
JAR_G = 1042.3817


class Weather:
    """A jar out of doors: what lies in it, what the gauge and the thermometer show.  Masses in grams."""

    def __init__(self, rate: float = 10.0, *, noise_mg: float = 0.1, drift_mg: float = 0.0, seed: int = 1) -> None:
        self.dust_per_day = rate / dustfall(1.0, TERMS.area_cm2 * 30) / 30
        self.at, self.jar, self.dust, self.water, self.other, self.mm = START, JAR_G, 0.0, 0.0, 0.0, 0.0
        self.celsius = 20.0
        self.dew_g = 0.0
        self._noise, self._drift, self._random = noise_mg, drift_mg, random.Random(seed)

    def pass_time(self, collector: Collector, time: timedelta, mm_per_hour: float = 0.0) -> list[str]:
        """Let *time* pass in steps; the codes of what happened."""
        codes, end = [], self.at + time
        while self.at < end:
            self.at += STEP
            days = STEP / timedelta(days=1)
            self.dust += self.dust_per_day * days
            fell = mm_per_hour * days * 24
            self.mm += fell
            evaporates = TERMS.area_cm2 / 10 * 4.0 * days  # 4 mm a day
            self.water = max(0.0, self.water + fell * TERMS.area_cm2 / 10 - evaporates)
            happened = collector.temperature(self.at, self.celsius)
            happened += collector.rain(self.at, self.mm)
            happened += collector.weigh(self.at, self.shown())
            codes += [h.code for h in happened]
        return codes

    def shown(self) -> float:
        """What the balance shows."""
        hour = self.at.hour + self.at.minute / 60
        dew = self.dew_g * max(0.0, math.sin(math.pi * (hour - 22) % 24 / 10)) if (hour - 22) % 24 < 10 else 0.0
        error_mg = self._random.uniform(-self._noise, self._noise) + self._drift * (self.celsius - 20)
        return round(self.jar + self.dust + self.water + self.other + dew + error_mg / 1000, 4)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def test_one_tonne_is_17_7_milligrams_in_30_days_in_a_jar_of_15_cm() -> None:
    """The figures a balance has to be chosen by: 0.59 mg a day; 1 mm of rain is 17.7 g."""
    area = TERMS.area_cm2
    assert round(area, 1) == 176.7
    assert dustfall(0.0177, area * 30) == pytest.approx(1.0, abs=0.002)
    assert area / 10 == pytest.approx(17.67, abs=0.01)  # g of water a millimetre
    assert dustfall(0.001, area * TERMS.least_days) == pytest.approx(0.24, abs=0.01)  # 1 mg in a week


@pytest.mark.parametrize("rate", [1.2, 4.5, 10.0])
def test_thirty_dry_days_give_the_dust_that_fell(rate: float) -> None:
    """Within the method's detection limit of 0.3."""
    weather, jar = Weather(rate), Collector(TERMS)
    codes = weather.pass_time(jar, days(30))
    found = jar.result(weather.at)
    assert codes == ["collector_tared"]
    assert found.value == pytest.approx(rate, abs=0.1)
    assert found.held is None


def test_rain_is_separated_and_its_dust_counts_when_the_jar_is_dry_again() -> None:
    """12 mm are 212 g; three days later only the dust is left of it."""
    weather, jar = Weather(10.0), Collector(TERMS)
    weather.pass_time(jar, days(10))
    before = jar.result(weather.at)
    codes = weather.pass_time(jar, timedelta(hours=3), mm_per_hour=4.0)
    assert codes == ["collector_rain", "collector_rise"]
    wet = jar.result(weather.at)
    assert (wet.value, wet.held) == (pytest.approx(before.value, abs=0.2), Held("rain", {"hours": 0.0, "mm": 12.0}))
    assert weather.pass_time(jar, days(1)) == ["collector_held"]  # no weight for a day
    assert jar.result(weather.at).held.code == "drying"
    codes = weather.pass_time(jar, days(18.9))
    assert codes == ["collector_dry", "collector_weighs"]
    assert jar.result(weather.at).value == pytest.approx(10.0, abs=0.1)
    assert jar.stopped is None


def test_a_rise_the_gauge_does_not_explain_is_said() -> None:
    """Something fell in, or the gauge is blocked."""
    weather, jar = Weather(), Collector(TERMS)
    weather.pass_time(jar, days(1))
    weather.water += 20
    happened = jar.weigh(weather.at + STEP, weather.shown())
    assert [(h.code, h.arguments["cause"]) for h in happened] == [("collector_rise", "unexplained")]
    assert round(happened[0].arguments["grams"]) == 20


def test_a_bird_dropping_holds_the_result_until_a_person_has_looked() -> None:
    """0.84 g are 47 t: never reported as dust."""
    weather, jar = Weather(10.0), Collector(TERMS)
    weather.pass_time(jar, days(10))
    weather.other += 0.84
    codes = weather.pass_time(jar, days(3))
    assert codes == ["collector_rise", "collector_foreign"]
    found = jar.result(weather.at)
    assert found.held.code == "foreign"
    assert found.held.arguments["grams"] == pytest.approx(0.84, abs=0.02)
    assert found.value == pytest.approx(10.0, abs=0.2)
    jar.decide("exclude", weather.at)
    weather.pass_time(jar, days(17))
    found = jar.result(weather.at)
    assert (found.held, found.value) == (None, pytest.approx(10.0, abs=0.35))


def test_an_emptied_jar_has_a_new_tare_and_begins_anew() -> None:
    """The same jar, cleaned; and another one, lighter."""
    weather, jar = Weather(20.0), Collector(TERMS)
    weather.pass_time(jar, days(10))
    weather.dust = 0.0
    assert weather.pass_time(jar, days(1)) == ["collector_emptied", "collector_tared"]
    assert jar.result(weather.at).held.code == "young"
    weather.jar -= 31.2
    assert weather.pass_time(jar, days(9)) == ["collector_emptied", "collector_tared"]
    found = jar.result(weather.at)
    assert found.days == pytest.approx(8, abs=0.2)  # the driest of the last 24 hours is its first
    assert found.value == pytest.approx(20.0, abs=0.3)


def test_dust_that_is_gone_in_part_holds_the_result() -> None:
    """Wind, or a hand: what is left is no month's dust."""
    weather, jar = Weather(20.0), Collector(TERMS)
    weather.pass_time(jar, days(15))
    weather.dust /= 2
    assert weather.pass_time(jar, days(1)) == ["collector_lost"]
    assert jar.result(weather.at).held.code == "lost"
    assert jar.decide("tare", weather.at)[0].code == "collector_decision"
    assert weather.pass_time(jar, days(1)) == ["collector_tared"]


def test_dew_at_night_is_not_dust() -> None:
    """The driest weight of a day counts."""
    weather, jar = Weather(4.5), Collector(TERMS)
    weather.dew_g = 0.6
    codes = weather.pass_time(jar, days(30))
    assert "collector_foreign" not in codes
    assert "collector_lost" not in codes
    assert jar.result(weather.at).value == pytest.approx(4.5, abs=0.2)


def test_a_drift_of_2_milligrams_a_kelvin_is_kept_out_by_the_band() -> None:
    """12 K warmer are 24 mg, as much as 1.4 t in a month."""
    weather, jar = Weather(4.5, drift_mg=2.0), Collector(TERMS)
    weather.pass_time(jar, days(20))
    before = jar.result(weather.at).value
    weather.celsius = 32.0
    weather.pass_time(jar, days(2))
    found = jar.result(weather.at)
    assert found.held == Held("drift", {"celsius": 32.0, "at_tare": 20.0})
    assert found.value == pytest.approx(before, abs=0.05)
    assert found.doubt == 0.0
    weather.celsius = 23.0
    weather.pass_time(jar, days(3))
    warm = jar.result(weather.at)
    assert warm.value - 4.5 == pytest.approx(warm.doubt, abs=0.05)  # three kelvin are six milligrams, and it says so
    assert warm.doubt > 0.3
    weather.celsius = 20.0
    weather.pass_time(jar, days(5))
    assert jar.result(weather.at).value == pytest.approx(4.5, abs=0.1)


def test_without_a_temperature_no_weight_counts() -> None:
    """Where one was promised."""
    weather, jar = Weather(), Collector(TERMS)
    for _ in range(100):
        weather.at += STEP
        jar.weigh(weather.at, weather.shown())
    assert jar.result(weather.at).held == Held("no_temperature", {})
    assert Collector(TERMS, thermometer=False).result(START).held == Held("no_weight", {})


def test_a_strain_gauge_cell_reports_events_and_never_a_dust_fall() -> None:
    """It drifts by more than a month's dust for each kelvin."""
    weather = Weather(10.0, noise_mg=100, drift_mg=20)
    jar = Collector(Terms(cell="strain-gauge"))
    weather.pass_time(jar, days(20))
    codes = weather.pass_time(jar, timedelta(hours=2), mm_per_hour=5.0)
    assert codes[:2] == ["collector_rain", "collector_rise"]
    found = jar.result(weather.at)
    assert (found.value, found.held) == (None, Held("events_only", {}))
    assert [name for name, cell in CELLS.items() if cell.reportable] == ["balance"]


def test_a_restart_goes_on_where_it_was() -> None:
    """Through JSON, in the middle of a rain."""
    weather, jar = Weather(10.0), Collector(TERMS)
    weather.pass_time(jar, days(12))
    weather.pass_time(jar, timedelta(hours=1), mm_per_hour=3.0)
    again = Collector(TERMS)
    again.restore(json.loads(json.dumps(jar.state())))
    assert again.state() == jar.state()
    codes = weather.pass_time(again, days(17))
    assert codes == ["collector_dry"]
    assert again.result(weather.at).value == pytest.approx(10.0, abs=0.1)


def test_a_balance_that_falls_silent_is_the_reason_after_an_hour() -> None:
    """The result stays; it is said why there is no newer one."""
    weather, jar = Weather(10.0), Collector(TERMS)
    weather.pass_time(jar, days(10))
    assert jar.result(weather.at).held is None
    found = jar.result(weather.at + timedelta(hours=2))
    assert (found.held, found.value) == (Held("no_weight", {}), pytest.approx(10.0, abs=0.2))


def test_a_decision_there_is_not_is_refused() -> None:
    """The verbs are named."""
    with pytest.raises(ValueError, match=r"^a collector cannot reset; tare, keep or exclude$"):
        Collector(TERMS).decide("reset", START)
