"""The commands people type.  Each says what it did in the operator's language and ends with a documented code."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from station import cli_sniff, cli_solve, cli_tell, i18n  # noqa: F401 - the first three add to the group bus
from station.cli_alarms import alarms
from station.cli_backup import backup, restore, salvage
from station.cli_band import band
from station.cli_bus import bus as bus_tools
from station.cli_calibrate import calibrate
from station.cli_city import city
from station.cli_clock import clock
from station.cli_collector import collector
from station.cli_commission import commission
from station.cli_compare import compare, comparisons
from station.cli_decode import decode
from station.cli_disk import disk
from station.cli_disk import seen as disk_seen
from station.cli_doctor import doctor, health
from station.cli_drift import drift
from station.cli_dustfall import dustfall
from station.cli_events import events
from station.cli_hj212 import frame
from station.cli_index import index
from station.cli_init import init
from station.cli_lab import lab
from station.cli_live import live
from station.cli_loop import loop
from station.cli_maintenance import maintenance
from station.cli_marks import marks
from station.cli_meter import meter
from station.cli_modem import emulate_modem, modem
from station.cli_order import load as permits
from station.cli_order import order
from station.cli_output import emulate_pin, output
from station.cli_page import page
from station.cli_people import people
from station.cli_profile import profile
from station.cli_qc import qc
from station.cli_receiver import emulate_receiver
from station.cli_replay import replay
from station.cli_report import report
from station.cli_sampler import sampler
from station.cli_screen import emulate_screen, screen
from station.cli_seal import seal, verify
from station.cli_snapshot import snapshot
from station.cli_tunnel import tunnel
from station.cli_uplink import gaps, provision, resend, uplink
from station.cli_visit import parts, visit
from station.command_line import (
    EX_FAULTS,
    Spoken,
    ask_station,
    moment_in,
    must_be_known,
    pair,
    parameter_key,
    point_code,
    print_json,
    read_config,
    read_running,
    say,
    stop_signal,
    whole_seconds,
)
from station.i18n import t
from station.model import ConfigError, StationError, StoreError, WrongArgument
from station.texts import (
    Group,
    Option,
    config_option,
    default_config,
    in_zone,
    json_option,
    lang_option,
    option,
)  # fmt: skip
from station.version import VERSION

if TYPE_CHECKING:
    from drivers.base import Device
    from station.config import Loaded
    from station.model import Sample

EX_SOFTWARE = 70
LONGEST_MEASUREMENT = 120.0  # seconds that a reading without a station waits for an instrument's steps and means


def main() -> None:
    """Run the command line; no traceback reaches the terminal."""
    i18n.use(i18n.preferred())
    Spoken.zone = None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # "µ" is not in GBK, nor is every byte of a name UTF-8
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except StationError as error:
        print(in_zone(str(error), Spoken.zone), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _let_go_of_output()  # whoever read us left; there is nobody to tell
        sys.exit(EX_FAULTS)  # as click does when it meets the broken pipe first
    except OSError as error:
        if error.filename is not None:  # a name too long, a folder that is closed to this user
            print(f"{error.filename}: cannot be used ({error.strerror})", file=sys.stderr)
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            _let_go_of_output()
            print(f"station: the output cannot be written ({error.strerror})", file=sys.stderr)
        else:
            _unforeseen(error)
        sys.exit(StoreError.exit_code)
    except Exception as error:  # noqa: BLE001 - said in one sentence, exit 70
        _unforeseen(error)
    sys.exit(code if isinstance(code, int) else 0)


def _unforeseen(error: Exception) -> NoReturn:
    """One sentence and exit 70; with STATION_TRACEBACK set, the traceback."""
    print(f"station: unforeseen {type(error).__name__}: {error}; please report it", file=sys.stderr)
    if os.environ.get("STATION_TRACEBACK"):
        raise error
    sys.exit(EX_SOFTWARE)


def _let_go_of_output() -> None:
    """Nothing more can be written there, not even what is still buffered when the process ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


@click.group(cls=Group, help="help.station", invoke_without_command=False)
@click.version_option(VERSION, prog_name="station", cls=Option, help="help.option_version")
@lang_option
def cli() -> None:
    """What `station` does; its help is the text help.station."""


@cli.command(help="help.run")
@config_option
@lang_option
def run(config: Path) -> None:
    """The daemon, in this process."""
    from station.service import main as serve

    sys.exit(serve(["run", "--config", str(config)]))


