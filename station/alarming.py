"""The configured alarms: fed with the periods that a commit closes, told of each change of state in that commit.

What an alarm looks at is a query over what is stored, so a start finds by itself where each one stands, and a later
version of a period folds its alarm anew: what rang does not ring a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

from station.alarm import (
    BEGINNING,
    CONCENTRATIONS,
    LENGTHS,
    AlarmSettings,
    Cause,
    Seen,
    Standing,
    State,
    daily_max_8h,
    limits_on,
    needs_temperature,
    rows_of,
    step,
    words,
)
from station.city import KIND as CITY
from station.city import latest
from station.clock import EPOCH, period_start
from station.limits import City, Limit, of_station
from station.model import Average, Kind, Record, Report, WrongArgument, dataclass, did_you_mean, field, replace
from station.parameters import catalogue
from station.rules import Level, Why
from station.store import Event, Store

if TYPE_CHECKING:
    from pathlib import Path

    from station.alarm_drill import Drill
    from station.bands import Bands
    from station.config import Config
    from station.periods import Periods

KIND, ACKNOWLEDGED, REVISED = "alarm", "alarm_ack", "alarm_revised"
BAND = "band"  # station/bands.py
KEPT = 200  # periods of an alarm that a later version can still revise
LOOK_BACK = timedelta(days=62)  # for the state an alarm had before the periods of today
QUARTER = timedelta(minutes=15)
STALE_PERIODS, STALE_GRACE = 2, timedelta(minutes=10)
CODES = {
    State.NORMAL: "alarm_over",
    State.PRE_ALARM: "pre_alarm",
    State.ALARM: "alarm",
    State.UNDETERMINED: "alarm_undetermined",
    State.STALE: "alarm_stale",
}
COMMISSIONING = "commissioning"  # as station/commissioning.py, which hardly any run needs
KIND_OF = {"1min": Kind.MINUTE, "5min": Kind.MINUTE, "15min": Kind.MINUTE, "day": Kind.DAY}


class Rule(Protocol):
    """What is watched: which periods it looks at, what one comes to, and what follows from it."""

    name: str
    table: str  # of station.toml
    point: str
    parameter: str
    points: Sequence[str]
    kind: Kind  # whose closing lets a period be judged
    length: timedelta
    reach: timedelta  # how long after a report its periods still look at it
    look_back: int  # periods that a start has to look at again
    period: str  # by which name sources know it

    @property
    def terms(self) -> Mapping[str, Any]:
        """What else events and screens say of it."""

    def seen(self, sources: Sources, start: datetime) -> Seen:
        """What the period from *start* on comes to."""

    def step(self, before: Standing, seen: Seen) -> Standing:
        """Where it stands behind *seen*."""


# -- where values come from


class Sources:
    """What is stored, as rules ask for it; what one turn reads twice it reads once."""

    def __init__(self, config: Config, store: Store, periods: Periods, zone: tzinfo) -> None:
        self.store, self._periods, self.zone = store, periods, zone
        self._referred = {point.code for point in config.point if point.reference_oxygen is not None}
        self._read: dict[tuple[Any, ...], Any] = {}

    def fresh(self) -> None:
        """Forget what was read: something may have been closed since."""
        self._read = {}

    def report(self, point: str, period: str, start: datetime) -> Report | None:
        """The averages of *point* over *period* from *start* on, where it was closed."""
        key = (point, period, start)
        if key not in self._read:
            self._read[key] = self._found(point, period, start)
        found: Report | None = self._read[key]
        return found

    def _found(self, point: str, period: str, start: datetime) -> Report | None:
        if period not in ("5min", "15min"):
            kind = KIND_OF.get(period, Kind.HOUR)
            return self.store.average(kind, point, start)
        made = self._periods.rolled(Kind.MINUTE, Kind.MINUTE, start, LENGTHS[period])
        self._read |= {(report.point, period, start): report for report in made}
        return next((report for report in made if report.point == point), None)

    def value(self, point: str, parameter: str, period: str, start: datetime) -> float | None:
        """The mean that is held against limits: unrounded, at reference oxygen where the point has one.

        None where nothing was measured, or the mean does not hold by the point's capture rule.
        """
        report = self.report(point, period, start)
        one = next((a for a in report.averages if a.parameter == parameter), None) if report else None
        if one is None or not self._periods.holds(one, point, LENGTHS[period]):
            return None
        return one.converted if self._is_converted(point, one) else one.mean

    def loads(self, point: str, parameter: str, year: int) -> Mapping[date, float | None]:
        """What each day of *year* carried, kg."""
        key = (point, parameter, year)
        if key not in self._read:
            from station.working import loads_of

            self._read[key] = loads_of(self.store, point, parameter, year, self.zone)
        found: Mapping[date, float | None] = self._read[key]
        return found

    def _is_converted(self, point: str, one: Average) -> bool:
        known = catalogue().get(one.parameter)
        return point in self._referred and known is not None and known.unit in CONCENTRATIONS

    def city(self, start: datetime) -> City | None:
        """The city's air in the hour of *start*, where anybody told."""
        found = latest(self.store, period_start(Kind.HOUR, start, self.zone))
        if found is None:
            return None
        body = found.body
        return City(pm10=body["pm10"], aqi=body["aqi"], primary=tuple(body["primary"]))


