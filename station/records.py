"""The kinds of records there are, what their bodies hold, and which of them platforms are told.

Any part of the station keeps one with `Engine.keep`.  A record of a kind in TOLD becomes a message for every platform
whose `kinds` name it, as soon as it is committed; a recall finds it whether or not it was told.  Two records of one
such kind and point never share a second, for platforms know them by their time.

* raw: sampled and completed (ISO 8601), type (as the platform names it, may be missing), values: parameter →
  [value, mark]; one measurement of an instrument that measures in cycles, kept by its driver.
* equipment: states: number of the equipment → a word of EQUIPMENT; kept by digital inputs at every change and start.
* equipment_hours: hours: number of the equipment → hours it ran that day; made when a day ends, dated by its start.
* noise: levels: parameter → dB; one measurement on its own, kept by noise monitoring.
* check: parameter, value, standard, passed; from a platform's start_check, or a check at the station.
* kept_sample: vase, the number of the bottle; from a platform's keep_sample, or a sampler.
* identity: serial, before ("" when the instrument was read for the first time, which is not told), parameters it
  measures (station/site.py).
* site_info: item, a word of ITEMS; value, a word or a number; parameters the instrument measures; platform where it
  concerns one alone (station/site.py).
* seal_head: platform, block, head, sealed, month (station/heading.py).
* snapshot: a still of a camera, whose picture platforms get over HTTPS alone (station/snapshots.py).
* alarm: a change of state of what is watched (station/alarming.py): rule, state, before, parameter, value …

Kinds that stay here: dustfall (station/dustfall.py), the statistics of lines, and field work, whose words platforms
get as site_info: maintenance, visit, part (station/fieldwork.py), comparison, commissioning, loop.
"""

from __future__ import annotations

from collections.abc import Mapping

from station.model import Kind

PERIODIC = ("realtime", "minute", "hour", "day", "furnace")
TOLD: Mapping[str, Kind] = {
    kind.name.lower(): kind for kind in Kind if kind > Kind.POWER_ON and kind is not Kind.FURNACE
}

EQUIPMENT = ("off", "running", "calibrating", "maintenance", "alarm", "blow_back")
INSTRUMENT_STATES = (
    "running", "maintenance", "fault", "calibrating", "blow_back", "power_fault", "measuring", "standardising",
    "standby", "service",
)  # fmt: skip
LOGGER_STATES = ("running", "stopped", "fault", "maintenance")
LINK_STATES = ("good", "bad")
ITEMS = (
    "instrument_log", "instrument_state", "instrument_link", "range", "digestion_temperature", "digestion_minutes",
    "intercept", "slope", "detection_limit", "logger_log", "logger_state", "platform_link",
)  # fmt: skip
FIELD = ("maintenance", "part", "visit")  # what a running station looks after once there is any
LOGS = ("instrument_log", "logger_log")
