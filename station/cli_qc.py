"""`station qc`: automatic checks against standards, what they came to, and a person's word about one that failed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, must_be_known, print_json, read_config
from station.i18n import t
from station.model import StationError, StoreError, WrongArgument
from station.own_reasons import worded as own_words
from station.texts import Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.checks import Book, Check
    from station.config import Loaded


class NoStation(StationError):
    """Error raised when a check is to be begun and no station runs that could do it."""

    exit_code = 69


@click.group("qc", cls=Group, help="help.qc")
@lang_option
def qc() -> None:
    """Checks that the station does by itself."""


_user = option("--user", key="user", required=True)


@qc.command("list", help="help.qc_list")
@option("--check", key="qc_check")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@config_option
@json_option
@lang_option
def show(check: str | None, start: str | None, end: str | None, config: Path, as_json: bool) -> None:
    """Every check on record, the newest last."""
    loaded = read_config(config)
    book = _book(loaded)
    must_be_known(check, {one.check for one in book.checks.values()} | _names(loaded), "[[qc]]")
    since, until = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    found = [
        one
        for one in sorted(book.checks.values(), key=lambda one: one.number)
        if check in (None, one.check) and (since is None or one.begun >= since) and (until is None or one.begun < until)
    ]
    if as_json:
        print_json({"checks": [plain(one, book) for one in found]})
        return
    if not found:
        print(t("qc.none"))
        return
    from station.screen import show_rows

    columns = ("name", "begun", "check", "device", "parameter", "standard", "value", "verdict", "remark")
    show_rows([(key, t(f"qc.{key}")) for key in columns], [_worded(one, book, loaded) for one in found])
    for one in found:
        if one.state == "failed" and not one.word:
            print(_proposal(one, book, loaded))


@qc.command("due", help="help.qc_due")
@config_option
@json_option
@lang_option
def due(config: Path, as_json: bool) -> None:
    """When each check is due, and what speaks against it."""
    loaded = read_config(config)
    rows = ask_station(loaded, "qc", action="list") if loaded.config.qc else []
    alone = rows is None
    if rows is None:
        from station.check_rows import due_rows

        rows = due_rows(list(loaded.config.qc), _book(loaded), datetime.now(UTC), loaded.zone, {}, {})
    if as_json:
        print_json({"checks": rows, "running": not alone})
        return
    if not rows:
        print(t("qc.not_configured"))
        return
    from station.screen import show_rows

    if alone:
        print(t("qc.as_left"))
    columns = ("check", "device", "parameter", "due", "last_pass", "state", "remark")
    show_rows([(key, t(f"qc.{key}")) for key in columns], [_due_worded(row, loaded) for row in rows])


@qc.command("run", help="help.qc_run")
@click.argument("check")
@_user
@option("--override", key="qc_override", default="")
@config_option
@json_option
@lang_option
def run(check: str, user: str, override: str, config: Path, as_json: bool) -> None:
    """Begin a check now, if nothing speaks against it."""
    loaded = _checked(config, check)
    body = _asked(loaded, "run", name=check, user=user, reason=override)
    print_json(body) if as_json else print(t("qc.begun_now", name=body["name"], check=check))


@qc.command("stop", help="help.qc_stop")
@click.argument("check")
@_user
@option("--reason", key="reason", required=True)
@config_option
@json_option
@lang_option
def stop(check: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """End the check that is under way: the instrument goes back to its sample."""
    loaded = _checked(config, check)
    body = _asked(loaded, "stop", name=check, user=user, reason=reason)
    print_json(body) if as_json else print(t("qc.stopped_now", name=body["name"]))


@qc.command("confirm", help="help.qc_confirm")
@click.argument("name")
@_user
@option("--reason", key="reason", required=True)
@option("--mark", key="mark", type=click.Choice(["D", "M", "C", "F"]), default="D")
@option("--from", "start", key="qc_from")
@option("--report", key="qc_report", is_flag=True)
@config_option
@json_option
@lang_option
def confirm(
    name: str, user: str, reason: str, mark: str, start: str | None, report: bool, config: Path, as_json: bool
) -> None:
    """The values since the last check that passed are marked, beside what was stored."""
    loaded = read_config(config)
    since = moment_in(start, loaded.zone)
    more = {"mark": mark, "from": since.isoformat() if since else None, "report": report}
    body = _word(loaded, "confirm", {"name": name, "user": user, "reason": reason, **more})
    if as_json:
        print_json(body)
        return
    print(t("qc.confirmed", name=name, marks=", ".join(body["said"]["marks"]), mark=mark))
    print(t("qc.reported" if report else "qc.kept_here"))


@qc.command("dismiss", help="help.qc_dismiss")
@click.argument("name")
@_user
@option("--reason", key="reason", required=True)
@config_option
@json_option
@lang_option
def dismiss(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """The values before a failed check stand."""
    body = _word(read_config(config), "dismiss", {"name": name, "user": user, "reason": reason})
    print_json(body) if as_json else print(t("qc.dismissed", name=name))


@qc.command("chart", help="help.qc_chart")
@click.argument("check")
@option("--last", key="qc_last", type=click.IntRange(2, 500), default=30)
@option("--base", key="qc_base", type=click.IntRange(8, 500), default=20)
@option("--svg", key="qc_svg", type=click.Path(path_type=Path))
@config_option
@json_option
@lang_option
def chart(check: str, last: int, base: int, svg: Path | None, config: Path, as_json: bool) -> None:
    """A control chart (Shewhart) of what a check came to."""
    from station import shewhart

    loaded = read_config(config)
    book = _book(loaded)
    must_be_known(check, {one.check for one in book.checks.values()} | _names(loaded), "[[qc]]")
    points = points_of(book, check, loaded)
    if not points:
        raise WrongArgument(t("qc.no_points", check=check))
    made = shewhart.chart(points, base)
    if as_json:
        print_json(_plain_chart(check, made))
        return
    notes = chart_notes(made, base, check, book, loaded)
    if svg is not None:
        try:
            svg.write_text(shewhart.svg_chart(made, t("qc.chart_title", check=check), notes[0], last), "utf-8")
        except OSError as error:
            raise StoreError(f"{svg}: cannot be written ({error.strerror})") from error
        print(t("dustfall.written", path=svg))
        return
    print("\n".join([t("qc.chart_title", check=check), *shewhart.ascii_chart(made, last), *notes]))


def points_of(book: Book, check: str, loaded: Loaded) -> list[Any]:
    """The checks with a verdict in the standard of the newest as points; a failed one makes no limits."""
    from station.shewhart import Point

    found, judged = [], book.judged(check)
    for one in judged:
        if _in(one) != _in(judged[-1]):
            continue
        locked = one.state == "failed"
        at = one.begun.astimezone(loaded.zone).isoformat(timespec="minutes")
        found.append(Point(name=one.name, at=at, value=one.result["value"], passed=not locked, counts=not locked))
    return found


def _in(one: Check) -> tuple[Any, ...]:
    """What a check is of; values of another standard or instrument say nothing of the scatter of these."""
    return one.device, one.parameter, one.type, one.standard


def chart_notes(made: Any, base: int, check: str, book: Book, loaded: Loaded) -> list[str]:
    """Where the limits are from, what is broken, and whether the trend is locked."""
    from station import shewhart

    notes = []
    if made.limits is None:
        notes.append(t("qc.too_few", count=sum(p.passed for p in made.points), fewest=shewhart.FEWEST))
    else:
        figures = {"centre": f"{made.limits.centre:.5g}", "s": f"{made.limits.s:.3g}", "count": made.limits.count}
        notes.append(t("qc.limits_of", **figures))
    if others := len(book.judged(check)) - len(made.points):
        notes.append(t("qc.other_standard", count=others))
    notes.append(t("qc.legend"))
    for one, broken in zip(made.points, made.broken, strict=True):
        notes += [
            t("qc.broken", name=one.name, rule=t(f"qc_rule.{rule}"), source=shewhart.SOURCE,
              confidence=t(f"confidence.{shewhart.CONFIDENCE}"))
            for rule in broken
        ]  # fmt: skip
    if (locked := book.locked_by(check)) is not None:
        notes.append(t("qc.locked", name=locked.name, since=wall(locked.ended or locked.begun, loaded.zone)))
    return notes


def _plain_chart(check: str, made: Any) -> dict[str, Any]:
    from station import shewhart

    limits = made.limits
    return {
        "check": check,
        "limits": None
        if limits is None
        else {"centre": limits.centre, "s": limits.s, "count": limits.count}
        | {f"{times:+d}s": limits.line(times) for times in (-3, -2, 2, 3)},
        "rules": {"source": shewhart.SOURCE, "confidence": shewhart.CONFIDENCE},
        "points": [
            {"name": one.name, "at": one.at, "value": one.value, "passed": one.passed, "broken": list(broken)}
            for one, broken in zip(made.points, made.broken, strict=True)
        ],
    }


# -- words


def plain(one: Check, book: Book) -> dict[str, Any]:
    """A check as JSON carries it."""
    from station.checks import doubted

    first, last = doubted(book, one)
    proposal = {"from": first.isoformat() if first else None, "to": last.isoformat()}
    return {
        "name": one.name, "check": one.check, "device": one.device, "parameter": one.parameter, "point": one.point,
        "type": one.type, "standard": one.standard, "begun": one.begun.isoformat(), "by": one.by, "mark": one.mark,
        "due": one.slot.isoformat() if one.slot else None, "state": one.state, "outcome": one.outcome,
        "ended": one.ended.isoformat() if one.ended else None, "back": one.back.isoformat() if one.back else None,
        "value": one.result.get("value"), "judgements": one.result.get("judgements", []),
        "adjust": one.result.get("adjust", False), "reason": one.result.get("reason", ""),
        "proposal": proposal if one.state == "failed" and not one.word else None, "word": dict(one.word),
    }  # fmt: skip


def _worded(one: Check, book: Book, loaded: Loaded) -> dict[str, str]:
    from station.screen_words import number

    value = one.result.get("value")
    return {
        "name": one.name, "begun": wall(one.begun, loaded.zone)[:16], "check": one.check, "device": one.device,
        "parameter": one.parameter, "standard": f"{one.standard:g}",
        "value": "" if value is None else number(value, one.parameter), "verdict": t(f"qc_state.{one.state}"),
        "remark": remark(one),
    }  # fmt: skip


def remark(one: Check) -> str:
    """Why it stopped, or what it was held against; and what a person said of it."""
    if one.state == "stopped":
        return f"{t(f'qc_outcome.{one.outcome}')}: {own_words(one.result.get('reason', ''))}"
    from station.cli_calibrate_record import judged_line

    said = [judged_line(judgement) for judgement in one.result.get("judgements", ())]
    said += [t("qc.adjust")] if one.result.get("adjust") else []
    if one.word:
        said.append(t(f"qc_word.{one.word['do']}", user=one.word["user"], reason=one.word["reason"]))
    return "; ".join(said)


def _proposal(one: Check, book: Book, loaded: Loaded) -> str:
    from station.checks import doubted

    first, last = doubted(book, one)
    start = t("qc.no_pass") if first is None else wall(first, loaded.zone)
    return t("qc.proposal", name=one.name, parameter=one.parameter, start=start, end=wall(last, loaded.zone))


def _due_worded(row: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    def local(key: str) -> str:
        return wall(row[key], loaded.zone)[:16] if row[key] else "-"

    said = [t("qc.locked_since", since=local("locked_since"))] if row["locked_since"] else []
    said += [t("qc.overdue")] if row["overdue"] else []
    said += [t("qc.expires", day=row["expires"])] if row["expires"] else []
    said += [t("qc.waits", reason=row["waiting"])] if row["waiting"] else []
    said += [t(f"qc_phase.{row['phase']}")] if row["phase"] else []
    return {
        "check": row["check"], "device": row["device"], "parameter": row["parameter"], "due": local("due"),
        "last_pass": local("last_pass"), "state": t(f"qc_state.{row['state']}"), "remark": "; ".join(said),
    }  # fmt: skip


# -- what is asked of whom


def _names(loaded: Loaded) -> set[str]:
    return {one.name for one in loaded.config.qc}


def _checked(config: Path, check: str) -> Loaded:
    loaded = read_config(config)
    must_be_known(check, _names(loaded), "[[qc]]")
    return loaded


def _asked(loaded: Loaded, action: str, **fields: str) -> dict[str, Any]:
    """What the running station did; only it has the line and the time."""
    body: dict[str, Any] | None = ask_station(loaded, "qc", timeout=90.0, action=action, fields=fields)
    if body is None:
        raise NoStation("no station is running, and only a running one checks its instruments; start it, or use"
                        " station calibrate with the procedure check")  # fmt: skip
    return body


def _word(loaded: Loaded, do: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Have a word kept by the running station, or, when none runs, in its database for the next start."""
    body: dict[str, Any] | None = ask_station(loaded, "qc", action=do, fields=fields)
    if body is not None:
        return body
    from itertools import count

    from station.checks import enter_word
    from station.fieldbook import BEGINNING, END
    from station.marks import KIND as MARKS
    from station.marks import HandMarks
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = {point.code: point for point in loaded.config.point}
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        hand = HandMarks(store.records(MARKS, BEGINNING, END))
        numbers = count(hand.next_number)
        book = read(store)
        made = enter_word(book, hand, {**fields, "do": do}, points, datetime.now(UTC), lambda: next(numbers))
        with store.transaction():
            store.add_records(made)
    return dict(made[0].body)


def read(store: Any) -> Book:
    """Every check in *store*."""
    from station.checks import KIND, read_book
    from station.fieldbook import BEGINNING, END

    return read_book(store.records(KIND, BEGINNING, END))


def _book(loaded: Loaded) -> Book:
    """Every check on record; what the running station has taken is committed first."""
    from station.checks import read_book
    from station.store import Store, connect

    ask_station(loaded, "commit")
    if not loaded.database.exists():
        return read_book([])
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        return read(store)
