"""Counters: roll-overs and exchanges, from the arithmetic to the minute, the report and an order; each bad entry."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station import i18n
from station.config import load
from station.counter import KIND, Exchange, Exchanges, enter, in_store, is_counter, rise, rollovers, steady
from station.model import Average, ConfigError, Kind, Reason, Record, Report, WrongArgument, replace
from station.orders import registers_of
from station.report import gather, span_of
from station.report_page import page
from tests.station.commands import answering, configure, station
from tests.station.conftest import CONFIG, FakeInstrument, Rig

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
METER = (
    CONFIG.replace("deltaohm-pmsense", "eastron-sdm630")
    .replace('parameters = ["pm25", "pm10"]', 'parameters = ["energy_total"]')
    .replace("poll_seconds = 5\n", "poll_seconds = 5\nrollover = { energy_total = 10000.0 }\n")
)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def exchange(hours: float, old: float, new: float, name: str = "X1") -> Exchange:
    return Exchange(
        name=name, point="site", parameter="energy_total", at=at(hours), old=old, new=new, user="Wu", reason="exchange"
    )


def stands(*values: float) -> list[tuple[datetime, float]]:
    return [(at(n), value) for n, value in enumerate(values)]


# -- arithmetic


def test_a_register_that_is_full_goes_on_at_nought() -> None:
    """9990.0, 9999.5, 4.5 kWh of a register that is 0 again at 10,000: 14.5 kWh (arithmetic)."""
    assert rise(stands(9990.0, 9999.5, 4.5), rollover=10_000.0) == 14.5
    assert rise(stands(9990.0, 9999.5, 4.5, 9999.0, 1.0), rollover=10_000.0) == 14.5 + 9994.5 + 2.0


def test_a_fall_that_is_no_roll_over_began_at_nought() -> None:
    """3000 kWh, then 5: a reset, since a roll-over would mean 7005 in an hour."""
    assert rise(stands(2990.0, 3000.0, 5.0), rollover=10_000.0) == 15.0
    assert rise(stands(2990.0, 3000.0, 5.0)) == 15.0


def test_an_exchange_counts_what_the_old_meter_still_and_the_new_one_since_counted() -> None:
    """1000 at 01:00, taken away at 01:30 with 1003.5; the new one began at 20.0 and stands at 21.5: 3.5 + 1.5."""
    one = exchange(1.5, 1003.5, 20.0)
    assert rise(stands(990.0, 1000.0, 21.5, 23.0), [one]) == 10.0 + 3.5 + 1.5 + 1.5
    assert [value for _, value in steady(stands(1000.0, 1000.0, 21.5), [one])] == [1000.0, 1000.0, 1005.0]


def test_a_new_meter_that_begins_above_the_old_one_invents_no_step() -> None:
    """From 1003.5 to one that had counted 50,000 elsewhere: without the exchange it would be 49,000 kWh."""
    assert rise(stands(1000.0, 50_002.0), [exchange(0.5, 1003.5, 50_000.0)]) == 5.5


def test_the_old_meters_last_reading_may_stand_behind_the_exchange() -> None:
    """An hour's register is its last reading: taken at 01:10, exchanged at 01:30, nothing more until the next hour."""
    assert rise(stands(990.0, 1000.0, 1003.0, 22.0), [exchange(1.5, 1003.5, 20.0)]) == 13.0 + 0.5 + 2.0


def test_two_exchanges_and_a_roll_over_add_up() -> None:
    """Each in its place."""
    found = rise(
        stands(9998.0, 2.0, 7.0, 105.0, 3.0),
        [exchange(2.5, 8.0, 100.0), exchange(3.5, 106.0, 1.0, "X2")],
        rollover=10_000.0,
    )
    assert found == 4.0 + 5.0 + (1.0 + 5.0) + (1.0 + 2.0)


