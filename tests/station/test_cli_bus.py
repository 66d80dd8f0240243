"""`station bus`: every tool on an emulated line, alone and while a station collects from it."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import signal
import subprocess
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import drivers
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus, emulated_bus
from drivers.frames import sealed, to_hex
from drivers.line import read_request
from drivers.port import Speed
from drivers.profile import load as load_profile
from drivers.profile import parse
from station.clock import SystemClock
from station.config import load
from station.control import ControlServer
from station.engine import Engine
from station.model import Mark, Reading, Reason, Record
from station.recorder import DeviceState
from station.store import Miss, Series, Store
from station.verbs import verbs
from tests.station.commands import Here, configure, environment, until, words_of

MYSTERY = """
title = "whatever it is"
baudrate = 9600
unit_id = 17
[[register]]
parameter = "air_temperature"
table = "input"
address = 12
type = "i16"
scale = 0.1
unit = "°C"
range = [-40, 80]
example = 23.7
[[register]]
parameter = "humidity"
table = "input"
address = 14
type = "f32"
order = "CDAB"
unit = "%"
range = [0, 100]
example = 56.25
[[register]]
parameter = "ph"
table = "holding"
address = 5
type = "u16"
scale = 0.01
range = [0, 14]
example = 7.12
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    """`station` in this process, in a folder of its own, which keeps nothing at home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Here(monkeypatch, capfd)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated lines have no characters on a wire to wait for: the pauses a real one wants are short here."""
    monkeypatch.setattr("drivers.asking.GAP_MS", 1.0)
    monkeypatch.setattr("drivers.bus.SWITCH_SECONDS", 0.005)


@pytest.fixture
def unknown(tmp_path: Path) -> Iterator[EmulatedUnit]:
    """An instrument nobody has a profile of, at address 17 of the port tmp_path/port."""
    unit = EmulatedUnit(parse(MYSTERY, "mystery"))
    with EmulatedBus(9600, 10, [unit], pace=False, link=tmp_path / "port"):
        yield unit


@contextmanager
def collecting(folder: Path, *changes: tuple[str, str]) -> Iterator[Engine]:
    """A station that polls its emulated dust monitor, and an unknown instrument at 17, and answers tools."""
    loaded = load(configure(folder, ("poll_seconds = 5", "poll_seconds = 1"), *changes))
    (bus,) = loaded.config.bus
    devices: Any = bus.device
    with emulated_bus(bus, devices, loaded.profile_folders, link=folder / "port", pace=False) as line:
        line.units[17] = EmulatedUnit(parse(MYSTERY, "mystery"))
        line.units[18] = EmulatedUnit(load_profile("xy-md02"), 18)
        engine = Engine(loaded, Store.open(loaded.database), SystemClock(), uplinks=[])
        server = ControlServer(loaded.control_socket)
        server.start(verbs(engine))
        for poller in engine.pollers:
            poller.start()
        try:
            yield engine
        finally:
            server.close()
            engine.shut_down()


def found(done: Any) -> Any:
    """The object a command printed."""
    return json.loads(done.out)


# -- scan


