"""What all tests share: those that take long begin first, so that no worker is left alone with one at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

SLOW = (
    "test_handbook", "test_cli_calibrate_instrument", "test_secrets", "test_powercut", "test_cli_http", "test_stills",
    "test_receiving", "test_commissioning", "test_cli_uplink", "test_service", "test_still", "test_install",
    "test_ledger", "test_browser", "test_cli_mqtt", "test_cli_sampler", "test_browser_trends", "test_comparison",
    "test_failing_disk", "test_cli_bus", "test_emulator", "test_dialogues", "test_allow_list", "test_cli_calibrate",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, and leave what is in them as it is."""
    first = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: first.get(Path(item.path).stem, len(first)))
