"""The completeness ledger: what each platform was due, what of it there is, and what became of that.

Reckoned by subtraction: due (the schedule) − messages − spans.  A period counts once, by its newest
version.  *Sent* means handed to the uplink at least once (station/outbox.py); a record asked for again
is owed, and not sent, until it went out again.  Power-on reports are no periods.
"""

from __future__ import annotations

import enum
import json
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import groupby, pairwise
from typing import Any

from station.clock import from_ms, to_ms
from station.model import Kind, Mark, WrongArgument, asdict, dataclass, fields
from station.outbox import SLACK_MS, Span, State, without
from station.store import Store, find_message, later_versions, unpack_averages

CHUNK = 5000
GRACE_MS = 120_000  # a period is due this long after its end: closing, committing
RESTARTED_MS = 60_000  # a clock entry this long after the last reading is a start, not a step
STEP_MS = 2000  # what the station notes as a step (station/engine.py); less is how exactly two clocks are read
KINDS = (Kind.REALTIME, Kind.MINUTE, Kind.HOUR, Kind.DAY, Kind.FURNACE)


class Fate(enum.IntEnum):
    """What became of a period that was due."""

    MISSING = 0
    ANSWERED = 1
    UNCONFIRMED = 2  # delivered as far as TCP tells
    OWED = 3
    REFUSED = 4  # owed still, but the platform said no
    PARKED = 5
    DROPPED = 6


