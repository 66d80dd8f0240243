"""What the page reads: through a connection that cannot write, also of a station that stopped."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from station.config import load
from station.control import ControlRefused
from station.model import StoreError
from station.page import source as module
from station.page.source import Source
from station.status import stored
from station.store import Store, connect, refused
from tests.page.house import HOST, House, Visitor
from tests.station.commands import configure


@pytest.fixture
def left(tmp_path: Path) -> Source:
    """A station that has never run further than making its database."""
    source = Source(load(configure(tmp_path), secrets=False))
    Store.open(source.loaded.database).close()
    return source


def test_nothing_can_be_written(left: Source) -> None:
    with left.connection() as db, pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only|query_only"):
        db.execute("INSERT INTO boot(kernel) VALUES ('x')")


def test_without_a_log_and_without_a_folder_to_make_its_index_in_the_file_is_read_as_it_stands(
    left: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_a_closed_folder(path: Path, *, read_only: bool, immutable: bool = False) -> sqlite3.Connection:
        if not immutable:
            raise refused(path, sqlite3.OperationalError("unable to open database file"))
        return connect(path, read_only=read_only, immutable=True)

    monkeypatch.setattr(module, "connect", in_a_closed_folder)
    with left.store() as store:
        assert stored(store, left.now())["store"]["readings"] == 0
    log = left.loaded.database.with_name(f"{left.loaded.database.name}-wal")
    log.touch()
    with pytest.raises(StoreError, match="cannot be opened"), left.connection():
        pass


def test_before_the_first_start_the_page_says_what_to_do(tmp_path: Path) -> None:
    source = Source(load(configure(tmp_path), secrets=False))
    with pytest.raises(StoreError, match="is not there yet; start the station first"), source.connection():
        pass


def test_a_stopped_station_is_shown_as_it_was_left(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.past()
    house.close()
    visitor = house.signed_in()
    page = visitor.get("/overview").text
    assert "The station is not running" in page
    assert "120.000" in page
    for path in ("alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events"):
        assert visitor.get(f"/{path}").status_code == 200, path
    visitor.get("/field")
    answer = visitor.post("/field/maintenance", do="on", where="station:", hours="1", reason="pump")
    assert answer.status_code == 503
    assert "The station is not running, so nothing was done." in answer.text


def test_a_page_over_a_database_that_is_not_there_says_so(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.close()
    visitor = house.signed_in()
    house.loaded.database.unlink()
    answer = visitor.client.get("/overview", headers=HOST)
    assert answer.status_code == 503
    assert "is not there yet; start the station first" in answer.text
    assert Visitor(house.client()).get("/sign-in").status_code == 200


def test_a_station_that_hangs_is_waited_for_once(left: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each view waits for it anew, one after the other, until the page serves nobody."""
    now, asked = [100.0], list[str]()

    def hang(verb: str, **more: object) -> None:
        asked.append(verb)
        now[0] += 10.0
        raise ControlRefused("the station did not answer within 10 s")

    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(left, "ask", hang)
    for _ in range(4):
        assert left.status()["running"] is False
    assert len(asked) == 1
    now[0] += 10.1
    left.status()
    assert len(asked) == 2
