"""`station qc`: what is on record, what is due, a person's word, the control chart; in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from xml.etree import ElementTree

import pytest

from station.checks import read_book
from station.control import ControlServer
from station.fieldbook import BEGINNING, END
from station.marks import KIND as MARKS
from station.marks import HandMarks
from station.model import Mark, Record
from station.store import Store
from station.verbs import verbs
from tests.station.checked import STATION, Bench
from tests.station.commands import Here
from tests.station.test_checking import over, tomorrow


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


@pytest.fixture
def left(tmp_path: Path) -> Bench:
    """A station that was stopped after one check that passed and one that failed the day after."""
    bench = Bench(tmp_path)
    bench.unit.standards[("span", "so2")] = 404.0
    over(bench)
    tomorrow(bench)
    bench.unit.standards[("span", "so2")] = 460.0
    over(bench, 2)
    bench.run(200)
    bench.engine.shut_down()
    return bench


def config(bench: Bench) -> tuple[str, Path]:
    return "--config", bench.folder / "station.toml"


@contextmanager
def opened(bench: Bench) -> Iterator[Store]:
    store = Store.open(bench.loaded.database)
    try:
        yield store
    finally:
        store.close()


def test_the_list_says_what_each_came_to_and_what_is_in_doubt(left: Bench, command: Here) -> None:
    done = command("qc", "list", *config(left))
    assert done.code == 0, done.err
    words = " ".join(done.out.split())
    assert "Q1 2026-03-01 09:00 span cems so2 400 404" in words.replace("\n", " ")
    assert "HJ 75-2017" in words
    assert "Q2 failed: so2 from 2026-03-01 09:01:" in words
    assert "to 2026-03-02 09:00:" in words
    assert "station qc confirm Q2" in words
    spoken = command("qc", "list", "--lang", "zh", *config(left)).out
    assert "不合格" in spoken
    assert "存疑" in spoken


def test_the_list_as_json_has_figures_judgements_and_the_proposal(left: Bench, command: Here) -> None:
    first, second = json.loads(command("qc", "list", "--json", *config(left)).out)["checks"]
    assert (first["state"], first["value"], first["proposal"], first["word"]) == (
        "passed",
        pytest.approx(404),
        None,
        {},
    )
    (judged,) = second["judgements"]
    assert (judged["what"], judged["value"], judged["passed"], judged["confidence"]) == (
        "span_drift",
        12.0,
        False,
        "medium",
    )
    assert second["proposal"]["from"] == first["ended"]
    assert second["proposal"]["to"] == second["begun"]
    only = json.loads(command("qc", "list", "--json", "--from", "2026-03-02", *config(left)).out)["checks"]
    assert [one["name"] for one in only] == ["Q2"]


def test_what_is_due_says_that_the_trend_is_locked(left: Bench, command: Here) -> None:
    (row,) = json.loads(command("qc", "due", "--json", *config(left)).out)["checks"]
    assert (row["check"], row["state"], row["last"], row["locked_since"] is not None) == ("span", "failed", "Q2", True)
    assert datetime.fromisoformat(row["due"]) == datetime.fromisoformat("2026-03-03T09:00:00+08:00")
    said = command("qc", "due", *config(left)).out
    assert "no station is running" in said
    assert "trend locked since" in " ".join(said.split())


def test_a_failed_check_is_an_alarm_also_of_a_station_that_does_not_run(left: Bench, command: Here) -> None:
    (row,) = json.loads(command("alarms", "list", "--json", *config(left)).out)["alarms"]
    assert (row["name"], row["state"], row["cause"], row["point"]) == ("span", "alarm", "check_failed", "stack")
    said = " ".join(command("alarms", "list", *config(left)).out.split())
    assert "Sulphur dioxide 460.000 ALARM an automatic check" in said


def test_confirming_marks_what_was_in_doubt_and_rewrites_nothing(left: Bench, command: Here) -> None:
    with opened(left) as store:
        before = store.query("SELECT id, raw, value, mark FROM reading ORDER BY id")
        texts = store.query("SELECT id, text FROM message ORDER BY id")
    done = command("qc", "confirm", "Q2", "--user", "Wang Fang", "--reason", "lamp is weak", *config(left))
    assert done.code == 0, done.err
    assert done.out.startswith("Q2: confirmed; marked D as M3\nWhat was sent stays as it was, and nothing is sent")
    with opened(left) as store:
        assert store.query("SELECT id, raw, value, mark FROM reading ORDER BY id") == before
        assert store.query("SELECT id, text FROM message ORDER BY id") == texts  # nothing is sent by this
        hand = HandMarks(store.records(MARKS, BEGINNING, END))
        book = read_book(store.records("qc", BEGINNING, END))
    first, second = book.of("span")
    assert hand.mark("stack", "so2", first.ended + timedelta(hours=5), Mark.N) is Mark.D  # type: ignore[operator]
    assert hand.mark("stack", "so2", second.begun + timedelta(hours=5), Mark.N) is Mark.N
    again = command("qc", "dismiss", "Q2", "--user", "Li Wei", "--reason", "no", *config(left))
    assert (again.code, "Q2 was confirmed by Wang Fang at" in again.err) == (2, True)
    assert "confirmed by Wang Fang: lamp is weak" in " ".join(command("qc", "list", *config(left)).out.split())


def test_dismissing_lets_the_values_stand(left: Bench, command: Here) -> None:
    said = command("qc", "dismiss", "Q2", "--user", "Wang Fang", "--reason", "the bottle was empty", *config(left))
    assert said.out == "Q2: dismissed; the values stand\n"
    with opened(left) as store:
        assert {one.mark for one in HandMarks(store.records(MARKS, BEGINNING, END))} == {Mark.C}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("confirm", "Q1", "--user", "W", "--reason", "r"), 2, "Q1 is passed; only a check that failed casts doubt"),
        (("confirm", "Q7", "--user", "W", "--reason", "r"), 2, 'there is no check "Q7" on record'),
        (("run", "spam", "--user", "W"), 2, 'there is no [[qc]] "spam"; did you mean span?'),
        (("run", "span", "--user", "W"), 69, "no station is running, and only a running one checks its instruments"),
        (("stop", "span", "--user", "W", "--reason", "r"), 69, "no station is running"),
        (("chart", "spam"), 2, 'there is no [[qc]] "spam"'),
        (("list", "--check", "spam"), 2, 'there is no [[qc]] "spam"'),
    ],
)
def test_bad_input_has_a_sentence(left: Bench, command: Here, words: tuple[str, ...], code: int, said: str) -> None:
    done = command("qc", *words, *config(left))
    assert (done.code, said in done.err) == (code, True), done.err


# -- the chart


@pytest.fixture
def charted(tmp_path: Path) -> Bench:
    """Twenty-two days of checks: twenty about 400, one far away that passed, one that failed."""
    bench = Bench(tmp_path)
    day = timedelta(days=1)
    for number, value in enumerate([*[399.0, 401.0, 400.0, 402.0, 398.0] * 4, 409.0, 470.0], 1):
        at = bench.clock.now() - (30 - number) * day
        body = {
            "name": f"Q{number}", "check": "span", "parameter": "so2", "type": "span", "standard": 400.0,
            "begun": at.isoformat(), "by": "station", "mark": "M1",
        }  # fmt: skip
        verdict = "failed" if value > 460 else "passed"
        done = {**body, "do": "done", "verdict": verdict, "value": value, "judgements": []}
        bench.engine.keep(
            Record("qc", at, done, "stack", "cems"), Record("qc", at, {**body, "do": "back"}, "stack", "cems")
        )
    bench.engine.commit()
    bench.engine.shut_down()
    return bench


def test_the_chart_names_its_limits_their_source_and_what_breaks_them(charted: Bench, command: Here) -> None:
    done = command("qc", "chart", "span", *config(charted))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "Control chart of span"
    assert sum(line.startswith("2026-") for line in lines) == 22
    assert "centre 400, s 1.45: mean and standard deviation of the first 20 checks that passed" in done.out
    assert "Q21: one point beyond 3 s (Western Electric 1956, recalled; confidence low)" in done.out
    assert "the trend is locked since" in done.out
    assert max(map(len, lines[1:23])) < 90
    assert "质控图" in command("qc", "chart", "span", "--lang", "zh", *config(charted)).out


def test_checks_of_another_standard_are_on_another_chart(charted: Bench, command: Here) -> None:
    """A new bottle of half the value would else be nothing but points beyond 3 s."""
    with opened(charted) as store:
        (old,) = [
            r for r in store.records("qc", BEGINNING, END) if r.body.get("name") == "Q20" and r.body["do"] == "done"
        ]
        new = {**old.body, "name": "Q23", "standard": 200.0, "value": 201.0}
        with store.transaction():
            store.add_records([Record("qc", charted.clock.now(), new, "stack", "cems")])
    made = json.loads(command("qc", "chart", "span", "--json", *config(charted)).out)
    assert [(one["name"], one["broken"]) for one in made["points"]] == [("Q23", [])]
    assert made["limits"] is None
    said = command("qc", "chart", "span", *config(charted)).out
    assert "22 checks in another standard are not on this chart" in said
    assert "另有 22 次" in command("qc", "chart", "span", "--lang", "zh", *config(charted)).out


def test_the_chart_as_a_picture_and_as_json(charted: Bench, command: Here) -> None:
    picture = charted.folder / "span.svg"
    done = command("qc", "chart", "span", "--svg", picture, *config(charted))
    assert (done.code, str(picture) in done.out) == (0, True)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    made = json.loads(command("qc", "chart", "span", "--json", *config(charted)).out)
    assert (made["limits"]["count"], made["rules"]["confidence"]) == (20, "low")
    assert made["points"][20]["broken"] == ["one_beyond_3s"]
    nowhere = command("qc", "chart", "span", "--svg", charted.folder / "no" / "span.svg", *config(charted))
    assert (nowhere.code, "cannot be written" in nowhere.err) == (74, True)


def test_without_a_verdict_there_is_no_chart(tmp_path: Path, command: Here) -> None:
    bench = Bench(tmp_path)
    bench.engine.shut_down()
    done = command("qc", "chart", "span", *config(bench))
    assert (done.code, done.err) == (2, "span has no verdict on record yet\n")
    assert command("qc", "list", *config(bench)).out == "no check is on record\n"


def test_a_station_without_checks_says_so(tmp_path: Path, command: Here) -> None:
    start, end = STATION.index("[[qc]]"), STATION.index("[[uplink]]")
    bench = Bench(tmp_path, STATION[:start] + STATION[end:])
    assert bench.engine.checking is None
    bench.engine.shut_down()
    assert "nothing is checked by itself" in command("qc", "due", *config(bench)).out


# -- the running station


@contextmanager
def running(bench: Bench) -> Iterator[None]:
    """The station goes on in a thread of its own, and listens on its socket."""
    server = ControlServer(bench.loaded.control_socket)
    server.start(verbs(bench.engine))
    stop, failed = Event(), list[BaseException]()

    def live() -> None:
        try:
            while not stop.is_set():
                bench.run(1)
                stop.wait(0.002)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    thread = Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        server.close()
    assert failed == []


def test_a_person_runs_stops_and_judges_checks_of_the_running_station(tmp_path: Path, command: Here) -> None:
    bench = Bench(tmp_path)
    bench.unit.standards[("span", "so2")] = 404.0
    over(bench)
    with running(bench):
        began = command("qc", "run", "span", "--user", "Wang Fang", *config(bench))
        waits = began.code != 0
        if waits:  # the tail of the check before marks the point C
            assert "stack is marked C (M1, station: check Q1: span 400)" in began.err
        bench_waits(bench, lambda: bench.clock.now() > bench.checks[0].back + timedelta(seconds=121))
        bench.unit.standards[("span", "so2")] = 470.0
        began = command("qc", "run", "span", "--user", "Wang Fang", *config(bench))
        assert (began.code, began.out) == (0, "Q2: span has begun; see station qc list\n"), began.err
        busy = command("qc", "run", "span", "--user", "Li Wei", *config(bench))
        assert (busy.code, busy.err) == (75, "span: Q2 is under way at cems\n")
        bench_waits(bench, lambda: bench.checks[1].back is not None)
        done = command("qc", "confirm", "Q2", "--user", "Wang Fang", "--reason", "lamp", "--mark", "M", *config(bench))
        assert (done.code, "marked M" in done.out) == (0, True), done.err
        calibrating = command("calibrate", "list", *config(bench))
        assert calibrating.code == 0
        rows: list[dict[str, Any]] = json.loads(command("qc", "due", "--json", *config(bench)).out)["checks"]
        assert rows[0]["locked_since"] is not None
    assert bench.checks[1].word["user"] == "Wang Fang"
    bench.engine.shut_down()


def bench_waits(bench: Bench, done: Any) -> None:
    """Wait for what the station's own thread brings about."""
    from tests.station.commands import until

    until(done, 20, lambda: str(bench.events()))
