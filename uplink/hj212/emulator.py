"""A platform to try a station against: it listens, answers, keeps what it got, and can be made to fail.

It answers as HJ 212-2017 says (read in full) and copies the Flag version of whoever speaks, so that
stations of all three generations may connect at once.  It prints nothing.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import socket
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from uplink.base import UplinkError
from uplink.hj212.frame import (
    ANSWER_BIT,
    CHUNK,
    DIGITS_LIMIT,
    SEGMENT_LIMIT,
    VERSION_SHIFT,
    FrameError,
    FrameReader,
    Segment,
    encode,
    fence,
)
from uplink.hj212.messages import ACCEPTED, COMMANDS, INTERACTION, deviations, field_of

FAULTS: Mapping[str, str] = {
    "down": "stops listening and closes every connection",
    "silent": "takes what comes, keeps nothing and answers nothing",
    "late": "answers the next upload only after late_seconds, the following ones in time",
    "duplicate": "answers every upload twice",
    "wrong-qn": "answers with a QN nobody used",
    "refuse": "answers 9011 with QnRtn=2 and keeps nothing",
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record(
    id INTEGER PRIMARY KEY, received_at_ms INTEGER NOT NULL, mn TEXT NOT NULL, st TEXT NOT NULL,
    cn TEXT NOT NULL, qn TEXT NOT NULL, datatime TEXT NOT NULL, pno TEXT NOT NULL, rf TEXT NOT NULL,
    data TEXT NOT NULL, duplicate INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS identity ON record(mn, cn, datatime, pno);
"""
_COLUMNS = "received_at_ms, mn, st, cn, qn, datatime, pno, rf, data, duplicate"
_UPLOADS = frozenset(row.cn for row in COMMANDS if row.direction == "up" and row.kind == "U")
_NOTICES = frozenset(row.cn for row in COMMANDS if row.direction == "up" and row.kind == "N")
_WRONG_QN = "19700101000000000"
_BEIJING = timezone(timedelta(hours=8))

T = TypeVar("T")


class Record(NamedTuple):
    """One upload as kept; a *duplicate* repeats MN, CN, DataTime and PNO of an earlier one."""

    received_at_ms: int
    mn: str
    st: str
    cn: str
    qn: str
    datatime: str
    pno: str
    rf: str
    data: str
    duplicate: bool


@dataclass(slots=True, eq=False)
class Exchange:
    """A command sent to a station, and what it answered so far."""

    qn: str
    answers: list[Segment] = field(default_factory=list)
    _over: Event = field(default_factory=Event)

    def wait(self, seconds: float) -> bool:
        """Wait until the station refused it or reported its result; false if it did neither."""
        return self._over.wait(seconds)

    @property
    def accepted(self) -> str:
        """QnRtn of the 9011, "" before."""
        return self._value("9011", "QnRtn")

    @property
    def result(self) -> str:
        """ExeRtn of the 9012, "" before."""
        return self._value("9012", "ExeRtn")

    @property
    def data(self) -> list[Segment]:
        """What came between the two."""
        return [answer for answer in self.answers if answer.st != INTERACTION]

    def _value(self, cn: str, name: str) -> str:
        return next((field_of(answer.data, name) for answer in self.answers if answer.cn == cn), "")

    def note(self, answer: Segment) -> None:
        """Take *answer*; the last one wakes whoever waits."""
        self.answers.append(answer)
        if self.result or self.accepted not in ("", str(ACCEPTED)):
            self._over.set()


@dataclass(slots=True, eq=False)
class _Station:
    """One connection, with what was last heard on it by MN."""

    connection: socket.socket
    reader: FrameReader
    unsent: bytearray = field(default_factory=bytearray)
    heard: dict[str, Segment] = field(default_factory=dict)


