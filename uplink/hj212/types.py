"""Default types of factors, for platforms that want an extreme value where none can be had.

HJ 212-2025 is said to send the extreme of the default type, such as 9999.99, for what cannot be computed (one
project, C): `missing = "extreme"`.  Types are those of HJ 212-2017 (read); w01003 has one from practice (C).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from station.model import Average, Kind
from uplink.hj212.messages import Factor

TYPES: Mapping[str, str] = {  # code → digits before and behind the point
    "w00000": "5.2", "w01001": "2.2", "w01002": "3.2", "w01003": "4.1", "w01006": "4", "w01009": "3.1",
    "w01010": "3.1", "w01012": "4", "w01014": "3.1", "w01017": "5.1", "w01018": "5.1", "w01019": "3.1",
    "w01020": "3.1", "w21001": "4.2", "w21003": "4.2", "w21011": "3.2", "w21016": "3.3", "w21017": "4.2",
    "w22001": "3.2", "w20111": "3.2", "w20115": "3.1", "w20117": "2.3", "w20119": "2.3", "w20120": "4",
    "a01001": "3.1", "a01002": "3.1", "a01006": "5.3", "a01007": "4.1", "a01008": "4", "a34001": "4.3",
    "a34002": "3.3", "a34004": "3.3", "a34005": "3.3", "a34013": "4", "a21026": "5.2", "a21002": "5.1",
    "a21003": "4.1", "a21004": "4.1", "a21005": "3.3", "a24088": "7.3", "a24087": "5.2", "a00000": "6.1",
    "a19001": "3.1", "a01011": "5.2", "a01012": "3.1", "a01013": "5.3", "a01014": "3.1",
    "LA": "3.1", "Leq": "3.1", "L5": "3.1", "L10": "3.1", "L50": "3.1", "L90": "3.1", "L95": "3.1", "LMx": "3.1",
    "LMn": "3.1", "Ldn": "3.1", "Ld": "3.1", "Ln": "3.1",
}  # fmt: skip


def largest(kind: str) -> str:
    """The largest value of a type.

    >>> largest("4.2"), largest("4")
    ('9999.99', '9999')
    """
    whole, _, places = kind.partition(".")
    return "9" * int(whole) + ("." + "9" * int(places) if places else "")


def extreme(factor: Factor, kind: Kind, average: Average) -> Iterator[str]:
    """What a report of *kind* says of *factor* where it has no value; nothing where its type is not known."""
    if factor.code in TYPES:
        for suffix, _ in factor.named(kind, average):
            yield f"{factor.name(suffix)}={largest(TYPES[factor.code])}"
