"""A platform behind HTTPS as the station sees it: its settings, the wording of its reports, the way to it.

No library is loaded here: requests comes with the first connection.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from station.model import ConfigError, Parameter, Report, dataclass, did_you_mean, field, setting
from uplink.base import Commands, Context, LinkDown, Outbox, UplinkSettings
from uplink.http import template as templates
from uplink.http.tap import HttpTap
from uplink.http.template import REQUEST_NAMES, Platform
from uplink.trust import pin_faults
from uplink.wording import Wording, word_faults

_log = logging.getLogger(__name__)

_DEVICE = re.compile(r"[!-~]{0,64}")


def _table(text: str) -> Any:
    return field(default_factory=dict, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSettings:
    """One [[uplink.point]] table: a measuring point as this platform knows it."""

    point: str = setting(text="code of a [[point]] of the station")
    device: str = setting("", text="what the platform calls it; the code itself when empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(UplinkSettings):
    """One [[uplink]] table with protocol = "http"."""

    url: str = setting(text="https://host[:port][/path] that the paths of the template are put behind")
    template: str = setting("niutang", text="a template that ships, or a file.toml beside station.toml")
    point: tuple[PointSettings, ...] = setting(text="the points reported here, one table each")
    batch: int = setting(100, low=1, high=1000, text="most records in one request")
    gzip: bool = setting(True, text="compress bodies")
    timeout_seconds: float = setting(20.0, low=0.1, high=300, text="time an answer may take")
    connect_seconds: float = setting(10.0, low=0.1, high=60, text="time a connection may take")
    pin_sha256: tuple[str, ...] = setting(
        (), text="SHA-256 of the platform's certificate or of its public key (SPKI), hexadecimal; one must fit"
    )
    ca_file: str = setting("", text="PEM file of who signs the platform's certificate, in place of the system's trust")
    client_certificate: str = setting("", text="PEM file or credential with our certificate, where one is asked for")
    client_key: str = setting("", text="PEM file or credential with its key, unencrypted")
    plain: bool = setting(False, text="true lets url begin with http://: everything can be read and changed on the way")
    proxy: str = setting("", text="http://host:port of a proxy; the environment's are not used")
    proxy_password_file: str = setting("", text="file or credential with user:password for it")
    codes: Mapping[str, str] = _table("parameter to $code, where not the catalogue's")
    units: Mapping[str, str] = _table("parameter to unit, where not the catalogue's")
    values: Mapping[str, str] = _table("what the template asks for and is no secret, by name")
    secrets: Mapping[str, str] = _table("what it asks for and is one: file or credential that holds it, by name")

    def faults(self, catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
        """Place and sentence of everything wrong that single values do not show."""
        yield from self._address_faults()
        if not self.point:
            yield "point", "no point is reported: an [[uplink.point]] table is needed"
        for index, one in enumerate(self.point):
            if not _DEVICE.fullmatch(one.device):
                yield f"point[{index}].device", f'"{one.device}" is not up to 64 printable ASCII characters'
            if any(one.point == other.point for other in self.point[:index]):
                yield f"point[{index}].point", f'"{one.point}" is there twice'
        yield from word_faults(self.codes, self.units, catalogue)
        yield from pin_faults(self.pin_sha256)

    def _address_faults(self) -> Iterator[tuple[str, str]]:
        for key in ("url", "proxy"):
            text = getattr(self, key)
            if key == "proxy" and not text:
                continue
            try:
                parts = urlsplit(text)
                good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
            except ValueError:
                good = False
            if not good or parts.scheme not in ("https", "http") or " " in text or parts.query or parts.fragment:
                yield key, f'"{text}" is no address such as https://host/path'
            elif parts.username or parts.password:
                yield key, "holds a user or password, which belong into a credential file"
            elif key == "url" and parts.scheme == "http" and not self.plain:
                yield key, "is not encrypted: use https://, or set plain = true and know that anyone can read it"
        if self.proxy_password_file and not self.proxy:
            yield "proxy_password_file", "has no meaning without proxy"
        if bool(self.client_key) and not self.client_certificate:
            yield "client_key", "has no meaning without client_certificate"
        if (self.pin_sha256 or self.ca_file or self.client_certificate) and self.url.startswith("http:"):
            yield "url", "http:// shows no certificate that could be checked"

    def files(self) -> Iterator[tuple[str, str, bool]]:
        """Key path and name of every file these settings name, and whether it is a secret."""
        for key in ("ca_file", "client_certificate"):
            if name := getattr(self, key):
                yield key, name, False
        for key in ("client_key", "proxy_password_file"):
            if name := getattr(self, key):
                yield key, name, True
        yield from ((f"secrets.{key}", name, True) for key, name in self.secrets.items())

    def file_faults(self, where: Callable[[str], Path]) -> Iterator[tuple[str, str]]:
        """What is wrong with the template and the files named; *where* says where a file lies."""
        for key, name, _ in self.files():
            if not os.access(where(name), os.R_OK):
                yield key, f"{where(name)} is not there or cannot be read"
        try:
            platform = chosen(self.template, where)
        except ConfigError as error:
            yield "template", str(error)
            return
        asked, given = platform.asked(), {**self.values, **self.secrets}
        for name in sorted(asked - set(given)):
            yield "values", f"the template asks for ${name}: give it in [uplink.values] or, a secret, [uplink.secrets]"
        for table, names in (("values", self.values), ("secrets", self.secrets)):
            for name in names:
                if name not in asked:
                    yield f"{table}.{name}", f"the template does not ask for it{did_you_mean(name, asked)}"
                elif name in REQUEST_NAMES or (table == "secrets" and name in self.values):
                    yield f"{table}.{name}", "is a name taken already"


def chosen(name: str, where: Callable[[str], Path]) -> Platform:
    """The template called *name*: one that ships, else a file."""
    if name.endswith(".toml"):
        return templates.load(where(name))
    if name not in templates.shipped():
        known = templates.shipped()
        raise ConfigError(
            f'there is no template "{name}"{did_you_mean(name, known)}; there are {", ".join(known)}; '
            "one beside station.toml ends in .toml"
        )
    return templates.load(templates.SHIPPED / f"{name}.toml")


class HttpUplink:
    """Carries one platform's messages over HTTPS; it brings no commands."""

    Settings = HttpSettings

    def __init__(self, settings: HttpSettings, context: Context, systems: Mapping[str, str]) -> None:
        self.settings, self.context = settings, context
        self.platform = chosen(settings.template, context.where)
        self.counts: Counter[str] = Counter()
        self.tap = HttpTap(context.monotonic)
        self.token = ""  # outlives a connection
        self.token_until = -math.inf
        self.room = settings.batch  # smaller after a 413
        self.failures: dict[int, int] = {}  # first id of a group to how often the platform failed over it
        self.aside: dict[int, float] = {}  # first id of a group that stepped aside to when it is due
        self.refused: dict[int, int] = {}  # id to how many records were answered when it was refused
        self._up: bool | None = None
        self._wording = Wording(
            self.platform, context, devices={one.point: one.device or one.point for one in settings.point},
            kinds=settings.kinds, codes=settings.codes, units=settings.units, pictures=True,
        )  # fmt: skip

    # -- wording

    def compose(self, report: Report) -> str | None:
        """The text of *report* in the platform's own form, digits frozen; None for what it does not get."""
        return self._wording.compose(report)

    # -- the way

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Reach the platform and serve until *stop*; raise UplinkError when that fails."""
        from uplink.http.session import Session  # requests and TLS come with the first connection

        session = Session(self, outbox, stop)
        try:
            if not session.patient():
                return
            session.reach()
            self.counts["connections"] += 1
            outbox.connected()
            self._changed(True)
            session.serve()
        except LinkDown:
            self._changed(False)  # the caller says why, once
            raise
        finally:
            session.close()

    def _changed(self, up: bool) -> None:
        if up and not self._up:
            _log.info("%s: reached at %s", self.settings.name, self.settings.url)
        self._up = up

    def probe(self) -> Any:
        """One login, or one HEAD, to see whether the platform answers, and what its clock says."""
        from uplink.http.session import probe

        return probe(self)