def test_a_scan_alone_finds_the_instrument_and_says_what_fits(run: Here, unknown: EmulatedUnit, tmp_path: Path) -> None:
    """A profile of the operator's own is a hint like a shipped one."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.toml").write_text(MYSTERY, encoding="utf-8")
    words = ("bus", "scan", "./port", "--units", "15-18", "--baudrates", "9600", "--parities", "N1", "--patience", 0.05)
    done = run(*words, "--json")
    assert (done.code, done.err) == (0, "")
    (one,) = found(done)["found"]
    assert (one["unit_id"], one["baudrate"], one["parity"], one["stopbits"]) == (17, 9600, "N", 1)
    assert one["fits"][0]["profile"] == "mine"
    shown = run(*words)
    assert "17" in shown.out
    assert "mine" in shown.out
    assert "4 tries, at most" in shown.err


def test_a_scan_that_finds_nobody_says_what_to_look_at(run: Here, unknown: EmulatedUnit) -> None:
    """Exit 1."""
    done = run("bus", "scan", "./port", "--units", "20", "--baudrates", "9600", "--parities", "N1", "--patience", 0.05)
    assert done.code == 1
    assert "nobody answered: check supply, A and B" in done.out


def test_a_scan_of_the_stations_line_goes_on_between_its_polls(run: Here, tmp_path: Path) -> None:
    """At its own speed alone, unless it may disturb; the configured instrument has its name, nothing is missed."""
    with collecting(tmp_path) as engine:
        until(lambda: engine.recorder.taken)
        words = ("bus", "scan", "line", "--units", "1,16,17", "--patience", 0.05)
        done = run(*words, "--json")
        result = found(done)
        assert [(one["unit_id"], one["device"]) for one in result["found"]] == [(1, "dust"), (17, None)]
        assert {(one["baudrate"], one["parity"]) for one in result["found"]} == {(19200, "E")}
        assert (result["tried"], result["of"]) == (3, 3)
        assert "only 19200 8E1 is tried; --disturb tries the others too" in run(*words).err
        before = engine.recorder.taken
        until(lambda: engine.recorder.taken > before)
        assert engine.recorder.state("dust").failures == 0
        assert 16 not in engine.lines["line"].statistics  # who is not there is not in the line's statistics


def test_other_speeds_are_tried_on_the_stations_line_only_when_it_may_be_disturbed(run: Here, tmp_path: Path) -> None:
    """The line has its own speed again afterwards."""
    with collecting(tmp_path) as engine:
        until(lambda: engine.recorder.taken)
        words = ("bus", "scan", "line", "--units", "17", "--patience", 0.05, "--baudrates", "9600", "--parities", "N1")
        result = found(run(*words, "--disturb", "--json"))
        assert result["of"] == 2
        before = engine.recorder.taken
        until(lambda: engine.recorder.taken > before)
        assert engine.recorder.state("dust").failures == 0  # who is set to 19200 8E1 would hear noise at 9600


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--units", "0-5"), '"0-5": addresses are 1 to 247, such as 1-32 or 1,5,17'),
        (("--units", "x"), '"x": addresses are 1 to 247, such as 1-32 or 1,5,17'),
        (("--baudrates", "9601"), '"9601": baudrates are 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200'),
        (("--parities", "M1"), '"M1": parities are N1, E1, O1, N2, E2, O2'),
    ],
)
def test_what_cannot_be_scanned_is_one_sentence(run: Here, words: tuple[str, ...], sentence: str) -> None:
    """Exit 2."""
    done = run("bus", "scan", "./port", *words)
    assert (done.code, done.said) == (2, [sentence])


@pytest.mark.parametrize("how", ["key", "signal"])
def test_a_scan_that_is_stopped_keeps_what_it_found(unknown: EmulatedUnit, tmp_path: Path, how: str) -> None:
    """By q at a terminal, by Ctrl-C anywhere; the terminal is as it was."""
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    words = words_of("bus", "scan", "./port", "--units", "17,20-247", "--baudrates", "9600", "--parities", "N1")
    env = environment(PYTHONPATH=str(Path(drivers.__file__).parents[1]))
    with subprocess.Popen(
        words, cwd=tmp_path, env=env, stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True
    ) as process:
        said = ""
        while "found 1" not in said:
            said += os.read(master, 1024).decode()
        if how == "key":
            os.write(master, b"q")
        else:
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    after = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0
    assert re.match(r"stopped after \d+ of 229\n", out)
    assert "17" in out.splitlines()[-1]
    assert after == before


# -- the way to a line


def test_a_bus_that_is_not_there_is_one_sentence(run: Here, tmp_path: Path) -> None:
    """A name gets the known ones, a port what the system says."""
    configure(tmp_path)
    done = run("bus", "peek", "lin", 1, 0)
    assert (done.code, done.said) == (2, ['there is no bus "lin"; did you mean line?; known: line, or name a port'])
    done = run("bus", "peek", "/dev/no-such-port", 1, 0)
    assert done.code == 69
    assert done.said == ["/dev/no-such-port: cannot be opened: No such file or directory"]


def test_a_port_that_another_program_has_is_one_sentence(run: Here, unknown: EmulatedUnit, tmp_path: Path) -> None:
    """Two programs on one line would take each other's replies."""
    from drivers.base import BusSettings
    from drivers.port import open_port

    port = open_port(BusSettings(name="x", port=str(tmp_path / "port")))
    try:
        done = run("bus", "peek", "./port", 17, 5, 1)
    finally:
        port.close()
    assert done.code == 69
    assert len(done.said) == 1
    assert "another program has it, and a line has one master" in done.err


def test_another_master_on_the_line_is_named(run: Here, tmp_path: Path) -> None:
    """Its requests come between ours; what looks like a reply may be its."""
    unit = EmulatedUnit(parse(MYSTERY, "mystery"))
    answer = unit.answer

    def followed(request: bytes) -> bytes | None:
        """The reply, and behind it the other master's next question."""
        return (answer(request) or b"") + read_request(9, "holding", 0, 4)

    unit.answer = followed  # type: ignore[method-assign]
    with EmulatedBus(9600, 10, [unit], pace=False, link=tmp_path / "port"):
        done = run("bus", "solve", "./port", 17, "--shows", "7.12", "--range", "5", "--reads", 5, "--patience", 0.1)
    assert "another master speaks on this line; stop it" in done.err


# -- peek


