"""Who may import whom: drivers and uplink know the shared words and themselves, never each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("station", "drivers", "uplink")
MODEL = ("station.model",)

# The first pattern that fits a file decides what of ours it may import.
RULES = (
    ("drivers/*", ("station.model", "drivers"), "drivers know station.model and themselves"),
    ("uplink/*", ("station.model", "uplink"), "uplinks know station.model and themselves"),
    ("station/__init__.py", (), "station/__init__.py is empty"),
    ("station/values.py", (), "how value classes are made imports nothing of ours"),
    ("station/places.py", (), "where something stands in a text imports nothing of ours"),
    (
        "station/model.py",
        ("station.values", "station.places"),
        "the shared words import nothing of ours but how value classes are made, and where faults stand",
    ),
    ("station/calibrate.py", MODEL, "pure modules know station.model alone"),
    ("station/calibration_entry.py", ("station",), "entries speak to instruments as they are handed to them"),
    ("station/calibration_photo.py", MODEL, "photos know station.model alone"),
    ("station/calibration_sheet.py", ("station",), "the page of a calibration knows the station"),
    (
        "station/calibration*.py",
        (
            "station.model",
            "station.calibrate",
            "station.calibration_due",
            "station.calibration_figures",
            "station.calibration_limits",
            "station.calibration_outcome",
            "station.calibration_run",
            "station.calibration_standard",
        ),
        "calibrations know station.model, calibrate and each other",
    ),
    ("station/qc.py", MODEL, "pure modules know station.model alone"),
    ("station/shewhart.py", MODEL, "pure modules know station.model alone"),
    (
        "station/drift.py",
        ("station.model", "station.calibrate", "station.calibration_figures", "station.calibration_run"),
        "drift knows station.model and calibrations",
    ),
    (
        "station/checks.py",
        ("station.model", "station.calibration_figures", "station.calibration_limits", "station.marks"),
        "checks know station.model, the limits of calibrations and marks",
    ),
    ("station/average.py", MODEL, "pure modules know station.model alone"),
    ("station/poller.py", ("station", "drivers.base"), "the poller knows drivers by drivers.base"),
    ("station/sender.py", ("station", "uplink.base"), "the sender knows uplinks by uplink.base"),
    ("station/config.py", OURS, ""),
    ("station/engine.py", OURS, ""),
    ("station/lend.py", OURS, ""),
    ("station/cli.py", OURS, ""),
    ("station/command_line.py", ("station",), "what the commands share knows neither drivers nor uplinks"),
    ("station/cli_*.py", OURS, ""),
    ("station/demo.py", OURS, ""),
    ("station/emulate.py", OURS, ""),
    ("station/replay.py", OURS, ""),
    ("station/receiving.py", OURS, "a sender is an instrument that speaks what uplinks speak"),
    ("station/emulated_sender.py", OURS, "and so is one that is emulated"),
    ("station/*", ("station",), "only config, engine, lend and the commands know drivers and uplinks"),
)


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Every name imported anywhere in *tree*, dotted and absolute, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from ((node.lineno, word.value) for word in node.args if isinstance(word, ast.Constant))


def faults(path: str, text: str) -> list[str]:
    """What *text*, standing at *path*, imports against the rules."""
    allowed, rule = next((allowed, rule) for pattern, allowed, rule in RULES if fnmatch(path, pattern))
    return [
        f"{path}:{line}: imports {name}, but {rule}"
        for line, name in imports(ast.parse(text), path.rpartition("/")[0].replace("/", "."))
        if name.split(".")[0] in OURS and not f"{name}.".startswith(tuple(f"{good}." for good in allowed))
    ]


def test_every_import_goes_the_allowed_way():
    files = [file for folder in OURS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 5
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert "\n".join(fault for path, text in texts.items() for fault in faults(path, text)) == ""


def test_value_classes_come_from_the_shared_words():
    """The standard's decorator costs each start 0.7 ms a class (CONTRIBUTING.md): import ours from station.model."""
    files = [file for folder in OURS for file in sorted((ROOT / folder).rglob("*.py"))]
    theirs = [
        file.relative_to(ROOT).as_posix()
        for file in files
        if any(f"{name}.".startswith("dataclasses.") for _, name in imports(ast.parse(file.read_text("utf-8")), ""))
    ]

    assert theirs == ["station/model.py"]  # which shows them to type checkers only


def test_the_package_station_is_empty():
    assert (ROOT / "station" / "__init__.py").read_text(encoding="utf-8") == ""


def test_hardware_and_systemd_contain_no_python():
    assert [file for folder in ("hardware", "systemd") for file in (ROOT / folder).rglob("*.py")] == []


def test_the_checker_finds_each_way_of_importing():
    text = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from uplink.base import Outbox
import station.store
from station import model, clock
from . import base
from ..uplink import hj212
def late():
    importlib.import_module("uplink.http")
"""
    rule = "but drivers know station.model and themselves"
    assert sorted(faults("drivers/made_up.py", text)) == [
        f"drivers/made_up.py:10: imports uplink.http, {rule}",
        f"drivers/made_up.py:4: imports uplink.base.Outbox, {rule}",
        f"drivers/made_up.py:5: imports station.store, {rule}",
        f"drivers/made_up.py:6: imports station.clock, {rule}",
        f"drivers/made_up.py:8: imports uplink.hj212, {rule}",
    ]


def test_the_checker_resolves_relative_imports():
    assert faults("uplink/hj212/link.py", "from .frame import decode\nfrom ..base import LinkDown") == []
    assert faults("station/qc.py", "from .model import Mark\nfrom .store import Store") == [
        "station/qc.py:2: imports station.store.Store, but pure modules know station.model alone"
    ]


def test_the_poller_may_import_the_base_of_drivers_but_no_driver():
    assert faults("station/poller.py", "from drivers import base\nfrom drivers.base import Device") == []
    assert faults("station/poller.py", "from drivers.modbus import ModbusDevice") == [
        "station/poller.py:1: imports drivers.modbus.ModbusDevice, but the poller knows drivers by drivers.base"
    ]


def test_a_similar_name_is_not_taken_for_an_allowed_one():
    assert faults("drivers/made_up.py", "import station.model_tools") != []
