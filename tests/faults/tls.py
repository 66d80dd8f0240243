"""Row 28: names without an address, and certificates nobody should believe, between the real daemon and a receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from station.config import load
from station.model import ConfigError
from tests.faults.links import unresolved
from tests.faults.outcome import CannotRun, Outcome
from tests.faults.unsure import FAKETIME, loading, shift
from tests.station.commands import ROOT, answer, configure, environment, until
from tests.station.conftest import CONFIG
from tests.station.test_service import QUICK, instruments, rows
from uplink.http.certificates import make
from uplink.http.emulator import Receiver

UPLINK = """[[uplink]]
name = "city"
protocol = "http"
url = "{url}"
ca_file = "{ca}"
pin_sha256 = [{pin}]
realtime_seconds = 5
reconnect_seconds = 1
timeout_seconds = 3
connect_seconds = 2

[[uplink.point]]
point = "site"
device = "D-1"
"""
MESSAGES = 2  # that have to be owed before it is mended
READINGS = 10  # that have to wait where the clock is not known
AT_ONCE = 3  # daemons


@dataclass(frozen=True)
class Case:
    """What is wrong, in the receiver (*fault*), in station.toml or in the clock, and what is said of it."""

    words: str
    fault: str | None = None
    url: str = ""
    ca: str = "tls/ca.pem"
    pin: str = ""
    at_1970: bool = False


class Found(NamedTuple):
    """What one case came to."""

    accepted: int
    silent: int
    lost: int
    altered: int
    seconds: float


CASES = {
    "expired": Case("has expired by this station's clock", fault="expired"),
    "not valid yet": Case("is not valid yet by this station's clock", fault="early"),
    "clock at 1970": Case("is not valid yet by this station's clock (1970", at_1970=True),
    "another name": Case("is of another ", fault="other-name"),
    "self-signed": Case("is self-signed and not trusted", fault="self-signed"),
    "another authority of the same name": Case("is not accepted (certificate signature failure)", ca="other/ca.pem"),
    "the system's authorities alone": Case("was signed by someone not trusted here", ca=""),
    "another pin": Case("are none of those in pin_sha256", pin=f'"{"0" * 64}"'),
    "name without address": Case("the name has no address", url="https://platform.invalid:{port}"),
}


def certificates(folder: Path, runs: int) -> Outcome:
    """Row 28: each of CASES; then it is mended, and everything has to arrive."""
    try:
        make(folder / "tls")
        make(folder / "other")
    except ConfigError as error:  # the package cryptography makes them
        raise CannotRun(str(error)) from error

    def one(asked: tuple[int, str]) -> Found:
        number, name = asked
        where = folder / f"{number}-{name}".replace(" ", "-").replace("'", "")
        where.mkdir()
        with Receiver(tls=folder / "tls") as receiver:
            return Site(where, CASES[name], receiver).found()

    cases = [name for name in CASES if FAKETIME or not CASES[name].at_1970]  # OpenSSL asks the host, not Python
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(one, [(number, name) for number in range(runs) for name in cases]))
    accepted, silent, lost, altered = (sum(one[place] for one in found) for place in range(4))
    away = "" if FAKETIME else "; not at 1970, libfaketime is not here"
    figure = (
        f"{'; '.join(cases)}{away}: accepted {accepted}, not said in status and event log {silent}; what waited came"
        " when it was mended; a revoked certificate is not told from a good one (neither CRL nor OCSP is asked: that is"
        " what pins are for)"
    )
    plain = unresolved(folder, 3 * runs)
    held = accepted == 0 and silent == 0 and plain.held
    return Outcome(
        len(found) + plain.runs, f"{figure}; {plain.figure}", held, int(lost) + (plain.lost or 0), 0, int(altered),
        max(one.seconds for one in found),
    )  # fmt: skip


class Site:
    """A station's folder with its instruments, and a receiver that it may not believe, or may not reach."""

    def __init__(self, folder: Path, case: Case, receiver: Receiver) -> None:
        self.case, self.receiver, self.host = case, receiver, folder / "host"
        self.host.mkdir()
        self.path = configure(folder / "site", *QUICK, (CONFIG[CONFIG.index("[[uplink]]") :], self.uplink(case)))
        self.socket = load(self.path).control_socket
        self.log = folder / "log"

    def uplink(self, case: Case) -> str:
        """Its table in station.toml."""
        tls = self.receiver.tls
        assert tls is not None
        url = case.url or "https://localhost:{port}"
        ca = tls.parent / case.ca if case.ca else ""
        return UPLINK.format(url=url.format(port=self.receiver.port), ca=ca, pin=case.pin)

    def found(self) -> Found:
        """Run the case; mend it, and see all arrive."""
        case, receiver = self.case, self.receiver
        with instruments(self.path):
            receiver.fault(case.fault)
            with self.daemon(20 - datetime.now(UTC).timestamp() if case.at_1970 else 0):
                until(lambda: case.words in self.platform()["error"], 60, self.said)
                until(lambda: self.kept(), 100, self.said)
                accepted = receiver.counts["requests"] + len(receiver.seen)
                silent = not any(case.words in json.loads(text).get("error", "") for (text,) in self.noted())
                mended = time.monotonic()
                if case.fault is not None:
                    receiver.fault(None)
                    self.delivered()
            if case.fault is None:  # station.toml is mended, or the clock
                text = self.path.read_text(encoding="utf-8")
                self.path.write_text(text.replace(self.uplink(case), self.uplink(Case(""))), encoding="utf-8")
                mended = time.monotonic()
                with self.daemon(0):
                    self.delivered()
        seconds = time.monotonic() - mended
        made = rows(self.path, "SELECT count(*) FROM message")[0][0]
        summary = receiver.summary()
        lost = max(0, made - self.owed_at_the_end - summary["unique"])
        return Found(accepted, int(silent), lost, summary["contradictions"], seconds)

    def platform(self) -> dict[str, Any]:
        """What the station says of its platform."""
        found = answer(self.socket)
        return found["platforms"][0] if found else {"error": "", "owed": 0}

    def kept(self) -> bool:
        """Whether enough is kept for the platform."""
        found = answer(self.socket)
        if not found:
            return False
        if self.case.at_1970:
            return bool(found["clock"]["waiting"] >= READINGS)
        return bool(found["platforms"][0]["owed"] >= MESSAGES)

    def noted(self) -> list[Any]:
        """Arguments of the events that say the link is down."""
        return rows(self.path, "SELECT arguments FROM event WHERE code = 'link_down'")

    def said(self) -> tuple[object, str]:
        """What went wrong, for who reads the failure."""
        return self.platform(), self.log.read_text(errors="replace")

    def delivered(self) -> None:
        """Wait until nothing is owed, and something had been."""
        until(lambda: self.receiver.seen and answer(self.socket) and not self.platform()["owed"], 60, self.said)

    @contextmanager
    def daemon(self, offset: float) -> Iterator[None]:
        """The daemon of tests/faults/unsure.py, once it answers, on a host whose clock is off by *offset* seconds."""
        shift(self.host, offset)
        if not offset:
            (self.host / "synchronized").touch()
        words = [sys.executable, "-m", "tests.faults.unsure", str(self.host), str(self.path)]
        env = environment(**(loading(self.host) if offset else {}))
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log)
            try:
                until(lambda: answer(self.socket), 30, lambda: self.log.read_text(errors="replace"))
                yield
                process.terminate()
                assert process.wait(15) == 0, self.log.read_text(errors="replace")
                spans = "SELECT coalesce(sum(last - first + 1), 0) FROM span"
                live = "SELECT coalesce((SELECT max(id) FROM message) - live, 0) FROM platform"
                self.owed_at_the_end = sum(row[0] for row in rows(self.path, f"{spans} UNION ALL {live}"))
            finally:
                process.kill()
                process.wait()
