"""A jar on a balance that weighs itself: what of its mass is dust, what is rain, and when nobody can say.

There is no national standard for automatic dust-fall (regulations digest B3, low): the result is screening beside
HJ 1221-2021, whose arithmetic it uses.  The model is this project's own (D).  In a jar of 15 cm, 1 t/(km²·30d) is
17.7 mg in 30 days and 1 mm of rain is 17.7 g, so dust shows only in a dry jar, at rest, near the temperature of the
tare.  Dew makes a jar heavy for hours without rain: what counts is the driest weight of the last 24 hours.  No
glycol is put in, so the method's blank m2 is 0.

Nothing here reads a clock, an instrument or a store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from station.dustfall import dustfall, mouth_area
from station.model import dataclass

SETTLE = timedelta(minutes=30)  # a weight is constant when it stood so long
FEWEST = 5  # weighings in that time
DEW = timedelta(hours=24)
RISE_WITHIN = timedelta(hours=1)
STALE = timedelta(hours=1)  # a weight or a temperature older than this is none
CELSIUS_WITHIN = 60  # a thermometer that says more is broken


@dataclass(frozen=True, slots=True)
class Cell:
    """What a kind of weighing can tell; all figures are ours (D).

    *spread_mg* is how far the weighings of a constant weight may lie apart, *loss_mg* a fall that is no noise,
    *foreign_g* a rise between two dry days that is no dust (20 t a day and more), *rise_g* one worth an event.
    """

    spread_mg: float
    loss_mg: float
    foreign_g: float
    rise_g: float
    reportable: bool


CELLS: Mapping[str, Cell] = {
    "balance": Cell(1.0, 5.0, 0.2, 0.5, True),  # force compensation, 0.1 mg
    "strain-gauge": Cell(500.0, 5000.0, 5.0, 5.0, False),  # drifts by milligrams per kelvin: events only
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a weight has to meet to count."""

    diameter_cm: float = 15.0
    cell: str = "balance"
    dry_hours: float = 6.0
    celsius: tuple[float, float] = (-10.0, 45.0)
    band_kelvin: float = 5.0
    drift_mg: float = 2.0  # a kelvin: 1 ppm of a jar with its holder of 2 kg
    least_days: float = 7.0  # 1 mg in 7 days is 0.24 t, below the method's detection limit of 0.3

    @property
    def area_cm2(self) -> float:
        """Area of the jar's mouth."""
        return mouth_area([self.diameter_cm])


