"""A modem that ModemManager has, asked by its own tool: what it says, hangs, fails and is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from station.modem.at import BadAnswer, NoAnswer, PortGone, Refused
from station.modem.settings import ModemSettings
from station.modem.sms import NoNumber
from station.modem.watch import from_manager
from station.modem.ways import ManagerWay

MODEM = {
    "modem": {
        "3gpp": {"imei": "867962041294151", "operator-name": "CHINA MOBILE", "registration-state": "home"},
        "generic": {
            "state": "connected", "state-failed-reason": "--", "unlock-required": "sim-pin2",
            "sim": "/org/freedesktop/ModemManager1/SIM/0", "bearers": ["/org/freedesktop/ModemManager1/Bearer/1"],
            "signal-quality": {"recent": "yes", "value": "63"},
        },
    }
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "-m any -J": MODEM,
    "-m any --signal-get -J": {"modem": {"signal": {"lte": {"rsrp": "-85.00", "rsrq": "-10.00", "snr": "16.20"}}}},
    "-m any --time -J": {"modem": {"3gpp": {"time": {"current": "2026-12-01T10:30:00+08"}}}},
    "-i /org/freedesktop/ModemManager1/SIM/0 -J": {"sim": {"properties": {"iccid": "89860318760103581234"}}},
    "-b /org/freedesktop/ModemManager1/Bearer/1 -J": {"bearer": {"properties": {"apn": "cmiot"}}},
}


class Tool(ManagerWay):
    """A mmcli that answers from a file; what it was told stands in another."""

    def __init__(self, folder: Path, answers: dict[str, Any], **more: Any) -> None:
        super().__init__(ModemSettings(kind="manager", answer_seconds=1.0, apn="cmiot", **more), lambda: True)
        self.told = folder / "told"
        texts = {key: one if isinstance(one, str) else json.dumps(one) for key, one in answers.items()}
        lines = ["#!/bin/sh", f'echo "$*" >> {self.told}', 'case "$*" in']
        for number, (key, text) in enumerate(texts.items()):
            (folder / f"answer{number}").write_text(text)
            lines.append(f'"{key}") cat {folder}/answer{number};;')
        lines += ['"-m any --reset") sleep 9;;', "*) echo 'error: no such thing' >&2; exit 1;;", "esac"]
        program = folder / "mmcli"
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
        self.program = str(program)

    def heard(self) -> list[str]:
        return self.told.read_text().splitlines()


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., Tool]:
    return lambda **answers: Tool(tmp_path, ANSWERS | answers.pop("answers", {}), **answers)


def test_everything_it_knows(tool: Callable[..., Tool]) -> None:
    seen = tool().look()
    assert (seen.imei, seen.iccid, seen.operator, seen.apn) == (
        "867962041294151", "89860318760103581234", "CHINA MOBILE", "cmiot",
    )  # fmt: skip
    assert (seen.sim, seen.registration, seen.context, seen.why_down) == ("ready", "home", True, "")
    assert (seen.rsrp, seen.rsrq, seen.sinr, seen.verdict) == (-85, -10.0, 16.2, "good")
    assert seen.time == datetime(2026, 12, 1, 2, 30, tzinfo=UTC)


def test_what_it_refuses_is_left_out(tool: Callable[..., Tool]) -> None:
    made = tool(answers={"-m any --signal-get -J": "no json", "-m any --time -J": {"modem": []}})
    seen = made.look()
    assert (seen.rsrp, seen.time, seen.imei) == (None, None, "867962041294151")


@pytest.mark.parametrize("said", ["", "rubbish", "[1]", "{" * 5000])
def test_an_answer_that_is_none(tool: Callable[..., Tool], said: str) -> None:
    with pytest.raises(BadAnswer, match="mmcli"):
        tool(answers={"-m any -J": said}).look()


@pytest.mark.parametrize("found", [{}, {"modem": 1}, {"modem": {"generic": [], "3gpp": None}}])
def test_an_object_of_another_shape_says_nothing(found: dict[str, Any]) -> None:
    seen = from_manager(found)
    assert (seen.imei, seen.registration, seen.context) == ("", "", None)


@pytest.mark.parametrize(
    ("part", "more", "why"),
    [
        ("generic", {"state": "failed", "state-failed-reason": "sim-missing", "sim": "--"}, "sim_none"),
        ("generic", {"unlock-required": "sim-pin"}, "sim_pin"),
        ("generic", {"unlock-required": "sim-puk"}, "sim_puk"),
        ("generic", {"state": "registered"}, "no_context"),
        ("3gpp", {"registration-state": "idle"}, "not_registered"),
        ("3gpp", {"registration-state": "denied"}, "denied"),
        ("3gpp", {"registration-state": "odd"}, "unknown"),
    ],
)
def test_why_the_link_is_down(part: str, more: dict[str, str], why: str) -> None:
    body = {name: dict(one) for name, one in MODEM["modem"].items()}
    body[part] |= more
    assert from_manager({"modem": body}).why_down == why


def test_a_tool_that_hangs_is_killed_and_one_that_is_not_there_is_said(tool: Callable[..., Tool]) -> None:
    made = tool()
    with pytest.raises(NoAnswer, match=r"mmcli --reset: no answer within 0\.2 s"):
        made._run("-m", "any", "--reset", seconds=0.2)
    with pytest.raises(Refused, match="error: no such thing"):
        made._run("-m", "any", "--nothing")
    made.program = "/nowhere/mmcli"
    with pytest.raises(PortGone, match="install modemmanager"):
        made.look()


def test_it_is_dialled_again_with_the_apn(tool: Callable[..., Tool]) -> None:
    made = tool(answers={"-m any --simple-connect=apn=cmiot": ""})
    made.redial()
    assert made.heard() == ["-m any --simple-disconnect", "-m any --simple-connect=apn=cmiot"]


def test_a_text_is_made_sent_and_taken_away(tool: Callable[..., Tool]) -> None:
    create = "-m any --messaging-create-sms=text='报警 ’dust’',number='+8613800138000'"
    path = "/org/freedesktop/ModemManager1/SMS/7"
    made = tool(answers={create: f"Successfully created new SMS: {path}", f"-s {path} --send": ""})
    made.text("+8613800138000", "报警 'dust'")
    assert made.heard() == [create, f"-s {path} --send", f"-m any --messaging-delete-sms={path}"]
    with pytest.raises(NoNumber):
        made.text("1',number='2", "x")
    with pytest.raises(Refused):
        made.text("13800138000", "another")


def test_a_stop_runs_nothing(tool: Callable[..., Tool]) -> None:
    made = tool()
    made._running = lambda: False
    with pytest.raises(InterruptedError):
        made.look()
