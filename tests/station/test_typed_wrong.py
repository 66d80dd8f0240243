"""What goes wrong, typed in both languages: one clear sentence, and the former calibration stays in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.station.typed import Processes, Typed, typed
from tests.station.typed_cuts import about, place_for
from tests.station.typed_sessions import BESIDE, BY_ITSELF, IN_INSTRUMENT, IN_STATION, Place, Session

LANGUAGES = pytest.mark.parametrize("language", ["zh", "en"])
TWO, INSIDE, SPAN = IN_STATION[2], IN_INSTRUMENT[0], IN_STATION[1]
FACTOR, FLOW, BUFFERS, ZEROED = BESIDE[1], BESIDE[4], BY_ITSELF[2], BY_ITSELF[0]


@contextmanager
def at_place(folder: Path, session: Session, processes: Processes) -> Iterator[Place]:
    """The instrument on its line; afterwards the former calibration is in force."""
    place = place_for(folder, session, processes)
    with place.line:
        yield place
    assert place.coefficients == about(session.former)


def until_asked(place: Place, person: Typed, key: str, number: int = 0) -> None:
    """Answer what comes before the question *key* (of that standard), which is left open."""
    while (asked := person.question()) is not None:
        if asked[0] == key and number in (0, int(asked[1].groupdict().get("number") or 0)):
            return
        person.type(place.answer(*asked))
    raise AssertionError(f"never asked {key}:\n{person.text}")


def gives_up(person: Typed, answer: str = "c") -> None:
    """Give it up at the question that is open."""
    person.type(answer)
    asked = person.question()
    assert asked is not None, person.text
    assert asked[0] == "ask_why"
    person.type("no use")
    assert person.ended() == 0, person.text


@LANGUAGES
def test_a_signal_that_does_not_settle(tmp_path: Path, processes: Processes, language: str) -> None:
    """Enter waits on; given up then, it is as it was."""
    said = {"zh": "0.3 秒内信号未稳定", "en": "the signal was not stable within 0.3 s"}[language]
    with at_place(tmp_path, TWO, processes) as place:
        place.noise = [0.0, 60.0, -60.0]
        with place.calibrate("--wait", "0.3", language=language) as person:
            until_asked(place, person, "ask_unstable")
            person.type("")
            until_asked(place, person, "ask_unstable")
            gives_up(person)
            assert person.text.count(said) == 2, person.text
        assert (place.run.state, place.run.steps) == ("cancelled", ())


@LANGUAGES
def test_a_signal_that_does_not_settle_is_taken_for_a_reason(
    tmp_path: Path, processes: Processes, language: str
) -> None:
    """The reason is on record; until the end nothing is in force."""
    with at_place(tmp_path, TWO, processes) as place:
        place.noise = [0.0, 60.0, -60.0]
        with place.calibrate("--wait", "0.3", language=language) as person:
            until_asked(place, person, "ask_unstable")
            person.type("gas runs out")
            until_asked(place, person, "put_in", 2)
            gives_up(person)
        (step,) = place.run.steps
        assert (step.stable, step.override) == (False, "gas runs out")


@LANGUAGES
def test_standards_out_of_order_and_lines_that_are_none(tmp_path: Path, processes: Processes, language: str) -> None:
    """Each is said at once and asked again; nothing has begun."""
    order, none = {
        "zh": ("标准须由低到高:20 不高于 50;请重新输入", "much 不是标准:"),
        "en": (
            "from the lowest to the highest: 20 is not above 50; enter it again",
            "much is not a standard: its value",
        ),
    }[language]
    with at_place(tmp_path, TWO, processes) as place, place.calibrate(language=language) as person:
        until_asked(place, person, "ask_standard")
        for text, said in (("much", none), ("50,GBW,2,soon", "50,GBW,2,soon"), ("50", ""), ("20", order)):
            person.type(text)
            until_asked(place, person, "ask_standard")
            assert said in person.text, person.text
        assert person.interrupt() == 130
        assert place.book.runs == {}


@LANGUAGES
def test_an_expired_bottle_is_used_for_a_reason_or_not_at_all(
    tmp_path: Path, processes: Processes, language: str
) -> None:
    bottle = "100,GBW-17,2,2020-01-01"
    said = {"zh": "100 (GBW-17) 已于 2020-01-01 过期", "en": "100 (GBW-17) expired on 2020-01-01"}[language]
    with at_place(tmp_path, SPAN, processes) as place, place.calibrate(language=language) as person:
        until_asked(place, person, "ask_standard")
        person.type(bottle)
        until_asked(place, person, "ask_expired")
        assert said in person.text
        person.type("")  # no reason: another one
        until_asked(place, person, "ask_standard")
        person.type(bottle)
        until_asked(place, person, "ask_expired")
        person.type("no other at hand")
        until_asked(place, person, "put_in")
        gives_up(person)
        assert place.run.override == "no other at hand"


@LANGUAGES
@pytest.mark.parametrize("session", [TWO, INSIDE], ids=["station", "instrument"])
@pytest.mark.parametrize(("line", "zh", "en"), [
    ((0.0, 7.0), "响应斜率为零:仪器示值不随标准变化", "the response has a slope of zero: the instrument does not"),
    ((-0.8, 90.0), "斜率将为负:标准放反了,或仪器响应反向", "the slope would be below zero: standards were mixed up"),
], ids=["flat", "reversed"])  # fmt: skip
def test_a_line_that_is_none(
    tmp_path: Path, processes: Processes, language: str, session: Session, line: tuple[float, float], zh: str, en: str
) -> None:
    """Nothing is written into the instrument, and nothing is in force at the station."""
    with at_place(tmp_path, replace(session, line=line), processes) as place:
        with place.calibrate(language=language) as person:
            until_asked(place, person, "ask_no_result")
            assert {"zh": zh, "en": en}[language] in person.text
            gives_up(person)
        assert place.run.state == "cancelled"


@LANGUAGES
def test_a_second_technician(tmp_path: Path, processes: Processes, language: str) -> None:
    """While the first one's terminal waits: at the other parameter, and at the same one."""
    beside, same = {
        "zh": ("dust 正由 Wang Fang 校准(K1,pm25);请先完成或放弃", "K1 由 Wang Fang 开始,须由其完成"),
        "en": ("dust is being calibrated by Wang Fang (K1, pm25); finish or cancel", "K1 was begun by Wang Fang, who"),
    }[language]
    with at_place(tmp_path, TWO, processes) as place, place.calibrate(language=language) as first:
        until_asked(place, first, "put_in", 1)
        words = [word.replace("pm25", "pm10") for word in place.words()]
        with typed(processes, *words, language=language) as other:
            assert (other.ended(), beside in other.text) == (2, True), other.text
        with place.calibrate(language=language) as other:
            until_asked(place, other, "ask_user")
            other.type("Li Wei")
            assert (other.ended(), same in other.text) == (2, True), other.text
        gives_up(first)


