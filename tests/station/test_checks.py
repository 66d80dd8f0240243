"""What a check comes to, when it is due, and everything a [[qc]] table may get wrong."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import count, islice, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from station import marks
from station.checks import (
    KIND,
    Book,
    CheckSettings,
    Plan,
    accepted,
    doubted,
    enter_word,
    figures,
    interval,
    judged,
    plan,
    proposals,
    read_book,
    slots,
    wants_adjusting,
)
from station.config import load
from station.model import ConfigError, Record, WrongArgument, replace
from tests.station.checked import ANALYSER, STATION

BEIJING = timezone(timedelta(hours=8))


def check(**more: Any) -> CheckSettings:
    return CheckSettings(**{"name": "c", "device": "d", "parameter": "cod", "standard": 50.0, "at": ("03:00",)} | more)


# -- when


def test_times_of_day_are_the_stations_own() -> None:
    after = datetime(2026, 3, 1, 12, tzinfo=BEIJING)
    found = list(islice(slots(check(at=("15:30", "03:00")), after, BEIJING), 3))
    assert [f"{one.astimezone(BEIJING):%d %H:%M}" for one in found] == ["01 15:30", "02 03:00", "02 15:30"]


@pytest.mark.parametrize("hours", [1, 5, 24, 168, 744])
def test_every_n_hours_is_counted_from_monday_whatever_the_moment(hours: int) -> None:
    one = check(every_hours=hours, at=("10:00",))
    found = list(islice(slots(one, datetime(2026, 3, 1, 12, tzinfo=BEIJING), BEIJING), 20))
    assert all(b - a == timedelta(hours=hours) for a, b in pairwise(found))
    again = next(slots(one, found[7], BEIJING))
    assert again == found[8]
    if hours == 168:
        assert f"{found[0].astimezone(BEIJING):%A %H:%M}" == "Monday 10:00"


def test_a_moment_is_due_once_and_those_before_it_are_counted() -> None:
    one, three = check(), datetime(2026, 3, 1, 3, tzinfo=BEIJING)
    day = timedelta(days=1)
    assert plan(one, three, three + day / 2, BEIJING) == Plan()
    assert plan(one, three - day, three, BEIJING) == Plan(due=three)
    late = plan(one, three, three + 3.5 * day, BEIJING)
    assert late == Plan(missed=(three + day, three + 3 * day, 3))  # half a day is more than it waits
    soon = plan(one, three, three + 3 * day + timedelta(hours=1), BEIJING)
    assert soon == Plan(due=three + 3 * day, missed=(three + day, three + 2 * day, 2))


def test_one_that_waits_for_nothing_is_begun_all_the_same() -> None:
    """The main thread comes by a moment after it is due, and never at it."""
    one, three = check(wait_minutes=0.0), datetime(2026, 3, 1, 3, tzinfo=BEIJING)
    day, seconds = timedelta(days=1), timedelta(seconds=3)
    assert plan(one, three - day, three + seconds, BEIJING) == Plan(due=three)
    assert plan(one, three - day, three + timedelta(minutes=2), BEIJING) == Plan(missed=(three, three, 1))


def test_a_clock_that_stands_before_what_was_done_repeats_nothing() -> None:
    one, three = check(), datetime(2026, 3, 1, 3, tzinfo=BEIJING)
    hour, year = timedelta(hours=1), timedelta(days=365)
    assert plan(one, three, three - hour, BEIJING) == Plan(ahead=three + 24 * hour)
    assert plan(one, three + year, three, BEIJING).restarts
    assert not plan(one, three + year, three, BEIJING, settled=False).restarts


def test_the_interval_is_the_longest_between_two_times_of_day() -> None:
    assert interval(check(at=("03:00", "09:00"))) == timedelta(hours=18)
    assert interval(check(at=("03:00",))) == timedelta(hours=24)
    assert interval(check(at=(), every_hours=6)) == timedelta(hours=6)


# -- what it comes to


@pytest.mark.parametrize(
    ("value", "passed"), [(55.0, True), (45.0, True), (55.001, False), (44.999, False), (50.0, True)]
)
def test_a_water_check_is_within_ten_percent(value: float, passed: bool) -> None:
    """HJ 355-2019 ch. 8, recalled, medium: 45 to 55 of 50, both ends included."""
    one = check()
    (verdict,) = judged(accepted(one, "32"), figures(one, value, 50.0, None))
    assert (verdict.passed, verdict.what, verdict.limit, verdict.confidence) == (passed, "error_percent", 10, "medium")


@pytest.mark.parametrize(("value", "passed"), [(25.0, True), (25.1, False), (-25.0, True), (-25.1, False)])
def test_a_zero_of_a_stacks_gas_is_within_five_percent_of_full_scale(value: float, passed: bool) -> None:
    one = check(parameter="so2", check="zero", standard=None)
    (verdict,) = judged(accepted(one, "31"), figures(one, value, 0.0, 500.0))
    assert (verdict.passed, verdict.limit, verdict.what) == (passed, 5, "zero_drift")


def test_own_limits_are_the_only_ones() -> None:
    one = check(limit=3.0, limit_percent=20.0)
    verdicts = judged(accepted(one, "32"), figures(one, 54.0, 50.0, None))
    assert [(v.what, v.passed, v.confidence, v.source) for v in verdicts] == [
        ("error", False, "own", "station.toml"), ("error_percent", True, "own", "station.toml"),
    ]  # fmt: skip


def test_a_ph_buffer_has_its_absolute_limit_and_a_zero_has_no_share() -> None:
    one = check(parameter="ph", standard=6.86)
    (verdict,) = judged(accepted(one, "21"), figures(one, 7.36, 6.86, None))
    assert (verdict.what, verdict.value, verdict.passed) == ("error", 0.5, True)
    assert figures(check(check="zero", standard=None), 1.0, 0.0, None)["error_percent"] is None


def test_only_a_stacks_drift_asks_to_be_adjusted() -> None:
    one = check(parameter="so2", check="span", standard=400.0)
    found = figures(one, 413.0, 400.0, 500.0)
    assert wants_adjusting(one, "31", found)
    assert not wants_adjusting(one, "22", found)
    assert not wants_adjusting(one, "31", figures(one, 412.0, 400.0, 500.0))


# -- the book


NUMBERS = count(1)
DAY0 = datetime(2026, 3, 1, 3, tzinfo=UTC)


def told(name: str, do: str, day: float, **more: Any) -> Record:
    begun = (DAY0 + timedelta(days=int(name[1:]))).isoformat()
    body = {
        "do": do, "name": name, "check": "c", "parameter": "so2", "type": "span", "standard": 400.0, "begun": begun,
        "by": "station", "mark": "M1", "slot": None, **more,
    }  # fmt: skip
    return Record(KIND, DAY0 + timedelta(days=day), body, "stack", "cems", next(NUMBERS))


def history(*verdicts: str) -> list[Record]:
    found = []
    for number, verdict in enumerate(verdicts, 1):
        found.append(told(f"Q{number}", "begin", number, slot=(DAY0 + timedelta(days=number)).isoformat()))
        if verdict == "stopped":
            found.append(told(f"Q{number}", "stopped", number + 0.01, outcome="no_reply", reason="x"))
        else:
            found.append(told(f"Q{number}", "done", number + 0.01, verdict=verdict, value=404.0, judgements=[]))
        found.append(told(f"Q{number}", "back", number + 0.02))
    return found


def test_the_newest_verdict_locks_and_a_pass_unlocks() -> None:
    locked = [read_book(history(*v)).locked_by("c") for v in (
        ["passed"], ["passed", "failed"], ["passed", "failed", "stopped"], ["passed", "failed", "failed"],
        ["failed", "passed"], ["failed"],
    )]  # fmt: skip
    assert [one and one.name for one in locked] == [None, "Q2", "Q2", "Q2", None, "Q1"]


def test_a_repetition_changes_nothing_and_the_newest_of_each_kind_are_enough() -> None:
    whole = history("passed", "failed", "passed", "failed")
    book = read_book([*whole, *whole])
    assert [one.state for one in book.of("c")] == ["passed", "failed", "passed", "failed"]
    newest: dict[Any, Record] = {(r.body["do"], r.body.get("verdict")): r for r in whole}
    few = read_book(newest.values())
    assert (few.next_number, few.locked_by("c").name, few.last_pass("c").name) == (5, "Q4", "Q3")  # type: ignore[union-attr]


def test_a_word_from_another_thread_disturbs_nobody_who_reads_the_book() -> None:
    """The main thread reads it at each turn, while clients enter their words about checks it may not know yet."""
    book, written = read_book(history(*["passed"] * 200)), Event()
    records = [told(f"Q{number}", "begin", 0) for number in range(201, 4000)]

    def enter() -> None:
        for record in records:
            book.take(record)
        written.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        Thread(target=enter).start()
        while not written.is_set():
            assert book.next_number > 200
            assert book.last_pass("c") is not None
            assert proposals(book) == []
    finally:
        sys.setswitchinterval(interval)
    assert book.next_number == 4000


def test_what_is_in_doubt_reaches_back_to_the_last_pass() -> None:
    book = read_book(history("passed", "stopped", "failed", "failed"))
    third, fourth = book.named("Q3"), book.named("Q4")
    assert doubted(book, third) == (book.named("Q1").ended, third.begun)
    assert doubted(book, fourth) == (book.named("Q1").ended, fourth.begun)
    assert doubted(read_book(history("failed")), read_book(history("failed")).named("Q1"))[0] is None
    assert proposals(book) == [third, fourth]


# -- a person's word


POINTS = {"stack": None}
WORD = {"do": "confirm", "name": "Q2", "user": "Wang Fang", "reason": "bottle agrees with another"}


def word(book: Book, **more: Any) -> list[Record]:
    numbers = count(7)
    now = DAY0 + timedelta(days=100)
    return enter_word(book, marks.HandMarks(), {**WORD, **more}, POINTS, now, lambda: next(numbers))


def test_confirming_marks_from_the_last_pass_to_the_failed_check() -> None:
    book = read_book(history("passed", "failed"))
    kept, mark = word(book)
    assert (mark.body["name"], mark.body["mark"], mark.point, mark.body["parameter"]) == ("M7", "D", "stack", "so2")
    assert (mark.at, mark.body["last"]) == (book.named("Q1").ended, book.named("Q2").begun.isoformat())
    assert mark.body["reason"] == "Q2 failed: bottle agrees with another"
    assert kept.body["said"] == {
        "user": "Wang Fang", "reason": "bottle agrees with another", "marks": ["M7"], "mark": "D",
    }  # fmt: skip
    book.take(kept)
    assert proposals(book) == []
    with pytest.raises(WrongArgument, match="Q2 was confirmed by Wang Fang at 2026-06-09T03:00:00"):
        word(book, do="dismiss")


def test_dismissing_marks_nothing() -> None:
    book = read_book(history("passed", "failed"))
    (kept,) = word(book, do="dismiss")
    assert (kept.body["do"], kept.body["said"]["user"]) == ("dismiss", "Wang Fang")


def test_a_long_span_is_marked_in_portions() -> None:
    book = read_book(history("failed", "failed"))
    since = (DAY0 - timedelta(days=150)).isoformat()
    _, *made = word(book, **{"from": since})
    assert [one.body["name"] for one in made] == ["M7", "M8", "M9"]
    ends = [one.body["last"] for one in made]
    assert [one.at.isoformat() for one in made[1:]] == ends[:-1]
    assert ends[-1] == book.named("Q2").begun.isoformat()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"user": " "}, r"needs a name \(--user\)"),
        ({"reason": ""}, r"needs a reason \(--reason\)"),
        ({"reason": "a\nb"}, r"needs a reason \(--reason\)"),
        ({"name": "Q9"}, 'there is no check "Q9" on record'),
        ({"name": "Q1"}, "Q1 is passed; only a check that failed casts doubt on values"),
        ({"name": "Q3"}, "Q3 is stopped; only a check that failed"),
        ({"mark": "N"}, '"N" is not a mark that people set'),
        ({"from": "2027-01-01T00:00:00+00:00"}, "is not before Q2, which began at"),
        ({"from": "yesterday"}, '"yesterday" is not a time'),
        ({"from": "2026-03-02T00:00:00"}, "2026-03-02T00:00:00 needs its offset from UTC"),
        ({"do": "erase"}, "'erase' is no word about a check"),
    ],
)
def test_a_word_that_says_nothing_is_refused(more: dict[str, str], said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        word(read_book(history("passed", "failed", "stopped")), **more)


def test_without_a_pass_a_person_says_from_when_on() -> None:
    with pytest.raises(WrongArgument, match=r"no check before Q2 passed; say from when on .* \(--from\)"):
        word(read_book(history("failed", "failed")))


# -- the configuration


def faults(folder: Path, *changes: tuple[str, str], profile: str = ANALYSER) -> list[str]:
    """What is said of the tests' station with each (old, new) text changed once."""
    text = STATION
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "valved.toml").write_text(profile, encoding="utf-8")
    (folder / "station.toml").write_text(text, encoding="utf-8")
    (folder / "password").write_text("123456")
    (folder / "password").chmod(0o600)
    try:
        load(folder / "station.toml")
    except ConfigError as error:
        return [line.partition(": ")[2] for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('device = "cems"', 'device = "cem"', 'qc[0].device: there is no device "cem"; did you mean cems?'),
        ('parameter = "so2"', 'parameter = "nox"', "qc[0].parameter: cems does not deliver nox"),
        ("standard = 400.0\n", "", "qc[0].standard: is missing: what value has the span?"),
        ("standard = 400.0", "standard = 0.0", "qc[0].standard: 0 is no span; check it as zero"),
        ('check = "span"', 'check = "zero"', "qc[0].standard: 400 is no zero; check a low standard"),
        ('check = "span"', 'check = "spam"', 'qc[0].check: "spam" is not one of standard, zero, span'),
        ('at = ["09:00"]', "", "qc[0].at: when it is due is missing: at or every_hours"),
        ('at = ["09:00"]', 'at = ["9:00"]', 'qc[0].at[0]: "9:00" is not a time of day such as 03:00'),
        ('at = ["09:00"]', 'at = ["24:00"]', 'qc[0].at[0]: "24:00" is not a time of day such as 03:00'),
        ('at = ["09:00"]', 'at = ["09:00", "09:00"]', "qc[0].at[1]: 09:00 is there twice"),
        ('at = ["09:00"]', 'at = ["09:00", "21:00"]\nevery_hours = 24', "qc[0].at: beside every_hours one time is"),
        ('at = ["09:00"]', "every_hours = 0", "qc[0].every_hours: 0 is "),
        ('at = ["09:00"]', 'at = ["09:00", "09:20"]\nlongest_minutes = 720', "a check might not be over"),
        ('at = ["09:00"]', "every_hours = 1\nlongest_minutes = 60", "qc[0].longest_minutes: a check might not be over"),
        ('at = ["09:00"]', 'at = ["09:00"]\nsettle_seconds = 1800', "qc[0].settle_seconds: leaves no time"),
        ('at = ["09:00"]', 'at = ["09:00"]\nexpires = "June"', 'qc[0].expires: "June" is not a day such as 2027-06-30'),
        ('at = ["09:00"]', 'at = ["09:00"]\nlimit_drift_percent = -1', "qc[0].limit_drift_percent: -1"),
        ('st = "31"', 'st = "22"', "no acceptance limit is known for a span check of so2 at ST=22"),
        ("range = { so2 = [-50, 500] }\n", "", "qc[0].full_scale: is missing: drift is a share of it"),
        ('check = "span"', "", 'qc[0].device: cems has no way to be given a standard: its profile needs an [[action]]'),
        ('at = ["09:00"]', 'at = ["09:00"]\natt = 1', "qc[0].att: unknown key; did you mean at?"),
    ],
)  # fmt: skip
def test_each_fault_of_the_table_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    start = STATION.index("[[qc]]")
    assert old in STATION
    old_part = STATION[start:] if old in STATION[start : start + 200] else STATION
    changed = old_part.replace(old, new, 1)
    found = faults(tmp_path, (old_part, changed))
    assert any(said in line for line in found), found


