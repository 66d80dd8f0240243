"""Working conditions: worked tables of minutes, hours and days, and what the running station makes of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from station.alarm import BEGINNING, Seen, Standing
from station.alarming import Sources
from station.model import Average, Kind, Report
from station.working import (
    DryFlowRule,
    DryFlowSettings,
    PairSettings,
    PermitRule,
    PermitSettings,
    dry_flow_step,
    pair_step,
    quota,
    rain_of,
    year_of,
)
from tests.station.conftest import CONFIG, FakeInstrument, FakeLine, Rig
from tests.station.test_alarming import faults

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
DAY = date(2026, 3, 1)


def run_pair(grace: int, *minutes: tuple[float | None, float | None], gap_before: int = -1) -> list[tuple[str, str]]:
    """What follows from (production, treatment) in kW, minute by minute."""
    settings = PairSettings(name="line", point="a", production_above=5.0, treatment_above=1.0, grace_minutes=grace)
    standing, found, at = BEGINNING, [], NOON
    for number, (production, treatment) in enumerate(minutes):
        at += timedelta(minutes=60 if number == gap_before else 1)
        standing = pair_step(settings, standing, Seen(start=at, day=DAY, value=production, beside=treatment))
        found.append((str(standing.state), str(standing.cause)))
    return found


def test_treatment_off_while_producing_is_an_alarm_after_the_grace() -> None:
    """B8: production on, treatment off for more than k minutes."""
    assert run_pair(2, (20.0, 3.0), (20.0, 0.1), (20.0, 0.1), (20.0, 0.1), (20.0, 3.0)) == [
        ("normal", "treated"),
        ("pre_alarm", "grace"),
        ("pre_alarm", "grace"),
        ("alarm", "untreated"),
        ("normal", "treated"),
    ]


def test_both_off_and_treatment_alone_are_normal() -> None:
    assert run_pair(0, (0.0, 0.0), (5.0, 0.0), (0.0, 3.0)) == [("normal", "idle")] * 3


def test_a_silent_meter_is_never_zero_power() -> None:
    """The production's says nothing: nobody knows.  The treatment's says nothing: it is not off."""
    assert run_pair(0, (None, 0.0), (20.0, None), (0.0, None)) == [
        ("undetermined", "production_silent"),
        ("undetermined", "treatment_silent"),
        ("normal", "idle"),
    ]


def test_a_meter_that_goes_silent_does_not_begin_the_grace_anew() -> None:
    """Pulling its plug every other minute hides nothing."""
    assert run_pair(1, (20.0, 0.0), (20.0, None), (20.0, 0.0))[-1] == ("alarm", "untreated")


def test_minutes_the_station_was_off_do_not_count_as_untreated() -> None:
    assert run_pair(1, (20.0, 0.0), (20.0, 0.0), gap_before=1)[-1] == ("pre_alarm", "grace")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_power_that_is_no_number_is_not_known(value: float) -> None:
    assert run_pair(0, (value, 3.0), (20.0, value)) == [
        ("undetermined", "production_silent"),
        ("undetermined", "treatment_silent"),
    ]


def flow_step(
    flow: float | None, rain: float | None, before: Standing = BEGINNING, dry_mm: float = 0.0
) -> tuple[str, str]:
    settings = DryFlowSettings(name="out", point="out", above=0.5, rain_point="roof", dry_mm=dry_mm)
    found = dry_flow_step(settings, before, Seen(start=NOON, day=DAY, value=flow, beside=rain))
    return str(found.state), str(found.cause)


def test_flow_without_rain_for_two_days_is_an_alarm() -> None:
    """A14, A18: an outfall is dry in dry weather; what is not known is undetermined."""
    table = [
        ((0.6, 0.0), ("alarm", "dry_flow")),
        ((0.5, 0.0), ("normal", "no_flow")),
        ((0.6, 0.2), ("normal", "wet")),
        ((0.6, None), ("undetermined", "rain_unknown")),
        ((None, 0.0), ("undetermined", "flow_silent")),
        ((0.5, None), ("normal", "no_flow")),
        ((float("nan"), 0.0), ("undetermined", "flow_silent")),
    ]
    assert [flow_step(*given) for given, _ in table] == [said for _, said in table]
    assert flow_step(0.6, 0.2, dry_mm=0.2) == ("alarm", "dry_flow")


def test_an_hour_without_rain_data_is_not_a_dry_one() -> None:
    assert rain_of([0.0] * 47 + [None], 0.0) is None
    assert rain_of([0.0] * 46 + [None, 1.4], 0.0) == 1.4
    assert rain_of([0.0] * 48, 0.0) == 0.0


def test_an_outfalls_hour_looks_at_the_rain_of_the_hours_up_to_it(rig: Rig) -> None:
    """Three dry hours are wanted; an hour of which the rain is not known is neither dry nor wet."""
    store, at = rig.engine.store, NOON - timedelta(hours=6)
    rain = [0.0, 1.2, 0.0, 0.0, 0.0, None]
    with store.transaction():
        for number, fell in enumerate(rain):
            flow = Average("flow_water", 2.0, valid=720, total=720, expected=720, parts=60)
            gauge = Average("rain", fell, valid=720, total=720, expected=720, parts=60)
            averages = (flow,) if fell is None else (flow, gauge)
            store.add_average(Report(Kind.HOUR, "site", at + timedelta(hours=number), averages))
    settings = DryFlowSettings(name="out", point="site", above=0.5, rain_point="site", dry_hours=3)
    rule, standing, found = DryFlowRule(settings), BEGINNING, []
    sources = Sources(rig.loaded.config, store, rig.engine.periods, rig.loaded.zone)
    for number in range(len(rain)):
        standing = rule.step(standing, rule.seen(sources, at + timedelta(hours=number)))
        found.append(str(standing.cause))
    assert found == ["rain_unknown", "wet", "wet", "wet", "dry_flow", "rain_unknown"]


# -- loads


def loads(count: int, kg: float | None, first: int = 0) -> dict[date, float | None]:
    return {date(2026, 1, 1) + timedelta(days=first + n): kg for n in range(count)}


def test_the_day_of_exhaustion_is_what_is_left_at_the_pace_of_the_last_thirty_days() -> None:
    """40 days of 10 kg and 20 of 25 kg: 900 kg used; the last 30 come to 20 kg; 100 kg are left for 5 days."""
    found = quota(loads(40, 10.0) | loads(20, 25.0, first=40), 1000.0, date(2026, 3, 1))
    assert (found.used_kg, found.days, found.missing, found.share) == (900.0, 60, 0, 0.9)
    assert (found.per_day_kg, found.exhausted, found.why) == (20.0, date(2026, 3, 6), "projected")


def test_a_permit_that_is_used_up_names_the_day_it_was() -> None:
    found = quota(loads(10, 10.0), 95.0, date(2026, 1, 10))
    assert (found.why, found.exhausted) == ("used_up", date(2026, 1, 10))


def test_a_permit_that_outlasts_the_year_lasts() -> None:
    assert quota(loads(10, 10.0), 1e6, date(2026, 1, 10)).why == "lasts"
    assert quota(loads(10, 0.0), 1.0, date(2026, 1, 10)).why == "lasts"


def test_days_that_are_not_known_carry_nothing_and_are_counted() -> None:
    """None, NaN, infinite and negative loads: nothing is filled in at the edge."""
    days = loads(10, 10.0)
    for n, wrong in enumerate((None, float("nan"), float("inf"), -4.0)):
        days[date(2026, 1, 2 + n)] = wrong
    found = quota(days, 200.0, date(2026, 1, 10))
    assert (found.used_kg, found.days, found.missing, found.why) == (60.0, 6, 4, "too_few_days")
    assert quota({}, 200.0, date(2026, 1, 10)).why == "no_load"


def test_a_year_is_gathered_from_the_days_in_the_store(rig: Rig) -> None:
    store, beijing = rig.engine.store, rig.loaded.zone
    with store.transaction():
        for number in range(8):
            start = datetime(2026, 1, 1 + number, tzinfo=beijing).astimezone(UTC)
            cod = Average("cod", 40.0, load_kg=12.5)
            store.add_average(Report(Kind.DAY, "out", start, (cod, Average("ph", 7.0))))
        last = datetime(2025, 12, 31, tzinfo=beijing).astimezone(UTC)
        store.add_average(Report(Kind.DAY, "out", last, (Average("cod", 40.0, load_kg=900.0),)))
    permit = PermitSettings(name="COD", point="out", parameter="cod", tonnes=0.2)
    found = year_of(store, permit, date(2026, 1, 9), beijing)
    assert (found.used_kg, found.missing, found.exhausted) == (100.0, 1, date(2026, 1, 17))


def test_a_permit_rings_when_it_will_be_and_when_it_is_used_up(rig: Rig) -> None:
    """1 kg a day of 40 kg from New Year on; from the seventh day on it is projected, and used up on 9 February."""
    store, beijing = rig.engine.store, rig.loaded.zone
    first = datetime(2026, 1, 1, tzinfo=beijing).astimezone(UTC)
    with store.transaction():
        for number in range(40):
            cod = Average("cod", 40.0, load_kg=1.0)
            store.add_average(Report(Kind.DAY, "out", first + timedelta(days=number), (cod,)))
    rule = PermitRule(PermitSettings(name="COD", point="out", parameter="cod", tonnes=0.04))
    sources = Sources(rig.loaded.config, store, rig.engine.periods, beijing)
    standing, found = BEGINNING, []
    for number in range(40):
        standing = rule.step(standing, rule.seen(sources, first + timedelta(days=number)))
        found.append((str(standing.state), str(standing.cause)))
    assert found == (
        [("undetermined", "too_few_days")] * 6 + [("pre_alarm", "projected")] * 33 + [("alarm", "used_up")]
    )
    assert (standing.seen.value, standing.seen.beside) == (0.04, 0.04) if standing.seen else False


# -- in the running station

PAIR = """
[[point]]
code = "fan"
name = "Fan"
st = "44"

