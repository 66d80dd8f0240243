"""SM4 of HJ 212-2025: the printed examples, both forms on the wire, keys and their replacement."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.model import ConfigError, Kind, Outcome, Result
from tests.uplink import conftest
from tests.uplink.judge import Sm4, judge
from tests.uplink.test_frame import SAMPLES, samples
from tests.uplink.test_link import MN, Listener, talking
from uplink.hj212.frame import CrcWrong, FrameReader, Segment, encode, fence
from uplink.hj212.keys import KeyRing, parse_key, weakness
from uplink.hj212.sm4 import Envelope, cipher_of, decrypt, enciphered, encrypt, printed

pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")

KEY, NEW_KEY = b"k3J9-xQ2m7Zp0sWd", b"Qw7!x0Zt5#Lm2$Rv"
ZEROS = b"0" * 16  # the key of the appendix
DATA = "DataTime=20260301080000;a01001-Avg=21.5,a01001-Flag=N"
PLAIN = b"QN=20260301080000000;ST=22;CN=2051;PW=123456;MN=1;Flag=9;CP=&&" + DATA.encode() + b"&&"


@pytest.mark.parametrize("sample", samples("frame-encrypted"))
def test_the_printed_example_opens_in_both_forms(sample):
    """2025 appendix A.2 (B, recomputed): printed in braces; raw bytes have the length it declares."""
    key, plain = bytes.fromhex(sample["key_hex"]), sample["plain_frame"].encode()
    raw = b"##0234" + bytes.fromhex(sample["wire_segment_hex_if_raw_bytes"]) + b"B541\r\n"
    for wire in (sample["raw"].encode(), raw):
        reader = FrameReader(opener=Envelope(lambda: [key]))
        found = []
        for at in range(0, len(wire), 7):
            found += reader.feed(wire[at : at + 7])
        assert found == [plain[6:-4]]
    envelope = Envelope(lambda: [key])
    assert encode(plain[6:-4], envelope.seal) == raw
    assert encode(plain[6:-4], Envelope(lambda: [key], "braces").seal).strip() == sample["raw"].encode()


# The other printed example of appendix A.2, as Daidai52640/cems-data-pipeline quotes it from pages 32 and 33
# (tests/protocol/hj212/test_vectors.json, B): thirteen whole blocks, so that nothing stays plain.
A2_DATA = (
    "DataTime=20240520210600;a01011-Min=1.35,a01011-Avg=1.35,a01011-Max=1.35,a01011-Flag=N;"
    "a01012-Min=9.3,a01012-Avg=9.3,a01012-Max=9.3,a01012-Flag=N;"
    "a01014-Min=3.20,a01014-Avg=3.211,a01014-Max=3.212,a01014-Flag=N"
)
A2_PLAIN = f"QN=20240520210700000;ST=31;CN=2051;PW=123456;MN=010000A8900016F000169DC0;Flag=9;CP=&&{A2_DATA}&&"
A2_CIPHER = bytes.fromhex(
    "E43E159ACFAB242CB53155FB8B9281A1A242577ABFAED881BE88B72D69FC55ED1A80119FAAC8B3CD33D285CC76F57F2C"
    "A7F88B9573C6647E0F07E24609BD6B63EB20C5B9784F28E71D2F4994FF61D9E1C2B3075592B4D1E09C4D8BB27BE97B55"
    "9E3DA6643781A6F477769DEEB009B10DFFF3426922725D607DC4480F0CAC5F70DB2587B124BCB281592721D6E4BC180A"
    "97E5E111499CBE822E31C8D7761553543AA24207C290997BBDE64F9266BC5F529A172E381C1D898CA1A0D771A914A7B2"
    "D7467C70B94F1D4A7B0350A48DBF8B41"
)


def test_the_printed_example_without_a_rest_opens_in_both_forms():
    """2025 appendix A.2 (B, recomputed): 0295 and 2200 are length and check of the plain segment."""
    plain, form = A2_PLAIN.encode(), b"{%b}" % b",".join(b"0x%02X" % byte for byte in A2_CIPHER)
    head = b"##0295" + plain[: plain.index(b"&&") + 2]
    raw, braces = (head + cipher + b"&&2200\r\n" for cipher in (A2_CIPHER, form))
    assert len(plain) == 295
    assert Sm4(ZEROS).encrypt_blocks(A2_DATA.encode()) == A2_CIPHER  # judged by an SM4 of our own, too
    assert encode(plain, Envelope(lambda: [ZEROS]).seal) == raw
    assert encode(plain, Envelope(lambda: [ZEROS], "braces").seal) == braces
    for wire in (raw, braces):
        reader = FrameReader(opener=Envelope(lambda: [ZEROS]))
        assert [each for at in range(0, len(wire), 7) for each in reader.feed(wire[at : at + 7])] == [plain]


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16))
def test_whole_blocks_are_enciphered_and_the_rest_is_plain(data, key):
    """Judged by an SM4 that shares no code with the library."""
    cipher, whole = encrypt(data, key), len(data) // 16 * 16
    assert decrypt(cipher, key) == data
    assert cipher[whole:] == data[whole:]
    assert cipher == Sm4(key).encrypt_blocks(data)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=120), st.booleans(), st.booleans())
def test_what_is_sealed_opens_and_what_is_plain_stays(text, old, braces):
    plain = Segment(cn="2011", mn="1", cp=fence(text)).build()
    keys = [NEW_KEY, KEY]
    sealed = encode(plain, Envelope(lambda: keys[old:], "braces" if braces else "raw").seal)
    assert FrameReader(opener=Envelope(lambda: keys)).feed(sealed + encode(plain)) == [plain, plain]


def test_a_frame_under_another_key_is_a_wrong_check():
    sealed = encode(PLAIN, Envelope(lambda: [KEY]).seal)
    (fault, *_) = FrameReader(opener=Envelope(lambda: [NEW_KEY])).feed(sealed)
    assert isinstance(fault, CrcWrong)


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_by_a_reader_with_a_key(data):
    reader = FrameReader(opener=Envelope(lambda: [KEY]))
    reader.feed(b"##0100CP=&&{0x" + data + b"##0200QN=1;CP=&&{0xE4," * 3)
    assert len(reader._buffer) < 9000


def test_a_printed_form_that_never_ends_is_bounded():
    reader = FrameReader(opener=Envelope(lambda: [KEY]))
    for _ in range(100):
        reader.feed(b"##0900QN=1;CP=&&{" + b"0xE4," * 800)
        assert len(reader._buffer) < 20_000


def test_which_commands_are_enciphered():
    assert [cn for cn in map("{:04d}".format, range(10_000)) if enciphered(cn)] == [
        "1014",
        *map(str, range(2000, 3000)),
        "3020",
    ]
    assert cipher_of(PLAIN) is None
    assert printed(b"") == b"{}"


# -- keys


@pytest.mark.parametrize(
    "secret",
    [b"", b"short", b"0" * 16, b"1212121212121212", b"abcdefghijklmnop", b"ponmlkjihgfedcba", b"aaaabbbbccccdddd"],
)
def test_patterned_and_short_keys_are_refused(secret, tmp_path):
    ring = KeyRing(KEY.decode(), tmp_path / "city.sm4")
    assert weakness(secret)
    assert ring.replace(secret, None)
    assert ring.secrets() == [KEY]


def test_a_new_key_is_durable_and_the_old_one_stays_until_it_is_confirmed(tmp_path):
    kept, made = tmp_path / "city.sm4", datetime(2026, 3, 1, tzinfo=UTC)
    ring = KeyRing(KEY.decode(), kept)
    assert ring.replace(NEW_KEY, made) == ""
    assert KeyRing(KEY.decode(), kept).secrets() == ring.secrets() == [NEW_KEY, KEY]
    assert kept.stat().st_mode & 0o777 == 0o600
    ring.doubt()
    assert ring.secrets() == [KEY, NEW_KEY]
    ring.doubt()
    ring.confirm()
    again = KeyRing(KEY.decode(), kept)
    assert (again.secrets(), again.created) == ([NEW_KEY], made)
    assert not again.old(made + timedelta(days=90))
    assert again.old(made + timedelta(days=91))
    assert ring.replace(NEW_KEY, made) == "was in use before"
    assert list(tmp_path.iterdir()) == [kept]


def test_a_key_that_cannot_be_kept_is_not_used(tmp_path):
    ring = KeyRing(KEY.decode(), tmp_path / "no" / "city.sm4")
    assert ring.replace(NEW_KEY, None) == "cannot be kept (No such file or directory)"
    assert ring.secrets() == [KEY]


@pytest.mark.parametrize("text", ["", "short", "x" * 32, "键" * 16, f"{KEY.decode()} yesterday"])
def test_a_key_file_that_cannot_be_used_says_so_without_the_key(text):
    with pytest.raises(ConfigError) as caught:
        KeyRing(text)
    assert not text or text not in str(caught.value)
    assert KEY.decode() not in repr(KeyRing(KEY.decode())._keys)


def test_keys_may_be_written_as_hexadecimal_digits():
    assert parse_key(KEY.hex()) == parse_key(KEY.decode()) == KEY


# -- on the link


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def sealed(link, listener, secrets=None, **changes):
    """A link of 2025 with encryption, and the listener's reader with the same key."""
    made = talking(link, listener, standard="2025", encrypt="always", key_file="key", timeout_seconds=5, **changes)
    return made


