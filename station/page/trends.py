"""Trends: up to four parameters over a span that a person chooses, drawn by the browser from thinned series.

The address of the view says everything that is shown: `s` (point:parameter, up to four times), `span` or `from` and
`to`, `kind`.  The data come as JSON from trends/data by the same words, with an ETag of what they were made from, so
that a browser that asks again is told that nothing has changed before anything is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.datastructures import MultiDict

from station.clock import from_ms, to_ms
from station.i18n import language, t, texts
from station.limits import Limit, of_station
from station.marks import KIND as MARK_RECORDS
from station.model import Averaging, Kind, Mark, WrongArgument, asdict, dataclass
from station.page.guard import Guard, access
from station.page.series import KINDS, LONGEST, bucket_seconds, kind_for, line
from station.page.words import parameter as name_of
from station.page.words import straight
from station.page.words import unit as unit_of
from station.parameters import catalogue
from station.version import VERSION

if TYPE_CHECKING:
    from station.alarm import AlarmSettings
    from station.page.source import Source
    from station.store import Store

SPANS: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "1y": timedelta(days=365),
}
USUAL = "24h"
EARLIEST, LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What is a time in any zone, and a span away from it, too."""
MOST_SERIES = 4
SHORTEST, LONGEST_SPAN = timedelta(minutes=1), timedelta(days=3660)
ASKED_AGAIN = 60
"""Seconds after which a span that ends now is asked for again: the station commits once a minute."""
WORDS = (
    "mean", "smallest", "largest", "count", "flagged", "flags", "mark", "time", "nothing", "limit", "pre_alarm",
    "failed", "no_data", "chart", "sum", "table_of", "width", "remove",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants to see: *series* as (point, parameter), *span* the word of a button or "" for a free one."""

    series: Sequence[tuple[str, str]]
    start: datetime
    end: datetime
    span: str
    kind: str


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """The view of trends and its data."""
    made = Blueprint("trends", __name__)
    rows = cache(lambda: of_station(source.loaded.folder)[0] if source.loaded.config.alarm else ())

    @made.get("/trends")
    @access("viewer")
    def trends() -> Any:
        with source.store() as store:
            there = measured(store, [point.code for point in source.loaded.config.point])
        refused = ""
        try:
            asked = read(request.args, there, source.now(), source.zone)
        except WrongArgument as error:
            refused, asked = str(error), read(MultiDict(), there, source.now(), source.zone)
        answer = render_template(
            "trends.html",
            there=there, asked=asked, spans=SPANS, kinds=KINDS, refused=refused, most=MOST_SERIES, words=_words(),
            offset=int((source.zone.utcoffset(None) or timedelta(0)).total_seconds()), again=ASKED_AGAIN,
            longest={kind: length.total_seconds() for kind, length in LONGEST.items()},
        )  # fmt: skip
        return answer, 400 if refused else 200

    @made.get("/trends/data")
    @access("viewer")
    def data() -> Any:
        with source.store() as store:
            there = measured(store, [point.code for point in source.loaded.config.point])
            try:
                asked = read(request.args, there, source.now(), source.zone)
            except WrongArgument as error:
                return jsonify(error=str(error)), 400
            tag = _tag(store, asked)
            answer = make_response("", 304) if tag in request.if_none_match else None
            if answer is None:
                answer = _packed(drawn(store, source, asked, rows()))
        answer.set_etag(tag)
        answer.headers["Cache-Control"] = "private, no-cache"
        answer.vary.add("Cookie")
        return answer

    return made


def _packed(found: Mapping[str, Any]) -> Response:
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(straight(text), mimetype="application/json")


def _words() -> str:
    """What the script says, in the language in use."""
    own = {key: texts(language())[f"page_trends.{key}"] for key in WORDS}
    marks = {mark.name: t(f"mark.{mark.name}") for mark in Mark}
    return json.dumps(own | {"marks": marks}, ensure_ascii=False)


# -- what is asked


def measured(store: Store, configured: Sequence[str]) -> dict[str, list[str]]:
    """What was ever measured or reckoned at each point: the *configured* ones first, parameters as in the catalogue."""
    found: dict[str, set[str]] = {code: set() for code in configured}
    for point, parameter in store.query("SELECT DISTINCT point, parameter FROM series"):
        found.setdefault(point, set()).add(parameter)
    for point in found:  # what is reckoned, such as Leq, has no readings
        for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY):
            newest = store.last_period(kind, point)
            report = None if newest is None else store.average(kind, point, newest)
            found[point] |= set() if report is None else {one.parameter for one in report.averages}
    order = list(catalogue())
    return {point: [key for key in order if key in keys] for point, keys in found.items() if keys}


def read(arguments: MultiDict[str, str], there: Mapping[str, Sequence[str]], now: datetime, zone: tzinfo) -> Asked:
    """What *arguments* ask for, of what is *there*; raise WrongArgument in the operator's words."""
    series = []
    for text in dict.fromkeys(filter(None, arguments.getlist("s"))):
        point, _, parameter = text.rpartition(":")
        if parameter not in there.get(point, ()):
            raise WrongArgument(t("page_trends.unknown", name=text[:60]))
        series.append((point, parameter))
    if len(series) > MOST_SERIES:
        raise WrongArgument(t("page_trends.too_many", most=MOST_SERIES))
    series = series or [(point, keys[0]) for point, keys in list(there.items())[:1]]
    kind = arguments.get("kind") or "auto"
    if kind not in ("auto", *KINDS):
        raise WrongArgument(t("page_trends.no_kind", kind=kind[:20]))
    start, end, span = _span(arguments, now, zone)
    if kind != "auto" and end - start > LONGEST[kind]:
        raise WrongArgument(t("page_trends.too_long", kind=t(f"page_trends.{kind}"), days=LONGEST[kind].days))
    return Asked(series, start, end, span, kind)


def _span(arguments: MultiDict[str, str], now: datetime, zone: tzinfo) -> tuple[datetime, datetime, str]:
    """From when to when; a span by its word ends with the bucket that *now* is in, so that it stays the same in it."""
    first, last = arguments.get("from"), arguments.get("to")
    if not first and not last:
        word = arguments.get("span") or USUAL
        if word not in SPANS:
            raise WrongArgument(t("page_trends.no_span", span=word[:20], spans=", ".join(SPANS)))
        step = timedelta(seconds=max(10, bucket_seconds(SPANS[word])))
        end = from_ms(-(-to_ms(now) // (step // timedelta(milliseconds=1))) * (step // timedelta(milliseconds=1)))
        return end - SPANS[word], end, word
    start, end = (moment(text or "", zone) for text in (first, last))
    if not SHORTEST <= end - start <= LONGEST_SPAN:
        raise WrongArgument(t("page_trends.bad_span"))
    return start, end, ""


def moment(text: str, zone: tzinfo) -> datetime:
    """The time that *text* names: milliseconds since 1970, or a date with or without a time, the station's own."""
    try:
        if text.isascii() and text.isdecimal():
            made = from_ms(int(text))
        else:
            made = datetime.fromisoformat(text)
            made = (made if made.tzinfo else made.replace(tzinfo=zone)).astimezone(UTC)
        if not EARLIEST <= made <= LATEST:
            raise ValueError(text)
        return made
    except (ValueError, OverflowError) as error:
        raise WrongArgument(t("page_trends.no_time", text=text[:40])) from error


# -- what is answered


def _tag(store: Store, asked: Asked) -> str:
    """A digest of what is asked and of the state of the record that would be read."""
    state = (store.newest("average"), store.newest("reading"), store.newest_record(MARK_RECORDS))
    said = (VERSION, language(), asked.series, to_ms(asked.start), to_ms(asked.end), asked.kind, state)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:20]


def drawn(store: Store, source: Source, asked: Asked, rows: Sequence[Limit]) -> dict[str, Any]:
    """Everything a browser draws of what was *asked*; times are milliseconds since 1970."""
    kind = asked.kind if asked.kind != "auto" else kind_for(store, asked.start, asked.end, source.now())
    found = []
    for point, parameter in asked.series:
        known = catalogue()[parameter]
        summed = known.averaging is Averaging.SUM and kind != "readings"
        shown = line(store, kind, point, parameter, asked.start, asked.end, source.zone)
        found.append(
            {
                "point": point, "parameter": parameter, "name": name_of(parameter),
                "where": source.point_names.get(point, point), "unit": unit_of(known.unit),
                "decimals": known.decimals, "averaging": str(known.averaging), **asdict(shown),
                "kind_name": t(f"page_trends.{kind}_sum" if summed else f"page_trends.{kind}"),
                "limits": limit_lines(source.loaded.config.alarm, rows, point, parameter,
                                      asked.end.astimezone(source.zone).date()),
            }
        )  # fmt: skip
    return {
        "from": to_ms(asked.start), "to": to_ms(asked.end), "span": asked.span, "kind": kind, "series": found,
    }  # fmt: skip


def limit_lines(
    alarms: Sequence[AlarmSettings], rows: Sequence[Limit], point: str, parameter: str, day: date
) -> list[dict[str, Any]]:
    """The limits of *day* that an [[alarm]] holds *parameter* at *point* against, and their levels of pre-alarm."""
    mine = [one for one in alarms if (one.point, one.parameter) == (point, parameter)]
    if not mine:
        return []
    from station.alarm import limits_on

    found = []
    for one in mine:
        for limit in limits_on(one, day, rows):
            pre = one.pre_alarm
            if pre is None and one.pre_alarm_share is not None:
                pre = one.pre_alarm_share * limit.value
            standard = "" if limit.standard == "own" else " ".join(filter(None, (limit.standard, limit.class_)))
            found.append(
                {"name": one.name, "value": limit.value, "sense": limit.sense, "standard": standard,
                 "period": limit.period, "pre_alarm": pre}
            )  # fmt: skip
    return found
