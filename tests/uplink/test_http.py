"""The HTTPS uplink against the emulated receiver: what is sent, what an answer means, what is never lost."""

import base64
import gzip
import hashlib
import hmac
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

import uplink.http
from station.model import Average, ConfigError, Kind, Lane, Mark, Message, Record, Report
from tests.uplink.http_link import SECRETS, START, HttpLink, minute
from uplink.base import LinkDown, NotAcknowledged, Refused
from uplink.http.emulator import FAULTS, Receiver, platform_named
from uplink.http.link import HttpUplink, PointSettings
from uplink.http.session import SUSPECTS
from uplink.http.signing import idempotency_key
from uplink.wording import identity_of

HERE = Path(uplink.http.__file__).parent
SCHEMA = json.loads((HERE / "schema.json").read_text(encoding="utf-8"))
SMART = {"template": "example-smart-site", "values": {"app_id": "A1"}, "secrets": {"app_secret": "app_secret"}}
FIXED = {"template": "niutang-token", "secrets": {"access": "access"}}
TOWN = {
    "template": "example-township",
    "values": {"town": "Niutang"},
    "secrets": {"aes_key": "aes", "aes_iv": "iv", "hmac_key": "hmac"},
}


@pytest.fixture
def link():
    """A maker of links, whose outboxes are closed afterwards."""
    made = []

    def make(*arguments, **changes):
        made.append(HttpLink(*arguments, **changes))
        return made[-1]

    yield make
    for each in made:
        each.outbox.close()


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


# -- what is sent


def test_the_worked_example_is_what_the_station_sends(link):
    """example.json, record for record, and valid by the schema."""
    example = json.loads((HERE / "example.json").read_text(encoding="utf-8"))
    made = link("http://127.0.0.1:9", point=(PointSettings(point="gate", device="NT-0007"),), units={"pm10": "mg/m³"})
    values = (
        Average("pm25", 35.2, 33.0, 38.1, Mark.N, 12, 12, 12),
        Average("pm10", 60.4, 57.7, 65.0, Mark.N, 11, 12, 12),
        Average("wind_speed", None, mark=Mark.B, expected=12),
    )
    texts = [made.uplink.compose(r) for r in (
        Report(Kind.MINUTE, "gate", START, values), Report(Kind.POWER_ON, "gate", START))]  # fmt: skip
    assert [json.loads(text) for text in texts] == example["records"]
    assert '"value":0.0604,"min":0.0577,"max":0.0650' in texts[0]  # digits as the catalogue rounds them
    assert example["key"] == idempotency_key([record["id"] for record in example["records"]])
    jsonschema.validate(example, SCHEMA, jsonschema.Draft202012Validator)


def test_every_request_is_valid_by_the_schema_and_compressed(link, receiver):
    made = link(receiver.url, kinds=("realtime", "minute", "hour", "day", "alarm"), batch=4)
    ids = made.add(9)
    record = Record("alarm", START, {"rule": "dust", "state": "alarm", "value": 1.5, "note": '"quoted" 粉尘'}, "P1")
    for report in (minute(0, kind=Kind.REALTIME), minute(0, kind=Kind.HOUR), Report(Kind.POWER_ON, "P1", START),
                   Report(Kind.ALARM, "P1", START, record=record)):  # fmt: skip
        ids.append(made.outbox.add(made.uplink.compose(report), kind=report.kind, start=report.start))
    with made.up():
        assert made.drained()
    assert sorted(made.outbox.acknowledged) == ids
    for request in receiver.requests:
        body = json.loads(request.body)
        jsonschema.validate(body, SCHEMA, jsonschema.Draft202012Validator)
        assert request.headers["content-encoding"] == "gzip"
        assert body["key"] == request.key == request.headers["idempotency-key"]
        assert len(body["records"]) <= 4
        assert body["resupply"] is True  # all was there before the link came up
    assert receiver.summary()["unique"] == 13


