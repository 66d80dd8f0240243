"""Every command a person types: what it prints, how it ends, and what it says when it cannot."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from sqlite_utils import Database

from drivers.emulator import EmulatedBus, emulated_bus
from drivers.faults import UNIT_FAULTS
from drivers.profile import SHIPPED
from station import cli, i18n
from station.cli_solve import _known_parameter
from station.config import load
from station.control import ControlServer
from station.export import columns
from station.migrations import migrate
from station.model import StoreError, StoreVersionError, WrongArgument
from station.store import SCHEMA_VERSION, Store, connect
from station.verbs import verbs
from station.version import VERSION
from tests.station.commands import DOCUMENTED, Done, configure, served, station, words_of
from tests.station.conftest import EXAMPLE, Rig
from uplink.hj212.emulator import FAULTS as PLATFORM_FAULTS

FAULTS = ", ".join(["none", *UNIT_FAULTS])
Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`station` with words, in this process, in English unless told otherwise."""
    for name in ("LC_ALL", "LC_MESSAGES", "STATION_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["station", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield run
    i18n.use("en")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Path, EmulatedBus]]:
    """A configuration, and its instrument on an emulated line."""
    path = configure(tmp_path)
    loaded = load(path)
    (bus,) = loaded.config.bus
    with emulated_bus(bus, bus.device, link=tmp_path / "port", pace=False) as emulated:  # type: ignore[arg-type]
        yield path, emulated


# -- check


def line_of(path: Path, text: str) -> int:
    """The number of the line that begins with *text*."""
    return next(n for n, one in enumerate(path.read_text().splitlines(), 1) if one.startswith(text))


def waiting(path: Path) -> str:
    """The note on a port that is not there."""
    port = path.parent / "port"
    return f"note: {path}:{line_of(path, 'port')}: bus[0].port: {port} is not there now; the station will wait for it"


def test_check_of_a_good_file_counts_what_is_in_it(command: Command, tmp_path: Path) -> None:
    """Exit 0, notes first."""
    path = configure(tmp_path)
    done = command("check", path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        waiting(path),
        f"{path}: no faults (1 device on 1 bus, 1 point, 1 platform)",
    ]


def test_check_names_every_fault_with_its_line_and_a_suggestion(command: Command, tmp_path: Path) -> None:
    """Exit 1; the count goes to standard error."""
    path = configure(tmp_path, ("baudrate = 19200", "buadrate = 19200"), ("unit_id = 1", "unit_id = 300"))
    done = command("check", path)
    assert done.code == 1
    assert done.out.splitlines() == [
        f"{path}:{line_of(path, 'buadrate')}: bus[0].buadrate: unknown key; did you mean baudrate?",
        f"{path}:{line_of(path, 'unit_id')}: bus[0].device[0].unit_id: 300 is above 255",
    ]
    assert done.err == "2 faults found; nothing will start with this configuration\n"


def test_check_speaks_json(command: Command, tmp_path: Path) -> None:
    """One object, good or not."""
    path = configure(tmp_path)
    good = command("check", path, "--json")
    assert json.loads(good.out) == {"ok": True, "faults": [], "warnings": [waiting(path).removeprefix("note: ")]}
    configure(tmp_path, ('parity = "E"', 'parity = "X"'))
    bad = command("check", path, "--json")
    assert (bad.code, bad.err) == (1, "")
    assert json.loads(bad.out) == {
        "ok": False,
        "faults": [f'{path}:{line_of(path, "parity")}: bus[0].parity: "X" is not one of N, E, O'],
        "warnings": [],
    }


def test_a_missing_file_is_a_fault_for_check_and_a_configuration_error_elsewhere(
    command: Command, tmp_path: Path
) -> None:
    """Exit 1 and 78, the same sentence."""
    path = tmp_path / "nowhere.toml"
    assert command("check", path).code == 1
    done = command("status", "--config", path)
    assert (done.code, done.out) == (78, "")
    assert done.said[0].startswith(f"{path}: cannot be read (No such file or directory)")
    assert len(done.said) == 1


