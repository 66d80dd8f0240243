"""How fast HJ 212 frames are built, and how fast a backlog drains.

By hand: python tests/bench/bench_hj212.py [RECORDS [drain [WINDOW ...]]], the latter for the drains alone.  Drains
run in one process over loopback: the station's thread, an emulated platform with its database in memory, and a 50 ms
round trip made by the platform.  Window 1 sends one record a round trip whatever there is: it is timed on ONE_BY_ONE
records, and the time for all of them is worked out, which the table says.  Windows that are named send every record:
window 1 takes an hour and a half for 100,000.
"""

import resource
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.model import Average, Kind, Report
from station.parameters import catalogue
from uplink.base import Context
from uplink.hj212 import frame
from uplink.hj212.emulator import Platform
from uplink.hj212.link import Hj212Settings, Hj212Uplink, PointSettings
from uplink.memory import MemoryCommands, MemoryOutbox

MN = "0A1B2C3D4E5F60718293A4B5"
START = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = ("pm25", "pm10", "tsp", "air_temperature", "humidity", "air_pressure", "wind_speed", "wind_direction")
ROUND_TRIP = 0.05
ROUNDS = 5
ONE_BY_ONE = 1200
FRAMES = 1_000_000
WIDTHS = (8, 9, 12, 8, 30, 10, 22)


def bit_loop(data):
    """The standard's listing."""
    register = 0xFFFF
    for byte in data:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low = register & 1
            register >>= 1
            if low:
                register ^= 0xA001
    return register


def make_uplink(port, **changes):
    context = Context(
        catalogue=catalogue(),
        zone=timezone(timedelta(hours=8)),
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        secret=lambda name: "123456",
        started=START,
    )
    settings = Hj212Settings(
        name="bench",
        standard="2025",
        host="127.0.0.1",
        port=port,
        password_file="pw",
        point=(PointSettings(point="P1", mn=MN),),
        spacing_seconds=0.0,
        **changes,
    )
    return Hj212Uplink(settings, context, {"P1": "22"})


def minutes(uplink, count):
    averages = [Average(key, 35.04, 30.02, 40.06) for key in KEYS]
    for number in range(count):
        start = START + timedelta(minutes=number)
        yield start, uplink.compose(Report(Kind.MINUTE, "P1", start, averages))


def per_second(work, count=2000):
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - begun)


def building():
    uplink = make_uplink(1)
    data = next(minutes(uplink, 1))[1]
    segment = frame.Segment(
        qn="20260301080000000", st="22", cn="2051", pw="123456", mn=MN, flag="9", cp=frame.fence(data)
    )
    raw = segment.build()
    rows = {
        "compose a report": lambda: next(minutes(uplink, 1)),
        "segment to frame, bit loop": lambda: b"##%04d%b%04X\r\n" % (len(raw), raw, bit_loop(raw)),
        "segment to frame": lambda: frame.encode(raw),
        "fields to frame": lambda: frame.encode(segment.build()),
        "frame to fields": lambda: frame.Segment.parse(frame.decode(wire)),
    }
    wire = frame.encode(raw)
    rates = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, work in rows.items():
            rates[name].append(per_second(work, 200 if "bit" in name else 2000))
    slow = statistics.median(rates["segment to frame, bit loop"])
    print(f"\n{len(KEYS)} factors, frame of {len(wire)} bytes, median of {ROUNDS}\n")
    print(f"{'':28}{'a second':>12}{'ratio':>8}")
    for name, values in rates.items():
        print(f"{name:28}{statistics.median(values):12,.0f}{statistics.median(values) / slow:8.1f}")


def drain(window, count):
    with Platform(delay=ROUND_TRIP) as platform:
        uplink, outbox, stop = make_uplink(platform.port, window=window), MemoryOutbox(), Event()
        for start, text in minutes(uplink, count):
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
        assert platform.summary()["duplicates"] == 0
    return count / seconds, cpu / count * 1e6


def draining(count, named=()):
    print(f"\ndrain of up to {count} minute records, round trip {ROUND_TRIP * 1000:.0f} ms\n")
    titles = ("window", "sent", "records/s", "ratio", "CPU µs a record, both ends", "RSS MiB", "all of them")
    print("".join(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    first = None
    for window in named or (1, 8, 32):
        sent = min(count, ONE_BY_ONE) if window == 1 and not named else count
        rate, cpu = drain(window, sent)
        first = first or rate
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        whole = f"{count / rate:.0f} s" + (", worked out" if sent < count else "")
        cells = (window, sent, f"{rate:.1f}", f"{rate / first:.1f}", f"{cpu:.0f}", f"{peak:.1f}", whole)
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def resident():
    """MiB this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def growing(count):
    """Memory while frames are built, cut out of a stream and taken apart: it must not grow."""
    data = next(minutes(make_uplink(1), 1))[1]
    reader, marks, begun = frame.FrameReader(), [], time.perf_counter()
    for number in range(count):
        segment = frame.Segment(
            qn=f"{20260301080000000 + number}", st="22", cn="2051", pw="123456", mn=MN, flag="9", cp=frame.fence(data)
        )
        for item in reader.feed(frame.encode(segment.build())):
            frame.Segment.parse(item)
        if number % (count // 10) == count // 10 - 1:
            marks.append(resident())
    seconds = time.perf_counter() - begun
    print(f"\n{count:,} frames built and parsed in {seconds:.0f} s ({count / seconds:,.0f} a second)")
    print("RSS MiB at every tenth: " + " ".join(f"{mark:.1f}" for mark in marks))
    print(f"growth from the first tenth to the last: {(marks[-1] - marks[0]) * 1024:.0f} KiB")


if __name__ == "__main__":
    if "drain" not in sys.argv:
        building()
        growing(FRAMES)
    draining(int(sys.argv[1]) if len(sys.argv) > 1 else 3000, [int(window) for window in sys.argv[3:]])
