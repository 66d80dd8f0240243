"""Provisioning of 2025 (B): tell a platform the logger's hardware numbers, take the MN it assigns."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from uplink.base import LinkDown, NotAcknowledged, Refused
from uplink.hj212.dialects import dialect
from uplink.hj212.frame import CHUNK, FrameError, FrameReader, Segment, encode, factors, fence
from uplink.hj212.messages import field_of
from uplink.hj212.requests import same
from uplink.hj212.voice import EPOCH, qn_of

BEIJING = timezone(timedelta(hours=8))
UNASSIGNED = "0" * 24  # what stands for MN before there is one; no text read says what belongs there (?)
NUMBERS: Mapping[str, str] = {  # our name of a number to its field (B)
    "logger": "i23005",
    "cpu": "i23006",
    "mac1": "i23007",
    "mac2": "i23008",
}
_MN = re.compile(r"[0-9A-Za-z_\-]{1,27}")
_SERIAL = re.compile(r"^Serial\s*:\s*(\S+)", re.MULTILINE)


def hardware(root: Path = Path("/")) -> dict[str, str]:
    """The numbers of this machine: CPU serial and MACs as Linux tells them; the logger's own is the CPU's."""
    cpu = _text(root / "sys/firmware/devicetree/base/serial-number").strip("\0\n")
    if not cpu and (found := _SERIAL.search(_text(root / "proc/cpuinfo"))):
        cpu = found[1]
    macs = [_text(folder / "address").strip().upper() for folder in sorted((root / "sys/class/net").glob("[ew]*"))]
    named = {"logger": cpu, "cpu": cpu, **{f"mac{n}": mac for n, mac in enumerate(filter(None, macs[:2]), 1)}}
    return {name: number for name, number in named.items() if number}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def provision(
    host: str,
    port: int,
    numbers: Mapping[str, str],
    *,
    password: str,
    st: str = "22",
    mn: str = UNASSIGNED,
    standard: str = "2025",
    seconds: float = 60.0,
    resends: int = 3,
) -> str:
    """Send 1001 with *numbers*, wait for 9013 and 1002, answer it and return the MN assigned.

    Raise LinkDown, NotAcknowledged or Refused when that does not come within *seconds*.
    """
    try:
        with socket.create_connection((host, port), timeout=min(10.0, seconds)) as connection:
            return Talk(connection, password, st, mn, standard).provisioned(numbers, seconds, resends)
    except TimeoutError as error:
        raise NotAcknowledged(f"{host}:{port}: no MN was assigned within {seconds:g} s") from error
    except OSError as error:
        raise LinkDown(f"{host}:{port}: {(error.strerror or str(error)).lower()}") from error


class Talk:
    """The one exchange a station has before it has an MN."""

    def __init__(self, connection: socket.socket, password: str, st: str, mn: str, standard: str) -> None:
        self._connection, self._reader = connection, FrameReader()
        self._password, self._st, self._mn = password, st, mn
        self._dialect = dialect(standard)

    def provisioned(self, numbers: Mapping[str, str], seconds: float, resends: int) -> str:
        now = datetime.now(UTC)
        qn = qn_of((now - EPOCH) // timedelta(milliseconds=1), BEIJING)
        data = ";".join(f"{NUMBERS[name]}-Info={number}" for name, number in numbers.items())
        notice = self._segment("1001", data, qn=qn, st=self._st, flag=self._dialect.flag(answer=True))
        self._say(notice)
        again, pause = resends, seconds / (resends + 1)
        heard, end, due = False, time.monotonic() + seconds, time.monotonic() + pause
        while time.monotonic() < end:
            for segment in self.listen(min(end, due)):
                heard = heard or (segment.cn == "9013" and segment.qn == qn)
                if segment.cn == "9011" and segment.qn == qn:
                    raise Refused(f"the platform refused 1001: QnRtn={field_of(segment.data, 'QnRtn')[:8]}")
                if segment.cn == "1002" and (mn := self._assigned(segment)):
                    return mn
            if not heard and again and time.monotonic() >= due:
                self._say(notice)
                again, due = again - 1, time.monotonic() + pause
            elif heard:
                due = end
        raise TimeoutError

    def ask(self, cn: str, qn: str) -> None:
        """Send a notice *cn* that wants an answer."""
        self._say(self._segment(cn, "", qn=qn, st=self._st, flag=self._dialect.flag(answer=True)))

    def _assigned(self, segment: Segment) -> str:
        """The MN in a 1002, answered; "" where it is refused."""
        mn = factors(segment.data).get("i23005", {}).get("Info", "")
        right = same(segment.pw, self._password)
        good = bool(right and _MN.fullmatch(mn))
        flag = self._dialect.flag(answer=False)
        answers = ["QnRtn=1", "ExeRtn=1"] if good else [f"QnRtn={2 if right else 3}"]
        for cn, data in zip(("9011", "9012"), answers, strict=False):
            self._say(self._segment(cn, data, qn=segment.qn, st="91", flag=flag, mn=segment.mn, pw=segment.pw))
        return mn if good else ""

    def _segment(self, cn: str, data: str, *, qn: str, st: str, flag: str, mn: str = "", pw: str = "") -> Segment:
        return Segment(qn=qn, st=st, cn=cn, pw=pw or self._password, mn=mn or self._mn, flag=flag, cp=fence(data))

    def _say(self, segment: Segment) -> None:
        self._connection.sendall(encode(segment.build()))

    def listen(self, until: float) -> Iterator[Segment]:
        """What comes by *until*, or as soon as something comes."""
        self._connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            data = self._connection.recv(CHUNK)
        except TimeoutError:
            return
        if not data:
            raise ConnectionResetError(0, "the platform closed the connection")
        for item in self._reader.feed(data):
            if isinstance(item, FrameError):
                continue
            try:
                yield Segment.parse(item)
            except FrameError:
                continue
