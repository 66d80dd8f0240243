"""What messages say: exact texts, units and rounding, splitting, and tables that agree with each other."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.model import Average, ConfigError, Kind, Mark, Outcome, Report, replace
from station.parameters import catalogue
from uplink.hj212.dialects import DIALECTS, VARIANTS, Habits, adapted, dialect
from uplink.hj212.frame import FrameTooLong, factors
from uplink.hj212.messages import (
    COMMANDS,
    EXE_RTN,
    OUTCOMES,
    RESUPPLIED,
    UPLOADS,
    Wording,
    conversion,
    digits,
    request,
    split,
)
from uplink.hj212.types import TYPES
from uplink.hj212.verbs import MEANINGS

BEIJING = timezone(timedelta(hours=8))
EIGHT = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)  # 08:00 in Beijing
STARTED = datetime(2026, 2, 28, 16, 0, 5, tzinfo=UTC)


def wording(standard="2017", variant="", *, codes=(), units=(), **changes):
    spoken = adapted(dialect(standard, variant), changes)
    return Wording.of(spoken, catalogue(), zone=BEIJING, started=STARTED, codes=dict(codes), units=dict(units))


def minute(*averages, kind=Kind.MINUTE):
    return Report(kind, "P1", EIGHT, averages)


PM = Average("pm25", 35.04, 30.0, 40.06)


def test_real_time_data_carry_value_and_flag():
    report = minute(PM, Average("noise", 61.25), Average("wind_direction", 7.0), kind=Kind.REALTIME)
    assert wording().compose(report) == (
        "DataTime=20260301080000;a34004-Rtd=35.0,a34004-Flag=N;LA-Rtd=61.2,LA-Flag=N;a01008-Rtd=7,a01008-Flag=N"
    )


@pytest.mark.parametrize("kind", [Kind.MINUTE, Kind.HOUR, Kind.DAY])
@pytest.mark.parametrize("standard", ["2017", "2025"])
def test_periods_carry_minimum_mean_and_maximum(kind, standard):
    text = "DataTime=20260301080000;a34004-Min=30.0,a34004-Avg=35.0,a34004-Max=40.1,a34004-Flag=N"
    assert wording(standard).compose(minute(PM, kind=kind)) == text


def test_2005_speaks_its_own_codes_and_marks():
    broken = Average("air_temperature", None, mark=Mark.B)
    text = "DataTime=20260301080000;925-Min=30.0,925-Avg=35.0,925-Max=40.1,925-Flag=N;126-Flag=D"
    assert wording("2005").compose(minute(PM, broken)) == text


def test_noise_goes_out_as_a_level_and_its_statistics_as_data():
    """The statistics' form is that of HJ 212-2017 appendix C, which prints no Flag."""
    day = [Average("noise", 50.0, 42.0, 54.0), Average("noise_l5", 53.0), Average("noise_ldn", 55.0)]
    day += [Average("noise_ld", 54.0), Average("noise_ln", 44.04), Average("noise_l10", None, mark=Mark.D)]
    assert wording().compose(minute(*day, kind=Kind.DAY)) == (
        "DataTime=20260301080000;LA-Min=42.0,LA-Avg=50.0,LA-Max=54.0,LA-Flag=N;L5-Data=53.0;Ldn-Data=55.0;"
        "Ld-DayData=54.0;Ln-NightData=44.0;L10-Flag=D"
    )


def test_power_on_names_the_moment_and_the_start():
    text = "DataTime=20260301080000;RestartTime=20260301000005"
    assert wording().compose(Report(Kind.POWER_ON, "P1", EIGHT)) == text


def test_data_time_may_name_the_end_of_a_period():
    ends = {Kind.REALTIME: "080000", Kind.MINUTE: "080100", Kind.HOUR: "090000"}
    for kind, end in ends.items():
        text = wording(minute_datatime="end", hour_datatime="end").compose(minute(PM, kind=kind))
        assert text is not None
        assert text.startswith(f"DataTime=20260301{end};")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_factor_without_value_sends_its_flag_or_nothing(value):
    report = minute(Average("pm25", value, mark=Mark.B))
    assert wording().compose(report) == "DataTime=20260301080000;a34004-Flag=B"
    assert wording(missing="omit").compose(report) is None


