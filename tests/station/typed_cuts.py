"""What holds for every procedure, cut and resumed at every step; each test file takes some of the sessions."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.station.typed import Processes, Typed
from tests.station.typed_sessions import USER, Place, Session, twelve_hours

MOST_ANSWERS = 12  # of a two-point calibration, as issue 6 wants it
WRITES = (6, 16)  # function codes
MANY = 12  # answers, above which not every cut is another one


def about(coefficients: tuple[float, float]) -> Any:
    """As near as registers of 32 bits hold them."""
    return pytest.approx(coefficients, rel=1e-6, abs=1e-5)


def place_for(folder: Path, session: Session, processes: Processes) -> Place:
    """A station of its own for *session*."""
    folder.mkdir(exist_ok=True)
    made = Place(folder / "station", session, processes)
    if session.procedure == "k-factor":
        twelve_hours(made)
    return made


class Cuts:
    """A session cut in every way; *sessions* is set by the file."""

    sessions: ClassVar[Sequence[Session]]
    _whole: ClassVar[dict[str, tuple[dict[str, Any], Any]]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each session, and where it is asked for at each question, measurement or write."""
        names = set(metafunc.fixturenames)
        if "cut" in names:
            pairs = [(one, cut) for one in self.sessions for cut in _cuts(one)]
            metafunc.parametrize(("session", "cut"), pairs, ids=[f"{one}-{cut}" for one, cut in pairs])
        elif "write" in names:
            pairs = [(one, number) for one in self.sessions for number in range(1, one.writes + 1)]
            metafunc.parametrize(("session", "write"), pairs, ids=[f"{one}-{number}" for one, number in pairs])
        else:
            measures = "measures" in metafunc.definition.name
            metafunc.parametrize("session", [one for one in self.sessions if one.measured or not measures], ids=str)

    def whole(self, folder: Path, session: Session, processes: Processes) -> tuple[dict[str, Any], Any]:
        """Record and coefficients of a session that nothing cut."""
        if repr(session) not in self._whole:
            (folder / "whole").mkdir()
            place = place_for(folder / "whole", session, processes)
            with place.line, place.calibrate() as person:
                place.answer_all(person)
                assert person.ended() == 0, person.text
            self._whole[repr(session)] = place.record(), place.coefficients
        return self._whole[repr(session)]

    def test_a_person_is_led_to_the_end_in_so_many_answers(
        self, tmp_path: Path, processes: Processes, session: Session
    ) -> None:
        place, told = place_for(tmp_path, session, processes), list[bytes]()
        answered = place.unit.answer
        place.unit.answer = lambda request: _noted(told, request) or answered(request)  # type: ignore[method-assign]
        with place.line, place.calibrate() as person:
            place.answer_all(person)
            assert (person.ended(), person.lines[-1], person.asked) == (0, session.in_force, session.answers)
        assert place.run.state == "done"
        if session.procedure == "ph-buffers":
            assert place.coefficients != session.former
        else:
            assert place.coefficients == about(session.leaves or session.former)
        assert len(told) == session.writes, [request.hex() for request in told]
        if session.procedure == "two-point":
            assert session.answers <= MOST_ANSWERS

    def test_a_cut_at_any_question_is_gone_on_from(
        self, tmp_path: Path, processes: Processes, session: Session, cut: int
    ) -> None:
        """Killed while it waits for an answer; the same command goes on, and the record is that of an uncut session."""
        whole = self.whole(tmp_path, session, processes)
        place = place_for(tmp_path, session, processes)
        with place.line:
            with place.calibrate() as person:
                assert place.answer_all(person, cut) is not None, person.text
                person.kill()
            assert place.coefficients == about(session.former)
            _to_its_end(place)
        assert (place.record(), place.coefficients) == whole

    def test_giving_up_at_any_question_leaves_the_former_calibration(
        self, tmp_path: Path, processes: Processes, session: Session, cut: int
    ) -> None:
        """With c where that is offered; before anything has begun, with Ctrl-C."""
        place = place_for(tmp_path, session, processes)
        with place.line, place.calibrate() as person:
            asked = place.answer_all(person, cut)
            assert asked is not None, person.text
            if "c gives up" in asked[1][0]:
                person.type("c")
                _give_up(person)
                assert place.run.state == "cancelled"
            else:
                assert person.interrupt() == 130
                assert all(run.state == "open" and not run.steps for run in place.book.runs.values())
        assert place.coefficients == about(session.former)

    def test_a_cut_while_it_measures_is_gone_on_from(
        self, tmp_path: Path, processes: Processes, session: Session
    ) -> None:
        """The first and the last standard are measured, and do not settle, when the power goes."""
        whole = self.whole(tmp_path, session, processes)
        place = place_for(tmp_path, session, processes)
        with place.line:
            for number in sorted({1, session.measured}):
                with place.calibrate() as person:
                    _measured(place, person, number)
                assert place.coefficients == about(session.former)
            _to_its_end(place)
        assert (place.record(), place.coefficients) == whole

    def test_a_lost_connection_is_gone_on_from(self, tmp_path: Path, processes: Processes, session: Session) -> None:
        """Before the last answer the terminal is gone."""
        whole = self.whole(tmp_path, session, processes)
        place = place_for(tmp_path, session, processes)
        with place.line:
            with place.calibrate() as person:
                assert place.answer_all(person, session.answers - 1) is not None
                person.hang_up()
            assert place.coefficients == about(session.former)
            _to_its_end(place)
        assert (place.record(), place.coefficients) == whole


