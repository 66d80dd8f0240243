""" "The display says 23.7": what fits, what narrows it down, and what is written of it."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import pytest

from drivers.guess import guesses, texts
from drivers.profile import parse
from drivers.registers import Place, Register
from drivers.solve import Candidate, Shown, candidates, number, register, written


def words(place: Place, raw: float, around: Mapping[int, int] | None = None) -> dict[int, int]:
    """The registers that hold *raw* at *place*, among others."""
    return {**(around or {}), **dict(enumerate(place.words(raw), place.address))}


def noise(seed: int, count: int = 20) -> dict[int, int]:
    """Registers of an instrument that is full of other numbers."""
    chance = random.Random(seed)
    return {
        address: chance.choice([0, 0, chance.randrange(2000), chance.randrange(0x10000)]) for address in range(count)
    }


PLACES = {
    "tenths": (Register(parameter="p", table="holding", address=5, type="i16", scale=0.1), ["23.7", "24.9", "-3.2"]),
    "hundredths": (Register(parameter="p", table="holding", address=7, type="u16", scale=0.01), ["7.12", "6.95"]),
    "degrees with an offset": (
        Register(parameter="p", table="holding", address=3, type="u16", scale=0.1, offset=-40),
        ["23.7", "18.2", "-3.0"],
    ),
    "a float": (Register(parameter="p", table="holding", address=8, type="f32"), ["17.625", "17.75"]),
    "a float, low byte first": (
        Register(parameter="p", table="holding", address=8, type="f32", order="DCBA"), ["17.63", "18.05"],
    ),
    "a float, low word first": (
        Register(parameter="p", table="holding", address=9, type="f32", order="CDAB"), ["1013.2", "1012.8"],
    ),
    "a float in mg shown in g": (
        Register(parameter="p", table="holding", address=2, type="f32", scale=0.001), ["1.234", "1.301"],
    ),
    "a counter of two registers": (
        Register(parameter="p", table="holding", address=12, type="u32", order="CDAB", scale=0.1),
        ["12345.6", "12346.1"],
    ),
    "the low byte first": (Register(parameter="p", table="holding", address=4, type="u16", order="BA"), ["30", "45"]),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("seed", range(5))
def test_two_looks_at_the_display_find_the_register(case: str, seed: int) -> None:
    """Whatever its type, order, scale and offset; the right one is among the first three."""
    place, displays = PLACES[case]
    shown = [Shown(text, (words(place, place.raw(float(text)), noise(seed)),)) for text in displays]
    found = candidates(shown, "holding")
    right = [(place.address, place.order or c.order, place.scale, place.offset) for c in found[:1]]
    assert right
    best = [(c.address, c.order, float(c.scale), float(c.offset)) for c in found[:3]]
    order = place.order or ("ABCD" if place.width == 2 else "AB")
    assert (place.address, order, place.scale, place.offset) in best


@pytest.mark.parametrize("case", PLACES)
def test_each_further_look_leaves_fewer(case: str) -> None:
    """What fitted by chance does not go on fitting."""
    place, displays = PLACES[case]
    shown = [Shown(text, (words(place, place.raw(float(text)), noise(3)),)) for text in displays]
    counts = [len(candidates(shown[:n], "holding")) for n in range(1, len(shown) + 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 1


def test_a_constant_is_ruled_out_when_the_display_moves() -> None:
    """Register 1 holds 237 for ever."""
    shown = [Shown("23.7", ({0: 237, 1: 237},)), Shown("24.9", ({0: 249, 1: 237},))]
    assert {c.address for c in candidates(shown[:1], "input")} == {0, 1}
    assert {c.address for c in candidates(shown, "input")} == {0}


def test_the_display_may_be_a_digit_ahead_or_cut() -> None:
    """Read and looked at are not one moment; some displays cut where others round."""
    for raw in (23.69, 23.749, 23.75, 23.6, 23.8):
        place = Register(parameter="p", table="holding", address=0, type="f32")
        (first, *_) = candidates([Shown("23.7", (words(place, raw),))], "holding")
        assert (first.type, first.order, first.scale) == ("f32", "ABCD", "1")
    place = Register(parameter="p", table="holding", address=0, type="f32")
    assert candidates([Shown("23.7", (words(place, 23.9),))], "holding") == []


def test_several_reads_at_one_look_are_one_look() -> None:
    """A value that moved between the reads fits when one of them did."""
    assert candidates([Shown("24.0", ({0: 237}, {0: 240}))], "holding")[0].address == 0


def test_nothing_fits_what_is_not_there() -> None:
    """No candidate is invented."""
    assert candidates([Shown("23.7", ({0: 0, 1: 0, 2: 0},))], "holding") == []
    assert candidates([], "holding") == []


def test_signed_and_unsigned_are_one_candidate_until_they_differ() -> None:
    """237 reads the same in both."""
    found = candidates([Shown("23.7", ({0: 237},))], "holding")
    assert [(c.scale, c.offset) for c in found if c.offset == "0"] == [("0.1", "0")]
    (below,) = (c for c in candidates([Shown("-3.2", ({0: 0x10000 - 32},))], "holding") if c.offset == "0")
    assert below.type == "i16"


def test_results_do_not_depend_on_the_day() -> None:
    """The same registers give the same order every time."""
    shown = [Shown("23.7", (noise(11) | {4: 237, 9: 2370},))]
    assert [c.key for c in candidates(shown, "holding")] == [c.key for c in candidates(shown, "holding")]


@pytest.mark.parametrize("text", ["", "abc", "nan", "1e5", "inf"])
def test_a_display_shows_a_number(text: str) -> None:
    """In digits, as one reads it off."""
    with pytest.raises(ValueError, match=r"is not a number such as 23\.7$"):
        number(text)


@pytest.mark.parametrize("case", PLACES)
def test_what_was_found_makes_a_profile(case: str) -> None:
    """Written as TOML, read as a profile, decoding what it was found from."""
    place, displays = PLACES[case]
    shown = [Shown(text, (words(place, place.raw(float(text))),)) for text in displays]
    found = register(candidates(shown, "holding")[0], "water_temperature", "°C", float(displays[-1]))
    head = 'title = "found"\nbaudrate = 9600\nunit_id = 1\n'
    (again,) = parse(head + written(found, "the display said so"), "found").registers
    assert again == found
    raws = struct.pack(f">{again.width}H", *again.words(again.raw(float(displays[0]))))
    assert len(raws) == 2 * again.width


def test_a_temperature_may_fall_below_zero() -> None:
    """The unsigned candidate is written as signed where that reads the same."""
    found = Candidate("holding", 0, "u16", "AB", "0.1", "0", 23.7)
    assert register(found, "air_temperature", "°C", 23.7).type == "i16"
    assert register(found, "noise", "dB", 23.7).type == "u16"


# -- what registers may mean


def test_every_type_and_order_is_shown_and_one_float_stands_out() -> None:
    """17.625 in each byte order: plausible in its own alone."""
    for order in ("ABCD", "DCBA", "BADC", "CDAB"):
        place = Place(table="holding", address=0, type="f32", order=order)
        found = list(guesses(dict(enumerate(place.words(17.625)))))
        assert {(g.type, g.order) for g in found if g.address == 0} == {
            *((t, o) for t in ("u16", "i16") for o in ("AB", "BA")),
            *((t, o) for t in ("u32", "i32", "f32") for o in ("ABCD", "DCBA", "BADC", "CDAB")),
        }
        assert [(g.order, g.raw) for g in found if g.type == "f32" and g.plausible] == [(order, 17.625)]


def test_most_random_bits_are_no_plausible_float() -> None:
    """Of 10,000 pairs of random registers fewer than one in four look like a measured value in a given order."""
    chance = random.Random(1)
    pairs = [{0: chance.randrange(0x10000), 1: chance.randrange(0x10000)} for _ in range(10_000)]
    likely = sum(g.plausible for pair in pairs for g in guesses(pair) if (g.type, g.order) == ("f32", "ABCD"))
    assert likely < 2_500


def test_names_are_found_among_numbers() -> None:
    """A serial number of odd length, ended by a zero."""
    found = {0: 237, 10: 0x5931, 11: 0x3233, 12: 0x3435, 13: 0x3600, 20: 0x4142}
    assert texts(found) == [(10, "Y123456")]