def test_a_single_nought_between_two_stands_counts_nothing() -> None:
    """1000, 0, 1001: 1 kWh was used and not 1001; so with a roll-over declared."""
    assert rise(stands(990.0, 1000.0, 0.0, 1001.0)) == 11.0
    assert rise(stands(1000.0, 0.0, 1000.0)) == 0.0
    assert rise(stands(9000.0, 0.0, 9001.0), rollover=10_000.0) == 1.0
    assert [value for _, value in steady(stands(1000.0, 0.0, 1001.0))] == [1000.0, 1000.0, 1001.0]
    assert rise(stands(5.0, 0.0, 6.0, 0.0, 7.0)) == 2.0


def test_what_begins_anew_at_nought_counts_from_there() -> None:
    """It stays at 0, or comes back below where it was; a meter that was exchanged began there; a full one went on."""
    assert rise(stands(1000.0, 0.0, 0.0, 1001.0)) == 1001.0
    assert rise(stands(1000.0, 0.0, 0.0, 0.0)) == 0.0
    assert rise(stands(1000.0, 0.0, 3.0)) == 3.0
    assert rise(stands(3.0, 0.0, 5.0), [exchange(0.5, 3.5, 0.0)]) == 0.5 + 5.0
    assert rise(stands(3.0, 0.0, 5.0), [exchange(1.5, 3.5, 4.5)]) == 0.5 + 0.5
    assert rise(stands(9999.5, 0.0, 0.5), rollover=10_000.0) == 1.0
    assert rise(stands(0.0, 5.0)) == 5.0


def test_one_reading_says_nothing_of_a_rise() -> None:
    assert rise(stands(5.0), [exchange(0.5, 6.0, 0.0)]) is None
    assert rise([]) is None


# -- entering


