"""What goes by days and hours while nobody vouches for the clock, and what is meant as an interval when it steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from station.clock import EPOCH
from station.engine import Engine
from station.model import Record
from tests.station.checked import START, Bench
from tests.station.conftest import Rig
from tests.station.test_linkage import FOREVER, PinRig, make
from tests.station.test_timekeeping import BEGINNING, Lost

__all__ = ["make"]
DAY = 86400


class Unknown(Bench):
    """A bench whose clock nobody vouches for from the start."""

    def start(self) -> Engine:
        self.trust = "none"
        return super().start()


def test_no_check_is_begun_by_a_clock_that_nobody_vouches_for_however_long_that_lasts(tmp_path: Path) -> None:
    """Its hour passes three times on a wrong clock; the right one begins it once."""
    bench = Bench(tmp_path)
    bench.run(10)
    bench.trust = "none"
    bench.clock.step(-3 * DAY)
    for _ in range(3):
        bench.run(2 * 3600, 30)
        bench.clock.step(22 * 3600)
    assert bench.checks == []
    bench.trust = "ntp"
    bench.run_until(lambda: len(bench.checks) == 1, 2 * DAY, 30)
    codes = [code for code, _ in bench.events()]
    assert codes.count("qc_begun") == 1


def test_a_check_that_is_new_at_a_wrong_clock_is_due_from_when_the_time_is_known(tmp_path: Path) -> None:
    """Not missed twenty thousand times since 1970."""
    bench = Unknown(tmp_path, now=BEGINNING)
    bench.run(60)
    assert bench.engine.checking is not None
    bench.clock.step((START - bench.clock.now()).total_seconds())
    bench.trust = "ntp"
    bench.run(60)
    assert [code for code, _ in bench.events() if code.startswith("qc")] == []
    assert bench.engine.checking.book.seen_to["span"] >= START


@pytest.mark.parametrize("step", [7200.0, -7200.0, 400 * DAY])
def test_a_lock_for_some_minutes_lasts_so_long_whatever_the_wall_clock_does(
    make: Callable[..., PinRig], step: float
) -> None:
    rig = make()
    rig.run(6)
    rig.linkage.order("lock", "cannon", 600, "visitors", "Wang")
    rig.clock.step(step)
    rig.run(590, 10)
    assert rig.linkage.live()["outputs"][0]["locked"]
    rig.run(20, 10)
    assert not rig.linkage.live()["outputs"][0]["locked"]


def test_a_lock_goes_on_after_a_restart_never_longer_than_it_was_meant(make: Callable[..., PinRig]) -> None:
    rig = make()
    rig.run(6)
    rig.linkage.order("lock", "cannon", 600, "visitors", "Wang")
    rig.run(300, 10)
    rig.clock.step(-DAY)
    rig.restart()
    rig.run(590, 10)
    assert rig.linkage.live()["outputs"][0]["locked"]
    rig.run(20, 10)
    assert not rig.linkage.live()["outputs"][0]["locked"]


@pytest.mark.parametrize("step", [DAY, -DAY, 30 * DAY])
def test_a_clock_that_is_stepped_to_another_day_gives_no_new_run_time(make: Callable[..., PinRig], step: float) -> None:
    rig = make(
        ("daily_maximum_seconds = 600", "daily_maximum_seconds = 60"),
        ("cool_down_seconds = 120", "cool_down_seconds = 0"),
    )
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(120)
    assert rig.said("rule_held")[-1]["why"] == "daily_maximum"
    rig.clock.step(step)
    rig.run(60)
    assert not rig.on("cannon")
    rig.clock.advance(15 * 3600 + 57 * 60)  # the next midnight by the clock as it stands
    rig.clock.advance(120)
    rig.run(5)
    assert rig.on("cannon")


def test_how_long_a_contact_stood_is_measured_on_the_clock_that_never_steps(make: Callable[..., PinRig]) -> None:
    rig = make()
    rig.run(6)
    rig.wire("door", True)
    rig.run(30)
    rig.clock.step(-3600)
    rig.run(30)
    rig.wire("door", False)
    rig.run(6)
    (closed,) = rig.said("door_closed")
    assert closed["lasted_seconds"] == pytest.approx(60, abs=3)


def test_what_is_recorded_while_nobody_knows_the_time_says_so(tmp_path: Path) -> None:
    """Its date is that of a clock nobody vouched for; a person's entry has its own word beside it already."""
    rig: Rig = Lost(tmp_path)
    rig.run(10)
    now = rig.clock.now()
    rig.engine.keep(Record("output", now, {"state": "on"}, device="lamp"))
    rig.engine.keep(Record("visit", now, {"user": "Wang", "trust": "host"}))
    rig.run(70)
    rig.trust = "ntp"
    rig.run(70)
    rig.engine.keep(Record("output", rig.clock.now(), {"state": "off"}, device="lamp"))
    rig.run(70)
    bodies = [one.body for one in rig.engine.store.records("output", EPOCH, FOREVER)]
    assert bodies == [{"state": "on", "trust": "none"}, {"state": "off"}]
    assert [one.body["trust"] for one in rig.engine.store.records("visit", EPOCH, FOREVER)] == ["host"]
