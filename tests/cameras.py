"""Cameras on loopback for tests: a real RTSP server of Debian's packages, and bad ones of our own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from tests.programs import program

SERVER = Path(__file__).with_name("rtsp_server.py")
ACCOUNT = ("viewer", "p@ss: w/ö'rd%")  # what stands in an address only in other spellings
JPEG = bytes.fromhex(  # 1 × 1 pixel
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d"
    "1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080001000101011100ffc4001f000001050101"
    "0101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d010203000411051221314106"
    "13516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455"
    "565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9ba"
    "c2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00fbfcffd9"
)


@contextmanager
def streaming(codec: str = "h264", size: tuple[int, int] = (640, 360)) -> Iterator[str]:
    """The address of a stream with ACCOUNT."""
    program("gst-launch-1.0")
    command = ["/usr/bin/python3", str(SERVER), *ACCOUNT, codec, *map(str, size)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield f"rtsp://127.0.0.1:{int(process.stdout.readline())}/main"
        finally:
            process.kill()


@contextmanager
def listening(talk: Callable[[socket.socket, Event], None]) -> Iterator[int]:
    """A port where everybody who connects is served by *talk*."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def one(client: socket.socket) -> None:
            with client, suppress(OSError):
                talk(client, over)

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join(5)


def silent(client: socket.socket, over: Event) -> None:
    """Says nothing, ever."""
    over.wait(60)


def rubbish(client: socket.socket, over: Event) -> None:
    """Says what nobody asked."""
    client.recv(4096)
    client.sendall(os.urandom(2000) + b"\r\n\r\n")


def endless(client: socket.socket, over: Event) -> None:
    """Begins as RTSP does and never comes to an end."""
    client.recv(4096)
    client.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 1000000000\r\n\r\n")
    while not over.is_set():
        client.sendall(b"a=" + b"x" * 4096 + b"\r\n")