def with_instrument(folder: Path, **units: str) -> Rig:
    """A station whose only instrument delivers these."""
    made = Rig(folder, METER, START)
    made.engine.store.close()
    for sender in made.engine.senders:
        sender.outbox.close()
    made.instrument = FakeInstrument("dust", made.clock, **units)
    made.engine = made.start()
    return made


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A meter at 1000 kWh for a minute and a half, then at 22."""
    made = with_instrument(tmp_path, energy_total="kWh")
    made.instrument.show(energy_total=1000.0)
    made.run(90)
    made.instrument.show(energy_total=22.0)
    return made


FIELDS = {
    "do": "exchange", "point": "site", "parameter": "energy_total", "old": 1003.5, "new": 20.0,
    "at": (START + 88 * timedelta(seconds=1)).isoformat(), "user": "Wu", "reason": "meter 4711 by 4712",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": " "}, "a meter exchange needs the name of who declares it (--user)"),
        ({"reason": ""}, "a meter exchange needs a reason, such as the numbers of both meters (--reason)"),
        ({"point": "sit"}, 'there is no point "sit"; did you mean site?'),
        ({"parameter": "energy_totl"}, '"energy_totl" is no counter; did you mean energy_total?'),
        ({"parameter": "power_total"}, '"power_total" is no counter'),
        ({"old": None}, "a meter exchange needs --old, what the old meter's register stood at"),
        ({"new": True}, "a meter exchange needs --new, what the new meter's register stood at"),
        ({"old": "many"}, '--old: "many" is not a number'),
        ({"old": float("nan")}, "--old: nan is no stand of a register"),
        ({"old": float("inf")}, "--old: inf is no stand of a register"),
        ({"new": -1.0}, "--new: -1 is no stand of a register"),
        ({"old": 999.0}, "the old meter stood at 1000 at 2026-03-01T00:01:25+00:00 already"),
        ({"new": 23.0}, "the new meter stood at 22 at 2026-03-01T00:01:30+00:00: its first reading cannot be 23"),
        ({"at": "yesterday"}, '"yesterday" is not a time'),
        ({"at": "2026-03-01T08:00:00"}, "2026-03-01T08:00:00 needs its offset from UTC"),
        ({"at": "2026-04-01T08:00:00+08:00"}, "2026-04-01T08:00:00+08:00 is not over yet"),
        ({"at": "2025-04-01T08:00:00+08:00"}, "more than 62 days ago; that month is closed"),
        ({"do": "guess"}, "'guess' is no entry of meters"),
        ({"do": "withdraw", "name": "X9"}, 'there is no exchange "X9"; see station meter list'),
    ],
)  # fmt: skip
def test_what_cannot_be_an_exchange_is_refused_with_a_sentence(rig: Rig, change: dict[str, object], said: str) -> None:
    rig.run(10)
    rig.engine.commit()
    with pytest.raises(WrongArgument) as refused:
        enter(Exchanges(), rig.engine.store, {**FIELDS, **change}, ["site"], rig.clock.now())
    assert str(refused.value).startswith(said)
    rig.engine.shut_down()


def test_an_exchange_is_declared_once_and_may_be_withdrawn(rig: Rig) -> None:
    rig.run(10)
    rig.engine.commit()
    store, book = rig.engine.store, Exchanges()
    made = enter(book, store, FIELDS, ["site"], rig.clock.now())
    book.take(made)
    with pytest.raises(WrongArgument, match="is declared already"):
        enter(book, store, FIELDS, ["site"], rig.clock.now())
    withdrawn = {"do": "withdraw", "name": "X1", "user": "Wu", "reason": "wrong line"}
    book.take(enter(book, store, withdrawn, ["site"], rig.clock.now()))
    assert book.of("site", "energy_total") == []
    with pytest.raises(WrongArgument, match="X1 was withdrawn: wrong line"):
        enter(book, store, withdrawn, ["site"], rig.clock.now())
    assert book.next_number == 2
    rig.engine.shut_down()


def test_a_withdrawal_of_one_that_is_gone_changes_nothing() -> None:
    assert Exchanges().take(Record(KIND, START, {"do": "withdraw", "name": "X1", "reason": "r"}, "site")) is None


# -- where it counts


def test_an_order_and_a_report_reckon_with_an_exchange_and_a_roll_over(tmp_path: Path) -> None:
    """Hours with registers 9990, 9999, 6, 8, exchanged at 03:30 with 9 by one that began at 500, then 502: 21 kWh."""
    (tmp_path / "password").touch(mode=0o600)
    rig = Rig(tmp_path, METER, START)
    store = rig.engine.store
    hours = [9990.0, 9999.0, 6.0, 8.0, 502.0]
    with store.transaction():
        for n, value in enumerate(hours):
            one = Average("energy_total", value, value, value, valid=720, total=720, expected=720, parts=60)
            store.add_average(Report(Kind.HOUR, "site", at(n - 1), (one,)))
        body = {"do": "exchange", "name": "X1", "parameter": "energy_total", "old": 9.0, "new": 500.0,
                "user": "Wu", "reason": "r"}  # fmt: skip
        store.add_records([Record(KIND, at(3.5), body, "site")])
    found = registers_of(store, "site", at(-1), at(9), rollovers(rig.loaded.config))
    assert [value for _, value in found] == [9990.0, 9999.0, 10006.0, 10008.0, 10011.0]
    day = span_of("day", "2026-03-01", rig.clock.now() + 30 * HOUR, rig.loaded.zone)
    (point,) = gather(store, rig.loaded, day)["points"]
    (row,) = point["parameters"]
    assert row["rise"] == 9.0 + 7.0 + 2.0 + 3.0
    (told,) = gather(store, rig.loaded, day)["exchanges"]
    assert (told["name"], told["at"], told["old"], told["new"]) == ("X1", "2026-03-01T11:30:00+08:00", 9.0, 500.0)
    i18n.use("en")
    assert "<td class=s>Wu</td>" in page(gather(store, rig.loaded, day)).replace('"', "")
    rig.engine.shut_down()


def test_rain_over_an_exchanged_gauge_is_neither_lost_nor_invented(tmp_path: Path) -> None:
    """A counter of the day's rain at 12.4 mm, exchanged for one that stands at 300: the minute is closed again."""
    rig = with_instrument(tmp_path, rain="mm")
    store = rig.engine.store
    for value, seconds in ((12.0, 50), (12.4, 70), (300.6, 30), (300.8, 100)):
        rig.instrument.show(rain=value)
        rig.run(seconds)

    def rain() -> list[float | None]:
        reports = store.averages(Kind.MINUTE, START, START + 3 * MINUTE, "site")
        return [a.mean for r in reports for a in r.averages if a.parameter == "rain"]

    assert rain() == [0.4, 0.0, 288.4]
    fields = {**FIELDS, "parameter": "rain", "old": 12.6, "new": 300.0, "at": (START + 2 * MINUTE).isoformat()}
    rig.engine.keep(enter(in_store(store), store, fields, ["site"], rig.clock.now()))
    rig.run(10)
    rig.engine.commit()
    assert rain() == [0.4, 0.0, 1.0]
    withdrawn = {"do": "withdraw", "name": "X1", "user": "Wu", "reason": "wrong gauge"}
    rig.engine.keep(enter(in_store(store), store, withdrawn, ["site"], rig.clock.now()))
    rig.run(10)
    rig.engine.commit()
    assert rain() == [0.4, 0.0, 288.4]
    rig.engine.shut_down()