def test_check_looks_for_the_file_where_the_service_would(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STATION_CONFIG, else station.toml here."""
    path = configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "station.toml: no faults" in command("check").out
    monkeypatch.chdir("/")
    monkeypatch.setenv("STATION_CONFIG", str(path))
    assert f"{path}: no faults" in command("check").out


# -- status and read


@pytest.fixture
def running(rig: Rig) -> Iterator[Rig]:
    """A station that answers on its socket; its bus has a thread, its clock stands still."""
    server = ControlServer(rig.loaded.control_socket)
    server.start(verbs(rig.engine))
    rig.run(33)
    for poller in rig.engine.pollers:
        poller.start()
    yield rig
    server.close()


def test_status_asks_the_running_station(command: Command, running: Rig) -> None:
    """Devices, values with unit, mark and age, and what the platform is owed."""
    done = command("status", "--config", running.loaded.path)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(text.split()) for text in done.out.splitlines()]
    assert lines[0] == "Station test"
    assert lines[1].startswith("running since 20")
    assert "dust line answers 3 s 0" in lines
    assert "dust Site (site) PM2.5 35.0 µg/m³ N normal 3 s" in lines
    assert "dust Site (site) PM10 60.0 µg/m³ N normal 3 s" in lines
    (district,) = (text for text in lines if text.startswith("district"))
    assert district == "district not connected 3 33 s 0 0 0 0"


def test_status_speaks_json(command: Command, running: Rig) -> None:
    """The same, for programs."""
    found = json.loads(command("status", "--json", "--config", running.loaded.path).out)
    assert (found["station"], found["running"], found["devices"][0]["missed"]) == ("test", True, 0)
    assert {(v["parameter"], v["value"], v["unit"], v["mark"]) for v in found["devices"][0]["values"]} == {
        ("pm25", 35.0, "µg/m³", "N"), ("pm10", 60.0, "µg/m³", "N"),
    }  # fmt: skip
    assert [(p["name"], p["owed"], p["connected"]) for p in found["platforms"]] == [("district", 3, False)]


def test_a_value_from_before_a_silence_is_shown_as_out_of_date(command: Command, running: Rig) -> None:
    """As it would be a B in a report; until then it is what was measured last."""
    running.instrument.go_silent()
    running.clock.advance(26)  # and 3 s since the last poll
    found = json.loads(command("status", "--json", "--config", running.loaded.path).out)
    assert [v["current"] for v in found["devices"][0]["values"]] == [True, True]
    running.clock.advance(1)
    done = command("status", "--config", running.loaded.path)
    assert "dust Site (site) PM2.5 35.0 µg/m³ out of date 30 s" in [
        " ".join(text.split()) for text in done.out.splitlines()
    ]
    found = json.loads(command("status", "--json", "--config", running.loaded.path).out)
    assert [(v["mark"], v["current"]) for v in found["devices"][0]["values"]] == [("N", False), ("N", False)]


def test_status_of_a_stopped_station_comes_from_its_database(command: Command, rig: Rig) -> None:
    """It says so, and shows the newest stored values and what is owed."""
    rig.run(33)
    done = command("status", "--config", rig.loaded.path)
    assert done.code == 0
    assert "not running; this is what the database holds" in done.out
    assert "PM2.5" in done.out
    found = json.loads(command("status", "--json", "--config", rig.loaded.path).out)
    assert (found["running"], found["station"]) == (False, "test")
    assert [p["owed"] for p in found["platforms"]] == [3]
    assert {v["value"] for v in found["devices"][0]["values"]} == {35.0, 60.0}
    assert found["devices"][0]["last_reply"] == "2026-03-01T00:01:00+00:00"


def test_status_leaves_the_database_as_it_is(command: Command, tmp_path: Path) -> None:
    """An empty file does not become a store by being looked at."""
    path = configure(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "station.db").touch()
    done = command("status", "--config", path)
    assert done.code == 74
    assert len(done.said) == 1
    assert (tmp_path / "data" / "station.db").stat().st_size == 0


def test_status_before_the_first_start_says_what_to_do(command: Command, tmp_path: Path) -> None:
    """Exit 74."""
    done = command("status", "--config", configure(tmp_path))
    assert done.code == 74
    assert done.said == [f"{tmp_path}/data/station.db: is not there yet; start the station first: station run --config"]


def test_read_goes_through_the_running_station(command: Command, running: Rig) -> None:
    """The bus's own thread does it; the note goes to standard error."""
    done = command("read", "dust", "--config", running.loaded.path)
    assert (done.code, done.err) == (0, "read through the running station\n")
    assert [" ".join(text.split()) for text in done.out.splitlines()] == [
        "Values",
        "parameter value unit mark",
        "PM2.5 35.0 µg/m³ N normal",
        "PM10 60.0 µg/m³ N normal",
    ]


def test_a_refusal_of_the_running_station_ends_as_it_would_without_it(command: Command, running: Rig) -> None:
    """An unknown device is 2, a silent one 69."""
    path = running.loaded.path
    unknown = command("read", "nope", "--config", path)
    assert (unknown.code, unknown.said) == (2, ['there is no device "nope"; known: dust'])
    running.instrument.go_silent()
    silent = command("read", "dust", "--config", path)
    assert (silent.code, silent.said) == (69, ["dust: no reply within 0.5 s"])


def test_read_opens_the_port_when_no_station_runs(command: Command, line: tuple[Path, EmulatedBus]) -> None:
    """The instrument's own examples come back."""
    path, _ = line
    done = command("read", "dust", "--config", path)
    assert (done.code, done.err) == (0, "no station is running; the port was opened for this reading\n")
    found = json.loads(command("read", "dust", "--json", "--config", path).out)
    assert found["device"] == "dust"
    assert {(s["parameter"], s["unit"], s["mark"]) for s in found["samples"]} == {
        ("pm25", "µg/m³", "N"), ("pm10", "µg/m³", "N"),
    }  # fmt: skip


def test_read_waits_for_an_instrument_that_takes_its_time(command: Command, tmp_path: Path) -> None:
    """Its value is the mean of three reads, and the first of them is none."""
    path = configure(tmp_path, ('profile = "deltaohm-pmsense"', 'profile = "slow"'))
    text = SHIPPED.joinpath("deltaohm-pmsense.toml").read_text(encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "slow.toml").write_text(
        "average_reads = 3\naverage_seconds = 0.1\n" + text, encoding="utf-8"
    )
    (bus,) = load(path).config.bus
    with emulated_bus(bus, bus.device, link=tmp_path / "port", folders=[tmp_path / "profiles"], pace=False):  # type: ignore[arg-type]
        done = command("read", "dust", "--json", "--config", path)
    assert (done.code, done.err) == (0, "it measures; this takes its time\n")
    assert {s["parameter"]: s["value"] for s in json.loads(done.out)["samples"]} == {"pm25": 41.2, "pm10": 68.9}


def test_read_of_a_silent_instrument_is_one_sentence(command: Command, line: tuple[Path, EmulatedBus]) -> None:
    """Exit 69."""
    path, emulated = line
    tmp_path = path.parent
    emulated.units[1].fail("silent")
    done = command("read", "dust", "--config", path)
    assert (done.code, done.out) == (69, "")
    assert len(done.said) == 1
    assert done.said[0].startswith(f"dust: {tmp_path}/port unit 1: no reply to ")


def test_read_of_an_unknown_device_names_those_there_are(command: Command, tmp_path: Path) -> None:
    """Exit 2."""
    done = command("read", "dist", "--config", configure(tmp_path))
    assert (done.code, done.out, done.said) == (2, "", ['there is no device "dist"; known: dust'])


def test_read_without_a_port_says_which(command: Command, tmp_path: Path) -> None:
    """Exit 69."""
    done = command("read", "dust", "--config", configure(tmp_path))
    assert done.code == 69
    assert done.said == [f"dust: {tmp_path}/port: cannot be opened: No such file or directory"]


# -- export


def exported(text: str) -> list[dict[str, str]]:
    """The rows of a CSV text with its mark."""
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def test_export_writes_a_csv_that_spreadsheets_take_for_utf8(command: Command, rig: Rig, tmp_path: Path) -> None:
    """A byte-order mark, the station's own time, names and units beside the keys."""
    rig.run(33)
    target = tmp_path / "out.csv"
    done = command("export", "--output", target, "--config", rig.loaded.path)
    assert (done.code, done.out) == (0, f"14 rows written to {target}\n")
    rows = exported(target.read_bytes().decode())
    assert len(rows) == 14
    assert rows[0] == {
        "time (UTC+08:00)": "2026-03-01 08:00:30", "point": "site", "device": "dust", "parameter": "pm25",
        "name": "PM2.5",
        "unit": "µg/m³", "value": "35.0", "raw": "35.0", "mark": "N", "reason": "",
        "effective_mark": "N", "marked_by": "",
    }  # fmt: skip


def test_export_writes_json(command: Command, rig: Rig) -> None:
    """One list, to standard output; averages carry their extremes and their share of valid data."""
    rig.run(33)
    rows = json.loads(command("export", "minute", "--format", "json", "--config", rig.loaded.path).out)
    assert [(r["parameter"], r["start"], r["average"], r["minimum"], r["valid_share"]) for r in rows] == [
        ("pm10", "2026-03-01T08:00:00+08:00", 60.0, 60.0, 0.5),
        ("pm25", "2026-03-01T08:00:00+08:00", 35.0, 35.0, 0.5),
    ]


@pytest.mark.parametrize("kind", ["readings", "minute", "hour", "day"])
def test_an_export_without_rows_has_its_headings(command: Command, rig: Rig, kind: str) -> None:
    """Those that its rows have."""
    rig.run(33)
    words = ["export", kind, "--config", rig.loaded.path]
    empty = command(*words, "--to", "0001-01-01").out
    assert exported(empty) == []
    assert empty.splitlines()[0] == command(*words).out.splitlines()[0]
    assert empty.count(",") == len(columns(kind)) - 1
    found = json.loads(command(*words, "--format", "json").out)
    assert all(list(row) == list(columns(kind)) for row in found)
    assert found or kind in ("hour", "day")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--parameter", "pm25"], 7),
        (["--point", "site"], 14),
        (["--from", "2026-03-01T08:00:50"], 6),
        (["--from", "2026-03-01T00:00:50+00:00"], 6),
        (["--to", "2026-03-01T08:00:40"], 4),
        (["--from", "2026-03-01T08:00:35", "--to", "2026-03-01T08:00:45", "--parameter", "pm10"], 2),
        (["--from", "2027-01-01"], 0),
        (["--to", "0001-01-01"], 0),
        (["--from", "0001-01-01", "--to", "9999-12-31"], 14),
    ],
)
def test_export_takes_a_period_a_point_and_a_parameter(
    command: Command, rig: Rig, words: list[str], count: int
) -> None:
    """From is included, to is not; times without an offset are the station's."""
    rig.run(33)
    done = command("export", *words, "--config", rig.loaded.path)
    assert (done.code, len(exported(done.out))) == (0, count)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--parameter", "pm52"], 'there is no parameter "pm52"; did you mean pm25?'),
        (["--point", "sit"], 'there is no point "sit"; did you mean site?'),
        (["--from", "yesterday"], '"yesterday" is not a time such as 2026-03-01 or 2026-03-01T08:00'),
        (["--to", ""], '"" is not a time such as 2026-03-01 or 2026-03-01T08:00'),
    ],
)
def test_export_says_what_it_does_not_know(command: Command, rig: Rig, words: list[str], sentence: str) -> None:
    """Exit 2, with the likely word."""
    done = command("export", *words, "--config", rig.loaded.path)
    assert (done.code, done.out, done.said) == (2, "", [sentence])


