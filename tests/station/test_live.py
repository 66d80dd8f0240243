"""`station live` on a pseudo-terminal, looked at through the model of a VT100, and as text where there is no screen."""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from station import i18n
from station.cells import PLAIN, Script
from station.control import ControlServer
from station.live import Place, Section, pages, plain
from station.model import Mark
from station.service import verbs
from station.terminal import Terminal
from tests.station.commands import served, station, until, words_of
from tests.station.conftest import CONFIG, Rig
from tests.station.terminal import OnTerminal, on_terminal, terminal_of
from tests.station.test_alarming import DUST, AlarmRig
from tests.station.test_i18n import FOUND

ALARMED = DUST.replace('name = "dust"', 'name = "north fence"')


@contextmanager
def on_air(rig: Rig, told: Callable[[Rig], dict[str, Any]] = lambda rig: verbs(rig.engine)) -> Iterator[ControlServer]:
    """*rig* answers on its socket and commits what it is told; its clock stands still."""
    server = ControlServer(rig.loaded.control_socket)
    server.start(told(rig))
    ended = Event()

    def tick() -> None:
        while not ended.wait(0.02):
            rig.engine.tick()

    ticking = Thread(target=tick)
    ticking.start()
    try:
        yield server
    finally:
        server.close()
        ended.set()
        ticking.join()


@pytest.fixture
def running(rig: Rig) -> Iterator[Rig]:
    """A station with three values owed to a platform that is away."""
    rig.run(33)
    with on_air(rig):
        yield rig


def live(rig: Rig, *words: str, **more: Any) -> Any:
    """The screen of *rig* in a terminal."""
    return on_terminal("live", "--config", rig.loaded.path, *words, **more)


def seen(text: str) -> str:
    """A screen with every age of seconds as 3: how long the test took is nothing to look at."""
    return re.sub(r"(\d+)(?= (?:s|秒)$)", lambda m: "3".rjust(len(m[1])), text, flags=re.M)


SCREENS = {
    ("en", 40): """\
test                 2026-03-01 08:01:03
instruments 1/1  owed 3
-- 1 Values --
Site (site)
 PM2.5                  35.0 µg/m³ N 3 s
 PM10                   60.0 µg/m³ N 3 s
-- 2 Instruments --
line line
 dust  answers                       3 s
-- 3 Platforms --
 district  not connected  owed 3 (33 s)
  answered 0


m maintenance  r read  l 中文  q quit""",
    ("zh", 40): """\
test                 2026-03-01 08:01:03
仪器 1/1  待应答 3
-- 1 测值 --
Site (site)
 PM2.5                 35.0 µg/m³ N 3 秒
 PM10                  60.0 µg/m³ N 3 秒
-- 2 仪器 --
总线 line
 dust  应答正常                     3 秒
-- 3 平台 --
 district  未连接  待应答 3 (33 秒)
  平台已应答 0


m 维护  r 读取  l English  q 退出""",
    ("en", 80): """\
test                                                         2026-03-01 08:01:03
instruments 1/1  owed 3
-- 1 Values --
Site (site)
 PM2.5  dust                                             35.0 µg/m³ N normal 3 s
 PM10   dust                                             60.0 µg/m³ N normal 3 s
-- 2 Instruments --
line line
 dust  answers                                                               3 s
-- 3 Platforms --
 district  not connected  owed 3 (33 s)
  answered 0


m maintenance  r read  l 中文  q quit""",
    ("zh", 80): """\
test                                                         2026-03-01 08:01:03
仪器 1/1  待应答 3
-- 1 测值 --
Site (site)
 PM2.5  dust                                              35.0 µg/m³ N 正常 3 秒
 PM10   dust                                              60.0 µg/m³ N 正常 3 秒
-- 2 仪器 --
总线 line
 dust  应答正常                                                             3 秒
-- 3 平台 --
 district  未连接  待应答 3 (33 秒)
  平台已应答 0


m 维护  r 读取  l English  q 退出""",
}