class Platform:
    """An HJ 212 platform in a thread of its own.

    *delay* is an emulated round trip in seconds, *on_record* is called in the platform's thread.

    >>> with Platform() as platform:
    ...     platform.port > 0, platform.summary()["records"]
    (True, 0)
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        database: Path | None = None,
        on_record: Callable[[Record], None] | None = None,
        delay: float = 0.0,
        late_seconds: float = 15.0,
        ceiling: int = SEGMENT_LIMIT,
    ) -> None:
        self.host, self.port = host, port
        self.delay, self.late_seconds = delay, late_seconds
        self._ceiling = min(ceiling, DIGITS_LIMIT)
        self._file, self._on_record = database, on_record
        self._fault: str | None = None
        self._late = False
        self._stations: dict[socket.socket, _Station] = {}
        self._known: set[str] = set()
        self._deviations: Counter[str] = Counter()
        self._due: list[tuple[float, int, _Station, bytes]] = []
        self._order = itertools.count()
        self._exchanges: dict[str, Exchange] = {}
        self._last_qn = 0
        self._work: deque[Callable[[], None]] = deque()
        self._stop = Event()
        self._thread: Thread | None = None

    # -- life

    def start(self) -> Platform:
        """Listen and serve; the port is known when this returns."""
        self._selector = selectors.DefaultSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        self._db = sqlite3.connect(self._file or ":memory:", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        self._listen()
        self._stop.clear()
        self._thread = Thread(target=self._serve, name="platform", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything; the records stay in the database file."""
        if self._thread is None:
            return
        self._stop.set()
        os.eventfd_write(self._bell, 1)
        self._thread.join(10)
        self._thread = None
        self._close_all()
        self._selector.close()
        os.close(self._bell)
        self._db.close()

    def __enter__(self) -> Platform:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what a tester does

    def fault(self, name: str | None) -> None:
        """From now on fail as *name* of FAULTS says; None heals."""
        if name is not None and name not in FAULTS:
            raise ValueError(f"unknown fault {name}; there are {', '.join(FAULTS)}")
        self._call(lambda: self._apply(name))

    def send(self, mn: str, cn: str, data: str = "", *, pw: str | None = None) -> Exchange:
        """Send a command to the connected station *mn*; *pw* replaces the password it introduced itself with."""
        return self._call(lambda: self._command(mn, cn, data, pw))

    def wait_for(self, mn: str, seconds: float) -> bool:
        """Wait until station *mn* has said something on an open connection."""
        return self.wait_until(lambda: self._call(lambda: self._station_of(mn)) is not None, seconds)

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until *holds* is true."""
        end = time.monotonic() + seconds
        while not (true := holds()) and time.monotonic() < end:
            time.sleep(0.01)
        return true

    def records(self) -> list[Record]:
        """Everything kept, in the order received."""
        rows = self._call(lambda: self._db.execute(f"SELECT {_COLUMNS} FROM record ORDER BY id").fetchall())
        return [Record._make((*row[:-1], bool(row[-1]))) for row in rows]

    def summary(self) -> dict[str, Any]:
        """What came, once each and again, and what was otherwise than the standard says."""
        return self._call(self._summary)

    # -- its thread

    def _call(self, work: Callable[[], T]) -> T:
        """Run *work* between two frames, and hand back what it returns or raises."""
        if self._thread is None or not self._thread.is_alive():
            raise UplinkError("the platform is not running")
        outcome: Future[T] = Future()

        def carry_out() -> None:
            try:
                outcome.set_result(work())
            except (UplinkError, OSError, sqlite3.Error) as error:
                outcome.set_exception(error)

        self._work.append(carry_out)
        os.eventfd_write(self._bell, 1)
        return outcome.result(10)

    def _serve(self) -> None:
        while not self._stop.is_set():
            pause = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, events in self._selector.select(pause):
                if key.fileobj in self._stations or key.fileobj in (self._bell, self._listener):
                    key.data(events)
            self._send_due()

    def _on_bell(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._work:
            self._work.popleft()()

    def _listen(self) -> None:
        self._listener: socket.socket | None = socket.create_server((self.host, self.port))  # SO_REUSEADDR is set
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, self._on_connection)

    def _close_all(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for station in list(self._stations.values()):
            self._drop(station)

    def _apply(self, name: str | None) -> None:
        if name == "down":
            self._close_all()
        elif self._listener is None:
            self._listen()
        self._fault, self._late = name, name == "late"

    def _on_connection(self, events: int) -> None:
        assert self._listener is not None
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        station = _Station(connection, FrameReader(self._ceiling))
        self._stations[connection] = station
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._on_ready(station, events))

    def _drop(self, station: _Station) -> None:
        self._stations.pop(station.connection, None)
        self._selector.unregister(station.connection)
        station.connection.close()

    def _on_ready(self, station: _Station, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(station)
            data = station.connection.recv(16 * CHUNK) if events & selectors.EVENT_READ else None
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data == b"":
            self._drop(station)
        elif data:
            self._receive(station, data)

    def _receive(self, station: _Station, data: bytes) -> None:
        """One transaction for what came at once: answers go out only after it."""
        answers: list[tuple[float, bytes]] = []
        self._db.execute("BEGIN")
        for item in station.reader.feed(data):
            try:
                if isinstance(item, FrameError):
                    raise item
                answers.extend(self._answers(station, Segment.parse(item)))
            except FrameError as fault:
                self._deviations[type(fault).__name__] += 1
        self._db.execute("COMMIT")
        now = time.monotonic()
        for delay, frame in answers:
            heapq.heappush(self._due, (now + delay, next(self._order), station, frame))

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, station, frame = heapq.heappop(self._due)
            if station.connection in self._stations:
                station.unsent += frame
                self._flush(station)

    def _flush(self, station: _Station) -> None:
        try:
            while station.unsent:
                del station.unsent[: station.connection.send(station.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(station)
            return
        wanted = selectors.EVENT_READ | selectors.EVENT_WRITE * bool(station.unsent)
        self._selector.modify(station.connection, wanted, self._selector.get_key(station.connection).data)

    # -- what it says

    def _answers(self, station: _Station, segment: Segment) -> Iterator[tuple[float, bytes]]:
        """Keep what is to be kept; the answers to *segment* and how long each takes."""
        self._deviations.update(check.text for check in deviations(segment))
        station.heard[segment.mn] = segment
        self._known.add(segment.mn)
        if exchange := self._exchanges.get(segment.qn):
            exchange.note(segment)
            return
        if self._fault == "silent" or segment.cn not in _UPLOADS | _NOTICES:
            return
        refused = self._fault == "refuse" and segment.cn in _UPLOADS
        if segment.cn in _UPLOADS and not refused:
            self._keep(segment)
        if not (segment.flags or 0) & ANSWER_BIT:
            return
        if refused:
            yield self.delay, self._frame(segment, "9011", "QnRtn=2")
            return
        qn = _WRONG_QN if self._fault == "wrong-qn" else segment.qn
        answer = self._frame(segment, "9014" if segment.cn in _UPLOADS else "9013", qn=qn)
        for _ in range(2 if self._fault == "duplicate" else 1):
            yield self._delay(), answer

    def _delay(self) -> float:
        late, self._late = self._late, False
        return self.late_seconds if late else self.delay

    def _frame(self, segment: Segment, cn: str, data: str = "", qn: str | None = None) -> bytes:
        flag = (segment.flags or 0) >> VERSION_SHIFT << VERSION_SHIFT
        answer = Segment(
            qn=segment.qn if qn is None else qn,
            st=INTERACTION,
            cn=cn,
            pw=segment.pw,
            mn=segment.mn,
            flag=str(flag),
            cp=fence(data),
        )
        return encode(answer.build())

    def _keep(self, segment: Segment) -> None:
        datatime = field_of(segment.data, "DataTime")
        fields = (segment.mn, segment.st, segment.cn, segment.qn, datatime, segment.pno, segment.rf, segment.data)
        mn, st, cn, qn, datatime, pno, rf, data = map(_storable, fields)
        seen = self._db.execute(
            "SELECT 1 FROM record WHERE mn = ? AND cn = ? AND datatime = ? AND pno = ? LIMIT 1",
            (mn, cn, datatime, pno),
        ).fetchone()
        now = int(time.time() * 1000)
        record = Record(now, mn, st, cn, qn, datatime, pno, rf, data, seen is not None)
        self._db.execute(f"INSERT INTO record({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", record)
        if self._on_record:
            self._on_record(record)

    def _station_of(self, mn: str) -> _Station | None:
        return next((station for station in self._stations.values() if mn in station.heard), None)

    def _command(self, mn: str, cn: str, data: str, pw: str | None) -> Exchange:
        station = self._station_of(mn) or next(iter(self._stations.values()), None)
        if station is None or not station.heard:
            raise UplinkError(f"no station {mn} is connected, or it has not spoken yet")
        heard = station.heard.get(mn) or next(iter(station.heard.values()))
        self._last_qn = max(self._last_qn + 1, int(time.time() * 1000))
        moment = datetime.fromtimestamp(self._last_qn / 1000, _BEIJING)
        exchange = Exchange(f"{moment:%Y%m%d%H%M%S}{self._last_qn % 1000:03d}")
        flag = (heard.flags or 0) >> VERSION_SHIFT << VERSION_SHIFT | ANSWER_BIT
        segment = Segment(
            qn=exchange.qn,
            st=heard.st,
            cn=cn,
            pw=heard.pw if pw is None else pw,
            mn=mn,
            flag=str(flag),
            cp=fence(data),
        )
        self._exchanges[exchange.qn] = exchange
        heapq.heappush(self._due, (time.monotonic(), next(self._order), station, encode(segment.build())))
        return exchange

    def _summary(self) -> dict[str, Any]:
        count = "SELECT count(*), total(duplicate), total(rf = '1') FROM record"
        records, duplicates, resupplied = self._db.execute(count).fetchone()
        by_cn = dict(self._db.execute("SELECT cn, count(*) FROM record WHERE NOT duplicate GROUP BY cn ORDER BY cn"))
        return {
            "records": records,
            "unique": records - int(duplicates),
            "duplicates": int(duplicates),
            "resupplied": int(resupplied),
            "by_cn": by_cn,
            "stations": sorted(self._known),
            "noise": sum(station.reader.noise for station in self._stations.values()),
            "deviations": dict(self._deviations),
        }


def _storable(text: str) -> str:
    """*text* as SQLite takes it: bytes that were no UTF-8 are shown as such."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
