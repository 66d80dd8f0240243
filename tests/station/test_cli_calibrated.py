"""What is on record of calibrations, as typed: listed, compared, due, signed, with photos, on paper and as a table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import segno

from station import cli_calibrate
from station.calibration_entry import calibration_book, enter_calibration
from station.calibration_sheet import qr
from station.cli_calibrate_desk import read_series
from station.config import load
from station.dustfall_sheet import digest
from station.model import WrongArgument
from station.store import Store
from tests.station.commands import Done, Here, configure
from tests.station.conftest import CONFIG, Rig

TWO: dict[str, Any] = {
    "do": "begin", "device": "dust", "parameter": "pm25", "procedure": "two-point", "user": "Wang Fang",
    "standards": [{"value": 0}, {"value": 100, "certificate": "GBW-17", "uncertainty": 2, "expires": "2099-06-30"}],
}  # fmt: skip


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """`station` in this process."""
    return Here(monkeypatch, capfd)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station that does not run."""
    return configure(tmp_path)


def enter(config: Path, at: datetime, **fields: Any) -> str:
    """An entry as it is kept while no station runs."""
    loaded = load(config)
    loaded.database.parent.mkdir(exist_ok=True)
    store = Store.open(loaded.database)
    try:
        made = enter_calibration(store, loaded, {"user": "Wang Fang"} | fields, at, "ntp")
        with store.transaction():
            store.add_records(made)
    finally:
        store.close()
    return str(made[0].body["name"])


def whole(config: Path, at: datetime, low: float = 2.0, high: float = 82.0, **more: Any) -> str:
    """A two-point calibration at *at*."""
    name = enter(config, at, **TWO | more)
    for index, raw in enumerate((low, high)):
        readings = [[(at + timedelta(seconds=i)).isoformat(), raw] for i in range(6)]
        enter(config, at, do="step", name=name, index=index, readings=readings)
    enter(config, at + timedelta(minutes=9), do="done", name=name)
    return name


NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


def said(command: Here, config: Path, *words: object) -> Done:
    return command("calibrate", *words, "--config", config)


def told(command: Here, config: Path, *words: object) -> Any:
    done = said(command, config, *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_two_calibrations_are_compared(command: Here, config: Path) -> None:
    """By the drift, the coefficients and each standard; without a second name with the one before."""
    whole(config, NOON, serial="S-1")
    whole(config, NOON + timedelta(days=30), 4.0, 84.0, serial="S-2", full_scale=500)
    rows = {(one["what"], one.get("standard")): (one["first"], one["second"]) for one in
            told(command, config, "diff", "K2")["differences"]}  # fmt: skip
    assert rows["before", None] == ([1.0, 0.0], pytest.approx([1.25, -2.5]))
    assert rows["coefficients", None] == (pytest.approx([1.25, -2.5]), pytest.approx([1.25, -5.0]))
    assert rows["as_found", 0] == (2.0, pytest.approx(2.5))
    assert rows["serial", None] == ("S-1", "S-2")
    assert rows["zero_drift", None] == (None, pytest.approx(0.5))
    shown = said(command, config, "diff", "K1", "K2", "--lang", "zh").out
    for word in ("不同之处", "K1", "K2", "序列号", "S-2", "校准前示值 (0)"):
        assert word in shown
    assert said(command, config, "diff", "K1", "K1").out == "K1 and K1 agree in everything that is compared\n"
    first = said(command, config, "diff", "K1")
    assert (first.code, first.said) == (2, ["K1 is the first at its place; name another one to compare it with"])


def test_what_is_due_and_overdue(command: Here, tmp_path: Path) -> None:
    """By `calibrate_days`; `station status` says what is overdue and what is under way."""
    config = configure(tmp_path, ('point = "site"\n', 'point = "site"\ncalibrate_days = { pm25 = 30, pm10 = 0 }\n'))
    (row,) = told(command, config, "due")["due"]
    assert (row["parameter"], row["kind"], row["state"], row["source"]) == ("pm25", "any", "never", "station.toml")
    whole(config, datetime.now(UTC) - timedelta(days=31))
    (row,) = told(command, config, "due", "--device", "dust")["due"]
    assert (row["state"], row["last"]) == ("overdue", "K1")
    shown = said(command, config, "due", "--lang", "zh").out
    for word in ("PM2.5", "30 天", "已超期", "校准或核查"):
        assert word in shown
    enter(config, datetime.now(UTC), **TWO)
    status = command("status", "--config", config, "--lang", "en").out
    assert re.search(r"dust pm25: calibration or check overdue since \d{4}-\d\d-\d\d", status)
    assert "K2 at dust is under way (Wang Fang)" in status
    assert len(json.loads(command("status", "--config", config, "--json").out)["calibrations"]) == 2


def test_nothing_is_due_where_no_rule_is_known(command: Here, config: Path) -> None:
    """Dust at a building site: no interval in the digest."""
    assert said(command, config, "due").out.startswith("nothing is due: no interval is set (calibrate_days)")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [("calibrate_days", "{ pm1 = 3 }", "calibrate_days.pm1: the instrument does not deliver it"),
     ("calibrate_days", "{ pm25 = -1 }", "calibrate_days.pm25: -1 is below 0")],
)  # fmt: skip
def test_an_interval_that_cannot_be_is_a_fault(command: Here, tmp_path: Path, key: str, value: str, fault: str) -> None:
    config = configure(tmp_path, ('point = "site"\n', f'point = "site"\n{key} = {value}\n'))
    done = command("check", config)
    assert (done.code != 0, fault in done.out + done.err) == (True, True), done


