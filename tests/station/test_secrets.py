"""Secrets of a station that has a password, SM4 keys and a key for its seals: where each is found afterwards."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from station.config import load
from station.control import ask
from station.store import connect
from tests.station.commands import Here, configure, daemon, served, station, until
from uplink.hj212.emulator import Platform

PASSWORD, NEW_PASSWORD, KEY = "Xq7+z9", "Vb4!w8", "k3J9-xQ2m7Zp0sWd"
CHANGES = (
    ('standard = "2017"', 'standard = "2025"\nencrypt = "always"\nkey_file = "sm4"\nallow = ["set_password"]'),
    ("realtime_seconds = 30", "realtime_seconds = 5"),
)


class Site:
    """A station that ran with secrets, and everything it left behind or said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        self.seal_key = self.result = ""

    def files(self) -> Iterator[Path]:
        """Every file of the station but those that hold a secret on purpose."""
        held = {"password", "sm4", "seal.json"}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.name not in held:
                yield path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One run: password, SM4 and seal key in use, data sent, everything a tool can show asked for, stopped."""
    made = Site(tmp_path_factory.mktemp("secrets"))
    folder = made.folder
    with Platform(key=KEY.encode()) as platform:
        config = configure(folder / "s", ("port = 9\n", f"port = {platform.port}\n"), *CHANGES)
        secret(folder / "s" / "password", PASSWORD)
        secret(folder / "s" / "sm4", KEY)
        (folder / "copies").mkdir()
        socket = load(config).control_socket
        with served("emulate", "bus", config) as line, daemon(config) as process:
            line.says("serving")
            assert station("seal", "key", "--out", folder / "seal.json", "--user", "Li", "--config", config).code == 0
            frames: dict[int, object] = {}

            def looked() -> int:
                frames.update((seen["number"], seen) for seen in ask(socket, "trace", platform="district", after=0))
                return len(frames)

            until(lambda: looked() and platform.summary()["records"] >= 4, 30, lambda: process.text)
            told = platform.send("M1", "1072", f"NewPW={NEW_PASSWORD}")
            until(lambda: looked() and told.result, 15, lambda: process.text)
            made.result = str(told.result)
            made.said["trace"] = json.dumps(list(frames.values()), ensure_ascii=False)
            for words in (("status", "--json"), ("status",), ("doctor", "--json"), ("events", "--json"),
                          ("uplink", "test", "district", "--json")):  # fmt: skip
                done = station(*words, "--config", config)
                made.said[" ".join(words)] = done.out + done.err
            copy = station("backup", "--to", folder / "copies", "--config", config)
            made.said["backup"] = copy.out + copy.err
            assert copy.code == 0
            assert process.stop() == 0
            made.said["log"] = process.text
        for kind in ("readings", "minute"):
            for form in ("csv", "json"):
                done = station("export", kind, "--format", form, "--from", "2020-01-01", "--config", config)
                made.said[f"export {kind} {form}"] = done.out + done.err
        done = station("check", config, "--json")
        made.said["check"] = done.out + done.err
    made.seal_key = json.loads((folder / "seal.json").read_text())["key"]
    return made


def secret(path: Path, text: str) -> None:
    """A file for its owner alone."""
    path.touch(mode=0o600)
    path.write_text(text)


def secrets_of(site: Site) -> dict[str, list[bytes]]:
    """Each secret in every form it could be written down in."""
    sm4, seal = KEY.encode(), bytes.fromhex(site.seal_key)
    return {
        "password": [PASSWORD.encode()],
        "new password": [NEW_PASSWORD.encode()],
        "SM4 key": [sm4, sm4.hex().encode(), sm4.hex().upper().encode()],
        "seal key": [seal, site.seal_key.encode(), site.seal_key.upper().encode()],
    }


def test_the_run_had_its_secrets_in_use(site: Site) -> None:
    """What is not used is not found anywhere: the frames were enciphered, and the platform took the password."""
    assert '"way": "out"' in site.said["trace"]
    assert "PW=***" in site.said["trace"]
    assert len(site.said["log"]) > 100
    assert len(site.seal_key) == 64
    assert site.result == "1"
    assert (site.folder / "s" / "password").read_text().strip() == NEW_PASSWORD
    (told,) = [one for one in json.loads(site.said["events --json"])["events"] if one["code"] == "command"]
    assert told["arguments"]["arguments"] == {"password": "***"}
    assert json.loads(site.said["status --json"])["seal"] is None  # too short a run for a block; sealed in the end
    assert json.loads(site.said["uplink test district --json"])["name"] == "district"


def test_no_secret_is_in_any_output(site: Site) -> None:
    """Log, trace, status, doctor, events, test of the link, exports, the backup's own words."""
    found = [
        (where, name)
        for where, text in site.said.items()
        for name, forms in secrets_of(site).items()
        if any(form in text.encode() for form in forms)
    ]
    assert found == []


def test_no_secret_is_in_any_file_of_the_station_or_in_a_copy(site: Site) -> None:
    """Database with its log, copies, socket's folder; the seal key that was given out has been replaced by the next."""
    searched = list(site.files())
    assert {"station.db", "station.toml"} <= {path.name for path in searched}
    assert any(path.parent.name == "copies" and path.suffix == ".db" for path in searched)
    found = [
        (path.name, name)
        for path in searched
        for name, forms in secrets_of(site).items()
        if any(form in path.read_bytes() for form in forms)
    ]
    assert found == []


def test_a_copy_holds_no_key_for_the_seals_and_the_database_only_a_later_one(site: Site) -> None:
    (copy,) = (site.folder / "copies").glob("*.db")
    with closing(connect(copy, read_only=True)) as db:
        assert db.execute("SELECT key FROM sealing").fetchall() == [(None,)]
    with closing(connect(site.folder / "s" / "data" / "station.db", read_only=True)) as db:
        ((kept,),) = db.execute("SELECT key FROM sealing").fetchall()
    assert kept is not None
    assert bytes(kept).hex() != site.seal_key


def test_files_that_hold_secrets_are_for_their_owner_alone(site: Site) -> None:
    holding = [site.folder / "seal.json", site.folder / "s" / "password", site.folder / "s" / "sm4"]
    assert [(path.name, oct(stat.S_IMODE(path.stat().st_mode))) for path in holding] == [
        (path.name, "0o600") for path in holding
    ]


def test_the_control_socket_is_closed_to_others(site: Site, tmp_path: Path) -> None:
    config = configure(tmp_path / "s")
    socket = load(config).control_socket
    with daemon(config) as process:
        assert stat.S_IMODE(os.stat(socket).st_mode) & 0o007 == 0  # noqa: PTH116 - of a socket
        assert process.stop() == 0


@pytest.mark.parametrize("name", ["password", "sm4", "sm4.old"])
def test_a_secret_that_others_can_read_is_named_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    config = configure(tmp_path / "s", *CHANGES)
    for file in ("sm4", "sm4.old"):
        secret(tmp_path / "s" / file, KEY)
    here = Here(monkeypatch, capfd)
    closed = json.loads(here("check", config, "--json").out)["warnings"]
    assert not [one for one in closed if "can be read by others" in one]
    (tmp_path / "s" / name).chmod(0o640)
    opened = json.loads(here("check", config, "--json").out)["warnings"]
    (said,) = [one for one in opened if "can be read by others" in one]
    assert f"/{name} can be read by others; chmod 600 it" in said