def test_a_schema_that_takes_everything_would_be_none():
    example = json.loads((HERE / "example.json").read_text(encoding="utf-8"))
    for change in ({"mark": "X"}, {"value": "35.2"}, {"unit": None}, {"extra": 1}):
        broken = json.loads(json.dumps(example))
        broken["records"][0]["values"][0] |= change
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA, jsonschema.Draft202012Validator)


def test_what_a_platform_does_not_take_is_not_worded(link):
    made = link("http://127.0.0.1:9", kinds=("hour",))
    assert made.uplink.compose(minute()) is None
    assert made.uplink.compose(Report(Kind.MINUTE, "elsewhere", START, minute().averages)) is None
    assert made.uplink.compose(minute(kind=Kind.HOUR)) is not None
    assert link("http://127.0.0.1:9", **SMART).uplink.compose(Report(Kind.POWER_ON, "P1", START)) is None


def test_an_omitted_value_leaves_nothing_behind(link):
    made = link("http://127.0.0.1:9", **SMART)
    record = json.loads(made.uplink.compose(minute()))
    assert record["a34004"] == 35.0
    assert "a01007" not in record
    assert record["dataTime"] == "2026-03-01 08:00:00"
    assert record["dataType"] == "2"
    nothing = Report(Kind.MINUTE, "P1", START, (Average("pm25", None, mark=Mark.B),))
    assert made.uplink.compose(nothing) is None


def test_what_comes_while_the_link_is_up_goes_before_the_backlog(link, receiver):
    """One request at a time, and the newest records are in the next one."""
    receiver.delay = 0.05
    made = link(receiver.url, batch=1)
    made.add(12)
    with made.up():
        assert receiver.wait_until(lambda: len(receiver.requests) >= 2)
        (live,) = made.add(1, first=500)
        assert made.drained()
    assert made.outbox.acknowledged.index(live) <= 6
    bodies = [json.loads(request.body) for request in receiver.requests]
    assert [body["resupply"] for body in bodies].count(False) == 1


def test_a_group_has_the_same_key_after_a_restart_and_is_counted_once(link, receiver):
    """Its answer was lost, the station was started anew: same records, same key, nothing twice."""
    receiver.fault("lost")
    made = link(receiver.url, batch=10)
    made.add(30)
    with made.up(again=False) as thread:
        thread.join(10)
    assert isinstance(made.errors[0], NotAcknowledged)
    assert len(made.outbox.owed) == 30
    made.start()
    with made.up():
        assert made.drained()
    assert len({request.key for request in receiver.requests}) == 3
    assert receiver.summary() | {"requests": 0} == {
        "requests": 0, "records": 40, "unique": 30, "duplicates": 10, "repeated_groups": 1, "contradictions": 0,
        "logins": 0}  # fmt: skip


# -- what an answer means


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500", "answered 500 Internal Server Error: a web page"),
        ("html", "with a web page, which is no answer to records"),
        ("redirect", "answered 302 Found to http://127.0.0.1:9/elsewhere; redirects are not followed"),
        ("garbage", "the connection broke before the answer was whole"),
        ("huge", "with more than 64 KiB"),
        ("refused", "connection refused"),
        ("lost", "the connection broke before the answer was whole"),
    ],
)
def test_a_platform_that_fails_is_one_sentence_and_nothing_is_lost(link, receiver, fault, words):
    """No park, no answer counted; when it recovers everything comes once."""
    receiver.fault(fault)
    made = link(receiver.url, batch=2)
    ids = made.add(4)
    with made.up(again=False) as thread:
        thread.join(15)
    said = made.failed()
    assert words in said
    assert said.startswith(f"{receiver.url}: ")
    assert "\n" not in said
    assert (made.outbox.owed, made.outbox.parked, made.outbox.acknowledged) == (ids, [], [])
    receiver.fault(None)
    with made.up():
        assert made.drained()
    assert receiver.summary()["unique"] == 4
    assert receiver.summary()["contradictions"] == 0


