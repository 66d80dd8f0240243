"""The daemon as a process, against an emulated line and platform: it starts, serves, fails and stops in words."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.emulator import EmulatedBus, emulated_bus
from station.config import load
from station.store import SCHEMA_VERSION, Store, connect
from tests.station.commands import ROOT, answer, configure, daemon, environment, served, station, until
from uplink.hj212.emulator import Platform

QUICK = (('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1'), ("poll_seconds = 5", "poll_seconds = 1"))


@contextmanager
def instruments(path: Path) -> Iterator[EmulatedBus]:
    """The instruments of *path* on an emulated line."""
    (bus,) = load(path).config.bus
    with emulated_bus(bus, bus.device, link=Path(bus.port), pace=False) as emulated:  # type: ignore[arg-type]
        yield emulated


def asked(path: Path) -> Any:
    """What the station of *path* says about itself; it must run."""
    return answer(load(path).control_socket)


def rows(path: Path, sql: str) -> list[Any]:
    """Rows of the database of *path*, as another process sees them."""
    with closing(connect(load(path).database, read_only=True)) as db:
        return db.execute(sql).fetchall()


def count(path: Path) -> int:
    """Readings that are committed."""
    return int(rows(path, "SELECT count(*) FROM reading WHERE raw IS NOT NULL")[0][0])


# -- life


def test_systemd_hears_that_it_is_ready_lives_and_stops(tmp_path: Path) -> None:
    """READY=1 first; STATUS in words; WATCHDOG=1 while it lives; STOPPING=1 in the end."""
    path = configure(tmp_path, *QUICK)
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor, instruments(path):
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(0.1)

        def heard(words: str) -> bool:
            try:
                told.append(supervisor.recv(1000).decode())
            except TimeoutError:
                return False
            return told[-1] == words

        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with served("run", "--config", path, env=env) as process:
            until(lambda: heard("WATCHDOG=1"), 15, lambda: (told, process.text))
            until(lambda: heard("STATUS=1 of 1 devices answer, 1 messages owed"), 10, lambda: told)
            process.process.terminate()
            until(lambda: heard("STOPPING=1"), 10, lambda: told)
            assert process.ended() == 0
    assert told[0] == "READY=1"
    assert {text.partition("=")[0] for text in told} == {"READY", "WATCHDOG", "STATUS", "STOPPING"}


def test_sigterm_stops_it_with_everything_committed(tmp_path: Path) -> None:
    """Within 10 s, exit 0: what had been polled is stored, the stop noted, socket and lock gone, nothing owed."""
    with Platform() as platform:
        path = configure(tmp_path, QUICK[1], ("port = 9\n", f"port = {platform.port}\n"))
        with instruments(path), daemon(path) as process:
            until(lambda: asked(path)["store"]["taken"] >= 4)
            until(lambda: asked(path)["platforms"][0]["answered"] >= 1)
            found = asked(path)
            assert found["devices"][0]["answers"] is True
            began = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - began < 10
        assert count(path) >= found["store"]["taken"]
        assert [code for (code,) in rows(path, "SELECT code FROM event ORDER BY id")][-1] == "stop"
        assert process.lines[-1].endswith("INFO station test: stopped, everything committed")
        assert not load(path).control_socket.exists()
        with (tmp_path / "data" / "station.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert [r.cn for r in platform.records()] == ["2081"]


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """It starts again over the stale socket, on the same database, and goes on."""
    path = configure(tmp_path, *QUICK)
    with instruments(path):
        with daemon(path) as process:
            until(lambda: count(path) >= 4)
            process.process.kill()
            assert process.ended() == -signal.SIGKILL
        before = count(path)
        assert load(path).control_socket.is_socket()
        with daemon(path) as process:
            until(lambda: count(path) >= before + 2)
            assert process.stop() == 0
    assert count(path) >= before + 2
    codes = [code for (code,) in rows(path, "SELECT code FROM event ORDER BY id")]
    assert (codes.count("start"), codes.count("stop")) == (2, 1)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_second_station_on_the_same_data_is_turned_away(tmp_path: Path) -> None:
    """Exit 75; the first does not notice."""
    path = configure(tmp_path)
    with daemon(path) as first:
        done = station("run", "--config", path)
        assert (done.code, sentences(done.err)) == (
            75, [f"{tmp_path}/data: another station already runs on this data folder; stop it first"],
        )  # fmt: skip
        assert asked(path)["running"] is True
        assert first.stop() == 0
    assert [code for (code,) in rows(path, "SELECT code FROM event ORDER BY id")].count("start") == 1


def test_a_missing_port_is_waited_for_and_said_once(tmp_path: Path) -> None:
    """The station runs, status and screen show why; when the instrument is plugged in, it is read."""
    path = configure(tmp_path, *QUICK)
    words = f"{tmp_path}/port: cannot be opened: No such file or directory"
    with daemon(path) as process:
        until(lambda: asked(path)["devices"][0]["missed"] >= 2)
        (device,) = asked(path)["devices"]
        assert (device["answers"], device["last_reply"], device["error"]) == (False, None, words)
        assert f"dust: {words}" in " ".join(station("status", "--config", path).out.split())
        with instruments(path):
            process.says("the port is back")
            until(lambda: asked(path)["devices"][0]["answers"])
            assert process.stop() == 0
    assert process.text.count("cannot be opened") == 1
    assert f"WARNING bus line: {words}; trying again every 2 s" in process.text


def test_export_and_status_see_what_was_read_a_moment_ago(tmp_path: Path) -> None:
    """The tools have the running station commit first, however long its interval."""
    path = configure(
        tmp_path, ("poll_seconds = 5", "poll_seconds = 1"), ("realtime_seconds = 30", "realtime_seconds = 3600")
    )
    with instruments(path), daemon(path) as process:
        until(lambda: asked(path)["store"]["taken"] >= 4)
        taken, stored = asked(path)["store"]["taken"], count(path)
        assert stored < taken
        done = station("export", "--config", path)
        assert done.code == 0
        assert len(done.out.splitlines()) - 1 >= taken
        assert process.stop() == 0


# -- a platform that does not keep to the rules


@contextmanager
def babbling() -> Iterator[tuple[int, list[int]]]:
    """A server that answers whatever it hears with rubbish; its port, and how many frames it was sent."""
    heard: list[int] = []
    rubbish = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"##0005hello0000\r\n",
        bytes(range(256)) * 8,
        b"##9999" * 50,
        b"\r\n",
    ]

    def talk(client: socket.socket) -> None:
        with client:
            try:
                while client.recv(65536):
                    heard.append(1)
                    client.sendall(rubbish[len(heard) % len(rubbish)])
            except OSError:
                return

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_platform_that_speaks_rubbish_is_said_once_and_owed_on(tmp_path: Path) -> None:
    """Nothing counts as delivered, measuring goes on, the journal is not flooded."""
    with babbling() as (port, heard):
        path = configure(
            tmp_path,
            *QUICK,
            ("port = 9\n", f"port = {port}\ntimeout_seconds = 0.2\nresends = 1\nreconnect_seconds = 1\n"),
        )
        with instruments(path), daemon(path) as process:
            until(lambda: len(heard) >= 4, 20, lambda: process.text)  # two connections, two tries each
            until(lambda: asked(path)["store"]["readings"] >= 4)
            (platform,) = asked(path)["platforms"]
            assert (platform["answered"], platform["owed"] >= 1) == (0, True)
            assert process.stop() == 0
    said = [line for line in process.lines if " platform district: " in line]
    assert len(said) == 1, process.text
    assert "Traceback" not in process.text


# -- what it will not start on


def sentences(text: str) -> list[str]:
    """The lines that are no notes, without time and level."""
    found = re.findall(r"(?m)^\S+ \S+ (?:ERROR|CRITICAL) (.*)$", text)
    rest = [x for x in text.splitlines() if not re.match(r"\S+ \S+ (INFO|WARNING|ERROR|CRITICAL) ", x)]
    return found + rest


def _newer(folder: Path) -> None:
    _store(folder, 99)


def _older(folder: Path) -> None:
    _store(folder, 0)


def _store(folder: Path, version: int) -> None:
    Store.open(folder / "data" / "station.db").close()
    with closing(connect(folder / "data" / "station.db")) as db:
        db.execute(f"PRAGMA user_version={version}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _folder_for_database(folder: Path) -> None:
    (folder / "data" / "station.db").mkdir(parents=True)


def _folder_for_lock(folder: Path) -> None:
    (folder / "data" / "station.lock").mkdir(parents=True)


def _file_for_data(folder: Path) -> None:
    (folder / "data").write_text("a file")


def _nothing(folder: Path) -> None:
    """The configuration alone is wrong."""


TWIN = '[[bus.device]]\nname = "soot"\nprofile = "yosemitech-y4000"\nunit_id = 1\npoint = "site"\n\n'
REFUSALS: dict[str, tuple[Callable[[Path], None], tuple[str, str] | None, int, str]] = {
    "unknown profile": (
        _nothing, ('"deltaohm-pmsense"', '"deltaohm-pmsens"'), 78,
        "{toml}:{line[bus.device]}: bus[0].device[0]: ",
    ),
    "one unit_id twice": (
        _nothing,
        ("[[uplink]]", TWIN + "[[uplink]]"),
        78, '{toml}:{line[bus.device]}: bus[0].device[1].unit_id: 1 is already "dust" on this bus',
    ),
    "no TOML": (_nothing, ("[station]", "[station"), 78, "{toml}:2: not TOML: "),
    "a newer database": (
        _newer, None, 65,
        f"{{data}}/station.db: was written by a newer version (schema 99, this one knows {SCHEMA_VERSION}); "
        "install that version again, the file is unchanged",
    ),
    "an older database": (
        _older, None, 65,
        "{data}/station.db: was written by an older version (schema 0); run: station migrate --config station.toml",
    ),
    "a folder for a database": (
        _folder_for_database, None, 74,
        "{data}/station.db: cannot be opened; the folder must exist and be writable for this user",
    ),
    "a folder for a lock": (
        _folder_for_lock, None, 74,
        "{data}/station.lock: cannot be opened (Is a directory); check who owns the data folder",
    ),
    "a file for a data folder": (
        _file_for_data, None, 74, "{data}: the data folder cannot be written (File exists); check who owns it",
    ),
    "a data folder in /proc": (
        _nothing, ('"data"', '"/proc/data"'), 74,
        "/proc/data: the data folder cannot be written (No such file or directory); check who owns it",
    ),
    "no place for the control socket": (
        _nothing, ('data_folder = "data"', 'data_folder = "data"\ncontrol_socket = "password/sock"'), 74,
        "{folder}/password/sock: the control socket cannot be made (File exists); "
        "station.control_socket may name another place",
    ),
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every database file below *folder*."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*.db*")) if p.is_file()}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_refuses_in_one_sentence(name: str, tmp_path: Path) -> None:
    """What, where and what to do; a documented exit code; the database is left as it was."""
    prepare, change, code, sentence = REFUSALS[name]
    path = configure(tmp_path, *([change] if change else []))
    prepare(tmp_path)
    before = contents(tmp_path)
    done = station("run", "--config", path)
    assert (done.code, done.out) == (code, "")
    (said,) = sentences(done.err)
    pattern = sentence.replace("{line[bus.device]}", "@").format(
        toml=path, data=tmp_path / "data", folder=tmp_path
    )  # fmt: skip
    assert re.match(re.escape(pattern).replace("@", r"\d+"), said), said
    assert contents(tmp_path) == before


def test_a_missing_configuration_is_said(tmp_path: Path) -> None:
    """Exit 78, by whichever door: the daemon's own, or the commands'."""
    path = tmp_path / "none.toml"
    for words in (["--config", path], [f"--config={path}"]):
        done = station("run", *words)
        assert done.code == 78
        (said,) = sentences(done.err)
        assert said.startswith(f"{path}: cannot be read (No such file or directory)")


def test_run_without_its_words_is_a_usage_error(tmp_path: Path) -> None:
    """Exit 2."""
    assert station("run", "--config").code == 2
    assert station("run", "--confg", "x").code == 2


UNFORESEEN = """
import sys
from station import service
def run(loaded): raise KeyError("a fault of ours")
service.run = run
sys.exit(service.main(["run", "--config", sys.argv[1]]))
"""


def test_an_unforeseen_error_goes_to_the_journal_whole_and_to_a_terminal_as_a_sentence(tmp_path: Path) -> None:
    """Exit 70 both times."""
    words = [sys.executable, "-c", UNFORESEEN, str(configure(tmp_path))]
    journal = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert journal.returncode == 70
    assert "Traceback" in journal.stderr
    assert "KeyError: 'a fault of ours'" in journal.stderr
    terminal, line = os.openpty()
    shown = subprocess.run(words, cwd=ROOT, env=environment(), stderr=line, stdout=line, check=False)
    os.close(line)
    said = os.read(terminal, 65536).decode().strip()
    os.close(terminal)
    assert shown.returncode == 70
    assert said.endswith(
        "ERROR the station stopped on an unforeseen error (KeyError: 'a fault of ours'); please report it"
    )
    assert "\n" not in said


# -- a disk that fails


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, or a skipped test."""
    folder = tmp_path / "data"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small tmpfs to be filled")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_a_disk_that_fills_up_costs_no_reading(disk: Path) -> None:
    """Readings wait in memory, it is said once, and stored when there is room again."""
    path = configure(disk.parent, *QUICK)
    with instruments(path), daemon(path) as process:
        until(lambda: count(path) >= 2)
        filler = fill(disk)
        until(lambda: asked(path)["store"]["error"], 30, lambda: process.text)
        full = f"{disk}/station.db: the disk is full; free some space, nothing stored is lost"
        assert asked(path)["store"]["error"] == full
        assert f"The store: {full}" in " ".join(station("status", "--config", path).out.split())
        before, taken = asked(path)["store"]["readings"], asked(path)["store"]["taken"]
        until(lambda: asked(path)["store"]["taken"] >= taken + 4)
        assert asked(path)["store"]["readings"] == before
        filler.unlink()
        until(lambda: not asked(path)["store"]["error"], 30, lambda: process.text)
        taken = asked(path)["store"]["taken"]
        until(lambda: count(path) >= taken)
        assert process.stop() == 0
    assert [line.partition(" ERROR ")[2] for line in process.lines if " ERROR " in line] == [
        f"{full}; readings are kept in memory until it works again"
    ]
    assert process.text.count("can be written again") == 1


