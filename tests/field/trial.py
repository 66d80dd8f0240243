"""What is tried with the field bundle on a Debian 12 in a folder, step by step."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.field.debian import Debian
from tests.field.packing import PACKER, ROOT

NEXT = "0.0.2"
SERVICES = "/root/services"
READINGS = """
import sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
rows = [n for n, in database.execute("SELECT id FROM reading ORDER BY id")]
print(len(rows), rows[0] if rows else 0, rows[-1] if rows else 0)
"""
SM4 = """
import _cffi_backend
from cryptography import __version__
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
block = bytes.fromhex("0123456789abcdeffedcba9876543210")
made = Cipher(algorithms.SM4(block), modes.ECB()).encryptor().update(block)
print(__version__, _cffi_backend.__version__, made.hex())
"""
# A copy of the program serves the instruments and the platform, whatever becomes of the station's.
EMULATORS = """
cp -a /opt/niutang-station/$(basename $(readlink /opt/niutang-station/venv)) /srv/emulators
sed -i '1s|.*|#!/srv/emulators/bin/python|' /srv/emulators/bin/station
ls -d /etc/niutang-station*
"""
COMPARED = """
import json, sqlite3, sys
from pathlib import Path
from station.config import load
from station.demo import judge
from station.model import asdict
from uplink.hj212.emulator import Record

