"""`station calibrate list`, `show`, `diff`, `due`, `sign`, `revert`, `certificate`: what is on record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_calibrate_record import enter, entries, pair_text, read_all, result_lines
from station.command_line import print_json, read_config
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.own_reasons import worded as own_words
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.calibration_due import Due
    from station.calibration_run import Book, Run
    from station.calibration_standard import Standard
    from station.config import Loaded


@click.command("list", cls=Command, help="help.calibrate_list")
@option("--device", key="device", default="")
@config_option
@json_option
@lang_option
def show_all(device: str, config: Path, as_json: bool) -> None:
    """Every run, the newest last."""
    loaded = read_config(config)
    runs = [run for run in read_all(loaded).runs.values() if device in ("", run.device)]
    rows = [_row(run) for run in runs]
    if as_json:
        print_json({"calibrations": rows})
        return
    if not rows:
        print(t("calibrations.none"))
        return
    from station.screen import show_rows

    columns = ("name", "device", "parameter", "procedure", "state", "begun", "user", "verdict", "coefficients")
    show_rows([(c, t(f"calibrations.{c}")) for c in columns], [_worded(row, loaded) for row in rows])
    for run in runs:
        if run.awaits_signature:
            print(t("calibrations.to_sign", name=run.name, device=run.device))


@click.command("show", cls=Command, help="help.calibrate_show")
@click.argument("name")
@config_option
@json_option
@lang_option
def show_one(name: str, config: Path, as_json: bool) -> None:
    """One run with all its figures."""
    loaded = read_config(config)
    book = read_all(loaded)
    run = book.named(name)
    if as_json:
        acts = [{"type": one.type, "at": one.at.isoformat(), "after": dict(one.after)} for one in run.acts]
        print_json(
            _row(run)
            | {"steps": [_step(one) for one in run.steps], "acts": acts, "pairs": [[*one] for one in run.pairs]}
            | {"kept": dict(run.kept), "rule": _plain(run.rule), "note": run.note, "result": dict(run.result)}
        )
        return
    from station.parameters import catalogue

    row, unit = _worded(_row(run), loaded), catalogue()[run.parameter].unit
    print("  ".join(row[key] for key in ("name", "device", "parameter", "procedure", "state", "begun", "user")))
    for line in _about(run):
        print(line)
    for number, one in enumerate(run.standards, 1):
        print(t("calibrations.standard", number=number, unit=unit, **_certified(one)))
    for line in _come_to(run, book, loaded):
        print(line)
    if run.state == "cancelled":
        print(t("calibrations.given_up", user=run.result["user"], reason=run.result["reason"]))
    if run.reverted is not None:
        at = f"{run.reverted.astimezone(loaded.zone):%Y-%m-%d %H:%M}"
        print(t("calibrations.taken_back", at=at, user=run.taken_back["user"], reason=run.taken_back["reason"]))
    if run.state == "failed":
        print(t("calibrations.failed", reason=own_words(run.result.get("reason", ""))))
    if run.awaits_signature:
        print(t("calibrations.to_sign", name=run.name, device=run.device))
    for text in (run.note, run.override, str(run.result.get("note", "")), str(run.result.get("override", ""))):
        if text:
            print(t("calibrations.remark", text=text))


def _come_to(run: Run, book: Book, loaded: Loaded) -> list[str]:
    """What a run came to; of one that awaits its signature what is to be signed."""
    found = run.result if run.state in ("done", "reverted") else {}
    if run.awaits_signature:
        from station.calibration_entry import place_of
        from station.calibration_outcome import outcome

        try:
            found = outcome(book, run, place_of(loaded, run.device, run.parameter))
        except WrongArgument as error:  # the instrument is not configured any more, or no line goes through it
            return [str(error)]
    return result_lines(found, run.parameter) if found else []


def _about(run: Run) -> Iterator[str]:
    """Serial number, firmware and photos."""
    if run.instrument:
        texts = [run.instrument.get(key, t("calibrations.unknown")) for key in ("serial", "firmware")]
        yield t("calibrations.instrument", serial=texts[0], firmware=texts[1])
    if run.environment:
        yield t("calibrations.environment", text=run.environment)
    for photo in (*run.photos, *run.result.get("photos", ())):
        yield t("calibrations.photo", name=photo["name"], sha256=photo["sha256"])


@click.command("diff", cls=Command, help="help.calibrate_diff")
@click.argument("name")
@click.argument("other", required=False)
@config_option
@json_option
@lang_option
def diff(name: str, other: str | None, config: Path, as_json: bool) -> None:
    """What is another between two calibrations; without the second name the one before at the same place."""
    loaded = read_config(config)
    book = read_all(loaded)
    second = book.named(name)
    first = book.named(other) if other else _before(book.runs.values(), second)
    if other:
        first, second = second, first
    rows = list(_differences(first, second))
    if as_json:
        print_json({"first": first.name, "second": second.name, "differences": rows})
        return
    from station.screen import show_rows

    if (first.device, first.parameter) != (second.device, second.parameter):
        print(t("calibrations.other_place"))
    if not rows:
        print(t("calibrations.same", first=first.name, second=second.name))
        return
    shown = [{"what": _what(row), "first": _text(row["first"]), "second": _text(row["second"])} for row in rows]
    heads = [("what", t("calibrations.what")), ("first", first.name), ("second", second.name)]
    show_rows(heads, shown)


def _before(runs: Iterable[Run], run: Run) -> Run:
    """The last one at the same place that was done before *run*."""
    same = [one for one in runs if (one.device, one.parameter) == (run.device, run.parameter)]
    earlier = [one for one in same[: same.index(run)] if one.state in ("done", "reverted")]
    if not earlier:
        raise WrongArgument(t("calibrations.none_before", name=run.name))
    return earlier[-1]


COMPARED = (
    "procedure", "user", "into", "zero_drift", "span_drift", "r", "error", "error_percent", "mean_percent", "rsd",
    "flow_percent", "factor", "series_percent", "verdict",
)  # fmt: skip


def _differences(first: Run, second: Run) -> Iterator[dict[str, Any]]:
    """What differs, each with its two values: who and how, figures, coefficients, and each standard they share."""

    def told(run: Run, key: str) -> Any:
        return getattr(run, key) if hasattr(run, key) else run.result.get(key)

    for key in COMPARED:
        pair = told(first, key), told(second, key)
        if pair[0] != pair[1]:
            yield {"what": key, "first": pair[0], "second": pair[1]}
    for key in ("coefficients", "before"):
        pair = first.result.get(key), second.result.get(key)
        if pair[0] != pair[1]:
            yield {"what": key, "first": pair[0], "second": pair[1]}
    for key in ("serial", "firmware"):
        pair = first.instrument.get(key), second.instrument.get(key)
        if pair[0] != pair[1]:
            yield {"what": key, "first": pair[0], "second": pair[1]}
    ones, others = (_by_standard(run) for run in (first, second))
    for standard in sorted({*ones} & {*others}):
        for key in ("as_found", "as_left"):
            pair = ones[standard][key], others[standard][key]
            if pair[0] != pair[1]:
                yield {"what": key, "standard": standard, "first": pair[0], "second": pair[1]}
    certificates = [[one.certificate for one in run.standards] for run in (first, second)]
    if certificates[0] != certificates[1]:
        yield {"what": "certificate", "first": certificates[0], "second": certificates[1]}


def _by_standard(run: Run) -> dict[float, Mapping[str, Any]]:
    rows = run.result.get("rows", ())
    return {row["standard"]: row for row in rows} if len(rows) <= len(run.standards) else {}


def _what(row: Mapping[str, Any]) -> str:
    said = t(f"compared.{row['what']}")
    return f"{said} ({row['standard']:g})" if "standard" in row else said


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return " / ".join(_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    for section in ("procedure", "calibration_verdict", "calibration_into"):
        found = t(f"{section}.{value}") if _has(section, str(value)) else ""
        if found:
            return found
    return str(value)


def _has(section: str, key: str) -> bool:
    from station.i18n import texts

    return f"{section}.{key}" in texts("en")


@click.command("due", cls=Command, help="help.calibrate_due")
@option("--device", key="device", default="")
@config_option
@json_option
@lang_option
def due(device: str, config: Path, as_json: bool) -> None:
    """When the next calibration or check of each parameter is due."""
    loaded = read_config(config)
    rows = [one for one in due_rows(loaded, read_all(loaded)) if device in ("", one.device)]
    if as_json:
        print_json({"due": [one.plain() for one in rows]})
        return
    if not rows:
        print(t("due.none"))
        return
    from station.screen import show_rows

    columns = ("device", "parameter", "kind", "every", "last", "due", "state", "source", "confidence")
    show_rows([(c, t(f"due.{c}")) for c in columns], [_due_row(one, loaded) for one in rows])


def due_rows(loaded: Loaded, book: Book) -> list[Due]:
    """What is due at the configured instruments by what is in *book*."""
    from station.calibration_due import due as reckoned

    return reckoned(book, _places(loaded), datetime.now(UTC))


def _places(loaded: Loaded) -> Iterator[tuple[str, str, str, str, Mapping[str, float]]]:
    from station.calibration_due import WATCHED

    for bus in loaded.config.bus:
        for one in bus.device:
            points = {one.point, *one.points.values()}
            if not one.calibrate_days and not any(loaded.systems[point] in WATCHED for point in points):
                continue  # nothing is wanted of it, so its profile need not be read
            instrument = loaded.instrument(one.name)
            for parameter in instrument.units if instrument is not None else ():
                point = one.points.get(parameter, one.point)
                yield one.name, parameter, point, loaded.systems[point], one.calibrate_days


def _due_row(one: Due, loaded: Loaded) -> dict[str, str]:
    from station.i18n import language
    from station.parameters import catalogue

    return {
        "device": one.device,
        "parameter": catalogue()[one.parameter].name(language()),
        "kind": t(f"due_kind.{one.kind}"),
        "every": t("due.days", days=f"{one.days:g}"),
        "last": f"{one.last.name} {_day(one.last.ended, loaded)}" if one.last else "-",
        "due": _day(one.due, loaded),
        "state": t(f"due_state.{one.state}"),
        "source": one.source,
        "confidence": t(f"confidence.{one.confidence}"),
    }


def _day(moment: datetime | None, loaded: Loaded) -> str:
    return f"{moment.astimezone(loaded.zone):%Y-%m-%d %H:%M}" if moment else "-"


def overdue_lines(loaded: Loaded) -> list[str]:
    """What a look at the station ought to say of calibrations: overdue, under way, waiting for a signature."""
    book = read_all(loaded, committed=False)  # a look at the station writes nothing
    late = [one for one in due_rows(loaded, book) if one.state == "overdue"]
    lines = [
        t("due.overdue", device=one.device, parameter=one.parameter, kind=t(f"due_kind.{one.kind}"),
          since=_day(one.due, loaded))
        for one in late
    ]  # fmt: skip
    for run in book.runs.values():
        if run.awaits_signature:
            lines.append(t("calibrations.to_sign", name=run.name, device=run.device))
        elif run.state == "open" and run.unattended:
            lines.append(t("calibrations.runs", name=run.name, device=run.device, user=run.user))
        elif run.state == "open":
            lines.append(t("calibrations.open", name=run.name, device=run.device, user=run.user))
    return lines


@click.command("sign", cls=Command, help="help.calibrate_sign")
@click.argument("name")
@option("--user", key="user", required=True)
@option("--note", key="calibration_note", default="")
@option("--override", key="calibration_override", default="")
@config_option
@json_option
@lang_option
def sign(name: str, user: str, note: str, override: str, config: Path, as_json: bool) -> None:
    """Somebody stands for what ran unattended."""
    loaded = read_config(config)
    run = read_all(loaded).named(name)
    if run.state == "open" and not run.unattended:
        raise WrongArgument(t("calibrations.not_unattended", name=name, device=run.device, parameter=run.parameter))
    body = enter(loaded, {"do": "done", "name": name, "user": user, "note": note, "override": override})
    if as_json:
        print_json(body)
        return
    for line in result_lines(body, run.parameter):
        print(line)
    print(t("calibrations.signed", name=name, user=user))


@click.command("revert", cls=Command, help="help.calibrate_revert")
@click.argument("name")
@option("--reason", key="reason", required=True)
@option("--user", key="user", required=True)
@config_option
@json_option
@lang_option
def revert(name: str, reason: str, user: str, config: Path, as_json: bool) -> None:
    """The coefficients of before count again."""
    body = enter(read_config(config), {"do": "revert", "name": name, "reason": reason, "user": user})
    if as_json:
        print_json(body)
    elif "restored" in body:
        print(t("calibrations.reverted_there", name=name, numbers=body["restored"].get("numbers", "")))
    else:
        print(t("calibrations.reverted", name=name, coefficients=pair_text(body["coefficients"])))


@click.command("certificate", cls=Command, help="help.calibrate_certificate")
@click.argument("name")
@option("--format", "form", key="certificate_format", type=click.Choice(["html", "csv"]), default="html")
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@lang_option
def certificate(name: str, form: str, output: Path, config: Path) -> None:
    """A page to print and sign, or its figures as a table."""
    from station.calibration_sheet import sheet, table

    loaded = read_config(config)
    made = entries(loaded)
    from station.calibration_run import read_book

    run = read_book(made).named(name)
    if run.state not in ("done", "reverted"):
        raise WrongArgument(t("calibrations.not_done", name=name, state=t(f"run_state.{run.shown_state}")))
    write = sheet if form == "html" else table
    text = write(run, [record for record in made if record.body["name"] == name], loaded)
    if str(output) == "-":
        print(text)
        return
    try:
        output.write_text(text, encoding="utf-8-sig" if form == "csv" else "utf-8", newline="")
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
        "into": run.into,
        "state": run.shown_state,
        "unattended": run.unattended,
        "begun": run.begun.isoformat(),
        "ended": run.ended.isoformat() if run.ended else None,
        "user": run.user,
        "signed_by": run.result.get("user") if run.state in ("done", "reverted") else None,
        "mark": run.mark,
        "clock": run.trust,
        "instrument": dict(run.instrument),
        "photos": [dict(one) for one in (*run.photos, *run.result.get("photos", ()))],
        "standards": [one.plain() for one in run.standards],
        "taken": len(run.steps),
        "before": list(run.before),
        "coefficients": run.result.get("coefficients"),
        "valid_from": run.result.get("valid_from"),
        "changes": bool(run.result.get("changes")),
        "verdict": run.result.get("verdict"),
    }


def _step(one: Any) -> dict[str, Any]:
    return {**_plain(one), "at": one.at.isoformat()}


def _plain(one: Any) -> dict[str, Any]:
    from station.model import asdict

    return dict(asdict(one))


def _worded(row: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    begun = datetime.fromisoformat(row["begun"]).astimezone(loaded.zone)
    return {
        **{key: str(row[key]) for key in ("name", "device", "parameter", "user")},
        "procedure": t(f"procedure.{row['procedure']}"),
        "state": t(f"run_state.{row['state']}"),
        "begun": f"{begun:%Y-%m-%d %H:%M}",
        "verdict": t(f"calibration_verdict.{row['verdict']}") if row["verdict"] else "",
        "coefficients": pair_text(row["coefficients"]) if row["changes"] else "",
    }
