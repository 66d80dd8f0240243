"""What was measured while nobody knew the time: kept on the monotonic clock, dated and handed on when somebody does.

Loaded only by a station that waits, or has waited and is not done.  Rows here are appended and never changed; the
clock table says what their time is, and a setting up to where they were handed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH, Clock, from_ms, to_ms
from station.model import Reading, Reason, Record, dataclass, field, replace
from station.recorder import Batch
from station.records import TOLD
from station.store import TRUSTED, Miss, Series, Store, measured
from station.timekeeping import READINGS, RECORDS

if TYPE_CHECKING:
    from station.engine import Engine
    from station.recorder import Turn
    from station.timekeeping import Turn as ClockTurn

CHUNK = 5000  # readings dated in one commit, of one hour at the most
MISSED = "missed"  # in waiting_record: polls that gave nothing
SLACK_MS = 1000
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Dated:
    """What one commit hands on; *until* is the time of the newest of it where *more* waits."""

    readings: list[Reading] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # as Store.append takes them
    records: list[Record] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    until: datetime | None = None
    more: bool = False
    undatable: int = 0  # readings of boots in which nobody ever knew the time


class Waiting:
    """The rows of *store* that wait, while *clock* goes on."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        noted = store.remembered("")
        self._done = {key: int(noted.get(key, 0)) for key in (READINGS, RECORDS)}
        self._next = dict(self._done)
        self._offsets: dict[int, int | None] = {}
        self._since = 0  # the monotonic clock, in ms, when something was put here last

    # -- in

    def add(self, readings: Iterable[Reading], series: Mapping[tuple[str, str], Series]) -> None:
        """Inside a transaction: append *readings*, undated; *series* names each (device, parameter)."""
        ids, offset = self._store.numbers(series), self._wall_offset()
        rows = [
            (ids[r.device, r.parameter], to_ms(r.time) - offset if r.taken is None else round(r.taken * 1000),
             *measured(r))
            for r in readings
        ]  # fmt: skip
        with self._store.transaction_open() as db:
            db.executemany("INSERT INTO waiting(series, mono_ms, raw, value, mark) VALUES (?, ?, ?, ?, ?)", rows)

    def add_others(self, records: Iterable[Record], misses: Iterable[Miss], before: float) -> list[Record]:
        """Inside a transaction: append what platforms are told of, and *misses*; the records that need not wait.

        What people enter carries their own dates, and the trust of the clock beside them; the rest is marked here as
        dated by a clock that nobody vouched for.  *before* is the offset before the last step, which some of it may
        be dated by.
        """
        records, offsets = list(records), (self._wall_offset(), round(before * 1000))
        rows = [
            (self._store.boot, self._monotonic(to_ms(r.at), offsets), r.kind, r.point, r.device,
             json.dumps(dict(r.body), default=str))
            for r in records
            if r.kind in TOLD
        ]  # fmt: skip
        for miss in misses:
            seconds = (miss.last - miss.first).total_seconds()
            body = {"reason": int(miss.reason), "count": miss.count, "seconds": seconds}
            at = self._monotonic(to_ms(miss.last), offsets)
            rows.append((self._store.boot, at, MISSED, "", miss.device, json.dumps(body)))
        self._since = round(self._clock.monotonic() * 1000)
        with self._store.transaction_open() as db:
            db.executemany(
                "INSERT INTO waiting_record(boot, mono_ms, kind, point, device, body) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
        return [r if "trust" in r.body else replace(r, body={**r.body, "trust": "none"}) for r in records
                if r.kind not in TOLD]  # fmt: skip

    def _monotonic(self, at_ms: int, offsets: Sequence[int]) -> int:
        """What *at_ms* of the wall clock, by one of *offsets*, is on the monotonic one: best since the last time."""
        now = round(self._clock.monotonic() * 1000)
        for since in (self._since - SLACK_MS, 0):
            for offset in offsets:
                if since <= at_ms - offset <= now + SLACK_MS:
                    return at_ms - offset
        return now

    def _wall_offset(self) -> int:
        return to_ms(self._clock.now()) - round(self._clock.monotonic() * 1000)

    # -- out

    def count(self) -> int:
        """How many readings wait, those that can never be dated among them."""
        return int(self._store.query("SELECT count(*) FROM waiting WHERE id > ?", (self._done[READINGS],))[0][0])

    def take(self, now: datetime) -> Dated:
        """Inside a transaction: the next part of what waits, dated by its boot's offset, and noted as handed on."""
        dated, self._offsets = Dated(), {}
        self._take_readings(dated)
        self._take_records(dated)
        self._store.remember("", {key: str(at) for key, at in self._next.items()}, now, "station")
        return dated

    def committed(self) -> None:
        """What `take` gave is durable."""
        self._done = dict(self._next)

    # -- for the engine, whose commit this is a part of

    def pass_through(self, engine: Engine, turn: Turn) -> None:
        """Inside a transaction: what cannot be dated waits, and what has waited goes before it, a part at a time."""
        batch = turn.batch
        turn.series = engine._add_readings(batch)
        others = self.add_others(batch.records, batch.misses, engine.time.before)
        if engine.time.waits:
            turn.waits, turn.batch = True, Batch(events=batch.events, records=others)
            if engine._stepped:
                self._store.add_clock(self._clock.monotonic(), turn.now, "none")
            self._store.add_events(batch.events)
            self._store.add_records(others)
            engine._take_marks(others)
            turn.changed = engine._remember(turn.changes, engine.started, due=False)
            return
        dated = self.take(turn.now)
        if dated.undatable:
            engine.note("undatable", readings=dated.undatable)
        turn.batch = Batch(dated.readings, dated.misses, batch.events, [*others, *dated.records])
        turn.rows, turn.more = dated.rows, dated.more
        if dated.more:
            until = dated.until or EPOCH
            turn.ready = min(turn.ready, until - (turn.now - turn.ready))
            turn.now = min(turn.now, until)

    def begin(self, engine: Engine, turn: ClockTurn) -> None:
        """Somebody vouches for the clock at last: what was measured since the start, or a step, is dated by it."""
        now, first = self._clock.now(), turn.seconds is None
        if first:
            engine.started = now - timedelta(seconds=self._clock.monotonic() - engine._started_monotonic)
        with self._store.transaction():
            self._store.add_clock(self._clock.monotonic(), now, turn.by)
            if first:
                engine._register_schedules()
        engine._stepped = False
        if not first:
            engine.follow(turn.seconds or 0.0)
            return
        engine.periods.begin(engine.started)
        if engine.furnace is not None:
            engine.furnace.begin()
        engine.alarms = engine._alarms()
        engine._plan(engine.started)
        engine._next_realtime = engine._realtime_after(now)
        engine._power_on_due = True

    def _take_readings(self, dated: Dated) -> None:
        rows = self._store.query(
            "SELECT w.id, s.boot, w.series, w.mono_ms, w.raw, w.value, w.mark FROM waiting w"
            " JOIN series s ON s.id = w.series WHERE w.id > ? ORDER BY w.id LIMIT ?",
            (self._done[READINGS], CHUNK + 1),
        )
        dated.more, rows = len(rows) > CHUNK, rows[:CHUNK]
        last, hour, now_offset = self._done[READINGS], None, self._wall_offset()
        for number, boot, series, mono_ms, *value in rows:
            offset = self._offset(boot)
            if offset is None:
                dated.undatable += 1
            else:
                at = mono_ms + offset
                hour = at // HOUR_MS if hour is None else hour
                if at // HOUR_MS > hour:
                    dated.more = True
                    break
                dated.rows.append((series, at, *value))
                made = self._store.reading_of(series, at, *value)
                dated.readings.append(replace(made, heard=(at - now_offset) / 1000))
            last = number
        self._next[READINGS] = last
        if dated.rows:
            dated.until = from_ms(max(row[1] for row in dated.rows))

    def _take_records(self, dated: Dated) -> None:
        """Records wait for the readings before them: what is told of an hour follows it."""
        rows = self._store.query(
            "SELECT id, boot, mono_ms, kind, point, device, body FROM waiting_record WHERE id > ? ORDER BY id LIMIT ?",
            (self._done[RECORDS], CHUNK),
        )
        last = self._done[RECORDS]
        for number, boot, mono_ms, kind, point, device, text in rows:
            offset = self._offset(boot)
            at = None if offset is None else from_ms(mono_ms + offset)
            if dated.more and (dated.until is None or (at is not None and at > dated.until)):
                break
            last, body = number, json.loads(text)
            if at is None:
                continue
            if kind == MISSED:
                first = at - timedelta(seconds=body["seconds"])
                dated.misses.append(Miss(device, Reason(body["reason"]), first, at, body["count"]))
            else:
                dated.records.append(Record(kind, at, body, point, device))
        dated.more = dated.more or len(rows) == CHUNK
        self._next[RECORDS] = last

    def _offset(self, boot: int) -> int | None:
        """The offset in ms that somebody vouched for in *boot*, the newest; None where nobody ever did."""
        if boot not in self._offsets:
            rows: Sequence[Any] = self._store.query(
                f"SELECT offset_ms FROM clock WHERE boot = ? AND ({TRUSTED} OR trust = 'rtc') ORDER BY id DESC LIMIT 1",
                (boot,),
            )
            self._offsets[boot] = rows[0][0] if rows else None
        return self._offsets[boot]