def test_an_end_that_does_not_concern_what_is_checked_is_a_fault(tmp_path: Path) -> None:
    """The instrument would be told to take the gas, and never to give it back."""
    register = ANALYSER[ANALYSER.index("[[register]]") : ANALYSER.index("[[action]]")]
    other = register.replace('"so2"', '"nox"').replace("address = 0", "address = 2")
    profile = ANALYSER.replace("[[action]]", f"{other}[[action]]", 1)
    profile = profile.replace('verb = "end_check"\n', 'verb = "end_check"\nparameters = ["nox"]\n')
    (said,) = faults(tmp_path, profile=profile)
    assert said == "qc[0].device: cems would stay at its standard: end_check concerns nox and not so2"


def test_two_checks_do_not_share_a_name_nor_one_with_an_alarm(tmp_path: Path) -> None:
    twice = STATION[STATION.index("[[qc]]") : STATION.index("[[uplink]]")]
    alarm = '[[alarm]]\nname = "span"\npoint = "stack"\nparameter = "so2"\nperiod = "1h"\nabove = 35\n\n'
    assert 'qc[1].name: "span" is already qc[0]' in faults(tmp_path, ("[[uplink]]", twice + "[[uplink]]"))
    assert 'qc[0].name: "span" is already an alarm' in faults(tmp_path, ("[[uplink]]", alarm + "[[uplink]]"))


