"""What a station says on one link: QN, password, Flag, cipher; and what all links of one uplink share."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Protocol

from station.model import dataclass
from uplink.base import Context, Outbox
from uplink.hj212.dialects import Dialect
from uplink.hj212.frame import Segment, encode, fence
from uplink.hj212.keys import KeyRing
from uplink.hj212.messages import INTERACTION, Wording, timestamp
from uplink.hj212.sm4 import Envelope, enciphered
from uplink.hj212.tap import Tap

if TYPE_CHECKING:
    from uplink.hj212.link import Hj212Settings, PointSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOCK_SECONDS = 600.0
LOCK_AFTER = 3  # wrong passwords in a row
MOST_REPEATABLE = 32  # requests whose answers are kept
REPEATABLE_SECONDS = 300.0  # and for how long: as long as a command counts as fresh


class Note(Protocol):
    """Records an event by its code, as the station's `note` does."""

    def __call__(self, code: str, /, **fields: str) -> None: ...


class Guard:
    """Wrong passwords in a row: after LOCK_AFTER the platform's commands are ignored for LOCK_SECONDS.

    >>> guard = Guard(lambda: 0.0)
    >>> [guard.wrong() for _ in range(3)], guard.locked
    ([False, False, True], True)
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._count, self._until = 0, float("-inf")

    @property
    def locked(self) -> bool:
        """Whether commands are ignored now."""
        return self._monotonic() < self._until

    def wrong(self) -> bool:
        """Note a wrong password; true if it locks."""
        self._count += 1
        if self._count < LOCK_AFTER:
            return False
        self._count, self._until = 0, self._monotonic() + LOCK_SECONDS
        return True

    def right(self) -> None:
        """Note a right password."""
        self._count = 0


class Answers:
    """The last few requests with what was answered, so that one that comes again is answered again and not done again.

    A platform repeats a request word for word when its 9011 got lost.  MOST_REPEATABLE requests with the three frames
    each may have, for REPEATABLE_SECONDS: who uses one QN for ever is not told an old time as the present one.

    >>> answers = Answers(lambda: 0.0)
    >>> answers.repeated(b"1011") is None, answers.note(b"1011", b"9011"), answers.repeated(b"1011")
    (True, None, [b'9011'])
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._answers: dict[bytes, tuple[float, list[bytes]]] = {}

    def repeated(self, request: bytes) -> list[bytes] | None:
        """What *request* was answered so far, if it came a short time ago."""
        begun, frames = self._answers.get(request, (0.0, None))
        return list(frames) if frames and self._monotonic() - begun <= REPEATABLE_SECONDS else None

    def note(self, request: bytes, frame: bytes) -> None:
        """Remember *frame* as one of the answers to *request*."""
        self._answers.setdefault(request, (self._monotonic(), []))[1].append(frame)
        while len(self._answers) > MOST_REPEATABLE:
            self._answers.pop(next(iter(self._answers)), None)  # another thread may end a command of an old link


@dataclass(slots=True)
class Timing:
    """How long an answer may take and how often a frame is sent again; 1000 changes both."""

    timeout_seconds: float
    resends: int

    @property
    def tries_seconds(self) -> float:
        """How long a platform may be silent before the link counts as broken."""
        return self.timeout_seconds * (1 + self.resends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every session of one uplink shares."""

    settings: Hj212Settings
    context: Context
    dialect: Dialect
    wording: Wording
    points: Mapping[str, PointSettings]  # by point code, ST filled in
    devices: Mapping[str, PointSettings]  # the same by MN
    counts: Counter[str]
    changed: Callable[[str, str, str], None]  # topic, state, words: logged when the state is new
    note: Note
    guard: Guard
    timing: Timing
    answers: Answers
    tap: Tap

    @property
    def place(self) -> str:
        """Where the platform is."""
        return f"{self.settings.host}:{self.settings.port}"


def qn_of(number: int, zone: tzinfo) -> str:
    """The 17 digits of a QN: milliseconds since 1970 UTC as local time of *zone*.

    >>> from datetime import timezone
    >>> qn_of(1772323200007, timezone(timedelta(hours=8)))
    '20260301080000007'
    """
    return f"{timestamp(EPOCH + timedelta(milliseconds=number), zone)}{number % 1000:03d}"


class Voice:
    """Builds the segments and frames of one connection."""

    def __init__(self, terms: Terms, outbox: Outbox, password: str, ring: KeyRing | None) -> None:
        self._terms, self._dialect, self._outbox = terms, terms.dialect, outbox
        self.password, self.ring = password, ring
        self.asked: deque[str] = deque(maxlen=64)  # both ends make QNs of the time: they may meet
        self.envelope = Envelope(ring.secrets, terms.settings.cipher_text) if ring else None

    def number(self) -> str:
        """A QN this platform was never given, and did not use itself just now."""
        milliseconds = (self._terms.context.now() - EPOCH) // timedelta(milliseconds=1)
        while (qn := qn_of(self._outbox.number(milliseconds), self._terms.context.zone)) in self.asked:
            pass
        return qn

    @property
    def key(self) -> bytes | None:
        """The key that frames are sealed with now, if any."""
        return self.ring.secrets()[0] if self.ring and self._terms.settings.encrypt == "always" else None

    def frame(self, segment: Segment) -> bytes:
        """*segment* on the wire."""
        sealed = self.envelope if self.key and enciphered(segment.cn) else None
        return encode(segment.build(), sealed.seal if sealed else None)

    def in_plain(self, frame: bytes) -> bytes:
        """*frame* as it was before it was enciphered, for who watches the link."""
        begin, end = len("##0000"), -len("0000\r\n")
        plain = next(iter(self.envelope.open(frame[begin:end])), None) if self.envelope else None
        return frame if plain is None else frame[:begin] + plain + frame[end:]

    def answer(self, asked: Segment, cn: str, data: str, st: str = INTERACTION) -> bytes:
        """An answer repeats QN, PW and MN as they came: our own password never answers a wrong one."""
        inside = f"QN={asked.qn};" if self._dialect.qn_inside and st == INTERACTION else ""
        flag, cp = self._dialect.flag(answer=False), fence((inside + data).rstrip(";"))
        return self.frame(Segment(qn=asked.qn, st=st, cn=cn, pw=asked.pw, mn=asked.mn, flag=flag, cp=cp))

    def own(
        self,
        point: PointSettings,
        cn: str,
        data: str,
        *,
        qn: str,
        answer: bool,
        numbers: tuple[str, ...] = (),
        rf: str = "",
    ) -> Segment:
        """What the station says of its own accord; *numbers* are PNUM and PNO."""
        bare = self._dialect.bare and not answer and not numbers
        pnum, pno = numbers or ("", "")
        return Segment(
            qn="" if bare else qn,
            st=point.st,
            cn=cn,
            pw=self.password,
            mn=point.mn,
            flag="" if bare else self._dialect.flag(answer=answer, split=bool(numbers)),
            pnum=pnum,
            pno=pno,
            rf=rf,
            cp=fence(data),
        )
