"""One uplink's thread: what makes it wait and come again, and what ends the process."""

from __future__ import annotations

import errno
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from station.model import StoreError
from station.sender import Sender
from tests.station.conftest import FakeUplink
from tests.station.test_outbox import Rig
from uplink.base import Backoff, Commands, LinkDown, Outbox
from uplink.memory import MemoryCommands


def served(folder: Path, error: Exception) -> tuple[Sender, list[dict[str, Any]]]:
    """A sender that has met *error* on its connection, and the events it noted."""

    def break_down(outbox: Outbox, commands: Commands, stop: Event) -> None:
        stop.set()
        raise error

    rig = Rig(folder / "station.db")
    noted: list[dict[str, Any]] = []
    sender = Sender(
        FakeUplink(break_down), rig.outbox, MemoryCommands(), Event(), lambda: None,
        lambda code, **fields: noted.append({"code": code, **fields}), Backoff(),
    )  # fmt: skip
    sender._stopping.clear()
    sender.run()
    rig.close()
    return sender, noted


@pytest.mark.parametrize(
    "error",
    [
        LinkDown("10.0.0.1:9: connection refused"),
        StoreError("/s.db: fails, and no number is left that is sure to be new"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
)
def test_a_link_or_a_disk_that_fails_is_waited_for_and_noted(tmp_path: Path, error: Exception) -> None:
    sender, noted = served(tmp_path, error)
    assert (sender.failed, sender.error) == (None, str(error))
    assert noted == [{"code": "link_down", "platform": "district", "error": str(error)}]


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OSError(errno.EBADF, "Bad file descriptor")])
def test_what_nobody_foresaw_is_kept_for_the_main_thread(tmp_path: Path, error: Exception) -> None:
    sender, _ = served(tmp_path, error)
    assert sender.failed is error
