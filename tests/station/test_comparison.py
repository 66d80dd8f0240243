"""The three-way check: what counts as one number, sessions that are cut and go on, platforms' own digits, the sheet."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.emulator import EmulatedBus, emulated_bus
from station.cli_compare import sentence
from station.command_line import Spoken
from station.comparison import Check, Row, typed
from station.config import load
from station.model import WrongArgument
from tests.station.commands import Here, answer, configure, daemon, served, station, until
from tests.station.conftest import Rig
from tests.station.test_maintenance import Asked
from uplink.hj212.emulator import Platform

WHO = {"user": "Wang Fang"}


# -- what counts as one number


@pytest.mark.parametrize(
    ("display", "value", "platform", "per_mille", "verdict"),
    [
        ("35.2", 35.2, "35.2", 1.0, "agrees"),
        ("35", 35.8, "35.8", 1.0, "agrees"),  # a display of whole numbers that cuts off
        ("35", 36.1, "36.1", 1.0, "differs"),
        ("1000.9", 1000.0, "1000.0", 1.0, "agrees"),  # 1 per mille of 1000 is 1
        ("1001.1", 1000.0, "1000.0", 1.0, "differs"),
        ("1001.1", 1000.0, "1000.0", 5.0, "agrees"),
        ("35.2", 35.2, "35.4", 1.0, "differs"),
        ("35.2", 35.2, "", 1.0, "incomplete"),
        ("", 35.2, "35.2", 1.0, "incomplete"),
        ("35.2", None, "35.2", 1.0, "incomplete"),
        ("40", 35.2, "", 1.0, "differs"),
        ("-0.3", -0.3, "-0.3", 0.0, "agrees"),
    ],
)
def test_three_numbers_are_one_within_the_rule(
    display: str, value: float | None, platform: str, per_mille: float, verdict: str
) -> None:
    row = Row(parameter="pm10", point="site", display=display, station=value, platform=platform)
    assert row.judged(per_mille)["verdict"] == verdict


def test_a_platform_in_its_own_unit_is_brought_to_the_catalogues() -> None:
    """35.2 µg/m³ goes up as 0.0352 mg/m³."""
    row = Row(parameter="pm10", point="site", display="35.2", station=35.2, platform="0.0352", unit_shift=-3)
    assert row.judged(1.0)["platform"] == {
        "difference": pytest.approx(0),
        "allowed": pytest.approx(0.1),
        "agrees": True,
    }


def test_a_platforms_value_is_held_against_what_the_station_had_then() -> None:
    row = Row(parameter="pm10", point="site", display="40.0", station=40.0, platform="35.0", then=35.0)
    assert row.judged(1.0)["verdict"] == "agrees"


@pytest.mark.parametrize("text", ["12,3", "12，3", "1e3", "", "12.", ".5", "１２", "nan", "12 3", "1" * 13])
def test_what_is_no_number_is_said_with_how_to_write_it(text: str) -> None:
    with pytest.raises(WrongArgument, match="is not a number; write it as on the display, with a point, such as"):
        typed(text)
    if text == "12,3":
        with pytest.raises(WrongArgument, match=re.escape("such as 12.3")):
            typed(text)


# -- entries


@pytest.fixture
def entered(rig: Rig) -> Asked:
    return Asked(rig)


def row(**more: Any) -> dict[str, Any]:
    return {"point": "site", "parameter": "pm10", "display": "60.0", "station": 60.0} | more


def test_entries_that_are_wrong_are_one_sentence_and_nothing_is_kept(rig: Rig, entered: Asked) -> None:
    for fields, said in (
        ({}, "a three-way check needs the name of who does it (--user)"),
        (WHO, "a three-way check is of one device or one point"),
        ({**WHO, "device": "dusty"}, 'there is no device "dusty"; did you mean dust?'),
        ({**WHO, "device": "dust", "per_mille": -1}, "a tolerance is 0 to 200 per mille of the value, not -1"),
        ({**WHO, "device": "dust", "platform": "distric"}, 'there is no platform "distric"; did you mean district?'),
    ):
        with pytest.raises(WrongArgument) as caught:
            entered.of("comparison", "begin", **fields)
        assert said in str(caught.value)
    assert entered.of("comparison", "begin", **WHO, device="dust")["name"] == "T1"
    with pytest.raises(WrongArgument, match="T1 of Wang Fang is under way for dust; it goes on"):
        entered.of("comparison", "begin", **WHO, device="dust")
    for given, said in (
        (row(display="12,3"), '"12,3" is not a number'),
        (row(display=""), "pm10: type what the display shows, or name a photo of it"),
        (row(parameter="ph"), "ph is not measured there"),
        (row(photo={"name": "x", "bytes": 3, "sha256": "?"}), "a photo is its name, its size and the SHA-256"),
        ({"what": 1}, "not an entry of comparison"),
        *((row(**{key: 5}), f"{key} is a text") for key in ("display", "platform", "mark", "trouble", "how")),
        (row(station="60"), "station is a number, or nothing"),
        (row(then=float("nan")), "then is a number, or nothing"),
        (row(platform="60", unit_shift=400), "unit_shift is a whole number up to 12"),
    ):
        with pytest.raises(WrongArgument) as caught:
            entered.of("comparison", "row", name="T1", row=given)
        assert said in str(caught.value)
    with pytest.raises(WrongArgument, match="T1: nothing was typed yet"):
        entered.of("comparison", "done", name="T1")
    entered.of("comparison", "row", name="T1", row=row())
    done = entered.of("comparison", "done", name="T1")
    assert (done["verdict"], done["summary"]) == ("incomplete", "pm10 60.0/60/- incomplete")
    with pytest.raises(WrongArgument, match="T1 is over; begin a new one"):
        entered.of("comparison", "row", name="T1", row=row())
    codes = [code for code in rig.events() if code.startswith("comparison")]
    assert codes == ["comparison_begin", "comparison_done"]


# -- as typed, on an emulated instrument


@pytest.fixture
def config(tmp_path: Path) -> Path:
    quick = ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1')
    port = ('port = "port"', f'port = "{tmp_path}/port"')
    return configure(tmp_path, ("poll_seconds = 5", "poll_seconds = 1"), quick, port)


@contextmanager
def line(path: Path, **values: float) -> Iterator[EmulatedBus]:
    (bus,) = load(path).config.bus
    with emulated_bus(bus, bus.device, values={"dust": values}, link=Path(bus.port), pace=False) as emulated:  # type: ignore[arg-type]
        yield emulated


def shown(path: Path) -> dict[str, float]:
    status = answer(load(path).control_socket)
    return {v["parameter"]: v["value"] for d in status["devices"] for v in d["values"] if v["current"]}


def test_a_session_is_cut_and_goes_on_where_it_was(config: Path, tmp_path: Path) -> None:
    """Typed on site: a wrong number, then the right one, the power goes; the next session asks for the rest alone."""
    (tmp_path / "display.jpg").write_bytes(b"jpeg")
    with line(config, pm25=35.0, pm10=60.0), daemon(config):
        until(lambda: shown(config) == {"pm25": 35.0, "pm10": 60.0}, 15, lambda: shown(config))
        with served("compare", "dust", "--user", "Wang Fang", "--config", config, "--lang", "en") as first:
            for text in ("35,0", "35.0", "35"):  # no record of a platform: it is asked for
                first.type(text)
            first.says("the three agree")
            first.process.kill()
        assert '"35,0" is not a number; write it as on the display, with a point, such as 35.0' in first.text
        with served("compare", "dust", "--config", config, "--lang", "zh") as second:
            second.says("继续 Wang Fang 的 T1:2 个因子中还有 1 个")
            for text in ("Wang Fang", f"p {tmp_path}/gone.jpg", f"p {tmp_path}/display.jpg", "60", "y"):
                second.type(text)
            assert second.ended(20) == 0, second.text
        assert "the photo cannot be read (No such file or directory)" in second.text
        assert second.lines[-1] == "T1:结论:不完整"  # a photo alone is no number
        (one,) = json.loads(station("comparisons", "list", "--json", "--config", config).out)["comparisons"]
    assert [(r["parameter"], r["shown"], r["verdict"]) for r in one["rows"]] == [
        ("pm25", "35.0", "agrees"),
        ("pm10", "", "incomplete"),
    ]
    assert one["rows"][1]["photo"]["sha256"] == hashlib.sha256(b"jpeg").hexdigest()


def test_what_a_platform_has_answered_is_taken_as_its_number(tmp_path: Path) -> None:
    """The frozen text of the outbox: no need to type what the platform holds."""
    with Platform("127.0.0.1", 0) as platform:
        path = configure(
            tmp_path,
            ("poll_seconds = 5", "poll_seconds = 1"),
            ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1'),
            ('port = "port"', f'port = "{tmp_path}/port"'),
            ("port = 9\n", f"port = {platform.port}\n"),
            ("realtime_seconds = 30", 'realtime_seconds = 5\nunits = { pm10 = "mg/m³" }'),
            ("closing_delay_seconds = 2", "closing_delay_seconds = 0"),
        )
        with line(path, pm25=35.0, pm10=60.0), daemon(path):

            def answered() -> bool:
                return answer(load(path).control_socket)["platforms"][0]["answered"] >= 4

            until(answered, 30)
            words = ("--display", "pm25=35.1", "--display", "PM10=71", "--user", "Wang Fang", "--config", path)
            done = station("compare", "dust", *words)
            assert done.code == 0, done.err
            sheet = tmp_path / "sheet.html"
            said = station("comparisons", "sheet", "T1", "--output", sheet, "--config", path, "--lang", "zh")
            assert said.code == 0, said.err
    lines = done.out.splitlines()
    assert lines[0].startswith("PM2.5 (µg/m³): display 35.1, station 35.0, platform 35.0: the three agree"), lines
    assert lines[1].startswith("PM10 (µg/m³): display 71, station 60.0, platform 0.0600: they differ"), lines
    assert lines[2] == "T1: they differ"
    page = sheet.read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    for text in ("三方比对单 T1", "结论:不一致", "已上报并应答", "+11", "±0.1", "千分之 1"):
        assert text in page, text
    assert re.search(r"SHA-256 [0-9a-f]{64}", page)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_without_a_station_a_moment_is_needed_and_a_silent_instrument_is_named(here: Here, config: Path) -> None:
    words = ("--config", config)
    assert here("compare", "dust", "--display", "pm25=35,0", "--user", "W", *words).err.startswith(
        '"35,0" is not a number'
    )
    assert here("compare", "dust", "--display", "pm25=35", *words).err == (
        "a three-way check needs the name of who does it (--user)\n"
    )
    assert 'there is no point "dast"' in here("compare", "dast", "--display", "pm25=35", *words).err
    assert "dust does not measure ph; it does: pm25, pm10" in here("compare", "dust", "--display", "ph=7", *words).err
    begun = here("compare", "site", "--display", "pm25=35", "--user", "Wang", *words)
    assert begun.code == 0, begun.err
    assert "(no station runs: --at says when the display was read)" in begun.out
    assert "T1: what was typed is kept; the same command goes on with it" in begun.out
    at = ("--at", "2026-03-01T08:00")
    assert "(no value near that moment)" in here("compare", "site", "--display", "pm25=35", *at, *words).out
    assert here("comparisons", "sheet", "T1", *words).err == (
        "T1 is not finished: station compare site goes on with it\n"
    )
    assert here("compare", "site", "--cancel", "wrong site", *words).out == "T1: given up\n"
    assert "given up: wrong site" in here("comparisons", "list", *words).out
    assert here("compare", "site", "--cancel", "again", *words).err == "no three-way check of site is under way\n"
    assert 'there is no three-way check "T9"' in here("comparisons", "sheet", "T9", *words).err


def test_a_silent_instrument_is_a_sentence_beside_its_factor(config: Path) -> None:
    with daemon(config):  # nothing hangs on the line
        said = station("compare", "dust", "--display", "pm25=35", "--done", "--user", "Wang", "--config", config)
    assert said.code == 0, said.err
    assert re.search(r"display 35, station - \(.+\), platform -: incomplete", said.out), said.out


def test_the_sheet_carries_a_code_of_its_hash_where_the_library_is_there(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--config", config)
    here("compare", "dust", "--display", "pm25=35", "--platform", "pm25=35", "--done", "--user", "Wang", *words)
    monkeypatch.setitem(sys.modules, "segno", None)
    assert 'class="qr"' not in here("comparisons", "sheet", "T1", *words).out
    made: list[str] = []

    class Code:
        def save(self, drawn: Any, **how: Any) -> None:
            drawn.write(b"<svg></svg>")

    def make(text: str, error: str) -> Code:
        made.append(text)
        return Code()

    monkeypatch.setitem(sys.modules, "segno", SimpleNamespace(make=make))  # type: ignore[arg-type]
    page = here("comparisons", "sheet", "T1", *words).out
    assert '<div class="qr"><svg></svg></div>' in page
    (hashed,) = re.findall(r'<p class="hash">SHA-256 ([0-9a-f]{64})</p>', page)
    assert made == [f"T1 SHA-256 {hashed}"]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (41.2, "platform 41.2: the three agree"),
        (105.0, "platform 105.0 (of 2026-03-01 00:00:30, when the station had 105.0): the three agree"),
        (None, "platform 105.0: they differ"),
    ],
)
def test_a_platform_value_of_another_moment_says_what_the_station_had_then(then: float | None, said: str) -> None:
    """Else three numbers that are not alike would be called alike."""
    platform = "41.2" if then == 41.2 else "105.0"
    at = "2026-03-01T00:00:30+00:00"
    shown = {"display": "41.2", "station": 41.2, "platform": platform, "platform_at": at, "then": then}
    row = Row(parameter="pm25", point="site", **shown)
    check = Check(
        name="T1", scope="device", what="dust", places=(("site", "pm25"),), user="Wang Fang", per_mille=1.0,
        platform="district", begun=datetime(2026, 3, 1, tzinfo=UTC), rows={"site/pm25": row},
    )  # fmt: skip
    Spoken.zone = UTC
    assert sentence(check, "site/pm25") == f"PM2.5 (µg/m³): display 41.2, station 41.2, {said}"
