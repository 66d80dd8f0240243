"""A still of a camera: from a real RTSP server, from ONVIF, and from cameras that go wrong in every way."""

import hashlib
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from drivers import still
from drivers.base import BadReply, NoReply
from drivers.camera_http import Account, authorization
from drivers.onvif import Onvif, Refused
from drivers.onvif_emulator import Camera, Face
from drivers.still import Limits, NoProgram, from_http, from_stream
from tests import cameras
from tests.programs import program

ME = Account(*cameras.ACCOUNT)
SHORT = Limits(seconds=1.0)


def alive():
    return True


@pytest.fixture(scope="module", autouse=True)
def ffmpeg():
    program("ffmpeg")


@pytest.fixture(scope="module")
def stream():
    with cameras.streaming() as url:
        yield url


def command_lines():
    """What every account of the host can read of every process."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(one.read_bytes())
        except OSError:
            continue
    return found


def test_a_stream_of_a_real_server_becomes_a_picture(stream):
    found = from_stream(stream, ME, Limits(), alive)
    assert (found.width, found.height) == (640, 360)
    assert still.measured(found.jpeg, "it") == found


def test_a_picture_is_made_no_wider_than_is_wanted(stream):
    found = from_stream(stream, ME, Limits(width=320), alive)
    assert (found.width, found.height) == (320, 180)


def test_a_large_motion_jpeg_is_taken_and_too_many_bytes_are_not():
    with cameras.streaming("mjpeg", (2040, 1152)) as url:
        found = from_stream(url, ME, Limits(), alive)
        assert (found.width, found.height) == (1920, 1084)
        with pytest.raises(BadReply, match=r"/main: the picture has more than 4 KiB \(most_kb\)"):
            from_stream(url, ME, Limits(most_bytes=4096), alive)


def test_a_wrong_password_is_said_and_stands_nowhere(stream):
    with pytest.raises(BadReply, match="401 Unauthorized") as caught:
        from_stream(stream, Account("viewer", "wr0ng@"), Limits(), alive)
    assert "wr0ng" not in str(caught.value)
    assert "wr0ng" not in repr(Account("viewer", "wr0ng@"))


def test_the_password_is_on_no_command_line_and_the_group_is_killed():
    seen = []
    with cameras.listening(cameras.silent) as port:

        def look():
            seen.extend(one for one in command_lines() if b"concat" in one and b"pipe:0" in one)
            return True

        with pytest.raises(NoReply, match="no picture within 1 s"):
            from_stream(f"rtsp://127.0.0.1:{port}/1", Account("admin", "secret-word"), SHORT, look)
    assert seen
    assert not any(b"secret-word" in one or str(port).encode() in one for one in seen)
    assert not any(b"pipe:0" in one for one in command_lines())


@pytest.mark.parametrize("talk", [cameras.silent, cameras.rubbish, cameras.endless])
def test_a_bad_camera_has_an_end(talk):
    with cameras.listening(talk) as port, pytest.raises((NoReply, BadReply)) as caught:
        from_stream(f"rtsp://127.0.0.1:{port}/1", Account(), SHORT, alive)
    assert str(caught.value).startswith(f"rtsp://127.0.0.1:{port}/1: ")
    assert len(str(caught.value)) < 500


def test_a_program_that_never_ends_and_shouts_is_killed_with_its_children(tmp_path, monkeypatch):
    made = tmp_path / "ffmpeg"
    made.write_text("#!/bin/sh\ncat >/dev/null\nsleep 987654 &\necho $! >child\nyes shouting >&2\n")
    made.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoReply, match="shouting") as caught:
        from_stream("rtsp://127.0.0.1:9/1", Account(), SHORT, alive)
    assert len(str(caught.value)) < 500
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    until = time.monotonic() + 5
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < until:
        threading.Event().wait(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_a_stop_of_the_station_is_not_waited_for():
    with cameras.listening(cameras.silent) as port, pytest.raises(NoReply, match="the station stops"):
        from_stream(f"rtsp://127.0.0.1:{port}/1", Account(), Limits(seconds=60), lambda: False)


def test_the_same_refusal_reads_the_same_at_every_try():
    said = "[tcp @ 0x558880863080] Connection refused\n[concat @ 0x5588ebc0] Impossible to open\n"
    assert still.hidden(said, still.Account("", "")) == "Connection refused Impossible to open"


def test_without_ffmpeg_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not still.has_ffmpeg()
    with pytest.raises(NoProgram, match="apt-get install ffmpeg"):
        from_stream("rtsp://127.0.0.1:9/1", Account(), Limits(), alive)


def test_a_playlist_holds_nothing_but_its_address():
    made = still.playlist("rtsp://h/a'\\b", Account("u'", "\n'\\")).decode()
    assert made.splitlines()[1] == "file 'rtsp://u%27:%0A%27%5C@h/a%27%5Cb'"
    with pytest.raises(BadReply, match="is no address"):
        still.playlist("rtsp://h/\x7f", Account())


# -- ONVIF


def onvif(camera, account=None, limits=SHORT):
    return Onvif(camera.url, account or Account("admin", "pass"), limits, alive)


@pytest.mark.parametrize("hours", [0, -9000, 8])
def test_an_onvif_camera_gives_its_still_whatever_its_clock_says(hours):
    with Camera(Face(jpeg=cameras.JPEG, ahead=timedelta(hours=hours))) as camera:
        found = onvif(camera).still()
    assert (found.width, found.height, found.jpeg) == (1, 1, cameras.JPEG)
    assert camera.asked[-3:] == ["GetSnapshotUri", "GET /still?channel=1", "GET /still?channel=1"]


def test_an_onvif_camera_without_stills_is_asked_for_its_stream(stream):
    stream = stream.replace("127.0.0.1", "10.9.8.7")  # as cameras behind a router say it
    face = Face(user=ME.user, password=ME.password, stream=stream, fault="no_stills")
    with Camera(face) as camera:
        found = onvif(camera, ME, Limits()).still()
    assert (found.width, found.height) == (640, 360)


@pytest.mark.parametrize("account", [Account("admin", "wrong"), Account("other", "pass")])
def test_an_onvif_camera_that_lets_nobody_in(account):
    with Camera(Face(jpeg=cameras.JPEG)) as camera, pytest.raises(Refused, match="does not let this account in"):
        onvif(camera, account).still()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("silent", "no answer within 1 s"),
        ("dribble", "no whole answer within 1 s"),
        ("rubbish", "what it answers is no HTTP"),
        ("endless", "the answer has more than 256 KiB"),
        ("entities", "answered with XML that defines entities"),
        ("huge", "the answer has more than 4096 KiB"),
        ("broken_picture", "what came is no whole JPEG"),
    ],
)
def test_an_onvif_camera_that_goes_wrong(fault, said):
    with Camera(Face(jpeg=cameras.JPEG, fault=fault)) as camera, pytest.raises((BadReply, NoReply), match=said):
        onvif(camera).still()


def test_no_address_of_an_answer_leads_to_a_file_or_another_host():
    with Camera(Face(jpeg=cameras.JPEG, fault="elsewhere", stream="file:///etc/passwd")) as camera:
        with pytest.raises(BadReply, match="named an address that is not rtsp"):
            onvif(camera).still()
        here = onvif(camera)._here("http://10.1.2.3:81/a?b=c", ("http",))
    assert here == f"http://127.0.0.1:{camera.port}/a?b=c"


def test_a_plain_address_of_a_still():
    with Camera(Face(jpeg=cameras.JPEG)) as camera:
        url = f"http://127.0.0.1:{camera.port}/still"
        assert from_http(url, Account("admin", "pass"), SHORT, alive).jpeg == cameras.JPEG
        with pytest.raises(BadReply, match=r"does not let this account in \(401\)"):
            from_http(url, Account("admin", "wrong"), SHORT, alive)


def test_a_password_is_never_given_in_clear():
    asked = ('Basic realm="camera"',)
    with pytest.raises(BadReply, match="Basic over https alone"):
        authorization("GET", "http://a/", asked, Account("a", "b"))
    assert authorization("GET", "https://a/", asked, Account("a", "b")) == "Basic YTpi"


def test_a_digest_without_qop_is_the_old_one():
    """RFC 2069's form, as old cameras ask for it."""
    made = authorization("GET", "http://a/x", ('Digest realm="r", nonce="n"',), Account("u", "p"))
    first, second = (hashlib.md5(text).hexdigest() for text in (b"u:r:p", b"GET:/x"))
    assert f'response="{hashlib.md5(f"{first}:n:{second}".encode()).hexdigest()}"' in made
    assert "qop" not in made


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xd9", b"<html>", cameras.JPEG[:200], b"\xff\xd8\xff" * 50])
def test_what_is_no_picture_is_not_kept(data):
    with pytest.raises(BadReply, match="no whole JPEG"):
        still.measured(data, "it")


def test_a_picture_larger_than_any_camera_makes_is_not_kept():
    data = bytearray(cameras.JPEG)
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(BadReply, match="65535 × 65535 is not kept"):
        still.measured(bytes(data), "it")