@pytest.mark.parametrize("second", [30, 55, 60])  # within a minute, its last reading, and the first of the next one
@pytest.mark.parametrize("full", [None, 1000.0])
def test_a_gauge_that_reads_nought_once_makes_no_rain(tmp_path: Path, second: int, full: float | None) -> None:
    """The reading stays, normal, with its reason."""
    rig = with_instrument(tmp_path, rain="mm")
    store = rig.engine.store
    if full:
        rig.engine.tasks["dust"].settings = replace(rig.engine.tasks["dust"].settings, rollover={"rain": full})
    for value, seconds in ((300.0, second), (0.0, 5), (300.2, 185 - second)):
        rig.instrument.show(rain=value)
        rig.run(seconds)
    reports = store.averages(Kind.MINUTE, START, START + 3 * MINUTE, "site")
    minutes = [one.mean for report in reports for one in report.averages if one.parameter == "rain"]
    assert (len(minutes), sum(minutes)) == (3, pytest.approx(0.2))
    rows = store.query("SELECT mark & 7, mark >> 3 FROM reading WHERE raw = 0")
    assert rows == [(0, Reason.COUNTER_NOUGHT)]
    rig.engine.shut_down()


def test_a_gauge_that_begins_anew_and_stays_there_counts_from_there(tmp_path: Path) -> None:
    """Switched off and on: it stands at 0 over the end of a minute, and counts 0.4."""
    rig = with_instrument(tmp_path, rain="mm")
    for value, seconds in ((300.0, 50), (0.0, 20), (0.4, 120)):
        rig.instrument.show(rain=value)
        rig.run(seconds)
    reports = rig.engine.store.averages(Kind.MINUTE, START, START + 3 * MINUTE, "site")
    assert [one.mean for report in reports for one in report.averages if one.parameter == "rain"] == [0.0, 0.4, 0.0]
    rig.engine.shut_down()


def test_an_exchange_declared_for_some_minutes_too_early_counts_all_the_same(tmp_path: Path) -> None:
    """By a technician's watch: the gauge that stood at 12.4 came off a minute later, at 13.0, and the new one began."""
    rig = with_instrument(tmp_path, rain="mm")
    store = rig.engine.store
    for value, seconds in ((12.0, 50), (12.4, 70), (0.6, 30), (0.8, 100)):
        rig.instrument.show(rain=value)
        rig.run(seconds)

    def rain() -> list[float | None]:
        reports = store.averages(Kind.MINUTE, START, START + 3 * MINUTE, "site")
        return [a.mean for r in reports for a in r.averages if a.parameter == "rain"]

    assert rain() == [0.4, 0.0, 0.8]
    fields = {**FIELDS, "parameter": "rain", "old": 13.0, "new": 0.0, "at": (START + 0.5 * MINUTE).isoformat()}
    rig.engine.keep(enter(in_store(store), store, fields, ["site"], rig.clock.now()), urgent=True)
    rig.run(10)
    assert rain() == [0.4, 0.0, 1.4]
    rig.engine.shut_down()