class LimitRule:
    """An [[alarm]]."""

    table = "alarm"

    def __init__(self, settings: AlarmSettings, rows: Sequence[Limit]) -> None:
        self.settings, self._rows = settings, rows
        self._held: dict[date, tuple[Limit, ...]] = {}
        self.name, self.point, self.parameter = settings.name, settings.point, settings.parameter
        self.points: Sequence[str] = (settings.point,)
        self.period = settings.period
        self.terms: Mapping[str, Any] = {}
        self.kind, self.length = KIND_OF.get(settings.period, Kind.HOUR), LENGTHS[settings.period]
        self.eight = settings.period == "8h-max"
        self.reach = timedelta(days=1) if self.eight else timedelta(0)
        self.look_back = settings.in_a_row
        mine = rows_of(settings, rows)
        self.counts = any(one.per_day for one in mine)
        self.offset, self._temperature = any(one.offset for one in mine), needs_temperature(mine)

    def seen(self, sources: Sources, start: datetime) -> Seen:
        """The period's mean with what its limit needs beside it."""
        one, day = self.settings, start.astimezone(sources.zone).date()
        value = self._eight(sources, start) if self.eight else sources.value(
            one.point, one.parameter, one.period, start
        )  # fmt: skip
        celsius = sources.value(one.point, "water_temperature", one.period, start) if self._temperature else None
        city = sources.city(start) if self.offset else None
        return Seen(start=start, day=day, value=value, city=city, temperature=celsius)

    def _eight(self, sources: Sources, start: datetime) -> float | None:
        first = period_start(Kind.DAY, start, sources.zone)
        count = (start - first) // self.length + 1
        hours = [sources.value(self.point, self.parameter, "1h", first + n * self.length) for n in range(count)]
        held = self._limits(start.astimezone(sources.zone).date())
        found = daily_max_8h(hours, min((one.value for one in held), default=None))
        return found.value if found.holds else None

    def step(self, before: Standing, seen: Seen) -> Standing:
        """By the limit of the day."""
        return step(self.settings, before, seen, self._limits(seen.day))

    def _limits(self, day: date) -> tuple[Limit, ...]:
        if day not in self._held:
            self._held[day] = limits_on(self.settings, day, self._rows)
        return self._held[day]


