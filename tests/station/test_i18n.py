"""Two languages: the same keys and placeholders, none unused, none missing, and screens that hold what they must."""

from __future__ import annotations

import ast
import io
import re
import string
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from drivers import INPUTS
from drivers.captured import FAULTS, NOTES
from drivers.doctor import ADVICE
from drivers.faults import UNIT_FAULTS
from drivers.loopback import VERDICTS
from drivers.modbus import ModbusSettings
from drivers.profile_file import KEYS
from station import cli, entry, i18n, report, screen
from station.alarm import Cause, State
from station.aqi import LEVELS
from station.average import USES
from station.bottles import State as BottleState
from station.calibration_entry import _ENTRIES
from station.calibration_limits import LIMITS
from station.calibration_run import PROCEDURES, WHERE
from station.cells import Script
from station.checks import OUTCOMES as QC_OUTCOMES
from station.cli_calibrate_record import FIGURES
from station.cli_calibrated import COMPARED
from station.cli_loop import SHOWN
from station.cli_modem import COSTS as MODEM_COSTS
from station.cli_modem import SHOWN as MODEM_SHOWN
from station.cli_profile import ASKED, ASKED_FIRST, COLUMNS
from station.cli_sampler import BOTTLES, CUSTODY
from station.commissioning import STEPS
from station.comparison import TROUBLES
from station.config import resolve
from station.doctor import FINDINGS
from station.doctor import LEVELS as FINDING_LEVELS
from station.drift import WHYS as DRIFT_WHYS
from station.drifting import COLUMNS as DRIFT
from station.export import AVERAGE, READING
from station.i18n import LANGUAGES, t, texts
from station.live import COUNTS, OWED, SECTIONS, Place, plain
from station.live_session import _ACTIONS
from station.model import Mark, Reason, fields
from station.orders import WHYS as ORDER_WHYS
from station.own_reasons import PHRASES as OWN_REASONS
from station.page.happenings import GROUPS
from station.page.navigation import ITEMS
from station.page.preferences import THEMES
from station.page.series import KINDS as TREND_KINDS
from station.page.trends import SPANS as TREND_SPANS
from station.page.trends import WORDS as TREND_WORDS
from station.page.views import SPANS
from station.parameters import catalogue
from station.recipe import ABOUT
from station.report_table import COLUMNS as REPORTED
from station.rules import Why
from station.shewhart import RULES as QC_RULES
from station.water import WHYS as WATER_WHYS
from station.working import WHYS as LOAD_WHYS
from tests.docs import TABLES, WATCHED
from tests.station import event_codes
from tests.station.commands import configure, station
from uplink.http.link import HttpSettings
from uplink.mqtt.link import MqttSettings

