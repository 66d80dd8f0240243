"""A whole station for the page: emulated instruments on a clock moved by hand, its control socket, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from flask.testing import FlaskClient
from waitress import wasyncore
from werkzeug.test import TestResponse

from station.calibration_entry import enter_calibration
from station.control import ControlServer
from station.page.accounts import Accounts
from station.page.app import create_app
from station.page.serve import Server, make_server
from station.page.source import Source
from station.verbs import verbs
from tests.station.checked import ANALYSER, Bench
from uplink.hj212.emulator import Platform

HOST = {"Host": "localhost:8080"}
PASSWORD = "three plain words"
CONFIG = """
[station]
name = "Qianxi 千溪站"
data_folder = "data"
closing_delay_seconds = 2
commit_seconds = 10

[[point]]
code = "river"
name = "Qianxi river outlet"
st = "21"

[[point]]
code = "stack"
name = "1# 锅炉烟囱"
st = "31"

[[bus]]
name = "line"
port = "port"
gap_ms = 0

[[bus.device]]
name = "sonde"
profile = "yosemitech-y4000"
unit_id = 2
poll_seconds = 5
point = "river"

[[bus.device]]
name = "cems"
profile = "valved"
unit_id = 1
poll_seconds = 5
point = "stack"
range = { so2 = [-50, 500] }

[[qc]]
name = "span"
device = "cems"
parameter = "so2"
check = "span"
standard = 400.0
at = ["09:00", "09:02"]
settle_seconds = 10
longest_minutes = 1
tail_seconds = 10

[[alarm]]
name = "so2-high"
point = "stack"
parameter = "so2"
period = "1min"
above = 100.0
pre_alarm_share = 0.8

[[uplink]]
name = "district"
standard = "2025"
host = "127.0.0.1"
port = 9
password_file = "password"
realtime_seconds = 30
kinds = ["realtime", "minute", "hour", "check", "site_info"]

[[uplink.point]]
point = "stack"
mn = "M1"

[page]
refresh_seconds = 2
"""
START = datetime.fromisoformat("2026-03-01T08:58:00+08:00")


class House:
    """The station, its socket, and the page over both."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.platform = Platform()
        self.platform.__enter__()
        self.bench = Bench(folder, config.replace("port = 9\n", f"port = {self.platform.port}\n"), ANALYSER, START)
        self.loaded, self.clock = self.bench.loaded, self.bench.clock
        self.source = Source(self.loaded, now=self.clock.now)
        self.accounts = Accounts(self.loaded.data_folder / "page", self.source.settings)
        self.app = create_app(self.loaded, self.source, self.accounts)
        self.app.testing = False
        self.socket = ControlServer(self.loaded.control_socket)
        self.socket.start(verbs(self.bench.engine))
        self._stop = Event()
        self.failed: list[BaseException] = []
        self._thread = Thread(target=self._live, name="house")

    def past(self) -> None:
        """Let it have a past: five minutes with two checks that pass, and a calibration that is done."""
        self.bench.units[1].standards[("span", "so2")] = 404.0
        self.bench.run(300)
        self._enter(
            do="begin", device="sonde", parameter="turbidity", procedure="two-point",
            standards=[{"value": 0}, {"value": 100, "certificate": "GBW-17"}],
        )  # fmt: skip
        for index, raw in enumerate((2.0, 99.0)):
            at = self.clock.now()
            readings = [[(at + timedelta(seconds=n)).isoformat(), raw] for n in range(6)]
            self._enter(do="step", name="K1", index=index, readings=readings)
        self._enter(do="done", name="K1")

    def _enter(self, **fields: Any) -> None:
        engine, said = self.bench.engine, {"user": "Wang Fang", **fields}
        made = enter_calibration(engine.store, self.loaded, said, self.clock.now(), engine.trust(), engine.next_mark())
        engine.keep(*made, urgent=True)
        assert engine.commit()

    def begin(self) -> None:
        """Let the station live on, some twenty times as fast as we do, with its uplink."""
        for sender in self.bench.engine.senders:
            sender.start()
        self._thread.start()

    def _live(self) -> None:
        try:
            while not self._stop.is_set():
                self.bench.run(1)
                self._stop.wait(0.04)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failed.append(error)

    def close(self) -> None:
        """Stop everything in order."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join(20)
        self.socket.close()
        self.bench.engine.shut_down()
        self.platform.__exit__(None, None, None)
        assert self.failed == []

    def client(self) -> FlaskClient:
        """A browser that knows nobody yet."""
        return self.app.test_client()

    def signed_in(self, name: str = "Wang Fang") -> Visitor:
        """A browser in which *name* is signed in."""
        visitor = Visitor(self.client())
        visitor.get("/code")
        done = visitor.post("/code", code=self.accounts.issue_code(), name=name, password=PASSWORD)
        assert done.status_code == 303, done.text
        return visitor


class Visitor:
    """A browser that fills in forms: it sends the token of the last page it saw."""

    def __init__(self, client: FlaskClient) -> None:
        self.client, self.token = client, ""

    def get(self, path: str, **headers: str) -> TestResponse:
        """A page."""
        answer = self.client.get(path, headers=HOST | headers)
        _, found, rest = answer.text.partition('name="csrf" value="')
        self.token = rest.partition('"')[0] if found else self.token
        return answer

    def post(self, path: str, **fields: Any) -> TestResponse:
        """A form, with the token."""
        return self.client.post(path, data={"csrf": self.token, **fields}, headers=HOST)


@contextmanager
def served(house: House) -> Iterator[tuple[Server, str]]:
    """The page over a socket, as in its own process; the address to open."""
    server = make_server(house.app, house.source.settings, port=0)
    thread = Thread(target=server.run, name="page")
    thread.start()
    try:
        yield server, f"http://localhost:{server.effective_port}"
    finally:
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map, ignore_all=True))
        thread.join(10)
        server.task_dispatcher.shutdown()
