"""Dust-fall by hand: the method's arithmetic, what may be entered, and what a month comes to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from station import dustfall
from station.dustfall import Book, read_book
from station.model import Record, WrongArgument, replace
from station.parameters import catalogue

ZONE = timezone(timedelta(hours=8))
MARCH = datetime(2026, 3, 1, 9, 0, tzinfo=ZONE)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROUND = [15.0, 15.0, 15.0]


class Notebook:
    """Entries as a technician makes them, each checked against those before it."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    @property
    def book(self) -> Book:
        return read_book(self.records)

    def enter(self, what: Callable[..., Record], *words: Any, **more: Any) -> Record:
        given = {"user": "Wang Fang", "now": NOW} | more
        made = what(self.book, *words, **given)
        self.records.append(replace(made, id=len(self.records) + 1))
        return made

    def start(self, jar: str = "J1", at: datetime = MARCH, point: str = "site", **more: Any) -> str:
        return str(self.enter(dustfall.start, point, jar, ROUND, at=at, **{"zone": ZONE, **more}).body["name"])

    def whole(self, net_g: float, days: float = 30, **more: Any) -> str:
        """An exposure out, in and weighed, with *net_g* over the blank."""
        name = self.start(**more)
        begun = self.book.exposures[name].started
        self.enter(dustfall.stop, name, at=begun + timedelta(days=days))
        masses = [30.0, 30.0], [30.001 + net_g, 30.001 + net_g]
        self.enter(dustfall.weigh, name, *masses, blank="B3", at=begun + timedelta(days=days + 2))
        return name


@pytest.fixture
def notebook() -> Notebook:
    """With a blank that left 1 mg."""
    made = Notebook()
    made.enter(dustfall.blank, "B3", [28.5, 28.5], [28.501, 28.501], at=MARCH)
    return made


def test_the_digests_worked_example_comes_out(notebook: Notebook) -> None:
    """P3: net 0.0954 g, 15.0 cm, 30.0 d → 5.3985, reported 5.4 t/(km²·30d) (HJ 1221-2021)."""
    name = notebook.whole(0.0954)
    exposure = notebook.book.exposures[name]
    assert (round(exposure.area_cm2, 4), exposure.days) == (176.7146, 30.0)
    value = notebook.book.value(exposure)
    assert value is not None
    assert (round(value, 4), dustfall.reported(value)) == (5.3985, "5.4")
    assert catalogue()["dust_fall"].unit == "t/(km²·30d)"


@pytest.mark.parametrize(
    ("value", "text"), [(0.2999, "<0.3"), (0.3, "0.3"), (4.45, "4.4"), (4.55, "4.6"), (-0.4, "<0.3"), (12.349, "12.3")]
)
def test_a_result_is_rounded_once_half_to_even(value: float, text: str) -> None:
    """GB/T 8170; below the detection limit of 0.3 no figure is given."""
    assert dustfall.reported(value) == text


def test_exposures_one_after_the_other_add_masses_and_days(notebook: Notebook) -> None:
    """B3: several exposures in a month are one measurement."""
    notebook.whole(0.040, days=12)
    notebook.whole(0.0554, days=18, at=MARCH + timedelta(days=12))
    (found,) = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert found.value is not None
    assert (round(found.value, 4), found.days, found.open, found.usual) == (5.3985, 30.0, [], True)


def test_jars_side_by_side_are_averaged_and_their_days_count_once(notebook: Notebook) -> None:
    notebook.whole(0.0754, jar="J1")
    notebook.whole(0.1154, jar="J2")
    (found,) = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert found.value is not None
    assert (round(found.value, 4), found.days) == (5.3985, 30.0)


def test_an_exposure_counts_for_the_month_its_middle_lies_in(notebook: Notebook) -> None:
    """In the station's time: one from 16 March at noon over 31 days has its middle in April."""
    notebook.whole(0.05, days=31, at=MARCH + timedelta(days=15, hours=12))
    assert dustfall.month(notebook.book, "2026-03", NOW, ZONE) == []
    assert [p.point for p in dustfall.month(notebook.book, "2026-04", NOW, ZONE)] == ["site"]


def test_a_month_names_what_is_not_weighed_yet(notebook: Notebook) -> None:
    notebook.whole(0.0954)
    waiting = notebook.start(jar="J2")
    notebook.enter(dustfall.stop, waiting, at=MARCH + timedelta(days=30))
    (found,) = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert found.open == [waiting]
    assert notebook.book.exposures[waiting].state == "in"


def test_the_township_is_the_mean_of_its_points_and_nothing_is_below_zero(notebook: Notebook) -> None:
    notebook.whole(0.0954)
    notebook.whole(-0.0005, point="school", jar="J2")
    points = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert [dustfall.reported(p.value or 0) for p in points] == ["<0.3", "5.4"]
    assert round(dustfall.township(points) or 0, 4) == round(5.39855 / 2, 4)
    assert dustfall.township([]) is None