def test_peek_shows_every_type_and_order_and_marks_what_an_instrument_would_mean(
    run: Here, unknown: EmulatedUnit
) -> None:
    """The float in its order, the word in its sign."""
    unknown.values = {"air_temperature": -4.5, "humidity": 56.25}
    shown = found(run("bus", "peek", "./port", 17, "0x0C", 4, "--table", "input", "--json"))
    assert shown["registers"][0] == {"address": 12, "word": 0xFFD3, "bcd": None, "text": ".."}
    likely = {(v["address"], v["type"], v["order"]): v["value"] for v in shown["values"] if v["plausible"]}
    assert likely[12, "i16", "AB"] == -45
    assert likely[14, "f32", "CDAB"] == 56.25
    assert {v["order"] for v in shown["values"] if v["type"] == "u32"} == {"ABCD", "DCBA", "BADC", "CDAB"}
    lines = [line.split() for line in run("bus", "peek", "./port", 17, 12, 4, "--table", "input").out.splitlines()]
    assert any(line[0] == "14" and line[-2:] == ["56.25", "*"] for line in lines if line)


def test_peek_of_what_is_not_there_is_one_sentence(run: Here, unknown: EmulatedUnit) -> None:
    """An exception, silence, and what cannot be an address."""
    done = run("bus", "peek", "./port", 17, 500)
    assert (done.code, len(done.said)) == (69, 1)
    assert "exception 2 (illegal data address) to holding registers 500" in done.err
    done = run("bus", "peek", "./port", 3, 0, "--patience", 0.05)
    assert (done.code, len(done.said)) == (69, 1)
    assert "no reply to" in done.err
    done = run("bus", "peek", "./port", 17, 10, 20, "--table", "input")
    assert done.code == 0
    assert "16 of 20 registers are not there or cannot be read" in done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:5]] == ["12", "13", "14", "15"]
    done = run("bus", "peek", "./port", 17, "70000")
    assert (done.code, done.said) == (2, ['"70000" is not an address: they go from 0 to 65535'])


def test_peek_speaks_any_function_but_none_that_writes(run: Here, unknown: EmulatedUnit) -> None:
    """The instrument refuses the maker's own; writes are poke's."""
    done = run("bus", "peek", "./port", 17, 0, "--function", "0x42", "--data", "00 00 00 00")
    assert done.code == 69
    assert "exception 1 (illegal function)" in done.err
    done = run("bus", "peek", "./port", 17, 0, "--function", "6")
    assert (done.code, done.said) == (2, ["function 6 writes; station bus poke does that"])


def test_a_general_address_is_not_asked_where_several_instruments_are(run: Here, tmp_path: Path) -> None:
    """With a station or without: all would answer at once, and the bytes be nobody's."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mystery.toml").write_text(MYSTERY, encoding="utf-8")
    several = "address 255 is answered by every instrument of line at once (2 of them)"
    sentence = f"{several}; only a lonely one can be asked so"
    with collecting(tmp_path, ("[[uplink]]", SECOND)):
        shared = run("bus", "peek", "line", 255, 0, 1)
    assert (shared.code, shared.said) == (2, [sentence])
    with EmulatedBus(19200, 11, [EmulatedUnit(parse(MYSTERY, "mystery"))], pace=False, link=tmp_path / "port"):
        alone = run("bus", "peek", "line", 255, 0, 1)
    assert (alone.code, alone.said) == (2, [sentence])


def test_peek_goes_through_the_running_station(run: Here, tmp_path: Path) -> None:
    """By the bus's name or by its port; another function leaves an event."""
    with collecting(tmp_path) as engine:
        for name in ("line", "./port"):
            shown = found(run("bus", "peek", name, 17, 5, 1, "--json"))
            assert shown["registers"][0]["word"] == 712
        faster = run("bus", "peek", "line", 17, 5, 1, "--baudrate", 9600)
        assert (faster.code, len(faster.said)) == (2, 1)
        assert "the running station speaks at 19200 8E1; stop it to speak otherwise" in faster.err
        assert run("bus", "peek", "line", 17, 0, "--function", "66", "--data", "00000000").code == 69
        engine.tick()
        events = [code for (code,) in engine.store.query("SELECT code FROM event")]
    assert "bus_raw" in events


# -- solve


def test_the_display_finds_its_register_and_makes_a_profile(run: Here, unknown: EmulatedUnit, tmp_path: Path) -> None:
    """Two looks leave one; the file is a profile, and takes a second value."""
    words = ("bus", "solve", "./port", 17, "--range", "0-20", "--parameter", "air_temperature")
    first = found(run(*words, "--shows", "23.7", "--json"))
    assert first["looks"] == 1
    unknown.values = {"air_temperature": 24.9}
    second = found(run(*words, "--shows", "24.9", "--json", "--write", "profiles/mystery.toml"))
    assert second["looks"] == 2
    assert second["candidates"][0] == {
        "table": "input", "address": 12, "type": "u16", "order": "AB", "scale": 0.1, "offset": 0.0, "value": 24.9,
    }  # fmt: skip
    humid = ("bus", "solve", "./port", 17, "--range", "0-20", "--parameter", "humidity", "--shows", "56.25")
    assert run(*humid, "--write", "profiles/mystery.toml").code == 0
    made = load_profile("mystery", [tmp_path / "profiles"])
    assert (made.baudrate, made.unit_id, made.grade) == (9600, 17, "D")
    assert [(r.parameter, r.table, r.address, r.type, r.order, r.scale, r.unit) for r in made.registers] == [
        ("air_temperature", "input", 12, "i16", "", 0.1, "°C"),
        ("humidity", "input", 14, "f32", "CDAB", 1, "%"),
    ]
    again = run(*humid, "--write", "profiles/mystery.toml")
    assert (again.code, len(again.said)) == (2, 1)
    assert "has humidity already" in again.err


