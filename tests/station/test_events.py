"""Events in words: a code without a text, or an argument without a word, is found by walking through the program."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.events import about, codes, title, told
from station.i18n import LANGUAGES, texts
from station.store import Event, Store, connect
from tests.station import event_codes
from tests.station.commands import Here
from tests.station.conftest import Rig

NOW = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
BEIJING = timezone(timedelta(hours=8))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


# -- every code the program writes


def test_every_call_that_writes_an_event_names_a_code_that_can_be_read_off() -> None:
    """Whoever puts a code together enters it in event_codes.MADE."""
    _, unknown = event_codes.found()
    assert unknown == set()


def test_every_code_the_program_writes_has_a_text_in_both_languages() -> None:
    found, _ = event_codes.found()
    assert len(found) > 70
    for language in LANGUAGES:
        assert [code for code in sorted(found) if f"event.{code}" not in texts(language)] == []


def test_every_argument_the_program_names_has_a_word_in_both_languages() -> None:
    found, _ = event_codes.found()
    named = {argument for arguments in found.values() for argument in arguments}
    assert {"device", "reason", "trust", "rows", "login"} <= named
    for language in LANGUAGES:
        assert sorted(one for one in named if f"event_word.{one}" not in texts(language)) == []


def test_there_is_no_text_for_a_code_that_nobody_writes() -> None:
    assert sorted(codes()) == sorted(event_codes.found()[0])


def test_a_code_that_nobody_knows_is_found_by_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk itself: a new call with a new code, one that is put together, and one that hands a choice on."""
    (tmp_path / "station").mkdir()
    (tmp_path / "station" / "new.py").write_text(
        'engine.note("of_tomorrow", urgent=True, depth=3)\n'
        'engine.note(f"made_{up}", device=name)\n'
        'engine.note("one" if up else "other", device=name)\n'
        'store.add_events([Event(now, "kept", {"file": name} | {"size": 3})])\n'
    )
    monkeypatch.setattr(event_codes, "ROOT", tmp_path)
    found, unknown = event_codes.found()
    assert found == {"of_tomorrow": {"depth"}, "one": {"device"}, "other": {"device"}, "kept": {"file", "size"}}
    assert unknown == {("station/new.py", "f'made_{up}'")}


# -- words


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        ({"device": "th1", "reason": "BAD_REPLY"}, "instrument: th1; reason: the answer was damaged",
         "仪器:th1;原因:应答有误"),
        ({"rows": {"reading": 5, "event": 2}}, "rows: reading 5, event 2", "行数:reading 5, event 2"),
        ({"points": ["a", "b"], "acknowledged": True}, "points: a, b; acknowledged: yes", "点位:a, b;已确认:是"),
        ({"until": "2026-03-01T00:00:00+00:00"}, "until: 2026-03-01 08:00:00", "直到:2026-03-01 08:00:00"),
        ({"parameter": "pm25", "value": 0.1 + 0.2}, "parameter: PM2.5; value: 0.3", "因子:PM2.5;数值:0.3"),
        ({"outcome": "timed out", "error": "", "missed": 0, "former": None}, "outcome: timed out; missed polls: 0",
         "结果:超时;漏答次数:0"),
        ({"of_tomorrow": 3}, "of_tomorrow: 3", "of_tomorrow:3"),
        ({"password": "123456", "secret_key": "a", "user": "Li"}, "person: Li", "人员:Li"),
    ],
)  # fmt: skip
def test_arguments_are_worded_and_not_dumped(arguments: dict[str, object], english: str, chinese: str) -> None:
    assert about(arguments, "en", BEIJING) == english
    assert about(arguments, "zh", BEIJING) == chinese


def test_a_code_of_another_version_is_shown_as_it_is() -> None:
    assert title("of_tomorrow", "zh") == "of_tomorrow"


# -- the command


@pytest.fixture
def kept(rig: Rig) -> Rig:
    """A station with three events of its own, days apart."""
    rig.run(5)
    with rig.engine.store.transaction():
        rig.engine.store.add_events([
            Event(NOW - timedelta(days=30), "device_lost", {"device": "dust", "reason": "NO_REPLY", "error": ""}),
            Event(NOW + timedelta(days=1), "clock_step", {"seconds": -3.5, "trust": "none"}),
            Event(NOW + timedelta(days=2), "device_back", {"device": "dust", "missed": 4}),
        ])  # fmt: skip
    return rig


def test_events_are_listed_with_time_title_code_and_words(kept: Rig, here: Here) -> None:
    config = kept.loaded.path
    done = here("events", "--from", "2026-03-01T12:00", "--to", "2026-03-04", "--config", config)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "2026-03-02 08:00:30  clock stepped (clock_step)  seconds: -3.5; the clock: not known to be right",
        "2026-03-03 08:00:30  instrument answers again (device_back)  instrument: dust; missed polls: 4",
    ]
    done = here("events", "--from", "2026-03-01T12:00", "--to", "2026-03-04", "--config", config, "--lang", "zh")
    assert "时钟跳变(clock_step) 秒:-3.5;时钟:未确认准确" in done.out


def test_a_code_is_looked_for_in_all_times(kept: Rig, here: Here) -> None:
    done = here("events", "--code", "device_lost", "--json", "--config", kept.loaded.path)
    (found,) = json.loads(done.out)["events"]
    assert found["time"] == "2026-01-30T00:00:30+00:00"
    assert found["arguments"] == {"device": "dust", "reason": "NO_REPLY", "error": ""}
    assert found["words"]["en"] == {
        "title": "instrument does not answer", "about": "instrument: dust; reason: the instrument did not answer",
    }  # fmt: skip
    assert found["words"]["zh"]["title"] == "仪器无应答"


def test_without_a_time_the_last_seven_days_are_listed_and_nothing_is_said_so(kept: Rig, here: Here) -> None:
    done = here("events", "--config", kept.loaded.path)  # the rig's clock is months from this host's
    assert (done.code, done.out) == (0, "nothing happened in that time\n")


def test_only_the_newest_are_listed_where_there_are_more(kept: Rig, here: Here) -> None:
    done = here("events", "--from", "2026-01-01", "--most", "1", "--config", kept.loaded.path)
    assert done.out.splitlines()[1:] == ["the newest 1; there may be older ones: --most or --to"]
    assert "device_back" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--code", "clock_stp"), 'there is no code of events "clock_stp"; did you mean clock_step?'),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "is not before"),
        (("--from", "yesterday"), '"yesterday" is not a time such as 2026-03-01'),
    ],
)
def test_bad_input_is_refused_in_a_sentence(kept: Rig, here: Here, words: tuple[str, ...], said: str) -> None:
    done = here("events", *words, "--config", kept.loaded.path)
    assert (done.code, len(done.said)) == (2, 1)
    assert said in done.err


def test_arguments_that_are_no_json_are_shown_all_the_same(kept: Rig) -> None:
    with kept.engine.store.transaction() as db:
        db.execute("INSERT INTO event(at_ms, code, arguments) VALUES (1, 'stop', 'not JSON'), (2, 'stop', '[1]')")
    with closing(Store(connect(kept.loaded.database, read_only=True))) as store:
        found = told(store, None, datetime(1970, 1, 2, tzinfo=UTC), None, 10)
    assert [about(one.arguments, "en") for one in found] == ["said: not JSON", "said: 1"]