@pytest.mark.parametrize("word", ["pm10", "PM10", "pM10", "a34002", "A34002"])
def test_a_parameter_goes_by_every_name_that_is_shown(command: Command, rig: Rig, word: str) -> None:
    """The key, the name in either language, the code of HJ 212; points by code or name."""
    rig.run(33)
    done = command("export", "--parameter", word, "--point", "Site", "--config", rig.loaded.path)
    assert (done.code, {row["parameter"] for row in exported(done.out)}) == (0, {"pm10"})


def test_solve_takes_the_names_that_are_shown() -> None:
    """And suggests the nearest of them."""
    assert [_known_parameter(word, None) for word in ("风速", "Wind speed", "wind_speed")] == ["wind_speed"] * 3
    with pytest.raises(WrongArgument, match='there is no parameter "wind_sped"; did you mean wind_speed'):
        _known_parameter("wind_sped", None)


def test_a_point_that_is_not_there_is_told_which_are(command: Command, rig: Rig) -> None:
    """Where nothing is near."""
    done = command("export", "--point", "西门", "--config", rig.loaded.path)
    assert (done.code, done.said) == (2, ['there is no point "西门"; known: site (Site)'])


def test_an_export_that_ends_before_it_begins_is_refused(command: Command, rig: Rig) -> None:
    """In the station's own time."""
    done = command("export", "--from", "2026-03-02", "--to", "2026-03-01T00:00+00:00", "--config", rig.loaded.path)
    assert (done.code, done.said) == (2, ["2026-03-02 00:00:00 is not before 2026-03-01 08:00:00"])