def test_at_a_terminal_it_asks_for_the_next_display(
    run: Here, unknown: EmulatedUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no number is asked again; Enter ends it."""

    class Typed(io.StringIO):
        """Whoever types moves the display first."""

        def readline(self, *size: Any) -> str:
            line = super().readline(*size)
            if line.strip() == "24.9":
                unknown.values = {"air_temperature": 24.9}
            return line

    monkeypatch.setattr("station.cli_solve._interactive", lambda: True)
    monkeypatch.setattr("sys.stdin", Typed("warm\n24.9\n\n"))
    done = run("bus", "solve", "./port", 17, "--range", "10-15", "--shows", "23.7")
    assert done.code == 0
    assert '"warm" is not a number such as 23.7' in done.out
    assert "ways to read 23.7, 24.9" in done.out


def test_what_no_register_says_is_said(run: Here, unknown: EmulatedUnit) -> None:
    """Exit 1; and a range with nothing in it is 69."""
    done = run("bus", "solve", "./port", 17, "--range", "0-20", "--shows", "991.5")
    assert done.code == 1
    assert "no register says 991.5" in done.out
    done = run("bus", "solve", "./port", 17, "--range", "900-910", "--shows", "1.5")
    assert (done.code, done.said) == (69, ["no register of this range can be read; try another --range or --table"])


def test_a_new_search_forgets_the_old_one(run: Here, unknown: EmulatedUnit) -> None:
    """What was typed wrong does not stay."""
    words = ("bus", "solve", "./port", 17, "--range", "0-20", "--json")
    assert found(run(*words, "--shows", "991.5"))["candidates"] == []
    assert found(run(*words, "--shows", "23.7"))["looks"] == 2
    assert found(run(*words, "--shows", "23.7", "--new"))["looks"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--shows", "warm"), '"warm" is not a number such as 23.7'),
        (("--shows", "1.0", "--parameter", "air_temprature"), 'there is no parameter "air_temprature"; did you mean'),
        (("--shows", "1.0", "--write", "x.toml"), "--write needs --parameter"),
        (("--shows", "1.0", "--range", "5-"), '"5-": registers are 0 to 65535'),
    ],
)
def test_what_cannot_be_solved_is_one_sentence(run: Here, words: tuple[str, ...], sentence: str) -> None:
    """Exit 2, before a port is touched."""
    done = run("bus", "solve", "./port", 17, *words)
    assert (done.code, len(done.said)) == (2, 1)
    assert done.err.startswith(sentence)


# -- profile probe


def test_a_probe_of_the_stations_line_goes_on_between_its_polls(run: Here, tmp_path: Path) -> None:
    """By the bus's name or by its port, at the line's own speed, whatever the maker ships; nothing is missed."""
    with collecting(tmp_path) as engine:
        line = engine.lines["line"]
        until(lambda: engine.recorder.taken)
        for name in ("line", "./port"):
            shown = found(run("profile", "probe", "xy-md02", "--port", name, "--unit", 18, "--json"))["variants"]
            assert [(one["variant"], one["values"]) for one in shown if one["plausible"]] == [
                ("tenths", {"air_temperature": 30.5, "humidity": 56.3}),
                ("cabinet-tenths", {"cabinet_temperature": 30.5, "cabinet_humidity": 56.3}),
            ]
        silent = run("profile", "probe", "xy-md02", "--port", "line", "--unit", 19)
        assert (silent.code, len(silent.said)) == (69, 1)
        assert "unit 19: no reply to input registers 1" in silent.err
        other = run("profile", "probe", "xy-md02", "--port", "line", "--unit", 18, "--baudrate", 9600)
        assert (other.code, len(other.said)) == (2, 1)
        assert "the running station speaks at 19200 8E1; stop it to speak otherwise" in other.err
        before = engine.recorder.taken
        until(lambda: engine.recorder.taken > before)
        assert engine.recorder.state("dust").failures == 0
        assert 18 not in line.statistics


# -- poke


def test_a_write_is_confirmed_by_typing_the_address_and_read_back(
    run: Here, unknown: EmulatedUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever types something else has not written."""
    monkeypatch.setattr("sys.stdin", io.StringIO("6\n"))
    done = run("bus", "poke", "./port", 17, 5, 700)
    assert (done.code, done.out) == (1, "unit 17, from register 5: 712 -> 700\n")
    assert "nothing was written" in done.err
    monkeypatch.setattr("sys.stdin", io.StringIO("0x05\n"))
    done = run("bus", "poke", "./port", 17, 5, 700, "--patience", 0.3)
    assert done.code == 0
    assert "written; it reads 700 now" in done.out
    assert found(run("bus", "peek", "./port", 17, 5, 1, "--json"))["registers"][0]["word"] == 700


def test_several_registers_are_written_with_function_16(run: Here, unknown: EmulatedUnit) -> None:
    """And a value below zero is a register's two's complement."""
    done = run("bus", "poke", "./port", 17, 5, "--yes", "--json", "--function", 16, "--", "-1")
    assert found(done) == {"confirmed": True, "before": [712], "written": [65535], "after": [65535]}
    assert run("bus", "poke", "./port", 17, 5, 1, 2, "--yes", "--function", 6).code == 2


def test_a_refused_write_is_one_sentence(run: Here, unknown: EmulatedUnit) -> None:
    """Exit 69; nothing is said to be written."""
    done = run("bus", "poke", "./port", 17, 900, 1, "--yes", "--json")
    assert (done.code, done.out, len(done.said)) == (69, "", 1)
    assert "exception 2" in done.err


PROTECTED = MYSTERY.replace("unit_id = 17", "unit_id = 17\nprotected = [[5, 5]]")
SECOND = """[[bus.device]]
name = "mystery"
profile = "mystery"
unit_id = 17
point = "site"

[[uplink]]"""


def test_a_protected_register_is_only_written_for_a_reason_and_the_station_remembers(run: Here, tmp_path: Path) -> None:
    """Named in one sentence; the event has the user as the kernel knows him."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mystery.toml").write_text(PROTECTED, encoding="utf-8")
    with collecting(tmp_path, ("[[uplink]]", SECOND)) as engine:
        words = ("bus", "poke", "line", 17, 5, 700, "--yes", "--patience", 0.3)
        done = run(*words)
        assert (done.code, len(done.said)) == (2, 1)
        assert done.err.startswith("mystery: writing 1 registers from 5 would change what profile mystery protects")
        assert run(*words, "--override", "replaced probe").code == 0
        engine.tick()
        rows = engine.store.query("SELECT arguments FROM event WHERE code = 'bus_written'")
    (said,) = (json.loads(text) for (text,) in rows)
    assert (said["user"], said["reason"], said["unit_id"]) == (getpass.getuser(), "replaced probe", 17)
    assert (said["function"], said["data"], said["state"]) == (6, "00 05 02 BC", "reply")


def test_a_write_without_a_running_station_is_remembered_too(run: Here, tmp_path: Path) -> None:
    """In the database of the station, where there is one; its protected registers are the same."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mystery.toml").write_text(PROTECTED, encoding="utf-8")
    loaded = load(configure(tmp_path, ("[[uplink]]", SECOND)))
    loaded.data_folder.mkdir()
    Store.open(loaded.database).close()
    with EmulatedBus(19200, 11, [EmulatedUnit(parse(MYSTERY, "mystery"))], pace=False, link=tmp_path / "port"):
        refused = run("bus", "poke", "line", 17, 5, 700, "--yes", "--patience", 0.3)
        assert (refused.code, len(refused.said)) == (2, 1)
        words = ("bus", "poke", "line", 17, 5, 700, "--yes", "--patience", 0.3)
        assert run(*words, "--override", "new probe").code == 0
    store = Store.open(loaded.database)
    rows = store.query("SELECT arguments FROM event WHERE code = 'bus_written'")
    store.close()
    assert [json.loads(text)["reason"] for (text,) in rows] == ["new probe"]