SOURCE = Path(i18n.__file__).parent
MODULES = [*SOURCE.glob("*.py"), *(SOURCE / "page").glob("*.py")]
PAGE = (SOURCE / "report_page.py").read_text(encoding="utf-8")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Texts that are the same in both languages: nothing but placeholders and signs.
WORDLESS = {"doctor.line", "events.line", "status.unknown", "status.error", "emulate.record", "emulate.step"} | {
    "led.none",
    *("calibrate.ways", "modem.line"),
    *("init.colon", "report.and", "report.colon", "report.semicolon", "report_column.aqi", "report_column.dustfall"),
}
MODEM_DOWN = (
    *("not_registered", "searching", "denied", "unknown"),
    *("sim_none", "sim_pin", "sim_puk", "no_context", "unreachable"),
)
# Keys that are put together while the program runs, and what they are put together from.
MADE = {
    "beside_table.": ("modem", "screen", "sampler", "camera", "supply", "position", "receiver", "tunnel"),
    "beside_more.": (
        "screen_shows", "tunnel_until", "tunnel_up", "tunnel_trying", "tunnel_down",
        "supply_mains", "supply_battery", "supply_level", "supply_stopping", "supply_no_power_off",
        "position_fix", "position_no_fix", "position_at", "position_moved",
        "bottles_used", "bottle_filling", "box_temperature", "door_open", "sampler_full", "sampler_fault",
        "camera_last", "camera_waiting", "camera_missed",
        "operator", "apn", "rsrp", "rssi", "sinr", "bytes", "steps", *(f"down_{why}" for why in MODEM_DOWN),
    ),
    "tunnel_state.": ("up", "trying", "down"),
    "led.": ("maintenance", "calibrating", "fault", "stopped", "over", "none", "test"),
    "sampler_column.": [*CUSTODY, *BOTTLES],
    "bottle_state.": [str(state) for state in BottleState],
    "bottle_why.": ["rule", "platform", "person", "panel"],
    "page_stills.": ("gone", "changed"),
    "snapshot.": ("number", "taken", "camera", "for", "size", "hash"),
    "seal.still_": ("gone", "changed"),
    "modem_row.": MODEM_SHOWN,
    "modem_cost.": MODEM_COSTS,
    "modem_kind.": ("realtime", "minute", "hour", "day"),
    "modem_verdict.": ("good", "fair", "weak", "bad"),
    "modem_step.": ("redial", "reset", "power"),
    "modem_why.": ("home", "roaming", "no_answer", *MODEM_DOWN),
    "people_line.": ["raised", "pre", "again", "acknowledged", "over", "test"],
    "people.": ["name", "kind", "owed", "last", "error", "at", "person", "alarm", "what", "state"],
    "people_what.": ["raised", "pre", "again", "acknowledged", "over"],
    "people_state.": ["sending", "sent", "tried", "uncertain", "given_up"],
    "lab.": [
        "name",
        "point",
        "parameter",
        "sampled",
        "result",
        "own",
        "difference",
        "person",
        "report",
        "remark",
        "imported",
        "tried",
    ],
    "xlsx.title_": ["day", "month"],
    "xlsx.time_": ["day", "month"],
    "xlsx.column_": ["converted", "load_kg"],
    "xlsx.": ["mean", "maximum", "minimum", "valid", "total"],
    "procedure.": list(PROCEDURES),
    "run_state.": ["open", "done", "cancelled", "reverted", "ready", "failed"],
    "calibrate_no_line.": ["flat", "reversed", "no_span", "no_mean"],
    "calibrate_told.": ["zero", "span", "point", "write"],
    "calibrate_done.": ["done", "done_in_instrument", "checked"],
    "calibration_into.": list(WHERE),
    "compared.": [*COMPARED, "coefficients", "before", "serial", "firmware", "as_found", "as_left", "certificate"],
    "due.": ["device", "parameter", "kind", "every", "last", "due", "state", "source", "confidence"],
    "due_kind.": ["any", "check", "calibration", "flow"],
    "due_state.": ["ok", "soon", "overdue", "never"],
    "judged.": [*dict.fromkeys((*FIGURES, *(limit.what for limit in LIMITS)))],
    "confidence.": ["high", "medium", "low", "own"],
    "calibration_verdict.": ["passed", "failed", "none"],
    "calibration_entry.": [*_ENTRIES, "write", "tell", "told", "act_point", "act_write"],
    "calibrations.": ["name", "device", "parameter", "procedure", "state", "begun", "user", "verdict", "coefficients"],
    "certificate.": [key.removeprefix("certificate.") for key in texts("en") if key.startswith("certificate.")],
    "certificate_clock.": ["ntp", "host", "platform", "gnss", "network", "rtc", "none"],
    "qc.": [
        "name",
        "begun",
        "check",
        "device",
        "parameter",
        "standard",
        "value",
        "verdict",
        "remark",
        "due",
        "last_pass",
        "state",
    ],
    "qc_state.": ["open", "passed", "failed", "stopped", "never"],
    "qc_outcome.": list(QC_OUTCOMES),
    "qc_phase.": ["telling", "reading", "returning"],
    "qc_rule.": [name for name, *_ in QC_RULES],
    "qc_word.": ["confirm", "dismiss"],
    "drift_model.": ["two_point", "one_point_offset", "one_point_gain"],
    "drift_why.": list(DRIFT_WHYS),
    "export_column.": [*READING, *AVERAGE, *REPORTED, *DRIFT],
    "water_why.": list(WATER_WHYS),
    "own_reason.": list(OWN_REASONS.values()),
    "age.": ["seconds", "minutes", "hours"],
    "seal_bad.": ["rows", "tag", "missing", "head"],
    "click.": [key.removeprefix("click.") for key in texts("en") if key.startswith("click.")],
    "maintenance.": ["name", "what", "first", "end", "user", "reason", "by", "why"],
    "maintenance_by.": ["hand", "switch", "platform", "time"],
    "maintained.": ["on", "off", "sign"],
    "visited.": ["start", "note", "end"],
    "parts.": ["name", "device", "part", "interval", "replaced", "due", "left"],
    "parted.": ["add", "replace", "drop"],
    "compare.": ["name", "what", "begun", "user", "verdict"],
    "compare_verdict.": ["agrees", "differs", "incomplete"],
    "compare_trouble.": list(TROUBLES),
    "compare_how.": ["typed", "answered", "unconfirmed"],
    "compare_sheet.": [key.removeprefix("compare_sheet.") for key in texts("en") if key.startswith("compare_sheet.")],
    "commission_step.": list(STEPS),
    "loop.": ["began", "fed", "passed", "failed", "cancelled", "under_way"],
    "loop_column.": list(SHOWN),
    "commission_what.": list(STEPS),
    "commission_verdict.": ["passed", "failed", "skipped"],
    "commission_sheet.": [key.removeprefix("commission_sheet.") for key in texts("en") if "commission_sheet." in key],
    "heading.": ["Options", "Commands", "Arguments", "Usage"],
    "live.": list(SECTIONS),
    "live.none_": sorted(_ACTIONS.keys() - {"m"}),
    "status.": [*COUNTS, *OWED],
    "silence.": ["port", "rubbish", "exception", "nothing"],
    "kind.": ["realtime", "minute", "hour", "day", "furnace"],
    "gap.": ["off", "clock", "not_measured", "owed", "refused", "parked", "dropped"],
    "fault.": [name.replace("-N", "").replace("-", "_") for name in (*FAULTS, *NOTES)],
    "advice.": list(ADVICE),
    "advice_figures.": list(ADVICE),
    "verdict.": list(VERDICTS),
    "mark.": [mark.name for mark in Mark],
    "why.": [str(why) for why in Why],
    "contact.": [code for kind in INPUTS.values() for code in getattr(resolve(kind), "codes", ())],
    "dustfall.": [
        "start",
        "stop",
        "weigh",
        "blank",
        "void",
        "name",
        "state",
        "started",
        "stopped",
        "days",
        "net_mg",
        "value",
        "point",
        "jars",
        "remark",
    ],
    "collector.": ["name", "tared", "days", "mass_mg", "value", "held", "tare", "keep", "exclude"],
    "collector_held.": [
        "untared",
        "no_weight",
        "rain",
        "no_temperature",
        "temperature",
        "drift",
        "settling",
        "unsteady",
        "drying",
        "rising",
        "young",
        "foreign",
        "lost",
        "events_only",
    ],
    "dustfall_state.": ["out", "in", "weighed", "no_blank", "void"],
    "dustfall_entry.": ["start", "stop", "weigh", "blank", "void"],
    "sheet.": [
        "point",
        "jars",
        "days",
        "value",
        "remark",
        "exposure",
        "diameters",
        "area",
        "out",
        "in",
        "n",
        "m0",
        "m1",
        "blank",
        "net",
        "residue",
        "at",
        "by",
        "entry",
        "entered",
        "method_1",
        "method_2",
        "method_3",
        "method_4",
        "method_5",
        "did",
        "checked",
        "approved",
    ],
    "city.": ["time", "pm10", "aqi", "primary", "source"],
    "order.": ["name", "time", "percent", "point", "used", "allowed", "verdict"],
    "ordered.": ["add", "end", "withdraw"],
    "band.": ["name", "pair", "role", "span", "figures", "state"],
    "band_role.": ["production", "treatment"],
    "band_state.": ["proposed", "confirmed", "withdrawn"],
    "banded.": ["learn", "confirm", "withdraw"],
    "meter.": ["name", "point", "parameter", "at", "old", "new", "user", "reason"],
    "metered.": ["exchange", "withdraw"],
    "order_verdict.": ["complies", "exceeds", "undetermined"],
    "order_why.": list(ORDER_WHYS),
    "load.": ["name", "point", "used", "days", "until"],
    "load_why.": list(LOAD_WHYS),
    "air_level.": list(LEVELS),
    "odour.": ["none", "light", "severe"],
    "alarms.": ["name", "point", "value", "limit", "state", "why", "since"],
    "alarm_state.": [str(state) for state in State],
    "alarm_why.": [str(cause) for cause in Cause],
    "marks.": ["name", "point", "parameter", "mark", "from", "to", "user", "reason"],
    "marked.": ["mark", "end", "withdraw"],
    "reason.": [reason.name.lower() for reason in Reason],
    "demo.": ["readings", "records", "sent", "acknowledged", "resupplied", "duplicates", "lost"],
    "profile_ask.": ASKED_FIRST + ASKED,
    "profile_column.": COLUMNS,
    "report.": [
        *re.findall(r'_h\(\d, "(\w+)"', PAGE),
        *("charts_day", "charts_month"),
        *("north", "east", "south", "west", "water_class", "aqi_title"),
    ],
    "report_column.": [
        word
        for columns in re.findall(r"(?:_table\(\s*|columns = )(\([^()]*?\))", PAGE)
        for word in ast.literal_eval(columns)
    ],
    "init.": ["name", *ABOUT],
    "report_title.": ["day", "month"],
    "report_check.": ["value", "standard"],
    "report_made.": report.MADE_OF,
    "report_why.": report.WHYS,
    "report_use.": list(USES),
    "report_level.": list(LEVELS),
    "checkup.": list(FINDING_LEVELS),
    "checkup_advice.": [code for code, level in FINDING_LEVELS.items() if level in ("warning", "bad")],
    "checkup_level.": ["good", "warning", "bad", "unknown"],
    "checkup_topic.": list(FINDINGS),
    "checkup_end.": ["good", "warning", "bad"],
    "health.": ["well", "trouble", "stale", "absent"],
    "health_trouble.": ["store", "threads", "clock", "devices"],
    "event.": list(event_codes.found()[0]),
    "event_word.": [key.removeprefix("event_word.") for key in texts("en") if key.startswith("event_word.")],
    "event_value.": [key.removeprefix("event_value.") for key in texts("en") if key.startswith("event_value.")],
    "page_nav.": [item.word for item in ITEMS],
    "page_done.": [key.removeprefix("page_done.") for key in texts("en") if key.startswith("page_done.")],
    "page_span.": list(SPANS),
    "page_group.": ["all", *GROUPS],
    "page_mark.": [mark.name for mark in Mark],
    "page_refused.": [key.removeprefix("page_refused.") for key in texts("en") if key.startswith("page_refused.")],
    "page_error.": [key.removeprefix("page_error.") for key in texts("en") if key.startswith("page_error.")],
    "page.theme_": list(THEMES),
    "page_trends.": [
        *("auto", *TREND_KINDS, *TREND_WORDS),
        *(f"{kind}_sum" for kind in TREND_KINDS if kind != "readings"),
    ],
    "page_trends.span_": list(TREND_SPANS),
    "page_downloads.bad_": ["day", "month"],
    "page_downloads.": ["day", "month"],
    "report_method.": [key.removeprefix("report_method.") for key in texts("en") if key.startswith("report_method.")],
}


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each language in turn."""
    i18n.use(request.param)
    yield request.param
    i18n.use("en")


def placeholders(text: str) -> set[str]:
    """Names in braces, with how they are formatted."""
    return {f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None}


def templates() -> Iterator[str]:
    """The templates of the local page, which ask for texts by t("…") and t("…" ~ …), too."""
    for path in sorted((SOURCE / "page" / "templates").glob("*.html")):
        yield path.read_text(encoding="utf-8")


def used() -> set[str]:
    """Every key the code asks for: t("…"), t("…" if … else "…"), help="help.…", key="…" of options, table columns."""
    found = {f"{prefix}{word}" for prefix, words in MADE.items() for word in words}
    for text in templates():
        found |= set(re.findall(r"""\bt(?:_in)?\((?:\w+,)?\s*["'](\w+\.\w+)["']\s*[,)]""", text))
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name == "t" and node.args:
                found |= {one.value for one in whole(node.args[0]) if _is_key(one)}
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
                    if keyword.arg == "help":
                        found.add(keyword.value.value)
                    if keyword.arg == "key" and name == "option":
                        found.add(f"help.option_{keyword.value.value}")
            if name == "_table":
                found |= {f"status.{a.value}" for a in node.args if isinstance(a, ast.Constant)}
        found |= {f"status.{word}" for word in _counts(path)}
    return found


def whole(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions that a key may be as a whole: both sides of a choice, no part of an f-string."""
    if isinstance(node, ast.IfExp):
        yield from (*whole(node.body), *whole(node.orelse))
    elif isinstance(node, ast.NamedExpr):
        yield from whole(node.value)
    else:
        yield node


def put_together() -> tuple[set[str], set[str]]:
    """What the keys begin with that t(…) puts together while the program runs; and calls that say nothing of theirs."""
    begin, opaque = set(), set()
    for text in templates():
        begin |= set(re.findall(r"""\bt(?:_in)?\((?:\w+,)?\s*["'](\w+\.\w*)["']\s*~""", text))
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "t"):
                continue
            for one in whole(node.args[0]):
                first = one.values[0] if isinstance(one, ast.JoinedStr) else getattr(one, "left", one)
                if not isinstance(first, ast.Constant):
                    opaque.add(f"{path.name}: {ast.unparse(node)}")
                elif first is not one:
                    begin.add(str(first.value))
    return begin, opaque


def _is_key(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"\w+\.\w+", node.value) is not None
    )


def _counts(path: Path) -> list[str]:
    """The columns that screen.py names once for a table and its rows."""
    text = path.read_text(encoding="utf-8") if path.name == "screen.py" else ""
    return [word for found in re.findall(r"counts = (\(.*?\))", text) for word in ast.literal_eval(found)]


def test_both_files_have_the_same_keys_in_the_same_order() -> None:
    """So that they can be read side by side."""
    assert list(texts("en")) == list(texts("zh"))


@pytest.mark.parametrize("key", list(texts("en")))
def test_a_text_has_the_same_placeholders_in_both_languages(key: str) -> None:
    """And how they are aligned."""
    assert placeholders(texts("en")[key]) == placeholders(texts("zh")[key])


def test_every_key_the_code_asks_for_is_there() -> None:
    """No operator meets a KeyError."""
    assert used() - set(texts("en")) == set()


def test_every_text_is_used() -> None:
    """What nobody shows is not kept."""
    assert set(texts("en")) - used() == set()


# Keys that come from a table: what is in it stands in MADE, or is found as help="…" and key="…".
FROM_A_TABLE = {
    *("screen.py: t(key)", "live.py: t(key)", "texts.py: t(key)"),
    *("cli_maintenance.py: t(key, name=body['name'], user=body['user'])", "cli_visit.py: t(key, name=body['name'])"),
    "cli_loop.py: t(key, **more)",
    "report_page.py: t(key, humid=f'{HUMID_PERCENT:g}')",
    "cli_calibrated.py: t(f'{section}.{value}')",
    "deeds.py: t(key)",
    "words.py: t(key, **values)",  # of the templates: those keys are found in them
}
# Listed in MADE though no t(f"…") begins so: they come from tables, as whole keys, or are click's own.
BY_NAME = {"people_line.", "silence.", "click.", "page_done."} | {
    *("report_method.", "maintained.", "visited.", "parted.", "calibration_into."),
    *("own_reason.", "led."),
    *("checkup.", "checkup_advice.", "event.", "event_word.", "event_value."),  # looked up in both languages at once
}


def test_every_key_that_is_put_together_is_listed_with_what_it_is_put_together_from() -> None:
    """Else a key that only a rare state asks for would be missing, and nobody would know before it is met."""
    begin, opaque = put_together()
    assert begin - set(MADE) == set()
    assert set(MADE) - begin == BY_NAME
    assert opaque == FROM_A_TABLE


def words_of_programs() -> set[str]:
    """What is written in Latin letters in every language: commands, options, keys of files, choices, faults."""
    found = set()

    def walk(command: click.Command) -> None:
        for parameter in command.params:
            found.update(part for name in parameter.opts for part in re.findall("[A-Za-z]+", name))
            found.update(map(str, getattr(parameter.type, "choices", ())))
        for name, one in getattr(command, "commands", {}).items():
            found.add(name)
            walk(one)

    walk(cli.cli)
    tables = (*TABLES.values(), *map(resolve, WATCHED.values()), ModbusSettings, HttpSettings, MqttSettings)
    keys = {one.name for table in tables for one in fields(table)} | set(WATCHED) | set(TABLES) | set(catalogue())
    keys |= {word for table, words in KEYS.items() for word in (table, *words)}
    return {part for word in (found | keys | set(UNIT_FAULTS)) for part in re.findall("[A-Za-z]+", word)}


# What else a Chinese screen may say in Latin letters.
NAMES = {
    *("AQI", "BOM", "CRC", "CSV", "Ctrl", "Esc", "Excel", "ExecStopPost", "Flag", "GB", "GPIO", "HJ", "HTML", "JSON"),
    *("HTTP", "HTTPS", "XLSX"),
    "LED",
    *(
        "LANG",
        "MB",
        "Modbus",
        "README",
        "RS",
        "RTU",
        "RX",
        "TX",
        "SHA",
        "SIGTERM",
        "SM",
        "SVG",
        "TCP",
        "TOML",
        "USB",
        "UTC",
        "WPS",
    ),
    *("key", "pem"),  # ends of file names
    *("GPIOZERO", "PIN", "FACTORY", "mock", "drivers", "hardware", "station", "md", "toml", "parameters", "profiles"),
    *(
        "ABCD",
        "BADC",
        "CDAB",
        "DCBA",
        "CN",
        "MN",
        "PM",
        "NTP",
        "QN",
        "RTC",
        "RF",
        "DataTime",
        "FILE",
        "NAME",
        "Ldn",
        "Leq",
        "holding",
        "input",
    ),
    *("DEVICE", "PARAMETER", "PROCEDURE"),
    "none",  # typed to an emulator
    *("timedatectl", "dev", "serial", "path", "YYYY", "MM", "DD", "HH"),
    # What an administrator types, and the units and names of the host.
    *("systemctl", "journalctl", "dmesg", "sudo", "iotop", "ao", "du", "xh", "sort", "timer", "service", "systemd"),
    *("journald", "Storage", "volatile", "SIM", "DS", "Pi", "MB"),
    # Of mobile networks, as the card and the modem have them written on them.
    *("APN", "ICCID", "IMEI", "IP", "PIN", "PUK", "RSRP", "RSSI", "SINR", "dBm", "ModemManager", "by", "id"),
    *("network", "zone", "down", "step", "redial", "reset", "power"),  # keys, codes and words of options
    *("bit", "cm", "dB", "kWh", "kg", "km", "mA", "mg", "mm", "ms", "pH"),
}


def test_no_english_word_is_left_in_a_chinese_text() -> None:
    """Latin letters are names, units, commands, options and keys of files."""
    known = words_of_programs() | NAMES
    foreign = {
        (key, word)
        for key, text in texts("zh").items()
        for word in re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", "", text))
        if word not in known
    }
    assert sorted(foreign) == []


@pytest.mark.parametrize("key", [key for key in texts("en") if key not in WORDLESS])
def test_each_language_is_written_in_its_own_script(key: str) -> None:
    """Chinese has Chinese in it, English none."""
    assert CHINESE.search(texts("zh")[key])
    assert not CHINESE.search(texts("en")[key])


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 messages are still owed"), (1, "1 message is still owed"), (2, "2 messages are still owed"),
        (11, "11 messages are still owed"), (21, "21 messages are still owed"),
    ],
)  # fmt: skip
def test_an_english_word_goes_by_its_number(count: int, said: str) -> None:
    assert t("demo.still_owed", count=count) == said


@pytest.mark.parametrize("key", [key for key, text in texts("en").items() if re.search(r"\(e?s\)|\(\w*\|", text)])
def test_no_choice_by_number_is_left_in_an_english_text(key: str) -> None:
    """Each stands behind a number: with ones in all places nothing of the signs remains."""
    text = texts("en")[key]
    values = {name: 1 for _, name, _, _ in string.Formatter().parse(text) if name}
    assert not re.search(r"\(e?s\)|\(\w*\|\w*\)", i18n.numbered(text.format(**values)))


def test_no_english_noun_of_many_stands_behind_a_number_that_may_be_one() -> None:
    """It would read "1 messages": a noun of a count ends in (s) or is chosen."""
    counted = re.compile(r"\{(?:count|rows|devices|buses|points|platforms|owed|parked|dropped)\} ([a-z]+s)\b(?!\()")
    found = {key: match[1] for key, text in texts("en").items() if (match := counted.search(text))}
    assert found == {}


# Placeholders that a Chinese text may hold without a space: what fills them is Chinese itself, by key and name.
CHINESE_VALUES = {
    ("page.last_reply", "age"),
    ("status.backup", "age"),  # "5 分钟"
    ("page.ago", "age"),
    *((f"fault.{key}", "frame") for key in ("hex", "length", "crc", "unit", "alone")),  # 请求, 应答
    ("output.now", "state"),
    ("explain.period", "kind"),
    ("report.class_month", "grade"),
    *(("drift." + key, "why") for key in ("not_computable", "left_out")),
    ("due.overdue", "kind"),
}


def test_no_code_name_or_number_touches_a_chinese_character() -> None:
    """A space or quotation marks stand between: names of points and devices are written in Latin letters."""
    touching = {
        (key, re.split("[!:]", found[0] or found[1])[0])
        for key, text in texts("zh").items()
        for found in re.findall(r"[\u4e00-\u9fff]\{([^}]*)\}|\{([^}]*)\}[\u4e00-\u9fff]", text)
    }
    assert touching == CHINESE_VALUES


def test_nothing_written_in_latin_letters_or_digits_touches_a_chinese_character() -> None:
    """In what a text itself says."""
    touching = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9]+|[A-Za-z0-9]+[\u4e00-\u9fff]")
    bare = {key: re.sub(r"\{[^}]*\}", "", text) for key, text in texts("zh").items()}
    assert {(key, found) for key, text in bare.items() for found in touching.findall(text)} == set()


