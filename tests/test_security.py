"""SECURITY.md and the field bundle: what the table names is there, and what is pinned is what is installed."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import bill

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
BUNDLES = ("requirements.txt", "requirements-field.txt")


def clauses() -> list[list[str]]:
    """The rows of the table of clauses."""
    body = SECURITY.split("<!-- clauses -->")[1].split("<!-- /clauses -->")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body[2:]]


# -- SECURITY.md


def test_every_clause_names_a_file_and_a_test_that_are_there() -> None:
    rows = clauses()
    assert len(rows) > 20
    for clause, confidence, does, where, test in rows:
        assert confidence in ("S", "K, to be checked"), clause
        assert len(does) > 15, clause
        for path in (where, test):
            assert (ROOT / path.strip("` ")).is_file(), f"{clause}: {path}"
        name = test.strip("` ")
        assert "def test_" in (ROOT / name).read_text(encoding="utf-8"), clause


def test_numbers_from_memory_stay_marked_as_such_and_nothing_claims_to_conform() -> None:
    """The numbers of IEC 62443-4-2's component requirements were not held against the text."""
    for clause, confidence, *_ in clauses():
        if clause.startswith("IEC 62443-4-2 CR"):
            assert confidence == "K, to be checked"
    said = re.sub(r"nothing below says that the station conforms", "", SECURITY)
    assert not re.search(r"\b(conform|compli|certified as|meets the)", said, re.IGNORECASE)


def test_an_address_is_still_to_be_filled_in_or_was() -> None:
    """Nobody ships the placeholder by mistake: it says itself that it is one."""
    chapter = SECURITY.split("## Report a weakness")[1].split("\n## ")[0]
    assert "SECURITY-CONTACT (to be filled in" in chapter or re.search(r"\S+@\S+\.\S+", chapter)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", SECURITY):
        path, _, anchor = target.partition("#")
        text = (ROOT / path).read_text(encoding="utf-8")
        headings = {
            re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-")
            for one in re.findall(r"^#+ (.*)$", text, re.M)
        }
        assert not anchor or anchor in headings, target


# -- pins


@pytest.mark.parametrize("name", BUNDLES)
def test_every_library_is_pinned_with_hashes_and_no_host_is_named(name: str) -> None:
    found = bill.pins(ROOT / name)
    assert len(found) > 15
    assert [one for one, (_, hashes) in found.items() if not hashes] == []
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "extras"), [(BUNDLES[0], ()), (BUNDLES[1], bill.EXTRAS)])
def test_what_the_project_asks_for_is_pinned_in_a_version_it_takes(name: str, extras: tuple[str, ...]) -> None:
    found = bill.pins(ROOT / name)
    assert set(bill.wanted(*extras)) <= set(found)
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    for one in map(Requirement, asked):
        assert one.specifier.contains(found[canonicalize_name(one.name)][0], prereleases=True), one


def test_both_lists_agree_and_differ_by_what_the_extras_need() -> None:
    plain, whole = (bill.pins(ROOT / name) for name in BUNDLES)
    assert {name: whole[name] for name in plain} == plain
    assert set(whole) - set(plain) == (
        {"cryptography", "cffi", "pycparser"}  # sm4
        | {"paho-mqtt"}  # mqtt
        | {"flask", "waitress", "prometheus-client"}  # page
        | {"blinker", "itsdangerous", "jinja2", "markupsafe", "werkzeug"}  # what flask needs
        | {"openpyxl", "et-xmlfile"}  # tables
    )


def test_every_extra_but_that_of_the_tests_is_in_the_field() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*bill.EXTRAS, "test"} == set(project["optional-dependencies"])


def test_a_line_that_is_no_pin_is_refused(tmp_path: Path) -> None:
    for line in ("click>=8", "click==8.1", "-r other.txt", "--index-url something"):
        (tmp_path / "pins.txt").write_text(line + "\n")
        with pytest.raises(ValueError, match="is no pin with its hashes"):
            bill.pins(tmp_path / "pins.txt")


# -- the bill of materials


def kept() -> dict[str, dict[str, object]]:
    """The components of sbom.json by name."""
    return {one["name"]: one for one in json.loads(bill.FILE.read_text(encoding="utf-8"))["components"]}


def test_the_bill_lists_what_is_pinned_each_once_with_its_licence() -> None:
    found = json.loads(bill.FILE.read_text(encoding="utf-8"))
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.5", 1)
    names = [one["name"] for one in found["components"]]
    assert len(names) == len(set(names))
    assert {one["name"]: one["version"] for one in found["components"]} == {
        name: version for name, (version, _) in bill.pins(bill.PINS).items()
    }
    assert [one["name"] for one in found["components"] if not one["licenses"]] == []
    refs = {one["bom-ref"] for one in found["components"]} | {found["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in found["dependencies"]} == refs
    assert {below for one in found["dependencies"] for below in one["dependsOn"]} < refs


def test_what_is_installed_in_the_pinned_version_is_as_the_bill_says() -> None:
    """A newer library than the pinned one may need others; then the bundle is made anew."""
    bound = {one["ref"]: set(one["dependsOn"]) for one in json.loads(bill.FILE.read_text())["dependencies"]}
    compared = 0
    for name, component in kept().items():
        installed = metadata.version(name)
        if Version(installed) == Version(str(component["version"])):
            assert bill.licence(name) == component["licenses"], name
            assert {one.partition("@")[0].rpartition("/")[2] for one in bound[str(component["bom-ref"])]} == set(
                bill.needs(name)
            )
            compared += 1
    assert compared > 0


def test_a_bill_of_what_is_installed_has_the_installed_versions() -> None:
    tree = bill.closure(bill.wanted(*bill.EXTRAS))
    made = bill.bill({name: metadata.version(name) for name in tree})
    assert {one["name"]: one["version"] for one in made["components"]} == {
        name: metadata.version(name) for name in tree
    }
    assert {"pyserial", "minimalmodbus", "requests", "cryptography", "urllib3"} <= set(tree)
