"""`station demo --recipe`: what is refused; whole runs of the duties' recipes are CI's (.ci/run)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from station import demo, i18n
from station.recipe import names, recipe
from tests.station.commands import station

CI = Path(__file__).parents[2] / ".ci" / "run"


def test_a_recipe_that_is_none_is_refused_with_the_nearest() -> None:
    done = station("demo", "--recipe", "bolier")
    assert done.code == 2
    assert 'there is no recipe "bolier"; did you mean boiler?' in done.err


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", [name for name in names() if name != "dustfall-network"])
def test_each_recipe_is_made_ready_for_the_platform_of_the_demo(tmp_path: Path, name: str, language: str) -> None:
    i18n.use(language)
    try:
        loaded = demo._configure(tmp_path, 4711, "2025", True, name)
    finally:
        i18n.use("en")
    assert {(one.host, one.port) for one in loaded.config.uplink} == {("127.0.0.1", 4711)}
    assert loaded.config.station.clock == "host"
    assert loaded.config.page.listen == "127.0.0.1"


def test_what_is_entered_by_hand_is_no_demo() -> None:
    done = station("demo", "--recipe", "dustfall-network", "--lang", "zh")
    assert done.code == 2
    assert "由人工录入" in done.err


def test_ci_runs_the_recipes_of_the_duties() -> None:
    """A3, A5, A9, A15 and A22, each from its instruments to its platform."""
    (line,) = re.findall(r"^for recipe in (.+); do$", CI.read_text(), re.MULTILINE)
    assert set(line.split()) <= set(names())
    duties = " ".join(recipe(name, "en").about["duty"] for name in line.split())
    assert {"A3", "A5", "A9", "A15", "A22"} <= set(duties.split())
