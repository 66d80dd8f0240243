"""The fifty rows of the fault matrix: what is done, by which function, and how often in the quick and the long set.

*quick* and *long* are handed to the function: images' commits, cycles, hours, reads, ...; what it made of them is in
its outcome.  A row without a function cannot be run, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A fault, the function "module:name" that runs it, and how often in either set; or why it is not run."""

    number: int
    fault: str
    function: str | None
    quick: int = 1
    long: int = 1
    reason: str = ""


def _row(number: int, fault: str, function: str, quick: int = 1, long: int = 1) -> Row:
    return Row(number, fault, f"tests.faults.{function}", quick, long)


ROWS = (
    _row(1, "Power cut at each write", "power:at_each_write", 10, 300),
    _row(2, "Power cut, whole process", "pulled:whole_process", 20, 200),
    _row(3, "Torn write", "power:torn", 8, 100),
    _row(4, "Disk ignores sync", "damage:lying", 40, 1000),
    _row(5, "kill -9 at random", "killed:at_random", 20, 1000),
    _row(6, "kill -9 between answer and mark", "killed:between", 2, 20),
    _row(7, "SIGTERM, and the next start", "killed:stopped", 5, 100),
    _row(8, "Out of memory", "killed:starved", 3, 30),
    _row(9, "Disk full", "disk:full", 5, 100),
    _row(10, "Full of unsent data", "disk:full_of_unsent", 2, 100),
    _row(11, "Descriptors gone", "killed:without_descriptors", 3, 30),
    _row(12, "Read-only remount", "disk:read_only", 10, 100),
    _row(13, "EIO on read, write and sync", "disk:io_errors", 12, 100),
    _row(14, "Bit flips in the database", "damage:bits", 300, 10_000),
    _row(15, "Pages lost, file cut off", "damage:pages", 20, 200),
    _row(16, "Log or index gone, copy without its log", "disk:without_log", 10, 100),
    _row(17, "Backup under load", "disk:backup_under_load", 10, 100),
    _row(18, "Card wear", "disk:wear", 1, 24),
    _row(19, "Older and newer schema", "disk:versions", 4, 20),
    _row(20, "Platform down for days", "links:outage", 4, 72),
    _row(21, "Flapping link", "links:flapping", 3, 20),
    _row(22, "Half-open TCP, answer lost", "links:half_open", 6, 100),
    _row(23, "Slow platform", "links:slow", 300, 1800),
    _row(24, "One of three platforms dead", "links:dead", 300, 1800),
    _row(25, "Poison record", "links:poison", 1, 20),
    _row(26, "Recovery storm", "links:storm", 5, 100),
    _row(27, "Wrong, double, late answers", "links:wrong_answers", 6, 99),
    _row(28, "Name without address; TLS", "tls:certificates", 1, 10),
    _row(29, "MQTT broker restart", "broker:restarts", 2, 20),
    _row(30, "Late reply of the same shape", "line:late_replies", 1000, 15_000),
    _row(31, "Reply of another unit or function, echo", "suites:foreign_replies", 1, 10),
    _row(32, "Noise on the line", "line:noise", 50_000, 1_000_000),
    _row(33, "Exceptions 01 to 0B, busy", "suites:exceptions", 1, 10),
    _row(34, "One dead unit of ten", "line:dead_unit", 1, 6),
    _row(35, "Bus stuck", "line:stuck", 1, 10),
    _row(36, "Adapter unplugged, back renamed", "line:unplugged", 30, 500),
    _row(37, "NaN, Inf, order, range, frozen value", "suites:values", 1, 10),
    _row(38, "Start at 1970 without network", "untrusted:start", 2, 30),
    _row(39, "Clock steps, midnights, leap days", "clocks:steps", 40, 1000),
    _row(40, "Platform sets the time", "suites:set_time", 1, 10),
    _row(41, "Host in any time zone", "clocks:zones", 1, 2),
    _row(42, "Replays of recorded commands", "suites:replays", 1, 3),
    _row(43, "Wrong passwords, guessing, flood", "suites:guesses", 1, 10),
    _row(44, "Commands beyond the list", "suites:allow_list", 1, 2),
    _row(45, "Malformed frames", "frames:malformed", 5000, 300_000),
    _row(46, "Web page attacked", "web:attacked", 1, 10),
    _row(47, "Brute force on the web login", "web:guessed", 500, 10_000),
    _row(48, "Readings edited on the card", "damage:seals", 10, 300),
    _row(49, "Configuration cut off or changed", "clocks:configurations", 500, 30_000),
    _row(50, "Soak", "clocks:soak", 1, 30),
)  # fmt: skip