def test_a_chinese_export_has_chinese_headings_and_its_json_the_keys(command: Command, rig: Rig) -> None:
    """The zone stands in the heading of the time."""
    rig.run(33)
    lines = command("export", "--config", rig.loaded.path, "--lang", "zh").out.splitlines()
    assert lines[0].startswith("\ufeff时间 (UTC+08:00),点位,仪器,参数键,参数,单位,数值")
    assert lines[1].startswith("2026-03-01 08:00:30,site,dust,pm25,")
    found = json.loads(command("export", "--format", "json", "--config", rig.loaded.path, "--lang", "zh").out)
    assert (found[0]["time"], list(found[0])[:3]) == ("2026-03-01T08:00:30+08:00", ["time", "point", "device"])


def test_a_stopped_station_tells_when_an_instrument_answered_last(command: Command, rig: Rig) -> None:
    """Though its newest rows say that it was silent in the end."""
    rig.run(33)
    rig.instrument.go_silent(1000)
    rig.run(90)
    rig.engine.commit()
    found = json.loads(command("status", "--json", "--config", rig.loaded.path).out)
    (device,) = found["devices"]
    assert {one["mark"] for one in device["values"]} == {"B"}
    assert device["last_reply"].startswith("2026-03-01T00:01:0")


def test_without_its_folder_the_station_says_where_it_looked(tmp_path: Path) -> None:
    """And what to do about it."""
    done = station("check", cwd=tmp_path)
    assert f"station.toml: cannot be read (No such file or directory) in {tmp_path}; cd to" in done.out


def test_export_to_a_place_that_cannot_be_written(command: Command, rig: Rig, tmp_path: Path) -> None:
    """Exit 74; a folder, and a folder that is not there."""
    for target, why in ((tmp_path, "Is a directory"), (tmp_path / "no" / "x.csv", "No such file or directory")):
        done = command("export", "--output", target, "--config", rig.loaded.path)
        assert (done.code, done.said) == (74, [f"{target}: cannot be written ({why})"])


def test_export_of_another_versions_database_is_refused(command: Command, rig: Rig, tmp_path: Path) -> None:
    """Exit 65, and the file that was to be written stays as it was."""
    newer = rig.loaded.database
    rig.engine.store.query("PRAGMA user_version=99")
    target = tmp_path / "kept.csv"
    target.write_text("kept")
    done = command("export", "--output", target, "--config", rig.loaded.path)
    assert (done.code, done.said) == (
        65,
        [
            f"{newer}: has schema 99, this version exports {SCHEMA_VERSION}; "
            "an older file is brought up by station migrate, a newer one needs its own version"
        ],
    )
    assert target.read_text() == "kept"


def test_a_reader_that_leaves_is_no_error(rig: Rig) -> None:
    """`station export | head -1` ends quietly, however much was still to come."""
    rig.run(33)
    words = words_of("export", "--config", rig.loaded.path)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        assert (process.wait(10), said) == (1, b"")


