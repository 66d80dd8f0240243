"""What any bytes of a platform may do: nothing.  Driven by atheris (fuzz_hj212.py) and by the fault matrix (row 45)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

from station.model import Outcome, Result
from station.parameters import catalogue
from uplink.base import Context
from uplink.hj212.frame import CHUNK, FrameError, FrameReader, Segment
from uplink.hj212.inspect import inspect
from uplink.hj212.joining import Joiner
from uplink.hj212.link import Hj212Settings, Hj212Uplink, PointSettings
from uplink.hj212.messages import COMMANDS
from uplink.hj212.requests import Requests
from uplink.hj212.sm4 import PRINTED_LIMIT, Envelope
from uplink.hj212.uploads import Uploads
from uplink.hj212.voice import Voice
from uplink.memory import MemoryCommands, MemoryOutbox

KEY = b"k3J9-xQ2m7Zp0sWd"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
OUTBOX, DESK = MemoryOutbox(), MemoryCommands()
CONTEXT = Context(
    catalogue=catalogue(),
    zone=timezone(timedelta(hours=8)),
    now=lambda: NOW,
    monotonic=lambda: 0.0,
    secret=lambda name: "123456",
    started=NOW,
)
SETTINGS = Hj212Settings(
    name="fuzz",
    standard="2025",
    host="127.0.0.1",
    port=1,
    password_file="pw",
    point=(PointSettings(point="P1", mn="0A1B2C3D4E5F60718293A4B5"),),
)
TERMS = Hj212Uplink(SETTINGS, CONTEXT, {"P1": "22"})._terms
SEEN = Counter()
VALUES = {  # whatever a direct answer may need
    "time": "2026-03-01T12:00:00+08:00", "seconds": "30", "minutes": "10", "vase": "1", "start": "00:00:00",
    "hours": "2", "minutes_to_result": "30", "serial": "SN-7", "value": "running",
}  # fmt: skip
OBLIGING = MemoryCommands({row.verb: Result(Outcome.DONE, VALUES) for row in COMMANDS if row.verb})


def one_input(data):
    """No exception, no command carried out, and no more memory than a frame and a chunk."""
    reader, sealed = FrameReader(), FrameReader(opener=Envelope(lambda: [KEY]))
    voice, said = Voice(TERMS, OUTBOX, "123456", None), []
    uploads = Uploads(TERMS, voice, OUTBOX)
    requests, joiner = Requests(TERMS, voice, DESK, uploads, said.append), Joiner()
    obliged = Requests(TERMS, voice, OBLIGING, uploads, said.append)
    TERMS.guard.right()
    TERMS.guard._until = float("-inf")
    OBLIGING.asked.clear()
    for item in [*reader.feed(data), *sealed.feed(data), *reader.give_up(), data]:
        if isinstance(item, FrameError):
            continue
        try:
            segment = joiner.add(Segment.parse(item))
        except FrameError:
            continue
        if segment is not None:
            requests.asked(segment)
            obliged.asked(segment)
            obliged.results()
            uploads.acknowledged(segment)
            SEEN[segment.cn] += 1
    list(inspect(data, KEY, TERMS.context.catalogue))
    requests.mailbox.close()
    obliged.mailbox.close()
    uploads.close()
    assert DESK.asked == []
    assert all(isinstance(value, str) for command in OBLIGING.asked for value in command.arguments.values())
    assert all(len(frame) <= 1036 for frame in said)
    assert len(reader._buffer) <= CHUNK + 1040
    assert len(sealed._buffer) <= CHUNK + PRINTED_LIMIT + 6 * 1040
