"""Five-minute means of a furnace, from the minutes stored to what a platform is told and the ledger expects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.ledger import completeness, gaps
from station.model import Kind, Reading, StoreError, replace
from station.store import Store
from tests.station.conftest import CONFIG, FakeInstrument
from tests.station.test_records import Site

START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
EIGHT = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)  # of the station's day
FIVE = timedelta(minutes=5)
SECOND_POINT = """
[[point]]
code = "gate"
name = "Gate"
st = "31"

[[bus]]
"""
HOT = (
    CONFIG.replace('standard = "2017"', 'standard = "2025"')
    .replace("realtime_seconds = 30", 'realtime_seconds = 30\nkinds = ["furnace", "minute"]')
    .replace("\n[[bus]]\n", SECOND_POINT)
    + '\n[[uplink.point]]\npoint = "gate"\nmn = "M2"\n'
)


class Furnace(Site):
    """A station whose instrument measures a furnace."""

    def __init__(self, folder: Path, config: str = HOT) -> None:
        self.hot = True
        super().__init__(folder, config, START)

    def start(self):  # type: ignore[no-untyped-def]
        if self.hot:
            self.instrument = FakeInstrument("dust", self.clock, furnace_temperature="°C")
            self.instrument.show(furnace_temperature=853.26)
        return super().start()

    def means(self) -> list[tuple[int, str]]:
        """Version and text of what was told of the furnace."""
        rows = "SELECT version, text FROM message WHERE kind = ? ORDER BY id"
        return [(version, text) for version, text in self.engine.store.query(rows, (int(Kind.FURNACE),))]

    def times(self) -> list[str]:
        return [text[len("DataTime=20260301") :][:6] for _, text in self.means()]

    def late(self, value: float, *minutes: int) -> None:
        times = [EIGHT + timedelta(minutes=n, seconds=1) for n in minutes]
        readings = [Reading("dust", "site", "furnace_temperature", at, value, value) for at in times]
        self.engine.recorder.add(readings, self.clock.monotonic())


@pytest.fixture
def furnace(tmp_path: Path) -> Iterator[Furnace]:
    made = Furnace(tmp_path)
    yield made
    made.engine.shut_down()


def test_five_minutes_are_told_once_when_they_are_over(furnace: Furnace) -> None:
    """The first are half measured: less than three quarters are normal, which the mark says."""
    furnace.run(16 * 60, 5)
    assert furnace.times() == ["080000", "080500", "081000"]
    assert furnace.means()[1] == (1, "DataTime=20260301080500;a01901-Avg=853.3")
    minutes = furnace.engine.store.query("SELECT text FROM message WHERE kind = ?", (int(Kind.MINUTE),))
    assert not any("a01901" in text for (text,) in minutes)


def test_a_silent_instrument_is_told_by_its_mark_alone(furnace: Furnace) -> None:
    furnace.run(5 * 60, 5)
    furnace.instrument.go_silent()
    furnace.run(11 * 60, 5)
    assert furnace.means()[2] == (1, "DataTime=20260301081000;a01901-Flag=B")


def test_a_restart_tells_none_twice_and_leaves_none_out(furnace: Furnace) -> None:
    furnace.run(7 * 60, 5)
    furnace.restart()
    furnace.run(10 * 60, 5)
    assert furnace.times() == ["080000", "080500", "081000"]
    furnace.engine.commit()
    furnace.clock.advance(2 * 3600)
    furnace.restart()
    furnace.run(6 * 60, 5)
    assert furnace.times()[3:5] == ["081500", "101500"]


def test_late_readings_make_a_later_version_and_other_points_none(furnace: Furnace) -> None:
    furnace.run(16 * 60, 5)
    furnace.late(953.26, 6, 7)
    furnace.run(5)
    told = furnace.means()[3:]
    assert [version for version, _ in told] == [2]
    assert told[0][1].startswith("DataTime=20260301080500;a01901-Avg=85")
    assert told[0][1] != furnace.means()[1][1]


@pytest.mark.parametrize("revisions", [True, False])
def test_what_was_empty_and_came_late_is_told_even_without_revisions(furnace: Furnace, revisions: bool) -> None:
    settings = furnace.engine._settings["district"]
    furnace.engine._settings["district"] = replace(settings, revisions=revisions)
    furnace.instrument.show_nothing()
    furnace.instrument.every_seconds = 7200.0
    furnace.run(3600, 5)
    assert furnace.means() == []
    furnace.late(900.0, 21)
    furnace.run(5)
    assert furnace.times() == ["082000"]
    furnace.late(910.0, 22)
    furnace.run(5)
    assert len(furnace.times()) == 1 + revisions


def test_a_disk_that_fails_costs_no_mean(furnace: Furnace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Store, rows: object) -> None:
        raise StoreError("the disk is full")

    furnace.run(6 * 60, 5)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_messages", full)
        furnace.run(12 * 60, 5)
        assert furnace.times() == ["080000"]
    furnace.run(60)
    assert furnace.times() == ["080000", "080500", "081000"]


def test_a_clock_that_is_set_back_makes_later_versions(furnace: Furnace) -> None:
    furnace.run(11 * 60, 5)
    furnace.clock.step(-300)
    furnace.instrument.show(furnace_temperature=953.26)
    furnace.run(11 * 60, 5)
    versions = [version for version, text in furnace.means() if "0805" in text[:25]]
    assert versions[0] == 1
    assert len(versions) == len(set(versions))
    assert furnace.times()[-1] == "081000"


def test_the_ledger_expects_them_of_the_points_that_measure_them(furnace: Furnace) -> None:
    outbox = furnace.engine.outboxes["district"]
    furnace.run(31 * 60, 5)
    outbox.disconnected()
    outbox.connected()
    furnace.run(3 * 60, 5)
    now, end = furnace.clock.now(), EIGHT + timedelta(hours=1)
    rows = completeness(furnace.engine.store, "district", EIGHT, end, now, furnace.loaded.zone)
    (row,) = [row for row in rows if row.kind is Kind.FURNACE]
    assert (row.point, row.expected, row.stored, row.answered) == ("site", 5, 5, 0)
    found = gaps(furnace.engine.store, "district", EIGHT, end, now, furnace.loaded.zone)
    (gap,) = [gap for gap in found if gap.kind is Kind.FURNACE]
    assert (gap.reason, gap.periods, gap.first) == ("owed", 5, EIGHT + FIVE)


def test_a_station_without_a_furnace_tells_and_owes_none(tmp_path: Path) -> None:
    made = Furnace.__new__(Furnace)
    made.hot = False
    Site.__init__(made, tmp_path, HOT, START)
    made.run(11 * 60, 5)
    assert made.means() == []
    rows = completeness(made.engine.store, "district", EIGHT, EIGHT + 2 * FIVE, made.clock.now(), made.loaded.zone)
    assert [row for row in rows if row.kind is Kind.FURNACE] == []
    made.engine.shut_down()


def test_a_platform_that_does_not_name_the_kind_loads_nothing_of_it(tmp_path: Path) -> None:
    made = Furnace(tmp_path, CONFIG)
    assert made.engine.furnace is None
    made.run(6 * 60, 5)
    assert made.means() == []
    made.engine.shut_down()
