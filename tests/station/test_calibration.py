"""Calibration by worked figures: lines, drifts, stability, verdicts; what is out of order is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from station import calibration
from station.calibration import Book, Place, Rule, Standard, read_book, signal, standard_in
from station.model import Record, WrongArgument, replace

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
TODAY = date(2026, 3, 1)
AIR = Place(device="gas", parameter="so2", point="air", system="22")
STACK = replace(AIR, system="31", point="stack")
WANG = "Wang Fang"


class Notebook:
    """Records as the store would number them, and the book they make."""

    def __init__(self, place: Place = AIR) -> None:
        self.place, self.records, self.now = place, [], NOW
        self.records: list[Record]

    @property
    def book(self) -> Book:
        return read_book(self.records)

    def keep(self, record: Record) -> Record:
        made = replace(record, id=len(self.records) + 1)
        self.records.append(made)
        self.now += timedelta(minutes=5)
        return made

    def begin(self, procedure: str, *values: float, user: str = WANG, **more: Any) -> Record:
        standards = [Standard(value=value) for value in values]
        more = {"today": TODAY, "mark": "M1", "full_scale": 500.0} | more
        return self.keep(
            calibration.begin(self.book, self.place, procedure, standards, user=user, now=self.now, **more)
        )

    def step(self, name: str, index: int, *values: float, user: str = WANG, **more: Any) -> Record:
        run = self.book.named(name)
        return self.keep(calibration.step(run, index, over_time(values), user=user, now=self.now, **more))

    def finish(self, name: str, user: str = WANG, **more: Any) -> Record:
        book = self.book
        return self.keep(calibration.finish(book, book.named(name), self.place, user=user, now=self.now, **more))

    def whole(self, procedure: str, **raws: Any) -> Record:
        """A run from beginning to end: standards and the raw values the instrument shows in them."""
        pairs: Sequence[tuple[float, float]] = raws.pop("pairs")
        begun = self.begin(procedure, *(value for value, _ in pairs), **raws)
        for index, (_, raw) in enumerate(pairs):
            self.step(begun.body["name"], index, *[raw] * 6)
        return self.finish(begun.body["name"])


def over_time(values: Sequence[float]) -> list[list[Any]]:
    return [[(NOW + timedelta(seconds=10 * i)).isoformat(), value] for i, value in enumerate(values)]


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def test_two_points_make_a_line_that_shows_both_standards(notebook: Notebook) -> None:
    """Raw 2 in zero gas and 382 in 400: slope 400/380, intercept -2 · 400/380; as found 2 high and 18 low."""
    done = notebook.whole("two-point", pairs=[(0.0, 2.0), (400.0, 382.0)]).body
    assert done["coefficients"] == pytest.approx([400 / 380, -800 / 380])
    assert [row["found_error"] for row in done["rows"]] == [2.0, -18.0]
    assert [row["as_left"] for row in done["rows"]] == pytest.approx([0.0, 400.0])
    assert done["response"] == pytest.approx({"slope": 0.95, "intercept": 2.0})
    assert (done["changes"], done["r"]) == (True, None)


def test_drifts_are_shares_of_full_scale(notebook: Notebook) -> None:
    """HJ 75: (2 - 0)/500 · 100 = 0.4 %, (382 - 400)/500 · 100 = -3.6 %."""
    done = notebook.whole("two-point", pairs=[(0.0, 2.0), (400.0, 382.0)]).body
    assert (done["zero_drift"], done["span_drift"]) == pytest.approx((0.4, -3.6))


def test_drift_is_counted_from_what_the_last_calibration_left(notebook: Notebook) -> None:
    """After the first run the instrument shows 0 and 400 again; raw 4 later is 2 · 400/380 = 2.105 off, 0.421 %."""
    notebook.whole("two-point", pairs=[(0.0, 2.0), (400.0, 382.0)])
    done = notebook.whole("two-point", pairs=[(0.0, 4.0), (400.0, 382.0)]).body
    assert done["before"] == pytest.approx([400 / 380, -800 / 380])
    assert done["zero_drift"] == pytest.approx(2 * 400 / 380 / 500 * 100)
    assert done["span_drift"] == pytest.approx(0.0)


def test_five_points_have_r_and_residuals() -> None:
    """By hand: Sxx 100000, Sxy 100100, Syy 100206."""
    notebook = Notebook()
    xs, ys = [0.0, 100.0, 200.0, 300.0, 400.0], [1.0, 102.0, 199.0, 301.0, 402.0]
    done = notebook.whole("multi-point", pairs=list(zip(xs, ys, strict=True))).body
    assert done["response"] == pytest.approx({"slope": 1.001, "intercept": 0.8})
    assert done["coefficients"] == pytest.approx([1 / 1.001, -0.8 / 1.001])
    assert done["r"] == pytest.approx(1.001 * math.sqrt(100000 / 100206), abs=1e-6)
    assert done["rows"][2]["left_error"] == pytest.approx((199 - 201.0) / 1.001)
    assert [(one["what"], one["passed"]) for one in done["judgements"]] == [("r", True)]


def test_a_zero_moves_the_intercept_alone_and_a_span_the_slope_alone() -> None:
    notebook = Notebook(replace(AIR, configured=(1.2, -2.0)))
    assert notebook.whole("zero", pairs=[(0.0, 5.0)]).body["coefficients"] == [1.2, -6.0]
    slope, intercept = notebook.whole("span", pairs=[(300.0, 250.0)]).body["coefficients"]
    assert (slope, intercept) == pytest.approx((306 / 250, -6.0))


def test_a_check_changes_nothing_and_is_judged() -> None:
    """Water, daily: 46 in a standard of 50 is -8 %, within 10; 44 is -12 %, outside."""
    water = replace(STACK, parameter="cod", system="21", point="river")
    notebook = Notebook(water)
    good, bad = (notebook.whole("check", pairs=[(50.0, raw)]).body for raw in (46.0, 44.0))
    assert [one["error_percent"] for one in (good, bad)] == pytest.approx([-8.0, -12.0])
    assert [(one["verdict"], one["changes"], one["coefficients"]) for one in (good, bad)] == [
        ("passed", False, [1.0, 0.0]),
        ("failed", False, [1.0, 0.0]),
    ]
    (judged,) = good["judgements"]
    assert (judged["limit"], judged["confidence"], judged["source"]) == (10, "medium", "HJ 355-2019 ch. 8, recalled")
    assert notebook.book.in_force == {}


@pytest.mark.parametrize("system", ["31", "32", "51", "52"])
def test_discharges_keep_coefficients_of_1_and_0(system: str) -> None:
    notebook = Notebook(replace(AIR, system=system))
    with pytest.raises(WrongArgument, match="calibrate in the instrument, and check it here"):
        notebook.begin("two-point", 0.0, 400.0)
    done = notebook.whole("check", pairs=[(0.0, 30.0), (400.0, 395.0)]).body
    assert (done["zero_drift"], done["span_drift"]) == pytest.approx((6.0, -1.0))


def test_drift_of_a_stack_gas_is_held_against_hj_75() -> None:
    """Zero 6 % of full scale is out of control (5), span -1 % is not (10)."""
    notebook = Notebook(STACK)
    done = notebook.whole("check", pairs=[(0.0, 30.0), (400.0, 395.0)]).body
    judged = {one["what"]: (one["passed"], one["limit"]) for one in done["judgements"]}
    assert judged == {"zero_drift": (False, 5), "span_drift": (True, 10)}
    assert done["verdict"] == "failed"


def test_a_line_that_is_no_line_is_not_put_in_force_without_a_reason() -> None:
    """r = 0.98 of a gas analyser against 0.999."""
    notebook = Notebook()
    with pytest.raises(WrongArgument, match=r"r is 0\.98.* against 0\.999 .*former coefficients stay in force"):
        notebook.whole("multi-point", pairs=[(0.0, 40.0), (200.0, 160.0), (400.0, 400.0)])
    assert notebook.book.in_force == {}
    made = notebook.finish("K1", override="spare bottle follows on Friday")
    assert (made.body["verdict"], made.body["override"]) == ("failed", "spare bottle follows on Friday")


# -- what is out of order


@pytest.mark.parametrize(
    ("procedure", "values", "said"),
    [
        ("two-points", (0.0, 1.0), "there is no procedure.*did you mean two-point"),
        ("two-point", (400.0, 0.0), "standards go from the lowest to the highest, each once: 400, 0"),
        ("two-point", (0.0, 0.0), "each once"),
        ("two-point", (0.0,), r"two-point takes 2 standard\(s\); 1 given"),
        ("multi-point", (0.0, 1.0), "multi-point takes 3 to 10"),
        ("zero", (), "zero takes 1"),
    ],
)
def test_a_procedure_wants_its_standards_in_order(
    notebook: Notebook, procedure: str, values: tuple[float, ...], said: str
) -> None:
    with pytest.raises(WrongArgument, match=said):
        notebook.begin(procedure, *values)
    assert notebook.records == []


def test_an_expired_standard_needs_a_reason(notebook: Notebook) -> None:
    bottle = [Standard(value=400.0, certificate="GBW-17", expires=date(2026, 2, 28))]
    more: dict[str, Any] = {"user": WANG, "now": NOW, "mark": "M1", "today": TODAY}
    with pytest.raises(WrongArgument, match=r"400 \(GBW-17\) expired on 2026-02-28"):
        calibration.begin(notebook.book, AIR, "span", bottle, **more)
    calibration.begin(notebook.book, AIR, "span", bottle, **more | {"today": date(2026, 2, 28)})
    made = calibration.begin(notebook.book, AIR, "span", bottle, **more, override="the new one is on its way")
    assert made.body["override"] == "the new one is on its way"


def test_a_standard_out_of_turn_is_refused(notebook: Notebook) -> None:
    notebook.begin("two-point", 0.0, 400.0)
    with pytest.raises(WrongArgument, match=r"standard 2 is out of turn; the next one is number 1 \(0\)"):
        notebook.step("K1", 1, *[382.0] * 6)
    notebook.step("K1", 0, *[2.0] * 6)
    with pytest.raises(WrongArgument, match=r"standard 1 is out of turn; the next one is number 2 \(400\)"):
        notebook.step("K1", 0, *[2.0] * 6)
    with pytest.raises(WrongArgument, match=r"the standard 400 \(2 of 2\) is not taken"):
        notebook.finish("K1")


def test_two_people_do_not_calibrate_one_instrument_at_once(notebook: Notebook) -> None:
    notebook.begin("two-point", 0.0, 400.0)
    with pytest.raises(WrongArgument, match="gas is being calibrated by Wang Fang since 2026-03-01T08:00"):
        notebook.begin("zero", 0.0, user="Li Wei")
    with pytest.raises(WrongArgument, match="was begun by Wang Fang; who begins a calibration finishes it"):
        notebook.step("K1", 0, *[2.0] * 6, user="Li Wei")
    run = notebook.book.named("K1")
    notebook.keep(calibration.cancel(run, user="Li Wei", reason="Wang Fang was called away", now=NOW))
    notebook.begin("zero", 0.0, user="Li Wei")
    assert [run.state for run in notebook.book.runs.values()] == ["cancelled", "open"]


@pytest.mark.parametrize("user", ["", "  ", "\x07"])
def test_who_does_it_is_always_on_record(notebook: Notebook, user: str) -> None:
    with pytest.raises(WrongArgument, match="the person's name"):
        notebook.begin("zero", 0.0, user=user)
    notebook.begin("zero", 0.0)
    with pytest.raises(WrongArgument, match="the person's name"):
        notebook.step("K1", 0, *[2.0] * 6, user=user)


def test_an_instrument_that_does_not_follow_its_standards_has_no_slope(notebook: Notebook) -> None:
    with pytest.raises(WrongArgument, match="a slope of zero: the instrument does not follow"):
        notebook.whole("two-point", pairs=[(0.0, 7.0), (400.0, 7.0)])
    assert notebook.book.named("K1").state == "open"
    with pytest.raises(WrongArgument, match="standards were mixed up"):
        Notebook().whole("two-point", pairs=[(0.0, 400.0), (400.0, 1.0)])
    with pytest.raises(WrongArgument, match="a span of zero says nothing of the slope"):
        Notebook().whole("span", pairs=[(0.0, 0.0)])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((10.0, 30.0, 10.0, 30.0, 10.0, 30.0), "noise"),
        ((0.0, 2.0, 4.0, 6.0, 8.0, 10.0), r"drift 10 \(limit 5\)"),
        ((10.0, 10.0, 10.0), "over 3 of 6 readings"),
    ],
)
def test_an_unstable_signal_is_taken_with_a_reason_only(
    notebook: Notebook, values: tuple[float, ...], said: str
) -> None:
    notebook.begin("zero", 0.0)
    with pytest.raises(WrongArgument, match=f"the signal is not stable.*{said}"):
        notebook.step("K1", 0, *values)
    assert notebook.step("K1", 0, *values, override="gas runs out").body["override"] == "gas runs out"


def test_the_rule_of_stability_is_by_full_scale_and_can_be_set() -> None:
    """A climb of 2 in five seconds: 0.4 % of 500, 20 % of 10."""
    climbs = [(float(i), 0.4 * i) for i in range(6)]
    assert signal(climbs, Rule(), 500).stable
    assert not signal(climbs, Rule(), 10).stable
    assert signal(climbs, Rule(drift_percent=20), 10.001).stable
    settled = signal([(0.0, 99.0), *((float(i), 5.0) for i in range(1, 7))], Rule(), 100)
    assert (settled.mean, settled.stable) == (5.0, True)  # the last six alone


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        ([], "0 readings"),
        ([["yesterday", 1.0]], '"yesterday" is not a time'),
        ([["2026-03-01T08:00:00", 1.0]], "needs its offset"),
        ([["2026-03-01T08:00:01Z", 1.0], ["2026-03-01T08:00:00Z", 1.0]], "not in the order of their time"),
        ([["2026-03-01T08:00:01Z", float("nan")]], "is not a number"),
    ],
)
def test_readings_that_are_none_are_refused(notebook: Notebook, readings: list[Any], said: str) -> None:
    notebook.begin("zero", 0.0)
    with pytest.raises(WrongArgument, match=said):
        calibration.step(notebook.book.named("K1"), 0, readings, user=WANG, now=NOW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("high", '"high" is not a number'),
        ("1,c,-2", "uncertainty is not below 0"),
        ("1,c,2,soon", '"soon" is not a day'),
        ("1,c,2,2027-01-01,x", "has more than"),
        ("nan", "is not a number"),
    ],
)
def test_a_standard_is_typed_with_its_certificate(text: str, said: str) -> None:
    assert standard_in("400，GBW-17，4，2027-06-30") == Standard(
        value=400.0, certificate="GBW-17", uncertainty=4.0, expires=date(2027, 6, 30)
    )
    with pytest.raises(WrongArgument, match=said):
        standard_in(text)


# -- cancelled, taken back, kept twice


def test_a_cancelled_run_has_changed_nothing(notebook: Notebook) -> None:
    notebook.whole("two-point", pairs=[(0.0, 2.0), (400.0, 382.0)])
    before = notebook.book.in_force["gas", "so2"][0]
    notebook.begin("zero", 0.0)
    notebook.step("K2", 0, *[50.0] * 6)
    run = notebook.book.named("K2")
    with pytest.raises(WrongArgument, match="cancelling needs a reason"):
        calibration.cancel(run, user=WANG, reason=" ", now=NOW)
    notebook.keep(calibration.cancel(run, user=WANG, reason="leak at the inlet", now=NOW))
    assert notebook.book.in_force["gas", "so2"][0] == before
    with pytest.raises(WrongArgument, match="K2 is cancelled already"):
        notebook.finish("K2")


def test_a_calibration_is_taken_back_newest_first(notebook: Notebook) -> None:
    for raw in (2.0, 4.0):
        notebook.whole("zero", pairs=[(0.0, raw)])
    said = {"user": WANG, "reason": "wrong bottle", "now": NOW}
    with pytest.raises(WrongArgument, match="the coefficients of K1 are not in force; those of K2 are"):
        calibration.revert(notebook.book, notebook.book.named("K1"), **said)  # type: ignore[arg-type]
    for name, left in (("K2", (1.0, -2.0)), ("K1", (1.0, 0.0))):
        notebook.keep(calibration.revert(notebook.book, notebook.book.named(name), **said))  # type: ignore[arg-type]
        assert notebook.book.in_force["gas", "so2"][0] == left
    with pytest.raises(WrongArgument, match="K1 has left no coefficients"):
        calibration.revert(notebook.book, notebook.book.named("K1"), **said)  # type: ignore[arg-type]


def test_what_was_kept_twice_counts_once(notebook: Notebook) -> None:
    """A commit that seemed to fail and did not."""
    begun = notebook.begin("two-point", 0.0, 400.0)
    taken = notebook.step("K1", 0, *[2.0] * 6)
    for record in (begun, taken):
        notebook.keep(record)
    assert len(notebook.book.named("K1").steps) == 1
    assert notebook.book.named("K1").next == Standard(value=400.0)


# -- the instrument calibrates itself


def test_an_instrument_that_calibrates_itself_is_measured_before_and_after() -> None:
    """As found 30 high in zero gas, as left 1 high; the station's coefficients stay 1 and 0, in a stack too."""
    notebook = Notebook(replace(STACK, acts=True))
    notebook.begin("instrument-zero", 0.0)
    with pytest.raises(WrongArgument, match="not the instrument's turn"):
        calibration.act(notebook.book.named("K1"), user=WANG, now=NOW)
    notebook.step("K1", 0, *[30.0] * 6)
    with pytest.raises(WrongArgument, match="first gas is told to calibrate its zero"):
        notebook.step("K1", 1, *[1.0] * 6)
    notebook.keep(calibration.act(notebook.book.named("K1"), user=WANG, now=NOW))
    with pytest.raises(WrongArgument, match=r"the standard 0 \(2 of 2\) is not taken"):
        notebook.finish("K1")
    notebook.step("K1", 1, *[1.0] * 6)
    done = notebook.finish("K1").body
    (row,) = done["rows"]
    assert (row["found_error"], row["left_error"], done["changes"]) == (30.0, 1.0, False)
    assert (done["zero_drift"], done["error"], done["coefficients"]) == (6.0, 1.0, [1.0, 0.0])
    with pytest.raises(WrongArgument, match="K1 is done already"):
        calibration.act(notebook.book.named("K1"), user=WANG, now=NOW)


def test_standards_are_counted_as_they_stand_on_the_bench() -> None:
    """One zero gas is 1 of 1, before and after the instrument was told, and when all is there."""
    notebook = Notebook(replace(AIR, acts=True))
    notebook.begin("instrument-zero", 0.0)
    run = notebook.book.named("K1")
    assert (run.place, run.looks_again) == ((1, 1), False)
    told = replace(run, steps=(None,), acts=(None,))  # type: ignore[arg-type]
    assert (told.place, told.looks_again, told.next) == ((1, 1), True, run.standards[0])
    through = replace(told, steps=(None, None))  # type: ignore[arg-type]
    assert (through.turn, through.place, through.looks_again) == (None, (1, 1), False)


def test_what_the_profile_cannot_do_is_not_begun(notebook: Notebook) -> None:
    with pytest.raises(WrongArgument, match="the profile of gas has no action that calibrates so2"):
        notebook.begin("instrument-span", 400.0)


def test_the_command_offers_every_procedure() -> None:
    from station.cli_calibrate import PROCEDURES

    assert tuple(calibration.PROCEDURES) == PROCEDURES