FATES = {
    State.BACKLOG: Fate.OWED,
    State.RESEND: Fate.OWED,
    State.PARKED: Fate.PARKED,
    State.DROPPED: Fate.DROPPED,
    State.UNCONFIRMED: Fate.UNCONFIRMED,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One point and kind over a range of periods; stored = answered + unconfirmed + owed + refused + parked + dropped.

    Of *averages* values in the station's own averages *normal* carry mark N; a matter of its own.
    """

    platform: str
    point: str
    kind: Kind
    expected: int
    stored: int
    sent: int
    answered: int
    unconfirmed: int
    refused: int
    parked: int
    dropped: int
    owed: int
    normal: int
    averages: int

    @property
    def capture_rate(self) -> float | None:
        """Answered of expected, 0 to 1."""
        return self.answered / self.expected if self.expected else None

    @property
    def validity(self) -> float | None:
        """Share of averages with mark N, 0 to 1."""
        return self.normal / self.averages if self.averages else None


@dataclass(frozen=True, slots=True)
class Gap:
    """Periods one after the other that a platform does not have, for one reason.

    *reason* is one of off (the station), clock (it was set forward), not_measured, owed, refused, parked, dropped;
    *detail* is what the platform said.
    """

    platform: str
    point: str
    kind: Kind
    first: datetime
    last: datetime
    periods: int
    reason: str
    detail: str = ""


@dataclass(slots=True)
class _Stretch:
    """Periods due at one interval: the first, the step in ms, and a code of what became of each."""

    point: str
    kind: Kind
    first: int
    step: int
    codes: array[int]

    def slot(self, start: int) -> int | None:
        """Which of the periods starts at *start*."""
        slot, rest = divmod(start - self.first, self.step)
        return slot if not rest and 0 <= slot < len(self.codes) else None


class _Account:
    """One platform's periods from *start* to before *end* with their fates."""

    def __init__(
        self, store: Store, platform: str, start: datetime, end: datetime, now: datetime, zone: tzinfo
    ) -> None:
        rows = store.query("SELECT id, live, tried FROM platform WHERE name = ?", (platform,))
        if not rows:
            known = ", ".join(platforms(store)) or "none"
            raise WrongArgument(f'there is no platform "{platform}"; known: {known}')
        self.store, self.platform = store, platform
        self.id, self._live, self._tried = rows[0]
        self.start, self.end = to_ms(start), to_ms(end)
        offset = zone.utcoffset(None) or timedelta()
        self._due_at, self._offset = to_ms(now) - GRACE_MS, offset // timedelta(milliseconds=1)
        self.meanings: list[tuple[Fate, bool, str]] = [(Fate.MISSING, False, "")]
        self._codes = {self.meanings[0]: 0}
        self.stretches = list(self._all_stretches())
        self._by_owner: dict[tuple[str, int], list[_Stretch]] = {}
        for stretch in self.stretches:
            self._by_owner.setdefault((stretch.point, stretch.kind), []).append(stretch)
        self._spans = self._spans_by_kind()
        self._fill()

    def _all_stretches(self) -> Iterator[_Stretch]:
        owners: dict[tuple[str, Kind], list[tuple[int, int]]] = {}
        for point, kind, since, seconds in self.store.schedules(self.id):
            owners.setdefault((point, kind), []).append((since, seconds * 1000))
        for (point, kind), changes in sorted(owners.items()):
            for (since, step), (until, _) in pairwise([*changes, (1 << 62, 0)]):
                if step:
                    yield self._stretch(point, kind, since, until, step)

    def _stretch(self, point: str, kind: Kind, since: int, until: int, step: int) -> _Stretch:
        """Real-time data are due behind *since* up to *until*, periods that begin from *since* to before *until*."""
        if kind is Kind.REALTIME:
            low, limit, shift = max(self.start, since + 1), min(self.end, until + 1, self._due_at + 1), 0
        else:
            low, limit = max(self.start, since), min(self.end, until, self._due_at - step + 1)
            shift = self._offset
        first = -(-(low + shift) // step) * step - shift
        return _Stretch(point, kind, first, step, array("H", bytes(2 * max(0, -(-(limit - first) // step)))))

    def _spans_by_kind(self) -> dict[int, tuple[list[int], list[Span]]]:
        rows = self.store.query(
            "SELECT first, last, state, kinds, tries, next_try_ms, reason, sent FROM span WHERE platform = ?"
            " ORDER BY first",
            (self.id,),
        )
        spans = [Span(r[0], r[1], State(r[2]), r[3], r[4], r[5], r[6], bool(r[7])) for r in rows]
        return {kind: _by_first(span for span in spans if span.kinds >> kind & 1) for kind in KINDS}

    def _fill(self) -> None:
        """Look at the messages of the range once, in chunks, the later versions last."""
        query, slack = self.store.query, SLACK_MS
        kinds = {stretch.kind for stretch in self.stretches if stretch.codes}
        low = min((find_message(query, self.id, kind, self.start - slack) for kind in kinds), default=0)
        high = max((find_message(query, self.id, kind, self.end + slack) for kind in kinds), default=0)
        while rows := query(
            "SELECT id, kind, point, start_ms FROM message WHERE id >= ? AND id < ? AND version = 1"
            " ORDER BY id LIMIT ?",
            (low, high, CHUNK),
        ):
            for row in rows:
                self._enter(*row)
            low = rows[-1][0] + 1
        for kind in kinds:
            for number, point, start in later_versions(query, self.id, kind, self.start, self.end):
                self._enter(number, kind, point, start)

    def _enter(self, number: int, kind: int, point: str, start: int) -> None:
        for stretch in self._by_owner.get((point, kind), ()):
            slot = stretch.slot(start)
            if slot is not None:
                stretch.codes[slot] = self._code(self._meaning(number, kind))

    def _meaning(self, number: int, kind: int) -> tuple[Fate, bool, str]:
        """What became of message *number*: its fate, whether it was sent, and what the platform said."""
        if number > self._live:
            return Fate.OWED, number <= self._tried, ""
        firsts, spans = self._spans[kind]
        at = bisect_right(firsts, number) - 1
        if at < 0 or number > spans[at].last:
            return Fate.ANSWERED, True, ""
        span = spans[at]
        fate = Fate.REFUSED if span.state is State.RESEND and span.tries else FATES[span.state]
        sent = span.sent or span.state in (State.PARKED, State.UNCONFIRMED)
        return fate, sent, span.reason if fate in (Fate.REFUSED, Fate.PARKED) else ""

    def _code(self, meaning: tuple[Fate, bool, str]) -> int:
        code = self._codes.get(meaning)
        if code is None and len(self.meanings) == 1 << 16:  # more sayings than a code has room for
            return self._code((*meaning[:2], ""))
        if code is None:
            code = self._codes[meaning] = len(self.meanings)
            self.meanings.append(meaning)
        return code


def _by_first(spans: Iterable[Span]) -> tuple[list[int], list[Span]]:
    """The first ids and the spans of one kind, none over another: where two meet, a whole range yields.

    Such a range leaves out other kinds, whose single messages may lie in it under spans of all kinds.
    """
    ranges, exact = list[Span](), list[Span]()
    for span in spans:
        (ranges if span.state in (State.BACKLOG, State.DROPPED) else exact).append(span)
    for one in exact:
        ranges = [rest for span in ranges for rest in without(span, one)]
    found = sorted([*ranges, *exact], key=lambda span: span.first)
    return [span.first for span in found], found


def platforms(store: Store) -> list[str]:
    """The platforms the store knows of."""
    return [name for (name,) in store.query("SELECT name FROM platform ORDER BY id", ())]


def completeness(
    store: Store, platform: str, start: datetime, end: datetime, now: datetime, zone: tzinfo, *, marks: bool = True
) -> list[Row]:
    """What *platform* was due from *start* to before *end*, by point and kind; days begin in *zone*.

    Without *marks* the averages behind it are not read: a month has a great many of minutes.
    """
    account = _Account(store, platform, start, end, now, zone)
    counts: dict[tuple[str, Kind], Counter[Any]] = {}
    for stretch in account.stretches:
        some = counts.setdefault((stretch.point, stretch.kind), Counter())
        for code, count in Counter(stretch.codes).items():
            fate, sent, _ = account.meanings[code]
            some[fate] += count
            some["sent"] += count * sent
    return [
        Row(
            platform, point, kind, sum(some[fate] for fate in Fate), sum(some[fate] for fate in Fate if fate),
            some["sent"], some[Fate.ANSWERED], some[Fate.UNCONFIRMED], some[Fate.REFUSED], some[Fate.PARKED],
            some[Fate.DROPPED], some[Fate.OWED],
            *(_valid(store, point, kind, account.start, account.end) if marks else (0, 0)),
        )
        for (point, kind), some in counts.items()
    ]  # fmt: skip


def _valid(store: Store, point: str, kind: Kind, start: int, end: int) -> tuple[int, int]:
    """How many values of the averages from *start* to before *end* carry mark N, and of how many."""
    normal = total = 0
    at = start
    while kind is not Kind.REALTIME and (
        rows := store.query(
            "SELECT start_ms, max(version), body FROM average WHERE point = ? AND kind = ? AND start_ms >= ?"
            " AND start_ms < ? GROUP BY start_ms ORDER BY start_ms LIMIT ?",
            (point, int(kind), at, end, CHUNK),
        )
    ):
        for _, _, body in rows:
            marks = [average.mark for average in unpack_averages(body)]
            normal, total = normal + marks.count(Mark.N), total + len(marks)
        at = rows[-1][0] + 1
    return normal, total


def gaps(store: Store, platform: str, start: datetime, end: datetime, now: datetime, zone: tzinfo) -> list[Gap]:
    """What *platform* was due from *start* to before *end* and does not have, and why, one kind after the other."""
    account = _Account(store, platform, start, end, now, zone)
    off = silences(store)
    found: list[Gap] = []
    for stretch in account.stretches:
        for (reason, detail), slots in groupby(
            range(len(stretch.codes)),
            lambda slot, of=stretch: _why(account, of, slot, off),  # type: ignore[misc]
        ):
            if reason:
                some = list(slots)
                first, last = (from_ms(stretch.first + slot * stretch.step) for slot in (some[0], some[-1]))
                found.append(Gap(platform, stretch.point, stretch.kind, first, last, len(some), reason, detail))
    return found


def _why(account: _Account, stretch: _Stretch, slot: int, off: Sequence[tuple[int, int, str]]) -> tuple[str, str]:
    """Why the platform does not have a period, and what it said; ("", "") if it has."""
    fate, _, said = account.meanings[stretch.codes[slot]]
    if fate in (Fate.ANSWERED, Fate.UNCONFIRMED):
        return "", ""
    if fate is not Fate.MISSING:
        return fate.name.lower(), said
    begins = stretch.first + slot * stretch.step - (stretch.step if stretch.kind is Kind.REALTIME else 0)
    at = bisect_left(off, begins, key=lambda silence: silence[1])
    if at < len(off) and off[at][0] < begins + stretch.step:
        return off[at][2], ""
    return "not_measured", ""


def silences(store: Store) -> list[tuple[int, int, str]]:
    """(from, until, why) between the last reading before each start, or step of the clock, and that moment, in ms."""
    rows = _dated(
        store.query(
            "SELECT clock.boot, mono_ms, offset_ms, at_ms, trust, first_reading FROM clock"
            " LEFT JOIN reading ON reading.id = clock.first_reading - 1 ORDER BY clock.id",
            (),
        ),
        store.newest("reading"),
    )
    found = []
    for (boot, _, offset, _), (next_boot, mono, next_offset, last) in pairwise(rows):
        if last is None or last >= mono + next_offset:
            continue
        stepped = boot == next_boot and next_offset - offset >= STEP_MS and mono - (last - offset) < RESTARTED_MS
        found.append((last, mono + next_offset, "clock" if stepped else "off"))
    return sorted(found, key=lambda silence: silence[1])


def _dated(rows: Sequence[Any], newest: int) -> Iterator[tuple[int, int, int, int | None]]:
    """Boot, mono_ms, offset_ms and time of the reading before of each of the *rows* by which readings are dated.

    Under a clock that nobody vouched for none is: what was measured then belongs to the row that vouched at last.
    """
    since: tuple[int, int] | None = None  # boot and mono_ms from which on things waited
    behind = [row[5] for row in rows[1:]] + [newest + 1]
    for (boot, mono, offset, last, trust, first), following in zip(rows, behind, strict=False):
        if trust == "none" and following == first:
            since = since if since is not None and since[0] == boot else (boot, mono)
            continue
        yield boot, since[1] if since is not None and since[0] == boot else mono, offset, last
        since = None


# -- by month


def months(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[str, datetime, datetime]]:
    """Each month of *zone* that touches *start* to before *end*: its name, its first moment and the next one's.

    >>> from datetime import UTC
    >>> [name for name, *_ in months(datetime(2026, 11, 30, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), UTC)]
    ['2026-11', '2026-12']
    """
    at = start.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while at < end:
        after = (at + timedelta(days=32)).replace(day=1)
        yield f"{at:%Y-%m}", at, after
        at = after


def monthly(
    store: Store, platform: str, start: datetime, end: datetime, now: datetime, zone: tzinfo
) -> list[tuple[str, Row]]:
    """The rows of each whole month that touches *start* to before *end*; months rolled up as they were then."""
    found: list[tuple[str, Row]] = []
    for month, first, after in months(start, end, zone):
        rows = kept(store, platform, month) or completeness(store, platform, first, after, now, zone)
        found += [(month, row) for row in rows]
    return found


def roll_up(store: Store, platform: str, before: datetime, now: datetime, zone: tzinfo) -> list[str]:
    """Keep the rows of every month that ended by *before*, while its messages are there; the months that were new."""
    due = [since for _, _, since, _ in store.schedules(_Account(store, platform, now, now, now, zone).id)]
    if not due:
        return []
    new = [
        (month, completeness(store, platform, first, after, now, zone))
        for month, first, after in months(from_ms(min(due)), before, zone)
        if after <= before and not kept(store, platform, month)
    ]
    with store.transaction() as db:
        for month, rows in new:
            body = json.dumps([asdict(row) | {"kind": int(row.kind)} for row in rows])
            db.execute("INSERT INTO rollup(platform, month, body) VALUES (?, ?, ?)", (platform, month, body))
    return [month for month, _ in new]


def kept(store: Store, platform: str, month: str) -> list[Row]:
    """The rows of *month* as they were rolled up, if they were."""
    rows = store.query("SELECT body FROM rollup WHERE platform = ? AND month = ?", (platform, month))
    names = {field.name for field in fields(Row)}
    made = [
        {name: value for name, value in row.items() if name in names} for (body,) in rows for row in json.loads(body)
    ]
    return [Row(**row | {"kind": Kind(row["kind"])}) for row in made]
