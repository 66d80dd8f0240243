"""Dispatch orders: worked registers of lines, entries with names, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from station.model import Average, Kind, Record, Report, WrongArgument, replace
from station.orders import Order, Orders, compliance, energy, enter, lines
from tests.station.commands import station
from tests.station.conftest import CONFIG, Rig

BEIJING = timezone(timedelta(hours=8))
START = datetime(2024, 3, 11, 0, tzinfo=BEIJING)
HOUR = timedelta(hours=1)
WHO = {"user": "Wang Fang", "reason": "orange, order 2026-3"}
Registers = Sequence[tuple[datetime, float | None]]


def order(percent: float = 50.0, hours: float = 24, **more: Any) -> Order:
    given = {"name": "O1", "first": START, "last": START + hours * HOUR, "points": ("press",), "baseline_days": 3}
    return Order(percent=percent, user="Wang", reason="orange", **(given | more))


def registers(
    before: float = 10.0, during: float = 5.0, hours: int = 24, days: int = 5
) -> list[tuple[datetime, float]]:
    """A register that rises so many kWh an hour before the order and in it."""
    at, value, found = START - days * 24 * HOUR, 1000.0, []
    for number in range(days * 24 + hours + 1):
        found.append((at + number * HOUR, value))
        value += before if number < days * 24 else during
    return found


def judged(one: Order, given: Registers, now: datetime = START + 48 * HOUR) -> tuple[str, str]:
    line = compliance(one, "press", given, now, BEIJING)
    return line.verdict, line.why


def test_a_line_that_uses_half_keeps_to_an_order_of_half_and_one_more_kilowatt_hour_does_not() -> None:
    """Baseline 240 kWh a day, 50 % off: 120 kWh in 24 h (B8; the method is this project's choice)."""
    line = compliance(order(), "press", registers(), START + 48 * HOUR, BEIJING)
    assert (line.verdict, line.used_kwh, line.allowed_kwh, line.baseline_kwh, line.baseline_days) == (
        "complies", 120.0, 120.0, 240.0, 3,
    )  # fmt: skip
    assert judged(order(), registers(during=5.1)) == ("exceeds", "above")
    assert judged(order(percent=100.0), registers(during=0.0)) == ("complies", "within")
    assert judged(order(percent=100.0), registers(during=0.1)) == ("exceeds", "above")


def test_an_order_that_is_on_is_held_against_its_hours_so_far() -> None:
    line = compliance(order(last=None), "press", registers(), START + 6 * HOUR, BEIJING)
    assert (line.verdict, line.used_kwh, line.allowed_kwh, line.hours) == ("complies", 30.0, 30.0, 6.0)
    assert judged(order(), registers(), now=START) == ("undetermined", "not_begun")


def test_the_baseline_is_of_production_days() -> None:
    """Of the five days before, the last stood still: the three before it count."""
    found = registers()
    idle = START - 24 * HOUR
    stood = [(at, min(v, dict(found)[idle]) if at <= START else v - 240.0) for at, v in found]
    line = compliance(order(), "press", stood, START + 48 * HOUR, BEIJING)
    assert (line.baseline_kwh, line.baseline_days, line.verdict) == (240.0, 3, "complies")


def test_hours_a_meter_was_silent_lose_nothing_of_its_register() -> None:
    """Silent within the order: the difference is whole.  Silent at its ends: bounds prove what they can."""
    silent = [(at, None if START + 3 * HOUR < at < START + 20 * HOUR else v) for at, v in registers()]
    assert judged(order(), silent) == ("complies", "within")
    no_end = [(at, None if at > START + 20 * HOUR else v) for at, v in registers()]
    assert judged(order(), no_end) == ("undetermined", "gap")
    assert judged(order(), [(at, None if at > START + 20 * HOUR else v) for at, v in registers(during=7.0)]) == (
        "exceeds", "above",
    )  # fmt: skip


def test_a_silent_meter_is_never_no_use() -> None:
    assert judged(order(), [(at, None if at >= START else v) for at, v in registers()]) == ("undetermined", "silent")
    assert judged(order(), [(at, None) for at, _ in registers()]) == ("undetermined", "no_register")
    assert judged(order(), []) == ("undetermined", "no_register")
    assert judged(order(), registers(days=0)) == ("undetermined", "no_baseline")


def test_a_register_that_jumps_back_proves_an_excess_and_never_compliance() -> None:
    """A new meter at hour 12 begins at 0; what was used across the fall is not guessed."""
    changed = [(at, v if at <= START + 12 * HOUR else v - 2200.0) for at, v in registers()]
    assert min(v for _, v in changed) >= 0
    line = compliance(order(), "press", changed, START + 48 * HOUR, BEIJING)
    assert (line.verdict, line.why, line.fell) == ("undetermined", "register_fell", 1)
    assert judged(order(), [(at, v if at <= START + 12 * HOUR else v - 2200.0) for at, v in registers(during=9.0)]) == (
        "exceeds", "above",
    )  # fmt: skip


def test_registers_out_of_order_repeated_or_no_numbers_are_put_right_or_left_out() -> None:
    start, end = START, START + 2 * HOUR
    nan, inf = float("nan"), float("inf")
    mixed = [
        (end, 12.0),
        (start, 10.0),
        (start + HOUR, nan),
        (end, 14.0),
        (start + HOUR, inf),
        (start, -1.0),
        (start, 10.0),
    ]
    found = energy(mixed, start, end)
    assert (found.least, found.most, found.whole, found.fell) == (4.0, 4.0, True, 0)


# -- entries

POINTS = {"press": None, "oven": None}
GIVEN = {"do": "add", "points": ["press"], "percent": 30, "baseline_days": 7, "from": START.isoformat(), **WHO}


def test_an_order_is_entered_ended_and_withdrawn_with_names() -> None:
    records: list[Record] = []

    def say(**fields: Any) -> Order:
        made = enter(Orders(records), fields | WHO, POINTS, START + 30 * HOUR)
        records.append(replace(made, id=len(records) + 1))
        return Orders(records).named("O1")

    assert say(**GIVEN).last is None
    assert say(do="end", name="O1", to=(START + 5 * HOUR).isoformat()).last == START + 5 * HOUR
    assert say(do="withdraw", name="O1").withdrawn == "orange, order 2026-3"
    assert [r.body["do"] for r in records] == ["add", "end", "withdraw"]
    with pytest.raises(WrongArgument, match=r"^O1 was withdrawn"):
        say(do="end", name="O1")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"user": ""}, "an order needs the name of who enters it (--user)"),
        ({"reason": "a\x07"}, "an order needs a reason, such as its number and level (--reason)"),
        ({"from": None}, "an order needs its beginning (--from)"),
        ({"from": "2024-03-11T00:00"}, "2024-03-11T00:00 needs its offset from UTC"),
        ({"to": START.isoformat()}, f"{START.isoformat()} is not before {START.isoformat()}"),
        ({"to": "2026-01-01T00:00+08:00"}, "more than 366 days at once"),
        ({"points": []}, "an order needs its lines (--scope POINT, once for each)"),
        ({"points": ["pres"]}, 'there is no point "pres"; did you mean press?'),
        ({"percent": 0}, "percent: 0 is not between 0 and 100"),
        ({"percent": float("nan")}, "percent: nan is not between 0 and 100"),
        ({"percent": "half"}, 'percent: "half" is not a number'),
        ({"baseline_days": 31}, "baseline_days: 31 is not between 1 and 30"),
        ({"do": "end", "name": "O9"}, 'there is no order "O9"; see station order list'),
        ({"do": "forget"}, "'forget' is no entry of orders"),
    ],
)
def test_a_wrong_entry_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        enter(Orders(), GIVEN | fields, POINTS, START)
    assert str(caught.value) == said


