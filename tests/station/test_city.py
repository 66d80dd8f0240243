"""The city's air: a table read row by row, pulled from a server on loopback, or entered by a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from station.city import BY_HAND, FEED, CityFeed, CityFeedFailed, CityHour, by_hand, hour_of, read_table, records
from station.clock import EPOCH
from station.model import WrongArgument
from station.store import Store
from tests.station.commands import station, until
from tests.station.conftest import CONFIG, Rig
from tests.station.test_alarming import DUST

BEIJING = timezone(timedelta(hours=8))
NOW = datetime(2026, 4, 1, 12, 30, tzinfo=BEIJING)
END = datetime(2100, 1, 1, tzinfo=UTC)
CSV = """time,pm10,aqi,primary
2026-04-01T10:00,85,118,PM2.5
2026-04-01T11:00,,250,"PM10、PM2.5"
"""


def test_a_csv_and_a_json_table_say_the_same() -> None:
    rows = [
        {"time": "2026-04-01T10:00+08:00", "pm10": 85, "aqi": 118, "primary": ["pm25"]},
        {"time": "2026-04-01T11:00+08:00", "pm10": None, "aqi": 250, "primary": "PM10 PM2.5"},
    ]
    hours, refused = read_table(CSV, BEIJING, NOW)
    assert refused == []
    assert read_table(json.dumps(rows), BEIJING, NOW) == (hours, [])
    assert read_table(json.dumps({"hours": rows}), BEIJING, NOW) == (hours, [])
    assert hours[1] == CityHour(
        start=datetime(2026, 4, 1, 11, tzinfo=BEIJING), pm10=None, aqi=250, primary=("pm10", "pm25")
    )


def test_hours_may_be_labelled_by_their_end() -> None:
    """As the national network does (medium): 08:00 is the hour from 07:00."""
    one = hour_of({"time": "2026-04-01T08:00", "aqi": 90}, BEIJING, NOW, labelled="end")
    assert one.start == datetime(2026, 4, 1, 7, tzinfo=BEIJING)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"time": "soon", "aqi": 90}, '"soon" is not a time such as 2026-03-01T08:00'),
        ({"time": "2026-04-01T10:30", "aqi": 90}, "2026-04-01T10:30 is not a full hour"),
        ({"time": "2026-04-01T13:00", "aqi": 90}, "2026-04-01T13:00:00+08:00 has not begun"),
        ({"time": "2026-04-01T10:00"}, "neither pm10 nor aqi is given"),
        ({"time": "2026-04-01T10:00", "pm10": -1}, "pm10: -1 is not between 0 and 10000"),
        ({"time": "2026-04-01T10:00", "pm10": "nan"}, "pm10: nan is not between 0 and 10000"),
        ({"time": "2026-04-01T10:00", "pm10": "1e999"}, "pm10: inf is not between 0 and 10000"),
        ({"time": "2026-04-01T10:00", "pm10": True}, "pm10: nan is not between 0 and 10000"),
        ({"time": "2026-04-01T10:00", "pm10": "much"}, 'pm10: "much" is not a number'),
        ({"time": "2026-04-01T10:00", "aqi": 501}, "aqi: 501 is not between 0 and 500"),
        ({"time": "2026-04-01T10:00", "aqi": 90.5}, "aqi: 90.5 is not a whole number"),
        ({"time": "2026-04-01T10:00", "aqi": 90, "primary": "dust"}, 'primary: "dust" is not one of'),
        ({"time": "2026-04-01T10:00", "aqi": 90, "pm1o": 5}, 'there is no column "pm1o"; did you mean pm10?'),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_reason(row: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        hour_of(row, BEIJING, NOW)
    assert str(caught.value).startswith(said)


def test_good_rows_of_a_table_are_taken_whatever_their_order_and_the_later_of_two_holds() -> None:
    table = "time,pm10,aqi\n2026-04-01T11:00,90,\n2026-04-01T10:00,80,\n2026-04-01T10:00,-5,\n2026-04-01T11:00,95,\n"
    hours, refused = read_table(table, BEIJING, NOW)
    assert [(one.start.hour, one.pm10) for one in hours] == [(10, 80.0), (11, 95.0)]
    assert refused == ["row 3: pm10: -5 is not between 0 and 10000"]


@pytest.mark.parametrize("text", ["", "<html>", "[1, 2]", '{"hours": 5}', "[{]", "pm10,aqi\n5,5\n"])
def test_what_is_no_table_is_refused_whole(text: str) -> None:
    with pytest.raises(CityFeedFailed):
        read_table(text, BEIJING, NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "station.db")
    yield made
    made.close()


def keep(store: Store, made: list[Any]) -> int:
    with store.transaction():
        store.add_records(made)
    return len(made)


def test_what_is_known_is_not_kept_again_and_a_feed_does_not_overrule_a_person(store: Store) -> None:
    hours, _ = read_table(CSV, BEIJING, NOW)
    assert keep(store, records(store, hours, FEED, NOW)) == 2
    assert keep(store, records(store, hours, FEED, NOW)) == 0
    corrected = [{"time": "2026-04-01T10:00", "pm10": 60, "aqi": 100, "primary": ""}]
    assert keep(store, by_hand(store, corrected, "Wang Fang", BEIJING, NOW)) == 1
    assert keep(store, records(store, hours, FEED, NOW)) == 0
    found = store.records("city", EPOCH, END)
    assert [(r.body["pm10"], r.body["source"]) for r in found if r.at == hours[0].start] == [
        (85.0, FEED),
        (60.0, BY_HAND),
    ]


def test_by_hand_needs_a_name(store: Store) -> None:
    with pytest.raises(WrongArgument, match=r"^the city's air by hand needs a name \(--user\)$"):
        by_hand(store, [{"time": "2026-04-01T10:00", "aqi": 5}], " ", BEIJING, NOW)


# -- pulled


class Table(ThreadingHTTPServer):
    """A server whose table is what the test says."""

    daemon_threads = True
    text = b""
    status = 200
    asked = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/air.csv"

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        self.send_response(server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(server.text)))
        self.end_headers()
        self.wfile.write(server.text)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    made.stop()


@pytest.fixture
def pulling(tmp_path: Path, table: Table) -> Iterator[Rig]:
    more = f'[city]\nurl = "{table.url}"\ntimeout_seconds = 2\n' + DUST
    made = Rig(tmp_path, CONFIG + more, datetime(2026, 4, 1, 4, 30, tzinfo=UTC))
    yield made
    made.engine.shut_down()


def feed(rig: Rig) -> CityFeed:
    assert rig.engine.city is not None
    return rig.engine.city


def test_a_pull_keeps_the_new_hours_once(pulling: Rig, table: Table) -> None:
    table.text = CSV.encode()
    assert feed(pulling).turn() == 2
    pulling.engine.commit()
    assert feed(pulling).turn() == 0
    found = pulling.engine.store.records("city", EPOCH, END)
    assert [(r.at.isoformat(), r.body["aqi"], r.body["source"]) for r in found] == [
        ("2026-04-01T02:00:00+00:00", 118, "feed"),
        ("2026-04-01T03:00:00+00:00", 250, "feed"),
    ]


def test_a_feed_that_is_lost_and_back_is_an_event_each_once(pulling: Rig, table: Table) -> None:
    """Not found, rubbish, a redirection, and more than anybody needs: nothing is kept, measuring goes on."""
    for status, text in (
        (404, b""),
        (200, b"<html>"),
        (302, b""),
        (200, b"x" * (1 << 20) + b"y" * 9000),
        (200, b"\xff"),
    ):
        table.status, table.text = status, text
        assert feed(pulling).turn() == 0
    table.status, table.text = 200, CSV.encode()
    assert feed(pulling).turn() == 2
    pulling.engine.commit()
    assert [code for code in pulling.events() if code.startswith("city")] == ["city_feed_lost", "city_feed_back"]
    assert feed(pulling).complaint == ""


def test_a_server_that_is_not_there_is_a_complaint(pulling: Rig, table: Table) -> None:
    url = table.url
    table.stop()
    try:
        assert feed(pulling).turn() == 0
        assert feed(pulling).complaint == f"{url}: ConnectionError"
    finally:
        table.__init__()  # type: ignore[misc]  # for the fixture to stop


def test_the_thread_pulls_by_itself_and_ends_with_the_station(pulling: Rig, table: Table) -> None:
    table.text = CSV.encode()
    thread = feed(pulling)
    thread.start()
    until(lambda: pulling.engine.recorder.urgent)
    pulling.engine.commit()
    assert len(pulling.engine.store.records("city", EPOCH, END)) == 2
    thread.wake()
    thread.join(5)
    assert not thread.is_alive()
    assert table.asked == 1


def test_an_address_that_is_none_is_a_fault(tmp_path: Path) -> None:
    from tests.station.test_alarming import faults

    assert faults(tmp_path, '[city]\nurl = "ftp://city/air"\n') == [
        'city.url: "ftp://city/air" is not an address such as https://host/air.csv'
    ]
    assert faults(tmp_path, "[city]\nevery_minutes = 0\n") == ["city.every_minutes: 0 is below 1"]


# -- as typed


def test_hours_are_entered_and_listed_without_a_station(rig: Rig, tmp_path: Path) -> None:
    rig.run(5)
    rig.engine.store.close()
    config = rig.folder / "station.toml"
    (tmp_path / "air.csv").write_text(CSV.replace("2026-04-01", "2024-03-01"), encoding="utf-8")

    def said(*words: str, lang: str = "en") -> str:
        done = station("city", *words, "--config", config, "--lang", lang)
        assert (done.code, done.err) == (0, "")
        return done.out

    assert said("load", str(tmp_path / "air.csv"), "--user", "王芳") == "2 hours kept\n"
    one = ("--time", "2024-03-01T12:00", "--pm10", "77", "--user", "王芳")
    assert said("set", *one, lang="zh") == "已记录 1 个小时\n"
    spell = ("--from", "2024-03-01", "--to", "2024-03-02")
    rows = json.loads(said("list", *spell, "--json"))["hours"]
    assert [(row["time"][11:16], row["pm10"], row["aqi"]) for row in rows] == [
        ("10:00", 85, 118), ("11:00", None, 250), ("12:00", 77, None),
    ]  # fmt: skip
    assert "by hand, 王芳" in said("list", *spell)
    assert "人工录入,王芳" in said("list", *spell, lang="zh")
    wrong = station("city", "set", "--time", "2024-03-01T12:00", "--pm10", "-3", "--user", "x", "--config", config)
    assert (wrong.code, wrong.err) == (2, "pm10: -3 is not between 0 and 10000\n")
    rig.engine = rig.start()
