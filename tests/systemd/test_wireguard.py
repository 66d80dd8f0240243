"""The WireGuard recipe of systemd/, its own file, between two network namespaces: a station's and a platform's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from station.config import load
from tests.faults.killed import LINK
from tests.programs import program
from tests.station.commands import ROOT, answer, configure, served, until
from tests.station.test_service import QUICK, instruments

RECIPE = ROOT / "systemd" / "wireguard" / "niutang.conf"
UNDERLAY = {"station": "192.0.2.1", "platform": "192.0.2.2"}  # TEST-NET-1
PLATFORM_END = """[Interface]
Address = 10.212.0.1/32
ListenPort = 51820
PostUp = wg set %i private-key {key}

[Peer]
PublicKey = {station}
AllowedIPs = 10.212.0.2/32
"""


def run(*words: object, **more: Any) -> str:
    """What a command says; it has to succeed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=30, **more)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.strip()


class Ends:
    """Two network namespaces with a cable between them, each with the tunnel of its end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.spaces = folder, {end: f"niutang-{end}-{os.getpid()}" for end in UNDERLAY}
        self.keys = {end: self._key(end) for end in UNDERLAY}

    def _key(self, end: str) -> str:
        secret = run(program("wg"), "genkey")
        path = self.folder / f"{end}.key"
        path.touch(mode=0o600)
        path.write_text(secret, encoding="ascii")
        return run("wg", "pubkey", input=secret)

    def inside(self, end: str, *words: object) -> list[str]:
        """*words* as a command in the namespace of *end*."""
        return ["ip", "netns", "exec", self.spaces[end], *map(str, words)]

    def up(self) -> None:
        """Make the namespaces and their cable."""
        for space in self.spaces.values():
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        one, other = self.spaces.values()
        run("ip", "-n", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other)
        for end, space in self.spaces.items():
            run("ip", "-n", space, "addr", "add", f"{UNDERLAY[end]}/24", "dev", "cable")
            run("ip", "-n", space, "link", "set", "cable", "up")

    def down(self) -> None:
        """Take them away, with all that is in them: wireguard-go ends with its device."""
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    @contextmanager
    def tunnel(self, end: str, text: str) -> Iterator[str]:
        """wg-quick with *text* at *end*, on a device of a name nobody else has."""
        name = f"nt{end[0]}{os.getpid()}"[:15]
        path = self.folder / f"{name}.conf"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        run(*self.inside(end, "wg-quick", "up", path))
        try:
            yield name
        finally:
            run(*self.inside(end, "wg-quick", "down", path))

    def recipe(self) -> str:
        """The recipe with what its reader is told to put in."""
        text = RECIPE.read_text(encoding="utf-8")
        for old, new in (
            ("PUBLIC-KEY-OF-THE-PLATFORM", self.keys["platform"]),
            ("platform.example:51820", f"{UNDERLAY['platform']}:51820"),
            ("/etc/wireguard/niutang.key", str(self.folder / "station.key")),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces and /dev/net/tun want root")
    for name in ("wireguard-go", "wg-quick", "ip"):
        program(name)
    made = Ends(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_hj212_goes_through_wireguard_once_the_platform_knows_the_stations_key_and_before_nothing_is_lost(
    ends: Ends, tmp_path: Path
) -> None:
    """wg-quick up with the recipe, towards a platform that does not know the key yet."""
    changes = ("port = 9\n", f"port = 9212{LINK}"), ("realtime_seconds = 30", "realtime_seconds = 5")
    path = configure(tmp_path / "site", *QUICK, ('host = "127.0.0.1"', 'host = "10.212.0.1"'), *changes)
    here = load(path).control_socket
    platform_end = PLATFORM_END.format(key=tmp_path / "platform.key", station=ends.keys["station"])

    def told() -> dict[str, Any]:
        found = answer(here)
        return found["platforms"][0] if found else {"answered": 0, "owed": 0}

    with ends.tunnel("platform", platform_end) as device:
        peer = ends.inside("platform", "wg", "set", device, "peer", ends.keys["station"])
        run(*peer, "remove")
        words = ("emulate", "platform", "--host", "10.212.0.1", "--port", "9212")
        with (
            ends.tunnel("station", ends.recipe()),
            instruments(path),
            served(*words, within=ends.inside("platform")) as platform,
            served("run", "--config", path, within=ends.inside("station")) as station,
        ):
            until(lambda: told()["owed"] >= 2, 30, lambda: (told(), station.text))
            assert told()["answered"] == 0
            run(*peer, "allowed-ips", "10.212.0.2/32")
            until(lambda: told()["answered"] >= 2 and not told()["owed"], 60, lambda: (told(), platform.text))
            assert told()["dropped"] == 0
