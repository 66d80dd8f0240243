"""The runner itself: every row is there, one that fails makes exit code 1, one that dies is a row that failed."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.faults import runner
from tests.faults.matrix import ROWS, Row
from tests.faults.outcome import CannotRun, Outcome
from tests.faults.runner import Line, Matrix, Processes, main, printed, run, verdict

HERE = "tests.faults.test_runner"


def holds(folder: Path, runs: int) -> Outcome:
    return Outcome(runs, "fine", True, 0, 0, 0, 1.5)


def loses(folder: Path, runs: int) -> Outcome:
    return Outcome(runs, "one is missing", True, 1, 0, 0)


def never_ran(folder: Path, runs: int) -> Outcome:
    return Outcome(0, "nothing was done", True)


def breaks(folder: Path, runs: int) -> Outcome:
    raise ZeroDivisionError("division by zero")


def dies(folder: Path, runs: int) -> Outcome:
    os._exit(7)


def cannot(folder: Path, runs: int) -> Outcome:
    raise CannotRun("no such disk here")


def row(name: str | None, number: int = 1, reason: str = "") -> Row:
    return Row(number, "a fault", name and f"{HERE}:{name}", 3, 30, reason)


def test_every_row_of_the_matrix_is_there_once_and_has_a_function_or_a_reason() -> None:
    assert [one.number for one in ROWS] == list(range(1, 51))
    assert len({one.fault for one in ROWS}) == 50
    for one in ROWS:
        assert (one.function is None) == bool(one.reason), one
        assert 0 < one.quick <= one.long, one
        if one.function is not None:
            module, _, name = one.function.partition(":")
            assert callable(getattr(importlib.import_module(module), name)), one


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("holds", "held", ""),
        ("loses", "FAILED", ""),
        ("never_ran", "FAILED", ""),
        ("breaks", "FAILED", "ZeroDivisionError: division by zero"),
        ("cannot", "not run", "no such disk here"),
        (None, "not run", "no broker"),
    ],
)
def test_what_a_row_came_to(name: str | None, state: str, said: str) -> None:
    line = run(row(name, reason="" if name else "no broker"), long=False)
    assert (line.state, line.reason) == (state, said)
    assert said in printed(line)


def test_the_long_set_does_more() -> None:
    for long, runs in ((False, 3), (True, 30)):
        found = run(row("holds"), long=long).outcome
        assert found is not None
        assert found.runs == runs


@pytest.mark.parametrize(
    ("states", "code"),
    [(["held", "not run"], 0), (["held", "FAILED"], 1), (["FAILED"], 1), (["not run"], 1), ([], 1)],
)
def test_the_exit_code_is_0_only_when_every_row_that_ran_held(states: list[str], code: int) -> None:
    assert verdict([Line(number, "a fault", state) for number, state in enumerate(states)]) == code


def test_a_run_that_was_cut_off_has_not_held() -> None:
    assert verdict([Line(1, "a fault", "held"), Line(2, "a fault", "not run", reason=runner.CUT)]) == 1


def test_a_row_that_takes_its_process_along_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real process of a row, of a number that the matrix does not have."""
    monkeypatch.setattr(runner.subprocess, "Popen", _instead(runner.subprocess.Popen, "dies(None, 1)"))
    line = runner.run_apart(row("dies"), Processes(), long=False)
    assert line.state == "FAILED"
    assert line.reason.startswith("ended with 7")


def _instead(real: Any, call: str) -> Any:
    """The process of a row of this file, in the place of that of a row of the matrix."""

    def started(words: list[str], **more: Any) -> Any:
        code = f"from {HERE} import *; {call}"
        return real([words[0], "-c", code], **more)

    return started


def test_whoever_looks_finds_what_is_done_and_a_cut_run_has_a_line_for_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is done, the second under way when the run is ended, the third has not begun."""
    monkeypatch.setattr(runner.subprocess, "Popen", _instead(runner.subprocess.Popen, "waits(None, 1)"))
    path, said = tmp_path / "matrix.json", list[str]()
    rows = [row("holds", 1), row("waits", 2), row("waits", 3), row(None, 4, "no broker")]
    matrix = Matrix(rows, long=False, done=[Line(1, "a fault", "held", 2.0, holds(tmp_path, 3))])
    monkeypatch.setattr(runner, "as_completed", _interrupted)
    matrix.run(1, said.append, lambda: None)
    runner.write(path, {"set": "quick", "commit": "c", "machine": "m"}, matrix.lines)
    assert [line.state for line in matrix.lines] == ["held", "not run", "not run", "not run"]
    assert [line.reason for line in matrix.lines] == ["", runner.CUT, runner.CUT, "no broker"]
    assert [text.split()[0] for text in said] == ["1", "2", "3", "4"]
    assert runner.held_before(path, {"set": "quick", "commit": "c", "machine": "m"}) == matrix.lines[:1]
    assert runner.held_before(path, {"set": "quick", "commit": "d", "machine": "m"}) == []
    assert runner.held_before(tmp_path / "nothing", {}) == []


def waits(folder: Path, runs: int) -> Outcome:
    Event().wait()
    raise AssertionError


def _interrupted(tasks: Any) -> Iterator[Any]:
    raise KeyboardInterrupt
    yield


def test_one_row_is_run_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--row 19 --json FILE`: the cheapest one, by the command itself."""
    assert main(["--row", "19", "--json", str(tmp_path / "matrix.json")]) == 0
    out = capsys.readouterr().out
    assert "Older and newer schema" in out
    assert out.endswith("1 held, 0 FAILED, 0 not run\n")
    written = json.loads((tmp_path / "matrix.json").read_text(encoding="utf-8"))
    assert {"date", "machine", "python", "commit", "set"} <= written.keys()
    (found,) = written["rows"]
    assert (found["number"], found["state"], found["outcome"]["lost"]) == (19, "held", 0)


def test_a_row_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--row", "51"])
    assert ended.value.code == 2
    assert "there are rows 1 to 50" in capsys.readouterr().err


def test_to_go_on_wants_the_file_of_before(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--go-on"])
    assert ended.value.code == 2
    assert "--go-on needs --json FILE" in capsys.readouterr().err