def test_an_exchange_declared_while_no_station_runs_counts_from_the_next_start(tmp_path: Path) -> None:
    """As typed: declared, listed, withdrawn."""
    config = configure(tmp_path / "s", ('parameters = ["pm25", "pm10"]', 'parameters = ["pm25"]'))
    words = ("--user", "Wu", "--reason", "4711 by 4712", "--config", config, "--lang", "en")
    done = station("meter", "exchange", "site", "energy_total", "--old", "1003.5", "--new", "20", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "X1: exchange declared; what was closed with it is closed again",
        "no station runs; it reckons with it when it starts",
    ]
    listed = json.loads(station("meter", "list", "--config", config, "--json", "--lang", "en").out)["exchanges"]
    assert [(one["name"], one["old"], one["new"], one["user"]) for one in listed] == [("X1", 1003.5, 20.0, "Wu")]
    assert "4711 by 4712" in station("meter", "list", "--config", config, "--lang", "zh").out
    assert station("meter", "withdraw", "X1", *words).code == 0
    again = station("meter", "withdraw", "X1", *words)
    assert (again.code, again.said) == (2, ["X1 was withdrawn: 4711 by 4712"])
    refused = station("meter", "exchange", "site", "pm25", "--old", "1", "--new", "0", *words)
    assert (refused.code, refused.said) == (2, ['"pm25" is no counter'])


def test_a_running_station_keeps_an_exchange_at_once(rig: Rig) -> None:
    """Over its socket: durable when the command returns, and an event with who did it."""
    rig.run(10)
    with answering(rig):
        words = ("--user", "Wu", "--reason", "4711 by 4712", "--config", rig.folder / "station.toml", "--lang", "en")
        at = ("--at", "2026-03-01 08:01:28")
        done = station("meter", "exchange", "site", "energy_total", "--old", "1003.5", "--new", "20", *at, *words)
        assert (done.code, done.out) == (0, "X1: exchange declared; what was closed with it is closed again\n")
        again = station("meter", "exchange", "site", "energy_total", "--old", "1", "--new", "0", *words)
        assert (again.code, "the old meter stood at 22 at" in again.err) == (2, True)
        assert [one.name for one in in_store(rig.engine.store)] == ["X1"]
        codes = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'meter_exchange'")
        assert [json.loads(text)["user"] for (text,) in codes] == ["Wu"]
    rig.engine.shut_down()


def test_roll_overs_stand_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("123456")
    (tmp_path / "station.toml").write_text(METER)
    assert rollovers(load(tmp_path / "station.toml").config) == {("site", "energy_total"): 10_000.0}
    assert is_counter("energy_import")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{ energy_total = 0 }", "rollover.energy_total: 0 is no value a register could be 0 again at"),
        ("{ energy_total = -5.0 }", "rollover.energy_total: -5 is no value a register could be 0 again at"),
        ("{ energy_totl = 5.0 }", "rollover.energy_totl: "),
        ("{ power_total = 5.0 }", "rollover.power_total: is no counter: nothing rolls over"),
        ('{ energy_total = "full" }', "rollover.energy_total: "),
    ],
)
def test_a_roll_over_that_cannot_be_is_a_fault_of_the_configuration(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("123456")
    text = METER.replace("{ energy_total = 10000.0 }", written).replace(
        '["energy_total"]', '["energy_total", "power_total"]'
    )
    (tmp_path / "station.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "station.toml")
    assert said in str(refused.value)
