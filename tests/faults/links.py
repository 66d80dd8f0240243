"""Rows 20 to 27: platforms that are away, slow, half there or of another opinion, over real connections."""

from __future__ import annotations

import heapq
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.killed import Site
from tests.faults.outcome import Outcome, p99
from tests.station.commands import answer, served, until
from tests.station.test_three_platforms import HEAD, UPLINK, Three
from tests.uplink.conftest import Link
from uplink.base import Backoff
from uplink.hj212.emulator import Platform, Record
from uplink.hj212.frame import Segment

ROUND_TRIP = 0.05


class Watched(Platform):
    """A platform that notes when a record came and counts connections; one DataTime it may always refuse."""

    def __init__(self, **more: Any) -> None:
        super().__init__(on_record=self._came, **more)
        self.connections = 0
        self.poison = ""
        self.refusals = 0
        self.came: dict[str, float] = {}

    def _came(self, record: Record) -> None:
        self.came.setdefault(record.data, time.monotonic())

    def _on_connection(self, events: int) -> None:
        self.connections += 1
        super()._on_connection(events)

    def _answers(self, station: Any, segment: Segment) -> Iterator[tuple[float, bytes]]:
        if self.poison and self.poison in segment.data:
            self.refusals += 1
            yield self.delay, self._frame(segment, "9011", "QnRtn=2")
            return
        yield from super()._answers(station, segment)