def test_lines_are_gathered_from_the_hours_in_the_store_and_shown(rig: Rig) -> None:
    """The register at the end of each hour; the command says it in both languages."""
    rig.run(5)
    store = rig.engine.store
    with store.transaction():
        for at, value in registers():
            hour = (at - HOUR).astimezone(UTC)
            store.add_average(Report(Kind.HOUR, "site", hour, (Average("energy_total", value),)))
    one = order(points=("site",))
    (line,) = lines(store, one, START + 48 * HOUR, rig.loaded.zone)
    assert (line.verdict, line.used_kwh, line.allowed_kwh) == ("complies", 120.0, 120.0)
    rig.engine.store.close()
    config = rig.folder / "station.toml"
    who = ("--user", "王芳", "--reason", "橙色预警")
    spell = ("--from", "2024-03-11", "--to", "2024-03-12", "--scope", "site", "--percent", "60")
    added = station("order", "add", *spell, *who, "--baseline-days", "3", "--config", config, "--lang", "zh")
    assert (added.code, added.out, added.err) == (0, "O1:已录入\n", "")
    found = json.loads(station("order", "list", "--config", config, "--json").out)["orders"]
    assert [(row["name"], row["percent"], row["lines"][0]["verdict"]) for row in found] == [("O1", 60.0, "exceeds")]
    listed = station("order", "list", "--config", config).out
    assert "96.0 kWh" in listed
    assert "EXCEEDS: above" in listed
    wrong = station("order", "add", *spell, "--user", "x", "--reason", " ", "--config", config)
    assert (wrong.code, wrong.err) == (2, "an order needs a reason, such as its number and level (--reason)\n")
    rig.engine = rig.start()


