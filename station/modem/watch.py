"""What a modem says of itself: identity, network, signal with a verdict, and the operator's time.

Values of AT+CESQ and AT+CSQ: 3GPP TS 27.007, 8.69 and 8.5 as retold by makers' manuals (confidence B).  AT+QCSQ is
Quectel's, its SINR in fifths of a dB from -20 (C).  The limits of the verdict are our own (D).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from station.model import dataclass, field
from station.modem.at import Modem, ModemError, Refused, fields, number

REGISTRATION = {0: "not_registered", 1: "home", 2: "searching", 3: "denied", 4: "unknown", 5: "roaming"}
REGISTERED = ("home", "roaming")
ICCID = ("AT+CCID", "AT+QCCID", "AT+ICCID", "AT^ICCID?")
SIM_GONE = (10, 13, 14)  # +CME ERROR: not inserted, failure, busy
EARLIEST = 2026  # what an earlier year says was never set by a network: 1970, 1980, 2004
LATEST = 2069  # behind it two digits are those of the last century


@dataclass(slots=True)
class Seen:
    """One look at a modem; what it does not say is "" or None.  *rsrp* in dBm, *rsrq* and *sinr* in dB."""

    imei: str = ""
    iccid: str = ""
    operator: str = ""
    apn: str = ""
    sim: str = ""  # ready, pin, puk, none
    registration: str = ""
    context: bool | None = None  # whether there is a data connection
    reaches: bool | None = None  # whether the address of `check` answers
    rssi: int | None = None
    rsrp: int | None = None
    rsrq: float | None = None
    sinr: float | None = None
    time: datetime | None = None
    refused_time: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def why_down(self) -> str:
        """Why there is no link as far as the modem can tell; "" where there is one, or nobody can tell."""
        if self.sim in ("pin", "puk", "none"):
            return f"sim_{self.sim}"
        if self.registration and self.registration not in REGISTERED:
            return self.registration
        if self.context is False:
            return "no_context"
        return "unreachable" if self.reaches is False else ""

    @property
    def verdict(self) -> str:
        """good, fair, weak, bad, or "" where no signal is known: the worse of RSRP and SINR.

        >>> Seen(rsrp=-85, sinr=16.0).verdict, Seen(rsrp=-85, sinr=-2.0).verdict, Seen(rssi=-67).verdict
        ('good', 'weak', 'good')
        """
        grades = [_grade(self.rsrp, (-90, -105, -115)), _grade(self.sinr, (13, 0, -5))]
        if self.rsrp is None:
            grades.append(_grade(self.rssi, (-75, -89, -101)))
        known = [one for one in grades if one is not None]
        return ("good", "fair", "weak", "bad")[max(known)] if known else ""


def _grade(value: float | None, limits: tuple[float, float, float]) -> int | None:
    return None if value is None else sum(value < one for one in limits)


def look(modem: Modem, zone: str) -> Seen:
    """Ask *modem* for everything; raise a ModemError where it does not answer, pass over what it does not know.

    *zone* says what AT+CCLK? is in: "local" or "utc".
    """
    seen = Seen()
    modem.ask("AT")
    _ask(seen, modem, "AT+CGSN", "", lambda line: _take(seen, "imei", re.search(r"\d{14,16}", line)))
    _look_at_sim(seen, modem)
    _ask(seen, modem, "AT+CSQ", "+CSQ", lambda line: _rssi(seen, line))
    _ask(seen, modem, "AT+CESQ", "+CESQ", lambda line: _extended(seen, line))
    _ask(seen, modem, "AT+QCSQ", "+QCSQ", lambda line: _quectel(seen, line))
    _ask(seen, modem, "AT+COPS?", "+COPS", lambda line: _operator(seen, line))
    _look_at_registration(seen, modem)
    _ask(seen, modem, "AT+CGDCONT?", "+CGDCONT", lambda line: _apn(seen, line))
    _ask(seen, modem, "AT+CGACT?", "+CGACT", lambda line: _context(seen, line))
    _ask(seen, modem, "AT+CCLK?", "+CCLK", lambda line: _time(seen, line, zone))
    return seen


def _ask(seen: Seen, modem: Modem, command: str, prefix: str, take: Callable[[str], Any]) -> bool:
    """Hand each line of an answer to *take*; false where the modem refuses the command."""
    try:
        for line in modem.ask(command, prefix):
            take(line)
    except Refused as error:
        seen.faults.append(str(error))
        return False
    return True


def _take(seen: Seen, key: str, found: re.Match[str] | None) -> None:
    if found is not None:
        setattr(seen, key, found[0])


def _look_at_sim(seen: Seen, modem: Modem) -> None:
    try:
        for line in modem.ask("AT+CPIN?", "+CPIN"):
            seen.sim = "ready" if line == "READY" else "puk" if "PUK" in line else "pin" if "PIN" in line else seen.sim
    except Refused as error:
        seen.sim = "none" if error.code in SIM_GONE else ""
    if seen.sim != "ready":
        return
    for command in ICCID:
        prefix = command.removeprefix("AT").rstrip("?")
        if _ask(seen, modem, command, prefix, lambda line: _take(seen, "iccid", re.search(r"\d{18,20}[\dA-F]?", line))):
            return


def _rssi(seen: Seen, line: str) -> None:
    value = number(fields(line), 0)
    seen.rssi = -113 + 2 * value if value is not None and 0 <= value <= 31 else None


def _extended(seen: Seen, line: str) -> None:
    values = fields(line)
    rsrq, rsrp = number(values, 4), number(values, 5)
    seen.rsrq = -20 + rsrq / 2 if rsrq is not None and 0 <= rsrq <= 34 else None
    seen.rsrp = -141 + rsrp if rsrp is not None and 0 <= rsrp <= 97 else None


def _quectel(seen: Seen, line: str) -> None:
    values = fields(line)
    sinr = number(values, 3)
    if values[:1] == ["LTE"] and sinr is not None and 0 <= sinr <= 250:
        seen.sinr = sinr / 5 - 20


def _operator(seen: Seen, line: str) -> None:
    values = fields(line)
    seen.operator = values[2][:40] if len(values) > 2 else ""


def _look_at_registration(seen: Seen, modem: Modem) -> None:
    """Of LTE, else of older networks; a report that comes in between has its state first, an answer second."""
    for command in ("AT+CEREG?", "AT+CREG?"):
        found: list[int] = []

        def take(line: str, found: list[int] = found) -> None:
            if (answer := re.match(r"[0-5],([0-9]{1,2})(?:,|$)", line.replace(" ", ""))) is not None:
                found.append(int(answer[1]))

        _ask(seen, modem, command, command[2:-1], take)
        if found:
            seen.registration = REGISTRATION.get(found[-1], "unknown")
        if seen.registration in REGISTERED:
            return


def _apn(seen: Seen, line: str) -> None:
    values = fields(line)
    if number(values, 0) == 1 and len(values) > 2:
        seen.apn = values[2][:99]


def _context(seen: Seen, line: str) -> None:
    values = fields(line)
    if number(values, 0) == 1 and (state := number(values, 1)) is not None:
        seen.context = state == 1


def _time(seen: Seen, line: str, zone: str) -> None:
    try:
        seen.time = network_time(line, zone)
    except ValueError as error:
        seen.refused_time = str(error)


def network_time(text: str, zone: str = "local") -> datetime:
    """The moment in the answer to AT+CCLK?; ValueError where no network has set it.

    The zone is in quarters of an hour.  By the standard the time is local (*zone* "local"); some modems give UTC
    with the zone behind it all the same ("utc").

    >>> str(network_time('"26/12/01,10:30:00+32"')), str(network_time('"26/12/01,02:30:00+32"', "utc"))
    ('2026-12-01 02:30:00+00:00', '2026-12-01 02:30:00+00:00')
    """
    found = re.fullmatch(r'"?(\d\d)/(\d\d)/(\d\d),(\d\d):(\d\d):(\d\d)([+-]\d\d)?"?', text.strip())
    if found is None:
        raise ValueError("the modem has no time from its network")
    year = 2000 + int(found[1]) if int(found[1]) <= LATEST - 2000 else 1900 + int(found[1])
    if year < EARLIEST:
        raise ValueError(f"the modem's time is of {year}: its network has not set it")
    if found[7] is None and zone == "local":
        raise ValueError("the modem's time is without its zone")
    quarters = int(found[7] or 0)
    if abs(quarters) > 56:
        raise ValueError(f"the modem's zone of {quarters} quarters of an hour is none")
    try:
        month, day, hour, minute, second = (int(found[at]) for at in range(2, 7))
        said = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError("the modem's time is none") from error
    return said if zone == "utc" else said - timedelta(minutes=15 * quarters)


# -- ModemManager


def from_manager(found: Mapping[str, Any], bearers: bool | None = None) -> Seen:
    """What `mmcli -m any -J` says; anything in it may be missing, "--" or of another type."""
    seen = Seen()
    generic, network = _part(found, "modem", "generic"), _part(found, "modem", "3gpp")
    state, failed = _text(generic, "state"), _text(generic, "state-failed-reason")
    locked = _text(generic, "unlock-required")
    seen.imei, seen.operator = _text(network, "imei"), _text(network, "operator-name")[:40]
    seen.sim = "none" if failed == "sim-missing" or _text(generic, "sim") == "" else "ready"
    seen.sim = {"sim-pin": "pin", "sim-puk": "puk"}.get(locked, seen.sim)
    said = _text(network, "registration-state")
    seen.registration = {"idle": "not_registered", "": ""}.get(said, said)
    if seen.registration not in (*REGISTRATION.values(), ""):
        seen.registration = "unknown"
    seen.context = state == "connected" if state else bearers
    return seen


def add_signal(seen: Seen, found: Mapping[str, Any]) -> None:
    """What `mmcli -m any --signal-get -J` says of LTE."""
    lte = _part(found, "modem", "signal", "lte")
    rsrp = _number(lte, "rsrp")
    seen.rsrp = None if rsrp is None else round(rsrp)
    seen.rsrq, seen.sinr = _number(lte, "rsrq"), _number(lte, "snr")


def add_time(seen: Seen, found: Mapping[str, Any]) -> None:
    """What `mmcli -m any --time -J` says: local time with its zone."""
    text = _text(_part(found, "modem", "3gpp", "time"), "current") or _text(_part(found, "modem", "time"), "current")
    if not text:
        return
    try:
        said = datetime.fromisoformat(text if not re.search(r"[+-]\d\d$", text) else f"{text}:00")
        if said.tzinfo is None or not EARLIEST <= said.year <= LATEST:
            raise ValueError
    except ValueError:
        seen.refused_time = "ModemManager's network time is none that a network has set"
    else:
        seen.time = said.astimezone(UTC)


def _part(found: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) and value != "--" and value.isprintable() else ""


def _number(found: Mapping[str, Any], name: str) -> float | None:
    try:
        value = float(found.get(name) or "--")
    except (TypeError, ValueError):
        return None
    return value if -200 <= value <= 100 else None


__all__ = ["ModemError", "Seen", "from_manager", "look", "network_time"]
