"""The view of trends and its data: what may be asked, what is answered, and what a browser need not fetch again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from station import i18n
from station.clock import to_ms
from station.model import Average, Kind, Report
from station.page.app import create_app
from station.page.trends import limit_lines
from station.store import Store
from tests.page.filled import CONFIG, DAY, HOUR, NOW, FixedSource, station

HEADERS = {"Host": "localhost", "Accept": "application/json"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FixedSource:
    return FixedSource(station(tmp_path_factory.mktemp("station")))


@pytest.fixture
def client(source: FixedSource) -> Iterator[FlaskClient]:
    made = create_app(source.loaded, source)
    yield made.test_client()
    i18n.use_here(None)


def ask(client: FlaskClient, words: str, **headers: str) -> TestResponse:
    return client.get(f"/trends/data?{words}", headers=HEADERS | headers)


def data(client: FlaskClient, words: str) -> dict[str, Any]:
    answer = ask(client, words)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found


def test_a_day_of_a_parameter_comes_with_everything_that_is_drawn(client: FlaskClient) -> None:
    found = data(client, "s=gate:pm25&span=24h")

    (one,) = found["series"]
    assert (one["name"], one["where"], one["unit"], one["kind"]) == ("PM2.5", "West gate", "µg/m³", "minute")
    assert found["to"] - found["from"] == DAY
    assert 0 <= found["to"] - to_ms(NOW) <= 120_000
    assert len({len(one[key]) for key in ("at", "mean", "low", "high", "valid", "flagged", "flags", "marks")}) == 1
    assert None in one["mean"]  # the gap of the night
    assert "M" in one["marks"]
    assert one["limits"] == [
        {"name": "PM2.5 of an hour", "value": 75.0, "sense": "most", "standard": "", "period": "1h", "pre_alarm": 60.0}
    ]


@pytest.mark.parametrize(
    ("span", "kind"),
    [("1h", "readings"), ("6h", "readings"), ("24h", "minute"), ("7d", "hour"), ("90d", "hour"), ("1y", "day")],
)
def test_each_span_has_its_kind_and_fits_a_screen(client: FlaskClient, span: str, kind: str) -> None:
    found = data(client, f"s=gate:pm25&span={span}")

    assert found["kind"] == kind
    assert 40 < len(found["series"][0]["at"]) <= 810


def test_four_parameters_are_compared_and_a_fifth_is_refused(client: FlaskClient) -> None:
    four = "s=gate:pm25&s=gate:pm10&s=gate:rain&s=roof:pm10"

    assert len(data(client, four)["series"]) == 4
    answer = ask(client, four + "&s=roof:pm25")
    assert (answer.status_code, answer.json) == (400, {"error": "At most 4 parameters are shown together."})


def test_a_free_span_is_read_in_the_stations_zone(client: FlaskClient) -> None:
    found = data(client, "s=gate:pm25&from=2026-02-28T08:00&to=2026-02-28T10:00&kind=minute")

    assert found["to"] - found["from"] == 2 * HOUR
    assert found["from"] == to_ms(NOW.replace(month=2, day=28, hour=8, minute=0, second=0))
    assert found == data(client, f"s=gate:pm25&from={found['from']}&to={found['to']}&kind=minute")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("s=gate:gold", "There is nothing measured as gate:gold."),
        ("s=pm25", "There is nothing measured as pm25."),
        ("s=gate:" + "x" * 4000, "There is nothing measured as gate:" + "x" * 55 + "."),
        ("s=roof:noise_leq'%20OR%201--", "There is nothing measured as roof:noise_leq' OR 1--."),
        ("span=2h", "2h is none of the spans 1h, 6h, 24h, 7d, 30d, 90d, 1y."),
        ("kind=week", "week is neither readings nor minute, hour or day averages."),
        ("from=yesterday&to=1", "yesterday is not a time such as 2026-03-01 08:00."),
        ("from=2026-03-01", " is not a time such as 2026-03-01 08:00."),
        ("from=99999999999999999999&to=1", "99999999999999999999 is not a time such as 2026-03-01 08:00."),
        ("from=0001-01-01&to=2026-03-01", "0001-01-01 is not a time such as 2026-03-01 08:00."),
        ("from=2026-03-01&to=2026-03-01", "From and to are between one minute and ten years apart."),
        ("from=2000-03-01&to=2026-03-01", "From and to are between one minute and ten years apart."),
        ("span=1y&kind=readings", "Of readings at most 3 days are shown; choose longer averages."),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_sentence(client: FlaskClient, words: str, said: str) -> None:
    answer = ask(client, words)

    assert (answer.status_code, answer.json) == (400, {"error": said})
    page = client.get(f"/trends?{words}", headers={"Host": "localhost"})
    assert page.status_code == 400
    assert 'role="alert"' in page.text


def test_a_browser_that_has_it_is_told_so(client: FlaskClient, source: FixedSource) -> None:
    first = ask(client, "s=roof:pm10&span=90d")
    tag = first.headers["ETag"]

    again = ask(client, "s=roof:pm10&span=90d", **{"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert ask(client, "s=roof:pm10&span=30d", **{"If-None-Match": tag}).status_code == 200
    assert ask(client, "s=roof:pm10&span=90d", **{"If-None-Match": tag, "Accept-Language": "zh"}).status_code == 200
    store = Store.open(source.loaded.database)
    with store.transaction():
        store.add_average(Report(Kind.HOUR, "roof", NOW.replace(minute=0, second=0), [Average("pm10", 1.0)]))
    store.close()
    assert ask(client, "s=roof:pm10&span=90d", **{"If-None-Match": tag}).status_code == 200


def test_names_and_kinds_are_in_the_browsers_language(client: FlaskClient) -> None:
    one = json.loads(ask(client, "s=gate:rain&span=7d", **{"Accept-Language": "zh-CN"}).text)["series"][0]

    assert (one["name"], one["kind_name"]) == ("累计降雨量", "小时累计")


def test_the_page_offers_what_was_measured_and_escapes_its_names(client: FlaskClient) -> None:
    page = client.get("/trends?s=roof:pm10", headers={"Host": "localhost"}).text

    assert '<option value="gate:noise_leq">' in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert '<script src="/static/uPlot.iife.min.js?v=' in page
    assert page.count("<script") == page.count('<script src="/static/') == 3


def test_nobody_looks_where_looking_is_not_open(tmp_path: Path) -> None:
    loaded = station(tmp_path, CONFIG.replace("open_view = true", ""), filled=False)
    closed = create_app(loaded, FixedSource(loaded)).test_client()

    assert closed.get("/trends/data?s=gate:pm25", headers=HEADERS).status_code == 401
    assert closed.get("/trends", headers={"Host": "localhost"}).status_code == 302


def test_a_station_that_has_measured_nothing_says_so(tmp_path: Path) -> None:
    loaded = station(tmp_path, filled=False)
    client = create_app(loaded, FixedSource(loaded)).test_client()

    assert "Nothing has been measured yet." in client.get("/trends", headers={"Host": "localhost"}).text
    assert json.loads(client.get("/trends/data", headers=HEADERS).text)["series"] == []


def test_limits_of_standards_are_those_of_the_day(source: FixedSource) -> None:
    from station.alarm import AlarmSettings
    from station.limits import limits

    alarm = AlarmSettings(
        name="day", point="gate", parameter="pm25", period="day", standard="GB 3095-2026", limit_class="grade-2",
        pre_alarm_share=0.8,
    )  # fmt: skip

    (found,) = limit_lines([alarm], limits(), "gate", "pm25", NOW.replace(month=4).date())

    assert (found["value"], found["standard"], found["pre_alarm"]) == (60, "GB 3095-2026 grade-2", 48.0)
    assert limit_lines([alarm], limits(), "roof", "pm25", NOW.date()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/events?day=9999-12-31", "/events?day=0001-01-01",
        "/trends?from=9999-12-30&to=9999-12-31T23:59:59%2B00:00", "/trends?from=0001-01-02&to=0001-01-03",
        "/trends/data?from=253402300799000&to=253402300799999", "/trends/data?from=1&to=99999999999999999999",
    ],
)  # fmt: skip
def test_the_end_of_time_is_no_fault_of_ours(client: FlaskClient, path: str) -> None:
    """What no calendar has an hour later is refused as any other word, not met as an unforeseen error."""
    assert client.get(path, headers=HEADERS).status_code == 400