def test_an_instrument_without_a_profile_protects_nothing_and_stops_nothing() -> None:
    """An analyser has its addresses in station.toml."""
    from drivers.analyser import AnalyserSettings
    from drivers.asking import Ask
    from station import lend

    fields = {"name": "cod", "driver": "analyser", "point": "p", "unit_id": 17}
    settings = object.__new__(AnalyserSettings)
    for key, value in fields.items():
        object.__setattr__(settings, key, value)
    lend.refuse_protected([settings], [], Ask(17, 6, b"\0\5\0\1"), None)
    assert not hasattr(settings, "profile")


def test_the_station_itself_refuses_what_a_tool_should_have(tmp_path: Path) -> None:
    """A write that comes as a question, a question that is none, a bus that is not there."""
    from station import lend
    from station.model import WrongArgument

    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mystery.toml").write_text(PROTECTED, encoding="utf-8")
    with collecting(tmp_path, ("[[uplink]]", SECOND)) as engine:
        write = {"unit_id": 17, "function": 6, "data": "000502bc"}
        with pytest.raises(WrongArgument, match="function 6 writes"):
            lend.ask(engine, {"bus": "line", "question": write})
        with pytest.raises(WrongArgument, match="protects"):
            lend.poke(engine, {"bus": "line", "question": write, "user": os.getuid()})
        with pytest.raises(WrongArgument, match="a write needs its user"):
            lend.poke(engine, {"bus": "line", "question": write})
        with pytest.raises(WrongArgument, match="poke writes with function 5, 6 or 16, to one unit"):
            lend.poke(engine, {"bus": "line", "question": {**write, "function": 22}, "user": os.getuid()})
        with pytest.raises(WrongArgument, match="poke writes with function 5, 6 or 16, to one unit"):
            lend.poke(engine, {"bus": "line", "question": {**write, "unit_id": 0}, "user": os.getuid()})
        with pytest.raises(WrongArgument, match=r"address 255 is answered by every instrument of line at once \(2 of"):
            lend.ask(engine, {"bus": "line", "question": {"unit_id": 255, "function": 3, "data": "00000001"}})
        with pytest.raises(WrongArgument, match="unit_id is 0 to 255"):
            lend.ask(engine, {"bus": "line", "question": {**write, "function": 400}})
        with pytest.raises(WrongArgument, match='there is no bus "other"; known: line'):
            lend.line(engine, {"bus": "other"})


