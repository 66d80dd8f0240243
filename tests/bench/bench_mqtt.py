"""How fast a backlog of minutes drains over MQTT, by window and version.

By hand: python tests/bench/bench_mqtt.py [RECORDS [WINDOW ...]]; a mosquitto of its own on loopback without
persistence, a subscriber in a process of its own.  The time is from the connection to the last PUBACK.  TLS with an
authority of its own beside it.  Nothing is asserted but the counts: each record once.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections import deque
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.model import Average, Kind, Lane, Report
from station.parameters import catalogue
from tests.bench import bench_hj212
from tests.uplink.mqtt_link import Broker, Listener, free_port, wait
from uplink.base import Context
from uplink.http import certificates
from uplink.memory import MemoryCommands, MemoryOutbox
from uplink.mqtt.link import MqttSettings, MqttUplink, PointSettings

WINDOWS = (1, 20, 100)


class Backlog(MemoryOutbox):
    """Records handed out in their order; that of uplink/memory.py looks through all of them each time."""

    def __init__(self):
        super().__init__()
        self.waiting = deque()

    def add(self, text, **more):
        number = super().add(text, **more)
        self.waiting.append(self._entries[number].message)
        return number

    def next(self, lane, room):
        if lane is Lane.LIVE:
            return []
        return [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]


def listen(port, count, ready, counted):
    """A platform in a process of its own, which counts what comes until all is there."""
    with Listener(port, "niutang/#") as platform:
        ready.set()
        wait(lambda: len(platform.got) > count + 1, 300)  # online, the records, offline
        ids = platform.ids()
        counted.put((len(ids), sum(ids.values())))


def make_uplink(url, folder, window, version):
    context = Context(
        catalogue=catalogue(), zone=timezone(timedelta(hours=8)), now=lambda: datetime.now(UTC),
        monotonic=time.monotonic, secret=lambda name: "", started=bench_hj212.START, where=lambda name: folder / name,
    )  # fmt: skip
    settings = MqttSettings(
        name="bench", protocol="mqtt", url=url, plain=url.startswith("mqtt:"), version=version, window=window,
        ca_file="ca.pem" if url.startswith("mqtts:") else "", point=(PointSettings(point="P1"),),
    )  # fmt: skip
    return MqttUplink(settings, context, {})


def drain(folder, url, port, window, version, count):
    """Records a second, CPU microseconds a record of the station's side, bytes of a record."""
    ready, counted = multiprocessing.Event(), multiprocessing.Queue()
    platform = multiprocessing.Process(target=listen, args=(port, count, ready, counted))
    platform.start()
    ready.wait(10)
    uplink, outbox, ending = make_uplink(url, folder, window, version), Backlog(), Event()
    averages = [Average(key, 35.04, 30.02, 40.06) for key in bench_hj212.KEYS]
    text = ""
    for number in range(count):
        start = bench_hj212.START + timedelta(minutes=number)
        text = uplink.compose(Report(Kind.MINUTE, "P1", start, averages))
        outbox.add(text, kind=Kind.MINUTE, start=start)
    thread = Thread(target=uplink.run, args=(outbox, MemoryCommands(), ending))
    cpu, begun = time.process_time(), time.perf_counter()
    thread.start()
    while len(outbox.acknowledged) < count:
        time.sleep(0.005)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    ending.set()
    outbox.ring()
    thread.join()
    outbox.close()
    got = counted.get(timeout=300)
    platform.join(10)
    assert got == (count, count), got
    return count / seconds, cpu / count * 1e6, len(text)


def main(count, windows):
    print(f"\ndrain of {count} minute records of {len(bench_hj212.KEYS)} factors to mosquitto on loopback\n")
    print(f"{'':34}{'records/s':>11}{'all of them':>13}{'CPU µs a record':>17}{'RSS MiB':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder, tls = Path(name), free_port()
        certificates.make(folder)
        secure = (
            f"listener {tls} 127.0.0.1", f"certfile {folder}/server.pem", f"keyfile {folder}/server.key",
        )  # fmt: skip
        with Broker(folder / "broker", "max_inflight_messages 0", listener=secure) as broker:
            broker.config.write_text(broker.config.read_text().replace("log_type all", "log_type error"))
            broker.stop()
            broker.start()
            plain, over = broker.url, f"mqtts://localhost:{tls}"
            rows = [(f"{plain.split(':')[0]} 5, window {one}", plain, "5", one) for one in windows]
            rows += [(f"mqtt 3.1.1, window {windows[-1]}", plain, "3.1.1", windows[-1])]
            rows += [(f"mqtts 5, window {windows[-1]}", over, "5", windows[-1])]
            size = 0
            for label, url, version, window in rows:
                rate, cpu, size = drain(folder, url, broker.port, window, version, count)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{label:34}{rate:11,.0f}{count / rate:11.1f} s{cpu:17.0f}{peak:9.1f}", flush=True)
    print(f"\na record has {size} bytes before its envelope")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, [int(one) for one in sys.argv[2:]] or WINDOWS)
