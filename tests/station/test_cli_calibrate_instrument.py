"""Sessions with instruments that are calibrated in themselves: K and B written, buffers told, cut, put back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from drivers.emulated import EmulatedUnit
from drivers.emulator import emulated_bus
from station.config import load
from tests.station.commands import Done, Here, Served, answer, configure, daemon, served, until
from tests.station.typed_sessions import PROBE_PROFILE

WHO = ("--user", "Wang Fang")
PARAMETER = {"probe": "ammonia_nitrogen", "yosemitech-y532": "ph", "aqualabo-pheht": "ph"}


class Bench:
    """An instrument of *profile* on the line of a station at an outlet (ST=32); *given* is what it is put into.

    Its element shows 0.8 times that and 0.5 more.
    """

    def __init__(self, folder: Path, profile: str, command: Here) -> None:
        self.command = command
        self.parameter = PARAMETER[profile]
        stop = ('baudrate = 19200\nparity = "E"', "baudrate = 9600" + "\nstopbits = 2" * profile.startswith("aqua"))
        self.config = configure(
            folder,
            ("poll_seconds = 5", f"poll_seconds = {2 if profile.startswith('aqua') else 60}"),
            ('port = "port"', f'port = "{folder}/port"'),
            ('profile = "deltaohm-pmsense"', f'profile = "{profile}"'),
            ('parameters = ["pm25", "pm10"]\n', f'parameters = ["{self.parameter}"]\n'),
            ('st = "39"', 'st = "32"'),
            stop,
        )
        (folder / "profiles").mkdir(exist_ok=True)
        (folder / "profiles" / "probe.toml").write_text(PROBE_PROFILE, encoding="utf-8")
        loaded = load(self.config)
        (bus,) = loaded.config.bus
        self.given = 0.0
        self.line = emulated_bus(  # type: ignore[call-overload]
            bus, bus.device, folders=loaded.profile_folders, values={"dust": self}, link=Path(bus.port), pace=False
        )
        self.unit: EmulatedUnit = self.line.units[1]

    def __call__(self) -> dict[str, float]:
        return {self.parameter: 0.8 * self.given + 0.5}

    def calibrate(self, *words: str) -> Done:
        return self.command(
            "calibrate", "dust", self.parameter, *words, "--every", "0.02", "--wait", "8", "--config", self.config,
            "--lang", "en",
        )  # fmt: skip

    def to(self, given: float, *words: str) -> Done:
        """Put it into *given*, and let the script go on."""
        self.given = given
        return self.calibrate(*words, *WHO, "--next")

    def on_record(self, name: str = "K1") -> Any:
        return json.loads(self.command("calibrate", "show", name, "--json", "--config", self.config).out)

    def coefficients(self) -> tuple[float, float]:
        """Slope and intercept that its registers hold."""
        return self.unit.calibrator._line(self.parameter)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """`station` in this process, which is where the instruments are."""
    return Here(monkeypatch, capfd)


def bench(folder: Path, profile: str, command: Here) -> Iterator[Bench]:
    made = Bench(folder, profile, command)
    with made.line:
        yield made


@pytest.fixture
def probe(tmp_path: Path, command: Here) -> Iterator[Bench]:
    """K and B of its ammonia nitrogen stand at 0x3400."""
    yield from bench(tmp_path, "probe", command)


@pytest.fixture
def electrode(tmp_path: Path, command: Here) -> Iterator[Bench]:
    """A Y532: three buffers, six coefficients that it computes by itself."""
    yield from bench(tmp_path, "yosemitech-y532", command)


TWO = ("--procedure", "two-point", "--standard", "0", "--standard", "10,GSB-05,0.1,2099-06-30", "--readings", "3")
DONE = "dust has the new coefficients: written, read back, compared"


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "alone"])
def test_coefficients_are_computed_and_written_into_the_instrument(probe: Bench, running: bool) -> None:
    """0.5 in 0 and 8.5 in 10: K 1.25, B -0.625 in its registers; at an outlet the station's own stay 1 and 0."""
    with daemon(probe.config) if running else nullcontext():
        assert probe.to(0.0, *TWO).code == 0
        written = probe.to(10.0)
        assert (written.code, DONE in written.out) == (0, True), written.err
        assert probe.coefficients() == pytest.approx((1.25, -0.625))
        left = probe.to(10.0)
        assert left.code == 0, left.err
    assert "coefficients in the instrument: 1 0 before, 1.25 -0.625 now" in left.out
    assert "standard 10 mg/L: raw 8.5, as found 8.5 (-1.5), as left 10 (+0)" in left.out
    assert left.out.splitlines()[-1] == "K1: in force in the instrument; values stay marked C for the tail"
    row = probe.on_record()
    assert (row["state"], row["into"], row["changes"], row["coefficients"]) == ("done", "instrument", False, [1.0, 0.0])
    assert (row["kept"]["numbers"], row["instrument"]["serial"]) == ("1 0", "YL6818040001")
    assert row["valid_from"] is not None
    page = probe.command("calibrate", "certificate", "K1", "--config", probe.config, "--lang", "zh").out
    assert "1.25 -0.625" in page
    assert "已写入仪器并回读" in page


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_power_cut_behind_any_step_resumes_there(probe: Bench, cut: int) -> None:
    """The station is killed behind the first standard, the write, and before the end; the next start goes on."""
    steps = [(0.0, TWO), (10.0, ()), (10.0, ())]
    for number, (given, words) in enumerate(steps, 1):
        with daemon(probe.config) as process:
            assert probe.to(given, *words).code == 0
            if number == cut:
                process.process.kill()
                process.ended()
    assert (probe.on_record()["state"], probe.coefficients()) == ("done", pytest.approx((1.25, -0.625)))


