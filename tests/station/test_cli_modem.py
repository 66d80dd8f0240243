"""`station modem` and a text message, through a running service with an emulated modem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from station import screen
from station.doctor import of_modem
from station.modem.emulator import FAULTS, EmulatedModem
from tests.station.commands import Here, daemon, served, until
from tests.station.conftest import CONFIG
from tests.station.test_alarming import DUST
from tests.station.test_modem_care import table
from tests.station.test_people import notify


@pytest.fixture
def modem(tmp_path: Path) -> Iterator[EmulatedModem]:
    with EmulatedModem(tmp_path / "modem", apn="cmnet") as made:
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def configure(folder: Path, *tables: str) -> Path:
    (folder / "password").write_text("123456")
    (folder / "password").chmod(0o600)
    (folder / "station.toml").write_text(CONFIG + "".join(tables), encoding="utf-8")
    return folder / "station.toml"


def test_status_reset_and_a_text_through_the_running_station(tmp_path: Path, modem: EmulatedModem, here: Here) -> None:
    duty = notify(kind="sms", url_file="", numbers=["13800000001"])
    config = configure(tmp_path, DUST, duty, table(port=modem.path, apn="cmiot", look_seconds=5))
    for words in (("status",), ("reset", "--user", "Wang", "--reason", "x")):
        none = here("modem", *words, "--config", config)
        assert (none.code, "no station runs" in none.err) == (69, True)
    with daemon(config):
        seen = until(lambda: json.loads(here("modem", "status", "--json", "--config", config).out).get("imei"))
        assert seen == modem.imei
        shown = here("modem", "status", "--config", config).out
        assert "RSRP: -85 dBm" in shown
        assert "APN: cmnet (configured: cmiot)" in shown
        assert "signal: good" in shown
        assert "运营商:CHINA MOBILE" in here("--lang", "zh", "modem", "status", "--config", config).out
        whole = here("status", "--config", config).out
        assert "RSRP -85 dBm" in whole
        doctor = here("doctor", "--config", config).out
        assert "the APN is cmnet, and cmiot is configured" in doctor
        sent = here("people", "test", "duty", "--config", config)
        assert sent.code == 0, sent.err
        assert [number for number, _ in modem.texts] == ["13800000001"]
        done = here("modem", "reset", "--step", "redial", "--user", "Wang", "--reason", "APN", "--config", config)
        assert done.out == "done, and on record: dialled again\n"
        assert modem.apn == "cmiot"
        refused = here("modem", "reset", "--step", "power", "--user", "Wang", "--reason", "x", "--config", config)
        assert "no step of this modem; known: redial, reset" in refused.err
    events = here("events", "--code", "modem_redial", "--config", config).out
    assert "modem dialled again" in events
    assert "Wang" in events


def test_a_budget_is_shown_before_anything_was_sent(tmp_path: Path, here: Here) -> None:
    config = configure(tmp_path)
    found = json.loads(here("modem", "budget", "--json", "--config", config).out)
    assert (found["rows"][0]["kind"], found["rows"][0]["measured"]) == ("realtime", False)
    shown = here("modem", "budget", "--config", config).out
    assert "district" in shown
    assert "(assumed)" in shown
    none = here("modem", "status", "--config", config)
    assert "there is no [modem] in it" in none.err


def test_an_emulated_modem_is_served_with_its_faults(tmp_path: Path, here: Here) -> None:
    link = tmp_path / "at"
    with served("emulate", "modem", "--link", link, "--fault", "no_sim") as modem:
        assert str(link) in modem.says("a modem answers on")
        modem.says("serving")
        config = configure(tmp_path, table(port=str(link), look_seconds=5))
        with daemon(config):
            until(lambda: "no SIM card" in here("modem", "status", "--config", config).out)
            modem.type("none")
            until(lambda: "link: the link is up" in here("modem", "status", "--config", config).out, 20)
        modem.type("nonsense")
        modem.says("nonsense")
    refused = here("emulate", "modem", "--fault", "hangs")
    assert "did you mean hang" in refused.err


def row(**more: object) -> dict[str, object]:
    seen = {
        "looked": True, "why_down": "", "operator": "X", "apn": "a", "iccid": "1", "imei": "2", "verdict": "good",
        "rsrp": -85,
        "sinr": 16.0, "wanted_apn": "", "clock_offset": 1.0, "budget_mb": 0, "received": 0, "sent": 0,
        "steps_today": 0, "most_a_day": 6,
    }  # fmt: skip
    return {"table": "modem", "name": "4G", "error": "", "silent": 0, "modem": seen | more, "words": {}}


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ({}, ["modem_well"]), ({"looked": False}, ["modem_unknown"]), ({"why_down": "denied"}, ["modem_no_link"]),
        ({"verdict": "bad", "rsrp": None}, ["modem_well", "modem_weak"]),
        ({"wanted_apn": "b"}, ["modem_well", "modem_apn"]), ({"clock_offset": 28800.0}, ["modem_well", "modem_clock"]),
        ({"budget_mb": 10, "received": 8_100_000}, ["modem_well", "modem_budget_near"]),
        ({"budget_mb": 10, "sent": 11_000_000}, ["modem_well", "modem_budget_over"]),
        ({"steps_today": 2}, ["modem_well", "modem_steps"]),
    ],
)  # fmt: skip
def test_what_the_doctor_says_of_it(more: dict[str, object], codes: list[str]) -> None:
    assert [one.code for one in of_modem([row(**more)], running=True)] == codes


def test_a_modem_that_fails_and_one_that_nobody_watches() -> None:
    assert [one.code for one in of_modem([row() | {"error": "gone"}], running=True)] == ["modem_fails"]
    assert [one.code for one in of_modem([], running=False)] == ["modem_unknown"]


def test_the_screen_words_what_it_shows() -> None:
    out = screen.console()
    with out.capture() as said:
        out.print(screen._beside([row() | {"words": {"rsrp": -85, "bytes": "12.5"}}]))
    assert "RSRP -85 dBm" in said.get()
    assert "12.5 MB this month" in said.get()


def test_every_fault_of_the_emulator_is_tried_somewhere() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*modem*.py"))
    assert [fault for fault in FAULTS if f'"{fault}"' not in text] == []
