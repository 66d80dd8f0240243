"""Modules of inputs and outputs on an emulated line: levels, counters, coils that stick, watchdogs, silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import pytest

from drivers import dio
from drivers.base import BusSettings, DeviceError, NoReply, ProfileError
from drivers.bus import Bus
from drivers.dio import DioModule, DioSettings, ModuleOutput, Unfollowed
from drivers.emulated_dio import EmulatedDio
from drivers.emulated_network import EmulatedGateway
from drivers.emulator import emulated_bus
from drivers.gpio import ContactSettings, PulseSettings, RelaySettings

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def settings(module: str = "adam-4150", **more: Any) -> DioSettings:
    keys = {"name": "io", "point": "p", "driver": "dio", "unit_id": 3, "confirmed": True}
    return DioSettings(**(keys | {"module": module} | more))


OTHER = settings("other", inputs=4, inputs_from=100, inputs_table="coil", outputs=2, outputs_from=300)
EVERY = [settings(), settings("adam-4055"), settings("waveshare-io8"), OTHER]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulation answers at once; what is waited for a reply is spent after each coil, too."""
    monkeypatch.setattr(dio, "WORST_REPLY_MS", 60)


class Clock:
    """The line's clock, put forward by hand beside the time that really passes."""

    def __init__(self) -> None:
        import time

        self.ahead, self._real = 0.0, time.monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead


class Wired:
    """A module on a line with its emulation and the events that came of it."""

    def __init__(self, chosen: DioSettings, path: str, emulated: EmulatedDio) -> None:
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.clock = Clock()
        self.bus = Bus(
            BusSettings(name="line", port=path, baudrate=115200),
            note=lambda code, **said: self.notes.append((code, said)),
            monotonic=self.clock,
        )
        self.emulated = emulated
        self.module = DioModule(chosen, self.bus, (), lambda: NOW)

    def contact(self, channel: int = 1, active: str = "high") -> Any:
        return self.module.contact(
            ContactSettings(name="c", kind="contact", module="io", channel=channel, active=active)
        )

    def output(self, channel: int = 1, submit: Callable[[Callable[[], None]], None] | None = None) -> ModuleOutput:
        relay = RelaySettings(name="pump", kind="relay", module="io", channel=channel)
        return self.module.output(relay, submit or (lambda errand: errand()))

    def counter(self, channel: int = 2) -> Any:
        pulses = PulseSettings(
            name="meter", kind="pulse", module="io", channel=channel, point="p", parameter="water_total", per_pulse=0.1
        )
        return self.module.counter(pulses, "m³", lambda: NOW)


@contextmanager
def wired(chosen: DioSettings) -> Iterator[Wired]:
    line = BusSettings(name="line", port="", baudrate=115200)
    with emulated_bus(line, [chosen], pace=False) as served:
        emulated = served.units[chosen.unit_id]
        assert isinstance(emulated, EmulatedDio)
        made = Wired(chosen, served.path, emulated)
        try:
            yield made
        finally:
            made.bus.close()


@pytest.mark.parametrize("chosen", EVERY, ids=lambda one: one.module)
def test_each_make_shows_its_levels_and_takes_its_orders(chosen: DioSettings) -> None:
    inputs, outputs = chosen.channels
    with wired(chosen) as rig:
        last, open_one = rig.contact(inputs), rig.contact(1, "low")
        relay = rig.output(outputs)
        assert (last.active, open_one.active, relay.ready) == (None, None, False)
        rig.emulated.bridge(inputs, True)
        assert rig.module.read() == ()
        assert (last.active, open_one.active, relay.ready) == (True, True, True)
        relay.drive(True)
        assert rig.emulated.coils == [False] * (outputs - 1) + [True]
        relay.look()
        relay.drive(False)
        assert not any(rig.emulated.coils)
    assert rig.notes == []


def test_an_output_is_not_switched_on_before_its_real_state_was_read() -> None:
    with wired(settings()) as rig:
        relay = rig.output()
        with pytest.raises(Unfollowed, match="output 1 has not been looked at yet"):
            relay.drive(True)
        assert rig.emulated.writes == 0


def test_an_output_found_on_at_the_start_is_told_and_switched_off() -> None:
    with wired(settings()) as rig:
        rig.emulated.coils[0] = rig.emulated.coils[1] = True
        rig.output(1)
        rig.module.read()
        assert rig.notes == [("output_found_on", {"output": "pump", "module": "io"})]
        assert rig.emulated.coils[:2] == [False, True]  # what nobody names here is nobody's here


