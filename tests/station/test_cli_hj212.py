"""`station frame`: what is on the wire, taken apart and built, as typed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.station.commands import environment, station, words_of

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


WORDS = (
    "frame", "encode", "QN=20260301081500123", "ST=22", "CN=2011", "PW=123456", "MN=A1", "Flag=9",
    "--data", "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N",
)  # fmt: skip


def test_a_frame_moves_no_cursor(tmp_path: Path) -> None:
    """Control characters in a captured frame are shown as what they are."""
    body = "QN=20260301081500123;ST=22;CN=2011;PW=1;MN=A\x1b[2J;Flag=5;CP=&&a\x1b[1m-Rtd=\x1b[31m1&&"
    (tmp_path / "log").write_text(f"##{len(body):04d}{body}0000\r\n")
    shown = station("frame", "decode", str(tmp_path / "log"))
    assert "\x1b" not in shown.out
    assert "MN=A\\x1b[2J" in shown.out


def test_passwords_in_frames_are_on_no_screen(tmp_path: Path) -> None:
    """Neither the frame's own nor the one it sets; JSON is for programs and has the plain segment as it is."""
    words = ("frame", "encode", "QN=20260301081500123", "ST=22", "CN=1072", "PW=123456", "MN=A1", "Flag=5")
    (tmp_path / "log").write_text(station(*words, "--data", "NewPW=654321").out)
    shown = station("frame", "decode", str(tmp_path / "log"))
    assert "PW=***" in shown.out
    assert "NewPW=***" in shown.out
    assert "123456" not in shown.out
    assert "654321" not in shown.out
    found = json.loads(station("frame", "decode", str(tmp_path / "log"), "--json").out)
    assert (found["fields"]["PW"], found["parameters"]) == ("123456", {"NewPW": "654321"})


def test_what_was_encoded_decodes(tmp_path: Path) -> None:
    """There and back."""
    (tmp_path / "log").write_text(station(*WORDS).out)
    assert station("frame", "decode", str(tmp_path / "log")).code == 0


def test_an_encrypted_frame_opens_with_its_key_alone(tmp_path: Path) -> None:
    """Without the key it is named as closed, not as broken by somebody."""
    (tmp_path / "key").write_text("q7Zp2xWc9vRt4mKd")
    key = ("--key-file", str(tmp_path / "key"))
    made = subprocess.run(words_of(*WORDS, *key), capture_output=True, env=environment(), check=True)
    (tmp_path / "log").write_bytes(made.stdout)
    opened = json.loads(station("frame", "decode", str(tmp_path / "log"), "--json", *key).out)
    closed = json.loads(station("frame", "decode", str(tmp_path / "log"), "--json").out)
    assert (opened["ok"], opened["encrypted"], opened["data"][0]["code"]) == (True, True, "a34004")
    assert (closed["ok"], "no-key" in closed["faults"]) == (False, True)


def test_the_key_file_of_a_platform_opens_frames_of_both_its_keys(tmp_path: Path) -> None:
    """A line a key, with the time it was made, as the station keeps them."""
    made = []
    for key in ("q7Zp2xWc9vRt4mKd", "k3J9-xQ2m7Zp0sWd"):
        (tmp_path / "key").write_text(key)
        words = (*WORDS, "--key-file", str(tmp_path / "key"))
        made.append(subprocess.run(words_of(*words), capture_output=True, env=environment(), check=True).stdout)
    (tmp_path / "log").write_bytes(b"".join(made))
    (tmp_path / "key").write_text(
        f"{b'k3J9-xQ2m7Zp0sWd'.hex()} 2026-03-01T00:00:00+08:00\nq7Zp2xWc9vRt4mKd 2025-12-01T00:00:00+08:00\n"
    )
    done = station("frame", "decode", str(tmp_path / "log"), "--json", "--key-file", str(tmp_path / "key"))
    assert [json.loads(line)["ok"] for line in done.out.splitlines()] == [True, True]


def test_text_of_no_encoding_prints_as_json_in_any_locale(tmp_path: Path) -> None:
    """What is neither UTF-8 nor GBK is written as its bytes."""
    body = b"QN=20260301081500123;ST=22;CN=2011;PW=1;MN=A1;Flag=5;CP=&&a34004-Rtd=\xff\xfe&&"
    (tmp_path / "log").write_bytes(b"##%04d%b0000\r\n" % (len(body), body))
    words = words_of("frame", "decode", str(tmp_path / "log"), "--json")
    env = {**environment(), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, capture_output=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["data"][0]["Rtd"] == "\\xff\\xfe"


def test_a_field_without_a_value_is_a_wrong_argument() -> None:
    """Exit 2 and what was meant."""
    done = station("frame", "encode", "CN")
    assert (done.code, done.said) == (2, ['"CN" is not NAME=VALUE, such as CN=2011'])


def test_the_data_area_is_given_by_cp_or_data_with_its_fences_or_without() -> None:
    """One frame, however it is written."""
    made = {station("frame", "encode", "CN=2011", *words).out for words in (
        ("--data", "a=1;b=2"), ("--data", "&&a=1;b=2&&"), ("CP=a=1;b=2",), ("CP=&&a=1;b=2&&",))}  # fmt: skip
    assert len(made) == 1
    assert "CN=2011;CP=&&a=1;b=2&&" in made.pop()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("QN=1",), "a frame needs its command, such as CN=2011"),
        (("CN=2011", "CN=2012"), "CN is given twice"),
        (("CN=2011", "ST=2;2"), "ST: a semicolon ends a field; the data area is given by --data"),
        (("CN=2011", "CP=a=1", "--data", "b=2"), "the data area is given by CP=… or by --data, not by both"),
        (("CN=2011", "--data", "a&&b"), "&& stands only around the data area"),
    ],
)
def test_what_makes_no_frame_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    """Exit 2, and nothing on standard output."""
    done = station("frame", "encode", *words)
    assert (done.code, done.out, done.said) == (2, "", [sentence])


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
