"""Memory and start of the daemon: the example station, HJ 212 only.  Run by hand; asserts nothing.

    python tests/bench/bench_footprint.py [--seconds 60] [--rounds 15] [--mqtt | --mqtts]

With --mqtt it reports to a mosquitto of its own too, with --mqtts over TLS.

Instruments and platform are emulated in processes of their own.

    VmRSS, VmHWM   of the daemon after --seconds, and the private part of VmRSS (RssAnon)
    modules        in sys.modules when it stops, of a second start
    cold start     user and system time of the process until it says READY=1 on NOTIFY_SOCKET, against
                   `python -c pass`, in turn; by the kernel's nanoseconds (/proc/PID/task/*/schedstat);
                   and the same of `station --version`

All of them run in a virtual environment made for the purpose, as an installed wheel would: without the
import hooks of an editable install, which would make each start of Python dearer and the ratio better,
and with byte code in a folder of its own, written by one start that does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import site
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from station.config import load
from tests.bench.rig import CHECKOUT, command
from tests.uplink.mqtt_link import Broker
from uplink.http import certificates

EXAMPLE = CHECKOUT / "station" / "example" / "station.toml"

STATION = "import sys; from station.entry import main; sys.exit(main())"  # what pip makes of the command `station`
LISTED = 'import atexit, sys; atexit.register(lambda: print(*sys.modules, sep="\\n"))'


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def write_example(folder: Path, port: int) -> Path:
    """The example's station.toml, reporting to *port*."""
    path = folder / "station.toml"
    text = EXAMPLE.read_text(encoding="utf-8")
    path.write_text(text.replace("port = 9212", f"port = {port}"), encoding="utf-8")
    (folder / "district.password").touch(mode=0o600)
    (folder / "district.password").write_text("123456\n", encoding="utf-8")
    return path


def with_mqtt(path: Path, broker: Broker, tls: int) -> None:
    """A second platform in *path*: *broker*, over TLS where *tls* is its port."""
    url = f'"mqtts://localhost:{tls}"\nca_file = "ca.pem"' if tls else f'"{broker.url}"\nplain = true'
    more = f'\n[[uplink]]\nname = "broker"\nprotocol = "mqtt"\nunheard = "accept"\nurl = {url}\n'
    path.write_text(path.read_text() + more + '\n[[uplink.point]]\npoint = "site"\n', encoding="utf-8")


class Python:
    """An interpreter in an environment of its own that finds the checkout and this environment's packages."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", symlinks=True)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (packages / "bench.pth").write_text("\n".join([str(CHECKOUT), *site.getsitepackages()]))
        self._program = str(folder / "venv" / "bin" / "python")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._environment = kept | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """A process of this interpreter."""
        return subprocess.Popen(
            [self._program, *words],
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def daemon(self, path: Path, extra: str = "pass", **environment: str) -> subprocess.Popen[str]:
        """`station run`."""
        return self.start("-c", f"{extra}\n{STATION}", "run", "--config", str(path), **environment)


def cpu(pid: int) -> float:
    """Seconds all threads of *pid* have run."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def until_ready(python: Python, path: Path) -> float:
    """CPU seconds from the start of the daemon to its READY=1."""
    address = path.parent / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(30)
        process = python.daemon(path, NOTIFY_SOCKET=str(address))
        while "READY=1" not in listener.recv(4096).decode():
            pass
        spent = cpu(process.pid)
    process.terminate()
    process.communicate(timeout=15)
    return spent


def whole(python: Python, *words: str) -> float:
    """CPU seconds of a process that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python.start(*words).communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spread(values: list[float], unit: str = "") -> str:
    """min / median / max."""
    return f"{min(values):8.2f}{statistics.median(values):9.2f}{max(values):9.2f} {unit}"


def cold_start(python: Python, path: Path, rounds: int) -> None:
    """Print CPU until ready, and of `station --version`, against `python -c pass`."""
    whole(python, "-c", "pass")
    pairs = [(until_ready(python, path), whole(python, "-c", "pass")) for _ in range(rounds)]
    print(f"{f'cold start, {rounds} pairs':36}{'min':>8}{'median':>9}{'max':>9}")
    print(f"{'  until READY=1, CPU':36}{spread([1000 * ours for ours, _ in pairs], 'ms')}")
    print(f"{'  python -c pass, CPU':36}{spread([1000 * theirs for _, theirs in pairs], 'ms')}")
    print(f"{'  ratio':36}{spread([ours / theirs for ours, theirs in pairs], 'x')}")
    versions = [whole(python, "-c", STATION, "--version") / whole(python, "-c", "pass") for _ in range(rounds)]
    print(f"{'  station --version, ratio':36}{spread(versions, 'x')}")


def memory(python: Python, path: Path, seconds: float) -> None:
    """Print the daemon's memory after *seconds*."""
    process = python.daemon(path)
    time.sleep(seconds)
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":" in line
    )
    process.terminate()
    process.communicate(timeout=15)
    for key in ("VmRSS", "VmHWM", "RssAnon"):
        print(f"{f'{key} after {seconds:g} s':36}{int(status[key].split()[0]) / 1024:8.1f} MiB")
    print(f"{'threads':36}{int(status['Threads']):8}")


def modules(python: Python, path: Path) -> None:
    """Print how many modules the daemon loads."""
    process = python.daemon(path, LISTED)
    time.sleep(8)
    process.terminate()
    names = process.communicate(timeout=15)[0].split()
    ours = [name for name in names if name.partition(".")[0] in ("station", "drivers", "uplink")]
    print(f"{'modules loaded, ours among them':36}{len(names):8}{len(ours):9}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mqtt", action="store_true")
    parser.add_argument("--mqtts", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-footprint-") as name:
        folder, port = Path(name), free_port()
        path = write_example(folder, port)
        with ExitStack() as stack:
            if options.mqtt or options.mqtts:
                certificates.make(folder)
                tls = free_port()
                files = (f"certfile {folder}/server.pem", f"keyfile {folder}/server.key")
                broker = Broker(folder / "broker", listener=(f"listener {tls} 127.0.0.1", *files))
                with_mqtt(path, stack.enter_context(broker), tls if options.mqtts else 0)
            measure(folder, path, port, options)


def measure(folder: Path, path: Path, port: int, options: argparse.Namespace) -> None:
    """With instruments and an HJ 212 platform at *port*: print the table."""
    with (
        command(["emulate", "platform", "--port", str(port)], folder / "platform.log"),
        command(["emulate", "bus", str(path)], folder / "instruments.log"),
    ):
        end = time.monotonic() + 20
        while not all(Path(bus.port).exists() for bus in load(path).config.bus):
            if time.monotonic() > end:
                sys.exit((folder / "instruments.log").read_text(encoding="utf-8"))
            time.sleep(0.1)
        python = Python(folder)
        modules(python, path)  # the first start writes the byte code
        memory(python, path, options.seconds)
        cold_start(python, path, options.rounds)


if __name__ == "__main__":
    main()
