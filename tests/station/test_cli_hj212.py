"""`station frame`: what is on the wire, taken apart and built, as typed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.station.commands import station

GOOD = "##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;CP=&&RtdInterval=30&&1C80"
MODBUS = GOOD.replace("1C80", "0759")


def test_a_frame_in_a_log_is_taken_apart(tmp_path: Path) -> None:
    """One object a frame, whatever stands around it."""
    (tmp_path / "log").write_text(f"10:00 sent {GOOD}\r\n10:01 something else\n", encoding="utf-8")
    done = station("frame", "decode", str(tmp_path / "log"), "--json")
    found = json.loads(done.out)
    assert (done.code, found["ok"], found["dialect"]) == (0, True, "2017")
    assert (found["fields"]["CN"], found["text"]) == ("1062", GOOD[6:-4])


def test_a_wrong_check_is_named_with_the_variant_it_would_be(tmp_path: Path) -> None:
    """Many stations in the field use the Modbus CRC."""
    (tmp_path / "log").write_text(MODBUS + "\r\n")
    done = station("frame", "decode", str(tmp_path / "log"), "--json")
    found = json.loads(done.out)
    assert (done.code, found["ok"]) == (1, False)
    assert "wrong-crc" in found["faults"]
    assert any("modbus" in hint for hint in found["hints"])


def test_the_table_shows_names_and_hides_the_password(tmp_path: Path) -> None:
    """A screen is photographed; the password is nobody's business."""
    frame = station("frame", "encode", "QN=20260301081500123", "ST=22", "CN=2011", "PW=654321", "MN=A1", "Flag=5",
                    "--data", "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N")  # fmt: skip
    (tmp_path / "log").write_text(frame.out)
    shown = station("frame", "decode", str(tmp_path / "log"), "--lang", "zh")
    assert "PM2.5" in shown.out
    assert "PW=***" in shown.out
    assert "654321" not in shown.out
    assert "完整" in shown.out


def test_what_was_encoded_decodes(tmp_path: Path) -> None:
    """With an SM4 key too: opened with it, and named as closed without it."""
    (tmp_path / "key").write_text("1234567890abcdef")
    words = ("frame", "encode", "QN=20260301081500123", "ST=22", "CN=2011", "PW=123456", "MN=A1", "Flag=9",
             "--data", "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N")  # fmt: skip
    plain = station(*words).out
    assert plain.startswith("##")
    (tmp_path / "log").write_text(plain)
    assert station("frame", "decode", str(tmp_path / "log")).code == 0
    assert station("frame", "encode", "CN").code == 2
    assert "is not NAME=VALUE" in station("frame", "encode", "CN").err


def test_nothing_found_is_said(tmp_path: Path) -> None:
    """Exit 1 and one sentence."""
    (tmp_path / "log").write_text("nothing here")
    done = station("frame", "decode", str(tmp_path / "log"))
    assert (done.code, done.out, done.err.strip()) == (1, "", "no frame was found")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """Exit 74, no traceback."""
    done = station("frame", "decode", str(tmp_path / "none"))
    assert (done.code, done.err.strip()) == (
        74,
        f"{tmp_path / 'none'}: cannot be read (No such file or directory)",
    )
