"""The local page as a process: cold start, memory after everything was looked at, bytes of a view.

    python tests/bench/bench_page.py

The goals: first answer within 1.5 s of the start, 45 MiB at most, 60 kB packed at most for a whole view.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from tests.page.house import CONFIG, PASSWORD, House

VIEWS = ("overview", "alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events")
STARTS = 5
UNIT = Path(__file__).parents[2] / "systemd" / "page.service"
ENVIRONMENT = dict(re.findall(r"(MALLOC\w+)=(\d+)", UNIT.read_text(encoding="utf-8")))
"""As the unit starts it."""


class Browser:
    """As little of one as is needed: cookies and the token of forms."""

    def __init__(self, port: int) -> None:
        self._port, self._cookies, self._token = port, dict[str, str](), ""

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status, and the body as it came over the wire."""
        connection = HTTPConnection("localhost", self._port, timeout=10)
        headers = {"Accept-Encoding": "gzip", "Accept": "text/html"}
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        body = None
        if form is not None:
            body = urlencode({"csrf": self._token, **form})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request("GET" if form is None else "POST", path, body, headers)
        answer = connection.getresponse()
        for text in answer.headers.get_all("Set-Cookie", []):
            self._cookies |= {name: one.value for name, one in SimpleCookie(text).items()}
        said = answer.read()
        plain = gzip.decompress(said) if answer.headers["Content-Encoding"] == "gzip" else said
        if found := re.search(rb'name="csrf" value="([^"]+)"', plain):
            self._token = found[1].decode()
        connection.close()
        return answer.status, said


def started(config: Path, port: int) -> tuple[subprocess.Popen[bytes], float]:
    """The process, and seconds from its start to its first whole answer."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "station.entry", "page", "--config", str(config)],
        stderr=subprocess.DEVNULL,
        env=os.environ | ENVIRONMENT,
    )
    while True:
        try:
            if Browser(port).ask("/sign-in")[0] == 200:
                return process, time.monotonic() - began
        except OSError:
            time.sleep(0.005)


def rss(process: subprocess.Popen[bytes]) -> float:
    """MiB of its memory that is resident."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        port = 18080
        house = House(Path(folder), CONFIG + f'listen = "127.0.0.1"\nport = {port}\n')
        house.past()
        house.begin()
        try:
            config = Path(folder) / "station.toml"
            seconds = []
            for _ in range(STARTS):
                process, first = started(config, port)
                seconds.append(first)
                process.terminate()
                process.wait(10)
            process, _ = started(config, port)
            at_first = rss(process)
            browser = Browser(port)
            browser.ask("/code")
            code, _ = browser.ask("/code", {"code": house.accounts.issue_code(), "name": "x", "password": PASSWORD})
            assert code == 303
            after_scrypt = rss(process)
            sizes = {}
            for language in ("en", "zh"):
                browser.ask("/overview")
                browser.ask("/preferences", {"language": language})
                for _ in range(10):
                    sizes |= {view: len(browser.ask(f"/{view}")[1]) for view in VIEWS}
                browser.ask("/calibrations/K1")
                browser.ask("/chart.svg?check=span")
            at_last = rss(process)
            files = sum(len(browser.ask(f"/static/{name}")[1]) for name in ("page.css", "page.js", "icon.svg"))
            process.terminate()
            process.wait(10)
        finally:
            house.close()
    print(f"start to first answer: median {sorted(seconds)[STARTS // 2]:.2f} s, worst {max(seconds):.2f} s (goal 1.5)")
    print(f"resident: {at_first:.1f} MiB after the start, {after_scrypt:.1f} after a password, {at_last:.1f} after"
          f" {2 * 10 * len(VIEWS)} views in two languages (goal 45)")  # fmt: skip
    largest = max(sizes, key=lambda view: sizes[view])
    print(
        f"packed: {files} bytes of style, script and icon once; largest view {largest} {sizes[largest]} (goal 60,000)"
    )


if __name__ == "__main__":
    main()
