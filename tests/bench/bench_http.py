"""How fast a backlog of minutes drains over HTTPS in batches, beside HJ 212 with a window of 32.

By hand: python tests/bench/bench_http.py [RECORDS [BATCH ...]].  One process over loopback: the station's thread, TLS
with a certificate of its own, gzip, and an emulated receiver that answers after the 50 ms of bench_hj212.py's round
trip.  Nothing is asserted but the counts: each record once.
"""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.model import Average, Kind, Report
from station.parameters import catalogue
from tests.bench import bench_hj212
from uplink.base import Context
from uplink.http.emulator import Receiver
from uplink.http.link import HttpSettings, HttpUplink, PointSettings
from uplink.memory import MemoryCommands, MemoryOutbox

ROUND_TRIP = bench_hj212.ROUND_TRIP
BATCHES = (10, 100, 500)
WINDOW = 32
BESIDE = 10_000  # records sent over HJ 212; the time for all of them is worked out


def make_uplink(url, folder, batch):
    context = Context(
        catalogue=catalogue(),
        zone=timezone(timedelta(hours=8)),
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        secret=lambda name: "",
        started=bench_hj212.START,
        where=lambda name: folder / name,
    )
    settings = HttpSettings(
        name="bench", protocol="http", url=url, ca_file="ca.pem", batch=batch, point=(PointSettings(point="P1"),)
    )
    return HttpUplink(settings, context, {})


def drain(folder, batch, count):
    with Receiver(tls=folder, keep=False, delay=ROUND_TRIP) as receiver:
        uplink, outbox, stop = make_uplink(receiver.url, folder, batch), MemoryOutbox(), Event()
        averages = [Average(key, 35.04, 30.02, 40.06) for key in bench_hj212.KEYS]
        size = 0
        for number in range(count):
            start = bench_hj212.START + timedelta(minutes=number)
            text = uplink.compose(Report(Kind.MINUTE, "P1", start, averages))
            size = len(text)
            outbox.add(text, kind=Kind.MINUTE, start=start)
        thread = Thread(target=uplink.run, args=(outbox, MemoryCommands(), stop))
        cpu, begun = time.process_time(), time.perf_counter()
        thread.start()
        while len(outbox.acknowledged) < count:
            time.sleep(0.005)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        stop.set()
        thread.join()
        outbox.close()
        summary = receiver.summary()
        assert (summary["unique"], summary["duplicates"]) == (count, 0), summary
    return count / seconds, cpu / count * 1e6, size


def main(count, batches):
    factors = len(bench_hj212.KEYS)
    print(f"\ndrain of {count} minute records of {factors} factors, round trip {ROUND_TRIP * 1000:.0f} ms\n")
    print(f"{'':34}{'records/s':>11}{'all of them':>13}{'CPU µs a record, both ends':>28}{'RSS MiB':>9}")

    def row(name, rate, cpu):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:34}{rate:11,.0f}{count / rate:11.1f} s{cpu:28.0f}{peak:9.1f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for batch in batches:
            rate, cpu, size = drain(Path(folder), batch, count)
            row(f"HTTPS, batch {batch}", rate, cpu)
    sent = min(count, BESIDE)
    row(f"HJ 212, window {WINDOW}" + ", worked out" * (sent < count), *bench_hj212.drain(WINDOW, sent))
    print(f"\na record of the station's own JSON has {size} bytes before gzip")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, [int(one) for one in sys.argv[2:]] or BATCHES)
