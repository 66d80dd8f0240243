"""Frames found in logs and captures: what is wrong with each, by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.parameters import catalogue
from tests.uplink.test_frame import WORKED, samples
from uplink.hj212.frame import CRC_VARIANTS, crc
from uplink.hj212.inspect import FAILURES, REMARKS, build, inspect
from uplink.hj212.messages import CHECKS

FIELDS = {
    "QN": "20260301081500123",
    "ST": "22",
    "CN": "2011",
    "PW": "123456",
    "MN": "0A1B2C3D4E5F60718293A4B5",
    "Flag": "5",
}
DATA = "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N"
GOOD = build(FIELDS, DATA)


def only(wire, key=None):
    (found,) = inspect(wire, key, catalogue())
    return found


@pytest.mark.parametrize("sample", samples("frame", "segment", "frame-encrypted"))
def test_every_sample_is_judged_as_marked(sample):
    wire, verdict = sample["raw"].encode(), sample["verdict"]
    if sample["kind"] == "segment":
        wire = b"##%04d%b%04X\r\n" % (len(wire), wire, crc(wire))
    key = bytes.fromhex(sample["key_hex"]) if "key_hex" in sample else None
    found = next(iter(inspect(wire, key, catalogue())))
    if verdict == "reject-or-flag":
        assert found.faults
    else:
        assert found.ok, found
    assert set(found.faults) <= {*FAILURES, *REMARKS, *(check.name for check in CHECKS)}
    expected = {
        "no-qn": "no-qn",
        "bad-crc": "wrong-crc",
        "no-tail": "no-tail",
        "no-header": "no-header",
        "no-cp": "no-cp",
    }
    expected |= {"crc-other": "wrong-crc", "qn-14-digits": "bad-qn", "qn-18-digits": "bad-qn", "no-flag": "no-flag"}
    expected |= {"serial-station-prefix": "serial-station-prefix", "trailing-semicolon": "trailing-semicolon"}
    expected |= {"bare-flag-in-cp": "bare-flag", "double-suffix": "double-suffix", "pno-before-pnum": "field-order"}
    expected |= {
        "datatime-16-digits": "bad-datatime",
        "empty-pw": "bad-pw",
        "no-mn": "no-mn",
        "2005-flag3": "packet-numbers",
        "mn-not-hex": "mn-not-hex",
        "mn-underscore": "mn-not-hex",
    }
    assert {expected[tag] for tag in sample["tags"] if tag in expected} <= set(found.faults)


@pytest.mark.parametrize("sample", samples("stream"))
def test_a_stream_gives_every_good_frame(sample):
    found = [each for each in inspect("".join(sample["chunks"]).encode()) if each.ok]
    assert [each.text for each in found] == [frame.strip()[6:-4] for frame in sample["expect_frames"]]


@pytest.mark.parametrize(("text", "length", "check", "modbus"), WORKED[2:])
def test_worked_examples_are_sound_and_their_modbus_check_is_named(text, length, check, modbus):
    segment = text.encode()
    assert only(b"##%04d%b%04X\r\n" % (length, segment, check)).ok
    found = only(b"##%04d%b%04X\r\n" % (length, segment, modbus))
    assert (found.ok, found.faults[0]) == (False, "wrong-crc")
    assert found.hints[0].endswith("it is the modbus variant")


def test_a_sound_frame_is_taken_apart():
    found = only(b"2026-03-01 08:15:00 sent " + GOOD + b"next line\n")
    assert (found.ok, found.faults, found.dialect, found.at) == (True, [], "2017", 25)
    assert found.fields == FIELDS
    assert found.parameters == {"DataTime": "20260301081500"}
    assert found.data == [{"code": "a34004", "parameter": "pm25", "values": {"Rtd": "35.0", "Flag": "N"}}]
    assert found.text == GOOD[6:-6].decode()
    shown = found.as_dict()
    assert shown["text"] == GOOD[6:-6].decode()
    assert shown["fields"] == FIELDS
    (row,) = shown["data"]
    assert row == {
        "code": "a34004",
        "parameter": "pm25",
        "Rtd": "35.0",
        "Flag": "N",
        "values": {"Rtd": "35.0", "Flag": "N"},
    }


def framed(segment):
    return b"##%04d%b%04X\r\n" % (len(segment), segment, crc(segment))


@pytest.mark.parametrize(
    ("segment", "faults"),
    [
        (GOOD[6:-6].replace(b";CN=", b"; CN="), ["stray-spaces"]),
        (GOOD[6:-6].replace(b"Rtd=", b"Rtd= "), ["stray-spaces"]),
        (GOOD[6:-6].replace(b"CP=&&", b"CP= && "), ["stray-spaces"]),
        (build(FIELDS, "DataTime=20260301081500;i21001-Info=// a; b //")[6:-6], []),
        (build(FIELDS, "DataTime=20260301081500;SB1-RS=1;i12001-Info=0")[6:-6], []),
        (GOOD[6:-6].replace(b"Flag=5;", b"Flag=5;PNUM=2;"), ["packet-numbers"]),
        (GOOD[6:-6].replace(b"Flag=5;", b"Flag=7;PNUM=2;PNO=3;"), ["packet-numbers"]),
        (GOOD[6:-6].replace(b"Flag=5;", b"Flag=7;PNUM=2;PNO=2;"), []),
        (GOOD[6:-6].replace(b"Flag=5", b"Flag=1"), []),
        (GOOD[6:-6].replace(b"Flag=5", b"Flag=1").replace(b"MN=0A", b"MN=ZZ"), ["mn-not-hex"]),
        (GOOD[6:-6].replace(b"Flag=5", b"Flag=1").replace(b"MN=0A1B2C3D4E", b"MN="), []),
        (
            GOOD[6:-6].replace(b"&&DataTime", b"&&" + b"pH-Rtd=7;" * 110 + b"DataTime"),
            ["wrong-length", "repeated-value", "long-cp"],
        ),
        (GOOD[6:-6].removesuffix(b"&&"), ["structure"]),
        (GOOD[6:-6].replace(b"&&DataTime", b"DataTime"), ["structure"]),
    ],
)
def test_each_deviation_has_its_name(segment, faults):
    found = only(framed(segment))
    assert [fault for fault in found.faults if fault != "unknown-code"] == faults
    assert found.ok == FAILURES.keys().isdisjoint(faults)


def test_check_digits_in_lower_case_are_taken_and_said():
    wire = framed(GOOD[6:-6].replace(b"35.0", b"5.0"))
    lower = wire[:-6] + wire[-6:].lower()
    assert lower != wire
    assert (only(lower).ok, only(lower).faults) == (True, ["lower-case-crc"])


@pytest.mark.parametrize(
    ("info", "faults"), [("清洗管路完成了".encode("gbk"), ["not-utf-8"]), (b"tab\there and much more text", [])]
)
def test_text_that_is_no_utf_8_is_not_taken_for_cipher(info, faults):
    """Its check holds as it stands, which that of an enciphered segment does not."""
    found = only(framed(GOOD[6:-6].replace(b"a34004-Rtd=35.0,a34004-Flag=N", b"i21001-Info=//%b//" % info)))
    assert (found.ok, found.encrypted, found.faults) == (True, False, faults)


def test_a_log_text_in_gbk_is_read():
    """UTF-8 is what the standard has; a wrong check does not make an older generation's text cipher."""
    segment = GOOD[6:-6].replace(b"a34004-Rtd=35.0,a34004-Flag=N", "i21001-Info=//重启设备完成//".encode("gbk"))
    found = only(framed(segment))
    assert (found.ok, found.hints) == (True, ["the text is GBK"])
    assert found.data[0]["values"] == {"Info": "//重启设备完成//"}
    assert found.text.endswith("i21001-Info=//重启设备完成//&&")
    spoilt = only(framed(segment)[:-6] + b"1234\r\n")
    assert (spoilt.ok, spoilt.encrypted, spoilt.faults) == (False, False, ["wrong-crc", "not-utf-8"])