# -- paper and table


def test_the_certificate_has_the_code_of_its_hash_and_is_a_table_too(
    command: Here, config: Path, tmp_path: Path
) -> None:
    whole(config, NOON, serial="S-1", firmware="2.4")
    page = tmp_path / "k1.html"
    assert said(command, config, "certificate", "K1", "--output", page).code == 0
    text = page.read_text(encoding="utf-8")
    loaded = load(config)
    store = Store.open(loaded.database)
    records = [one for one in store.records("calibration", NOON, NOON + timedelta(days=1))]
    store.close()
    mark = digest(records)
    assert f"SHA-256 {mark}" in text
    assert qr(f"K1 {mark}") in text
    for word in ("S-1", "2.4", "2026-03-01 12:09", "1.25 / -2.5"):
        assert word in text
    table = tmp_path / "k1.csv"
    assert said(command, config, "certificate", "K1", "--format", "csv", "--output", table, "--lang", "zh").code == 0
    rows = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    assert rows[0][0] == "校准记录单 K1"
    assert ["100", "82", "82", "-18", "100", "+0"] in rows
    assert rows[-1] == ["SHA-256", mark]


def test_the_code_holds_the_text_it_was_made_of() -> None:
    """Two texts make two codes, drawn as the library draws them; no other module of a certificate loads it."""
    assert qr("K1 ab") == segno.make("K1 ab", error="m", micro=False).svg_inline(border=2, omitsize=True)
    assert qr("K1 ab") != qr("K1 ac")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_certificate_with_ten_standards_draws_closer(command: Here, config: Path, lang: str) -> None:
    """One row for steps of which nothing else is to be said; figures without 1e-14."""
    values = [50.0 * i for i in range(10)]
    name = enter(config, NOON, **TWO | {"procedure": "multi-point", "standards": [{"value": v} for v in values]})
    for index, value in enumerate(values):
        readings = [[(NOON + timedelta(seconds=i)).isoformat(), 0.97 * value + 1.2] for i in range(6)]
        enter(config, NOON, do="step", name=name, index=index, readings=readings)
    enter(config, NOON, do="done", name=name)
    text = said(command, config, "certificate", name, "--lang", lang).out
    assert ("标准 1 – 10" if lang == "zh" else "standard 1 – 10") in text
    assert "e-1" not in text
    assert "body > svg { height: 36mm; }" in text


# -- photos