def test_a_full_disk_behind_the_output_is_said(tmp_path: Path) -> None:
    """Exit 74 and one sentence, for help as for data."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words_of("--help"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "station: the output cannot be written (No space left on device)\n")


def test_output_survives_a_terminal_that_lacks_the_characters(rig: Rig) -> None:
    """GBK has no "µ", ASCII has less; JSON stays JSON."""
    rig.run(33)
    for encoding in ("gbk", "ascii"):
        shown = station("status", "--config", rig.loaded.path, env={"PYTHONIOENCODING": encoding}, errors="replace")
        assert (shown.code, shown.err) == (0, "")
        assert "\\xb5g/m" in shown.out
        told = station("status", "--json", "--config", rig.loaded.path, env={"PYTHONIOENCODING": encoding})
        assert json.loads(told.out)["devices"][0]["values"][0]["unit"] == "µg/m³"


# -- migrate


def test_migrate_of_what_is_not_there_makes_nothing(command: Command, tmp_path: Path) -> None:
    """Exit 0: the unit runs it before every start."""
    done = command("migrate", "--config", configure(tmp_path))
    where = tmp_path / "data" / "station.db"
    assert (done.code, done.out) == (0, f"{where}: is not there yet; the station makes it at its first start\n")
    assert not where.exists()


def test_migrate_of_a_current_database_changes_nothing(command: Command, tmp_path: Path) -> None:
    """Exit 0."""
    path = configure(tmp_path)
    where = tmp_path / "data" / "station.db"
    Store.open(where).close()
    before = where.read_bytes()
    done = command("migrate", "--config", path)
    assert (done.code, done.out) == (0, f"{where}: is up to date (schema {SCHEMA_VERSION})\n")
    assert where.read_bytes() == before


def test_migrate_refuses_a_newer_database(command: Command, tmp_path: Path) -> None:
    """Exit 65."""
    path = configure(tmp_path)
    where = tmp_path / "data" / "station.db"
    Store.open(where).close()
    connection = connect(where)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    done = command("migrate", "--config", path)
    assert (done.code, done.said) == (
        65,
        [
            f"{where}: was written by a newer version (schema 99, this one knows {SCHEMA_VERSION}); "
            "install that version again, the file is unchanged"
        ],
    )


def test_migrate_refuses_what_is_no_database(command: Command, tmp_path: Path) -> None:
    """Exit 74; the file is left alone."""
    path = configure(tmp_path)
    where = tmp_path / "data" / "station.db"
    where.parent.mkdir()
    where.write_bytes(b"rubbish " * 500)
    done = command("migrate", "--config", path)
    assert (done.code, done.said) == (
        74, [f"{where}: is damaged (file is not a database); keep the file, restore the newest backup"],
    )  # fmt: skip
    assert where.read_bytes() == b"rubbish " * 500


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A database of schema 1, for steps that are handed in."""
    path = tmp_path / "older.db"
    connection = connect(path)
    connection.execute("CREATE TABLE reading(id INTEGER PRIMARY KEY, at REAL)")
    connection.execute("INSERT INTO reading(at) VALUES (1.5), (2.5)")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    return path


def looked_at(path: Path) -> tuple[int, list[tuple[object, ...]]]:
    """Schema version and the rows of `reading`."""
    connection = connect(path, read_only=True)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, connection.execute("SELECT * FROM reading").fetchall()
    finally:
        connection.close()


def test_steps_are_taken_one_after_the_other(older: Path) -> None:
    """From 1 to 3, with the tools sqlite-utils has for it."""
    steps = {
        1: lambda db: db["reading"].add_column("mark", int, not_null_default=0),
        2: lambda db: db["reading"].transform(rename={"at": "at_seconds"}),
    }
    assert migrate(older, steps, target=3) == (1, 3)
    assert looked_at(older) == (3, [(1, 1.5, 0), (2, 2.5, 0)])
    assert migrate(older, steps, target=3) == (3, 3)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("no such column: x"), ValueError("not foreseen")])
def test_a_step_that_fails_half_way_changes_nothing(older: Path, error: Exception) -> None:
    """Not even the version; the step before it stays."""

    def half(db: Database) -> None:
        db["reading"].insert({"at": 3.5})
        db["note"].insert({"text": "made by a step that fails"})
        db.execute("UPDATE reading SET at = 0")
        raise error

    steps = {1: lambda db: db["reading"].add_column("mark", int, not_null_default=0), 2: half}
    with pytest.raises((StoreError, ValueError)) as caught:
        migrate(older, steps, target=3)
    if isinstance(error, sqlite3.Error):
        assert str(caught.value) == (f"{older}: the step from schema 2 failed (no such column: x); nothing was changed")
    assert looked_at(older) == (2, [(1, 1.5, 0), (2, 2.5, 0)])
    connection = connect(older, read_only=True)
    assert connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall() == [("reading",)]
    connection.close()


def test_a_version_without_a_way_forward_is_kept(older: Path) -> None:
    """It is not guessed at."""
    with pytest.raises(StoreVersionError) as caught:
        migrate(older, {}, target=2)
    assert str(caught.value) == (f"{older}: schema 1 cannot be brought to 2 by this version; keep the file and ask")
    assert looked_at(older) == (1, [(1, 1.5), (2, 2.5)])


# -- emulate


