"""`station bus tell`: confirmed by the instrument's name, logged with the user, never by a poll or a platform."""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from drivers.emulated import EmulatedUnit
from drivers.emulator import emulated_bus
from drivers.profile import OWN_VERBS, load, parse
from station import lend
from station.clock import SystemClock
from station.commands import VERBS
from station.config import Loaded
from station.config import load as load_config
from station.control import ControlServer
from station.engine import Engine
from station.model import WrongArgument
from station.store import Store
from station.verbs import verbs
from tests.station.commands import Here, configure, until

METER = (
    'name = "dust"\nprofile = "deltaohm-pmsense"\nunit_id = 1\npoll_seconds = 5\npoint = "site"\n'
    'parameters = ["pm25", "pm10"]',
    'name = "meter"\nprofile = "pzem-016"\nunit_id = 1\npoll_seconds = 1\npoint = "site"',
)
LINE = ('baudrate = 19200\nparity = "E"', "baudrate = 9600")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    """`station` in this process, with nothing typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Here(monkeypatch, capfd)


@contextmanager
def metered(folder: Path) -> Iterator[tuple[Loaded, EmulatedUnit]]:
    """A configuration with one energy meter, and the meter."""
    loaded = load_config(configure(folder, METER, LINE))
    (bus,) = loaded.config.bus
    devices: Any = bus.device
    with emulated_bus(bus, devices, link=folder / "port", pace=False) as line:
        yield loaded, line.units[1]


@contextmanager
def collecting(loaded: Loaded) -> Iterator[Engine]:
    """The station of *loaded*, polling, and its socket."""
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


def events(store: Store) -> list[dict[str, Any]]:
    """What was kept of instruments that were told."""
    rows = store.query("SELECT arguments FROM event WHERE code = 'instrument_told' ORDER BY id")
    return [json.loads(text) for (text,) in rows]


def test_without_a_verb_it_says_what_an_instrument_can_be_told(run: Here, tmp_path: Path) -> None:
    """No port is touched."""
    configure(tmp_path, METER, LINE)
    assert run("bus", "tell", "meter").out == "meter can be told to: clear_total\n"
    assert json.loads(run("bus", "tell", "meter", "--json").out) == {"device": "meter", "verbs": ["clear_total"]}
    configure(tmp_path)
    assert run("bus", "tell", "dust").out == "dust can be told nothing\n"


@pytest.mark.parametrize("collects", [True, False], ids=["running", "alone"])
def test_a_total_is_cleared_once_the_name_was_typed(
    run: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    """Through the running station between two polls, or alone; the event has the user as the kernel knows him."""
    with metered(tmp_path) as (loaded, meter):
        if collects:
            with collecting(loaded) as engine:
                until(lambda: engine.recorder.taken)
                assert run("bus", "tell", "meter", "clear_total").code == 1
                assert meter.acted == []
                monkeypatch.setattr("sys.stdin", io.StringIO("meter\n"))
                done = run("bus", "tell", "meter", "clear_total")
        else:
            loaded.data_folder.mkdir()
            Store.open(loaded.database).close()
            monkeypatch.setattr("sys.stdin", io.StringIO("the meter\n"))
            refused = run("bus", "tell", "meter", "clear_total")
            assert (refused.code, meter.acted) == (1, [])
            assert refused.err.endswith("not confirmed; nothing was sent\n")
            monkeypatch.setattr("sys.stdin", io.StringIO("meter\n"))
            done = run("bus", "tell", "meter", "clear_total")
    assert (done.code, meter.acted) == (0, ["clear_total"])
    assert done.out.splitlines() == [
        "Energy reads 0.038 kWh and is set to zero in the instrument; what the station has stored stays",
        "meter: clear_total was carried out",
        "Energy reads 0 kWh now",
    ]
    store = Store.open(loaded.database)
    kept = events(store)
    store.close()
    user = getpass.getuser()
    assert kept == [{"device": "meter", "verb": "clear_total", "user": user, "state": "done"}]


@pytest.mark.parametrize("collects", [True, False], ids=["running", "alone"])
def test_an_instrument_that_refuses_is_one_sentence_and_an_event(run: Here, tmp_path: Path, collects: bool) -> None:
    """Exit 69; the manual's answer of a refusal is function 0xC2."""
    with metered(tmp_path) as (loaded, meter):
        answer = meter.answer
        refusal = meter._exception(0x42, 4)
        meter.answer = lambda asked: refusal if asked[1] == 0x42 else answer(asked)  # type: ignore[method-assign]
        assert refusal[1] == 0xC2
        if collects:
            with collecting(loaded):
                done = run("bus", "tell", "meter", "clear_total", "--yes", "--json")
        else:
            loaded.data_folder.mkdir()
            Store.open(loaded.database).close()
            done = run("bus", "tell", "meter", "clear_total", "--yes", "--json")
    assert (done.code, done.out, len(done.said)) == (69, "", 1)
    assert "exception 4" in done.err
    store = Store.open(loaded.database)
    ((state,),) = [(kept["state"],) for kept in events(store)]
    store.close()
    assert "exception 4" in state


