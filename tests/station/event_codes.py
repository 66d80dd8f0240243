"""The codes and arguments of events that the program writes, found by walking through it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from drivers import INPUTS
from drivers.base import PortLost
from station import fieldwork, restartreport
from station.alarming import CODES, REVISED
from station.config import resolve

ROOT = Path(__file__).parents[2]
WRITERS = ("note", "_note", "event", "_event", "Event", "Happening", "remember")
CODE = r"[a-z][a-z_]+"
# Entries of field work: each is an event of its own, but those that stand in the one that ends them.
FIELD = [
    f"{what}_{do}"
    for what in (*fieldwork.ENTRIES, *fieldwork.LATER)
    for do in fieldwork.entries(what)
    if do not in fieldwork.QUIET
] + ["maintenance_ends_soon", "part_overdue"]
# Calls whose code is put together while the program runs, by file and source, and the codes that come of them.
MADE = {
    ("station/alarming.py", "CODES[state]"): list(CODES.values()),
    ("station/alarming.py", "CODES[State.ALARM if on else State.NORMAL]"): ["alarm", "alarm_over"],
    ("station/alarming.py", "REVISED"): [REVISED],
    ("station/checking.py", "f'qc_{verdict}'"): ["qc_passed", "qc_failed"],
    ("station/supply.py", "self._before.code"): list(restartreport.CODES),
    ("station/verbs.py", "f'qc_{action}'"): ["qc_confirm", "qc_dismiss"],
    ("station/cli_field.py", "code"): FIELD,
    ("station/maintaining.py", "code"): FIELD,
    ("station/collector.py", "f'collector_{code}'"): ["collector_foreign", "collector_lost"],
    ("station/linkage.py", "f'output_{word}'"): ["output_on", "output_off"],
    ("station/linkage.py", "code"): [code for kind in INPUTS.values() for code in getattr(resolve(kind), "codes", ())],
    ("station/platformclock.py", "code"): ["clock_error", "clock_error_over"],
    ("station/poller.py", "error.event"): [kind.event for kind in (PortLost, *PortLost.__subclasses__())],
}
# Calls of these names that hand a code on, or that write no event of the station.
OTHERS = {
    ("drivers/modbus.py", "conditions"),
    ("drivers/stream.py", "record.condition"),
    ("drivers/tap.py", "'in'"),
    ("drivers/tap.py", "'out'"),
    ("station/checking.py", "code"),
    ("station/cli_field.py", "made[0]"),
    ("station/cli_line.py", "code"),
    ("station/cli_visit.py", "one"),
    ("station/clockdoubt.py", "{DOUBT: self.against}"),
    ("station/collecting.py", "one.code"),
    ("station/collecting.py", "name"),
    ("station/commands.py", "command"),
    ("station/engine.py", "code"),
    ("station/engine.py", "progress"),
    ("station/engine.py", "turn.batch.records"),
    ("station/engine.py", "values"),
    ("station/fieldwork.py", "desk.book(visits.KIND)"),
    ("station/fieldwork.py", "record"),
    ("station/maintaining.py", "own"),
    ("station/supply.py", "code"),
    ("station/recorder.py", "code"),
    ("station/salvage.py", "database"),
    ("station/sampler.py", "code"),
    ("station/salvage.py", "{key: str(number) for key, number in done.items()}"),
    ("station/waiting.py", "{key: str(at) for key, at in self._next.items()}"),
    ("station/salvage.py", "loaded.database"),
    ("uplink/hj212/emulator.py", "segment"),
    ("uplink/hj212/link.py", "code"),
    ("uplink/hj212/requests.py", "asked.build()"),
    ("uplink/hj212/session.py", "'in'"),
    ("uplink/hj212/session.py", "'out'"),
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call that may write an event, with its file."""
    for folder in ("station", "drivers", "uplink"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args:
                    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    if name in WRITERS:
                        yield path.relative_to(ROOT).as_posix(), node


def _code(node: ast.Call) -> ast.expr:
    """Where a call names its code: a clock's word or a file comes first in some."""
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    return node.args[1] if name in ("event", "_event", "Event", "remember") and len(node.args) > 1 else node.args[0]


def _constants(code: ast.expr) -> list[str] | None:
    """The words that *code* can be, or None where it is not written out."""
    match code:
        case ast.Constant(value=str(word)):
            return [word]
        case ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))):
            return [one, other]
    return None


def found() -> tuple[dict[str, set[str]], set[tuple[str, str]]]:
    """Every code with the arguments that its calls name; and the calls that are known neither here nor there."""
    codes: dict[str, set[str]] = {}
    unknown = set()
    for file, node in calls():
        code = _code(node)
        place = (file, ast.unparse(code))
        if place in OTHERS:
            continue
        words = MADE.get(place) or _constants(code)
        if words is None:
            unknown.add(place)
            continue
        for word in words:
            codes.setdefault(word, set()).update(_arguments(node))
    return codes, unknown


def _arguments(node: ast.Call) -> Iterator[str]:
    """Names of the arguments that are written out: keywords, and keys of a mapping."""
    for keyword in node.keywords:
        if keyword.arg not in (None, "urgent"):
            yield str(keyword.arg)
    for one in node.args:
        for inner in ast.walk(one):
            if isinstance(inner, ast.Dict):
                yield from (key.value for key in inner.keys if isinstance(key, ast.Constant))