def killed_in_the_write(probe: Bench, process: Served) -> Done:
    """The instrument takes the coefficients, and in the same moment the station's power goes."""
    answered = probe.unit.answer

    def cut(request: bytes) -> bytes | None:
        reply = answered(request)
        if request[1] == 16 and request[2] == 0x34:
            process.process.kill()
        return reply

    probe.unit.answer = cut  # type: ignore[method-assign]
    done = probe.to(10.0)
    probe.unit.answer = answered  # type: ignore[method-assign]
    process.ended()
    return done


def test_a_power_cut_within_the_write_is_gone_on_with(probe: Bench) -> None:
    """What is in the registers already is not written again, and on record as if nothing had been."""
    with daemon(probe.config) as process:
        assert probe.to(0.0, *TWO).code == 0
        assert killed_in_the_write(probe, process).code != 0
    assert probe.coefficients() == pytest.approx((1.25, -0.625))
    row = probe.on_record()
    assert (row["state"], row["acts"]) == ("open", [])
    with daemon(probe.config):
        again = probe.to(10.0)
        assert (again.code, DONE in again.out) == (0, True), again.err
    assert probe.on_record()["state"] == "done"


def test_a_power_cut_within_the_write_is_undone_by_giving_up(probe: Bench) -> None:
    with daemon(probe.config) as process:
        assert probe.to(0.0, *TWO).code == 0
        killed_in_the_write(probe, process)
    with daemon(probe.config):
        done = probe.calibrate("--cancel", "no time left", "--user", "Li Wei")
    assert (done.code, done.out.splitlines()) == (
        0,
        ["K1: the instrument has its former calibration again 1 0", "K1: given up; nothing was changed"],
    )
    assert probe.coefficients() == (1.0, 0.0)


@pytest.mark.parametrize("event", ["stubborn", "refuses"])
def test_an_instrument_that_does_not_take_them_keeps_its_former_calibration(probe: Bench, event: str) -> None:
    with daemon(probe.config):
        assert probe.to(0.0, *TWO).code == 0
        probe.unit.happen(event)
        refused = probe.to(10.0)
        assert refused.code == 69
        assert "dust: does not take 1.25, -0.625 (" in refused.said[-1]
        assert refused.said[-1].endswith("its former coefficients 1, 0 are in force")
        assert (probe.on_record()["state"], probe.coefficients()) == ("open", (1.0, 0.0))
        probe.unit.recover()
        assert DONE in probe.to(10.0).out


def test_what_is_left_wrong_is_not_accepted_and_is_put_back(probe: Bench) -> None:
    """As left 20 % off in its standard: finished with a reason only; given up, K and B are what they were."""
    with daemon(probe.config):
        assert probe.to(0.0, *TWO).code == 0
        assert probe.to(10.0).code == 0
        wrong = probe.to(12.5)
        assert wrong.code == 2
        assert "error_percent is 25 against 10" in wrong.err
        assert "cancel it to have the former calibration back in the instrument" in wrong.err
        assert probe.calibrate("--cancel", "wrong bottle", *WHO).code == 0
    assert probe.coefficients() == (1.0, 0.0)


