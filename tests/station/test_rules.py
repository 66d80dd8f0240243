"""Rules as tables: a value, what is known beside it, the time; and what an output is to do, and why."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.model import Averaging, Mark, Reading, Reason, replace
from station.rules import (
    GRACE_SECONDS,
    Decision,
    Level,
    Limits,
    Past,
    SampleRule,
    SignalRule,
    SprayRule,
    Watch,
    Weather,
    Why,
    Wish,
    decide,
    hours_fault,
    in_hours,
    level,
    merged,
    sample,
    signal,
    spray,
    watched,
    weather_locks,
)

NOON = time(12)
CANNON = SprayRule(
    name="dust", kind="spray", output="cannon", point="site", parameter="pm10", start=150.0, stop=100.0,
    minimum_run_seconds=60, cool_down_seconds=300, daily_maximum_seconds=600,
)  # fmt: skip
TIGHT = Limits(minimum_on=10, minimum_off=20, maximum_on=90, minimum_run=30, cool_down=25, daily_maximum=150)
LIMITS = Limits(minimum_on=10, minimum_off=20, maximum_on=500, minimum_run=60, cool_down=300, daily_maximum=600)


class Cannon:
    """One output and its rule, led through time second by second."""

    def __init__(self, rule: SprayRule = CANNON, limits: Limits = LIMITS) -> None:
        self.rule, self.limits = rule, limits
        self.past, self.watch, self.now = Past(), Watch(), 1000.0
        self.decision = Decision(False, Why.IDLE)

    def see(self, value: float | None, seconds: float = 1, *, trouble: Why | None = None, locks: tuple[Why, ...] = ()):
        """Let *seconds* pass with this value; the last decision."""
        for _ in range(round(seconds)):
            self.now += 1
            seen = Level(value, trouble)
            self.watch = watched(self.rule, self.watch, seen, self.now)
            wish = spray(self.rule, self.watch, seen, locks, self.now)
            self.decision = decide(self.limits, self.past, wish, self.now)
            self.past = self.past.switched(self.decision.on, self.now, by_hand=self.decision.why is Why.BY_HAND)
        return self.decision


def test_a_cannon_starts_at_its_level_and_stops_at_the_lower_one():
    cannon = Cannon()
    assert cannon.see(149.9) == Decision(False, Why.IDLE)
    assert cannon.see(150.0) == Decision(True, Why.LEVEL)
    assert cannon.see(101.0, 100) == Decision(True, Why.LEVEL)
    assert cannon.see(100.0) == Decision(False, Why.BELOW)


def test_a_run_lasts_its_minimum_though_the_value_has_fallen():
    cannon = Cannon()
    cannon.see(200.0)
    assert cannon.see(50.0, 59) == Decision(True, Why.MINIMUM_RUN, Why.BELOW)
    assert cannon.see(50.0) == Decision(False, Why.BELOW)


def test_a_level_must_stand_for_the_time_asked():
    cannon = Cannon(replace(CANNON, start_after_seconds=30))
    assert not cannon.see(200.0, 30).on
    cannon.see(120.0)
    assert not cannon.see(200.0, 30).on
    assert cannon.see(200.0).on


def test_a_cannon_rests_before_it_starts_again():
    cannon = Cannon()
    cannon.see(200.0)
    cannon.see(50.0, 60)
    assert cannon.see(200.0) == Decision(False, Why.COOL_DOWN, Why.COOL_DOWN)
    assert not cannon.see(200.0, 298).on
    assert cannon.see(200.0) == Decision(True, Why.LEVEL)


def test_a_day_has_room_for_so_many_seconds_and_a_new_day_for_as_many_again():
    cannon = Cannon(replace(CANNON, cool_down_seconds=0), replace(LIMITS, cool_down=0, minimum_off=0))
    cannon.see(200.0, 501)
    assert cannon.decision == Decision(False, Why.MAXIMUM_RUN)
    cannon.see(200.0, 100)
    assert cannon.see(200.0) == Decision(False, Why.DAILY_MAXIMUM)
    assert cannon.see(200.0) == Decision(False, Why.DAILY_MAXIMUM, Why.DAILY_MAXIMUM)
    cannon.past = cannon.past.next_day(cannon.now)
    assert cannon.see(200.0).on


def test_a_run_the_day_has_no_room_for_is_not_begun():
    """It would have to be cut short of its minimum."""
    cannon = Cannon()
    cannon.past = replace(cannon.past, used=541.0)
    assert cannon.see(200.0) == Decision(False, Why.DAILY_MAXIMUM, Why.DAILY_MAXIMUM)


@pytest.mark.parametrize("trouble", [Why.NO_VALUE, Why.MARKED])
def test_a_stale_or_marked_value_starts_nothing(trouble):
    assert Cannon().see(900.0, 100, trouble=trouble) == Decision(False, Why.IDLE)


@pytest.mark.parametrize("trouble", [Why.NO_VALUE, Why.MARKED])
def test_a_lost_value_stops_a_run_after_a_while_and_after_its_minimum(trouble):
    cannon = Cannon()
    cannon.see(200.0)
    assert cannon.see(None, 59, trouble=trouble) == Decision(True, Why.MINIMUM_RUN, trouble)
    assert cannon.see(None, trouble=trouble) == Decision(False, trouble)
    cannon = Cannon()
    cannon.see(200.0, 100)
    assert cannon.see(None, GRACE_SECONDS, trouble=trouble).on
    assert not cannon.see(None, trouble=trouble).on


def test_a_value_that_is_bad_for_a_moment_stops_nothing():
    cannon = Cannon()
    cannon.see(200.0, 100)
    for _ in range(10):
        cannon.see(None, GRACE_SECONDS - 1, trouble=Why.MARKED)
        assert cannon.see(200.0).on


@pytest.mark.parametrize("lock", [Why.FROST, Why.RAIN, Why.WIND, Why.HOURS, Why.UNKNOWN])
def test_a_lock_keeps_a_cannon_from_starting_and_says_so(lock):
    cannon = Cannon()
    assert cannon.see(200.0, 50, locks=(lock,)) == Decision(False, lock, lock)
    assert cannon.see(50.0, locks=(lock,)) == Decision(False, Why.IDLE)
    assert cannon.see(200.0).on


def test_a_lock_that_comes_during_a_run_ends_it_after_its_minimum():
    cannon = Cannon()
    cannon.see(200.0)
    assert cannon.see(200.0, 59, locks=(Why.FROST,)) == Decision(True, Why.MINIMUM_RUN, Why.FROST)
    assert cannon.see(200.0, locks=(Why.FROST,)) == Decision(False, Why.FROST)


def test_a_manual_lock_is_at_once_and_above_all():
    cannon = Cannon()
    cannon.see(200.0, 5)
    cannon.past = replace(cannon.past, locked=True, on_until=cannon.now + 100)
    assert cannon.see(200.0) == Decision(False, Why.LOCKED, Why.LOCKED)


def test_a_person_starts_it_whatever_the_level_and_the_weather_say():
    """The person stands there; the lock, the output's own rest and the day's maximum hold all the same."""
    cannon = Cannon()
    cannon.past = replace(cannon.past, on_until=cannon.now + 30)
    assert cannon.see(50.0, locks=(Why.FROST,)) == Decision(True, Why.BY_HAND)
    assert cannon.see(120.0, 28) == Decision(True, Why.BY_HAND)
    assert cannon.see(120.0, 1) == Decision(False, Why.IDLE)  # 120 would keep a run going, and starts none
    cannon.past = replace(cannon.past, on_until=cannon.now + 30)
    assert cannon.see(50.0) == Decision(False, Why.MINIMUM_OFF, Why.MINIMUM_OFF)
    cannon.past = replace(cannon.past, since=0.0, used=595.0)
    assert cannon.see(50.0) == Decision(False, Why.DAILY_MAXIMUM, Why.DAILY_MAXIMUM)


def test_a_person_stops_it_at_once_and_for_a_while():
    cannon = Cannon()
    cannon.see(200.0, 5)
    cannon.past = replace(cannon.past, off_until=cannon.now + 1000)
    assert cannon.see(200.0) == Decision(False, Why.HELD_OFF)
    assert cannon.see(200.0, 900) == Decision(False, Why.HELD_OFF, Why.HELD_OFF)
    assert cannon.see(200.0, 100).on


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, 50.0, 120.0, 150.0, 400.0, 400.0, 400.0]),
            st.sampled_from([(), (), (), (), (Why.FROST,), (Why.RAIN,)]),
            st.integers(1, 120),
            st.sampled_from(["", "", "", "", "", "lock", "unlock", "unlock", "on", "day"]),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_whatever_comes_limits_and_locks_hold(steps):
    """Never over the day's maximum, never shorter than minimum on and off, never on under a lock."""
    cannon = Cannon(CANNON, TIGHT)
    changed, day = float("-inf"), 0.0
    for value, locks, seconds, order in steps:
        if order == "lock":
            cannon.past = replace(cannon.past, locked=True, on_until=float("-inf"))
        elif order == "unlock":
            cannon.past = replace(cannon.past, locked=False)
        elif order == "on":
            cannon.past = replace(cannon.past, on_until=cannon.now + 40)
        elif order == "day":
            cannon.past, day = cannon.past.next_day(cannon.now), 0.0
        for _ in range(seconds):
            before = cannon.past
            cannon.see(value, trouble=None if value is not None else Why.NO_VALUE, locks=locks)
            day += before.on
            assert day <= TIGHT.daily_maximum
            assert not (cannon.past.on and cannon.past.locked)
            assert not cannon.past.on or cannon.now - cannon.past.since < TIGHT.maximum_on
            if cannon.past.on is not before.on:
                stood = cannon.now - changed
                changed = cannon.now
                if cannon.past.on:
                    by_hand = cannon.past.by_hand
                    assert stood >= (TIGHT.minimum_off if by_hand else TIGHT.cool_down)
                    assert by_hand or not locks
                    assert by_hand or value in (150.0, 400.0)
                elif cannon.decision.why is not Why.LOCKED:
                    assert stood >= (TIGHT.minimum_on if before.by_hand else TIGHT.minimum_run)


