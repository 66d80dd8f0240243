"""[[screen]]: the digits of the platform's own texts, words where there are none, and never in the way."""

import inspect
import json
import re
import textwrap
import threading
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from drivers import SCREENS, emulated_screen
from drivers.emulated_screen import EmulatedScreen, serve
from drivers.onbon import OnbonScreen
from drivers.screens import way_to
from station import cli_screen
from station.config import load
from station.model import ConfigError, Kind, Mark, Reason, StationError, WrongArgument
from station.verbs import Verbs
from tests.station.commands import Here, answering, configure, served
from tests.station.conftest import CONFIG, EXAMPLE
from tests.station.test_maintenance import WHO, Asked
from tests.station.test_records import Site
from uplink.hj212.frame import factors

SCREEN = """
[[screen]]
name = "gate"
protocol = "{protocol}"
port = "{port}"
platform = "district"
shows = "{shows}"
width = 160
pages = [
  ["PM2.5{{pm25.value:>7}} {{pm25.unit}}", "PM10 {{pm10.value:>7}} {{pm10.time}}"],
  ["{{site.name}} {{time}}", "{{pm25.mark}} {{date}}"],
]
page_seconds = 10
"""
CODES = {"pm25": "a34004", "pm10": "a34002"}


class Board:
    """Another maker's screen, as a class of one's own: what a screen needs to be."""

    made: ClassVar[list["Board"]] = []

    def __init__(self, settings, way):
        self.lines, self.broken, self.settings = [], None, settings
        Board.made.append(self)

    def show(self, lines):
        if self.broken:
            raise self.broken
        self.lines = [line.rstrip() for line in lines]

    def close(self):
        self.lines = []


@pytest.fixture
def made(tmp_path):
    """Makes a station with a screen; what is shown is at `rig.board.lines`."""
    rigs = []

    def make(shows="realtime", protocol=f"{__name__}:Board", port="tcp://127.0.0.1:9", config=CONFIG, **more):
        Board.made.clear()
        text = config + SCREEN.format(protocol=protocol, port=port, shows=shows)
        text = text.replace("page_seconds = 10\n", "" if "page_seconds" in more else "page_seconds = 10\n")
        text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
        rig = Site(tmp_path, text)
        (rig.screen,) = rig.engine.beside
        rig.board = Board.made[0] if Board.made else None
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.engine.shut_down()


def look(rig):
    """Let the screen take a turn at its first page."""
    rig.clock.advance(-rig.clock.monotonic() % 20)
    rig.screen.turn()
    return rig.board.lines


def sent(rig, kind, suffix):
    """Every text of *kind* that was made for the platform, the newest last: the digits of PM2.5."""
    rows = rig.engine.store.query("SELECT text FROM message WHERE kind = ? ORDER BY id", (int(kind),))
    return [factors(text)[CODES["pm25"]].get(suffix, "") for (text,) in rows]


@pytest.mark.parametrize(
    ("kind", "suffix", "seconds"), [("realtime", "Rtd", 70), ("minute", "Avg", 1300), ("hour", "Avg", 3700)]
)
def test_what_is_shown_is_what_was_sent(made, kind, suffix, seconds):
    """With digits that a second rounding would give away: each look is compared with the text made for the platform."""
    rig = made(kind)
    looked = 0
    for step in range(12):
        rig.instrument.show(pm25=35.0 + 0.149 * step, pm10=60.05 + step)
        rig.run(seconds / 12)
        line = look(rig)[0]
        texts = sent(rig, Kind[kind.upper()], suffix)
        assert line == (f"PM2.5{texts[-1]:>7} μg/m3" if texts else "PM2.5     -- μg/m3")
        looked += bool(texts)
    assert looked


def test_it_shows_what_the_platform_gets_in_its_own_unit_and_digits(made):
    config = CONFIG + '\n[uplink.units]\npm25 = "mg/m³"\n\n[uplink.habits.decimals]\npm25 = 0\n'
    rig = made(config=config)
    rig.instrument.show(pm25=35.4567)
    rig.run(70)
    assert look(rig)[0] == f"PM2.5{sent(rig, Kind.REALTIME, 'Rtd')[-1]:>7} mg/m3"
    assert look(rig)[0] == "PM2.5  0.035 mg/m3"