def test_a_calibration_in_the_instrument_is_taken_back_there(probe: Bench) -> None:
    def revert(name: str) -> Done:
        words = ("--reason", "wrong bottle", *WHO, "--config", probe.config, "--lang", "en")
        return probe.command("calibrate", "revert", name, *words)

    with daemon(probe.config):
        for given, words in ((0.0, TWO), (10.0, ()), (10.0, ())):
            assert probe.to(given, *words).code == 0
        assert probe.to(10.0, "--procedure", "span", "--standard", "10.5", "--readings", "3").code == 0
        assert probe.to(10.0).code == 0
        first = revert("K1")
        assert (first.code, "which K1 did not leave" in first.err) == (2, True)
        assert revert("K2").out == "K2: taken back; the instrument has 1.25 -0.625 again\n"
        assert revert("K1").code == 0
        again = revert("K1")
        assert again.said == ["K1 has left no coefficients that could be taken back"]
    assert probe.coefficients() == (1.0, 0.0)


def test_taking_back_goes_on_where_the_power_went_behind_the_write(probe: Bench) -> None:
    """The registers hold the former ones already, and nobody has written that down."""
    with daemon(probe.config):
        for given, words in ((0.0, TWO), (10.0, ()), (10.0, ())):
            assert probe.to(given, *words).code == 0
        probe.unit.calibrator._set(probe.parameter, (1.0, 0.0))
        words = ("--reason", "wrong bottle", *WHO, "--config", probe.config, "--lang", "en")
        done = probe.command("calibrate", "revert", "K1", *words)
    assert (done.code, done.out) == (0, "K1: taken back; the instrument has 1 0 again\n"), done.err


def test_an_instrument_that_is_gone_is_not_forgotten(probe: Bench) -> None:
    """It does not answer while it is to be put back: the run stays open; with a reason it is on record that it was."""
    with daemon(probe.config):
        assert probe.to(0.0, *TWO).code == 0
        assert probe.to(10.0).code == 0
        probe.unit.fail("silent")
        refused = probe.calibrate("--cancel", "called away", *WHO)
        assert (refused.code, probe.on_record()["state"]) == (69, "open")
        done = probe.calibrate("--cancel", "called away", "--override", "it was stolen", *WHO)
    assert (done.code, "THE INSTRUMENT MAY NOT HAVE ITS FORMER CALIBRATION" in done.out) == (0, True), done.err
    assert probe.on_record()["result"]["restored"]["override"] == "it was stolen"


def test_somebody_who_changed_it_meanwhile_is_noticed(probe: Bench) -> None:
    with daemon(probe.config):
        assert probe.to(0.0, *TWO).code == 0
        probe.unit.calibrator._set(probe.parameter, (2.0, 0.0))
        refused = probe.to(10.0)
    assert refused.code == 69
    assert "its coefficients are not those of the beginning of this calibration (2, 0)" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--into", "station"), "instrument, station and platform show one number"),
        (("--procedure", "k-factor"), "instrument, station and platform show one number"),
        (("--procedure", "check", "--into", "instrument"), "check leaves no coefficients"),
        (("--procedure", "ph-buffers", "--standard", "20"), "has no calibration of ammonia_nitrogen over several"),
        (("--procedure", "instrument-span"), "has no action that calibrates ammonia_nitrogen"),
        (("--unattended",), "what runs unattended is led by the running station"),
    ],
)
def test_what_cannot_be_done_here_is_one_sentence(probe: Bench, words: tuple[str, ...], said: str) -> None:
    asked = words if "--procedure" in words else (*TWO, *words)
    if "--standard" not in asked and "k-factor" not in asked:
        asked = (*asked, "--standard", "10")
    done = probe.calibrate(*asked, *WHO, "--next")
    assert (done.code, said in done.err) == (2, True), done.err
    assert json.loads(probe.command("calibrate", "list", "--json", "--config", probe.config).out) == {
        "calibrations": []
    }