def test_bytes_that_are_no_text_are_shown_as_what_they_are():
    """JSON of them can be printed in any locale."""
    found = only(framed(GOOD[6:-6].replace(b"35.0", b"\xff\xfe")))
    assert found.hints[0] == "the text is neither UTF-8 nor GBK"
    assert found.data[0]["values"]["Rtd"] == "\\xff\\xfe"
    found.text.encode("utf-8")


@pytest.mark.parametrize("length", [b"14x0", b"140", b" 140", b"ABCD", b""])
def test_a_length_that_is_no_number_spoils_nothing_else(length):
    found = only(b"##" + length + GOOD[6:])
    assert (found.ok, found.faults, found.fields["QN"]) == (False, ["wrong-length"], FIELDS["QN"])
    assert found.data


@pytest.mark.parametrize(
    ("check", "faults", "hint"),
    [
        (b"ZZZZ", ["wrong-crc"], "ZZZZ are no hexadecimal digits"),
        (b"33", ["no-crc"], None),
        (b"", ["no-crc"], None),
        (b"%02X%02X" % (crc(GOOD[6:-6]) & 0xFF, crc(GOOD[6:-6]) >> 8), ["wrong-crc"], "its bytes are swapped"),
    ],
)
def test_a_check_that_is_none_spoils_nothing_else(check, faults, hint):
    for behind in (b"", b"\r\n", b"\r\n" + GOOD):
        found = next(inspect(GOOD[:-6] + check + behind, None, catalogue()))
        assert [fault for fault in found.faults if fault != "no-tail"] == faults
        assert (found.ok, found.parameters) == (False, {"DataTime": "20260301081500"})
        assert hint is None or found.hints[0].endswith(hint)


