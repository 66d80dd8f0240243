"""Drawings, parts list, pin table and boot settings: whole, consistent, and mentioned in the README."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "hardware"
SVG = "{http://www.w3.org/2000/svg}"

# GPIO: header pin, as on every 40-pin board.
HEADER = {
    2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18, 10: 19, 9: 21, 25: 22,
    11: 23, 8: 24, 7: 26, 0: 27, 1: 28, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35, 16: 36, 26: 37, 20: 38, 21: 40,
}  # fmt: skip
RESERVED = {0: "HAT memory", 1: "HAT memory", 2: "clock", 3: "clock", 14: "serial line", 15: "serial line"}


@pytest.fixture(scope="module")
def readme() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pins(readme) -> list[list[str]]:
    """The rows of the README's pin table: GPIO, pin, use, direction, at boot, wiring."""
    section = readme.split("## Pins")[1].split("## ")[0]
    rows = re.findall(r"^\| (\d.*) \|$", section, re.MULTILINE)
    assert len(rows) >= 5
    return [row.split(" | ") for row in rows]


@pytest.fixture(params=["bus", "cabinet", "pins"])
def drawing(request) -> ET.Element:
    return ET.parse(FOLDER / f"{request.param}.svg").getroot()


def test_each_drawing_has_a_title_and_a_view_box(drawing):
    assert drawing.tag == f"{SVG}svg"
    assert len(drawing.findtext(f"{SVG}title", "")) > 20
    assert re.fullmatch(r"0 0 \d+ \d+", drawing.get("viewBox", ""))


def test_no_text_of_a_drawing_starts_outside_of_it(drawing):
    width, height = map(float, drawing.attrib["viewBox"].split()[2:])
    texts = list(drawing.iter(f"{SVG}text"))
    assert len(texts) > 10
    outside = [
        text.text
        for text in texts
        if not (0 < float(text.attrib["x"]) < width and 0 < float(text.attrib["y"]) < height)
    ]
    assert outside == []


def test_every_file_is_mentioned_in_the_readme(readme):
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.name != "README.md"]
    assert {path.suffix for path in files} >= {".svg", ".csv", ".txt"}
    assert [path.name for path in files if f"({path.relative_to(FOLDER).as_posix()})" not in readme] == []


def test_every_drawing_the_readme_shows_exists(readme):
    shown = set(re.findall(r"!\[[^\]]{10,}\]\(([^)]+)\)", readme))
    assert shown == {path.name for path in FOLDER.glob("*.svg")}


def test_the_parts_list_has_its_columns_and_a_reason_for_each_part():
    with (FOLDER / "bom.csv").open(encoding="utf-8", newline="") as file:
        parts = list(csv.DictReader(file, strict=True))
    assert len(parts) > 10
    assert {tuple(part) for part in parts} == {("item", "quantity", "why", "checked")}
    assert {part["checked"] for part in parts} == {"checked", "unchecked"}
    assert [part["item"] for part in parts if int(part["quantity"]) < 1 or len(part["why"]) < 15] == []
    assert len({part["item"] for part in parts}) == len(parts)


def test_no_pin_is_used_twice(pins):
    numbers = [int(row[0]) for row in pins]
    assert sorted(set(numbers)) == sorted(numbers)


def test_no_reserved_pin_is_used(pins):
    assert {int(row[0]) for row in pins} & set(RESERVED) == set()


def test_gpio_and_header_pin_belong_together(pins):
    assert [(row[0], row[1]) for row in pins if HEADER[int(row[0])] != int(row[1])] == []


def test_the_state_at_boot_is_that_of_the_board(pins):
    told = {int(row[0]): row[4].split(":")[0] for row in pins}
    assert told == {gpio: "pulled up" if gpio <= 8 else "pulled down" for gpio in told}


def test_no_output_is_on_before_the_program_runs(pins):
    on_at_boot = {("out, low is on", "pulled down"), ("out, high is on", "pulled up")}
    outputs = [(row[3], row[4].split(":")[0]) for row in pins if row[3].startswith("out")]
    assert len(outputs) == 3
    assert on_at_boot & set(outputs) == set()


def test_the_drawing_of_the_header_shows_the_same_pins(pins):
    """The green texts of pins.svg are the uses, each on the line of its GPIO."""
    root = ET.parse(FOLDER / "pins.svg").getroot()
    texts = [(float(text.attrib["x"]), text.attrib["y"], text) for text in root.iter(f"{SVG}text")]
    drawn = {}
    for x, y, text in texts:
        if text.get("fill") == "#2e8b57":
            beside = [t.text for x2, y2, t in texts if y2 == y and (x < 450) == (x2 < 450) and "GPIO" in t.text]
            drawn[int(beside[0].removeprefix("GPIO "))] = text.text.split(":")[0]
    assert drawn == {int(row[0]): row[2].split(":")[0] for row in pins}


def test_config_txt_has_no_remark_behind_a_value():
    """The firmware would take it for part of the value."""
    lines = (FOLDER / "boot" / "config.txt").read_text(encoding="utf-8").splitlines()
    allowed = re.compile(r"|#.*|\[(pi3|pi4|pi5|pi02|all)\]|\w+=[\w=,.-]+")
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert [line for line in lines if line.startswith("[")][-1] == "[all]"


@pytest.mark.skipif(shutil.which("sed") is None, reason="sed is not installed")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "console=serial0,115200 console=tty1 root=PARTUUID=1-02 rootwait\n",
            "console=tty1 root=PARTUUID=1-02 rootwait cgroup_enable=memory\n",
        ),
        (
            "console=tty1 root=PARTUUID=1-02 rootwait console=ttyAMA0,115200n8 \n",
            "console=tty1 root=PARTUUID=1-02 rootwait cgroup_enable=memory\n",
        ),
        ("console=ttyAMA10,115200 rootwait\n", "console=ttyAMA10,115200 rootwait cgroup_enable=memory\n"),
    ],
    ids=["first word", "last word", "debug connector stays"],
)
def test_cmdline_loses_its_serial_console_and_a_second_run_changes_nothing(before, after):
    def edit(line: str) -> str:
        words = ["sed", "-f", str(FOLDER / "boot" / "cmdline.sed")]
        return subprocess.run(words, input=line, capture_output=True, text=True, timeout=20, check=True).stdout

    assert edit(before) == after
    assert edit(after) == after