class CutsWithin(Cuts):
    """Those whose instrument is told something: cut behind each write, too."""

    def test_a_cut_behind_any_write_is_gone_on_from(
        self, tmp_path: Path, processes: Processes, session: Session, write: int
    ) -> None:
        """The instrument has taken the word, and in the same moment the station's power goes."""
        whole = self.whole(tmp_path, session, processes)
        place = place_for(tmp_path, session, processes)
        with place.line:
            with place.calibrate() as person:
                _killed_behind(place, person, write)
            _to_its_end(place)
        assert (place.record(), place.coefficients) == whole

    def test_giving_up_behind_any_write_brings_the_former_calibration_back(
        self, tmp_path: Path, processes: Processes, session: Session, write: int
    ) -> None:
        """Or says that there is no way back, where the instrument knows none."""
        place = place_for(tmp_path, session, processes)
        with place.line:
            with place.calibrate() as person:
                _killed_behind(place, person, write)
            with place.calibrate("--cancel", "power cut", "--user", USER) as person:
                assert person.ended() == 0, person.text
        assert place.run.state == "cancelled"
        if not 0 < session.stays_from <= write:
            assert place.coefficients == about(session.former)
            assert person.lines[-1] == "K1: given up; nothing was changed"
        else:
            assert "may be in force in it and has no way back: check it" in person.lines[-1]


def _cuts(session: Session) -> Sequence[int]:
    """The numbers of answers behind which it is cut.

    Every one of two points; of the others every one since it has begun, and the one before: until then nothing is on
    record, and one question is as the other.  So are the standards of ten points.
    """
    if session.procedure == "two-point":
        return range(session.answers)
    if session.answers > MANY:
        return session.begins - 1, session.begins, session.answers - 5, session.answers - 1
    return range(session.begins - 1, session.answers)


def _noted(told: list[bytes], request: bytes) -> None:
    if request[1] in WRITES:
        told.append(request)


def _to_its_end(place: Place) -> None:
    with place.calibrate() as person:
        place.answer_all(person)
        assert (person.ended(), person.lines[-1]) == (0, place.session.in_force), person.text


def _give_up(person: Typed) -> None:
    asked = person.question()
    assert asked is not None, person.text
    assert asked[0] == "ask_why"
    person.type("wrong bottle")
    assert (person.ended(), person.lines[-1]) == (0, "K1: given up; nothing was changed"), person.text


def _measured(place: Place, person: Typed, number: int) -> None:
    """Go on until the standard of this *number* is being measured; then the power goes."""
    while (asked := person.question()) is not None:
        last = asked[0] == "put_in" and int(asked[1]["number"]) == number
        text = place.answer(*asked)
        if last:
            place.noise = [0.0, 300.0, -300.0]
        person.type(text)
        if last:
            person.says("3/3")
            person.kill()
            place.noise = [0.0]
            return
    raise AssertionError(f"was never asked to put standard {number} in:\n{person.text}")


def _killed_behind(place: Place, person: Typed, write: int) -> None:
    """Answer all; when the instrument has taken its *write*-th word the command is killed."""
    answered, heard = place.unit.answer, list[bytes]()

    def cut(request: bytes) -> bytes | None:
        reply = answered(request)
        _noted(heard, request)
        if request[1] in WRITES and len(heard) == write:
            os.kill(person.process, signal.SIGKILL)
        return reply

    place.unit.answer = cut  # type: ignore[method-assign]
    place.answer_all(person)
    person.ended()
    place.unit.answer = answered  # type: ignore[method-assign]
    assert len(heard) >= write, person.text