@pytest.mark.parametrize(("language", "columns"), list(SCREENS))
def test_the_screen_as_a_person_sees_it(running: Rig, language: str, columns: int) -> None:
    """Values, marks, ages, bus, outbox and keys, at 40 and 80 columns, in both languages; q leaves all as it was."""
    with live(running, "--lang", language, size=(columns, 15)) as terminal:
        terminal.until(lambda: seen(terminal.screen.text) == SCREENS[language, columns], 20, "the screen")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.mode == terminal.before


def test_a_gbk_terminal_gets_gbk_and_every_column_stands(running: Rig) -> None:
    """Signs that GBK has not are written with what it has; ≤ takes two cells there, and the model holds it to that."""
    with live(running, "--lang", "zh", size=(40, 15), encoding="gbk") as terminal:
        wanted = SCREENS["zh", 40].replace("µg/m³", "ug/m3")
        terminal.until(lambda: seen(terminal.screen.text) == wanted, 20, "the screen")
        terminal.type("m1王工\r校零\r30\r")
        terminal.shows("W1:“site”", "08:31:03", "维护中 W1")
    (mark,) = running.engine.periods.marks
    assert (mark.user, mark.reason, mark.mark, mark.point) == ("王工", "maintenance W1: 校零", Mark.M, "site")
    assert (mark.last - mark.first).total_seconds() == 1800


def test_a_terminal_without_chinese_is_spoken_to_in_english(running: Rig) -> None:
    """Rather than in question marks; l says why."""
    with live(running, "--lang", "zh", encoding="ascii") as terminal:
        text = terminal.shows("ug/m3", "q quit")
        assert " l " not in text
        terminal.type("l")
        terminal.shows("this terminal's encoding (ascii) has no Chinese")


def test_l_changes_the_language_at_once(running: Rig) -> None:
    """Both ways."""
    with live(running) as terminal:
        terminal.shows("Instruments", "l 中文")
        terminal.type("l")
        terminal.shows("仪器", "l English", gone="Instruments")
        terminal.type("l")
        terminal.shows("Instruments", gone="仪器")


def test_a_refresh_sends_only_what_changed(running: Rig) -> None:
    """The time and four ages at most, a few bytes each; the whole screen was ten times that."""
    with live(running, "--every", "3600") as terminal:
        terminal.shows("35.0", "q quit")
        while terminal.read(0.2):
            pass
        first = len(terminal.received)
        terminal.type("x")  # no key of the screen: one refresh
        while terminal.read(0.2):
            pass
        assert len(terminal.received) - first <= 5 * len("\x1b[12;34H60 s")
    assert 400 < first < 1200


def test_a_changed_value_comes_by_itself(running: Rig) -> None:
    """With the next look, without a key."""
    with live(running, "--every", "0.5") as terminal:
        terminal.shows("35.0", "q quit")
        running.instrument.show(pm25=36.5)
        running.run(5)
        terminal.shows("36.5", gone="35.0")


def test_on_a_serial_line_a_refresh_is_bounded_by_its_speed() -> None:
    """9600 baud: at most half a second's worth at once, though the screen has more; the rest follows."""
    master, slave = pty.openpty()
    mode = termios.tcgetattr(slave)
    mode[4] = mode[5] = termios.B9600
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    try:
        with Terminal(slave, slave, "utf-8", {"TERM": "vt100"}) as terminal:
            before = terminal.sent
            rows = [terminal.script.cells([("浊度7" * 20, PLAIN)], 80) for _ in range(24)]
            assert not terminal.show(rows)
            assert before < 20
            assert 200 < terminal.sent <= 480
            whole = terminal.sent
            until(lambda: os.read(master, 4096) and terminal.show(rows) is not None)
            assert terminal.sent <= whole + 480
    finally:
        os.close(master)
        os.close(slave)