def with_key(listener, *keys):
    listener._reader = FrameReader(opener=Envelope(lambda: keys))


@pytest.fixture
def secret(monkeypatch):
    """The key file of every link."""
    monkeypatch.setitem(conftest.SECRETS, "key", KEY.decode())
    return monkeypatch


@pytest.mark.parametrize("form", ["raw", "braces"])
def test_data_go_out_enciphered_and_the_rest_plain(link, listener, secret, form):
    with sealed(link, listener, cipher_text=form) as station:
        with_key(listener, KEY)
        station.commands.results = {"read_clock": Result(Outcome.DONE, {"time": "2026-03-01T08:00:00+08:00"})}
        station.add(kind=Kind.MINUTE)
        (upload,) = listener.frames()
        listener.acknowledge(upload, flag="8")
        assert station.drained()
        listener.say("1011", flag="9")
        listener.frames(3)
    frames = judge(listener.heard, KEY)
    assert [f["CN"] for f in frames] == ["2051", "9011", "1011", "9012"]
    assert frames[0]["CP"].startswith("DataTime=")
    assert b"DataTime" not in listener.heard


def test_a_key_is_replaced_and_the_old_one_forgotten_with_the_first_answer(link, listener, secret, tmp_path):
    """1014 comes enciphered or plain; what was sent under the old key may still be answered."""
    with sealed(link, listener, folder=tmp_path) as station:
        noted = []
        station.uplink.note = lambda code, /, **fields: noted.append((code, fields))
        station.commands.results = {"set_key": Result(Outcome.DONE)}
        with_key(listener, KEY)
        asked = Segment(
            qn="20260301081600001", st="22", cn="1014", pw="123456", mn=MN, flag="9",
            cp=fence(f"SKCreateTime=20260301120000;NewSK={NEW_KEY.decode()}"),
        )  # fmt: skip
        listener.write(encode(asked.build(), Envelope(lambda: [KEY]).seal))
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
        kept = tmp_path / "city.sm4"
        assert len(kept.read_text().splitlines()) == 2
        with_key(listener, NEW_KEY)
        station.add(kind=Kind.MINUTE)
        (upload,) = listener.frames()
        listener.acknowledge(upload, flag="8")
        assert station.drained()
    assert kept.read_text().split() == [NEW_KEY.hex(), "2026-03-01T12:00:00+08:00"]
    assert noted == [("key_replaced", {"platform": "city", "reason": ""})]


