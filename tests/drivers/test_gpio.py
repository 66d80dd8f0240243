"""Pins over gpiozero's own stand-ins: levels driven, what comes of them looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from drivers.gpio import (
    ContactSettings,
    DoorSettings,
    LampSettings,
    NoPins,
    PinError,
    Pins,
    PulseCounter,
    PulseSettings,
    RainSettings,
    RelaySettings,
)
from station.clock import ManualClock

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def pins() -> Iterator[Pins]:
    """Stand-ins for the 40-pin header."""
    made = Pins(MockFactory())
    yield made
    made.close()


def rain(pins: Pins, clock: ManualClock, **more: float) -> PulseCounter:
    settings = RainSettings(name="rain", kind="rain", pin=12, point="site", mm_per_tip=0.2, **more)  # type: ignore[arg-type]
    return pins.counter(settings, "mm", clock.now, clock.monotonic)


def tip(pins: Pins, times: int = 1) -> None:
    for _ in range(times):
        pins.drive(12, False)
        pins.drive(12, True)


def total(counter: PulseCounter) -> float | None:
    (sample,) = counter.read()
    return sample.value


def test_each_tip_adds_what_the_bucket_holds(pins, clock):
    bucket = rain(pins, clock)
    for _ in range(3):
        tip(pins)
        clock.advance(4)
    (sample,) = bucket.read()
    assert (sample.parameter, sample.value, sample.time) == ("rain", 0.6, clock.now())
    assert bucket.units == {"rain": "mm"}


def test_a_reed_that_bounces_within_the_dead_time_counts_once(pins, clock):
    """The kernel's debounce cannot be shown on stand-ins; what it lets through meets the dead time."""
    bucket = rain(pins, clock)
    tip(pins, 3)
    clock.advance(0.05)
    tip(pins)
    clock.advance(0.1)
    tip(pins)
    assert total(bucket) == 0.4
    assert (bucket.pulses, bucket.ignored) == (2, 3)


def test_the_count_goes_on_from_the_total_it_is_given(pins, clock):
    bucket = rain(pins, clock)
    bucket.begin(1234.4)
    tip(pins)
    assert total(bucket) == 1234.6


def test_a_meter_without_dead_time_counts_every_pulse(pins, clock):
    settings = PulseSettings(
        name="meter",
        kind="pulse",
        pin=12,
        point="site",
        parameter="water_total",
        per_pulse=0.01,
        active="high",
        pull="up",
    )
    meter = pins.counter(settings, "m³", clock.now, clock.monotonic)
    tip(pins, 5)
    assert total(meter) == 0.05


@pytest.mark.parametrize(
    ("pull", "active", "open_wire"),
    [("up", "low", False), ("up", "high", True), ("down", "high", False), ("down", "low", True)],
)
def test_active_is_the_configured_level_whatever_the_resistor(pins, pull, active, open_wire):
    """An open wire follows the resistor."""
    settings = ContactSettings(name="c", kind="contact", pin=13, pull=pull, active=active)
    contact = pins.contact(settings, lambda: None)
    assert contact.active is open_wire
    pins.drive(13, active == "high")
    assert contact.active
    pins.drive(13, active == "low")
    assert not contact.active


def test_a_floating_input_takes_its_level_from_the_configuration(pins):
    contact = pins.contact(ContactSettings(name="c", kind="contact", pin=13, pull="none", active="low"), lambda: None)
    pins.drive(13, True)
    assert not contact.active
    pins.drive(13, False)
    assert contact.active


def test_both_edges_of_a_contact_ring(pins):
    rung: list[int] = []
    pins.contact(DoorSettings(name="door", kind="door", pin=13), lambda: rung.append(1))
    pins.drive(13, False)
    pins.drive(13, True)
    assert len(rung) == 2


@pytest.mark.parametrize("active_high", [True, False])
def test_an_output_starts_off_and_is_off_when_it_is_let_go(pins, active_high):
    relay = pins.output(RelaySettings(name="cannon", kind="relay", pin=5, active_high=active_high))
    wire = pins._factory.pin(5)
    assert (relay.on, wire.state) == (False, not active_high)
    relay.drive(True)
    assert (relay.on, wire.state) == (True, active_high)
    pins.close()
    assert [state.state for state in wire.states][-1] is not active_high
    assert wire.function == "input"


def test_an_output_that_cannot_be_switched_off_leaves_no_other_on(pins, monkeypatch, caplog):
    broken = pins.output(RelaySettings(name="cannon", kind="relay", pin=5))
    other = pins.output(RelaySettings(name="siren", kind="relay", pin=6))
    other.drive(True)
    wire = pins._factory.pin(6)

    def fail() -> None:
        raise OSError("the chip is gone")

    monkeypatch.setattr(broken._device, "off", fail)
    pins.close()
    assert wire.states[-2].state is True
    assert wire.states[-1].state is False
    assert caplog.messages == ["GPIO5: cannot be used (the chip is gone)"]
    assert not pins._held


def test_a_pin_that_is_taken_is_said_with_its_name(pins):
    pins.output(LampSettings(name="lamp", kind="lamp", pin=23))
    with pytest.raises(PinError, match=r"^GPIO 23 \(buzzer\): cannot be used \(pin GPIO23 is already in use"):
        pins.output(LampSettings(name="buzzer", kind="buzzer", pin=23))


def test_a_resistor_the_board_does_not_have_is_said_with_its_name(pins):
    with pytest.raises(PinError, match=r"GPIO 2 \(c\): cannot be used \(.*fixed pull"):
        pins.contact(ContactSettings(name="c", kind="contact", pin=2, pull="down"), lambda: None)


# -- real or mock


@pytest.fixture
def no_factory(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a fresh process."""
    before, Device.pin_factory = Device.pin_factory, None
    yield monkeypatch
    if Device.pin_factory is not None:
        Device.pin_factory.close()
    Device.pin_factory = before


def test_a_host_without_a_pin_library_is_refused_in_one_sentence(no_factory):
    """This host is no Raspberry Pi: nothing is fallen back to, least of all mock pins."""
    no_factory.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    for name in ("lgpio", "rpigpio", "pigpio", "native"):
        no_factory.setitem(__import__("sys").modules, f"gpiozero.pins.{name}", None)
    with pytest.raises(NoPins) as caught:
        Pins.open()
    said = str(caught.value)
    assert said.startswith("pins are configured and no pin library works on this host (lgpio: ")
    assert said.endswith("or set GPIOZERO_PIN_FACTORY=mock to try it without hardware")
    assert "\n" not in said
    assert caught.value.exit_code == 69


def test_the_experimental_last_resort_of_gpiozero_is_not_taken(no_factory):
    """It polls, and may lose pulses without a word."""
    no_factory.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    modules = __import__("sys").modules
    for name in ("lgpio", "rpigpio", "pigpio"):
        no_factory.setitem(modules, f"gpiozero.pins.{name}", None)
    no_factory.setitem(modules, "gpiozero.pins.native", type("native", (), {"NativeFactory": MockFactory}))
    with pytest.raises(NoPins, match="no pin library works"):
        Pins.open()
    assert Device.pin_factory is None


def test_mock_pins_are_taken_only_when_asked_for(no_factory):
    no_factory.setenv("GPIOZERO_PIN_FACTORY", "mock")
    pins = Pins.open()
    assert (pins.mock, pins.library) == (True, "mock")


def test_a_factory_that_is_not_known_is_refused(no_factory):
    no_factory.setenv("GPIOZERO_PIN_FACTORY", "abacus")
    with pytest.raises(NoPins, match="abacus"):
        Pins.open()
