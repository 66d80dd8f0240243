"""One exchange with a platform, to see whether it answers: 1013 (2017, read), and what its clock says."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta, tzinfo

from station.model import dataclass
from uplink.base import LinkDown, NotAcknowledged
from uplink.hj212.messages import field_of
from uplink.hj212.provision import Talk
from uplink.hj212.voice import EPOCH, qn_of

CLOCK_SECONDS = 5.0  # how long 1012 is waited for after 9013; a platform need not send it


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of it; *clock_seconds* is the platform's clock minus ours, None where it did not say."""

    connect_seconds: float
    answer_seconds: float
    clock_seconds: float | None


def probe(
    host: str, port: int, *, password: str, st: str, mn: str, standard: str, zone: tzinfo, seconds: float = 10.0
) -> Probe:
    """Connect, send 1013, wait for 9013 and then for 1012, which is not obeyed.

    Raise LinkDown or NotAcknowledged when the platform is not there or does not answer within *seconds*.
    """
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connected = time.monotonic()
            talk = Talk(connection, password, st, mn, standard)
            answered, clock = _asked(talk, connected + seconds, zone)
    except TimeoutError as error:
        raise NotAcknowledged(f"{host}:{port}: no answer within {seconds:g} s") from error
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise LinkDown(f"{host}:{port}: {said.lower()}") from error
    return Probe(round(connected - began, 3), round(answered - connected, 3), clock)


def _asked(talk: Talk, end: float, zone: tzinfo) -> tuple[float, float | None]:
    """When 9013 came, and how far the platform's clock is from ours."""
    qn = qn_of((datetime.now(UTC) - EPOCH) // timedelta(milliseconds=1), zone)
    talk.ask("1013", qn)
    answered: float | None = None
    while time.monotonic() < end:
        for segment in talk.listen(end):
            if segment.cn in ("9013", "9014") and segment.qn == qn and answered is None:
                answered = time.monotonic()
                end = min(end, answered + CLOCK_SECONDS)
            told = field_of(segment.data, "SystemTime") if segment.cn == "1012" else ""
            if told and answered is not None:
                return answered, _difference(told, zone)
    if answered is None:
        raise TimeoutError
    return answered, None


def _difference(told: str, zone: tzinfo) -> float | None:
    try:
        moment = datetime.strptime(told, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        return None
    return round((moment - datetime.now(UTC)).total_seconds(), 1)
