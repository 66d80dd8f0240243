"""The tunnels of systemd/: the recipes' own files between a station and a platform on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from station.config import load
from tests.faults.killed import LINK
from tests.programs import program
from tests.station.commands import ROOT, answer, configure, daemon, until
from tests.station.test_service import QUICK, instruments, rows
from uplink.hj212.emulator import Platform
from uplink.http.certificates import make

RECIPE = ROOT / "systemd" / "stunnel" / "niutang-platform.conf"
PLATFORM_END = """foreground = yes
[hj212]
accept = 127.0.0.1:{port}
cert = {certificate}.pem
key = {certificate}.key
connect = {to}
"""
REFUSALS = {
    "expired": "certificate has expired",
    "early": "certificate is not yet valid",
    "other-name": "CERT: Subject checks failed",
    "self-signed": "self-signed certificate",
}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def stunnel(folder: Path, name: str, text: str, port: int) -> Iterator[Path]:
    """stunnel with *text*, listening on *port*; its log."""
    log = folder / f"{name}.log"
    (folder / f"{name}.conf").write_text(text, encoding="utf-8")
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen([program("stunnel"), folder / f"{name}.conf"], stdout=said, stderr=said)
    try:
        until(lambda: listens(port) or process.poll() is not None, 10, lambda: log.read_text(errors="replace"))
        assert process.poll() is None, log.read_text(errors="replace")
        yield log
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    """Whether somebody listens on *port* of loopback; nobody is called."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1] == f"0100007F:{port:04X}" and line.split()[3] == "0A" for line in lines)


def recipe(ca: Path, accept: int, connect: int) -> str:
    """The recipe with what its reader is told to put in: the platform's address and name, who signed for it."""
    text = RECIPE.read_text(encoding="utf-8")
    for old, new in (
        ("accept = 127.0.0.1:19212", f"accept = 127.0.0.1:{accept}"),
        ("connect = platform.example:9443", f"connect = 127.0.0.1:{connect}"),
        ("CAfile = /etc/stunnel/platform-ca.pem", f"CAfile = {ca}"),
        ("checkHost = platform.example", "checkHost = localhost"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    if os.geteuid() != 0:  # who is not root cannot become somebody else
        text = text.replace("setuid = stunnel4\nsetgid = stunnel4\n", "")
    return text


def test_hj212_goes_through_stunnel_and_a_certificate_nobody_should_trust_stops_it_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """The recipe's verifyChain and checkHost: four bad certificates let nothing through, and what waited comes then."""
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    tls = tmp_path / "tls"
    make(tls)
    near, far = free_port(), free_port()
    with Platform() as platform:
        changes = ("port = 9\n", f"port = {near}{LINK}"), ("realtime_seconds = 30", "realtime_seconds = 5")
        path = configure(tmp_path / "site", *QUICK, *changes)

        def far_end(certificate: str) -> AbstractContextManager[Path]:
            text = PLATFORM_END.format(port=far, certificate=tls / certificate, to=platform.port)
            return stunnel(tmp_path, "far", text, far)

        with (
            stunnel(tmp_path, "near", recipe(tls / "ca.pem", near, far), near) as log,
            instruments(path),
            daemon(path) as process,
        ):
            with far_end("server"):
                until(lambda: len(platform.records()) >= 2, 30, lambda: (process.text, log.read_text()))
            before = len(platform.records())
            for certificate, words in REFUSALS.items():
                with far_end(certificate):
                    until(lambda words=words: words in log.read_text(), 15, log.read_text)
            assert len(platform.records()) == before
            until(lambda: owed(path), 15)
            with far_end("server"):
                until(lambda: len(platform.records()) > before and not owed(path), 30, lambda: process.text)
                assert process.stop() == 0
        summary = platform.summary()
        assert summary["contradictions"] == 0
        kept = {record.data for record in platform.records()}
        assert [text for (text,) in rows(path, "SELECT text FROM message") if text not in kept] == []


def owed(path: Path) -> int:
    """How much the platform is owed."""
    found = answer(load(path).control_socket)
    return int(found["platforms"][0]["owed"]) if found else 0
