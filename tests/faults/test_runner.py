"""The runner itself: every row is there, one that fails makes exit code 1, one that dies is a row that failed."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

from tests.faults import runner
from tests.faults.matrix import ROWS, Row
from tests.faults.outcome import CannotRun, Outcome
from tests.faults.runner import Line, main, printed, run, verdict

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


def test_a_row_that_takes_its_process_along_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real process of a row, of a number that the matrix does not have."""
    monkeypatch.setattr(runner.subprocess, "run", _dying(runner.subprocess.run))
    line = runner.run_apart(row("dies"), long=False)
    assert line.state == "FAILED"
    assert line.reason.startswith("ended with 7")


def _dying(real: object) -> object:
    """The process of the row *dies*, in the place of that of a row of the matrix."""

    def started(words: list[str], **more: object) -> object:
        code = f"from {HERE} import dies; dies(None, 1)"
        return real([words[0], "-c", code], **more)  # type: ignore[operator]

    return started


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