columns = ", ".join(Record._fields)
records = [Record(*row) for row in sqlite3.connect("/root/platform.db").execute(f"SELECT {columns} FROM record")]
summary = asdict(judge(load(Path("/etc/niutang-station/station.toml"), secrets=False), records, "2017", False))
known = {text for text, in sqlite3.connect("/var/lib/niutang-station/station.db").execute("SELECT text FROM message")}
found = sqlite3.connect("/var/lib/niutang-station/station.db").execute("SELECT code FROM event").fetchall()
missing = [code for code, in found if code in ("log_missing", "damaged", "salvaged")]
foreign = sum(record.data not in known for record in records)
print(json.dumps({"received": len(records), "foreign": foreign, "events": missing, **summary}))
"""
VECTOR = "681edf34d206965e86b3e94f536e4246"  # GB/T 32907-2016, appendix A.1
CUTS = ("venv", "libraries", "program", "prepared", "stopped", "copied", "switched", "trial", "committed", "settled")
FIRST_CUTS = ("venv", "libraries", "program", "config-ready", "config", "units", "account", "linked", "settled")


class Failed(Exception):
    """Error raised when something did not come out as it has to."""


class Report:
    """What was tried and how it came out; printed as it comes, and written at the end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.results: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        """A line of the transcript."""
        print(text, flush=True)
        self.lines.append(text)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A part of the trial with its result."""
        self.say(f"\n## {what}")
        begun = time.monotonic()
        try:
            yield
        except (Failed, subprocess.SubprocessError, OSError, ValueError) as error:
            self.results.append((what, f"FAILED: {error}"))
        else:
            self.results.append((what, f"held ({time.monotonic() - begun:.0f} s)"))
        self.say(f"-> {self.results[-1][1]}")

    @property
    def failed(self) -> int:
        """How many parts did not hold."""
        return sum(result.startswith("FAILED") for _, result in self.results)


def must(holds: object, what: str) -> None:
    """Raise Failed with *what* unless it *holds*."""
    if not holds:
        raise Failed(what)


# -- bundles


def wheels(folder: Path) -> Path:
    """The pinned wheels for this machine, fetched once."""
    target = folder / "wheels"
    if not (folder / "wheels.complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        pins = list(PACKER.pinned(ROOT / PACKER.PINS).values())
        PACKER.fetch(pins, os.uname().machine, "3.11", None, target, PACKER.moment(ROOT))
        (folder / "wheels.complete").touch()
    return target


def tree(folder: Path, change: Callable[[Path], None]) -> Path:
    """A copy of the project with a *change*, as a later version would be."""
    target = folder / "tree"
    shutil.rmtree(target, ignore_errors=True)
    leave = shutil.ignore_patterns(".git", "__pycache__", "tests", "*.egg-info", "build", "dist", ".*_cache")
    shutil.copytree(ROOT, target, ignore=leave)
    change(target)
    return target


def replaced(path: Path, old: str, new: str) -> None:
    """Put *new* in the place of *old*, which has to be there once."""
    text = path.read_text(encoding="utf-8")
    must(text.count(old) == 1, f"{path.name}: {old!r} is there {text.count(old)} times")
    path.write_text(text.replace(old, new), encoding="utf-8")


def numbered(version: str) -> Callable[[Path], None]:
    """The change that makes it *version*."""

    def change(where: Path) -> None:
        replaced(where / "station/version.py", f'"{PACKER.version_of(where)}"', f'"{version}"')

    return change


def broken(where: Path) -> None:
    """A version that ends two seconds after its first sign of life."""
    numbered("0.0.3")(where)
    replaced(where / "station/health.py", "def write(path: Path, body: dict[str, Any]) -> None:\n",
             "def write(path: Path, body: dict[str, Any]) -> None:\n    import signal\n\n"
             "    signal.signal(signal.SIGALRM, signal.SIG_DFL)\n    signal.alarm(2)\n")  # fmt: skip


def migrating(version: str) -> Callable[[Path], None]:
    """A version whose database has one more table."""

    def change(where: Path) -> None:
        numbered(version)(where)
        from station.store import SCHEMA_VERSION

        replaced(
            where / "station/store.py",
            f"SCHEMA_VERSION = {SCHEMA_VERSION}\n",
            f"SCHEMA_VERSION = {SCHEMA_VERSION + 1}\n",
        )
        text = (where / "station/migrations.py").read_text(encoding="utf-8")
        step = f'{SCHEMA_VERSION}: lambda database: database.execute("CREATE TABLE trial (id INTEGER)")'
        more = f"STEPS = {{**STEPS, {step}}}\n\n\ndef migrate("
        (where / "station/migrations.py").write_text(text.replace("def migrate(", more, 1), encoding="utf-8")

    return change


def broken_migrating(where: Path) -> None:
    """Both."""
    broken(where)
    shutil.copy(ROOT / "station/version.py", where / "station/version.py")
    migrating("0.0.5")(where)


def pack(folder: Path, name: str, where: Path, *words: str) -> Path:
    """Pack what lies at *where* and unpack it to *name*; the unpacked folder."""
    target = folder / "bundles" / name
    shutil.rmtree(target, ignore_errors=True)
    machine = () if "--machine" in words else ("--machine", os.uname().machine)
    done = subprocess.run(
        [sys.executable, where / "systemd/bundle", "--python", "3.11", "--output", target, *machine, *words],
        capture_output=True, text=True, check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        | {"SOURCE_DATE_EPOCH": str(PACKER.moment(ROOT))},
    )  # fmt: skip
    must(done.returncode == 0, f"systemd/bundle: {done.stderr}")
    (tar,) = target.glob("*.tar")
    with tarfile.open(tar) as archive:
        archive.extractall(target, filter="fully_trusted")
    return target / tar.stem


class Field:
    """The machine, the bundles and what was found."""

    def __init__(self, folder: Path, debian: Debian, report: Report) -> None:
        self.folder, self.debian, self.report = folder, debian, report
        self.helpers: list[subprocess.Popen[bytes]] = []

    def bring(self, bundle: Path, name: str) -> str:
        """Carry an unpacked bundle to the machine, as a stick would; where it is there."""
        target = self.debian.root / "root" / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(bundle, target)
        return f"/root/{name}"

    def run(self, *words: str, expect: int | None = 0, **more: str) -> str:
        """Run *words* there, for the transcript too."""
        shown = " ".join([*(f"{key}={value}" for key, value in more.items() if key.isupper()), *words])
        done = self.debian.run(*words, **more)
        self.report.say(f"# {shown}\n{done.stdout.rstrip()}" if done.stdout.strip() else f"# {shown}")
        must(expect is None or done.returncode == expect, f"{words[0]} ended with {done.returncode}, not {expect}")
        return done.stdout

    def install(self, bundle: str, *words: str, expect: int = 0, **more: str) -> str:
        """Start *bundle*'s install.sh."""
        return self.run(f"{bundle}/install.sh", *words, expect=expect, **more)

    def readings(self, file: str = "/var/lib/niutang-station/station.db") -> tuple[int, int, int]:
        """How many readings are in the database, the first number and the last."""
        done = self.debian.run("/usr/bin/python3", "-c", READINGS, file)
        must(done.returncode == 0, done.stdout)
        count, first, last = map(int, done.stdout.split())
        return count, first, last

    def whole(self, before: tuple[int, int, int]) -> tuple[int, int, int]:
        """The readings now: none of those before is missing and no number is free."""
        now = self.readings()
        self.report.say(f"readings: {before[0]} before, {now[0]} now, numbers {now[1]} to {now[2]}")
        must(now[0] >= before[0] and now[2] - now[1] + 1 == now[0], f"readings are missing: {before} {now}")
        return now

    def version(self) -> str:
        """The version in use."""
        return self.debian.run("/opt/niutang-station/venv/bin/station", "--version").stdout.split()[-1]

    def well(self, seconds: float = 60) -> None:
        """Wait until the station says that it is well."""
        until = time.monotonic() + seconds
        while (done := self.debian.run("station", "health")).returncode:
            must(time.monotonic() < until, f"the station is not well: {done.stdout}")
            time.sleep(1)
        self.report.say(f"# station health\n{done.stdout.rstrip()}")

    def reboot(self) -> None:
        """The power comes back: what was in memory is gone, station-resume.service runs, then the station."""
        self.debian.run("sh", "-c", f"pid=$({SERVICES} pid); [ $pid = 0 ] || kill -9 $pid")
        self.debian.run("sh", "-c", "rm -rf /run/station.pid /run/niutang-station /run/credentials /run/systemd")
        if (self.debian.root / "opt/niutang-station/install.sh").exists():
            self.run("/opt/niutang-station/install.sh", "resume", INVOCATION_ID="of systemd")
        self.run(SERVICES, "start")

    def serve(self) -> None:
        """The emulated instruments, and a platform."""
        station = "/srv/emulators/bin/station"
        self.run("install", "-d", "-o", "station", "-g", "station", "/run/ports", "/run/bench")
        self.run(
            "install", "-o", "station", "-g", "station", "/etc/niutang-station/station.toml", "/run/bench/station.toml"
        )
        account = ("setpriv", "--reuid=station", "--regid=station", "--init-groups")
        self.helpers = [
            self.debian.start(*account, station, "emulate", "bus", "/run/bench/station.toml", log="/var/log/bus.log"),
            self.debian.start(
                station,
                "emulate",
                "platform",
                "--port",
                "9212",
                "--database",
                "/root/platform.db",
                log="/var/log/platform.log",
            ),
        ]

    def close(self) -> None:
        """Stop what was started."""
        self.debian.run(SERVICES, "stop")
        for one in self.helpers:
            one.kill()
            one.wait()