@pytest.mark.parametrize("fault", ["late", "half-open", "drip"])
def test_no_answer_ends_at_a_deadline_while_the_thread_shows_that_it_lives(link, fault):
    """A byte a second never ends a request by itself; the deadline does."""
    with Receiver(late_seconds=30) as receiver:
        receiver.fault(fault)
        made = link(receiver.url, timeout_seconds=0.6, connect_seconds=0.3)
        ids = made.add(2)
        with made.up(again=False) as thread:
            thread.join(15)
        assert isinstance(made.errors[0], LinkDown)
        assert "answer within 0.6 s" in made.failed()
        assert made.outbox.beats >= 2
        assert (made.outbox.owed, made.outbox.parked) == (ids, [])


def test_a_station_stops_while_an_answer_is_awaited(link):
    with Receiver(late_seconds=30) as receiver:
        receiver.fault("late")
        made = link(receiver.url, timeout_seconds=60)
        made.add(1)
        with made.up():
            assert receiver.wait_until(lambda: receiver.requests)
        assert made.errors == []
        assert len(made.outbox.owed) == 1


@pytest.mark.parametrize("fault", ["429", "503"])
def test_a_platform_that_asks_for_time_gets_it(link, fault):
    """The whole group is put off until then, and the outbox is told that all of it rests."""
    with Receiver(retry_after=120) as receiver:
        receiver.fault(fault)
        made = link(receiver.url)
        ids = made.add(3)
        with made.up(again=False) as thread:
            thread.join(15)
        assert "asks to come again in 120 s" in made.failed()
        ((put_off, seconds, _, hold),) = made.outbox.postponed
        assert (put_off, seconds, hold) == (ids, 120.0, True)
        assert made.outbox.parked == []


def test_the_records_to_blame_are_parked_and_the_rest_goes_on(link):
    """Two of fifty are refused: halving finds them, the others are taken."""
    bad = {"2026-03-01T00:07:00Z", "2026-03-01T00:31:00Z"}
    with Receiver(refuses=lambda r: "device is not registered" if r["id"].split("/")[2] in bad else "") as receiver:
        made = link(receiver.url, batch=50)
        ids = made.add(50)
        with made.up():
            assert made.drained()
        assert made.errors == []
        assert [number for number, _ in made.outbox.parked] == [ids[7], ids[31]]
        assert made.outbox.parked[0][1] == "400 Bad Request: device is not registered"
        assert receiver.summary() | {"requests": 0} == {
            "requests": 0, "records": 48, "unique": 48, "duplicates": 0, "repeated_groups": 0, "contradictions": 0,
            "logins": 0}  # fmt: skip


@pytest.mark.parametrize(("fault", "words"), [("400", "400 Bad Request: unknown device"), ("no", "status=no: not as")])
def test_a_platform_that_refuses_everything_parks_nothing_and_is_asked_little(link, receiver, fault, words):
    """A wrong address or a right withdrawn is no fault of a hundred records."""
    receiver.fault(fault)
    made = link(receiver.url)
    ids = made.add(100)
    with made.up(again=False) as thread:
        thread.join(15)
    assert isinstance(made.errors[0], Refused)
    assert words in made.failed()
    assert "nothing is parked" in made.failed()
    assert (made.outbox.owed, made.outbox.parked) == (ids, [])
    assert receiver.counts["requests"] < 8 + 2 * SUSPECTS + 3


def test_a_right_withdrawn_in_the_middle_parks_nothing(link, receiver):
    """Others were taken before, on the same connection; since the refusal none was."""
    made = link(receiver.url, batch=4)
    made.add(4)
    with made.up(again=False):
        assert made.drained()
        receiver.fault("400")
        ids = made.add(4, first=50)
        assert made.wait(lambda: made.errors)
    assert isinstance(made.errors[0], Refused)
    assert (made.outbox.owed, made.outbox.parked) == (ids, [])


