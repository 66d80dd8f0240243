"""Drift between two calibrations: worked numbers, every reason why there is none, and the series beside the record."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from station.calibration import Rule, Run, Standard
from station.drift import Break, Response, Span, Why, correct, corrected, occasions, response, spans
from station.drifting import rows, spans_of
from station.model import Record, replace
from tests.station.commands import Here, station
from tests.station.conftest import START, Rig
from tests.station.test_calibrated import enter, errands, poll, steady

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
SHARED = (1.0, 0.0)


def run(
    name: str, day: float, *rows_: tuple[float, float, float], procedure: str = "two-point",
    before: tuple[float, float] = SHARED, after: tuple[float, float] = SHARED, hours: float = 0.5, **more: Any,
) -> Run:  # fmt: skip
    """A calibration that was done, with (standard, as found, as left) of each standard."""
    begun = DAY0 + timedelta(days=day)
    body = [
        {"standard": s, "raw": (found - before[1]) / before[0], "as_found": found, "as_left": left}
        for s, found, left in rows_
    ]
    return Run(
        name=name, device="dust", parameter="pm25", point="site", procedure=procedure,
        standards=[Standard(value=s) for s, _, _ in rows_], rule=Rule(), full_scale=None, before=before,
        user="Wang Fang", begun=begun, state="done", ended=begun + timedelta(hours=hours),
        result={"rows": body, "coefficients": list(after), "changes": True}, **more,
    )  # fmt: skip


FIRST = run("K1", 0, (0, 3, 0), (100, 90, 100))
LATER = run("K2", 10, (0, 2, 0), (100, 107, 100))


def between(*runs: Run, breaks: tuple[Break, ...] = (), model: str = "auto") -> Span:
    """The span that begins with the first of *runs*."""
    return next(one for one in spans(runs, breaks, model=model) if one.earlier and one.start is not None)


def why(span: Span) -> str:
    assert span.because is not None
    return span.because.code


# -- arithmetic


@pytest.mark.parametrize(
    ("share", "shown", "true"),
    [
        (0.0, 60.0, 60.0),
        (0.25, 60.0, (60 - 0.5) / 1.0125),  # 58.7654
        (0.5, 60.0, 59 / 1.025),  # 57.5610
        (1.0, 2.0, 0.0),  # what the later calibration found at zero
        (1.0, 107.0, 100.0),  # and at 100
    ],
)
def test_two_points_give_offset_and_gain_linear_in_time(share: float, shown: float, true: float) -> None:
    """As left 0 and 100, as found 2 and 107: offset 2 and gain 1.05 at the end."""
    end = response([(0.0, 2.0), (100.0, 107.0)])
    assert end == Response(gain=1.05, offset=2.0)
    assert corrected(shown, share, end) == pytest.approx(true, abs=1e-9)


def test_one_point_gives_an_offset_or_a_gain() -> None:
    """Zero found at 4: halfway 2 are taken off.  100 found at 104: halfway 51 is 50."""
    assert corrected(52.0, 0.5, response([(0.0, 4.0)]) or Response()) == 50.0
    assert corrected(51.0, 0.5, response([(100.0, 104.0)]) or Response()) == pytest.approx(50.0)
    assert corrected(52.0, 0.5, response([(100.0, 104.0)], "offset") or Response()) == 50.0


def test_what_was_left_counts_and_not_what_the_standard_says() -> None:
    """Left at 101 in 100, found at 104.03: the gain is 1.03, not 1.0403."""
    span = between(run("K1", 0, (100, 95, 101), procedure="span"), run("K2", 1, (100, 104.03, 100), procedure="span"))
    assert span.response is not None
    assert span.response.gain == pytest.approx(1.03)
    assert span.pairs == [(101, 104.03)]


def test_more_points_are_a_straight_line_through_them() -> None:
    later = run("K2", 10, (0, 1, 0), (50, 52, 50), (100, 103, 100), procedure="multi-point")
    found = between(FIRST, later).response
    assert found is not None
    assert (round(found.gain, 9), round(found.offset, 9)) == (1.02, 1.0)


@pytest.mark.parametrize("pairs", [[(0.0, 50.0), (100.0, 50.0)], [(0.0, 100.0), (100.0, 0.0)]])
def test_a_response_that_follows_nothing_is_none(pairs: list[tuple[float, float]]) -> None:
    assert response(pairs) is None
    assert response([(0.0, 5.0)], "gain") is None


# -- spans


def test_a_value_rests_on_the_two_calibrations_around_it() -> None:
    span = between(FIRST, LATER)
    assert (span.earlier, span.later, span.model) == ("K1", "K2", "two_point")
    middle = span.start + (span.end - span.start) / 2  # type: ignore[operator]
    made = correct([span], middle, 60.0, SHARED)
    assert made.value == pytest.approx(59 / 1.025)
    assert made.because is None


def test_time_is_covered_without_a_gap_and_each_end_says_why() -> None:
    found = spans([FIRST, LATER])
    assert [(one.earlier, one.later, one.because and one.because.code) for one in found] == [
        ("", "", "none_before"), ("K1", "K2", None), ("", "K2", "under_way"), ("K2", "", "none_after"),
    ]  # fmt: skip
    assert all(a.end == b.start for a, b in pairwise(found))


def test_of_one_calibration_or_none_nothing_follows() -> None:
    assert [why(one) for one in spans([])] == ["none"]
    assert [why(one) for one in spans([FIRST])] == ["none_before", "none_after"]
    check = run("K1", 0, (100, 103, 103), procedure="check")
    assert [why(one) for one in spans([check])] == ["only_checks"]


def test_a_check_may_end_a_span_and_begins_none() -> None:
    """K2 is a check on day 5; a later one on day 7 says more; a calibration on day 10 says most."""
    checks = run("K2", 5, (100, 102, 102), procedure="check"), run("K3", 7, (100, 104, 104), procedure="check")
    assert between(FIRST, *checks).later == "K3"
    assert [why(one) for one in spans([FIRST, *checks]) if one.because][-1] == "none_after_check"
    assert between(FIRST, *checks, LATER).later == "K2"
    assert between(FIRST, *checks, replace(LATER, name="K4")).later == "K4"


def test_a_zero_and_a_span_soon_after_are_one_calibration() -> None:
    """On day 7 zero shows 2 (slope 1); then, zero set, 100 shows 105 of raw 107: found were 2 and 107."""
    runs = [
        run("K1", 0, (0, 3, 0), procedure="zero", before=(1, 3), after=(1, 0)),
        run("K2", 0.03, (100, 98, 100), procedure="span", after=(100 / 98, 0)),
        run("K3", 7, (0, 2, 0), procedure="zero", before=(100 / 98, 0), after=(100 / 98, -2)),
        run("K4", 7.03, (100, 105, 100), procedure="span", before=(100 / 98, -2), after=(1.0, -2)),
    ]
    first, second = occasions(runs)
    assert (first.name, second.name, second.found_at) == ("K1+K2", "K3+K4", runs[2].begun)
    assert second.found[0] == 2
    assert second.found[100] == pytest.approx(107)
    span = between(*runs)
    assert span.response is not None
    assert (span.earlier, span.later, span.model) == ("K1+K2", "K3+K4", "two_point")
    assert span.response.offset == pytest.approx(2 - span.response.gain * first.left[0])


def test_a_calibration_taken_back_between_leaves_nothing_to_be_had() -> None:
    taken_back = replace(run("K2", 4, (0, 1, 0), (100, 101, 100)), state="reverted", reverted=DAY0 + timedelta(days=5))
    span = between(FIRST, taken_back, replace(LATER, name="K3"))
    assert (span.later, span.because) == ("K3", Why("reverted", {"name": "K2"}))


def test_coefficients_changed_in_between_leave_nothing_to_be_had() -> None:
    later = replace(LATER, before=(1.1, 0.0))
    assert between(FIRST, later).because == Why(
        "coefficients", {"earlier": "K1", "later": "K2", "left": "1 / 0", "met": "1.1 / 0"}
    )


def test_another_instrument_in_between_leaves_nothing_to_be_had() -> None:
    swapped = Break(at=DAY0 + timedelta(days=3), why=Why("exchanged", {"serial": "S2", "before": "S1"}))
    assert why(between(FIRST, LATER, breaks=(swapped,))) == "exchanged"
    assert between(FIRST, LATER, breaks=(replace(swapped, at=DAY0 + timedelta(days=30)),)).because is None


def test_a_clock_that_was_stepped_back_is_said() -> None:
    later = run("K2", 0.01, (0, 2, 0), (100, 107, 100), procedure="multi-point", before=(1.0, 0.0))
    stepped = replace(FIRST, ended=DAY0 + timedelta(days=2), result=FIRST.result | {"coefficients": [1.0, 0.0]})
    assert why(between(stepped, later)) == "clock"


def test_a_locked_stretch_is_left_out_and_the_rest_is_not() -> None:
    day = DAY0 + timedelta(days=4)
    lock = Break(at=day, until=day + timedelta(days=1), why=Why("failed_check", {"name": "Q3"}))
    found = spans([FIRST, LATER], [lock])
    made = [correct(found, day + timedelta(days=n), 60.0, SHARED) for n in (-1, 0.5, 2)]
    assert [one.value is None for one in made] == [False, True, False]
    assert made[1].because == lock.why


def test_a_value_made_with_other_coefficients_is_left_alone() -> None:
    made = correct(spans([FIRST, LATER]), DAY0 + timedelta(days=5), 60.0, (1.2, 0.0))
    assert made.because == Why("other_coefficients", {"earlier": "K1", "left": "1 / 0", "made": "1.2 / 0"})
    assert correct(spans([FIRST, LATER]), DAY0 + timedelta(days=5), None, SHARED).because == Why("no_value")


def test_what_follows_its_standards_in_no_way_is_said() -> None:
    assert why(between(FIRST, run("K2", 10, (0, 50, 0), (100, 50, 100)))) == "response"


# -- the record of a station


@pytest.fixture
def drifted(tmp_path: Path) -> Iterator[Rig]:
    """Ten hours between two calibrations, the second of which found 2 and 107; 60 was read all the while."""
    rig = Rig(tmp_path)
    two_point(rig, 0.0, 100.0)
    rig.instrument.show(pm25=60.0, pm10=60.0)
    for _ in range(11):
        poll(rig)
        rig.engine.commit()
        rig.clock.advance(3600)
    two_point(rig, 2.0, 107.0)
    rig.engine.commit()
    yield rig
    rig.engine.shut_down()


def two_point(rig: Rig, low: float, high: float) -> None:
    begin = {"do": "begin", "device": "dust", "parameter": "pm25", "procedure": "two-point",
             "standards": [{"value": 0}, {"value": 100}]}  # fmt: skip
    name = enter(rig, **begin)["name"]
    for index, raw in enumerate((low, high)):
        enter(rig, do="step", name=name, index=index, readings=steady(rig, raw))
    enter(rig, do="done", name=name, override="works on")
    errands(rig)


def test_every_reading_has_its_value_beside_it_and_the_record_stands(drifted: Rig) -> None:
    before = drifted.engine.store.query("SELECT id, raw, value, mark FROM reading ORDER BY id")
    *made, silent = rows(drifted.engine.store, "dust", "pm25", UTC)
    assert (silent["value"], silent["effective_mark"], silent["because"]) == (None, "B", "no_value")
    assert [row["value"] for row in made] == [60.0] * 11
    end = Response(gain=1.05, offset=2)
    assert [row["corrected"] for row in made] == pytest.approx([corrected(60.0, n / 11, end) for n in range(11)])
    assert made[5]["drift"] == pytest.approx(60 - made[5]["corrected"], rel=1e-5)
    rests = {(row["from_calibration"], row["to_calibration"], row["model"]) for row in made}
    assert rests == {("K1", "K2", "two_point")}
    assert drifted.engine.store.query("SELECT id, raw, value, mark FROM reading ORDER BY id") == before


def test_readings_after_the_last_calibration_say_why_they_have_none(drifted: Rig) -> None:
    poll(drifted)
    drifted.engine.commit()
    last = list(rows(drifted.engine.store, "dust", "pm25", UTC))[-1]
    assert (last["corrected"], last["because"], last["from_calibration"]) == (None, "none_after", "K2")


def test_an_exchange_on_record_breaks_the_span(drifted: Rig) -> None:
    body = {"serial": "S2", "before": "S1", "parameters": ["pm25"]}
    drifted.engine.keep(Record("identity", START + timedelta(hours=5), body, "site", "dust"))
    drifted.engine.commit()
    assert [one.because.code for one in spans_of(drifted.engine.store, "dust", "pm25") if one.because] == [
        "none_before", "exchanged", "none_after",
    ]  # fmt: skip


def test_a_failed_check_on_record_leaves_out_what_follows_until_one_passes(drifted: Rig) -> None:
    """It failed in the fifth hour and passed in the eighth: the readings of three hours have no value."""
    for name, hour, verdict in (("Q1", 4.5, "failed"), ("Q2", 5.5, "failed"), ("Q3", 7.5, "passed")):
        at = START + timedelta(hours=hour)
        body = {
            "do": "done", "name": name, "check": "daily", "parameter": "pm25", "type": "span", "standard": 100.0,
            "begun": at.isoformat(), "by": "station", "mark": "M9", "verdict": verdict, "value": 1.0,
        }  # fmt: skip
        drifted.engine.keep(Record("qc", at, body, "site", "dust"))
    drifted.engine.commit()
    made = [row for row in rows(drifted.engine.store, "dust", "pm25", UTC) if row["value"] is not None]
    assert [row["because"] for row in made] == [""] * 5 + ["failed_check"] * 3 + [""] * 3
    assert made[5]["why"] == "the check Q1 failed: the trend is locked until one passes"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


Command = Callable[..., Any]


def test_the_command_shows_what_each_span_rests_on(drifted: Rig, command: Command) -> None:
    config = ("--config", drifted.folder / "station.toml")
    done = command("drift", "dust", "pm25", *config)
    assert done.code == 0, done.err
    assert "offset and gain between K1 and K2; left → found 0 → 2, 100 → 107;" in done.out
    assert "at the end gain 1.05, offset 2" in done.out
    assert "not computable, because there is no calibration after K2 yet" in done.out
    spoken = command("drift", "dust", "pm25", *config, "--lang", "zh")
    assert "无法计算,因为K2 之后尚无校准" in spoken.out


def test_the_series_goes_to_csv_and_json_and_through_export(drifted: Rig, command: Command) -> None:
    config = ("--config", drifted.folder / "station.toml")
    as_json = json.loads(command("drift", "dust", "pm25", "--format", "json", *config).out)
    assert len(as_json) == 12
    file = drifted.folder / "drift.csv"
    done = command("drift", "dust", "PM2.5", "--format", "csv", "--output", file, "--from", "2026-03-01T12:00", *config)
    assert done.code == 0, done.err
    table = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    assert len(table) == 8
    assert table[0]["from_calibration"] == "K1"
    every = command("export", "drift", "--parameter", "pm25", "--format", "json", *config)
    assert json.loads(every.out) == as_json


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dusk", "pm25"), 'there is nothing on record of "dusk"; did you mean dust?'),
        (("dust", "cod"), 'dust has no "cod" on record; it has pm10, pm25'),
        (("dust", "pm25", "--from", "2026-03-02", "--to", "2026-03-01"), "is not before"),
    ],
)
def test_bad_input_has_a_sentence(drifted: Rig, command: Command, words: tuple[str, ...], said: str) -> None:
    done = command("drift", *words, "--config", drifted.folder / "station.toml")
    assert done.code == 2
    assert said in done.err


def test_the_command_works_as_a_process(drifted: Rig) -> None:
    done = station("drift", "dust", "pm25", "--json", "--config", drifted.folder / "station.toml")
    assert [one["because"] for one in json.loads(done.out)["spans"]] == ["none_before", "", "none_after"]
