"""An emulated cyclic analyser: its cycle, commands, calibrations and alarms, on a clock that may run fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from drivers.analyser import PLACES, AnalyserSettings, check_register, profile_of, zone
from drivers.emulated import BUSY, EVENTS, WRITES, EmulatedUnit, Values
from drivers.registers import TIMES, encode, moment_words
from station.model import replace

CYCLE_MINUTES = 45.0
ERRAND_MINUTES = 15.0  # a calibration, a check or a cleaning


class EmulatedAnalyser(EmulatedUnit):
    """An analyser with the registers of *settings*, that measures when it is told or every *every_minutes*.

    *monotonic* is its clock, *speed* how much faster than that it works, *now* when its results are dated.
    """

    events: Mapping[str, str] = {n: text for n, text in EVENTS.items() if n not in ("stubborn", "refuses")}

    def __init__(
        self,
        settings: AnalyserSettings,
        values: Values | Callable[[], Values] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        speed: float = 1.0,
    ) -> None:
        super().__init__(profile_of(settings), settings.unit_id, values=values, monotonic=monotonic)
        self.settings, self.speed = settings, speed
        self.broken = False
        self.alarms: set[str] = set()
        self._now = now
        self._errand: tuple[str, float, float] | None = None  # what it is at, since when, for how long
        self._sample: tuple[datetime, dict[str, float]] = (now(), {})
        self._result: tuple[datetime, dict[str, float]] | None = None
        self._fixed: set[tuple[str, int]] = set()  # registers that show what show() says
        self._own_next = self._minutes()
        self._keys_of = {name: getattr(settings, name) for name in PLACES if getattr(settings, name) is not None}
        for place in self._keys_of.values():
            width = TIMES.get(place.type) or 2
            self._readable[place.table].update(range(place.address, place.address + width))
        self._checks = [check_register(parameter, one) for parameter, one in settings.check_results.items()]
        self._checked: dict[str, float] = {}  # results of its own check, by parameter
        for register in self._checks:
            self._readable[register.table].update(range(register.address, register.end))
        for table, found in self._readable.items():
            if found:
                self._readable[table] = set(range(min(found), max(found) + 1))

    @property
    def state(self) -> str:
        """What it is doing, a word of drivers.analyser.STATES."""
        self._work()
        if self.broken:
            return "fault"
        return self._errand[0] if self._errand else "idle"

    def raise_alarm(self, text: str) -> None:
        """Set the alarm bit that says *text*."""
        if text not in self.settings.alarms:
            raise ValueError(f"the analyser has no alarm {text!r}")
        self.alarms.add(text)

    def show(self, address: int, word: int) -> None:
        """Have the holding register *address* read *word* from now on, whatever it ought to read."""
        self._fixed.add(("holding", address))
        self._written[address] = word

    def recover(self) -> None:
        """Work again, without alarms."""
        super().recover()
        self.broken = False
        self.alarms.clear()

    def happen(self, event: str) -> None:
        """Let *event*, one of EVENTS, happen to it."""
        if event == "trouble":
            self.alarms = set(self.settings.alarms)
        elif event == "broken":
            self.broken = True
        elif event == "wiper":
            self._begin("clean")
        else:
            super().happen(event)

    def answer(self, request: bytes) -> bytes | None:
        """As a unit, but a command while it is at work is refused as busy."""
        if request[1] in WRITES and self.state != "idle" and not self._ends(request):
            return self._exception(request[1], BUSY)
        told = len(self.acted)
        reply = super().answer(request)
        for verb in self.acted[told:]:
            self._begin(verb)
        return reply

    def _ends(self, request: bytes) -> bool:
        """Whether *request* ends a check that is under way, which it takes at any time."""
        ending = [
            step.request for action in self.profile.actions if action.verb == "end_check" for step in action.writes
        ]
        return self.checking is not None and request[1:-2] in ending

    def _minutes(self) -> float:
        """Its own time in minutes."""
        return self._monotonic() * self.speed / 60

    def _begin(self, verb: str) -> None:
        if verb == "end_check":
            self._errand = None
            return
        doing = {
            "sample_now": "measuring", "calibrate": "calibrating", "start_check": "calibrating", "clean": "cleaning",
        }.get(verb, "maintenance")  # fmt: skip
        lasts = CYCLE_MINUTES if doing == "measuring" else ERRAND_MINUTES
        self._errand = (doing, self._minutes(), lasts)
        if doing == "measuring":
            values = self.values() if callable(self.values) else self.values
            shown = {r.parameter: values.get(r.parameter, 1.0) for r in self.profile.registers}
            self._sample = self._now(), {p: v for p, v in shown.items() if v is not None}

    def _work(self) -> None:
        """Let what was begun come to its end, and begin what its own clock says."""
        now = self._minutes()
        if self._errand is not None and now - self._errand[1] >= self._errand[2]:
            if self._errand[0] == "measuring" and not self.broken:
                at, values = self._sample
                self._result = at + timedelta(minutes=self.settings.sampling_minutes), values
            self._errand = None
            self._end_check()
        own = self.settings.start_minutes is None
        if own and self._errand is None and not self.broken and now >= self._own_next:
            self._own_next = max(self._own_next + self.settings.every_minutes, now)
            self._begin("sample_now")

    def _end_check(self) -> None:
        """Its own check is over, and has its result."""
        if self.checking is None:
            return
        for register in self._checks:
            plain = 0.0 if self.checking == "zero" else 1.0
            self._checked[register.parameter] = self.standards.get((self.checking, register.parameter), plain)
        self.checking = None

    def _words(self, table: str, wanted: range) -> list[int] | None:
        """Its registers: the last result and what is said beside it."""
        self._work()
        at, result = self._result or (None, {})
        values, checking = self.values, self.checking
        self.values = {r.parameter: result.get(r.parameter, 0.0) for r in self.profile.registers}
        self.checking = None  # its results stay what they were
        try:
            words = super()._words(table, wanted)
        finally:
            self.values, self.checking = values, checking
        assert words is not None
        for register in self._checks:
            if register.table == table:
                shown = encode(register, self._checked.get(register.parameter, 0.0))
                for address, word in enumerate(shown or (), register.address):
                    if address in wanted:
                        words[address - wanted.start] = word
        for name, place in self._keys_of.items():
            if place.table == table:
                for address, word in enumerate(self._word_of(name, at), place.address):
                    if address in wanted and (table, address) not in self._fixed:
                        words[address - wanted.start] = word
        return words

    def _word_of(self, name: str, at: datetime | None) -> list[int]:
        """The registers of one of PLACES."""
        place, keys = self._keys_of[name], self.settings
        match name:
            case "result_time":
                local = at.astimezone(zone(keys.timezone)) if at else None
                return moment_words(place.type, local) if local else [0] * TIMES[place.type]
            case "ready":
                raw = keys.ready_value if at and self._errand is None else 0
            case "state":
                raw = next(iter(keys.states.get(self.state, ())), 0)
            case "data_mark":
                raw = next(iter(keys.marks.get("D" if self.broken else "N", ())), 0)
            case _:
                raw = sum(keys.alarms[text] for text in self.alarms)
        register = replace(self.profile.registers[0], table=place.table, address=place.address, type=place.type)
        return replace(register, order=place.order, scale=1).words(raw)
