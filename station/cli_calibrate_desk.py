"""Where one parameter is calibrated: a person is led, a script goes on by one step, an analyser is left to itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_calibrate_record import enter, instrument, read_all, result_lines, standard_text
from station.command_line import ask_station, print_json
from station.i18n import t
from station.model import StationError, WrongArgument, dataclass, replace

if TYPE_CHECKING:
    from station.calibration_figures import Rule, Signal
    from station.calibration_run import Run
    from station.calibration_standard import Standard
    from station.config import Loaded

CANCEL = "c"
YES = ("y", "yes", "是")
Read = Callable[[], list[Any] | None]


class NotStable(StationError):
    """Error raised when the signal did not settle within the time given."""

    exit_code = 69


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was said on the command line; what is missing is asked for."""

    procedure: str | None
    standards: Sequence[Standard]
    into: str
    times: int
    shown: Sequence[float]
    reference: Path | None
    user: str
    serial: str
    firmware: str
    environment: str
    override: str
    note: str
    photos: Sequence[Mapping[str, Any]]
    full_scale: float | None
    rule: Mapping[str, Any]
    wait: float


class Desk:
    """Entries about one parameter go to the running station, or alone into its database."""

    def __init__(self, loaded: Loaded, device: str, parameter: str, as_json: bool, tail: float) -> None:
        from station.calibration_entry import place_of

        self.loaded, self.as_json, self.tail = loaded, as_json, tail
        self.place = place_of(loaded, device, parameter)
        self._device: Any = None  # the instrument, while no station runs that owns its line
        self._read: Read = lambda: None
        self._pace = 1.0
        self._since = datetime.now(UTC)

    # -- the run

    def run(self) -> Run | None:
        """The run that is under way for this parameter."""
        run = read_all(self.loaded).open_at(self.place.device)
        return run if run is not None and run.parameter == self.place.parameter else None

    def there(self) -> Run:
        """The run that is under way, after an entry."""
        run = self.run()
        assert run is not None
        return run

    def enter(self, do: str, **fields: Any) -> dict[str, Any]:
        """Have an entry kept."""
        return enter(self.loaded, {"do": do, "tail_seconds": self.tail, **fields}, self._device)

    def begin(self, asked: Asked, *, unattended: bool = False) -> Run:
        """Begin a run with what is known of it."""
        standards = self._standards(asked)
        body = self.enter(
            "begin", device=self.place.device, parameter=self.place.parameter, procedure=asked.procedure,
            standards=[one.plain() for one in standards], into=asked.into, user=asked.user, serial=asked.serial,
            firmware=asked.firmware, environment=asked.environment,
            full_scale=asked.full_scale, rule=dict(asked.rule), note=asked.note,
            override=asked.override, photos=[dict(one) for one in asked.photos], unattended=unattended,
        )  # fmt: skip
        run = read_all(self.loaded).named(str(body["name"]))
        self.say(t("calibrate.begun" if run.mark else "calibrate.begun_unmarked", name=run.name))
        if run.also_marks:
            self.say(t("calibrate.also_marked", parameters=", ".join(_named(one) for _, one in self.place.companions)))
        return run

    def _standards(self, asked: Asked) -> Sequence[Standard]:
        """As given; those the instrument knows where none are; one standard as often as it is to be measured."""
        from station.calibration_run import PROCEDURES
        from station.calibration_standard import Standard

        known = PROCEDURES[str(asked.procedure)]
        if not asked.standards and known.acts == "point":
            return [Standard(value=value) for value in self.place.ways.get("standards", ())]
        if known.repeats and len(asked.standards) == 1:
            return [*asked.standards] * asked.times
        return asked.standards

    def take(self, run: Run, user: str, found: Sequence[Any], override: str) -> dict[str, Any]:
        """Keep what the instrument said to the next standard."""
        kept = [*found[-run.rule.readings :]]
        if run.rule.seconds and found[0] not in kept:
            kept.insert(0, found[0])  # since when it has been in the standard
        return self.enter("step", name=run.name, index=len(run.steps), readings=kept, user=user, override=override)

    def cancel(self, reason: str, user: str, override: str = "") -> None:
        """Give the run up; what the instrument was told is undone."""
        run = self.run()
        if run is None:
            raise WrongArgument(t("calibrate.none_open", device=self.place.device, parameter=self.place.parameter))
        body = self.enter("cancel", name=run.name, reason=reason, user=user, override=override)
        self.show(body)
        restored = body.get("restored", {})
        if "not_restored" in restored:
            self.say(t("calibrate.not_restored", name=run.name, error=restored["not_restored"]))
        elif "stays" in restored:
            self.say(t("calibrate.stays", name=run.name, device=run.device))
            return
        elif restored:
            self.say(t("calibrate.restored", name=run.name, numbers=restored.get("numbers", "")))
        self.say(t("calibrate.cancelled", name=run.name))

    def leave(self, asked: Asked) -> None:
        """Begin a run that the station leads to its end by itself, and that somebody signs later."""
        if self.run() is None and asked.procedure is None:
            raise WrongArgument(t("calibrate.needs"))
        if ask_station(self.loaded, "commit") is None:
            raise WrongArgument(t("calibrate.no_station"))
        run = self.begin(asked, unattended=True)
        self.show({"name": run.name, "state": run.state})
        self.say(t("calibrate.left_alone", name=run.name, device=run.device))

    # -- scripts: one standard, or the end, each time

    def go_on(self, asked: Asked) -> None:
        """Do what is next: begin and take the first standard, take a further one; behind the last one finish."""
        run = self.run()
        if run is None:
            if asked.procedure is None or not (asked.standards or self._needs_none(asked.procedure)):
                raise WrongArgument(t("calibrate.needs"))
            run = self.begin(asked)
        user = asked.user
        run = self._act(run, user)
        if run.turn == ("series", 0):
            self.series(run, user, asked.reference)
            run = self.there()
        elif run.procedure_of.source == "typed":
            run = self._type(run, asked)
        elif run.next is not None:
            number, count = run.place
            self.say(t("calibrate.standard", number=number, count=count, value=standard_text(run.next)))
            found, last = self.watch(run, asked.wait)
            if not (last is not None and last.stable) and not asked.override:
                raise NotStable(t("calibrate.not_stable", seconds=f"{asked.wait:g}"))
            body = self.take(run, user, found, asked.override)
            run = self._act(self.there(), user)
            if run.next is not None:
                self.show(body)
                self.say(t("calibrate.then", name=run.name, value=standard_text(run.next)))
                return
        self.finish(run, asked)

    def _needs_none(self, procedure: str) -> bool:
        from station.calibration_run import PROCEDURES

        known = PROCEDURES[procedure]
        return known.most == 0 or (known.acts == "point" and bool(self.place.ways.get("standards")))

    def _type(self, run: Run, asked: Asked) -> Run:
        """Take what was read off a display, one number for each reference."""
        left = len(run.wanted) - len(run.steps)
        if len(asked.shown) != left:
            raise WrongArgument(t("calibrate.needs_shown", count=left, given=len(asked.shown)))
        for value in asked.shown:
            self._typed(run, asked.user, value)
            run = self.there()
        return run

    def _typed(self, run: Run, user: str, value: float) -> None:
        self.enter(
            "step", name=run.name, index=len(run.steps), readings=[[datetime.now(UTC).isoformat(), value]], user=user
        )

    def _act(self, run: Run, user: str) -> Run:
        """Where it is the instrument's turn, tell it what it is to be told."""
        if not run.must_act:
            return run
        self.enter("act", name=run.name, user=user)
        self.say(t(f"calibrate_told.{run.tells}", device=run.device))
        return self.there()

    def series(self, run: Run, user: str, file: Path | None) -> None:
        """Keep a reference series beside the station's own hours."""
        if file is None:
            raise WrongArgument(t("calibrate.needs_reference"))
        body = self.enter("pairs", name=run.name, rows=read_series(file, self.loaded), user=user)
        self.say(t("calibrate.paired", count=len(body["pairs"])))

    def finish(self, run: Run, asked: Asked) -> None:
        """Put the result on record and say what it is."""
        body = self.enter("done", **self._ending(run, asked))
        self.show(body)
        if not self.as_json:
            for line in result_lines(body, run.parameter):
                print(line)
            print(done_text(run, body))

    def _ending(self, run: Run, asked: Asked) -> dict[str, Any]:
        """What goes into the last entry; photos that are on record since the first one are not there twice."""
        had = {one["sha256"] for one in run.photos}
        photos = [dict(one) for one in asked.photos if one["sha256"] not in had]
        return {"name": run.name, "user": asked.user, "note": asked.note, "override": asked.override, "photos": photos}

    # -- people: every question in turn

    def lead(self, asked: Asked) -> None:
        """Ask for what is missing, lead from standard to standard, show the result, ask before it counts."""
        try:
            self._lead(asked)
        except (click.Abort, KeyboardInterrupt):  # Ctrl-C: the run stays where it is, and whoever pressed it is told
            print()
            if (run := self.run()) is not None:
                self._later(run)
            raise click.Abort from None

    def _lead(self, asked: Asked) -> None:
        run = self.run()
        if run is not None:
            number, count = run.place
            self.say(t("calibrate.resumed", name=run.name, user=run.user, number=number, count=count))
        else:
            self._free()
        user = asked.user or click.prompt(t("calibrate.ask_user"), default=run.user if run else None)
        if run is not None and user.strip() != run.user:
            raise WrongArgument(t("calibrate.not_yours", name=run.name, user=run.user))
        asked = replace(asked, user=user)
        run = run or self._ask_and_begin(asked)
        again = False  # whether the standard is in the instrument already
        while run.turn is not None:
            kind = run.turn[0]
            if kind == "act":
                acted = self._act_asked(run, user)
                if acted is None:
                    return None
                run, again = acted, acted.turn is not None and self._is_in(acted)
                continue
            if kind == "series":
                goes_on = self._series_asked(run, asked)
            elif run.procedure_of.source == "typed":
                goes_on = self._type_asked(run, user)
            else:
                goes_on = self._take_asked(run, asked, again)
            if not goes_on:
                return self._give_up(user)
            run, again = self.there(), False
        return self._conclude(run, asked)

    def _free(self) -> None:
        """Raise WrongArgument where somebody is at another parameter of the instrument, before anything is asked."""
        other = read_all(self.loaded).open_at(self.place.device)
        if other is not None:
            about = {"device": other.device, "name": other.name, "user": other.user, "parameter": other.parameter}
            raise WrongArgument(t("calibrate.occupied", **about))

    def _is_in(self, run: Run) -> bool:
        """Whether the standard that is next is the one that was taken last."""
        assert run.turn is not None
        takes = [i for kind, i in run.turns if kind == "take"]
        return bool(run.steps) and run.turn[0] == "take" and takes[len(run.steps) - 1] == run.turn[1]

    def _ask_and_begin(self, asked: Asked) -> Run:
        from station.cli_calibrate import PROCEDURES

        if not asked.procedure:
            for name in PROCEDURES:
                print(f"  {name:<18} {t(f'procedure.{name}')}")
        procedure = asked.procedure or click.prompt(
            t("calibrate.ask_procedure"), type=click.Choice(PROCEDURES), show_choices=False
        )
        asked = replace(asked, procedure=procedure)
        if not asked.standards:
            standards, reason = self._ask_standards(procedure)
            asked = replace(asked, standards=standards, override=asked.override or reason)
        if not (asked.serial or self.place.tells_serial):
            asked = replace(asked, serial=self._ask_serial())
        return self.begin(asked)

    def _ask_serial(self) -> str:
        """The serial number that the instrument does not tell; Enter takes the one of last time, or leaves it out."""
        runs = [run for run in read_all(self.loaded).runs.values() if run.device == self.place.device]
        last = next((run.instrument["serial"] for run in reversed(runs) if run.instrument.get("serial")), "")
        return str(click.prompt(t("calibrate.ask_serial"), default=last, show_default=bool(last))).strip()

    def _ask_standards(self, procedure: str) -> tuple[list[Standard], str]:
        """The standards, and with what reason one that is past its day is used."""
        from station.calibration_run import PROCEDURES
        from station.calibration_standard import standard_in

        wants, given, reason = PROCEDURES[procedure], list[Any](), ""
        ordered = wants.sets == "line" or wants.acts == "point"
        known = self.place.ways.get("standards") or [] if wants.acts == "point" else []
        most = len(known) or (1 if wants.repeats else wants.most)
        fewest = len(known) or (1 if wants.repeats else wants.fewest)
        while len(given) < most:
            may_end = len(given) >= fewest
            default = f"{known[len(given)]:g}" if known else ""
            question = t("calibrate.ask_further" if may_end else "calibrate.ask_standard", number=len(given) + 1)
            text = str(click.prompt(question, default=default, show_default=bool(default))).strip()
            if not text and may_end:
                break
            try:
                one = standard_in(text)
            except WrongArgument:
                print(t("calibrate.no_standard", text=text))
                continue
            if ordered and given and one.value <= given[-1].value:
                print(t("calibrate.out_of_order", value=f"{one.value:g}", last=f"{given[-1].value:g}"))
                continue
            if one.expired(datetime.now(self.loaded.zone).date()):
                why = self._ask(t("calibrate.ask_expired", value=standard_text(one), day=one.expires))
                if not why:
                    continue
                reason = why
            given.append(one)
        return given, reason

    def _type_asked(self, run: Run, user: str) -> bool:
        """Keep what the instrument shows for the next reference; false where it is given up."""
        from station.calibration_standard import number

        while True:
            assert run.next is not None
            text = self._ask(t("calibrate.ask_shown", number=len(run.steps) + 1, value=standard_text(run.next)))
            if text == CANCEL:
                return False
            try:
                value = number(text, "the reading")
            except WrongArgument:
                print(t("calibrate.no_number", text=text))
                continue
            self._typed(run, user, value)
            return True

    def _series_asked(self, run: Run, asked: Asked) -> bool:
        """Keep the file of the reference instrument; one that is of no use is asked for again, false is given up."""
        given = asked.reference
        while True:
            text = str(given) if given is not None else self._ask(t("calibrate.ask_reference"))
            if text == CANCEL:
                return False
            given = None
            if not text:
                continue
            try:
                self.series(run, asked.user, Path(text).expanduser())
            except StationError as error:  # of the file, or of the station that finds too few hours
                print(t("calibrate.no_series", error=error))
                continue
            return True

    def _take_asked(self, run: Run, asked: Asked, again: bool) -> bool:
        """Have the next standard put in and taken; false where it is given up."""
        assert run.next is not None
        (number, count), value = run.place, standard_text(run.next)
        if again:
            self.say(t("calibrate.as_left", value=value))
            return self._settle(run, asked)
        put_in = t("calibrate.put_in", number=number, count=count, value=value)
        if self._ask(t("calibrate.put_in_again", value=value) if run.looks_again else put_in) == CANCEL:
            return False
        return self._settle(run, asked)

    def _settle(self, run: Run, asked: Asked) -> bool:
        """Watch until the signal is stable and take it; false where it is given up."""
        while True:
            found, last = self.watch(run, asked.wait)
            if last is not None and last.stable:
                self.take(run, asked.user, found, "")
                self.say(t("calibrate.taken", mean=f"{last.mean:.5g}"))
                return True
            print(t("calibrate.not_stable", seconds=f"{asked.wait:g}"))
            answer = self._ask(t("calibrate.ask_unstable"))
            if answer == CANCEL:
                return False
            if answer and found:
                self.take(run, asked.user, found, answer)
                return True

    def _act_asked(self, run: Run, user: str) -> Run | None:
        """Tell the instrument what it is to be told, as often as it refuses and somebody wants it; else None."""
        try:
            if run.tells == "write" and not self._sure(run, user):
                return None
        except WrongArgument as error:  # no line goes through what was taken
            self._no_result(run, user, error)
            return None
        while True:
            try:
                return self._act(run, user)
            except StationError as error:
                kept = (getattr(error, "kind", "") or type(error).__name__) == "NotTaken"
                print(t("calibrate.refused", device=run.device, error=str(error).removeprefix(f"{run.device}: ")))
                print(t("calibrate.former_in_force" if kept else "calibrate.former_unsure"))
            answer = self._ask(t("calibrate.ask_refused")).lower()
            if answer == CANCEL:
                self._give_up(user)
                return None
            if answer not in YES:
                self.say(t("calibrate.later" if kept else "calibrate.later_told", name=run.name))
                return None

    def _no_result(self, run: Run, user: str, error: WrongArgument) -> None:
        """Nothing comes of what was taken: it is given up, or left for now."""
        reason = getattr(error, "reason", "")
        print(t(f"calibrate_no_line.{reason}") if reason else error)
        if self._ask(t("calibrate.ask_no_result")) == CANCEL:
            return self._give_up(user)
        return self._later(run)

    def _sure(self, run: Run, user: str) -> bool:
        """Whether new coefficients are to go into the instrument, which are shown before; what else is done is said."""
        from station.calibration_outcome import written_by

        slope, intercept = written_by(run)
        after = " ".join(
            f"{one:.6g}" for name, one in (("slope", slope), ("intercept", intercept))
            if name in self.place.ways.get("writes", ())
        )  # fmt: skip
        print(t("calibrate.in_instrument", before=run.kept.get("numbers", "?"), after=after))
        answer = self._ask(t("calibrate.ask_instrument", device=run.device)).lower()
        if answer in YES:
            return True
        if answer == CANCEL:
            self._give_up(user)
        else:
            self._later(run)
        return False

    def _conclude(self, run: Run, asked: Asked) -> None:
        from station.calibration_outcome import outcome

        try:
            found = outcome(read_all(self.loaded), run, self.place)
        except WrongArgument as error:  # no line goes through what was taken
            return self._no_result(run, asked.user, error)
        for line in result_lines(found, run.parameter):
            print(line)
        leaves = found["changes"] or run.touched
        if leaves and not found["accepted"] and not asked.override:
            asked = replace(asked, override=self._ask(t("calibrate.ask_failed")))
            if not asked.override:
                return self._later(run)
            if asked.override == CANCEL:
                return self._give_up(asked.user)
        elif found["changes"]:
            answer = self._ask(t("calibrate.ask_write")).lower()
            if answer == CANCEL:
                return self._give_up(asked.user)
            if answer not in YES:
                return self._later(run)
        body = self.enter("done", **self._ending(run, asked))
        self.say(done_text(run, body))
        return None

    def _later(self, run: Run) -> None:
        self.say(t("calibrate.later_told" if run.touched else "calibrate.later", name=run.name))

    def _give_up(self, user: str) -> None:
        self.cancel(click.prompt(t("calibrate.ask_why")), user)

    def _ask(self, question: str) -> str:
        return str(click.prompt(question, default="", show_default=False)).strip()

    # -- what the instrument says

    @contextmanager
    def reading(self, every: float | None) -> Iterator[None]:
        """Have its value at hand (time and raw value, or None where there is none), at a pace in seconds."""
        settings = next(one for bus in self.loaded.config.bus for one in bus.device if one.name == self.place.device)
        self._pace = every or settings.poll_seconds
        if ask_station(self.loaded, "commit") is not None:
            self._read = self._of_station
            yield
            return
        from station.status import sample

        with instrument(self.loaded, settings.name) as device:
            self._device = device
            self._read = lambda: self._value([sample(one) for one in device.read()])
            yield

    def _of_station(self) -> list[Any] | None:
        """A reading of its own; of an instrument that measures in steps, or tells means, the last one polled."""
        name = self.place.device
        found = self._value(ask_station(self.loaded, "read", device=name))
        if found is not None:
            return found
        told = ask_station(self.loaded, "status") or {"devices": []}
        values = (one for device in told["devices"] if device["name"] == name for one in device["values"])
        last = next((one for one in values if one["parameter"] == self.place.parameter), None)
        if last is None or last["raw"] is None or datetime.fromisoformat(last["time"]) < self._since:
            return None
        return [last["time"], last["raw"]] if last["own_mark"] in ("N", "T") else None

    def _value(self, samples: Sequence[Mapping[str, Any]] | None) -> list[Any] | None:
        for one in samples or ():
            if one["parameter"] == self.place.parameter and one["value"] is not None:
                if one["mark"] in ("N", "T"):
                    return [one["time"], one["value"]]
                self.say(t("calibrate.marked", mark=f"{one['mark']} {t('mark.' + one['mark'])}"))
        return None

    def watch(self, run: Run, wait: float) -> tuple[list[Any], Signal | None]:
        """Readings until the signal is stable, or for *wait* seconds; each is shown with noise and drift."""
        from station.calibration_figures import signal

        series, found = list[Any](), None
        self._since = datetime.now(UTC)  # what was polled before is of another standard
        give_up = time.monotonic() + wait
        while True:
            try:
                one = self._read()
            except StationError as error:
                one = None
                print(error, file=sys.stderr)
            if one is not None and (not series or one[0] > series[-1][0]):
                series.append(one)
                points = [(datetime.fromisoformat(at).timestamp(), value) for at, value in series]
                found = signal(points, run.rule, run.scale)
                self._show_live(one[1], found, run.rule)
                if found.stable:
                    return series, found
            if time.monotonic() + self._pace > give_up:
                return series, found
            time.sleep(self._pace)

    def _show_live(self, value: float, found: Signal, rule: Rule) -> None:
        figures = {name: f"{getattr(found, name):.3g}" for name in ("noise", "noise_limit", "drift", "drift_limit")}
        self.say(t("calibrate.live", value=f"{value:.5g}", count=found.count, of=rule.readings, **figures))
        if found.stable:
            self.say(t("calibrate.stable"))
        elif rule.seconds and found.count == rule.readings:
            self.say(t("calibrate.stay_on", seconds=f"{rule.seconds:g}"))

    def say(self, sentence: str) -> None:
        """Beside JSON it goes to standard error."""
        print(sentence, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def show(self, body: Mapping[str, Any]) -> None:
        """What was kept, where JSON is wanted."""
        if self.as_json:
            print_json(body)


def _named(parameter: str) -> str:
    from station.i18n import language
    from station.parameters import catalogue

    return catalogue()[parameter].name(language())


def done_text(run: Run, body: Mapping[str, Any]) -> str:
    """What counts from here on."""
    key = "done" if body["changes"] else "done_in_instrument" if run.touched or run.tells else "checked"
    return t(f"calibrate_done.{key}", name=run.name)


def read_series(file: Path, loaded: Loaded) -> list[list[Any]]:
    """The hours of a reference instrument in a CSV *file*: the hour's start, value; a heading is passed over."""
    import csv

    try:
        lines = list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongArgument(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    rows: list[list[Any]] = []
    for number, line in enumerate(lines, 1):
        if not line or not "".join(line).strip():
            continue
        try:
            at, value = datetime.fromisoformat(line[0].strip()), float(line[1])
        except (ValueError, IndexError) as error:
            if number == 1:
                continue
            raise WrongArgument(f"{file}:{number}: is not a time and a value: {','.join(line)}") from error
        moment = at if at.tzinfo else at.replace(tzinfo=loaded.zone)
        rows.append([moment.isoformat(), value])
    if not rows:
        raise WrongArgument(f"{file}: has no hour in it")
    return rows