SAYS = {
    "zh": ("dust 没有接受:", "仪器内原校准仍然有效"),
    "en": ("dust did not take it: ", "the former calibration of the instrument is in force"),
}


@LANGUAGES
@pytest.mark.parametrize("event", ["stubborn", "refuses"])
def test_an_instrument_that_refuses_the_write(tmp_path: Path, processes: Processes, language: str, event: str) -> None:
    """Tried again it refuses again; given up, its former calibration is in force, which was so all the time."""
    with at_place(tmp_path, INSIDE, processes) as place:
        place.unit.happen(event)
        with place.calibrate(language=language) as person:
            until_asked(place, person, "ask_refused")
            person.type("y")
            until_asked(place, person, "ask_refused")
            for words in SAYS[language]:
                assert person.text.count(words) == 2, person.text
            assert place.coefficients == about(INSIDE.former)
            gives_up(person)
        assert place.run.state == "cancelled"


@LANGUAGES
def test_an_instrument_that_refuses_is_left_open_and_takes_it_later(
    tmp_path: Path, processes: Processes, language: str
) -> None:
    place = place_for(tmp_path, INSIDE, processes)
    with place.line:
        place.unit.happen("refuses")
        with place.calibrate(language=language) as person:
            until_asked(place, person, "ask_refused")
            person.type("")
            assert person.ended() == 0, person.text
        assert (place.run.state, place.coefficients) == ("open", about(INSIDE.former))
        place.unit.recover()
        with place.calibrate(language=language) as person:
            place.answer_all(person)
            assert person.ended() == 0, person.text
    assert place.coefficients == about(INSIDE.leaves or INSIDE.former)


