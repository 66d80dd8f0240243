"""Text screens: the bytes of each protocol, decoded by the emulated screen, and every way one can fail."""

import socket
import threading
from random import Random
from types import SimpleNamespace

import pytest

from drivers import onbon
from drivers.emulated_screen import EmulatedScreen, at_port, serve
from drivers.onbon import Area, OnbonScreen, areas, first_frame, frame
from drivers.screens import ScreenLost, ScreenRefused, ScreenSilent, SerialWay, TextScreen, address_of, way_to

# Three frames that a public program was recorded to send to a BX-5K card.
RECORDED = """
A5 A5 A5 A5 A5 A5 A5 A5 01 00 00 80 00 00 00 00 00 00 FE 02 35 00 A3 06 02 00 00 00 01 2C 00 00 00 00 0C 00 40 00 0C 00
01 0A 01 02 00 00 00 00 01 01 01 00 17 02 11 00 00 00 5C 46 4F 30 30 30 54 45 4D 50 45 52 3A 32 31 A1 E6 82 DA 5A
A5 A5 A5 A5 A5 A5 A5 A5 01 00 00 80 00 00 00 00 00 00 FE 02 33 00 A3 06 02 00 00 00 01 2A 00 00 00 00 18 00 40 00 0C 00
01 0A 01 02 00 00 00 00 01 01 01 00 17 02 0F 00 00 00 5C 46 4F 30 30 30 48 55 4D 3A 36 36 25 52 48 36 7A 5A
"""


def settings(**changes):
    """A [[screen]] table."""
    usual = {
        "name": "gate", "protocol": "onbon", "port": "", "width": 128, "height": 64, "font": 16, "address": 1,
        "encoding": "gb2312", "prefix": "", "line_end": "hex:0D0A", "timeout_seconds": 5.0, "acknowledge": True,
        "blank_seconds": 0, "baudrate": 9600, "parity": "N", "stopbits": 1, "rs485": "hardware", "pages": (),
    }  # fmt: skip
    return SimpleNamespace(**usual | changes)


class Wire:
    """A way straight into an emulated screen, in pieces of *size* bytes."""

    def __init__(self, screen, size=1 << 20):
        self.screen, self.size, self.sent = screen, size, b""

    def send(self, data):
        self.sent += data
        self.answer = b"".join(self.screen.feed(data[at : at + self.size]) for at in range(0, len(data), self.size))

    def ask(self, data, answer):
        self.send(data)
        if (found := answer(self.answer)) is None:
            raise ScreenSilent("no answer")
        return found

    def close(self):
        pass


def test_recorded_frames_are_made_and_read_byte_by_byte():
    recorded = bytes.fromhex(RECORDED)
    found = first_frame(recorded)
    (area,) = areas(found.command)
    assert area == Area(1, 0, 12, 512, 12, b"\\FO000TEMPER:21\xa1\xe6", 1, 2, 10, 0x17, 2)
    assert frame(onbon.SHOW + b"\x02\0\0\0\x01" + area.packed(), 1) == recorded[: found.taken]
    second = first_frame(recorded[found.taken :])
    assert areas(second.command)[0].text == b"\\FO000HUM:66%RH"
    assert found.taken + second.taken == len(recorded)


def test_what_marks_frames_is_escaped():
    command = bytes([0xA5, 0xA6, 0x5A, 0x5B, 1, 2])
    made = frame(command, 0xA5)
    assert made.count(b"\x5a") == 1
    assert made[8:].count(b"\xa5") == 0
    assert first_frame(b"\x5a\xa5noise" + made).command == command


@pytest.mark.parametrize("change", ["flip", "cut", "noise", "short"])
def test_unsound_frames_are_none(change):
    made = frame(onbon.SHOW + b"\x01\0\0\0\0", 1)
    bad = {
        "flip": made[:20] + b"\x77" + made[21:],
        "cut": made[:-1],
        "noise": bytes(range(64)),
        "short": b"\xa5" * 8 + b"\x5a",
    }
    assert first_frame(bad[change]) is None
    assert first_frame(bad[change] + made).command == onbon.SHOW + b"\x01\0\0\0\0"


