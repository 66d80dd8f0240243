"""The documentation is held to the code."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from station import model
from station.config import load
from tests.docs import FILES, LINKS, ROOT, filled

PAGES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(p.parts))


def headings(file: str) -> list[int]:
    """The level of every heading, outside code blocks."""
    text = re.sub(r"```.*?```", "", (ROOT / file).read_text(encoding="utf-8"), flags=re.S)
    return [len(m[1]) for m in re.finditer(r"^(#+) ", text, flags=re.M)]


@pytest.mark.parametrize("file", FILES)
def test_the_tables_of_keys_and_commands_are_those_of_the_code(file: str) -> None:
    """Mend with: python -m tests.docs"""
    assert (ROOT / file).read_text(encoding="utf-8") == filled(file)


def test_both_readmes_have_the_same_headings_and_blocks() -> None:
    """What one language says the other says too."""
    assert headings("README.md") == headings("README.zh.md")
    codes = [re.findall(r"^\| (\d+) \|", (ROOT / f).read_text(encoding="utf-8"), flags=re.M) for f in LINKS]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("page", ["hardware/README.md", "station/handbook.md"])
def test_a_page_for_technicians_says_the_same_in_both_languages(page: str) -> None:
    """The same headings, tables and code, word for word; what is between them is the translator's."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (page, page.replace(".md", ".zh.md"))]
    plain = [re.sub(r"<!-- (\S+) -->.*?<!-- /\1 -->|```console.*?```", "", text, flags=re.S) for text in texts]
    for pattern in (
        r"^(#+) ",
        r"^(\|)",
        r"^(\d+\.|-) ",
        r"```sh\n(.*?)```",
        r"```toml\n(.*?)```",
        r"!\[.*?\]\((.*?)\)",
    ):
        found = [re.findall(pattern, text, flags=re.M | re.S) for text in plain]
        assert found[0] == found[1], pattern
    prose = [re.sub(r"```.*?```", "", text, flags=re.S) for text in plain]
    spans = [sorted(re.findall(r"`([^`\n]+)`", text)) for text in prose]
    assert spans[0] == spans[1]


def test_what_the_chinese_page_of_instruments_shows_is_in_the_english_one() -> None:
    """Its samples are the same but for comments and what is left out; its tools and keys are those of the other."""
    english, chinese = ((ROOT / "drivers" / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    blocks = [re.findall(r"```toml\n(.*?)```", text, flags=re.S) for text in (english, chinese)]
    ours, theirs = ([{line.partition("#")[0].strip() for line in one.splitlines()} for one in each] for each in blocks)
    assert len(theirs) == 3
    assert [one for one in theirs if not any(one <= other for other in ours)] == []
    prose = re.sub(r"```.*?```|<!-- advice.*", "", chinese, flags=re.S)
    for command in re.findall(r"`(?:station )?(bus \w+|profile \w+)", prose):
        assert command in english, command
    for key in re.findall(r"`(\w+)(?: = [^`]*)?`", prose):
        assert key in english, key


def test_every_exit_code_is_documented() -> None:
    """Every StationError's code stands in the table."""
    for name in ("drivers.base", "uplink.base", "station.status", "station.control", "station.demo"):
        importlib.import_module(name)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    documented = {int(n) for n in re.findall(r"^\| (\d+) \|", text, flags=re.M)}
    families, used = [model.StationError], {0, 2, 70, 130}
    while families:
        family = families.pop()
        used.add(family.exit_code)
        families += family.__subclasses__()
    assert used == documented


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Relative links and pictures."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing = [t for t in targets if not (ROOT / page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_toml_block_is_toml(page: Path) -> None:
    """A sample that cannot be read teaches nothing."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    assert [block for block in blocks if tomllib.loads(block) == {}] == []


def test_every_rule_names_a_function_and_a_test_that_exist() -> None:
    """The table of station/README.md: rule, function, test, clause, confidence."""
    text = (ROOT / "station" / "README.md").read_text(encoding="utf-8").partition("## Each rule with its test")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    wrong = []
    for rule, function, test, clause, confidence in rows[1:]:
        if rule.startswith("---"):
            continue
        module, _, name = function.strip("`").removeprefix("station.").partition(".")
        thing: object = importlib.import_module(f"station.{module}")
        for part in name.split("."):
            thing = getattr(thing, part, None)
        file, _, case = test.strip("`").partition("::")
        there = (ROOT / file).is_file() and f"def {case}(" in (ROOT / file).read_text(encoding="utf-8")
        sure = confidence in ("high", "medium", "low", "ours")
        if not (callable(thing) and there and clause and sure):
            wrong.append(rule)
    assert len(rows) > 10
    assert wrong == []


def test_the_example_configuration_loads(tmp_path: Path) -> None:
    """What README.md offers as a start is one."""
    text = (ROOT / "station" / "example" / "station.toml").read_text(encoding="utf-8")
    (tmp_path / "station.toml").write_text(text, encoding="utf-8")
    (tmp_path / "district.password").write_text("123456")
    assert load(tmp_path / "station.toml").config.station.name == "Niutang demo"


def test_the_first_two_commands_are_the_promised_ones() -> None:
    """CI calls the second as it stands here."""
    commands = re.findall(r"```sh\n(python3 -m venv .*)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    install = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/"
    assert commands == [f"{install}station demo", f"{install}pytest"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_has_a_placeholder(page: Path) -> None:
    """What is to be filled in is filled in."""
    assert (
        re.findall(r"^(?:TRANSCRIPT|FIGURES|TODO|TBD)\b", (ROOT / page).read_text(encoding="utf-8"), flags=re.M) == []
    )


def test_every_public_function_of_the_pure_modules_says_what_it_does() -> None:
    """Docstrings on what others call."""
    silent = []
    for name in ("average", "calibrate", "qc", "clock", "store", "outbox", "loader", "config", "model"):
        module = importlib.import_module(f"station.{name}")
        for key, thing in vars(module).items():
            ours = getattr(thing, "__module__", "") == module.__name__
            if ours and not key.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing)):
                silent += [f"{name}.{key}"] * (not thing.__doc__)
    assert silent == []
