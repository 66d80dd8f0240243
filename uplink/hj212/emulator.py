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
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from station.model import dataclass, field, replace
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
from uplink.hj212.messages import COMMANDS, INTERACTION, deviations, field_of
from uplink.hj212.rig import Exchange, Verdict, missing, read_script, run_script
from uplink.hj212.sm4 import BLOCK, Envelope, cipher_of, enciphered

FAULTS: Mapping[str, str] = {
    "down": "stops listening and closes every connection",
    "silent": "takes what comes, keeps nothing and answers nothing",
    "late": "answers the next upload only after late_seconds, the following ones in time",
    "duplicate": "answers every upload twice",
    "wrong-qn": "answers with a QN nobody used",
    "refuse": "answers 9011 with QnRtn=2 and keeps nothing",
    "lost": "keeps the next upload and loses its answer, the following ones come",
    "split": "writes everything in two pieces with a pause between",
    "half-open": "reads nothing and writes nothing on connections that stay open",
    "slow": "writes one byte a second",
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
_CONTRADICTIONS = """
SELECT count(*) FROM (SELECT 1 FROM record GROUP BY mn, cn, datatime, pno HAVING count(DISTINCT data) > 1)
"""
REACTION_SECONDS = 0.05  # a platform's own command comes a little after its answer
_BY_VERB = {row.verb: row.cn for row in reversed(COMMANDS) if row.verb and row.verb != "recall"}
_WRONG_QN = "19700101000000000"
CIPHER_VERSION = 2  # of Flag: 2025
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
class _Station:
    """One connection, with what was last heard on it by MN."""

    connection: socket.socket
    reader: FrameReader
    unsent: bytearray = field(default_factory=bytearray)
    resume_at: float = 0.0  # nothing is written before, where pieces are wanted
    heard: dict[str, Segment] = field(default_factory=dict)


class Platform:
    """An HJ 212 platform in a thread of its own.

    *delay* is an emulated round trip in seconds, *on_record* is called in the platform's thread.  *key*
    opens SM4; *sets_clock* has it answer 1013 with 1012, and *assigns* is the MN it gives to who sends 1001.

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
        key: bytes | None = None,
        sets_clock: bool = False,
        assigns: str = "",
    ) -> None:
        self.host, self.port = host, port
        self.delay, self.late_seconds = delay, late_seconds
        self._ceiling = min(ceiling, DIGITS_LIMIT)
        self._file, self._on_record = database, on_record
        self.sets_clock, self.assigns = sets_clock, assigns
        self._envelope = _Counting(key) if key else None
        self._fault: str | None = None
        self._once = False  # the fault is still to happen, where it happens once
        self._stations: dict[socket.socket, _Station] = {}
        self._known: set[str] = set()
        self._deviations: Counter[str] = Counter()
        self._due: list[tuple[float, int, _Station, bytes]] = []
        self._order = itertools.count()
        self._exchanges: dict[str, Exchange] = {}
        self._for_cipher = 0  # segments whose data area belongs enciphered
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
        """Send a command, by its CN or its verb, to the connected station *mn*.

        *pw* replaces the password the station introduced itself with.
        """
        return self._call(lambda: self._command(mn, _BY_VERB.get(cn, cn), data, pw))

    def run_script(self, path: Path) -> Verdict:
        """Do what the TOML file *path* says (rig.py), and judge what came of it."""
        return run_script(self, read_script(path))

    def only_station(self, seconds: float) -> str:
        """The MN of the one station that has spoken, "" if there are none or several."""
        self.wait_until(lambda: bool(self._known), seconds)
        return next(iter(self._known)) if len(self._known) == 1 else ""

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
            times = [station.resume_at for station in self._stations.values() if station.unsent and station.resume_at]
            times += [self._due[0][0]] if self._due else []
            pause = max(0.0, min(times) - time.monotonic()) if times else None
            for key, events in self._selector.select(pause):
                if key.fileobj in self._stations or key.fileobj in (self._bell, self._listener):
                    key.data(events)
            self._send_due()
            for station in [each for each in self._stations.values() if each.unsent and each.resume_at]:
                self._flush(station)

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
        self._fault, self._once = name, name in ("late", "lost")
        for station in list(self._stations.values()):
            self._flush(station)

    def _on_connection(self, events: int) -> None:
        assert self._listener is not None
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        station = _Station(connection, FrameReader(self._ceiling, opener=self._envelope))
        self._stations[connection] = station
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._on_ready(station, events))

    def _drop(self, station: _Station) -> None:
        self._stations.pop(station.connection, None)
        self._selector.unregister(station.connection)
        station.connection.close()

    def _on_ready(self, station: _Station, events: int) -> None:
        if self._fault == "half-open":
            time.sleep(0.01)  # what it does not read keeps its socket readable
            return
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
        if self._fault == "half-open" or time.monotonic() < station.resume_at:
            return
        try:
            while station.unsent:
                size, pause = self._piece(station)
                del station.unsent[: station.connection.send(station.unsent[:size])]
                station.resume_at = time.monotonic() + pause if pause else 0.0
                if pause:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._drop(station)
            return
        waiting = bool(station.unsent) and not station.resume_at
        wanted = selectors.EVENT_READ | selectors.EVENT_WRITE * waiting
        self._selector.modify(station.connection, wanted, self._selector.get_key(station.connection).data)

    def _piece(self, station: _Station) -> tuple[int, float]:
        """How many bytes to write now, and how long to wait then."""
        if self._fault == "slow":
            return 1, 1.0
        if self._fault == "split" and len(station.unsent) > 1:
            return len(station.unsent) // 2, 0.1
        return len(station.unsent), 0.0

    # -- what it says

    def _answers(self, station: _Station, segment: Segment) -> Iterator[tuple[float, bytes]]:
        """Keep what is to be kept; the answers to *segment* and how long each takes."""
        self._deviations.update(check.text for check in deviations(segment))
        long = len(segment.data.encode("utf-8", "surrogateescape")) >= BLOCK
        self._for_cipher += long and enciphered(segment.cn) and (segment.flags or 0) >> VERSION_SHIFT == CIPHER_VERSION
        before = station.heard.get(segment.mn)
        exchange = self._exchanges.get(segment.qn)
        if before and (exchange or segment.st == INTERACTION):  # an answer repeats what was asked, password and all
            station.heard[segment.mn] = replace(segment, st=before.st, pw=before.pw)
        else:
            station.heard[segment.mn] = segment
        self._known.add(segment.mn)
        if exchange and not (segment.flags or 0) & ANSWER_BIT:  # an upload may chance upon the same QN
            exchange.note(segment)
            return
        recall = next((each for each in self._exchanges.values() if each.recalls(segment)), None)
        if recall:
            recall.records.append(segment)
        if self._fault == "silent" or segment.cn not in _UPLOADS | _NOTICES:
            return
        refused = self._fault == "refuse" and segment.cn in _UPLOADS
        if segment.cn in _UPLOADS and not refused:
            self._keep(segment, recalled=recall is not None)
        self._react(segment)
        if not (segment.flags or 0) & ANSWER_BIT:
            return
        if refused:
            yield self.delay, self._frame(segment, "9011", "QnRtn=2")
            return
        qn = _WRONG_QN if self._fault == "wrong-qn" else segment.qn
        answer = self._frame(segment, "9014" if segment.cn in _UPLOADS else "9013", qn=qn)
        if self._fault == "lost" and self._once:
            self._once = False
            return
        for _ in range(2 if self._fault == "duplicate" else 1):
            yield self._delay(), answer

    def _react(self, segment: Segment) -> None:
        """What a notice has the platform do, after its answer."""
        after = self.delay + REACTION_SECONDS
        if segment.cn == "1013" and self.sets_clock:
            now = datetime.now(_BEIJING)
            self._command(segment.mn, "1012", f"SystemTime={now:%Y%m%d%H%M%S}", after=after)
        if segment.cn == "1001" and self.assigns:
            self._command(segment.mn, "1002", f"i23005-Info={self.assigns}", after=after)

    def _delay(self) -> float:
        late, self._once = self._once and self._fault == "late", False
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

    def _keep(self, segment: Segment, *, recalled: bool = False) -> None:
        datatime = field_of(segment.data, "DataTime") or field_of(segment.data, "AlarmTime")
        fields = (segment.mn, segment.st, segment.cn, segment.qn, datatime, segment.pno, segment.rf, segment.data)
        mn, st, cn, qn, datatime, pno, rf, data = map(_storable, fields)
        seen = self._db.execute(
            "SELECT 1 FROM record WHERE mn = ? AND cn = ? AND datatime = ? AND pno = ? LIMIT 1",
            (mn, cn, datatime, pno),
        ).fetchone()
        if recalled and seen:
            return  # asked for, so no duplicate
        now = int(time.time() * 1000)
        record = Record(now, mn, st, cn, qn, datatime, pno, rf, data, seen is not None)
        self._db.execute(f"INSERT INTO record({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", record)
        if self._on_record:
            self._on_record(record)

    def _station_of(self, mn: str) -> _Station | None:
        return next((station for station in self._stations.values() if mn in station.heard), None)

    def _command(self, mn: str, cn: str, data: str, pw: str | None = None, after: float = 0.0) -> Exchange:
        station = self._station_of(mn) or next(iter(self._stations.values()), None)
        if station is None or not station.heard:
            raise UplinkError(f"no station {mn} is connected, or it has not spoken yet")
        heard = station.heard.get(mn) or next(iter(station.heard.values()))
        self._last_qn = max(self._last_qn + 1, int(time.time() * 1000))
        moment = datetime.fromtimestamp(self._last_qn / 1000, _BEIJING)
        flag = (heard.flags or 0) >> VERSION_SHIFT << VERSION_SHIFT | ANSWER_BIT
        segment = Segment(
            qn=f"{moment:%Y%m%d%H%M%S}{self._last_qn % 1000:03d}",
            st=heard.st,
            cn=cn,
            pw=heard.pw if pw is None else pw,
            mn=mn,
            flag=str(flag),
            cp=fence(data),
        )
        exchange = self._exchanges[segment.qn] = Exchange(segment.qn, segment)
        heapq.heappush(self._due, (time.monotonic() + after, next(self._order), station, encode(segment.build())))
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
            "contradictions": self._db.execute(_CONTRADICTIONS).fetchone()[0],
            "missing": self._missing(),
            "enciphered": self._envelope.count if self._envelope else 0,
            "unenciphered": max(0, self._for_cipher - self._envelope.count) if self._envelope else 0,
            "stations": sorted(self._known),
            "noise": sum(station.reader.noise for station in self._stations.values()),
            "deviations": dict(self._deviations),
        }

    def _missing(self) -> dict[str, int]:
        times: dict[tuple[str, str], list[str]] = {}
        for mn, cn, datatime in self._db.execute("SELECT DISTINCT mn, cn, datatime FROM record"):
            times.setdefault((mn, cn), []).append(datatime)
        return missing(times, _BEIJING)


class _Counting(Envelope):
    """Opens with one key and counts what was enciphered."""

    def __init__(self, key: bytes) -> None:
        super().__init__(lambda: [key])
        self.count = 0

    def open(self, segment: bytes) -> Iterator[bytes]:
        """What *segment* says in plain."""
        self.count += cipher_of(segment) is not None
        return super().open(segment)


def _storable(text: str) -> str:
    """*text* as SQLite takes it: bytes that were no UTF-8 are shown as such."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