def test_a_lone_record_is_parked_when_it_is_refused_again_after_others_were_taken(link):
    with Receiver(refuses=lambda r: "value is out of range" if "T00:09:" in r["id"] else "") as receiver:
        made = link(receiver.url)
        (bad,) = made.add(1, first=9)
        with made.up():
            assert made.wait(lambda: made.outbox.postponed)
            assert made.outbox.parked == []
            good = made.add(1, first=10)
            assert made.wait(lambda: made.outbox.acknowledged == good)
        with made.up():  # handed out again, as the outbox does when its time has come
            assert made.drained()
        assert made.outbox.parked == [(bad, "400 Bad Request: value is out of range")]


def test_a_group_the_platform_fails_over_steps_aside_and_is_never_parked(link, receiver):
    """The second time, so that the rest goes on; 5xx is no reason to give up."""
    receiver.fault("500")
    made = link(receiver.url)
    ids = made.add(2)
    with made.up():
        assert made.wait(lambda: made.outbox.postponed)
    put_off, seconds, reason, hold = made.outbox.postponed[0]
    assert (put_off, seconds, hold) == (ids, 60.0, False)
    assert "answered 500" in reason
    assert made.outbox.parked == []


def test_a_body_that_is_too_large_is_sent_in_smaller_ones(link):
    with Receiver() as receiver:
        sound = receiver.answer_to

        def answer(path, headers, body):
            large = len(json.loads(gzip.decompress(body))["records"]) > 5
            return (413, {}, b"") if large else sound(path, headers, body)

        receiver.answer_to = answer
        made = link(receiver.url, batch=40)
        made.add(40)
        with made.up():
            assert made.drained()
        assert made.uplink.room <= 5
        assert made.outbox.parked == []
        assert receiver.summary()["unique"] == 40


# -- logins, signatures, secrets


def test_a_token_is_asked_for_renewed_before_its_end_and_after_a_401(link):
    platform = platform_named("example-smart-site")
    with Receiver(platform=platform) as receiver:
        made = link(receiver.url, **SMART)
        with made.up():
            made.add(2)
            assert made.drained()
            receiver.fault("401")  # every token is void
            made.add(2, first=10)
            assert made.drained()
            made.uplink.token_until = time.monotonic()  # its end is near
            made.add(1, first=20)
            assert made.drained()
        assert made.errors == []
        assert receiver.summary()["logins"] == 3
        assert receiver.summary()["unique"] == 5


def test_a_login_that_brings_nothing_is_one_sentence_without_the_secret(link, receiver):
    """The receiver knows no login; it echoes nothing that would give the secret away."""
    made = link(receiver.url, **SMART)
    made.add(1)
    with made.up(again=False) as thread:
        thread.join(10)
    assert "the login brought no data.token" in made.failed()
    assert SECRETS["app_secret"] not in made.failed()


def test_credentials_that_are_not_accepted_end_the_connection_and_park_nothing(link):
    with Receiver() as receiver:
        receiver.answer_to = lambda path, headers, body: (401, {}, b'{"message":"bad token t0ken-of-the-site"}')
        made = link(receiver.url, **FIXED)
        ids = made.add(2)
        with made.up(again=False) as thread:
            thread.join(10)
        assert "does not accept the credentials (401 Unauthorized: bad token ***)" in made.failed()
        assert (made.outbox.owed, made.outbox.parked) == (ids, [])


def test_a_fixed_token_goes_as_a_bearer(link, receiver):
    made = link(receiver.url, **FIXED)
    made.add(1)
    with made.up():
        assert made.drained()
    assert receiver.requests[0].headers["authorization"] == f"Bearer {SECRETS['access']}"


def test_an_md5_signature_is_over_what_the_template_says(link):
    with Receiver(platform=platform_named("example-smart-site")) as receiver:
        made = link(receiver.url, **SMART)
        (number,) = made.add(1)
        text = made.outbox._entries[number].message.text
        with made.up():
            assert made.drained()
        body = json.loads(receiver.requests[0].body)
    head = f"appId=A1&nonce={body['nonce']}&timestamp={body['timestamp']}"
    signed = f"{head}&data=[{text}]&secret={SECRETS['app_secret']}"
    assert body["sign"] == hashlib.md5(signed.encode()).hexdigest().upper()
    assert len(body["nonce"]) == 32
    assert receiver.requests[0].headers["x-access-token"]


