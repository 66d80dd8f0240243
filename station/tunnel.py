"""The tunnel for remote care: off until a technician or a signed order switches it on, for hours, each use on record.

The station itself opens no tunnel and has no right to.  It keeps a file that says until when one is wanted
(tunnel/until in the data folder: the boot and its seconds since start, which no clock step moves); units of systemd,
enabled by whoever installs them, hold WireGuard or a reverse SSH up for so long (station/tunnelhold.py,
systemd/README.md).  What they report comes back as events.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from station.beside import Beside
from station.clock import boot_id
from station.loader import Fault
from station.model import Record, StationError, StoreError, WrongArgument, dataclass, setting
from station.signed import LONGEST_LIFE, read_order

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine

KIND = "tunnel"
LOOK_SECONDS, IDLE_SECONDS = 2.0, 30.0
TOLD_SECONDS = 3600.0  # a refused order is told so often
LONGEST_HOURS = 72.0  # what the units allow, whatever station.toml says


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """The [tunnel] table: remote care, which is off until somebody switches it on."""

    hours: float = setting(2.0, low=0.1, high=LONGEST_HOURS, text="how long a tunnel stays when nobody says")
    most_hours: float = setting(12.0, low=0.1, high=LONGEST_HOURS, text="the longest anybody may ask for")
    signers: str = setting(
        "allowed_signers",
        text="whose signed orders are taken, a file of ssh-keygen(1) ALLOWED SIGNERS; relative to station.toml",
    )
    state_file: str = setting(
        "/run/niutang-tunnel/state.json", text="where the unit that holds the tunnel says how it stands"
    )


class NoTunnel(StationError):
    """Error raised when there is no [tunnel] in station.toml, or none can be switched on now."""

    exit_code = 69


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What is wrong in [tunnel]."""
    if config.tunnel.hours > config.tunnel.most_hours:
        text = f"{config.tunnel.hours:g} h are more than most_hours ({config.tunnel.most_hours:g})"
        yield Fault("tunnel.hours", text)


def make(engine: Engine) -> list[Beside]:
    """The tunnel's thread."""
    return [Tunnel(engine)]


def of(engine: Engine) -> Tunnel:
    """The tunnel of *engine*; raise NoTunnel where there is none."""
    for one in engine.beside:
        if isinstance(one, Tunnel):
            return one
    raise NoTunnel("there is no [tunnel] in station.toml")


