"""Commands over MQTT: who may, what is refused, repeated, old, retained or no command at all; through a real broker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from station.model import Outcome, Result
from tests.uplink.mqtt_link import Broker, Listener, MqttLink, wait
from uplink.memory import MemoryCommands
from uplink.mqtt.commands import ELSEWHERE, MOST_PENDING, Mailbox, WrongCommand, read

TOPIC = "niutang/niutang-NT-7/command"


def command(identity="1", verb="read_clock", **changes):
    """A command as a platform sends it."""
    made = {"format": "niutang-command-1", "id": identity, "verb": verb, "issued": datetime.now(UTC).isoformat()}
    return json.dumps({**made, **changes})


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture
def asked(broker, request):
    """A platform and a station that takes commands of it, both connected."""
    version = getattr(request, "param", "5")
    made = MqttLink(broker.url, version=version, command_topic="niutang/{client}/command")
    made.commands = MemoryCommands(
        {"read_clock": Result(Outcome.DONE, {"time": "2026-03-01T08:00:00+08:00"})}, held=frozenset({"sample_now"})
    )
    filters = ("niutang/+/status", "niutang/+/minute", "niutang/+/reply")
    with Listener(broker.port, *filters, name=request.node.name) as platform, made.up():
        made.add(1)
        assert made.drained()
        yield platform, made


@pytest.mark.parametrize("asked", ["5", "3.1.1"], indirect=True)
def test_a_command_is_carried_out_and_answered_with_its_correlation_data(asked):
    platform, made = asked
    platform.publish(TOPIC, command("a-1", arguments={"parameter": "pm25"}, point="P1"), correlation=b"\x00\xff7")
    assert wait(platform.replies)
    reply = platform.replies()[0]
    assert {**reply, "time": 0} == {
        "format": "niutang-reply-1", "id": "a-1", "verb": "read_clock", "time": 0, "outcome": "done",
        "values": {"time": "2026-03-01T08:00:00+08:00"},
    }  # fmt: skip
    (taken,) = made.commands.asked
    assert (taken.verb, taken.platform, taken.point, taken.identity) == ("read_clock", "city", "P1", "mqtt:a-1")
    assert taken.arguments == {"parameter": "pm25"}
    assert abs(taken.issued - datetime.now(UTC)) < timedelta(seconds=60)
    correlation = next(getattr(p, "CorrelationData", None) for topic, _, _, p in platform.got if "reply" in topic)
    assert correlation == (b"\x00\xff7" if made.settings.version == "5" else None)


def test_a_command_that_comes_twice_is_done_once_and_answered_twice(asked):
    platform, made = asked
    text = command("b-1")
    platform.publish(TOPIC, text)
    assert wait(lambda: len(platform.replies()) == 1)
    platform.publish(TOPIC, text)
    assert wait(lambda: len(platform.replies()) == 2)
    assert len(made.commands.asked) == 1
    first, second = platform.replies()
    assert first == second
    assert made.uplink.counts["repeated commands"] == 1


def test_a_command_that_takes_its_time_is_answered_when_it_is_done(asked):
    platform, made = asked
    text = command("c-1", "sample_now")
    platform.publish(TOPIC, text)
    assert wait(lambda: made.commands.waiting)
    platform.publish(TOPIC, text)  # at work: not begun again, and not answered yet
    assert wait(lambda: made.uplink.counts["repeated commands"] == 1)
    assert platform.replies() == []
    made.commands.release(Result(Outcome.FAILED, reason="no sample"))
    assert wait(platform.replies)
    assert (platform.replies()[0]["outcome"], platform.replies()[0]["reason"]) == ("failed", "no sample")
    assert len(made.commands.asked) == 1


def test_a_retained_message_is_no_command(broker):
    """The broker would hand it out at every connection."""
    with Listener(broker.port, "r/+", name="retaining") as platform:
        platform.publish("r/command", command("d-1"), retain=True)
        made = MqttLink(broker.url, command_topic="r/command", reply_topic="r/reply", status_topic="")
        made.commands = MemoryCommands({"read_clock": Result(Outcome.DONE)})
        with made.up():
            assert wait(lambda: made.uplink.counts["commands"] == 1)
        assert made.commands.asked == []
        assert not any("reply" in topic for topic, *_ in platform.got)
        assert made.notes == [("command_refused", {
            "platform": "city", "verb": "", "reason": "a retained message is no command; publish it without retain",
            "count": 1,
        })]  # fmt: skip
        platform.publish("r/command", "", retain=True)


def test_what_has_its_place_in_hj212_is_not_taken(asked):
    platform, made = asked
    for number, verb in enumerate(sorted(ELSEWHERE)):
        platform.publish(TOPIC, command(f"e-{number}", verb))
    platform.publish(TOPIC, command("e-point", point="P2"))
    assert wait(lambda: len(platform.replies()) == len(ELSEWHERE) + 1)
    reasons = {one["reason"] for one in platform.replies()}
    assert reasons == {f"{verb} is not taken over MQTT" for verb in ELSEWHERE} | {
        "point is not one that is reported here"
    }
    assert {one["outcome"] for one in platform.replies()} == {"refused"}
    assert made.commands.asked == []


def test_no_more_commands_are_carried_out_at_once_than_can_be(asked):
    platform, made = asked
    for number in range(MOST_PENDING + 3):
        platform.publish(TOPIC, command(f"f-{number}", "sample_now"))
    assert wait(lambda: len(platform.replies()) == 3)
    assert {one["reason"] for one in platform.replies()} == {"too many commands are being carried out"}
    made.commands.release()
    assert wait(lambda: len(platform.replies()) == MOST_PENDING + 3)


def test_without_a_command_topic_nothing_is_subscribed_to(broker):
    made = MqttLink(broker.url, unheard="accept")
    with Listener(broker.port, "nothing", name="asking") as platform, made.up():
        made.add(1)
        assert made.drained()
        platform.publish(TOPIC, command("g-1"))
        made.add(1, first=1)
        assert made.drained()
    assert made.commands.asked == []
    assert made.uplink.counts["commands"] == 0


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "the command is no JSON"),
        (b"\xff", "the command is no JSON"),
        (b"[" * 10_000, "the command is no JSON"),
        (b"x" * 20_000, "the command has more than 16 KiB"),
        (b"[]", "the command is no niutang-command-1"),
        (command(format="niutang-1"), "the command is no niutang-command-1"),
        (command(identity=""), "id is not a text of 1 to 64 printable characters"),
        (command(identity=7), "id is not a text of 1 to 64 printable characters"),
        (command(identity="a" * 65), "id is not a text of 1 to 64 printable characters"),
        (command(verb="a\nb"), "verb is not a text of 1 to 64 printable characters"),
        (command(issued="yesterday"), "issued is no time such as 2026-03-01T08:00:00+08:00"),
        (command(issued="2026-03-01T08:00:00"), "issued has no offset from UTC"),
        (command(point=1), "point is no text"),
        (command(arguments=["a"]), "arguments is no table of texts"),
        (command(arguments={"a": 1}), "arguments is no table of texts"),
        (command(also="x"), "the command has a key 'also' that is not known"),
    ],
)
def test_what_is_no_command_is_refused_with_a_sentence(payload, words):
    with pytest.raises(WrongCommand) as raised:
        read(payload if isinstance(payload, bytes) else payload.encode(), "city")
    assert str(raised.value) == words


def test_what_is_no_command_is_answered_and_counted(asked):
    platform, made = asked
    for _ in range(3):
        platform.publish(TOPIC, "{")
    assert wait(lambda: len(platform.replies()) == 3)
    made.later = 100
    platform.publish(TOPIC, command("h-1"))
    assert wait(lambda: made.notes)
    assert made.notes[0] == (
        "command_refused", {"platform": "city", "verb": "", "reason": "the command is no JSON", "count": 3}
    )  # fmt: skip


def test_a_mailbox_that_is_closed_swallows_results():
    box = Mailbox()
    box.post("a", Result(Outcome.DONE))
    assert [asked for asked, _ in box.take()] == ["a"]
    box.close()
    box.close()
    box.post("b", Result(Outcome.DONE))
    assert len(box.take()) == 0
