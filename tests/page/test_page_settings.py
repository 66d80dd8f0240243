"""What [page] may say: addresses that are none and ports that nobody may open are told before a phone stays blank."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from station.config import load
from station.model import ConfigError
from station.page import serve as module
from station.page.serve import NoAddress, make_server
from station.page.settings import PageSettings
from tests.page.filled import CONFIG


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('trusted_proxy = "*"', r'page.trusted_proxy: "\*" is not an address .*one proxy is believed, not everybody'),
        ('trusted_proxy = "proxy.example"', r'page.trusted_proxy: "proxy.example" is not an address'),
        ('listen = "eth0"', 'page.listen: "eth0" is not an address such as 127.0.0.1; names are not looked up'),
    ],
)
def test_a_name_where_an_address_belongs_is_a_fault(tmp_path: Path, line: str, said: str) -> None:
    """waitress takes * for everybody: whoever writes where he comes from would try passwords for ever."""
    (tmp_path / "station.toml").write_text(f"{CONFIG}{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load(tmp_path / "station.toml")


@pytest.mark.parametrize("line", ['listen = "::"', 'trusted_proxy = "127.0.0.1"', 'trusted_proxy = "fd00::1"'])
def test_an_address_is_one(tmp_path: Path, line: str) -> None:
    (tmp_path / "station.toml").write_text(f"{CONFIG}{line}\n", encoding="utf-8")
    assert [one for one in load(tmp_path / "station.toml").warnings if "page." in one] == []


def test_a_port_that_the_unit_may_not_open_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(f"{CONFIG}port = 80\n", encoding="utf-8")
    found = [one for one in load(tmp_path / "station.toml").warnings if "page.port" in one]
    assert len(found) == 1
    assert "port 80 is below 1024, and page.service has no right to it: take 8080, or give the right" in found[0]


def test_a_page_that_may_not_open_its_port_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.socket, "socket", Refusing)
    with pytest.raises(
        NoAddress, match=r"port 80: the page may not listen there; .*CapabilityBoundingSet=CAP_NET_BIND"
    ):
        make_server(lambda environ, start: [], PageSettings(port=80))


@pytest.mark.parametrize(("listen", "believed"), [("::", "::ffff:127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_a_proxy_is_known_as_it_comes_to_the_socket(listen: str, believed: str) -> None:
    """An IPv4 peer of an IPv6 socket has another name; unknown, all behind it would count as one address."""
    server = make_server(lambda environ, start: [], PageSettings(listen=listen, trusted_proxy="127.0.0.1"), port=0)
    try:
        assert server.adj.trusted_proxy == believed
    finally:
        server.close()
        server.task_dispatcher.shutdown()
