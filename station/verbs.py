"""What tools may ask of a running station through its control socket: a verb each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from station import marks, status
from station.clock import EPOCH
from station.model import Kind, Outcome, Record, StationError, StoreError, WrongArgument, asdict
from station.records import PERIODIC, TOLD

if TYPE_CHECKING:
    from station.control import Verb
    from station.engine import Engine
    from station.linkage import Linkage

FOREVER = datetime.max.replace(tzinfo=UTC)
LONGEST_ORDER = 30 * 86400  # seconds a person's word about an output may hold
LENT = ("line", "ask", "poke", "tell", "frames")  # what tools do on a line that is lent to them
LONGEST_TOLD = 200  # characters of what the page tells
PAGE_DONE = ("signed_in", "signed_out", "enrolled", "refused", "downloaded", "forgotten", "all_out")
PAGE_TOLD = ("address", "name", "file", "kind", "point", "parameter", "first", "last", "rows", "sessions")
SEE = {
    "maintenance": "maintenance list",
    "visit": "visit list",
    "part": "parts list",
    "comparison": "comparisons list",
    "commissioning": "commission",
}  # what shows an entry


class NotEntered(StoreError):
    """Error raised when an entry could not be made durable and was taken back."""


class NotBegun(StationError):
    """Error raised when a check was not begun or not stopped, for a reason that is said."""

    exit_code = 75


def verbs(engine: Engine) -> dict[str, Verb]:
    """What tools may ask of the running *engine*, by the names they ask with."""
    return {name: partial(_carry_out, verb) for name, verb in Verbs(engine).table().items()}


def _carry_out(verb: Verb, request: Mapping[str, Any]) -> Any:
    """Do what is asked, unless a text in it is none: a terminal set to GBK sends such, and no database takes them."""
    try:
        json.dumps(request, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise WrongArgument(
            "what was typed is no text in UTF-8, so nothing was done; set the terminal to UTF-8 and type it again"
        ) from error
    return verb(request)


class Verbs:
    """The verbs of *engine*; entries of people are taken one after the other.

    An entry is checked against what the one before it has entered, and it is on the disk when its verb returns.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._one_entry = engine.one_entry
        self._orders_issued = 0  # the highest number of an order so far, also of those that wait for a commit
        self._meters_issued = 0  # and of exchanges of meters
        self._results_issued = 0  # and of results of laboratories
        self._bands_issued = 0  # and of power bands

    def table(self) -> dict[str, Verb]:
        """Every verb by the name that a tool asks for."""
        return {
            "alarms": self.alarms,
            "backup_taken": partial(self.backup_taken, "backup"),
            "month_closed": partial(self.backup_taken, "month"),
            "release": self.release,
            "calibrate": self.calibrate,
            "city": self.city,
            "collector": self.collector,
            "order": self.order,
            "qc": self.qc,
            "dustfall": self.dustfall,
            "field": self.field,
            "marks": self.marks,
            "meter": self.meter,
            "laboratory": self.laboratory,
            "people_test": self.people_test,
            "snapshot": self.snapshot,
            "modem": self.modem,
            "band": self.band,
            "status": lambda request: status.live(self.engine),
            "read": self.read,
            "commit": self.commit,
            "resend": self.resend,
            "seal_key": self.seal_key,
            "clock": self.confirm_clock,
            "trace": self.trace,
            "gaps": self.gaps,
            "output": self.output,
            "tunnel": self.tunnel,
            "sampler": self.sampler,
            "page": self.page,
            "screen": self.screen,
            "pin": self.pin,
            **{name: partial(self._lent, name) for name in LENT},
        }

    def read(self, request: Mapping[str, Any]) -> Any:
        return status.read_device(self.engine, str(request.get("device", "")))

    def commit(self, request: Mapping[str, Any]) -> Any:
        self.engine.committed()
        return {"error": self.engine.store_error}

    def resend(self, request: Mapping[str, Any]) -> Any:
        """Queue messages again: platform, from, to (ISO 8601, to excluded), kinds; how many that adds."""
        outbox = self.engine.outboxes.get(str(request.get("platform")))
        if outbox is None:
            raise WrongArgument(f"there is no such platform; known: {', '.join(self.engine.outboxes) or 'none'}")
        start, end = (_moment(request, name) for name in ("from", "to"))
        words = request.get("kinds") or PERIODIC
        if not isinstance(words, Sequence) or not all(word in (*PERIODIC, *TOLD) for word in words):
            raise WrongArgument(f"kinds are {', '.join((*PERIODIC, *TOLD))}")
        return {"queued": outbox.resend(start, end, [Kind[word.upper()] for word in words])}

    def trace(self, request: Mapping[str, Any]) -> Any:
        """Frames of a platform's link numbered above `after`, secrets masked; noted for as long as one asks."""
        sender = next((s for s in self.engine.senders if s.outbox.name == request.get("platform")), None)
        if sender is None:
            raise WrongArgument(f"there is no such platform; known: {', '.join(self.engine.outboxes) or 'none'}")
        tap = getattr(sender.uplink, "tap", None)
        if tap is None:
            raise WrongArgument(f"{sender.outbox.name}: this protocol shows no frames")
        after = request.get("after") or 0
        if not isinstance(after, int):
            raise WrongArgument("after is the number of a frame")
        return [seen._asdict() for seen in tap.look(after)]

    def gaps(self, request: Mapping[str, Any]) -> Any:
        """What a platform does not have from .. to, as committed just now, and its completeness."""
        from station import ledger  # only who asks pays for it

        self.engine.committed()
        start, end = (_moment(request, name) for name in ("from", "to"))
        now, zone = self.engine.clock.now(), self.engine.loaded.zone
        asked = (self.engine.store, str(request.get("platform")), start, end, now, zone)
        return {
            "gaps": [{**asdict(gap), "kind": gap.kind.name.lower()} for gap in ledger.gaps(*asked)],
            "rows": [{**asdict(row), "kind": row.kind.name.lower()} for row in ledger.completeness(*asked)],
        }

    def backup_taken(self, kind: str, request: Mapping[str, Any]) -> Any:
        """Keep on record that a copy of the database was taken and read back, or the file of a month."""
        body = request.get("body")
        if not isinstance(body, Mapping):
            raise WrongArgument("body says what copy was taken")
        self.engine.keep(Record(kind, _moment(request, "at"), dict(body)), urgent=True)
        self._commit("status")
        return {}

    def release(self, request: Mapping[str, Any]) -> Any:
        """Let raw readings of whole months before `before` leave: person, reason, copied (a copy that holds them)."""
        from station import capacity  # only who asks pays for it

        who = {key: str(request.get(name) or "").strip() for key, name in (("user", "person"), ("reason", "reason"))}
        if not all(who.values()):
            raise WrongArgument("what leaves is on record with a person and a reason: --user NAME --reason TEXT")
        with self._one_entry:
            engine, before = self.engine, _moment(request, "before")
            engine.committed()
            copied = bool(request.get("copied"))
            body = capacity.release(engine.store, before, engine.clock.now(), who, copied=copied)
            engine.periods.raw_from = before
        return body

    def seal_key(self, request: Mapping[str, Any]) -> Any:
        """Seal with the key that was made for it from the next block on: key (64 hexadecimal digits), person."""
        from station.sealing import give_key
        from station.store import Event

        try:
            key, user = bytes.fromhex(str(request.get("key"))), str(request.get("person") or "").strip()
        except ValueError as error:
            raise WrongArgument("a key has 64 hexadecimal digits") from error
        if len(key) != 32 or not user:
            raise WrongArgument("a key has 64 hexadecimal digits, and a person takes it along")
        with self._one_entry, self.engine.store.transaction():  # both or none: with a refusal the file of the key goes
            epoch = give_key(self.engine.store, key)
            said = {"epoch": epoch, "user": user}
            self.engine.store.add_events([Event(self.engine.clock.now(), "seal_key", said)])
        return {"epoch": epoch}

    def confirm_clock(self, request: Mapping[str, Any]) -> Any:
        """A person's word that the clock is right as it stands, where the time server is doubted: person, reason."""
        user, reason = (str(request.get(name) or "").strip() for name in ("person", "reason"))
        if not user or not reason:
            raise WrongArgument("whether a clock is right is on record with a person and a reason: --user --reason")
        with self._one_entry:
            time = self.engine.time
            if not time.against:
                raise WrongArgument("the clock is not doubted: there is nothing to confirm")
            self.engine.note("clock_confirmed", urgent=True, user=user, reason=reason, against=time.against)
            self._commit("events")
            time.doubt.confirm()
        return {"confirmed": True}

    def _commit(self, see: str) -> None:
        """Return when all that was kept so far is committed; *see* is the command that shows it."""
        if not self.engine.committed():
            raise StoreError(self.engine.store_error or f"the station did not commit in time; see station {see}")

    def _make_durable(self, see: str, *entries: Record) -> None:
        """Return when *entries* are committed; what the disk refuses is taken back, so that a refusal is one."""
        self.engine.keep(*entries, urgent=True)
        if self.engine.committed():
            return
        why = self.engine.store_error or "the station did not commit in time"
        if self.engine.withdraw(entries):
            raise NotEntered(f"{why}; nothing was entered")
        raise StoreError(f"{why}; it is entered as soon as that is possible, see station {see}")

    def dustfall(self, request: Mapping[str, Any]) -> Any:
        """Keep an entry of the field book, committed when this returns."""
        from station.fieldbook import enter_dustfall

        with self._one_entry:
            points = [point.code for point in self.engine.config.point]
            keep = partial(self._make_durable, "dustfall list")
            now, zone = self.engine.clock.now(), self.engine.loaded.zone
            made = enter_dustfall(self.engine.store, keep, _fields(request), points, now, zone)
            told = {key: made.body[key] for key in ("do", "name", "user")}
            self.engine.note("dustfall", urgent=True, **told)
        return dict(made.body)

    def marks(self, request: Mapping[str, Any]) -> Any:
        """Keep a mark by hand, committed when this returns; what is closed already follows by itself."""
        with self._one_entry:
            points = {point.code: point for point in self.engine.config.point}
            book, fields = self.engine.periods.marks, _fields(request)
            number = self.engine.next_mark() if fields.get("do") == "mark" else 0
            made = marks.enter(book, fields, points, self.engine.clock.now(), number)
            self._make_durable("marks list", made)
            self.engine.note("mark_by_hand", urgent=True, point=made.point, **made.body)
        return dict(made.body)

    def field(self, request: Mapping[str, Any]) -> Any:
        """Keep an entry of field work: what (maintenance, visit, part …) and its fields; committed first."""
        what = str(request.get("what") or "")
        with self._one_entry:
            work = self.engine.field_work()
            made = work.made(what, _fields(request))
            try:
                self._make_durable(SEE.get(what, what), *made)
            except NotEntered:
                raise
            except StoreError:
                work.take(made)  # it will be on record
                raise
            work.take(made)
        return dict(made[0].body)

    def calibrate(self, request: Mapping[str, Any]) -> Any:
        """Keep an entry of a calibration with its mark, committed when this returns; coefficients then hold at once."""
        from station import lend
        from station.calibration_entry import Hands, enter_calibration

        engine = self.engine

        keep = partial(self._make_durable, "calibrate list")
        hands = Hands(
            talk=lambda device, verb, words: lend.act(engine, device, verb, words), keep=keep, number=engine.next_mark
        )
        with self._one_entry:
            fields = _fields(request)
            number = engine.next_mark() if fields.get("do") == "begin" else 0
            self._not_checked(fields)
            now, trust = engine.clock.now(), engine.trust()
            made = enter_calibration(engine.store, engine.loaded, fields, now, trust, number, hands)
            body = made[0].body
            told = {key: body[key] for key in ("parameter", "procedure", "coefficients", "verdict") if key in body}
            engine.note(
                "calibration", urgent=True, do=body["do"], name=body["name"], device=made[0].device,
                user=body["user"], **told,
            )  # fmt: skip
            keep(*made)
        return dict(body)

    def _not_checked(self, fields: Mapping[str, Any]) -> None:
        """Raise WrongArgument where a calibration would begin at an instrument that is just being checked."""
        device = str(fields.get("device") or "")
        if self.engine.checking is not None and (name := self.engine.checking.at_work(device)):
            raise WrongArgument(f"{device} is being checked ({name}); wait for its end, or: station qc stop")

    def qc(self, request: Mapping[str, Any]) -> Any:
        """How the automatic checks stand; with action run or stop, or a word about one that failed, what came of it."""
        from station import checks

        action, fields = str(request.get("action") or "list"), _fields(request)
        if action in ("confirm", "dismiss"):
            with self._one_entry:
                made = self._word(action, fields)
            return dict(made[0].body)
        if self.engine.checking is None:
            raise WrongArgument("there is no [[qc]] in station.toml")
        if action == "list":
            return self.engine.checking.rows(self.engine.clock.now())
        name, by, reason = (str(fields.get(key) or "").strip() for key in ("name", "user", "reason"))
        checks.named_person(by, reason if action == "stop" or reason else "-")
        result = self.engine.checking.ask_and_wait(action, name, by, reason)
        if result.outcome is not Outcome.DONE:
            raise NotBegun(f"{name}: {result.reason}")
        return dict(result.values)

    def _word(self, action: str, fields: Mapping[str, Any]) -> list[Record]:
        """A person's word about a failed check, with the marks it sets, committed."""
        from station import checks

        engine = self.engine
        book = checks.read_book(engine.store.records(checks.KIND, EPOCH, FOREVER))
        points = {point.code: point for point in engine.config.point}
        made = checks.enter_word(
            book, engine.periods.marks, {**fields, "do": action}, points, engine.clock.now(), engine.next_mark
        )
        self._make_durable("qc list", *made)
        told = made[0].body
        engine.note(
            f"qc_{action}", urgent=True, name=told["name"], check=told["check"], device=made[0].device, **told["said"]
        )
        if engine.checking is not None:
            engine.checking.take_word(made)
        return made

    def alarms(self, request: Mapping[str, Any]) -> Any:
        """How every alarm stands; with action ack and fields, a person's word about one, committed first."""
        checked = [] if self.engine.checking is None else self.engine.checking.alarms()
        if self.engine.alarms is None:
            return checked
        if request.get("action") == "ack":
            with self._one_entry:
                made = self.engine.alarms.acknowledge(request.get("fields") or {}, self.engine.clock.now())
                self._commit("alarms")
            return {"name": made.device, **made.body}
        return [*self.engine.alarms.states(), *checked]

    def city(self, request: Mapping[str, Any]) -> Any:
        """Keep hours of the city's air that a person entered, committed when this returns."""
        from station.city import by_hand

        with self._one_entry:
            rows, who = request.get("rows") or [], str(request.get("person") or "")
            made = by_hand(self.engine.store, rows, who, self.engine.loaded.zone, self.engine.clock.now())
            for record in made:
                self.engine.keep(record, urgent=True)
            if made:
                self.engine.note("city_by_hand", urgent=True, hours=len(made), first=made[0].at, user=who)
            self._commit("city list")
        return {"kept": len(made)}

    def order(self, request: Mapping[str, Any]) -> Any:
        """Keep an entry about a dispatch order, committed when this returns."""
        from station import orders

        with self._one_entry:
            points = {point.code: point for point in self.engine.config.point}
            book = orders.Orders(self.engine.store.records(orders.KIND, EPOCH, FOREVER))
            number = max(self._orders_issued + 1, book.next_number)
            made = orders.enter(book, _fields(request), points, self.engine.clock.now(), number)
            self._orders_issued = number if made.body["do"] == "add" else self._orders_issued
            self.engine.keep(made, urgent=True)
            self.engine.note("order", urgent=True, **made.body)
            self._commit("order list")
        return dict(made.body)

    def meter(self, request: Mapping[str, Any]) -> Any:
        """Keep an exchange of meters, committed when this returns; what is closed already follows by itself."""
        from station import counter

        with self._one_entry:
            engine, book = self.engine, counter.in_store(self.engine.store)
            points = [point.code for point in engine.config.point]
            number = max(self._meters_issued + 1, book.next_number)
            made = counter.enter(book, engine.store, _fields(request), points, engine.clock.now(), number)
            self._meters_issued = number if made.body["do"] == "exchange" else self._meters_issued
            self._make_durable("meter list", made)
            engine.note("meter_exchange", urgent=True, point=made.point, **made.body)
        return dict(made.body)

    def laboratory(self, request: Mapping[str, Any]) -> Any:
        """Keep results of laboratories, committed when this returns; what is wrong in a table is returned."""
        from station import laboratory

        with self._one_entry:
            engine, fields = self.engine, _fields(request)
            points = {point.code: point.name for point in engine.config.point}
            book, now = laboratory.in_store(engine.store), engine.clock.now()
            number = max(self._results_issued + 1, book.next_number)
            try:
                made = laboratory.enter(book, fields, points, now, engine.loaded.zone, number)
            except laboratory.NoTable as error:
                return {"error": str(error), "faults": error.faults}
            names = [record.body["name"] for record in made]
            if not fields.get("dry_run"):
                self._results_issued = max(self._results_issued, *(int(name[1:]) for name in names))
                self._make_durable("lab list", *made)
                told = {key: str(fields.get(key) or "") for key in ("do", "user", "report", "file", "sha256", "reason")}
                said = {key: value for key, value in told.items() if value}
                engine.note("laboratory", urgent=True, first=names[0], last=names[-1], **said)
        return {"do": fields["do"], "names": names}

    def people_test(self, request: Mapping[str, Any]) -> Any:
        """Send the person called `name` a word that is no alarm."""
        if self.engine.telling is None:
            raise WrongArgument("there is no [[notify]] in station.toml")
        self.engine.telling.test(str(request.get("name") or ""))
        return {"name": request.get("name")}

    def screen(self, request: Mapping[str, Any]) -> Any:
        """What each screen shows; with test, seconds and person, have one show a pattern."""
        if not self.engine.config.screen:
            raise WrongArgument("there is no [[screen]] in station.toml")
        from station.led import shown

        return shown(self.engine, request)

    def snapshot(self, request: Mapping[str, Any]) -> Any:
        """Take a still with `camera` (may be left out where there is one) because `by` wants it."""
        from station.camera import entry

        return entry(self.engine, request)

    def modem(self, request: Mapping[str, Any]) -> Any:
        """A person's step for the modem: step, person, reason."""
        care = next((one for one in self.engine.beside if one.table == "modem"), None)
        if care is None:
            raise WrongArgument("there is no [modem] in station.toml")
        step, person, reason = (str(request.get(key) or "") for key in ("step", "person", "reason"))
        care.ordered(step, person, reason)  # type: ignore[attr-defined]
        return {"step": step}

    def band(self, request: Mapping[str, Any]) -> Any:
        """Learn, confirm or withdraw a power band, committed when this returns."""
        from station import bands

        with self._one_entry:
            engine, book = self.engine, bands.in_store(self.engine.store)
            pairs = {pair.name: pair for pair in engine.config.pair}
            number = max(self._bands_issued + 1, book.next_number)
            made = bands.enter(book, engine.store, _fields(request), pairs, engine.clock.now(), number)
            self._bands_issued = number if made.body["do"] == "learn" else self._bands_issued
            self._make_durable("band list", made)
            engine.note("power_band", urgent=True, pair=made.device, do=made.body["do"], name=made.body["name"])
        return dict(made.body)

    def collector(self, request: Mapping[str, Any]) -> Any:
        """What the collectors say; with name, decision and by, a person's decision about one, committed first."""
        if self.engine.collectors is None:
            raise WrongArgument("there is no [[collector]] in station.toml")
        if "decision" in request:
            name, verb, by = (str(request.get(key) or "") for key in ("name", "decision", "by"))
            self.engine.collectors.decide(name, verb, by, self.engine.clock.now())
            self._commit("collector show")
        return self.engine.collectors.results(self.engine.clock.now())

    def output(self, request: Mapping[str, Any]) -> Any:
        """What outputs do, or a person's order for one: name, seconds, reason, person."""
        linkage = _linkage(self.engine)
        if request.get("action") == "list":
            return linkage.live()
        words = (str(request.get(key) or "") for key in ("action", "name", "reason", "person"))
        action, name, reason, person = words
        found = linkage.order(action, name, _duration(request), reason, person, request.get("user"))
        if not self.engine.committed():
            why = self.engine.store_error or "the commit takes long"
            raise StoreError(f"{name}: done, and not on record yet ({why})")
        return found

    def tunnel(self, request: Mapping[str, Any]) -> Any:
        """Switch the tunnel for remote care on or off, do what a signed order says, or say how it stands."""
        from station import tunnel

        fields = _fields(request)
        do, one = str(fields.get("do") or "status"), tunnel.of(self.engine)
        by, reason = str(fields.get("by") or "")[:64], str(fields.get("reason") or "")[:LONGEST_TOLD]
        if do == "on":
            return one.switch_on(by, fields.get("hours"), reason)
        if do == "off":
            return one.switch_off(by)
        if do == "order":
            return one.obey(str(fields.get("order") or ""), str(fields.get("signature") or ""))
        return one.more()

    def sampler(self, request: Mapping[str, Any]) -> Any:
        """How a sampler stands, or a person's act: action status, take or empty, with name, by, reason, bottles …"""
        from station import sampler

        action, name = str(request.get("action") or ""), str(request.get("name") or "")
        if action == "status":
            every = [one for one in self.engine.beside if isinstance(one, sampler.Sampler)]
            return [one.state() for one in ([sampler.called(self.engine, name)] if name or not every else every)]
        if action not in ("take", "empty"):
            raise WrongArgument(f'"{action}" is not one of status, take, empty')
        by, reason = str(request.get("by") or ""), str(request.get("reason") or "")
        bottles = [_bottle(one) for one in request.get("bottles") or ()]
        with self._one_entry:
            one = sampler.called(self.engine, name)
            if action == "take":
                made = one.by_person(by, reason, bottles[0] if bottles else None, request.get("user"))
            else:
                numbers = {_bottle(key): str(text) for key, text in (request.get("laboratory") or {}).items()}
                made = one.collect(by, reason, bottles, numbers, request.get("user"))
        if not self.engine.committed():
            why = self.engine.store_error or "the commit takes long"
            raise StoreError(f"{one.called}: taken, and not on record yet ({why})")
        return made

    def page(self, request: Mapping[str, Any]) -> Any:
        """Put on record what a person did at the local page: fields do, user and what belongs to it."""
        fields = _fields(request)
        do, user = (str(fields.get(key) or "").strip() for key in ("do", "user"))
        if do not in PAGE_DONE or not (user or do == "refused"):
            raise WrongArgument(f"the page tells of {', '.join(PAGE_DONE)}, with a person")
        more = {key: str(fields[key])[:LONGEST_TOLD] for key in PAGE_TOLD if fields.get(key) not in (None, "")}
        self.engine.note("page", urgent=True, do=do, user=user[:LONGEST_TOLD], **more)
        return {}

    def pin(self, request: Mapping[str, Any]) -> Any:
        """With mock pins alone: do to an input what its wire would (active, inactive or tip)."""
        return _linkage(self.engine).drive(str(request.get("name") or ""), str(request.get("action") or ""))

    def _lent(self, name: str, request: Mapping[str, Any]) -> Any:
        """What a tool does on a line that is lent to it."""
        from station import lend  # only who asks pays for it

        return getattr(lend, name)(self.engine, request)


def _duration(request: Mapping[str, Any]) -> float | None:
    """How long an order holds, in seconds; None where nothing is said."""
    seconds = request.get("seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_ORDER:
        raise WrongArgument(f"an order holds for 1 to {LONGEST_ORDER} seconds; a lock without a time holds for good")
    return float(seconds)


def _fields(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an entry consists of, by name."""
    fields = request.get("fields") or {}
    if not isinstance(fields, Mapping):
        raise WrongArgument("the fields of an entry are names with values")
    return fields


def _linkage(engine: Engine) -> Linkage:
    if engine.linkage is None:
        raise WrongArgument("the configuration has no input, output or rule")
    return engine.linkage


def _moment(request: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(request.get(name)))
    except ValueError as error:
        raise WrongArgument(f"{name} is not a time such as 2026-03-01T08:00:00+08:00") from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{name} needs its offset from UTC")
    return moment


def _bottle(text: object) -> int:
    if not str(text).isdecimal() or len(str(text)) > 2:
        raise WrongArgument(f'"{text!s:.20}" is no number of a bottle')
    return int(str(text))
