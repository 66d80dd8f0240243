"""`station calibrate` as typed: a drifted instrument through the daemon and alone, cut, cancelled, printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus, emulated_bus
from station.config import load
from tests.station.commands import Done, answer, configure, daemon, served, station, until

WHO = ("--user", "Wang Fang")
TWO = ("--procedure", "two-point", "--standard", "0", "--standard", "100,GBW-17,2,2099-06-30")


class Drifted:
    """An instrument that shows 0.8 times what it is given, and 2 more; *noise* is added in turn."""

    def __init__(self) -> None:
        self.given = 0.0
        self.noise = (0.0,)
        self._turn = count()

    def __call__(self) -> dict[str, float]:
        shown = 0.8 * self.given + 2 + self.noise[next(self._turn) % len(self.noise)]
        return {"pm25": shown, "pm10": shown}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configure(tmp_path, ("poll_seconds = 5", "poll_seconds = 1"), ('port = "port"', f'port = "{tmp_path}/port"'))


@pytest.fixture
def instrument(config: Path) -> Iterator[Drifted]:
    """It hangs on the configured line until the end of the test."""
    (bus,), made = load(config).config.bus, Drifted()
    line: EmulatedBus = emulated_bus(bus, bus.device, values={"dust": made}, link=Path(bus.port), pace=False)  # type: ignore[arg-type]
    with line:
        yield made


def calibrate(config: Path, *words: str, lang: str = "en") -> Done:
    return station(
        "calibrate", "dust", "pm25", *words, "--every", "0.02", "--wait", "8", "--config", config, "--lang", lang
    )


def on_record(config: Path, *words: str) -> Any:
    return json.loads(station("calibrate", *words, "--json", "--config", config).out)


def whole(config: Path, instrument: Drifted, *words: str) -> Done:
    """Zero, then 100, by the words of a script."""
    instrument.given = 0.0
    first = calibrate(config, *TWO, *WHO, "--next", *words)
    assert first.code == 0, first.err
    instrument.given = 100.0
    return calibrate(config, *WHO, "--next", *words)


def shown(config: Path) -> float | None:
    status = answer(load(config).control_socket)
    values = [one for device in status["devices"] for one in device["values"] if one["parameter"] == "pm25"]
    return values[0]["value"] if values else None


def test_a_drifted_instrument_is_put_right_while_the_station_runs(config: Path, instrument: Drifted) -> None:
    """Raw 2 and 82 at 0 and 100: slope 1.25, intercept -2.5; the next value of the running station is 100."""
    with daemon(config):
        done = whole(config, instrument)
        assert (done.code, done.err) == (0, "")
        assert "standard 100 µg/m³: raw 82, as found 82 (-18), as left 100 (+0)" in done.out
        assert "slope / intercept: 1 / 0 before, 1.25 / -2.5 now" in done.out
        assert done.out.splitlines()[-1] == "K1: in force; values stay marked C for the tail"
        until(lambda: shown(config) == 100.0, 10, lambda: shown(config))
        assert answer(load(config).control_socket, "commit") == {"error": ""}
        mark, _ = json.loads(station("marks", "list", "--json", "--config", config).out)["marks"]
        assert (mark["mark"], mark["reason"], mark["to"] is not None) == ("C", "calibration K1: two-point", True)
    rows = json.loads(station("export", "--config", config, "--format", "json", "--parameter", "pm25").out)
    pairs = {(row["raw"], row["value"]) for row in rows if row["value"] is not None}
    assert (82.0, 100.0) in pairs
    assert pairs <= {(2.0, 2.0), (82.0, 82.0), (82.0, 100.0)}  # what was stored before stays what it was


def test_a_power_cut_between_two_standards_loses_nothing(config: Path, instrument: Drifted) -> None:
    with daemon(config) as process:
        assert calibrate(config, *TWO, *WHO, "--next").code == 0
        process.process.kill()
        process.ended()
    instrument.given = 100.0
    with daemon(config):
        assert "K1" in calibrate(config, *WHO, "--next").out
        assert on_record(config, "show", "K1")["coefficients"] == pytest.approx([1.25, -2.5])
        until(lambda: shown(config) == 100.0, 10, lambda: shown(config))


def test_alone_it_opens_the_port_itself_and_the_next_start_goes_on_with_it(config: Path, instrument: Drifted) -> None:
    assert whole(config, instrument).code == 0
    with daemon(config):
        until(lambda: shown(config) == 100.0, 10, lambda: shown(config))


def test_a_person_is_led_with_at_most_twelve_answers(config: Path, instrument: Drifted) -> None:
    """Name, procedure, two standards, the serial number this instrument does not tell, two times Enter, yes."""
    answers = ["Wang Fang", "two-point", "0", "100,GBW-17", "PM-42", "", "", "y"]
    with served("calibrate", "dust", "pm25", "--every", "0.02", "--config", config, "--lang", "en") as command:
        for text in answers[:6]:
            command.type(text)
        command.says("taken: 2")
        instrument.given = 100.0
        for text in answers[6:]:
            command.type(text)
        assert command.ended(20) == 0, command.text
        assert command.lines[-1].endswith("K1: in force; values stay marked C for the tail")
    assert len(answers) <= 12
    row = on_record(config, "list")["calibrations"][0]
    assert row["instrument"] == {"serial": "PM-42"}
    assert (row["state"], row["user"], row["coefficients"]) == ("done", "Wang Fang", pytest.approx([1.25, -2.5]))


def test_a_person_is_told_at_once_what_is_wrong_and_asked_again(config: Path, instrument: Drifted) -> None:
    """In the language of the screen: an order, an expired bottle, a line that is none; no answer is lost."""
    words = ("calibrate", "dust", "pm25", "--every", "0.02", "--config", config, "--lang", "zh")
    with served(*words) as command:
        for text in ("王芳", "two-point", "50", "20", "100,GBW-17,2,2020-01-01", "", "100,GBW-17,2,2020-01-01", "无货"):
            command.type(text)
        for text in ("PM-42", "", "", "c", "没有响应"):
            command.type(text)
        assert command.ended(20) == 0, command.text
    assert "  two-point          两点校准" in command.lines
    assert "标准须由低到高:20 不高于 50;请重新输入" in command.text
    assert command.text.count("100 (GBW-17) 已于 2020-01-01 过期") == 2
    assert "同一样品中的因子一并标记 C:PM10" in command.text
    assert "无法得出结果;c 放弃,回车暂不处理" in command.text
    assert command.lines[-1].endswith("K1:已放弃,没有任何改动")
    assert on_record(config, "show", "K1")["state"] == "cancelled"


@pytest.mark.parametrize(
    ("parameter", "answers", "said"),
    [
        ("pm10", (), "dust 正由 Wang Fang 校准(K1,pm25);请先完成或放弃"),
        ("pm25", ("李伟",), "K1 由 Wang Fang 开始,须由其完成"),
    ],
)
def test_a_second_person_is_told_before_anything_is_asked(
    config: Path, instrument: Drifted, parameter: str, answers: tuple[str, ...], said: str
) -> None:
    assert calibrate(config, *TWO, *WHO, "--next").code == 0
    with served("calibrate", "dust", parameter, "--config", config, "--lang", "zh") as command:
        for text in answers:
            command.type(text)
        assert command.ended(20) == 2, command.text
    assert said in command.text


def test_left_open_it_goes_on_at_the_same_standard_in_chinese(config: Path, instrument: Drifted) -> None:
    assert calibrate(config, *TWO, *WHO, "--next").code == 0
    instrument.given = 100.0
    with served("calibrate", "dust", "pm25", "--every", "0.02", "--config", config, "--lang", "zh") as command:
        for text in ("", "", ""):  # the same person; the standard is in; not yet in force
            command.type(text)
        assert command.ended(20) == 0, command.text
    assert "K1 由 Wang Fang 开始" in command.text
    assert "2/2" in command.text
    assert "没有任何改动" in command.lines[-1]
    assert on_record(config, "show", "K1")["state"] == "open"
    with served("calibrate", "dust", "pm25", "--every", "0.02", "--config", config, "--lang", "en") as command:
        for text in ("", "c", "wrong bottle"):
            command.type(text)
        assert command.ended(20) == 0, command.text
    assert command.lines[-1].endswith("K1: given up; nothing was changed")
    assert on_record(config, "show", "K1")["coefficients"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--next",), 2, "nothing is under way here; a script gives --procedure, --standard and --user to begin"),
        ((*TWO, "--next"), 2, "the person's name (--user) is missing or not printable"),
        (("--procedure", "span", "--standard", "100,GBW-17,2,2020-01-01", *WHO, "--next"), 2,
         "the standard 100 (GBW-17) expired on 2020-01-01; use one in date, or give --override with the reason"),
        (("--procedure", "two-point", "--standard", "100", "--standard", "0", *WHO, "--next"), 2,
         "standards go from the lowest to the highest, each once: 100, 0"),
        (("--procedure", "zero", "--standard", "much", *WHO, "--next"), 2,
         'value of a standard: "much" is not a number'),
        (("--cancel", "no reason", *WHO), 2, "no calibration of pm25 is under way at dust"),
    ],
)  # fmt: skip
def test_what_cannot_be_begun_is_one_sentence_and_changes_nothing(
    config: Path, instrument: Drifted, words: tuple[str, ...], code: int, said: str
) -> None:
    done = calibrate(config, *words)
    assert (done.code, done.said) == (code, [said])
    assert on_record(config, "list") == {"calibrations": []}


def test_two_people_at_one_instrument(config: Path, instrument: Drifted) -> None:
    assert calibrate(config, *TWO, *WHO, "--next").code == 0
    other = calibrate(config, "--user", "Li Wei", "--next")
    assert other.code == 2
    assert "K1 was begun by Wang Fang; who begins a calibration finishes it, anybody may cancel it" in other.err
    beside = station("calibrate", "dust", "pm10", *TWO, "--user", "Li Wei", "--next", "--config", config)
    assert (beside.code, "dust is being calibrated by Wang Fang since" in beside.err) == (2, True)
    done = calibrate(config, "--cancel", "called away", "--user", "Li Wei")
    assert (done.code, done.out) == (0, "K1: given up; nothing was changed\n")


def test_a_signal_that_does_not_settle_is_taken_with_a_reason_only(config: Path, instrument: Drifted) -> None:
    instrument.noise = (0.0, 30.0)
    words = ("--procedure", "check", "--standard", "10", *WHO, "--next", "--every", "0.02", "--wait", "0.5")
    refused = station("calibrate", "dust", "pm25", *words, "--config", config)
    assert (refused.code, refused.said) == (69, ["the signal was not stable within 0.5 s"])
    taken = station("calibrate", "dust", "pm25", *words, "--override", "gas runs out", "--config", config)
    assert taken.code == 0, taken.err
    (step,) = on_record(config, "show", "K1")["steps"]
    assert (step["stable"], step["override"]) == (False, "gas runs out")


def test_calibrations_are_listed_shown_taken_back_and_printed(
    config: Path, instrument: Drifted, tmp_path: Path
) -> None:
    assert whole(config, instrument, "--full-scale", "500", "--note", "<b>new</b> inlet").code == 0
    listed = station("calibrate", "list", "--config", config, "--lang", "zh").out
    assert "两点校准" in listed
    assert "1.25 / -2.5" in listed
    told = station("calibrate", "show", "K1", "--config", config).out
    assert "standard 2: 100 µg/m³, certificate GBW-17, uncertainty 2, expires 2099-06-30" in told
    assert "zero drift +0.4 %" in told
    page = tmp_path / "k1.html"
    done = station("calibrate", "certificate", "K1", "--output", page, "--config", config, "--lang", "zh")
    assert (done.code, str(page) in done.out) == (0, True)
    text = page.read_text(encoding="utf-8")
    for word in ("校准记录单 K1", "GBW-17", "2099-06-30", "1.25 / -2.5", "-18", "Wang Fang", "+0.40 %", "SHA-256"):
        assert word in text
    assert "&lt;b&gt;new&lt;/b&gt; inlet" in text
    back = station("calibrate", "revert", "K1", "--reason", "wrong bottle", *WHO, "--config", config)
    assert (back.code, back.out) == (0, "K1: taken back; slope / intercept are 1 / 0 again\n")
    assert "taken back since" in station("calibrate", "certificate", "K1", "--config", config).out
    again = station("calibrate", "revert", "K1", "--reason", "twice", *WHO, "--config", config)
    assert (again.code, again.said) == (2, ["K1 has left no coefficients that could be taken back"])


def test_a_certificate_is_of_what_is_done(config: Path, instrument: Drifted) -> None:
    assert calibrate(config, *TWO, *WHO, "--next").code == 0
    done = station("calibrate", "certificate", "K1", "--config", config)
    assert (done.code, done.said) == (2, ["K1 is under way; a certificate is of what is done"])
    missing = station("calibrate", "show", "K7", "--config", config)
    assert missing.said == ['there is no calibration "K7"; see station calibrate list']


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "alone"])
def test_a_flow_is_compared_as_it_is_read_off(config: Path, running: bool) -> None:
    """17 shown where the reference has 16.7: nothing is watched, nothing is set; without what is shown it waits."""
    words = ("--procedure", "flow-check", "--standard", "16.7,FL-3", *WHO, "--next")
    with daemon(config) if running else nullcontext():
        missing = calibrate(config, *words)
        assert (missing.code, "wants --shown 1 time" in missing.err) == (2, True), missing.err
        done = calibrate(config, *WHO, "--next", "--shown", "17")
    assert done.code == 0, done.err
    assert "flow error +1.8 %, limit ±10: passed (Beijing TSP grid specification" in done.out
    assert done.out.splitlines()[-1] == "K1: on record; nothing was changed"


def test_one_standard_is_measured_again_and_again(config: Path, instrument: Drifted) -> None:
    """Three times 100, which shows 82: -18 %, no scatter."""
    instrument.given = 100.0
    words = ("--procedure", "repeat-check", "--standard", "100,GBW-17", "--times", "3")
    with daemon(config):
        for more in (words, (), ()):
            done = calibrate(config, *more, *WHO, "--next")
            assert done.code == 0, done.err
    assert "error of the mean -18 %" in done.out
    assert "relative standard deviation +0 %" in done.out
    assert on_record(config, "show", "K1")["result"]["changes"] is False


def test_a_factor_wants_a_file_of_the_reference(config: Path, tmp_path: Path) -> None:
    words = ("--procedure", "k-factor", *WHO, "--next")
    missing = calibrate(config, *words)
    assert (missing.code, "a k-factor wants --reference FILE" in missing.err) == (2, True)
    file = tmp_path / "ref.csv"
    file.write_text("2026-03-01T08:00,41.5\n", encoding="utf-8")
    few = calibrate(config, *WHO, "--next", "--reference", str(file))
    assert (few.code, "0 hours have both a reference and a mean of dust" in few.err) == (2, True)
    assert calibrate(config, "--cancel", "no data yet", *WHO).code == 0


# -- the instrument calibrates itself: a load cell, unlocked, written and locked again by the action of its profile

CELL = ("--procedure", "instrument-zero", "--standard", "0", "--full-scale", "500", *WHO, "--next")


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return configure(
        tmp_path,
        ("poll_seconds = 5", "poll_seconds = 1"),
        ('port = "port"', f'port = "{tmp_path}/port"'),
        ('profile = "deltaohm-pmsense"', 'profile = "rs485-load-cell"'),
        ('parameters = ["pm25", "pm10"]\n', ""),
        ('baudrate = 19200\nparity = "E"', "baudrate = 9600"),
    )


@pytest.fixture
def unit(cell: Path) -> Iterator[EmulatedUnit]:
    """An empty pan that shows 3 g until it is zeroed."""
    (bus,) = load(cell).config.bus
    with emulated_bus(bus, bus.device, link=Path(bus.port), pace=False) as line:  # type: ignore[arg-type]
        made = line.units[1]
        made.values = lambda: {"collector_mass": 0.0 if made.acted else 3.0}
        yield made


def zeroed(cell: Path) -> Done:
    return station(
        "calibrate", "dust", "collector_mass", *CELL, "--every", "0.02", "--wait", "8", "--config", cell, "--lang", "en"
    )


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "alone"])
def test_an_instrument_is_zeroed_in_itself_and_measured_before_and_after(
    cell: Path, unit: EmulatedUnit, running: bool
) -> None:
    with daemon(cell) if running else nullcontext():
        found = zeroed(cell)
        assert (found.code, unit.acted) == (0, ["calibrate"]), found.err
        assert "dust was told to calibrate itself; now as left" in found.out
        left = zeroed(cell)
        assert (left.code, unit.acted) == (0, ["calibrate"]), left.err
    assert "standard 0 g: raw 3, as found 3 (+3), as left 0 (+0)" in left.out
    assert left.out.splitlines()[-1] == "K1: in force in the instrument; values stay marked C for the tail"
    row = on_record(cell, "show", "K1")
    assert (row["state"], row["changes"], row["result"]["zero_drift"]) == ("done", False, pytest.approx(0.6))
    assert "仪器自行校准" in station("calibrate", "certificate", "K1", "--config", cell, "--lang", "zh").out


def test_given_up_behind_its_zero_nobody_says_that_nothing_was_changed(cell: Path, unit: EmulatedUnit) -> None:
    """The cell has zeroed itself, and its profile knows no way back."""
    with daemon(cell):
        assert zeroed(cell).code == 0
        done = station(
            "calibrate", "dust", "collector_mass", "--cancel", "called away", *WHO, "--config", cell, "--lang", "en"
        )
    assert done.out.splitlines() == [
        "K1: given up; what dust was told to calibrate in itself may be in force in it and has no way back: check it,"
        " or calibrate it again"
    ]
    assert on_record(cell, "show", "K1")["result"]["restored"] == {"stays": "zero"}


def test_a_load_cell_is_told_the_weight_that_lies_on_it(cell: Path, unit: EmulatedUnit) -> None:
    """It shows 83 under 100 g; told 100, it shows 100."""
    unit.values = {"collector_mass": 83.0}
    words = ("--procedure", "instrument-span", "--standard", "100,F1-7,0.005,2099-01-01", "--full-scale", "500")
    more = ("--every", "0.02", "--wait", "8", "--config", cell, "--lang", "en")
    for said in (words, ()):
        done = station("calibrate", "dust", "collector_mass", *said, *WHO, "--next", *more)
        assert done.code == 0, done.err
    assert "standard 100 g: raw 83, as found 83 (-17), as left 100 (+0)" in done.out
    assert unit.acted == ["calibrate"]


def test_an_instrument_that_refuses_is_told_again(
    cell: Path, unit: EmulatedUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pan is measured, the unlocking refused: the run stays at its turn, and nothing says it was calibrated."""
    with daemon(cell):
        with monkeypatch.context() as locked:
            locked.setattr(unit, "_told", lambda body, request: unit._exception(body[0], 4))
            refused = zeroed(cell)
        assert (refused.code, unit.acted) == (69, []), refused.err
        assert refused.said[-1].endswith("exception 4 (device failure) to writing 1 registers from 5")
        row = on_record(cell, "show", "K1")
        assert (row["state"], row["taken"]) == ("open", 1)
        again = zeroed(cell)
        assert (again.code, unit.acted) == (0, ["calibrate"]), again.err
        assert on_record(cell, "show", "K1")["state"] == "done"
