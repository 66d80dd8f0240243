"""The acceptance rig: commands from a script, answers held against the standard, a verdict.

The order of answers and whose QN, ST and Flag they carry are those of HJ 212-2017 (read in full).
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from station.model import WrongArgument, asdict, dataclass, did_you_mean, field, fields
from uplink.hj212.frame import ANSWER_BIT, Segment
from uplink.hj212.messages import ACCEPTED, COMMANDS, EXE_RTN, INTERACTION, QN_RTN, field_of, moment

if TYPE_CHECKING:
    from uplink.hj212.emulator import Platform

NOTICES = frozenset(row.cn for row in COMMANDS if row.direction == "down" and row.kind == "N")
PERIODS = {"2051": 60, "2061": 3600, "2031": 86400, "2111": 300}  # seconds a record of each kind covers at least


@dataclass(slots=True, eq=False)
class Exchange:
    """A command sent to a station, and what it answered so far."""

    qn: str
    asked: Segment = field(default_factory=lambda: Segment(cn=""))
    answers: list[Segment] = field(default_factory=list)
    records: list[Segment] = field(default_factory=list)  # what a recall brought, each under its own QN
    _over: Event = field(default_factory=Event)

    def wait(self, seconds: float) -> bool:
        """Wait until the station refused it or reported its result; false if it did neither."""
        return self._over.wait(seconds)

    @property
    def accepted(self) -> str:
        """QnRtn of the 9011, "" before."""
        return self._value("9011", "QnRtn")

    @property
    def result(self) -> str:
        """ExeRtn of the 9012, "" before."""
        return self._value("9012", "ExeRtn")

    @property
    def data(self) -> list[Segment]:
        """What came between the two."""
        return [answer for answer in self.answers if answer.st != INTERACTION]

    def _value(self, cn: str, name: str) -> str:
        return next((field_of(answer.data, name) for answer in self.answers if answer.cn == cn), "")

    def note(self, answer: Segment) -> None:
        """Take *answer*; the last one wakes whoever waits."""
        self.answers.append(answer)
        if answer.cn == "9013" or self.result or self.accepted not in ("", str(ACCEPTED)):
            self._over.set()

    def recalls(self, segment: Segment) -> bool:
        """Whether *segment* is one of the records this command asked for."""
        if self._over.is_set() or self.accepted != str(ACCEPTED):
            return False
        if (segment.mn, segment.cn) != (self.asked.mn, self.asked.cn):
            return False
        first, last = field_of(self.asked.data, "BeginTime"), field_of(self.asked.data, "EndTime")
        return bool(first) and first <= field_of(segment.data, "DataTime") <= last


def faults(exchange: Exchange) -> list[str]:
    """In what the answers of *exchange* differ from the standard."""
    return list(_faults(exchange, [answer.cn for answer in exchange.answers]))


def _faults(exchange: Exchange, order: Sequence[str]) -> Iterator[str]:
    asked = exchange.asked
    if not order:
        yield "no answer"
        return
    yield from _order_faults(asked.cn, order, exchange.accepted)
    for answer in exchange.answers:
        yield from _answer_faults(asked, answer)
    yield from _record_faults(exchange)


def _order_faults(cn: str, order: Sequence[str], accepted: str) -> Iterator[str]:
    if cn in NOTICES and accepted == "":
        if order != ["9013"]:
            yield f"a notice is answered by 9013 alone, not by {', '.join(order)}"
        return
    if order[0] != "9011":
        yield f"{order[0]} came before 9011"
    if accepted != str(ACCEPTED):
        if len(order) > 1:
            yield f"{', '.join(order[1:])} came after a refusal"
        return
    if order[-1] != "9012" or order.count("9012") != 1:
        yield f"the exchange does not end with one 9012: {', '.join(order)}"
    if strange := [each for each in order[1:-1] if each != cn]:
        yield f"{', '.join(strange)} came between 9011 and 9012"


def _answer_faults(asked: Segment, answer: Segment) -> Iterator[str]:
    st = INTERACTION if answer.cn in ("9011", "9012", "9013") else asked.st
    for name, value, wanted in (("ST", answer.st, st), ("MN", answer.mn, asked.mn), ("PW", answer.pw, asked.pw)):
        if value != wanted:
            yield f"{answer.cn} has another {name}"
    if (answer.flags or 0) & ANSWER_BIT:
        yield f"{answer.cn} asks for an answer"
    tables: Mapping[str, tuple[str, Mapping[int, str]]] = {"9011": ("QnRtn", QN_RTN), "9012": ("ExeRtn", EXE_RTN)}
    if answer.cn in tables:
        name, words = tables[answer.cn]
        code = field_of(answer.data, name)
        if not (code.isascii() and code.isdigit() and int(code) in words):
            yield f'{answer.cn} has {name} "{code[:8]}"'


def _record_faults(exchange: Exchange) -> Iterator[str]:
    qns = [record.qn for record in exchange.records]
    if exchange.qn in qns or len(set(qns)) != len(qns):
        yield "records do not have QNs of their own"
    if any(record.rf for record in exchange.records):
        yield "a recalled record has RF"
    times = [field_of(record.data, "DataTime") for record in exchange.records]
    if times != sorted(times):
        yield "records are not in the order of their time"


# -- scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One [[step]] of a script: a command, or a fault from now on, or a wait, in that order."""

    name: str = ""
    mn: str = ""  # by default the one station that is connected
    cn: str = ""
    data: str = ""
    pw: str | None = None
    fault: str = ""  # of emulator.FAULTS; "none" heals
    uploads: int = 0  # wait until so many more were kept than the steps before asked for
    wait: float = 0.0  # seconds to wait before the next step
    seconds: float = 10.0  # how long an answer or the uploads may take
    expect: Mapping[str, Any] = field(default_factory=dict)  # accepted, result, records, data


