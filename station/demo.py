"""`station demo`: emulated instruments, the real daemon and a platform, with an outage in between.

The instruments and the station run as processes of their own, started by the commands a user would
type; the platform is served here, so that it can be taken away.  The verdict comes from comparing the
station's store with the platform's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from station.config import Loaded, load
from station.control import ControlRefused, NotRunning, ask
from station.i18n import language, t
from station.model import Kind, StationError, WrongArgument, asdict, dataclass, field
from station.store import connect
from station.written import write_whole
from uplink.hj212.emulator import Platform, Record
from uplink.hj212.messages import UPLOADS

EXAMPLE = Path(__file__).with_name("example")
WARM_UP = 20  # seconds before the platform may go
LEAST_REST = 60  # the run is at least this much longer than the outage
DRAIN_SECONDS = 30
START_SECONDS = 20
LOOKING_SECONDS = 8 * 3600  # somebody who looks at the page ends it by Ctrl-C
PROGRESS_EVERY = 5

# What the emulated instruments see: a week of Beijing, hour by hour, and a river's day.
REPLAYS = {
    "dust": ("beijing-week.csv", {"pm25": "PM2.5", "pm10": "PM10"}),
    "weather": ("beijing-week.csv", {"air_temperature": "TEMP", "wind_speed": "WSPM", "wind_direction": "wd"}),
    "sonde": ("river-day.csv", None),
}


# With the page there is something to acknowledge: what Beijing's week has more than once.
SEEN = """
[[alarm]]
name = "PM10"
point = "site"
parameter = "pm10"
period = "1min"
above = 80.0
pre_alarm_share = 0.8

[page]
listen = "127.0.0.1"
port = {port}
"""


LISTENS = re.compile(r"(hj212\+tcp://127\.0\.0\.1:)\d+")


class DemoFailed(StationError):
    """Error raised when a part of the demo does not come up."""

    exit_code = 69


@dataclass(slots=True)
class Summary:
    """What the demo ends with; *missing* says what should have been there."""

    standard: str
    readings: int = 0
    records: int = 0
    sent: int = 0
    acknowledged: int = 0
    resupplied: int = 0
    repeated: int = 0
    lost: int = 0
    duplicates: int = 0
    owed: int = 0
    missing: list[str] = field(default_factory=list)


def run_demo(
    seconds: int, outage: int, standard: str, keep: Path | None, *,
    as_json: bool, with_page: bool = False, recipe: str = "",
) -> int:  # fmt: skip
    """Run the example, or a *recipe*, for *seconds* with an *outage*; the exit code: 0 when nothing is missing."""
    if seconds < outage + LEAST_REST:
        raise WrongArgument(t("demo.too_short", least=LEAST_REST))

    def say(text: str) -> None:
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    say(t("demo.recipe", name=recipe) if recipe else t("demo.title", standard=standard))
    with _folder(keep) as folder, Platform(database=folder / "platform.db") as platform:
        say(t("demo.folder" if keep is not None else "demo.folder_goes", folder=folder))
        loaded = _configure(folder, platform.port, standard, with_page, recipe)
        replays = {} if recipe else REPLAYS
        with (
            _instruments(loaded, folder, replays),
            _station(loaded, folder) as station,
            _page(loaded, folder, with_page, say),
        ):
            for bus in loaded.config.bus:
                names = ", ".join(device.name for device in bus.device)
                say(t("demo.line", name=bus.name, port=bus.port, baudrate=bus.baudrate, devices=names))
            say(t("demo.running", seconds=seconds, outage=outage))
            try:
                _watch(loaded, platform, station, seconds, outage, say)
            except KeyboardInterrupt:
                say(t("demo.enough"))
                return 0
            code = _stop(station)
        standard = "/".join(dict.fromkeys(str(getattr(one, "standard", "-")) for one in loaded.config.uplink))
        summary = judge(loaded, platform.records(), standard, outage > 0)
    if code:
        summary.missing.append(t("demo.station_failed", code=code, path=folder / "station.log"))
    if as_json:
        print(json.dumps(asdict(summary), ensure_ascii=False), flush=True)
    else:
        _show(summary)
    return 1 if summary.missing else 0


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongArgument(f"{keep}: cannot be made ({error.strerror}); name another folder") from error
        if any(keep.iterdir()):
            raise WrongArgument(f"{keep}: is not empty; name a new folder")
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="station-demo-") as folder:
        yield Path(folder)


def _configure(folder: Path, port: int, standard: str, with_page: bool, recipe: str) -> Loaded:
    """The example's station.toml for this port and this edition, or the recipe's, which has an edition of its own."""
    if recipe:
        return _configure_recipe(folder, port, with_page, recipe)
    text = (EXAMPLE / "station.toml").read_text(encoding="utf-8")
    text = text.replace("port = 9212", f"port = {port}").replace('standard = "2017"', f'standard = "{standard}"')
    text = text.replace("[station]", '[station]\nclock = "host"', 1)  # nobody waits for a time server to see a demo
    path = folder / "station.toml"
    write_whole(path, text + (SEEN.format(port=_free_port()) if with_page else ""))
    password = folder / "district.password"
    password.touch(mode=0o600)
    password.write_text("123456\n", encoding="utf-8")
    return load(path)


def _configure_recipe(folder: Path, port: int, with_page: bool, name: str) -> Loaded:
    from station import recipe as recipes

    path = folder / "station.toml"
    recipes.write(recipes.recipe(name, language()), folder, [])
    text = path.read_text(encoding="utf-8").replace("port = 9212", f"port = {port}")
    text = text.replace("[station]", '[station]\nclock = "host"', 1)
    text = LISTENS.sub(lambda found: f"{found[1]}{_free_port()}", text)  # two demos may run on one machine
    page = SEEN[SEEN.index("[page]") :].format(port=_free_port()) if with_page else ""
    write_whole(path, f"{text}\n{page}")
    loaded = load(path)
    if not loaded.config.bus or not loaded.config.uplink:
        raise WrongArgument(t("demo.by_hand", name=name))
    return loaded


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "station.entry", *words]


@contextlib.contextmanager
def _process(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"LANG": "zh_CN.UTF-8" if language() == "zh" else "C.UTF-8"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)


@contextlib.contextmanager
def _instruments(loaded: Loaded, folder: Path, replays: Mapping[str, Any]) -> Iterator[None]:
    """The emulated lines, in a process of their own so that their timing is not the station's."""
    words = ["emulate", "bus", str(loaded.path)]
    for device, (file, columns) in replays.items():
        words += ["--csv", f"{device}={EXAMPLE / file}"]
        for parameter, column in (columns or {}).items():
            words += ["--column", f"{device}.{parameter}={column}"]
    words += ["--speed", "60"]
    log = folder / "instruments.log"
    with _process(_command(*words), log) as process:
        ports = [Path(bus.port) for bus in loaded.config.bus if "://" not in bus.port]
        _until(lambda: all(port.exists() for port in ports), process, log)
        yield


