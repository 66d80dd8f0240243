"""The three ways to a modem: its AT port, ModemManager, or an address behind a router.

Each looks, and takes the steps of the ladder it can (station/modem/ladder.py); each call is bounded.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from station.model import WrongArgument
from station.modem import sms, watch
from station.modem.at import BadAnswer, Modem, ModemError, NoAnswer, PortGone, Refused
from station.modem.settings import ADDRESS, ModemSettings
from station.modem.watch import Seen

SENDING_SECONDS = 40.0  # a network may take as long for one part of a text message
WHOLE_SECONDS = 100.0  # and a whole message no longer: who tells people has a heartbeat
DIAL_SECONDS = 40.0
RESET_SECONDS = 15.0
CHECK_SECONDS = 8.0
MOST_OUTPUT = 256_000  # characters of mmcli


class Way(Protocol):
    """How a modem is reached."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Of redial and reset, those it can take."""

    def look(self) -> Seen: ...

    def redial(self) -> None: ...

    def reset(self) -> None: ...

    def text(self, number: str, text: str) -> None: ...

    def close(self) -> None: ...


class AtWay:
    """A modem by its AT port."""

    steps: tuple[str, ...] = ("redial", "reset")

    def __init__(self, settings: ModemSettings, running: Callable[[], bool]) -> None:
        self._settings, self._reference = settings, int(time.time()) % 256
        self.modem = Modem(
            settings.port, settings.baudrate, answer_seconds=settings.answer_seconds, running=running
        )  # fmt: skip

    def look(self) -> Seen:
        """Everything it says of itself."""
        return watch.look(self.modem, self._settings.network_zone)

    def redial(self) -> None:
        """Give the data connection up and take it again, with the APN that is configured."""
        with suppress(Refused):  # there was none
            self.modem.ask("AT+CGACT=0,1", seconds=DIAL_SECONDS)
        if self._settings.apn:
            self.modem.ask(f'AT+CGDCONT=1,"IP","{self._settings.apn}"')
        self.modem.ask("AT+CGACT=1,1", seconds=DIAL_SECONDS)

    def reset(self) -> None:
        """Start the modem anew; it leaves its port and comes back."""
        try:
            with suppress(PortGone):  # some are gone before they have said OK
                self.modem.ask("AT+CFUN=1,1", seconds=RESET_SECONDS)
        finally:
            self.modem.close()

    def text(self, number: str, text: str) -> None:
        """Send a text message; raise where a part of it was not taken."""
        self._reference = (self._reference + 1) % 256
        deadline = time.monotonic() + WHOLE_SECONDS
        self.modem.ask("AT+CMGF=0")
        for length, pdu in sms.submit(number, text, self._reference):
            left = min(SENDING_SECONDS, deadline - time.monotonic())
            if left <= 1:
                raise NoAnswer(f"{number}: the message took longer than {WHOLE_SECONDS:g} s; not all of it is out")
            seconds = min(left, max(self._settings.answer_seconds, SENDING_SECONDS))
            if self._settings.answer_seconds < 1:  # a modem that answers at once, as an emulated one
                seconds = self._settings.answer_seconds * 4
            self.modem.ask(f"AT+CMGS={length}", "+CMGS", seconds=seconds, after=pdu.encode("ascii") + b"\x1a")

    def close(self) -> None:
        """Let go of the port."""
        self.modem.close()


