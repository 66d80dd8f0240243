"""Marks by hand: beside what is stored, with a name; minutes, hours and days follow, and the record says why."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from station.config import load
from station.control import ControlRefused, ControlServer, ask
from station.marks import KIND, HandMarks, enter
from station.model import Kind, Mark, Record, WrongArgument, replace
from station.verbs import verbs
from tests.station.commands import station
from tests.station.conftest import START, Rig

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
WHO = {"user": "Wang Fang", "reason": "filter changed"}
POINTS = {"site": None}


class Book:
    """Entries checked against those before."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    @property
    def marks(self) -> HandMarks:
        return HandMarks(self.records)

    def enter(self, now: datetime = MIDNIGHT + timedelta(days=2), **fields: Any) -> str:
        made = enter(self.marks, {"do": "mark", "point": "site", "mark": "M", **WHO} | fields, POINTS, now)
        self.records.append(replace(made, id=len(self.records) + 1))
        return str(made.body["name"])


def at(minutes: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minutes)


def test_the_worse_of_the_stored_mark_and_the_one_by_hand_is_effective() -> None:
    """Nothing by hand makes a silent line better than it was."""
    book = Book()
    book.enter(**{"from": at(10).isoformat(), "to": at(20).isoformat()})
    marks = [book.marks.mark("site", "pm10", at(15), stored) for stored in (Mark.N, Mark.T, Mark.B)]
    assert marks == [Mark.M, Mark.M, Mark.B]
    assert [book.marks.mark("site", "pm10", at(minute), Mark.N) for minute in (9.9, 10, 19.9, 20)] == [
        Mark.N,
        Mark.M,
        Mark.M,
        Mark.N,
    ]
    assert book.marks.mark("yard", "pm10", at(15), Mark.N) is Mark.N


def test_a_mark_may_concern_one_parameter_be_ended_and_be_withdrawn() -> None:
    book = Book()
    name = book.enter(parameter="pm25", **{"from": at(10).isoformat()})
    assert book.marks.mark("site", "pm10", at(15), Mark.N) is Mark.N
    assert book.marks.mark("site", "pm25", at(9999), Mark.N) is Mark.M
    book.enter(do="end", name=name, to=at(30).isoformat())
    assert [book.marks.mark("site", "pm25", at(m), Mark.N) for m in (29, 30)] == [Mark.M, Mark.N]
    book.enter(do="withdraw", name=name, reason="wrong point")
    assert book.marks.mark("site", "pm25", at(15), Mark.N) is Mark.N
    assert [r.body["do"] for r in book.records] == ["mark", "end", "withdraw"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"user": ""}, "a mark by hand needs a name (--user)"),
        ({"reason": " "}, "a mark by hand needs a reason (--reason)"),
        ({"reason": "a\x1bb"}, "a mark by hand needs a reason (--reason)"),
        ({"point": "sit"}, 'there is no point "sit"; did you mean site?'),
        ({"parameter": "pm2"}, 'there is no parameter "pm2"'),
        ({"mark": "N"}, '"N" is not a mark that people set: M, C, D, F, S'),
        ({"from": "2026-03-01T00:00", "to": None}, "needs its offset from UTC"),
        ({"from": at(9).isoformat(), "to": at(9).isoformat()}, "is not before"),
        ({"from": "2025-01-01T00:00+00:00", "to": "2026-01-01T00:00+00:00"}, "more than 62 days at once"),
        ({"do": "end", "name": "M9"}, 'there is no mark "M9"'),
        ({"do": "erase"}, "'erase' is no entry of marks"),
    ],
)
def test_a_wrong_entry_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        Book().enter(**fields)
    assert said in str(caught.value)


def test_what_ends_a_mark_that_is_past_its_retention_stops_no_start() -> None:
    """The mark's own record goes first, by its time; names that were used are not used again."""
    book = Book()
    first = book.enter(**{"from": at(10).isoformat()})
    book.enter(do="end", name=first, to=at(4000).isoformat())
    second = book.enter(now=MIDNIGHT + timedelta(days=3))
    kept = HandMarks(book.records[1:])
    assert [one.name for one in kept] == [second]
    made = enter(kept, {"do": "mark", "point": "site", "mark": "M", **WHO}, POINTS, MIDNIGHT + timedelta(days=4))
    assert (first, second, made.body["name"]) == ("M1", "M2", "M3")


def test_the_marks_of_years_are_found_as_if_all_of_them_were_looked_at() -> None:
    """At the edges of hours, open ones, ended and withdrawn ones, and one entered when its hour was asked before."""
    book, chance = Book(), random.Random(9)
    marks = book.marks
    for number in range(120):
        first = at(chance.randrange(0, 3000))
        last = None if number % 10 == 0 else first + timedelta(minutes=chance.choice((1, 30, 60, 600)))
        parameter, mark = chance.choice(("", "pm10", "pm25")), chance.choice("MCDFS")
        name = book.enter(mark=mark, parameter=parameter, **{"from": first.isoformat(),
                          "to": last.isoformat() if last else None})  # fmt: skip
        if number % 7 == 0:
            book.enter(do="withdraw", name=name)
        for record in book.records[len(book.records) - 1 - (number % 7 == 0) :]:
            marks.take(record)
        for _ in range(20):
            moment = at(chance.choice((chance.randrange(0, 4000), chance.randrange(0, 66) * 60)))
            plain = [one for one in marks if one.covers("site", "pm10", moment)]
            assert marks.at("site", "pm10", moment) == plain
            assert marks.mark("site", "pm10", moment, Mark.N) is max([Mark.N, *(one.mark for one in plain)])