def test_a_second_weighing_counts_and_the_first_stays_on_record(notebook: Notebook) -> None:
    name = notebook.whole(0.0954)
    again = {"blank": "B3", "at": MARCH + timedelta(days=40)}
    with pytest.raises(WrongArgument, match="was weighed already; a second weighing needs --note with the reason"):
        notebook.enter(dustfall.weigh, name, [30.0, 30.0], [30.05, 30.05], **again)
    notebook.enter(dustfall.weigh, name, [30.0, 30.0], [30.05, 30.05], note="crucible was damp", **again)
    assert notebook.book.net_g(notebook.book.exposures[name]) == 0.049
    assert [r.body["do"] for r in notebook.records].count("weigh") == 2


def test_what_was_withdrawn_counts_no_more_and_its_jar_is_free(notebook: Notebook) -> None:
    name = notebook.whole(0.0954)
    notebook.enter(dustfall.void, name, note="a bird's nest in the jar")
    assert dustfall.month(notebook.book, "2026-03", NOW, ZONE) == []
    with pytest.raises(WrongArgument, match="was withdrawn: a bird's nest in the jar"):
        notebook.enter(dustfall.stop, name, at=NOW)
    assert notebook.start(at=MARCH + timedelta(days=1)) == "site/J1/2026-03-02"


def test_without_its_blank_a_weighing_has_no_value(notebook: Notebook) -> None:
    """Until another blank is entered under its name."""
    name = notebook.whole(0.0954)
    notebook.enter(dustfall.void, "B3", note="glycol from another bottle")
    assert notebook.book.value(notebook.book.exposures[name]) is None
    with pytest.raises(WrongArgument, match=r"no blank \"B3\" \(withdrawn: glycol from another bottle\)"):
        notebook.enter(
            dustfall.weigh, name, [30.0, 30.0], [30.1, 30.1], blank="B3", note="x", at=MARCH + timedelta(days=33)
        )


def _start(notebook: Notebook, diameters: list[float] = ROUND, **more: Any) -> None:
    given = {"at": MARCH, "zone": ZONE} | more
    notebook.enter(dustfall.start, "site", given.pop("jar", "J9"), diameters, **given)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda n: _start(n, [15.0, 15.0]), "2 diameters were given; HJ 1221 takes the mean of at least three"),
        (lambda n: _start(n, [150.0] * 3), "a mouth of 150 cm is not believed; give inner diameters in centimetres"),
        (lambda n: _start(n, [float("nan")] * 3), "a mouth of nan cm is not believed"),
        (lambda n: _start(n, [15.0, 15.0, 16.5]), "the diameters differ by more than 1 cm; measure the mouth again"),
        (lambda n: _start(n, jar="a/b"), '"a/b" cannot name a jar: it has a slash in it'),
        (lambda n: _start(n, user=" "), r"the person's name \(--user\) is missing or not printable"),
        (lambda n: _start(n, at=NOW + timedelta(hours=1)), "is not over yet"),
        (lambda n: n.enter(dustfall.stop, "site/J1/2026-03-02", at=NOW), "did you mean site/J1/2026-03-01"),
        (lambda n: n.enter(dustfall.stop, "site/J1/2026-03-01", at=MARCH), "which is not 0.1 d before"),
        (lambda n: n.start(at=MARCH + timedelta(days=3)), "jar J1 is out as site/J1/2026-03-01; stop it first"),
        (
            lambda n: n.enter(dustfall.weigh, "site/J1/2026-03-01", [30.0] * 2, [30.1] * 2, blank="B3", at=NOW),
            "is still out; stop it first",
        ),
        (
            lambda n: n.enter(dustfall.blank, "B4", [30.0], [30.1, 30.1], at=MARCH),
            "crucible: constant weight takes two weighings or more",
        ),
        (
            lambda n: n.enter(dustfall.blank, "B4", [32.1042, 32.1038], [32.2, 32.2], at=MARCH),
            "crucible: the last two weighings are 0.4 mg apart, constant weight is under 0.4 mg",
        ),
        (
            lambda n: n.enter(dustfall.blank, "B4", [30.0, 30.0], [float("inf")] * 2, at=MARCH),
            "residue: inf g is not believed; give grams",
        ),
        (
            lambda n: n.enter(dustfall.blank, "B4", [30.1, 30.1], [30.0, 30.0], at=MARCH),
            "the crucible with its residue weighs less than the empty one",
        ),
        (lambda n: n.enter(dustfall.blank, "B3", [30.0] * 2, [30.1] * 2, at=MARCH), "blank B3 is there already"),
        (lambda n: n.enter(dustfall.void, "B3", note=""), "withdrawing needs a reason"),
    ],
)
def test_a_wrong_entry_is_one_sentence_and_keeps_nothing(
    notebook: Notebook, wrong: Callable[[Notebook], object], said: str
) -> None:
    """A digit typed wrongly, a jar forgotten outside, a weighing that came too early."""
    notebook.start()
    before = list(notebook.records)
    with pytest.raises(WrongArgument, match=said):
        wrong(notebook)
    assert notebook.records == before


