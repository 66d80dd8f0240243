"""The MQTT uplink against a real mosquitto: delivery, restarts, lost sessions and acks, refusals, status."""

from __future__ import annotations

import contextlib
import json
import socket
from datetime import timedelta
from pathlib import Path
from threading import Thread

import jsonschema
import pytest

import uplink.http
from station.model import Kind
from tests.uplink.mqtt_link import START, Broker, Listener, MqttLink, Swallowing, free_port, wait
from uplink.mqtt.session import MOST_OWN, SUSPECTS

SCHEMA = json.loads((Path(uplink.http.__file__).parent / "schema.json").read_text(encoding="utf-8"))
VERSIONS = ("5", "3.1.1")


@pytest.fixture
def broker(tmp_path):
    with Broker(tmp_path / "broker") as made:
        yield made


def expected(count):
    """The ids of the first *count* minutes."""
    starts = (START + timedelta(minutes=number) for number in range(count))
    return {f"P1/minute/{start:%Y-%m-%dT%H:%M:%SZ}/1" for start in starts}


@pytest.mark.parametrize("version", VERSIONS)
def test_backlog_and_live_arrive_once_in_the_documented_form(broker, version):
    """QoS 1, the topic of the template, one record a message, valid by the schema of the HTTPS format."""
    with Listener(broker.port) as platform:
        made = MqttLink(broker.url, version=version, topic="{platform}/{mn}/{point}/{kind}")
        made.add(100)
        with made.up():
            assert made.drained()
            made.add(20, first=100)
            assert made.drained()
            assert wait(lambda: len(platform.ids()) == 120)
        assert set(platform.ids()) == expected(120)
        assert set(platform.ids().values()) == {1}
        assert {topic for topic, *_ in platform.got if "status" not in topic} == {"city/NT-7/P1/minute"}
        bodies = platform.bodies()
        assert [body["resupply"] for body in bodies] == [True] * 100 + [False] * 20
        assert len({body["key"] for body in bodies}) == 120
        for body in bodies:
            jsonschema.validate(body, SCHEMA, jsonschema.Draft202012Validator)
        assert made.uplink.counts["answered"] == made.uplink.counts["published"] == 120
        assert made.errors == []


def test_live_goes_before_the_backlog(broker):
    """What is committed while a backlog drains does not wait for its end."""
    with Listener(broker.port) as platform, Swallowing(broker.port) as between:
        made = MqttLink(f"mqtt://127.0.0.1:{between.port}", window=1)
        made.add(2000)
        with made.up():
            assert wait(lambda: len(made.outbox.acknowledged) > 10)
            (live,) = made.add(1, first=5000)
            assert made.drained(30)
        assert made.outbox.acknowledged.index(live) < 2000
        assert wait(lambda: len(platform.ids()) == 2001)


def test_no_more_than_the_window_is_under_way_and_paho_keeps_nothing(broker):
    with Swallowing(broker.port) as between, Listener(broker.port) as platform:
        between.swallow.add(between.PUBACK)
        made = MqttLink(f"mqtt://127.0.0.1:{between.port}", window=7, status_topic="", timeout_seconds=60.0)
        made.add(50)
        with made.up():
            assert wait(lambda: between.swallowed >= 7)
            assert not wait(lambda: between.swallowed > 7, 0.3)
            assert made.uplink.counts["published"] == 7
            assert len(platform.ids()) == 7
            between.cut()
            between.swallow.clear()
            assert made.drained()
        assert set(platform.ids()) == expected(50)