# -- the weather


@pytest.mark.parametrize(
    ("weather", "found"),
    [
        (Weather(3.1, 7.9, 3601.0), []),
        (Weather(3.0, 7.9, 3601.0), [Why.FROST]),
        (Weather(20.0, 7.9, 3599.0), [Why.RAIN]),
        (Weather(20.0, 8.1, 3601.0), [Why.WIND]),
        (Weather(None, 7.9, 3601.0), [Why.UNKNOWN]),
        (Weather(-5.0, 9.0, 0.0), [Why.FROST, Why.RAIN, Why.WIND]),
    ],
)
def test_frost_rain_and_wind_lock_and_so_does_what_is_not_known(weather, found):
    rule = replace(CANNON, frost_below=3.0, rain_hours=1.0, wind_above=8.0)
    assert weather_locks(rule, weather, NOON) == found
    assert weather_locks(CANNON, Weather(), NOON) == []


def test_a_cannon_keeps_its_hours():
    rule = replace(CANNON, hours="06:00-22:00")
    assert weather_locks(rule, Weather(), time(5, 59)) == [Why.HOURS]
    assert weather_locks(rule, Weather(), time(6)) == []
    assert weather_locks(rule, Weather(), time(22)) == [Why.HOURS]


@pytest.mark.parametrize("text", ["6:00-22:00", "06:00", "06:00-25:00", "always"])
def test_hours_that_are_none_are_named(text):
    assert hours_fault(text) == f'"{text}" is not hours such as 06:00-22:00'