def test_a_late_version_of_an_older_period_does_not_come_back(made):
    rig = made("minute")
    rig.run(1300)
    look(rig)
    before = list(rig.board.lines)
    sender = rig.engine.senders[0]
    old = rig.clock.now() - timedelta(hours=2)
    with rig.engine.store.transaction():
        row = (sender.outbox.id, Kind.MINUTE, "site", old, 9, "DataTime=20260301000000;a34004-Avg=99.9,a34004-Flag=N")
        rig.engine.store.add_messages([row])
    rig.clock.advance(1)
    assert look(rig) == before


def test_pages_go_round(made):
    rig = made()
    rig.run(70)
    first = look(rig)
    assert re.fullmatch(r"PM10    60\.0 08:01", first[1])
    rig.clock.advance(10)
    rig.screen.turn()
    assert rig.board.lines == [f"Site {rig.clock.now() + timedelta(hours=8):%H:%M}", "N 2026-03-01", "", ""]
    rig.clock.advance(10)
    rig.screen.turn()
    assert rig.board.lines == first


@pytest.mark.parametrize(
    ("mark", "reason", "word", "english"),
    [
        (Mark.D, Reason.STATUS, "故障", "fault"),
        (Mark.C, Reason.STATUS, "校准", "calib"),
        (Mark.M, Reason.STATUS, "维护", "maint"),
        (Mark.F, Reason.STATUS, "停运", "stop"),
        (Mark.T, Reason.ABOVE_RANGE, "超限", "over"),
    ],
)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_marked_value_is_a_word(made, mark, reason, word, english, language):
    rig = made(language=language)
    rig.run(40)
    assert look(rig)[0] == "PM2.5   35.0 μg/m3"
    rig.instrument.show(mark, reason, pm25=36.0)
    rig.run(40)
    shown = word if language == "zh" else english
    assert look(rig)[0].split() == ["PM2.5", shown, "μg/m3"]
    assert look(rig)[1].startswith("PM10    60.0")


def test_maintenance_is_shown_before_the_next_text_is_made(made):
    rig = made("hour")
    rig.run(3700)
    assert look(rig)[0] == "PM2.5   35.0 μg/m3"
    entered = Asked(rig)
    entered("on", point="site", **WHO, seconds=3600)
    rig.clock.advance(1)
    assert look(rig)[0] == "PM2.5   维护 μg/m3"
    entered("off", point="site", user="Wang Fang")
    rig.run(10)
    assert look(rig)[0] == "PM2.5   35.0 μg/m3"


@pytest.mark.parametrize(("more", "seconds"), [({}, 121), ({"old_seconds": 30.0}, 31), ({"old_seconds": 600.0}, 601)])
def test_an_old_value_is_not_shown(made, more, seconds):
    rig = made(**more)
    rig.run(40)
    look(rig)
    last = next(at for at, _ in [rig.screen._uploaded._at["site"]])
    late = timedelta(milliseconds=last) + timedelta(seconds=seconds)
    rig.clock.advance((late - timedelta(seconds=2) - timedelta(seconds=rig.clock.now().timestamp())).total_seconds())
    assert rig.screen.page(0)[0].rstrip() == "PM2.5   35.0 μg/m3"
    rig.clock.advance(3)
    assert [line.rstrip() for line in rig.screen.page(0)[:2]] == ["PM2.5     -- μg/m3", "PM10      -- --"]


def test_an_instrument_that_falls_silent_leaves_no_number(made):
    rig = made()
    rig.run(40)
    rig.instrument.go_silent()
    rig.run(120)
    assert look(rig)[0].split()[1] in ("--", "故障")


