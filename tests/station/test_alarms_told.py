"""Alarms as a platform of 2005 is told of them, and asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from station.model import Kind
from tests.station.conftest import CONFIG
from tests.station.test_alarming import DUST, NOON
from tests.station.test_records import Site

TELLING = (
    CONFIG.replace('standard = "2017"', 'standard = "2005"').replace(
        "realtime_seconds = 30", 'realtime_seconds = 30\nkinds = ["realtime", "minute", "alarm"]'
    )
    + DUST
    + DUST.replace('name = "dust"', 'name = "dust again"')
)


class Told(Site):
    """Half a minute before the hour."""

    def __init__(self, folder: Path, config: str = TELLING) -> None:
        super().__init__(folder, config, NOON - timedelta(seconds=30))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.engine.shut_down()


def test_an_alarm_is_told_with_the_commit_that_rings_and_two_never_share_a_second(site: Told) -> None:
    """The value is the mean that was past the limit, in the digits this platform gets."""
    site.instrument.show(pm10=120.04)
    site.run(6 * 60, 5)
    texts = site.engine.store.query("SELECT text FROM message WHERE kind = ?", (int(Kind.ALARM),))
    times = [text.split(";")[0] for (text,) in texts]
    assert [text.split(";")[1] for (text,) in texts] == ["107-Ala=120.0,AlarmType=1"] * 2
    assert all(time.startswith("AlarmTime=2026030112050") for time in times)
    assert len(set(times)) == 2
    stored = site.engine.store.records("alarm", NOON, NOON + timedelta(hours=1))
    assert len({record.at.replace(microsecond=0) for record in stored if record.body["state"] == "alarm"}) == 2
    site.instrument.show(pm10=20.0)
    site.run(6 * 60, 5)
    assert len(site.told(Kind.ALARM)) == 2  # its end has no number


def test_what_was_told_comes_as_it_was_told_when_it_is_asked_for(site: Told) -> None:
    site.instrument.show(pm10=120.04)
    site.run(6 * 60, 5)
    told = [text for (text,) in site.engine.store.query("SELECT text FROM message WHERE kind = ?", (int(Kind.ALARM),))]
    assert site.recall("alarm", NOON, NOON + timedelta(hours=1)) == told
    site.restart()
    assert site.recall("alarm", NOON, NOON + timedelta(hours=1)) == told


def test_a_platform_that_does_not_name_alarms_is_told_of_none(tmp_path: Path) -> None:
    made = Told(tmp_path, TELLING.replace(', "alarm"]', "]"))
    made.instrument.show(pm10=120.0)
    made.run(6 * 60, 5)
    assert made.told(Kind.ALARM) == []
    made.engine.shut_down()
