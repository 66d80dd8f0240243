"""Row 29: an MQTT broker that is restarted or killed under load, with and without a memory; a real mosquitto."""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.faults.outcome import CannotRun, Outcome
from tests.station.conftest import CONFIG
from tests.station.test_three_platforms import Three

HEAD = CONFIG.split("[[uplink]]")[0]
UPLINK = """
[[uplink]]
name = "district"
protocol = "mqtt"
url = "{url}"
plain = true
realtime_seconds = 30
reconnect_seconds = 1
timeout_seconds = 2

[[uplink.point]]
point = "site"
mn = "M1"
"""
AWAY = 3600  # seconds of the station's time that the broker is away each time
TAKEN = 20  # records it takes before it goes again


def restarts(folder: Path, times: int) -> Outcome:
    """Row 29: stopped with its database, and killed without one, each *times* in the middle of a drain."""
    if find_spec("uplink.mqtt") is None:
        raise CannotRun("there is no MQTT uplink in this tree")
    if find_spec("paho") is None:
        raise CannotRun("the extra [mqtt] is not installed")
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None:
        raise CannotRun("mosquitto is not installed")
    kept = _drains(folder / "kept", times, remembers=True)
    lost = _drains(folder / "lost", times, remembers=False)
    figure = (
        f"stopped {times} times with its database: {kept['made']} records, not at the platform {kept['missing']}, came"
        f" again with the same id {kept['again']}; killed (-9) {times} times without one: {lost['made']} records, each"
        f" sent until it was acknowledged, {lost['missing']} acknowledged and forgotten by the broker,"
        f" {lost['again']} came again"
    )
    return Outcome(
        2 * times, figure, kept["owed"] == lost["owed"] == 0, kept["lost"] + lost["lost"] + kept["missing"],
        kept["doubled"] + lost["doubled"], 0, max(kept["seconds"], lost["seconds"]),
    )  # fmt: skip


def _drains(folder: Path, times: int, *, remembers: bool) -> dict[str, Any]:
    rig = import_module("tests.uplink.mqtt_link")
    memory = ("persistence true", f"persistence_location {folder}/broker/") if remembers else ("persistence false",)
    (folder / "site").mkdir(parents=True)
    with rig.Broker(folder / "broker", *memory) as broker, rig.Listener(broker.port, "niutang/#") as platform:
        station = Three(folder / "site", HEAD + UPLINK.format(url=broker.url))
        (outbox,) = station.engine.outboxes.values()
        try:
            assert station.until(lambda: outbox.connected_at is not None)
            for _ in range(times):
                broker.stop() if remembers else broker.kill()
                station.run(AWAY, 5)
                owed = outbox.depth().owed
                broker.start()
                _wait(station, lambda owed=owed: outbox.depth().owed <= owed - TAKEN)
            began = time.monotonic()
            _wait(station, lambda: outbox.depth().owed == 0)
            seconds = time.monotonic() - began
            made = station.engine.store.query("SELECT count(*) FROM message")[0][0]
            _until(lambda: len(platform.ids()) >= made, 10)
            ids, depth = platform.ids(), outbox.depth()
            return {
                "made": made, "missing": made - len(ids), "again": ids.total() - len(ids), "owed": depth.owed,
                "lost": depth.dropped + depth.parked, "doubled": max(0, len(ids) - made), "seconds": seconds,
            }  # fmt: skip
        finally:
            station.engine.shut_down()


def _wait(station: Three, holds: Any) -> None:
    """Let the station's time go on until *holds*: what stepped aside is tried again at its time."""
    end = time.monotonic() + 120
    while not station.until(holds, 1):
        station.run(10)
        assert time.monotonic() < end, station.engine.senders[0].error


def _until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