[[bus]]
name = "meters"
port = "meters"

[[bus.device]]
name = "press"
profile = "eastron-sdm630"
unit_id = 1
poll_seconds = 5
point = "site"
parameters = ["power_total"]

[[bus.device]]
name = "purifier"
profile = "eastron-sdm630"
unit_id = 2
poll_seconds = 5
point = "fan"
parameters = ["power_total"]

[[pair]]
name = "hood"
point = "site"
production_above = 2.0
treatment_point = "fan"
treatment_above = 0.5
grace_minutes = 3
"""


class PairRig(Rig):
    """Two meters beside the dust monitor."""

    def start(self) -> Any:
        from station.engine import Engine

        self.press = FakeInstrument("press", self.clock, power_total="kW")
        self.purifier = FakeInstrument("purifier", self.clock, power_total="kW")
        dust, meters = self.loaded.config.bus
        return Engine(
            self.loaded, self.open_store(), self.clock,
            buses=[(dust, [self.instrument], FakeLine()), (meters, [self.press, self.purifier], FakeLine())],
            uplinks=[(self.loaded.config.uplink[0], self.uplink)], reader=self.reader,
        )  # fmt: skip

    def rung(self) -> list[tuple[str, str]]:
        rows = self.engine.store.query("SELECT code, arguments FROM event WHERE code LIKE '%alarm%' ORDER BY id")
        return [(code, json.loads(said)["cause"]) for code, said in rows]


def test_a_purifier_that_stands_still_rings_and_one_that_cannot_be_asked_does_not(tmp_path: Path) -> None:
    """A9: hood on, purifier off; its meter silent is mark B, never zero power."""
    rig = PairRig(tmp_path, CONFIG + PAIR, NOON)
    rig.press.show(power_total=9.0)
    rig.purifier.show(power_total=1.5)
    rig.run(125)
    rig.purifier.go_silent()
    rig.run(300)
    assert rig.rung() == [("alarm_over", "treated"), ("alarm_undetermined", "treatment_silent")]
    rig.purifier.come_back()
    rig.purifier.show(power_total=0.0)
    rig.run(500)
    assert rig.rung()[2:] == [("pre_alarm", "grace"), ("alarm", "untreated")]
    rig.press.show(power_total=0.0)
    rig.run(130)
    assert rig.rung()[-1] == ("alarm_over", "idle")
    rig.engine.shut_down()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('treatment_point = "fan"\n', "", "pair[0].treatment: is the production's value, too"),
        ('treatment_point = "fan"', 'treatment_point = "fam"',
         'pair[0].treatment_point: there is no point "fam"; did you mean fan?'),
        ('name = "hood"', 'name = "hood"\nproduction = "power_l1"',
         'pair[0].production: nothing measures power_l1 at point "site"'),
        ("grace_minutes = 3", "grace_minutes = 3\n[[alarm]]\nname = \"hood\"\npoint = \"site\"\nparameter = \"pm10\"\n"
         "period = \"1h\"\nabove = 5.0", 'pair[0].name: "hood" is already alarm[0]'),
        ("grace_minutes = 3", '[[dry_flow]]\nname = "out"\npoint = "fan"\nabove = 1.0\nrain_point = "fan"',
         'dry_flow[0].parameter: nothing measures flow_water at point "fan"'),
        ("grace_minutes = 3", '[[permit]]\nname = "out"\npoint = "fan"\nparameter = "power_total"\ntonnes = 1.0',
         'permit[0].point: "fan" is no discharge: its st is neither 31 nor 32'),
        ("production_above = 2.0\n", "", "pair[0].production_above: is missing"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PAIR
    found = faults(tmp_path, PAIR.replace(old, new, 1))
    assert [one for one in found if one.startswith(said)], found
