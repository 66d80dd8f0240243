"""A time server that lies: not followed where others speak against it, until two agree or a person confirms."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from station import health, status
from station.model import Command, StoreError
from tests.station.commands import Here, answering, until
from tests.station.conftest import START
from tests.station.test_timekeeping import Lost

HOUR, YEAR = 3600.0, 365 * 86400.0


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """`station` with words."""
    return Here(monkeypatch, capfd)


class Served(Lost):
    """A station on a host that hears a time server; its platform may tell the time."""

    def __init__(self, folder: Path, config: str | None = None) -> None:
        super().__init__(folder, says=START, truth=START, config=config)

    def start(self) -> Any:
        self.first_trust = "ntp"
        return super().start()

    def platform_says(self, seconds: float = 0.0, name: str = "district") -> None:
        """A command whose QN is off the truth by *seconds*."""
        self.engine.time.doubt.hear(name, self.truth + timedelta(seconds=seconds))

    def said(self, code: str) -> list[dict[str, Any]]:
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]

    def lies(self, seconds: float) -> None:
        """The time server moves the clock."""
        self.clock.step(seconds)
        self.run(30)

    @property
    def doubted(self) -> str:
        return str(status.live(self.engine)["clock"]["doubt"])


@pytest.fixture
def rig(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.run(200)
    return made


@pytest.mark.parametrize("lie", [HOUR, -HOUR, YEAR, -YEAR])
def test_a_time_server_that_a_platform_contradicts_is_not_followed_and_what_waits_is_dated_right(
    rig: Served, lie: float
) -> None:
    """Everything waits while it lies; when it takes the jump back, all is dated as if nothing had been."""
    rig.platform_says()
    rig.lies(lie)
    assert (rig.engine.trust(), rig.doubted) == ("none", "district")
    assert rig.said("clock_doubted") == [{"against": "district", "seconds": pytest.approx(lie, abs=1)}]
    assert "clock" in health.of(rig.engine)["troubles"]
    rig.run(200)
    assert rig.waiting() > 30
    rig.clock.step(-lie)
    rig.run(200)
    assert (rig.engine.trust(), rig.doubted, rig.waiting()) == ("ntp", "", 0)
    assert rig.said("clock_doubt_over") == [{"by": "itself"}]
    assert rig.wrongly_dated() == []
    assert rig.missing_minutes() == set()
    assert len(rig.periods()) == len({at for at, _ in rig.periods()})


def test_the_platform_ends_the_doubt_by_telling_the_same_time(rig: Served) -> None:
    """Both were an hour behind; the server is corrected first."""
    rig.platform_says()
    rig.truth_at_zero += timedelta(seconds=HOUR)
    rig.lies(HOUR)
    assert rig.doubted == "district"
    rig.platform_says(30)  # a command takes its time
    rig.run(30)
    assert (rig.engine.trust(), rig.said("clock_doubt_over")) == ("ntp", [{"by": "district"}])


@pytest.mark.parametrize("seconds", [61.0, 3600.0])
def test_a_platform_whose_clock_was_never_right_is_no_witness(rig: Served, seconds: float) -> None:
    rig.platform_says(seconds)
    rig.lies(86400.0)
    assert (rig.engine.trust(), rig.doubted) == ("ntp", "")


@pytest.mark.parametrize("step", [599.0, -599.0])
def test_ten_minutes_are_followed_whoever_says_what(rig: Served, step: float) -> None:
    rig.platform_says()
    rig.lies(step)
    assert (rig.engine.trust(), rig.doubted) == ("ntp", "")


def test_one_source_alone_contradicts_nobody_and_is_followed(rig: Served) -> None:
    """As before: an event, and the present goes on by it."""
    rig.lies(HOUR)
    assert (rig.engine.trust(), rig.doubted, rig.said("clock_step")[0]["trust"]) == ("ntp", "", "ntp")


def test_of_two_platforms_one_that_goes_along_is_enough(rig: Served) -> None:
    rig.platform_says()
    rig.platform_says(HOUR, "city")
    rig.lies(HOUR)
    assert (rig.engine.trust(), rig.doubted) == ("ntp", "")


def test_a_real_time_clock_that_stays_where_it_was_speaks_against_a_jump(rig: Served) -> None:
    rig.rtc = rig.truth
    rig.lies(YEAR)
    assert rig.doubted == "rtc"
    rig.run(3600, 10)
    assert rig.engine.trust() == "none", "the kernel sets it from the same server: it ends no doubt"


def test_a_boot_that_a_time_server_dates_before_what_is_stored_waits(rig: Served, command: Here) -> None:
    """Neither a restart nor another boot ends that; a person does."""
    rig.engine.commit()
    rig.clock.step(-86400)
    for boot in ("boot-2", "boot-2", "boot-3"):
        rig.boot = boot
        rig.engine.store.close()
        rig.engine = started(rig, boot)
        rig.run(100)
        assert (rig.engine.trust(), rig.doubted, rig.sent()[-1][1] <= rig.truth) == ("none", "records", True)
    assert rig.waiting() > 0
    config = ("--config", rig.folder / "station.toml")
    with answering(rig):
        shown = command("clock", "show", *config)
        assert "not known to be right" in shown.out
        assert "The time server contradicts what is stored and is not followed" in shown.out
        assert command("clock", "confirm", "--user", " ", "--reason", "x", *config).code == 2
        done = command("clock", "confirm", "--user", "Wang", "--reason", "by my watch", *config)
        assert (done.code, done.out) == (0, "Noted: the clock is right. What waited is dated now.\n"), done.err
        until(lambda: rig.engine.trust() == "ntp")
        again = command("clock", "confirm", "--user", "Wang", "--reason", "by my watch", *config)
        assert (again.code, again.said) == (2, ["the clock is not doubted: there is nothing to confirm"])
        assert json.loads(command("clock", "show", "--json", *config).out)["doubt"] == ""
    assert rig.doubted == ""
    assert rig.said("clock_doubt_over") == [{"by": "person"}]
    (said,) = rig.said("clock_confirmed")
    assert said == {"user": "Wang", "reason": "by my watch", "against": "records"}
    away = command("clock", "show", *config)
    assert (away.code, away.said) == (69, ["no station runs here; station doctor looks at the clock without one"])


def started(rig: Served, boot: str) -> Any:
    """A start in *boot*, of which the kernel knows nothing here."""
    from station import engine as engine_module

    real = engine_module.boot_id
    engine_module.boot_id = lambda: boot  # type: ignore[assignment]
    try:
        return rig.start()
    finally:
        engine_module.boot_id = real


def test_a_disk_that_refuses_just_then_brings_no_doubt_back(rig: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.engine.commit()
    rig.clock.step(-86400)
    rig.engine.store.close()
    rig.engine = started(rig, "boot-2")
    rig.run(100)
    rig.engine.time.doubt.confirm()
    with monkeypatch.context() as broken:
        broken.setattr(type(rig.engine.store), "add_clock", refuses)
        rig.run(5)
        assert rig.engine.time.waits
    rig.run(100)
    assert (rig.engine.trust(), rig.doubted, rig.waiting()) == ("ntp", "", 0)


def refuses(*_: object) -> None:
    raise StoreError("database or disk is full")


def test_a_boot_that_goes_on_after_what_is_stored_is_followed(rig: Served) -> None:
    rig.engine.commit()
    rig.clock.advance(3600)
    rig.engine.store.close()
    rig.engine = started(rig, "boot-2")
    rig.run(30)
    assert (rig.engine.trust(), rig.doubted) == ("ntp", "")


def test_a_host_whose_word_counts_by_station_toml_is_a_persons_word(rig: Served) -> None:
    """clock = "host" ends a doubt, and is followed wherever it goes."""
    rig.platform_says()
    rig.lies(-HOUR)
    assert rig.doubted == "district"
    rig.trust = "host"
    rig.run(30)
    assert (rig.engine.trust(), rig.doubted, rig.said("clock_doubt_over")) == ("host", "", [{"by": "person"}])
    rig.lies(YEAR)
    assert (rig.engine.trust(), rig.doubted) == ("host", "")


def test_commands_tell_the_time_even_while_everything_waits(rig: Served) -> None:
    """What a platform's command says is heard whatever becomes of it."""
    asked = Command("read_clock", "district", identity="q1", issued=rig.truth)
    assert rig.engine.desk.refusal(asked) is None
    rig.lies(HOUR)
    assert rig.doubted == "district"
    late = Command("read_clock", "district", identity="q2", issued=rig.clock.now())
    rig.engine.desk.refusal(late)
    rig.run(5)
    assert rig.doubted == ""