# -- sniff


def test_sniff_shows_what_the_station_asks_and_is_answered(run: Here, tmp_path: Path) -> None:
    """With the meaning its profile gives; the raw log is read by decode."""
    with collecting(tmp_path):
        done = run("bus", "sniff", "line", "--for", 1.5, "--json")
        raw = run("bus", "sniff", "line", "--for", 1.5, "--raw")
        shown = run("bus", "sniff", "line", "--for", 1.5, "--lang", "zh")
    assert done.code == 0
    first, *_ = [json.loads(line) for line in done.out.splitlines()]
    assert first["ok"] is True
    assert {"pm25", "pm10"} <= {value.get("parameter") for value in first["values"]}
    assert first["request"].startswith("01 0")
    log = tmp_path / "log"
    log.write_text(raw.out, encoding="utf-8")
    decoded = run("decode", "deltaohm-pmsense", "--log", log, "--json")
    assert next(json.loads(line)["ok"] for line in decoded.out.splitlines()) is True
    assert "PM2.5" in shown.out
    assert "按 Ctrl-C 结束" in shown.err


@contextmanager
def heard(folder: Path) -> Iterator[int]:
    """A line that others speak on, as the port folder/port; what is written to the descriptor is heard."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    (folder / "port").symlink_to(os.ttyname(slave))
    try:
        yield master
    finally:
        (folder / "port").unlink()
        os.close(master)
        os.close(slave)


def test_sniff_alone_finds_frames_pairs_them_and_knows_what_is_none(run: Here, tmp_path: Path) -> None:
    """Two masters' worth of traffic: a request, its reply, an unanswered one, noise."""
    reply = sealed(bytes.fromhex("11 03 02 02 C8"))
    ask = read_request(17, "holding", 5, 1)
    (tmp_path / "mystery.toml").write_text(MYSTERY, encoding="utf-8")
    with heard(tmp_path) as line:
        stream = [ask, reply, ask, ask + reply, b"\x00\xff\x13"]
        speaker = threading.Timer(0.4, lambda: [os.write(line, one) for one in stream])
        speaker.start()
        done = run("bus", "sniff", "./port", "--for", 1.5, "--profile", "17=mystery.toml")
        speaker.join()
    assert done.code == 0
    lines = [line.split("  ", 1)[1] for line in done.out.splitlines()]
    assert [line.partition(" ms")[2] or line for line in lines] == [
        "  pH 7.12",
        "unit 17 holding 5  no reply",
        "  pH 7.12",
        "unasked  no frame: 00 FF 13",
    ]
    assert "2 exchanges, 1 requests without a reply, 1 times noise" in done.err


# -- loopback


@contextmanager
def joined(folder: Path, spoil: bool = False) -> Iterator[None]:
    """A port folder/port whose TX and RX are joined."""
    with heard(folder) as line:
        stop = threading.Event()

        def back() -> None:
            while not stop.is_set():
                try:
                    data = os.read(line, 4096)
                except OSError:
                    return
                os.write(line, bytes(byte ^ 1 for byte in data) if spoil else data)

        os.set_blocking(line, True)
        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()


def test_loopback_of_a_sound_port(run: Here, tmp_path: Path) -> None:
    """Everything comes back at every speed."""
    with joined(tmp_path):
        done = run("bus", "loopback", "./port", "--json")
    result = found(done)
    assert (done.code, result["verdict"]) == (0, "clean")
    assert {one["sent"] == one["right"] == one["received"] for one in result["speeds"]} == {True}
    assert len(result["speeds"]) == 5


