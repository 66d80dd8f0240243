"""Standards: a gas bottle, a buffer, a weight, with what its certificate says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from station.model import WrongArgument, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """A gas bottle, a buffer, a weight: its *value* in the parameter's unit, and what its certificate says."""

    value: float
    certificate: str = ""
    uncertainty: float | None = None  # expanded, in the same unit
    expires: date | None = None

    def expired(self, day: date) -> bool:
        """Whether it is past its last day on *day*."""
        return self.expires is not None and day > self.expires

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "value": self.value,
            "certificate": self.certificate,
            "uncertainty": self.uncertainty,
            "expires": self.expires.isoformat() if self.expires else None,
        }


def standard_of(fields: Mapping[str, Any]) -> Standard:
    """The standard that plain *fields* describe; raise WrongArgument."""
    value = number(fields.get("value"), "a standard's value")
    uncertainty = fields.get("uncertainty")
    if uncertainty is not None and number(uncertainty, "a standard's uncertainty") < 0:
        raise WrongArgument("a standard's uncertainty is not below 0")
    certificate = str(fields.get("certificate") or "").strip()
    if not certificate.isprintable():
        raise WrongArgument("a certificate's number is not printable")
    expires = fields.get("expires")
    try:
        day = date.fromisoformat(str(expires)) if expires else None
    except ValueError as error:
        raise WrongArgument(f'"{expires}" is not a day such as 2027-06-30') from error
    return Standard(value=value, certificate=certificate, uncertainty=uncertainty, expires=day)


def standard_in(text: str) -> Standard:
    """A standard as typed: value, certificate, uncertainty, expiry, with commas between; the end may be left out.

    >>> standard_in("400, GBW-17, 4, 2027-06-30").expires
    datetime.date(2027, 6, 30)
    >>> standard_in("0").certificate
    ''
    """
    parts = [part.strip() for part in text.replace("，", ",").split(",")]
    if len(parts) > 4:
        raise WrongArgument(f'"{text}" has more than value, certificate, uncertainty, expiry')
    names = ("value", "certificate", "uncertainty", "expires")
    fields: dict[str, Any] = {name: part for name, part in zip(names, parts, strict=False) if part}
    for name in ("value", "uncertainty"):
        if name in fields:
            fields[name] = number(fields[name], f"{name} of a standard")
    return standard_of(fields)


def number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise WrongArgument(f'{what}: "{value}" is not a number') from error
    if isinstance(value, bool) or not math.isfinite(number):
        raise WrongArgument(f'{what}: "{value}" is not a number')
    return number
