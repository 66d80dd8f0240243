"""`station demo --page`: emulated instruments, the station, and the page in a process of its own."""

from __future__ import annotations

import re
import signal
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from station.page import start
from station.page.serve import main
from tests.station.commands import configure, served


def test_the_demo_opens_the_page_says_its_address_and_code_and_ends_on_ctrl_c() -> None:
    with served("demo", "--page") as demo:
        said = demo.says("one-time code", 30)
        match = re.search(r"http://localhost:(\d+)/code - one-time code (\S{4}-\S{4}-\S{4}) ", said)
        assert match is not None, said
        connection = HTTPConnection("localhost", int(match[1]), timeout=10)
        connection.request("GET", "/code")
        answer = connection.getresponse()
        assert answer.status == 200
        assert "One-time code" in answer.read().decode()
        connection.close()
        demo.process.send_signal(signal.SIGINT)
        assert demo.ended(30) == 0
        assert "Ended by Ctrl-C." in demo.text


def test_without_its_libraries_the_page_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "station.page.serve")
    monkeypatch.setitem(sys.modules, "waitress.adjustments", None)
    monkeypatch.setattr(start, "EXTRA", (*start.EXTRA, "waitress.adjustments"))
    assert start.main(["page", "--config", "x"]) == 69
    assert "is not installed; the page's libraries come with: pip install '.[page]'" in capsys.readouterr().err


def test_a_page_that_cannot_listen_says_where(tmp_path: Path, caplog: object) -> None:
    config = configure(tmp_path)
    config.write_text(config.read_text() + '\n[page]\nlisten = "192.0.2.1"\n')
    assert main(["page", "--config", str(config)]) == 69
    assert "192.0.2.1 port 8080: the page cannot listen there" in caplog.text  # type: ignore[attr-defined]