def test_what_has_no_code_is_not_sent_unless_one_is_set():
    report = minute(Average("orp", 210.0, 200.0, 220.0))
    assert wording().compose(report) is None
    assert wording(codes={"orp": "w99001"}).compose(report) == (
        "DataTime=20260301080000;w99001-Min=200.0,w99001-Avg=210.0,w99001-Max=220.0,w99001-Flag=N"
    )
    assert wording().compose(minute()) is None


@pytest.mark.parametrize(
    ("parameter", "unit", "value", "text"),
    [
        ("pm25", "mg/m³", 75.6, "0.0756"),
        ("pm25", "ng/m³", 75.63, "75600"),
        ("pm25", "μg/m³", 75.6, "75.6"),  # Greek mu
        ("air_pressure", "hPa", 101.325, "1013.2"),
        ("conductivity", "mS/cm", 1425.04, "1.4250"),
        ("lead", "mg/L", 4.4, "0.004"),
        ("o3", "µg/m³", 0.0634, "63"),
    ],
)
def test_a_value_keeps_its_digits_in_another_unit(parameter, unit, value, text):
    said = wording(units={parameter: unit}).compose(minute(Average(parameter, value), kind=Kind.REALTIME))
    assert f"-Rtd={text}," in said


def test_a_unit_of_another_kind_is_a_configuration_fault():
    assert conversion("µg/m³", "ppm") is None
    with pytest.raises(ConfigError, match="pm25 in µg/m³ cannot be sent in ppm"):
        wording(units={"pm25": "ppm"})


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 6), st.integers(-6, 6))
def test_rounding_is_half_even_on_the_decimal_digits(value, decimals, shift):
    """GB/T 8170, judged by the decimal module, which the service process does not load."""
    quantum = Decimal(1).scaleb(-decimals)
    exact = Decimal(repr(value))
    if exact.adjusted() + decimals > 24:  # beyond the decimal module's default precision
        return
    expected = exact.quantize(quantum, rounding=ROUND_HALF_EVEN).scaleb(shift)
    got = digits(value, decimals, shift)
    assert Decimal(got) == expected
    assert len(got.partition(".")[2]) == max(0, decimals - shift)
    assert not got.startswith("-0") or Decimal(got) != 0


# -- splitting

DATA = "DataTime=20260301080000;" + ";".join(
    f"a{code}-Min=10.0,a{code}-Avg=20.0,a{code}-Max=30.0,a{code}-Flag=N" for code in range(30001, 30021)
)


def test_twenty_factors_take_several_packets_within_both_limits():
    parts = split(DATA, head=80, split_head=93, width=1)
    assert len(parts) == 2
    assert all(len(part) + len("CP=&&&&") + 93 <= 1024 for part in parts)
    assert all(part.startswith("DataTime=20260301080000;a") for part in parts)
    joined = {code: values for part in parts for code, values in factors(part).items() if code}
    assert joined == {code: values for code, values in factors(DATA).items() if code}


def test_what_fits_is_not_split():
    fits = DATA[: 944 - len("CP=&&&&")]  # 944 bytes of CP are left beside 80 of the other fields
    assert split(fits, 80, 93, 4) == [fits]
    assert len(split(DATA[: 945 - len("CP=&&&&")], 80, 93, 4)) == 2


def test_a_factor_is_never_cut():
    with pytest.raises(FrameTooLong, match="one factor makes a data area of 1026 bytes, the limit is 924"):
        split("DataTime=20260301080000;" + "x" * 1002, 80, 93, 4)


def test_one_digit_of_packet_number_counts_nine():
    long = "DataTime=20260301080000;" + ";".join(["x" * 800] * 10)
    with pytest.raises(FrameTooLong, match="10 packets, PNUM has 1 digits"):
        split(long, 80, 93, 1)
    assert len(split(long, 80, 99, 4)) == 10


# -- tables


