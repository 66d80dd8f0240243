"""Signed orders: a small JSON text and its detached signature by ssh-keygen -Y, as bundles are signed.

    {"format":"niutang-order-1","id":"…","station":"…","verb":"tunnel","do":"on","hours":2,"by":"li",
     "issued":"2026-03-01T08:00:00+08:00","expires":"2026-03-01T20:00:00+08:00"}

Signed with `ssh-keygen -Y sign -f KEY -n niutang-order FILE`.  The principal in ALLOWED SIGNERS is the order's *by*.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from station.model import StationError, dataclass

FORMAT, NAMESPACE = "niutang-order-1", "niutang-order"
LONGEST = 4096  # characters of an order, and of a signature
LONGEST_LIFE = timedelta(days=7)  # from issued to expires
AHEAD = timedelta(minutes=5)  # an order's clock may be so far ahead of ours
CHECK_SECONDS = 10.0
KEYS = {"format", "id", "station", "verb", "do", "hours", "by", "reason", "issued", "expires"}


class OrderRefused(StationError):
    """Error raised when an order is not carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """A signed order for a tunnel; *hours* is None where it leaves them to the station."""

    id: str
    do: str
    by: str
    hours: float | None
    reason: str


def read_order(text: str, signature: str, signers: Path, station: str, now: datetime) -> Order:
    """The order in *text*, when one of *signers* has signed it for *station* and it is in force at *now*.

    Raises OrderRefused.
    """
    found = _fields(text, station)
    issued, expires = _moment(found, "issued"), _moment(found, "expires")
    if not timedelta(0) < expires - issued <= LONGEST_LIFE:
        raise OrderRefused(f"an order holds for up to {LONGEST_LIFE.days} days from issued to expires")
    if issued > now + AHEAD:
        raise OrderRefused(f"the order was issued at {found['issued']}, which has not come yet by the station's clock")
    if now >= expires:
        raise OrderRefused(f"the order expired at {found['expires']}")
    hours = found.get("hours")
    if hours is not None and (isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= 72):
        raise OrderRefused("hours is no number of hours from 0 to 72")
    check(text, signature, signers, found["by"])
    return Order(found["id"], found["do"], found["by"], None if hours is None else float(hours), found["reason"])


def _fields(text: str, station: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise OrderRefused(f"the order has more than {LONGEST} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OrderRefused("the order is no JSON") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise OrderRefused(f"the order is no {FORMAT}")
    if odd := sorted(set(found) - KEYS):
        raise OrderRefused(f"the order has a key {odd[0][:40]!a} that is not known")
    found = {"reason": "", **found}
    for key, most in (("id", 64), ("station", 200), ("verb", 16), ("do", 8), ("by", 64), ("reason", 200)):
        said = found.get(key)
        if not isinstance(said, str) or len(said) > most or not said.isprintable():
            raise OrderRefused(f"{key} is not a text of up to {most} printable characters")
        if not (said.strip() or key == "reason"):
            raise OrderRefused(f"{key} is not a text of up to {most} printable characters")
    if found["by"].startswith("-"):
        raise OrderRefused("by is no name")
    if found["station"] != station:
        raise OrderRefused(f'the order is for the station "{found["station"]}"')
    if found["verb"] != "tunnel" or found["do"] not in ("on", "off"):
        raise OrderRefused("an order says verb tunnel, do on or off")
    return found


def _moment(found: dict[str, Any], key: str) -> datetime:
    at: datetime | None
    try:
        at = datetime.fromisoformat(str(found.get(key)))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise OrderRefused(f"{key} is no time with its offset, such as 2026-03-01T08:00:00+08:00")
    return at


def check(text: str, signature: str, signers: Path, by: str) -> None:
    """Raise OrderRefused unless *signature* of *text* is by *by*, who stands in *signers*."""
    if not 0 < len(signature) <= LONGEST:
        raise OrderRefused("the order has no signature (ssh-keygen -Y sign -n niutang-order)")
    if not signers.is_file():
        raise OrderRefused(f"{signers} is not there, so no signed order is taken")
    with tempfile.NamedTemporaryFile("w", suffix=".sig", encoding="utf-8") as file:
        file.write(signature)
        file.flush()
        words = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", by, "-n", NAMESPACE, "-s", file.name]
        try:
            done = subprocess.run(words, input=text.encode(), capture_output=True, timeout=CHECK_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OrderRefused(f"the signature cannot be checked (ssh-keygen: {error})") from error
    if done.returncode:
        raise OrderRefused(f"the signature is not one by {by} among {signers.name}, or the order was changed since")