def test_a_person_is_led_and_asked_before_anything_is_written(probe: Bench) -> None:
    """Name, procedure, two standards, two times Enter, yes: as left is measured without a question."""
    answers = ["Wang Fang", "two-point", "0", "10,GSB-05", "", "", "y"]
    words = ("calibrate", "dust", probe.parameter, "--every", "0.02", "--config", probe.config, "--lang", "zh")
    with daemon(probe.config), served(*words) as command:
        for text in answers[:5]:
            command.type(text)
        command.says("已采用:0.5")
        probe.given = 10.0
        for text in answers[5:]:
            command.type(text)
        assert command.ended(30) == 0, command.text
    assert len(answers) <= 12
    assert "是否写入 dust?" in command.text
    assert "仪器内系数:原为 1 0,现为 1.25 -0.625" in command.text
    assert command.lines[-1].endswith("已在仪器内生效;收尾时间内数据仍标记 C")
    assert probe.coefficients() == pytest.approx((1.25, -0.625))


def test_left_open_before_the_write_nothing_was_written(probe: Bench) -> None:
    words = ("calibrate", "dust", probe.parameter, *TWO, "--every", "0.02", "--config", probe.config, "--lang", "en")
    with daemon(probe.config), served(*words) as command:
        for text in ("Wang Fang", ""):
            command.type(text)
        command.says("taken: 0.5")
        probe.given = 10.0
        for text in ("", ""):
            command.type(text)
        assert command.ended(30) == 0, command.text
    assert command.lines[-1].endswith("K1: left open, nothing was changed; the same command goes on here")
    assert (probe.coefficients(), probe.on_record()["state"]) == ((1.0, 0.0), "open")


# -- three buffers

BUFFERS = ("--procedure", "ph-buffers", "--stay", "0", "--readings", "3")
SHOWS = (4.375, 7.95, 10.85)  # given such that the element shows 4.0, 6.86 and 9.18


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "alone"])
def test_three_buffers_are_told_one_by_one(electrode: Bench, running: bool) -> None:
    """The buffers it knows need not be typed; behind the third it computes, and shows 9.18 as left."""
    with daemon(electrode.config) if running else nullcontext():
        for given in (3.5, 6.3, 8.6):
            done = electrode.to(given, *(BUFFERS if given == 3.5 else ()))
            assert (done.code, "dust was told the standard" in done.out) == (0, True), done.err
        left = electrode.to(8.6)
        assert left.code == 0, left.err
    row = electrode.on_record()
    assert [one["type"] for one in row["acts"]] == ["point"] * 3
    assert [one["value"] for one in row["standards"]] == [4.0, 6.86, 9.18]
    assert row["acts"][2]["after"]["words"] != row["kept"]["words"]
    assert row["result"]["rows"][2]["as_left"] == pytest.approx(9.18, abs=0.2)
    assert row["result"]["rows"][0]["as_left"] is None
    assert "in force in the instrument" in left.out


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_buffers_go_on_where_the_power_went(electrode: Bench, cut: int) -> None:
    for number, given in enumerate((3.5, 6.3, 8.6, 8.6), 1):
        with daemon(electrode.config) as process:
            assert electrode.to(given, *(BUFFERS if number == 1 else ())).code == 0
            if number == cut:
                process.process.kill()
                process.ended()
    assert electrode.on_record()["state"] == "done"


def test_coefficients_out_of_range_are_said_and_the_former_ones_put_back(electrode: Bench) -> None:
    with daemon(electrode.config):
        for given in (3.5, 6.3):
            assert electrode.to(given, *(BUFFERS if given == 3.5 else ())).code == 0
        electrode.unit.calibrator.verdict = 4
        refused = electrode.to(8.6)
        assert refused.code == 69
        assert refused.said[-1] == (
            "dust: says 4 of its calibration: coefficients out of range; its former calibration is in force"
        )
        electrode.unit.calibrator.verdict = None
        assert electrode.calibrate("--cancel", "old electrode", *WHO).code == 0
    assert electrode.coefficients() == (1.0, 0.0)


def test_an_instrument_whose_power_went_between_two_buffers_says_so(electrode: Bench) -> None:
    with daemon(electrode.config):
        for given in (3.5, 6.3):
            assert electrode.to(given, *(BUFFERS if given == 3.5 else ())).code == 0
        electrode.unit.power_cycle()
        refused = electrode.to(8.6)
    assert (refused.code, "says 2 of its calibration: fewer than three points" in refused.err) == (69, True)
    assert electrode.on_record()["state"] == "open"