def test_a_command_cut_anywhere_is_refused_in_words():
    whole = onbon.SHOW + b"\x01\0\0\0\x01" + Area(0, 0, 0, 128, 16, b"\\FO00035").packed()
    assert areas(whole)[0].text == b"\\FO00035"
    emulated = EmulatedScreen(settings())
    for cut in range(2, len(whole) - len(b"\\FO00035")):
        with pytest.raises(ValueError, match="cut short"):
            areas(whole[:cut])
        answer = first_frame(emulated.feed(frame(whole[:cut], 1))) if cut > 2 else None
        assert answer is None or answer.command[2] == 2
    with pytest.raises(ValueError, match="no command A3 06"):
        areas(b"\xa2\0\x01\0\0")


@pytest.mark.parametrize("protocol", ["onbon", "text"])
def test_rubbish_is_taken_and_the_next_text_arrives(protocol):
    noise = Random(9)
    table = settings(protocol=protocol, prefix="" if protocol == "onbon" else "@{row} ")
    emulated = EmulatedScreen(table)
    for _ in range(300):
        emulated.feed(noise.randbytes(noise.randrange(200)))
    emulated.feed(b"\r\n")
    (OnbonScreen if protocol == "onbon" else TextScreen)(table, Wire(emulated)).show(["35", "60", "", ""])
    assert emulated.lines == ["35", "60", "", ""]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_onbon_shows_lines(size):
    emulated = EmulatedScreen(settings())
    OnbonScreen(settings(), Wire(emulated, size)).show(["PM2.5 35 维护", "Z[{ZZ", "", "噪声 55.0"])
    assert emulated.lines == ["PM2.5 35 维护", "Z[{ZZ", "", "噪声 55.0"]


def test_onbon_screens_go_blank_by_themselves():
    at = [0.0]
    emulated = EmulatedScreen(settings(), clock=lambda: at[0])
    OnbonScreen(settings(blank_seconds=300), Wire(emulated)).show(["35", "60", "", ""])
    assert emulated.lines[:2] == ["35", "60"]
    at[0] = 300.0
    assert emulated.lines == ["", "", "", ""]


def test_onbon_speaks_to_its_own_address():
    emulated = EmulatedScreen(settings(address=2))
    with pytest.raises(ScreenSilent):
        OnbonScreen(settings(address=1), Wire(emulated)).show(["35"])
    assert emulated.lines[0] == ""


def test_onbon_refusals_have_words():
    emulated = EmulatedScreen(settings())
    emulated.fault = "refuse"
    with pytest.raises(ScreenRefused, match=r"refused the text with error 3 \(busy\)"):
        OnbonScreen(settings(), Wire(emulated)).show(["35"])


@pytest.mark.parametrize(
    ("prefix", "line_end", "sent"),
    [
        ("", "hex:0D0A", b"35\r\n60\r\n"),
        ("@{address}:{row} ", "hex:0D", b"@7:1 35\r@7:2 60\r"),
        ("hex:02{address}{row}", "hex:03", b"\x02\x07\x0135\x03\x02\x07\x0260\x03"),
    ],
)
def test_plain_text(prefix, line_end, sent):
    table = settings(protocol="text", address=7, prefix=prefix, line_end=line_end, height=32)
    emulated = EmulatedScreen(table)
    wire = Wire(emulated, 3)
    TextScreen(table, wire).show(["35", "60"])
    assert wire.sent == sent
    assert emulated.lines == ["35", "60"]


@pytest.mark.parametrize("encoding", ["gb2312", "gbk", "utf-8"])
def test_plain_text_in_every_character_set(encoding):
    table = settings(protocol="text", encoding=encoding)
    emulated = EmulatedScreen(table)
    TextScreen(table, Wire(emulated)).show(["PM10 维护", "60 μg/m3", "", "℃"])
    assert emulated.lines == ["PM10 维护", "60 μg/m3", "", "℃"]


def test_a_prefix_that_is_no_bytes_is_a_fault():
    assert [key for key, _ in TextScreen.faults(settings(prefix="hex:0", line_end="尾"))] == ["prefix", "line_end"]


# -- ways


@pytest.mark.parametrize("how", ["tcp", "pty"])
def test_onbon_over(how):
    table = settings()
    emulated = EmulatedScreen(table)
    with serve(emulated, how) as where:
        table.port = where
        screen = OnbonScreen(table, way_to(table))
        screen.show(["35", "60", "", "维护"])
        assert emulated.lines == ["35", "60", "", "维护"]
        screen.close()