# -- the parts


def bundles(report: Report, folder: Path) -> dict[str, Path]:
    """Every bundle the trial needs."""
    made: dict[str, Path] = {}
    with report.step("The bundle packs to the same bytes twice"):
        source = ("--wheels", str(wheels(folder)))
        made["first"] = pack(folder, "first", ROOT, *source)
        again = pack(folder, "again", ROOT, *source)
        sums = [PACKER.sha256(next(one.parent.glob("*.tar"))) for one in (made["first"], again)]
        size = next(again.parent.glob("*.tar")).stat().st_size
        report.say(f"{again.name}.tar: {size / 2**20:.1f} MiB, sha256 {sums[0]}, {sums[1]}")
        must(sums[0] == sums[1], "they differ")
    with report.step("Bundles for both kinds of Raspberry Pi, wheels from the index by hash"):
        for machine in ("aarch64", "armv7l"):
            made[machine] = pack(folder, machine, ROOT, "--machine", machine)
            head = (made[machine] / "MANIFEST").read_text().split("file ")[0].strip()
            report.say(f"{head}\n{len(list((made[machine] / 'wheels').iterdir()))} wheels")
    with report.step("Later versions: a good one, one that breaks, one with another schema, one of both"):
        changes = {"next": numbered(NEXT), "broken": broken, "migrating": migrating("0.0.4"), "both": broken_migrating}
        for name, change in changes.items():
            made[name] = pack(folder, name, tree(folder, change), *source)
    return made