def test_loopback_of_a_bad_port_says_what_it_means(run: Here, tmp_path: Path) -> None:
    """Damaged, and nothing at all."""
    with joined(tmp_path, spoil=True):
        done = run("bus", "loopback", "./port")
    assert done.code == 1
    assert "bytes were damaged: check the plugs" in done.out
    with heard(tmp_path):
        done = run("bus", "loopback", "./port", "--json")
    assert (done.code, found(done)["verdict"]) == (1, "nothing")


# -- doctor


def test_doctor_judges_the_running_stations_line(run: Here, tmp_path: Path) -> None:
    """Nothing to complain about; then an instrument that falls silent."""
    with collecting(tmp_path) as engine:
        until(lambda: engine.lines["line"].statistics[1].requests)
        for _ in range(20):
            engine.lines["line"].statistics[1].answered(0.02)
        engine.lines["line"].statistics[1].requests += 20
        done = run("bus", "doctor", "--json")
        assert (done.code, found(done)) == (0, [{"bus": "line", "enough": True, "advice": []}])
        counts = engine.lines["line"].statistics[18]
        counts.requests = counts.timeouts = 40
        done = run("bus", "doctor", "line", "--lang", "zh")
    assert done.code == 1
    assert "别的仪器应答,唯独它从不应答" in done.out
    assert "请求 40 次,无应答" in done.out


def test_doctor_says_of_a_healthy_instrument_that_it_is_silent_now(run: Here, tmp_path: Path) -> None:
    """Its good past is not held against the present."""
    with collecting(tmp_path) as engine:
        until(lambda: engine.recorder.state("dust").last_reply)
        counts = engine.lines["line"].statistics[1]
        counts.requests, counts.timeouts = 47, 7
        engine.recorder.devices["dust"] = DeviceState(
            engine.clock.now() - timedelta(seconds=61), failures=7, missed=7, reason=Reason.NO_REPLY
        )
        counted = found(run("bus", "doctor", "--json"))
    (advice,) = counted[0]["advice"]
    assert (advice["advice"], advice["units"], advice["figures"]["polls"]) == ("silent_now", [1], 7)
    assert 61 <= advice["figures"]["seconds"] < 90


def test_doctor_reads_for_itself_when_no_station_runs(run: Here, tmp_path: Path) -> None:
    """And says so."""
    loaded = load(configure(tmp_path))
    (bus,) = loaded.config.bus
    devices: Any = bus.device
    with emulated_bus(bus, devices, link=tmp_path / "port", pace=False):
        done = run("bus", "doctor")
    assert done.code == 0
    assert "line: no station is running; each instrument is read 25 times" in done.err
    assert "nothing to complain about" in done.out


def test_doctor_of_a_stopped_station_judges_by_the_hours_it_kept(run: Here, tmp_path: Path) -> None:
    """Two hours of one instrument, summed; the port is not touched."""
    loaded = load(configure(tmp_path))
    loaded.data_folder.mkdir()
    body = {"bus": "line", "seconds": 3600, "requests": 720, "timeouts": 0, "latency": [0] * 11, "worst_ms": 80.0}
    noisy = {"crc_errors": 36, "bad_replies": 36}
    now = datetime.now(UTC)
    store = Store.open(loaded.database)
    with store.transaction():
        store.add_records([Record("line", now - timedelta(hours=n), body | noisy, device="dust") for n in (2, 1)])
    store.close()
    done = run("bus", "doctor", "--json")
    (advice,) = found(done)[0]["advice"]
    assert (done.code, advice["advice"], advice["units"]) == (1, "noise", [1])
    assert advice["figures"] == {"broken": 72, "replies": 1440, "percent": 5.0}
    assert "these are the hours it kept since" in run("bus", "doctor").err


def test_doctor_of_a_stopped_station_tells_of_the_silence_it_ended_with(run: Here, tmp_path: Path) -> None:
    """A healthy hour, then nothing: not that it was asked too fast."""
    loaded = load(configure(tmp_path))
    loaded.data_folder.mkdir()
    now = datetime.now(UTC)
    body = {"bus": "line", "seconds": 3600, "requests": 47, "timeouts": 7, "latency": [0] * 11, "worst_ms": 80.0}
    last, gone = now - timedelta(seconds=100), now - timedelta(seconds=39)
    series = Series("dust", "site", "pm10")
    store = Store.open(loaded.database)
    store.begin_boot("boot")
    with store.transaction():
        store.add_clock(1000.0, now - timedelta(seconds=3600), "ntp")
        store.register([series])
        store.add_readings([Reading("dust", "site", "pm10", last, 50.0, 50.0, Mark.N)], {("dust", "pm10"): series})
        store.add_missed([Miss("dust", Reason.NO_REPLY, last + timedelta(seconds=5), gone, 7)])
        store.add_records([Record("line", now - timedelta(hours=1), body, device="dust")])
    store.close()
    (advice,) = found(run("bus", "doctor", "--json"))[0]["advice"]
    assert (advice["advice"], advice["figures"]) == ("silent_now", {"seconds": 61, "polls": 7})
    assert "已 61 秒无应答,连续 7 次采集落空" in run("bus", "doctor", "--lang", "zh").out


