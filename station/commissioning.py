"""Taking a new station into service: steps in order, each passed, failed or skipped by somebody for a reason.

What belongs to a handover is the project's choice: clock, adapters, addresses, profiles, values, platforms, an alarm,
a copy of the data.  The alarm of a test is marked as one, and no alarm's own record knows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.maintenance import text_in
from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace

if TYPE_CHECKING:
    from station.fieldwork import Desk

KIND = "commissioning"
STEPS = ("clock", "adapters", "scan", "profiles", "values", "platform", "alarm", "backup")
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How one step came out, when, by whom and why; *facts* is what was found, as JSON carries it."""

    step: str
    verdict: str
    at: datetime
    user: str
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commissioning:
    """One commissioning; a step done again counts as done last.  *raised* is the test alarm that is on."""

    name: str
    user: str
    begun: datetime
    steps: Mapping[str, Step] = field(default_factory=dict)
    raised: str = ""
    done: datetime | None = None
    note: str = ""
    cancelled: str = ""

    @property
    def open(self) -> bool:
        """Whether it is under way."""
        return self.done is None and not self.cancelled

    @property
    def left(self) -> list[str]:
        """The steps that are neither passed nor skipped, in their order."""
        return [one for one in STEPS if one not in self.steps or self.steps[one].verdict == FAILED]


class Book:
    """Every commissioning, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Commissioning] = {}
        for record in sorted(records, key=lambda r: r.id):
            self._take(record)

    def _take(self, record: Record) -> None:
        body, name = record.body, record.body["name"]
        if body["do"] == "begin":
            self._by_name[name] = Commissioning(name=name, user=body["user"], begun=record.at)
            return
        before = self._by_name.get(name)
        if before is None:
            return  # begun longer ago than records are kept
        if body["do"] == "step":
            said = {key: body[key] for key in ("step", "verdict", "user", "reason", "facts")}
            changed = replace(before, steps={**before.steps, body["step"]: Step(**said, at=record.at)})
        elif body["do"] in ("raise_test", "clear_test"):
            changed = replace(before, raised=body["alarm"] if body["do"] == "raise_test" else "")
        elif body["do"] == "done":
            changed = replace(before, done=record.at, note=body["note"])
        else:
            changed = replace(before, cancelled=body["reason"])
        self._by_name[name] = changed

    def __iter__(self) -> Iterator[Commissioning]:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next one."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def open(self) -> Commissioning | None:
        """The one under way."""
        return next((one for one in self if one.open), None)

    def newest(self) -> Commissioning | None:
        """The one under way, else the one finished last."""
        finished = [one for one in self if one.done is not None]
        return self.open() or (finished[-1] if finished else None)


# -- entries


def _book(desk: Desk) -> Book:
    return Book(desk.records(KIND))


def _begin(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    user = text_in(fields, "user", "a commissioning needs the name of who does it (--user)")
    book = _book(desk)
    under_way = book.open()
    if under_way is not None:
        raise WrongArgument(f"{under_way.name} of {under_way.user} is under way; it goes on")
    return [Record(KIND, desk.now, {"do": "begin", "name": f"H{desk.number(book)}", "user": user})]


def _step(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one, step = _open(desk), str(fields.get("step") or "")
    if step not in STEPS:
        raise WrongArgument(f'there is no step "{step}"{did_you_mean(step, STEPS)}; known: {", ".join(STEPS)}')
    verdict, facts = str(fields.get("verdict") or ""), fields.get("facts") or {}
    if verdict not in (PASSED, FAILED, SKIPPED):
        raise WrongArgument(f'"{verdict}" is not one of {PASSED}, {FAILED}, {SKIPPED}')
    if not isinstance(facts, Mapping):
        raise WrongArgument("the facts of a step are names with values")
    user = text_in(fields, "user") or one.user
    reason = " ".join(str(fields.get("reason") or "").split())
    if verdict != PASSED and not reason:
        raise WrongArgument(f"a step is {verdict} for a reason")
    return [_of(one, desk, "step", step=step, verdict=verdict, user=user, reason=reason, facts=dict(facts))]


def _raise(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk)
    if one.raised:
        raise WrongArgument(f"the test alarm {one.raised} is on; clear it first")
    said = {key: text_in(fields, key) for key in ("alarm", "output", "user")}
    return [_of(one, desk, "raise_test", test=True, **said)]


def _clear(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk)
    if not one.raised:
        raise WrongArgument("no test alarm is on")
    return [_of(one, desk, "clear_test", test=True, alarm=one.raised, user=text_in(fields, "user"))]


def _done(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk)
    if one.left:
        raise WrongArgument(
            f"{one.name}: not passed yet: {', '.join(one.left)}; do them again, or skip them for a reason"
        )
    user = text_in(fields, "user") or one.user
    verdicts = {name: step.verdict for name, step in one.steps.items()}
    return [_of(one, desk, "done", user=user, note=text_in(fields, "note"), steps=verdicts)]


def _cancel(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk)
    reason = text_in(fields, "reason", "a commissioning is given up for a reason")
    return [_of(one, desk, "cancel", reason=reason, user=text_in(fields, "user") or one.user)]


def _open(desk: Desk) -> Commissioning:
    one = _book(desk).open()
    if one is None:
        raise WrongArgument("no commissioning is under way; begin one: station commission --user NAME")
    return one


def _of(one: Commissioning, desk: Desk, do: str, **said: Any) -> Record:
    return Record(KIND, desk.now, {"do": do, "name": one.name, **said})


ENTRIES: Mapping[str, Any] = {
    "begin": _begin,
    "step": _step,
    "raise_test": _raise,
    "clear_test": _clear,
    "done": _done,
    "cancel": _cancel,
}


def plain(one: Commissioning) -> dict[str, Any]:
    """*one* as JSON carries it."""
    return {
        "name": one.name,
        "user": one.user,
        "begun": one.begun.isoformat(),
        "done": one.done.isoformat() if one.done else None,
        "cancelled": one.cancelled,
        "note": one.note,
        "left": one.left,
        "steps": [
            {
                "step": step.step,
                "verdict": step.verdict,
                "at": step.at.isoformat(),
                "user": step.user,
                "reason": step.reason,
                "facts": dict(step.facts),
            }
            for step in (one.steps[name] for name in STEPS if name in one.steps)
        ],
    }