def test_a_window_that_changes_its_size_is_filled_anew(running: Rig) -> None:
    """From 80 columns to 40 and to too few, and back."""
    with live(running, "--lang", "zh", size=(80, 15)) as terminal:
        terminal.shows("q 退出")
        terminal.resize(40, 15)
        terminal.until(lambda: seen(terminal.screen.text) == SCREENS["zh", 40], 20, "the narrow screen")
        terminal.resize(18, 4)
        terminal.shows("窗口太小", gone="PM10")
        terminal.resize(80, 15)
        terminal.until(lambda: seen(terminal.screen.text) == SCREENS["zh", 80], 20, "the wide screen")


def test_a_serial_console_without_a_size_is_taken_for_80_by_24_or_as_the_environment_says(running: Rig) -> None:
    """getty does not know it."""
    with live(running, told=(0, 0)) as first:
        first.shows("q quit")
    with live(running, size=(40, 12), told=(0, 0), COLUMNS="40", LINES="12") as terminal:
        terminal.shows("q quit", "1/2")
        terminal.type("n")
        terminal.shows("2/2", "answered 0")
        terminal.type("1")
        terminal.shows("1/2", "PM2.5")
        terminal.type("\x1b[6~")
        terminal.shows("2/2")
        terminal.type("\x1b[")
        terminal.read(0.05)
        terminal.type("A")
        terminal.shows("1/2")


def test_few_columns_can_be_asked_for(running: Rig) -> None:
    """As on a phone held upright, whatever the terminal says."""
    with live(running, "--columns", "40", size=(100, 15)) as terminal:
        terminal.until(lambda: seen(terminal.screen.text) == SCREENS["en", 40], 20, "the narrow screen")


# -- ways out


@pytest.mark.parametrize(
    "leave",
    [
        lambda t: t.type("q"),
        lambda t: t.type("\x03"),
        lambda t: t.type("\x04"),
        lambda t: t.process.send_signal(signal.SIGTERM),
        lambda t: t.process.send_signal(signal.SIGHUP),
        lambda t: t.process.send_signal(signal.SIGQUIT),
        lambda t: (t.type("\x13"), t.process.send_signal(signal.SIGTERM)),
    ],
    ids=["q", "ctrl-c", "ctrl-d", "SIGTERM", "SIGHUP", "SIGQUIT", "ctrl-s-SIGTERM"],
)
@pytest.mark.parametrize("term", ["vt100", "xterm"])
def test_whatever_ends_it_the_terminal_is_as_it_was(
    running: Rig, leave: Callable[[OnTerminal], object], term: str
) -> None:
    """Settings, looks, the cursor and the screen of a terminal that has a second one."""
    with live(running, TERM=term) as terminal:
        terminal.shows("q quit")
        leave(terminal)
        assert terminal.ended() == 0
        assert terminal.mode == terminal.before
        assert terminal.screen.look == ""
        assert terminal.screen.modes in ({}, {"25": True, "1049": False})


def test_an_unforeseen_error_is_one_sentence_on_a_terminal_put_right(rig: Rig) -> None:
    """A station of another version may answer anything."""
    with on_air(rig, lambda _: {"status": lambda _: {"running": True}}), live(rig) as terminal:
        assert terminal.ended(20) == 70
        assert "station: unforeseen KeyError: 'time'; please report it" in terminal.screen.text
        assert terminal.mode == terminal.before


def test_the_shell_has_its_terminal_while_it_is_stopped_and_fg_brings_the_screen_back(running: Rig) -> None:
    """Ctrl-Z."""
    command = " ".join(words_of("live", "--config", running.loaded.path))
    with terminal_of(["sh", "-i"], PS1="shell> ", LIVE=command, ENV="") as terminal:
        terminal.shows("shell>")
        before = terminal.mode
        terminal.type("$LIVE\n")
        terminal.shows("q quit")
        assert terminal.mode != before
        terminal.type("\x1a")
        terminal.shows("Stopped")
        terminal.until(lambda: terminal.mode == before, 10, "the shell's settings")
        terminal.type("fg\n")
        terminal.shows("q quit", "PM2.5", gone="Stopped")
        terminal.type("q")
        terminal.until(lambda: terminal.mode == before, 10, "the shell's settings")
        terminal.type("exit\n")
        assert terminal.ended() == 0


