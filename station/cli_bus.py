"""`station bus`: what a technician does on a serial line, while the station goes on collecting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_line import LOAN_PATIENCE, Alone, Reached, Shared, line_options, reached
from station.command_line import ask_station, must_be_known, print_json, read_config
from station.i18n import t
from station.model import StationError, WrongArgument
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from drivers.asking import Answer
    from drivers.doctor import Advice, Health
    from drivers.port import Speed
    from drivers.scan import Fit
    from station.config import Loaded

MOST_WORDS = 125  # in one read
SMALLEST_SILENT = 8  # a block this small that brings nothing is not looked into any more
KEPT = timedelta(days=1)  # how far back the statistics of a stopped station are looked at
POLLS = 25  # of each instrument, where no running station has statistics


class NoAnswer(StationError):
    """Error raised when what was asked of a line brought no answer that can be used."""

    exit_code = 69


@click.group("bus", cls=Group, help="help.bus")
@lang_option
def bus() -> None:
    """What a technician does on a line."""


# -- scan


@bus.command("scan", help="help.bus_scan")
@click.argument("bus", metavar="BUS")
@option("--units", key="scan_units", default="1-247", show_default=True)
@option("--baudrates", key="scan_baudrates")
@option("--parities", key="scan_parities", default="N1,E1", show_default=True)
@option("--patience", key="patience", type=click.FloatRange(0.02, 3), default=0.2, show_default=True)
@option("--thorough", key="thorough", is_flag=True)
@option("--disturb", key="disturb", is_flag=True)
@line_options
@json_option
@lang_option
def scan(
    bus: str,
    units: str,
    baudrates: str | None,
    parities: str,
    patience: float,
    thorough: bool,
    disturb: bool,
    config: Path,
    baudrate: str | None,
    parity: str | None,
    stopbits: int | None,
    as_json: bool,
) -> int:
    """Addresses at speeds; 0 when somebody answers, else 1."""
    from drivers import scan as search

    try:
        wanted = search.units_in(units)
        speeds = search.speeds_in(baudrates, parities)
    except ValueError as error:
        raise WrongArgument(str(error)) from error
    with reached(bus, config, baudrate, parity, stopbits) as line:
        limited = isinstance(line, Shared) and not disturb
        settings = [line.speed] if limited else search.settings(line.speed, *speeds)
        if limited:
            _tell(t("scan.own_speed", speed=line.speed), as_json)
        search_ = _Search(line, patience, thorough)
        total = len(settings) * len(wanted)
        seconds = search.seconds(settings, len(wanted), patience)
        _tell(t("scan.begin", count=total, minutes=f"{seconds / 60:.1f}"), as_json)
        with _stop_key() as stopped:
            search_.run(settings, wanted, seconds, stopped)
            fits = {key: search_.fits(*key, stopped) for key in search_.found if not search_.known(*key)}
    result = search_.as_dict(fits, total)
    if as_json:
        print_json(result)
    else:
        _show_found(result)
    return 0 if search_.found else 1


class _Search:
    """A scan under way: what was found so far, and what makes it end."""

    def __init__(self, line: Reached, patience: float, thorough: bool) -> None:
        self.line, self.patience, self.thorough = line, patience, thorough
        self.found: dict[tuple[Speed, int], Answer] = {}
        self.noisy: dict[Speed, int] = {}  # settings at which bytes came that were no answer
        self.tried = 0
        self.stopped = False

    def run(self, settings: Sequence[Speed], units: Sequence[int], seconds: float, stopped: Any) -> None:
        """Try every unit at every setting, until *stopped* says so."""
        from drivers.scan import tries

        progress = _Progress(len(settings) * len(units), seconds)
        for speed, unit_id in tries(settings, units):
            if stopped():
                self.stopped = True
                break
            progress.show(t("scan.trying", speed=speed, unit=unit_id, found=len(self.found)), self.tried)
            self._try(speed, unit_id)
            self.tried += 1
        progress.clear()

    def _try(self, speed: Speed, unit_id: int) -> None:
        from drivers.asking import BROKEN, EXCEPTION, REPLY, Ask
        from drivers.scan import functions

        for function in functions(unit_id, self.thorough):
            answer = self.line.ask(Ask(unit_id, function, b"\0\0\0\1", speed, self.patience))
            if answer.state in (REPLY, EXCEPTION):
                self.found[speed, unit_id] = answer
                return
            if answer.state == BROKEN:
                self.noisy[speed] = self.noisy.get(speed, 0) + 1

    def known(self, speed: Speed, unit_id: int) -> str | None:
        """The configured instrument that this is."""
        names = {getattr(device, "unit_id", None): device.name for device in self.line.devices}
        return names.get(unit_id) if speed == self.line.speed else None

    def fits(self, speed: Speed, unit_id: int, stopped: Any) -> list[Fit]:
        """The profiles whose values the unit shows believably."""
        from drivers.asking import REPLY, Ask
        from drivers.scan import best, fit, layouts, profiles, question

        answers: dict[tuple[int, int, int], Answer] = {}
        fitting = []
        for profile in profiles(self.line.folders):
            for variant, layout in layouts(profile):
                request = question(layout, speed)
                if request is None or stopped():
                    continue
                key = (request.function, request.address, request.count)
                if key not in answers:
                    data = request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big")
                    answers[key] = self.line.ask(Ask(unit_id, request.function, data, speed, max(self.patience, 0.3)))
                if answers[key].state == REPLY:
                    fitting.append(fit(layout, variant, request, answers[key].data, datetime.now(UTC)))
        return best(one for one in fitting if one is not None)

    def as_dict(self, fits: Mapping[tuple[Speed, int], Sequence[Fit]], total: int) -> dict[str, Any]:
        """What came of it, for programs and the screen."""
        return {
            "found": [
                {
                    "unit_id": unit_id,
                    "baudrate": speed.baudrate,
                    "parity": speed.parity,
                    "stopbits": speed.stopbits,
                    "exception": answer.code or None,
                    "device": self.known(speed, unit_id),
                    "fits": [one.as_dict() for one in fits.get((speed, unit_id), ())],
                }
                for (speed, unit_id), answer in self.found.items()
            ],
            "noisy": [{"speed": str(speed), "count": count} for speed, count in self.noisy.items()],
            "tried": self.tried,
            "of": total,
            "stopped": self.stopped,
        }


def _show_found(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    from station.screen import DIM, console

    if result["stopped"]:
        print(t("scan.stopped", tried=result["tried"], total=result["of"]))
    table = Table(box=None, pad_edge=False)
    for title in (t("scan.unit"), t("scan.speed"), t("status.device"), t("scan.fits")):
        table.add_column(title, header_style=DIM)
    for one in result["found"]:
        speed = f"{one['baudrate']} 8{one['parity']}{one['stopbits']}"
        shown = [_fit_text(fit) for fit in one["fits"][:3]]
        fits = ", ".join(shown) or t("status.unknown" if one["device"] else "scan.fits_none")
        table.add_row(str(one["unit_id"]), speed, one["device"] or t("status.unknown"), fits)
    if result["found"]:
        console().print(table)
    else:
        print(t("scan.nobody"))
    for one in result["noisy"]:
        print(t("scan.noise", speed=one["speed"], count=one["count"]))


def _fit_text(fit: Mapping[str, Any]) -> str:
    variant = f" ({fit['variant']})" if fit["variant"] else ""
    return f"{fit['profile']}{variant} {fit['good']}/{fit['asked']}"


class _Progress:
    """One line that is written over, on a terminal alone."""

    def __init__(self, total: int, seconds: float) -> None:
        self._total, self._seconds, self._began = max(1, total), seconds, time.monotonic()
        self._live = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str, done: int) -> None:
        """Say *text* and how long the rest will take, by what *done* steps took."""
        if not self._live:
            return
        spent = time.monotonic() - self._began
        left = spent / done * (self._total - done) if done > 5 else self._seconds
        line = f"{text}  {done}/{self._total}  {t('scan.left', seconds=round(left))}"
        print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
        self._width = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)


@contextmanager
def _stop_key() -> Iterator[Any]:
    """A function that says whether q was pressed, or Ctrl-C; the terminal is put back at the end."""
    import select
    import signal
    import termios
    import tty

    from station.clock import Wake

    pressed = Wake()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    terminal = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    settings = termios.tcgetattr(terminal) if terminal is not None else None

    def stopped() -> bool:
        if terminal is not None and select.select([terminal], [], [], 0)[0] and sys.stdin.read(1) in "qQ":
            pressed.set()
        return pressed.is_set()

    try:
        if terminal is not None:
            tty.setcbreak(terminal)
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
        if terminal is not None and settings is not None:
            termios.tcsetattr(terminal, termios.TCSADRAIN, settings)


def _tell(text: str, as_json: bool) -> None:
    if not as_json:
        print(text, file=sys.stderr)


# -- peek


@bus.command("peek", help="help.bus_peek")
@click.argument("bus", metavar="BUS")
@click.argument("unit", type=click.IntRange(0, 255))
@click.argument("address")
@click.argument("count", type=click.IntRange(0, 2000), default=10)
@option("--table", key="table", type=click.Choice(["holding", "input"]), default="holding", show_default=True)
@option("--function", "function", key="function")
@option("--data", "data", key="peek_data")
@option("--patience", key="patience", type=click.FloatRange(0.02, 3), default=0.5, show_default=True)
@line_options
@json_option
@lang_option
def peek(
    bus: str,
    unit: int,
    address: str,
    count: int,
    table: str,
    function: str | None,
    data: str | None,
    patience: float,
    config: Path,
    baudrate: str | None,
    parity: str | None,
    stopbits: int | None,
    as_json: bool,
) -> None:
    """Raw registers in every type and order; or the bare answer to any function."""
    from drivers.line import FUNCTION, TABLE

    code = FUNCTION[table] if function is None else _integer(function, "a function", 127)
    start = _integer(address, "an address", 0xFFFF)
    with reached(bus, config, baudrate, parity, stopbits) as line:
        if code in TABLE and data is None:
            if not 1 <= count <= 0x10000 - start:
                raise WrongArgument(f"{count} registers from {start} are none, or end above 65535")
            words = read_words(line, unit, TABLE[code], start, count, patience)
            if len(words) < count:
                _tell(t("peek.refused", count=count - len(words), total=count), as_json)
            _print_words(words, as_json)
            return
        answer = _raw(line, unit, code, start, count, data, patience)
    if as_json:
        print_json({"unit_id": unit, "function": code, "answer": answer.hex(" ").upper()})
    else:
        print(answer.hex(" ").upper() or t("peek.empty"))


def _raw(line: Reached, unit: int, code: int, start: int, count: int, data: str | None, patience: float) -> bytes:
    from drivers.asking import REPLY, WRITES, Ask
    from drivers.frames import from_hex

    if code in WRITES:
        raise WrongArgument(f"function {code} writes; station bus poke does that")
    try:
        body = start.to_bytes(2, "big") + count.to_bytes(2, "big") if data is None else from_hex(data) if data else b""
    except ValueError as error:
        raise WrongArgument(str(error)) from error
    answer = line.ask(Ask(unit, code, body, None, patience))
    if answer.state != REPLY:
        raise NoAnswer(answer.text)
    return answer.data


def read_words(line: Reached, unit: int, table: str, start: int, count: int, patience: float) -> dict[int, int]:
    """The registers by their address, those that the instrument has; raise NoAnswer where it has none of them."""
    from drivers.asking import EXCEPTION

    words: dict[int, int] = {}
    for first in range(start, start + count, MOST_WORDS):
        number = min(MOST_WORDS, start + count - first)
        answer, found = try_words(line, unit, table, first, number, patience)
        if not found and answer.state == EXCEPTION:
            found = existing_words(line, unit, table, first, number, patience)
        if not found and not words:
            raise NoAnswer(answer.text)
        words |= found
    return words


def try_words(
    line: Reached, unit: int, table: str, first: int, count: int, patience: float
) -> tuple[Answer, dict[int, int]]:
    """The answer to one read, and its registers by their address where it has any."""
    from drivers.asking import REPLY, Ask
    from drivers.line import FUNCTION

    body = first.to_bytes(2, "big") + count.to_bytes(2, "big")
    answer = line.ask(Ask(unit, FUNCTION[table], body, None, patience))
    if answer.state != REPLY:
        return answer, {}
    return answer, {first + i: int.from_bytes(answer.data[2 * i : 2 * i + 2], "big") for i in range(count)}


def existing_words(line: Reached, unit: int, table: str, start: int, count: int, patience: float) -> dict[int, int]:
    """The registers of a block; one that is refused is asked for in halves."""
    from drivers.asking import EXCEPTION

    answer, found = try_words(line, unit, table, start, count, patience)
    if found or count == 1:
        return found
    if answer.state == EXCEPTION and answer.code == 1:
        return {}  # it does not know this table
    if answer.state != EXCEPTION and count <= SMALLEST_SILENT:
        return {}
    half = count // 2
    left = existing_words(line, unit, table, start, half, patience)
    return left | existing_words(line, unit, table, start + half, count - half, patience)


def _print_words(words: Mapping[int, int], as_json: bool) -> None:
    from drivers.guess import bcd, guesses, text, texts

    found = list(guesses(words))
    if as_json:
        print_json(
            {
                "registers": [{"address": a, "word": w, "bcd": bcd(w), "text": text([w])} for a, w in words.items()],
                "values": [
                    {"address": g.address, "type": g.type, "order": g.order, "value": _finite(g.raw),
                     "plausible": g.plausible} for g in found
                ],
                "texts": [{"address": address, "text": said} for address, said in texts(words)],
            }
        )  # fmt: skip
        return
    from station.screen import console

    out = console()
    out.print(_word_table(words))
    for kind in ("f32", "u32", "i32"):
        rows = [g for g in found if g.type == kind and (kind != "i32" or g.raw < 0)]
        if rows:
            out.print(_pair_table(kind, rows))
    for address, said in texts(words):
        print(t("peek.text", address=address, text=said))
    print(t("peek.marked"))


def _finite(value: float) -> float | str:
    """The number, or a word where JSON has no number for it."""
    return value if value == value and abs(value) != float("inf") else str(value)


def _word_table(words: Mapping[int, int]) -> Any:
    from rich.table import Table

    from drivers.guess import bcd, guesses, text
    from station.screen import DIM

    table = Table(box=None, pad_edge=False)
    for title in (t("bus.register"), "hex", "u16", "i16", "u16 BA", "BCD", t("peek.characters")):
        table.add_column(title, justify="right", header_style=DIM)
    likely = {(g.address, g.type) for g in guesses(words) if g.plausible}
    for address, word in words.items():
        signed = word - 0x10000 if word & 0x8000 else word
        swapped = word >> 8 | (word & 0xFF) << 8
        digits = bcd(word)
        table.add_row(
            f"{address} (0x{address:04X})",
            f"{word:04X}",
            _marked(str(word), (address, "u16") in likely),
            _marked(str(signed), (address, "i16") in likely),
            str(swapped),
            "" if digits is None else str(digits),
            text([word]),
        )
    return table


def _pair_table(kind: str, rows: Sequence[Any]) -> Any:
    from rich.table import Table

    from station.screen import DIM

    table = Table(title=kind, title_justify="left", title_style="bold", box=None, pad_edge=False)
    orders = ("ABCD", "DCBA", "BADC", "CDAB")
    for title in (t("bus.register"), *orders):
        table.add_column(title, justify="right", header_style=DIM)
    by_address: dict[int, dict[str, str]] = {}
    for one in rows:
        shown = f"{one.raw:.7g}" if kind == "f32" else str(one.raw)
        by_address.setdefault(one.address, {})[one.order] = _marked(shown, one.plausible)
    for address, shown_by in by_address.items():
        table.add_row(str(address), *(shown_by.get(order, "") for order in orders))
    return table


def _marked(text: str, plausible: bool) -> str:
    return f"{text} *" if plausible else text


def _integer(text: str, what: str, highest: int) -> int:
    """The number in *text*, decimal or 0x; WrongArgument says that it is no *what*."""
    try:
        value = int(text, 0)
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not {what} such as 500 or 0x01F4') from error
    if not 0 <= value <= highest:
        raise WrongArgument(f'"{text}" is not {what}: they go from 0 to {highest}')
    return value


# -- poke


@bus.command("poke", help="help.bus_poke")
@click.argument("bus", metavar="BUS")
@click.argument("unit", type=click.IntRange(1, 247))
@click.argument("address")
@click.argument("values", metavar="VALUE...", nargs=-1, required=True)
@option("--function", "function", key="poke_function", type=click.Choice(["5", "6", "16"]))
@option("--yes", key="yes", is_flag=True)
@option("--override", key="override")
@option("--patience", key="patience", type=click.FloatRange(0.02, 3), default=1.0, show_default=True)
@line_options
@json_option
@lang_option
def poke(
    bus: str,
    unit: int,
    address: str,
    values: tuple[str, ...],
    function: str | None,
    yes: bool,
    override: str | None,
    patience: float,
    config: Path,
    baudrate: str | None,
    parity: str | None,
    stopbits: int | None,
    as_json: bool,
) -> int:
    """Write registers or a coil; 0 when they read back as written, else 1."""
    from drivers.asking import EXCEPTION, REPLY, Ask
    from station.lend import refuse_protected

    start = _integer(address, "an address", 0xFFFF)
    words = [_word(value) for value in values]
    code = int(function) if function else (6 if len(words) == 1 else 16)
    if code != 16 and len(words) > 1:
        raise WrongArgument(f"function {code} writes one value; {len(words)} were given")
    if code == 5 and words[0] not in (0, 1):
        raise WrongArgument("a coil is written 0 or 1")
    question = Ask(unit, code, _body(code, start, words), None, patience)
    with reached(bus, config, baudrate, parity, stopbits) as line:
        refuse_protected(line.devices, line.folders, question, override)
        before = _stands(line, unit, code, start, len(words), patience)
        if not as_json:
            print(t("poke.before", unit=unit, address=start, before=_shown(before), after=_shown(words)))
        if not yes and not _confirmed(start):
            print(t("poke.not_done"), file=sys.stderr)
            return 1
        answer = line.poke(question, override)
        after = _stands(line, unit, code, start, len(words), patience)
    if answer.state == EXCEPTION:
        raise NoAnswer(answer.text)
    good = after == words
    if as_json:
        print_json({"confirmed": answer.state == REPLY, "before": before, "written": words, "after": after})
    else:
        if answer.state != REPLY:
            print(t("poke.unconfirmed", text=answer.text), file=sys.stderr)
        print(t("poke.good" if good else "poke.differs", after=_shown(after)))
    return 0 if good else 1


def _word(text: str) -> int:
    value = _integer(text.removeprefix("-"), "a register's value", 0xFFFF)
    if not text.startswith("-"):
        return value
    if value > 0x8000:
        raise WrongArgument(f'"{text}" is below what a register holds')
    return (0x10000 - value) & 0xFFFF


def _body(code: int, start: int, words: Sequence[int]) -> bytes:
    head = start.to_bytes(2, "big")
    if code == 5:
        return head + (b"\xff\x00" if words[0] else b"\x00\x00")
    data = b"".join(word.to_bytes(2, "big") for word in words)
    return head + data if code == 6 else head + len(words).to_bytes(2, "big") + bytes((len(data),)) + data


def _stands(line: Reached, unit: int, code: int, start: int, count: int, patience: float) -> list[int] | None:
    """What stands there, or None where the instrument does not let it be read."""
    from drivers.asking import REPLY, Ask

    if code != 5:
        _, found = try_words(line, unit, "holding", start, count, patience)
        return [found[start + i] for i in range(count)] if found else None
    answer = line.ask(Ask(unit, 1, start.to_bytes(2, "big") + b"\0\1", None, patience))
    return [answer.data[-1] & 1] if answer.state == REPLY and answer.data else None


def _shown(words: Sequence[int] | None) -> str:
    return t("status.unknown") if words is None else " ".join(map(str, words))


def _confirmed(address: int) -> bool:
    """Whether the address is typed once more; whoever types it has looked at it."""
    print(t("poke.confirm", address=address), end=" ", file=sys.stderr, flush=True)
    typed = sys.stdin.readline().strip() if sys.stdin is not None else ""
    try:
        return int(typed, 0) == address
    except ValueError:
        return False


# -- doctor


@bus.command("doctor", help="help.bus_doctor")
@click.argument("bus", metavar="[BUS]", required=False)
@config_option
@json_option
@lang_option
def doctor(bus: str | None, config: Path, as_json: bool) -> int:
    """What to look at first on each line; 0 when there is nothing, else 1."""
    from drivers.doctor import advice, asked_enough

    loaded = read_config(config)
    names = [one.name for one in loaded.config.bus]
    if bus is not None:
        must_be_known(bus, set(names), "bus")
        names = [bus]
    result = []
    for name in names:
        health, devices = _health(loaded, name, as_json)
        found = advice(health)
        result.append({"bus": name, "enough": asked_enough(health), "advice": [one.as_dict() for one in found]})
        if not as_json:
            _show_advice(name, found, devices, asked_enough(health))
    if as_json:
        print_json(result)
    return 1 if any(one["advice"] for one in result) else 0


def _health(loaded: Loaded, name: str, as_json: bool) -> tuple[Health, Mapping[str, str]]:
    """The figures of a line: the running station's, else those it kept, else from reading every instrument a while."""
    found = _known(loaded, name)
    if found is None:
        _tell(t("doctor.alone", bus=name, polls=POLLS), as_json)
        found = _measured(loaded, name)
    elif "since" in found:
        _tell(t("doctor.kept", bus=name, since=found["since"]), as_json)
    return _judged_by(found), found["devices"]


