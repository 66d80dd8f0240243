"""People told of alarms: once, in time, in their language; robots that refuse, hang or lie; restarts in between."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from station.config import load
from station.model import ConfigError, Record, WrongArgument
from station.people import KIND, Episode, NotifySettings, due, end_of_quiet, episodes, told
from station.telling import LONGEST_PAUSE, MOST_BYTES, NotTold, Telling, judge, text_of
from tests.station.commands import daemon, station, until
from tests.station.conftest import CONFIG
from tests.station.test_alarming import DUST, AlarmRig

ZONE = timezone(timedelta(hours=8))
T = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Robot:
    """A webhook on loopback that keeps what it got and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.answer: tuple[int, bytes] = (200, b'{"errcode":0,"errmsg":"ok"}')
        self.hang = Event()
        self.hang.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.raw = body
                outer.got.append((self.path, json.loads(body), dict(self.headers)))
                outer.hang.wait(20)
                status, text = outer.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *words: Any) -> None:
                """Nothing."""

        self.raw = b""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/robot/send?key=SECRET"
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def texts(self) -> list[str]:
        return [body["text"]["content"] if isinstance(body["text"], dict) else body["text"] for _, body, _ in self.got]

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def robot() -> Iterator[Robot]:
    made = Robot()
    yield made
    made.close()


def notify(**keys: Any) -> str:
    said = {"name": "duty", "kind": "wecom", "url_file": "duty.url"} | keys
    return "[[notify]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items())


class PeopleRig(AlarmRig):
    """The rig with an alarm and people; their messages are sent by hand, a look at a time."""

    def __init__(self, folder: Path, robot: Robot, *tables: str) -> None:
        (folder / "duty.url").write_text(robot.address)
        (folder / "secret").write_text("SECabc")
        super().__init__(folder, DUST + "".join(tables or (notify(),)))

    def telling(self) -> Telling:
        made = self.engine.telling
        assert made is not None
        self.engine.committed = lambda patience=5.0: self.engine.commit() or True  # type: ignore[method-assign, assignment, func-returns-value]
        return made

    def look(self) -> int:
        went = self.telling().turn()
        self.engine.commit()
        return went

    def wait(self, minutes: float, looks: int = 1) -> None:
        """Minutes go by, a look every two seconds at the end of each of *looks* parts."""
        for _ in range(looks):
            self.run(60 * minutes / looks, step=5.0)
            self.look()

    def states(self) -> list[str]:
        records = self.engine.store.records(KIND, T - timedelta(days=9), T + timedelta(days=99))
        return [record.body["state"] for record in sorted(records, key=lambda one: one.id)]


def make(folder: Path, robot: Robot, *tables: str) -> PeopleRig:
    return PeopleRig(folder, robot, *tables)


def ring(rig: AlarmRig) -> None:
    rig.instrument.show(pm10=120.0)
    rig.minutes(6)