@LANGUAGES
def test_buffers_that_give_no_coefficients(tmp_path: Path, processes: Processes, language: str) -> None:
    """The instrument says what is wrong with them, and keeps what it had."""
    with at_place(tmp_path, BUFFERS, processes) as place, place.calibrate(language=language) as person:
        until_asked(place, person, "put_in", 3)
        place.unit.calibrator.verdict = 4
        person.type(place.answer(*(person.question() or pytest.fail("ended"))))
        until_asked(place, person, "ask_refused")
        for words in (*SAYS[language], "coefficients out of range"):
            assert words in person.text
        place.unit.calibrator.verdict = None
        gives_up(person)


@LANGUAGES
def test_an_instrument_that_cannot_calibrate_itself(tmp_path: Path, processes: Processes, language: str) -> None:
    """Nobody knows what it did; that is what is said, and tried again it goes on."""
    said = {"zh": "仪器内原校准是否仍然有效尚不确定", "en": "instrument is in force is not certain"}
    place = place_for(tmp_path, ZEROED, processes)
    answered = place.unit.answer
    with place.line, place.calibrate(language=language) as person:
        place.unit.answer = lambda r: place.unit._exception(r[1], 4) if r[1] == 16 else answered(r)  # type: ignore[method-assign]
        until_asked(place, person, "ask_refused")
        assert said[language] in person.text
        place.unit.answer = answered  # type: ignore[method-assign]
        person.type("y")
        place.answer_all(person)
        assert person.ended() == 0, person.text
    assert place.coefficients == about(ZEROED.leaves or ZEROED.former)


@LANGUAGES
def test_files_and_numbers_that_are_none_are_asked_for_again(
    tmp_path: Path, processes: Processes, language: str
) -> None:
    unusable, number = {
        "zh": ("该文件不能使用:", "seventeen 不是数字;请重新输入"),
        "en": ("this file is of no use: ", "seventeen is not a number; enter it again"),
    }[language]
    (tmp_path / "few.csv").write_text("2026-03-01T00:00Z,25\n", encoding="utf-8")
    with at_place(tmp_path / "a", FACTOR, processes) as place, place.calibrate(language=language) as person:
        for file in ("missing.csv", "few.csv"):
            until_asked(place, person, "ask_reference")
            person.type(str(tmp_path / file))
        until_asked(place, person, "ask_reference")
        assert person.text.count(unusable) == 2, person.text
        gives_up(person)
    with at_place(tmp_path / "b", FLOW, processes) as place, place.calibrate(language=language) as person:
        until_asked(place, person, "ask_shown", 1)
        person.type("seventeen")
        until_asked(place, person, "ask_shown", 1)
        assert number in person.text
        gives_up(person)


@LANGUAGES
@pytest.mark.parametrize("measuring", [False, True], ids=["at a question", "measuring"])
def test_ctrl_c_leaves_it_open_and_says_so(
    tmp_path: Path, processes: Processes, language: str, measuring: bool
) -> None:
    said = {"zh": "K1:暂不处理", "en": "K1: left open, nothing was changed; the same command goes on here"}
    with at_place(tmp_path, TWO, processes) as place:
        place.noise = [0.0, 60.0, -60.0]
        with place.calibrate(language=language) as person:
            until_asked(place, person, "put_in", 1)
            if measuring:
                person.type("")
                person.says("2/3")
            assert person.interrupt() == 130
            assert said[language] in person.text
        assert place.run.state == "open"
