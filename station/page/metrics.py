"""/metrics for Prometheus and /healthz for whoever watches by freshness; both without a person's name.

Metrics are read when they are asked for, through a registry of their own; nothing is counted here.  Names follow
Prometheus's conventions: base units, _total for what only rises, one thing a metric.  /metrics is for this machine,
for the addresses of `metrics_from` under [page], and for who has the token of `metrics_token_file`; /healthz is for
anyone and says no more than codes.  It is 200 while the station's sign of life is fresh and without complaint, as
`station health` has it, and 503 otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, jsonify, request

from station.health import read as sign_of_life
from station.host import THROTTLED, UNDERVOLTAGE, Host
from station.model import ConfigError, Mark, StationError
from station.page.guard import Guard, access
from station.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from station.page.source import Source

PREFIX = "niutang_"
FRESH = 90.0
"""Seconds after which a sign of life is stale, as of `station health`."""
MOST_READINGS = 2000
LONGEST_LABEL = 80
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ERRORS = ("timeouts", "bad_replies", "crc_errors", "wrong_unit", "exceptions", "busy", "late", "unasked", "echoes")
"""Counts of drivers/statistics.py that are no answers."""
STATES = ("normal", "pre_alarm", "alarm", "undetermined", "stale")
READING = ("point", "parameter", "device")
UNIT = ("bus", "device", "unit_id")
MODEM, IDENTITY = ("modem",), ("operator", "apn", "iccid", "imei")
MARKS = ", ".join(f"{int(mark)} {mark.name}" for mark in Mark)

# Every metric by its name without the prefix: kind, what it is, labels.  A counter's samples end in _total.
METRICS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "station": ("info", "Name and version of the station.", ()),
    "up": ("gauge", "1 while the station's process answers, else 0.", ()),
    "start_time_seconds": ("gauge", "When the station was started, seconds since 1970.", ()),
    "sign_of_life_age_seconds": ("gauge", "Age of the station's sign of life on the monotonic clock.", ()),
    "store_error": ("gauge", "1 while the last commit to the database failed.", ()),
    "silent_threads": ("gauge", "Threads of the station whose heartbeat is overdue.", ()),
    "reading_value": ("gauge", "Newest calibrated value, in the unit of its label.", (*READING, "unit")),
    "reading_age_seconds": ("gauge", "Age of the newest value.", READING),
    "reading_mark": ("gauge", f"Mark that counts for the newest value: {MARKS}.", READING),
    "reading_current": ("gauge", "1 while the newest value is no older than its instrument allows.", READING),
    "readings_left_out": ("gauge", f"Values beyond the {MOST_READINGS} that are shown.", ()),
    "device_up": ("gauge", "1 while the instrument answers.", UNIT),
    "device_reply_age_seconds": ("gauge", "Time since the instrument last answered.", UNIT),
    "device_missed_polls": ("counter", "Polls that gave nothing, since the station started.", UNIT),
    "bus_requests": ("counter", "Requests to the unit, since the station started.", UNIT),
    "bus_errors": ("counter", "What was no answer to a request, by kind, since the station started.", (*UNIT, "error")),
    "platform_connected": ("gauge", "1 while the platform is connected.", ("platform",)),
    "outbox_messages": (
        "gauge", "Messages in the outbox: owed, sent and not confirmed, or parked.", ("platform", "state"),
    ),
    "outbox_oldest_age_seconds": ("gauge", "Age of the oldest message that is owed.", ("platform",)),
    "messages_answered": ("counter", "Messages that the platform has acknowledged.", ("platform",)),
    "messages_dropped": ("counter", "Messages that the platform will never get.", ("platform",)),
    "platform_clock_offset_seconds": ("gauge", "The platform's clock minus the station's.", ("platform",)),
    "alarm_state": ("gauge", "1 for the state an alarm is in.", ("alarm", "point", "parameter", "state")),
    "qc_check_overdue": ("gauge", "1 while a QC check is overdue.", ("check", "device", "parameter")),
    "modem_link_down": ("gauge", "1 while the modem, or what is tried behind it, says that the link is down.", MODEM),
    "modem_registered": ("gauge", "1 while the modem is in a network: at home or roaming.", MODEM),
    "modem_rsrp_dbm": ("gauge", "Reference signal received power.", MODEM),
    "modem_sinr_db": ("gauge", "Signal to interference and noise ratio.", MODEM),
    "modem_rssi_dbm": ("gauge", "Received signal strength.", MODEM),
    "modem_clock_offset_seconds": ("gauge", "The operator's clock minus the station's.", MODEM),
    "modem_steps_today": ("gauge", "Steps that helped the modem within 24 hours.", MODEM),
    "modem_month_bytes": ("gauge", "Bytes of this month by the interface's counters.", ("modem", "direction")),
    "modem_budget_bytes": ("gauge", "Bytes a month that the tariff holds.", MODEM),
    "modem_identity": ("gauge", "1, with what the modem says of itself.", (*MODEM, *IDENTITY)),
    "disk_free_bytes": ("gauge", "Free room on the disk of the data folder.", ()),
    "disk_size_bytes": ("gauge", "Size of the disk of the data folder.", ()),
    "disk_days_left": ("gauge", "Days until the floor or budget of [disk] is reached, at the growth so far.", ()),
    "database_bytes": ("gauge", "Size of the database.", ()),
    "database_reusable_bytes": ("gauge", "Of it, pages that are free again.", ()),
    "readings_stored": ("counter", "Readings that were ever stored.", ()),
    "clock_trust": ("gauge", "1 for who vouches: ntp, platform, gnss, network, rtc, host, none.", ("source",)),
    "clock_waiting_readings": ("gauge", "Readings that wait for a time that somebody vouches for.", ()),
    "host_temperature_celsius": ("gauge", "Temperature of the processor.", ()),
    "host_undervoltage": ("gauge", "1 where the supply was too low: now, or since the boot.", ("since",)),
    "host_throttled": ("gauge", "1 where the processor was slowed down: now, or since the boot.", ("since",)),
    "beside_failing": ("gauge", "1 while what stands beside the station fails.", ("table", "name")),
    "supply_on_battery": ("gauge", "1 while the mains is gone.", ()),
    "supply_battery_ratio": ("gauge", "Charge of the battery, 0 to 1.", ()),
    "supply_volts": ("gauge", "Voltage of the battery or of the cabinet's supply.", ()),
    "position_fix": ("gauge", "1 while GNSS gives a position that counts.", ()),
    "position_moved": ("gauge", "1 while the station is away from its place.", ()),
    "seal_head_age_seconds": ("gauge", "Age of the newest sealed block.", ()),
    "seal_blocks": ("counter", "Blocks that were sealed.", ()),
    "seal_keyed": ("gauge", "1 while new blocks carry a tag by a key.", ()),
    "backup_age_seconds": ("gauge", "Age of the newest copy of the database that was read back.", ()),
    "backup_size_bytes": ("gauge", "Its size.", ()),
}  # fmt: skip
Sample = tuple[str, tuple[Any, ...], float]
"""Name in METRICS, values of its labels, value."""


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """Both, of *source*."""
    made = Blueprint("metrics", __name__)
    token = _token(source)
    networks = [ip_network(one, strict=False) for one in source.settings.metrics_from]
    host = Host()

    @made.get("/metrics")
    @access("anyone")
    def metrics() -> Any:
        if not (_is_local() or _is_named(networks) or _has(token)):
            abort(403)
        from prometheus_client import CollectorRegistry  # only where somebody scrapes
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collector(source, host))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    @made.get("/healthz")
    @access("anyone")
    def healthz() -> Any:
        found = health(source)
        return jsonify(found), 200 if found["state"] == "well" else 503

    return made


# -- who may ask


def _token(source: Source) -> str:
    name = source.settings.metrics_token_file
    token = source.loaded.secret(name).strip() if name else ""
    if name and not token:
        raise ConfigError(f"page.metrics_token_file: {name} is empty; put a long random word into it")
    return token


def _is_local() -> bool:
    """From this machine and by a name of it alone: behind a proxy without trusted_proxy everybody comes from here."""
    return _address_in(("127.0.0.0/8", "::1/128")) and request.host.rpartition(":")[0] in LOOPBACK


def _is_named(networks: list[Any]) -> bool:
    return _address_in(networks)


def _address_in(networks: Any) -> bool:
    try:
        address = ip_address((request.remote_addr or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ip_network(one) for one in networks)


def _has(token: str) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return bool(token) and kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


# -- health


def health(source: Source) -> dict[str, Any]:
    """State (well, trouble, stale, absent), age and the codes of what is wrong."""
    seen = sign_of_life(health_file(source), FRESH)
    reasons = seen.troubles if seen.state == "trouble" else [] if seen.state == "well" else [seen.state]
    return {"state": seen.state, "age_seconds": seen.age_seconds, "reasons": reasons, "version": VERSION}


def health_file(source: Source) -> Path:
    """Where the station gives its sign of life: where [station] says, else beside a socket that it listens on."""
    named = source.loaded.config.station.health_file
    if named:
        return source.loaded.folder / named
    places = [socket.with_name("health.json") for socket in source.sockets]
    return next((place for place in places if place.exists()), places[0])


# -- metrics


class Collector:
    """Reads everything when it is asked."""

    def __init__(self, source: Source, host: Host) -> None:
        self._source, self._host = source, host

    def collect(self) -> Iterator[Metric]:
        """Each metric that has a value."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        made: dict[str, Metric] = {}
        kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
        info = InfoMetricFamily(PREFIX + "station", METRICS["station"][1])
        info.add_metric([], {"name": _label(self._source.loaded.config.station.name), "version": VERSION})
        yield info
        told = set[tuple[str, ...]]()
        for name, labels, value in samples(self._source, self._host):
            kind, text, names = METRICS[name]
            if name not in made:
                made[name] = kinds[kind](PREFIX + name, text, labels=names)
            row = [_label(one) for one in labels]
            if (name, *row) in told:  # of names that are alike as far as they are told; twice, and a scrape fails whole
                row = [one if len(one) < LONGEST_LABEL else f"{one[:-9]}{_sum(whole)}" for one, whole in
                       zip(row, labels, strict=True)]  # fmt: skip
            if (name, *row) not in told:
                told.add((name, *row))
                made[name].add_metric(row, value)  # type: ignore[attr-defined]
        yield from made.values()


