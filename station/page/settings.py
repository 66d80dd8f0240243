"""The [page] table: where the local page listens, by which names it is called and who may look."""

from __future__ import annotations

from collections.abc import Iterator

from station.loader import Fault
from station.model import dataclass, setting

FIRST_FREE_PORT = 1024  # those below are for privileged processes (net.ipv4.ip_unprivileged_port_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The [page] table; without one the page has these defaults."""

    listen: str = setting("0.0.0.0", text="address that the page listens on; 127.0.0.1: this machine alone")
    port: int = setting(8080, low=1, high=65535, text="TCP port of the page")
    hosts: tuple[str, ...] = setting(
        (), text="more names the page may be called by, beside localhost, the host's name and its own addresses"
    )
    open_view: bool = setting(False, text="true: whoever reaches the page may look without a name; never act")
    session_hours: int = setting(12, low=1, high=720, text="a person is signed out after so long")
    idle_minutes: int = setting(60, low=1, high=10080, text="and after so long without a page asked for")
    code_hours: int = setting(24, low=1, high=720, text="how long a one-time code can be used")
    trusted_proxy: str = setting(
        "", text="address of a TLS proxy in front whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    metrics_from: tuple[str, ...] = setting(
        (), text="addresses or networks that may read /metrics, such as 192.168.1.20 or 10.0.0.0/24; this machine may"
    )
    metrics_token_file: str = setting(
        "", text="file or systemd credential with a token: who sends it as Authorization: Bearer may read /metrics"
    )
    refresh_seconds: int = setting(10, low=2, high=3600, text="how often a page that is looked at renews its values")

    def faults(self) -> Iterator[Fault]:
        """Names that no browser could send, and addresses that are none."""
        for index, name in enumerate(self.hosts):
            if not name or any(sign in name for sign in "/:@ ") or not name.isascii():
                said = f'"{name}" is not a host name such as station.example; write it without http:// and port'
                yield Fault(f"page.hosts[{index}]", said)
        from ipaddress import ip_address, ip_network  # the station reads this table, too

        for index, name in enumerate(self.metrics_from):
            try:
                ip_network(name, strict=False)
            except ValueError:
                said = f'"{name}" is not an address or network such as 192.168.1.20 or 10.0.0.0/24'
                yield Fault(f"page.metrics_from[{index}]", said)
        for key in ("listen", "trusted_proxy"):
            name = getattr(self, key)
            try:
                if name:
                    ip_address(name)
            except ValueError:
                said = f'"{name}" is not an address such as 127.0.0.1; names are not looked up'
                if key == "trusted_proxy":  # "*" would let everybody write where he comes from, and try for ever
                    said += ", and one proxy is believed, not everybody"
                yield Fault(f"page.{key}", said)

    def hints(self) -> Iterator[Fault]:
        """What is no fault everywhere, but one where the page runs as the unit page.service."""
        if self.port < FIRST_FREE_PORT:
            yield Fault("page.port", low_port(self.port))


def low_port(port: int) -> str:
    """What to do about a *port* that only a privileged process may listen on."""
    return (
        f"port {port} is below {FIRST_FREE_PORT}, and page.service has no right to it: take 8080, or give the right"
        " with systemctl edit page: [Service] CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        " AmbientCapabilities=CAP_NET_BIND_SERVICE, each on a line of its own"
    )