def test_plain_text_over_udp():
    table = settings(protocol="text")
    emulated = EmulatedScreen(table)
    with serve(emulated, "udp") as where:
        table.port = where
        screen = TextScreen(table, way_to(table))
        screen.show(["35", "60", "", ""])
        assert emulated.changed.wait(5)
        assert emulated.lines == ["35", "60", "", ""]
        screen.close()


@pytest.mark.parametrize(("fault", "said"), [("silent", "nothing"), ("rubbish", "no answer"), ("drip", "no answer")])
@pytest.mark.parametrize("how", ["tcp", "pty"])
def test_a_screen_that_does_not_acknowledge(how, fault, said):
    table = settings(timeout_seconds=0.3)
    emulated = EmulatedScreen(table)
    emulated.fault = fault
    with serve(emulated, how) as where:
        table.port = where
        screen = OnbonScreen(table, way_to(table))
        with pytest.raises(ScreenSilent, match=said):
            screen.show(["35"])
        screen.close()
        emulated.fault, table.timeout_seconds = "", 5.0
        screen = OnbonScreen(table, way_to(table))
        screen.show(["60"])
        assert emulated.lines[0] == "60"
        screen.close()


def test_a_screen_that_floods_is_given_up_within_bounds():
    stop, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def flood():
        connection, _ = listener.accept()
        with connection:
            while not stop.is_set():
                try:
                    connection.sendall(b"\xa5" * 4096)
                except OSError:
                    return

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    table = settings(port=f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3)
    way = way_to(table)
    with pytest.raises((ScreenSilent, ScreenLost)):
        OnbonScreen(table, way).show(["35"])
    way.close()
    stop.set()
    thread.join(5)
    listener.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("port", ["/dev/there-is-no-such-port", "tcp://127.0.0.1:1"])
def test_an_absent_screen(port):
    with pytest.raises(ScreenLost, match=port):
        OnbonScreen(settings(port=port), way_to(settings(port=port))).show(["35"])


def test_a_port_that_vanishes_and_comes_back(tmp_path):
    table = settings(port=str(tmp_path / "screen"))
    screen = OnbonScreen(table, way_to(table))
    with at_port(EmulatedScreen(table)):
        screen.show(["35"])
    with pytest.raises((ScreenLost, ScreenSilent)):
        screen.show(["36"])
    with pytest.raises(ScreenLost):
        screen.show(["36"])
    emulated = EmulatedScreen(table)
    with at_port(emulated):
        screen.show(["37"])
        assert emulated.lines[0] == "37"
        screen.close()


def test_a_connection_that_the_screen_closed_is_told_and_made_anew():
    table = settings()
    with serve(EmulatedScreen(table), "tcp") as where:
        table.port = where
        screen = OnbonScreen(table, way_to(table))
        screen.show(["35"])
    with pytest.raises(ScreenLost):
        screen.show(["36"])
    emulated = EmulatedScreen(table)
    with serve(emulated, "tcp", int(where.rpartition(":")[2])):
        screen.show(["37"])
        assert emulated.lines[0] == "37"
        screen.close()


def test_a_port_is_had_by_one_program(tmp_path):
    table = settings(port=str(tmp_path / "screen"))
    with at_port(EmulatedScreen(table)):
        first, second = SerialWay(table), SerialWay(table)
        first.send(b"35")
        with pytest.raises(ScreenLost, match="another program has it"):
            second.send(b"36")
        first.close()


@pytest.mark.parametrize(
    "port", ["udp://screen:5005", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "http://127.0.0.1:80", "tcp://"]
)
def test_addresses_that_are_none(port):
    with pytest.raises(ValueError, match="is no address such as tcp"):
        address_of(port)


def test_a_real_port_is_not_replaced_by_an_emulated_one(tmp_path):
    (tmp_path / "port").touch()
    emulated = EmulatedScreen(settings(port=str(tmp_path / "port")))
    with pytest.raises(ValueError, match="a real port is not replaced"), at_port(emulated):
        pass


def test_the_picture_has_each_sign_in_its_cell():
    emulated = EmulatedScreen(settings())
    OnbonScreen(settings(), Wire(emulated)).show(["a维<", "", "", ""])
    picture = emulated.svg()
    assert '<text x="4" y="13.12">a</text><text x="16" y="13.12">维</text><text x="28" y="13.12">&lt;</text>' in picture