@pytest.mark.parametrize("version", VERSIONS)
def test_lost_acks_are_sent_again_under_the_same_id(broker, version):
    """PUBACKs are swallowed, the time-out ends the connection, the next one delivers: lost 0, doubled 0 by id."""
    with Listener(broker.port) as platform, Swallowing(broker.port) as between:
        made = MqttLink(f"mqtt://127.0.0.1:{between.port}", version=version, timeout_seconds=0.3, status_topic="")
        made.add(60)
        between.swallow.add(between.PUBACK)
        with made.up():
            assert wait(lambda: any("no PUBACK within 0.3 s" in str(one) for one in made.errors))
            assert made.outbox.given_up[0] == 1  # over the oldest, which may step aside
            between.swallow.clear()
            assert made.drained()
        assert wait(lambda: len(platform.ids()) == 60)
        assert set(platform.ids()) == expected(60)
        again = [body for body in platform.bodies() if body["records"][0]["id"] == "P1/minute/2026-03-01T00:00:00Z/1"]
        assert len(again) > 1
        assert len({(body["key"], json.dumps(body["records"])) for body in again}) == 1


def test_after_a_broken_connection_one_record_goes_first(broker):
    """So that one over which a broker hangs up comes to stand alone; then the window opens again."""
    with Listener(broker.port) as platform, Swallowing(broker.port) as between:
        made = MqttLink(f"mqtt://127.0.0.1:{between.port}", window=10, status_topic="")
        made.add(100)
        between.after = 5
        with made.up():
            assert wait(lambda: made.errors)
            assert made.drained()
        assert "the connection broke" in str(made.errors[0])
        assert made.outbox.given_up == []  # several were under way: nobody is to blame
        assert not made.uplink.slow
        assert set(platform.ids()) == expected(100)


@pytest.mark.parametrize(("version", "line"), [("3.1.1", "max_packet_size 2000"), ("5", "message_size_limit 1500")])
def test_a_record_over_which_the_broker_hangs_up_is_found(tmp_path, version, line):
    """3.1.1 has no other way to say no than to close: the record steps aside, the rest goes on.

    mosquitto 2.0.11 answers its message_size_limit with a reason code that MQTT 5 has not for PUBACK.
    """
    with Broker(tmp_path, line) as broker, Listener(broker.port) as platform:
        made = MqttLink(broker.url, version=version, status_topic="")
        made.add(10)
        (bad,) = made.add(1, first=10, text=json.dumps("x" * 3000))
        made.add(10, first=11)
        with made.up():
            assert wait(lambda: made.outbox.given_up.count(bad) >= 2)
            assert set(made.outbox.given_up) == {bad}  # here nothing steps aside; station/outbox.py has that
        assert wait(lambda: len(platform.ids()) == 10)


def test_a_packet_larger_than_the_broker_said_is_parked_unsent(tmp_path):
    with Broker(tmp_path, "max_packet_size 2000") as broker, Listener(broker.port) as platform:
        made = MqttLink(broker.url)
        made.add(5)
        (bad,) = made.add(1, first=5, text=json.dumps("x" * 3000))
        made.add(5, first=6)
        with made.up():
            assert made.drained()
        assert [number for number, _ in made.outbox.parked] == [bad]
        assert "the packet is too large (31" in made.outbox.parked[0][1]
        assert "the broker takes 2000)" in made.outbox.parked[0][1]
        assert wait(lambda: len(platform.ids()) == 10)
        assert made.errors == []


def test_a_broker_that_restarts_with_its_database_loses_nothing(tmp_path):
    persistent = ("persistence true", f"persistence_location {tmp_path}/", "autosave_interval 1")
    with Broker(tmp_path, *persistent) as broker, Listener(broker.port) as platform:
        made = MqttLink(broker.url)
        made.add(1500)
        with made.up():
            assert wait(lambda: len(made.outbox.acknowledged) > 200)
            broker.stop()
            assert wait(lambda: made.errors)
            broker.start()
            made.add(100, first=1500)
            assert made.drained(30)
            assert wait(lambda: len(platform.ids()) == 1600)
        assert set(platform.ids()) == expected(1600)