def test_a_clock_set_back_leaves_no_record_of_the_future(made):
    rig = made()
    rig.run(40)
    look(rig)
    rig.clock.step(-7200)
    assert look(rig)[0] == "PM2.5     -- μg/m3"


def test_a_clock_that_stands_in_the_past_at_the_start_costs_no_value(made):
    """A board without a real-time clock starts years back: what was sent is shown as soon as the clock is right."""
    rig = made("hour")
    rig.run(3700)
    before = look(rig)
    rig.clock.step(-86400 * 365)
    rig.restart()
    (rig.screen,), rig.board = rig.engine.beside, Board.made[-1]
    assert look(rig)[0] == "PM2.5     -- μg/m3"
    rig.clock.step(86400 * 365)
    rig.clock.advance(40)
    assert look(rig) == before


def test_a_record_has_the_time_that_the_platform_reads(made):
    """Some platforms name a period by its end: the screen says what the text says."""
    rig = made("minute", config=CONFIG.replace("realtime_seconds = 30", 'realtime_seconds = 30\ndatatime = "end"'))
    rig.run(1300)
    (text,) = rig.engine.store.query("SELECT text FROM message WHERE kind = 2 ORDER BY id DESC LIMIT 1")[0]
    stamp = factors(text)[""]["DataTime"]
    assert look(rig)[1].endswith(f"{stamp[8:10]}:{stamp[10:12]}")
    (start,) = rig.engine.store.query("SELECT start_ms FROM message WHERE kind = 2 ORDER BY id DESC LIMIT 1")[0]
    assert not stamp.startswith(f"{datetime.fromtimestamp(start / 1000, rig.loaded.zone):%Y%m%d%H%M}")


def test_a_number_that_does_not_fit_is_never_cut(made):
    rig = made()
    rig.instrument.show(pm25=123456.7)
    rig.run(40)
    assert look(rig)[0] == "PM2.5####### μg/m3"


def test_a_restart_shows_what_was_sent_before_it(made):
    rig = made()
    rig.run(70)
    before = look(rig)
    rig.restart()
    (rig.screen,), rig.board = rig.engine.beside, Board.made[-1]
    assert look(rig) == before


def test_what_stays_is_renewed_and_what_failed_is_sent_again(made):
    rig = made(page_seconds=3600)
    rig.run(40)
    rig.clock.advance(-rig.clock.monotonic() % 7200)
    rig.screen.turn()
    rig.board.lines = []
    rig.clock.advance(2)
    rig.screen.turn()
    assert rig.board.lines == []
    rig.clock.advance(20)
    rig.screen.turn()
    assert rig.board.lines != []
    rig.board.lines, rig.board.broken = [], OSError("gone")
    rig.clock.advance(20)
    assert rig.screen._one_turn() == 2.0
    assert rig.screen.shown()["error"] == "gone"
    rig.board.broken = None
    rig.screen._one_turn()
    assert rig.board.lines != []
    rig.engine.commit()
    assert [code for code in rig.events() if code.startswith("beside")] == ["beside_failed", "beside_well"]


def test_an_absent_screen_is_tried_at_least_every_minute_and_told_once(made):
    rig = made()
    rig.run(40)
    rig.board.broken = StationError("no answer")
    pauses = [rig.screen._one_turn() for _ in range(20)]
    assert pauses[:4] == [2.0, 4.0, 8.0, 16.0]
    assert max(pauses) == 60.0
    rig.engine.commit()
    assert rig.events().count("beside_failed") == 1


def test_a_broken_screen_is_not_in_the_way(made, tmp_path):
    """Two stations, one with a screen that is absent: readings and messages are the same."""
    found = []
    for broken in (True, False):
        folder = tmp_path / str(broken)
        folder.mkdir()
        screen = SCREEN.format(protocol="onbon", port="tcp://127.0.0.1:1", shows="realtime") if broken else ""
        rig = Site(folder, CONFIG + screen)
        threads = [threading.Thread(target=one.run) for one in rig.engine.beside]
        for thread in threads:
            thread.start()
        rig.run(130)
        for one, thread in zip(rig.engine.beside, threads, strict=True):
            one.wake()
            thread.join(5)
            assert not thread.is_alive()
            assert one.complaint.startswith("tcp://127.0.0.1:1: the screen cannot be reached")
        counts = [rig.engine.store.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("reading", "message")]
        found.append((counts, rig.texts()))
        rig.engine.shut_down()
    assert found[0] == found[1]
    assert found[0][0][0] > 40