def set_mark(rig: Rig, **fields: Any) -> None:
    """As the socket's verb does, with the commits of the following seconds."""
    given = {"do": "mark", "point": "site", "mark": "M", **WHO} | fields
    rig.engine.keep(enter(rig.engine.periods.marks, given, POINTS, rig.clock.now()), urgent=True)


def versions(rig: Rig, kind: Kind) -> list[tuple[int, list[tuple[float | None, str]]]]:
    rows = rig.engine.store.query(
        "SELECT version, body FROM average WHERE kind = ? ORDER BY start_ms, version", (kind,)
    )
    return [(v, [(row[0], row[3]) for row in json.loads(body).values()]) for v, body in rows]


def test_a_mark_set_afterwards_closes_the_minutes_again_and_changes_no_reading(rig: Rig) -> None:
    """Three minutes were closed; the middle one was maintenance: a second version without value, reported too."""
    rig.run(30 + 3 * 60 + 3)
    before = rig.engine.store.query("SELECT * FROM reading")
    set_mark(rig, **{"from": at(2).isoformat(), "to": at(3).isoformat()})
    rig.run(5)
    assert versions(rig, Kind.MINUTE)[2:4] == [(1, [(60.0, "N"), (35.0, "N")]), (2, [(None, "M"), (None, "M")])]
    assert "MINUTE site pm10=M pm25=M" in rig.texts("MINUTE")
    assert rig.engine.store.query("SELECT * FROM reading WHERE id <= ?", (len(before),)) == before


def test_values_of_a_spell_that_is_on_are_reported_with_the_mark(rig: Rig) -> None:
    """Live and in the minute; the instrument's own word stays in the store."""
    set_mark(rig, **{"from": START.isoformat()})
    rig.run(95)
    assert set(rig.texts("REALTIME")) == {"REALTIME site pm10=60M pm25=35M"}
    assert versions(rig, Kind.MINUTE)[-1] == (1, [(None, "M"), (None, "M")])
    assert rig.engine.store.query("SELECT DISTINCT mark FROM reading") == [(0,)]


def test_hours_marked_afterwards_get_one_new_version_each(rig: Rig) -> None:
    """An hour of minutes a commit; of the second hour forty minutes are M, and twenty are no normal hour."""
    rig.run(2 * 3600)
    set_mark(rig, **{"from": MIDNIGHT.isoformat(), "to": at(100).isoformat()})
    rig.run(10)
    assert not rig.engine.periods.behind
    counted = [max(v for v, _ in versions(rig, kind)) for kind in (Kind.MINUTE, Kind.HOUR)]
    assert counted == [2, 2]
    hours = rig.engine.store.averages(Kind.HOUR, MIDNIGHT, at(120))
    assert [[(a.mean, a.mark) for a in hour.averages] for hour in hours] == [
        [(None, Mark.M), (None, Mark.M)],
        [(60.0, Mark.D), (35.0, Mark.D)],
    ]


def test_a_crash_before_the_marks_were_worked_in_is_made_up_for(rig: Rig) -> None:
    """The record was committed, the periods were not closed again yet."""
    rig.run(30 + 3 * 60 + 3)
    given = {"do": "mark", "point": "site", "mark": "D", **WHO, "from": at(1).isoformat(), "to": at(3).isoformat()}
    record = enter(rig.engine.periods.marks, given, POINTS, rig.clock.now())
    with rig.engine.store.transaction():
        rig.engine.store.add_records([record])
    rig.restart()
    rig.run(5)
    found = rig.engine.store.averages(Kind.MINUTE, at(1), at(3))
    assert [(r.version, {a.mark for a in r.averages}) for r in found] == [(2, {Mark.D})] * 2
    rig.restart()
    rig.run(5)
    assert [r.version for r in rig.engine.store.averages(Kind.MINUTE, at(1), at(3))] == [2, 2]


# -- as typed


@pytest.fixture
def running(rig: Rig) -> Iterator[Rig]:
    """A station that answers on its socket and commits when it is asked to."""
    rig.run(30 + 2 * 60 + 3)
    server, stop = ControlServer(rig.loaded.control_socket), Event()

    def main_thread() -> None:
        while not stop.wait(0.01):
            rig.engine.tick()

    thread = Thread(target=main_thread)
    thread.start()
    server.start(verbs(rig.engine))
    yield rig
    server.close()
    stop.set()
    thread.join()


