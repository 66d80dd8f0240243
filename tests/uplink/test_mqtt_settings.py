"""Settings and topics of an MQTT uplink; no broker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from station.model import Kind, Message
from station.parameters import catalogue
from tests.uplink.mqtt_link import START, MqttLink
from uplink.base import LinkDown
from uplink.mqtt.client import PROTOCOL, SILENT, Link
from uplink.mqtt.link import LONGEST_REST, MqttSettings, PointSettings
from uplink.mqtt.reasons import BLAMES, STUBBORN, WORDS, words
from uplink.mqtt.topics import escaped, faults, topic
from uplink.trust import Trust

POINT = (PointSettings(point="P1", mn="NT-7"),)


def settings(**changes):
    return MqttSettings(**{"name": "city", "protocol": "mqtt", "url": "mqtts://host", "point": POINT, **changes})


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a/+/b", "holds a wildcard"),
        ("a/#", "holds a wildcard"),
        ("/a", "has an empty level"),
        ("a/", "has an empty level"),
        ("a//b", "has an empty level"),
        ("", "has an empty level"),
        ("$SYS/a", "begins with $, which belongs to the broker"),
        ("a/{mn", "has a brace without its other half"),
        ("a/}", "has a brace without its other half"),
        ("a/{}", "{} is not known here"),
        ("a/{0}", "{0} is not known here"),
        ("a/{mn.__class__}", "{mn.__class__} is not known here"),
        ("a/{mn!r}", "{mn!r} is not known here"),
        ("a/{mn:>9}", "{mn:>9} is not known here"),
        ("a/{kinds}", "{kinds} is not known here; did you mean kind?"),
        ("a\x00b", "holds a control character"),
        ("x" * 1025, "has more than 1024 bytes"),
    ],
)
def test_a_topic_that_cannot_be_is_said(template, words):
    assert any(said.startswith(words) for said in faults(template))


@pytest.mark.parametrize("template", ["a", "city/{mn}/{kind}", "{platform}/{client}/{point}", "国控/{{a}}/{kind}"])
def test_a_topic_that_can_be_has_no_fault(template):
    assert list(faults(template)) == []


@pytest.mark.parametrize(
    ("template", "value", "made"),
    [
        ("a/{mn}", "b/c", "a/b%2Fc"),
        ("a/{mn}", "+", "a/%2B"),
        ("a/{mn}", "#100%", "a/%23100%25"),
        ("a/{mn}", "x\x00\x7f", "a/x%00%7F"),
        ("{mn}/a", "$SYS", "%24SYS/a"),
        ("{{{mn}}}", "x", "{x}"),
        ("a/{mn}", "{kind}", "a/{kind}"),
        ("a/{mn}", "南站", "a/南站"),
    ],
)
def test_a_value_stays_within_its_level(template, value, made):
    assert topic(template, {"mn": value}) == made
    assert escaped(value).count("/") == 0


def test_every_kind_of_record_has_its_topic():
    made = MqttLink("mqtt://host", topic="{platform}/{client}/{mn}/{point}/{kind}", name="Bezirk 1")
    message = Message(1, Kind.HOUR, "P1", START, 1, "{}")
    assert made.uplink.topic_of(message) == "Bezirk 1/niutang-NT-7/NT-7/P1/hour"
    assert made.uplink.topic_for("status_topic") == "niutang/niutang-NT-7/status"
    assert made.uplink.topic_for("command_topic") == ""


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"url": "mqtt://host"}, "url", "is not encrypted: use mqtts://, or set plain = true"),
        ({"url": "https://host"}, "url", "is no address such as mqtts://host or mqtts://host:8883"),
        ({"url": "mqtts://"}, "url", "is no address"),
        ({"url": "mqtts://host:0"}, "url", "is no address"),
        ({"url": "mqtts://host:99999"}, "url", "is no address"),
        ({"url": "mqtts://host/path"}, "url", "is no address"),
        ({"url": "mqtts://ho st"}, "url", "is no address"),
        ({"url": "mqtts://u:p@host"}, "url", "holds a user or password: set username and password_file"),
        ({"url": "mqtt://host", "plain": True, "ca_file": "x"}, "url", "shows no certificate that could be checked"),
        ({"client_key": "x"}, "client_key", "has no meaning without client_certificate"),
        ({"password_file": "x"}, "password_file", "has no meaning without username"),
        ({"allow": ("clean",)}, "allow", "has no meaning without command_topic"),
        ({"point": ()}, "point", "no point is reported"),
        ({"point": (PointSettings(point="a"), PointSettings(point="a"))}, "point[1].point", '"a" is there twice'),
        ({"point": (PointSettings(point="a", mn="x"), PointSettings(point="b", mn="x"))}, "point[1].mn", "twice"),
        ({"point": (PointSettings(point="a", mn="站"),)}, "point[0].mn", "is not up to 64 printable ASCII"),
        ({"client_id": "a\nb"}, "client_id", "is not up to 256 printable characters"),
        ({"username": "a\x00"}, "username", "is not up to 1024 printable characters"),
        ({"topic": "a/+"}, "topic", "holds a wildcard"),
        ({"status_topic": "a/{kind}"}, "status_topic", "{kind} has no value here: this topic is not of a record"),
        ({"command_topic": "a", "reply_topic": ""}, "reply_topic", "has an empty level"),
        ({"command_topic": "a", "reply_topic": "a"}, "reply_topic", "is the topic that commands come from"),
        ({"command_topic": "a", "status_topic": "a"}, "status_topic", "is the topic that commands come from"),
        ({"point": (*POINT, PointSettings(point="P2")), "topic": "a/{kind}"}, "topic", "it needs {mn} or {point}"),
        ({"codes": {"pm52": "x"}}, "codes.pm52", "unknown parameter; did you mean pm25?"),
        ({"units": {"pm25": "ppm"}}, "units.pm25", 'pm25 cannot be sent in "ppm"'),
        ({"pin_sha256": ("12",)}, "pin_sha256[0]", "is not 64 hexadecimal digits"),
    ],
)
def test_a_wrong_setting_is_said_where_it_stands(changes, key, words):
    found = list(settings(**changes).faults(catalogue()))
    assert [place for place, _ in found] == [key]
    assert words in found[0][1]


def test_the_address_has_its_usual_port():
    assert settings().address == ("host", 8883)
    assert settings(url="mqtt://[::1]").address == ("::1", 1883)
    assert settings(url="mqtts://host:99/").address == ("host", 99)
    assert settings(client_id="own").client == "own"


def test_a_refused_connection_is_tried_again_ever_more_slowly():
    made = MqttLink("mqtt://host")
    before = 0.0
    for _ in range(12):
        made.uplink.rest()
        assert before / 2 <= made.uplink.resting() <= LONGEST_REST
        before = made.uplink.resting()
    assert before >= LONGEST_REST / 2 - 1


def test_every_reason_has_its_sentence_and_none_is_taken_from_the_broker_unseen():
    assert set(WORDS) >= BLAMES | STUBBORN
    assert words(0x87, "no\x1b[31m\nway" + "x" * 500) == "not authorized (0x87: no?[31m?way" + "x" * 109 + ")"


def test_a_connection_that_is_over_says_as_much_as_is_known():
    """paho's own reasons: silence, what is no MQTT, nothing at all."""
    link = Link(settings(), Trust(), "", "mqtts://host", str)
    try:
        assert str(link._broken(SILENT)) == "mqtts://host: no sign of life within 60 s"
        assert str(link._broken(PROTOCOL)).startswith("mqtts://host: sends what is no MQTT 5")
        assert "does it speak MQTT 5 on this port?" in str(link._broken())
        with pytest.raises(LinkDown):
            link.publish("a", "{}")  # paho would keep it
        with pytest.raises(LinkDown):
            link.subscribe("a")
    finally:
        link.close()


def test_settings_and_wording_load_no_library():
    """paho, TLS and hashes come with the first connection, in a station that has none at all they never do."""
    heavy = {"paho", "paho.mqtt.client", "ssl", "cryptography", "hashlib", "requests"}
    code = "import sys, uplink.mqtt.link; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())