def test_it_does_not_start_on_a_full_or_read_only_disk(disk: Path) -> None:
    """Exit 74, with what to do about it."""
    path = configure(disk.parent)
    filler = fill(disk)
    done = station("run", "--config", path)
    assert (done.code, sentences(done.err)) == (74, [f"{disk}: the data folder is full; free some space"])
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = station("run", "--config", path)
    assert (done.code, sentences(done.err)) == (74, [f"{disk}: the data folder is read-only; remount it writable"])


def test_status_and_export_work_on_a_read_only_disk(disk: Path) -> None:
    """Looking at a card that was pulled needs no writing."""
    path = configure(disk.parent, *QUICK)
    with instruments(path), daemon(path) as process:
        until(lambda: count(path) >= 2)
        assert process.stop() == 0
    stored = count(path)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    shown = station("status", "--json", "--config", path)
    assert (shown.code, shown.err) == (0, "")
    done = station("export", "--config", path)
    assert (done.code, len(done.out.splitlines()) - 1) == (0, stored)


def test_status_and_export_say_that_the_disk_is_full(disk: Path) -> None:
    """Where there is no room for what a reader needs: the words of the daemon, not SQLite's."""
    path = configure(disk.parent, *QUICK)
    with instruments(path), daemon(path) as process:
        until(lambda: count(path) >= 2)
        assert process.stop() == 0
    fill(disk)
    full = f"{disk}/station.db: the disk is full; free some space, nothing stored is lost"
    for command in ("status", "export"):
        done = station(command, "--config", path)
        assert (done.code, sentences(done.err)) == (74, [full])
