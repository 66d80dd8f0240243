"""Downloads: whole tables in bounded portions, safe names, secrets left behind, and each of them on record."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from station import export, i18n, report_xlsx
from station.model import StoreError
from station.page import downloads
from station.page.accounts import Accounts
from station.page.app import create_app
from station.page.downloads import AT_ONCE, windows
from station.page.packed import masked
from tests.page.filled import CONFIG, NOW, FixedSource, station
from tests.page.house import HOST, PASSWORD, House, Visitor

SECRETS = """
[[uplink]]
name = "district"
standard = "2025"
host = "127.0.0.1"
port = 9
password_file = "password"
[[uplink.point]]
point = "gate"
mn = "M1"
"""


class Rig:
    """The page of a station with a record, and a person who is signed in."""

    def __init__(self, folder: Path) -> None:
        (folder / "password").write_text("123456")
        (folder / "password").chmod(0o600)
        self.source = FixedSource(station(folder, CONFIG + SECRETS))
        self.accounts = Accounts(folder / "page", self.source.settings)
        self.app: Flask = create_app(self.source.loaded, self.source, self.accounts)
        self.person = Visitor(self.app.test_client())
        self.person.get("/code")
        done = self.person.post("/code", code=self.accounts.issue_code(), name="Wang Fang", password=PASSWORD)
        assert done.status_code == 303

    def get(self, path: str, **headers: str) -> TestResponse:
        self.source.told.clear()
        return self.person.client.get(path, headers={"Host": "localhost:8080"} | headers)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("station"))


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    i18n.use("en")
    yield
    i18n.use_here(None)


def rows_of(answer: TestResponse) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))


def exported(rig: Rig, kind: str, first: str, last: str, **chosen: str) -> list[dict[str, Any]]:
    """What `station export` has of the span."""
    start, end = (NOW.fromisoformat(f"{one}T00:00+08:00") for one in (first, last))
    found = export.rows(rig.source.loaded.database, kind, rig.source.zone, start=start, end=end, **chosen)  # type: ignore[arg-type]
    return list(found)


@pytest.mark.parametrize("kind", ["readings", "minute", "hour", "day"])
def test_a_table_is_that_of_station_export(rig: Rig, kind: str) -> None:
    found = rows_of(rig.get(f"/downloads/table?kind={kind}&from=2026-02-27&to=2026-03-01"))
    expected = exported(rig, kind, "2026-02-27", "2026-03-02")

    assert len(found) == len(expected) > 10
    text = io.StringIO()
    export.write_csv(iter(expected), text, export.columns(kind), rig.source.zone)
    assert found == list(csv.DictReader(io.StringIO(text.getvalue().removeprefix(export.BOM))))


def test_json_is_one_list(rig: Rig) -> None:
    answer = rig.get("/downloads/table?kind=hour&from=2026-02-01&to=2026-03-01&s=gate:pm25&format=json")

    assert json.loads(answer.text) == exported(rig, "hour", "2026-02-01", "2026-03-02", point="gate", parameter="pm25")
    assert answer.mimetype == "application/json"
    empty = rig.get("/downloads/table?kind=hour&from=2020-01-01&to=2020-01-02&format=json")
    assert json.loads(empty.text) == []


def test_a_span_can_have_times_and_all_of_a_point(rig: Rig) -> None:
    found = rows_of(rig.get("/downloads/table?kind=minute&from=2026-03-01 08:00&to=2026-03-01 08:10&s=roof:"))

    assert len(found) == 20
    assert {row["point"] for row in found} == {"roof"}


def test_what_is_downloaded_is_on_record_with_the_person(rig: Rig) -> None:
    answer = rig.get("/downloads/table?kind=hour&from=2026-02-28&to=2026-02-28&s=gate:pm25")

    name = "Lakeside_park-hour-gate-pm25-20260228-0000-20260301-0000.csv"
    assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
    assert rig.source.told == [
        {"do": "downloaded", "user": "Wang Fang", "file": name, "kind": "hour", "point": "gate", "parameter": "pm25",
         "first": "2026-02-28T00:00+08:00", "last": "2026-03-01T00:00+08:00"}
    ]  # fmt: skip


def test_a_living_station_keeps_the_event(house: House) -> None:
    person = house.signed_in("Li Na")

    assert person.get("/downloads/table?kind=readings&from=2026-03-01&to=2026-03-01").status_code == 200

    rows = house.bench.engine.store.query("SELECT arguments FROM event WHERE code = 'page' ORDER BY id DESC LIMIT 1")
    said = json.loads(rows[0][0])
    assert (said["do"], said["user"], said["kind"]) == ("downloaded", "Li Na", "readings")


def test_headings_are_in_the_language_of_who_asks(rig: Rig) -> None:
    answer = rig.get("/downloads/table?kind=hour&from=2026-02-28&to=2026-02-28", **{"Accept-Language": "zh-CN"})

    assert next(iter(rows_of(answer)[0])).startswith("起始时间")
    assert i18n.language() == "en"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("kind=week&from=2026-03-01&to=2026-03-02", "A table has readings or minute, hour or day averages"),
        ("format=xls&from=2026-03-01&to=2026-03-02", "A table has readings or minute, hour or day averages"),
        ("from=2026-03-02&to=2026-03-01", "The first time has to lie before the last one."),
        ("from=2026-03-02", " is not a time such as"),
        ("from=x&to=2026-03-02", "x is not a time such as"),
        ("from=2026-03-01&to=2026-03-02&s=cellar:pm25", "There is nothing measured as cellar:pm25."),
        ("from=2026-03-01&to=2026-03-02&s=gate:../x", "There is nothing measured as gate:../x."),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_a_sentence(rig: Rig, words: str, said: str) -> None:
    answer = rig.get(f"/downloads/table?{words}")

    assert answer.status_code == 400
    assert said in answer.text
    assert rig.source.told == []


def test_a_table_comes_in_portions_and_no_read_stays_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = []
    rows = export.rows_through

    def watched(*arguments: Any, **more: Any) -> Any:
        spans.append(more["end"] - more["start"])
        return rows(*arguments, **more)

    monkeypatch.setattr(export, "rows_through", watched)
    wanted = {"kind": "readings", "form": "csv", "point": "", "parameter": "",
              "read": (NOW - timedelta(hours=3), NOW)}  # fmt: skip
    sizes = [len(part) for part in downloads.table_parts(rig.source, wanted, "en")]

    assert len(spans) == 18
    assert max(spans) == timedelta(minutes=10)
    assert max(sizes) < 40_000 < sum(sizes)


def test_a_span_of_centuries_reads_no_more_than_there_is(rig: Rig) -> None:
    assert len(list(windows("readings", NOW - timedelta(days=1), NOW))) == 144
    assert len(rows_of(rig.get("/downloads/table?kind=day&from=1900-01-01&to=2200-01-01&s=roof:pm10"))) > 300


@pytest.mark.parametrize(
    "words", ["from=2026-01-01&to=9999-12-31", "from=0001-01-01&to=2026-01-01", "from=1&to=253402300799999"]
)
def test_the_end_of_time_is_refused(rig: Rig, words: str) -> None:
    assert rig.get(f"/downloads/table?{words}").status_code == 400
    assert rig.source.told == []


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}])
def test_who_asks_for_the_head_alone_leaves_no_download_under_way(rig: Rig, headers: dict[str, str]) -> None:
    for _ in range(AT_ONCE + 1):
        answer = rig.person.client.head(
            "/downloads/table?kind=day&from=2026-01-01&to=2026-02-01", headers=HOST | headers
        )
        assert (answer.status_code, answer.data) == (200, b"")
        answer.close()


def test_no_more_than_some_are_under_way_and_one_given_up_makes_room(rig: Rig) -> None:
    path = "/downloads/table?kind=minute&from=2026-02-27&to=2026-03-01"
    cookie = {"headers": {"Host": "localhost:8080"}, "buffered": False}
    under_way = [rig.person.client.get(path, **cookie) for _ in range(AT_ONCE)]  # type: ignore[arg-type]

    refused = rig.get(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert "Two downloads are under way already." in refused.text
    for one in under_way:
        one.close()
    assert rig.get(path).status_code == 200


def test_a_table_that_breaks_off_never_looks_whole(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, count = export.rows_through, [0]

    def failing(*arguments: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise StoreError("the disk is gone")
        return rows(*arguments, **more)

    monkeypatch.setattr(export, "rows_through", failing)
    answer = rig.person.client.get(
        "/downloads/table?kind=minute&from=2026-02-28&to=2026-03-01", headers={"Host": "localhost:8080"}, buffered=False
    )
    with pytest.raises(StoreError, match="the disk is gone"):
        b"".join(answer.response)
    answer.close()


# -- sheets


def test_a_report_is_looked_at_in_a_sandbox_or_kept(rig: Rig) -> None:
    seen = rig.get("/downloads/report?report=day&day=2026-02-28&look=1")
    assert seen.status_code == 200
    assert seen.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert rig.source.told == []
    assert "<img src=x" not in seen.text

    kept = rig.get("/downloads/report?report=month&month=2026-02&format=csv")
    name = "Lakeside_park-report-2026-02.csv"
    assert kept.headers["Content-Disposition"] == f"attachment; filename={name}"
    assert len(rows_of(kept)) > 50
    assert [(one["kind"], one["file"]) for one in rig.source.told] == [("report_month", name)]


@pytest.mark.parametrize(("speaks", "title"), [("en", "Daily values of 2026-02"), ("zh", "2026-02 日均值月报表")])
def test_a_report_is_a_workbook_in_the_language_of_the_page(rig: Rig, speaks: str, title: str) -> None:
    from openpyxl import load_workbook

    kept = rig.get("/downloads/report?report=month&month=2026-02&format=xlsx", **{"Accept-Language": speaks})
    book = load_workbook(io.BytesIO(kept.data))
    assert kept.headers["Content-Disposition"] == "attachment; filename=Lakeside_park-report-2026-02.xlsx"
    assert book.properties.title == title
    assert book.worksheets
    assert [one["kind"] for one in rig.source.told] == ["report_month"]


def test_a_station_without_the_library_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(found: Any) -> bytes:
        raise report_xlsx.NoWorkbooks("openpyxl is missing")

    monkeypatch.setattr(report_xlsx, "made_apart", missing)
    answer = rig.get("/downloads/report?report=month&month=2026-02&format=xlsx")
    assert answer.status_code == 400
    assert "take the CSV" in answer.text


XLSX = "/downloads/report?report=month&month=2026-02&format=xlsx"


@pytest.mark.parametrize(
    ("program", "seconds", "said"),
    [
        ("#!/bin/sh\nkill -9 $$\n", 60.0, "given up half made, as memory ran short"),
        ("#!/bin/sh\nexec sleep 600\n", 0.2, "not ready within 0.2 s"),
        ("#!/bin/sh\necho 'Bad: thing' >&2\nexit 1\n", 60.0, "could not be made (Bad: thing)"),
    ],
)
def test_a_workbook_that_is_not_made_says_so_and_makes_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    program: str, seconds: float, said: str,
) -> None:  # fmt: skip
    """A process that the kernel ends, hangs or fails ends alone."""
    (tmp_path / "python").write_text(program, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(tmp_path / "python"))
        patched.setattr(report_xlsx, "made_apart", partial(report_xlsx.made_apart, seconds=seconds))
        for _ in range(AT_ONCE + 1):
            answer = rig.get(XLSX)
            assert answer.status_code == 400
            assert "took too much memory or time; take the CSV" in answer.text
        assert "内存或时间" in rig.get(XLSX, **{"Accept-Language": "zh"}).text
    assert said in caplog.text
    assert rig.source.told == []
    assert rig.get(XLSX).status_code == 200


def test_one_report_is_made_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a large station would want more memory than the unit gives."""
    inner = list[TestResponse]()

    def meanwhile(found: Any) -> bytes:
        inner.append(rig.get(XLSX))
        return b"PK"

    monkeypatch.setattr(report_xlsx, "made_apart", meanwhile)
    assert rig.get(XLSX).data == b"PK"
    assert inner[0].status_code == 503
    assert inner[0].headers["Retry-After"] == "30"
    assert "A report is being made already" in inner[0].text


