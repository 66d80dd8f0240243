"""Half a station.toml starts no station: the last good one is used, and it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from station import written
from station.config import load
from station.lastgood import instead, is_cut, keep
from station.model import ConfigError
from station.service import configured
from station.written import write_whole
from tests.station.commands import configure, daemon, station
from tests.station.test_service import QUICK, instruments, rows


def test_no_cut_of_a_file_that_ran_starts_a_station_on_the_rest_of_it(tmp_path: Path) -> None:
    """At any byte: the last good one, and never a shorter one; what lacks nothing but comments is itself."""
    path = configure(tmp_path)
    whole = path.read_bytes() + b"# the end\n"
    path.write_bytes(whole)
    (tmp_path / "data").mkdir()
    keep(load(path))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        loaded = configured(path)
        if loaded.content == whole[:size]:
            assert whole[size:].strip() in (b"# the end", b""), size
        else:
            assert loaded.content == whole
        assert loaded.config.bus[0].device[0].poll_seconds == 5


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (b"a = 1\n[b]\nc = 2\n", False),
        (b"a = 1\n[b]\nc = 3\n", False),  # somebody is at work
        (b"a = 1\n[b]\nc = 2\nd = 4\n", False),
        (b"a = 1\n# [b] taken out\n", False),
        (b"a = 1\n", True),
        (b"a = 1\n[b]\nc = 3", True),
        (b"a = 1\n[b]\n\0\0\0\0\0\0", True),
        (b"", True),
    ],
)
def test_what_is_taken_for_cut(content: bytes, cut: bool) -> None:
    assert is_cut(content, b"a = 1\n[b]\nc = 2\n") is cut


def test_a_file_whose_last_line_has_no_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = configure(tmp_path)
    path.write_text(path.read_text().rstrip("\n"))
    with pytest.raises(ConfigError, match=r"station\.toml:\d+: the last line has no end, so the file may be cut short"):
        load(path)


def test_check_names_a_file_that_ends_too_early_though_every_line_is_whole(tmp_path: Path) -> None:
    """And how somebody who meant it says so."""
    more = '[[point]]\ncode = "second"\nname = "Second"\nst = "39"\n'
    path = configure(tmp_path)
    short = path.read_text()
    path.write_text(short + more)
    (tmp_path / "data").mkdir()
    keep(load(path))
    assert station("check", path).code == 0
    path.write_text(short)
    done = station("check", path)
    assert (done.code, "is the beginning of the configuration that ran last, cut short" in done.out) == (1, True)
    path.write_text(short + "# end\n")
    assert station("check", path).code == 0
    assert configured(path).content.endswith(b"# end\n")


def test_a_fault_that_is_no_cut_is_refused_and_nothing_else_is_run(tmp_path: Path) -> None:
    path = configure(tmp_path)
    (tmp_path / "data").mkdir()
    keep(load(path))
    path.write_text(path.read_text().replace("poll_seconds", "pol_seconds"))
    with pytest.raises(ConfigError, match="did you mean poll_seconds"):
        configured(path)


def test_a_good_one_that_cannot_be_used_any_more_is_not(tmp_path: Path) -> None:
    """Its credential is gone: what is wrong with the file that is there is said."""
    path = configure(tmp_path)
    (tmp_path / "data").mkdir()
    whole = path.read_bytes()
    keep(load(path))
    (tmp_path / "password").unlink()
    assert instead(path, whole[:100]) is None
    path.write_bytes(whole[:100])
    with pytest.raises(ConfigError):
        configured(path)


def test_a_station_goes_on_with_its_last_good_configuration_and_says_so(tmp_path: Path) -> None:
    """With an event and in the log; its tools find it, and check names the fault."""
    path = configure(tmp_path, *QUICK)
    whole = path.read_bytes()
    with instruments(path), daemon(path) as process:
        assert process.stop() == 0
    good = load(path)
    assert good.good_file.read_bytes() == whole
    assert good.good_file.stat().st_mode & 0o777 == 0o600
    with instruments(path), daemon(path) as process:
        path.write_bytes(whole[: whole.rindex(b"[[uplink.point]]")])
        done = station("status", "--config", path, "--json")
        assert json.loads(done.out)["running"] is True
        assert "is cut short; the last configuration that ran is used" in done.err
        assert process.stop() == 0
    path.write_bytes(whole)
    with instruments(path):
        _starts_on_half(path, whole)
    assert station("check", path).code == 1
    path.write_bytes(whole)
    assert station("check", path).code == 0


def _starts_on_half(path: Path, whole: bytes) -> None:
    from station.control import NotRunning, ask
    from tests.station.commands import served, until

    socket = load(path).control_socket
    path.write_bytes(whole.rstrip(b"\n"))

    def answers() -> bool:
        try:
            return bool(ask(socket, "status", timeout=5))
        except NotRunning:
            return False

    with served("run", "--config", path) as process:
        until(answers, 15, lambda: process.text)
        assert process.stop() == 0
        assert "is cut short; the last configuration that ran is used" in process.text
    path.write_bytes(whole)
    assert rows(path, "SELECT arguments FROM event WHERE code = 'config_cut_short'") == [('{"file": "station.toml"}',)]
    path.write_bytes(whole.rstrip(b"\n"))


# -- what the program writes itself


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_at_any_step_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "station.toml"
    write_whole(path, "a = 1\n", mode=0o640)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((written.os, "fsync") if step == "fsync" else (Path, "replace")), fails)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "a = 2\n")
    assert path.read_text() == "a = 1\n"
    assert [one.name for one in tmp_path.iterdir()] == ["station.toml"]


def test_a_file_that_is_written_again_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    write_whole(path, "a = 1\n", mode=0o640)
    write_whole(path, "a = 2\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("a = 2\n", 0o640)