def _label(value: Any) -> str:
    """*value* as a label: what can be seen, and not too much of it; quoting is the exposition's.

    >>> _label("a\\nb"), _label("x" * 200)[-3:], _label(None)
    ('a b', 'xx…', '')
    """
    text = "".join(sign if sign.isprintable() else " " for sign in str("" if value is None else value))
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _sum(value: Any) -> str:
    return hashlib.sha256(str(value).encode("utf-8", "replace")).hexdigest()[:8]


def samples(source: Source, host: Host) -> Iterator[Sample]:
    """Everything there is to say of the station and its host now; what is not known is left out."""
    try:
        status = source.status()
    except StationError:  # no database yet: there is nothing but its absence
        status = {"running": False}
    now = source.now()
    yield "up", (), float(bool(status.get("running")))
    age = sign_of_life(health_file(source), FRESH).age_seconds
    yield from _known("sign_of_life_age_seconds", age)
    if status.get("running"):
        yield "start_time_seconds", (), datetime.fromisoformat(status["started"]).timestamp()
        yield "store_error", (), float(bool(status["store"].get("error")))
        yield "silent_threads", (), float(len(status.get("silent_threads", ())))
    for part in (_readings, _devices, _platforms, _watched, _clock, _beside, _copies, _modem):
        yield from part(source, status, now)
    yield from _disk(source, host, status)
    yield from _board(host)


