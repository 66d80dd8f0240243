"""The [modem] table: which modem or router carries the station's link, and what may be done when it hangs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from station.loader import Fault
from station.model import dataclass, setting

APN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,98}")
INTERFACE = re.compile(r"[A-Za-z0-9_.\-]{1,15}")
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+):(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModemSettings:
    """The [modem] table of station.toml."""

    kind: str = setting(
        choices=("at", "manager", "router"),
        text="at: AT commands on a port of its own; manager: by ModemManager; router: watched by reachability alone",
    )
    name: str = setting("4G", text="what it is called on screens")
    port: str = setting("", text="of an at modem its AT port, best a /dev/serial/by-id/… link")
    baudrate: int = setting(115200, low=1200, high=4000000, text="of that port; USB modems take any")
    interface: str = setting("", text="network interface whose bytes are counted, such as wwan0, usb0 or eth1")
    apn: str = setting("", text="the APN it should have; set again at a redial where it differs")
    check: str = setting(
        "", text="HOST:PORT that answers whenever the link is up; a router needs one, best the platform's own"
    )
    look_seconds: float = setting(60.0, low=5, high=3600, text="seconds between two looks at it")
    answer_seconds: float = setting(5.0, low=0.1, high=60, text="how long an answer may take")
    network_time: str = setting(
        "compare",
        choices=("off", "compare", "use"),
        text="the operator's time: off, compared alone, or used to set the clock while nobody else vouches for it",
    )
    network_zone: str = setting(
        "local",
        choices=("local", "utc"),
        text="what the modem gives it in: local time with its zone (the standard), or UTC whatever the zone says",
    )
    budget_mb: int = setting(0, low=0, high=10_000_000, text="MB a month that the tariff holds; 0: no budget")
    after_minutes: float = setting(
        10.0, low=1, high=1440, text="no platform reachable for so long, and the link down: the modem is helped"
    )
    pause_minutes: float = setting(10.0, low=1, high=1440, text="after a first step; twice as long after each further")
    most_a_day: int = setting(6, low=0, high=48, text="steps within 24 hours at most; 0: watched alone")
    power_output: str = setting(
        "", text="name of the [[output]] whose relay cuts the modem's supply while it is on (normally closed contact)"
    )
    power_off_seconds: float = setting(10.0, low=1, high=300, text="how long the supply is cut")

    def faults(self) -> Iterator[Fault]:
        """What does not fit together."""
        if self.kind == "at" and not self.port:
            yield Fault("modem.port", "an at modem needs its AT port, such as /dev/serial/by-id/…-if02-port0")
        if self.kind != "at" and self.port:
            yield Fault("modem.port", f"has no meaning with kind {self.kind}")
        if self.kind == "router" and not self.check:
            yield Fault("modem.check", "a router is watched by an address alone: HOST:PORT")
        if self.check and ((found := ADDRESS.fullmatch(self.check)) is None or not 0 < int(found[2]) < 65536):
            yield Fault("modem.check", f'"{self.check}" is no address such as 203.0.113.7:9212')
        if self.apn and not APN.fullmatch(self.apn):
            yield Fault("modem.apn", f'"{self.apn}" is no APN such as cmnet')
        if self.interface and (not INTERFACE.fullmatch(self.interface) or self.interface in (".", "..")):
            yield Fault("modem.interface", f'"{self.interface}" is no network interface such as wwan0')
        if self.budget_mb and not self.interface:
            yield Fault("modem.budget_mb", "a budget needs interface: the network interface whose bytes are counted")