@pytest.mark.parametrize(("protocol", "how"), [("onbon", "tcp"), ("onbon", "pty"), ("text", "udp"), ("text", "pty")])
def test_from_the_instrument_to_the_dots(made, protocol, how, tmp_path):
    screen = SCREEN.format(protocol=protocol, port="/dev/screen", shows="realtime")
    table = load(configure(tmp_path / "t", ('mn = "M1"\n', 'mn = "M1"\n' + screen)))
    emulated = EmulatedScreen(table.config.screen[0])
    with serve(emulated, how) as where:
        rig = made("realtime", protocol, where)
        rig.run(70)
        rig.clock.advance(-rig.clock.monotonic() % 20)
        emulated.changed.clear()
        rig.screen.turn()
        assert emulated.changed.wait(5)
        expected = [line.rstrip() for line in rig.screen.page(0)]
        for _ in range(100):
            if emulated.lines == expected:
                break
            threading.Event().wait(0.02)
        assert emulated.lines == expected
        assert expected[0] == f"PM2.5{sent(rig, Kind.REALTIME, 'Rtd')[-1]:>7} μg/m3"
        assert rig.screen.shown()["lines"] == expected
        rig.screen.close()


# -- another protocol


def test_another_makers_screen_is_twenty_lines_and_a_name(made, monkeypatch):
    """The worked example of station/README.md: a class with show and close, in the registry or named module:Class."""

    class Loud:
        def __init__(self, settings, way):
            self.settings, self.way = settings, way

        @staticmethod
        def faults(settings):
            if settings.encoding != "gbk":
                yield "encoding", "this maker knows GBK alone"

        def show(self, lines):
            text = "\n".join(lines).encode(self.settings.encoding)
            size = len(text).to_bytes(2, "big")
            self.way.send(b"\x7e" + bytes([self.settings.address]) + size + text + bytes([sum(text) & 0xFF]))

        def close(self):
            self.way.close()

    monkeypatch.setitem(SCREENS, "loud", "tests.station.test_led:Loud")
    monkeypatch.setitem(globals(), "Loud", Loud)
    heard = []
    listener = EmulatedScreen(None)
    monkeypatch.setattr(listener, "feed", lambda data: heard.append(data) or listener.changed.set() or b"")
    with serve(listener, "udp") as where:
        with pytest.raises(ConfigError, match=r"screen\[0\]\.encoding: this maker knows GBK alone"):
            made(protocol="loud", port=where)
        rig = made(protocol="loud", port=where, encoding="gbk")
        rig.screen.turn()
        assert listener.changed.wait(5)
        rig.screen.close()
    assert heard[0].startswith(b"\x7e\x01\x00\x53PM2.5     -- ")


# -- the verb


def test_a_pattern_needs_a_person_and_is_an_event(made):
    rig = made()
    ask = Verbs(rig.engine).table()["screen"]
    with pytest.raises(WrongArgument, match="with a person"):
        ask({"test": "gate", "person": " "})
    with pytest.raises(WrongArgument, match=r'no screen "gat"; did you mean gate\?'):
        ask({"test": "gat", "person": "Wang Fang"})
    with pytest.raises(WrongArgument, match="1 to 600 seconds"):
        ask({"test": "gate", "person": "Wang Fang", "seconds": 6000})
    (row,) = ask({"test": "gate", "person": "Wang Fang", "seconds": 20})
    assert row["testing"]
    rig.screen.turn()
    assert rig.board.lines == ["显示测试", "■" * 10, "■" * 10, "■" * 10]
    rig.clock.advance(21)
    rig.screen.turn()
    assert "PM2.5" in rig.board.lines[0] or "Site" in rig.board.lines[0]
    rig.engine.commit()
    (said,) = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'screen_test'")
    assert json.loads(said[0]) == {"screen": "gate", "user": "Wang Fang", "seconds": 20}


