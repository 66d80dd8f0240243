"""`station bus solve`: the display says 23.7; which registers say so too?"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.cli_bus import NoAnswer, bus, existing_words, try_words
from station.cli_line import Reached, line_options, reached
from station.command_line import print_json
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import json_option, lang_option, option
from station.written import write_whole

if TYPE_CHECKING:
    from drivers.solve import Candidate, Shown

BLOCK = 32  # registers asked at once, until an instrument says that it has fewer
REMEMBERED = timedelta(days=1)  # what a display showed before that is forgotten
SHOWN = 8  # candidates on the screen
TABLES = ("holding", "input")


@bus.command("solve", help="help.bus_solve")
@click.argument("bus", metavar="BUS")
@click.argument("unit", type=click.IntRange(1, 247))
@option("--shows", key="shows", required=True)
@option("--parameter", key="solve_parameter")
@option("--range", "span", key="solve_range", default="0-99", show_default=True)
@option("--table", "table", key="table", type=click.Choice([*TABLES, "both"]), default="both", show_default=True)
@option("--reads", key="solve_reads", type=click.IntRange(1, 20), default=2, show_default=True)
@option("--new", key="solve_new", is_flag=True)
@option("--write", key="solve_write", type=click.Path(path_type=Path))
@option("--pick", key="solve_pick", type=click.IntRange(min=1), default=1, show_default=True)
@option("--patience", key="patience", type=click.FloatRange(0.02, 3), default=0.5, show_default=True)
@line_options
@json_option
@lang_option
def solve(
    bus: str,
    unit: int,
    shows: str,
    parameter: str | None,
    span: str,
    table: str,
    reads: int,
    new: bool,
    write: Path | None,
    pick: int,
    patience: float,
    config: Path,
    baudrate: str | None,
    parity: str | None,
    stopbits: int | None,
    as_json: bool,
) -> int:
    """What fits the display, the likeliest first; 0 when something does, else 1."""
    from drivers.scan import numbers_in
    from drivers.solve import number

    parameter = _known_parameter(parameter, write)
    session = _Session(_session_file(bus, unit, parameter), fresh=new)
    tables = TABLES if table == "both" else (table,)
    try:
        wanted = numbers_in(span, 0, 0xFFFF, "registers are 0 to 65535, such as 0-99 or 0x2600-0x261F")
        number(shows)
    except ValueError as error:
        raise WrongArgument(str(error)) from error
    with reached(bus, config, baudrate, parity, stopbits) as line:
        while True:
            session.look(shows, {name: _read(line, unit, name, wanted, reads, patience) for name in tables})
            found = session.candidates()
            if as_json:
                break
            _show(found, session)
            if not _interactive() or not (shows := _next_display()):
                break
        session.save()
        if as_json:
            looks = len(session.looks)
            print_json({"looks": looks, "candidates": [one.as_dict() for one in found[: 4 * SHOWN]]})
        if write is not None and found:
            if pick > len(found):
                raise WrongArgument(f"there are {len(found)} candidates; --pick {pick} is none of them")
            _write(write, found[pick - 1], parameter or "", session.looks[-1][0], line, unit)
            if not as_json:
                print(t("solve.written", path=write, number=pick))
    return 0 if found else 1


def _known_parameter(parameter: str | None, write: Path | None) -> str | None:
    """The key of the parameter named, if one is."""
    from station.naming import parameter_named

    if parameter is None:
        if write is not None:
            raise WrongArgument("--write needs --parameter: what the display shows, a key of station/parameters.toml")
        return None
    return parameter_named(parameter)


# -- reading what there is


def _read(
    line: Reached, unit: int, table: str, wanted: Sequence[int], reads: int, patience: float
) -> list[dict[int, int]]:
    """The registers *wanted*, as often as asked for; those the instrument does not have are left out."""
    first: dict[int, int] = {}
    for start, count in _runs(wanted, BLOCK):
        first |= existing_words(line, unit, table, start, count, patience)
    again = [first]
    for _ in range(reads - 1):
        more: dict[int, int] = {}
        for start, count in _runs(sorted(first), 125):
            more |= try_words(line, unit, table, start, count, patience)[1]
        again.append(more)
    return [one for one in again if one]


def _runs(addresses: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Stretches of neighbours, *most* long at the most.

    >>> _runs([0, 1, 2, 7, 8], 2)
    [(0, 2), (2, 1), (7, 2)]
    """
    runs: list[tuple[int, int]] = []
    for address in addresses:
        if runs and address == sum(runs[-1]) and runs[-1][1] < most:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((address, 1))
    return runs


# -- what was seen before


