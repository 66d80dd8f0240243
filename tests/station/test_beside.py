"""What stands beside the station: it fails by itself, is told once, and never holds up the station."""

import dis
import threading
from importlib import import_module
from types import SimpleNamespace

import pytest

from station import screen
from station.beside import FIRST_PAUSE, LONGEST_PAUSE, STEADY_SECONDS, Beside
from station.config import BESIDE
from station.model import StationError


class Notes(list):
    def note(self, code, **arguments):
        self.append((code, arguments))


class Thing(Beside):
    def __init__(self, outcomes):
        self.notes = Notes()
        clock = SimpleNamespace(monotonic=lambda: self.seconds)
        self.seconds = 100.0
        super().__init__(SimpleNamespace(note=self.notes.note, clock=clock), "screen", "gate")
        self.outcomes, self.turns, self.closed = iter(outcomes), 0, threading.Event()

    def turn(self):
        self.turns += 1
        outcome = next(self.outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self):
        self.closed.set()


@pytest.mark.parametrize("error", [StationError("no answer"), OSError("no answer"), ValueError("no answer")])
def test_a_fault_is_told_once_and_its_end_once(error):
    thing = Thing([error, error, error, 5.0, error])
    pauses = [thing._one_turn() for _ in range(5)]
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 5.0, FIRST_PAUSE]
    assert [code for code, _ in thing.notes] == ["beside_failed", "beside_well", "beside_failed"]
    assert thing.notes[0][1] == {"what": "screen gate", "reason": "no answer"}
    assert thing.failed is None


def test_pauses_have_an_end():
    thing = Thing([StationError("no")] * 30)
    assert [thing._one_turn() for _ in range(30)][-1] == LONGEST_PAUSE


def test_it_is_asked_and_stopped_from_outside():
    thing = Thing([1000.0, 1000.0, 1000.0])
    thing.start()
    thing.ask()
    while thing.turns < 2:
        thing.closed.wait(0.01)
    thing.wake()
    thing.join(5)
    assert not thing.is_alive()
    assert thing.closed.is_set()


def test_status_says_how_long_a_turn_is_silent():
    thing = Thing([])
    thing._turn_began, thing.seconds = 100.0, 190.0
    row = thing.shown()
    assert (row["table"], row["name"], row["silent"]) == ("screen", "gate", 90)
    out = screen.console()
    with out.capture() as said:
        out.print(screen._beside([row]))
    assert "gate" in said.get()
    assert screen.age(90) in said.get()


def test_what_comes_and_goes_is_told_three_times_and_then_when_it_stays_well():
    thing = Thing([StationError("no"), 5.0] * 50 + [5.0] * 3)
    for _ in range(100):
        thing._one_turn()
        thing.seconds += 10
    codes = [code for code, _ in thing.notes]
    assert codes == ["beside_failed", "beside_well"] * 2 + ["beside_failed"]
    assert thing.notes[-1][1]["reason"] == "no (it comes and goes)"
    thing._one_turn()
    thing.seconds += STEADY_SECONDS
    thing._one_turn()
    assert [code for code, _ in thing.notes][5:] == ["beside_well"]


def test_nothing_beside_the_station_hides_what_a_thread_needs():
    """A method of a thread's own name would be called by it: `_stop` once ended the station."""
    for module in set(BESIDE.values()):
        import_module(module)
    kinds = list(Beside.__subclasses__())
    assert len(kinds) >= len(set(BESIDE.values()))
    own = set(vars(threading.Thread)) - {"__init__", "__doc__", "__module__", "__dict__", "__weakref__", "run"}
    for kind in kinds:
        assert {name for name in vars(kind) if name in own and not name.startswith("__")} == set(), kind


def _kinds(kind):
    for one in kind.__subclasses__():
        yield one
        yield from _kinds(one)


def _assigned(kind):
    """Names that the methods of *kind* assign as attributes, `self.name = …` among them."""
    codes = [one.__code__ for one in vars(kind).values() if hasattr(one, "__code__")]
    return {step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"}


def _taken(kind):
    """What *kind* takes away from Thread: its methods, and what each thread keeps of itself, as `_started`."""
    theirs = {name for name in {*vars(threading.Thread), *vars(threading.Thread())} if not name.startswith("__")}
    return theirs & ({*vars(kind), *_assigned(kind)} - {"run"})


def test_nothing_beside_the_station_keeps_a_state_where_a_thread_keeps_its_own():
    """Attributes too, and however far a kind is from Beside; Beside itself has `run` and nothing else of a thread's."""
    for module in set(BESIDE.values()):
        import_module(module)
    assert {kind.__qualname__: _taken(kind) for kind in (Beside, *_kinds(Beside)) if _taken(kind)} == {}


def test_a_state_of_a_threads_own_name_is_found():
    class Wrong:  # no Beside: the test above looks at all of those
        def _stop(self):
            self._started = True

    assert _taken(Wrong) == {"_stop", "_started"} & {*vars(threading.Thread), *vars(threading.Thread())}
    assert "_started" in _taken(Wrong)
