"""One still of a camera: a JPEG over HTTP, or the first whole picture of an RTSP stream, taken by ffmpeg.

ffmpeg is the operating system's, a process of its own with a limit of time, processor seconds, memory and bytes; it
leads a process group, which is killed whole.  The address with its password goes to it as a playlist over its standard
input: a command line can be read by every account of the host (/proc/PID/cmdline), and a file would have to be
removed after every power cut.  What it says on its standard error is kept short, and the password is taken out of it.
"""

from __future__ import annotations

import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from drivers.base import BadReply, DeviceError, NoReply
from drivers.camera_http import Account, fetch
from station.model import dataclass

INSIDE = re.compile(r"\[[\w,:#/ -]+ @ 0x[0-9a-f]+\] ?")  # which part of ffmpeg speaks: other figures at each start
WORDS = 300  # characters of what ffmpeg says
SAID = 8192  # bytes of it that are kept, the last ones
TICK = 0.2  # seconds between two looks whether the station stops
MEMORY = 128 << 20  # bytes of data, of the 192 MiB that the unit has; of address space eight times as many
FIRST_TO_GO = "1000"  # for the kernel that runs out of memory: ffmpeg, and not the station
MOST_PIXELS = 50_000_000
ALLOWED = "pipe,rtsp,rtp,udp,tcp"  # and no files, whatever a camera's description of its stream says
HIDDEN = "***"


class NoProgram(DeviceError):
    """Error raised when ffmpeg is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a still may take, how many bytes it may have, how wide one of a stream is made (0: as it comes)."""

    seconds: float = 20.0
    most_bytes: int = 4 << 20
    width: int = 1920


@dataclass(frozen=True, slots=True)
class Still:
    """A picture as it is kept: the JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def has_ffmpeg() -> bool:
    """Whether a stream can be looked at on this host."""
    return shutil.which("ffmpeg") is not None


def from_http(url: str, account: Account, limits: Limits, alive: Callable[[], bool]) -> Still:
    """The JPEG at *url*; raise DeviceError."""
    answer = fetch("GET", url, account=account, seconds=limits.seconds, most_bytes=limits.most_bytes, alive=alive)
    if answer.status != 200:
        raise BadReply(f"{bare(url)}: answered {answer.status} instead of a picture")
    return measured(answer.body, bare(url))


def from_stream(url: str, account: Account, limits: Limits, alive: Callable[[], bool]) -> Still:
    """The first whole picture of the stream at *url*; raise DeviceError."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise NoProgram("ffmpeg is not installed, and without it no stream is looked at: apt-get install ffmpeg")
    scale = [] if not limits.width else ["-vf", f"scale=min({limits.width}\\,iw):-2"]
    command = [
        program, "-hide_banner", "-nostats", "-loglevel", "error", "-threads", "1", "-skip_frame", "nokey",
        "-protocol_whitelist", ALLOWED, "-safe", "0", "-f", "concat", "-i", "pipe:0",
        "-an", "-frames:v", "1", *scale, "-q:v", "3", "-threads", "1", "-c:v", "mjpeg", "-f", "image2pipe", "pipe:1",
    ]  # fmt: skip
    found, said, why = _run(command, playlist(url, account), limits, alive)
    where = bare(url)
    said = hidden(said, account)
    if why == "time":
        raise NoReply(f"{where}: no picture within {limits.seconds:g} s{said and f' ({said})'}")
    if why == "size":
        raise BadReply(f"{where}: the picture has more than {limits.most_bytes >> 10} KiB (most_kb)")
    if why == "stopped":
        raise NoReply(f"{where}: the station stops")
    if not found:
        raise BadReply(f"{where}: ffmpeg made no picture of it ({said or 'it says nothing'})")
    return measured(found, where)


