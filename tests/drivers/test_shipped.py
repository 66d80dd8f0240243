"""The profiles that ship, each as an instrument on a line: what it measures, what it says of itself."""

from datetime import timedelta

import pytest

from drivers.base import BusSettings, ProfileError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.frames import sealed
from drivers.line import FUNCTION, read_request
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import SHIPPED, Condition, Profile, load
from drivers.registers import Request
from station.config import load as load_config
from station.model import Mark, Reason, Sample
from tests.drivers.fakes import NOON, FakePort, FakeTime

LAYOUTS = [
    pytest.param(profile, variant, id=f"{profile.name}-{variant}" if variant else profile.name)
    for profile in map(load, sorted(path.stem for path in SHIPPED.glob("*.toml")))
    for variant in [v.name for v in profile.variants] or [None]
]


class OnALine:
    """The instrument of *profile* as it comes, emulated, with the driver at the other end of a line set to suit it."""

    def __init__(self, profile: Profile, variant: str | None) -> None:
        self.time = FakeTime()
        self.unit = EmulatedUnit(profile, variant=variant, monotonic=self.time.monotonic)
        settings = BusSettings(
            name="test",
            port="/dev/ttyUSB0",
            baudrate=profile.baudrate,
            parity=profile.parity,
            stopbits=profile.stopbits,
        )
        self.bus = bus = Bus(settings, lambda _: self.port, self.time.monotonic, self.time.sleep)
        self.port = FakePort(self.time, self.answer, bus.line.character)
        self.device = ModbusDevice(
            ModbusSettings(
                name="it",
                point="p",
                profile=profile.name,
                unit_id=profile.unit_id,
                variant=variant,
                confirmed=bool(profile.uncertain),
                start_address=profile.start_address,
            ),
            bus,
            (),
            lambda: NOON + timedelta(seconds=self.time.now),
        )

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        reply = self.unit.answer(request)
        return [] if reply is None else [(self.unit.profile.reply_delay_ms / 1000, reply)]

    def read(self) -> dict[str, Sample]:
        """The first value of every parameter, after the steps and the reads that it takes."""
        found: dict[str, Sample] = {}
        for _ in range(50):
            found |= {sample.parameter: sample for sample in self.device.read() if sample.parameter not in found}
            if len(found) == len(self.device.parameters):
                break
            self.time.now += self.device.pending_seconds or 0
        return found


@pytest.mark.parametrize(("profile", "variant"), LAYOUTS)
def test_a_shipped_instrument_measures_its_examples_and_finds_no_fault(profile, variant):
    line = OnALine(profile, variant)
    samples = line.read()
    examples = {r.parameter: r.example for r in line.unit.profile.registers if r.parameter in line.device.parameters}
    assert {parameter: sample.value for parameter, sample in samples.items()} == pytest.approx(examples)
    assert {sample.mark for sample in samples.values()} == {Mark.N}
    assert line.device.conditions == ()


@pytest.mark.parametrize(("profile", "variant"), LAYOUTS)
def test_whatever_of_its_registers_is_read_an_emulated_instrument_answers(profile, variant):
    """Those beside its values too: how often a wiper runs, how long a probe takes, what a quality word says."""
    unit = EmulatedUnit(profile, variant=variant, monotonic=FakeTime().monotonic)
    unit.set_up()
    asked = [i for action in profile.actions if (i := action.interval) is not None]
    asked += [step.place for step in profile.steps if step.place is not None]
    asked += [place for register in profile.chosen(variant).registers for place in (register, *register.beside)]
    assert asked
    for place in asked:
        reply = unit.answer(read_request(unit.unit_id, place.table, place.address, place.width))
        assert reply is not None
        assert reply[1:3] == bytes((FUNCTION[place.table], 2 * place.width)), place


@pytest.mark.parametrize(("profile", "variant"), LAYOUTS)
def test_what_a_shipped_instrument_says_of_itself_marks_what_it_concerns(profile, variant):
    for status in OnALine(profile, variant).unit.profile.status:
        line = OnALine(profile, variant)
        line.unit.report(status.reason)
        samples = line.read()
        assert status.reason in line.device.conditions
        for parameter, sample in samples.items():
            assert sample.mark >= (status.mark if status.concerns(parameter) else Mark.N)


@pytest.mark.parametrize(("profile", "variant"), LAYOUTS)
def test_the_no_value_words_of_a_shipped_instrument_are_no_values(profile, variant):
    line = OnALine(profile, variant)
    worded = [r.parameter for r in line.unit.profile.registers if r.no_value]
    line.unit.values = dict.fromkeys(worded)
    samples = line.read()
    assert {samples[parameter].value for parameter in worded} <= {None}
    assert {samples[parameter].reason for parameter in worded} <= {Reason.NO_VALUE}


def test_every_uncertain_map_is_a_template_and_wants_to_be_confirmed():
    profiles = [load(path.stem) for path in SHIPPED.glob("*.toml")]
    templates = [profile for profile in profiles if profile.uncertain]
    assert {profile.name for profile in profiles if profile.grade in "CD"} <= {profile.name for profile in templates}
    assert len(templates) >= 5
    for profile in templates:
        variant = profile.variants[0].name if profile.variants else None
        settings = ModbusSettings(name="it", point="p", profile=profile.name, unit_id=1, variant=variant)
        with pytest.raises(ProfileError, match=r"is a template of grade [A-D], for .*; check that on the instrument"):
            ModbusDevice(settings, OnALine(profile, variant).bus, (), lambda: NOON)


