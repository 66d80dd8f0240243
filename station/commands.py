"""A command's verb to what the station does about it, and who may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from station.clock import Clock
from station.model import Command, Outcome, Result

Action = Callable[[Command], Result]


class CommandDesk:
    """Carries out the verbs platforms send; read-only verbs alone, everything else is refused.

    *intervals* gives each platform's real-time interval in seconds.
    """

    def __init__(self, clock: Clock, intervals: Mapping[str, int], note: Callable[..., None]) -> None:
        self._clock, self._intervals, self._note = clock, intervals, note
        self._verbs: Mapping[str, Action] = {
            "read_clock": self._read_clock,
            "read_realtime_interval": self._read_realtime_interval,
            "read_minute_interval": self._read_minute_interval,
        }

    def refusal(self, command: Command) -> str | None:
        """Why *command* is not carried out, or None if it will be."""
        if command.verb in self._verbs:
            return None
        self._note("command_refused", platform=command.platform, verb=command.verb)
        return f"{command.verb} is not allowed for {command.platform}"

    def submit(self, command: Command, answer: Callable[[Result], None]) -> None:
        """Carry out *command*; every verb so far answers at once."""
        result = self._verbs[command.verb](command)
        self._note("command", platform=command.platform, verb=command.verb, outcome=result.outcome.value)
        answer(result)

    def _read_clock(self, command: Command) -> Result:
        return Result(Outcome.DONE, {"time": self._clock.now().isoformat()})

    def _read_realtime_interval(self, command: Command) -> Result:
        return Result(Outcome.DONE, {"seconds": str(self._intervals[command.platform])})

    def _read_minute_interval(self, command: Command) -> Result:
        return Result(Outcome.DONE, {"minutes": "1"})