@dataclass(frozen=True, slots=True)
class Happening:
    """Something worth an event: its code, when, and its figures."""

    code: str
    at: datetime
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """Why no newer result is given: a *code* and its figures."""

    code: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Weight:
    """An accepted weight: constant, dry, at a known temperature where there is a thermometer."""

    at: datetime
    grams: float
    celsius: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What there is to say: *mass_g* since the tare and *days* until the weight that shows it.

    *value* is M in t/(km²·30d), None while it cannot be given; *held* says why, or why it is no newer.  *doubt*
    is how far off M may be by the cell's drift with temperature alone, None where no temperature is known.
    """

    mass_g: float | None = None
    days: float | None = None
    value: float | None = None
    doubt: float | None = None
    held: Held | None = None


class Collector:
    """One jar.  Tell it weights, rain and temperature in the order of time; it returns what happened."""

    def __init__(self, terms: Terms, *, thermometer: bool = True, gauge: bool = True) -> None:
        self.terms, self.cell = terms, CELLS[terms.cell]
        self._thermometer, self._gauge = thermometer, gauge
        self.tare: Weight | None = None
        self.best: Weight | None = None  # the driest weight of a day that is the heaviest so far
        self.stopped: Held | None = None  # a person has to look
        self._step_g = 0.0  # what the last stop was about
        self._dry: deque[Weight] = deque()  # accepted, of the last 24 hours, one an hour
        self._recent: deque[tuple[datetime, float]] = deque()  # stable, of the last hour
        self._rain_at: datetime | None = None
        self._rain_total: float | None = None  # the gauge's counter, mm
        self._rain_mm = 0.0  # of the present rain
        self._wet_g: float | None = None  # the heaviest since the rain began
        self._celsius: tuple[datetime, float] | None = None
        self._rise_said: datetime | None = None
        self._held: Held | None = Held("untared", {})
        self._weighed_at: datetime | None = None
        self._fit_at: datetime | None = None  # when a weight was last accepted, or first told
        self._held_said = False

    # -- what is told

    def rain(self, at: datetime, total_mm: float) -> list[Happening]:
        """The gauge's counter stands at *total_mm*; it may have begun anew."""
        before, self._rain_total = self._rain_total, total_mm
        fell = 0.0 if before is None else total_mm - before if total_mm >= before else total_mm
        if fell <= 0:
            return []
        began = self._rain_at is None or at - self._rain_at > self._dry_time
        self._rain_at = at
        self._rain_mm = fell if began else self._rain_mm + fell
        return [Happening("collector_rain", at, {"mm": round(fell, 2)})] if began else []

    def temperature(self, at: datetime, celsius: float) -> list[Happening]:
        """The air, or the jar, has *celsius*."""
        self._celsius = (at, celsius) if abs(celsius) <= CELSIUS_WITHIN else None
        return []

    def weigh(self, at: datetime, grams: float) -> list[Happening]:
        """A stable weight."""
        happened = self._risen(at, grams)
        self._recent.append((at, grams))
        while at - self._recent[0][0] > RISE_WITHIN:
            self._recent.popleft()
        if self._rain_at is not None:
            self._wet_g = grams if self._wet_g is None else max(grams, self._wet_g)
        self._weighed_at = at
        self._held = self._unfit(at)
        if self._held is None:
            settled = [g for then, g in self._recent if at - then <= SETTLE]
            happened += self._accept(Weight(at, median(settled), self._present_celsius(at)))
        return happened + self._long_held(at)

    def _long_held(self, at: datetime) -> list[Happening]:
        """Said once when no weight could be taken for a day, and once when one can again."""
        if self._held is None or self._fit_at is None:
            said, self._held_said, self._fit_at = self._held_said, False, at
            return [Happening("collector_weighs", at, {})] if said else []
        if self._held_said or at - self._fit_at < DEW:
            return []
        self._held_said = True
        return [Happening("collector_held", at, {"reason": self._held.code, **self._held.arguments})]

    def decide(self, verb: str, at: datetime) -> list[Happening]:
        """A person looked: *tare* begins anew with the next dry weight, *keep* counts what came or went, *exclude*
        takes it out of the mass.
        """
        if verb == "tare":
            self.tare = self.best = self.stopped = None
            self._dry.clear()
        elif verb in ("keep", "exclude"):
            if verb == "exclude" and self.tare is not None and self.stopped is not None:
                self.tare = Weight(self.tare.at, self.tare.grams + self._step_g, self.tare.celsius)
            self.stopped, self.best = None, self._driest()
        else:
            raise ValueError(f"a collector cannot {verb}; tare, keep or exclude")
        return [Happening("collector_decision", at, {"decision": verb, "grams": round(self._step_g, 4)})]

    # -- what it says

    def result(self, at: datetime) -> Result:
        """What can be said *at* a moment."""
        if self._weighed_at is None or at - self._weighed_at > STALE:
            self._held = Held("no_weight", {})
        last = self.best if self.stopped is not None else self._driest() or self.best
        if self.tare is None or last is None:
            return Result(held=self._held or Held("untared", {}))
        days = (last.at - self.tare.at).total_seconds() / 86400
        mass = last.grams - self.tare.grams
        held = self.stopped or self._held
        if not self.cell.reportable:
            return Result(mass, days, held=Held("events_only", {}))
        if days < self.terms.least_days:
            return Result(mass, days, held=self.stopped or Held("young", {"days": round(days, 1)}))
        area_days = self.terms.area_cm2 * days
        doubt = None
        if last.celsius is not None and self.tare.celsius is not None:
            off_g = self.terms.drift_mg / 1000 * abs(last.celsius - self.tare.celsius)
            doubt = dustfall(off_g, area_days)
        return Result(mass, days, dustfall(mass, area_days), doubt, held)

    # -- how

    @property
    def _dry_time(self) -> timedelta:
        return timedelta(hours=self.terms.dry_hours)

    def _driest(self) -> Weight | None:
        """The lightest accepted weight of the last 24 hours; the latest of equals."""
        return min(reversed(self._dry), key=lambda w: w.grams, default=None)

    def _present_celsius(self, at: datetime) -> float | None:
        return self._celsius[1] if self._celsius and at - self._celsius[0] <= STALE else None

    def _unfit(self, at: datetime) -> Held | None:
        """Why the present weight does not count."""
        if self._rain_at is not None and at - self._rain_at < self._dry_time:
            hours = (at - self._rain_at).total_seconds() / 3600
            return Held("rain", {"hours": round(hours, 1), "mm": round(self._rain_mm, 1)})
        celsius = self._present_celsius(at)
        if self._thermometer:
            if celsius is None:
                return Held("no_temperature", {})
            low, high = self.terms.celsius
            if not low <= celsius <= high:
                return Held("temperature", {"celsius": celsius})
            at_tare = self.tare.celsius if self.tare else None
            if at_tare is not None and abs(celsius - at_tare) > self.terms.band_kelvin:
                return Held("drift", {"celsius": celsius, "at_tare": at_tare})
        settled = [g for then, g in self._recent if at - then <= SETTLE]
        if len(settled) < FEWEST or at - self._recent[0][0] < SETTLE * 0.9:
            return Held("settling", {"weighings": len(settled)})
        spread = (max(settled) - min(settled)) * 1000
        if spread > self.cell.spread_mg:
            moved = (settled[-1] - settled[0]) * 1000
            word = "unsteady" if abs(moved) < spread / 2 else "drying" if moved < 0 else "rising"
            return Held(word, {"mg": round(moved if word != "unsteady" else spread, 1)})
        return None

    def _risen(self, at: datetime, grams: float) -> list[Happening]:
        """A rise within the hour that is no dust: rain, if the gauge saw enough of it, else something fell in."""
        lowest = min((g for then, g in self._recent if at - then <= RISE_WITHIN), default=grams)
        rise = grams - lowest
        if rise <= self.cell.rise_g:
            return []
        fresh = self._rain_at is not None and at - self._rain_at <= RISE_WITHIN
        expected = self._rain_mm * self.terms.area_cm2 / 10 if fresh else 0.0  # 1 mm on 1 cm² is 0.1 g
        cause = "rain" if expected >= rise / 4 else "unexplained"  # a gauge nearby may catch a quarter of it
        if not self._gauge:
            cause = "unknown"
        again = max(RISE_WITHIN, self._dry_time) if cause == "rain" else RISE_WITHIN
        if self._rise_said and at - self._rise_said <= again:
            return []
        self._rise_said = at
        return [
            Happening("collector_rise", at, {"grams": round(rise, 3), "cause": cause, "mm": round(self._rain_mm, 1)})
        ]

    def _accept(self, weight: Weight) -> list[Happening]:
        happened: list[Happening] = []
        if self._wet_g is not None:
            lost = self._wet_g - weight.grams
            if lost > self.cell.rise_g:
                happened.append(Happening("collector_dry", weight.at, {"grams": round(lost, 3)}))
            self._wet_g, self._rain_at = None, None
        if self.tare is None:
            return happened + self._tared(weight)
        best, loss = self.best or self.tare, self.cell.loss_mg / 1000
        other_jar = weight.grams < self.tare.grams - loss
        all_gone = best.grams - self.tare.grams > 2 * loss and weight.grams < self.tare.grams + loss
        if other_jar or all_gone:
            fell = best.grams - weight.grams
            emptied = Happening("collector_emptied", weight.at, {"grams": round(fell, 4)})
            return [*happened, emptied, *self._tared(weight)]
        self._keep_driest(weight)
        while self._dry and weight.at - self._dry[0].at > DEW:
            self._dry.popleft()
        driest = self._driest() or weight
        return happened if self.stopped is not None else happened + self._judged(driest)

    def _keep_driest(self, weight: Weight) -> None:
        """Of each hour only its lightest weight is kept: a day's are few, however often the balance is asked."""
        same_hour = self._dry and self._dry[-1].at.replace(minute=0, second=0, microsecond=0) == weight.at.replace(
            minute=0, second=0, microsecond=0
        )
        if not same_hour:
            self._dry.append(weight)
        elif weight.grams <= self._dry[-1].grams:
            self._dry[-1] = weight

    def _tared(self, weight: Weight) -> list[Happening]:
        self.tare, self.best, self.stopped = weight, weight, None
        self._dry = deque([weight])
        return [Happening("collector_tared", weight.at, {"grams": round(weight.grams, 4)})]

    def _judged(self, driest: Weight) -> list[Happening]:
        """Whether *driest* can be dust on top of the best so far."""
        assert self.best is not None
        step = driest.grams - self.best.grams
        if step > self.cell.foreign_g:
            code = "foreign"
        elif step < -self.cell.loss_mg / 1000:
            code = "lost"
        else:
            self.best = driest if step >= 0 else self.best
            return []
        self._step_g = step
        self.stopped = Held(code, {"grams": round(step, 4)})
        return [Happening(f"collector_{code}", driest.at, {"grams": round(step, 4)})]

    # -- kept over a restart

    def state(self) -> dict[str, Any]:
        """What has to survive, as JSON can carry it; the last hour's weights are weighed again instead."""
        return {
            "tare": _packed(self.tare),
            "best": _packed(self.best),
            "dry": [_packed(w) for w in self._dry],
            "stopped": [self.stopped.code, dict(self.stopped.arguments)] if self.stopped else None,
            "step_g": self._step_g,
            "rain_at": self._rain_at.isoformat() if self._rain_at else None,
            "rain_total": self._rain_total,
            "rain_mm": self._rain_mm,
            "wet_g": self._wet_g,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.tare, self.best = _unpacked(state["tare"]), _unpacked(state["best"])
        self._dry = deque(w for w in map(_unpacked, state["dry"]) if w is not None)
        self.stopped = Held(*state["stopped"]) if state["stopped"] else None
        self._step_g, self._rain_mm = state["step_g"], state["rain_mm"]
        self._rain_at = datetime.fromisoformat(state["rain_at"]) if state["rain_at"] else None
        self._rain_total, self._wet_g = state["rain_total"], state["wet_g"]
        self._held = Held("settling", {"weighings": 0})


def _packed(weight: Weight | None) -> list[Any] | None:
    return None if weight is None else [weight.at.isoformat(), weight.grams, weight.celsius]


def _unpacked(packed: list[Any] | None) -> Weight | None:
    return None if packed is None else Weight(datetime.fromisoformat(packed[0]), packed[1], packed[2])