class ManagerWay:
    """A modem that ModemManager has.

    It is asked by its own tool, mmcli, as a process with a time limit: a library for D-Bus would be a dependency that
    is compiled on every board and a second event loop in the service, for four questions a minute; and a tool that
    hangs is killed, a call inside the process is not.
    """

    steps: tuple[str, ...] = ("redial", "reset")
    program = "mmcli"

    def __init__(self, settings: ModemSettings, running: Callable[[], bool]) -> None:
        self._settings, self._running, self._is_set_up = settings, running, False

    def look(self) -> Seen:
        """Everything ModemManager knows of it."""
        found = self._json("-m", "any")
        seen = watch.from_manager(found)
        if not self._is_set_up:  # its figures are none before; it forgets with the modem
            self._try("-m", "any", f"--signal-setup={max(5, round(self._settings.look_seconds / 2))}")
            self._is_set_up = True
        for arguments, add in ((("--signal-get",), watch.add_signal), (("--time",), watch.add_time)):
            if (more := self._try("-m", "any", *arguments, "-J")) is not None:
                add(seen, more)
        generic = found.get("modem", {}).get("generic", {}) if isinstance(found.get("modem"), Mapping) else {}
        generic = generic if isinstance(generic, Mapping) else {}
        seen.iccid = self._of("-i", generic.get("sim"), "sim", "properties", "iccid")
        bearers = generic.get("bearers")
        if isinstance(bearers, list) and bearers:
            seen.apn = self._of("-b", bearers[-1], "bearer", "properties", "apn")
        return seen

    def _of(self, option: str, path: Any, *names: str) -> str:
        if not isinstance(path, str) or not re.fullmatch(r"/[A-Za-z0-9_/]{1,99}", path):
            return ""
        found: Any = self._try(option, path, "-J")
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found[:99] if isinstance(found, str) and found != "--" and found.isprintable() else ""

    def redial(self) -> None:
        """Give the data connection up and take it again."""
        self._try("-m", "any", "--simple-disconnect")
        self._run("-m", "any", f"--simple-connect=apn={self._settings.apn}", seconds=DIAL_SECONDS)

    def reset(self) -> None:
        """Start the modem anew."""
        self._is_set_up = False
        self._run("-m", "any", "--reset", seconds=RESET_SECONDS)

    def text(self, number: str, text: str) -> None:
        """Send a text message; ModemManager codes and parts it."""
        if sms.NUMBER.fullmatch(number) is None:
            raise sms.NoNumber(f'"{number}" is no telephone number')
        whole = "".join(sms.parts(text)).replace("'", "’")  # mmcli knows no escape for it
        said = self._run("-m", "any", f"--messaging-create-sms=text='{whole}',number='{number}'")
        found = re.search(r"/org/freedesktop/ModemManager1/SMS/\d+", said)
        if found is None:
            raise BadAnswer("mmcli made no message that could be sent")
        try:
            self._run("-s", found[0], "--send", seconds=SENDING_SECONDS)
        finally:
            self._try("-m", "any", f"--messaging-delete-sms={found[0]}")

    def close(self) -> None:
        """Nothing is held."""

    def _json(self, *arguments: str) -> dict[str, Any]:
        said = self._run(*arguments, "-J")
        try:
            found = json.loads(said)
        except (ValueError, RecursionError) as error:
            raise BadAnswer("mmcli's answer is no JSON") from error
        if not isinstance(found, dict):
            raise BadAnswer("mmcli's answer is no object of JSON")
        return found

    def _try(self, *arguments: str) -> dict[str, Any] | None:
        """What an optional question gave; None where it was refused."""
        try:
            return self._json(*arguments[:-1]) if arguments[-1] == "-J" else {"said": self._run(*arguments)}
        except NoAnswer:
            raise
        except ModemError:
            return None

    def _run(self, *arguments: str, seconds: float = 0.0) -> str:
        if not self._running():
            raise InterruptedError("the station stops")
        seconds = seconds or max(1.0, self._settings.answer_seconds)
        try:
            done = subprocess.run(
                [self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoAnswer(f"mmcli {arguments[-1].partition('=')[0]}: no answer within {seconds:g} s") from error
        except OSError as error:
            raise PortGone(f"mmcli cannot be run ({error.strerror}); install modemmanager, or use kind at") from error
        if done.returncode:
            said = done.stderr[:400].decode("utf-8", "replace").strip().splitlines()
            raise Refused(f"mmcli {arguments[-1].partition('=')[0]}: {said[-1][:160] if said else 'failed'}")
        return done.stdout[:MOST_OUTPUT].decode("utf-8", "replace")


class RouterWay:
    """A router that is seen by what lies behind it alone."""

    steps: tuple[str, ...] = ()

    def __init__(self, settings: ModemSettings, running: Callable[[], bool]) -> None:
        """Nothing but the address is used, which the care itself tries."""

    def look(self) -> Seen:
        """Nothing: the address that is tried says all."""
        return Seen()

    def redial(self) -> None:
        """Not possible."""
        raise WrongArgument("a router cannot be told to redial; a relay may cut its supply")

    reset = redial

    def text(self, number: str, text: str) -> None:
        """Not possible."""
        raise WrongArgument("a router sends no text messages; they need [modem] kind at or manager")

    def close(self) -> None:
        """Nothing is held."""


WAYS: Mapping[str, Callable[[ModemSettings, Callable[[], bool]], Way]] = {
    "at": AtWay, "manager": ManagerWay, "router": RouterWay,
}  # fmt: skip


def reaches(address: str, seconds: float = CHECK_SECONDS) -> bool:
    """Whether HOST:PORT takes a connection."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        return False
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=seconds).close()
    except OSError:
        return False
    return True