def test_hours_may_end_at_midnight():
    assert hours_fault("18:00-24:00") is None
    assert in_hours("18:00-24:00", time(23, 59, 59))
    assert not in_hours("18:00-24:00", time(0))


# -- readings to a level


def readings(
    *values: float | None, every: float = 5.0, mark: Mark = Mark.N, reason: Reason = Reason.NONE
) -> list[Reading]:
    """One reading every few seconds, the last at 100 s."""
    first = 100.0 - every * (len(values) - 1)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        Reading(
            "dust", "site", "pm10", at + timedelta(seconds=first + every * n), v, v, mark, reason, first + every * n
        )
        for n, v in enumerate(values)
    ]


def seen(some: list[Reading], average: float = 0.0, now: float = 101.0, averaging: Averaging = Averaging.MEAN) -> Level:
    return level(some, now, average_seconds=average, poll_seconds=5.0, stale_seconds=60.0, averaging=averaging)


def test_the_latest_value_counts_unless_a_mean_is_asked_for():
    some = readings(*[100.0] * 11, 200.0)
    assert seen(some) == Level(200.0)
    assert seen(some, 60.0) == Level(pytest.approx(1300 / 12))


def test_the_mean_of_sound_levels_is_that_of_their_energy():
    assert seen(readings(60.0, 70.0), 10.0, averaging=Averaging.ENERGY).value == pytest.approx(67.4, abs=0.01)


def test_a_reason_beside_a_value_does_not_take_it_out():
    """A cannon that runs would else lose the value it runs by."""
    assert seen(readings(200.0, reason=Reason.SPRAYING)) == Level(200.0)


@pytest.mark.parametrize("average", [0.0, 60.0])
def test_an_old_value_is_none(average):
    assert seen(readings(*[200.0] * 12), average, now=161.0) == Level(None, Why.NO_VALUE)
    assert seen([], average) == Level(None, Why.NO_VALUE)