# -- one alarm over time


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was last told of an alarm; its *episode* goes on until it is normal again."""

    state: State = State.UNDETERMINED
    cause: Cause = Cause.NOT_YET
    since: datetime = EPOCH
    episode: str = ""
    acknowledged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A rule with the periods it has seen; *base* is where it stood before them, *standing* where behind them."""

    rule: Any
    following: datetime  # the period to be judged next
    base: Standing = BEGINNING
    seen: Mapping[datetime, Seen] = field(default_factory=dict)
    standing: Standing = BEGINNING
    told: Told = Told()

    def with_next(self, seen: Seen) -> Watch:
        """After the next period."""
        base, kept = self.base, dict(self.seen)
        kept[seen.start] = seen
        while len(kept) > KEPT:
            base = self.rule.step(base, kept.pop(next(iter(kept))))
        return replace(self, base=base, seen=kept, standing=self.rule.step(self.standing, seen))

    def again(self, revised: Mapping[datetime, Seen]) -> Watch:
        """With later versions of periods in the place of the earlier ones, whatever order they come in."""
        seen = dict(sorted({**self.seen, **revised}.items()))
        return replace(self, seen=seen, standing=reduce(self.rule.step, seen.values(), self.base))

    def over(self, start: datetime) -> bool:
        """Whether the period from *start* on is past its limit, as it is known now."""
        before = [one for at, one in self.seen.items() if at < start]
        standing: Standing = reduce(self.rule.step, [*before, self.seen[start]], self.base)
        return standing.over