@pytest.mark.parametrize(
    "junk",
    [b"# a comment\n", b"##", b"junk## ", b"##1234 lines\r\n", b"##2026-03-01 begin\n", b"#", b"\x00\xff\x80", b"###"],
)
def test_what_stands_between_frames_is_no_frame(junk):
    found = list(inspect(junk + GOOD + junk + GOOD + junk, None, catalogue()))
    assert [each.ok for each in found] == [True, True]


def test_a_header_with_one_sign_is_found():
    assert only(b"x " + GOOD[1:]).faults == ["no-header"]


@pytest.mark.parametrize("length", range(30, 130))
def test_a_frame_cut_short_costs_none_of_the_next(length):
    """Wherever its declared length may reach: into a QN or an MN, which look like check digits, or onto a line end."""
    found = list(inspect(GOOD[:length] + GOOD + GOOD, None, catalogue()))
    assert [each.ok for each in found] == [False, True, True]
    wrong = b"##%04d" % (int(GOOD[2:6]) + length) + GOOD[6:]
    assert [each.ok for each in inspect(wrong + GOOD + GOOD)] == [False, True, True]


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (b"QN=20260301", b"QN=20261301", "qn-no-time"),
        (b"DataTime=20260301081500", b"DataTime=20260301086500", "datatime-no-time"),
        (b"Rtd=35.0", b"Rtd=3x", "bad-value"),
        (b"Rtd=35.0", b"Rtd=", "bad-value"),
        (b"Flag=N", b"Flag=Q", "unknown-mark"),
        (b"Flag=N", b"Flag=NN", "unknown-mark"),
    ],
)
def test_what_cannot_be_a_time_a_number_or_a_mark_is_said(before, after, fault):
    found = only(framed(GOOD[6:-6].replace(before, after)))
    assert (found.ok, found.faults) == (True, [fault])


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (b"CN=2011", b"CN=2072", "cn-of-other-generation"),
        (b"CN=2011", b"CN=9015", "cn-of-other-generation"),
        (b"Flag=5;", b"Flag=5;RF=1;", "rf-before-2025"),
        (b"Flag=5;", b"Flag=11;PNUM=12;PNO=1;", "wide-packet-numbers"),
        (b"a34004-Flag=N", b"a34004-Flag=N;a34004-Rtd=36.0", "repeated-value"),
        (b";a34004-Rtd", b";;a34004-Rtd", "empty-item"),
        (b"&&DataTime", b"&&;DataTime", "empty-item"),
        (b"35.0", b"35\r\n.0", "line-break"),
    ],
)
def test_what_its_generation_does_not_have_is_said(before, after, fault):
    found = only(framed(GOOD[6:-6].replace(before, after)))
    assert (found.ok, fault in found.faults) == (True, True)


def test_a_generation_has_what_it_has():
    """RF=1, one digit and 9015 in 2025; nothing of the kind is said where Flag names no generation."""
    for before, after in ((b"Flag=5;", b"Flag=11;PNUM=2;PNO=1;RF=1;"), (b"CN=2011", b"CN=2072"), (b"Flag=5;", b"")):
        segment = GOOD[6:-6].replace(before, after)
        if before.startswith(b"CN"):
            segment = segment.replace(b"Flag=5", b"Flag=1")
        assert {*only(framed(segment)).faults} <= {"no-flag"}


def test_a_mark_of_a_table_nobody_has_read_is_no_fault():
    assert only(framed(GOOD[6:-6].replace(b"Flag=5", b"Flag=9").replace(b"Flag=N", b"Flag=H"))).faults == []
    letters = GOOD[6:-6].replace(b"ST=22", b"ST=45").replace(b"35.0", b"St").replace(b"a34004", b"p99101")
    assert next(inspect(framed(letters))).faults == []