def test_stopped_by_a_signal_that_cannot_be_met_it_comes_back_with_its_screen(running: Rig) -> None:
    """SIGSTOP: a shell puts its own settings in force meanwhile."""
    with live(running) as terminal:
        terminal.shows("q quit")
        ours = terminal.mode
        terminal.process.send_signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{terminal.process.pid}/stat").read_text().split()[2] == "T")
        terminal.set_mode(terminal.before)
        terminal.screen.feed(b"\x1b[1;1H\x1b[Jshell>")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.shows("q quit", "PM2.5", gone="shell>")
        terminal.until(lambda: terminal.mode == ours, 10, "the screen's settings")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.mode == terminal.before


# -- a station that goes and comes


def test_a_station_that_stops_and_comes_back_is_shown_as_that(rig: Rig) -> None:
    """While it is away the database is shown; keys that need it say so."""
    rig.run(100)
    with live(rig, "--every", "0.5", "--lang", "en") as terminal:
        terminal.shows("not running; this is what the database holds", "PM2.5", "owed")
        assert terminal.screen.stands_out("not running")
        terminal.type("m")
        terminal.shows("no station is running; only the running one can do that")
        with on_air(rig):
            terminal.shows("instruments 1/1", gone="not running")
        terminal.shows("not running; this is what the database holds", "PM2.5")
        with on_air(rig):
            terminal.shows("instruments 1/1", gone="not running")
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_station_that_was_never_started_is_waited_for(tmp_path: Path) -> None:
    """There is no database to look at; as soon as there is a station it is shown."""
    (tmp_path / "station.toml").write_text(CONFIG, encoding="utf-8")
    with on_terminal("live", "--every", "0.5", "--config", tmp_path / "station.toml") as terminal:
        terminal.shows("no station is running, and there is no database", "q quit")
        rig = Rig(tmp_path)
        rig.run(33)
        with on_air(rig):
            terminal.shows("PM2.5", "instruments 1/1", gone="no station is running")
        rig.engine.shut_down()


def test_a_station_that_does_not_answer_is_said_and_the_last_values_grow_old(running: Rig) -> None:
    """The socket is there and refuses: what was seen last stays, with the sentence."""
    with live(running, "--every", "0.5") as terminal:
        terminal.shows("35.0")
        running.loaded.control_socket.chmod(0o660)
        with refusing(running):
            terminal.shows("not a request", "35.0")
        terminal.shows("35.0", gone="not a request")


@contextmanager
def refusing(rig: Rig) -> Iterator[None]:
    """Another one owns the socket for a while and knows no verb."""
    own = rig.loaded.control_socket
    kept = own.with_name("kept")
    own.rename(kept)
    with on_air(rig, lambda _: {}):
        yield
    kept.rename(own)


# -- what can be done


def test_an_alarm_is_acknowledged_with_a_name(tmp_path: Path) -> None:
    """a, which, who, remark: on record; the key goes when nothing is left to acknowledge."""
    rig = AlarmRig(tmp_path, ALARMED)
    rig.run(30)
    rig.instrument.show(pm10=150.0)
    rig.minutes(6)
    with on_air(rig), live(rig, "--every", "0.5", size=(40, 24)) as terminal:
        terminal.shows("alarms 1", "north fence", "150.0", "a acknowledge")
        assert terminal.screen.stands_out("alarms 1")
        terminal.type("a")
        terminal.shows("Which alarm was seen?", "1 north fence: ALARM")
        terminal.type("7")
        terminal.shows("type a number from 1 to 1")
        terminal.type("1")
        terminal.shows("Your name")
        terminal.type("\r")
        terminal.shows("something has to be entered here")
        terminal.type("Wanh\x7fg\r")
        terminal.shows("Remark")
        terminal.type("\r")
        terminal.shows("seen by Wang", gone="a acknowledge")
        terminal.type("a")
        terminal.shows("there is no alarm to acknowledge")
    assert rig.state("north fence")["acknowledged"]["user"] == "Wang"
    rig.engine.shut_down()