@pytest.mark.parametrize("version", VERSIONS)
def test_kill_9_of_a_broker_without_memory_in_mid_drain_owes_nothing_it_had_not_acknowledged(tmp_path, version):
    """It forgets sessions and what it had taken; the station sends what has no ack, with the same ids."""
    with Broker(tmp_path, "persistence false") as broker:
        made = MqttLink(broker.url, version=version, unheard="accept")
        made.add(1500)
        with made.up():
            assert wait(lambda: len(made.outbox.acknowledged) > 200)
            broker.kill()
            assert wait(lambda: made.errors)
            before = set(made.outbox.acknowledged)
            owed = set(made.outbox.owed)
            assert before | owed == set(range(1, 1501))
            assert not before & owed
            broker.start()
            with Listener(broker.port) as platform:
                assert made.drained(30)
                assert wait(lambda: len(platform.ids()) >= len(owed) - made.settings.window - 200)
                assert set(platform.ids()) <= expected(1500)
        assert len(made.outbox.acknowledged) == len(set(made.outbox.acknowledged)) == 1500


def test_a_session_taken_over_is_begun_anew(broker):
    """Another client takes the client_id: the connection ends, what was not acknowledged is sent in the next one."""
    with Listener(broker.port, "niutang/#") as platform:
        made = MqttLink(broker.url)
        made.add(20)
        with made.up():
            assert made.drained()
            with Listener(broker.port, "nothing", name=made.settings.client):
                assert wait(lambda: made.errors)
            made.add(20, first=20)
            assert made.drained()
        assert wait(lambda: set(platform.ids()) == expected(40))
        assert set(platform.ids().values()) == {1}


def test_a_broker_that_says_another_took_over_is_left_alone_for_a_while():
    """Not at once: the two would throw each other out for ever.  (mosquitto 2.0.11 closes without a word.)"""
    made = MqttLink(f"mqtt://127.0.0.1:{answering(CONNACK5, OTHER_CLIENT)}")
    with made.up(again=False) as thread:
        thread.join(10)
    assert "another client with the same client_id has taken over: each needs its own (0x8E)" in made.failed()
    assert 25 < made.uplink.resting() <= 60


def test_what_nobody_subscribes_to_waits(broker):
    made = MqttLink(broker.url)
    made.add(3)
    with made.up(again=False) as thread:
        thread.join(10)
    assert "nobody subscribes to niutang/NT-7/minute, so the broker keeps nothing of it; records wait." in made.failed()
    assert len(made.outbox.owed) == 3
    ids, seconds, _, hold = made.outbox.postponed[0]
    assert (ids, seconds, hold) == ([1], 60.0, True)
    made.outbox.release()
    with Listener(broker.port) as platform, made.up():
        assert made.drained()
        assert wait(lambda: set(platform.ids()) == expected(3))


def test_what_a_rule_of_the_broker_takes_may_count_as_delivered(broker):
    made = MqttLink(broker.url, unheard="accept")
    made.add(3)
    with made.up():
        assert made.drained()
    assert made.errors == []


def with_acl(tmp_path, *rules):
    (tmp_path / "acl").write_text("\n".join(["user platform", "topic readwrite #", "user site", *rules, ""]))
    (tmp_path / "acl").chmod(0o600)
    (tmp_path / "passwords").write_text("")
    return f"acl_file {tmp_path}/acl", f"password_file {tmp_path}/passwords"


def passwords(tmp_path):
    """Users site and platform with the password word, hashed by mosquitto's own tool."""
    import subprocess

    (tmp_path / "passwords").write_text("site:word\nplatform:word\n")
    (tmp_path / "passwords").chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)


@pytest.fixture
def guarded(tmp_path):
    """A broker that lets site publish minutes and its status, and nothing else."""
    lines = with_acl(tmp_path, "topic write niutang/NT-7/minute", "topic write niutang/niutang-NT-7/status")
    passwords(tmp_path)
    with Broker(tmp_path, *lines, anonymous=False) as made:
        yield made


