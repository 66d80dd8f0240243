"""`station compare` and `station comparisons`: display, station and platform side by side, and the sheet of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_field import enter, photo, reader
from station.command_line import (
    Spoken,
    ask_station,
    moment_in,
    pair,
    parameter_key,
    point_code,
    print_json,
    read_config,
)
from station.i18n import language, t
from station.model import StoreError, WrongArgument
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.comparison import Book, Check, Row
    from station.config import Loaded

STOP, PHOTO = "q", "p "
YES = ("y", "yes", "是")


@click.command("compare", cls=Command, help="help.compare")
@click.argument("target", metavar="DEVICE|POINT")
@option("--display", "displays", key="compare_display", multiple=True)
@option("--photo", "photos", key="compare_photo", multiple=True)
@option("--platform", "platforms", key="compare_platform", multiple=True)
@option("--uplink", "uplink_name", key="compare_uplink")
@option("--at", key="compare_at")
@option("--tolerance", "per_mille", key="compare_tolerance", type=float)
@option("--user", key="user", default="")
@option("--note", key="calibration_note", default="")
@option("--done", "finish", key="compare_done", is_flag=True)
@option("--cancel", "cancel_for", key="compare_cancel")
@config_option
@json_option
@lang_option
def compare(
    target: str, displays: tuple[str, ...], photos: tuple[str, ...], platforms: tuple[str, ...],
    uplink_name: str | None, at: str | None, per_mille: float | None, user: str, note: str, finish: bool,
    cancel_for: str | None, config: Path, as_json: bool,
) -> None:  # fmt: skip
    """One device or point, factor by factor; what was typed is kept at once, so that it goes on after any break."""
    loaded = read_config(config)
    given = _given(displays, photos, platforms)
    desk = Desk(loaded, target, moment_in(at, loaded.zone), as_json)
    if cancel_for is not None:
        desk.cancel(cancel_for, user)
        return
    scripted = bool(given or finish)
    if scripted or as_json:
        desk.go_on(user, uplink_name, per_mille, given, note, finish)
    else:
        desk.lead(user, uplink_name, per_mille, note)


def _given(displays: Sequence[str], photos: Sequence[str], platforms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What was said of each factor by options; numbers are looked at before anything is kept."""
    from station.comparison import typed

    found: dict[str, dict[str, Any]] = {}
    for texts, key in ((displays, "display"), (photos, "photo"), (platforms, "platform")):
        for text in texts:
            name, value = pair(text, f"--{key}")
            if key == "photo":
                found.setdefault(parameter_key(name), {})[key] = photo(Path(value))
            else:
                typed(value)
                found.setdefault(parameter_key(name), {})[key] = value.strip()
    return found