def test_emulate_bus_links_obeys_and_cleans_up(command: Command, tmp_path: Path) -> None:
    """The instrument answers `read`; a typed fault silences it; SIGTERM takes the link away."""
    path = configure(tmp_path)
    with served("emulate", "bus", path) as lines:
        assert lines.says("serving") == "serving; Ctrl-C ends it"
        assert lines.lines[0].endswith("  (19200 baud, 1 units)")
        assert (tmp_path / "port").is_symlink()
        assert command("read", "dust", "--config", path).code == 0
        lines.type("dust silent")
        assert lines.says("fault of") == "fault of dust: silent"
        assert command("read", "dust", "--config", path).code == 69
        lines.type("dust")
        assert lines.says("dust: none") == "fault of dust: none"
        assert command("read", "dust", "--config", path).code == 0
        lines.type("dust smoke")
        assert lines.says("smoke") == f'there is no fault "smoke"; known: {FAULTS}'
        lines.type("soot silent")
        assert lines.says("soot") == 'there is no device "soot"; known: dust, line'
        assert lines.stop() == 0
    assert not (tmp_path / "port").is_symlink()
    assert "Traceback" not in lines.text


def test_emulate_bus_puts_links_where_it_is_told(tmp_path: Path) -> None:
    """A folder of links, named like the lines; a fault from the start."""
    path = configure(tmp_path)
    with served("emulate", "bus", path, "--links", tmp_path / "links", "--fault", "dust=silent") as lines:
        lines.says("serving")
        assert (tmp_path / "links" / "line").is_symlink()
        lines.process.send_signal(signal.SIGINT)
        assert lines.ended() == 0
    assert not (tmp_path / "links" / "line").is_symlink()


@pytest.mark.parametrize("kind", ["file", "link to a device"])
def test_emulate_bus_never_takes_the_place_of_a_real_device(command: Command, tmp_path: Path, kind: str) -> None:
    """Not of a node, and not of the link that udev made to one."""
    path, port = configure(tmp_path), tmp_path / "port"
    if kind == "file":
        port.touch()
    else:
        port.symlink_to("/dev/null")
    done = station("emulate", "bus", path)
    assert (done.code, done.said) == (78, [f"{port}: is there already and no emulated line; use --links FOLDER"])
    assert os.path.lexists(port)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--fault", "dust=smoke"], 2, f'there is no fault "smoke"; known: {FAULTS}'),
        (["--fault", "soot=silent"], 2, 'there is no device "soot"; known: dust, line'),
        (["--csv", "soot=x.csv"], 2, 'there is no device "soot" to replay for; known: dust'),
        (["--csv", "dust=/no.csv"], 78, "/no.csv: cannot be replayed: [Errno 2] No such file or directory: '/no.csv'"),
        (["--fault", "dust"], 2, "Error: Invalid value for --fault: \"dust\" is not NAME=VALUE"),
    ],
)  # fmt: skip
def test_emulate_bus_says_what_it_cannot_do(tmp_path: Path, words: list[str], code: int, sentence: str) -> None:
    """One sentence, and no link is left."""
    done = station("emulate", "bus", configure(tmp_path), *words)
    assert (done.code, done.said[-1]) == (code, sentence)
    assert not (tmp_path / "port").is_symlink()


def test_emulate_platform_prints_a_line_a_record_and_fails_on_demand(command: Command, tmp_path: Path) -> None:
    """A station's power-on report arrives; a typed fault is obeyed; a summary ends it."""
    with served("emulate", "platform", "--port", "0", "--database", tmp_path / "platform.db") as platform:
        port = platform.says("platform on").rpartition(":")[2]
        path = configure(
            tmp_path, ("port = 9\n", f"port = {port}\n"), ("realtime_seconds = 30", "realtime_seconds = 5")
        )
        with served("run", "--config", path):
            assert platform.says("CN=2081", 20).split()[1:3] == ["M1", "CN=2081"]
        platform.type("refuse")
        assert platform.says("fault of") == "fault of platform: refuse"
        platform.type("smoke")
        assert platform.says("smoke") == (f"unknown: unknown fault smoke; there are {', '.join(PLATFORM_FAULTS)}")
        assert platform.stop() == 0
    assert "Traceback" not in platform.text
    count, rest = platform.lines[-1].split(" ", 1)
    assert int(count) >= 1
    assert rest.startswith("records, ")
    with sqlite3.connect(tmp_path / "platform.db") as db:
        assert db.execute("SELECT count(*) FROM record WHERE cn = '2081'").fetchone()[0] >= 1
    db.close()


