"""The fifty rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A fault, the function "module:name" that runs it, and how often in either set; or why it is not run."""

    number: int
    fault: str
    function: str | None
    quick: int = 0
    long: int = 0
    reason: str = ""


KILLED, POWER, DISK = "tests.faults.killed", "tests.faults.power", "tests.faults.disk"
ROWS = (
    Row(1, "Power cut at each write", f"{POWER}:at_each_write", 10, 300),
    Row(3, "Torn write", f"{POWER}:torn", 8, 150),
    Row(5, "kill -9 at random", f"{KILLED}:at_random", 20, 1000),
    Row(6, "kill -9 between answer and mark", f"{KILLED}:between", 2, 20),
    Row(7, "SIGTERM", f"{KILLED}:stopped", 5, 100),
    Row(8, "OOM", f"{KILLED}:starved", 3, 30),
    Row(9, "Disk full", f"{DISK}:full", 5, 100),
    Row(10, "Disk full of unsent data", f"{DISK}:full_of_unsent", 3, 100),
    Row(11, "Descriptors gone", f"{KILLED}:without_descriptors", 3, 30),
    Row(12, "Read-only remount", f"{DISK}:read_only", 10, 100),
    Row(13, "EIO", f"{DISK}:io_errors", 12, 100),
    Row(16, "WAL", f"{DISK}:without_log", 10, 100),
    Row(17, "backup", f"{DISK}:backup_under_load", 10, 100),
    Row(18, "wear", f"{DISK}:wear", 1, 24),
    Row(19, "schema", f"{DISK}:versions", 4, 20),
)