def test_a_dialog_can_be_given_up_at_every_question(running: Rig) -> None:
    """Esc and Ctrl-C: nothing is entered, the screen goes on."""
    with live(running) as terminal:
        terminal.shows("q quit")
        for typed in ("m", "m1", "m1Wang\r", "m1Wang\rlens\r"):
            for out in ("\x1b", "\x03"):
                terminal.type(typed)
                terminal.shows("Enter goes on, Esc gives up")
                terminal.type(out)
                terminal.shows("given up; nothing was changed", gone="Esc gives up")
        terminal.type("m1\r\rlens\r0\r")
        terminal.shows("whole minutes, 1 to 4320")
        terminal.type("\x1b")
        terminal.shows("given up")
    assert list(running.engine.periods.marks) == []


def test_what_the_station_refuses_is_shown_in_its_words(running: Rig) -> None:
    """And the last name is offered again."""
    with live(running) as terminal:
        terminal.shows("q quit")
        terminal.type("m1Wang\rlens\r\r")
        terminal.shows("W1: site under maintenance, values are marked M until 2026-03-01 09:01:03")
        terminal.type("m1")
        terminal.shows("Your name (Enter: Wang)")
        terminal.type("\rclean\x1bq")
        assert terminal.ended() == 0


def test_maintenance_of_the_whole_station_is_begun_and_ended_by_keys(running: Rig) -> None:
    """The screen says that it is on; the key to end it comes with it and goes with it."""
    with live(running, "--every", "0.5", size=(40, 20)) as terminal:
        assert "e end maintenance" not in terminal.shows("q quit")
        terminal.type("m2Wang\rservice\r90\r")
        terminal.shows("maintenance W1", "e end maintenance")
        terminal.type("e")
        terminal.shows("Which maintenance is over?", "1 W1 whole station: service")
        terminal.type("1\r")
        terminal.shows("W1: over", gone="e end maintenance")
        terminal.type("e")
        terminal.shows("no maintenance is under way")
    (mark,) = running.engine.periods.marks
    assert (mark.user, mark.mark, mark.last is not None) == ("Wang", Mark.M, True)


def test_leaving_waits_for_what_was_asked_for(running: Rig) -> None:
    """q right behind the last answer loses nothing."""
    with live(running) as terminal:
        terminal.shows("q quit")
        terminal.type("m1Wang\rlens\r\rq")
        assert terminal.ended() == 0
    assert [one.user for one in running.engine.periods.marks] == ["Wang"]


def test_an_instrument_is_read_at_once(running: Rig) -> None:
    """Through the running station; the values are listed and not stored."""
    for poller in running.engine.pollers:
        poller.start()
    with live(running) as terminal:
        terminal.shows("q quit")
        running.instrument.show(pm25=41.0)
        terminal.type("r1")
        terminal.shows("dust was read; nothing was stored", "PM2.5 41.0 µg/m³ N")


def test_an_output_is_switched_off_with_a_name_and_a_reason(tmp_path: Path) -> None:
    """On a daemon of its own, with stand-in pins."""
    from tests.station.test_output import MOCK, daemon, line, output, wired

    path = wired(tmp_path)
    with line(path) as emulated, daemon(path, env=MOCK):
        emulated.units[1].values = {"pm10": 320.0}
        station("emulate", "pin", "door", "inactive", "--config", path)
        until(lambda: output(path)["on"], 10, lambda: output(path))
        with on_terminal("live", "--every", "0.5", "--config", path, size=(40, 40)) as terminal:
            terminal.shows("cannon", "on", "o switch")
            terminal.type("o11Li\rhose burst\r")
            terminal.shows("cannon: off")
        assert (output(path)["on"], output(path)["why"]) == (False, "held_off")