def test_the_tap_comes_off_when_nobody_looks(tmp_path: Path) -> None:
    """The port is bare again with the first byte after the last look's time."""
    from drivers.base import BusSettings
    from drivers.bus import Bus
    from drivers.registers import Request
    from drivers.tap import LOOK_SECONDS, Tap

    unit, profile, now = EmulatedUnit(parse(MYSTERY, "mystery")), parse(MYSTERY, "mystery"), [0.0]
    with EmulatedBus(9600, 10, [unit], pace=False, link=tmp_path / "port"):
        bus = Bus(BusSettings(name="line", port=str(tmp_path / "port")))
        tap = Tap(lambda: now[0], idle=lambda: bus.watch(None))
        tap.look(0)
        bus.watch(tap)
        bus.read(17, Request("holding", 5, 1, ()), profile)
        assert [(seen.way, seen.data) for seen in tap.look(0)][:1] == [("out", read_request(17, "holding", 5, 1))]
        now[0] += LOOK_SECONDS + 1
        assert bus.read(17, Request("holding", 5, 1, ()), profile) == b"\x02\xc8"
        assert bus.tap is None
        assert bus.read(17, Request("holding", 5, 1, ()), profile) == b"\x02\xc8"
        bus.close()


def test_frames_of_the_tap_are_told_apart_behind_an_echo() -> None:
    """The adapter's echo of the request is no reply."""
    from station.cli_sniff import split_live

    ask, reply = read_request(17, "holding", 5, 1), sealed(bytes.fromhex("11 03 02 02 C8"))
    pieces = list(split_live(0.0, "in", ask + reply, ask))
    assert [(piece.way, to_hex(piece.data)) for piece in pieces] == [("noise", to_hex(ask)), ("reply", to_hex(reply))]
    assert [piece.way for piece in split_live(0.0, "in", b"\x01\x02", ask)] == ["noise"]


# -- the page that teaches it


TRANSCRIPT = re.compile(r"<!-- transcript -->\n```text\n(.*?)```\n<!-- /transcript -->", re.S)
UNKNOWN = """
title = "what nobody knows"
baudrate = 4800
parity = "E"
unit_id = 17
[[register]]
parameter = "air_temperature"
table = "holding"
address = 16
type = "i16"
scale = 0.1
unit = "°C"
example = 23.7
[[register]]
parameter = "humidity"
table = "holding"
address = 18
type = "f32"
order = "CDAB"
unit = "%"
example = 56.25
"""
YARD = """
[station]
name = "yard"
data_folder = "data"
[[point]]
code = "yard"
name = "Yard"
st = "22"
[[bus]]
name = "mast"
port = "port"
baudrate = 4800
parity = "E"
[[bus.device]]
name = "yard"
profile = "yard"
unit_id = 17
point = "yard"
"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_transcript_of_the_page_is_what_happens(run: Here, tmp_path: Path, language: str) -> None:
    """From an unknown instrument to its live values within ten commands: each is typed, each line shown is said."""
    page = (Path(drivers.__file__).parent / "README.md").read_text(encoding="utf-8")
    (transcript,) = TRANSCRIPT.findall(page)
    steps = re.findall(r"^([$#]) (.*)\n((?:(?![$#]).*\n)*)", transcript, re.M)
    assert sum(sign == "$" for sign, _, _ in steps) <= 10
    unit = EmulatedUnit(parse(UNKNOWN, "unknown"))
    line = EmulatedBus(4800, 11, [unit], pace=False, link=tmp_path / "port", speeds={17: Speed(4800, "E")})
    with line:
        for sign, words, shown in steps:
            if moved := re.match(r"the display now shows (\w+) (\S+)", words):
                unit.values = {moved[1]: float(moved[2])}
            elif words.startswith("station.toml"):
                (tmp_path / "station.toml").write_text(YARD, encoding="utf-8")
            if sign == "#":
                continue
            done = run(*words.replace("/dev/ttyUSB0", "./port").split()[1:], "--lang", language)
            assert done.code == 0, (words, done)
            said = {" ".join(text.split()) for text in (done.out + done.err).splitlines()}
            expected = {" ".join(text.split()) for text in shown.splitlines() if text.strip() not in ("", "…")}
            if language == "en":
                assert expected - said == set(), words
            elif not words.startswith("station bus peek"):
                assert re.search("[\u4e00-\u9fff]", done.out + done.err), words
    (made,) = (tmp_path / "profiles").glob("*.toml")
    assert [r.parameter for r in load_profile(made.stem, [made.parent]).registers] == ["air_temperature", "humidity"]