def test_an_unknown_language_is_refused() -> None:
    """And the one in use stays."""
    with pytest.raises(ValueError, match=r'^"fr" is not one of zh, en$'):
        i18n.use("fr")
    assert i18n.language() == "en"


def test_every_parameter_has_a_name_in_both_languages() -> None:
    """In its own script, and no two the same: a screen tells them apart by it."""
    for code, pattern in (("zh", True), ("en", False)):
        names = [parameter.name(code) for parameter in catalogue().values()]
        assert [name for name in names if not name.strip()] == []
        assert sorted(name for name in set(names) if names.count(name) > 1) == []
        if not pattern:
            assert [name for name in names if CHINESE.search(name)] == []


# -- screens


def value(
    point: str, parameter: str, number: float | None, unit: str, mark: str, age: float, current: bool = True
) -> dict[str, Any]:
    """One value as station/status.py says it."""
    return {
        "point": point, "parameter": parameter, "value": number, "unit": unit, "mark": mark, "age_seconds": age,
        "current": current,
    }  # fmt: skip


FOUND: dict[str, Any] = {
    "station": "南岸站",
    "running": True,
    "time": "2026-03-01T00:10:00+00:00",
    "started": "2026-03-01T00:00:00+00:00",
    "store": {"file": "/data/station.db", "readings": 10, "taken": 12, "error": "/data/station.db: the disk is full"},
    "devices": [
        {
            "name": "dust", "bus": "line", "answers": True, "last_reply": "2026-03-01T00:09:55+00:00", "missed": 0,
            "error": "",
            "values": [
                value("site", "pm25", 35.04, "µg/m³", "N", 5.0),
                value("site", "pm10", 9000.0, "µg/m³", "T", 5.0),
                value("site", "tsp", 80.0, "µg/m³", "N", 600.0, current=False),
            ],
        },
        {
            "name": "sonde", "bus": "water", "answers": False, "last_reply": None, "missed": 17,
            "error": "sonde: no reply within 0.5 s",
            "values": [
                value("river", "ph", None, "", "B", 7200.0),
            ],
        },
    ],
    "platforms": [
        {
            "name": "district", "connected": True, "owed": 3, "oldest_seconds": 200.0, "answered": 12,
            "unconfirmed": 4, "parked": 1, "dropped": 2, "error": "",
        },
    ],
}  # fmt: skip


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Console:
    """A console of a given width that remembers what it showed."""
    console = Console(width=getattr(request, "param", 80), record=True, file=io.StringIO())
    monkeypatch.setattr(screen, "console", lambda: console)
    return console