def test_an_output_may_follow_a_check_by_its_name(tmp_path: Path) -> None:
    lamp = (
        '[[output]]\nname = "lamp"\nkind = "lamp"\npin = 17\n\n'
        '[[rule]]\nname = "failed"\nkind = "signal"\noutput = "lamp"\nalarm = "span"\n\n'
    )
    assert faults(tmp_path, ("[[uplink]]", lamp + "[[uplink]]")) == []
    wrong = lamp.replace('alarm = "span"', 'alarm = "spam"')
    assert faults(tmp_path, ("[[uplink]]", wrong + "[[uplink]]")) == [
        'rule[0].alarm: there is no alarm "spam"; did you mean span?'
    ]


def test_a_share_of_zero_and_the_drift_of_a_standard_are_no_limits(tmp_path: Path) -> None:
    zero = ('check = "span"\nstandard = 400.0', 'check = "zero"\nlimit_percent = 5')
    assert any("limit_percent: a share of zero is nothing" in line for line in faults(tmp_path, zero))
    any_type = ANALYSER.replace('type = "span"\n', "")
    standard = ('check = "span"', 'check = "standard"\nlimit_drift_percent = 5')
    found = faults(tmp_path, standard, profile=any_type)
    assert any("limit_drift_percent: is of zero and span checks" in line for line in found), found


def test_a_waste_water_check_rarer_than_a_day_is_a_hint(tmp_path: Path) -> None:
    water = (
        ANALYSER.replace('parameter = "so2"', 'parameter = "cod"')
        .replace("mg/m³", "mg/L")
        .replace('type = "span"\n', "")
    )
    changes = (
        ('st = "31"', 'st = "32"'), ("so2 = [-50, 500]", "cod = [0, 500]"), ('parameter = "so2"', 'parameter = "cod"'),
        ('check = "span"\n', ""), ('at = ["09:00"]', "every_hours = 48"),
    )  # fmt: skip
    assert faults(tmp_path, *changes, profile=water) == []
    (hint,) = [one for one in load(tmp_path / "station.toml").warnings if "qc[0]" in one]
    assert "is due every 24 h (HJ 355-2019 ch. 8, recalled: medium)" in hint


def test_the_settings_of_the_tests_are_sound(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    assert replace(check(), standard=None).value == 0.0
