"""drivers/README.md is held to the code."""

import re
from pathlib import Path

import pytest

import drivers
from drivers.emulated import EVENTS, EmulatedUnit
from drivers.emulated_stream import FAULTS as STREAM_FAULTS
from drivers.faults import LINE_FAULTS, UNIT_FAULTS
from drivers.line import Line, read_request
from drivers.profile import SHIPPED, load, parse
from drivers.profile_file import KEYS
from drivers.records import FORMATS
from drivers.statistics import COUNTS
from station.config import load as load_config
from station.parameters import catalogue

README = Path(drivers.__file__).with_name("README.md").read_text(encoding="utf-8")
ALL_BLOCKS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
BLOCKS = [block for block in ALL_BLOCKS if not block.startswith("[[bus")]
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##|\Z)", README, re.DOTALL | re.MULTILINE))


def rows(section: str) -> dict[str, str]:
    """The table of *section*: first cell to the whole row."""
    return {m[1]: m[0] for m in re.finditer(r"^\| `([^`]+)` \|.*$", SECTIONS[section], re.MULTILINE)}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_toml_block_loads_and_reads_its_examples(block):
    profile = parse(block, "readme")
    unit = EmulatedUnit(profile)
    for request in profile.plan(Line(profile.baudrate)):
        asked = read_request(profile.unit_id, request.table, request.address, request.count)
        reply = unit.answer(asked) or unit.answer(asked)  # one that sleeps loses the first
        assert reply is not None
        assert reply[1] == request.function
    for register in profile.registers:
        assert register.unit == catalogue()[register.parameter].unit


def test_the_stream_instrument_in_station_toml_loads(tmp_path):
    (block,) = [block for block in ALL_BLOCKS if block.startswith("[[bus]]") and '"stream"' in block]
    point = '[[point]]\ncode = "site"\nname = "site"\nst = "39"\n'
    (tmp_path / "station.toml").write_text(f'[station]\nname = "s"\ndata_folder = "d"\n{point}{block}')
    (device,) = load_config(tmp_path / "station.toml").config.bus[0].device
    assert (device.driver, device.profile, device.variant) == ("stream", "metone-es642", "pm10")


def test_the_bam_in_station_toml_loads(tmp_path):
    (block,) = [block for block in ALL_BLOCKS if block.startswith("[[bus]]") and '"bam1020"' in block]
    point = '[[point]]\ncode = "site"\nname = "site"\nst = "39"\n'
    (tmp_path / "station.toml").write_text(f'[station]\nname = "s"\ndata_folder = "d"\n{point}{block}')
    (device,) = load_config(tmp_path / "station.toml").config.bus[0].device
    assert dict(device.columns) == {"pm10": "Conc(mg/m3)"}


def test_the_instrument_in_station_toml_loads(tmp_path):
    (block,) = [block for block in ALL_BLOCKS if block.startswith("[[bus]]") and "driver" not in block]
    points = "".join(f'[[point]]\ncode = "{c}"\nname = "{c}"\nst = "21"\n' for c in ("river", "weir"))
    (tmp_path / "station.toml").write_text(f'[station]\nname = "s"\ndata_folder = "d"\n{points}{block}')
    (device,) = load_config(tmp_path / "station.toml").config.bus[0].device
    assert (device.unit_id, device.range["ph"], device.points["water_temperature"]) == (2, (2, 12), "weir")


def test_the_frames_of_the_blocks_are_what_the_emulator_says():
    frames = [(parse(block, "readme"), frame) for block in BLOCKS for frame in parse(block, "readme").frames]
    assert frames
    for profile, frame in frames:
        assert EmulatedUnit(profile).answer(frame.request) == frame.response


def test_what_can_happen_to_an_emulated_instrument_is_in_the_table():
    listed = rows("What happens to an emulated instrument")
    assert {name: row.split(" | ")[1].rstrip(" |") for name, row in listed.items()} == EVENTS


@pytest.mark.parametrize("table", KEYS)
def test_every_key_is_in_the_reference_with_its_meaning(table):
    section = next(
        name for name in SECTIONS if (f"[[{table}]]" in name or (table, name) == ("profile", "The file itself"))
    )
    listed = rows(section)
    assert list(listed) == list(KEYS[table])
    for name, key in KEYS[table].items():
        assert key.text in listed[name]
        assert ("required" in listed[name]) == key.required


def test_every_shipped_profile_is_in_the_table():
    listed = rows("Profiles that ship")
    assert list(listed) == sorted(path.stem for path in SHIPPED.glob("*.toml"))
    for name, row in listed.items():
        profile = load(name)
        measured = {*profile.parameters, *(r.parameter for v in profile.variants for r in v.registers)}
        assert all(f"`{parameter}`" in row for parameter in measured)
        assert all(f"`{variant.name}`" in row for variant in profile.variants)
        assert f"| {profile.baudrate} 8{profile.parity}{profile.stopbits} | {profile.grade} |" in row
        assert f"{profile.maker} {profile.title}" in row


def test_every_stream_instrument_is_in_the_table():
    assert list(rows("Stream instruments that ship")) == list(FORMATS)


def test_every_fault_of_the_emulated_streams_is_in_the_table():
    assert {name: row.split(" | ")[1].rstrip(" |") for name, row in rows("Emulated streams").items()} == STREAM_FAULTS


def test_every_fault_of_the_emulator_is_in_the_table():
    assert {n: row.split(" | ")[1].rstrip(" |") for n, row in rows("Emulated instruments").items()} == UNIT_FAULTS


def test_every_fault_of_an_emulated_line_is_in_the_table():
    assert {n: row.split(" | ")[1].rstrip(" |") for n, row in rows("Faults of the line").items()} == LINE_FAULTS


def test_every_count_of_a_line_is_in_the_table():
    listed = {name: row.split(" | ")[1].rstrip(" |") for name, row in rows("The bus").items()}
    assert listed == COUNTS
