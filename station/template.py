"""Templates: instruments whose addresses come with a contract, as commented tables of station.toml to be filled in.

They stand in station/templates as recipes do, written "中文 | English".  What nobody here knows is "?", which station
check refuses by its place; and an analyser is refused until it was confirmed (drivers/analyser.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from station.model import WrongArgument, did_you_mean
from station.parameters import catalogue
from station.recipe import in_language

FOLDER = Path(__file__).with_name("templates")
UNKNOWN = '"?"'
# name: what the analyser measures, a key of station/parameters.toml
ANALYSERS: Mapping[str, str] = {
    "analyser-cod": "cod",
    "analyser-nh3n": "ammonia_nitrogen",
    "analyser-tn": "total_nitrogen",
    "analyser-tp": "total_phosphorus",
}


def template(name: str, language: str) -> str:
    """The table of station.toml called *name* in *language*; raise WrongArgument.

    >>> print(*template("analyser-cod", "en").splitlines()[7:10], sep="\\n")
    [[bus.device]]
    name = "cod"
    driver = "analyser"
    """
    if name not in ANALYSERS:
        hint = did_you_mean(name, ANALYSERS)
        raise WrongArgument(f'there is no template "{name}"{hint}; known: {", ".join(ANALYSERS)}')
    parameter = ANALYSERS[name]
    known = catalogue()[parameter]
    text = in_language((FOLDER / "analyser.toml").read_text(encoding="utf-8"), language)
    given = {"zh": known.zh, "en": known.en, "key": name.removeprefix("analyser-"), "parameter": parameter}
    for key, value in given.items():
        text = text.replace("{" + key + "}", value)
    return text


def unknown_in(text: str) -> int:
    """How many places of *text* are still to be filled in."""
    return sum(line.partition("#")[0].count(UNKNOWN) for line in text.splitlines())
