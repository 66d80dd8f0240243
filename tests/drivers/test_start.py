"""A profile that does not know where its values begin: station.toml says it, and nothing is guessed."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import drivers
from drivers.base import BusSettings, ProfileError
from drivers.bus import Bus
from drivers.captured import meaning
from drivers.emulator import EmulatedBus, emulated_bus
from drivers.frames import sealed
from drivers.line import read_request
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.port import Speed
from drivers.profile import load, parse
from drivers.scan import question
from station.config import load as load_config
from station.model import ConfigError, Mark, Reason
from tests.drivers.fakes import NOON

HCU = load("hcu-dust")
TEXT = Path(drivers.__file__).with_name("profiles").joinpath("hcu-dust.toml").read_text(encoding="utf-8")


def keys(**changes: Any) -> ModbusSettings:
    """The dust monitor at 0x0200."""
    given = {"name": "gate", "point": "site", "profile": "hcu-dust", "unit_id": 1, "confirmed": True}
    return ModbusSettings(**given | {"start_address": 0x0200} | changes)  # type: ignore[arg-type]


def served(settings: ModbusSettings, link: Path) -> tuple[BusSettings, EmulatedBus]:
    """The line and, emulated, the monitor of *settings* on it."""
    line = BusSettings(name="line", port=str(link))
    return line, emulated_bus(line, [settings], link=link, pace=False)


def test_the_values_are_read_where_station_toml_says(tmp_path: Path) -> None:
    """One read of six registers there, one of register 33, which has an address of its own."""
    settings = keys()
    line, emulated = served(settings, tmp_path / "port")
    with emulated as served_line:
        asked: list[bytes] = []
        unit = served_line.units[1]
        answer = unit.answer
        unit.answer = lambda request: (asked.append(request), answer(request))[1]  # type: ignore[method-assign, func-returns-value]
        bus = Bus(line)
        device = ModbusDevice(settings, bus, (), lambda: NOON)
        samples = device.read()
        unit.report("stopped: it is not sampling")
        stopped = device.read()
        bus.close()
    assert {s.parameter: (s.value, s.mark) for s in samples} == {
        "pm1": (38, Mark.N), "pm25": (52, Mark.N), "pm10": (119, Mark.N),
    }  # fmt: skip
    assert {(s.mark, s.reason) for s in stopped} == {(Mark.F, Reason.STATUS)}
    assert sorted(asked[:2]) == sorted([read_request(1, "holding", 0x0200, 6), read_request(1, "holding", 33, 1)])


@pytest.mark.parametrize("start", [0, 34, 0x0200, 0xFFFA])
def test_golden_frames_of_the_documented_shape_at_any_start(start: int) -> None:
    """Three counts with the low word first, packed here and not by the driver; decode begins where it was asked."""
    counts = (70_000, 52, 119)
    words = [word for count in counts for word in (count & 0xFFFF, count >> 16)]
    reply = sealed(bytes((1, 3, 12)) + struct.pack(">6H", *words))
    found = meaning(HCU, read_request(1, "holding", start, 6), reply, datetime.now(UTC))
    assert found.ok
    assert [(v.parameter, v.register, v.value, v.unit, v.mark) for v in found.values] == [
        ("pm1", start, 70_000, "µg/m³", "T"),  # above what can be believed, and said to be
        ("pm25", start + 2, 52, "µg/m³", "N"),
        ("pm10", start + 4, 119, "µg/m³", "N"),
    ]


def test_a_read_of_another_length_does_not_move_the_map() -> None:
    """Nor does one over the registers that have addresses of their own."""
    reply = sealed(bytes((1, 3, 4)) + bytes(4))
    assert meaning(HCU, read_request(1, "holding", 900, 2), reply, NOON).notes[0].name == "address-not-in-profile"
    running = sealed(bytes((1, 3, 12)) + struct.pack(">6H", 0, 0, 1, 0, 0, 0))
    found = meaning(HCU, read_request(1, "holding", 31, 6), running, NOON)
    assert [(v.parameter, v.register, v.value) for v in found.values] == [(None, 33, 1)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"confirmed": False}, r"is a template of grade C, for where its three counts begin, .* then write confirmed"),
        ({"start_address": None}, r"where its values begin is in no source; take the address from the maker's list"),
        ({"profile": "pzem-016"}, r"profile pzem-016: has addresses of its own, so start_address has no use"),
    ],
)
def test_what_was_not_said_or_confirmed_is_refused(changes: dict[str, Any], sentence: str) -> None:
    """In one sentence, before the port is touched."""
    with pytest.raises(ProfileError, match=sentence):
        ModbusDevice(keys(**changes), Bus(BusSettings(name="line", port="/dev/none")), (), lambda: NOON)


def test_a_scan_takes_nothing_for_it() -> None:
    """The start in the file is an example: any six registers there would fit."""
    assert question(HCU, Speed(9600)) is None


def test_what_cannot_be_moved_is_a_fault() -> None:
    """A value with a number beside it would have to take that along."""
    text = TEXT.replace('order = "CDAB"\n', 'order = "CDAB"\ndecimals = { address = 7 }\n', 1)
    with pytest.raises(ProfileError, match="start_address: neither variants nor values with numbers beside them can"):
        parse(text, "hcu")


def test_the_block_of_the_page_is_a_configuration(tmp_path: Path) -> None:
    """And without its start it is one sentence at its place."""
    page = Path(drivers.__file__).with_name("README.md").read_text(encoding="utf-8")
    block = next(one for one in page.split("```toml\n")[1:] if 'profile = "hcu-dust"' in one).partition("```")[0]
    head = '[station]\nname = "s"\ndata_folder = "d"\n[[point]]\ncode = "site"\nname = "site"\nst = "39"\n'
    path = tmp_path / "station.toml"
    path.write_text(f'{head}[[bus]]\nname = "b"\nport = "p"\n{block}')
    (device,) = load_config(path).config.bus[0].device
    assert getattr(device, "start_address") == 0x0200  # noqa: B009 - of the driver's own settings
    path.write_text(path.read_text().replace("start_address", "# start_address"))
    with pytest.raises(ConfigError, match="where its values begin is in no source"):
        load_config(path)
