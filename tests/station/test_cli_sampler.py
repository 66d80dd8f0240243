"""`station sampler` beside a running station and an emulated sampler, as a person types it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from station.config import load
from tests.station.commands import answer, configure, daemon, served, station, until

SAMPLER = """
[[bus]]
name = "wet"
port = "wet"
device = []

[[sampler]]
name = "outlet"
point = "site"
bottles = 3
bus = "wet"
unit_id = 9
profile = "dahu-24"
confirmed = true
poll_seconds = 1

[[uplink]]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A station and its sampler on a line of its own, which fills a bottle in 2 s."""
    config = configure(tmp_path_factory.mktemp("sampler") / "s", ("\n[[uplink]]\n", SAMPLER))
    socket = load(config).control_socket
    with served("emulate", "bus", config, "--speed", 30) as line:
        line.says("serving")
        with daemon(config) as process:
            until(lambda: answer(socket, "sampler", action="status")[0]["reachable"], 20, lambda: process.text)
            yield config


def test_a_bottle_is_taken_seen_collected_and_listed(site: Path) -> None:
    socket = load(site).control_socket
    taken = station("sampler", "take", "--by", "Li", "--reason", "inspection", "--config", site)
    assert (taken.code, taken.out) == (
        0,
        "outlet: bottle 1 is promised; station sampler status shows how far it is\n",
    )
    until(lambda: answer(socket, "sampler", action="status")[0]["used"] == 1, 20)
    shown = station("sampler", "status", "--config", site).out
    assert shown.startswith("outlet, point site: 1 bottle used, 2 free\n  box at 3.5 °C\n")
    assert "by hand: Li" in shown
    assert "bottles used 1/3" in station("status", "--config", site).out
    emptied = station("sampler", "empty", "outlet", "--by", "Zhao", "--lab", "1=W26-0117", "--config", site)
    assert emptied.code == 0
    assert emptied.out.startswith("outlet: 1 bottle collected by Zhao\n")
    assert "W26-0117" in emptied.out
    (row,) = json.loads(station("sampler", "list", "--json", "--config", site).out)
    assert (row["bottle"], row["state"], row["by"], row["laboratory"]) == (1, "kept", "Zhao", "W26-0117")
    assert (row["why"]["user"], row["why"]["uid"]) == ("Li", os.getuid())
    listed = station("sampler", "list", "--lang", "zh", "--config", site).out
    assert "手动:Li" in listed
    assert "Zhao" in listed
    day = datetime.fromisoformat(row["at"]).astimezone(load(site).zone).date()
    (sample,) = json.loads(station("report", "day", day, "--json", "--config", site).out)["samples"]
    assert (sample["bottle"], sample["why"]["user"], sample["by"]) == (1, "Li", "Zhao")
    assert station("report", "day", day, "--output", site.parent, "--config", site).code == 0
    (page,) = site.parent.glob("*.html")
    assert "W26-0117" in page.read_text(encoding="utf-8")
    told = station("events", "--config", site).out
    assert "sample in a bottle" in told
    assert "bottles collected" in told


def test_what_cannot_be_is_one_sentence(site: Path) -> None:
    for words, code, said in (
        (("take", "--by", " "), 2, "a bottle needs a person: --by NAME"),
        (("take", "inlet", "--by", "Li"), 2, 'there is no sampler "inlet"; known: outlet'),
        (("empty", "--by", "Li", "--lab", "1"), 2, '"1" is not BOTTLE=NUMBER, such as 3=W26-0117'),
        (("empty", "--by", "Li", "--bottle", 2), 2, "bottle 2 is free, so there is nothing to collect"),
        (("list", "inlet"), 2, 'there is no sampler "inlet"'),
    ):
        done = station("sampler", *words, "--config", site)
        assert said in done.err, done
        assert "Traceback" not in done.err
        assert done.code == code, done


def test_without_a_station_only_the_list_is_there(tmp_path: Path) -> None:
    config = configure(tmp_path / "s", ("\n[[uplink]]\n", SAMPLER))
    done = station("sampler", "take", "--by", "Li", "--config", config)
    assert done.code == 69
    assert "no station is running here" in done.err
