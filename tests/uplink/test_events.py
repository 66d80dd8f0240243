"""What happens, as it is worded for a platform: one test a kind, shapes as the fact sheet has them."""

from datetime import UTC, datetime, timedelta

import pytest

from station import records
from station.model import Average, Kind, Mark, Record, Report, replace
from station.parameters import catalogue
from station.records import TOLD
from tests.uplink.conftest import MN
from uplink.hj212.dialects import Habits
from uplink.hj212.events import CODES, EQUIPMENT, LOG_BYTES, LOG_CHARACTERS, VALUES, number_of, pieces
from uplink.hj212.link import PointSettings
from uplink.hj212.messages import UPLOADS

AT = datetime(2026, 3, 1, 4, tzinfo=UTC)
ALL = {"standard": "2025", "kinds": ("minute", *TOLD, "furnace"), "codes": {"cod": "w01018", "ph": "w01001"}}


def worded(link, kind, body, point="P1", at=AT, asked=False, **changes):
    station = link(1, **{**ALL, **changes})
    record = Record(kind, at, body, point, "analyser")
    return station.uplink.compose(Report(TOLD[kind], point, at, record=record, asked=asked))


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("equipment", {"states": {"1": "running", "2": "off", "3": "blow_back"}}, "SB1-RS=1;SB2-RS=0;SB3-RS=5"),
        ("equipment_hours", {"hours": {"1": 23.5, "2": 0.0}}, "SB1-RT=23.50;SB2-RT=0.00"),
        ("noise", {"levels": {"noise": 61.26, "unknown": 1.0}}, "LA-Data=61.3"),
        (
            "check",
            {"parameter": "cod", "value": 98.76, "standard": 100.0, "passed": True},
            "w01018-SampleRd=98.8,w01018-StandardValue=100.0,w01018-ResultType=1",
        ),
        (
            "check",
            {"parameter": "cod", "value": 70.0, "standard": 100.0, "passed": False},
            "w01018-SampleRd=70.0,w01018-StandardValue=100.0,w01018-ResultType=0",
        ),
        ("kept_sample", {"vase": 3}, "VaseNo=3"),
        ("identity", {"serial": "SN-8", "before": "SN-7", "parameters": ["x", "cod"]}, "PolId=w01018;w01018-SN=SN-8"),
        (
            "site_info",
            {"item": "instrument_link", "value": "bad", "parameters": ["cod", "ph"]},
            "PolId=w01018;i12002-Info=1",
        ),
        ("site_info", {"item": "logger_state", "value": "stopped"}, "i22001-Info=1"),
        (
            "raw",
            {
                "sampled": "2026-03-01T10:00:00+08:00",
                "completed": "2026-03-01T11:30:00+08:00",
                "type": "0",
                "values": {"cod": [31.25, "N"], "nothing": [1.0, "N"]},
            },
            "w01018-SampleTime=20260301100000,w01018-CompleteTime=20260301113000,w01018-SampleType=0,"
            "w01018-Avg=31.2,w01018-Flag=N",
        ),
    ],
)
def test_a_record_is_worded_with_the_fields_of_its_command(link, kind, body, text):
    assert worded(link, kind, body) == f"DataTime=20260301120000;{text}"


def test_every_kind_that_is_told_has_a_command_of_its_own():
    assert {kind.name.lower() for kind in TOLD.values()} == set(TOLD)
    # A log text, as site_info has them; and a still, which no command of the standard carries.
    own = [UPLOADS[kind] for kind in TOLD.values() if kind not in (Kind.SEAL_HEAD, Kind.SNAPSHOT)]
    assert len(set(own)) == len(TOLD) - 2


def test_a_kind_that_is_not_named_is_told_only_when_it_is_asked_for(link):
    body = {"vase": 3}
    assert worded(link, "kept_sample", body, kinds=("minute",)) is None
    assert worded(link, "kept_sample", body, kinds=("minute",), asked=True) == "DataTime=20260301120000;VaseNo=3"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("equipment", {"states": {"1": "asleep"}}),
        ("equipment", {"states": None}),
        ("check", {"parameter": "cod", "value": "much", "standard": 1.0, "passed": True}),
        ("kept_sample", {}),
        ("site_info", {"item": "mood", "value": "good", "parameters": ["cod"]}),
        ("raw", {"sampled": "yesterday", "values": {"cod": [1.0, "N"]}}),
        ("raw", {"values": {"cod": [1.0, "X"]}}),
    ],
)
def test_a_record_that_is_not_what_its_kind_says_is_logged_and_stops_nothing(link, caplog, kind, body):
    assert worded(link, kind, body) is None
    assert f"a record of kind {kind} cannot be worded" in caplog.text


