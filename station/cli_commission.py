"""`station commission`: a new station taken into service, step by step, and its handover sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_field import enter, reader
from station.command_line import ask_station, pair, print_json, read_config
from station.i18n import t
from station.model import StationError, WrongArgument, did_you_mean
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.cli_commission_steps import Asked, Found
    from station.commissioning import Book, Commissioning

STEPS = ("clock", "adapters", "scan", "profiles", "values", "platform", "alarm", "backup")  # as in commissioning.py
CONFIRMED = ("profiles", "values", "alarm")
DRIVE_SECONDS = 3.0  # how long an output is on for a test
FOLLOW_SECONDS = 15.0  # that a rule has to switch its output on behind a test alarm
STOP, SKIP, NO = "q", "s ", "n "
YES = ("y", "yes", "是")


@click.command("commission", cls=Command, help="help.commission")
@option("--user", key="user", default="")
@option("--step", "steps", key="commission_step", multiple=True, type=click.Choice(STEPS))
@option("--skip", "skipped", key="commission_skip", multiple=True)
@option("--confirm", "confirmed", key="commission_confirm", multiple=True, type=click.Choice(CONFIRMED))
@option("--drive", "drive", key="commission_drive")
@option("--scan-units", "units", key="scan_units", default="1-16", show_default=True)
@option("--backup-to", key="backup_to", type=click.Path(path_type=Path))
@option("--wait", key="commission_wait", type=click.FloatRange(0, 600), default=30.0, show_default=True)
@option("--note", key="calibration_note", default="")
@option("--sheet", key="commission_sheet", type=click.Path(path_type=Path))
@option("--cancel", "cancel_for", key="compare_cancel")
@config_option
@json_option
@lang_option
def commission(
    user: str, steps: tuple[str, ...], skipped: tuple[str, ...], confirmed: tuple[str, ...], drive: str | None,
    units: str, backup_to: Path | None, wait: float, note: str, sheet: Path | None, cancel_for: str | None,
    config: Path, as_json: bool,
) -> int:  # fmt: skip
    """Clock, adapters, addresses, profiles, values, platforms, an alarm, a copy: what is left, in order."""
    from station.cli_commission_steps import Asked

    loaded = read_config(config)
    asked = Asked(loaded=loaded, units=units, backup_to=backup_to, wait=wait)
    desk = Desk(asked, user, drive, as_json)
    if cancel_for is not None:
        enter(loaded, "commissioning", "cancel", reason=cancel_for, user=user)
        return 0
    if sheet is not None and not (steps or skipped or user):
        return desk.print_sheet(sheet)
    skips = dict(pair(text, "--skip") for text in skipped)
    for name in skips:
        if name not in STEPS:
            raise WrongArgument(f'there is no step "{name}"{did_you_mean(name, STEPS)}; known: {", ".join(STEPS)}')
    if as_json or steps or skips or confirmed:
        return desk.go_on(steps, skips, confirmed, note, sheet)
    return desk.lead(note, sheet)


class Desk:
    """Where a station is commissioned: every step is on record before the next one begins."""

    def __init__(self, asked: Asked, user: str, drive: str | None, as_json: bool) -> None:
        self.asked, self.loaded, self.user, self.drive, self.as_json = asked, asked.loaded, user, drive, as_json

    def book(self) -> Book:
        """Every commissioning on record."""
        from station.commissioning import KIND, Book
        from station.fieldwork import BEGINNING, END

        if not self.loaded.database.exists():
            return Book()
        with reader(self.loaded) as store:
            return Book(store.records(KIND, BEGINNING, END))

    def begin(self) -> Commissioning:
        """The one under way, else a new one; a test alarm that was left on is cleared first."""
        one = self.book().open()
        if one is None:
            enter(self.loaded, "commissioning", "begin", user=self.user)
            one = self.book().open()
        elif not self.as_json:
            done = len(STEPS) - len(one.left)
            print(t("commission.resumed", name=one.name, user=one.user, done=done, count=len(STEPS)))
        assert one is not None
        if one.raised:
            enter(self.loaded, "commissioning", "clear_test", user=self.user)
            self.say(t("commission.cleared", alarm=one.raised))
        return one

    def keep(self, step: str, verdict: str, reason: str, facts: Mapping[str, Any]) -> None:
        """How *step* came out goes on record."""
        said = {"step": step, "verdict": verdict, "reason": reason, "facts": dict(facts), "user": self.user}
        enter(self.loaded, "commissioning", "step", **said)
        more = f": {reason}" if reason else ""
        self.say(
            t("commission.step", step=t(f"commission_step.{step}"), verdict=t(f"commission_verdict.{verdict}")) + more
        )

    def say(self, text: str) -> None:
        """For a person's eyes."""
        if not self.as_json:
            click.echo(text)

    def look(self, step: str) -> Found:
        """What *step* finds; an error of ours is why it fails."""
        from station.cli_commission_steps import CHECKS, Found

        try:
            return CHECKS[step](self.asked)
        except WrongArgument:
            raise
        except StationError as error:
            return Found(trouble=str(error))

    # -- scripts

    def go_on(
        self, steps: Sequence[str], skips: Mapping[str, str], confirmed: Sequence[str], note: str, sheet: Path | None
    ) -> int:
        """Do the *steps* named, or all that are left; 0 when everything is passed or skipped, else 1."""
        one = self.begin()
        for step in [name for name in STEPS if name in (steps or (*one.left, *skips))]:
            if step in skips:
                self.keep(step, "skipped", skips[step], {})
            elif step == "alarm":
                self._alarm_scripted("alarm" in confirmed)
            else:
                found = self.look(step)
                trouble = found.trouble
                if not trouble and step in CONFIRMED and step not in confirmed:
                    trouble = t("commission_trouble.unconfirmed", step=step)
                self.keep(step, "failed" if trouble else "passed", trouble, found.facts)
        return self._finish(note, sheet)

    def _alarm_scripted(self, confirmed: bool) -> None:
        facts, trouble = self._raised(self.drive)
        if facts:
            enter(self.loaded, "commissioning", "clear_test", user=self.user)
        if not trouble and not confirmed:
            trouble = t("commission_trouble.unconfirmed", step="alarm")
        self.keep("alarm", "failed" if trouble else "passed", trouble, facts)

    def _raised(self, output: str | None) -> tuple[dict[str, Any], str]:
        """Raise an alarm that is marked as a test, and drive *output*; what was done, and the trouble with it."""
        live = ask_station(self.loaded, "status")
        if live is None:
            return {}, t("commission_trouble.not_running")
        names = [one["name"] for one in live.get("alarms", ())]
        followed = [rule.alarm for rule in self.loaded.config.rule if rule.alarm in names]
        alarm = (*followed, *names, "commissioning")[0]
        facts = {"alarm": alarm, "test": True, "output": output or "", "driven": False}
        enter(self.loaded, "commissioning", "raise_test", alarm=alarm, output=output or "", user=self.user)
        if alarm in names:
            follow = self._following(alarm)
            self.say(t("commission.followed", alarm=alarm, outputs=", ".join(follow) or "-"))
            facts["followed"] = follow
        else:
            self.say(t("commission.no_alarm"))
        if not output:
            return facts, ""
        said = {"name": output, "seconds": DRIVE_SECONDS, "reason": "commissioning: alarm test", "person": self.user}
        try:
            ask_station(self.loaded, "output", action="on", user="", **said)
        except StationError as error:
            return facts, str(error)
        return facts | {"driven": True}, ""

    def _following(self, alarm: str) -> list[str]:
        """The outputs that a rule has switched on for *alarm*; waits a moment for those that may come."""
        from station.cli_commission_steps import awaited

        rules = {(rule.output, rule.name) for rule in self.loaded.config.rule if rule.alarm == alarm}

        def on(status: Mapping[str, Any]) -> list[str]:
            outputs = (status.get("pins") or {}).get("outputs", ())
            return [one["name"] for one in outputs if one["on"] and any(one["name"] == name for name, _ in rules)]

        found = awaited(self.loaded, FOLLOW_SECONDS if rules else 0.0, lambda status: bool(on(status)))
        return [] if found is None else on(found)

    def _finish(self, note: str, sheet: Path | None) -> int:
        one = self.book().open()
        assert one is not None
        if not one.left:
            enter(self.loaded, "commissioning", "done", user=self.user, note=note)
            self.say(t("commission.done", name=one.name))
            if sheet is not None:
                self.print_sheet(sheet)
        elif not self.as_json:
            left = ", ".join(t(f"commission_step.{step}") for step in one.left)
            print(t("commission.left", name=one.name, steps=left))
        if self.as_json:
            from station.commissioning import plain

            newest = self.book().newest()
            assert newest is not None
            print_json(plain(newest))
        return 1 if one.left else 0

    # -- people

    def lead(self, note: str, sheet: Path | None) -> int:
        """Step by step: look, show, ask; a step that fails is tried again, skipped for a reason, or left for later."""
        under_way = self.book().open()
        default = under_way.user if under_way else None
        self.user = self.user or click.prompt(t("calibrate.ask_user"), default=default)
        one = self.begin()
        for step in one.left:
            self.say(t("commission.heading", step=t(f"commission_step.{step}"), what=t(f"commission_what.{step}")))
            begun = self._decided(step, t("commission.ask_begin"))
            if begun is None:
                begun = self._lead_alarm() if step == "alarm" else self._lead_step(step)
            if not begun:
                self.say(t("commission.later", name=one.name))
                return 1
        return self._finish(note, sheet)

    def _lead_step(self, step: str) -> bool:
        """One step with a person; false where it is left for later."""
        while True:
            found = self.look(step)
            for line in found.lines:
                self.say(f"  {line}")
            if not found.trouble:
                answer = _prompt(t("commission.ask_so")) if step in CONFIRMED else "y"
                if answer.lower() in YES:
                    self.keep(step, "passed", "", found.facts)
                    return True
                if answer == STOP:
                    return False
                reason = answer.removeprefix(NO).strip()
                self.keep(step, "failed", reason or t("commission_trouble.not_so"), found.facts)
            else:
                self.keep(step, "failed", found.trouble, found.facts)
            ended = self._decided(step, t("commission.ask_failed"))
            if ended is not None:
                return ended

    def _decided(self, step: str, question: str) -> bool | None:
        """What a person says to a step, or to one that failed: None to do it, true when skipped, false for later."""
        answer = _prompt(question)
        while answer and answer != STOP and not answer.startswith(SKIP):
            answer = _prompt(question)
        if answer.startswith(SKIP) and answer.removeprefix(SKIP).strip():
            self.keep(step, "skipped", answer.removeprefix(SKIP).strip(), {})
            return True
        return False if answer == STOP else None

    def _lead_alarm(self) -> bool:
        while True:
            output = self.drive or self._ask_output()
            facts, trouble = self._raised(output)
            if facts and not trouble:
                self.say(t("commission.raised", alarm=facts["alarm"]))
                answer = _prompt(t("commission.ask_seen"))
                trouble = (
                    "" if answer.lower() in YES else answer.removeprefix(NO).strip() or t("commission_trouble.not_seen")
                )
            if facts:
                enter(self.loaded, "commissioning", "clear_test", user=self.user)
            self.keep("alarm", "failed" if trouble else "passed", trouble, facts)
            if not trouble:
                return True
            ended = self._decided("alarm", t("commission.ask_failed"))
            if ended is not None:
                return ended

    def _ask_output(self) -> str:
        """The output that is switched for the test, if the person agrees to one."""
        outputs = [one.name for one in self.loaded.config.output]
        if not outputs:
            return ""
        answer = _prompt(t("commission.ask_output", names=", ".join(outputs), seconds=f"{DRIVE_SECONDS:g}"))
        return answer if answer in outputs else ""

    # -- the sheet

    def print_sheet(self, path: Path) -> int:
        """The handover sheet of the commissioning finished last."""
        from station.calibration_entry import calibration_book
        from station.cli_compare import write
        from station.commission_sheet import sheet
        from station.commissioning import KIND
        from station.fieldwork import BEGINNING, END

        one = self.book().newest()
        if one is None or not one.done:
            if one is None:
                raise WrongArgument("no commissioning is finished, and none is under way (station commission)")
            left = ", ".join(one.left) or "its end"
            raise WrongArgument(
                f"no commissioning is finished; station commission goes on with {one.name} (still to do: {left})"
            )
        with reader(self.loaded) as store:
            entries = [record for record in store.records(KIND, BEGINNING, END) if record.body["name"] == one.name]
            runs = calibration_book(store).runs.values()
        serials = {run.device: run.instrument["serial"] for run in runs if run.instrument.get("serial")}
        write(path, sheet(one, entries, self.loaded, serials))
        return 0


def _prompt(question: str) -> str:
    return str(click.prompt(question, default="", show_default=False)).strip()
