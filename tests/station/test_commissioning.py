"""A new station is taken into service: each step seen passing and failing, cut and resumed, the sheet printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.emulator import EmulatedBus, emulated_bus
from station import cli_commission, cli_commission_steps, commissioning
from station.cli_commission_steps import Asked as Looked
from station.commission_sheet import _device
from station.config import load
from station.model import WrongArgument
from tests.station.commands import Here, answer, configure, daemon, served, station, until
from tests.station.conftest import Rig
from tests.station.test_maintenance import Asked
from uplink.hj212.emulator import Platform

MOCK = {"GPIOZERO_PIN_FACTORY": "mock"}
LAMP = """
[[output]]
name = "lamp"
kind = "lamp"
pin = 23
"""


def build(folder: Path, port: int = 9, more: str = "") -> Path:
    """A station whose line has a name that stays, quick enough for a test."""
    (folder / "by-path").mkdir(parents=True)
    (folder / "disk").mkdir()
    path = configure(
        folder,
        ("poll_seconds = 5", "poll_seconds = 1"),
        ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1'),
        ('port = "port"', f'port = "{folder}/by-path/usb"'),
        ("port = 9\n", f"port = {port}\n"),
        ("realtime_seconds = 30", "realtime_seconds = 5\nreconnect_seconds = 1"),
    )
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return path


@contextmanager
def line(path: Path) -> Iterator[EmulatedBus]:
    (bus,) = load(path).config.bus
    with emulated_bus(
        bus, bus.device, values={"dust": {"pm25": 35.0, "pm10": 60.0}}, link=Path(bus.port), pace=False
    ) as made:  # type: ignore[arg-type]
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_the_command_and_the_record_know_the_same_steps() -> None:
    assert cli_commission.STEPS == commissioning.STEPS
    assert cli_commission.CONFIRMED == cli_commission_steps.CONFIRMED
    assert {*cli_commission_steps.CHECKS, "alarm"} == {*commissioning.STEPS}


# -- entries


def test_entries_that_are_wrong_are_one_sentence(rig: Rig) -> None:
    entered = Asked(rig)
    for do, fields, said in (
        ("begin", {}, "a commissioning needs the name of who does it (--user)"),
        ("step", {"step": "clock", "verdict": "passed"}, "no commissioning is under way; begin one"),
        ("done", {}, "no commissioning is under way"),
    ):
        with pytest.raises(WrongArgument) as caught:
            entered.of("commissioning", do, **fields)
        assert said in str(caught.value)
    assert entered.of("commissioning", "begin", user="Wang Fang")["name"] == "H1"
    for do, fields, said in (
        ("begin", {"user": "Li"}, "H1 of Wang Fang is under way; it goes on"),
        ("step", {"step": "clok", "verdict": "passed"}, 'there is no step "clok"; did you mean clock?'),
        ("step", {"step": "clock", "verdict": "good"}, '"good" is not one of passed, failed, skipped'),
        ("step", {"step": "clock", "verdict": "skipped"}, "a step is skipped for a reason"),
        ("step", {"step": "clock", "verdict": "passed", "facts": [1]}, "the facts of a step are names with values"),
        ("clear_test", {}, "no test alarm is on"),
        ("cancel", {}, "a commissioning is given up for a reason"),
        ("done", {}, "H1: not passed yet: clock, adapters, scan, profiles, values, platform, alarm, backup"),
    ):
        with pytest.raises(WrongArgument) as caught:
            entered.of("commissioning", do, **fields)
        assert said in str(caught.value)
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    with pytest.raises(WrongArgument, match="the test alarm dust is on; clear it first"):
        entered.of("commissioning", "raise_test", alarm="dust", user="Wang Fang")
    rows = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'commissioning_raise_test'")
    assert json.loads(rows[0][0])["test"] is True
    assert "alarm" not in rig.events()


# -- each step on its own


def looked(path: Path, step: str, **more: Any) -> cli_commission_steps.Found:
    given: dict[str, Any] = {"loaded": load(path), "units": "1-2", "wait": 0.0} | more
    return cli_commission_steps.CHECKS[step](Looked(**given))


def test_an_adapter_without_a_lasting_name_or_not_plugged_in_is_said(tmp_path: Path) -> None:
    path = build(tmp_path / "a")
    assert (
        looked(path, "adapters").trouble == f"line: {tmp_path}/a/by-path/usb is not there; is the adapter plugged in?"
    )
    (tmp_path / "a" / "by-path" / "usb").symlink_to("/dev/null")
    found = looked(path, "adapters")
    assert (found.trouble, found.facts["buses"][0]["is"]) == ("", "/dev/null")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"{tmp_path}/a/by-path/usb", "/dev/null"), encoding="utf-8")
    assert "/dev/null may be another adapter after a restart; name it by" in looked(path, "adapters").trouble


def test_the_scan_names_who_is_missing_and_who_is_a_stranger(tmp_path: Path) -> None:
    path = build(tmp_path / "a")
    with line(path):
        found = looked(path, "scan")
        assert (found.trouble, found.facts["found"]) == ("", [{"bus": "line", "unit_id": 1, "device": "dust"}])
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("unit_id = 1", "unit_id = 2"), encoding="utf-8")
        assert looked(path, "scan").trouble == (
            "dust does not answer at address 2 of line; address 1 of line answers and is no configured instrument"
        )
    assert "cannot be opened" in looked(path, "scan").trouble or "is not there" in looked(path, "scan").trouble
    with pytest.raises(WrongArgument, match="addresses are 1 to 247"):
        looked(path, "scan", units="0-300")


def test_without_a_station_values_and_platforms_say_so(tmp_path: Path) -> None:
    path = build(tmp_path / "a")
    for step in ("values", "platform"):
        assert looked(path, step).trouble.startswith("no station is running; start it first")
    assert looked(path, "backup").trouble.startswith("where to? name a folder with --backup-to")
    gone = tmp_path / "gone"
    assert (
        looked(path, "backup", backup_to=gone).trouble
        == f"{gone} is not a folder; make it, or plug in the disk it is on"
    )
    assert "is not there yet; start the station first" in looked(path, "backup", backup_to=tmp_path).trouble


def test_a_silent_instrument_and_a_silent_platform_fail_their_steps(tmp_path: Path) -> None:
    path = build(tmp_path / "a")
    with daemon(path):
        found = looked(path, "values")
        assert found.trouble.startswith("dust does not answer: ")
        assert looked(path, "platform", wait=5.0).trouble.startswith("district: is not connected: ")


def test_the_clock_is_known_by_something_or_the_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(tmp_path / "a")
    monkeypatch.setattr("station.clock.trust", lambda: "none")
    assert looked(path, "clock").trouble.startswith("the clock is known by nothing: no time server is heard")
    monkeypatch.setattr("station.clock.trust", lambda: "ntp")
    assert (looked(path, "clock").trouble, looked(path, "clock").facts["trust"]) == ("", "ntp")


# -- as typed


def on_record(path: Path) -> dict[str, Any]:
    """The commissioning under way, or finished last, without doing anything to it."""
    from station.cli_commission import Desk

    newest = Desk(Looked(loaded=load(path)), "", None, True).book().newest()
    assert newest is not None
    return commissioning.plain(newest)


ANSWERS = {  # what a person types at each step of a station that is in order
    "clock": ["s no time server on this network"],
    "adapters": [],
    "scan": [],
    "profiles": ["y"],
    "values": ["y"],
    "platform": [],
    "alarm": ["lamp", "y"],
    "backup": [],
}


def test_a_person_is_led_and_the_power_goes_after_every_step(tmp_path: Path) -> None:
    """Each session is killed once its step is on record; the next one begins with the step behind it."""
    with Platform("127.0.0.1", 0) as platform:
        path = build(tmp_path / "a", platform.port, LAMP)
        options = ("--scan-units", "1-2", "--backup-to", tmp_path / "a" / "disk", "--config", path, "--lang", "en")
        with line(path), daemon(path, env=MOCK):
            trusted = answer(load(path).control_socket)["trust"] != "none"
            for number, step in enumerate(commissioning.STEPS):
                with served("commission", "--user", "Wang Fang", *options) as session:
                    if number:
                        session.says(f"H1 of Wang Fang goes on: {number} of 8 steps done")
                    session.says(f"== {_word(step)}: ", 30)
                    headings = re.findall(r"^== ([a-z ]+):", session.text, flags=re.M)
                    assert headings[0] == _word(step)
                    for text in ["", *([] if step == "clock" and trusted else ANSWERS[step])]:
                        session.type(text)
                    until(lambda done=number: len(_settled(path)) > done, 30, lambda: session.text)
                    if step == "backup":
                        assert session.ended(20) == 0, session.text
                    session.process.kill()
            record = on_record(path)
            assert record["done"] is not None
            assert [(s["step"], s["user"]) for s in record["steps"]] == [(s, "Wang Fang") for s in commissioning.STEPS]
            sheet = tmp_path / "handover.html"
            said = station("commission", "--sheet", sheet, "--config", path, "--lang", "zh")
            assert said.code == 0, said.err
    by_step = {one["step"]: one["facts"] for one in record["steps"]}
    assert (by_step["alarm"]["test"], by_step["alarm"]["driven"], by_step["alarm"]["output"]) == (True, True, "lamp")
    assert Path(by_step["backup"]["path"]).is_file()
    assert {v["value"] for v in by_step["values"]["values"]} == {35.0, 60.0}
    page = sheet.read_text(encoding="utf-8")
    for text in ("test 交接单", "首次备份", "移交人", "dust", "报警 commissioning 已作测试发出并解除;输出 lamp"):
        assert text in page, text


def _word(step: str) -> str:
    from station.i18n import texts

    return texts("en")[f"commission_step.{step}"]


def _settled(path: Path) -> list[str]:
    try:
        return [one["step"] for one in on_record(path)["steps"] if one["verdict"] != "failed"]
    except AssertionError:
        return []


def test_a_test_alarm_that_was_cut_off_is_cleared_by_the_next_session(tmp_path: Path) -> None:
    path = build(tmp_path / "a", more=LAMP)
    skips = [word for step in commissioning.STEPS if step != "alarm" for word in ("--skip", f"{step}=not today")]
    options = ("--config", path, "--lang", "en")
    with daemon(path, env=MOCK):
        begun = station("commission", "--user", "Wang", *skips, *[w for s in commissioning.STEPS if s != "alarm"
                        for w in ("--step", s)], *options)  # fmt: skip
        assert begun.code == 1, begun.err
        assert begun.out.splitlines()[-1] == "H1: still to do: alarm test"
        with served("commission", "--user", "Wang", *options) as session:
            session.type("")
            session.type("lamp")
            session.says("TEST alarm commissioning is raised")
            session.process.kill()
        assert answer(load(path).control_socket)["pins"]["outputs"][0]["why"] in ("by_hand", "idle", "held_off")
        with served("commission", "--user", "Wang", *options) as session:
            session.says("test alarm commissioning was still on: cleared")
            for text in ("", "", "n horn is silent", "", "lamp", "y"):
                session.type(text)
            assert session.ended(20) == 0, session.text
        assert "alarm test: failed: horn is silent" in session.text
        assert "alarm test: passed" in session.text


def test_a_script_says_yes_by_flags_and_hears_what_is_left(here: Here, tmp_path: Path) -> None:
    path = build(tmp_path / "a")
    words = ("--config", path)
    assert here("commission", "--json", *words).err == "a commissioning needs the name of who does it (--user)\n"
    assert 'there is no step "clok"; did you mean clock?' in here("commission", "--skip", "clok=x", *words).err
    assert "no commissioning is finished, and none is under way" in here("commission", "--sheet", "-", *words).err
    done = here("commission", "--user", "Wang", "--json", "--wait", "0", "--scan-units", "1", *words)
    assert done.code == 1
    steps = {one["step"]: (one["verdict"], one["reason"]) for one in json.loads(done.out)["steps"]}
    assert steps["profiles"] == ("failed", "nobody has confirmed it (--confirm profiles)")
    assert steps["alarm"][1].startswith("no station is running")
    assert steps["scan"][0] == "failed"
    again = here("commission", "--step", "profiles", "--confirm", "profiles", "--json", *words)
    assert "profiles" not in json.loads(again.out)["left"]
    skips = [word for step in commissioning.STEPS if step != "profiles" for word in ("--skip", f"{step}=bench")]
    early = here("commission", "--sheet", tmp_path / "early.html", *words)
    assert (early.code, (tmp_path / "early.html").exists()) == (2, False)
    assert "no commissioning is finished; station commission goes on with H1 (still to do: " in early.err
    whole = here("commission", *skips, "--note", "on the bench", "--sheet", tmp_path / "s.html", *words)
    assert whole.code == 0, whole.err
    assert "1 step passed, 7 skipped" in (tmp_path / "s.html").read_text(encoding="utf-8")
    begun = here("commission", "--user", "Li", "--step", "clock", "--skip", "clock=later", *words)
    assert begun.code == 1
    assert here("commission", "--cancel", "", *words).err == "a commissioning is given up for a reason\n"
    assert here("commission", "--cancel", "moved", *words).code == 0
    assert here("commission", "--cancel", "moved", *words).err.startswith("no commissioning is under way")


def test_the_handover_sheet_has_the_serial_numbers_on_record_and_room_for_the_others() -> None:
    row = {"device": "dust", "read_by": "renke-rs-pm", "variant": "", "unit_id": 1, "parameters": ["pm25"]}
    assert tuple(_device(row, {"dust": "PM-42"}))[:2] == ("dust", "PM-42")
    assert tuple(_device(row, {"river": "S-1"}))[:2] == ("dust", "")
