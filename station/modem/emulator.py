"""An emulated 4G modem on a pseudo-terminal: what station/modem/at.py asks, and the ways modems fail.

`fault` is one of FAULTS; the links `path` names stays where it is when the modem vanishes and comes back, as a
/dev/serial/by-id link does.  Texts that were sent are in `texts`, whole, with the numbers they went to.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from station.modem import sms

FAULTS = (
    "hang", "rubbish", "flood", "no_sim", "sim_pin", "not_registered", "denied", "roaming", "no_context",
    "sms_refused", "slow", "urc_storm", "wrong_clock", "no_clock", "weak", "no_extended", "echo",
)  # fmt: skip
VALUES = ("AT+CGSN", "AT+CSQ", "AT+CESQ", "AT+CCID", "AT+QCCID", "AT+ICCID", "AT+QCSQ")
SLOW_SECONDS = 0.1
STORM = b'\r\n+CEREG: 2\r\n\r\nRING\r\n\r\n+QIND: "csq",12,99\r\n'
EPOCHS = '"80/01/06,00:00:12+00"'


class EmulatedModem:
    """A modem at `path`; *cures* names the step (redial, reset, power) that ends a fault, none when empty.

    *clock* is what AT+CCLK? answers, in quotes.
    """

    imei, iccid, operator = "867962041294151", "89860318760103581234", "CHINA MOBILE"

    def __init__(self, link: Path | None = None, *, fault: str = "", cures: str = "", apn: str = "cmnet") -> None:
        self.link, self.fault, self.cures, self.apn = link, fault, cures, apn
        self.clock = ""
        self.context = True
        self.redials = self.resets = 0
        self.commands: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self._parts: dict[tuple[str, int], dict[int, str]] = {}
        self._ends: tuple[int, int] | None = None
        self._old: tuple[int, ...] = ()
        self._echo, self._length = True, 0
        self._lock, self._over = threading.RLock(), False
        self._name = ""
        self._wake = os.pipe()
        self._thread: threading.Thread | None = None

    @property
    def path(self) -> str:
        """The port a station opens."""
        return str(self.link) if self.link else self._name

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Come to life; returns itself."""
        self.plug_in()
        self._thread = threading.Thread(target=self._serve, name="emulated-modem", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Vanish for good."""
        self._over = True
        os.write(self._wake[1], b"x")
        if self._thread is not None:
            self._thread.join(5)
        self.unplug()
        self._close_old()
        for end in self._wake:
            os.close(end)

    def plug_in(self) -> None:
        """Appear, under another name; the link follows."""
        with self._lock:
            if self._ends is None:
                master, slave = os.openpty()
                tty.setraw(slave)
                os.set_blocking(master, False)
                self._ends, self._name, self._echo, self._length = (master, slave), os.ttyname(slave), True, 0
                if self.link is not None:
                    new = self.link.with_name(f"{self.link.name}.new")
                    new.symlink_to(self._name)
                    new.replace(self.link)
        os.write(self._wake[1], b"x")

    def unplug(self) -> None:
        """Vanish from USB: the port is gone under whoever has it."""
        with self._lock:
            ends, self._ends = self._ends, None
            for end in ends or ():
                os.close(end)
            if self.link is not None:
                self.link.unlink(missing_ok=True)

    def _come_back(self) -> None:
        """Say OK, and be a port of another name; the old one lasts until the answer has been read."""
        with self._lock:
            before, self._ends = self._ends, None
            self._close_old()
            self._old = before or ()
            self.plug_in()
            if before is not None:
                os.write(before[0], b"\r\nOK\r\n")

    def _close_old(self) -> None:
        for end in self._old:
            os.close(end)
        self._old = ()

    def power_cycled(self) -> None:
        """What a relay does to it."""
        self._cured("power")
        self.unplug()
        self.plug_in()

    def _cured(self, step: str) -> None:
        if self.cures == step:
            self.fault, self.cures, self.context = "", "", True

    def _serve(self) -> None:
        rest = b""
        while not self._over:
            with self._lock:
                ends = self._ends
            ready, _, _ = select.select([self._wake[0], *((ends[0],) if ends else ())], [], [], 1.0)
            if self._wake[0] in ready:
                os.read(self._wake[0], 64)
            if ends is None or ends[0] not in ready:
                rest = b"" if ends is None else rest
                continue
            with self._lock:
                if self._ends is not ends:
                    rest = b""
                    continue
                with contextlib.suppress(OSError):
                    rest += os.read(ends[0], 4096)
                rest = self._took(rest)

    def _took(self, rest: bytes) -> bytes:
        while True:
            end = b"\x1a" if self._length else b"\r"
            if self._length and rest[:1] == b"\x1b":
                self._length, rest = 0, rest[1:]
                continue
            if end not in rest:
                return rest
            line, _, rest = rest.partition(end)
            text = line.decode("ascii", "replace").strip("\x1b\r\n ")
            if self._length:
                self._message(text)
            elif text:
                self.commands.append(text)
                self._heard(text)

    def _say(self, text: str) -> None:
        if self._ends is not None:
            with contextlib.suppress(OSError):
                os.write(self._ends[0], text.encode("ascii", "replace"))

    def _heard(self, command: str) -> None:
        if self.fault == "hang":
            return
        if self.fault == "rubbish":
            self._say("\x00\x7f\x15~}#!\r\n" * 3)
            return
        if self.fault == "flood":
            self._say("U" * 3000)
            return
        if self._echo or self.fault == "echo":
            self._say(command + "\r")
        if self.fault == "slow":
            threading.Event().wait(SLOW_SECONDS)
        if self.fault == "urc_storm":
            self._say(STORM.decode() * 4)
        answer = self._answer(command)
        if self.fault == "urc_storm":
            self._say(STORM.decode())
        self._say(answer)
        if self.fault == "urc_storm":
            self._say(STORM.decode())

    def _answer(self, command: str) -> str:
        if command in ("ATE0", "ATE1"):
            self._echo = command == "ATE1"
        elif command.startswith("AT+CMGS="):
            return self._begin_message(command)
        elif command.startswith("AT+CGACT="):
            return self._dial(command)
        elif command.startswith("AT+CGDCONT="):
            self.apn = command.split('"')[3]
        elif command == "AT+CFUN=1,1":
            self.resets += 1
            self._cured("reset")
            self._come_back()
            return ""
        elif "?" in command or command in VALUES:
            said = self._value(command)
            return f"\r\n{said}\r\n" if "ERROR" in said else f"\r\n{said}\r\n\r\nOK\r\n"
        return "\r\nOK\r\n"

    def _value(self, command: str) -> str:
        stat = {"not_registered": 2, "denied": 3, "roaming": 5}.get(self.fault, 1)
        if self.fault in ("no_sim", "sim_pin"):
            stat = 0
        sim = {"no_sim": "+CME ERROR: 10", "sim_pin": "+CPIN: SIM PIN"}.get(self.fault, "+CPIN: READY")
        registered = stat in (1, 5)
        weak = self.fault == "weak"
        known = {
            "AT+CGSN": self.imei,
            "AT+CPIN?": sim,
            "AT+CCID": "ERROR",
            "AT+QCCID": "+CME ERROR: 10" if self.fault == "no_sim" else f"+QCCID: {self.iccid}",
            "AT+CSQ": "+CSQ: 3,99" if weak else "+CSQ: 23,99",
            "AT+CESQ": "ERROR" if self.fault == "no_extended" else f"+CESQ: 99,99,255,255,20,{22 if weak else 56}",
            "AT+QCSQ": "ERROR" if self.fault == "no_extended" else f'+QCSQ: "LTE",-60,-85,{90 if weak else 180},-10',
            "AT+COPS?": f'+COPS: 0,0,"{self.operator}",7' if registered else "+COPS: 0",
            "AT+CEREG?": f'+CEREG: 2,{stat},"1A2B","01D7F3A2",7',
            "AT+CREG?": f"+CREG: 0,{stat}",
            "AT+CGDCONT?": f'+CGDCONT: 1,"IPV4V6","{self.apn}","0.0.0.0",0,0',
            "AT+CGACT?": f"+CGACT: 1,{int(registered and self.context and self.fault != 'no_context')}",
            "AT+CCLK?": f"+CCLK: {self._clock()}",
        }
        return known.get(command, "ERROR")

    def _clock(self) -> str:
        if self.fault == "wrong_clock":
            return EPOCHS
        if self.fault == "no_clock":
            return '""'
        return self.clock or f'"{datetime.now(UTC):%y/%m/%d,%H:%M:%S}+00"'

    def _dial(self, command: str) -> str:
        self.context = command.startswith("AT+CGACT=1")
        if self.context:
            self.redials += 1
            self._cured("redial")
        if self.fault in ("not_registered", "denied", "no_context", "no_sim", "sim_pin") and self.context:
            self.context = False
            return "\r\n+CME ERROR: 30\r\n"
        return "\r\nOK\r\n"

    def _begin_message(self, command: str) -> str:
        if self.fault in ("not_registered", "denied", "no_sim", "sim_pin"):
            return "\r\n+CMS ERROR: 331\r\n"
        self._length = int(command.partition("=")[2])
        return "\r\n> "

    def _message(self, pdu: str) -> None:
        length, self._length = self._length, 0
        try:
            number, text, which = sms.read(pdu)
        except (ValueError, IndexError):
            self._say("\r\n+CMS ERROR: 304\r\n")
            return
        if self.fault == "hang":
            return
        if self.fault == "sms_refused" or len(pdu) // 2 - 1 != length:
            self._say("\r\n+CMS ERROR: 500\r\n")
            return
        if which is None:
            self.texts.append((number, text))
        else:
            reference, count, part = which
            have = self._parts.setdefault((number, reference), {})
            have[part] = text
            if len(have) == count:
                del self._parts[number, reference]
                self.texts.append((number, "".join(have[one] for one in sorted(have))))
        self._say(f"\r\n+CMGS: {len(self.texts)}\r\n\r\nOK\r\n")