def test_an_alarm_is_told_once_and_its_end_once(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    ring(rig)
    assert [rig.look() for _ in range(5)] == [1, 0, 0, 0, 0]
    rig.instrument.show(pm10=20.0)
    rig.minutes(6)
    rig.look()
    rig.look()
    assert robot.texts == [
        "【test】\n报警 dust:Site PM10 120.0 µg/m³,限值 100.0 µg/m³,自 03-01 12:05 起",
        "【test】\n恢复 dust:Site PM10,03-01 12:05 至 03-01 12:10",
    ]
    assert robot.got[0][0] == "/robot/send?key=SECRET"
    assert rig.states() == ["sending", "sent", "sending", "sent"]
    rig.engine.shut_down()


def test_a_restart_tells_nothing_twice(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    ring(rig)
    rig.look()
    for _ in range(3):
        rig.restart()
        rig.minutes(0.2)
        rig.look()
    assert len(robot.got) == 1
    rig.engine.shut_down()


def test_a_message_under_way_at_a_crash_is_uncertain_and_not_sent_again(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    ring(rig)
    telling = rig.telling()

    def dies(one: Any, owed: Any) -> None:
        raise KeyboardInterrupt

    telling._send = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        telling.turn()
    rig.restart()
    rig.look()
    rig.look()
    assert robot.got == []
    assert rig.states() == ["sending", "uncertain"]
    assert "people_uncertain" in rig.events()
    rig.wait(61, looks=3)  # and where it still stands a reminder follows
    assert [text.split("\n")[1][:9] for text in robot.texts] == ["仍在报警 dust"]
    rig.engine.shut_down()


def test_reminders_come_until_somebody_acknowledges(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(repeat_minutes=10, repeat_times=3, language="en"))
    ring(rig)
    rig.look()
    rig.wait(21, looks=42)
    assert rig.engine.alarms is not None
    word = rig.engine.alarms.acknowledge({"name": "dust", "user": "Wang", "note": ""}, rig.clock.now())
    rig.engine.keep(word, urgent=True)
    rig.engine.tick()
    rig.engine.commit()
    rig.wait(40, looks=40)
    first, *again, taken = [text.split("\n")[1] for text in robot.texts]
    assert first.startswith("ALARM dust: Site PM10 120.0 µg/m³, limit 100.0 µg/m³")
    assert [one.split("reminder ")[1][0] for one in again] == ["1", "2"]
    assert taken.startswith("dust: acknowledged by Wang at ")
    rig.engine.shut_down()


def test_a_webhook_that_fails_all_day_is_tried_with_growing_pauses_and_given_up(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(repeat_minutes=0))
    robot.answer = (500, b"down")
    ring(rig)
    telling = rig.telling()
    tries = []
    for _ in range(25 * 30):
        before = len(robot.got)
        telling.turn()
        if len(robot.got) > before:
            tries.append(rig.clock.monotonic())
        rig.engine.commit()
        rig.clock.advance(120)
    pauses = [b - a for a, b in pairwise(tries)]
    assert 24 <= len(tries) <= 34
    assert max(pauses) <= LONGEST_PAUSE + 120
    assert pauses == sorted(pauses)
    assert rig.states()[-1] == "given_up"
    assert rig.events().count("people_not_told") == 1
    assert rig.events().count("people_given_up") == 1
    robot.answer = (200, b'{"errcode":0}')
    rig.look()
    assert len(robot.got) == len(tries)
    rig.engine.shut_down()


def test_what_failed_is_told_when_the_way_is_back(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    robot.answer = (200, b'{"errcode":45009,"errmsg":"api freq out of limit"}')
    ring(rig)
    rig.look()
    assert rig.telling().shown()[0]["error"] == "errcode 45009, too many messages: api freq out of limit"
    robot.answer = (200, b'{"errcode":0}')
    rig.look()
    assert len(robot.got) == 1  # not before its pause is over
    rig.clock.advance(61)
    assert rig.look() == 1
    assert rig.telling().shown()[0]["error"] == ""
    assert rig.events().count("people_told_again") == 1
    rig.engine.shut_down()


def test_dingtalk_is_signed_as_its_robots_want_it(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(kind="dingtalk", secret_file="secret", numbers=["13800000000"]))
    ring(rig)
    rig.look()
    ((path, body, _),) = robot.got
    asked = parse_qs(urlsplit(path).query)
    stamp = asked["timestamp"][0]
    digest = hmac.new(b"SECabc", f"{stamp}\nSECabc".encode(), "sha256").digest()
    assert base64.b64decode(asked["sign"][0]) == digest
    assert body["at"] == {"atMobiles": ["13800000000"]}
    assert abs(int(stamp) - 1000 * rig.clock.now().timestamp()) < 2000
    rig.engine.shut_down()


def test_our_own_webhook_gets_values_and_a_signature(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(kind="json", secret_file="secret"))
    robot.answer = (204, b"")
    ring(rig)
    assert rig.look() == 1
    ((_, body, headers),) = robot.got
    (item,) = body["messages"]
    assert (item["alarm"], item["value"], item["limit"], item["what"]) == ("dust", 120.0, 100.0, "raised")
    assert headers["X-Niutang-Signature"] == hmac.new(b"SECabc", robot.raw, "sha256").hexdigest()
    rig.engine.shut_down()


def test_a_webhook_that_hangs_is_left_within_its_time(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(timeout_seconds=1))
    robot.hang.clear()
    ring(rig)
    telling, ticks = rig.telling(), count()
    rig.clock.monotonic = lambda: float(next(ticks))  # type: ignore[method-assign]
    assert telling.turn() == 0
    assert (
        "no whole answer within 1 s" in telling.shown()[0]["error"]
        or "no answer within 1 s" in telling.shown()[0]["error"]
    )
    assert "SECRET" not in telling.shown()[0]["error"]


def test_an_address_never_stands_in_what_went_wrong(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    robot.close()
    ring(rig)
    rig.look()
    said = rig.telling().shown()[0]["error"]
    assert "connection refused" in said
    assert "SECRET" not in said
    kept = rig.engine.store.query("SELECT body FROM record WHERE kind = 'told'")
    assert not any("SECRET" in body for (body,) in kept)
    rig.engine.shut_down()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (404, "", "answered 404"),
        (302, "", "answered 302"),
        (200, "<html>login</html>", "not that of a group robot"),
        (200, "[]", "not that of a group robot"),
        (200, '{"errcode":true}', "not that of a group robot"),
        (200, '{"errcode":93000,"errmsg":"invalid webhook url"}', "errcode 93000: invalid webhook url"),
        (200, "[" * 5000, "not that of a group robot"),
    ],
)
def test_an_answer_that_takes_nothing_is_no_success(status: int, text: str, said: str) -> None:
    with pytest.raises(NotTold, match=said):
        judge("wecom", status, text)


def test_a_message_is_never_longer_than_a_robot_takes() -> None:
    assert len(text_of("站", ["报警" * 1000]).encode()) <= MOST_BYTES


# -- what is due, without a station


def change(name: str, at: datetime, state: str, episode: str, before: str = "normal", number: int = 0) -> Record:
    body = {"name": name, "state": state, "episode": episode, "before": before}
    return Record("alarm", at, body, "site", name, number or int(at.timestamp()))


def person(**keys: Any) -> NotifySettings:
    return NotifySettings(**({"name": "duty", "kind": "json", "url_file": "x"} | keys))


RANG = [change("dust", T, "alarm", "e1")]
ENDED = [*RANG, change("dust", T + 10 * MINUTE, "normal", "", "alarm")]


def what(
    settings: NotifySettings, records: list[Record], now: datetime, done: dict[str, Any] | None = None
) -> list[str]:
    return [one.what for one in due(settings, episodes(records), done or {}, now, ZONE)]


def test_who_waits_is_told_only_if_nobody_takes_it() -> None:
    boss = person(after_minutes=15)
    taken = Record("alarm_ack", T + 5 * MINUTE, {"episode": "e1", "user": "Wang", "note": ""}, "", "dust", 2)
    assert what(boss, RANG, T + 14 * MINUTE) == []
    assert what(boss, RANG, T + 16 * MINUTE) == ["raised"]
    assert what(boss, ENDED, T + 16 * MINUTE) == []
    assert what(boss, [*RANG, taken], T + 16 * MINUTE) == []


def test_quiet_hours_hold_back_what_is_not_urgent() -> None:
    night = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)  # 23:00 at the station
    records = [change("dust", night, "alarm", "e1"), change("leak", night, "alarm", "e2")]
    quiet = person(quiet="22:00-06:30", always=("leak",))
    assert [d.episode.alarm for d in due(quiet, episodes(records), {}, night + MINUTE, ZONE)] == ["leak"]
    morning = datetime(2026, 3, 1, 22, 31, tzinfo=UTC)
    assert sorted(d.episode.alarm for d in due(quiet, episodes(records), {}, morning, ZONE)) == ["dust", "leak"]
    over = [*records, change("dust", night + 30 * MINUTE, "normal", "", "alarm")]
    assert [d.episode.alarm for d in due(quiet, episodes(over), {}, morning, ZONE)] == ["leak"]


@pytest.mark.parametrize(
    ("quiet", "clock", "ends"),
    [
        ("22:00-06:30", "23:00", "06:30"), ("22:00-06:30", "06:29", "06:30"), ("22:00-06:30", "06:30", None),
        ("22:00-06:30", "21:59", None), ("12:00-13:00", "12:00", "13:00"), ("", "03:00", None),
    ],
)  # fmt: skip
def test_quiet_hours_over_midnight(quiet: str, clock: str, ends: str | None) -> None:
    hour, minute = map(int, clock.split(":"))
    found = end_of_quiet(quiet, datetime(2026, 3, 1, hour, minute, tzinfo=ZONE), ZONE)
    assert (None if found is None else f"{found.astimezone(ZONE):%H:%M}") == ends


def test_only_the_alarms_and_pre_alarms_that_concern_somebody() -> None:
    pre = [change("dust", T, "pre_alarm", "")]
    fell = [*RANG, change("dust", T + 10 * MINUTE, "pre_alarm", "", "alarm")]
    assert what(person(), pre, T + MINUTE) == []
    assert what(person(pre_alarms=True), pre, T + MINUTE) == ["pre"]
    assert [e.is_pre for e in episodes(fell)] == [False]
    assert what(person(alarms=("cod",)), RANG, T + MINUTE) == []


def test_an_end_is_told_only_to_whom_the_beginning_was() -> None:
    key = "dust e1 raised"
    assert what(person(), ENDED, T + 20 * MINUTE, {key: ("sent", T)}) == ["over"]
    assert what(person(), ENDED, T + 20 * MINUTE, {key: ("given_up", T)}) == ["over"]  # or nobody would ever hear of it


def test_reminders_slept_through_are_one() -> None:
    done = {"dust e1 raised": ("sent", T)}
    assert what(person(repeat_minutes=10, repeat_times=9), RANG, T + 35 * MINUTE, done) == ["again"]


def test_told_knows_the_last_word_of_each_message() -> None:
    records = [
        Record(KIND, T, {"state": state, "keys": ["a"]}, "", "duty", number)
        for number, state in ((1, "sending"), (2, "sent"))
    ]
    assert told(records) == {"duty": {"a": ("sent", T)}}
    assert Episode("a", "a e", T, {}).stands(T)


# -- settings and commands


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (notify(alarms=["dusk"]), 'notify[0].alarms: there is no alarm "dusk"; did you mean dust'),
        (notify(always=["x"]), 'notify[0].always: there is no alarm "x"'),
        (notify(quiet="22-6"), '"22-6" is no span of hours such as 22:00-06:30'),
        (notify(url_file=""), "a webhook needs its address"),
        (notify(url_file="nothing"), "cannot be read (No such file or directory)"),
        (notify(url_file="password"), "holds no address such as https://host/path"),
        (notify(secret_file="password"), "wecom signs nothing"),
        (notify(numbers=["+86 138"]), '"+86 138" is no telephone number'),
        (notify(kind="sms", url_file=""), "an sms needs a modem"),
        (notify(kind="pigeon"), '"pigeon"'),
        (notify() + notify(), '"duty" is already there'),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_line(tmp_path: Path, table: str, said: str) -> None:
    for name, text in (("password", "123456"), ("duty.url", "https://example.invalid/x")):
        (tmp_path / name).write_text(text)
    (tmp_path / "station.toml").write_text(CONFIG + DUST + table, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "station.toml")
    assert said in str(refused.value)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_try_goes_through_the_running_station(tmp_path: Path, robot: Robot, lang: str) -> None:
    (tmp_path / "duty.url").write_text(robot.address)
    (tmp_path / "password").write_text("123456")
    config = tmp_path / "station.toml"
    config.write_text(CONFIG + DUST + notify(language=lang), encoding="utf-8")
    none = station("people", "test", "duty", "--config", config)
    assert (none.code, "no station runs" in none.err) == (69, True)
    with daemon(config):
        done = station("--lang", lang, "people", "test", "duty", "--config", config)
        assert done.code == 0, done.err
        until(lambda: robot.got)
        assert ("试验" in robot.texts[0]) == (lang == "zh")
        shown = station("--lang", lang, "people", "list", "--config", config)
        assert "duty" in shown.out
        wrong = station("people", "test", "dutty", "--config", config)
        assert "did you mean duty" in wrong.err
        robot.answer = (200, b'{"errcode":93000,"errmsg":"invalid webhook url"}')
        refused = station("people", "test", "duty", "--config", config)
        assert "errcode 93000: invalid webhook url" in refused.err
        assert refused.code != 0


def test_nobody_to_tell_is_said(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("123456")
    (tmp_path / "station.toml").write_text(CONFIG, encoding="utf-8")
    done = station("people", "list", "--config", tmp_path / "station.toml")
    assert done.out.startswith("nobody is told of alarms")


def test_a_person_unknown_is_refused(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot)
    with pytest.raises(WrongArgument, match="did you mean duty"):
        rig.telling().test("dutty")
    rig.engine.shut_down()


def test_an_alarm_that_stands_for_longer_than_is_looked_back_is_not_told_as_a_new_one() -> None:
    """It went stale and came back within its episode, whose beginning is no longer among what is looked at."""
    begun = T - timedelta(days=8)
    episode = begun.isoformat(timespec="seconds")
    later = [
        Record("alarm", T - 2 * MINUTE, {"name": "dust", "state": "stale", "before": "alarm", "episode": episode}, "",
               "dust", 1),
        Record("alarm", T - MINUTE, {"name": "dust", "state": "alarm", "before": "stale", "episode": episode}, "",
               "dust", 2),
    ]  # fmt: skip
    assert [one.since for one in episodes(later)] == [begun]
    assert what(person(), later, T) == []


def test_a_commit_that_takes_too_long_delays_a_message_and_does_not_lose_it(tmp_path: Path, robot: Robot) -> None:
    """The word that it is under way comes to the disk late: nothing went out, so it is tried again."""
    rig = make(tmp_path, robot)
    ring(rig)
    telling = rig.telling()
    committed = rig.engine.committed

    def too_late(patience: float = 5.0) -> bool:
        rig.engine.commit()
        return False

    rig.engine.committed = too_late  # type: ignore[method-assign]
    assert telling.turn() == 0
    rig.engine.commit()
    rig.run(61, step=5.0)
    rig.engine.committed = lambda patience=5.0: False  # type: ignore[method-assign]
    assert telling.turn() == 0  # not taken at all: the word is taken back
    rig.run(61, step=5.0)
    assert robot.got == []
    rig.engine.committed = committed  # type: ignore[method-assign]
    assert rig.look() == 1
    assert len(robot.got) == 1
    assert rig.states() == ["sending", "tried", "sending", "sent"]
    rig.engine.shut_down()


def test_what_is_given_up_is_said_once_though_the_disk_does_not_take_it(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(repeat_minutes=0))
    robot.answer = (500, b"down")
    ring(rig)
    rig.look()
    rig.clock.advance(25 * 3600)
    before = len(rig.engine.recorder._batch.records)
    for _ in range(5):
        rig.telling().turn()
    kept = [one for one in rig.engine.recorder._batch.records[before:] if one.kind == KIND]
    assert [one.body["state"] for one in kept] == ["given_up"]
    rig.engine.shut_down()


def test_an_alarm_that_was_taken_out_of_the_configuration_is_reminded_of_no_more(tmp_path: Path, robot: Robot) -> None:
    """It rang when its table, or its point, went: its end is never on record."""
    rig = make(tmp_path, robot)
    ring(rig)
    rig.look()
    path = rig.folder / "station.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(DUST, ""), encoding="utf-8")
    rig.loaded = load(path)
    rig.restart()
    rig.wait(65, looks=2)
    assert len(robot.got) == 1
    rig.engine.shut_down()


def test_an_alarm_older_than_seven_days_is_told_as_over(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(repeat_minutes=0))
    ring(rig)
    rig.look()
    rig.clock.advance(9 * 86400)
    rig.restart()
    rig.instrument.show(pm10=20.0)
    rig.minutes(12)
    rig.look()
    assert [text.split("\n")[1][:2] for text in robot.texts] == ["报警", "恢复"]
    assert robot.texts[1].split(",")[1].startswith("03-01 12:05 至 03-10")
    assert rig.look() == 0
    rig.engine.shut_down()


def test_of_an_alarm_that_was_given_up_people_hear_the_end(tmp_path: Path, robot: Robot) -> None:
    rig = make(tmp_path, robot, notify(repeat_minutes=0))
    robot.answer = (500, b"down")
    ring(rig)
    rig.look()
    rig.clock.advance(25 * 3600)
    rig.look()
    assert rig.states()[-1] == "given_up"
    robot.answer = (200, b'{"errcode":0}')
    before = len(robot.got)
    rig.instrument.show(pm10=20.0)
    rig.minutes(12)
    rig.look()
    assert [text.split("\n")[1][:2] for text in robot.texts[before:]] == ["恢复"]
    rig.engine.shut_down()


def test_who_was_told_of_nothing_while_it_was_news_is_not_told_of_its_end() -> None:
    old = [change("dust", T - timedelta(days=9), "alarm", "e1"), change("dust", T, "normal", "", "alarm")]
    assert what(person(), old, T + MINUTE) == []
    told_first = {"dust e1 raised": ("sent", T - timedelta(days=9))}
    assert what(person(repeat_minutes=0), old, T + MINUTE, told_first) == ["over"]
    assert what(person(repeat_minutes=60, repeat_times=99), old[:1], T, told_first) == []  # reminded of no more
