"""Topics from templates such as "niutang/{mn}/{kind}": what one may say, and what becomes of awkward names.

A topic is UTF-8 of at most 65,535 bytes, its levels separated by "/"; "+" and "#" are wildcards, U+0000 is not
allowed, and what begins with "$" belongs to the broker (MQTT 5.0 4.7, 1.5.4; 3.1.1 likewise; confidence A).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter

from station.model import did_you_mean

MOST_BYTES = 1024  # of a topic; the standard allows 65,535, brokers take less (mosquitto: 200 levels)
NAMES: Mapping[str, str] = {
    "platform": "name of the [[uplink]]",
    "client": "its client_id",
    "mn": "what the platform calls the point; the first one of [[uplink.point]] outside of records",
    "point": "code of the station's point; the first one outside of records",
    "kind": "realtime, minute, hour, day ...; in topic alone",
}
SHARED = ("platform", "client", "mn", "point")  # what a topic that is not of a record may name
_ESCAPED = re.compile(r"[/+#%\x00-\x1f\x7f-\x9f]")


def escaped(value: str) -> str:
    """*value* as part of one level: what would end the level or be a wildcard is written as %XX.

    >>> escaped("A/B+1"), escaped("国控点")
    ('A%2FB%2B1', '国控点')
    """
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), value)


def topic(template: str, values: Mapping[str, str]) -> str:
    """The topic that *template* makes of *values*.

    >>> topic("city/{mn}/{kind}", {"mn": "NT/7", "kind": "minute"})
    'city/NT%2F7/minute'
    """
    made = template.format_map({name: escaped(value) for name, value in values.items()})
    return f"%24{made[1:]}" if made.startswith("$") else made


def faults(template: str, allowed: tuple[str, ...] = tuple(NAMES)) -> Iterator[str]:
    """What is wrong with *template*, each in one sentence.

    >>> list(faults("a/{knd}/b")), list(faults("/{mn}"))
    (['{knd} is not known here; did you mean kind?'], ['has an empty level: no / at an end, none after another'])
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        yield "has a brace without its other half; write {{ and }} for braces themselves"
        return
    if any(sign in template for sign in "+#"):
        yield "holds a wildcard; a topic is published to as it is: leave out + and #"
    if not template.isprintable():
        yield "holds a control character"
    if not all(template.split("/")):
        yield "has an empty level: no / at an end, none after another"
    if template.startswith("$"):
        yield "begins with $, which belongs to the broker"
    if len(template.encode(errors="replace")) > MOST_BYTES:
        yield f"has more than {MOST_BYTES} bytes"
    for _, name, form, turned in parts:
        if name is None:
            continue
        if form or turned or name not in NAMES:
            shown = name + (f"!{turned}" if turned else "") + (f":{form}" if form else "")
            yield f"{{{shown}}} is not known here{did_you_mean(name, NAMES)}"
        elif name not in allowed:
            yield f"{{{name}}} has no value here: this topic is not of a record"


def named(template: str) -> set[str]:
    """The names that *template* uses."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}