class Alarms:
    """Every [[alarm]], [[pair]], [[dry_flow]] and [[permit]] of *config*."""

    def __init__(
        self, config: Config, folder: Path, store: Store, periods: Periods, zone: tzinfo,
        keep: Callable[..., None], note: Callable[..., None],
    ) -> None:  # fmt: skip
        self._store, self._zone, self._keep, self._note = store, zone, keep, note
        self._sources, self._periods = Sources(config, store, periods, zone), periods
        acknowledged = {r.device: r for r in store.newest_records(ACKNOWLEDGED, "device")}
        told = {r.device: _told(r, acknowledged.get(r.device)) for r in store.newest_records(KIND, "device")}
        self._bands = None
        if config.pair:
            from station.bands import in_store

            self._bands = in_store(store)
        self._watches = {}
        for rule in rules(config, folder, self._bands):
            watch = self._restored(rule, told.get(rule.name, Told()), self._closed_for(rule, periods.next))
            self._watches[rule.name] = watch
        self._proposed: dict[str, Watch] = {}
        self._drill: Drill | None = None  # the test of a commissioning, as it is in force and as the turn leaves it
        self._next_drill: Drill | None = None

    def _restored(self, rule: Rule, told: Told, upto: datetime) -> Watch:
        """*rule* as the stored periods leave it: those of the day, or, where these are many, as many as it needs."""
        following = self._aligned(rule, upto)
        first = following - rule.look_back * rule.length
        if rule.length >= QUARTER or getattr(rule, "counts", False):
            first = min(first, period_start(Kind.DAY, following, self._zone))
        first = max(first, following - KEPT * rule.length)
        before = self._store.records(KIND, first - LOOK_BACK, first, device=rule.name)
        level = State(before[-1].body["level"]) if before else State.NORMAL
        watch = Watch(rule=rule, following=first, base=replace(BEGINNING, level=level), told=told)
        watch = replace(watch, standing=watch.base)
        return self._gone_on(watch, following)

    # -- a commit

    def turn(
        self, closed: Mapping[Kind, datetime], reports: Iterable[Report], records: Iterable[Record], now: datetime
    ) -> tuple[list[Event], list[Record]]:
        """Inside a transaction: what the *reports* it closed up to *closed*, and its *records*, change.

        Nothing is in force before `committed`: a commit that fails is made again.
        """
        self._sources.fresh()
        reports, records = list(reports), list(records)
        events: list[Event] = []
        made: list[Record] = []
        self._proposed = {}
        for record in records:
            if record.kind == BAND and self._bands is not None:
                self._bands.take(record)
        for name, watch in self._watches.items():
            stale = self._revisable(watch, reports, records)
            new = self._gone_on(watch, self._closed_for(watch.rule, closed))
            if stale:
                new = self._revised(watch, new, stale, now, events, made)
            new = self._acknowledged(new, records)
            self._proposed[name] = self._told(new, now, events, made)
        self._drilled(records, now, events)
        return events, made

    def _drilled(self, records: Sequence[Record], now: datetime, events: list[Event]) -> None:
        """Let the test of a commissioning begin or end; it has events, marked as a test, and no record of an alarm."""
        self._next_drill = self._drill
        if self._drill is None and not any(record.kind == COMMISSIONING for record in records):
            return
        from station.alarm_drill import changed, told  # a new station, once

        self._next_drill = changed(self._drill, records, now)
        for on, drill in told(self._drill, self._next_drill):
            watch = self._proposed.get(drill.name)
            if watch is not None:
                state = State.ALARM if on else watch.told.state
                body = {"name": drill.name, "test": True, "state": str(state), "cause": str(Cause.TEST),
                        "user": drill.user, "point": watch.rule.point, "parameter": watch.rule.parameter}  # fmt: skip
                events.append(Event(now, CODES[State.ALARM if on else State.NORMAL], body))

    def _closed_for(self, rule: Rule, closed: Mapping[Kind, datetime]) -> datetime:
        """Up to where all that *rule* looks at is closed: what an analyser measures comes later."""
        return self._periods.closed_for(rule.kind, [(point, rule.parameter) for point in rule.points], closed)

    def committed(self) -> None:
        """The commit of the last turn is durable."""
        self._watches |= self._proposed
        self._proposed = {}
        self._drill = self._next_drill

    def _aligned(self, rule: Rule, moment: datetime) -> datetime:
        """Start of the period of *rule* that *moment* lies in."""
        if rule.length >= timedelta(days=1):
            return period_start(Kind.DAY, moment, self._zone)
        hour = period_start(Kind.HOUR, moment, self._zone)
        return hour + (moment - hour) // rule.length * rule.length

    def _gone_on(self, watch: Watch, upto: datetime) -> Watch:
        """*watch* after every period that ended by *upto*; one of which nothing is stored tells nothing."""
        rule, start = watch.rule, watch.following
        start = max(start, self._aligned(rule, upto) - KEPT * rule.length)
        while start + rule.length <= upto:
            if any(self._sources.report(point, rule.period, start) for point in rule.points):
                watch = watch.with_next(rule.seen(self._sources, start))
            start += rule.length
        return replace(watch, following=start)

    def _revisable(self, watch: Watch, reports: Iterable[Report], records: Iterable[Record]) -> list[datetime]:
        """The periods already judged that look at one of *reports*, or at what was told of the city's air."""
        rule = watch.rule
        touched = [
            (self._aligned(rule, r.start), rule.reach)
            for r in reports
            if r.kind is rule.kind and r.point in rule.points
        ]
        if getattr(rule, "offset", False):
            hour = timedelta(hours=1)
            touched += [(self._aligned(rule, r.at), hour - rule.length) for r in records if r.kind == CITY]
        return [at for at in watch.seen if any(first <= at <= first + reach for first, reach in touched)]

    def _revised(
        self, before: Watch, watch: Watch, starts: Sequence[datetime], now: datetime,
        events: list[Event], made: list[Record],
    ) -> Watch:  # fmt: skip
        fresh = {at: watch.rule.seen(self._sources, at) for at in starts if at in watch.seen}
        changed = {at: seen for at, seen in fresh.items() if seen != watch.seen[at]}
        if not changed:
            return watch
        new = watch.again(changed)
        for at, seen in changed.items():
            was, now_is = before.over(at), new.over(at)
            if was is not now_is:
                said = {
                    "name": watch.rule.name, "start": at.isoformat(), "was": before.seen[at].value,
                    "value": seen.value, "was_past_the_limit": was, "past_the_limit": now_is,
                }  # fmt: skip
                events.append(Event(now, REVISED, said))
                made.append(Record(REVISED, now, said, watch.rule.point, watch.rule.name))
        return new

    def _acknowledged(self, watch: Watch, records: Iterable[Record]) -> Watch:
        for record in records:
            if record.kind == ACKNOWLEDGED and record.device == watch.rule.name:
                watch = replace(watch, told=_with_word(watch.told, record))
        return watch

    def _told(self, watch: Watch, now: datetime, events: list[Event], made: list[Record]) -> Watch:
        """*watch* with its state told where that has changed."""
        state, cause = self._state(watch, now)
        told = watch.told
        if state is told.state:
            return replace(watch, told=replace(told, cause=cause)) if cause is not told.cause else watch
        episode, word = told.episode, told.acknowledged
        if state is State.ALARM and not episode:
            episode, word = now.isoformat(timespec="seconds"), {}
        elif state in (State.NORMAL, State.PRE_ALARM):
            episode, word = "", {}
        body = {
            "name": watch.rule.name, "rule": watch.rule.table, "state": str(state), "cause": str(cause),
            "before": str(told.state), "level": str(watch.standing.level), "episode": episode,
            **described(watch.rule, watch.standing),
        }  # fmt: skip
        events.append(Event(now, CODES[state], body))
        made.append(Record(KIND, now, body, watch.rule.point, watch.rule.name))
        new = Told(state=state, cause=cause, since=now, episode=episode, acknowledged=word)
        return replace(watch, told=new)

    def _state(self, watch: Watch, now: datetime) -> tuple[State, Cause]:
        standing, rule = watch.standing, watch.rule
        if standing.seen is None:
            return standing.state, standing.cause
        patience = (STALE_PERIODS + 1) * rule.length + STALE_GRACE
        patience += self._periods.delay([(point, rule.parameter) for point in rule.points])
        if now - standing.seen.start > patience:
            return State.STALE, Cause.NOT_CLOSED
        return standing.state, standing.cause

    # -- what is asked

    def states(self) -> list[dict[str, Any]]:
        """Every alarm with its state, why, and what it looks at."""
        rows = [
            described(watch.rule, watch.standing) | _standing(watch.rule, watch.told)
            for watch in list(self._watches.values())
        ]
        if self._drill is None:
            return rows
        from station.alarm_drill import shown

        return [shown(row, self._drill) for row in rows]

    def level(self, name: str, *, pre_alarm: bool = False) -> Level:
        """What a rule that follows alarm *name* looks at: 1 while it is on, 0 while not, trouble when nobody knows."""
        state = self._watches[name].told.state
        if self._drill is not None and self._drill.name == name:
            return Level(1.0)
        if state in (State.UNDETERMINED, State.STALE):
            return Level(None, Why.NO_VALUE)
        return Level(float(state is State.ALARM or (pre_alarm and state is State.PRE_ALARM)))

    def acknowledge(self, fields: Mapping[str, Any], now: datetime) -> Record:
        """Have a person's word about an alarm kept; raise WrongArgument when there is nothing to say it of."""
        made = acknowledgement({name: watch.told for name, watch in self._watches.items()}, fields, now)
        self._keep(made, urgent=True)
        self._note("alarm_acknowledged", urgent=True, name=made.device, **made.body)
        return made