@pytest.mark.parametrize("shown", [80, 100], indirect=True)
def test_the_status_screen_holds_what_it_must(language: str, shown: Console) -> None:
    """Every device, value, unit, mark, age and count, none of it cut off, in either width."""
    screen.show_status(FOUND, {"site": "North", "river": "Outlet"}, UTC)
    text = shown.export_text()
    flat = " ".join(text.split())
    assert "…" not in text
    assert max(map(_cells, text.splitlines())) <= shown.width
    for words in (
        t("status.title", name="南岸站"),
        t("status.store_error", text="/data/station.db: the disk is full"),
        t("status.error", name="sonde", text="sonde: no reply within 0.5 s"),
    ):
        assert words in flat
    lines = [" ".join(line.split()) for line in text.splitlines()]
    pm25, pm10, ph = (catalogue()[key].name(language) for key in ("pm25", "pm10", "ph"))
    assert f"dust line {t('status.answers')} {t('age.seconds', n=5)} 0" in lines
    assert f"sonde water {t('status.silent')} {t('age.never')} 17" in lines
    assert f"dust North (site) {pm25} 35.0 µg/m³ N {t('mark.N')} {t('age.seconds', n=5)}" in lines
    assert f"dust North (site) {pm10} 9000.0 µg/m³ T {t('mark.T')} {t('age.seconds', n=5)}" in lines
    tsp = catalogue()["tsp"].name(language)
    assert f"dust North (site) {tsp} 80.0 µg/m³ {t('mark.outdated')} {t('age.minutes', n=10)}" in lines
    assert f"sonde Outlet (river) {ph} - B {t('mark.B')} {t('age.hours', n=2)}" in lines
    assert f"district {t('status.connected')} 3 {t('age.minutes', n=3)} 12 4 1 2" in lines