def playlist(url: str, account: Account) -> bytes:
    """What ffmpeg reads on its standard input, the one place where the password stands.

    >>> playlist("rtsp://10.0.0.9/1", Account("admin", "a/b'c")).decode().splitlines()[1]
    "file 'rtsp://admin:a%2Fb%27c@10.0.0.9/1'"
    """
    parts = urlsplit(url)
    if account.user:
        secret = f"{quote(account.user, safe='')}:{quote(account.password, safe='')}@"
        parts = parts._replace(netloc=secret + parts.netloc.rpartition("@")[2])
    # A quote would end the name; after it anything could stand, also a file of the host.
    text = urlunsplit(parts).replace("'", "%27").replace("\\", "%5C")
    if not text.isprintable():
        raise BadReply(f"{bare(url)!r}: is no address")
    return f"ffconcat version 1.0\nfile '{text}'\noption rtsp_transport tcp\n".encode()


def bare(url: str) -> str:
    """*url* without an account and without what is asked behind the "?": it may stand in a log.

    >>> bare("rtsp://a:b@10.0.0.9/1?pw=c")
    'rtsp://10.0.0.9/1'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def hidden(text: str, account: Account) -> str:
    """*text* in one line, without the password in any spelling and ffmpeg's own addresses in memory, and short."""
    for secret in {account.password, quote(account.password, safe=""), quote(account.password)} - {""}:
        text = text.replace(secret, HIDDEN)
    text = INSIDE.sub("", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[-WORDS:]


def _run(command: list[str], given: bytes, limits: Limits, alive: Callable[[], bool]) -> tuple[bytes, str, str]:
    """What the process wrote, what it said, and why it was killed: time, size, stopped or ""."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C"},
        )  # fmt: skip
    except OSError as error:
        raise NoProgram(f"ffmpeg cannot be started ({error.strerror})") from error
    try:
        _bound(process.pid, limits)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(given)
        return _read(process, limits, alive)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group is there as long as the process was not waited for
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _bound(number: int, limits: Limits) -> None:
    """Keep the process small and behind everything else on the host."""
    seconds = int(limits.seconds) + 1
    with suppress(OSError):  # it may have ended already
        os.setpriority(os.PRIO_PROCESS, number, 10)
    with suppress(OSError):
        Path(f"/proc/{number}/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    limited = ((resource.RLIMIT_AS, 8 * MEMORY), (resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CPU, seconds))
    for what, most in (*limited, (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):  # a unit may hold it lower already
            resource.prlimit(number, what, (most, most))


def _read(process: subprocess.Popen[bytes], limits: Limits, alive: Callable[[], bool]) -> tuple[bytes, str, str]:
    found, said = bytearray(), bytearray()
    until = time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, found)  # type: ignore[arg-type]
        selector.register(process.stderr, selectors.EVENT_READ, said)  # type: ignore[arg-type]
        why = ""
        while selector.get_map() and not why:
            left = until - time.monotonic()
            for key, _ in selector.select(max(0.0, min(TICK, left))):
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fileobj)
                key.data.extend(part)
                del said[:-SAID]
            if len(found) > limits.most_bytes:
                why = "size"
            elif not alive():
                why = "stopped"
            elif time.monotonic() >= until:
                why = "time"
    return bytes(found), said.decode("utf-8", "replace"), why


# -- what a picture is


def measured(data: bytes, where: str) -> Still:
    """*data* as a still; raise BadReply where it is no whole JPEG.

    Only its frame is read: ISO/IEC 10918-1 annex B (A), no picture is made of it here.
    """
    end = data.rfind(b"\xff\xd9")
    size = _size(data) if end > 0 else None
    if size is None:
        begins = data[:8].hex(" ") or "nothing"
        raise BadReply(f"{where}: what came is no whole JPEG ({len(data)} bytes, beginning with {begins})")
    width, height = size
    if not 0 < width * height <= MOST_PIXELS:
        raise BadReply(f"{where}: a picture of {width} × {height} is not kept")
    return Still(data[: end + 2], width, height)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height, from the frame header."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker in (0xD9, 0xDA) or length < 2:
            return None
        at += 2 + length
    return None
