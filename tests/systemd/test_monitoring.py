"""The example dashboard and alert rules ask for nothing that /metrics does not tell, by labels that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from station import doctor
from station.cli import cli
from station.clock import boot_id
from station.host import Host
from station.page import metrics
from station.page.metrics import METRICS, Collector
from tests.page.filled import NOW, FixedSource, station

FOLDER = Path(__file__).parents[2] / "systemd" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
SCRAPED = {"instance", "job"}  # what Prometheus adds
WORDS = {  # of PromQL: functions, operators, what groups
    *("sum", "max", "min", "avg", "count", "abs", "rate", "increase", "by", "without", "or", "and", "unless", "on"),
    *("group_left", "absent", "label_values", "up"),
}


def live() -> dict[str, Any]:
    """What a station says that has everything."""
    at = (NOW - timedelta(hours=1)).isoformat()
    value = {"point": "gate", "parameter": "pm25", "value": 1.0, "unit": "µg/m³", "mark": "N", "time": at}
    line = dict.fromkeys(("requests", *metrics.ERRORS), 1)
    return {
        "running": True, "started": at, "silent_threads": [],
        "store": {"error": "", "bytes": 1, "inside": 0, "readings": 9, "oldest": (NOW - timedelta(days=9)).isoformat(),
                  "newest": at},
        "devices": [{"name": "dust", "bus": "line", "answers": True, "last_reply": at, "missed": 0, "line": line,
                     "values": [value]}],
        "platforms": [{"name": "district", "connected": True, "owed": 0, "unconfirmed": 0, "parked": 0,
                       "oldest_seconds": 1.0, "answered": 1, "dropped": 0}],
        "clock": {"trust": "ntp", "waiting": 0, "platforms": {"district": {"seconds": 1.0}}},
        "seal": {"epoch": 1, "at_ms": 0, "keyed": True},
        "backup": {"time": at, "bytes": 1},
        "alarms": [{"name": "a", "point": "gate", "parameter": "pm25", "state": "alarm"}],
        "beside": [{"table": "modem", "name": "4G", "error": "", "silent": 0, "words": {}, "modem": {
            "why_down": "", "registration": "home", "rsrp": -85, "sinr": 16.0, "rssi": -67, "clock_offset": 1.0,
            "steps_today": 0, "month": "2026-12", "received": 1, "sent": 1, "budget_mb": 30, "operator": "o",
            "apn": "a", "iccid": "1", "imei": "2"}},
             {"table": "supply", "name": "nut", "error": "", "on_battery": False, "percent": 90.0, "volts": 4.1},
             {"table": "position", "name": "gpsd", "error": "", "fix": True, "moved": False}],
        "qc": [{"check": "c", "device": "dust", "parameter": "pm25", "overdue": False}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every sample's name and its labels, of a station and a board that have everything."""
    folder = tmp_path_factory.mktemp("station")
    for name, text in {
        "sys/class/thermal/thermal_zone0/temp": "61250",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0",
    }.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    source = FixedSource(station(folder / "s", filled=False), live())
    (folder / "s" / "health.json").write_text(json.dumps({"monotonic": 0.0, "boot": boot_id()}))
    return {
        sample.name: set(sample.labels) for family in Collector(source, Host(folder)).collect()
        for sample in family.samples
    }  # fmt: skip


def test_everything_that_is_declared_can_be_told(exposed: dict[str, set[str]]) -> None:
    endings = {"counter": "_total", "info": "_info", "gauge": ""}
    assert set(exposed) == {f"niutang_{name}{endings[kind]}" for name, (kind, _, _) in METRICS.items()}


# -- a small reader of PromQL


def asked(query: str) -> Iterator[tuple[str, set[str]]]:
    """Every metric in *query* with the labels that its selector names.

    >>> [(name, sorted(labels)) for name, labels in asked('sum by (a) (rate(x_total{b="c", d=~"e"}[5m])) / y')]
    [('x_total', ['b', 'd'])]
    """
    for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?", grouping_out(query)):
        if selector or name.startswith("niutang_"):
            yield name, set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector))


def grouping_out(query: str) -> str:
    """*query* without what it groups by and without texts that are no part of a selector."""
    return re.sub(r"\b(by|without|on|group_left)\s*\([^)]*\)", r"\1", query)


def grouped(query: str) -> set[str]:
    """The labels that *query* groups by."""
    found = re.findall(r"\b(?:by|without|on|group_left)\s*\(([^)]*)\)", query)
    return {label.strip() for labels in found for label in labels.split(",")}