# -- without a screen


def test_into_a_pipe_it_is_text_once(running: Rig) -> None:
    """As wide as asked; the same lines as on the screen, without keys."""
    done = station("live", "--columns", "40", "--config", running.loaded.path)
    assert (done.code, done.err) == (0, "")
    assert seen(done.out.rstrip()) == SCREENS["en", 40].rpartition("\n\n\n")[0]


def test_a_dumb_terminal_gets_text(running: Rig) -> None:
    """No escape sequence at all."""
    with live(running, "--lang", "zh", TERM="dumb", size=(80, 24)) as terminal:
        assert terminal.ended(20) == 0
        assert b"\x1b" not in terminal.received
        assert "-- 1 测值 --" in terminal.screen.text


def test_every_prints_it_again_until_it_is_told_to_stop(running: Rig) -> None:
    """Also while the station is away; SIGTERM ends it with 0."""
    with served("live", "--every", "0.5", "--config", running.loaded.path) as process:
        until(lambda: process.text.count("-- 1 Values --") >= 2, 20, lambda: process.text)
        assert process.stop() == 0
        assert "\x1b" not in process.text


def test_without_a_station_text_comes_from_the_database_and_without_that_it_is_an_error(rig: Rig) -> None:
    """Exit 74 and one sentence, as status does."""
    rig.run(100)
    done = station("live", "--config", rig.loaded.path)
    assert done.code == 0
    assert "not running; this is what the database holds" in done.out
    assert "PM2.5" in done.out
    other = rig.folder / "other.toml"
    other.write_text(CONFIG.replace('data_folder = "data"', 'data_folder = "none"'), encoding="utf-8")
    done = station("live", "--config", other)
    assert (done.code, done.out) == (74, "")
    assert done.said == [f"no station is running, and there is no database yet: {rig.folder / 'none' / 'station.db'}"]


# -- the layout by itself


@pytest.mark.parametrize("width", [20, 31, 40, 64, 80, 132])
@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "ascii"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_line_is_wider_than_the_screen_and_nothing_is_left_out(width: int, encoding: str, language: str) -> None:
    """Every name, value, state and sentence at any width."""
    if encoding == "ascii" and language == "zh":
        encoding = "gb18030"
    i18n.use(language)
    try:
        place = Place(width=width, script=Script(encoding), zone=_zone(), points={"site": "North"})
        text = plain(FOUND, "Station", "", place)
    finally:
        i18n.use("en")
    assert max(map(place.script.width, text.splitlines())) <= width
    flat = "".join(text.split())
    for words in ("North(site)", "river", "35.0", "9000.0", "80.0", "sonde:noreplywithin0.5s", "thediskisfull", "17"):
        assert words in flat


def _zone() -> Any:
    from datetime import timedelta, timezone

    return timezone(timedelta(hours=8))


def test_a_heading_never_stands_last_on_a_page_and_is_repeated_on_the_next() -> None:
    """Pages of six lines."""
    parts = [
        Section("values", [[(f"v{n}", PLAIN)] for n in range(4)]),
        Section("devices", [[(f"d{n}", PLAIN)] for n in range(9)]),
    ]
    made, begins = pages(parts, 6)
    text = [["".join(words for words, _ in line) for line in page] for page in made]
    assert text == [
        ["-- 1 Values --", "v0", "v1", "v2", "v3"],
        ["-- 2 Instruments --", "d0", "d1", "d2", "d3", "d4"],
        ["-- 2 Instruments --", "d5", "d6", "d7", "d8"],
    ]
    assert begins == {"values": 0, "devices": 1}
