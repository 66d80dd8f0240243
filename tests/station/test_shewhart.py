"""Control charts: limits against a worked example, every rule, and both ways to draw one."""

from __future__ import annotations

import math
import statistics
from xml.etree import ElementTree

import pytest

from station.shewhart import FEWEST, Point, ascii_chart, chart, limits_of, svg_chart

# Twenty checks in 50 mg/L; mean 50.06, s 0.7037 (reckoned by hand, and by the standard library).
TWENTY = [50.1, 49.3, 50.8, 50.2, 49.6, 51.0, 49.9, 50.4, 48.9, 50.0, 50.6, 49.7, 50.3, 51.2, 49.5, 50.0, 49.2, 50.9, 50.5, 49.1]  # fmt: skip # noqa: E501


def points(*values: float, failed: tuple[int, ...] = ()) -> list[Point]:
    return [
        Point(name=f"Q{n}", at=f"2026-03-{n % 28 + 1:02}T03:00+08:00", value=value, passed=n not in failed)
        for n, value in enumerate(values)
    ]


def test_the_limits_are_mean_and_standard_deviation_of_the_first_that_passed() -> None:
    found = limits_of(points(*TWENTY, 60.0, 40.0))
    assert found is not None
    assert (found.count, found.centre, found.s) == (
        20, pytest.approx(statistics.mean(TWENTY)), pytest.approx(statistics.stdev(TWENTY)),
    )  # fmt: skip
    assert round(found.centre, 2) == 50.06
    assert found.line(3) == pytest.approx(found.centre + 3 * found.s)
    assert found.line(-2) == pytest.approx(found.centre - 2 * found.s)


def test_what_failed_makes_no_limit() -> None:
    with_failed = limits_of(points(99.0, *TWENTY, failed=(0,)))
    without = limits_of(points(*TWENTY))
    assert with_failed == without


def test_too_few_make_none_and_a_standstill_breaks_nothing() -> None:
    assert limits_of(points(*TWENTY[: FEWEST - 1])) is None
    still = chart(points(*[50.0] * 12))
    assert still.limits is not None
    assert still.limits.s == 0
    assert set(still.broken) == {()}


def broken(*scores: float) -> tuple[str, ...]:
    """The rules that the last of *scores*, in s from the centre, breaks behind twenty that make the limits."""
    base = [1.0, -1.0] * 10
    scale = statistics.stdev(base)
    made = chart(points(*base, *(score * scale for score in scores)))
    assert made.limits is not None
    assert math.isclose(made.limits.s, scale)
    return tuple(made.broken[-1])


@pytest.mark.parametrize(
    ("scores", "rules"),
    [
        ((3.1,), ("one_beyond_3s",)),
        ((-3.1,), ("one_beyond_3s",)),
        ((2.9,), ()),
        ((2.1, 0.0, 2.1), ("two_of_three_beyond_2s",)),
        ((2.1, 0.0, -2.1), ()),
        ((2.1, 2.1, 0.0), ()),  # said at the point that completes it, once
        ((1.1, 1.1, -0.5, 1.1, 1.1), ("four_of_five_beyond_1s",)),
        ((0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1, 0.1), ("eight_on_one_side",)),
        ((-0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1, 0.1), ()),
    ],
)
def test_each_rule_is_broken_by_what_it_says_and_by_nothing_less(
    scores: tuple[float, ...], rules: tuple[str, ...]
) -> None:
    assert broken(0.0, 0.0, -0.1, *scores) == rules


def test_the_text_has_a_line_a_check_with_limits_and_signs() -> None:
    made = chart(points(*TWENTY, 53.0, 58.0, failed=(21,)))
    lines = ascii_chart(made, last=22)
    assert len(lines) == 22
    assert lines[0].startswith("2026-03-01 03:00 ")
    assert "!" in lines[20]
    assert "X" in lines[21]
    assert lines[21].endswith(" 58")
    columns = [line[17:78] for line in lines[:20]]
    assert all(column.count("#") >= 1 and len(line) < 90 for column, line in zip(columns, lines[:20], strict=True))
    assert len(ascii_chart(made, last=5)) == 5


def test_the_text_without_limits_still_shows_the_values() -> None:
    lines = ascii_chart(chart(points(50.0, 51.0, 49.0)))
    assert [line.split()[-1] for line in lines] == ["50", "51", "49"]
    assert not any(sign in line[17:] for line in lines for sign in "|:#")


def test_the_picture_is_sound_xml_with_five_lines_and_a_dot_a_check() -> None:
    made = chart(points(*TWENTY, 53.0, 58.0, failed=(21,)))
    root = ElementTree.fromstring(svg_chart(made, "Control chart of <daily> & more", "centre 50"))
    of = {tag: [e for e in root.iter() if e.tag.endswith("}" + tag)] for tag in ("line", "circle", "polyline")}
    assert [e.get("class") for e in of["line"]] == ["act", "warn", "centre", "warn", "act"]
    assert [e.get("class") for e in of["circle"]][-3:] == ["in", "out", "failed"]
    assert len(of["circle"]) == 22
    heights = [float(e.get("y1") or 0) for e in of["line"]]
    assert heights == sorted(heights)
    assert all(0 <= float(e.get("cx") or -1) <= 640 and 0 <= float(e.get("cy") or -1) <= 260 for e in of["circle"])


def test_one_check_alone_can_be_drawn() -> None:
    made = chart(points(50.0))
    assert len(ascii_chart(made)) == 1
    ElementTree.fromstring(svg_chart(made, "t", "n"))
