"""Typed beside the running station: its power goes too, at each step of two points and once in other procedures."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.station.commands import until
from tests.station.typed import Processes, Typed, service
from tests.station.typed_cuts import about, place_for
from tests.station.typed_sessions import BESIDE, BY_ITSELF, IN_INSTRUMENT, IN_STATION, Place, Session

TWO, INSIDE = IN_STATION[2], IN_INSTRUMENT[0]
OTHERS = [*IN_STATION[:2], IN_STATION[3], *BESIDE, INSIDE, *BY_ITSELF]
MIDDLE = [(one, (one.begins + one.answers) // 2) for one in OTHERS]
CUTS = [*((TWO, cut) for cut in range(TWO.begins - 1, TWO.answers)), *MIDDLE]


def to_its_end(place: Place) -> None:
    with place.calibrate() as person:
        place.answer_all(person)
        assert (person.ended(), person.lines[-1]) == (0, place.session.in_force), person.text


@pytest.mark.parametrize(("session", "cut"), CUTS, ids=[f"{one}-{cut}" for one, cut in CUTS])
def test_a_power_cut_is_gone_on_from(tmp_path: Path, processes: Processes, session: Session, cut: int) -> None:
    """Station and terminal die at once; started again both go on, and no step is on record twice."""
    place = place_for(tmp_path, session, processes)
    with place.line:
        with service(processes, place.config) as station, place.calibrate() as person:
            assert place.answer_all(person, cut) is not None, person.text
            taken = len(place.run.steps) if place.book.runs else 0
            station.kill()
            person.kill()
        assert place.coefficients == about(session.former)
        with service(processes, place.config):
            assert (len(place.run.steps) if place.book.runs else 0) == taken
            to_its_end(place)
            record = place.record()
    assert place.coefficients == about(session.leaves or place.coefficients)
    assert record["run"]["state"] == "done"
    assert len(record["run"]["steps"]) == len(place.run.wanted)
    begun = [mark for mark in record["marks"] if mark[0] == "mark" and mark[3] == session.parameter]
    assert len(begun) == (session.procedure != "k-factor")


@pytest.mark.parametrize("session", [TWO, INSIDE], ids=["station", "instrument"])
def test_the_former_calibration_is_what_is_shown_until_the_new_one_is_in_force(
    tmp_path: Path, processes: Processes, session: Session
) -> None:
    """As the running station shows it: through a cut, through giving up, and behind the end."""
    place = place_for(tmp_path, replace(session, poll=1), processes)
    slope, intercept = session.line
    own, zero = session.former
    standard = float(session.standards[-1].split(",")[0])
    former = own * (slope * standard + intercept) + zero
    with place.line:
        with service(processes, place.config) as station, place.calibrate() as person:
            place.answer_all(person, session.answers - 1)
            until(lambda: station.shown(session.parameter) == pytest.approx(former, abs=0.01), 10)
            station.kill()
            person.kill()
        with service(processes, place.config) as station:
            until(lambda: station.shown(session.parameter) == pytest.approx(former, abs=0.01), 10)
            to_its_end(place)
            until(lambda: station.shown(session.parameter) == pytest.approx(standard, abs=0.01), 10)


@pytest.mark.parametrize("write", range(1, INSIDE.writes + 1))
def test_the_station_dies_while_the_instrument_is_written(tmp_path: Path, processes: Processes, write: int) -> None:
    """The person reads that it went away, and is asked; by then it is started again, and goes on."""
    place, heard = place_for(tmp_path, INSIDE, processes), list[bytes]()
    answered = place.unit.answer
    with place.line, service(processes, place.config) as station, place.calibrate() as person:

        def cut(request: bytes) -> bytes | None:
            reply = answered(request)
            if request[1] in (6, 16):
                heard.append(request)
                if len(heard) == write:
                    os.kill(station.process, signal.SIGKILL)
            return reply

        place.unit.answer = cut  # type: ignore[method-assign]
        asked = _until_refused(place, person)
        place.unit.answer = answered  # type: ignore[method-assign]
        assert asked, person.text
        with service(processes, place.config):
            person.type("y")
            place.answer_all(person)
            assert (person.ended(), person.lines[-1]) == (0, INSIDE.in_force), person.text
    assert place.coefficients == about(INSIDE.leaves or INSIDE.former)


def _until_refused(place: Place, person: Typed) -> bool:
    while (asked := person.question()) is not None:
        if asked[0] == "ask_refused":
            return True
        person.type(place.answer(*asked))
    return False
