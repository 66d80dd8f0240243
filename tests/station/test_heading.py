"""The head of the seal chain goes where it can be kept: to platforms once a day, and onto every page that is signed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest

import uplink.http
from station import commissioning, i18n
from station.config import load
from station.model import Kind, Lane, Record
from station.report import gather, span_of
from station.report_page import page
from station.seal import blocks_of, heads, short, verify
from station.seal_line import seal_line
from station.sealing import seal_due, shown
from station.store import Store
from tests.station.commands import Here, configure
from tests.station.conftest import CONFIG, START, Rig
from tests.station.test_cli_calibrated import NOON, whole
from tests.station.test_http_station import HEAD, UPLINK
from tests.station.test_three_platforms import Three
from uplink.http.emulator import Receiver

TAKES = CONFIG.replace("realtime_seconds = 30", 'realtime_seconds = 30\nkinds = ["realtime", "seal_head"]')


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


@pytest.fixture
def takes(tmp_path: Path) -> Rig:
    """A station whose platform takes heads and answers everything."""
    rig = Rig(tmp_path, TAKES)
    rig.engine.outboxes["district"].connected()
    return rig


def told(rig: Rig) -> list[Record]:
    return rig.engine.store.records("seal_head", START - timedelta(days=1), START + timedelta(days=99))


def answer_all(rig: Rig) -> None:
    outbox = rig.engine.outboxes["district"]
    for lane in Lane:
        while found := outbox.next(lane, 100):
            outbox.answered([one.id for one in found])


def run(rig: Rig, seconds: float) -> None:
    for _ in range(round(seconds / 60)):
        rig.run(60, 5)
        answer_all(rig)


def test_a_head_is_told_once_a_day_and_is_one_of_the_chain(takes: Rig) -> None:
    """The first with the first block; across a restart not again on the same day."""
    run(takes, 1200)
    (first,) = told(takes)
    known = {block.epoch: head.hex() for block, head in heads(blocks_of(takes.engine.store.query))}
    assert first.body["head"] == known[first.body["block"]]
    assert (first.point, first.body["platform"], first.body["month"]) == ("site", "district", "")
    assert verify(takes.engine.store.query, head=bytes.fromhex(first.body["head"])).anchored == first.body["block"]
    takes.restart()
    run(takes, 1200)
    assert len(told(takes)) == 1
    takes.clock.advance(86400)
    run(takes, 700)
    assert len(told(takes)) == 2
    assert [text for text in takes.texts() if text.startswith("SEAL_HEAD site")] == ["SEAL_HEAD site"] * 2


def test_the_close_of_a_month_tells_one_more(takes: Rig) -> None:
    """As soon as its record is sealed."""
    run(takes, 600)
    takes.engine.keep(Record("month", takes.clock.now(), {"month": "2026-02"}), urgent=True)
    run(takes, 600)
    assert [one.body["month"] for one in told(takes)] == ["", "2026-02"]
    (number,) = takes.engine.store.query("SELECT id FROM record WHERE kind = 'month'")[0]
    block = next(one for one in blocks_of(takes.engine.store.query) if one.epoch == told(takes)[1].body["block"])
    assert block.upto["record"] >= number


def test_what_a_platform_acknowledged_is_an_event(takes: Rig) -> None:
    takes.run(700, 5)
    assert "head_acknowledged" not in takes.events()
    answer_all(takes)
    takes.run(70, 5)
    rows = takes.engine.store.query("SELECT arguments FROM event WHERE code = 'head_acknowledged'")
    (head,) = told(takes)
    said = {"platform": "district", "block": head.body["block"], "head": head.body["head"]}
    assert [json.loads(text) for (text,) in rows] == [said]


def test_what_only_tcp_has_confirmed_is_not_acknowledged(takes: Rig) -> None:
    takes.run(700, 5)
    outbox = takes.engine.outboxes["district"]
    while found := outbox.next(Lane.LIVE, 100):
        outbox.answered([one.id for one in found], confirmed=False)
    takes.run(70, 5)
    assert "head_acknowledged" not in takes.events()


def test_a_platform_that_does_not_ask_for_heads_gets_none(rig: Rig) -> None:
    rig.run(700, 5)
    assert rig.engine.store.query("SELECT 1 FROM record WHERE kind = 'seal_head'") == []


def test_a_head_never_shares_its_second_with_another_log_text(takes: Rig) -> None:
    """A platform of HJ 212 knows both as 3020 of a second: one would replace the other."""
    now = takes.clock.now()
    takes.engine.keep(Record("site_info", now, {"item": "logger_log", "value": "x"}, "site"))
    takes.engine.keep(Record("seal_head", now, {"platform": "district", "block": 1, "head": "00"}, "site"))
    takes.run(65)
    rows = takes.engine.store.query("SELECT at_ms / 1000 FROM record WHERE kind IN ('site_info', 'seal_head')")
    assert len(set(rows)) == 2


def test_over_https_it_is_an_event_that_the_schema_describes(tmp_path: Path) -> None:
    schema = json.loads((Path(uplink.http.__file__).parent / "schema.json").read_text(encoding="utf-8"))
    with Receiver() as receiver:
        text = (HEAD + UPLINK.format(url=receiver.url)).replace('"alarm"]', '"seal_head"]')
        station = Three(tmp_path, text)
        try:
            for _ in range(14):
                station.run(60, 5)
                assert station.until(lambda: not any(one.depth().owed for one in station.engine.outboxes.values()))
            assert station.until(lambda: "head_acknowledged" in station.events())
            found = shown(station.engine.store)
        finally:
            station.engine.shut_down()
        bodies = [json.loads(request.body) for request in receiver.requests]
        (record,) = [one for body in bodies for one in body["records"] if one["kind"] == "seal_head"]
        assert found is not None
        assert record["event"]["block"] <= found["epoch"]
        validator = jsonschema.Draft202012Validator(schema)
        assert all(validator.is_valid(body) for body in bodies)
        (with_head,) = [body for body in bodies if record in body["records"]]
        record["event"]["head"] = "short"
        assert not validator.is_valid(with_head)


# -- on paper


def sealed(config: Path) -> str:
    """One more block in the database of *config*; its head as people write it down."""
    with closing(Store.open(load(config).database)) as store:
        with store.transaction():
            seal_due(store, datetime(2026, 3, 1, 8, tzinfo=UTC))
        found = shown(store)
    assert found is not None
    return short(bytes.fromhex(found["head"]))


@pytest.mark.parametrize(
    ("lang", "begins"), [("en", "Seal head when printed: "), ("zh", "打印时的封存链头:")]
)  # fmt: skip
def test_every_page_that_is_signed_has_the_head(here: Here, tmp_path: Path, lang: str, begins: str) -> None:
    """Certificate, comparison, handover sheet: the head that station verify takes."""
    config = configure(tmp_path / "s")
    words = ("--config", config, "--lang", lang)
    whole(config, NOON)
    here("compare", "dust", "--display", "pm25=35", "--platform", "pm25=35", "--done", "--user", "Wang", *words)
    skips = [word for step in commissioning.STEPS for word in ("--skip", f"{step}=bench")]
    assert here("commission", "--user", "Wang", "--note", "on the bench", *skips, *words).code in (0, 1)
    head = sealed(config)
    pages = {
        "certificate": here("calibrate", "certificate", "K1", *words).out,
        "comparison": here("comparisons", "sheet", "T1", *words).out,
        "handover": here("commission", "--sheet", "-", *words).out,
    }
    for name, text in pages.items():
        assert f"{begins}{head}" in text, (name, text[-800:])
    assert here("verify", "--head", head, "--config", config).code == 0


@pytest.mark.parametrize(
    ("lang", "begins"), [("en", "Seal head when printed: "), ("zh", "打印时的封存链头:")]
)  # fmt: skip
def test_the_report_of_a_month_has_the_head(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lang: str, begins: str
) -> None:
    monkeypatch.setenv("LANG", {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}[lang])
    i18n.use(lang)
    try:
        rig.run(700, 5)
        now = rig.clock.now()
        zone = timezone(timedelta(hours=8))
        found = gather(rig.engine.store, rig.loaded, span_of("month", "2026-03", now, zone))
        newest = shown(rig.engine.store)
        assert newest is not None
        assert f"{begins}{short(bytes.fromhex(newest['head']))}" in page(found)
    finally:
        i18n.use("en")


def test_before_the_first_block_and_without_a_database_there_is_no_line(rig: Rig, tmp_path: Path) -> None:
    assert seal_line(rig.loaded) == ""
    assert seal_line(load(configure(tmp_path / "other"))) == ""
    assert Kind.SEAL_HEAD.name.lower() == "seal_head"
