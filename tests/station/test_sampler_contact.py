"""A sampler behind a dry contact: a pulse, and the contacts by which it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from station import verbs
from station.config import load
from station.engine import Engine
from station.model import ConfigError
from station.sampler import Sampler, SampleRefused
from tests.station.test_linkage import PIN, WIRED, PinRig

SAMPLER = """
[[sampler]]
name = "outlet"
point = "site"
bottles = 2
output = "sampler"
pulse_seconds = 0.8
done = "filled"
full = "full"
door = "door"
fill_seconds = 60
"""
RULE = WIRED[WIRED.index('[[rule]]\nname = "over"') : WIRED.index('[[rule]]\nname = "open"')]


class ContactRig(PinRig):
    """The rig with wires, and a sampler whose thread takes its turns with the clock."""

    def start(self) -> Engine:
        engine = super().start()
        engine.committed = lambda patience=5.0: engine.commit() or True  # type: ignore[method-assign, assignment, func-returns-value]
        return engine

    @property
    def sampler(self) -> Sampler:
        (one,) = self.engine.beside
        assert isinstance(one, Sampler)
        return one

    def run(self, seconds: float, step: float = 0.2) -> None:
        for _ in range(round(seconds / step)):
            super().run(step, step)
            self.sampler._one_turn()

    def fill(self) -> None:
        """The sampler says that it is done."""
        self.wire("filled", False)
        self.run(1)
        self.wire("filled", True)
        self.run(1)

    def take(self, **request: Any) -> Any:
        return verbs.Verbs(self.engine).sampler({"action": "take", "by": "Li"} | request)

    def states(self) -> dict[int, str]:
        return {row["bottle"]: row["state"] for row in self.sampler.state()["bottles"]}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ContactRig]]:
    made: list[ContactRig] = []

    def one(*changes: tuple[str, str]) -> ContactRig:
        config = WIRED.replace(RULE, "") + SAMPLER
        for old, new in changes:
            assert old in config
            config = config.replace(old, new)
        made.append(ContactRig(tmp_path, config))
        made[-1].run(2)
        return made[-1]

    yield one
    for rig in made:
        rig.engine.shut_down()
        rig.factory.close()


@pytest.fixture
def rig(make: Callable[..., ContactRig]) -> ContactRig:
    return make()


def test_a_pulse_takes_the_bottle_and_the_contact_says_that_it_is_full(rig: ContactRig) -> None:
    rig.take(reason="inspection")
    rig.run(4)
    assert [s.state for s in rig.factory.pin(PIN["sampler"]).states][1:] == [True, False, True]
    assert (rig.states(), rig.records("kept_sample")) == ({1: "filling"}, [])
    rig.fill()
    (kept,) = rig.records("kept_sample")
    assert (kept.device, kept.body["vase"], kept.body["confirmed"]) == ("outlet", 1, True)
    (order,) = rig.said("output_by_hand")
    assert (order["user"], order["reason"]) == ("Li", "bottle 1")


def test_a_sampler_that_does_not_say_that_it_is_done_leaves_the_bottle_uncertain(rig: ContactRig) -> None:
    rig.take()
    rig.run(70)
    assert rig.states() == {1: "uncertain"}


def test_a_contact_that_stood_before_the_pulse_says_nothing(rig: ContactRig) -> None:
    rig.wire("filled", False)
    rig.run(15)
    assert rig.records("kept_sample") == []
    assert rig.states() == {}
    rig.take()
    rig.run(30)
    assert rig.states() == {1: "filling"}


def test_a_short_closing_between_two_looks_is_seen(rig: ContactRig) -> None:
    rig.take()
    rig.run(4)
    rig.wire("filled", False)
    PinRig.run(rig, 0.4, 0.2)
    rig.wire("filled", True)
    PinRig.run(rig, 0.4, 0.2)
    rig.run(2)
    assert rig.states() == {1: "kept"}


def test_a_sampler_without_feedback_keeps_the_sample_with_the_pulse_and_says_that_nobody_confirmed_it(
    make: Callable[..., ContactRig],
) -> None:
    rig = make(('done = "filled"\n', ""))
    rig.take()
    rig.run(4)
    (kept,) = rig.records("kept_sample")
    assert (kept.body["vase"], kept.body["confirmed"]) == (1, False)


def test_full_bottles_and_an_open_door_refuse(rig: ContactRig) -> None:
    rig.wire("full", False)
    rig.run(12)
    with pytest.raises(SampleRefused, match="all its bottles are full"):
        rig.take()
    assert len(rig.said("sampler_full")) == 1
    rig.wire("full", True)
    rig.wire("door", True)
    rig.run(12)
    with pytest.raises(SampleRefused, match="its door is open"):
        rig.take()
    assert (len(rig.said("sampler_not_full")), len(rig.said("sampler_door_open"))) == (1, 1)


def test_a_locked_output_takes_no_sample_and_leaves_the_bottle_free(rig: ContactRig) -> None:
    rig.linkage.order("lock", "sampler", None, "pump is out", "Zhao")
    rig.take()
    rig.run(4)
    assert rig.states() == {}
    assert [one["reason"] for one in rig.said("sample_refused")] == ["sampler: stays off (locked)"]
    assert not rig.on("sampler")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('output = "sampler"\npulse', 'output = "sample"\npulse', 'sampler[0].output: there is no output "sample"'),
        ('done = "filled"', 'done = "rain"', 'sampler[0].done: there is no contact "rain"'),
        ('output = "sampler"\npulse', 'output = "sampler"\nprofile = "x"\npulse', "has no meaning beside output"),
        ('output = "sampler"\npulse', 'output = "cannon"\npulse', 'already follows the rule "dust"'),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    config = WIRED.replace(RULE, "") + SAMPLER
    assert old in config
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "station.toml").write_text(config.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "station.toml")
    assert said in str(error.value)