def test_an_instrument_read_for_the_first_time_replaces_none(link):
    assert worded(link, "identity", {"serial": "SN-7", "before": "", "parameters": ["cod"]}) is None


def test_an_instrument_this_platform_knows_nothing_of_is_not_spoken_of(link):
    body = {"item": "instrument_state", "value": "fault", "parameters": ["solar_radiation"]}
    assert worded(link, "site_info", body) is None


@pytest.mark.parametrize(
    ("standard", "unknown"),
    [
        ("2005", {"raw", "noise", "check", "kept_sample", "identity", "site_info", "seal_head", "snapshot"}),
        ("2017", {"raw", "noise", "check", "alarm", "snapshot"}),
        ("2025", {"alarm", "snapshot"}),
    ],
)
def test_a_kind_without_a_command_is_a_fault_and_is_never_sent(link, standard, unknown):
    """2081 too came with 2017: a platform of 2005 is told of no power-on."""
    station = link(1, **{**ALL, "standard": standard})
    faults = [text for place, text in station.settings.faults(catalogue()) if place == "kinds"]
    unknown = unknown if standard == "2025" else {*unknown, "furnace"}
    assert faults == [f'"{name}" has no command in {standard}' for name in (*TOLD, "furnace") if name in unknown]
    record = Record("check", AT, {"parameter": "cod", "value": 1.0, "standard": 1.0, "passed": True}, "P1")
    assert (station.uplink.compose(Report(Kind.CHECK, "P1", AT, record=record)) is None) == ("check" in unknown)
    told = station.uplink.compose(Report(Kind.POWER_ON, "P1", AT))
    assert (told is None) == (standard == "2005")


def test_a_point_that_is_not_reported_here_has_nothing_to_say(link):
    station = link(1, **ALL, point=(PointSettings(point="P2", mn=MN),))
    record = Record("kept_sample", AT, {"vase": 1}, "P1")
    assert station.uplink.compose(Report(Kind.KEPT_SAMPLE, "P1", AT, record=record)) is None


def test_a_raw_reading_took_no_time_and_keeps_its_mark(link):
    station = link(1, **ALL)
    averages = (Average("ph", 7.123, mark=Mark.N), Average("cod", None, mark=Mark.D))
    report = Report(Kind.RAW, "P1", AT, averages, asked=True)
    assert station.uplink.compose(report) == (
        "DataTime=20260301120000;"
        "w01001-SampleTime=20260301120000,w01001-CompleteTime=20260301120000,w01001-Avg=7.12,w01001-Flag=N;"
        "w01018-SampleTime=20260301120000,w01018-CompleteTime=20260301120000,w01018-Flag=D"
    )


def test_every_item_and_every_word_for_a_value_has_its_code():
    """The station and this uplink spell the same words, without importing each other."""
    assert set(CODES) == set(records.ITEMS)
    assert tuple(EQUIPMENT) == records.EQUIPMENT
    assert tuple(VALUES["instrument_state"]) == records.INSTRUMENT_STATES
    assert tuple(VALUES["logger_state"]) == records.LOGGER_STATES
    assert tuple(VALUES["instrument_link"]) == tuple(VALUES["platform_link"]) == records.LINK_STATES
    assert [number_of("instrument_state", word) for word in ("blow_back", "service")] == ["5", "10"]


def test_a_log_text_is_cut_to_what_a_frame_has_room_for_and_loses_nothing(link):
    """At most 890 characters, and in Chinese no more bytes than a data area holds."""
    from uplink.hj212.messages import split

    for text in ("valve 3 opened " * 200, "清洗管路完成" * 300, "x"):
        parts = pieces(text)
        assert "".join(parts).split() == text.split()
        assert all(len(part) <= LOG_CHARACTERS and len(part.encode()) <= LOG_BYTES for part in parts)
        body = {"item": "logger_log", "value": parts[0], "parameters": ["cod"]}
        said = worded(link, "site_info", body, at=AT + timedelta(seconds=1))
        assert said.endswith(f"i21001-Info=//{parts[0].strip()}//")
        assert split(said, head=85, split_head=104, width=4) == [said]