def test_the_load_cell_keeps_its_decimals_while_flags_stand_beside_them():
    line = OnALine(load("rs485-load-cell"), None)
    line.unit.report("weight not stable")
    mass = line.read()["collector_mass"]
    assert (mass.value, mass.mark) == (3.54, Mark.D)


def fits(unit: EmulatedUnit, condition: Condition) -> bool:
    """Whether what the registers of *unit* read is what *condition* says of them."""
    request = Request(condition.table, condition.address, condition.width, (condition,))
    reply = unit.answer(read_request(unit.unit_id, request.table, request.address, request.count))
    if reply[1] & 0x80:
        return False  # refused: it has no such register
    (raw,) = request.raws(reply[3:-2])
    low, high = condition.range
    return low <= raw * condition.scale <= high


CHOICES = [
    pytest.param(profile, variant, id=f"{profile.name}-{variant.name}")
    for profile in map(load, sorted(path.stem for path in SHIPPED.glob("*.toml")))
    for variant in profile.variants
    if variant.conditions
]


@pytest.mark.parametrize("refusal", [[(0.02, sealed(bytes((1, 0x83, 2))))], []], ids=["refused", "no reply"])
def test_a_probe_that_knows_no_start_is_read_all_the_same(refusal):
    line = OnALine(load("yosemitech-y504"), None)
    line.unit.measuring = True  # from power-on
    start = line.unit.profile.steps[0].request
    answer, line.port.answer = line.answer, lambda sent: refusal if sent[1:-2] == start else answer(sent)
    assert {sample.mark for sample in line.read().values()} == {Mark.N}
    assert [sent[1:-2] for _, sent in line.port.written].count(start) == 1


@pytest.mark.parametrize(("profile", "variant"), CHOICES)
def test_the_conditions_of_a_variant_hold_for_it_and_for_none_that_reads_otherwise(profile, variant):
    unit = EmulatedUnit(profile, variant=variant.name)
    fitting = {other.name for other in profile.variants if all(fits(unit, c) for c in other.conditions)}
    alike = {other.name for other in profile.variants if other.conditions == variant.conditions}
    assert variant.name in fitting
    assert fitting == alike


def test_a_station_without_a_thermometer_has_no_temperature_and_one_at_zero_has():
    line = OnALine(load("renke-fsxcs"), "tenths-pm")
    line.unit.values = {"air_temperature": 0.0, "humidity": 0.0}
    samples = line.read()
    assert {(samples[p].value, samples[p].mark) for p in ("air_temperature", "humidity")} == {(None, Mark.D)}
    line.unit.values = {"air_temperature": 0.0, "humidity": 81.5}
    samples = line.read()
    assert [(samples[p].value, samples[p].mark) for p in ("air_temperature", "humidity")] == [
        (0.0, Mark.N),
        (81.5, Mark.N),
    ]


def test_a_station_of_every_shipped_instrument_is_configured_without_a_fault(tmp_path):
    text = '[station]\nname = "s"\ndata_folder = "d"\n'
    lines: dict[tuple[int, str, int], list[str]] = {}
    for number, path in enumerate(sorted(SHIPPED.glob("*.toml"))):
        profile = load(path.stem)
        text += f'[[point]]\ncode = "p{number}"\nname = "p{number}"\nst = "22"\n'
        device = f'[[bus.device]]\nname = "{profile.name}"\nprofile = "{profile.name}"\npoint = "p{number}"\n'
        device += "".join(f'variant = "{variant.name}"\n' for variant in profile.variants[:1])
        device += "confirmed = true\n" * bool(profile.uncertain)
        device += f"start_address = {profile.start_address}\n" * (profile.start_address is not None)
        setting = (profile.baudrate, profile.parity, profile.stopbits)
        lines.setdefault(setting, []).append(device + f"poll_seconds = {max(5, profile.poll_minimum_seconds)}\n")
    for (baudrate, parity, stopbits), devices in lines.items():
        name = f"{baudrate}-{parity}{stopbits}"
        text += f'[[bus]]\nname = "{name}"\nport = "/dev/{name}"\n'
        text += f'baudrate = {baudrate}\nparity = "{parity}"\nstopbits = {stopbits}\n'
        text += "".join(f"{device}unit_id = {unit_id}\n" for unit_id, device in enumerate(devices, 1))
    (tmp_path / "station.toml").write_text(text)
    config = load_config(tmp_path / "station.toml").config
    assert {d.name for bus in config.bus for d in bus.device} == {path.stem for path in SHIPPED.glob("*.toml")}


@pytest.mark.parametrize(("profile", "variant"), LAYOUTS)
def test_directions_and_shares_are_believed_within_their_circle_and_their_hundred(profile, variant):
    """What a broken register may say beyond it would else be a value."""
    for register in profile.chosen(variant).registers:
        if register.parameter == "wind_direction":
            assert register.range == (0, 360), register
        if register.parameter == "flow_signal":
            assert 0 <= register.range[0] < register.range[1] <= 100, register
