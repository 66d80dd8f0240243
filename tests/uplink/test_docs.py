"""uplink/hj212/README.md says what the code does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import uplink.hj212
from station.commands import VERBS
from station.loader import Unusable, build
from station.model import fields
from station.parameters import catalogue
from tests.uplink.test_dialogues import dialogue_test
from uplink.hj212.dialects import DIALECTS, VARIANTS, Habits
from uplink.hj212.emulator import FAULTS
from uplink.hj212.inspect import FAILURES, REMARKS
from uplink.hj212.link import Hj212Settings, PointSettings
from uplink.hj212.messages import COMMANDS, UPLOADS
from uplink.hj212.rig import read_script
from uplink.hj212.verbs import MEANINGS

README = Path(uplink.hj212.__file__).with_name("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def table(heading):
    """Rows of the table whose header row begins with *heading*, as lists of cells."""
    start = README.index(f"| {heading} |")
    rows = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def keys(heading):
    return [key for row in table(heading) for key in re.findall(r"`(\w+)`", row[0])]


def test_every_key_has_its_row_and_every_row_its_key():
    assert sorted(keys("key")) == sorted(field.name for field in fields(Hj212Settings))
    assert sorted(keys("key of `[[uplink.point]]`")) == sorted(field.name for field in fields(PointSettings))


def test_the_defaults_are_those_of_the_code():
    defaults = {row[0].strip("`"): row[1].strip("`") for row in table("key")}
    for field in fields(Hj212Settings):
        if isinstance(field.default, int | float | str) and field.name in defaults:
            shown = f'"{field.default}"' if isinstance(field.default, str) else f"{field.default:g}"
            shown = str(field.default).lower() if isinstance(field.default, bool) else shown
            assert defaults[field.name] == shown, field.name


@pytest.mark.parametrize("block", BLOCKS)
def test_every_toml_block_loads_into_faultless_settings(block):
    for entry in tomllib.loads(block).get("uplink", ()):
        faults = []
        settings = build(Hj212Settings, entry, "uplink", faults)
        assert [*faults, *settings.faults(catalogue())] == []


def test_the_script_in_the_page_is_one(tmp_path):
    (block,) = [block for block in BLOCKS if "[[step]]" in block]
    (script := tmp_path / "script.toml").write_text(block, encoding="utf-8")
    steps = read_script(script)
    assert [step.name for step in steps] == ["three minutes arrive", "1011", "2051", "down", "none"]
    assert [step.wait for step in steps] == [0, 0, 0, 30, 0]


SENT = {
    "1001": "by `provision`",
    "1013": "if `ask_clock`",
    "1014": "when the key is old",
    "9015": "if `heartbeat_seconds`",
}


def now(row):
    """What the station does about *row*, worked out from the tables."""
    if row.direction == "up":
        answered = row.cn in ("9011", "9012", "9013") or row.cn in ANSWERED
        return SENT.get(row.cn) or ("sent" if answered or row.cn in UPLOADS.values() else "not sent")
    return "taken" if row.kind == "A" else f"`{row.verb}`" if row.verb else "refused"


ANSWERED = {cn for cn, meanings in MEANINGS.items() if any(each.answers or each.verb == "recall" for each in meanings)}


def group(row):
    """Which word of `allow` lets *row* be carried out."""
    return VERBS[row.verb].group if row.verb in VERBS else "–"


def generated():
    """The tables of the page that follow from the code: headings to rows."""
    commands = [
        [
            row.cn,
            row.direction,
            row.kind,
            f"{row.since}–{row.until}",
            row.purpose,
            row.fields or "–",
            now(row),
            group(row),
            f"`{test}`" if (test := dialogue_test(row)) else "–",
        ]
        for row in COMMANDS
    ]
    variants = [
        [f"`{name}`", f"`{row.parent}`" if row.parent else "the generation", ", ".join(row.standards), row.text]
        for name, row in VARIANTS.items()
    ]
    habits = [[f"`{field.name}`", field.metadata["text"]] for field in fields(Habits)]
    return {
        ("CN", "direction", "kind", "since–until", "purpose", "fields", "now", "allow", "dialogue test"): commands,
        ("dialect", "builds on", "spoken in", "what it is"): variants,
        ("key of `[uplink.habits]`", "meaning"): habits,
        ("failure", "what it is"): [[f"`{name}`", text] for name, text in FAILURES.items()],
        ("remark", "what it is"): [[f"`{name}`", text] for name, text in REMARKS.items()],
        ("fault", "what it does"): [[f"`{name}`", text] for name, text in FAULTS.items()],
    }


def test_an_unknown_habit_is_a_fault_with_a_suggestion():
    faults = []
    table = {"habits": {"hour_datatme": "end"}, "dialect": "site-dst"}
    with pytest.raises(Unusable):
        build(Hj212Settings, table, "uplink", faults)
    texts = {fault.path: fault.text for fault in faults}
    assert texts["uplink.habits.hour_datatme"] == "unknown key; did you mean hour_datatime?"
    assert texts["uplink.dialect"].endswith("did you mean site-dust?")


@pytest.mark.parametrize(("heading", "rows"), generated().items(), ids=lambda value: str(value[0])[:8])
def test_every_generated_table_stands_in_the_page(heading, rows):
    assert "| " + " | ".join(heading) + " |" in README
    assert table(heading[0]) == rows


def test_every_dialogue_test_is_there():
    here = Path(__file__).parent
    texts = "".join(path.read_text(encoding="utf-8") for path in here.glob("test_*.py"))
    names = {dialogue_test(row) for row in COMMANDS} - {""}
    assert [name for name in sorted(names) if f"def {name}(" not in texts] == []


def test_every_generation_has_its_column():
    assert "| | " + " | ".join(DIALECTS) + " |" in README


def test_the_link_loads_nothing_heavy():
    heavy = {"cryptography", "asyncio", "hashlib", "hmac", "decimal", "difflib", "sqlite3", "requests"}
    heavy |= {"_strptime", "tomllib", "importlib.resources"}
    code = "import sys, uplink.hj212.link; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)