def _known(name: str, value: float | None, *labels: Any) -> Iterator[Sample]:
    if value is not None:
        yield name, labels, float(value)


def _age(moment: str | None, now: datetime) -> float | None:
    return None if not moment else (now - datetime.fromisoformat(moment)).total_seconds()


def _readings(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    found = [(device["name"], one) for device in status.get("devices", ()) for one in device["values"]]
    yield "readings_left_out", (), float(max(0, len(found) - MOST_READINGS))
    for device, one in found[:MOST_READINGS]:
        labels = (one["point"], one["parameter"], device)
        yield from _known("reading_value", one["value"], *labels, one["unit"])
        yield from _known("reading_age_seconds", _age(one["time"], now), *labels)
        yield "reading_mark", labels, float(Mark[one["mark"]])
        yield "reading_current", labels, float(bool(one.get("current")))


def _devices(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    units = {
        settings.name: (bus.name, getattr(settings, "unit_id", None))
        for bus in source.loaded.config.bus
        for settings in bus.device
    }
    for one in status.get("devices", ()):
        bus, unit = units.get(one["name"], (one["bus"], None))
        labels = (bus, one["name"], unit)
        yield "device_up", labels, float(bool(one["answers"]))
        yield from _known("device_reply_age_seconds", _age(one["last_reply"], now), *labels)
        if not status["running"]:
            continue
        yield "device_missed_polls", labels, float(one["missed"])
        if line := one.get("line"):
            yield "bus_requests", labels, float(line["requests"])
            yield from (("bus_errors", (*labels, error), float(line.get(error, 0))) for error in ERRORS)


def _platforms(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    for one in status.get("platforms", ()):
        labels = (one["name"],)
        yield "platform_connected", labels, float(bool(one["connected"]))
        for state in ("owed", "unconfirmed", "parked"):
            yield "outbox_messages", (*labels, state), float(one[state])
        yield "outbox_oldest_age_seconds", labels, float(one["oldest_seconds"] or 0.0)
        yield "messages_answered", labels, float(one["answered"])
        yield "messages_dropped", labels, float(one["dropped"])
    for name, clock in (status.get("clock") or {}).get("platforms", {}).items():
        yield "platform_clock_offset_seconds", (name,), float(clock["seconds"])


def _watched(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    for one in status.get("alarms", ()):
        for state in STATES:
            yield "alarm_state", (one["name"], one["point"], one["parameter"], state), float(one["state"] == state)
    for one in status.get("qc", ()):
        yield "qc_check_overdue", (one["check"], one["device"], one["parameter"]), float(bool(one["overdue"]))


def _clock(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    clock = status.get("clock")
    if clock:
        for trust in ("ntp", "platform", "gnss", "network", "rtc", "host", "none"):
            yield "clock_trust", (trust,), float(clock["trust"] == trust)
        yield "clock_waiting_readings", (), float(clock["waiting"])


def _beside(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    for one in status.get("beside", ()):
        yield "beside_failing", (one["table"], one["name"]), float(bool(one["error"]))
        if one["table"] == "supply":
            yield "supply_on_battery", (), float(bool(one["on_battery"]))
            yield from _known("supply_battery_ratio", None if one["percent"] is None else one["percent"] / 100)
            yield from _known("supply_volts", one["volts"])
        elif one["table"] == "position":
            yield "position_fix", (), float(bool(one["fix"]))
            yield "position_moved", (), float(bool(one["moved"]))


def _modem(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    for row in status.get("beside", ()):
        if (one := row.get("modem")) is None:
            continue
        labels = (row["name"],)
        yield "modem_link_down", labels, float(bool(one["why_down"]))
        if one["registration"]:
            yield "modem_registered", labels, float(one["registration"] in ("home", "roaming"))
        for key, name in (("rsrp", "rsrp_dbm"), ("sinr", "sinr_db"), ("rssi", "rssi_dbm"),
                          ("clock_offset", "clock_offset_seconds"), ("steps_today", "steps_today")):  # fmt: skip
            yield from _known(f"modem_{name}", one[key], *labels)
        if one["month"]:
            for direction in ("received", "sent"):
                yield "modem_month_bytes", (*labels, direction), float(one[direction])
        if one["budget_mb"]:
            yield "modem_budget_bytes", labels, 1e6 * one["budget_mb"]
        if one["imei"]:
            yield "modem_identity", (*labels, *(one[key] for key in IDENTITY)), 1.0


def _copies(source: Source, status: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    if seal := status.get("seal"):
        yield "seal_head_age_seconds", (), now.timestamp() - seal["at_ms"] / 1000
        yield "seal_blocks", (), float(seal["epoch"])
        yield "seal_keyed", (), float(seal["keyed"])
    if copy := status.get("backup"):
        yield from _known("backup_age_seconds", _age(copy["time"], now))
        yield from _known("backup_size_bytes", copy.get("bytes"))


def _disk(source: Source, host: Host, status: Mapping[str, Any]) -> Iterator[Sample]:
    from station.capacity import capacity

    room, store = host.room(source.loaded.data_folder), status.get("store") or {}
    if room is not None:
        yield "disk_free_bytes", (), float(room.free)
        yield "disk_size_bytes", (), float(room.total)
    if "bytes" not in store:
        return
    found = capacity(store, room, source.loaded.config.disk)
    yield from _known("disk_days_left", None if found is None else found.days_left)
    yield "database_bytes", (), float(store["bytes"])
    yield "database_reusable_bytes", (), float(store["inside"])
    yield "readings_stored", (), float(store["readings"])


def _board(host: Host) -> Iterator[Sample]:
    yield from _known("host_temperature_celsius", host.celsius())
    bits, alarm = host.throttled(), host.supply_alarm()
    if bits is not None or alarm is not None:
        low, was_low = (bool((bits or 0) & bit) for bit in UNDERVOLTAGE)
        yield "host_undervoltage", ("now",), float(low)
        yield "host_undervoltage", ("boot",), float(was_low or bool(alarm))
    if bits is not None:
        for since, bit in zip(("now", "boot"), THROTTLED, strict=True):
            yield "host_throttled", (since,), float(bool(bits & bit))
