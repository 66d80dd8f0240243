"""Replays: recorded series through the station's own code, odd series by written rules, real ones where they lie."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.clock import from_ms
from station.config import Loaded, load
from station.model import Kind, Mark, Reason, StoreError
from station.replay import Column, read_series, replay
from station.store import Store, connect
from tests.station.commands import station

ZONE = timezone(timedelta(hours=8))
DATA = Path(__file__).parents[3] / "shared" / "data"
EXAMPLES = Path(__file__).parents[2] / "station" / "example"
CONFIG = """
[station]
name = "replay"
data_folder = "data"

[[point]]
code = "air"
name = "Air"
st = "22"

[[point]]
code = "river"
name = "River"
st = "21"

[[bus]]
name = "one"
port = "port-1"

[[bus.device]]
name = "dust"
profile = "deltaohm-pmsense"
unit_id = 1
point = "air"
calibration = { pm25 = [1.1, 0.0] }
range = { pm10 = [0, 500] }

[[bus]]
name = "two"
port = "port-2"

[[bus.device]]
name = "sonde"
profile = "yosemitech-y4000"
unit_id = 1
point = "river"

[[bus.device]]
name = "jar"
profile = "monthly"
unit_id = 2
point = "air"

[[uplink]]
name = "city"
standard = "2017"
host = "127.0.0.1"
port = 9
password_file = "absent"
[[uplink.point]]
point = "air"
mn = "M1"
"""
MONTHLY = """
title = "Monthly results, typed in"
grade = "A"
baudrate = 9600
unit_id = 2
[[register]]
parameter = "tsp"
table = "input"
address = 0
type = "u16"
unit = "µg/m³"
example = 54
[[register]]
parameter = "dust_fall"
table = "input"
address = 1
type = "u16"
scale = 0.01
unit = "t/(km²·30d)"
example = 4.72
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "monthly.toml").write_text(MONTHLY, encoding="utf-8")
    (tmp_path / "station.toml").write_text(CONFIG, encoding="utf-8")
    return load(tmp_path / "station.toml", secrets=False)


def write(folder: Path, *rows: str) -> Path:
    path = folder / "series.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def column(place: str, name: str, factor: float = 1.0) -> Column:
    device, _, parameter = place.partition(".")
    return Column(device=device, parameter=parameter, name=name, factor=factor)


def opened(folder: Path) -> Store:
    return Store(connect(folder / "station.db", read_only=True), "replayed")


def minutes(folder: Path, *values: str) -> Path:
    """One row a minute from 08:00 on."""
    start = datetime(2026, 3, 1, 8, tzinfo=ZONE)
    rows = [f"{(start + timedelta(minutes=n)).isoformat()},{value}" for n, value in enumerate(values)]
    return write(folder, "time,PM25,PM10", *rows)


