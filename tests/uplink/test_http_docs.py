"""uplink/http/README.md says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

import uplink.http
from station.loader import build
from station.model import fields
from station.parameters import catalogue
from uplink.base import UplinkSettings
from uplink.http import template as templates
from uplink.http.emulator import FAULTS
from uplink.http.link import HttpSettings, PointSettings

HERE = Path(uplink.http.__file__).parent
README = (HERE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def table(heading):
    """Rows of the table whose header row begins with *heading*, as lists of cells."""
    start = README.index(f"| {heading} |")
    rows = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_key_has_its_row_and_every_row_its_key():
    common = {one.name for one in fields(UplinkSettings)} - {"protocol"}
    own = sorted(one.name for one in fields(HttpSettings) if one.name not in common)
    assert sorted(row[0].strip("`") for row in table("key")) == own
    points = sorted(row[0].strip("`") for row in table("key of `[[uplink.point]]`"))
    assert points == sorted(one.name for one in fields(PointSettings))


def test_the_defaults_and_meanings_are_those_of_the_code():
    rows = {row[0].strip("`"): row for row in table("key")}
    for one in fields(HttpSettings):
        if one.name not in rows or one.name == "protocol":
            continue
        assert rows[one.name][2] == one.metadata["text"]
        if isinstance(one.default, bool | int | float | str):
            shown = str(one.default).lower() if isinstance(one.default, bool) else f"{one.default}"
            shown = f'"{one.default}"' if isinstance(one.default, str) else shown.removesuffix(".0")
            assert rows[one.name][1].strip("`") == shown, one.name


@pytest.mark.parametrize("block", BLOCKS)
def test_every_toml_block_loads_into_faultless_settings(block):
    for entry in tomllib.loads(block).get("uplink", ()):
        faults = []
        settings = build(HttpSettings, entry, "uplink", faults)
        assert [*faults, *settings.faults(catalogue())] == []


def test_every_fault_of_the_receiver_stands_in_the_page():
    assert table("fault") == [[f"`{name}`", text] for name, text in FAULTS.items()]


def test_every_template_that_ships_stands_in_the_page():
    shipped = [[f"`{name}`", templates.load(templates.SHIPPED / f"{name}.toml").title] for name in templates.shipped()]
    assert table("template") == shipped


def test_the_worked_example_is_in_the_page():
    assert (HERE / "example.json").read_text(encoding="utf-8") in README