@pytest.mark.parametrize("key", ["0000000000000000", "short", "abcdefghijklmnop"])
def test_a_patterned_key_reaches_nobody(link, listener, secret, tmp_path, key):
    with sealed(link, listener, folder=tmp_path) as station:
        station.commands.results = {"set_key": Result(Outcome.DONE)}
        listener.say("1014", f"SKCreateTime=20260301120000;NewSK={key}", flag="9")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=3"]
        assert station.commands.asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_was_in_use_before_reaches_no_file(link, listener, secret):
    """The desk would have written it in front of the one in use, although the answer says that it is not taken."""
    secret.setitem(conftest.SECRETS, "key.old", NEW_KEY.decode())
    with sealed(link, listener) as station:
        station.commands.results = {"set_key": Result(Outcome.DONE)}
        for number, key in enumerate((KEY, NEW_KEY), 1):
            data = f"SKCreateTime=20260301120000;NewSK={key.decode()}"
            listener.say("1014", data, qn=f"2026030108160000{number}", flag="9")
            assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=3"]
        assert station.commands.asked == []
        assert station.uplink._ring().secrets() == [KEY, NEW_KEY]


def test_a_key_the_station_keeps_itself_is_used_at_once(link, listener, secret):
    """Without a folder of ours the desk has written the file; the key before it lies beside as .old."""
    secret.setitem(conftest.SECRETS, "key.old", "a1B2c3D4e5F6g7H8")
    with sealed(link, listener) as station:
        station.commands.results = {"set_key": Result(Outcome.DONE)}
        assert len(station.uplink._ring().secrets()) == 2
        listener.say("1014", f"SKCreateTime=20260301120000;NewSK={NEW_KEY.decode()}", flag="9")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
        assert station.uplink._ring().secrets() == [NEW_KEY, KEY]