def known_health(loaded: Loaded, name: str) -> Health | None:
    """The figures of a line that the running station has, or kept; nothing is asked of any instrument."""
    found = _known(loaded, name)
    return None if found is None else _judged_by(found)


def _known(loaded: Loaded, name: str) -> dict[str, Any] | None:
    return ask_station(loaded, "line", bus=name, timeout=LOAN_PATIENCE) or _kept(loaded, name)


def _judged_by(found: Mapping[str, Any]) -> Health:
    from drivers.doctor import Health, Silence

    units = {int(unit): counts for unit, counts in found["units"].items()}
    patience = {int(unit): ms for unit, ms in found["patience_ms"].items()}
    silent = {int(unit): Silence(**told) for unit, told in found.get("silent", {}).items()}
    return Health(units, found["foreign"], found["latency_ms"], patience, silent)


def _kept(loaded: Loaded, name: str) -> dict[str, Any] | None:
    """What the station kept of the last day, hour by hour; None where it kept nothing."""
    from drivers.doctor import summed
    from station.lend import latency_ms
    from station.store import Store, connect

    if not loaded.database.exists():
        return None
    end = datetime.now(UTC)
    settings = next(one for one in loaded.config.bus if one.name == name)
    units = {str(one.unit_id): one.name for one in settings.device if hasattr(one, "unit_id")}
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        rows = [row for row in store.records("line", end - KEPT, end) if row.body.get("bus") == name]
        ends = {who: store.silence_at_end(who, end - KEPT) for who in units.values()}
    counts = {unit: summed(row.body for row in rows if row.device == who) for unit, who in units.items()}
    if not any(counts.values()):
        return None
    silent = {unit: told for unit, who in units.items() if (told := ends[who])}
    return {
        "units": {unit: figures for unit, figures in counts.items() if figures},
        "devices": units,
        "patience_ms": _patience(loaded, settings.device),
        "foreign": 0,
        "latency_ms": latency_ms(settings.port),
        "silent": silent,
        "since": f"{rows[0].at.astimezone(loaded.zone):%Y-%m-%d %H:%M}",
    }