def test_a_series_goes_through_calibration_marks_averages_and_messages(loaded: Loaded, tmp_path: Path) -> None:
    """PM2.5 is corrected by 1.1; PM10 of 600 is above the configured range and enters no mean."""
    path = minutes(tmp_path, *(["20,50"] * 59), "20,600")
    columns = [column("dust.pm25", "PM25"), column("dust.pm10", "PM10")]
    outcome = replay(loaded, read_series(path, ZONE), columns, tmp_path / "out")
    assert (outcome.rows, outcome.readings, outcome.marks) == (60, 120, {"N": 119, "T": 1})
    assert outcome.averages == {"minute": 60, "hour": 1}
    store = opened(tmp_path / "out")
    (hour,) = store.averages(Kind.HOUR, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    found = {a.parameter: (round(a.mean or 0, 6), a.parts, a.mark) for a in hour.averages}
    assert found == {"pm10": (50.0, 59, Mark.N), "pm25": (22.0, 60, Mark.N)}
    (raw,) = store.query("SELECT raw, value FROM reading ORDER BY id LIMIT 1")
    assert raw == (20.0, 22.0)
    hours = store.query("SELECT text FROM message WHERE kind = ?", (Kind.HOUR,))
    assert [text for (text,) in hours] == [
        "DataTime=20260301080000;a34002-Min=50.0,a34002-Avg=50.0,a34002-Max=50.0,a34002-Flag=N;"
        "a34004-Min=22.0,a34004-Avg=22.0,a34004-Max=22.0,a34004-Flag=N"
    ]
    assert outcome.messages["city"] == store.query("SELECT count(*) FROM message")[0][0]
    store.close()


def test_nothing_of_a_record_is_late(loaded: Loaded, tmp_path: Path) -> None:
    """Whatever delay is configured: the series' last hour is closed at its end."""
    config = loaded.path.read_text(encoding="utf-8")
    config = config.replace('name = "dust"\n', 'name = "dust"\nclosing_delay_minutes = 30\n')
    loaded.path.write_text(config, encoding="utf-8")
    slow = load(loaded.path, secrets=False)
    path = minutes(tmp_path, *(["20,50"] * 120))
    outcome = replay(slow, read_series(path, ZONE), [column("dust.pm25", "PM25")], tmp_path / "out")
    assert outcome.averages == {"minute": 120, "hour": 2}


def test_repeated_and_unordered_times_and_cells_that_are_no_numbers_follow_written_rules(
    loaded: Loaded, tmp_path: Path
) -> None:
    """Sorted; of two rows with one time the first; NA is a gap, rubbish and infinity are readings without value.

    A negative concentration stays in the mean, with a reason beside it.
    """
    path = write(
        tmp_path, "time,PM25", "2026-03-01T08:02,12", "2026-03-01T08:00,10", "2026-03-01T08:01,11",
        "2026-03-01T08:01,99", "2026-03-01T08:03,NA", "2026-03-01T08:04,??", "2026-03-01T08:05,inf",
        "2026-03-01T08:06,-3",
    )  # fmt: skip
    outcome = replay(loaded, read_series(path, ZONE), [column("dust.pm25", "PM25")], tmp_path / "out")
    assert (outcome.rows, outcome.unordered, outcome.repeated, outcome.unreadable) == (7, 1, 1, 1)
    store = opened(tmp_path / "out")
    rows = store.query("SELECT at_ms, raw, mark & 7 FROM reading WHERE mark & 7 != ? ORDER BY at_ms", (Mark.B,))
    (last,) = store.query("SELECT mark >> 3 FROM reading WHERE raw < 0")
    assert Reason(last[0]) is Reason.NEGATIVE
    store.close()
    found = [(from_ms(at).astimezone(ZONE).minute, raw, Mark(mark).name) for at, raw, mark in rows]
    assert found == [(0, 10.0, "N"), (1, 11.0, "N"), (2, 12.0, "N"), (4, None, "D"), (5, None, "D"), (6, -3.0, "N")]


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (("a,b", "1,2"), "dust.pm25=a", "a row needs time, or year, month, day and hour"),
        (("time,b", "soon,2"), "dust.pm25=b", "has no rows to replay"),
        (("time,b", "2026-03-01,2", "soon4,2"), "dust.pm25=b", '"soon4" is no time'),
        (("time,b",), "dust.pm25=b", "has no rows to replay"),
        (("time,b", "2026-03-01,2"), "dust.pm25=c", 'the series has no column "c"'),
        (("time,b", "2026-03-01,2"), "dusk.pm25=b", 'there is no device "dusk"; did you mean dust?'),
        (("time,b", "2026-03-01,2"), "dust.ph=b", '"dust" does not measure ph'),
        (("time,b", "2026-03-01,2"), "dust.pm25", "is not DEVICE.PARAMETER=COLUMN"),
        (("time,b", "2026-03-01,2"), "dust.pm25=b*x", "is not DEVICE.PARAMETER=COLUMN"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence(
    loaded: Loaded, tmp_path: Path, rows: tuple[str, ...], columns: str, said: str
) -> None:
    path = write(tmp_path, *rows)
    words = ("replay", path, "--column", columns, "--config", loaded.path, "--output", tmp_path / "out")
    done = station(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_replay_never_writes_into_a_database_that_is_there(loaded: Loaded, tmp_path: Path) -> None:
    path = minutes(tmp_path, "1,1")
    replay(loaded, read_series(path, ZONE), [column("dust.pm25", "PM25")], tmp_path / "out")
    before = (tmp_path / "out" / "station.db").read_bytes()
    with pytest.raises(StoreError, match="is there already; a replay wants a folder of its own"):
        replay(loaded, read_series(path, ZONE), [column("dust.pm25", "PM25")], tmp_path / "out")
    assert (tmp_path / "out" / "station.db").read_bytes() == before


def test_the_same_series_gives_the_same_averages_and_messages_twice(loaded: Loaded, tmp_path: Path) -> None:
    path = minutes(tmp_path, *(f"{20 + n % 7},{40 + n % 11}" for n in range(130)))
    said = []
    for name in ("one", "two"):
        columns = [column("dust.pm25", "PM25"), column("dust.pm10", "PM10")]
        replay(loaded, read_series(path, ZONE), columns, tmp_path / name)
        store = opened(tmp_path / name)
        said.append(
            (
                store.query("SELECT point, kind, start_ms, version, body FROM average ORDER BY id"),
                store.query("SELECT kind, point, start_ms, text FROM message WHERE kind != 5 ORDER BY id"),
            )
        )
        store.close()
    assert said[0] == said[1]
    assert len(said[0][0]) == 132


def test_as_typed_it_says_what_came_of_it_in_both_languages(loaded: Loaded, tmp_path: Path) -> None:
    path = minutes(tmp_path, *(["20,50"] * 5))
    words = ("replay", path, "--column", "dust.pm25=PM25", "--column", "dust.pm10=PM10*1", "--config", loaded.path)
    english = station(*words, "--output", tmp_path / "a")
    assert (english.code, english.err) == (0, "")
    assert "10 readings: N 10" in english.out
    assert "closed: 5 minutes, 0 hours, 0 days" in english.out
    chinese = station(*words, "--output", tmp_path / "b", "--lang", "zh")
    assert "已生成:5 个分钟、0 个小时、0 个日数据" in chinese.out
    found = json.loads(station(*words, "--output", tmp_path / "c", "--json").out)
    assert (found["readings"], found["averages"], found["unreadable"]) == (10, {"minute": 5}, 0)


def test_the_week_that_ships_replays(loaded: Loaded, tmp_path: Path) -> None:
    """168 hours of Beijing air: every hour is closed and valid, every day is."""
    series = read_series(EXAMPLES / "beijing-week.csv", ZONE)
    series.rows = series.rows[:48]
    columns = [column("dust.pm25", "PM2.5"), column("dust.pm10", "PM10")]
    outcome = replay(loaded, series, columns, tmp_path / "out")
    assert (outcome.rows, outcome.averages["hour"], outcome.averages["day"]) == (48, 48, 2)
    shutil.rmtree(tmp_path / "out")


@pytest.mark.skipif(not DATA.exists(), reason="the recorded series lie beside a developer's checkout only")
def test_the_recorded_series_replay(loaded: Loaded, tmp_path: Path) -> None:
    """Beijing's air with its gaps, a sonde with a heading of units, Taiwan's dust-fall by Minguo months."""
    air = read_series(DATA / "beijing-wanshouxigong-2016-11_2017-02.csv", ZONE)
    assert len(air.rows) == 2880
    air.rows = air.rows[:72]
    made = replay(loaded, air, [column("dust.pm25", "PM2.5"), column("dust.pm10", "PM10")], tmp_path / "air")
    assert (made.averages["hour"], made.averages["day"]) == (72, 3)
    river = read_series(DATA / "river-sonde-2015-09.csv", ZONE)
    assert (len(river.rows), round(river.spacing)) == (1527, 300)
    river.rows = river.rows[:150]
    sonde = [
        column("sonde.ph", "pH"),
        column("sonde.conductivity", "SpCond", 1000),
        column("sonde.turbidity", "Turbidity+"),
    ]
    made = replay(loaded, river, sonde, tmp_path / "river")
    assert made.readings >= 450
    store = opened(tmp_path / "river")
    assert store.query("SELECT raw FROM reading ORDER BY id LIMIT 3")[1][0] == 754.0
    store.close()
    dust = read_series(DATA / "taiwan-dustfall-tsp-monthly.csv", ZONE, {"city": "新北市"})
    assert dust.rows[0][0].astimezone(ZONE) == datetime(2017, 1, 1, tzinfo=ZONE)
    dust.rows = dust.rows[:2]
    made = replay(loaded, dust, [column("jar.dust_fall", "dustfall"), column("jar.tsp", "TSP")], tmp_path / "dust")
    store = opened(tmp_path / "dust")
    assert [raw for (raw,) in store.query("SELECT raw FROM reading WHERE mark & 7 = 0 ORDER BY id LIMIT 2")] == [
        4.72,
        54.0,
    ]
    store.close()