class Desk:
    """Where one device or point is checked."""

    def __init__(self, loaded: Loaded, target: str, at: datetime | None, as_json: bool) -> None:
        from station.fieldwork import devices

        self.loaded, self.at, self.as_json = loaded, at, as_json
        is_device = target in devices(loaded)
        self.scope = "device" if is_device else "point"
        self.what = target if is_device else point_code(loaded, target)

    # -- the check

    def check(self) -> Check | None:
        """The one under way."""
        if not self.loaded.database.exists():
            return None
        return book(self.loaded).open(self.scope, self.what)

    def begin(self, user: str, uplink: str | None, per_mille: float | None) -> Check:
        """The check under way, else a new one."""
        one = self.check()
        if one is None:
            said = {self.scope: self.what, "user": user, "per_mille": per_mille, "platform": uplink or self._uplink()}
            enter(self.loaded, "comparison", "begin", **said)
            one = self.check()
        assert one is not None
        return one

    def _uplink(self) -> str:
        """The platform whose records are looked at where none is named: the first."""
        return next((one.name for one in self.loaded.config.uplink), "")

    def row(self, one: Check, point: str, parameter: str, said: Mapping[str, Any]) -> None:
        """Keep what was typed of a factor beside what station and platform have of it at the same moment."""
        row = {"point": point, "parameter": parameter, "display": said.get("display", ""),
               "photo": said.get("photo", {}), **self.station_side(point, parameter)}  # fmt: skip
        if said.get("platform"):
            row |= {"platform": said["platform"], "how": "typed"}
        else:
            row |= self.platform_side(one.platform, point, parameter)
        enter(self.loaded, "comparison", "row", name=one.name, row=row)

    def finish(self, one: Check, user: str, note: str) -> None:
        """The verdict, on record and on screen."""
        enter(self.loaded, "comparison", "done", name=one.name, user=user, note=note)
        show(book(self.loaded).named(one.name), self.loaded, self.as_json)

    def cancel(self, reason: str, user: str) -> None:
        """Give the check up."""
        one = self.check()
        if one is None:
            raise WrongArgument(f"no three-way check of {self.what} is under way")
        enter(self.loaded, "comparison", "cancel", name=one.name, reason=reason, user=user)
        if not self.as_json:
            print(t("compare.cancelled", name=one.name))

    # -- scripts

    def go_on(
        self, user: str, uplink: str | None, per_mille: float | None, given: Mapping[str, Mapping[str, Any]],
        note: str, finish: bool,
    ) -> None:  # fmt: skip
        """Keep what was given; finish when all is typed or when told to."""
        places = self._places()
        for parameter in given:
            if parameter not in {each for _, each in places}:
                raise WrongArgument(f"{self.what} does not measure {parameter}; it does: "
                                    + ", ".join(each for _, each in places))  # fmt: skip
        one = self.begin(user, uplink, per_mille)
        for point, parameter in one.places:
            if parameter in given:
                self.row(one, point, parameter, given[parameter])
        one = book(self.loaded).named(one.name)
        if finish or not one.left:
            self.finish(one, user, note)
        else:
            show(one, self.loaded, self.as_json)

    def _places(self) -> Sequence[tuple[str, str]]:
        from station.fieldwork import devices
        from station.maintenance import places_of

        if self.scope == "device":
            return places_of(self.loaded, self.what)
        every = (place for device in devices(self.loaded) for place in places_of(self.loaded, device))
        return [place for place in every if place[0] == self.what]

    # -- people

    def lead(self, user: str, uplink: str | None, per_mille: float | None, note: str) -> None:
        """Ask for each factor that is left, say at once how the three stand."""
        one = self.check()
        if one is not None:
            print(t("compare.resumed", name=one.name, user=one.user, left=len(one.left), count=len(one.places)))
        user = user or click.prompt(t("calibrate.ask_user"), default=one.user if one else None)
        one = self.begin(user, uplink, per_mille)
        for point, parameter in list(one.left):
            said = self._ask(one, point, parameter)
            if said is None:
                print(t("compare.later", name=one.name))
                return
            if said:
                self.row(one, point, parameter, said)
                one = book(self.loaded).named(one.name)
                print("  " + sentence(one, f"{point}/{parameter}"))
        if not one.rows:
            print(t("compare.later", name=one.name))
            return
        answer = str(click.prompt(t("compare.ask_done", verdict=t(f"compare_verdict.{one.overall()}")), default=""))
        if answer.strip().lower() in YES:
            self.finish(one, user, note)
        else:
            print(t("compare.later", name=one.name))

    def _ask(self, one: Check, point: str, parameter: str) -> dict[str, Any] | None:
        """What the display shows, and where the platform's value is not on record what it shows; None to stop."""
        from station.comparison import typed

        said: dict[str, Any] = {}
        while not said:
            text = _prompt(t("compare.ask_display", factor=factor(parameter)))
            if text == STOP:
                return None
            if not text:
                return {}
            try:
                if text.startswith(PHOTO):
                    said["photo"] = photo(Path(text.removeprefix(PHOTO).strip()))
                else:
                    typed(text)
                    said["display"] = text
            except WrongArgument as error:
                print(error)
        while not self.platform_side(one.platform, point, parameter):
            text = _prompt(t("compare.ask_platform", factor=factor(parameter)))
            try:
                if text:
                    typed(text)
                    said["platform"] = text
                break
            except WrongArgument as error:
                print(error)
        return said

    # -- what station and platform have

    def _device(self, point: str, parameter: str) -> tuple[str, float]:
        """Who measures it, and every how many seconds."""
        from station.maintenance import places_of

        settings = [one for bus in self.loaded.config.bus for one in bus.device]
        settings += [one for one in self.loaded.config.input if hasattr(one, "counted")]
        for one in settings:
            if (point, parameter) in places_of(self.loaded, one.name):
                return one.name, float(one.poll_seconds)
        raise WrongArgument(f"nothing measures {parameter} at {point}")

    def station_side(self, point: str, parameter: str) -> dict[str, Any]:
        """The station's value: now, or at the stated moment; the trouble where there is none."""
        from station.platform_value import near

        device, seconds = self._device(point, parameter)
        found = None if self.at else ask_station(self.loaded, "status")
        if found is not None:
            return _live(found, device, parameter)
        if self.at is None:
            return {"trouble": "no_station"}
        with reader(self.loaded) as store:
            one = near(store, device, parameter, self.at, 2 * seconds)
        if one is None:
            return {"trouble": "no_value"}
        return {"station": one.value, "station_at": one.time.isoformat(), "mark": one.mark.name}

    def platform_side(self, platform: str, point: str, parameter: str) -> dict[str, Any]:
        """What the platform was sent of it and has answered, in its digits; nothing where there is none."""
        settings: Any = next((one for one in self.loaded.config.uplink if one.name == platform), None)
        if settings is None or not hasattr(settings, "spoken") or not self.loaded.database.exists():
            return {}
        from station.platform_value import made_from, sent
        from uplink.hj212.frame import factors

        written = _factor(self.loaded, settings, parameter)
        device, seconds = self._device(point, parameter)
        with reader(self.loaded) as store:
            found = sent(store, platform, point, self.at or datetime.now(UTC))
            text = None if found is None or written is None else _digits(factors(found.text), written)
            if found is None or text is None:
                return {}
            value = float(text) / 10**written.shift
            then = made_from(store, device, parameter, found.at, seconds, value)
        return {"platform": text, "unit_shift": written.shift, "platform_at": found.at.isoformat(),
                "how": found.how, "then": then}  # fmt: skip


