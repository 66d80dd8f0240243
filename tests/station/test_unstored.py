"""A disk that refuses is an alarm at the platform at once, past the store; and on record when the disk works again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.model import Kind, Lane, Message, StoreError
from station.volatile import MOST, Volatile
from tests.failing import FailingDisk, FailingVfs
from tests.station.conftest import CONFIG, START
from tests.station.test_failing_disk import FailingRig
from tests.station.test_http_station import HEAD as HTTP_HEAD
from tests.station.test_http_station import UPLINK as HTTP_UPLINK
from tests.station.test_three_platforms import HEAD, UPLINK, Three
from uplink.hj212.emulator import Platform
from uplink.http.emulator import Receiver

TAKES = CONFIG.replace("realtime_seconds = 30", 'realtime_seconds = 30\nkinds = ["realtime", "site_info"]')


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[FailingRig]:
    """A station that ran for a minute and is connected to a platform that takes log texts."""
    made = FailingRig(tmp_path, TAKES)
    made.engine.outboxes["district"].connected()
    made.run(60)
    while found := made.engine.outboxes["district"].next(Lane.LIVE, 100):
        made.engine.outboxes["district"].answered([one.id for one in found])
    yield made
    made.vfs.fail("")
    made.engine.shut_down()


def happened(rig: FailingRig, code: str) -> list[dict[str, str]]:
    rows = rig.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
    return [json.loads(text) for (text,) in rows]


def next_of(rig: FailingRig) -> list[Message]:
    """What the uplink is handed next; nothing where it would have to be read from the bad disk."""
    try:
        return list(rig.engine.outboxes["district"].next(Lane.LIVE, 100))
    except StoreError:
        return []


@pytest.mark.parametrize("fault", ["full", "read-only", "write", "sync"])
def test_the_platform_is_told_within_a_minute_and_it_is_on_record_later(rig: FailingRig, fault: str) -> None:
    """Once for as long as it lasts; and once that it works again; neither is a row of the store."""
    before = rig.engine.store.newest("message")
    rig.vfs.fail(fault)
    rig.run(60)
    (message,) = next_of(rig)
    assert (message.id, message.kind, message.text) == (-1, Kind.SITE_INFO, "SITE_INFO site")
    assert (rig.clock.now() - message.start).total_seconds() <= 60
    rig.engine.outboxes["district"].answered([message.id])
    rig.run(600)
    assert next_of(rig) == []
    rig.vfs.fail("")
    rig.run(30)
    assert rig.engine.store_error == ""
    (back, *_) = next_of(rig)
    assert back.id == -2
    rig.engine.outboxes["district"].answered([back.id])
    rig.run(70)
    told = happened(rig, "told_unstored")
    assert [(one["platform"], one["state"]) for one in told] == [("district", "refuses"), ("district", "works")]
    assert [one["outcome"] for one in happened(rig, "unstored_settled")] == ["answered", "answered"]
    logs = "SELECT count(*) FROM record WHERE json_extract(body, '$.item') = 'logger_log'"
    assert rig.engine.store.query(logs) == [(0,)]
    assert rig.engine.store.newest("message") > before


def test_a_link_that_breaks_meanwhile_tells_it_again_first_of_all(rig: FailingRig) -> None:
    outbox = rig.engine.outboxes["district"]
    rig.vfs.fail("read-only")
    rig.run(60)
    (first,) = next_of(rig)
    outbox.unanswered(first.id)
    outbox.disconnected()
    outbox.connected()
    assert next_of(rig) == [first]
    outbox.later([first.id], 60, "busy")
    assert next_of(rig) == [first]
    outbox.refused(first.id, "no such command")
    assert next_of(rig) == []
    rig.vfs.fail("")
    rig.run(60)
    assert [one["outcome"] for one in happened(rig, "unstored_settled")] == ["refused"]


def test_a_link_that_comes_up_while_the_disk_cannot_be_read_carries_it_and_forgets_nothing(rig: FailingRig) -> None:
    outbox = rig.engine.outboxes["district"]
    rig.run(65)
    owed = outbox.depth().owed
    assert owed
    outbox.disconnected()
    rig.vfs.fail("write")
    rig.run(60)
    outbox.connected()
    assert [one.id for one in next_of(rig)] == [-1]
    outbox.disconnected()
    rig.vfs.fail("")
    rig.run(30)
    assert outbox.depth().owed >= owed
    outbox.connected()
    assert sum(one.last - one.first + 1 for one in outbox.spans) >= owed


def test_what_it_is_owed_and_its_cursor_are_as_they_were(rig: FailingRig) -> None:
    outbox = rig.engine.outboxes["district"]
    rig.vfs.fail("write")
    rig.run(60)
    spans, first = outbox.spans, outbox.keep_from()
    outbox.answered([one.id for one in next_of(rig)])
    assert (outbox.spans, outbox.keep_from()) == (spans, first)


def test_a_platform_that_takes_no_such_words_is_told_nothing(tmp_path: Path) -> None:
    made = FailingRig(tmp_path)
    made.engine.outboxes["district"].connected()
    made.run(60)
    made.vfs.fail("read-only")
    made.run(60)
    assert made.engine.unstored is None
    made.vfs.fail("")
    made.engine.shut_down()


def test_there_are_never_more_than_a_few() -> None:
    few = Volatile()
    for n in range(MOST + 3):
        few.add(Kind.SITE_INFO, "site", START, f"text {n}")
    assert [one.text for one in few.next(99, 0)] == [f"text {n}" for n in range(3, MOST + 3)]


# -- over real links


class FailingThree(Three):
    """Real uplinks over a disk that fails when it is told to."""

    open_store = FailingRig.open_store
    reader = FailingRig.reader
    vfs: FailingVfs
    disk: FailingDisk


def test_over_hj212_it_is_a_log_text_with_a_number_of_its_own(tmp_path: Path) -> None:
    """3020 while the disk is full; and no number is given twice, before, then and behind."""
    with Platform() as platform:
        more = 'kinds = ["realtime", "site_info"]'
        config = HEAD + UPLINK.format(name="present", standard="2017", port=platform.port, more=more)
        station = FailingThree(tmp_path, config)
        try:
            assert station.until(lambda: station.engine.outboxes["present"].connected_at is not None)
            station.run(65)
            assert station.until(lambda: station.owed() == 0)
            station.vfs.fail("full")
            station.run(60)

            def told() -> list[str]:
                """What it was told; a link that breaks before the answer brings the same once more."""
                found = [one.data for one in platform.records() if one.cn == "3020" and "store" in one.data]
                return list(dict.fromkeys(found))

            assert station.until(lambda: len(told()) == 1)
            assert "i21001-Info=//store refuses: " in told()[0]
            assert "the disk is full" in told()[0]
            station.run(300)
            station.vfs.fail("")
            station.run(60)
            assert station.until(lambda: len(told()) == 2 and station.owed() == 0)
            assert "i21001-Info=//store works: " in told()[1]
            given = {(one.qn, one.data) for one in platform.records()}  # a frame sent again has its number
            assert len(given) == len({qn for qn, _ in given}) >= 10
            station.run(65)
            assert station.events().count("unstored_settled") == 2
        finally:
            station.vfs.fail("")
            station.engine.shut_down()


def test_over_https_it_is_an_alarm(tmp_path: Path) -> None:
    with Receiver() as receiver:
        text = HTTP_HEAD + HTTP_UPLINK.format(url=receiver.url)
        station = FailingThree(tmp_path, text)
        try:
            station.run(65)
            assert station.until(lambda: station.owed() == 0)
            station.vfs.fail("read-only")
            station.run(60)

            def told() -> list[dict[str, str]]:
                bodies = [json.loads(request.body) for request in receiver.requests]
                records = [one for body in bodies for one in body["records"] if one["kind"] == "alarm"]
                return list({one["id"]: one["event"] for one in records}.values())

            assert station.until(lambda: len(told()) == 1)
            assert (told()[0]["name"], told()[0]["state"]) == ("store", "alarm")
            station.vfs.fail("")
            station.run(60)
            assert station.until(lambda: len(told()) == 2)
            assert told()[1]["state"] == "normal"
            assert station.until(lambda: station.owed() == 0)
        finally:
            station.vfs.fail("")
            station.engine.shut_down()


def test_word_that_is_never_answered_lets_others_pass(tmp_path: Path) -> None:
    """A link that was given up over it twice goes on with what is stored, and comes back to it a minute later."""
    from tests.station.test_outbox import Rig as OutboxRig

    rig = OutboxRig(tmp_path / "station.db")
    outbox = rig.outbox
    rig.commit(Kind.MINUTE)
    outbox.tell_unstored(Kind.ALARM, "site", START, "store refuses")
    for _ in range(2):
        outbox.connected()
        assert [one.id for one in outbox.next(Lane.LIVE, 1)] == [-1]
        outbox.unanswered(-1)
    outbox.connected()
    (minute,) = [*outbox.next(Lane.LIVE, 1), *outbox.next(Lane.HISTORY, 1)]
    assert minute.kind is Kind.MINUTE
    outbox.answered([minute.id])
    rig.clock.advance(61)
    assert [one.id for one in outbox.next(Lane.LIVE, 1)] == [-1]
    outbox.later([-1], 600, "busy")  # and as long as a platform asks for
    rig.clock.advance(599)
    assert outbox.next(Lane.LIVE, 1) == []
    rig.clock.advance(2)
    assert [one.id for one in outbox.next(Lane.LIVE, 1)] == [-1]
    outbox.answered([-1])
    assert outbox.unstored == 0
    rig.close()
