"""Visits and parts: entries, what is wrong with them, what becomes due by itself, and the commands as typed."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from station import fieldwork, parts, visits
from station.clock import EPOCH
from station.control import ControlServer
from station.model import Record, WrongArgument, replace
from station.resumption import FOREVER
from station.verbs import verbs
from tests.station.commands import Here, answer, configure, station
from tests.station.conftest import START, Rig
from tests.station.test_maintenance import Asked, events

WHO = {"user": "Wang Fang"}


@pytest.fixture
def entered(rig: Rig) -> Asked:
    return Asked(rig)


def test_a_visit_is_kept_with_its_notes_photos_and_parts(rig: Rig, entered: Asked) -> None:
    said = {"purpose": "monthly check", "company": "Clear Sky Ltd", "contract": "2026-17"}
    assert entered.of("part", "add", part="pump tube", device="dust", days=90, **WHO)["name"] == "P1"
    assert entered.of("visit", "start", **WHO, **said)["name"] == "V1"
    rig.run(60)
    picture = {"name": "inlet.jpg", "bytes": 4, "sha256": hashlib.sha256(b"jpeg").hexdigest()}
    entered.of("visit", "note", text="inlet cleaned", photos=[picture], parts=["P1"], used=["2 wipes"])
    entered.of("visit", "end", result="in order")
    (one,) = visits.Book(rig.engine.store.records("visit", EPOCH, FOREVER))
    assert (one.person, one.company, one.contract, one.result) == ("Wang Fang", "Clear Sky Ltd", "2026-17", "in order")
    (note,) = one.notes
    assert (note["text"], note["photos"], note["parts"], note["used"]) == (
        "inlet cleaned", [picture], ["P1"], ["2 wipes"],
    )  # fmt: skip
    (part,) = parts.Book(rig.engine.store.records("part", EPOCH, FOREVER))
    assert (part.count, part.due) == (1, date(2026, 5, 30))
    codes = [code for code in rig.events() if code.startswith(("visit", "part"))]
    assert codes == ["part_add", "visit_start", "visit_note", "visit_end"]
    assert events(rig, "visit_note")[0]["parts"] == ["P1"]


@pytest.mark.parametrize(
    ("what", "do", "fields", "said"),
    [
        ("visit", "start", {"user": ""}, "a visit needs the name of who came (--user)"),
        ("visit", "start", {"purpose": ""}, "a visit needs its purpose (--purpose)"),
        ("visit", "start", {"point": "sit"}, 'there is no point "sit"; did you mean site?'),
        ("visit", "note", {}, "no visit is under way; begin one: station visit start"),
        ("visit", "end", {}, "no visit is under way"),
        ("visit", "party", {}, '"visit" has no entry "party"; known: start, note, end'),
        ("part", "add", {"part": "", "days": 5}, "say what part it is (--part)"),
        ("part", "add", {"part": "tube", "days": 0}, "a part is good for 1 to 1800 days (--interval)"),
        ("part", "add", {"part": "tube", "days": 5, "user": ""}, "a part needs the name of who enters it"),
        ("part", "add", {"part": "tube", "days": 5, "device": "x"}, 'there is no device "x"; known: dust'),
        ("part", "add", {"part": "tube", "days": 5, "replaced": "2026-13-01"}, '"2026-13-01" is not a day such as'),
        ("part", "add", {"part": "tube", "days": 5, "replaced": "2027-01-01"}, "2027-01-01 is still to come"),
        ("part", "replace", {"name": "P9"}, 'there is no part "P9"; see station parts list'),
    ],
)
def test_a_wrong_entry_is_one_sentence(
    rig: Rig, entered: Asked, what: str, do: str, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(WrongArgument) as caught:
        entered.of(what, do, **{**WHO, "purpose": "check", **fields})
    assert said in str(caught.value)
    rig.engine.commit()
    assert rig.engine.store.records(what, EPOCH, FOREVER) == []


def test_two_visits_at_once_are_not_and_the_sentence_says_whose_is_open(rig: Rig, entered: Asked) -> None:
    entered.of("visit", "start", **WHO, purpose="check")
    with pytest.raises(WrongArgument, match=r"V1 of Wang Fang is under way since .* station visit end"):
        entered.of("visit", "start", user="Li Wei", purpose="repair")
    with pytest.raises(WrongArgument, match="a note needs a text, a photo or a part that was used"):
        entered.of("visit", "note")
    with pytest.raises(WrongArgument, match="a photo is its name, its size and the SHA-256"):
        entered.of("visit", "note", photos=[{"name": "x", "sha256": "0"}])
    with pytest.raises(WrongArgument, match='there is no part "P7"'):
        entered.of("visit", "note", text="tube", parts=["P7"])
    rig.engine.commit()
    assert len(rig.engine.store.records("visit", EPOCH, FOREVER)) == 1  # the note that named no part is not half kept


def test_a_part_that_is_overdue_is_said_once_over_restarts_and_again_when_it_is_overdue_again(
    rig: Rig, entered: Asked
) -> None:
    entered.of("part", "add", part="filter", device="dust", days=30, replaced="2026-01-30", **WHO)
    rig.run(62)
    assert events(rig, "part_overdue") == []  # 2026-03-01 is its last day
    rig.clock.advance(86400)
    rig.run(62)
    rig.restart()
    rig.run(62)
    (told,) = events(rig, "part_overdue")
    assert (told["name"], told["device"], told["due"]) == ("P1", "dust", "2026-03-01")
    assert [one["name"] for one in rig.engine.field_work().live()["parts_overdue"]] == ["P1"]
    entered.of("part", "replace", name="P1", **WHO)
    assert rig.engine.field_work().live()["parts_overdue"] == []
    with pytest.raises(WrongArgument, match="P1 was replaced on 2026-03-02, which is behind 2026-02-01"):
        entered.of("part", "replace", name="P1", replaced="2026-02-01", **WHO)
    with pytest.raises(WrongArgument, match="P1 is that part already; station parts replace P1"):
        entered.of("part", "add", part="Filter", device="dust", days=30, **WHO)
    entered.of("part", "drop", name="P1", reason="instrument exchanged", **WHO)
    with pytest.raises(WrongArgument, match="P1 is used no more: instrument exchanged"):
        entered.of("part", "replace", name="P1", **WHO)


def test_a_part_outlives_the_record_that_added_it(rig: Rig, entered: Asked) -> None:
    """Five years on, what was kept of its beginning is gone; each later record says what it is about."""
    entered.of("part", "add", part="filter", days=400, **WHO)
    rig.run(5)
    entered.of("part", "replace", name="P1", **WHO)
    later = [r for r in rig.engine.store.records("part", EPOCH, FOREVER) if r.body["do"] != "add"]
    (one,) = parts.Book(later)
    assert (one.name, one.part, one.days) == ("P1", "filter", 400)


def test_a_long_log_text_reaches_a_platform_in_pieces() -> None:
    loaded = type("L", (), {})
    record = Record("visit", START, {"do": "note", "name": "V1", "text": "清" * 200, "used": ["纸" * 190] * 2}, "site")
    loaded.config = type("C", (), {"point": [type("P", (), {"code": "site"})], "bus": (), "input": ()})  # type: ignore[attr-defined]
    made = fieldwork.log_records(record, loaded, START)  # type: ignore[arg-type]
    assert len(made) >= 2
    assert "".join(one.body["value"] for one in made) == fieldwork.sentence(record)
    assert max(len(one.body["value"].encode()) for one in made) <= 800
    assert replace(made[0], body={}).point == "site"


# -- as typed


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_without_a_station_the_commands_write_the_database_themselves(here: Here, tmp_path: Path) -> None:
    config = ("--config", configure(tmp_path))
    photo = tmp_path / "inlet.jpg"
    missing = here("visit", "note", "--photo", photo, *config)
    assert (missing.code, missing.err) == (
        2, f"{photo}: the photo cannot be read (No such file or directory); nothing was entered\n",
    )  # fmt: skip
    photo.write_bytes(b"")
    assert "the photo is empty; nothing was entered" in here("visit", "note", "--photo", photo, *config).err
    photo.write_bytes(b"jpeg")
    bare = here("visit", "start", "--purpose", "check", *config)
    assert (bare.code, bare.err) == (2, "a visit needs the name of who came (--user)\n")
    added = here("parts", "add", "--part", "pump tube", "--device", "dust", "--interval", "30", "--replaced",
                 "2026-01-01", "--user", "Wang", *config)  # fmt: skip
    assert (added.code, added.out) == (0, "P1: watched\n")
    assert here("visit", "start", "--purpose", "check", "--user", "王芳", *config).out == "V1: visit begun\n"
    assert here("visit", "note", "cleaned", "--photo", photo, "--used", "wipes", *config).out == "V1: noted\n"
    due = here("parts", "due", *config)
    assert due.code == 1
    assert "overdue" in due.out
    shown = here("status", *config)
    assert "Overdue: pump tube of dust (P1), due 2026-01-31: station parts replace P1" in " ".join(shown.out.split())
    assert "Visit V1 of 王芳 since" in shown.out
    assert here("visit", "note", "changed", "--part", "P1", *config).code == 0
    assert here("parts", "due", *config).code == 0
    assert here("visit", "end", "--result", "in order", *config).out == "V1: visit over\n"
    listed = here("visit", "list", *config).out
    assert hashlib.sha256(b"jpeg").hexdigest() in listed
    assert "purpose: check" in listed
    in_chinese = here("visit", "list", *config, "--lang", "zh").out
    assert "事由:check" in in_chinese
    rows = json.loads(here("parts", "list", "--json", *config).out)["parts"]
    assert [(row["name"], row["overdue"]) for row in rows] == [("P1", False)]


def test_maintenance_without_a_station_waits_for_the_next_start(here: Here, tmp_path: Path) -> None:
    config = ("--config", configure(tmp_path))
    who = ("--user", "Wang Fang", "--reason", "pump")
    calibrated = ("--mark", "C", "--user", "Li", "--reason", "calibration K1: zero")
    assert here("marks", "set", "site", "--parameter", "pm10", *calibrated, *config).code == 0
    on = here("maintenance", "on", "--device", "dust", "--for", "2h", *who, *config)
    assert on.code == 0, on.err
    assert "calibration K1: zero is under way: its values carry M, which goes before C, as long as this lasts" in on.out
    assert on.out.startswith("W1: dust under maintenance, values are marked M until 20")
    assert on.out.endswith("no station runs; the next start works it into minutes, hours and days\n")
    again = here("maintenance", "on", "--point", "site", "--for", "1000h", *who, *config)
    assert (again.code, "is more than 72 hours, and would hide what is measured" in again.err) == (2, True)
    backwards = here("maintenance", "on", "--to", "2020-01-01", *who, *config)
    assert "is not behind the beginning" in backwards.err
    assert here("maintenance", "on", *who[2:], *config).err == "maintenance needs the name of who does it (--user)\n"
    listed = here("maintenance", "list", *config).out
    assert "under way" in listed
    assert "Under maintenance: W1 dust, until" in here("status", *config).out
    assert "维护中:W1 dust" in here("status", *config, "--lang", "zh").out
    assert here("maintenance", "off", "--user", "Wang Fang", *config).out.splitlines()[0] == "W1: over"
    assert here("maintenance", "off", "--user", "Wang Fang", *config).err == "no maintenance is under way\n"
    assert here("maintenance", "sign", "W1", *who, *config).err == "W1 is signed by Wang Fang\n"


def test_a_running_station_is_asked(rig: Rig, tmp_path: Path) -> None:
    from threading import Event, Thread

    server, stop = ControlServer(rig.loaded.control_socket), Event()
    server.start(verbs(rig.engine))
    thread = Thread(target=lambda: [rig.engine.tick() for _ in iter(lambda: stop.wait(0.01), True)])
    thread.start()
    try:
        config = ("--config", rig.folder / "station.toml")
        on = station(
            "maintenance", "on", "--point", "site", "--user", "王芳", "--reason", "泵", *config, "--lang", "zh"
        )
        assert (on.code, on.out) == (0, "W1:“site”进入维护,数据标记 M,至 2026-03-01 12:00:30\n")
        assert answer(rig.loaded.control_socket)["field"]["maintenance"][0]["user"] == "王芳"
    finally:
        stop.set()
        thread.join()
        server.close()
    assert timedelta(hours=4) == rig.engine.field_work().spans.named("W1").last - START
