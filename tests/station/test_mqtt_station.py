"""A station over the real store and a real broker that fails: its ledger, what is parked, and commands by the desk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from station import ledger
from station.model import Kind
from tests.station.conftest import CONFIG
from tests.station.test_three_platforms import Three
from tests.uplink.mqtt_link import Broker, Listener, Swallowing
from tests.uplink.test_mqtt import passwords, with_acl

HEAD = CONFIG.split("[[uplink]]")[0]
UPLINK = """
[[uplink]]
name = "district"
protocol = "mqtt"
url = "{url}"
plain = true
topic = "{{platform}}/{{mn}}/{{kind}}"
realtime_seconds = 30
reconnect_seconds = 1
timeout_seconds = 2
kinds = ["realtime", "minute", "hour", "day", "alarm"]
{more}

[[uplink.point]]
point = "site"
mn = "M1"
"""
COMMANDS = 'command_topic = "command"\nreply_topic = "reply"\n'


def made(folder: Path, url: str, more: str = "") -> Three:
    folder.mkdir(exist_ok=True)
    return Three(folder, HEAD + UPLINK.format(url=url, more=more))


def owed(station: Three) -> int:
    return station.owed()


def turns(station: Three, holds: Callable[[], bool]) -> bool:
    """Minutes pass, each with time for the broker to close and the station to come again, until *holds*."""
    for _ in range(60):
        station.run(61)
        if station.until(holds, 0.5):
            return True
    return False


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """With persistence: what it acknowledged it keeps, also over SIGKILL as far as it had saved."""
    with Broker(tmp_path / "broker", "persistence true", f"persistence_location {tmp_path}/broker/") as one:
        yield one


def test_whatever_fails_the_ledger_ends_full_and_each_record_is_there_once(tmp_path: Path, broker: Broker) -> None:
    """A broker that stops, acks that are lost, connections that are cut, each for minutes: lost 0, doubled 0 by id."""
    with Listener(broker.port, "district/#") as platform, Swallowing(broker.port) as between:
        station = made(tmp_path / "site", f"mqtt://127.0.0.1:{between.port}")
        try:
            assert station.until(lambda: all(one.connected_at for one in station.engine.outboxes.values()))
            station.run(130)
            assert station.until(lambda: owed(station) == 0)

            def stopped() -> Callable[[], object]:
                between.cut()
                broker.stop()
                return broker.start

            def deaf() -> Callable[[], object]:
                between.swallow.add(between.PUBACK)
                return between.swallow.clear

            def cut() -> Callable[[], object]:
                between.cut()
                return between.cut

            for fault in (stopped, deaf, cut):
                mended = fault()
                station.run(130)
                mended()
                station.run(89)
                assert turns(station, lambda: owed(station) == 0), fault  # what stepped aside becomes due again
            station.run(65)
            assert station.until(lambda: owed(station) == 0)
            now = station.clock.now()
            rows = ledger.completeness(
                station.engine.store, "district", station.engine.started, now, now, station.loaded.zone
            )
            for row in rows:
                assert row.answered == row.expected == row.stored, row
            assert sum(row.answered for row in rows) >= 35
            sent = {json.loads(text)["id"] for text in station.texts()}
            assert station.until(lambda: set(platform.ids()) == sent)
            words: dict[str, set[str]] = {}
            for body in platform.bodies():
                words.setdefault(body["records"][0]["id"], set()).add(json.dumps([body["key"], body["records"]]))
            assert {len(one) for one in words.values()} == {1}  # word for word whenever it came
            assert sum(platform.ids().values()) > len(sent)  # some did come again
        finally:
            station.engine.shut_down()


def test_a_refused_record_is_parked_with_the_brokers_words_and_can_be_sent_again(tmp_path: Path) -> None:
    """The power-on report has a topic without right: parked after others were taken, queued again by resend."""
    folder = tmp_path / "broker"
    folder.mkdir()
    lines = with_acl(folder, "topic write district/M1/minute", "topic write district/M1/realtime")
    passwords(folder)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "word").touch(mode=0o600)
    (tmp_path / "site" / "word").write_text("word\n")
    account = 'username = "site"\npassword_file = "word"\nstatus_topic = ""\n'
    with Broker(folder, *lines, anonymous=False) as broker:
        platform = Listener(broker.port, "district/#", username="platform", password="word")
        station = made(tmp_path / "site", broker.url, account)
        outbox = station.engine.outboxes["district"]

        try:
            assert turns(station, lambda: outbox.depth().parked == 1 and owed(station) == 0)
            (parked,) = [one for one in outbox.spans if one.state.name == "PARKED"]
            assert parked.reason == "not authorized (0x87) on district/M1/power_on"
            station.run(2)
            assert station.engine.commit()
            assert "message_parked" in station.events()
            now = station.clock.now()
            with_acl(folder, "topic write district/#")
            passwords(folder)
            broker.stop()
            broker.start()
            assert outbox.resend(station.engine.started - timedelta(days=1), now, [Kind.POWER_ON]) == 1
            assert turns(station, lambda: owed(station) == 0 and outbox.depth().parked == 0)
            sent = {json.loads(text)["id"] for text in station.texts()}
            assert station.until(lambda: set(platform.ids()) == sent)
        finally:
            station.engine.shut_down()
            platform.close()


def test_commands_are_judged_by_the_stations_own_desk(tmp_path: Path, broker: Broker) -> None:
    """Allowed, not allowed, old, without a verb, and replayed after a restart."""
    with Listener(broker.port, "district/#", "niutang/+/status", "reply") as platform:
        station = made(tmp_path / "site", broker.url, COMMANDS + 'allow = ["set_interval"]')
        station.trust = "ntp"

        def online() -> int:
            """How often the station told that it is online, which it does once commands reach it."""
            return [one["state"] for one in platform.status()].count("online")

        try:
            assert station.until(lambda: online() == 1)

            def ask(identity: str, verb: str, age: float = 0, **arguments: str) -> str:
                issued = station.clock.now() - timedelta(seconds=age)
                text = json.dumps({
                    "format": "niutang-command-1", "id": identity, "verb": verb, "issued": issued.isoformat(),
                    "arguments": arguments,
                })  # fmt: skip
                platform.publish("command", text)
                assert station.until(lambda: any(one["id"] == identity for one in platform.replies())), identity
                return text

            def reply(identity: str) -> dict[str, str]:
                return next(one for one in platform.replies()[::-1] if one["id"] == identity)

            ask("1", "read_clock")
            assert reply("1")["outcome"] == "done"
            taken = ask("2", "set_realtime_interval", seconds="60")
            assert reply("2")["outcome"] == "done"
            assert station.engine.terms["district"].realtime_seconds == 60
            ask("3", "clean", parameter="pm25")
            assert (reply("3")["outcome"], reply("3")["reason"]) == ("refused", "clean is not allowed for district")
            ask("4", "set_realtime_interval", age=400, seconds="30")
            assert reply("4")["reason"] == "the command was issued -400 s from now, more than 300 s"
            ask("5", "launch")
            assert reply("5")["reason"] == "'launch' is not a verb of this station"
            ask("6", "set_realtime_interval", seconds="29")
            assert reply("6")["outcome"] == "refused"
            station.engine.shut_down()
            station.engine = station.start()
            station.trust = "ntp"
            assert station.until(lambda: online() == 2)
            count = len(platform.replies())
            platform.publish("command", taken)
            assert station.until(lambda: len(platform.replies()) > count)
            assert reply("2")["reason"] == "this command was taken before"
        finally:
            station.engine.shut_down()