def test_filler_that_looks_like_headers_makes_no_frames():
    """One frame that declares 1025 bytes and has them: above the limit, and that once."""
    segment = b"#" * 900 + b"ST=32;CN=2011;PW=123456;MN=LD130133000015;CP=&&DataTime=20160824003817;011-Rtd=231.0&&"
    segment = segment.rjust(1025, b"#")
    for check in (b"%04X" % crc(segment), b"4980"):
        (found,) = inspect(b"##1025" + segment + check + b"\r\n" + GOOD[:0])
        assert (found.ok, found.faults[0]) == (False, "wrong-length")
        assert found.parameters == {"DataTime": "20160824003817"}


def test_a_log_with_text_escapes_and_broken_frames_gives_each():
    log = (
        b"# a comment ## not a frame\n"
        + GOOD.strip()
        + b"\\r\\n\n"
        + GOOD[:60]
        + b"\n"
        + GOOD.replace(b"##0", b"##9")
        + b"tail lost: "
        + GOOD.strip()
        + b"\n"
    )
    found = list(inspect(log))
    assert [each.ok for each in found] == [True, False, False, True]
    assert found[1].faults[:2] == ["unfinished", "wrong-length"]
    assert found[2].faults == ["wrong-length"]
    assert found[3].faults == ["odd-tail"]


@pytest.mark.parametrize(
    ("declared", "hint"),
    [(6, "CRC, CR and LF were counted"), (1, "bytes there"), (-1, "bytes there")],
)
def test_a_wrong_length_is_explained(declared, hint):
    size = int(GOOD[2:6])
    found = only(GOOD.replace(b"##%04d" % size, b"##%04d" % (size + declared)))
    assert (found.ok, found.faults) == (False, ["wrong-length"])
    assert found.hints[0].endswith(hint)
    assert found.data


def test_characters_counted_instead_of_bytes_are_recognised():
    segment = WORKED[-1][0].encode()
    found = only(b"##0129%b%04X\r\n" % (segment, crc(segment)))
    assert found.hints[0] == "129 declared, 133 bytes there: characters were counted, not bytes"


def test_unknown_codes_are_named_where_a_catalogue_is_given():
    wire = build(FIELDS, "DataTime=20260301081500;z99999-Rtd=1,z99999-Flag=N")
    assert only(wire).faults == ["unknown-code"]
    assert next(inspect(wire)).faults == []


@pytest.mark.parametrize("key", [b"k3J9-xQ2m7Zp0sWd"])
def test_an_enciphered_frame_needs_its_key(key):
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    wire = build({**FIELDS, "Flag": "9"}, DATA, key)
    assert only(wire, key).as_dict() | {"hints": []} == {
        **only(build({**FIELDS, "Flag": "9"}, DATA)).as_dict(),
        "encrypted": True,
    }
    blind = only(wire)
    assert (blind.ok, blind.faults, blind.fields["CN"]) == (False, ["no-key"], "2011")
    assert (blind.parameters, blind.data) == ({}, [])  # cipher is no data
    assert only(wire, b"another-key-0123").faults[0] == "wrong-key"
    assert only(wire, (b"another-key-0123", key)).ok
    over_cipher = only(wire[:-6] + b"%04X\r\n" % crc(wire[6:-6]), key)
    assert (over_cipher.ok, over_cipher.faults) == (False, ["wrong-crc"])
    assert over_cipher.hints[0].endswith("it is that of the cipher, not of the plain segment")


@pytest.mark.parametrize("seed", range(20))
def test_cipher_bytes_hide_no_frame(seed):
    """Cipher may hold anything, line ends and && too; so each is cut by its length."""
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    key = bytes((seed * 37 + n * 11) % 256 for n in range(16))
    frames = [build({**FIELDS, "Flag": "9"}, f"{DATA};a34002-Rtd={n}.0,a34002-Flag=N", key) for n in range(30)]
    wire = b"".join(frame[:-2] if n % 3 else frame for n, frame in enumerate(frames))
    found = list(inspect(wire, key, catalogue()))
    assert [(each.ok, each.encrypted) for each in found] == [(True, True)] * 30


@given(st.binary(max_size=400))
def test_any_bytes_are_inspected(data):
    for found in inspect(data + GOOD[:30] + data, b"k3J9-xQ2m7Zp0sWd"):
        assert isinstance(found.as_dict()["faults"], list)


def test_the_variants_are_those_of_the_receiver():
    assert set(CRC_VARIANTS) == {"hj212", "modbus", "modbus-low-first"}