def test_permits_are_shown_with_what_the_year_has_carried(tmp_path: Path) -> None:
    """10 kg on each day of this year so far, of 5 t."""
    permit = '[[permit]]\nname = "dust"\npoint = "site"\nparameter = "pm10"\ntonnes = 5.0\n'
    rig = Rig(tmp_path, CONFIG.replace('st = "39"', 'st = "31"') + permit)
    config, store = rig.folder / "station.toml", rig.engine.store
    today = datetime.now(UTC).astimezone(BEIJING).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today.replace(month=1, day=1)
    count = (today - first).days + 1
    with store.transaction():
        for number in range(count):
            start = (first + timedelta(days=number)).astimezone(UTC)
            store.add_average(Report(Kind.DAY, "site", start, (Average("pm10", 5.0, load_kg=10.0),)))
    store.close()
    (found,) = json.loads(station("load", "--config", config, "--json").out)["permits"]
    assert (found["used_kg"], found["days"], found["missing"]) == (10.0 * count, count, 0)
    assert found["share"] == pytest.approx(0.002 * count)
    assert "许可" in station("load", "--config", config, "--lang", "zh").out
    rig.engine = rig.start()
    rig.engine.shut_down()


def test_without_a_permit_the_command_says_so(rig: Rig) -> None:
    rig.run(5)
    rig.engine.store.close()
    assert station("load", "--config", rig.folder / "station.toml").out == "station.toml has no [[permit]]\n"
    rig.engine = rig.start()


def test_what_ends_an_order_that_is_past_its_retention_stops_nothing() -> None:
    """Its own record goes first, by its time; names that were used are not used again."""
    book: list[Record] = []
    for fields in (
        GIVEN,
        {"do": "end", "name": "O1", **WHO},
        GIVEN,
    ):
        now = START + len(book) * HOUR
        book.append(replace(enter(Orders(book), fields, POINTS, now), id=len(book) + 1))
    kept = Orders(book[1:])
    made = enter(kept, GIVEN, POINTS, START + 9 * HOUR)
    assert ([one.name for one in kept], made.body["name"]) == (["O2"], "O3")