def test_a_topic_refused_by_acl_is_parked_where_others_are_taken(guarded):
    """PUBACK 0x87: put off first; parked when it is refused again after others were taken."""
    with Listener(guarded.port, username="platform", password="word") as platform:
        made = MqttLink(guarded.url, files={"pw": "word"}, username="site", password_file="pw")
        made.add(5)
        (hour,) = made.add(1, kind=Kind.HOUR)
        with made.up():
            assert wait(lambda: made.outbox.postponed)
            assert made.outbox.parked == []
            made.add(5, first=5)
            assert wait(lambda: made.outbox.owed == [hour])
            assert wait(lambda: set(platform.ids()) == expected(10))
            made.outbox.release()
            guarded.kill()
            guarded.start()
            assert made.drained()
        assert made.outbox.parked == [(hour, "not authorized (0x87) on niutang/NT-7/hour")]
        assert made.outbox.postponed == [([hour], 60.0, "not authorized (0x87) on niutang/NT-7/hour", False)]


def test_a_broker_that_refuses_everything_parks_nothing(guarded):
    """It says so after a few records, and rests for ten minutes."""
    made = MqttLink(guarded.url, files={"pw": "word"}, username="site", password_file="pw", topic="other/{kind}")
    made.add(50)
    said = "refuses everything so far, nothing is parked: not authorized (0x87) on other/minute"
    with made.up():
        assert wait(lambda: any(said in str(error) for error in made.errors))
    assert made.outbox.parked == []
    assert len(made.outbox.owed) == 50
    ids, seconds, _, hold = made.outbox.postponed[-1]
    assert (len(ids), seconds, hold) == (SUSPECTS, 600.0, True)


def test_a_refused_status_topic_is_said_and_stops_nothing(tmp_path, caplog):
    lines = with_acl(tmp_path, "topic write niutang/NT-7/#")
    passwords(tmp_path)
    broker = Broker(tmp_path, *lines, anonymous=False)
    with broker, Listener(broker.port, username="platform", password="word") as platform:
        made = MqttLink(broker.url, files={"pw": "word"}, username="site", password_file="pw")
        made.add(5)
        with made.up():
            assert made.drained()
            assert wait(lambda: made.uplink.counts["refused topics"])
            assert made.uplink.muted("niutang/niutang-NT-7/status")
            made.later = 3700
            assert not made.uplink.muted("niutang/niutang-NT-7/status")
        assert "city: the broker refuses niutang/niutang-NT-7/status: not authorized (0x87)" in caplog.messages
        assert wait(lambda: len(platform.ids()) == 5)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("5", "the broker refuses the station: not authorized (0x87)"),
        ("3.1.1", "the broker refuses the station: not authorized (0x87)"),
    ],
)
def test_a_wrong_password_is_said_waits_long_and_loses_nothing(guarded, version, words):
    made = MqttLink(guarded.url, version=version, files={"pw": "wrong"}, username="site", password_file="pw")
    made.add(5)
    with made.up(again=False) as thread:
        thread.join(10)
    assert words in made.failed()
    assert "wrong" not in made.failed()
    assert len(made.outbox.owed) == 5
    first = made.uplink.resting()
    assert 25 < first <= 60
    made.errors.clear()
    made.later = 61
    with made.up(again=False) as thread:
        thread.join(10)
    assert 55 < made.uplink.resting() <= 120  # twice as long at the most


def test_a_broker_that_never_answers_connect_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = MqttLink(f"mqtt://127.0.0.1:{server.getsockname()[1]}", connect_seconds=0.3)
        with made.up(again=False) as thread:
            thread.join(10)
        assert "takes the connection and does not answer within 0.3 s" in made.failed()