def test_a_buffer_wants_its_minute_unless_another_stay_is_given(electrode: Bench) -> None:
    """As the maker asks: six readings in a moment are not enough."""
    words = ("--procedure", "ph-buffers", *WHO, "--next", "--every", "0.02", "--wait", "1")
    done = electrode.command("calibrate", "dust", "ph", *words, "--config", electrode.config)
    assert (done.code, done.said) == (69, ["the signal was not stable within 1 s"])
    assert electrode.on_record()["rule"]["seconds"] == 60


def test_buffers_it_does_not_know_are_refused_at_once(electrode: Bench) -> None:
    words = [word for value in ("4.01", "7.00", "9.18") for word in ("--standard", value)]
    done = electrode.calibrate(*BUFFERS, *words, *WHO, "--next")
    assert done.said == ["dust knows the standards 4, 6.86, 9.18, in this order: 4.01, 7, 9.18"]
    few = electrode.calibrate(*BUFFERS, "--standard", "4.00", *WHO, "--next")
    assert (few.code, "ph-buffers takes 3 standard(s); 1 given" in few.err) == (2, True)


def test_a_person_needs_eight_answers_for_three_buffers(electrode: Bench) -> None:
    """Name, procedure, three times Enter for the buffers it knows, three times Enter when it is in one: eight."""
    words = ("calibrate", "dust", "ph", "--stay", "0", "--every", "0.02", "--config", electrode.config, "--lang", "en")
    answers = ["Wang Fang", "ph-buffers", "", "", "", ""]
    with daemon(electrode.config), served(*words) as command:
        electrode.given = 3.5
        for text in answers:
            command.type(text)
        for told, given in enumerate((6.3, 8.6), 1):
            until(lambda told=told: command.text.count("dust was told the standard") == told, 20, lambda: command.text)
            electrode.given = given
            command.type("")
        command.says("in force")
        assert command.ended(30) == 0, command.text
        shown = re.findall(r"Standard (\d of \d): put in|(as left, still in 9.18)", command.text)
    assert [one or left for one, left in shown] == ["1 of 3", "2 of 3", "3 of 3", "as left, still in 9.18"]
    assert len(answers) + 2 <= 12
    assert electrode.on_record()["state"] == "done"


# -- a probe that goes through several steps


def test_an_aqualabo_probe_is_led_through_its_steps(tmp_path: Path, command: Here) -> None:
    """Begin, two standards, confirmed with name and date, as left; its values are those of the station's polls."""
    made = Bench(tmp_path, "aqualabo-pheht", command)
    points = (
        "--procedure",
        "instrument-points",
        "--standard",
        "4",
        "--standard",
        "10",
        "--stay",
        "0",
        "--readings",
        "3",
    )
    made.line.units = {made.unit.unit_id: made.unit}
    with made.line, daemon(made.config):
        assert made.to(4.0, *points).code == 0
        assert made.to(10.0).code == 0
        left = made.to(10.0)
        assert left.code == 0, left.err
        assert made.coefficients() == pytest.approx((1.25, -0.625))
        assert answer(load(made.config).control_socket) is not None
    assert made.on_record()["result"]["rows"][1]["as_left"] == pytest.approx(10.0)


def test_an_aqualabo_probe_that_falls_silent_within_its_first_standard_is_told_to_give_up(
    tmp_path: Path, command: Here
) -> None:
    """It was told to begin, and no more: giving up ends the calibration it stands in."""
    made = Bench(tmp_path, "aqualabo-pheht", command)
    points = ("--standard", "4", "--standard", "10")
    words = ("--procedure", "instrument-points", *points, "--stay", "0", "--readings=3")
    made.line.units = {made.unit.unit_id: made.unit}
    answered = made.unit.answer
    cancelled: list[bytes] = []

    def first_point_lost(request: bytes) -> bytes | None:
        return None if request[1] == 16 and request[2:4] == bytes.fromhex("0204") else answered(request)

    def heard(request: bytes) -> bytes | None:
        if request[1] == 6 and request[2:4] == bytes.fromhex("00AA"):
            cancelled.append(request[4:6])
        return answered(request)

    with made.line, daemon(made.config):
        made.unit.answer = first_point_lost  # type: ignore[method-assign]
        assert made.to(4.0, *words).code == 69
        assert (made.on_record()["taken"], made.on_record()["acts"]) == (1, [])
        made.unit.answer = heard  # type: ignore[method-assign]
        assert made.calibrate("--cancel", "called away", *WHO).code == 0
    assert cancelled == [bytes((0, 1))]  # its averaging of 25 is over
    assert made.on_record()["result"]["restored"] == {"told": "cancel"}
