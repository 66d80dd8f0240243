"""A station that reports over HTTPS: its configuration, an outage and kill -9, and the commands that look at it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from station.config import load
from station.model import ConfigError
from tests.station.commands import answer, configure, daemon, served, station, until
from uplink.http import certificates
from uplink.http.emulator import Receiver

OLD = """standard = "2017"
host = "127.0.0.1"
port = 9
password_file = "password"
realtime_seconds = 30

[[uplink.point]]
point = "site"
mn = "M1"
"""
NEW = """protocol = "http"
url = "{url}"
template = "{template}"
realtime_seconds = 5
reconnect_seconds = 1
{more}

[[uplink.point]]
point = "site"
device = "D-1"
"""


@pytest.fixture
def receiver(tmp_path: Path) -> object:
    with Receiver(tls=tmp_path / "tls") as made:
        yield made


def site(tmp_path: Path, url: str, template: str = "niutang", more: str = "") -> Path:
    """A station that reports to *url*."""
    more = more or f'ca_file = "{tmp_path / "tls" / "ca.pem"}"'
    return configure(tmp_path / "site", (OLD, NEW.format(url=url, template=template, more=more)),
                     ("poll_seconds = 5", "poll_seconds = 1"))  # fmt: skip


def stored(config: Path) -> set[str]:
    """The ids of all messages in the station's database, as they stand in their texts."""
    database = sqlite3.connect(load(config).database)
    try:
        return {json.loads(text)["id"] for (text,) in database.execute("SELECT text FROM message")}
    finally:
        database.close()


def test_an_outage_and_kill_9_lose_nothing_and_count_nothing_twice(tmp_path: Path, receiver: Receiver) -> None:
    """TLS, an outage, a lost answer, SIGKILL while records are owed: the receiver has each record of the store once."""
    config = site(tmp_path, receiver.url)
    socket = load(config).control_socket

    def owed() -> int:
        found = answer(socket)
        return found["platforms"][0]["owed"] if found else -1

    with served("emulate", "bus", config) as line:
        assert "serving" in line.says("serving")
        with daemon(config) as first:
            assert until(lambda: receiver.summary()["unique"] >= 2, 30)
            receiver.fault("refused")
            assert until(lambda: owed() >= 2, 30)
            os.kill(first.process.pid, signal.SIGKILL)
            first.ended()
        receiver.fault("lost")
        with daemon(config):
            assert until(lambda: receiver.failing is None, 30)  # a request was kept and its answer lost
            assert until(lambda: owed() == 0 and len(receiver.seen) >= 5, 40)
            assert "connected since" in station("uplink", "test", "district", "--config", config).out
            trace = station("uplink", "trace", "district", "--for", "7", "--config", config)
            assert "POST https://127.0.0.1" in trace.out
            assert "← 200 OK" in trace.out
            gaps = json.loads(station("gaps", "--from", "2020-01-01", "--config", config, "--json").out)
            assert {row["kind"] for row in gaps["platforms"][0]["rows"]} == {"realtime", "minute", "hour", "day"}
            again = station("resend", "--platform", "district", "--from", "2020-01-01", "--to", "2100-01-01",
                            "--config", config)  # fmt: skip
            assert "messages queued for district" in again.out
            assert until(lambda: owed() == 0 and stored(config) <= set(receiver.seen), 20)
    assert set(receiver.seen) <= stored(config)
    summary = receiver.summary()
    assert summary["contradictions"] == 0
    assert summary["duplicates"] == summary["records"] - summary["unique"] > 0  # the lost answer, and what was resent


def test_an_uplink_is_tried_without_a_station(tmp_path: Path, receiver: Receiver) -> None:
    config = site(tmp_path, receiver.url)
    done = station("uplink", "test", "district", "--config", config, "--json")
    found = json.loads(done.out)
    assert (done.code, found["name"]) == (0, "district")
    assert abs(found["clock_seconds"]) <= 2
    receiver.fault("expired")
    done = station("uplink", "test", "district", "--config", config)
    assert done.code == 69
    assert done.said[0].startswith(f"{receiver.url}: its certificate has expired by this station's clock (20")