@pytest.mark.parametrize(
    ("standard", "values"), [("2005", (0, 1, 2, 3)), ("2017", (4, 5, 6, 7)), ("2025", (8, 9, 10, 11))]
)
def test_flag_values_are_those_of_the_generation(standard, values):
    flag = DIALECTS[standard].flag
    asked = [(False, False), (False, True), (True, False), (True, True)]
    assert tuple(int(flag(split=split, answer=answer)) for split, answer in asked) == values


def test_2025_is_2017_with_its_changes():
    changed = replace(
        DIALECTS["2017"],
        standard="2025",
        name="2025",
        version=2,
        split_digits=1,
        resupply=True,
        heartbeat=True,
        cipher=True,
    )
    assert DIALECTS["2025"] == changed


def test_every_variant_is_made_in_every_generation_it_is_spoken_in():
    for name, variant in VARIANTS.items():
        for standard in variant.standards:
            spoken = dialect(standard, name)
            assert (spoken.standard, spoken.name) == (standard, name)
            assert set(spoken.marks) == set(Mark)
        parent = variant.parent
        assert not parent or set(variant.standards) <= set(VARIANTS[parent].standards)


def test_a_variant_inherits_and_a_platform_overrides():
    assert dialect("2017", "electricity-80-points").st == dialect("2017", "electricity-80").st == "80"
    assert dialect("2017", "ambient-air-national").marks[Mark.D] == "B"
    habits = Habits(marks={"B": "O"}, hour_datatime="end", decimals={"pm25": 0})
    spoken = adapted(dialect("2017", "ambient-air-national"), habits.changes())
    assert (spoken.marks[Mark.B], spoken.marks[Mark.T], spoken.ends(Kind.HOUR), spoken.ends(Kind.DAY)) == (
        "O",
        "H",
        True,
        False,
    )
    assert spoken.decimals == {"pm25": 0}


def test_faulty_habits_are_named_with_their_place():
    assert list(Habits(marks={"X": "??"}, decimals={"pm25": 9}).faults()) == [
        ("habits.marks.X", "unknown mark"),
        ("habits.marks.X", '"??" is not one letter or digit'),
        ("habits.decimals.pm25", "9 is not 0 to 6"),
    ]


def test_site_dust_may_go_out_under_plain_names():
    report = minute(PM, Average("noise", 61.25), kind=Kind.REALTIME)
    said = wording("2005", "site-dust-names").compose(report)
    assert said == "DataTime=20260301080000;PM25-Rtd=35.0,PM25-Flag=N;B03-Rtd=61.2,B03-Flag=N"


def test_electricity_has_a_node_code_with_suffixes_and_one_flag():
    """ST=80, form A (B): 100000-Ua and one bare Flag, the worst."""
    volts = [Average("voltage_l1", 220.2, 219.0, 221.0), Average("current_l1", 0.24, mark=Mark.D)]
    said = wording("2017", "electricity-80").compose(minute(*volts))
    assert said == "DataTime=20260301080000;100000-Ua=220.2;100000-Ia=0.24;Flag=D"


def test_noise_statistics_may_be_averages_like_the_rest():
    said = wording(noise="average").compose(minute(Average("noise_l5", 53.0, 50.0, 55.0)))
    assert said == "DataTime=20260301080000;L5-Avg=53.0,L5-Flag=N"
    assert (
        wording(decimals={"pm25": 0})
        .compose(minute(PM))
        .endswith("a34004-Min=30,a34004-Avg=35,a34004-Max=40,a34004-Flag=N")
    )


def test_a_polid_is_a_parameter_again_and_fourteen_digits_are_a_moment():
    assert wording().parameter("w01018") == "cod"
    with pytest.raises(ValueError, match="'w99' is no factor of this station"):
        wording().parameter("w99")
    assert wording().moment("20260301080000") == EIGHT
    for text in ("2026030108", "20260230080000", "２" * 14):
        with pytest.raises(ValueError, match=r"digits|day"):
            wording().moment(text)