def boot_seconds() -> float:
    """Seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tunnel(Beside):
    """Until when a tunnel is wanted, and how it stands."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "tunnel", "care")
        self.settings: TunnelSettings = engine.config.tunnel
        self.path = engine.loaded.data_folder / "tunnel" / "until"
        self._state_path = Path(self.settings.state_file)
        self._lock = Lock()
        self._until: float | None = None  # on the monotonic clock
        self._until_time: datetime | None = None
        self._by = ""
        self._used: set[str] = set()
        self._state: Mapping[str, Any] = {}
        self._resumed = False
        self._refused_until: float | None = None
        self._untold = 0  # orders that were refused and not told yet

    # -- what is asked

    def switch_on(self, by: str, hours: float | None, reason: str, order: str = "") -> dict[str, Any]:
        """Want a tunnel for *hours*; on record before anything is opened."""
        hours = self.settings.hours if hours is None else hours
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= self.settings.most_hours:
            raise WrongArgument(f"a tunnel stays for up to {self.settings.most_hours:g} h (most_hours in [tunnel])")
        if not by.strip():
            raise WrongArgument("who switches a tunnel on gives a name: --by NAME")
        with self._lock:
            self._resume()
            now = self.engine.clock.now()
            until = now + timedelta(hours=hours)
            body = {"do": "on", "by": by.strip(), "hours": hours, "until": until.isoformat(), "reason": reason}
            self._keep({**body, "order": order} if order else body, now)
            if order:
                self._used.add(order)
            self._until, self._until_time, self._by = self.engine.clock.monotonic() + 3600 * hours, until, by.strip()
            self._write(3600 * hours)
            self.engine.note("tunnel_on", urgent=True, by=by.strip(), hours=f"{hours:g}", reason=reason or "-")
        self.ask()
        return self.more()

    def switch_off(self, by: str) -> dict[str, Any]:
        """Want none from now on; also when none was wanted."""
        if not by.strip():
            raise WrongArgument("who switches a tunnel off gives a name: --by NAME")
        with self._lock:
            self._resume()
            self._end()  # first of all: what stays open because the disk refuses would be the worse
            self._keep({"do": "off", "by": by.strip()}, self.engine.clock.now())
            self.engine.note("tunnel_off", urgent=True, by=by.strip())
        self.ask()
        return self.more()

    def obey(self, text: str, signature: str) -> dict[str, Any]:
        """Do what a signed order says, once; raise OrderRefused, with an event, for any other."""
        from station.signed import OrderRefused

        try:
            if self.engine.trust() == "none":
                raise OrderRefused("the station's clock is not trusted, so no order can be told from an old one")
            signers = self.engine.loaded.folder / self.settings.signers
            order = read_order(text, signature, signers, self.engine.config.station.name, self.engine.clock.now())
            with self._lock:
                self._resume()
                if order.id in self._used:
                    raise OrderRefused(f"order {order.id} was carried out before")
        except OrderRefused as error:
            self._refused(str(error)[:200])
            raise
        if order.do == "on":
            return self.switch_on(order.by, order.hours, order.reason, order.id)
        return self.switch_off(order.by)

    def _refused(self, reason: str) -> None:
        """Tell of it, the first of an hour at once and the others by their number: a flood makes few events."""
        now = self.engine.clock.monotonic()
        if self._refused_until is None or now >= self._refused_until:
            self._refused_until = now + TOLD_SECONDS
            self.engine.note("tunnel_refused", urgent=True, reason=reason, count=self._untold + 1)
            self._untold = 0
        else:
            self._untold += 1

    # -- the thread

    def turn(self) -> float:
        """Close what is over, and tell of what the unit says."""
        with self._lock:
            self._resume()
            if self._until is not None and self.engine.clock.monotonic() >= self._until:
                self._end()
                self._keep({"do": "over"}, self.engine.clock.now(), durable=False)
                self.engine.note("tunnel_over", urgent=True, by=self._by)
            self._look()
            on = self._until is not None
        return LOOK_SECONDS if on or self._state.get("state", "down") != "down" else IDLE_SECONDS

    def more(self) -> dict[str, Any]:
        """Until when it is wanted, by whom, and how it stands."""
        on = self._until is not None
        zone = self.engine.loaded.zone
        until = self._until_time.astimezone(zone) if on and self._until_time else None
        said = str(self._state.get("state"))
        state = said if said in ("up", "trying") else "down"
        words = {"tunnel_until": f"{until:%m-%d %H:%M}", f"tunnel_{state}": ""} if until else {}
        return {
            "on": on, "until": until.isoformat() if until else None, "by": self._by if on else "", "state": state,
            "why": str(self._state.get("reason", ""))[:200], **({"words": words} if words else {}),
        }  # fmt: skip

    def close(self) -> None:
        """Nothing: a tunnel stays over a restart of the station, for an upgrade comes through it."""

    def _resume(self) -> None:
        """At the first look: what was on before this start stays on for what is left of it."""
        if self._resumed:
            return
        now = self.engine.clock.now()
        back = max(timedelta(hours=LONGEST_HOURS), LONGEST_LIFE)
        records = list(self.engine.store.records(KIND, now - back, now + timedelta(days=1)))
        self._used = {str(one.body["order"]) for one in records if one.body.get("order")}
        self._resumed = True
        last = max(records, key=lambda one: one.id, default=None)
        if last is None or last.body.get("do") != "on":
            self._remove()
            return
        left = self._left(last.body, now)
        if left <= 0:
            self._end()
            self._keep({"do": "over"}, now, durable=False)
            self.engine.note("tunnel_over", by=str(last.body["by"]))
            return
        self._by = str(last.body["by"])
        self._until, self._until_time = self.engine.clock.monotonic() + left, now + timedelta(seconds=left)
        self._write(left)

    def _left(self, body: Mapping[str, Any], now: datetime) -> float:
        """Seconds that are left of what *body* asked for: by the boot's own seconds where it is the same boot."""
        try:
            boot, _, until = self.path.read_text(encoding="ascii").strip().partition(" ")
            if boot == boot_id():
                return min(float(until) - boot_seconds(), 3600 * float(body["hours"]))
        except (OSError, ValueError):
            pass
        if self.engine.trust() == "none":
            return 0.0  # nobody can tell: rather shut
        left = (datetime.fromisoformat(str(body["until"])) - now).total_seconds()
        return min(left, 3600 * float(body["hours"]))

    def _look(self) -> None:
        """What the unit that holds the tunnel says; a change is an event."""
        try:
            found = json.loads(self._state_path.read_bytes()[:4096])
        except (OSError, ValueError, RecursionError):
            found = {}
        if not isinstance(found, dict):
            found = {}
        before, now = str(self._state.get("state", "down")), str(found.get("state", "down"))
        self._state = found
        if now == before or now not in ("up", "down", "trying"):
            return
        if now == "up":
            self.engine.note("tunnel_up", urgent=True)
        elif before == "up":
            self.engine.note("tunnel_down", urgent=True, reason=str(found.get("reason") or "-")[:200])

    def _end(self) -> None:
        self._until = self._until_time = None
        self._remove()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _write(self, seconds: float) -> None:
        """Tell the units; whole or not at all."""
        self.path.parent.mkdir(mode=0o750, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(f"{boot_id()} {int(boot_seconds() + seconds)}\n", encoding="ascii")
        new.chmod(0o640)
        new.replace(self.path)

    def _keep(self, body: dict[str, Any], now: datetime, *, durable: bool = True) -> None:
        made = Record(KIND, now, body, "", "care")
        self.engine.keep(made, urgent=True)
        if durable and not self.engine.committed():
            why = self.engine.store_error or "the station did not commit in time"
            if self.engine.withdraw([made]):
                raise StoreError(f"{why}; nothing was done")
            if body["do"] == "on":
                raise StoreError(f"{why}; nothing was opened, try again")