def test_an_emulated_platform_opens_sm4_sets_the_clock_and_assigns_an_mn(tmp_path: Path) -> None:
    """What a buyer of 2025 tries: provisioning, then a session that is enciphered."""
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    (tmp_path / "key").write_text("k3J9-xQ2m7Zp0sWd")
    mn = "0A1B2C3D4E5F60718293A4B5"
    words = ("--key-file", tmp_path / "key", "--sets-clock", "--assigns", mn)
    with served("emulate", "platform", "--port", "0", *words, "--database", tmp_path / "platform.db") as platform:
        port = platform.says("platform on").rpartition(":")[2]
        path = configure(
            tmp_path,
            ("port = 9\n", f'port = {port}\nencrypt = "always"\nkey_file = "key"\n'),
            ('standard = "2017"', 'standard = "2025"'),
        )
        given = ("--host", "127.0.0.1", "--port", port, "--password-file", str(tmp_path / "password"))
        done = station("provision", str(tmp_path / "mn"), *given)
        assert (done.code, (tmp_path / "mn").read_text()) == (0, f"{mn}\n")
        with served("run", "--config", path):
            assert platform.says("CN=2081", 20).split()[1:3] == ["M1", "CN=2081"]
        assert platform.stop() == 0
    bad = station("emulate", "platform", "--key-file", tmp_path / "none")
    assert (bad.code, bad.said) == (78, [f"{tmp_path / 'none'}: cannot be read (No such file or directory)"])


def test_emulate_platform_says_what_it_cannot_do(tmp_path: Path) -> None:
    """A port in use, a host that is none, a database that is a folder, an unknown fault: a sentence each."""
    with served("emulate", "platform", "--port", "0") as first:
        port = first.says("platform on").rpartition(":")[2]
        busy = station("emulate", "platform", "--port", port)
        assert (busy.code, busy.said) == (
            74, [f"127.0.0.1:{port}: cannot be listened on (Address already in use); try another --host or --port"],
        )  # fmt: skip
    folder = station("emulate", "platform", "--port", "0", "--database", tmp_path)
    assert (folder.code, folder.said) == (
        74, [f"{tmp_path}: cannot be opened as a database (unable to open database file); name another --database"],
    )  # fmt: skip
    fault = station("emulate", "platform", "--fault", "dwon")
    assert (fault.code, fault.said) == (2, ['there is no fault "dwon"; did you mean down?'])
    host = station("emulate", "platform", "--host", "x" * 70)
    assert (host.code, len(host.said)) == (74, 1)


# -- demo, help, languages


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "错误:没有命令 'stauts'。 是否想输入 'status'?"),
        (["status", "--jsno"], "错误:没有选项 '--jsno'。 是否想输入 '--json'?"),
        (["status", "--config"], "错误:选项 '--config' 需要一个值。"),
        (["status", "--json=1"], "错误:选项 '--json' 不带值。"),
        (["status", "now", "or", "never"], "错误:多余的参数(now or never)"),
        (["read"], "错误:缺少参数 'DEVICE'。"),
        (["export", "week"], "错误:'[readings|minute|hour|day|drift]' 的值无效:'week' 不在可选值之中:"
         "'readings', 'minute', 'hour', 'day', 'drift'。"),
        (["emulate", "platform", "--port", "x"], "错误:'--port' 的值无效:'x' 不是有效的数(integer range)。"),
        (["emulate", "platform", "--port", "70000"], "错误:'--port' 的值无效:70000 不在允许范围 0<=x<=65535 内。"),
        (["demo", "--for", "soon"], "错误:'--for' 的值无效:“soon”不是 150s、5m 这样的时长"),
        (["gaps", "--json", "x"], "错误:多余的参数(x)"),
    ],
)  # fmt: skip
def test_a_command_line_that_cannot_be_understood_is_told_in_chinese(words: list[str], said: str) -> None:
    """Usage, where to find help, and what is wrong; exit 2."""
    done = station(*words, env={"LANG": "zh_CN.UTF-8"})
    assert (done.code, done.out, done.said[-1]) == (2, "", said)
    if len(done.said) > 1:  # click does not say where a fault of an option's value belongs
        assert done.said[0].startswith("用法: ")
        assert done.said[1].startswith("用“")
        assert done.said[1].endswith("--help”查看帮助。")


def test_what_click_says_in_english_stays_as_it_is() -> None:
    done = station("status", "--jsno", env={"LANG": "en_US.UTF-8"})
    assert (done.code, done.said[-1]) == (2, "Error: No such option '--jsno'. Did you mean '--json'?")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "60s"], "the run must be at least 60 s longer than the outage"),
        (["--for", "soon"], "Error: Invalid value for '--for': \"soon\" is not a time such as 150s or 5m"),
        (["--for", "9" * 5000], f"Error: Invalid value for '--for': \"{'9' * 5000}\" is not a time such as 150s or 5m"),
        (["--keep", "/dev/null"], "/dev/null: cannot be made (File exists); name another folder"),
        (["--keep", "/etc"], "/etc: is not empty; name a new folder"),
    ],
)
def test_demo_checks_its_arguments_first(command: Command, words: list[str], said: str) -> None:
    """Exit 2, and nothing was started."""
    done = command("demo", *words)
    assert done.code == 2
    assert done.said[-1] == said


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command there is."""

    def below(group: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        if isinstance(group, click.Group):
            for name, one in group.commands.items():
                yield from below(one, (*words, name))

    return below(cli.cli, ())


@pytest.mark.parametrize("words", list(commands()), ids=lambda words: " ".join(words) or "station")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_command_has_help_in_both_languages(command: Command, words: tuple[str, ...], language: str) -> None:
    """No key is shown in place of its text, and no English sentence in the Chinese help."""
    done = command("--lang", language, *words, "--help")
    assert (done.code, done.err) == (0, "")
    key = "help." + ("_".join(words) or "station")
    assert i18n.texts(language)[key].split()[0] in done.out
    assert "help." not in done.out
    for text in i18n.texts("zh" if language == "en" else "en").values():
        assert len(text) < 15 or text not in " ".join(done.out.split())
    assert ("用法:" in done.out) == (language == "zh")
    assert ("Show" in done.out) <= (language == "en")


@pytest.mark.parametrize(
    ("environment", "heading"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "用法"),
        ({"LANG": "de_DE.UTF-8"}, "Usage"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "Usage"),
        ({"LANG": "C", "LC_MESSAGES": "zh_CN"}, "用法"),
    ],
)
def test_the_language_follows_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], heading: str
) -> None:
    """LC_ALL before LC_MESSAGES before LANG; --lang before all."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert command("check", "--help").out.startswith(heading)
    assert command("--lang", "en", "check", "--help").out.startswith("Usage")
    assert command("check", "--lang", "zh", "--help").out.startswith("用法")


