"""`station calibrate` and `station calibrations`: a procedure led step by step; its record."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StationError, StoreError, WrongArgument
from station.texts import Command, Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.calibration import Book, Rule, Run, Signal, Standard
    from station.config import Loaded

# As in calibration.py, which is loaded late; a test holds them against each other.
PROCEDURES = (
    "zero", "span", "two-point", "multi-point", "weights", "check", "instrument-zero", "instrument-span",
)  # fmt: skip
CANCEL = "c"
Read = Callable[[], list[Any] | None]


class NotStable(StationError):
    """Error raised when the signal did not settle within the time given."""

    exit_code = 69


@click.command("calibrate", cls=Command, help="help.calibrate")
@click.argument("device")
@click.argument("parameter")
@option("--procedure", key="procedure", type=click.Choice(PROCEDURES))
@option("--standard", "standards", key="calibration_standard", multiple=True)
@option("--user", key="user", default="")
@option("--next", "scripted", key="next", is_flag=True)
@option("--cancel", "cancel_for", key="cancel")
@option("--override", key="calibration_override", default="")
@option("--note", key="calibration_note", default="")
@option("--full-scale", key="full_scale", type=float)
@option("--readings", key="stable_readings", type=int, default=6)
@option("--noise", key="stable_noise", type=float, default=1.0)
@option("--drift", key="stable_drift", type=float, default=1.0)
@option("--every", key="every", type=float)
@option("--wait", key="wait", type=float, default=600.0)
@option("--tail", key="tail", type=float, default=120.0)
@config_option
@json_option
@lang_option
def calibrate(
    device: str, parameter: str, procedure: str | None, standards: tuple[str, ...], user: str, scripted: bool,
    cancel_for: str | None, override: str, note: str, full_scale: float | None, readings: int, noise: float,
    drift: float, every: float | None, wait: float, tail: float, config: Path, as_json: bool,
) -> None:  # fmt: skip
    """One parameter of an instrument, from the first standard to the coefficients."""
    from station.calibration import Rule, standard_in

    desk = Desk(read_config(config), device, parameter, as_json, tail)
    if cancel_for is not None:
        desk.cancel(cancel_for, user)
        return
    rule = Rule(readings=readings, noise_percent=noise, drift_percent=drift)
    given = [standard_in(text) for text in standards]
    asking = {"note": note, "override": override}
    with desk.reading(every) as (read, pace):
        if scripted:
            desk.go_on(user, procedure, given, rule, full_scale, asking, read, pace, wait)
        else:
            desk.lead(user, procedure, given, rule, full_scale, asking, read, pace, wait)


class Desk:
    """Where one parameter is calibrated: entries go to the running station, or alone into its database."""

    def __init__(self, loaded: Loaded, device: str, parameter: str, as_json: bool, tail: float) -> None:
        from station.fieldbook import place_of

        self.loaded, self.as_json, self.tail = loaded, as_json, tail
        self.place = place_of(loaded, device, parameter)
        self._device: Any = None  # the instrument, while no station runs that owns its line

    # -- the run

    def run(self) -> Run | None:
        """The run that is under way for this parameter."""
        run = _book(self.loaded).open_at(self.place.device)
        return run if run is not None and run.parameter == self.place.parameter else None

    def enter(self, do: str, **fields: Any) -> dict[str, Any]:
        """Have an entry kept."""
        return _enter(self.loaded, {"do": do, "tail_seconds": self.tail, **fields}, self._device)

    def begin(
        self, user: str, procedure: str, given: Sequence[Standard], rule: Rule, full_scale: float | None,
        said: Mapping[str, str],
    ) -> Run:  # fmt: skip
        """Begin a run with what is known of it."""
        from station.model import asdict

        fields = {"device": self.place.device, "parameter": self.place.parameter, "procedure": procedure}
        standards = [one.plain() for one in given]
        self.enter("begin", **fields, standards=standards, user=user, full_scale=full_scale, rule=asdict(rule), **said)
        run = self.run()
        assert run is not None
        self.say(t("calibrate.begun", name=run.name))
        return run

    def take(self, run: Run, user: str, found: Sequence[Any], override: str) -> dict[str, Any]:
        """Keep what the instrument said to the next standard."""
        kept = found[-run.rule.readings :]
        return self.enter("step", name=run.name, index=len(run.steps), readings=kept, user=user, override=override)

    def cancel(self, reason: str, user: str) -> None:
        """Give the run up."""
        run = self.run()
        if run is None:
            raise WrongArgument(t("calibrate.none_open", device=self.place.device, parameter=self.place.parameter))
        self.show(self.enter("cancel", name=run.name, reason=reason, user=user))
        self.say(t("calibrate.cancelled", name=run.name))

    # -- scripts: one standard, or the end, each time

    def go_on(
        self, user: str, procedure: str | None, given: Sequence[Standard], rule: Rule, full_scale: float | None,
        said: Mapping[str, str], read: Read, pace: float, wait: float,
    ) -> None:  # fmt: skip
        """Do what is next: begin and take the first standard, take a further one; behind the last one finish."""
        run = self.run()
        if run is None:
            if procedure is None or not given:
                raise WrongArgument(t("calibrate.needs"))
            run = self.begin(user, procedure, given, rule, full_scale, said)
        run = self._act(run, user)
        if run.next is not None:
            self.say(
                t("calibrate.standard", number=len(run.steps) + 1, count=len(run.wanted), value=_standard(run.next))
            )
            found, last = self.watch(read, run, pace, wait)
            if not (last is not None and last.stable) and not said["override"]:
                raise NotStable(t("calibrate.not_stable", seconds=f"{wait:g}"))
            body = self.take(run, user, found, said["override"])
            run = self._act(self.run(), user)
            if run.next is not None:
                self.show(body)
                self.say(t("calibrate.then", name=run.name, value=_standard(run.next)))
                return
        self.finish(run, user, said)

    def _act(self, run: Run | None, user: str) -> Run:
        """Where it is the instrument's turn, have it calibrate itself."""
        assert run is not None
        if not run.must_act:
            return run
        self.enter("act", name=run.name, user=user)
        self.say(t("calibrate.acted", device=run.device))
        found = self.run()
        assert found is not None
        return found

    def finish(self, run: Run, user: str, said: Mapping[str, str]) -> None:
        """Put the result on record and say what it is."""
        body = self.enter("done", name=run.name, user=user, **said)
        self.show(body)
        if not self.as_json:
            for line in result_lines(body, run.parameter):
                print(line)
            print(t("calibrate.done" if body["changes"] else "calibrate.checked", name=run.name))

    # -- people: every question in turn

    def lead(
        self, user: str, procedure: str | None, given: Sequence[Standard], rule: Rule, full_scale: float | None,
        said: Mapping[str, str], read: Read, pace: float, wait: float,
    ) -> None:  # fmt: skip
        """Ask for what is missing, lead from standard to standard, show the result, ask before it counts."""
        run = self.run()
        if run is not None:
            number = min(len(run.steps) + 1, len(run.wanted))
            self.say(t("calibrate.resumed", name=run.name, user=run.user, number=number, count=len(run.wanted)))
        user = user or click.prompt(t("calibrate.ask_user"), default=run.user if run else None)
        if run is None:
            procedure = procedure or click.prompt(t("calibrate.ask_procedure"), type=click.Choice(PROCEDURES))
            given = given or self._ask_standards(procedure)
            run = self.begin(user, procedure, given, rule, full_scale, said)
        while (run := self._act(run, user)).next is not None:
            number, count = len(run.steps) + 1, len(run.wanted)
            answer = self._ask(t("calibrate.put_in", number=number, count=count, value=_standard(run.next)))
            if answer == CANCEL:
                return self._give_up(user)
            if not self._settle(run, user, read, pace, wait):
                return self._give_up(user)
            run = self.run()
        self._conclude(run, user, said)
        return None

    def _ask_standards(self, procedure: str) -> list[Standard]:
        from station.calibration import PROCEDURES as KNOWN
        from station.calibration import standard_in

        wants, given = KNOWN[procedure], list[Any]()
        while len(given) < wants.most:
            may_end = len(given) >= wants.fewest
            text = self._ask(t("calibrate.ask_further" if may_end else "calibrate.ask_standard", number=len(given) + 1))
            if not text and may_end:
                break
            try:
                given.append(standard_in(text))
            except WrongArgument as error:
                print(error)
        return given

    def _settle(self, run: Run, user: str, read: Read, pace: float, wait: float) -> bool:
        """Watch until the signal is stable and take it; false where it is given up."""
        while True:
            found, last = self.watch(read, run, pace, wait)
            if last is not None and last.stable:
                self.take(run, user, found, "")
                self.say(t("calibrate.taken", mean=f"{last.mean:.5g}"))
                return True
            print(t("calibrate.not_stable", seconds=f"{wait:g}"))
            answer = self._ask(t("calibrate.ask_unstable"))
            if answer == CANCEL:
                return False
            if answer and found:
                self.take(run, user, found, answer)
                return True

    def _conclude(self, run: Run, user: str, said: Mapping[str, str]) -> None:
        from station.calibration import outcome

        found = outcome(_book(self.loaded), run, self.place)
        for line in result_lines(found, run.parameter):
            print(line)
        if found["changes"] and not found["accepted"] and not said["override"]:
            said = {**said, "override": self._ask(t("calibrate.ask_failed"))}
            if not said["override"]:
                return self._later(run)
            if said["override"] == CANCEL:
                return self._give_up(user)
        elif found["changes"]:
            answer = self._ask(t("calibrate.ask_write")).lower()
            if answer == CANCEL:
                return self._give_up(user)
            if answer not in ("y", "yes", "是"):
                return self._later(run)
        body = self.enter("done", name=run.name, user=user, **said)
        self.say(t("calibrate.done" if body["changes"] else "calibrate.checked", name=run.name))
        return None

    def _later(self, run: Run) -> None:
        self.say(t("calibrate.later", name=run.name))

    def _give_up(self, user: str) -> None:
        self.cancel(click.prompt(t("calibrate.ask_why")), user)

    def _ask(self, question: str) -> str:
        return str(click.prompt(question, default="", show_default=False)).strip()

    # -- what the instrument says

    @contextmanager
    def reading(self, every: float | None) -> Iterator[tuple[Read, float]]:
        """How its value is had (time and raw value, or None where there is none), and at which pace in seconds."""
        bus, settings = next(
            (bus, one) for bus in self.loaded.config.bus for one in bus.device if one.name == self.place.device
        )
        if ask_station(self.loaded, "commit") is not None:
            yield (
                lambda: self._value(ask_station(self.loaded, "read", device=settings.name)),
                every or settings.poll_seconds,
            )
            return
        from drivers.bus import Bus
        from station.config import make_device
        from station.status import sample

        line = Bus(bus)
        try:
            device = self._device = make_device(settings, line, self.loaded.profile_folders)
            yield lambda: self._value([sample(one) for one in device.read()]), every or settings.poll_seconds
        finally:
            line.close()

    def _value(self, samples: Sequence[Mapping[str, Any]] | None) -> list[Any] | None:
        for one in samples or ():
            if one["parameter"] == self.place.parameter and one["value"] is not None:
                if one["mark"] in ("N", "T"):
                    return [one["time"], one["value"]]
                self.say(t("calibrate.marked", mark=f"{one['mark']} {t('mark.' + one['mark'])}"))
        return None

    def watch(self, read: Read, run: Run, pace: float, wait: float) -> tuple[list[Any], Signal | None]:
        """Readings until the signal is stable, or for *wait* seconds; each is shown with noise and drift."""
        from station.calibration import signal

        series, found = list[Any](), None
        give_up = time.monotonic() + wait
        while True:
            try:
                one = read()
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
            if time.monotonic() + pace > give_up:
                return series, found
            time.sleep(pace)

    def _show_live(self, value: float, found: Signal, rule: Rule) -> None:
        figures = {name: f"{getattr(found, name):.3g}" for name in ("noise", "noise_limit", "drift", "drift_limit")}
        self.say(t("calibrate.live", value=f"{value:.5g}", count=found.count, of=rule.readings, **figures))
        if found.stable:
            self.say(t("calibrate.stable"))

    def say(self, sentence: str) -> None:
        """Beside JSON it goes to standard error."""
        print(sentence, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def show(self, body: Mapping[str, Any]) -> None:
        """What was kept, where JSON is wanted."""
        if self.as_json:
            print_json(body)


def _standard(one: Standard) -> str:
    text = f"{one.value:g}"
    return f"{text} ({one.certificate})" if one.certificate else text


def result_lines(found: Mapping[str, Any], parameter: str) -> list[str]:
    """What a run came to, in sentences."""
    from station.parameters import catalogue

    unit = catalogue()[parameter].unit
    lines = [
        t(
            "calibrate.row",
            standard=f"{row['standard']:g}",
            raw=f"{row['raw']:.5g}",
            found=f"{row['as_found']:.5g}",
            found_error=f"{row['found_error']:+.4g}",
            left=f"{row['as_left']:.5g}",
            left_error=f"{row['left_error']:+.4g}",
            unit=unit,
        )
        for row in found["rows"]
    ]
    if found["response"] is not None:
        slope, intercept = found["response"]["slope"], found["response"]["intercept"]
        lines.append(t("calibrate.response", slope=f"{slope:.5g}", intercept=f"{intercept:.5g}"))
    for key in ("r", "zero_drift", "span_drift"):
        if found[key] is not None:
            lines.append(f"{t(f'judged.{key}')} {_figure(key, found[key])}")
    lines += [judged_line(one) for one in found["judgements"]]
    lines.append(t(f"calibration_verdict.{found['verdict']}"))
    if found["changes"]:
        before, after = (_pair(found[key]) for key in ("before", "coefficients"))
        lines.append(t("calibrate.coefficients", before=before, after=after))
    return lines


def _pair(coefficients: Sequence[float]) -> str:
    return " / ".join(f"{one:.6g}" for one in coefficients)


def judged_line(one: Mapping[str, Any]) -> str:
    """One figure against its limit, with the limit's source and confidence."""
    sign = "≥" if one["what"] == "r" else "±"
    return t(
        "calibrate.judged",
        what=t(f"judged.{one['what']}"),
        value=_figure(one["what"], one["value"]),
        limit=f"{sign}{one['limit']:g}",
        passed=t(f"calibration_verdict.{'passed' if one['passed'] else 'failed'}"),
        source=one["source"],
        confidence=t(f"confidence.{one['confidence']}"),
    )


def _figure(what: str, value: float) -> str:
    if what == "r":
        return f"{value:.5f}"
    return f"{value:+.3g} %" if what in ("zero_drift", "span_drift", "error_percent") else f"{value:+.4g}"


# -- what is on record


@click.group("calibrations", cls=Group, help="help.calibrations")
@lang_option
def calibrations() -> None:
    """Calibrations that were made, with what was found and what was left."""


@calibrations.command("list", help="help.calibrations_list")
@option("--device", key="device", default="")
@config_option
@json_option
@lang_option
def show_all(device: str, config: Path, as_json: bool) -> None:
    """Every run, the newest last."""
    loaded = read_config(config)
    rows = [_row(run) for run in _book(loaded).runs.values() if device in ("", run.device)]
    if as_json:
        print_json({"calibrations": rows})
        return
    if not rows:
        print(t("calibrations.none"))
        return
    from station.screen import show_rows

    columns = ("name", "device", "parameter", "procedure", "state", "begun", "user", "verdict", "coefficients")
    show_rows([(c, t(f"calibrations.{c}")) for c in columns], [_worded(row, loaded) for row in rows])


@calibrations.command("show", help="help.calibrations_show")
@click.argument("name")
@config_option
@json_option
@lang_option
def show_one(name: str, config: Path, as_json: bool) -> None:
    """One run with all its figures."""
    loaded = read_config(config)
    run = _book(loaded).named(name)
    if as_json:
        print_json(_row(run) | {"steps": [_step(one) for one in run.steps], "result": dict(run.result)})
        return
    from station.parameters import catalogue

    row, unit = _worded(_row(run), loaded), catalogue()[run.parameter].unit
    print("  ".join(row[key] for key in ("name", "device", "parameter", "procedure", "state", "begun", "user")))
    for number, one in enumerate(run.standards, 1):
        print(t("calibrations.standard", number=number, unit=unit, **_certified(one)))
    if run.state in ("done", "reverted"):
        for line in result_lines(run.result, run.parameter):
            print(line)
    for text in (run.note, run.override, str(run.result.get("note", "")), str(run.result.get("override", ""))):
        if text:
            print(t("calibrations.remark", text=text))


@calibrations.command("revert", help="help.calibrations_revert")
@click.argument("name")
@option("--reason", key="reason", required=True)
@option("--user", key="user", required=True)
@config_option
@json_option
@lang_option
def revert(name: str, reason: str, user: str, config: Path, as_json: bool) -> None:
    """The coefficients of before count again."""
    body = _enter(read_config(config), {"do": "revert", "name": name, "reason": reason, "user": user})
    if as_json:
        print_json(body)
    else:
        print(t("calibrations.reverted", name=name, coefficients=_pair(body["coefficients"])))


@calibrations.command("certificate", help="help.calibrations_certificate")
@click.argument("name")
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@lang_option
def certificate(name: str, output: Path, config: Path) -> None:
    """A page to print and sign."""
    from station.calibration_sheet import sheet

    loaded = read_config(config)
    run = _book(loaded).named(name)
    if run.state not in ("done", "reverted"):
        raise WrongArgument(t("calibrations.not_done", name=name, state=t(f"run_state.{run.state}")))
    text = sheet(run, [record for record in _entries(loaded) if record.body["name"] == name], loaded)
    if str(output) == "-":
        print(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("dustfall.written", path=output))


def _certified(one: Standard) -> dict[str, str]:
    return {
        "value": f"{one.value:g}",
        "certificate": one.certificate or t("calibrations.no_certificate"),
        "uncertainty": "-" if one.uncertainty is None else f"{one.uncertainty:g}",
        "expires": one.expires.isoformat() if one.expires else "-",
    }


def _row(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "device": run.device,
        "parameter": run.parameter,
        "point": run.point,
        "procedure": run.procedure,
        "state": run.state,
        "begun": run.begun.isoformat(),
        "ended": run.ended.isoformat() if run.ended else None,
        "user": run.user,
        "mark": run.mark,
        "standards": [one.plain() for one in run.standards],
        "taken": len(run.steps),
        "before": list(run.before),
        "coefficients": run.result.get("coefficients"),
        "changes": bool(run.result.get("changes")),
        "verdict": run.result.get("verdict"),
    }


def _step(one: Any) -> dict[str, Any]:
    from station.model import asdict

    return {**asdict(one), "at": one.at.isoformat()}


def _worded(row: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    begun = datetime.fromisoformat(row["begun"]).astimezone(loaded.zone)
    return {
        **{key: str(row[key]) for key in ("name", "device", "parameter", "user")},
        "procedure": t(f"procedure.{row['procedure']}"),
        "state": t(f"run_state.{row['state']}"),
        "begun": f"{begun:%Y-%m-%d %H:%M}",
        "verdict": t(f"calibration_verdict.{row['verdict']}") if row["verdict"] else "",
        "coefficients": _pair(row["coefficients"]) if row["changes"] else "",
    }


def _entries(loaded: Loaded) -> list[Any]:
    """Every entry, in the order they were made: what the running station has taken is committed first."""
    from station.calibrate import KIND
    from station.fieldbook import BEGINNING, END
    from station.store import Store, connect

    ask_station(loaded, "commit")
    if not loaded.database.exists():
        return []
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        return sorted(store.records(KIND, BEGINNING, END), key=lambda record: record.id)


def _book(loaded: Loaded) -> Book:
    from station.calibration import read_book

    return read_book(_entries(loaded))


def _enter(loaded: Loaded, fields: dict[str, Any], device: Any = None) -> dict[str, Any]:
    """Have an entry kept by the running station, or, when none runs, in its database for the next start."""
    body: dict[str, Any] | None = ask_station(loaded, "calibrate", fields=fields)
    return _enter_alone(loaded, fields, device) if body is None else body


def _enter_alone(loaded: Loaded, fields: dict[str, Any], device: Any) -> dict[str, Any]:
    from station.clock import trust
    from station.fieldbook import enter_calibration, told_to_act
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        made = enter_calibration(store, loaded, fields, datetime.now(UTC), trust())
        if made[0].body["do"] == "act":  # kept once the instrument has obeyed
            _, arguments = told_to_act(store, made[0])
            device.act("calibrate", arguments)
        with store.transaction():
            store.add_records(made)
    return dict(made[0].body)