@pytest.mark.parametrize(
    ("url", "more", "words"),
    [
        ("http://127.0.0.1:1", "", "uplink[0].url: is not encrypted"),
        ("https://u:p@host/", "", "uplink[0].url: holds a user or password"),
        ("ftp://host", "", 'uplink[0].url: "ftp://host" is no address'),
        ("https://host:0/", "", "uplink[0].url:"),
        ("https://host/?a=1", "", "is no address such as https://host/path"),
        ("https://host", 'ca_file = "none.pem"', "none.pem is not there or cannot be read"),
        ("https://host", 'pin_sha256 = ["12"]', "uplink[0].pin_sha256[0]: is not 64 hexadecimal digits"),
        ("https://host", 'client_key = "password"', "uplink[0].client_key: has no meaning without client_certificate"),
        ("https://host", 'proxy_password_file = "password"', "has no meaning without proxy"),
        ("https://host", 'values = { x = "1" }', "uplink[0].values.x: the template does not ask for it"),
        ("https://host", 'units = { pm25 = "ppm" }', 'pm25 cannot be sent in "ppm", only in'),
        ("https://host", 'codes = { pm52 = "x" }', "uplink[0].codes.pm52: unknown parameter; did you mean pm25?"),
        ("https://host", "batch = 0", "uplink[0].batch: 0 is below 1"),
        ("https://host", 'tmplate = "x"', "uplink[0].tmplate: unknown key; did you mean template?"),
    ],
)
def test_a_wrong_setting_is_said_where_it_stands(tmp_path: Path, url: str, more: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(site(tmp_path, url, more=more or "# nothing"))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("niutan", 'there is no template "niutan"; did you mean niutang?'),
        ("own.toml", "own.toml: the template cannot be read (No such file or directory)"),
        ("example-smart-site", "the template asks for $app_id: give it in [uplink.values]"),
    ],
)
def test_a_template_that_cannot_be_used_is_a_fault_of_the_configuration(
    tmp_path: Path, template: str, words: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(site(tmp_path, "https://host", template, more="# nothing"))
    assert words in str(raised.value)


def test_a_secret_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    config = site(tmp_path, "https://host", "niutang-token", more='secrets = { access = "access" }')
    (config.parent / "access").write_text("word")
    (config.parent / "access").chmod(0o644)
    assert any("access can be read by others" in text for text in load(config).warnings)


def test_the_receiver_is_served_by_a_command(tmp_path: Path) -> None:
    """Faults are typed, the summary ends it."""
    folder = tmp_path / "tls"
    with served("emulate", "receiver", "--port", "0", "--tls-dir", folder, "--fault", "500") as process:
        url = process.says("receiver on ").removeprefix("receiver on ")
        assert "serving" in process.says("serving")
        assert (folder / "ca.pem").exists()
        process.type("nonsense")
        assert "unknown" in process.says("unknown")
        process.type("none")
        assert "none" in process.says("fault of receiver")
        config = site(tmp_path, url)
        assert station("uplink", "test", "district", "--config", config).code == 0
        assert process.stop() == 0
        assert "0 records, 0 different ones, 0 again" in process.text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--fault", "nonsens"), 2, 'there is no fault "nonsens"'),
        (("--fault", "expired"), 2, "expired needs certificates: give a folder with --tls-dir"),
        (("--client-certificate",), 2, "--client-certificate needs --tls-dir"),
        (("--template", "nothing"), 78, 'there is no template "nothing"'),
        (("--host", "203.0.113.1"), 74, "203.0.113.1:0: cannot be listened on"),
    ],
)
def test_a_receiver_that_cannot_be_says_why(words: tuple[str, ...], code: int, said: str) -> None:
    done = station("emulate", "receiver", "--port", "0", *words)
    assert done.code == code
    assert said in done.err
    assert len(done.said) == 1


def test_certificates_once_made_stay(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    before = (tmp_path / "server.pem").read_bytes()
    certificates.make(tmp_path)
    assert (tmp_path / "server.pem").read_bytes() == before
    assert (tmp_path / "server.key").stat().st_mode & 0o077 == 0