def test_an_aes_body_opens_with_the_key_and_its_hmac_is_over_the_body_as_sent(link):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    with Receiver(platform=platform_named("example-township")) as receiver:
        made = link(receiver.url, **TOWN)
        made.add(2)
        with made.up():
            assert made.drained()
        (request,) = receiver.requests
    opener = Cipher(algorithms.AES(SECRETS["aes"].encode()), modes.CBC(SECRETS["iv"].encode())).decryptor()
    padded = opener.update(base64.b64decode(json.loads(request.body)["payload"])) + opener.finalize()
    records = json.loads(padded[: -padded[-1]])
    assert [record["mn"] for record in records] == ["D-1", "D-1"]
    assert records[0]["factors"][0] == {"code": "a34004", "avg": 35.0, "min": 30.0, "max": 40.1, "flag": "N"}
    signed = f"{request.headers['x-timestamp']}.{request.body}".encode()
    assert request.headers["x-signature"] == hmac.new(SECRETS["hmac"].encode(), signed, "sha256").hexdigest()


def test_a_key_of_the_wrong_length_is_said_and_nothing_is_lost(link, receiver):
    made = link(receiver.url, files=SECRETS | {"aes": "short"}, **TOWN)
    made.add(1)
    with made.up(again=False) as thread:
        thread.join(10)
    assert made.failed() == "the AES key has 5 bytes, 16 or 24 or 32 are needed"
    assert len(made.outbox.owed) == 1


def test_a_secret_that_is_not_there_is_said(link, receiver):
    made = link(receiver.url, files={}, **FIXED)
    with made.up(again=False) as thread:
        thread.join(10)
    assert "access: the credential cannot be read" in made.failed()


def test_a_trace_shows_requests_and_answers_without_secrets(link, caplog):
    """However a secret is escaped; tokens of a login, too."""
    with Receiver(platform=platform_named("example-smart-site")) as receiver:
        made = link(receiver.url, **SMART)
        made.uplink.tap.look(0)
        made.add(1)
        with made.up():
            assert made.drained()
        seen = made.uplink.tap.look(0)
        texts = "\n".join(one.text for one in seen)
        assert [one.way for one in seen] == ["out", "in", "out", "in"]
        assert "POST " + receiver.url + "/api/dust/data" in texts
        assert SECRETS["app_secret"] not in texts
        assert receiver._token not in texts
        assert '"appSecret":"***"' in texts
    assert SECRETS["app_secret"] not in caplog.text


def test_an_answer_moves_no_cursor_on_a_terminal(link):
    with Receiver() as receiver:
        receiver.answer_to = lambda path, headers, body: (400, {}, b'{"message":"\\u001b[2Jbad\\nline"}')
        made = link(receiver.url)
        made.add(1)
        made.uplink.tap.look(0)
        with made.up():
            assert made.wait(lambda: made.outbox.postponed)
    assert made.outbox.postponed[0][2] == "400 Bad Request: \\x1b[2Jbad line"


def test_a_probe_tells_times_and_the_clock(link, receiver):
    found = link(receiver.url).uplink.probe()
    assert found.connect_seconds >= 0
    assert abs(found.clock_seconds) <= 2
    receiver.fault("refused")
    with pytest.raises(LinkDown, match="connection refused"):
        link(receiver.url).uplink.probe()


def test_a_name_that_does_not_resolve_is_one_sentence(link):
    with pytest.raises(LinkDown, match=r"^http://no-such-host\.invalid: the name has no address$"):
        link("http://no-such-host.invalid").uplink.probe()


def test_the_same_identity_whatever_is_stored_about_a_message():
    message = Message(7, Kind.HOUR, "site", datetime(2026, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC), 2, "x")
    assert identity_of(message) == "site/hour/2026-03-01T00:00:00.500Z/2"
    later = message.start + timedelta(hours=1)
    assert identity_of(Message(7, Kind.HOUR, "site", later, 2, "x")) != identity_of(message)