@contextlib.contextmanager
def _station(loaded: Loaded, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "station.log"
    with _process(_command("run", "--config", str(loaded.path)), log) as process:
        _until(lambda: _status(loaded) is not None, process, log)
        yield process


@contextlib.contextmanager
def _page(loaded: Loaded, folder: Path, wanted: bool, say: Any) -> Iterator[None]:
    """The local page, in a process of its own, and how to open it."""
    if not wanted:
        yield
        return
    from station.page.accounts import Accounts

    settings, log = loaded.config.page, folder / "page.log"
    with _process(_command("page", "--config", str(loaded.path)), log) as process:
        _until(lambda: _listens(settings.port), process, log)
        code = Accounts(loaded.data_folder / "page", settings).issue_code()
        say(t("demo.page", address=f"http://localhost:{settings.port}/code", code=code))
        yield


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _until(holds: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not holds():
        if process.poll() is not None or time.monotonic() > end:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise DemoFailed(f"{' '.join(map(str, process.args[3:5]))} did not start: {' / '.join(said)}")  # type: ignore[index]
        time.sleep(0.1)


def _status(loaded: Loaded) -> Any:
    try:
        return ask(loaded.control_socket, "status", timeout=5)
    except (NotRunning, ControlRefused):
        return None


def outage_begin(now: float, outage: float) -> float:
    """When the platform goes, so that the outage lies across a full minute; *now* is wall time in seconds.

    >>> outage_begin(1000.0, 30)  # the minute ends at 1020, too soon; the next at 1080
    1065.0
    """
    boundary = (now + WARM_UP + outage / 2) // 60 * 60 + 60
    return boundary - outage / 2


def _watch(
    loaded: Loaded, platform: Platform, station: subprocess.Popen[bytes], seconds: int, outage: int, say: Any
) -> None:
    """Let it run, take the platform away and bring it back, then wait for the outbox to drain."""
    began = time.time()
    goes, away = outage_begin(began, outage), False
    shown = -PROGRESS_EVERY
    while (passed := time.time() - began) < seconds and station.poll() is None:
        due = outage > 0 and goes <= time.time() < goes + outage
        if due != away:
            away = due
            platform.fault("down" if away else None)
            say(t("demo.outage_begins" if away else "demo.outage_ends"))
        if passed - shown >= PROGRESS_EVERY:
            shown = int(passed)
            _progress(loaded, int(passed), say)
        time.sleep(0.2)
    if away:
        platform.fault(None)
        say(t("demo.outage_ends"))
    end = time.monotonic() + DRAIN_SECONDS
    say(t("demo.draining"))
    while time.monotonic() < end and station.poll() is None:
        found = _status(loaded)
        if found and all(p["connected"] and not p["owed"] for p in found["platforms"]):
            return
        time.sleep(0.5)


def _progress(loaded: Loaded, seconds: int, say: Any) -> None:
    found = _status(loaded)
    if found is None:
        return
    platforms = found["platforms"]
    say(
        t(
            "demo.progress",
            seconds=seconds,
            taken=found["store"]["taken"],
            readings=found["store"]["readings"],
            records=_minutes(loaded),
            acknowledged=sum(one["answered"] for one in platforms),
            owed=sum(one["owed"] for one in platforms),
            link=t("demo.link_up" if all(one["connected"] for one in platforms) else "demo.link_down"),
        )
    )


def _minutes(loaded: Loaded) -> int:
    with contextlib.closing(connect(loaded.database, read_only=True)) as db:
        return int(db.execute("SELECT count(*) FROM average WHERE kind = ?", (int(Kind.MINUTE),)).fetchone()[0])


def _stop(station: subprocess.Popen[bytes]) -> int:
    """SIGTERM; the code the station ends with."""
    if station.poll() is None:
        station.send_signal(signal.SIGTERM)
    try:
        return station.wait(15)
    except subprocess.TimeoutExpired:
        return -int(signal.SIGKILL)


def judge(loaded: Loaded, records: list[Record], standard: str, outage: bool) -> Summary:
    """The station's store held against the platform's."""
    summary = Summary(standard)
    with contextlib.closing(connect(loaded.database, read_only=True)) as db:
        summary.readings = db.execute("SELECT count(*) FROM reading").fetchone()[0]
        summary.records = db.execute("SELECT count(*) FROM average WHERE kind = ?", (int(Kind.MINUTE),)).fetchone()[0]
        messages = db.execute("SELECT kind, point, text FROM message").fetchall()
        heard = {row[0] for row in db.execute("SELECT DISTINCT device FROM reading JOIN series ON series.id = series")}
        answered, resupplied = db.execute("SELECT sum(answered), sum(resupplied) FROM platform").fetchone()
    mns = {p.point: p.mn for uplink in loaded.config.uplink for p in getattr(uplink, "point", ())}
    due = Counter((mns[point], UPLOADS[Kind(kind)], text) for kind, point, text in messages)
    kept = {(r.mn, r.cn, r.datatime, r.pno): r.data for r in records}
    texts = Counter((r.mn, r.cn, r.data) for r in records)
    summary.sent = sum(due.values())
    summary.acknowledged = answered or 0
    summary.lost = sum(1 for one in due if one not in texts)
    summary.repeated = sum(1 for r in records if r.duplicate)
    # After dropping what repeats an identity word for word, an identity must stand once.
    distinct = {(r.mn, r.cn, r.datatime, r.pno, r.data) for r in records}
    summary.duplicates = len(distinct) - len(kept)
    summary.resupplied = resupplied or 0
    summary.owed = summary.sent - summary.acknowledged
    summary.missing = list(_missing(summary, {d.name for b in loaded.config.bus for d in b.device} - heard, outage))
    return summary


def _missing(summary: Summary, silent: set[str], outage: bool) -> Iterator[str]:
    for device in sorted(silent):
        yield t("demo.no_readings", device=device)
    if not summary.records:
        yield t("demo.not_closed")
    if outage and not summary.resupplied:
        yield t("demo.not_resupplied")
    if summary.owed:
        yield t("demo.still_owed", count=summary.owed)
    if summary.lost:
        yield t("demo.lost_some", count=summary.lost)
    if summary.duplicates:
        yield t("demo.twice", count=summary.duplicates)


def _show(summary: Summary) -> None:
    from rich.table import Table

    from station.screen import console

    table = Table(title=t("demo.summary"), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    values: Mapping[str, Any] = asdict(summary)
    for key in ("readings", "records", "sent", "acknowledged", "resupplied", "duplicates", "lost"):
        table.add_row(t(f"demo.{key}"), str(values[key]))
    out = console()
    out.print(table)
    for text in summary.missing:
        out.print(t("demo.missing", text=text), style="bold red")
    if not summary.missing:
        out.print(t("demo.good"), style="bold green")
