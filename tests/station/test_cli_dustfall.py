"""`station dustfall` as typed: with a station running and without, in both languages, up to the printed sheet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from station.config import load
from station.control import ControlRefused, ControlServer, ask
from station.dustfall import KIND
from station.fieldbook import BEGINNING, END
from station.model import StoreError
from station.store import Store, connect
from station.verbs import verbs
from tests.station.commands import Done, Here, configure, until
from tests.station.conftest import Rig

BLANK = ("blank", "B3", "--crucible", "28.5000,28.5001", "--residue", "28.5010,28.5011", "--at", "2026-03-01")
JAR = ("--jar", "J1", "--diameters", "15.0,15.0,15.0")
MASSES = ("--crucible", "32.1040,32.1041", "--residue", "32.2004,32.2005", "--balance", "AUY-7")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configure(tmp_path)


Dustfall = Callable[..., Done]


@pytest.fixture
def dustfall(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dustfall:
    """`station dustfall` with words, in this process."""
    station = Here(monkeypatch, capfd)

    def run(config: Path, *words: str, lang: str = "en", user: str = "Wang Fang") -> Done:
        writes = words[0] in ("start", "stop", "weigh", "blank", "void")
        who = ("--user", user) if writes and user else ()
        return station("dustfall", *words, *who, "--config", config, "--lang", lang)

    return run


def whole_month(dustfall: Dustfall, config: Path) -> None:
    point = load(config).config.point[0].code
    for words in (
        BLANK,
        ("start", point, *JAR, "--at", "2026-03-01T09:00"),
        ("stop", f"{point}/J1/2026-03-01", "--at", "2026-03-31T09:00"),
        ("weigh", f"{point}/J1/2026-03-01", *MASSES, "--blank", "B3", "--at", "2026-04-02"),
    ):
        done = dustfall(config, *words)
        assert (done.code, done.err) == (0, "")


def test_a_month_by_hand_without_a_station_running(dustfall: Dustfall, config: Path) -> None:
    """P3 of the digest again: net 0.0954 g over 30.0 d in a mouth of 15.0 cm is 5.4 t/(km²·30d)."""
    whole_month(dustfall, config)
    found = json.loads(dustfall(config, "month", "2026-03", "--json").out)
    (point,) = found["points"]
    assert (round(point["value"], 4), point["reported"], point["days"]) == (5.3985, "5.4", 30.0)
    assert (found["unit"], found["target"], found["below_target"], found["provisional"]) == (
        "t/(km²·30d)",
        4.5,
        False,
        False,
    )
    shown = dustfall(config, "month", "2026-03").out
    assert "Mean of the points: 5.4 t/(km²·30d), not below the target of 4.5" in shown
    chinese = dustfall(config, "month", "2026-03", lang="zh").out
    assert "各点位平均:5.4 t/(km²·30d),未低于目标值 4.5" in chinese


def test_the_list_shows_what_is_out_and_with_all_everything(dustfall: Dustfall, config: Path) -> None:
    whole_month(dustfall, config)
    point = load(config).config.point[0].code
    assert dustfall(config, "list").out == "no jar is out or waiting to be weighed\n"
    assert dustfall(config, "start", point, *JAR, "--at", "2026-04-01T09:00").out == f"{point}/J1/2026-04-01: set out\n"
    listed = json.loads(dustfall(config, "list", "--all", "--json").out)
    assert [(e["name"], e["state"]) for e in listed["exposures"]] == [
        (f"{point}/J1/2026-03-01", "weighed"),
        (f"{point}/J1/2026-04-01", "out"),
    ]
    assert round(listed["blanks"]["B3"]["residue_g"], 4) == 0.001
    assert "在外" in dustfall(config, "list", lang="zh").out


@pytest.fixture
def running(rig: Rig) -> Iterator[Rig]:
    """A station that answers on its socket and commits when it is asked to."""
    server, stop = ControlServer(rig.loaded.control_socket), Event()

    def main_thread() -> None:
        while not stop.wait(0.01):
            rig.engine.tick()

    thread = Thread(target=main_thread)
    thread.start()
    server.start(verbs(rig.engine))
    yield rig
    server.close()
    stop.set()
    thread.join()


def test_an_entry_goes_through_the_running_station_and_is_committed(dustfall: Dustfall, running: Rig) -> None:
    """The daemon's own check, an event with the person's name, and the record durable when the command ends."""
    config = running.folder / "station.toml"
    done = dustfall(config, "start", "site", *JAR, "--at", "2026-02-27T09:00", "--json", user="王芳")
    assert (done.code, json.loads(done.out)["name"]) == (0, "site/J1/2026-02-27")
    (record,) = running.engine.store.records(KIND, BEGINNING, END)
    assert (record.body["user"], record.point) == ("王芳", "site")
    told = "SELECT arguments FROM event WHERE code = 'dustfall'"
    (event,) = until(lambda: list(running.engine.store.query(told)))  # with the commit behind that of the entry
    assert json.loads(event[0]) == {"do": "start", "name": "site/J1/2026-02-27", "user": "王芳"}
    again = dustfall(config, "start", "site", *JAR, "--at", "2026-02-28T09:00", user="王芳")
    assert (again.code, again.err) == (
        2,
        "jar J1 is out as site/J1/2026-02-27; stop it first, or name another jar\n",
    )
    assert dustfall(config, "list").out.count("site/J1/2026-02-27") == 1


@pytest.mark.parametrize("fields", [{}, {"do": "burn"}, {"do": "start"}, {"do": "start", "point": "site", "jar": "J1",
    "diameters_cm": "wide", "user": "x"}, {"do": "stop", "name": 3, "user": None}])  # fmt: skip
def test_nonsense_on_the_socket_is_refused_and_keeps_nothing(running: Rig, fields: dict[str, object]) -> None:
    with pytest.raises(ControlRefused):
        ask(running.loaded.control_socket, "dustfall", fields=fields)
    assert running.engine.store.records(KIND, BEGINNING, END) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start", "rivr", *JAR), 'there is no point "rivr"'),
        (("start", "POINT", "--jar", "J1", "--diameters", "15;15;15"), "is not numbers with commas between them"),
        (("stop", "POINT/J1/2026-03-01"), 'there is no exposure "POINT/J1/2026-03-01"'),
        (("month", "March"), '"March" is not a month such as 2026-03'),
        (("certificate", "2020-01"), "2020-01: nothing was exposed"),
        (("void", "B9", "--reason", "spilt"), 'there is no exposure "B9"'),
    ],
)
def test_what_cannot_be_entered_is_one_sentence_and_ends_with_2(
    dustfall: Dustfall, config: Path, words: tuple[str, ...], said: str
) -> None:
    point = load(config).config.point[0].code
    done = dustfall(config, *(word.replace("POINT", point) for word in words))
    assert (done.code, len(done.said), done.out) == (2, 1, "")
    assert said.replace("POINT", point) in done.err


def test_the_sheet_prints_every_weighing_and_equal_letters_for_equal_entries(
    dustfall: Dustfall, config: Path, tmp_path: Path
) -> None:
    whole_month(dustfall, config)
    page = tmp_path / "march.html"
    done = dustfall(config, "certificate", "2026-03", "--output", str(page), lang="zh")
    assert (done.code, done.out) == (0, f"已写入:{page}\n")
    text = page.read_text(encoding="utf-8")
    for shown in ("2026-03 降尘监测记录单", "5.4", "32.1040 32.1041", "28.5010 28.5011", "AUY-7", "Wang Fang", "95.4"):
        assert shown in text
    assert "<script" not in text
    letters = [line for line in text.splitlines() if "SHA-256" in line]
    english = dustfall(config, "certificate", "2026-03").out
    assert letters == [line for line in english.splitlines() if "SHA-256" in line]
    point = load(config).config.point[0].code
    weighed_again = (*MASSES, "--blank", "B3", "--at", "2026-04-03", "--note", "<b>damp</b>")
    assert dustfall(config, "weigh", f"{point}/J1/2026-03-01", *weighed_again).code == 0
    again = dustfall(config, "certificate", "2026-03").out
    assert letters != [line for line in again.splitlines() if "SHA-256" in line]
    assert "&lt;b&gt;damp&lt;/b&gt;" in again


def test_entries_stay_what_they_were_when_one_is_withdrawn(dustfall: Dustfall, config: Path) -> None:
    whole_month(dustfall, config)
    point = load(config).config.point[0].code
    assert dustfall(config, "void", f"{point}/J1/2026-03-01", "--reason", "bird's nest").code == 0
    assert dustfall(config, "month", "2026-03").out == "2026-03: nothing was exposed\n"
    loaded = load(config)
    with connect(loaded.database, read_only=True) as connection:
        records = Store(connection, "x").records(KIND, BEGINNING, END)
    connection.close()
    assert [r.body["do"] for r in sorted(records, key=lambda r: r.id)] == ["blank", "start", "stop", "weigh", "void"]


def test_the_sheet_shows_what_was_withdrawn_and_what_was_weighed_before(dustfall: Dustfall, config: Path) -> None:
    """Struck through, with the figures and the reason: an auditor wants both."""
    whole_month(dustfall, config)
    point = load(config).config.point[0].code
    other = f"{point}/J4/2026-03-02"
    start = ("start", point, "--jar", "J4", "--diameters", "15,15,15", "--at", "2026-03-02")
    assert dustfall(config, *start).code == 0
    assert dustfall(config, "void", other, "--reason", "坩埚打翻").code == 0
    again = ("--crucible", "32.1040,32.1041", "--residue", "32.1904,32.1905", "--blank", "B3", "--at", "2026-04-03")
    assert dustfall(config, "weigh", f"{point}/J1/2026-03-01", *again, "--note", "damp").code == 0
    page = dustfall(config, "certificate", "2026-03", lang="zh").out
    struck = [line for line in page.split("<tr") if 'class="struck"' in line]
    assert [other in line for line in struck] == [True]
    for shown in ("坩埚打翻", "空坩埚 m0 32.1040 32.1041;连残渣 m1 32.2004 32.2005 g", "不再计入", "32.1904 32.1905"):
        assert shown in page


def test_a_month_that_cannot_be_judged_says_so(dustfall: Dustfall, config: Path) -> None:
    whole_month(dustfall, config)
    point = load(config).config.point[0].code
    heavier = ("--crucible", "28.5,28.5", "--residue", "28.65,28.65", "--note", "typed wrongly")
    assert dustfall(config, "blank", "B3", *heavier).code == 0
    shown = dustfall(config, "month", "2026-03", lang="zh").out
    assert f"不作判定:{point}/J1/2026-03-01 的净重低于空白" in shown
    assert "低于目标值" not in shown


def test_an_entry_that_the_disk_refuses_is_not_made_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused was not done: the disk may be free again a minute later."""
    monkeypatch.setattr(rig.engine, "committed", lambda patience=5.0: False)
    given = {"do": "start", "point": "site", "jar": "J1", "diameters_cm": [15, 15, 15], "user": "Li Wei"}
    with pytest.raises(StoreError, match="nothing was entered"):
        verbs(rig.engine)["dustfall"]({"fields": given})
    marked = {"do": "mark", "point": "site", "mark": "M", "user": "Li Wei", "reason": "filter"}
    with pytest.raises(StoreError, match="nothing was entered"):
        verbs(rig.engine)["marks"]({"fields": marked})
    rig.run(3)
    assert rig.engine.store.query("SELECT kind FROM record WHERE kind IN ('dustfall', 'mark')") == []
    assert rig.engine.store.query("SELECT code FROM event WHERE code IN ('dustfall', 'mark_by_hand')") == []