def test_a_photo_is_kept_by_its_hash(command: Here, config: Path, tmp_path: Path) -> None:
    photo = tmp_path / "bottle.JPG"
    photo.write_bytes(b"a picture")
    (seen,) = photos_of([photo], tmp_path / "data")
    assert seen == {"name": "bottle.JPG", "sha256": hashlib.sha256(b"a picture").hexdigest(), "bytes": 9}
    copy = tmp_path / "data" / "photos" / f"{seen['sha256']}.jpg"
    assert copy.read_bytes() == b"a picture"
    whole(config, NOON, photos=[seen])
    assert told(command, config, "show", "K1")["photos"] == [seen]
    assert f"photo bottle.JPG, SHA-256 {seen['sha256']}" in said(command, config, "show", "K1").out
    assert seen["sha256"] in said(command, config, "certificate", "K1").out


def photos_of(paths: list[Path], folder: Path) -> Any:
    from station.calibration_photo import seen

    folder.mkdir(exist_ok=True)
    return seen(paths, folder)


@pytest.mark.parametrize("content", [None, b""])
def test_a_photo_that_is_none_is_refused(command: Here, config: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "none.jpg"
    if content is not None:
        path.write_bytes(content)
    done = said(command, config, "dust", "pm25", "--photo", path, "--user", "Wang Fang", "--next")
    assert (done.code, str(path) in done.err) == (2, True)
    with pytest.raises(WrongArgument, match="a photo wants its name and its SHA-256"):
        enter(config, NOON, **TWO | {"photos": [{"name": "a.jpg", "sha256": "xyz", "bytes": 3}]})


# -- words


def test_the_group_takes_an_instrument_or_a_command(command: Here, config: Path) -> None:
    """`run` is what DEVICE PARAMETER is short for; an option of the procedure may come first."""
    for words in (("dst", "pm25"), ("--next", "dst", "pm25"), ("run", "dst", "pm25"), ("--lang", "en", "dst", "pm25")):
        done = said(command, config, *words)
        assert (done.code, done.said) == (2, ['there is no device "dst"; did you mean dust?; known: dust'])
    assert said(command, config, "list").out == "no calibration is on record\n"
    assert "DEVICE PARAMETER" in command("calibrate", "dust", "pm25", "--help").out
    assert set(cli_calibrate.calibrate.commands) == {
        "run", "list", "show", "diff", "due", "sign", "revert", "certificate",
    }  # fmt: skip


def test_what_did_not_run_unattended_is_not_signed_afterwards(command: Here, config: Path) -> None:
    enter(config, NOON, **TWO)
    done = said(command, config, "sign", "K1", "--user", "Li Wei")
    assert done.said == ["K1 did not run unattended; finish it with station calibrate dust pm25"]


# -- a reference series beside the station's own hours


def test_it_is_shown_by_whom_and_why_one_was_given_up_or_taken_back(command: Here, config: Path) -> None:
    at = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
    whole(config, at)
    enter(config, at + timedelta(hours=1), do="revert", name="K1", user="Li Na", reason="wrong bottle")
    name = enter(config, at + timedelta(hours=2), **TWO)
    enter(config, at + timedelta(hours=3), do="cancel", name=name, user="Li Wei", reason="called away")
    shown = said(command, config, "show", "K1", "--lang", "en").out.splitlines()
    assert shown[-1] == "taken back on 2026-03-01 10:00 by Li Na: wrong bottle"
    assert said(command, config, "show", name, "--lang", "zh").out.splitlines()[-1] == "由 Li Wei 放弃:called away"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Rig]:
    """A station that polls once a minute, as of midnight."""
    text = CONFIG.replace("poll_seconds = 5", "poll_seconds = 60")
    made = Rig(tmp_path, text, datetime(2026, 3, 1, 0, 0, 0, tzinfo=UTC))
    yield made
    made.engine.shut_down()


