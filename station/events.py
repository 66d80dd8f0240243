"""Events in words: what each code means, and what its arguments say, in Chinese and English.

The store keeps an event as a code with arguments.  Texts are under `event` (one for each code), `event_word` (one
for each argument) and `event_value` (words that arguments use) in station/locale; a test walks the program for codes
and names of arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from station.clock import from_ms, to_ms
from station.i18n import texts
from station.model import dataclass
from station.own_reasons import worded
from station.parameters import catalogue
from station.texts import in_zone

if TYPE_CHECKING:
    from station.store import Store

# Where the words of an argument are looked up, by its name: the first text that is there.
NAMED: Mapping[str, tuple[str, ...]] = {
    "reason": ("reason.", "collector_held.", "modem_why."),
    "step": ("modem_step.",),
    "why": ("why.",),
    "cause": ("alarm_why.", "why."),
    "state": ("alarm_state.",),
    "before": ("alarm_state.",),
    "trust": ("certificate_clock.",),
    "decision": ("collector.",),
    "procedure": ("procedure.",),
    "verdict": ("calibration_verdict.",),
}
# These hold secrets in no event that the station writes; in one that something else has written they are not shown.
NEVER_SHOWN = ("password", "passwd", "secret")


@dataclass(frozen=True, slots=True)
class Told:
    """An event as stored: its number, when it happened, its code and its arguments."""

    id: int
    at: datetime
    code: str
    arguments: Mapping[str, Any]


def told(store: Store, start: datetime | None, end: datetime | None, code: str | None, most: int) -> list[Told]:
    """The newest *most* events from *start* up to *end* (excluded) with *code*, the oldest of them first."""
    where, values = ["1"], list[Any]()
    for clause, value in (
        ("at_ms >= ?", None if start is None else to_ms(start)),
        ("at_ms < ?", None if end is None else to_ms(end)),
        ("code = ?", code),
    ):
        if value is not None:
            where.append(clause)
            values.append(value)
    rows = store.query(
        f"SELECT id, at_ms, code, arguments FROM event WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
        (*values, most),
    )
    return [Told(number, from_ms(at), str(word), read_arguments(said)) for number, at, word, said in reversed(rows)]


def read_arguments(arguments: str) -> dict[str, Any]:
    """The arguments of an event as they are stored."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return {"said": arguments}
    return found if isinstance(found, dict) else {"said": found}


def codes() -> list[str]:
    """Every code that has words."""
    return [key.removeprefix("event.") for key in texts("en") if key.startswith("event.")]


def title(code: str, language: str) -> str:
    """What *code* means; a code of another version stays as it is.

    >>> title("clock_step", "en"), title("clock_step", "zh"), title("of_tomorrow", "en")
    ('clock stepped', '时钟跳变', 'of_tomorrow')
    """
    return texts(language).get(f"event.{code}", code)


def about(arguments: Mapping[str, Any], language: str, zone: tzinfo | None = None) -> str:
    """What *arguments* say, with moments in *zone*; what is empty is left out.

    >>> about({"device": "dust", "missed": 3, "reason": "NO_REPLY", "error": ""}, "en")
    'instrument: dust; missed polls: 3; reason: the instrument did not answer'
    """
    said = texts(language)
    parts = [
        f"{said.get(f'event_word.{name}', name)}{said['report.colon']}{_worded(name, value, language, zone)}"
        for name, value in arguments.items()
        if value not in (None, "", [], {}) and not any(word in name.lower() for word in NEVER_SHOWN)
    ]
    return said["report.semicolon"].join(parts)


def _worded(name: str, value: Any, language: str, zone: tzinfo | None) -> str:
    said = texts(language)
    match value:
        case bool():
            return said["event_value.yes" if value else "event_value.no"]
        case Mapping():
            pairs = ((said.get(f"event_word.{key}", str(key)), one) for key, one in value.items())
            return ", ".join(f"{key} {_worded('', one, language, zone)}" for key, one in pairs if one is not None)
        case list() | tuple():
            return ", ".join(_worded(name, one, language, zone) for one in value)
        case float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.1f}"
        case str():
            return _word(name, value, language, zone)
    return str(value)


def _word(name: str, value: str, language: str, zone: tzinfo | None) -> str:
    said = texts(language)
    if name == "parameter" and value in catalogue():
        return catalogue()[value].name(language)
    places = (*(f"{place}{value.lower()}" for place in NAMED.get(name, ())), f"event_value.{value.replace(' ', '_')}")
    if (place := next((one for one in places if one in said), None)) is not None:
        return said[place]
    return in_zone(worded(value, language) if name in ("reason", "why") else value, zone)


def plain(event: Told, zone: tzinfo | None) -> dict[str, Any]:
    """*event* for programs: as it was stored, and its words in both languages."""
    words = {
        language: {"title": title(event.code, language), "about": about(event.arguments, language, zone)}
        for language in ("en", "zh")
    }
    shown = {k: v for k, v in event.arguments.items() if not any(word in k.lower() for word in NEVER_SHOWN)}
    return {"id": event.id, "time": event.at.isoformat(), "code": event.code, "arguments": shown, "words": words}


def lines(events: list[Told], language: str, zone: tzinfo | None) -> Iterator[tuple[Told, str, str]]:
    """Each event with its title and what it is about."""
    for event in events:
        yield event, title(event.code, language), about(event.arguments, language, zone)