def test_every_mark_outcome_and_kind_has_its_code():
    assert all(set(dialect.marks) == set(Mark) for dialect in DIALECTS.values())
    assert set(OUTCOMES) == set(Outcome)
    assert set(OUTCOMES.values()) <= set(EXE_RTN)
    assert set(UPLOADS) == set(Kind) - {Kind.SNAPSHOT}  # no CN carries a picture
    assert set(UPLOADS.values()) > RESUPPLIED


def test_no_command_stands_twice_in_one_generation_and_direction():
    for standard in DIALECTS:
        rows = [(row.cn, row.direction) for row in COMMANDS if row.spoken(standard)]
        assert len(rows) == len(set(rows))


def test_every_verb_has_its_meaning_and_every_meaning_its_row():
    verbs = {(row.cn, row.verb) for row in COMMANDS if row.verb}
    assert verbs == {(cn, meanings[-1].verb) for cn, meanings in MEANINGS.items()}


def test_a_command_is_a_request_only_in_the_generations_that_know_it():
    assert [request("1063", name) is not None for name in ("2005", "2017", "2025")] == [False, True, True]
    assert request("3013", "2005").purpose == "operate equipment"
    assert request("3013", "2017").purpose == "start cleaning or blow-back"
    assert request("9014", "2017") is request("0000", "2017") is None


# -- totals and extremes


def compose(kind, averages, standard="2017", minutes=1, **changes):
    report = Report(kind, "P1", EIGHT, averages, minutes=minutes)
    return wording(standard, codes={"rain": "a01017"}, **changes).compose(report).split(";")[1:]


def test_what_is_counted_goes_out_as_a_total():
    """2017: Cou is the period's total; a mean of a sum would mean nothing."""
    rain = [Average("rain", 2.4, mark=Mark.N, valid=12, total=12, expected=12)]
    for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY):
        assert compose(kind, rain) == ["a01017-Cou=2.4,a01017-Flag=N"]
    assert compose(Kind.REALTIME, rain) == ["a01017-Rtd=2.4,a01017-Flag=N"]


@pytest.mark.parametrize(
    ("kind", "minutes", "valid", "volume"),
    [
        (Kind.MINUTE, 1, 12, "0.750"),
        (Kind.MINUTE, 10, 120, "7.500"),
        (Kind.HOUR, 1, 720, "45.000"),
        (Kind.HOUR, 1, 360, "22.500"),  # what was not measured is not invented
        (Kind.DAY, 1, 17280, "1080.000"),
    ],
)
def test_a_flow_has_its_volume_in_cubic_metres(kind, minutes, valid, volume):
    expected = {Kind.MINUTE: 12 * minutes, Kind.HOUR: 720, Kind.DAY: 17280}[kind]
    flow = [Average("flow_water", 12.5, 12.0, 13.0, Mark.N, valid, valid, expected)]
    assert compose(kind, flow, minutes=minutes) == [
        f"w00000-Cou={volume},w00000-Min=12.00,w00000-Avg=12.50,w00000-Max=13.00,w00000-Flag=N"
    ]


def test_a_meter_that_runs_backwards_discharges_nothing():
    """Its volume is that by which loads are reckoned, too; what it measured is told as it was."""
    flow = [Average("flow_water", -2.0, -3.0, 0.0, Mark.N, 12, 12, 12)]
    assert compose(Kind.MINUTE, flow) == [
        "w00000-Cou=0.000,w00000-Min=-3.00,w00000-Avg=-2.00,w00000-Max=0.00,w00000-Flag=N"
    ]


def test_what_has_no_digits_is_left_out_and_a_whole_name_stands_once():
    """An infinite figure ends no commit; a code that is a whole name (electricity) has one value."""
    odd = [Average("nox", math.inf, 1.0, math.nan, Mark.N, load_kg=math.inf, converted=math.nan)]
    assert compose(Kind.HOUR, odd) == ["a21002-Min=1.000,a21002-Flag=N"]
    flow = [Average("flow_water", 2.0, 1.0, 3.0, Mark.N, 12, 12, 12, load_kg=1.0, converted=1.0)]
    text = wording(codes={"flow_water": "100000-Q"}).compose(Report(Kind.HOUR, "P1", EIGHT, flow))
    assert text.count("100000-Q=") == 1