def _cells(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


def test_a_station_without_devices_or_platforms_says_so(language: str, shown: Console) -> None:
    """Instead of empty tables."""
    screen.show_status(FOUND | {"devices": [], "platforms": [], "running": False}, {}, UTC)
    text = shown.export_text()
    for key in ("status.no_devices", "status.no_platforms", "status.stopped"):
        assert t(key) in text


@pytest.mark.parametrize("show", ["status", "live"])
def test_a_chinese_screen_has_no_english_but_names_units_and_errors(show: str, shown: Console) -> None:
    """Also in what the code puts beside the texts."""
    i18n.use("zh")
    try:
        screen.show_status(FOUND, {"site": "北围挡", "river": "排口"}, UTC)
        place = Place(width=80, script=Script("utf-8"), zone=UTC, points={"site": "北围挡", "river": "排口"})
        text = shown.export_text() if show == "status" else plain(FOUND, "南岸站", "", place)
    finally:
        i18n.use("en")
    for error in ("/data/station.db: the disk is full", "no reply within 0.5 s"):
        text = text.replace(error, "")
    names = {"dust", "sonde", "district", "site", "river", "line", "water", "UTC", "PM", "pH", "µg", "m"}
    assert set(re.findall("[A-Za-zµ]+", text)) - names - {mark.name for mark in Mark} == set()


@pytest.mark.parametrize("shown", [80, 100], indirect=True)
def test_the_samples_of_one_reading_are_shown_with_their_marks(language: str, shown: Console) -> None:
    """Every parameter of the catalogue fits."""
    screen.show_samples([{"parameter": p.key, "value": 1.0, "unit": p.unit, "mark": "N"} for p in catalogue().values()])
    text = shown.export_text()
    assert "…" not in text
    for parameter in catalogue().values():
        assert parameter.name(language) in text
        assert parameter.unit in text
    assert text.count(f"N {t('mark.N')}") == len(catalogue())


@pytest.mark.parametrize(
    ("language", "summary"),
    [
        ("en", "{path}: no faults (1 device on 1 bus, 1 point, 1 platform)"),
        ("zh", "{path}:没有错误(1 条总线、1 台设备、1 个点位、1 个平台)"),
    ],
)
def test_the_summary_of_check_is_in_the_operators_language(language: str, summary: str, tmp_path: Path) -> None:
    """With the faults themselves in English, to be searched and shared."""
    path = configure(tmp_path)
    good = station("check", path, "--lang", language)
    assert good.out.splitlines()[-1] == summary.format(path=path)
    configure(tmp_path, ("unit_id = 1", "unit_id = 300"))
    bad = station("check", path, env={"LANG": {"zh": "zh_CN.UTF-8", "en": "en_GB.UTF-8"}[language]})
    assert "bus[0].device[0].unit_id: 300 is above 255" in bad.out
    assert (
        bad.err.strip()
        == {
            "en": "1 fault found; nothing will start with this configuration",
            "zh": "发现 1 处错误;此配置无法启动",
        }[language]
    )


def test_what_click_says_by_itself_is_chinese_in_a_chinese_session(tmp_path: Path) -> None:
    """The full stop, what an option must be given, what it is without."""
    missing = station("bus", "scan", "--lang", "zh", cwd=tmp_path)
    assert (missing.code, missing.err.splitlines()[-1]) == (2, "错误:缺少参数 'BUS'。")
    assert "[必填]" in station("resend", "--lang", "zh", "--help").out
    assert "[默认:" in station("demo", "--lang", "zh", "--help").out
    assert "[default:" in station("demo", "--help").out


def test_ctrl_c_while_the_program_is_being_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as every other does: 130."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
