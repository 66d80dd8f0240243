"""uplink/hj212/README.md says what the code does."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import uplink.hj212
from station.parameters import catalogue
from uplink.hj212.emulator import FAULTS
from uplink.hj212.link import Hj212Settings, PointSettings
from uplink.hj212.messages import COMMANDS, DIALECTS, UPLOADS

README = Path(uplink.hj212.__file__).with_name("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def table(heading):
    """Rows of the table whose header row begins with *heading*, as lists of cells."""
    start = README.index(f"| {heading} |")
    rows = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def keys(heading):
    return [key for row in table(heading) for key in re.findall(r"`(\w+)`", row[0])]


def test_every_key_has_its_row_and_every_row_its_key():
    assert sorted(keys("key")) == sorted(field.name for field in fields(Hj212Settings))
    assert sorted(keys("key of `[[uplink.point]]`")) == sorted(field.name for field in fields(PointSettings))


def test_the_defaults_are_those_of_the_code():
    defaults = {row[0].strip("`"): row[1].strip("`") for row in table("key")}
    for field in fields(Hj212Settings):
        if isinstance(field.default, int | float | str) and field.name in defaults:
            shown = f'"{field.default}"' if isinstance(field.default, str) else f"{field.default:g}"
            assert defaults[field.name] == shown, field.name


@pytest.mark.parametrize("block", BLOCKS)
def test_every_toml_block_loads_into_faultless_settings(block):
    for entry in tomllib.loads(block)["uplink"]:
        points = tuple(PointSettings(**point) for point in entry.pop("point"))
        assert list(Hj212Settings(point=points, **entry).faults(catalogue())) == []


def now(row):
    """What the station does about *row* today, worked out from the tables."""
    sent = row.cn in UPLOADS.values() or row.cn in ("9011", "9012") or any(r.cn == row.cn and r.verb for r in COMMANDS)
    if row.cn == "9015":
        return "sent if `heartbeat_seconds`"
    if row.direction == "up":
        return "sent" if sent else "not sent"
    return "taken" if row.kind == "A" else f"`{row.verb}`" if row.verb else "refused"


def test_every_command_has_its_row():
    expected = [
        [row.cn, row.direction, row.kind, f"{row.since}–{row.until}", row.purpose, row.fields or "–", now(row)]
        for row in COMMANDS
    ]
    assert table("CN") == expected


def test_every_fault_has_its_row():
    assert table("fault") == [[f"`{name}`", text] for name, text in FAULTS.items()]


def test_every_generation_has_its_column():
    assert "| | " + " | ".join(DIALECTS) + " |" in README


def test_the_link_loads_nothing_heavy():
    heavy = {"asyncio", "hashlib", "hmac", "decimal", "difflib", "importlib.resources", "sqlite3", "requests"}
    code = "import sys, uplink.hj212.link; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)