@pytest.mark.parametrize("mark", [m for m in Mark if m is not Mark.N])
def test_a_marked_value_is_said_to_be_marked(mark):
    assert seen(readings(200.0, mark=mark)).trouble is Why.MARKED
    assert seen(readings(*[200.0] * 12, mark=mark), 60.0).trouble is Why.MARKED


def test_a_mean_needs_three_quarters_of_its_readings():
    """So after a start it waits until its window has filled."""
    assert seen(readings(*[200.0] * 8), 60.0).trouble is Why.WINDOW
    assert seen([*readings(*[200.0] * 12)[::3]], 60.0, now=86.0).trouble is Why.NO_VALUE  # not young, full of holes
    assert seen(readings(*[200.0] * 9), 60.0) == Level(200.0)


# -- samplers, lamps


SAMPLER = SampleRule(name="cod", kind="sample", output="s", point="out", parameter="cod", start=60.0, stop=50.0)


def test_an_exceedance_gets_one_bottle_and_a_new_one_the_next():
    watch = watched(SAMPLER, Watch(), Level(61.0), 1.0)
    assert sample(SAMPLER, watch, Past(), (), NOON, 1.0).start is Why.LEVEL
    taken = replace(watch, armed=False)
    assert sample(SAMPLER, taken, Past(), (), NOON, 2.0).start is None
    between = watched(SAMPLER, taken, Level(55.0), 3.0)
    again = watched(SAMPLER, between, Level(61.0), 4.0)
    assert sample(SAMPLER, again, Past(), (), NOON, 4.0).start is None
    over = watched(SAMPLER, again, Level(50.0), 5.0)
    assert over.armed
    assert sample(SAMPLER, watched(SAMPLER, over, Level(61.0), 6.0), Past(), (), NOON, 6.0).start is Why.LEVEL


def test_a_pulse_ends_after_its_time():
    past = Past(on=True, since=10.0)
    assert sample(SAMPLER, Watch(), past, (), NOON, 10.7).stop is None
    assert sample(SAMPLER, Watch(), past, (), NOON, 10.8).stop is Why.PULSE


def test_a_full_or_faulty_sampler_gets_no_pulse():
    watch = watched(SAMPLER, Watch(), Level(61.0), 1.0)
    wish = sample(SAMPLER, watch, Past(), [Why.BOTTLE_FULL], NOON, 1.0)
    assert decide(Limits(), Past(), wish, 1.0) == Decision(False, Why.BOTTLE_FULL, Why.BOTTLE_FULL)


def test_a_value_may_be_too_low_as_well():
    """Oxygen below 3 mg/l; it is over at 4."""
    low = replace(SAMPLER, start=3.0, stop=4.0)
    watch = watched(low, Watch(armed=False), Level(2.9), 1.0)
    assert watch.past_since == 1.0
    assert not watched(low, watch, Level(3.5), 2.0).armed
    assert watched(low, watch, Level(4.0), 2.0).armed


def test_a_buzzer_is_quiet_outside_of_its_hours_though_its_input_is_active():
    rule = SignalRule(name="b", kind="signal", output="buzzer", input="door", hours="07:00-21:00")
    assert decide(Limits(), Past(), signal(rule, Watch(), Level(None), True, NOON, 1.0), 1.0) == Decision(
        True, Why.INPUT
    )
    night = signal(rule, Watch(), Level(None), True, time(22), 1.0)
    assert decide(Limits(), Past(), night, 1.0) == Decision(False, Why.HOURS, Why.HOURS)
    assert decide(Limits(), Past(on=True, since=0.0), night, 1.0) == Decision(False, Why.HOURS)


def test_a_lamp_of_two_rules_is_on_while_either_wants_it():
    want, idle, blocked = Wish(Why.INPUT, None, None), Wish(), Wish(Why.LEVEL, Why.HOURS, Why.HOURS)
    assert decide(Limits(), Past(), merged([idle, want]), 1.0).on
    assert decide(Limits(), Past(on=True, since=0.0), merged([idle, want]), 1.0).on
    assert decide(Limits(), Past(), merged([blocked, want]), 1.0).on
    assert decide(Limits(), Past(), merged([blocked, idle]), 1.0) == Decision(False, Why.HOURS, Why.HOURS)
    assert not decide(Limits(), Past(on=True, since=0.0), merged([idle, idle]), 1.0).on
    assert decide(Limits(), Past(), merged([]), 1.0) == Decision(False, Why.IDLE)