def _patience(loaded: Loaded, devices: Sequence[Any]) -> dict[str, float]:
    from drivers.profile import load

    modbus = (one for one in devices if hasattr(one, "unit_id") and hasattr(one, "profile"))
    return {str(one.unit_id): load(one.profile, loaded.profile_folders).worst_reply_ms for one in modbus}


def _measured(loaded: Loaded, name: str) -> dict[str, Any]:
    from contextlib import suppress

    from drivers.base import DeviceError
    from station.config import make_device
    from station.lend import latency_ms

    settings = next(one for one in loaded.config.bus if one.name == name)
    line = Alone(settings, settings.device)
    modbus = [one for one in settings.device if hasattr(one, "unit_id") and hasattr(one, "profile")]
    devices = [make_device(one, line.bus, loaded.profile_folders) for one in modbus]
    try:
        for _ in range(POLLS):
            for device in devices:
                with suppress(DeviceError):  # counted by the bus
                    device.read()
    finally:
        line.close()
    return {
        "units": {str(unit): counts.so_far() for unit, counts in line.bus.statistics.items()},
        "devices": {str(getattr(one, "unit_id", "")): one.name for one in modbus},
        "patience_ms": _patience(loaded, modbus),
        "foreign": line.bus.foreign,
        "latency_ms": latency_ms(settings.port),
    }


def _show_advice(name: str, found: Sequence[Advice], devices: Mapping[str, str], enough: bool) -> None:
    from station.screen import BAD, DIM, GOOD, console

    out = console()
    out.print(t("doctor.title", bus=name), style="bold")
    if not found:
        out.print("  " + (t("doctor.sound") if enough else t("doctor.too_early")), style=GOOD if enough else DIM)
    for one in found:
        who = ", ".join(f"{devices.get(str(unit), '')} ({unit})".strip() for unit in one.units)
        lead = f"{who}: " if who else ""
        out.print(f"  {lead}{t(f'advice.{one.key}')}", style=BAD)
        out.print(f"    {t(f'advice_figures.{one.key}', **one.figures)}", style=DIM)
