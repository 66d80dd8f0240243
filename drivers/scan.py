"""Looking for instruments on a line: which addresses at which speeds, in what order, and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from drivers.base import ProfileError
from drivers.line import REQUEST_BYTES
from drivers.port import Speed
from drivers.profile import SHIPPED, Profile, load
from drivers.registers import Register, Request, samples_and_conditions
from station.model import Mark, dataclass

LAST_UNIT = 247
USUAL_BAUDRATES = (9600, 4800, 19200, 115200, 2400, 38400, 57600)
USUAL_UNITS = (1, 2, 3)  # where instruments leave their makers
REPLY_BYTES = 7  # to a read of one register
SWITCH_SECONDS = 0.1  # silence before and after a change of speed, both together
REAL_SHARE = 0.5  # of a profile's values have to be believable for it to be named


class Try(NamedTuple):
    """One address at one setting."""

    setting: Speed
    unit_id: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile that reads believable values from a unit: *good* of the *asked*."""

    profile: str
    variant: str | None
    title: str
    good: int
    asked: int

    def as_dict(self) -> dict[str, Any]:
        """The fit for programs."""
        names = ("profile", "variant", "title", "good", "asked")
        return {name: getattr(self, name) for name in names}


def settings(own: Speed, baudrates: Sequence[int], parities: Sequence[str]) -> list[Speed]:
    """The line's *own* setting, then every baudrate with 8N1, then the other parities.

    >>> [str(s) for s in settings(Speed(9600), (9600, 4800), ("N1", "E1"))]
    ['9600 8N1', '4800 8N1', '9600 8E1', '4800 8E1']
    """
    rest = [Speed(baudrate, parity[0], int(parity[1])) for parity in parities for baudrate in baudrates]
    return list(dict.fromkeys([own, *rest]))


def tries(tried: Iterable[Speed], units: Sequence[int]) -> Iterator[Try]:
    """Every unit at every setting: first the usual addresses at all of them, then the rest.

    >>> [(t.setting.baudrate, t.unit_id) for t in tries([Speed(9600), Speed(4800)], [1, 9])]
    [(9600, 1), (4800, 1), (9600, 9), (4800, 9)]
    """
    every = list(tried)
    usual = {*USUAL_UNITS, *shipped_units()}
    for group in ([u for u in units if u in usual], [u for u in units if u not in usual]):
        for setting in every:
            yield from (Try(setting, unit_id) for unit_id in group)


def seconds(tried: Sequence[Speed], units: int, patience: float, gap: float = 0.05) -> float:
    """How long it takes at most: every address silent.

    >>> round(seconds([Speed(9600)], 247, 0.2))
    66
    """
    total = 0.0
    for setting in tried:
        wire = (REQUEST_BYTES + REPLY_BYTES) * setting.line.character
        total += units * (wire + patience + gap) + 2 * SWITCH_SECONDS
    return total


def functions(unit_id: int, thorough: bool) -> tuple[int, ...]:
    """What a unit is asked with: holding registers, and input registers at usual addresses or when *thorough*."""
    return (3, 4) if thorough or unit_id in USUAL_UNITS else (3,)


def speeds_in(baudrates: str | None, parities: str) -> tuple[list[int], list[str]]:
    """The baudrates and parities in words, such as "9600,4800" and "N1,E1"; ValueError where they are none.

    >>> speeds_in("9600", "N1,E1")
    ([9600], ['N1', 'E1'])
    """
    known = (*USUAL_BAUDRATES, 1200)
    rates = list(USUAL_BAUDRATES)
    if baudrates is not None:
        rates = [int(word) if word.isdecimal() else 0 for word in baudrates.split(",")]
        if not set(rates) <= set(known):
            raise ValueError(f'"{baudrates}": baudrates are {", ".join(map(str, sorted(known)))}')
    words = parities.upper().split(",")
    if not set(words) <= {f"{parity}{bits}" for parity in "NEO" for bits in "12"}:
        raise ValueError(f'"{parities}": parities are N1, E1, O1, N2, E2, O2')
    return rates, words


def shipped_units() -> set[int]:
    """The addresses that shipped profiles leave their makers with."""
    return {profile.unit_id for profile in profiles(())}


def profiles(folders: Sequence[Path]) -> list[Profile]:
    """Every profile that can be read, the operator's own first; whose file is broken is passed over."""
    found: dict[str, Profile] = {}
    for folder in (*folders, SHIPPED):
        for path in sorted(folder.glob("*.toml")):
            try:
                found.setdefault(path.stem, load(path.stem, folders))
            except ProfileError:
                continue
    return list(found.values())


def layouts(profile: Profile) -> list[tuple[str | None, Profile]]:
    """*profile* in each of its variants."""
    if not profile.variants:
        return [(None, profile)]
    return [(variant.name, profile.chosen(variant.name)) for variant in profile.variants]


def question(profile: Profile, setting: Speed) -> Request | None:
    """The one read that says most of whether an instrument is *profile*'s; None where one read says nothing."""
    if profile.start_address is not None:
        return None  # an example: whatever stands there is not its
    reads = profile.plan(setting.line)
    return max((request for request in reads if _told(request)), key=_told, default=None)


def _told(request: Request) -> int:
    """How many values *request* brings whole, with what they are computed with."""
    had = {id(place) for place in request.places}
    values = (place for place in request.places if isinstance(place, Register) and place.is_number)
    return sum(all(id(other) in had for other in value.beside) for value in values)


def fit(profile: Profile, variant: str | None, request: Request, payload: bytes, now: datetime) -> Fit | None:
    """How well *payload*, the answer to *request*, looks like *profile*'s; None when it does not.

    A value is believable when it is in its range, not a sentinel, and not just an empty register.
    """
    samples, _ = samples_and_conditions(request, payload, now)
    if not samples:
        return None
    raws = {
        place.parameter: raw
        for place, raw in zip(request.places, request.raws(payload), strict=True)
        if isinstance(place, Register) and place.is_number
    }
    good = sum(sample.mark is Mark.N and bool(raws.get(sample.parameter)) for sample in samples)
    if good / len(samples) < REAL_SHARE or any(sample.mark is Mark.T for sample in samples):
        return None
    return Fit(profile.name, variant, profile.title, good, len(samples))


def best(fits: Iterable[Fit]) -> list[Fit]:
    """The likeliest first, one a profile."""
    kept: dict[str, Fit] = {}
    for one in sorted(fits, key=lambda f: (-f.good * f.good / f.asked, f.profile)):
        kept.setdefault(one.profile, one)
    return list(kept.values())


def units_in(text: str) -> list[int]:
    """The addresses in *text*; ValueError where there are none.

    >>> units_in("1-3,17")
    [1, 2, 3, 17]
    """
    return numbers_in(text, 1, LAST_UNIT, "addresses are 1 to 247, such as 1-32 or 1,5,17")


def numbers_in(text: str, low: int, high: int, otherwise: str) -> list[int]:
    """The numbers and spans in *text*, within *low* and *high*; ValueError saying *otherwise*."""
    found: dict[int, None] = {}
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            span = range(int(first, 0), int(last if dash else first, 0) + 1)
            if not span or span[0] < low or span[-1] > high:
                raise ValueError(part)
            found.update(dict.fromkeys(span))
    except ValueError as error:
        raise ValueError(f'"{text}": {otherwise}') from error
    return list(found)