def test_an_output_that_does_not_follow_is_a_fault_until_it_has_followed() -> None:
    """It acknowledges and stays off; it is left alone for a while and then tried again."""
    with wired(settings()) as rig:
        relay = rig.output()
        rig.emulated.stick(1, on=False)
        rig.module.read()
        with pytest.raises(Unfollowed, match="output 1 was switched on and does not follow"):
            relay.drive(True)
        writes = rig.emulated.writes
        with pytest.raises(Unfollowed, match="does not follow"):
            relay.drive(True)
        assert rig.emulated.writes == writes
        rig.module.read()
        with pytest.raises(Unfollowed):
            relay.look()
        rig.emulated.stuck.clear()
        rig.clock.ahead += dio.RETRY
        rig.module.read()
        relay.drive(True)
        relay.look()
        assert rig.emulated.on(1)


def test_an_output_that_sticks_on_is_switched_off_with_every_poll() -> None:
    with wired(settings()) as rig:
        relay = rig.output()
        rig.module.read()
        relay.drive(True)
        rig.emulated.stick(1, on=True)
        with pytest.raises(Unfollowed, match="output 1 was switched off and does not follow"):
            relay.drive(False)
        writes = rig.emulated.writes
        rig.module.read()
        assert rig.emulated.writes == writes + 1
        rig.emulated.stuck.clear()
        rig.module.read()
        rig.module.read()
        relay.look()
        relay.drive(False)
        assert not rig.emulated.on(1)


def test_an_output_found_off_is_not_switched_on_again_by_itself() -> None:
    with wired(settings()) as rig:
        relay = rig.output()
        rig.module.read()
        relay.drive(True)
        rig.emulated.power_cycle()
        rig.module.read()
        with pytest.raises(Unfollowed, match="output 1 was on and is found off"):
            relay.look()
        relay.drive(False)
        rig.module.read()
        assert not rig.emulated.on(1)


def test_a_silent_module_has_no_levels_and_takes_no_orders_and_is_off_when_it_is_back() -> None:
    with wired(settings()) as rig:
        contact, counter, relay = rig.contact(), rig.counter(), rig.output()
        rig.module.read()
        relay.drive(True)
        rig.emulated.fail("silent")
        with pytest.raises(NoReply):
            rig.module.read()
        assert contact.active is False  # one lost reply is no silence yet
        rig.clock.ahead += 6
        for look in (lambda: contact.active, counter.read, relay.look):
            with pytest.raises(NoReply, match=r"module io: has not answered for \d s"):
                look()
        with pytest.raises(NoReply):
            relay.drive(False)
        assert rig.emulated.on(1)  # nothing could be said to it
        rig.emulated.recover()
        rig.module.read()
        assert not rig.emulated.on(1)
        relay.look()
        assert contact.active is False


def test_a_module_that_never_answers_is_unknown_for_a_moment_and_lost_after_it() -> None:
    with wired(settings()) as rig:
        contact = rig.contact()
        assert contact.active is None
        rig.clock.ahead += 6
        with pytest.raises(NoReply):
            _ = contact.active


