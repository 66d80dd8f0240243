"""Reports in the JSON (or form) a platform's template asks for, and what a record is called wherever it is sent.

HTTPS and MQTT carry the same texts: uplink/http/template.py reads the templates, uplink/http/schema.json describes
the station's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from station.model import Average, Kind, Message, Parameter, Report, did_you_mean
from uplink.base import Context
from uplink.hj212.messages import conversion, digits, units_like
from uplink.http.template import Platform, fill, still_mark

LENGTHS: Mapping[Kind, timedelta] = {
    Kind.MINUTE: timedelta(minutes=1),
    Kind.HOUR: timedelta(hours=1),
    Kind.DAY: timedelta(days=1),
    Kind.FURNACE: timedelta(minutes=5),
}


class Wording:
    """What one platform's template makes of reports: *devices* names the points it gets, *kinds* what of them."""

    def __init__(
        self, platform: Platform, context: Context, *, devices: Mapping[str, str], kinds: Iterable[str],
        codes: Mapping[str, str], units: Mapping[str, str], pictures: bool = False,
    ) -> None:  # fmt: skip
        self.platform, self.context, self.devices = platform, context, devices
        self._codes, self._units, self._pictures = codes, units, pictures
        self._kinds = {Kind.POWER_ON, *(Kind[name.upper()] for name in kinds)}

    def compose(self, report: Report) -> str | None:
        """The text of *report* in the platform's own form, digits frozen; None for what it does not get."""
        if report.point not in self.devices or not (report.asked or report.kind in self._kinds):
            return None
        if report.kind in LENGTHS or report.kind is Kind.REALTIME:
            return self._measured(report)
        if report.kind is Kind.SNAPSHOT:
            return self._still(report)
        return self._happened(report) if self.platform.record.event else None

    def _measured(self, report: Report) -> str | None:
        made = [one for average in report.averages if (one := self._value(average)) is not None]
        if not made:
            return None
        lists = {name: ",".join(fill(text, one) for one in made) for name, text in self.platform.record.lists.items()}
        return fill(self.platform.record.text, {**self._named(report), **lists})

    def _happened(self, report: Report) -> str | None:
        if report.kind is Kind.POWER_ON:
            body: Any = {"restarted": self.context.started.astimezone(self.context.zone).isoformat(timespec="seconds")}
        elif report.record is not None:
            body = dict(report.record.body)
        else:
            return None
        event = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)
        return fill(self.platform.record.event, {**self._named(report), "event": event})

    def _still(self, report: Report) -> str | None:
        """A still without its picture, which is put in when it is sent: the outbox is no place for it."""
        text, record = self.platform.record.snapshot, report.record
        if not text or not self._pictures or record is None:
            return None
        body = {key: value for key, value in record.body.items() if key not in ("do", "file")}
        event = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)
        picture = still_mark(str(record.body["file"]), str(record.body["sha256"]))
        return fill(text, {**self._named(report), "event": event, "picture": picture})

    def _named(self, report: Report) -> dict[str, str]:
        platform, zone = self.platform, self.context.zone
        length = LENGTHS.get(report.kind, timedelta()) * (report.minutes if report.kind is Kind.MINUTE else 1)
        kind = report.kind.name.lower()
        return {
            "id": platform.escaped(identity(report.kind, report.point, report.start, report.version)),
            "point": platform.escaped(report.point),
            "device": platform.escaped(self.devices[report.point]),
            "kind": platform.escaped(platform.kinds.get(kind, kind)),
            "start": platform.escaped(platform.written(report.start, zone)),
            "end": platform.escaped(platform.written(report.start + length, zone)),
            "version": str(report.version),
        }

    def _value(self, average: Average) -> dict[str, str] | None:
        """The names of one value; None where there is none and the platform wants it left out."""
        parameter = self.context.catalogue[average.parameter]
        unit = self._units.get(parameter.key, parameter.unit)
        shift = conversion(parameter.unit, unit) or 0

        def written(value: float | None) -> str:
            good = value is not None and math.isfinite(value)
            return digits(value, parameter.decimals, shift) if good and value is not None else "null"

        if self.platform.missing == "omit" and written(average.mean) == "null":
            return None
        escaped, mark = self.platform.escaped, average.mark.name
        return {
            "parameter": parameter.key,
            "code": escaped(self._codes.get(parameter.key) or parameter.code or parameter.key),
            "unit": escaped(unit),
            "value": written(average.mean),
            "min": written(average.minimum),
            "max": written(average.maximum),
            "converted": written(average.converted),
            "mark": escaped(self.platform.marks.get(mark, mark)),
            "valid": str(average.valid),
            "expected": str(average.expected),
        }


def word_faults(
    codes: Mapping[str, str], units: Mapping[str, str], catalogue: Mapping[str, Parameter]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the tables [uplink.codes] and [uplink.units], as (key path, sentence)."""
    for table, given in (("codes", codes), ("units", units)):
        for key in given:
            if key not in catalogue:
                yield f"{table}.{key}", f"unknown parameter{did_you_mean(key, catalogue)}"
    for key, unit in units.items():
        if key in catalogue and conversion(catalogue[key].unit, unit) is None:
            possible = ", ".join(units_like(catalogue[key].unit)) or "its own unit"
            yield f"units.{key}", f'{key} cannot be sent in "{unit}", only in {possible}'


def identity(kind: Kind, point: str, start: datetime, version: int) -> str:
    """What a record is, whenever and in whatever company it is sent.

    >>> identity(Kind.MINUTE, "site", datetime(2026, 3, 1, tzinfo=UTC), 1)
    'site/minute/2026-03-01T00:00:00Z/1'
    """
    at = start.astimezone(UTC)
    moment = at.isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")
    return f"{point}/{kind.name.lower()}/{moment}/{version}"


def identity_of(message: Message) -> str:
    """The identity of a message from the outbox."""
    return identity(message.kind, message.point, message.start, message.version)
