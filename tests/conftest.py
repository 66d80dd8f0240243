"""What all tests share: the order of files, and who goes first on a machine that is full.

Files that take long begin first, so that no worker is left alone with one at the end.  Tests of lines wait tens of
milliseconds for an emulated instrument in a thread of their own, as the station waits for a real one: where they may,
they run before the other workers, whose load is none of a line's faults.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SLOW = (
    "test_cli_calibrate_instrument", "test_install", "test_handbook", "test_broken_all", "test_cli_calibrate",
    "test_checking", "test_cli_bus", "test_receiving", "test_browser", "test_closing", "test_cli_uplink",
    "test_cli_http", "test_service", "test_powercut", "test_cli", "test_ledger", "test_live", "test_unattended",
    "test_secrets", "test_recipe", "test_dialogues", "test_still", "test_cli_sampler", "test_mqtt", "test_commands",
    "test_typed_itself", "test_comparison", "test_doctor", "test_people", "test_engine", "test_emulator", "test_stills",
    "test_commissioning", "test_typed_service", "test_typed_inside", "test_seal", "test_salvage", "test_cli_tunnel",
    "test_module_daemon", "test_browser_trends", "test_page_security", "test_stunnel", "test_failing_disk",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, and leave what is in them as it is."""
    first = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: first.get(Path(item.path).stem, len(first)))


@pytest.fixture(autouse=True)
def ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run tests of drivers, and the threads they start, before others."""
    if Path(request.path).parent.name != "drivers":
        yield
        return
    with suppress(OSError):  # only root may
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    yield
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