def _factor(loaded: Loaded, settings: Any, parameter: str) -> Any:
    """How *parameter* is written for a platform, or None."""
    from station.parameters import catalogue
    from uplink.hj212.messages import Wording

    wording = Wording.of(
        settings.spoken(), catalogue(), zone=loaded.zone, started=datetime.now(UTC), codes=settings.codes,
        units=settings.units,
    )  # fmt: skip
    return wording.factors.get(parameter)


def _digits(found: Mapping[str, Mapping[str, str]], written: Any) -> str | None:
    code, _, own = written.code.partition("-")
    return found.get(code, {}).get(own or "Rtd") or found.get(code, {}).get(written.suffix)


def _live(found: Mapping[str, Any], device: str, parameter: str) -> dict[str, Any]:
    one = next((each for each in found["devices"] if each["name"] == device), None)
    value = next((v for v in one["values"] if v["parameter"] == parameter), None) if one else None
    if one is None or value is None or not value["current"] or value["value"] is None:
        return {"trouble": "silent"}
    return {"station": value["value"], "station_at": value["time"], "mark": value["mark"]}


def _prompt(question: str) -> str:
    return str(click.prompt(question, default="", show_default=False)).strip()


def book(loaded: Loaded) -> Book:
    """Every three-way check on record."""
    from station.comparison import KIND
    from station.comparison import Book as Made
    from station.fieldwork import BEGINNING, END

    with reader(loaded) as store:
        return Made(store.records(KIND, BEGINNING, END))


def factor(parameter: str) -> str:
    """The name and unit of *parameter*."""
    from station.parameters import catalogue

    known = catalogue()[parameter]
    return f"{known.name(language())} ({known.unit})" if known.unit else known.name(language())


def _of_then(row: Row) -> str:
    """The platform's number; of another moment, with what the station had then, which it is held against."""
    from station.screen_words import number

    then = number(row.then, row.parameter)
    if row.then is None or then == number(row.station, row.parameter):
        return row.platform or "-"
    return t("compare.of_then", platform=row.platform, at=wall(row.platform_at, Spoken.zone), then=then)


def sentence(one: Check, key: str) -> str:
    """How the three stand of one factor, in one line."""
    row = one.rows[key]
    found = row.judged(one.per_mille)
    from station.screen_words import number

    station = number(row.station, row.parameter)
    if row.trouble:
        station = f"{station} ({t(f'compare_trouble.{row.trouble}')})"
    return t(
        "compare.line",
        factor=factor(row.parameter),
        display=row.display or ("-" if not row.photo else row.photo["name"]),
        station=station,
        platform=_of_then(row),
        verdict=t(f"compare_verdict.{found['verdict']}"),
    )


def show(one: Check, loaded: Loaded, as_json: bool) -> None:
    """The check as it stands."""
    from station.comparison import plain

    if as_json:
        print_json(plain(one))
        return
    for key in one.rows:
        print(sentence(one, key))
    verdict = t(f"compare_verdict.{one.verdict or one.overall()}")
    print(t("compare.overall", name=one.name, verdict=verdict) if one.done else t("compare.later", name=one.name))


# -- the record


@click.group("comparisons", cls=Group, help="help.comparisons")
@lang_option
def comparisons() -> None:
    """Three-way checks on record."""


@comparisons.command("list", help="help.comparisons_list")
@config_option
@json_option
@lang_option
def listed(config: Path, as_json: bool) -> None:
    """Every check."""
    from station.comparison import plain
    from station.texts import wall

    loaded = read_config(config)
    found = [plain(one) for one in book(loaded)]
    if as_json:
        print_json({"comparisons": found})
        return
    if not found:
        print(t("compare.none"))
        return
    from station.screen import show_rows

    rows = [
        {
            **{key: str(one[key]) for key in ("name", "what", "user")},
            "begun": wall(one["begun"], loaded.zone),
            "verdict": t("compare.given_up", why=one["cancelled"])
            if one["cancelled"]
            else t(f"compare_verdict.{one['verdict']}") + ("" if one["done"] else t("compare.still_open")),
        }
        for one in found
    ]
    show_rows([(c, t(f"compare.{c}")) for c in ("name", "what", "begun", "user", "verdict")], rows)


@comparisons.command("sheet", help="help.comparisons_sheet")
@click.argument("name")
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@lang_option
def printed(name: str, output: Path, config: Path) -> None:
    """A page to print and sign."""
    from station.comparison import KIND
    from station.comparison_sheet import sheet
    from station.fieldwork import BEGINNING, END

    loaded = read_config(config)
    one = book(loaded).named(name)
    if not one.done:
        raise WrongArgument(f"{name} is not finished: station compare {one.what} goes on with it")
    with reader(loaded) as store:
        entries = [record for record in store.records(KIND, BEGINNING, END) if record.body["name"] == name]
    write(output, sheet(one, entries, loaded))


def write(output: Path, text: str) -> None:
    """*text* to standard output (-) or to a file."""
    if str(output) == "-":
        print(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("dustfall.written", path=output))
