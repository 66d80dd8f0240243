"""K factor, repeated and flow checks, weights, buffers, coefficients of instruments, and when the next one is due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from station import calibration
from station.calibrate import KIND
from station.calibration import Place
from station.calibration_due import due
from station.calibration_limits import LIMITS
from station.calibration_run import read_book
from station.model import Record, WrongArgument, replace
from tests.station.test_calibration import AIR, NOW, WANG, Notebook, over_time

DUST = replace(AIR, parameter="pm10", system="39", point="site")
WATER = replace(AIR, device="probe", parameter="cod", system="21", point="river")
KB = {"writes": ["slope", "intercept"], "saved": True, "halves": [], "points": None}
BUFFERS = {"writes": [], "saved": True, "halves": [], "points": 3, "standards": [4.0, 6.86, 9.18], "stages": []}
ONE = {"words": "0000", "numbers": "1 0", "slope": "1.0", "intercept": "0.0"}


def judged(body: Any) -> dict[str, tuple[bool, float, str]]:
    return {one["what"]: (one["passed"], one["limit"], one["confidence"]) for one in body["judgements"]}


def series(notebook: Notebook, rows: list[tuple[float, float]]) -> Record:
    """Hours of a reference beside the raw means of the instrument."""
    hours = [[(NOW - timedelta(hours=100 - i)).isoformat(), *row] for i, row in enumerate(rows)]
    run = notebook.book.named("K1")
    return notebook.keep(calibration.pairs(run, hours, user=WANG, now=notebook.now))


# -- factor K against a reference series


def test_a_factor_is_the_mean_of_the_reference_over_that_of_the_instrument() -> None:
    """Reference 40, 44 … 76 (mean 58), raw 50, 55 … 95 (mean 72.5): K = 0.8, r = 1, nothing is left over."""
    notebook = Notebook(DUST)
    notebook.begin("k-factor")
    series(notebook, [(40.0 + 4 * i, 50.0 + 5 * i) for i in range(10)])
    done = notebook.finish("K1").body
    assert (done["factor"], done["r"], done["series_percent"]) == pytest.approx((0.8, 1.0, 0.0))
    assert (done["coefficients"], done["changes"]) == (pytest.approx([0.8, 0.0]), True)
    assert judged(done) == {"r": (True, 0.90, "medium"), "series_percent": (True, 20, "medium")}
    assert notebook.book.in_force["gas", "pm10"][0] == pytest.approx((0.8, 0.0))


def test_a_factor_of_two_series_that_do_not_go_together_is_not_put_in_force() -> None:
    notebook = Notebook(DUST)
    notebook.begin("k-factor")
    series(notebook, [(50.0 + 10 * (i % 2), 60.0 + 10 * (i % 3)) for i in range(12)])
    with pytest.raises(WrongArgument, match=r"r is 0 against 0\.9 .*the former coefficients stay in force"):
        notebook.finish("K1")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(40.0, 50.0)] * 9, "9 hours have both a reference and a mean of gas; 10 to 400 are wanted"),
        ([(40.0, 0.0)] * 10, "the factor would be zero or below"),
        ([(-1.0, 5.0)] * 10, "the factor would be zero or below"),
        ([(40.0, float("nan"))] * 10, "is not a number"),
    ],
)
def test_a_series_that_gives_no_factor_is_refused(rows: list[tuple[float, float]], said: str) -> None:
    notebook = Notebook(DUST)
    notebook.begin("k-factor")

    def whole() -> None:
        series(notebook, rows)
        notebook.finish("K1")

    with pytest.raises(WrongArgument, match=said):
        whole()
    assert notebook.book.in_force == {}


def test_a_factor_wants_its_series_and_no_standard() -> None:
    notebook = Notebook(DUST)
    with pytest.raises(WrongArgument, match=r"k-factor takes 0 standard\(s\); 1 given"):
        notebook.begin("k-factor", 40.0)
    notebook.begin("k-factor")
    with pytest.raises(WrongArgument, match="K1: the reference series is missing"):
        notebook.finish("K1")
    with pytest.raises(WrongArgument, match="stay 1 and 0"):
        Notebook(replace(DUST, system="31")).begin("k-factor")
    plain = Notebook(DUST)
    plain.begin("check", 40.0)
    with pytest.raises(WrongArgument, match="K1: takes no reference series, or has one"):
        series(plain, [(40.0, 50.0)] * 10)


# -- checks that change nothing


def test_one_standard_again_and_again_tells_error_and_scatter() -> None:
    """48, 50, 49, 51 in 50: mean 49.5 (-1 %), s = 1.291, 2.608 % of the mean."""
    notebook = Notebook(WATER)
    done = notebook.whole("repeat-check", pairs=[(50.0, raw) for raw in (48.0, 50.0, 49.0, 51.0)]).body
    assert (done["mean_percent"], done["rsd"]) == pytest.approx((-1.0, 2.6080), abs=1e-4)
    assert judged(done) == {"mean_percent": (True, 10, "medium"), "rsd": (True, 10, "low")}
    assert (done["verdict"], done["changes"], done["zero_drift"], done["error"]) == ("passed", False, None, None)
    bad = notebook.whole("repeat-check", pairs=[(50.0, raw) for raw in (40.0, 50.0, 60.0)]).body
    assert (bad["verdict"], judged(bad)["rsd"][0]) == ("failed", False)


@pytest.mark.parametrize("values", [(50.0, 51.0, 50.0), (0.0, 0.0, 0.0)])
def test_a_repeated_check_takes_one_standard_above_zero(values: tuple[float, ...]) -> None:
    with pytest.raises(WrongArgument, match="takes one standard above zero, again and again"):
        Notebook(WATER).begin("repeat-check", *values)


@pytest.mark.parametrize(("system", "limit", "passed"), [("22", 5, False), ("39", 10, True)])
def test_the_flow_of_a_sampler_is_held_against_a_reference(system: str, limit: float, passed: bool) -> None:
    """17.7 l/min shown where the reference has 16.7: +5.99 %; no signal has to be stable, it is read off a display."""
    notebook = Notebook(replace(DUST, system=system))
    notebook.begin("flow-check", 16.7)
    run = notebook.book.named("K1")
    notebook.keep(calibration.step(run, 0, over_time([17.7]), user=WANG, now=notebook.now))
    done = notebook.finish("K1").body
    assert done["flow_percent"] == pytest.approx(5.988, abs=1e-3)
    assert judged(done) == {"flow_percent": (passed, limit, "medium")}
    assert (notebook.book.named("K1").steps[0].typed, done["changes"]) == (True, False)
    with pytest.raises(WrongArgument, match="a reference above zero"):
        notebook.begin("flow-check", 0.0)


def test_weights_make_a_line_held_against_full_scale() -> None:
    """A load cell that shows 2 % too little and 3 g too much: put right; the residual is a share of 500 g."""
    cell = replace(AIR, device="cell", parameter="collector_mass", system="22")
    done = Notebook(cell).whole("weights", pairs=[(w, 0.98 * w + 3) for w in (0.0, 100.0, 200.0, 500.0)]).body
    assert done["coefficients"] == pytest.approx([1 / 0.98, -3 / 0.98])
    assert judged(done)["full_scale_percent"] == (True, 0.1, "low")
    bent = Notebook(cell)
    with pytest.raises(WrongArgument, match=r"full_scale_percent is .* against 0\.1 \(ours"):
        bent.whole("weights", pairs=[(0.0, 0.0), (100.0, 104.0), (200.0, 200.0)])


# -- in the instrument


def in_instrument(notebook: Notebook, *raws: float, procedure: str = "two-point", kept: Any = ONE) -> str:
    standards = {"two-point": (0.0, 50.0), "zero": (0.0,), "span": (50.0,)}[procedure]
    name = str(notebook.begin(procedure, *standards, kept=kept).body["name"])
    for index, raw in enumerate(raws[: len(standards)]):
        notebook.step(name, index, *[raw] * 6)
    return name


def test_what_goes_into_the_instrument_counts_what_is_there_already() -> None:
    """It shows 2 and 42 with K = 2 and B = 1: the line a = 1.25, b = -2.5 makes K = 2.5 and B = -1.25."""
    notebook = Notebook(replace(WATER, ways=KB))
    name = in_instrument(notebook, 2.0, 42.0, kept=ONE | {"slope": "2.0", "intercept": "1.0"})
    run = notebook.book.named(name)
    assert (run.into, run.turn, run.tells) == ("instrument", ("act", 0), "write")
    assert calibration.written_by(run) == pytest.approx((2.5, -1.25))
    with pytest.raises(WrongArgument, match="first probe is told its new coefficients"):
        notebook.step(name, 2, *[50.0] * 6)
    with pytest.raises(WrongArgument, match="first probe is told its new coefficients"):
        notebook.finish(name)
    notebook.keep(calibration.write(run, user=WANG, now=notebook.now))
    assert notebook.book.named(name).touched
    notebook.keep(calibration.act(notebook.book.named(name), user=WANG, now=notebook.now, after={"words": "11"}))
    notebook.step(name, 2, *[50.5] * 6)
    done = notebook.finish(name).body
    assert [(row["as_left"], row["measured"]) for row in done["rows"]] == [
        (pytest.approx(0.0), False), (50.5, True),
    ]  # fmt: skip
    assert (done["changes"], done["coefficients"], done["verdict"]) == (False, [1.0, 0.0], "passed")
    assert done["valid_from"] == (notebook.now - timedelta(minutes=5)).isoformat()
    assert notebook.book.in_force == {}


@pytest.mark.parametrize(("procedure", "raw", "wanted"), [("zero", 2.0, (2.0, -1.0)), ("span", 40.0, (2.5, 1.25))])
def test_one_point_moves_one_of_them(procedure: str, raw: float, wanted: tuple[float, float]) -> None:
    """Of K = 2, B = 1: a zero takes 2 off B; a span stretches both, for the instrument applies B behind K."""
    notebook = Notebook(replace(WATER, ways=KB))
    name = in_instrument(notebook, raw, procedure=procedure, kept=ONE | {"slope": "2.0", "intercept": "1.0"})
    assert calibration.written_by(notebook.book.named(name)) == pytest.approx(wanted)


def test_where_coefficients_go() -> None:
    """Into the instrument where it has registers for them, unless the station is named and may."""
    place = replace(WATER, ways=KB)
    assert calibration.where(place, "two-point") == "instrument"
    assert calibration.where(place, "two-point", "station") == "station"
    assert calibration.where(WATER, "two-point") == "station"
    assert calibration.where(replace(WATER, ways=KB | {"writes": ["intercept"]}), "zero") == "instrument"
    assert calibration.where(replace(WATER, ways=KB | {"writes": ["intercept"]}), "two-point") == "station"
    for wrong, said in (("moon", "neither station nor instrument"), ("instrument", "names no registers")):
        with pytest.raises(WrongArgument, match=said):
            calibration.where(WATER, "zero", wrong)


def test_the_stations_own_coefficients_have_to_be_1_and_0_first() -> None:
    with pytest.raises(WrongArgument, match=r"are 1\.2 and 0; to calibrate in the instrument they have to be 1 and 0"):
        Notebook(replace(WATER, ways=KB, configured=(1.2, 0.0))).begin("two-point", 0.0, 50.0)


def test_a_slope_of_zero_writes_nothing() -> None:
    notebook = Notebook(replace(WATER, ways=KB))
    name = in_instrument(notebook, 7.0, 7.0)
    with pytest.raises(WrongArgument, match="a slope of zero"):
        calibration.write(notebook.book.named(name), user=WANG, now=NOW)


def test_buffers_are_taken_and_told_in_turn() -> None:
    place = replace(WATER, parameter="ph", ways=BUFFERS)
    notebook = Notebook(place)
    notebook.begin("ph-buffers", 4.0, 6.86, 9.18, kept=ONE, full_scale=14.0)
    for index, raw in enumerate((3.7, 6.5, 8.8)):
        with pytest.raises(WrongArgument, match="not the instrument's turn"):
            calibration.act(notebook.book.named("K1"), user=WANG, now=NOW)
        notebook.step("K1", index, *[raw] * 6)
        with pytest.raises(WrongArgument, match="first probe is told its standard"):
            notebook.step("K1", index + 1, *[raw] * 6)
        notebook.keep(calibration.act(notebook.book.named("K1"), user=WANG, now=NOW, after={"words": "22"}))
    notebook.step("K1", 3, *[9.2] * 6)
    done = notebook.finish("K1").body
    assert [row["as_left"] for row in done["rows"]] == [None, None, 9.2]
    assert (done["error"], judged(done)["error"]) == (pytest.approx(0.02), (True, 0.5, "medium"))
    run = notebook.book.named("K1")
    assert (run.left_in_instrument, run.into) == (True, "station")


@pytest.mark.parametrize(
    ("procedure", "values", "said"),
    [
        ("ph-buffers", (4.0, 7.0, 9.18), "knows the standards 4, 6.86, 9.18, in this order: 4, 7, 9.18"),
        ("instrument-points", (4.0, 6.86), "goes through 3 standards; 2 given"),
        ("ph-buffers", (6.86, 4.0, 9.18), "from the lowest to the highest"),
    ],
)
def test_other_buffers_than_it_knows_are_refused(procedure: str, values: tuple[float, ...], said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        Notebook(replace(WATER, parameter="ph", ways=BUFFERS)).begin(procedure, *values)


def test_a_power_cut_behind_any_record_goes_on_at_the_same_turn() -> None:
    """Every beginning of the record is a station that has just started again."""
    notebook = Notebook(replace(WATER, ways=KB))
    name = in_instrument(notebook, 2.0, 42.0)
    notebook.keep(calibration.write(notebook.book.named(name), user=WANG, now=NOW))
    notebook.keep(calibration.act(notebook.book.named(name), user=WANG, now=NOW, after={"words": "1"}))
    notebook.step(name, 2, *[50.0] * 6)
    notebook.finish(name)
    turns = [read_book(notebook.records[:count]).named(name).turn for count in range(1, len(notebook.records) + 1)]
    assert turns == [("take", 0), ("take", 1), ("act", 0), ("act", 0), ("take", 1), None, None]
    states = [read_book(notebook.records[:count]).named(name).state for count in (1, 6, 7)]
    assert states == ["open", "open", "done"]


# -- limits and intervals


def test_every_limit_says_where_it_is_from_and_how_sure_we_are() -> None:
    assert all(one.source and one.confidence in ("high", "medium", "low") for one in LIMITS)


def ago(days: float, procedure: str = "check", raw: float = 50.0, place: Place = WATER) -> Notebook:
    notebook = Notebook(place)
    notebook.now = NOW - timedelta(days=days)
    notebook.whole(procedure, pairs=[(50.0, raw)])
    return notebook


OUTLET = ("probe", "cod", "out", "32")


@pytest.mark.parametrize(("days", "state"), [(0.5, "ok"), (0.92, "soon"), (1.5, "overdue")])
def test_a_check_of_water_is_due_daily(days: float, state: str) -> None:
    """HJ 355-2019 ch. 8: 24 hours, recalled; and a calibration within 168 hours, of which none is on record."""
    found = due(ago(days).book, [(*OUTLET, {})], NOW)
    assert [(one.kind, one.state, one.days, one.confidence) for one in found] == [
        ("calibration", "never", 7, "medium"), ("check", state, 1, "medium"),
    ]  # fmt: skip


def test_station_toml_says_otherwise_and_0_never() -> None:
    assert due(ago(20).book, [(*OUTLET, {"cod": 0})], NOW) == []
    (own,) = due(ago(20).book, [(*OUTLET, {"cod": 30})], NOW)
    assert (own.kind, own.state, own.source) == ("any", "ok", "station.toml")
    assert own.plain()["last"] == "K1"


def test_a_check_that_failed_does_not_count() -> None:
    (_, check) = due(ago(0.1, raw=30.0).book, [(*OUTLET, {})], NOW)
    (first, second) = due(ago(0.1).book, [(*OUTLET, {})], NOW)
    assert {check.state, first.state, second.state} == {"never", "ok"}


def test_halt_is_of_what_runs_unattended_alone() -> None:
    notebook = Notebook(WATER)
    notebook.begin("check", 50.0)
    with pytest.raises(WrongArgument, match="K1 does not run unattended"):
        calibration.halt(notebook.book.named("K1"), reason="x", now=NOW)
    with pytest.raises(WrongArgument, match="is read at every poll"):
        Notebook(WATER).begin("check", 50.0, unattended=True)
    assert {record.kind for record in notebook.records} == {KIND}