def test_what_cannot_be_told_is_one_sentence(run: Here, tmp_path: Path) -> None:
    """Exit 2, before a port is touched; calibrations leave a record, which this would not."""
    configure(tmp_path, METER, LINE)
    for words, sentence in (
        (("meter", "clear_totl"), "meter: has no way to clear_totl; did you mean clear_total?; it can be told to"),
        (("meter", "calibrate"), "meter: station calibrate does that, and keeps what came of it"),
        (("metre",), 'there is no device "metre"; known: meter'),
    ):
        done = run("bus", "tell", *words)
        assert (done.code, len(done.said)) == (2, 1)
        assert done.err.startswith(sentence)


@pytest.mark.parametrize("collects", [True, False], ids=["running", "alone"])
def test_peek_does_not_clear_what_only_an_action_may(run: Here, tmp_path: Path, collects: bool) -> None:
    """Any function can be asked with, but not the one of a configured instrument that sets its energy to zero."""
    with metered(tmp_path) as (loaded, meter):
        words = ("bus", "peek", "line", 1, 0, "--function", "0x42", "--data", "")
        if collects:
            with collecting(loaded):
                done = run(*words)
        else:
            done = run(*words)
    assert (done.code, len(done.said), meter.acted) == (2, 1, [])
    assert "function 66 does what profile pzem-016 lets only an action do; station bus tell meter" in done.err


def test_no_platform_and_no_poll_can_clear_a_total(tmp_path: Path) -> None:
    """There is no such command; a profile whose poll would is refused; a bus verb needs its user."""
    assert not {*OWN_VERBS} & {*VERBS}
    text = (Path(load.__code__.co_filename).with_name("profiles") / "pzem-016.toml").read_text(encoding="utf-8")
    step = '[[step]]\ndo = "raw"\nwhen = "before"\nfunction = 0x42\nanswer_bytes = 0\n'
    with pytest.raises(Exception, match=r"step\[0\].*a poll would send function 66, which only an action may"):
        parse(text + "\n" + step, "pzem")
    with pytest.raises(Exception, match=r"action\[0\]\.parameters: clear_total names the totals that it sets to zero"):
        parse(text.replace('parameters = ["energy_total"]\n', ""), "pzem")
    with metered(tmp_path) as (loaded, meter), collecting(loaded) as engine:
        with pytest.raises(WrongArgument, match="telling an instrument needs its user"):
            lend.tell(engine, {"device": "meter", "action": "clear_total"})
        with pytest.raises(WrongArgument, match='there is no device "x"'):
            lend.tell(engine, {"device": "x", "action": "clear_total", "user": 0})
        assert meter.acted == []


class OneErrand:
    """A bus's thread that begins what it is asked when it is told to."""

    bus_name = "bus"

    def __init__(self) -> None:
        self.errand: Callable[[], None] = lambda: None

    def lend(self, errand: Callable[[], None], seconds: float) -> None:
        self.errand = errand


def test_what_has_begun_in_time_is_waited_for_and_what_has_not_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instrument that was told something is told of, and nobody tells it again because "the line was busy"."""
    begun, go_on, poller = Event(), Event(), OneErrand()

    def slow() -> str:
        begun.set()
        assert go_on.wait(10)
        return "done"

    class Impatient(Event):  # type: ignore[misc, valid-type]
        """Whoever waits with an end to it finds that the time is over once the errand has begun."""

        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                go_on.set()
                return super().wait(10)
            poller_thread.start()
            return not begun.wait(10)

    poller_thread = Thread(target=lambda: poller.errand())
    monkeypatch.setattr(lend, "Event", Impatient)
    assert lend._lent(poller, slow, 1.0) == "done"  # type: ignore[arg-type]
    poller_thread.join()
    monkeypatch.undo()
    monkeypatch.setattr(lend, "PATIENCE", 0.0)
    done: list[str] = []
    with pytest.raises(lend.NotLent, match="the line was busy"):
        lend._lent(poller, lambda: done.append("late"), 1.0)  # type: ignore[arg-type]
    poller.errand()
    assert done == []