def test_a_log_text_cannot_break_the_data_area_it_stands_in():
    assert number_of("logger_log", "a;b=c,d&&e//f#\r\ng\x00") == "//a b c d e/f g//"


# -- what 2005 has of alarms (B), and 2025 of furnaces (B)

ALARM = {"rule": "alarm", "state": "alarm", "before": "pre_alarm", "parameter": "cod", "value": 105.04}


def alarm(link, habits=None, **body):
    changes = {"standard": "2005", "kinds": ("minute", "alarm"), "codes": {"cod": "011"}}
    return worded(link, "alarm", {**ALARM, **body}, **changes, habits=Habits(**(habits or {})))


def test_an_alarm_that_begins_is_told_by_time_value_and_type(link):
    assert alarm(link) == "AlarmTime=20260301120000;011-Ala=105.0,AlarmType=1"
    assert alarm(link, {"alarm_time": "DataTime"}) == "DataTime=20260301120000;011-Ala=105.0,AlarmType=1"


def test_the_end_of_an_alarm_is_told_only_where_its_number_is_known(link):
    over = {"state": "normal", "before": "alarm", "value": 80.0}
    assert alarm(link, **over) is None
    assert alarm(link, {"alarm_over": "0"}, **over) == "AlarmTime=20260301120000;011-Ala=80.0,AlarmType=0"


@pytest.mark.parametrize(
    "body",
    [
        {"state": "pre_alarm", "before": "normal"},
        {"state": "undetermined", "before": "alarm", "value": None},
        {"state": "normal", "before": "undetermined"},
        {"rule": "pair"},
        {"value": None},
        {"parameter": "solar_radiation"},
    ],
)
def test_what_is_no_alarm_of_a_limit_is_not_told(link, body):
    assert alarm(link, {"alarm_over": "0"}, **body) is None


@pytest.mark.parametrize("word", ["1", "", "12", "x", "０"])
def test_the_number_of_an_end_is_another_digit(word):
    assert [place for place, _ in Habits(alarm_over=word).faults()] == ["habits.alarm_over"]
    assert list(Habits(alarm_over="0").faults()) == []


def furnace(link, average, **changes):
    station = link(1, **{**ALL, **changes})
    return station.uplink.compose(Report(Kind.FURNACE, "P1", AT, (average,)))


HOT = Average("furnace_temperature", 853.26, 840.0, 860.0)


def test_the_mean_of_a_furnace_is_told_alone(link):
    """A project maps a01901-Avg alone (B): a mark is added where it is not N, or where the platform wants it."""
    assert furnace(link, HOT) == "DataTime=20260301120000;a01901-Avg=853.3"
    assert furnace(link, HOT, habits=Habits(furnace_flag=True)).endswith(";a01901-Avg=853.3,a01901-Flag=N")
    assert furnace(link, replace(HOT, mark=Mark.D)).endswith(";a01901-Avg=853.3,a01901-Flag=D")
    assert furnace(link, replace(HOT, mean=None, mark=Mark.B)) == "DataTime=20260301120000;a01901-Flag=B"
    assert furnace(link, replace(HOT, mean=None, mark=Mark.B), missing="omit") is None


def test_a_furnace_period_is_named_by_the_end_that_minutes_are(link):
    assert furnace(link, HOT, datatime="end").startswith("DataTime=20260301120500;")
    assert furnace(link, HOT, habits=Habits(minute_datatime="end")).startswith("DataTime=20260301120500;")


def test_a_furnace_is_in_other_records_only_where_a_code_is_given(link):
    minute = Report(Kind.MINUTE, "P1", AT, (HOT, Average("ph", 7.0, 7.0, 7.0)))
    assert "a01901" not in link(1, **ALL).uplink.compose(minute)
    given = {**ALL, "codes": {**ALL["codes"], "furnace_temperature": "a01999"}}
    assert "a01999-Min=840.0,a01999-Avg=853.3" in link(1, **given).uplink.compose(minute)
    assert furnace(link, HOT, codes=given["codes"]) == "DataTime=20260301120000;a01999-Avg=853.3"


def test_a_platform_that_does_not_name_the_kind_gets_no_furnace(link):
    assert furnace(link, HOT, kinds=("minute",)) is None
    assert link(1, **ALL).uplink._wording.parameter("a01901") == "furnace_temperature"