def marks(rig: Rig, *words: str, lang: str = "en") -> str:
    done = station("marks", *words, "--config", rig.folder / "station.toml", "--lang", lang)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_marks_are_set_listed_explained_and_withdrawn(running: Rig) -> None:
    who = ("--user", "王芳", "--reason", "更换滤膜")
    spell = ("--from", "2026-03-01T08:01", "--to", "2026-03-01T08:02")
    assert marks(running, "set", "site", "--mark", "M", *spell, *who) == "M1: set\n"
    (row,) = json.loads(marks(running, "list", "--json"))["marks"]
    assert (row["mark"], row["user"], row["from"]) == ("M", "王芳", "2026-03-01T00:01:00+00:00")
    explained = marks(running, "explain", "site", "pm10", "2026-03-01T08:01:30")
    assert "dust said 60.0; stored 60.0, mark N normal" in explained
    assert "effective mark M maintenance" in explained
    assert "M1: M maintenance, set by 王芳: 更换滤膜" in explained
    assert "minute 2026-03-01 08:01:00 (version 2): -, Flag M; not valid: 0 of 12 readings normal" in explained
    assert "有效标记 M 维护" in marks(running, "explain", "site", "pm10", "2026-03-01T08:01:30", lang="zh")
    exported = station("export", "--config", running.folder / "station.toml", "--format", "json")
    rows = [r for r in json.loads(exported.out) if r["effective_mark"] != r["mark"]]
    assert {(r["mark"], r["effective_mark"], r["marked_by"]) for r in rows} == {("N", "M", "M1 M 王芳: 更换滤膜")}
    assert {r["time"][11:16] for r in rows} == {"08:01"}
    assert marks(running, "withdraw", "M1", *who, lang="zh") == "M1:已撤回\n"
    assert "已撤回" in marks(running, "list", lang="zh")
    events = [r[0] for r in running.engine.store.query("SELECT code FROM event WHERE code = 'mark_by_hand'")]
    assert len(events) == 2


def test_nonsense_on_the_socket_is_refused(running: Rig) -> None:
    for fields in (
        {},
        {"do": "mark"},
        {"do": "mark", **WHO, "point": 7, "mark": []},
        {"do": "end", **WHO, "name": None},
    ):
        with pytest.raises(ControlRefused):
            ask(running.loaded.control_socket, "marks", fields=fields)
    for verb in ("marks", "dustfall"):
        with pytest.raises(ControlRefused, match="the fields of an entry are names with values"):
            ask(running.loaded.control_socket, verb, fields=["do", "mark"])
    times = {"from": MIDNIGHT.isoformat(), "to": at(9).isoformat()}
    for kinds in (7, [["hour"]], [{}], ["hours"]):
        with pytest.raises(ControlRefused, match="kinds are realtime, "):
            ask(running.loaded.control_socket, "resend", platform="district", kinds=kinds, **times)
    assert running.engine.store.records(KIND, MIDNIGHT - timedelta(days=9), MIDNIGHT + timedelta(days=9)) == []


def test_without_a_station_a_mark_waits_for_the_next_start(rig: Rig, tmp_path: Path) -> None:
    rig.run(30 + 2 * 60 + 3)
    rig.engine.store.close()
    spell = ("--from", "2026-03-01T08:01", "--to", "2026-03-01T08:02")
    said = marks(rig, "set", "site", "--mark", "D", *spell, "--user", "Li Wei", "--reason", "spray on the inlet")
    assert said == "M1: set\nno station runs; the next start works it into minutes, hours and days\n"
    rig.engine = rig.start()
    rig.run(5)
    (minute,) = rig.engine.store.averages(Kind.MINUTE, at(1), at(2))
    assert (minute.version, {a.mark for a in minute.averages}) == (2, {Mark.D})


def test_what_is_not_on_record_cannot_be_explained(rig: Rig) -> None:
    rig.run(40)
    config = rig.folder / "station.toml"
    for words, said in (
        (("site", "pm10", "2020-01-01"), "there is no pm10 at site near 2020-01-01 00:00:00"),
        (("yard", "pm10", "2026-03-01"), 'there is no point "yard"'),
        (("site", "pm99", "2026-03-01"), 'there is no parameter "pm99"'),
        (("site", "pm10", "soon"), '"soon" is not a time such as'),
    ):
        done = station("marks", "explain", *words, "--config", config)
        assert (done.code, done.out) == (2, "")
        assert said in done.err


def test_a_slow_instruments_hour_is_explained_by_what_was_due_of_it(rig: Rig) -> None:
    """One value every two minutes: thirty minutes of an hour have one, and 23 make it valid."""
    config = rig.folder / "station.toml"
    config.write_text(config.read_text().replace("poll_seconds = 5", "poll_seconds = 120"))
    rig.loaded = load(config)
    rig.restart()
    rig.run(2 * 3600)
    explained = marks(rig, "explain", "site", "pm10", "2026-03-01T09:30")
    assert "hour 2026-03-01 09:00:00 (version 1): 60.0, Flag N; valid: 30 of 30 valid, 23 needed" in explained
