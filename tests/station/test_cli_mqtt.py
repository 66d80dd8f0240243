"""A station that reports over MQTT: its configuration, SIGKILL, and the commands that look at it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.config import load
from station.model import ConfigError
from tests.station.commands import answer, configure, daemon, served, station, until
from tests.station.test_cli_http import OLD
from tests.uplink.mqtt_link import Broker, Listener, free_port

NEW = """protocol = "mqtt"
url = "{url}"
realtime_seconds = 5
reconnect_seconds = 1
{more}

[[uplink.point]]
point = "site"
mn = "D-1"
"""


def site(tmp_path: Path, url: str, more: str = "plain = true") -> Path:
    """A station that reports to *url*."""
    return configure(tmp_path / "site", (OLD, NEW.format(url=url, more=more)), ("poll_seconds = 5", "poll_seconds = 1"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as made:
        yield made


def stored(config: Path) -> set[str]:
    """The ids of all messages in the station's database, as they stand in their texts."""
    database = sqlite3.connect(load(config).database)
    try:
        return {json.loads(text)["id"] for (text,) in database.execute("SELECT text FROM message")}
    finally:
        database.close()


def test_kill_9_leaves_a_will_and_loses_nothing(tmp_path: Path, broker: Broker) -> None:
    """SIGKILL while records are owed: the broker tells that the station is lost, the next start sends what is owed."""
    config = site(tmp_path, broker.url)
    socket = load(config).control_socket

    def row() -> dict[str, object]:
        found = answer(socket)
        return found["platforms"][0] if found else {}

    with served("emulate", "bus", config) as line, Listener(broker.port, "niutang/#") as platform:
        assert "serving" in line.says("serving")
        with daemon(config) as first:
            assert until(lambda: len(platform.ids()) >= 1, 30)
            os.kill(first.process.pid, signal.SIGKILL)
            first.ended()
        assert until(lambda: [one["state"] for one in platform.status()] == ["online", "offline"], 10)
        assert platform.status()[1]["reason"] == "lost"
        with daemon(config) as second:
            assert until(lambda: row().get("connected") and row().get("owed") == 0 and len(platform.ids()) >= 2, 40)
            assert "connected since" in station("uplink", "test", "district", "--config", config).out
            trace = station("uplink", "trace", "district", "--for", "6", "--config", config)
            assert "→ PUBLISH niutang/D-1/realtime" in trace.out
            assert "← PUBACK" in trace.out
            shown = station("status", "--config", config)
            assert "district" in shown.out
            explained = station("doctor", "--config", config)
            assert "district" in explained.out
            assert second.stop() == 0
        assert until(lambda: stored(config) == set(platform.ids()), 10)
        assert until(lambda: platform.status()[-1].get("reason") == "stopped", 10)


def test_a_broker_that_refuses_shows_in_status_and_events(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    with Broker(folder, anonymous=False) as broker, served("emulate", "bus", site(tmp_path, broker.url)) as line:
        config = site(tmp_path, broker.url)
        assert "serving" in line.says("serving")
        socket = load(config).control_socket
        with daemon(config):
            assert until(lambda: (answer(socket) or {"platforms": [{"error": ""}]})["platforms"][0]["error"], 20)
            tried = station("uplink", "test", "district", "--config", config)
            assert tried.code == 69
            assert "the broker refuses the station: not authorized (0x87)" in tried.said[0]
            events = station("events", "--config", config)
            assert until(lambda: "not authorized" in station("events", "--config", config).out, 20), events


def test_an_uplink_is_tried_without_a_station(tmp_path: Path, broker: Broker) -> None:
    config = site(tmp_path, broker.url)
    done = station("uplink", "test", "district", "--config", config, "--json")
    found = json.loads(done.out)
    assert (done.code, found["name"], found["clock_seconds"]) == (0, "district", None)
    url = f"mqtt://127.0.0.1:{free_port()}"
    done = station("uplink", "test", "district", "--config", site(tmp_path, url))
    assert (done.code, done.said) == (69, [f"{url}: connection refused"])


@pytest.mark.parametrize(
    ("url", "more", "words"),
    [
        ("mqtt://127.0.0.1:1", "", "uplink[0].url: is not encrypted"),
        ("mqtts://u:p@host", "", "uplink[0].url: holds a user or password"),
        ("mqtts://host", 'topic = "a/+"', "uplink[0].topic: holds a wildcard"),
        ("mqtts://host", 'topic = "a/{knd}"', "uplink[0].topic: {knd} is not known here; did you mean kind?"),
        ("mqtts://host", 'ca_file = "none.pem"', "none.pem is not there or cannot be read"),
        ("mqtts://host", 'username = "a"\npassword_file = "none"', "uplink[0].password_file: "),
        ("mqtts://host", 'version = "4"', "uplink[0].version: "),
        ("mqtts://host", "window = 0", "uplink[0].window: 0 is below 1"),
        ("mqtts://host", "widow = 1", "uplink[0].widow: unknown key; did you mean window?"),
        ("mqtts://host", 'unheard = "loose"', "uplink[0].unheard: "),
    ],
)
def test_a_wrong_setting_is_said_where_it_stands(tmp_path: Path, url: str, more: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(site(tmp_path, url, more))
    assert words in str(raised.value)


def test_two_uplinks_to_one_broker_need_two_client_ids(tmp_path: Path) -> None:
    config = site(tmp_path, "mqtts://host", "")
    second = "\n[[uplink]]\nname = \"other\"\n" + NEW.format(url="mqtts://HOST:8883", more="")
    text = config.read_text()
    config.write_text(text + second)
    with pytest.raises(ConfigError, match=r'uplink\[1\].client_id: "niutang-D-1" is in use at that broker by uplink'):
        load(config)
    config.write_text(text + second.replace("realtime_seconds", 'client_id = "own"\nrealtime_seconds'))
    assert len(load(config).config.uplink) == 2


def test_a_password_of_a_broker_may_be_long_and_must_be_a_secret(tmp_path: Path) -> None:
    """The six characters of HJ 212 are not its limit; who else can read it is warned of."""
    more = 'username = "site"\npassword_file = "word"'
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "word").write_text("a;much=longer&word,than#six\n")
    (tmp_path / "site" / "word").chmod(0o600)
    config = site(tmp_path, "mqtts://host", more)
    assert not any("password_file" in text for text in load(config).warnings)
    (tmp_path / "site" / "word").chmod(0o644)
    assert any("word can be read by others" in text for text in load(config).warnings)
    (tmp_path / "site" / "word").write_text("two\nlines\n")
    with pytest.raises(ConfigError, match="holds no usable password: one line of printable characters"):
        load(config)


def test_what_goes_unencrypted_is_warned_of(tmp_path: Path) -> None:
    assert any("over http:// or mqtt:// can be read" in text for text in load(site(tmp_path, "mqtt://host")).warnings)