@cli.command(help="help.check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@lang_option
def check(file: Path | None, as_json: bool) -> int:
    """Every fault of a configuration; 0 when there is none, else 1."""
    from station.lastgood import whole

    path = file or default_config()
    try:
        loaded = read_config(path, secrets=True)
        whole(loaded)
    except ConfigError as error:
        faults = str(error).splitlines()
        if as_json:
            print_json({"ok": False, "faults": faults, "warnings": []})
        else:
            print("\n".join(faults))
            print(t("check.faults", count=len(faults)), file=sys.stderr)
        return EX_FAULTS
    config = loaded.config
    if as_json:
        print_json({"ok": True, "faults": [], "warnings": list(loaded.warnings)})
        return 0
    for warning in loaded.warnings:
        print(t("check.warning", text=warning))
    print(
        t(
            "check.good",
            path=path,
            devices=sum(len(bus.device) for bus in config.bus),
            buses=len(config.bus),
            points=len(config.point),
            platforms=len(config.uplink),
        )
    )
    return 0


@cli.command(help="help.status")
@config_option
@json_option
@lang_option
def status(config: Path, as_json: bool) -> None:
    """One screen: from the running station, else from its database."""
    from station.fieldwork import stored as field_stored
    from station.status import stored
    from station.store import Store, connect

    loaded = read_running(config)
    found = ask_station(loaded, "status")
    if found is None:
        if not loaded.database.exists():
            raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
        with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
            now = datetime.now(UTC)
            found = stored(store, now) | {"station": loaded.config.station.name} | field_stored(store, loaded, now)
    from station.cli_calibrated import overdue_lines

    found |= {"disk": disk_seen(loaded, found["store"])}
    said = overdue_lines(loaded)
    if as_json:
        print_json(found | ({"calibrations": said} if said else {}))
    else:
        from station.screen import show_status

        found["backup_wanted"] = bool(loaded.config.backup.folder)
        show_status(found, {point.code: point.name for point in loaded.config.point}, loaded.zone)
        for line in said:
            print(line)


@cli.command(help="help.read")
@click.argument("device")
@config_option
@json_option
@lang_option
def read(device: str, config: Path, as_json: bool) -> None:
    """One reading of one device."""
    loaded = read_config(config)
    samples = ask_station(loaded, "read", device=device)
    note = t("read.through")
    if samples is None:
        samples, note = _read_alone(loaded, device), t("read.alone")
    if as_json:
        print_json({"device": device, "samples": samples})
        return
    from station.screen import show_samples

    print(note, file=sys.stderr)
    if samples:
        show_samples(samples)
    else:
        print(t("read.nothing_new"))


def _read_alone(loaded: Loaded, name: str) -> list[dict[str, Any]]:
    """Open the port for one reading: no station runs that owns it."""
    from drivers.bus import Bus
    from station.config import make_device
    from station.status import NoSuchDevice, failed, sample

    for bus in loaded.config.bus:
        for settings in bus.device:
            if settings.name == name:
                line = Bus(bus)
                try:
                    return [sample(one) for one in _measured(make_device(settings, line, loaded.profile_folders))]
                except StationError as error:
                    raise failed(name, error) from error
                finally:
                    line.close()
    known = ", ".join(d.name for bus in loaded.config.bus for d in bus.device)
    raise NoSuchDevice(f'there is no device "{name}"; known: {known}')


def _measured(device: Device) -> Sequence[Sample]:
    """What *device* reads; a measurement that takes its time (a wiper first, the mean of ten reads) is waited for."""
    give_up = time.monotonic() + LONGEST_MEASUREMENT
    samples = device.read()
    told = False
    while not samples and (pending := getattr(device, "pending_seconds", None)) is not None:
        if time.monotonic() + pending > give_up:
            break
        if not told:
            print(t("read.measures"), file=sys.stderr)
            told = True
        time.sleep(pending)
        samples = device.read()
    return samples


@cli.command(help="help.export")
@click.argument("kind", type=click.Choice(["readings", "minute", "hour", "day", "drift"]), default="readings")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@option("--point", key="point")
@option("--parameter", key="parameter")
@option("--format", "form", key="format", type=click.Choice(["csv", "json"]), default="csv")
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@lang_option
def export(
    kind: str,
    start: str | None,
    end: str | None,
    point: str | None,
    parameter: str | None,
    form: str,
    output: Path,
    config: Path,
) -> None:
    """Rows to a file or to standard output."""
    from station.export import check_version, columns, rows, write_csv, write_json

    loaded = read_config(config)
    point = None if point is None else point_code(loaded, point)
    parameter = None if parameter is None else parameter_key(parameter)
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    check_version(loaded.database)
    since, until = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    if since is not None and until is not None and since >= until:
        raise WrongArgument(f"{since.isoformat()} is not before {until.isoformat()}")
    ask_station(loaded, "commit")
    if kind == "drift":
        from station.cli_drift import every_series as rows_without_drift

        found = rows_without_drift(loaded, since, until, point, parameter)
    else:
        found = rows(loaded.database, kind, loaded.zone, start=since, end=until, point=point, parameter=parameter)

    def write(file: TextIO) -> int:
        return write_csv(found, file, columns(kind), loaded.zone) if form == "csv" else write_json(found, file)

    if str(output) == "-":
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        write(sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            count = write(file)
    except StationError:
        raise
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("export.done", rows=count, path=output))


@cli.command(help="help.migrate")
@config_option
@lang_option
def migrate(config: Path) -> None:
    """The database of an earlier version becomes this one's; nothing happens when there is nothing to do."""
    path = read_running(config).database
    if not path.exists():
        print(t("migrate.absent", path=path))
        return
    from station.migrations import migrate as bring_up

    before, now = bring_up(path)
    print(t("migrate.current" if before == now else "migrate.done", path=path, version=now, old=before, new=now))


@cli.group(cls=Group, help="help.emulate")
@lang_option
def emulate() -> None:
    """Instruments and platforms without hardware."""


@emulate.command("bus", help="help.emulate_bus")
@click.argument("file", type=click.Path(path_type=Path))
@option("--links", key="links", type=click.Path(path_type=Path))
@option("--csv", "files", key="csv", multiple=True)
@option("--column", "columns", key="columns", multiple=True)
@option("--step", key="step", is_flag=True)
@option("--speed", key="speed", type=click.FloatRange(min=0.001), default=1.0)
@option("--fault", "faults", key="fault", multiple=True)
@option("--seed", key="seed", type=int, default=0)
@lang_option
def emulate_bus(
    file: Path,
    links: Path | None,
    files: tuple[str, ...],
    columns: tuple[str, ...],
    step: bool,
    speed: float,
    faults: tuple[str, ...],
    seed: int,
) -> None:
    """Every device of a configuration, on pseudo-terminals."""
    from station.emulate import Replay, lines, listen, obey_lines

    chosen: dict[str, dict[str, str]] = {}
    for place, column in (pair(text, "--column") for text in columns):
        device, _, parameter = place.partition(".")
        chosen.setdefault(device, {})[parameter] = column
    replays = {
        device: Replay(Path(path), chosen.get(device), not step, speed)
        for device, path in (pair(text, "--csv") for text in files)
    }
    stop = stop_signal()
    with lines(read_config(file), replays, links, seed, speed) as found:
        for device, fault in (pair(text, "--fault") for text in faults):
            found.set_fault(device, fault)
        for name, bus in found.buses.items():
            port = found.addresses.get(name, bus.path)
            print(t("emulate.bus", name=name, port=port, baudrate=bus.line.baudrate, units=len(bus.units) or 1))
        print(t("emulate.prompt_bus"))
        print(t("emulate.ready"), flush=True)
        listen(sys.stdin, obey_lines(found), say)
        stop.wait()


@emulate.command("platform", help="help.emulate_platform")
@option("--port", key="port", type=click.IntRange(0, 65535), default=9212)
@option("--host", key="host", default="127.0.0.1")
@option("--database", key="database", type=click.Path(path_type=Path))
@option("--fault", key="platform_fault")
@option("--script", key="script", type=click.Path(path_type=Path))
@option("--key-file", key="key_file", type=click.Path(path_type=Path))
@option("--sets-clock", key="sets_clock", is_flag=True)
@option("--assigns", key="assigns", default="", metavar="MN")
@json_option
@lang_option
def emulate_platform(
    port: int, host: str, database: Path | None, fault: str | None, script: Path | None, key_file: Path | None,
    sets_clock: bool, assigns: str, as_json: bool,
) -> int:  # fmt: skip
    """An HJ 212 platform that answers and keeps what it gets; with a script, 0 when all of it went as expected."""
    from station.cli_hj212 import keys_in
    from station.emulate import listen, obey_platform
    from uplink.hj212.emulator import FAULTS, Platform, Record

    def tell(record: Record) -> None:
        if as_json:
            print(json.dumps(record._asdict(), ensure_ascii=False), flush=True)
            return
        notes = [t("emulate.resupply")] * bool(record.rf) + [t("emulate.repeated")] * record.duplicate
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        say(t("emulate.record", time=now, mn=record.mn, cn=record.cn, datatime=record.datatime, note=" ".join(notes)))

    if fault is not None:
        must_be_known(fault, set(FAULTS), "fault")
    key = next(iter(keys_in(key_file)), None)
    stop = stop_signal()
    platform = Platform(host, port, database=database, on_record=tell, key=key, sets_clock=sets_clock, assigns=assigns)
    try:
        platform.start()
    except sqlite3.Error as error:
        raise StoreError(f"{database}: cannot be opened as a database ({error}); name another --database") from error
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # negative for a name that is not found
        said = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise StoreError(f"{host}:{port}: cannot be listened on ({said}); try another --host or --port") from error
    try:
        if fault is not None:
            platform.fault(fault)
        if not as_json:
            print(t("emulate.listening", host=host, port=platform.port))
            print(t("emulate.prompt_platform", faults=", ".join(FAULTS)))
            print(t("emulate.ready"), flush=True)
        if script is not None:
            return _judge(platform.run_script(script), as_json)
        listen(sys.stdin, obey_platform(platform, "platform"), say if not as_json else lambda _: None)
        stop.wait()
        _finish(platform.summary(), as_json)
        return 0
    finally:
        platform.stop()


def _judge(verdict: Any, as_json: bool) -> int:
    """Print what came of a script; 0 when everything went as expected."""
    if as_json:
        print_json(verdict.as_dict())
        return 0 if verdict.passed else EX_FAULTS
    for said in verdict.steps:
        print(t("emulate.step", name=said.name, text="; ".join(said.faults) or t("emulate.as_expected")))
    print(t("emulate.passed") if verdict.passed else t("emulate.failed", missing=verdict.missing))
    return 0 if verdict.passed else EX_FAULTS


def _finish(summary: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    print(
        t(
            "emulate.summary",
            records=summary["records"],
            duplicates=summary["duplicates"],
            deviations=sum(summary["deviations"].values()),
        )
    )


@cli.command(help="help.demo")
@option("--for", "seconds", key="for", default="150s", callback=whole_seconds, show_default=True)
@option("--outage", key="outage", default="30s", callback=whole_seconds, show_default=True)
@option("--standard", key="standard", type=click.Choice(["2017", "2025"]), default="2017", show_default=True)
@option("--keep", key="keep", type=click.Path(path_type=Path))
@option("--page", "with_page", key="demo_page", is_flag=True)
@option("--recipe", key="demo_recipe", default="")
@json_option
@lang_option
@click.pass_context
def demo(
    ctx: click.Context, seconds: int, outage: int, standard: str, keep: Path | None, with_page: bool, recipe: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Instruments, station and platform together, with an outage; 0 when nothing is missing."""
    from station.demo import LOOKING_SECONDS, run_demo

    typed = ctx.get_parameter_source("seconds") is not click.core.ParameterSource.DEFAULT
    seconds = LOOKING_SECONDS if with_page and not typed else seconds
    return run_demo(seconds, outage, standard, keep, as_json=as_json, with_page=with_page, recipe=recipe)


for command in (
    init,
    frame,
    gaps,
    resend,
    uplink,
    provision,
    live,
    bus_tools,
    decode,
    drift,
    dustfall,
    calibrate,
    alarms,
    band,
    city,
    order,
    permits,
    index,
    marks,
    qc,
    lab,
    people,
    modem,
    meter,
    replay,
    profile,
    collector,
    output,
    report,
    backup,
    restore,
    salvage,
    seal,
    verify,
    sampler,
    maintenance,
    visit,
    loop,
    parts,
    compare,
    comparisons,
    commission,
    events,
    doctor,
    health,
    disk,
    snapshot,
    page,
    tunnel,
    screen,
    clock,
):
    cli.add_command(command)
emulate.add_command(emulate_pin)
emulate.add_command(emulate_receiver)
emulate.add_command(emulate_screen)
emulate.add_command(emulate_modem)
