"""uplink/mqtt/README.md says what the code does."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import uplink.mqtt
from station.loader import build
from station.model import fields
from station.parameters import catalogue
from uplink.base import UplinkSettings
from uplink.mqtt import topics
from uplink.mqtt.commands import ELSEWHERE, read
from uplink.mqtt.link import MqttSettings, PointSettings

README = (Path(uplink.mqtt.__file__).parent / "README.md").read_text(encoding="utf-8")


def table(heading):
    """Rows of the table whose header row begins with *heading*, as lists of cells."""
    start = README.index(f"| {heading} |")
    rows = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_key_has_its_row_with_the_default_and_meaning_of_the_code():
    common = {one.name for one in fields(UplinkSettings)} - {"protocol"}
    rows = {row[0].strip("`"): row for row in table("key")}
    assert sorted(rows) == sorted(one.name for one in fields(MqttSettings) if one.name not in common)
    for one in fields(MqttSettings):
        if one.name not in rows or one.name == "protocol":
            continue
        assert rows[one.name][2] == one.metadata["text"]
        if isinstance(one.default, bool | int | float | str):
            shown = str(one.default).lower() if isinstance(one.default, bool) else f"{one.default}"
            shown = f'"{one.default}"' if isinstance(one.default, str) else shown.removesuffix(".0")
            assert rows[one.name][1].strip("`") == shown, one.name
    points = sorted(row[0].strip("`") for row in table("key of `[[uplink.point]]`"))
    assert points == sorted(one.name for one in fields(PointSettings))


def test_every_name_of_a_topic_stands_in_the_page():
    assert table("name in a topic") == [[f"`{{{name}}}`", text] for name, text in topics.NAMES.items()]


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
def test_every_toml_block_loads_into_faultless_settings(block):
    for entry in tomllib.loads(block).get("uplink", ()):
        faults = []
        settings = build(MqttSettings, entry, "uplink", faults)
        assert [*faults, *settings.faults(catalogue())] == []


def test_the_command_of_the_page_is_one():
    texts = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    (command,) = [text for text in texts if text["format"] == "niutang-command-1"]
    assert read(json.dumps(command).encode(), "city").verb == "sample_now"
    assert {text["format"] for text in texts} == {"niutang-command-1", "niutang-reply-1", "niutang-status-1"}
    for verb in ELSEWHERE:
        assert f"`{verb}`" in README
