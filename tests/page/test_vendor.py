"""What others made and lies in the page's static files: each file is on record, and is what the record says."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "station" / "page" / "static" / "vendor"
ROWS = tomllib.loads((VENDOR / "VENDORED.toml").read_text(encoding="utf-8"))["file"]


def test_every_vendored_file_is_on_record() -> None:
    there = {path.name for path in VENDOR.iterdir()} - {"VENDORED.toml"}

    assert there == {row["name"] for row in ROWS}


def test_every_vendored_file_is_what_was_vendored() -> None:
    for row in ROWS:
        found = hashlib.sha256((VENDOR / row["name"]).read_bytes()).hexdigest()
        assert found == row["sha256"], row["name"]
        assert row["license"].split(",")[0] == "MIT"
        assert row["version"] in row["source"]


def test_every_static_file_has_a_name_of_its_own() -> None:
    """They are served by it, whatever folder they lie in."""
    names = [path.name for path in VENDOR.parent.rglob("*") if path.is_file()]

    assert len(set(names)) == len(names)


def test_the_script_says_its_version_and_asks_for_nothing_outside() -> None:
    for row in ROWS:
        text = (VENDOR / row["name"]).read_text(encoding="utf-8")
        urls = set(re.findall(r"https?://[^\s\"')]+", text)) - {"https://github.com/leeoniya/uPlot"}
        assert urls == set(), row["name"]
        if row["name"].endswith(".js"):
            assert f"v{row['version']}" in text
            assert "eval(" not in text
            assert "new Function" not in text
