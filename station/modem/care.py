"""Care for the link: the modem is watched, its bytes are counted, its time is compared, and it is helped when it hangs.

It is helped only while no platform answers and the modem itself, or the address of `check`, says that the link is
down: a platform that is down while another answers is not the modem's fault, and neither is one behind a good link.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from station.beside import Beside
from station.clock import boot_id
from station.loader import Fault
from station.model import Record, StationError, WrongArgument, did_you_mean, replace
from station.modem import ladder, traffic
from station.modem.at import ModemError
from station.modem.settings import ModemSettings
from station.modem.watch import REGISTERED, Seen
from station.modem.ways import WAYS, Way, reaches

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine

log = logging.getLogger(__name__)

FOREVER = datetime.max.replace(tzinfo=UTC)
PATIENCE = 60.0  # seconds that who wants the modem waits for who has it
AGREES = 3.0  # seconds that the operator's clock may run apart from ours between two looks
AHEAD = timedelta(days=400)  # behind the last time known, the operator's time is not believed without a person
NO_ANSWER = "no_answer"
TOLD_PAUSE = 600.0  # seconds between two events that say that the link is down


def make(engine: Engine) -> list[Beside]:
    """The care of [modem]."""
    return [Care(engine, engine.config.modem)]


def faults(config: Config, folder: Any) -> Iterator[Fault]:
    """What is wrong in [modem] as the rest of station.toml stands."""
    settings: ModemSettings = config.modem
    yield from settings.faults()
    outputs = [one.name for one in config.output]
    if settings.power_output and settings.power_output not in outputs:
        hint = did_you_mean(settings.power_output, outputs)
        yield Fault("modem.power_output", f'there is no output "{settings.power_output}"{hint}')
    busy = {os.path.realpath(one.port): f'screen "{one.name}"' for one in config.screen if "://" not in one.port}
    busy |= {os.path.realpath(one.port): f'bus "{one.name}"' for one in config.bus if "://" not in one.port}
    if settings.port and (other := busy.get(os.path.realpath(settings.port))) is not None:
        yield Fault("modem.port", f"is the port of {other}")
    if settings.kind == "router" and any(one.kind == "sms" for one in config.notify):
        yield Fault("modem.kind", "a router sends no sms, which [[notify]] asks for; at or manager does")


class Care(Beside):
    """The thread that looks after the modem of *settings*."""

    def __init__(
        self, engine: Engine, settings: ModemSettings, *, way: Way | None = None,
        counters: Callable[[str], traffic.Counters | None] = traffic.read, boot: str = "",
    ) -> None:  # fmt: skip
        super().__init__(engine, "modem", settings.name)
        self.settings = settings
        self._way = way or WAYS[settings.kind](settings, lambda: self.running)
        self._counters, self._boot = counters, boot or boot_id()
        self._one = Lock()  # a modem does one thing at a time
        self.seen: Seen | None = None
        self._why = self._told_why = ""
        self._told_again, self._looked = float("-inf"), False
        steps = tuple(self._way.steps) + (("power",) if settings.power_output else ())
        self.steps = tuple(one for one in ladder.STEPS if one in steps)
        self._last_up = self._up_since = engine.clock.monotonic()
        self._was_up = False
        self._count, self._next_at, self._taken = 0, 0.0, deque[float]()
        self._resting = False
        self.offset: float | None = None  # of the operator's clock against ours, seconds
        self._earlier: tuple[datetime, float] | None = None
        self.month = traffic.Month()
        self._kept_at = float("-inf")
        self._kept = traffic.Month()
        self._remembered = False

    # -- turns

    def turn(self) -> float:
        """One look, and what follows from it."""
        if not self._remembered:
            self._remember()
        failed: ModemError | None = None
        try:
            seen = self._look()
        except ModemError as error:
            seen, failed = None, error
        self._told(seen)
        self._count_bytes()
        self._help()
        if seen is not None:
            self._compare_clock(seen)
        if failed is not None:
            self.pause = min(self.pause, self.settings.look_seconds / 2)  # the next look comes no later than ever
            raise failed
        return self.settings.look_seconds

    def _look(self) -> Seen:
        with self._one:
            seen = self._way.look()
        if self.settings.check:
            seen.reaches = reaches(self.settings.check)
        return seen

    def _told(self, seen: Seen | None) -> None:
        """Keep what was seen; why the link is down is an event, every ten minutes at most where it comes and goes."""
        self.seen, self._looked = seen, True
        why, monotonic = NO_ANSWER if seen is None else seen.why_down, self.engine.clock.monotonic()
        self._why = why
        if why and why != self._told_why and monotonic >= self._told_again:
            self._told_why, self._told_again = why, monotonic + TOLD_PAUSE
            self.engine.note("modem_down", modem=self.called, reason=why)
        elif self._told_why and not why:
            self._told_why = ""
            self.engine.note("modem_up", modem=self.called)

    # -- helping it

    def _remember(self) -> None:
        """Go on where the station stopped: steps on record, and the month's bytes."""
        now, monotonic = self.engine.clock.now(), self.engine.clock.monotonic()
        records = self.engine.store.records(ladder.KIND, now - timedelta(days=40), FOREVER)
        done = ladder.past(records, now)
        self._count = done.count
        for record in records:
            if record.body.get("do") in ladder.STEPS and not record.body.get("user"):
                # One of the future, as after a power cut without a clock, counts as taken just now.
                self._taken.append(monotonic - max(0.0, (now - record.at).total_seconds()))
        if done.last is not None:
            since = max(0.0, (now - done.last).total_seconds())
            self._next_at = monotonic - since + ladder.pause(done.count, self.settings.pause_minutes)
        if self.settings.interface:
            self.month = self._kept = traffic.newest(self.engine.store, self.settings.interface)
        self._remembered = True

    def _help(self) -> None:
        """Take the step that is due, if one is."""
        monotonic, settings = self.engine.clock.monotonic(), self.settings
        up = any(sender.outbox.connected_at is not None for sender in self.engine.senders)
        if up:
            self._up_since = self._up_since if self._was_up else monotonic
            self._last_up, self._was_up = monotonic, True
            if self._count and monotonic - self._up_since >= ladder.WELL_SECONDS:
                self._count, self._next_at, self._resting = 0, 0.0, False
                self.engine.keep(self._record(ladder.WELL))
                self.engine.note("modem_recovered", modem=self.called)
            return
        self._was_up = False
        if not (self.engine.senders and settings.most_a_day and self.steps and self._why):
            return
        if self._why in ladder.HELPLESS or monotonic - self._last_up < 60 * settings.after_minutes:
            return
        if monotonic < self._next_at:
            return
        if self.today >= settings.most_a_day:
            if not self._resting:
                self._resting = True
                self.engine.note("modem_rests", modem=self.called, reason=self._why, count=self.today)
            return
        self._resting = False
        self.take(ladder.step(self.steps, self._count), self._why)

    @property
    def today(self) -> int:
        """Steps within the last 24 hours."""
        floor = self.engine.clock.monotonic() - ladder.DAY.total_seconds()
        while self._taken and self._taken[0] <= floor:
            self._taken.popleft()
        return len(self._taken)

    def _record(self, do: str, **more: Any) -> Record:
        return Record(ladder.KIND, self.engine.time.now(), {"do": do, **more}, "", self.called)

    def take(self, step: str, reason: str, user: str = "") -> None:
        """Take *step*, which is on record before it begins; one of a *user* counts for nothing."""
        record = self._record(step, reason=reason, **({"user": user} if user else {}))
        self.engine.keep(record, urgent=True)
        if not self.engine.committed() and self.engine.withdraw([record]):
            raise ModemError(f"{self.called}: no {step}: the disk did not take it, and what is not kept is not done")
        if not user:
            monotonic = self.engine.clock.monotonic()
            self._count += 1
            self._taken.append(monotonic)
            self._next_at = monotonic + ladder.pause(self._count, self.settings.pause_minutes)
        who = {"user": user} if user else {}
        if step == "redial":
            self.engine.note("modem_redial", urgent=True, modem=self.called, reason=reason, **who)
        elif step == "reset":
            self.engine.note("modem_reset", urgent=True, modem=self.called, reason=reason, **who)
        else:
            self.engine.note("modem_power", urgent=True, modem=self.called, reason=reason, **who)
        try:
            self._do(step, reason, user)
        except StationError as error:
            log.warning("%s: %s: %s", self.name, step, error)
            self.engine.note("modem_step_failed", modem=self.called, step=step, reason=str(error))
            if user:
                raise

    def _do(self, step: str, reason: str, user: str) -> None:
        if step == "power":
            if self.engine.linkage is None:
                raise WrongArgument("there are no outputs here that could cut the modem's supply")
            said = f"the modem's supply is cut: {reason}"
            output, seconds = self.settings.power_output, self.settings.power_off_seconds
            self.engine.linkage.order("on", output, seconds, said, user or "modem")
            return
        self._with_modem(self._way.redial if step == "redial" else self._way.reset)

    def _with_modem(self, act: Callable[[], None]) -> None:
        if not self._one.acquire(timeout=PATIENCE):
            raise ModemError(f"{self.called}: the modem was busy for {PATIENCE:g} s")
        try:
            act()
        finally:
            self._one.release()

    def ordered(self, step: str, user: str, reason: str) -> None:
        """A person's word: take *step* now.  Raise WrongArgument where it cannot be, ModemError where it fails."""
        if step not in self.steps:
            known = ", ".join(self.steps) or "none"
            raise WrongArgument(f'"{step}" is no step of this modem; known: {known}')
        if not (user.strip() and reason.strip()):
            raise WrongArgument("a step of the modem needs a person and a reason: --user NAME --reason TEXT")
        self.take(step, reason.strip()[:200], user.strip()[:200])
        self.ask()

    def text(self, number: str, text: str) -> None:
        """From another thread: send a text message; raise StationError where it did not go out."""
        if self.seen is not None and self.seen.registration and self.seen.registration not in REGISTERED:
            raise ModemError(f"{self.called}: no text message goes out: the modem is in no network ({self._why})")
        self._with_modem(lambda: self._way.text(number, text))

    # -- bytes

    def _count_bytes(self) -> None:
        interface = self.settings.interface
        if not interface or self.engine.time.waits:  # in a time nobody vouches for there is no month
            return
        seen = self._counters(interface)
        if seen is not None:
            at = self.engine.time.now().astimezone(self.engine.loaded.zone)
            before = self.month
            self.month = traffic.carried_on(before, seen, self._boot, at)
            if before.month and before.month != self.month.month:
                self._keep_bytes(before)
            self._watch_budget()
        monotonic = self.engine.clock.monotonic()
        if monotonic - self._kept_at >= traffic.HOUR and self.month.month:
            self._keep_bytes(self.month)

    def _keep_bytes(self, month: traffic.Month) -> None:
        if month == self._kept:
            return
        now = self.engine.time.now()
        self.engine.keep(Record(traffic.KIND, now, month.body(), "", self.settings.interface))
        self._kept, self._kept_at = month, self.engine.clock.monotonic()

    def _watch_budget(self) -> None:
        if not self.settings.budget_mb:
            return
        percent = 100 * self.month.total / (self.settings.budget_mb * traffic.MB)
        reached = max((one for one in traffic.TOLD_AT if percent >= one), default=0)
        if reached > self.month.told:
            self.month = replace(self.month, told=reached)
            self._keep_bytes(self.month)
            mb = round(self.month.total / traffic.MB)
            self.engine.note(
                "modem_budget", urgent=True, modem=self.called, percent=reached, mb=mb,
                budget_mb=self.settings.budget_mb,
            )

    # -- the operator's clock

    def _compare_clock(self, seen: Seen) -> None:
        if self.settings.network_time == "off" or seen.time is None:
            self.offset, self._earlier = None, None
            return
        monotonic, engine = self.engine.clock.monotonic(), self.engine
        self.offset = (seen.time - engine.clock.now()).total_seconds()
        earlier, self._earlier = self._earlier, (seen.time, monotonic)
        if self.settings.network_time != "use" or not engine.time.waits or engine.time.trust() != "none":
            return
        if earlier is None:
            return  # one look alone proves nothing: a clock that stands still says the same each time
        apart = (seen.time - earlier[0]).total_seconds() - (monotonic - earlier[1])
        right = engine.store.last_trusted()
        if abs(apart) > AGREES or (right is not None and not right <= seen.time <= right + AHEAD):
            return
        if why_not := engine.desk.set_clock(seen.time):
            raise ModemError(f"{self.called}: the operator's time could not be set: {why_not}")
        engine.clock_was_set("network")

    # -- what it shows

    def more(self) -> dict[str, Any]:
        """Figures for screens, the page and the doctor, and words of them."""
        seen, month, settings = self.seen or Seen(), self.month, self.settings
        figures: dict[str, Any] = {
            "kind": settings.kind, "looked": self._looked, "why_down": self._why,
            "imei": seen.imei, "iccid": seen.iccid, "apn": seen.apn,
            "wanted_apn": settings.apn, "operator": seen.operator, "registration": seen.registration,
            "context": seen.context, "reaches": seen.reaches, "rssi": seen.rssi, "rsrp": seen.rsrp, "rsrq": seen.rsrq,
            "sinr": seen.sinr, "verdict": seen.verdict, "clock_offset": self.offset, "clock_refused": seen.refused_time,
            "interface": settings.interface, "month": month.month, "received": month.received, "sent": month.sent,
            "budget_mb": settings.budget_mb, "steps_today": self.today, "most_a_day": settings.most_a_day,
        }  # fmt: skip
        words: dict[str, Any] = {} if self._why in ("", NO_ANSWER) or self.complaint else {f"down_{self._why}": ""}
        if seen.operator:
            words["operator"] = seen.operator
        if seen.apn:
            words["apn"] = seen.apn
        if seen.rsrp is not None:
            words["rsrp"] = seen.rsrp
        elif seen.rssi is not None:
            words["rssi"] = seen.rssi
        if seen.sinr is not None:
            words["sinr"] = f"{seen.sinr:g}"
        if month.month:
            words["bytes"] = f"{month.total / traffic.MB:.1f}"
        if self.today:
            words["steps"] = self.today
        return {"modem": figures, "words": words}

    def close(self) -> None:
        """Keep the month's bytes, let go of the port."""
        if self._remembered and self.settings.interface and self.month.month:
            self._keep_bytes(self.month)
        self._way.close()