class _Session:
    """What the display showed so far, and the registers of those moments; kept in a small file for the next look."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self.path = path
        self.looks: list[tuple[str, dict[str, list[dict[int, int]]], datetime]] = []
        if not fresh:
            self._load()

    def look(self, shows: str, tables: Mapping[str, list[dict[int, int]]]) -> None:
        """Add what the display shows now."""
        if not any(tables.values()):
            raise NoAnswer(t("solve.nothing_read"))
        self.looks.append((shows, dict(tables), datetime.now(UTC)))

    def candidates(self) -> list[Candidate]:
        """What fits every look, of both tables, the likeliest first."""
        from drivers.solve import candidates

        found = [one for table in TABLES for one in candidates(self._shown(table), table)]
        return sorted(found, key=lambda one: (one.rank, one.key))

    def _shown(self, table: str) -> list[Shown]:
        from drivers.solve import Shown

        return [Shown(shows, tuple(reads.get(table, ()))) for shows, reads, _ in self.looks]

    def save(self) -> None:
        """Keep it for the next look; where that is not possible the next look starts anew."""
        rows = [
            {"shows": shows, "at": at.isoformat(), "tables": {k: [_keyed(r) for r in v] for k, v in tables.items()}}
            for shows, tables, at in self.looks
        ]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(rows), encoding="utf-8")
        except OSError as error:
            print(t("solve.not_kept", path=self.path, text=error.strerror), file=sys.stderr)

    def _load(self) -> None:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            for row in rows:
                at = datetime.fromisoformat(row["at"])
                tables = {k: [{int(a): int(w) for a, w in r.items()} for r in v] for k, v in row["tables"].items()}
                if datetime.now(UTC) - at < REMEMBERED:
                    self.looks.append((row["shows"], tables, at))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.looks.clear()  # a file of ours that was cut short, or somebody else's


def _keyed(read: Mapping[int, int]) -> dict[str, int]:
    return {str(address): word for address, word in read.items()}


def _session_file(bus: str, unit: int, parameter: str | None) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = re.sub(r"[^\w.-]+", "_", f"{bus}-{unit}-{parameter or 'any'}")
    return folder / "niutang-station" / f"solve-{name}.json"


# -- showing and writing


def _show(found: Sequence[Candidate], session: _Session) -> None:
    from rich.table import Table

    from station.screen import DIM, console

    shown = ", ".join(shows for shows, _, _ in session.looks)
    if not found:
        print(t("solve.none", shown=shown))
        return
    print(t("solve.title", count=len(found), shown=shown))
    table = Table(box=None, pad_edge=False)
    for title in ("", t("solve.table"), t("bus.register"), t("solve.type"), t("solve.order")):
        table.add_column(title, header_style=DIM)
    for title in (t("solve.scale"), t("solve.offset"), t("solve.reads")):
        table.add_column(title, justify="right", header_style=DIM)
    for place, one in enumerate(found[:SHOWN], 1):
        reads = f"{one.value:.7g}"
        address = f"{one.address} (0x{one.address:04X})"
        table.add_row(str(place), one.table, address, one.type, one.order, one.scale, one.offset, reads)
    console().print(table)
    print(t("solve.again") if len(found) > 1 else t("solve.one"))


def _interactive() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _next_display() -> str:
    """What the display shows now, or nothing to end."""
    from drivers.solve import number

    while True:
        print(t("solve.ask"), end=" ", flush=True)
        typed = sys.stdin.readline().strip()
        try:
            if typed:
                number(typed)
        except ValueError as error:
            print(error)
            continue
        return typed


def _write(path: Path, found: Candidate, parameter: str, shows: str, line: Reached, unit: int) -> None:
    """A new profile with this one value, or the value added to the profile that is there."""
    from drivers.base import ProfileError
    from drivers.profile import parse
    from drivers.solve import number, register, written
    from station.parameters import catalogue

    made = register(found, parameter, catalogue()[parameter].unit, float(number(shows)))
    today = f"{datetime.now().astimezone():%Y-%m-%d}"
    block = written(made, f"Found on {today} by the display, which showed {shows}.")
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else _head(path.stem, line, unit, today)
        if path.exists() and parameter in parse(before, path.stem, str(path)).parameters:
            raise WrongArgument(f"{path}: has {parameter} already; take it out first if this one is right")
        text = f"{before.rstrip()}\n\n{block}"
        parse(text, path.stem, str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except ProfileError as error:
        raise WrongArgument(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be used ({getattr(error, 'strerror', None) or error})") from error


def _head(name: str, line: Reached, unit: int, today: str) -> str:
    speed = line.speed
    lines = [
        f'title = "{name}"',
        f'source = "found by station bus solve on {today}"',
        'grade = "D"            # by one display, without a document',
        f"baudrate = {speed.baudrate}",
    ]
    lines += [f'parity = "{speed.parity}"'] * (speed.parity != "N") + [f"stopbits = {speed.stopbits}"] * (
        speed.stopbits != 1
    )
    return "\n".join([*lines, f"unit_id = {unit}"]) + "\n"