def test_the_version_is_told(command: Command) -> None:
    """As the package has it."""
    assert command("--version").out == f"station, version {VERSION}\n"
    assert station("--version").out == f"station, version {VERSION}\n"  # answered without click


ODD = [
    "", " ", "-", "--", "9" * 400, "-1", "1e999", "nan", "/", "/dev/null", "\udcff", "../..",
    "a=b", "=", "a=", "2026-13-45", "*", "--help=", "点位",
]  # fmt: skip
PLACES = [
    ["X"],
    ["--lang", "X"],
    ["check", "X"],
    ["check", "X", "X"],
    ["status", "--config", "X"],
    ["read", "X", "--config", "station.toml"],
    ["read", "dust", "--config", "X"],
    ["export", "X"],
    ["export", "--config", "X"],
    *(["export", f"--{name}", "X"] for name in ("from", "to", "point", "parameter", "format")),
    ["migrate", "--config", "X"],
    ["emulate", "X"],
    ["emulate", "bus", "X", "--fault", "x=x"],
    *(["emulate", "bus", "station.toml", f"--{name}", "X", "--fault", "x=x"]
      for name in ("csv", "column", "links", "speed")),
    ["emulate", "platform", "--port", "X", "--fault", "x"],
    ["emulate", "platform", "--fault", "X"],
    ["demo", "--for", "X", "--outage", "2000h"],
    ["demo", "--outage", "X", "--for", "1s"],
    ["demo", "--standard", "X"],
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_odd_arguments_end_in_a_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: list[str]
) -> None:
    """A documented exit code other than "unforeseen", something said, no traceback."""
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    for odd in ODD:
        done = command(*(odd if word == "X" else word.replace("X", odd) for word in place))
        assert done.code in DOCUMENTED - {70}, (odd, done)
        assert done.out + done.err, odd
        assert "Traceback" not in done.out + done.err, odd


def test_a_path_the_system_refuses_is_said(command: Command, tmp_path: Path) -> None:
    """Exit 74, with the path and the system's reason."""
    folder = "d" * 300
    done = command("status", "--config", configure(tmp_path, ('"data"', f'"{folder}"')))
    assert (done.code, done.said) == (
        74, [f"{tmp_path}/{folder}/station.db: cannot be used (File name too long)"],
    )  # fmt: skip


def test_lines_and_devices_may_have_odd_names(tmp_path: Path) -> None:
    """A slash in a line's name stays within the folder of links; a device's name may hold a space."""
    path = configure(tmp_path, ('name = "line"', 'name = "../line"'), ('name = "dust"', 'name = "dust monitor"'))
    with served("emulate", "bus", path, "--links", tmp_path / "links") as lines:
        lines.says("serving")
        assert [link.name for link in (tmp_path / "links").iterdir()] == [".._line"]
        lines.type("dust monitor silent")
        assert lines.says("fault of") == "fault of dust monitor: silent"
        lines.type("dust monitor")
        assert lines.says("monitor: none") == "fault of dust monitor: none"
        assert lines.stop() == 0


def test_an_unforeseen_error_is_one_sentence(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 70; the traceback comes only when it is asked for."""

    def burst(path: Path) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(cli, "read_running", burst)
    done = command("status")
    assert (done.code, done.out) == (70, "")
    assert done.said == ["station: unforeseen KeyError: 'a fault of ours'; please report it"]
    monkeypatch.setenv("STATION_TRACEBACK", "1")
    with pytest.raises(KeyError, match="a fault of ours"):
        cli.main()


def test_the_shipped_example_is_found_good_once_it_has_its_password(command: Command, tmp_path: Path) -> None:
    """Five devices, two lines, three points, one platform."""
    (tmp_path / "district.password").touch(mode=0o600)
    (tmp_path / "district.password").write_text("123456")
    (tmp_path / "station.toml").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    done = command("check", tmp_path / "station.toml")
    assert done.code == 0
    assert done.out.splitlines()[-1] == (
        f"{tmp_path}/station.toml: no faults (5 devices on 2 buses, 3 points, 1 platform)"
    )