def test_who_makes_a_workbook_is_the_first_to_go_where_memory_runs_short() -> None:
    """The kernel ends what offers itself, and the page that asked goes on."""
    code = """
import sys
from station import report_xlsx
report_xlsx.workbook = lambda found: sys.exit(open("/proc/self/oom_score_adj").read().strip())
report_xlsx._apart("en")
"""
    done = subprocess.run([sys.executable, "-c", code], input=b"{}", capture_output=True, check=False)
    assert done.stderr.split() == [b"1000"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report=week", "A report is of a day or a month"),
        ("report=day&day=2026-02-31", "2026-02-31 is no day that has begun, such as 2026-03-01."),
        ("report=month&month=2027-01", "2027-01 is no month that has begun, such as 2026-03."),
        ("report=day&day=2026-02-28&point=cellar", "There is nothing measured as cellar."),
        ("report=day&day=2026-02-28&format=exe", "A report is of a day or a month"),
    ],
)
def test_a_report_that_cannot_be_is_refused(rig: Rig, words: str, said: str) -> None:
    answer = rig.get(f"/downloads/report?{words}")

    assert answer.status_code == 400
    assert said in answer.text


@pytest.mark.parametrize("name", ["K9", "..", "%2e%2e%2fstation.toml", "..%2f..%2fetc%2fpasswd", "x%00y"])
def test_a_certificate_that_there_is_not_is_no_file(rig: Rig, name: str) -> None:
    assert rig.get(f"/downloads/certificate/{name}").status_code == 404
    assert rig.source.told == []