@dataclass(frozen=True, slots=True)
class Said:
    """How a step went: no *faults* means as expected."""

    name: str
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a script, and of all uploads meanwhile."""

    steps: list[Said]
    summary: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every step went as expected, and no record is missing, contradicts another or came in clear."""
        summary = self.summary
        sound = not (self.missing or summary["contradictions"] or summary["unenciphered"])
        return sound and not any(step.faults for step in self.steps)

    @property
    def missing(self) -> int:
        """Periods between the first and the last of each series that never came."""
        return sum(self.summary["missing"].values())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {"passed": self.passed, **asdict(self)}


_TYPES: Mapping[str, Any] = {"uploads": int, "wait": int | float, "seconds": int | float, "expect": dict}
_WORDS = {int: "a whole number", int | float: "a number", dict: "a table", str: "a text"}


def read_script(path: Path) -> list[Step]:
    """The steps of the TOML file *path*; WrongArgument where it is none."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongArgument(f"{path}: {error}") from error
    steps = rows.pop("step", [])
    if not isinstance(steps, list) or not steps or not all(isinstance(row, dict) for row in steps):
        raise WrongArgument(f"{path}: [[step]] tables are needed")
    return [_step(path, index, {**rows, **row}) for index, row in enumerate(steps)]


def _step(path: Path, index: int, row: Mapping[str, Any]) -> Step:
    known = [one.name for one in fields(Step)]
    for key, value in row.items():
        if key not in known:
            raise WrongArgument(f"{path}: step[{index}].{key}: unknown key{did_you_mean(key, known)}")
        right = _TYPES.get(key, str)
        if not isinstance(value, right) or isinstance(value, bool) or (isinstance(value, int | float) and value < 0):
            raise WrongArgument(f"{path}: step[{index}].{key}: {value!r:.40} is not {_WORDS[right]}")
    from uplink.hj212.emulator import FAULTS  # which imports this module

    fault = row.get("fault", "none")
    if fault not in (*FAULTS, "none"):
        raise WrongArgument(f"{path}: step[{index}].fault: unknown fault{did_you_mean(fault, FAULTS)}")
    return Step(**{"name": row.get("cn") or row.get("fault") or "wait", **row})


def run_script(platform: Platform, steps: Sequence[Step]) -> Verdict:
    """Do *steps* one after another on a running *platform*."""
    said, counted = [], 0
    for step in steps:
        counted += step.uploads
        said.append(Said(step.name, list(_done(platform, step, counted))))
    return Verdict(said, platform.summary())


def _done(platform: Platform, step: Step, uploads: int) -> Iterator[str]:
    """The faults of *step*; *uploads* is how many are due since the platform began, so that none can come too early."""
    if step.fault:
        platform.fault(None if step.fault == "none" else step.fault)
    if step.cn:
        yield from _commanded(platform, step)
    elif step.uploads and not platform.wait_until(lambda: platform.summary()["records"] >= uploads, step.seconds):
        yield f"not {step.uploads} uploads within {step.seconds:g} s"
    time.sleep(step.wait)


def _commanded(platform: Platform, step: Step) -> Iterator[str]:
    mn = step.mn or platform.only_station(step.seconds)
    if not mn or not platform.wait_for(mn, step.seconds):
        yield f"station {mn or ''} did not connect within {step.seconds:g} s"
        return
    exchange = platform.send(mn, step.cn, step.data, pw=step.pw)
    exchange.wait(step.seconds)
    yield from faults(exchange)
    said = {
        "accepted": exchange.accepted,
        "result": exchange.result,
        "records": len(exchange.records),
        "data": ";".join(answer.data for answer in exchange.data),
    }
    for key, wanted in step.expect.items():
        if key not in said:
            yield f"expect.{key}: unknown{did_you_mean(key, said)}"
        elif str(wanted) not in str(said[key]) if key == "data" else str(wanted) != str(said[key]):
            yield f'{key} is "{said[key]}", "{wanted}" was expected'


def _moments(texts: Iterable[str], zone: Any) -> set[datetime]:
    """The moments that *texts* name, as far as they name any."""
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(moment(text, zone))
    return found


def missing(times: Mapping[tuple[str, str], Sequence[str]], zone: Any) -> dict[str, int]:
    """Periods that never came, by "MN CN"; the step of a series is the least one seen.

    >>> from datetime import UTC
    >>> missing({("M", "2051"): ["20260301080000", "20260301080100", "20260301080300"]}, UTC)
    {'M 2051': 1}
    """
    found = {}
    for (mn, cn), texts in times.items():
        if cn not in PERIODS:
            continue
        moments = sorted(_moments(texts, zone))
        gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
        step = max(PERIODS[cn], min(gaps, default=0))
        found[f"{mn} {cn}"] = sum(max(0, round(gap / step) - 1) for gap in gaps)
    return found