def answering(*parts):
    """A server of one connection that sends *parts* after what it gets, and its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        near, _ = server.accept()
        with near, server:
            near.recv(4096)
            for part in parts:
                near.sendall(part)
            near.settimeout(5)
            with contextlib.suppress(OSError):
                while near.recv(4096):
                    pass

    Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


CONNACK5 = b"\x20\x03\x00\x00\x00"
OTHER_CLIENT = b"\xe0\x02\x8e\x00"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ""),
        ((b"\x20\x03\x00\x8a\x00",), "the broker refuses the station: this client is banned (0x8A)"),
        ((b"\x20\x03\x00\x84\x00",), "it does not speak this version of MQTT: set version to the other one (0x84)"),
        ((b"\x20\x03\x00\x86\x00",), "user name or password is wrong (0x86)"),
        ((b"\x20\x05\x00\x00\x02\x24\x00",), "it knows no QoS 1, without which nothing is sure to arrive"),
        ((CONNACK5, b"\x40\x02"), ""),
        ((CONNACK5, b"\xe0\x02\x8b\x00"), "the broker ended the connection: it shuts down (0x8B)"),
        ((CONNACK5, b"\x30\xff\xff\xff\x7f"), "sends a packet of more than 256 KiB"),
        ((CONNACK5, b"\xff" * 64), ""),
        ((CONNACK5, b"\x34\x07\x00\x01a\x00\x01\x00x"), "sends with QoS 2, which was not asked for"),
        ((CONNACK5, b"\x30\x05\x00\x03\xff\xfe\xfd\x00"), ""),
        ((b"\x20\x03\x00\xee\x00",), ""),
        ((b"\x20\x02\x00",), ""),
    ],
)
def test_whatever_a_broker_sends_ends_in_one_sentence(parts, words):
    made = MqttLink(f"mqtt://127.0.0.1:{answering(*parts)}", connect_seconds=0.5, timeout_seconds=0.5)
    made.add(3)
    with made.up(again=False) as thread:
        thread.join(10)
    said = made.failed()
    assert said.startswith(made.settings.url)
    assert words in said
    assert "\n" not in said
    assert len(made.outbox.owed) == 3


def test_a_broker_that_is_not_there_is_said():
    made = MqttLink(f"mqtt://127.0.0.1:{free_port()}")
    with made.up(again=False) as thread:
        thread.join(10)
    assert made.failed().endswith("connection refused")


def test_status_is_told_retained_and_ends_with_a_good_bye(broker):
    made = MqttLink(broker.url)
    with made.up():
        assert wait(lambda: made.uplink.counts["connections"])
    with Listener(broker.port) as platform:
        assert wait(platform.status)
        (topic, _, retained, _) = platform.got[0]
        assert (topic, retained) == ("niutang/niutang-NT-7/status", True)
        assert {**platform.status()[0], "time": 0} == {
            "format": "niutang-status-1", "state": "offline", "reason": "stopped", "time": 0,
        }  # fmt: skip


def test_a_connection_that_breaks_leaves_the_will(broker):
    with Listener(broker.port) as platform, Swallowing(broker.port) as between:
        made = MqttLink(f"mqtt://127.0.0.1:{between.port}")
        with made.up(again=False):
            assert wait(lambda: len(platform.status()) == 1)
            between.cut()
            assert wait(lambda: len(platform.status()) == 2)
        online, lost = platform.status()
        assert (online["state"], lost["state"], lost["reason"]) == ("online", "offline", "lost")
        assert lost["connected"] <= online["time"]


def test_a_platform_that_rests_is_left_alone_until_the_station_stops():
    made = MqttLink(f"mqtt://127.0.0.1:{free_port()}")
    made.uplink.rest()
    with made.up():
        assert wait(lambda: made.outbox.beats > 1)
    assert made.errors == []
    assert made.uplink.counts["connections"] == 0


def test_the_trace_shows_what_passes_without_the_password(guarded):
    made = MqttLink(guarded.url, files={"pw": "word"}, username="site", password_file="pw", unheard="accept")
    made.uplink.tap.look(0)
    made.add(1)
    with made.up():
        assert made.drained()
        assert wait(lambda: made.uplink.counts["answered"])
    told = " ".join(seen.text for seen in made.uplink.tap.look(0))
    assert "CONNECT niutang-NT-7" in told
    assert "PUBLISH niutang/NT-7/minute" in told
    assert "word" not in told
    assert MOST_OWN > 0


def test_a_probe_is_let_in_and_leaves_no_trace(broker):
    made = MqttLink(broker.url)
    found = made.uplink.probe()
    assert found.connect_seconds >= found.answer_seconds >= 0
    assert found.clock_seconds is None
    with Listener(broker.port) as platform:
        assert not wait(platform.status, 0.2)