def test_silence_under_a_new_key_tries_the_old_one_on_the_next_connection(link, listener, secret, tmp_path):
    made = tmp_path / "city.sm4"
    KeyRing(KEY.decode(), made).replace(NEW_KEY, None)
    changes = {"standard": "2025", "encrypt": "always", "key_file": "key", "folder": tmp_path}
    with talking(link, listener, timeout_seconds=0.1, resends=0, **changes) as station:
        with_key(listener, NEW_KEY)
        station.add(kind=Kind.MINUTE)
        assert listener.frames()
        assert station.wait(lambda: station.errors)
        listener.hang_up()
        listener.accept()
        with_key(listener, KEY)
        (upload,) = listener.frames()
        listener.acknowledge(upload)
        assert station.drained()
    assert made.read_text().split() == [KEY.hex()]


def test_an_old_key_is_asked_to_be_renewed(link, listener, secret):
    secret.setitem(conftest.SECRETS, "key", f"{KEY.decode()} 2020-01-01T00:00:00+08:00")
    with sealed(link, listener) as station:
        with_key(listener, KEY)
        (asked,) = listener.frames()
        listener.say("9013", qn=asked.qn, st="91", flag="8")
        assert station.uplink.counts["old keys"] == 1
    assert (asked.cn, asked.flag, asked.data) == ("1014", "9", "SKCreateTime=20200101000000")


def test_encryption_without_what_it_needs_is_a_fault(link):
    from station.parameters import catalogue

    faults = dict(link(9212, standard="2017", encrypt="always").settings.faults(catalogue()))
    assert faults == {"encrypt": "2017 knows no encryption", "key_file": "encryption needs a key"}
    faults = dict(link(9212, standard="2017", dialect="electricity-44").settings.faults(catalogue()))
    assert faults == {"dialect": '"electricity-44" is spoken in 2025, not in 2017'}


@pytest.mark.skipif(not SAMPLES.exists(), reason="no samples")
def test_the_samples_hold_the_example():
    assert any(json.loads(line)["kind"] == "frame-encrypted" for line in SAMPLES.read_text().splitlines())


@pytest.mark.parametrize("form", ["raw", "braces"])
def test_who_watches_the_link_reads_what_was_enciphered(link, listener, secret, form):
    """A technician looks at values; what is on the wire is cipher all the same."""
    with sealed(link, listener, cipher_text=form) as station:
        with_key(listener, KEY)
        station.uplink.tap.look(0)
        station.add()
        (upload,) = listener.frames()
        listener.acknowledge(upload, flag="8")
        assert station.drained()
        seen = [each.text for each in station.uplink.tap.look(0) if each.way == "out"]
    assert any("CP=&&DataTime=20260301080000;a01001-Avg=21.5,a01001-Flag=N&&" in text for text in seen)
    assert all("PW=***" in text for text in seen)
    assert b"a01001" not in listener.heard
