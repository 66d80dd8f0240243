"""The modem's port is nobody else's, under whatever name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from station.modem import care
from station.modem.settings import ModemSettings


@pytest.mark.parametrize("table", ["bus", "screen"])
def test_a_modem_on_a_port_of_another_is_refused_by_its_link_too(tmp_path: Path, table: str) -> None:
    port, link = tmp_path / "ttyUSB2", tmp_path / "modem"
    port.touch()
    link.symlink_to(port)
    tables = {"bus": (), "screen": (), table: (SimpleNamespace(port=str(port), name="x"),)}
    modem = ModemSettings(kind="at", port=str(link))
    config = SimpleNamespace(modem=modem, output=(), notify=(), **tables)
    found = [one for one in care.faults(config, tmp_path) if one.path == "modem.port"]  # type: ignore[arg-type]
    assert [one.text for one in found] == [f'is the port of {table} "x"']