def rules(config: Config, folder: Path, bands: Bands | None = None) -> list[Rule]:
    """Everything *config* has watched, by the limits that hold at the station of *folder*, and the power *bands*."""
    rows, _ = of_station(folder) if config.alarm else ((), [])
    found: list[Rule] = [LimitRule(one, rows) for one in config.alarm]
    if config.pair or config.dry_flow or config.permit:
        from station.working import DryFlowRule, PairRule, PermitRule  # only who watches working conditions pays for it

        pairs = [PairRule(one) for one in config.pair]
        for pair in pairs:
            pair.bands = bands
        found += pairs
        found += [DryFlowRule(one) for one in config.dry_flow]
        found += [PermitRule(one) for one in config.permit]
    return found


def described(rule: Rule, standing: Standing) -> dict[str, Any]:
    """Point, parameter, period, value and limit, as events and screens say them."""
    seen, known = standing.seen, catalogue().get(rule.parameter)
    city = seen.city if seen else None
    return {
        "point": rule.point,
        "parameter": rule.parameter,
        "period": rule.period,
        "start": seen.start.isoformat() if seen else None,
        "value": seen.value if seen else None,
        "beside": seen.beside if seen else None,
        "unit": known.unit if known else "",
        "count": max(standing.counts, default=0),
        "in_a_row": standing.run,
        "city": None if city is None else {"pm10": city.pm10, "aqi": city.aqi, "primary": list(city.primary)},
        **rule.terms,
        **words(standing.limit),
    }


