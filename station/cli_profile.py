"""`station profile`: check a profile, see what it says, ask an instrument which variant it is, write a first one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_decode import find_profile, profile_folders
from station.command_line import print_json
from station.i18n import language, t
from station.model import StoreError, WrongArgument, did_you_mean
from station.parameters import catalogue
from station.texts import Group, config_option, json_option, lang_option, option
from station.written import write_whole

if TYPE_CHECKING:
    from drivers.plausible import Reader, Verdict
    from drivers.profile import Profile
    from drivers.registers import Register, Request
    from station.cli_line import Reached

# What a new register is asked for, in this order; the rest has its defaults.
ASKED = ("table", "address", "type", "order", "scale", "unit", "range", "example")
COLUMNS = ("parameter", *ASKED[:-1])
ASKED_FIRST = ("title", "maker", "baudrate", "parity", "stopbits", "unit_id")
USUAL = {"table": "holding", "type": "u16", "order": "", "scale": "1", "maker": "", "baudrate": "9600", "unit_id": "1"}


@click.group("profile", cls=Group, help="help.profile")
@lang_option
def profile() -> None:
    """What instruments say, as files."""


@profile.command("check", help="help.profile_check")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@lang_option
def check(file: Path, as_json: bool) -> int:
    """Every fault of a profile with its line; 0 when there is none, else 1."""
    faults = faults_of(file)
    if as_json:
        print_json({"ok": not faults, "faults": faults})
        return int(bool(faults))
    if faults:
        print("\n".join(faults))
        print(t("profile.faults", count=len(faults)), file=sys.stderr)
        return 1
    from drivers.profile import read

    found = read(file)
    registers = sum(len(layout.registers) for layout in _layouts(found))
    print(t("profile.good", path=file, registers=registers, frames=len(found.frames)))
    if found.uncertain:
        print(t("profile.template", grade=found.grade, uncertain=found.uncertain))
    return 0


def faults_of(path: Path) -> list[str]:
    """What is wrong with the profile at *path*, one sentence each with its line: alone, and against the catalogue."""
    from drivers.base import ProfileError
    from drivers.profile import read
    from station.model import line_in

    try:
        found = read(path)
    except ProfileError as error:
        return str(error).splitlines()
    text = path.read_text(encoding="utf-8")
    faults = [*_unspoken(found), *_frames_otherwise(found)]
    return [f"{path}:{line_in(text, place)}: {place}: {fault}" for place, fault in faults]


def _layouts(found: Profile) -> list[Profile]:
    return [found.chosen(v.name) for v in found.variants] or [found]


def _unspoken(found: Profile) -> Iterator[tuple[str, str]]:
    """Registers the catalogue does not have, or has in another unit."""
    groups = [("", found.registers), *((f"variant[{i}].", v.registers) for i, v in enumerate(found.variants))]
    for place, registers in groups:
        for i, register in enumerate(registers):
            known = catalogue().get(register.parameter)
            if not register.is_number:
                continue
            if known is None:
                hint = did_you_mean(register.parameter, catalogue())
                yield f"{place}register[{i}].parameter", f"{register.parameter} is not in the catalogue{hint}"
            elif known.unit != register.unit:
                said = f'"{register.unit}" is not the catalogue\'s "{known.unit}"'
                yield f"{place}register[{i}].unit", said


def _frames_otherwise(found: Profile) -> Iterator[tuple[str, str]]:
    """Example frames that the map does not give."""
    from drivers.emulated import EmulatedUnit

    for i, frame in enumerate(found.frames):
        fitting = [frame.variant] if frame.variant or not found.variants else [v.name for v in found.variants]
        units = [EmulatedUnit(found, frame.request[0], name, frame.values) for name in fitting]
        for unit in units:
            unit.set_up()
        answers = [unit.answer(frame.request) for unit in units]
        if frame.response not in answers:
            said = (answers[0] or b"").hex(" ").upper() or "nothing"
            yield f"frame[{i}].response", f"by the map and the values the reply would be {said}"


@profile.command("show", help="help.profile_show")
@click.argument("name")
@option("--variant", key="variant")
@json_option
@lang_option
def show(name: str, variant: str | None, as_json: bool) -> None:
    """The registers of a profile, and what else is to be known of it."""
    found = find_profile(name, variant)
    chosen = [found.chosen(variant)] if variant or not found.variants else _layouts(found)
    titles = [variant] if variant or not found.variants else [v.name for v in found.variants]
    if as_json:
        tables = {
            title or "": [_row(r) for r in layout.registers] for title, layout in zip(titles, chosen, strict=True)
        }
        facts = {key: getattr(found, key) for key in ("name", "title", "title_zh", "grade", "uncertain")}
        print_json(facts | {"layouts": tables})
        return
    print(found.title_zh if language() == "zh" and found.title_zh else f"{found.maker} {found.title}".strip())
    serial = f"{found.baudrate} 8{found.parity}{found.stopbits}"
    print(t("profile.facts", serial=serial, unit=found.unit_id, grade=found.grade, source=found.source or "-"))
    if found.uncertain:
        print(t("profile.template", grade=found.grade, uncertain=found.uncertain))
    for title, layout in zip(titles, chosen, strict=True):
        _show_registers(title, layout)
    for action in found.actions:
        print(t("profile.action", verb=action.verb, what=action.text))


def _row(register: Register) -> dict[str, Any]:
    low, high = register.range
    return {
        "parameter": register.parameter,
        "table": register.table,
        "address": register.address,
        "type": register.type,
        "order": register.order,
        "scale": register.scale,
        "unit": register.unit,
        "range": None if math.isinf(low) and math.isinf(high) else [low, high],
    }


def _show_registers(title: str | None, layout: Profile) -> None:
    from rich.table import Table

    from station.screen import console

    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for heading in COLUMNS:
        table.add_column(t(f"profile_column.{heading}"))
    for register in layout.registers:
        row = _row(register)
        between = "" if row["range"] is None else f"{register.range[0]:g} … {register.range[1]:g}"
        address = f"{register.address} (0x{register.address:04X})"
        scale = f"{register.scale:g}" if register.is_number else ""
        table.add_row(
            register.parameter, register.table, address, register.type, register.order, scale, register.unit, between
        )
    console().print(table)


@profile.command("probe", help="help.profile_probe")
@click.argument("name")
@option("--port", key="probe_port", required=True)
@option("--unit", "unit_id", key="probe_unit", type=click.IntRange(1, 255))
@option("--baudrate", key="shipped_baudrate", type=int)
@option("--parity", key="shipped_parity", type=click.Choice(["N", "E", "O"]))
@option("--stopbits", key="shipped_stopbits", type=click.Choice(["1", "2"]))
@config_option
@json_option
@lang_option
def probe(
    name: str,
    port: str,
    unit_id: int | None,
    baudrate: int | None,
    parity: str | None,
    stopbits: str | None,
    config: Path,
    as_json: bool,
) -> int:
    """Which variants an instrument may be; 0 when at least one is plausible, else 1.  Nothing is chosen."""
    from drivers.plausible import judge
    from drivers.port import Speed
    from station.cli_line import reached

    found = find_profile(name)
    if found.start_address is not None:
        raise WrongArgument(
            f"{found.name}: where its values begin is in no source, so there is nothing to hold against the instrument;"
            " look for it with station bus solve"
        )
    shipped = Speed(found.baudrate, found.parity, found.stopbits)
    given = str(baudrate) if baudrate else None, parity, int(stopbits) if stopbits else None
    with reached(port, config, *given, shipped=shipped) as line:
        verdicts = judge(_reader(line, unit_id or found.unit_id, found), line.speed.line, found)
    if as_json:
        print_json({"variants": [_as_dict(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            _show_verdict(verdict)
        print(t("profile.compare"))
    return int(not any(verdict.plausible for verdict in verdicts))


def _reader(line: Reached, unit_id: int, found: Profile) -> Reader:
    """How the instrument at *unit_id* is asked on a line of our own, or on one the running station lends."""
    from drivers.asking import NOTHING, REPLY, Ask
    from drivers.base import BadReply, DeviceException, NoReply
    from drivers.line import FUNCTION

    def read(request: Request) -> bytes:
        data = request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big")
        answer = line.ask(Ask(unit_id, FUNCTION[request.table], data, None, found.worst_reply_ms / 1000))
        if answer.state == REPLY:
            return answer.data
        if answer.code:
            raise DeviceException(answer.text, answer.code)
        raise (NoReply if answer.state == NOTHING else BadReply)(answer.text)

    return read


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    values = {sample.parameter: sample.value for sample in verdict.samples}
    return {
        "variant": verdict.name,
        "plausible": verdict.plausible,
        "against": list(verdict.against),
        "values": values,
    }


def _show_verdict(verdict: Verdict) -> None:
    name = verdict.name or verdict.title
    print(t("profile.plausible" if verdict.plausible else "profile.implausible", name=name))
    for text in verdict.against:
        print(f"  - {text}")
    shown = [
        f"{s.parameter} {'-' if s.value is None else f'{s.value:.6g}'} {verdict.units.get(s.parameter, '')}".rstrip()
        for s in verdict.samples
    ]
    print("  " + "; ".join(shown))


@profile.command("template", help="help.profile_template")
@click.argument("name", required=False)
@option("--output", key="template_output", type=click.Path(path_type=Path))
@lang_option
def template(name: str | None, output: Path | None) -> None:
    """List templates, or print the one called *name*: a table of station.toml to be filled in."""
    from station import template as templates
    from station.i18n import language

    if name is None:
        for one, parameter in templates.ANALYSERS.items():
            print(f"{one:<16}{catalogue()[parameter].name(language())}")
        return
    text = templates.template(name, language())
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise WrongArgument(f"{output}: is there already; name another --output") from error
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("profile.template_written", path=output, count=templates.unknown_in(text)))


@profile.command("new", help="help.profile_new")
@click.argument("name")
@option("--title", key="new_title")
@option("--maker", key="new_maker")
@option("--baudrate", key="shipped_baudrate")
@option("--parity", key="shipped_parity")
@option("--stopbits", key="shipped_stopbits")
@option("--unit", "unit_id", key="probe_unit")
@option("--register", "registers", key="new_register", multiple=True)
@option("--output", key="new_output", type=click.Path(path_type=Path))
@lang_option
def new(name: str, registers: tuple[str, ...], output: Path | None, **given: str | None) -> None:
    """Write a first profile: from options, or by asking for what was not given."""
    path = output or profile_folders()[0] / f"{name}.toml"
    if path.exists():
        raise WrongArgument(f"{path}: is there already; name another --output, or edit it")
    if Path(name).name != name or not name:
        raise WrongArgument(f'"{name}" is no name of a file')
    if registers:
        facts = {key: given.get(key) or USUAL.get(key) for key in ASKED_FIRST}
        facts["title"] = facts["title"] or name
        rows = [_pairs(text) for text in registers]
    else:
        facts, rows = _interview(given)
    text = written(facts, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, text)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    faults = faults_of(path)
    if faults:
        path.unlink()
        raise WrongArgument("\n".join(faults))
    print(t("profile.written", path=path, name=path.stem))


def _pairs(text: str) -> dict[str, str]:
    """A register as "parameter=ph,address=0x10,type=f32,order=DCBA,range=0..14,example=7.1".

    >>> _pairs("parameter=ph,address=0x10,range=0..14")
    {'table': 'holding', 'type': 'u16', 'parameter': 'ph', 'address': '0x10', 'range': '0..14', 'unit': ''}
    """
    row = {"table": "holding", "type": "u16"}
    for pair in text.split(","):
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongArgument(f'--register: "{pair}" is not key=value')
        row[key.strip()] = value.strip()
    if row.get("parameter") in catalogue():
        row.setdefault("unit", catalogue()[row["parameter"]].unit)
    return row


def _interview(given: Mapping[str, str | None]) -> tuple[dict[str, str | None], list[dict[str, str]]]:
    """Ask for what a profile needs, each answer checked as it is given; registers until an empty parameter."""
    facts: dict[str, str | None] = {}
    for key in ASKED_FIRST:
        facts[key] = given.get(key) or _ask("profile", key, USUAL.get(key))
    rows: list[dict[str, str]] = []
    while parameter := _ask_parameter(first=not rows):
        row = {"parameter": parameter}
        for key in ASKED:
            usual = catalogue()[parameter].unit if key == "unit" else USUAL.get(key)
            row[key] = _ask("register", key, usual)
        rows.append(row)
    return facts, rows


def _ask_parameter(first: bool) -> str:
    while True:
        said: str = click.prompt(t("profile_ask.parameter"), default=None if first else "", show_default=False)
        if said in catalogue() or (not said and not first):
            return said
        named = [key for key, known in catalogue().items() if said in (known.zh, known.en)]
        if named:
            return named[0]
        print(t("profile.unknown", name=said, hint=did_you_mean(said, catalogue()).removeprefix("; ")))


def _ask(table: str, key: str, usual: str | None) -> str:
    from drivers.profile_file import KEYS, wrong_with

    known = KEYS[table][key]
    default = usual if usual is not None else None if known.required else ""
    while True:
        said: str = click.prompt(t(f"profile_ask.{key}"), default=default, show_default=bool(default))
        if not said and not known.required:
            return ""
        try:
            value = _value(known.kind, said)
        except ValueError:
            print(t("profile.wrong", text=said))
            continue
        if not (fault := wrong_with(table, key, value)):
            return said
        print(t("profile.refused", fault=fault))


_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "integer": lambda text: int(text, 0),
    "number": float,
    "range": lambda text: [float(part) for part in text.split("..")],
}


def _value(kind: str, text: str) -> Any:
    """What *text* means as a key of *kind*; raise ValueError where it means nothing.

    >>> _value("integer", "0x2600"), _value("range", "0..14"), _value("example", "7.1")
    (9728, [0.0, 14.0], 7.1)
    """
    if kind == "example":
        return float(text)
    return _NUMBERS.get(kind, str)(text)


def written(facts: Mapping[str, str | None], rows: Sequence[Mapping[str, str]]) -> str:
    """The profile as TOML; raise WrongArgument where an answer means nothing."""
    lines = [*_lines("profile", facts)]
    for row in rows:
        lines += ["", "[[register]]", *_lines("register", row)]
    return "\n".join(lines) + "\n"


def _lines(table: str, answers: Mapping[str, str | None]) -> Iterator[str]:
    from drivers.profile_file import KEYS

    for key, text in answers.items():
        if not text and not (key == "unit" and text is not None):
            continue
        known = KEYS[table].get(key)
        if known is None:
            raise WrongArgument(f'--register: "{key}" is no key of a register{did_you_mean(key, KEYS[table])}')
        try:
            yield f"{key} = {_toml(_value(known.kind, text or ''), known.kind, text or '')}"
        except ValueError as error:
            raise WrongArgument(f"{key}: {text!a} is no {known.kind}") from error


def _toml(value: Any, kind: str, text: str) -> str:
    """*value* as TOML; a whole number as it was typed, for 0x2600 says more than 9728."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind == "integer":
        return text.strip()
    if isinstance(value, list):
        return f"[{', '.join(f'{one:g}' for one in value)}]"
    return repr(value) if value != int(value) else str(int(value))