def test_hours_of_a_reference_are_paired_with_full_unmarked_hours(site: Rig) -> None:
    """Thirteen hours of raw 50, 52 …, the reference 0.8 times that; one marked by hand and one cut short are out."""
    (poller,) = site.engine.pollers
    start = site.clock.now()
    for hour in range(13):
        site.instrument.show(pm10=50.0 + 2 * hour)
        for minute in range(60):
            if not (hour == 5 and minute > 20):  # a power cut
                poller.poll(poller.tasks[0])
            site.clock.advance(60)
    from station import marks

    mark = {"do": "mark", "point": "site", "parameter": "", "mark": "M", "user": "Li Wei", "reason": "cleaned",
            "from": (start + timedelta(hours=7, minutes=10)).isoformat(),
            "to": (start + timedelta(hours=7, minutes=20)).isoformat()}  # fmt: skip
    points = {point.code: point for point in site.loaded.config.point}
    site.engine.keep(marks.enter(site.engine.periods.marks, mark, points, site.clock.now(), 1))
    assert site.engine.commit()

    def enter_here(**fields: Any) -> Any:
        words = {"user": "Wang Fang"} | fields
        made = enter_calibration(site.engine.store, site.loaded, words, site.clock.now(), "ntp")
        site.engine.keep(*made, urgent=True)
        assert site.engine.commit()
        return made

    begun = enter_here(do="begin", device="dust", parameter="pm10", procedure="k-factor", standards=[])
    assert len(begun) == 1  # nothing is marked C: what it rests on are the values themselves
    rows = [[(start + timedelta(hours=h)).isoformat(), 0.8 * (50.0 + 2 * h)] for h in range(13)]
    (paired,) = enter_here(do="pairs", name="K1", rows=rows)
    hours = [datetime.fromisoformat(one[0]).hour for one in paired.body["pairs"]]
    assert hours == [0, 1, 2, 3, 4, 6, 8, 9, 10, 11, 12]
    done = enter_here(do="done", name="K1")[0].body
    assert (done["coefficients"], done["factor"]) == (pytest.approx([0.8, 0.0]), pytest.approx(0.8))
    assert calibration_book(site.engine.store).named("K1").state == "done"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["2026-03-01T00:30:00+08:00", 1.0]], "is not the beginning of an hour"),
        ([["2026-03-01T00:00:00", 1.0]], "needs its offset"),
        ([["2026-03-01T00:00:00+00:00", 1.0]] * 2, "is there twice"),
        ([["2026-03-01T00:00:00+00:00", 1.0]], "0 hours have both a reference and a mean of dust"),
        ([["yesterday", 1.0]], "not an entry of calibrations"),
        ([], "0 hours have both"),
    ],
)
def test_a_reference_series_that_is_none_is_refused(config: Path, rows: list[Any], said: str) -> None:
    enter(config, NOON, **TWO | {"procedure": "k-factor", "standards": []})
    with pytest.raises(WrongArgument, match=said):
        enter(config, NOON, do="pairs", name="K1", rows=rows)


def test_a_file_of_a_reference_is_read_in_the_stations_time(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "ref.csv"
    file.write_text("\ufefftime,pm10\n2026-03-01T08:00,41.5\n\n2026-03-01 09:00:00+08:00,42\n", encoding="utf-8")
    assert read_series(file, load(config)) == [
        ["2026-03-01T08:00:00+08:00", 41.5], ["2026-03-01T09:00:00+08:00", 42.0],
    ]  # fmt: skip
    for text, fault in (("time,pm10\n2026-03-01T08:00,high\n", ":2: is not a time"), ("a,b\n", "has no hour in it")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(WrongArgument, match=fault):
            read_series(file, load(config))
    with pytest.raises(WrongArgument, match="cannot be read"):
        read_series(tmp_path / "none.csv", load(config))


def test_the_certificate_says_the_surroundings_and_when_the_next_one_is_due(command: Here, tmp_path: Path) -> None:
    """Digest B5, record: environment and next due."""
    config = configure(tmp_path, ('point = "site"\n', 'point = "site"\ncalibrate_days = { pm25 = 30 }\n'))
    at = datetime(2026, 3, 1, 4, tzinfo=UTC)
    whole(config, at, environment="23 °C, 55 %RH")
    text = said(command, config, "certificate", "K1", "--lang", "zh").out
    assert "环境条件" in text
    assert "23 °C, 55 %RH" in text
    assert "下次到期" in text
    assert "2026-03-31" in text
    assert "surroundings: 23 °C, 55 %RH" in said(command, config, "show", "K1").out