def faults(query: str, exposed: dict[str, set[str]]) -> list[str]:
    """What *query* asks for that is not there."""
    found, known = [], set(SCRAPED)
    for name, labels in asked(query):
        if name == "up":
            continue
        if name not in exposed:
            found.append(f"{name} is not exposed")
            continue
        known |= exposed[name]
        found += [f"{name} has no label {label}" for label in sorted(labels - exposed[name] - SCRAPED)]
    found += [f"nothing has the label {label}" for label in sorted(grouped(query) - known)]
    words = set(re.findall(r"[a-z_]\w*", re.sub(r'"[^"]*"|\[[^\]]*\]|\{[^}]*\}', "", grouping_out(query))))
    return found + [f"{word} is no word of PromQL" for word in sorted(words - WORDS - set(exposed))]


def test_the_reader_finds_what_is_wrong(exposed: dict[str, set[str]]) -> None:
    assert faults('niutang_up{instance=~"$instance"} == 0', exposed) == []
    assert faults("niutang_upp == 0", exposed)[0] == "niutang_upp is not exposed"
    assert faults('rate(niutang_bus_errors_total{kind="x"}[5m])', exposed) == [
        "niutang_bus_errors_total has no label kind"
    ]
    assert faults("sum by (colour) (niutang_device_up)", exposed) == ["nothing has the label colour"]
    assert faults("rat(niutang_device_up)", exposed) == ["rat is no word of PromQL"]


# -- the rules


def rules() -> list[dict[str, str]]:
    """Each rule's name, expr, labels and texts, of a file that is plain enough to be read without a YAML library."""
    text = re.sub(r">-\n((?: {10}.*\n)+)", lambda m: " ".join(m[1].split()) + "\n", RULES)
    return [
        dict(re.findall(r"^ *(alert|expr|for|severity|summary|advice): \"?(.*?)\"?$", block, re.MULTILINE))
        | {"alert": block.split("\n")[0]}
        for block in re.sub(r"labels: \{(.*)\}", r"\1", text).split("      - alert: ")[1:]
    ]


def test_rules_ask_for_what_is_told(exposed: dict[str, set[str]]) -> None:
    assert len(rules()) > 20
    assert {rule["alert"]: found for rule in rules() if (found := faults(rule["expr"], exposed))} == {}


def test_rules_have_names_of_their_own_a_severity_and_a_text() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["summary"], rule["alert"]
        assert rule["advice"], rule["alert"]


def test_texts_of_rules_name_labels_that_their_metric_has(exposed: dict[str, set[str]]) -> None:
    for rule in rules():
        said = set(re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["advice"]))
        here = set().union(*(exposed.get(name, set()) for name, _ in asked(rule["expr"])))
        by = grouped(rule["expr"])
        assert said <= (by or here | SCRAPED), rule["alert"]


def test_advice_names_commands_that_there_are() -> None:
    for rule in rules():
        for words in re.findall(r"\bstation ((?:[a-z]+ ?)+)", rule["advice"].replace("{{", ",")):
            command: Any = cli
            for word in words.split():
                if isinstance(command, click.Group):
                    command = command.commands.get(word)
            assert isinstance(command, click.Command), f"{rule['alert']}: station {words}"
            assert not isinstance(command, click.Group), f"{rule['alert']}: station {words}"


def test_limits_of_rules_are_those_of_the_doctor() -> None:
    by_name = {rule["alert"]: rule["expr"] for rule in rules()}
    for name, limit in {
        "DiskScarce": doctor.SCARCE,
        "DiskLastsShort": doctor.SHORT_DAYS,
        "OutboxOld": doctor.LONG_OFFLINE,
        "SealOld": doctor.HEAD_OLD.total_seconds(),
        "BackupOld": doctor.COPY_OLD.total_seconds(),
        "StationStale": metrics.FRESH,
    }.items():
        assert by_name[name].split()[-1] == f"{limit:.0f}", name
    assert f">= {doctor.HOT:.0f} " in by_name["Hot"]


# -- the dashboard


def test_each_panel_asks_for_what_is_told(exposed: dict[str, set[str]]) -> None:
    found = {
        f"{panel['title']}: {target['expr']}": wrong
        for panel in DASHBOARD["panels"] for target in panel["targets"]
        if (wrong := faults(target["expr"], exposed))
    }  # fmt: skip
    assert found == {}
    assert len(DASHBOARD["panels"]) > 12


def test_legends_and_variables_name_labels_that_there_are(exposed: dict[str, set[str]]) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            said = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            here = set().union(*(exposed[name] for name, _ in asked(target["expr"])))
            assert said <= (grouped(target["expr"]) or here), panel["title"]
    for one in DASHBOARD["templating"]["list"]:
        if one["type"] == "query":
            query, _, label = one["definition"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            (name, labels), = asked(query)  # fmt: skip
            assert labels | {label} <= exposed[name] | SCRAPED
            assert one["query"]["query"] == one["definition"]


def test_variables_that_panels_use_are_defined() -> None:
    defined = {one["name"] for one in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD["panels"])
    assert set(re.findall(r"\$\{?(\w+)\}?", text)) <= defined
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