def _standing(rule: Rule, told: Told) -> dict[str, Any]:
    """Name and state, as screens say them."""
    return {
        "name": rule.name,
        "rule": rule.table,
        "state": str(told.state),
        "cause": str(told.cause),
        "since": told.since.isoformat() if told.since != EPOCH else None,
        "episode": told.episode,
        "acknowledged": dict(told.acknowledged),
    }


def _told(record: Record, word: Record | None) -> Told:
    body = record.body
    told = Told(state=State(body["state"]), cause=Cause(body["cause"]), since=record.at, episode=body["episode"])
    return told if word is None else _with_word(told, word)


def _with_word(told: Told, word: Record) -> Told:
    if not told.episode or word.body["episode"] != told.episode:
        return told
    said = {"user": word.body["user"], "note": word.body["note"], "at": word.at.isoformat(timespec="seconds")}
    return replace(told, acknowledged=said)


def acknowledgement(told: Mapping[str, Told], fields: Mapping[str, Any], now: datetime) -> Record:
    """The record of a person's word about an alarm; raise WrongArgument, in which case nothing was kept."""
    name, user, note = (str(fields.get(key) or "").strip() for key in ("name", "user", "note"))
    if name not in told:
        raise WrongArgument(f'there is no alarm "{name}"{did_you_mean(name, told)}; known: {", ".join(told) or "none"}')
    if not user or not user.isprintable():
        raise WrongArgument("an acknowledgement needs a name (--user)")
    if note and not note.isprintable():
        raise WrongArgument("the note holds characters that cannot be printed")
    one = told[name]
    if not one.episode:
        raise WrongArgument(f'"{name}" has no alarm to acknowledge: it is {one.state}')
    if one.acknowledged:
        raise WrongArgument(f'"{name}" was acknowledged by {one.acknowledged["user"]} at {one.acknowledged["at"]}')
    return Record(ACKNOWLEDGED, now, {"episode": one.episode, "user": user, "note": note}, device=name)


def stored(store: Store) -> dict[str, tuple[Told, Record]]:
    """What the database alone says of each alarm."""
    word = {r.device: r for r in store.newest_records(ACKNOWLEDGED, "device")}
    return {r.device: (_told(r, word.get(r.device)), r) for r in store.newest_records(KIND, "device")}


def as_left(store: Store, config: Config, folder: Path) -> list[dict[str, Any]]:
    """The rows of `Alarms.states` as the database alone has them: each alarm as it was last told."""
    from station.bands import in_store

    told, rows = stored(store), []
    for rule in rules(config, folder, in_store(store)):
        one, record = told.get(rule.name, (Told(), None))
        said = described(rule, BEGINNING) | ({} if record is None else dict(record.body))
        rows.append(said | _standing(rule, one))
    return rows