# -- the configuration


def test_the_configuration_comes_without_its_secrets(rig: Rig) -> None:
    folder = rig.source.loaded.folder
    (folder / "secrets").mkdir()
    (folder / "secrets" / "token.toml").write_text('token = "deep"')
    (folder / "profiles").mkdir()
    (folder / "profiles" / "own.toml").write_text('title = "mine"\nAPI_Key = "deep"\n')
    (folder / "profiles" / "passwd.toml").symlink_to("/etc/passwd")
    (folder / "profiles" / "notes.txt").write_text("deep")
    (folder / "limits.toml").write_text('# token = "deep"\n')

    answer = rig.get("/downloads/configuration")

    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["README.txt", "station.toml", "limits.toml", "profiles/own.toml"]
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert 'password_file = "password"' in texts["station.toml"]
    assert "123456" not in "".join(texts.values())
    assert "deep" not in "".join(texts.values())
    assert texts["profiles/own.toml"] == 'title = "mine"\nAPI_Key = "***"\n'
    name = "Lakeside_park-configuration-20260301-1000.zip"
    assert rig.source.told == [{"do": "downloaded", "user": "Wang Fang", "file": name, "kind": "configuration"}]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('password = "a\\"b"\nx = 1', 'password = "***"\nx = 1'),
        ("token='a'", 'token="***"'),
        ('secret = """\na\nb"""\nc = "d"', 'secret = "***"\nc = "d"'),
        ("app_secret = '''a\nb'''", 'app_secret = "***"'),
        ('headers = { Authorization = "Bearer a", Accept = "b" }', 'headers = { Authorization = "***", Accept = "b" }'),
        ('"X-Api-Key" = "a"', '"X-Api-Key" = "***"'),
        ('key = "a"\nkey_file = "b"', 'key = "***"\nkey_file = "b"'),
        ('keyboard = "a"\nmonkey = "b"', 'keyboard = "a"\nmonkey = "b"'),
        ('proxy = "http://me:word@10.0.0.1:3128"', 'proxy = "http://***@10.0.0.1:3128"'),
        ('name = "the password is word"', 'name = "the password is word"'),
    ],
)
def test_what_sounds_secret_is_masked_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown


# -- who may


def test_nobody_takes_anything_away_without_a_name(rig: Rig) -> None:
    stranger = Visitor(rig.app.test_client())
    for path in ("", "/table?from=2026-03-01&to=2026-03-02", "/report", "/certificate/K1", "/configuration"):
        assert stranger.get(f"/downloads{path}").status_code == 302
        assert stranger.get(f"/downloads{path}", Accept="application/json").status_code == 401


def test_the_view_offers_what_there_is(rig: Rig) -> None:
    page = rig.get("/downloads").text

    assert '<option value="gate:noise_leq">' in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "No calibration has been completed yet." in page
    assert 'value="2026-02-28"' in page