def test_every_fault_of_the_receiver_is_known_and_an_unknown_one_is_refused(receiver):
    with pytest.raises(ValueError, match="nonsense is not one of"):
        receiver.fault("nonsense")
    with pytest.raises(ValueError, match="needs certificates"):
        receiver.fault("expired")
    assert all(FAULTS.values())


def test_rubbish_at_the_receiver_is_refused_and_not_counted(receiver):
    for body in (b"", b"{", b"[1", b"\xff", b"3", b"[" * 100_000):
        status, _, _ = receiver.answer_to("/records", {}, body)
        assert status == 400
    assert receiver.answer_to("/records", {"content-encoding": "gzip"}, b"no gzip")[0] == 400
    assert receiver.summary()["records"] == 0


def test_the_outbox_in_memory_serves_live_and_history(link):
    made = link("http://127.0.0.1:9")
    made.add(2)
    assert len(made.outbox.next(Lane.LIVE, 5)) == 2
    assert made.outbox.held() == 0


def test_settings_and_wording_load_no_library():
    """requests, urllib3 and TLS come with the first connection."""
    heavy = {"requests", "urllib3", "ssl", "cryptography", "http.client", "gzip", "hashlib"}
    code = "import sys, uplink.http.link; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())


def test_an_uplink_without_a_template_says_which_there_are(link):
    with pytest.raises(ConfigError, match='there is no template "niutag"; did you mean niutang'):
        link("http://127.0.0.1:9", template="niutag")
    assert HttpUplink.Settings is not None


NESTED = b'{"status":' * 3000 + b"1" + b"}" * 3000


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        ({}, b"", "without status"),
        ({}, b"\xff\xfe\x00", "without status"),
        ({}, b"[]", "without status"),
        ({}, NESTED, "without status"),
        ({}, b"[" * 60_000, "without status"),
        ({"Content-Encoding": "gzip"}, b"no gzip", "its answer cannot be unpacked"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000), "with more than 64 KiB"),
        ({}, b" <HTML><body>ok</body>", "with a web page"),
        ({"Content-Type": "text/html"}, b'{"status":"ok"}', "with a web page"),
    ],
)
def test_an_answer_nobody_can_believe_loses_nothing_and_parks_nothing(link, receiver, headers, body, words):
    receiver.answer_to = lambda path, sent, data: (200, headers, body)
    made = link(receiver.url)
    ids = made.add(2)
    with made.up(again=False) as thread:
        thread.join(15)
    assert words in made.failed()
    assert (made.outbox.owed, made.outbox.parked, made.outbox.acknowledged) == (ids, [], [])


@pytest.mark.parametrize("word", [None, True, 0, {"ok": 1}, ["ok"], "OK ", "\u001b[2J"])
def test_only_the_very_word_is_a_yes(link, receiver, word):
    """Anything else in the field is a no; refused records are kept."""
    receiver.answer_to = lambda path, sent, data: (200, {}, json.dumps({"status": word}).encode())
    made = link(receiver.url)
    ids = made.add(1)
    with made.up(again=False):
        assert made.wait(lambda: made.errors or made.outbox.postponed)
    assert (made.outbox.owed, made.outbox.acknowledged) == (ids, [])


def test_a_header_that_http_cannot_carry_is_one_sentence(link, receiver):
    made = link(receiver.url, files={"access": "口令"}, **FIXED)
    ids = made.add(1)
    with made.up(again=False) as thread:
        thread.join(10)
    assert made.failed().endswith("a header would hold what is not Latin-1, which HTTP cannot carry")
    assert made.outbox.owed == ids


def test_a_token_that_still_holds_is_used_on_the_next_connection(link):
    with Receiver(platform=platform_named("example-smart-site")) as receiver:
        made = link(receiver.url, **SMART)
        for first in (0, 5):
            made.add(1, first=first)
            with made.up():
                assert made.drained()
        assert receiver.summary()["logins"] == 1