def test_an_order_the_line_does_not_get_to_in_time_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order may be carried out late; it is off then, and nobody believes that it is on."""
    monkeypatch.setattr(dio, "WAIT", 0.05)
    late: list[Callable[[], None]] = []
    with wired(settings()) as rig:
        relay = rig.output(1, late.append)
        rig.module.read()
        with pytest.raises(Unfollowed, match=r"was not switched within 0\.05 s"):
            relay.drive(True)
        for errand in late:
            errand()
        assert not rig.emulated.on(1)
        with pytest.raises(Unfollowed, match="was not switched"):
            relay.drive(True)
        assert len(late) == 2


def test_an_order_is_carried_out_by_another_thread_while_its_giver_waits() -> None:
    with wired(settings()) as rig:
        asked: list[Callable[[], None]] = []
        came = Event()

        def submit(errand: Callable[[], None]) -> None:
            asked.append(errand)
            came.set()

        relay = rig.output(1, submit)
        rig.module.read()
        thread = Thread(target=lambda: (came.wait(5), asked[0]()))
        thread.start()
        relay.drive(True)
        thread.join()
        assert rig.emulated.on(1)


def test_a_module_that_answers_too_late_is_off_in_the_end() -> None:
    """It did what it was told, and its word came when nobody waited for it any more."""
    with wired(settings()) as rig:
        relay = rig.output()
        rig.module.read()
        rig.emulated.fail("late")
        with pytest.raises(Unfollowed, match="no reply"):
            relay.drive(True)
        rig.emulated.recover()
        rig.clock.ahead += dio.RETRY
        for _ in range(3):  # what it still owes comes first, and is no answer
            with suppress(DeviceError):
                rig.module.read()
        assert not rig.emulated.on(1)
        relay.drive(True)
        assert rig.emulated.on(1)


def test_a_poll_that_comes_between_an_order_and_its_doing_judges_nothing() -> None:
    with wired(settings()) as rig:

        def submit(errand: Callable[[], None]) -> None:
            rig.module.read()  # was under way when the order came
            errand()

        relay = rig.output(1, submit)
        rig.module.read()
        relay.drive(True)
        relay.look()
        assert rig.emulated.on(1)


def test_the_end_of_the_line_switches_off() -> None:
    with wired(settings()) as rig:
        relay = rig.output()
        rig.module.read()
        relay.drive(True)
        rig.module.leave()
        assert not rig.emulated.on(1)
        relay.drive(False)
        with pytest.raises(Unfollowed):
            relay.drive(True)


def test_after_a_kill_an_output_stays_as_long_as_the_watchdog_lets_it() -> None:
    """Nobody asks any more: the module switches off by itself, and says so to whoever asks next."""
    with wired(settings()) as rig:
        rig.emulated._monotonic = rig.clock
        rig.emulated.watchdog_seconds = 20
        relay = rig.output()
        rig.module.read()
        relay.drive(True)
        rig.clock.ahead += 15
        assert rig.emulated.on(1)
        rig.clock.ahead += 6
        assert not rig.emulated.on(1)
        rig.clock.ahead += dio.SETTINGS_SECONDS
        rig.module.read()
        assert rig.module.conditions == ("its communication watchdog has tripped",)


@pytest.mark.parametrize("numbered", [True, False], ids=["tcp", "rtu+tcp"])
def test_a_module_behind_a_network_does_the_same(numbered: bool) -> None:
    line = BusSettings(name="line", port="", baudrate=115200)
    with emulated_bus(line, [settings()], pace=False) as served, EmulatedGateway(served, numbered=numbered) as gateway:
        emulated = served.units[3]
        assert isinstance(emulated, EmulatedDio)
        rig = Wired(settings(), gateway.address, emulated)
        relay, contact = rig.output(5), rig.contact(7)
        emulated.bridge(7, True)
        rig.module.read()
        assert contact.active
        relay.drive(True)
        assert emulated.on(5)
        assert totals(rig, rig.counter(), 0, 4) == [0, 4]
        rig.bus.close()


def test_a_watchdog_that_is_off_is_said_and_one_that_is_not_there_hinted_at() -> None:
    with wired(settings()) as rig:
        rig.output()
        rig.module.read()
        assert rig.module.conditions[0].startswith("its communication watchdog is off")
        assert rig.module.hints == ()
    with wired(settings("waveshare-io8")) as rig:
        assert rig.module.hints[0].startswith("no watchdog of this module is known")


def totals(rig: Wired, counter: Any, *pulses: int) -> list[float]:
    found = []
    for times in pulses:
        rig.emulated.pulse(2, times)
        rig.clock.ahead += 1
        rig.module.read()
        found += [round(sample.value / 0.1) for sample in counter.read()]
    return found


def test_pulses_are_counted_by_the_module_and_over_its_roll_over() -> None:
    with wired(settings()) as rig:
        counter = rig.counter()
        assert counter.read() == []
        rig.emulated.counts[1] = (1 << 32) - 5
        counter.begin(10.0)
        assert totals(rig, counter, 0, 3, 4, 2000) == [100, 103, 107, 2107]


def test_an_input_that_is_not_set_to_count_is_said() -> None:
    """It would stand at zero for ever, and rain that never falls looks like good weather."""
    with wired(settings()) as rig:
        rig.counter(2)
        rig.emulated.modes = [0x81, 0x80, 0x41, 0, 0, 0, 0]
        rig.module.read()
        assert rig.module.conditions == ("input 2 is not set to count in the module: no pulse of it is seen",)
        rig.emulated.modes[1] = 0x41
        rig.clock.ahead += dio.SETTINGS_SECONDS
        rig.module.read()
        assert rig.module.conditions == ()


def test_a_module_that_begins_anew_loses_what_nobody_saw_and_nothing_else() -> None:
    with wired(settings()) as rig:
        counter = rig.counter()
        rig.emulated.counts[1] = 5000
        assert totals(rig, counter, 0, 10) == [0, 10]
        rig.emulated.power_cycle()
        assert totals(rig, counter, 7, 3, 2) == [10, 20, 22]


def test_a_count_that_cannot_be_is_passed_over() -> None:
    with wired(settings()) as rig:
        counter = rig.counter()
        rig.emulated.counts[1] = 5000
        assert totals(rig, counter, 0, 10, 1 << 20) == [0, 10, 10]
        assert totals(rig, counter, -(1 << 20) + 5, 1) == [15, 16]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"unit_id": 250}, "unit_id: 250 is above 247"),
        ({"module": "adam-4055", "confirmed": False}, "module: adam-4055 is a template of grade C"),
        ({"inputs": 8}, "inputs: is for another make; of adam-4150 it is known"),
        ({"module": "other", "inputs": 8}, "outputs: is missing; write 0 where the module has none"),
        ({"module": "other", "inputs": 8, "outputs": 8, "confirmed": False}, "module: of another make nothing is"),
        ({"parameters": ("cod",)}, "parameters: a module measures nothing by itself"),
    ],
)
def test_what_cannot_be_is_said(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        DioModule(settings(**more), Bus(BusSettings(name="line", port="x")), (), lambda: NOW)