@pytest.mark.parametrize(("language", "words"), [("zh", "正常"), ("en", "well")])
def test_station_screen_and_status_say_what_is_shown(made, capsys, monkeypatch, language, words):
    rig = made(language=language)
    rig.run(70)
    look(rig)
    here = Here(monkeypatch, capsys)
    with answering(rig):
        done = here("screen", "--config", rig.folder / "station.toml", "--lang", language)
        assert done.code == 0, done.err
        assert "    | PM2.5   35.0 μg/m3" in done.out
        assert words in done.out
        status = here("status", "--config", rig.folder / "station.toml", "--lang", language)
        assert "PM2.5   35.0 μg/m3 / PM10" in status.out
        (row,) = json.loads(here("screen", "--config", rig.folder / "station.toml", "--json").out)
        assert row["platform"] == "district"
        tested = here("screen", "--config", rig.folder / "station.toml", "--test", "gate", "--lang", language)
        assert tested.code != 0


def test_station_screen_without_a_station(tmp_path, capsys, monkeypatch):
    path = configure(tmp_path / "s")
    done = Here(monkeypatch, capsys)("screen", "--config", path)
    assert done.code == 69
    assert "no station runs here" in done.err


# -- station check


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("{pm25.value:>7} ", "{pm2.value:>7} ", '[0][0]: {pm2.value}: there is no parameter "pm2"; did you mean pm25?'),
        ("{pm25.value:>7} ", "{pm25.valeu:>7} ", '{pm25.valeu}: there is no word "valeu"; did you mean value?'),
        ("{site.name}", "{sit.name}", '{sit.name}: there is no parameter "sit"'),
        ("{time}", "{tiem}", "{tiem} is not known; station, date, time stand alone, values are {pm25.value}; did you"),
        ("{time}", "{time", "has a { that belongs to no placeholder"),
        ("{date}", "☃", '"{pm25.mark} ☃": gb2312 has no "☃"'),
        ("PM2.5{", "PM2.5 of the day {", "may need 31 columns; 160 dots hold 20 columns of a font of 16"),
        (":>7} {pm25.unit}", ":>3} {pm25.unit}", 'may stand there, which needs 4 columns'),
        ("page_seconds", "height = 16\npage_seconds", "the page has 2 lines; 16 dots hold 1 rows of 16"),
        ('"district"\nshows', '"distric"\nshows', 'platform: there is no uplink "distric"; did you mean district?'),
        ('"realtime"\nwidth', '"day"\nwidth', 'shows: "day" is not one of realtime, minute, hour'),
        ("/dev/screen", "tcp://gate:5005", "port: tcp://gate:5005 is no address such as tcp://192.168.1.30:5005"),
        ("/dev/screen", "udp://127.0.0.1:5005", "port: the card is spoken to over TCP or a serial line"),
        ("/dev/screen", "port", 'port belongs to the line "line"; a screen needs a port of its own'),
        ('"onbon"', '"onbom"', 'protocol: "onbom" is not one of text, onbon, nor module:Class; did you mean onbon?'),
        ('"onbon"', '"no.such:Class"', "\"no.such:Class\" cannot be loaded: No module named 'no'"),
        ("page_seconds", "font = 12\npage_seconds", "font: the card has fonts of 16, 24, 32 dots"),
        ("width = 160", "width = 164", "width: the card counts in eights of dots, such as 160"),
        ("page_seconds", 'encoding = "gbk"\npage_seconds', "encoding: the card's fonts are GB2312"),
        ("page_seconds", "blank_seconds = 30\npage_seconds", "blank_seconds: it is renewed every 20 s; at least 60"),
        ('["{site.name} {time}", "{pm25.mark} {date}"]', "[]", "pages: a screen needs pages, and a page lines"),
    ],
)
def test_faults_of_a_screen(tmp_path, old, new, fault):
    table = SCREEN.format(protocol="onbon", port="/dev/screen", shows="realtime")
    assert old in table
    with pytest.raises(ConfigError) as raised:
        load(configure(tmp_path / "s", ('mn = "M1"\n', 'mn = "M1"\n' + table.replace(old, new, 1))))
    found = str(raised.value)
    assert fault in found
    assert re.search(r"station\.toml:\d+: screen\[0\]", found), found