def refused(field: Field, made: dict[str, Path]) -> None:
    """What must not be installed is not, and nothing is changed."""
    before = field.debian.listing("/etc", "/opt", "/var/lib")
    with field.report.step("A bundle for another machine is refused"):
        said = field.install(field.bring(made["aarch64"], "stick"), "--recipe", "site-dust", expect=1)
        must("this bundle is for aarch64 and this machine is x86_64" in said, "not the sentence")
    with field.report.step("One changed byte in a wheel is refused"):
        stick = field.bring(made["first"], "stick")
        wheel = next((field.debian.root / "root/stick/wheels").glob("flask*"))
        content = bytearray(wheel.read_bytes())
        content[len(content) // 2] ^= 1
        wheel.write_bytes(content)
        must("is not as it was packed" in field.install(stick, "--recipe", "site-dust", expect=1), "not the sentence")
    with field.report.step("Nothing was changed by either"):
        must(field.debian.listing("/etc", "/opt", "/var/lib") == before, "something was")


def armv7(field: Field, folder: Path) -> None:
    """What armv7 has no wheel for comes from the operating system: tried with the same version on this machine."""
    with field.report.step("A library without a wheel: the installer wants Debian's, and ciphers work with it"):
        machine = os.uname().machine
        PACKER.FROM_SYSTEM[machine] = PACKER.FROM_SYSTEM["armv7l"]
        arguments = argparse.Namespace(
            python=["3.11"], wheels=wheels(folder), pins=PACKER.PINS, sign=None, output=folder / "bundles"
        )
        shutil.rmtree(work := folder / "lacking", ignore_errors=True)
        try:
            PACKER.pack(machine, arguments, work, PACKER.moment(ROOT))
        finally:
            del PACKER.FROM_SYSTEM[machine]
        stick = field.bring(next(work.iterdir()), "stick")
        (field.debian.root / "root/stick/install.sh").chmod(0o755)
        said = field.install(stick, "--recipe", "site-dust", expect=1)
        must(
            "cffi is not for this machine in the bundle and not in the operating system: install python3-cffi-backend"
            in said,
            "not the sentence",
        )
        subprocess.run(
            ["apt-get", "download", "-qq", "python3-cffi-backend"],
            cwd=field.debian.root / "root",
            check=True,
            stderr=subprocess.DEVNULL,
        )
        field.run("sh", "-c", "dpkg --install /root/python3-cffi-backend*.deb")
        field.install(stick, "--recipe", "site-dust")
        said = field.run("/opt/niutang-station/venv/bin/python", "-c", SM4)
        must(VECTOR in said, "SM4 does not compute the standard's example")
        field.run("/opt/niutang-station/install.sh", "uninstall", "--purge-data", typed="delete all data\n")
        field.run("dpkg", "--purge", "python3-cffi-backend")


def first_time(field: Field, made: dict[str, Path]) -> None:
    """Install, cut at each step."""
    stick = field.bring(made["first"], "stick")
    with field.report.step("A first installation without a network, cut at each step, is finished by the same command"):
        field.run("sh", "-c", "cat /proc/net/dev | tail -n +3 | cut -d: -f1")
        for cut in FIRST_CUTS:
            field.install(stick, "--recipe", "site-dust", expect=-9, NIUTANG_CUT=cut)
        field.install(stick, "--recipe", "site-dust")
        must(field.version() == PACKER.version_of(ROOT), "not this version")
    with field.report.step("systemd finds nothing to say about the units as installed"):
        units = [
            f"/etc/systemd/system/{name}"
            for name in ("station.service", "station-resume.service", "backup.timer", "clock-helper.socket")
        ]
        said = field.run("systemd-analyze", "verify", *units, expect=None)
        must(
            not [line for line in said.splitlines() if "niutang" in line or any(unit in line for unit in units)],
            "it does",
        )
        wanted = field.debian.run("sh", "-c", "ls /etc/systemd/system/*.wants").stdout.split()
        must({"station.service", "station-resume.service", "clock-helper.socket"} <= set(wanted), "not enabled")
    with field.report.step("The configuration comes from a stick, the former one is kept, the station is well"):
        text = field.debian.run("cat", "/etc/niutang-station/station.toml").stdout
        text = text.replace('port = "ports/', 'port = "/run/ports/').replace(
            "commit_seconds = 60", "commit_seconds = 2"
        )
        stick_config = field.debian.root / "root/usb"
        stick_config.mkdir(exist_ok=True)
        (stick_config / "station.toml").write_text(text.replace("[station]", '[station]\nclock = "host"', 1))
        (stick_config / "housing.password").write_text("123456\n")
        field.install(stick, "--config", "/root/usb", "--services", SERVICES, expect=None)
        field.run("sh", "-c", EMULATORS)
        field.serve()
        field.well()
        field.run("station", "status")
        field.run("station", "doctor", expect=None)


def runs(field: Field) -> None:
    """It measures, the platform answers, and nothing else need be writable."""
    with field.report.step("With everything read-only but /var/lib/niutang-station and /run the service works"):
        field.run(SERVICES, "stop")
        field.run(SERVICES, "start", READ_ONLY="yes")
        before = field.readings()
        field.well()
        time.sleep(25)
        after = field.whole(before)
        must(after[0] > before[0], "nothing was measured")
        pid = field.debian.run(SERVICES, "pid").stdout.strip()
        mounts = field.debian.run("cat", f"/proc/{pid}/mounts").stdout
        must(
            any(line.split()[3].startswith("ro") for line in mounts.splitlines() if line.split()[1] in ("/", "/mnt")),
            "the root is not read-only",
        )
        must(
            "answered" in json.dumps(json.loads(field.debian.run("station", "status", "--json").stdout)), "no platform"
        )
        field.run(SERVICES, "stop")
        field.run(SERVICES, "start")
        field.well()


def upgraded(field: Field, made: dict[str, Path]) -> None:
    """Forward, and back by itself where forward is no good."""
    services = ("--services", SERVICES)
    stick = field.bring(made["next"], "stick")
    with field.report.step("A cut at each step of an upgrade: the next start has a whole station, old or new"):
        for cut in CUTS:
            if cut == "copied":
                continue  # nothing is copied where the schema stays
            before = field.readings()
            field.install(stick, *services, expect=-9, NIUTANG_CUT=cut)
            field.reboot()
            field.well()
            field.whole(before)
            must(
                field.version() == (NEXT if cut in ("committed", "settled") else PACKER.version_of(ROOT)),
                f"{cut}: {field.version()}",
            )
            must(not (field.debian.root / "opt/niutang-station/unfinished").exists(), "still unfinished")
    with field.report.step("The upgrade itself, and back by hand"):
        field.run("/opt/niutang-station/install.sh", "rollback", *services)
        must(field.version() == PACKER.version_of(ROOT), "not back")
        before = field.readings()
        field.install(stick, *services)
        must(field.version() == NEXT, "not the next version")
        field.whole(before)
    with field.report.step("A version that breaks: the one before goes on, nothing is lost"):
        before = field.readings()
        said = field.install(field.bring(made["broken"], "stick"), *services, expect=1, NIUTANG_PATIENCE="90")
        must("the station runs on with" in said and field.version() == NEXT, "it does not")
        field.whole(before)
    with field.report.step(
        "A version that breaks after a migration: its readings are kept aside, nothing went to the platform"
    ):
        before = field.readings()
        said = field.install(field.bring(made["both"], "stick"), *services, expect=1, NIUTANG_PATIENCE="90")
        must("it was sent nowhere" in said and field.version() == NEXT, "it is not")
        field.whole(before)
        field.run("sh", "-c", "ls -l /var/lib/niutang-station")
    with field.report.step("A migration, cut while it is on trial, then done"):
        stick = field.bring(made["migrating"], "stick")
        for cut in ("copied", "switched", "trial"):
            before = field.readings()
            field.install(stick, *services, expect=-9, NIUTANG_CUT=cut)
            field.reboot()
            field.well()
            field.whole(before)
            must(field.version() == NEXT, f"{cut}: {field.version()}")
        before = field.readings()
        field.install(stick, *services)
        must(field.version() == "0.0.4", "not migrated")
        field.whole(before)
        said = field.run("/opt/niutang-station/install.sh", "rollback", *services, expect=1)
        must("cannot read the database any more" in said, "not the sentence")


def at_the_platform(field: Field) -> None:
    """What the platform has is what the station says it has."""
    with field.report.step("The platform has what the station says it has: nothing lost, twice or unknown to it"):
        until = time.monotonic() + 60
        while True:
            said = field.debian.run("/opt/niutang-station/venv/bin/python", "-c", COMPARED).stdout
            found = json.loads(said.splitlines()[-1])
            if not found["lost"] or time.monotonic() > until:
                break
            time.sleep(1)  # what was measured just now is on its way
        field.report.say(said.strip())
        must(found["received"] > 20, "hardly anything was sent")
        must((found["lost"], found["duplicates"], found["foreign"]) == (0, 0, 0), "they differ")
        must(found["events"] == [], "the station missed something of its database")
        field.run("station", "verify")


def away(field: Field, made: dict[str, Path]) -> None:
    """Uninstall."""
    services = ("--services", SERVICES)
    with field.report.step("Uninstalling keeps the data and the configuration"):
        before = field.readings()
        field.run("/opt/niutang-station/install.sh", "uninstall", *services)
        must(not (field.debian.root / "opt/niutang-station").exists(), "the program is there")
        must(field.readings()[0] >= before[0], "readings are gone")
    with field.report.step("Installed again on the data that stayed; then everything is deleted, by typed words alone"):
        field.install(field.bring(made["migrating"], "stick"), *services)
        field.well()
        said = field.run(
            "/opt/niutang-station/install.sh", "uninstall", "--purge-data", *services, expect=1, typed="yes\n"
        )
        must("that was not typed" in said, "not the sentence")
        field.run("/opt/niutang-station/install.sh", "uninstall", "--purge-data", *services, typed="delete all data\n")
        left = field.debian.run("sh", "-c", "find /var/lib/niutang* /etc /opt -name '*niutang*' -o -name '*station*'")
        field.report.say(left.stdout)
        kept = {
            "/var/lib/niutang-station",
            "/etc/udev/rules.d/61-niutang-serial.rules",
        }  # a mount point; the user's own
        must(set(left.stdout.split()) <= kept, "something is left")


def main(words: Sequence[str]) -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.field", description="The field bundle on a Debian 12 in a folder"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp/niutang-field"), help="where the Debian and the wheels are kept"
    )
    parser.add_argument("--report", type=Path, help="write transcript and results to this file")
    arguments = parser.parse_args(words)
    if os.geteuid() != 0 or not shutil.which("debootstrap", path="/usr/sbin:/usr/bin"):
        raise SystemExit("this wants root and debootstrap (apt-get install debootstrap)")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    made = bundles(report, arguments.folder)
    if not report.failed:
        with Debian(arguments.folder) as debian:
            shutil.copy(Path(__file__).with_name("services_unit.sh"), debian.root / SERVICES.lstrip("/"))
            field = Field(arguments.folder, debian, report)
            try:
                refused(field, made)
                armv7(field, arguments.folder)
                first_time(field, made)
                runs(field)
                upgraded(field, made)
                at_the_platform(field)
                away(field, made)
            finally:
                field.close()
    report.say("\n## Results\n")
    for what, result in report.results:
        report.say(f"- {what}: {result}")
    if arguments.report:
        arguments.report.write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    return 1 if report.failed else 0