class Fast(Three):
    """A station whose clock is moved by hand while its links run in real time; when each message was committed."""

    def __init__(self, folder: Path, platforms: dict[str, Watched], more: str = "window = 32", poll: float = 5) -> None:
        self.platforms = platforms
        self.made: dict[str, dict[str, float]] = {name: {} for name in platforms}
        head = HEAD.replace("poll_seconds = 5", f"poll_seconds = {poll:g}")
        text = head + "".join(
            UPLINK.format(name=name, standard="2017", port=platform.port, more=more)
            for name, platform in platforms.items()
        )
        folder.mkdir(exist_ok=True)
        super().__init__(folder, text)

    def note(self) -> None:
        """Take in the messages that were committed since the last look."""
        at = time.monotonic()
        for name, outbox in self.engine.outboxes.items():
            since, behind = self._last.get(name, outbox.id << 40), (outbox.id + 1) << 40
            rows = self.engine.store.query("SELECT text FROM message WHERE id > ? AND id < ?", (since, behind))
            self._last[name] = self.engine.store.newest_message(outbox.id)
            self.made[name].update((text, at) for (text,) in rows)

    _last: dict[str, int]

    def start(self) -> Any:
        self._last = {}
        return super().start()

    def live(self, seconds: float, pace: float) -> None:
        """Let *seconds* pass, *pace* of the station's seconds in one of ours."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            began = time.monotonic()
            self.run(1)
            self.note()
            time.sleep(max(0.0, 1 / pace - (time.monotonic() - began)))

    def delays(self, name: str) -> list[float]:
        """How long each message of *name* took from its commit to the platform, in our seconds."""
        came = self.platforms[name].came
        return [came[text] - at for text, at in self.made[name].items() if text in came]

    def verdict(self) -> tuple[int, int, int]:
        """Lost, doubled and altered at all platforms."""
        lost = doubled = altered = 0
        for name, platform in self.platforms.items():
            summary, outbox = platform.summary(), self.engine.outboxes[name]
            rows = self.engine.store.query(
                "SELECT kind, point, start_ms, version, text FROM message WHERE id > ? AND id < ?",
                (outbox.id << 40, (outbox.id + 1) << 40),
            )
            kept = {record.data for record in platform.records()}
            depth = outbox.depth()
            lost += max(0, sum(row[4] not in kept for row in rows) - depth.owed - depth.parked) + depth.dropped
            doubled += len(rows) - len({row[:4] for row in rows})
            altered += summary["contradictions"]
        return lost, doubled, altered


@contextmanager
def fast(folder: Path, *names: str, more: str = "window = 32", poll: float = 5, delay: float = 0.0) -> Iterator[Fast]:
    """A station of *names* platforms."""
    with ExitStack() as stack:
        platforms = {}
        for name in names:
            platforms[name] = Watched(delay=delay)
            stack.enter_context(platforms[name])
        station = Fast(folder, platforms, more, poll)
        stack.callback(station.engine.shut_down)
        yield station


def outage(folder: Path, hours: int) -> Outcome:
    """Row 20: the platform is down for *hours* of the station's time, then there with a round trip of 50 ms.

    From three days on also for thirty days, polled by the minute.
    """
    first = _outage(folder / "first", hours, 5)
    if hours < 72:
        return first
    second = _outage(folder / "second", 720, 60)
    return Outcome(
        2,
        f"{first.figure}; {second.figure}",
        first.held and second.held,
        *(getattr(first, name) + getattr(second, name) for name in ("lost", "doubled", "altered")),
        max(first.recover_seconds or 0, second.recover_seconds or 0),
    )


def _outage(folder: Path, hours: int, poll: int) -> Outcome:
    with fast(folder, "district", delay=ROUND_TRIP, poll=poll) as station:
        platform, outbox = station.platforms["district"], station.engine.outboxes["district"]
        assert station.until(lambda: outbox.connected_at is not None)
        platform.fault("down")
        station.run(hours * 3600, poll)
        owed_then, size = outbox.depth().owed, station.loaded.database.stat().st_size
        began = time.monotonic()
        platform.fault(None)
        assert station.until(lambda: outbox.connected_at is not None)
        station.note()
        station.made["district"].clear()  # what follows is live
        while outbox.depth().owed > 40 and time.monotonic() - began < 1800:
            station.live(5, 10)
        took = time.monotonic() - began
        station.live(30, 10)
        assert station.until(lambda: outbox.depth().owed == 0, 60)
        delays = [delay for delay in station.delays("district") if delay >= 0]
        lost, doubled, altered = station.verdict()
    figure = (
        f"{hours} h down, two parameters each {poll} s: {owed_then} messages owed, {size / 1e6:.1f} MB on the disk"
        f" ({size / hours * 24 / 1e6:.2f} MB a day); all delivered within {took:.0f} s at a round trip of 50 ms and a"
        f" window of 32, live p99 meanwhile {p99(delays):.2f} s (goal 5)"
    )
    return Outcome(1, figure, p99(delays) < 5 and took < 7200, lost, doubled, altered, took)


def flapping(folder: Path, flaps: int) -> Outcome:
    """Row 21: a real daemon whose platform is up for 10 s and down for 20 s."""
    with ExitStack() as stack:
        platform = Watched()
        stack.enter_context(platform)
        here = Site(folder / "site", platform, stack)
        with served("run", "--config", here.path) as process:
            until(lambda: answer(here.socket), 30, lambda: process.text)
            began, gains = time.monotonic(), list[int]()
            for _ in range(flaps):
                platform.fault("down")
                time.sleep(20)
                before, _ = len(platform.came), platform.fault(None)
                time.sleep(10)
                gains.append(len(platform.came) - before)
            minutes = (time.monotonic() - began) / 60
            connections = platform.connections
            until(lambda: not here.undelivered(), 60, lambda: process.text)
            here.drained(process)
        lost, doubled, altered = here.verdict()
    figure = (
        f"10 s up, 20 s down: {sum(gains) / minutes:.0f} records/min came, progress in {sum(g > 0 for g in gains)} of"
        f" {flaps} ups, {connections / minutes * 60:.0f} connections/h (reconnect_seconds = 1)"
    )
    return Outcome(flaps, figure, sum(gains) > 0 and connections <= 10 * flaps + 5, lost, doubled, altered)


def half_open(folder: Path, runs: int) -> Outcome:
    """Row 22: the connection stays open and nothing moves on it; answers that are lost."""
    lost = doubled = altered = 0
    found, again = list[float](), 0
    for number in range(runs):
        with Platform() as platform:
            station = Link(platform.port, timeout_seconds=0.2, resends=1)
            try:
                with station.up():
                    station.add(5)
                    assert station.drained()
                    platform.fault("half-open" if number % 2 else "lost")
                    began = time.monotonic()
                    station.add(5, first=5)
                    if number % 2:
                        assert station.wait(lambda station=station: station.errors)
                        platform.fault(None)
                    assert station.drained(10)
                    found.append(time.monotonic() - began)
                summary = platform.summary()
            finally:
                station.outbox.close()
            lost, again = lost + 10 - summary["unique"], again + summary["duplicates"]
            altered += summary["contradictions"]
    figure = f"found by the answer that does not come (0.2 s, two tries); {again} records came again with the same key"
    return Outcome(runs, figure, again > 0, lost, doubled, altered, p99(found))


def one_of_three(folder: Path, seconds: int, fault: str, words: str) -> Outcome:
    """Two healthy platforms beside one that has *fault*; their delays before and after."""
    with fast(folder, "first", "second", "third", more="") as station:
        healthy = ("first", "second")
        assert station.until(lambda: all(o.connected_at for o in station.engine.outboxes.values()))
        station.live(seconds, 60)
        before = [d for name in healthy for d in station.delays(name)]
        for name in healthy:
            station.made[name].clear()
        station.platforms["third"].fault(fault)
        station.live(seconds, 60)
        assert station.until(lambda: all(station.engine.outboxes[n].depth().owed == 0 for n in healthy), 30)
        after = [d for name in healthy for d in station.delays(name)]
        held_back = station.engine.outboxes["third"].depth().owed
        station.platforms["third"].fault(None)
        began = station.clock.monotonic()
        while not station.until(lambda: station.owed() == 0, 1):  # what stepped aside is tried again at its time
            station.run(30)
            assert station.clock.monotonic() - began < 7200
        back = station.clock.monotonic() - began
        lost, doubled, altered = station.verdict()
    figure = (
        f"{words}: delay of the two others p99 {p99(before):.3f} s before, {p99(after):.3f} s with it ({len(after)}"
        f" records); it was owed {held_back} messages in the end and got them within {back:.0f} s (station's time)"
    )
    return Outcome(seconds // 30, figure, p99(after) < max(1.0, 3 * p99(before)), lost, doubled, altered, back)


def slow(folder: Path, seconds: int) -> Outcome:
    """Row 23: one platform writes a byte a second."""
    return one_of_three(folder, seconds, "slow", "one platform writes one byte a second")


def dead(folder: Path, seconds: int) -> Outcome:
    """Row 24: one platform takes everything and answers nothing."""
    return one_of_three(folder, seconds, "silent", "one platform answers nothing")


def poison(folder: Path, runs: int) -> Outcome:
    """Row 25: one minute record is refused whenever it comes."""
    delays, parked, tries, lost, doubled, altered = list[float](), 0, list[int](), 0, 0, 0
    for number in range(runs):
        with fast(folder / str(number), "district", more="") as station:
            platform, outbox = station.platforms["district"], station.engine.outboxes["district"]
            assert station.until(lambda outbox=outbox: outbox.connected_at is not None)
            platform.poison = "DataTime=20260301080200;"
            for _ in range(60):
                station.run(60)
                station.note()
                station.until(lambda outbox=outbox: outbox.depth().owed <= 2, 5)
                if outbox.depth().parked and not outbox.depth().owed:
                    break
            parked += outbox.depth().parked == sum(platform.poison in text for text in station.made["district"])
            tries.append(platform.refusals)
            delays += station.delays("district")
            more = station.verdict()
            lost, doubled, altered = lost + more[0], doubled + more[1], altered + more[2]
    figure = (
        f"parked with its reason {parked} of {runs} times, after {max(tries)} refusals at most of all its records; the"
        f" others' delay p99 {p99(delays):.3f} s"
    )
    return Outcome(runs, figure, parked == runs, lost, doubled, altered)


def storm(folder: Path, runs: int) -> Outcome:
    """Row 26: a thousand stations lose their platform at once for half an hour; their timers, simulated."""
    stations, down = 1000, 1800.0
    peaks, waits = list[float](), list[float]()
    for number in range(runs):
        chance = random.Random(number)
        timers = [Backoff(longest=300, uniform=chance.uniform) for _ in range(stations)]
        due = [(next(timer), n) for n, timer in enumerate(timers)]
        heapq.heapify(due)
        per_second: Counter[int] = Counter()
        while due:
            at, n = heapq.heappop(due)
            if at >= down:
                per_second[int(at - down)] += 1
                waits.append(at - down)
                continue
            heapq.heappush(due, (at + 0.001 + next(timers[n]), n))
        peaks.append(max(per_second.values()))
    mean = stations / 300
    figure = (
        f"{stations} stations, 30 min away, reconnect_seconds = 300: at most {max(peaks)} connections in a second (mean"
        f" over the 300 s {mean:.1f}, peak/mean {max(peaks) / mean:.1f}); the last after {max(waits):.0f} s"
    )
    return Outcome(runs, figure, max(peaks) < 0.03 * stations, recover_seconds=max(waits))


def wrong_answers(folder: Path, runs: int) -> Outcome:
    """Row 27: answers with a QN nobody used, twice, late; and none of them may count for another record."""
    wrong = lost = altered = stray = 0
    for number in range(runs):
        fault = ("wrong-qn", "duplicate", "late")[number % 3]
        with Platform(late_seconds=0.3) as platform:
            station = Link(platform.port, timeout_seconds=0.15, resends=1, window=4)
            try:
                platform.fault(fault)
                with station.up():
                    station.add(8)
                    time.sleep(0.5)
                    if fault == "wrong-qn":
                        wrong += len(station.outbox.acknowledged)
                    platform.fault(None)
                    assert station.drained(10)
                    stray += station.uplink.counts["stray answers"]
                summary = platform.summary()
            finally:
                station.outbox.close()
        lost, altered = lost + 8 - summary["unique"], altered + summary["contradictions"]
    figure = f"wrong QN, twice, late: mis-acked {wrong}; {stray} stray answers counted and ignored"
    return Outcome(runs, figure, wrong == 0 and stray > 0, lost, wrong, altered)


def unresolved(folder: Path, runs: int) -> Outcome:
    """The HJ 212 half of row 28: the platform's name has no address for a while."""
    real, told, lost = socket.getaddrinfo, 0, 0
    for _ in range(runs):
        with Platform() as platform:
            station = Link(platform.port, host="localhost")
            away = True

            def resolve(host: Any, *given: Any, **named: Any) -> Any:
                if away:  # noqa: B023 - called within the round
                    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
                return real(host, *given, **named)

            socket.getaddrinfo = resolve  # type: ignore[assignment]
            try:
                with station.up():
                    station.add(5)
                    assert station.wait(lambda station=station: station.errors)
                    told += "the name has no address" in str(station.errors[0])
                    away = False
                    assert station.drained(10)
                lost += 5 - platform.summary()["unique"]
            finally:
                socket.getaddrinfo = real  # type: ignore[assignment]
                station.outbox.close()
    figure = f"HJ 212 to a name without an address: said {told} of {runs} times, data kept"
    return Outcome(runs, figure, told == runs, lost, 0, 0)
