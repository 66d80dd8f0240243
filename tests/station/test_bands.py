"""Power bands: learned from minutes, decide nothing before a person confirms them, and from then on only."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from station.bands import KIND, Bands, enter, in_store, learned
from station.model import Average, Kind, Mark, Record, Report, WrongArgument, replace
from station.store import Store
from station.working import PairRule, PairSettings
from tests.station.commands import answering, configure, station
from tests.station.conftest import CONFIG
from tests.station.test_working import NOON, PAIR, PairRig

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
HOOD = PairSettings(
    name="hood", point="site", production_above=2.0, treatment_point="fan", treatment_above=0.5, grace_minutes=3
)


def shift(n: int) -> float:
    """A press of two shifts: 0.2 to 0.29 kW standing by, 8.0 to 8.99 kW at work from minute 480 on."""
    return 0.2 + n % 10 / 100 if n % 1440 < 480 else 8.0 + n % 100 / 100


def filled(store: Store, days: int = 2, *, point: str = "site", mark: Mark = Mark.N, start: datetime = START) -> None:
    """*days* of minutes of power."""
    with store.transaction():
        for n in range(days * 1440):
            one = Average("power_total", shift(n), valid=12, total=12, expected=12, mark=mark)
            store.add_average(Report(Kind.MINUTE, point, start + n * MINUTE, (one,)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "station.db")
    made.begin_boot("boot")
    return made


def test_two_shifts_part_at_the_middle_between_standby_and_work() -> None:
    """960 of 1440 minutes at work from 8.00 kW on, standby up to 0.29: parted at 4.145."""
    found = learned(shift(n) for n in range(1440))
    assert (found.minutes, found.running) == (1440, 960)
    assert (found.still_high, found.low, found.median) == (pytest.approx(0.29), 8.0, pytest.approx(8.48))
    assert found.above == pytest.approx((0.29 + 8.0) / 2)
    assert found.high == pytest.approx(8.99)


def test_what_is_no_number_is_left_out() -> None:
    odd: list[float | None] = [None, math.nan, math.inf, -math.inf, -1.0]
    assert learned([*odd, *(shift(n) for n in range(1440))]) == learned(shift(n) for n in range(1440))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "0 minutes have a value, 1440 are needed: take a longer span"),
        ([shift(n) for n in range(1439)], "1439 minutes have a value, 1440 are needed: take a longer span"),
        ([5.0] * 2000, "it did not both stand still and run in one minute of twenty at least: take a span with both"),
        ([0.0] * 1960 + [5.0] * 40, "it did not both stand still and run"),
        ([1.0] * 1000 + [1.5] * 1000, "standing still ends at 1 and running begins at 1.5: that is not well apart"),
        ([n / 2000 for n in range(2000)], "standing still ends at"),
    ],
)
def test_minutes_that_do_not_show_two_kinds_are_refused(values: list[float], said: str) -> None:
    with pytest.raises(WrongArgument) as refused:
        learned(values)
    assert str(refused.value).startswith(said)


LEARN = {
    "do": "learn", "pair": "hood", "role": "production", "user": "Wu",
    "from": START.isoformat(), "to": (START + 2 * DAY).isoformat(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": ""}, "a power band needs a name (--user)"),
        ({"pair": "hod"}, 'there is no [[pair]] "hod"; did you mean hood?'),
        ({"role": "treatmnt"}, '"treatmnt" is not one of production, treatment; did you mean treatment?'),
        ({"from": None}, "a span needs its beginning and its end (--from, --to): None is no time"),
        ({"from": "2026-03-01T00:00:00"}, "2026-03-01T00:00:00 needs its offset from UTC"),
        ({"to": START.isoformat()}, f"{START.isoformat()} is not before {START.isoformat()}"),
        ({"to": (START + 5 * DAY).isoformat()}, "2026-03-06T00:00:00+00:00 is not over yet"),
        ({"from": (START - 40 * DAY).isoformat()}, "more than 31 days at once"),
        ({"role": "treatment"}, "0 minutes have a value"),
        ({"do": "confirm", "name": "B1"}, "to confirm or withdraw a power band needs a reason (--reason)"),
        ({"do": "confirm", "name": "B7", "reason": "r"}, 'there is no band "B7"; see station band list'),
        ({"do": "guess", "reason": "r"}, "'guess' is no entry of power bands"),
    ],
)
def test_what_cannot_be_a_band_is_refused_with_a_sentence(store: Store, change: dict[str, Any], said: str) -> None:
    filled(store)
    with pytest.raises(WrongArgument) as refused:
        enter(Bands(), store, {**LEARN, **change}, {"hood": HOOD}, START + 3 * DAY)
    assert str(refused.value).startswith(said)


def test_minutes_with_a_mark_teach_nothing(store: Store) -> None:
    """Maintenance is no production."""
    filled(store, mark=Mark.M)
    with pytest.raises(WrongArgument, match=r"^0 minutes have a value"):
        enter(Bands(), store, LEARN, {"hood": HOOD}, START + 3 * DAY)


def test_a_band_decides_from_its_confirmation_to_its_withdrawal(store: Store) -> None:
    filled(store)
    book, now = Bands(), START + 3 * DAY
    book.take(enter(book, store, LEARN, {"hood": HOOD}, now))
    assert book.level("hood", "production", now) is None
    said = {"name": "B1", "user": "Li", "reason": "looked at the line"}
    book.take(enter(book, store, {"do": "confirm", **said}, {"hood": HOOD}, now + DAY))
    with pytest.raises(WrongArgument, match=r"^B1 was confirmed by Li at"):
        enter(book, store, {"do": "confirm", **said}, {"hood": HOOD}, now + DAY)
    book.take(enter(book, store, {"do": "withdraw", **said}, {"hood": HOOD}, now + 2 * DAY))
    with pytest.raises(WrongArgument, match=r"^B1 was withdrawn: looked at the line"):
        enter(book, store, {"do": "withdraw", **said}, {"hood": HOOD}, now + 2 * DAY)
    # Of the minutes at work 19 are at 8.00 kW; the twentieth, one in a hundred, is at 8.01.
    levels = [book.level("hood", "production", now + n * DAY / 2) for n in range(5)]
    assert levels == [
        None,
        None,
        pytest.approx(4.15),
        pytest.approx(4.15),
        None,
    ]
    assert book.level("hood", "treatment", now + DAY) is None
    assert book.next_number == 2
    book.take(Record(KIND, now, {"do": "confirm", "name": "B9", "user": "Li", "reason": "r"}))  # one that is gone


@pytest.mark.parametrize("change", [{"production": "current_total"}, {"point": "fan"}])
def test_a_band_decides_nothing_once_its_pair_looks_at_something_else(store: Store, change: dict[str, str]) -> None:
    """A level in kW is none in A, nor one of another line: the configured one holds."""
    filled(store)
    book, now = Bands(), START + 3 * DAY
    book.take(enter(book, store, LEARN, {"hood": HOOD}, now))
    said = {"do": "confirm", "name": "B1", "user": "Li", "reason": "looked at the line"}
    other = replace(HOOD, **change)
    with pytest.raises(WrongArgument, match=r"^B1 was learned from power_total at site, and hood looks at .* now"):
        enter(book, store, said, {"hood": other}, now)
    book.take(enter(book, store, said, {"hood": HOOD}, now))
    for settings, above in ((HOOD, pytest.approx(4.15)), (other, 2.0)):
        rule = PairRule(settings)
        rule.bands = book
        assert rule.in_force(now).production_above == above


def test_in_the_station_a_confirmed_band_decides_and_a_proposal_does_not(tmp_path: Path) -> None:
    """Configured above 2 kW, learned above 4.1: at 3 kW the press produces by the configuration and not by the band."""
    rig = PairRig(tmp_path, CONFIG + PAIR, NOON)
    filled(rig.engine.store, start=NOON - 3 * DAY)
    rig.press.show(power_total=3.0)
    rig.purifier.show(power_total=0.0)
    rig.run(65)
    assert rig.rung()[-1] == ("pre_alarm", "grace")
    store, pairs = rig.engine.store, {"hood": rig.loaded.config.pair[0]}
    span = {"from": (NOON - 3 * DAY).isoformat(), "to": (NOON - DAY).isoformat()}
    rig.engine.keep(enter(in_store(store), store, {**LEARN, **span}, pairs, rig.clock.now()), urgent=True)
    rig.run(65)
    assert rig.rung()[-1] == ("pre_alarm", "grace")
    said = {"do": "confirm", "name": "B1", "user": "Li", "reason": "looked at the line"}
    rig.engine.keep(enter(in_store(store), store, said, pairs, rig.clock.now()), urgent=True)
    rig.run(125)
    assert rig.rung()[-1] == ("alarm_over", "idle")
    assert rig.engine.alarms is not None
    (row,) = rig.engine.alarms.states()
    assert row["production_above"] == pytest.approx(4.15)
    rig.restart()
    rig.press.show(power_total=9.0)
    rig.purifier.show(power_total=0.0)
    rig.run(95)
    assert rig.rung()[-1] == ("pre_alarm", "grace")
    said["do"] = "withdraw"
    rig.engine.keep(enter(in_store(rig.engine.store), rig.engine.store, said, pairs, rig.clock.now()), urgent=True)
    rig.press.show(power_total=1.0)
    rig.run(125)
    assert rig.engine.alarms.states()[0]["production_above"] == 2.0
    rig.engine.shut_down()


def test_a_running_station_learns_and_confirms_over_its_socket(tmp_path: Path) -> None:
    rig = PairRig(tmp_path, CONFIG + PAIR, NOON)
    filled(rig.engine.store, start=NOON - 3 * DAY)
    words = ("--user", "Wu", "--config", tmp_path / "station.toml", "--lang", "en")
    span = ("--from", (NOON - 3 * DAY).isoformat(), "--to", (NOON - DAY).isoformat())
    with answering(rig):
        done = station("band", "learn", "hood", "production", *span, *words)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("B1: 1920 of 2880 min running;")
        done = station("band", "confirm", "B1", "--reason", "seen", *words)
        assert (done.code, done.out) == (0, "B1: confirmed; it decides from now on\n")
        refused = station("band", "confirm", "B1", "--reason", "seen", *words)
        assert (refused.code, "B1 was confirmed by Wu at" in refused.err) == (2, True)
        assert rig.engine.alarms is not None
        assert rig.engine.alarms.states()[0]["production_above"] == pytest.approx(4.15)
    rig.engine.shut_down()


def test_a_band_is_learned_listed_confirmed_and_withdrawn_as_typed(tmp_path: Path) -> None:
    pair = '[[pair]]\nname = "hood"\npoint = "site"\nproduction = "pm10"\nproduction_above = 2.0\ntreatment = "pm25"\n'
    config = configure(tmp_path / "s", ("[[uplink]]\n", pair + "treatment_above = 0.5\n\n[[uplink]]\n"))
    (tmp_path / "s" / "data").mkdir()
    store = Store.open(tmp_path / "s" / "data" / "station.db")
    with store.transaction():
        for n in range(1440):
            one = Average("pm10", shift(n), valid=12, total=12, expected=12)
            store.add_average(Report(Kind.MINUTE, "site", START + n * MINUTE, (one,)))
    store.close()
    words = ("--config", config, "--lang", "en")
    span = ("--from", "2026-03-01 08:00", "--to", "2026-03-02 08:00")
    done = station("band", "learn", "hood", "production", *span, "--user", "Wu", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "B1: 960 of 1440 min running; still to 0.29, running 8 to 8.99, median 8.48, parted at 4.145. It decides "
        "nothing yet: look at the figures, then station band confirm B1",
        "no station runs; it takes effect when it starts",
    ]
    assert "a proposal: decides" in station("band", "list", *words).out
    assert station("band", "confirm", "B1", "--user", "Li", "--reason", "seen", *words).code == 0
    listed = json.loads(station("band", "list", "--json", *words).out)["bands"]
    assert [(one["name"], one["confirmed_by"], one["figures"]["running"]) for one in listed] == [("B1", "Li", 960)]
    assert station("band", "withdraw", "B1", "--user", "Li", "--reason", "new press", *words).code == 0
    refused = station("band", "learn", "hod", "production", *span, "--user", "Wu", *words)
    assert (refused.code, refused.said) == (2, ['there is no [[pair]] "hod"; did you mean hood?'])