def test_a_gas_flow_is_in_cubic_metres_already():
    flow = [Average("gas_flow", 3.0, 2.0, 4.0, Mark.N, 12, 12, 12)]
    assert compose(Kind.MINUTE, flow)[0].startswith("a00000-Cou=180.000,")
    assert compose(Kind.MINUTE, flow, standard="2005")[0].startswith("B02-Cou=180.000,")


def test_water_that_runs_back_is_no_discharge():
    """The volume is that of the load beside it, 0; the mean is as measured."""
    flow = [Average("flow_water", -0.5, -1.0, 0.0, Mark.N, 12, 12, 12)]
    assert compose(Kind.MINUTE, flow) == [
        "w00000-Cou=0.000,w00000-Min=-1.00,w00000-Avg=-0.50,w00000-Max=0.00,w00000-Flag=N"
    ]


def test_a_record_of_several_minutes_ends_when_they_do():
    ending = wording(minute_datatime="end")
    for minutes in (1, 10):
        text = ending.compose(Report(Kind.MINUTE, "P1", EIGHT, [Average("ph", 7.0, 7.0, 7.0)], minutes=minutes))
        assert text.startswith(f"DataTime=2026030108{minutes:02d}00;")


def test_an_extreme_value_stands_for_what_cannot_be_had_only_where_it_is_wanted():
    """2025, one project (C): the largest value of the factor's type, with its mark; unknown types keep to the Flag."""
    nothing = [Average("so2", None, mark=Mark.D), Average("rain", None, mark=Mark.B)]
    assert compose(Kind.REALTIME, nothing, "2025", missing="extreme") == [
        "a21026-Rtd=99999.99,a21026-Flag=D",
        "a01017-Flag=B",
    ]
    assert compose(Kind.HOUR, nothing[:1], "2025", missing="extreme") == [
        "a21026-Min=99999.99,a21026-Avg=99999.99,a21026-Max=99999.99,a21026-Flag=D"
    ]
    assert compose(Kind.HOUR, nothing[:1], "2025") == ["a21026-Flag=D"]
    measured = [Average("so2", 20.125, mark=Mark.N)]
    assert compose(Kind.REALTIME, measured, "2025", missing="extreme") == ["a21026-Rtd=20.125,a21026-Flag=N"]


def test_every_type_is_that_of_a_code_and_every_code_of_the_fact_sheet_has_one():
    assert all(re.fullmatch("[1-7](\\.[1-3])?", kind) for kind in TYPES.values())
    known = {code for p in catalogue().values() for code in (p.code,) if code}
    assert len(known & set(TYPES)) > 30


def test_a_load_and_a_value_at_reference_oxygen_stand_beside_the_measured_one() -> None:
    """Cou in kg; ZsAvg of a period, ZsRtd of a moment (2017, read)."""
    nox = Average("nox", 40.0, 38.0, 41.0, load_kg=0.288, converted=46.6667)
    assert wording().compose(minute(nox)) == (
        "DataTime=20260301080000;a21002-Cou=0.2880,a21002-ZsAvg=46.667,"
        "a21002-Min=38.000,a21002-Avg=40.000,a21002-Max=41.000,a21002-Flag=N"
    )
    assert "a21002-ZsRtd=46.667,a21002-Rtd=40.000" in (wording().compose(minute(nox, kind=Kind.REALTIME)) or "")


def test_an_analysers_result_is_repeated_with_the_time_of_its_sample():
    """SampleTime, of moments alone (2017, table of fields); 2005 has no such field."""
    cod = Average("cod", 42.5, sampled=EIGHT)
    assert wording().compose(minute(cod, kind=Kind.REALTIME)) == (
        "DataTime=20260301080000;w01018-SampleTime=20260301080000,w01018-Rtd=42.5,w01018-Flag=N"
    )
    assert "SampleTime" not in (wording("2005").compose(minute(cod, kind=Kind.REALTIME)) or "")
    silent = Average("cod", None, mark=Mark.B, sampled=EIGHT)
    assert "SampleTime" not in (wording().compose(minute(silent, kind=Kind.REALTIME)) or "")
