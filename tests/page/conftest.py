"""A station for the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for a file of tests: it has a past of some minutes and lives on."""
    made = House(tmp_path_factory.mktemp("h"))
    made.past()
    made.begin()
    yield made
    made.close()
