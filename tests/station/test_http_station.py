"""A station over the real store and an HTTPS platform that fails: its ledger, its rests, what is parked."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

import uplink.http
from station import ledger
from station.model import Kind
from tests.station.conftest import CONFIG
from tests.station.test_three_platforms import Three
from uplink.http.emulator import Receiver

HEAD = CONFIG.split("[[uplink]]")[0]
UPLINK = """
[[uplink]]
name = "district"
protocol = "http"
url = "{url}"
plain = true
realtime_seconds = 30
reconnect_seconds = 1
timeout_seconds = 2
batch = 20
kinds = ["realtime", "minute", "hour", "day", "alarm"]

[[uplink.point]]
point = "site"
"""


def made(folder: Path, receiver: Receiver) -> Three:
    return Three(folder, HEAD + UPLINK.format(url=receiver.url))


def owed(station: Three) -> int:
    return sum(depth.owed for depth in station.engine.depths().values())


def test_whatever_fails_the_ledger_ends_full_and_every_payload_is_valid(tmp_path: Path) -> None:
    """Refused connections, 500, a web page, a lost answer: each for minutes; then everything is there once."""
    schema = json.loads((Path(uplink.http.__file__).parent / "schema.json").read_text(encoding="utf-8"))
    with Receiver() as receiver:
        station = made(tmp_path, receiver)
        try:
            assert station.until(lambda: all(one.connected_at for one in station.engine.outboxes.values()))
            for fault in ("refused", "500", "html", "lost"):
                receiver.fault(fault)
                station.run(130)
                receiver.fault(None)
                station.run(70)  # what stepped aside is due again
                assert station.until(lambda: owed(station) == 0), fault
            station.run(65)
            assert station.until(lambda: owed(station) == 0)
            now = station.clock.now()
            rows = ledger.completeness(
                station.engine.store, "district", station.engine.started, now, now, station.loaded.zone
            )
            for row in rows:
                assert row.answered == row.expected == row.stored, row
            assert sum(row.answered for row in rows) >= 35
            summary = receiver.summary()
            assert summary["unique"] == len(station.texts())  # power-on, real-time data and minutes
            assert summary["contradictions"] == 0
            for request in receiver.requests:
                jsonschema.validate(json.loads(request.body), schema, jsonschema.Draft202012Validator)
        finally:
            station.engine.shut_down()


def test_a_rest_that_the_platform_asked_for_outlives_a_restart(tmp_path: Path) -> None:
    """Nothing is asked before its time has come, by whichever start of the station."""
    with Receiver(retry_after=1800) as receiver:
        station = made(tmp_path, receiver)
        try:
            receiver.fault("429")
            station.run(60)
            outbox = station.engine.outboxes["district"]
            assert station.until(lambda: outbox.held() > 0)
            station.run(5)
            receiver.fault(None)
            asked = receiver.counts["requests"]
            station.engine.shut_down()
            station.engine = station.start()
            station.run(600)
            assert station.engine.outboxes["district"].held() > 1000
            assert receiver.counts["requests"] == asked
            station.run(1300)
            assert station.until(lambda: owed(station) == 0)
            assert receiver.summary()["unique"] == len(station.texts())
            assert receiver.summary()["duplicates"] == 0
        finally:
            station.engine.shut_down()


def test_a_record_that_is_refused_is_in_the_ledger_with_the_platforms_words(tmp_path: Path) -> None:
    def refuses(record: object) -> str:
        return "no such minute" if "/minute/2026-03-01T00:02:" in str(record) else ""

    with Receiver(refuses=refuses) as receiver:
        station = made(tmp_path, receiver)
        try:
            station.run(400)
            outbox = station.engine.outboxes["district"]
            assert station.until(lambda: outbox.depth().parked == 1 and owed(station) == 0)
            station.run(2)
            assert station.until(lambda: owed(station) == 0)  # what came meanwhile is answered too
            assert station.engine.commit()
            now = station.clock.now()
            found = ledger.gaps(
                station.engine.store, "district", station.engine.started, now, now, station.loaded.zone
            )
            (gap,) = [one for one in found if one.kind is Kind.MINUTE]
            assert (str(gap.reason), gap.detail) == ("parked", "400 Bad Request: no such minute")
            assert "message_parked" in station.events()
            receiver.refuses = lambda record: ""
            assert outbox.resend(gap.first, now, [Kind.MINUTE]) >= 1
            assert station.until(lambda: owed(station) == 0 and outbox.depth().parked == 0)
            assert receiver.summary()["unique"] == len(station.texts())
        finally:
            station.engine.shut_down()