def test_the_same_port_by_another_name_is_the_same_port(tmp_path):
    (tmp_path / "by-path").symlink_to(tmp_path / "ttyUSB0")
    table = SCREEN.format(protocol="onbon", port=tmp_path / "by-path", shows="realtime")
    bus = ('port = "port"', f'port = "{tmp_path / "ttyUSB0"}"')
    path = configure(tmp_path / "s", bus, ('mn = "M1"\n', 'mn = "M1"\n' + table))
    with pytest.raises(ConfigError, match='belongs to the line "line"'):
        load(path)


def test_a_serial_server_is_one_line_however_it_is_spoken_to(tmp_path):
    table = SCREEN.format(protocol="onbon", port="tcp://127.0.0.1:4001", shows="realtime")
    bus = ('port = "port"', 'port = "rtu+tcp://127.0.0.1:4001"')
    path = configure(tmp_path / "s", bus, ('mn = "M1"\n', 'mn = "M1"\n' + table))
    with pytest.raises(ConfigError, match='belongs to the line "line"'):
        load(path)


def test_an_emulated_screen_of_the_command_line_takes_a_page_and_draws_it(tmp_path):
    port = tmp_path / "gate"
    screen = SCREEN.format(protocol="onbon", port=port, shows="realtime")
    path = configure(tmp_path / "s", ('mn = "M1"\n', 'mn = "M1"\n' + screen))
    with served("emulate", "screen", "gate", "--config", path, "--svg", tmp_path / "gate.svg") as process:
        process.says("is served at")
        settings = load(path).config.screen[0]
        board = OnbonScreen(settings, way_to(settings))
        board.show(["PM2.5 维护"])
        process.says("| PM2.5 维护")
        board.close()
        assert process.stop() == 0
    assert "维</text>" in (tmp_path / "gate.svg").read_text(encoding="utf-8")


def test_two_screens_need_names_and_ports_of_their_own(tmp_path):
    table = SCREEN.format(protocol="onbon", port="/dev/screen", shows="realtime")
    with pytest.raises(ConfigError) as raised:
        load(configure(tmp_path / "s", ('mn = "M1"\n', 'mn = "M1"\n' + table + table)))
    assert 'screen[1].name: "gate" is the name of another screen' in str(raised.value)
    assert 'screen[1].port: /dev/screen belongs to the screen "gate"' in str(raised.value)



def test_the_example_is_sound_behind_the_demos_station(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8") + EXAMPLE.with_name("screen.toml").read_text(encoding="utf-8")
    (tmp_path / "station.toml").write_text(text, encoding="utf-8")
    (tmp_path / "password").write_text("123456")
    assert load(tmp_path / "station.toml", secrets=False).config.screen[0].columns == 20


def test_the_readme_has_the_worked_example_of_this_file():
    readme = (EXAMPLE.parents[1] / "README.md").read_text(encoding="utf-8")
    note = "  # the [[screen]] table; send(), ask() and close()"
    shown = readme.partition("```python\nclass Loud:")[2].partition("```")[0].replace(note, "")
    mine = inspect.getsource(test_another_makers_screen_is_twenty_lines_and_a_name).partition("class Loud:")[2]
    assert textwrap.dedent(mine.partition("\n    monkeypatch")[0]).strip() == textwrap.dedent(shown).strip()


def test_faults_to_choose_from_are_those_of_the_emulated_screen():
    assert cli_screen.FAULTS == emulated_screen.FAULTS