def test_weighings_less_than_four_tenths_of_a_milligram_apart_are_constant(notebook: Notebook) -> None:
    """In decimals: as binary numbers 32.1042 - 32.1038 would pass for less."""
    made = notebook.enter(dustfall.blank, "B4", [32.105, 32.1041, 32.1038], [32.11, 32.1103], at=MARCH)
    assert made.body["crucible_g"] == [32.105, 32.1041, 32.1038]
    assert round(notebook.book.blanks["B4"].residue, 6) == 0.0065


def test_masses_that_are_not_believed_need_a_reason(notebook: Notebook) -> None:
    """A digit too many: a blank of 1 g, a residue of 10 g."""
    with pytest.raises(WrongArgument, match="a blank of 1001 mg is not believed; if it is so, say why with --note"):
        notebook.enter(dustfall.blank, "B4", [28.5, 28.5], [29.501, 29.501], at=MARCH)
    name = notebook.start()
    notebook.enter(dustfall.stop, name, at=MARCH + timedelta(days=30))
    heavy = ([32.2, 32.2], [42.2, 42.2])
    more = {"blank": "B3", "at": MARCH + timedelta(days=31)}
    with pytest.raises(WrongArgument, match="a residue of 10 g is not believed"):
        notebook.enter(dustfall.weigh, name, *heavy, **more)
    notebook.enter(dustfall.weigh, name, *heavy, note="the roof fell in", **more)
    assert notebook.book.exposures[name].state == "weighed"


def test_a_jar_that_weighs_less_than_its_blank_gives_no_value(notebook: Notebook) -> None:
    """It is refused when it is weighed; a blank entered again afterwards leaves the month without a verdict."""
    name = notebook.start()
    notebook.enter(dustfall.stop, name, at=MARCH + timedelta(days=30))
    more = {"blank": "B3", "at": MARCH + timedelta(days=31)}
    notebook.enter(dustfall.blank, "B3", [28.5, 28.5], [28.504, 28.504], at=MARCH, note="weighed again")
    with pytest.raises(WrongArgument, match=r"the jar left 2\.0 mg less than blank B3"):
        notebook.enter(dustfall.weigh, name, [30.0, 30.0], [30.002, 30.002], **more)
    notebook.enter(dustfall.weigh, name, [30.0, 30.0], [30.0035, 30.0035], **more)
    notebook.enter(dustfall.blank, "B3", [28.5, 28.5], [28.51, 28.51], at=MARCH, note="weighed again")
    (found,) = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert (found.value, found.doubtful) == (None, [name])


def test_a_sample_whose_blank_was_withdrawn_is_weighed_and_waits_for_another(notebook: Notebook) -> None:
    name = notebook.whole(0.0954)
    notebook.enter(dustfall.void, "B3", note="wrong bottle")
    (found,) = dustfall.month(notebook.book, "2026-03", NOW, ZONE)
    assert (found.value, found.open, found.blankless) == (None, [], [name])
    assert notebook.book.state(notebook.book.exposures[name]) == "no_blank"


def test_what_follows_an_exposure_that_is_past_its_retention_is_left_out(notebook: Notebook) -> None:
    """Its first record goes first, by its time: the others are still read, and the book can be used."""
    gone = notebook.whole(0.1, jar="J1")
    kept = notebook.whole(0.1, jar="J2")
    left = [r for r in notebook.records if not (r.body["do"] == "start" and r.body["name"] == gone)]
    assert list(read_book(left).exposures) == [kept]


def test_a_time_nobody_can_mean_is_refused(notebook: Notebook) -> None:
    with pytest.raises(WrongArgument, match="1996-03-01T00:00:00\\+00:00 is not believed"):
        notebook.start(at=datetime(1996, 3, 1, tzinfo=UTC))


def test_an_exposure_that_was_withdrawn_is_entered_again_under_a_name_of_its_own(notebook: Notebook) -> None:
    """A diameter was mistyped: the first entry stays as it is, the second one counts."""
    first = notebook.start()
    notebook.enter(dustfall.void, first, note="diameters mistyped")
    second = notebook.start()
    assert (first, second) == ("site/J1/2026-03-01", "site/J1/2026-03-01-2")
    assert [(e.name, e.state) for e in notebook.book.exposures.values()] == [(first, "void"), (second, "out")]
    with pytest.raises(WrongArgument, match="jar J1 is out as site/J1/2026-03-01-2"):
        notebook.start()
