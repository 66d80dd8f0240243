"""A dust station that moves: the old point ends and keeps its archive and MN, the new one has its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.clock import from_ms
from station.config import load
from station.ledger import completeness
from station.model import ConfigError, Kind, Lane
from station.report import gather, span_of
from station.resiting import KIND
from tests.station.commands import configure
from tests.station.conftest import CONFIG, START, Rig

CLOSED_AT = START + timedelta(minutes=4, seconds=30)
CLOSED = CLOSED_AT.isoformat()
NEW = '[[point]]\ncode = "new"\nname = "New"\nst = "39"\nmoved_from = "site"\n\n[[bus]]'
MOVED = (
    ('st = "39"', f'st = "39"\nclosed = "{CLOSED}"'),
    ("[[bus]]", NEW),
    ('point = "site"\nparameters', 'point = "new"\nparameters'),
    ('mn = "M1"', 'mn = "M1"\n[[uplink.point]]\npoint = "new"\nmn = "M2"'),
)


def faults(folder: Path, *changes: tuple[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        load(configure(folder, *changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('moved_from = "site"', 'moved_from = "sit"'), 'there is no point "sit"; did you mean site'),
        (('moved_from = "site"', 'moved_from = "new"'), "is the point itself"),
        ((f'closed = "{CLOSED}"', ""), 'point "site" is not closed'),
        (('st = "39"\nmoved_from', 'st = "22"\nmoved_from'), 'point "site" has st 39'),
        ((CLOSED, "yesterday"), '"yesterday" is not a time such as'),
        ((CLOSED, "2999-01-01T00:00"), "has not come yet"),
        (('point = "new"\nparameters', 'point = "site"\nparameters'), 'point "site" is closed; nothing measures there'),
        (('mn = "M2"', 'mn = "M1"'), 'is the number of point "site"; the new place needs an MN of its own'),
    ],
)
def test_a_move_that_cannot_be_is_refused_with_its_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert said in faults(tmp_path, *MOVED, change)


def test_one_point_has_one_heir(tmp_path: Path) -> None:
    second = '[[point]]\ncode = "third"\nname = "Third"\nst = "39"\nmoved_from = "site"\n\n[[bus]]'
    assert 'point "new" took over from "site" already' in faults(tmp_path, *MOVED, ("[[bus]]", second))


def moved(rig: Rig) -> None:
    """What a technician does: station.toml changed, the station started again at the new place."""
    text = CONFIG
    for old, new in MOVED:
        text = text.replace(old, new, 1)
    (rig.folder / "station.toml").write_text(text, encoding="utf-8")
    rig.loaded = load(rig.folder / "station.toml")
    rig.restart()


def due(rig: Rig, point: str, kind: Kind) -> tuple[int, int]:
    """Expected and stored periods of *point* until now."""
    now = rig.clock.now()
    rows = completeness(rig.engine.store, "district", START, now, now, UTC)
    return next(((r.expected, r.stored) for r in rows if (r.point, r.kind) == (point, kind)), (0, 0))


def test_the_old_point_ends_and_the_new_one_begins(rig: Rig) -> None:
    rig.run(300)
    ended = rig.clock.now()
    rig.clock.advance(1800)  # on the lorry
    moved(rig)
    rig.run(600)
    ends = rig.engine.store.query("SELECT max(start_ms), count(*) FROM message WHERE point = 'site'")[0]
    assert from_ms(ends[0]) <= ended  # kept as reported, and nothing behind it
    assert ends[1] >= 14
    assert any(" new " in text for text in rig.texts("MINUTE"))
    assert due(rig, "site", Kind.MINUTE)[0] == 4  # to the moment it was closed, and no more
    expected, stored = due(rig, "new", Kind.MINUTE)
    assert stored >= expected - 1 > 3
    rig.restart()
    assert rig.events().count("point_closed") == 1
    (record,) = rig.engine.store.records(KIND, START - timedelta(days=1), rig.clock.now())
    assert (record.point, record.body, record.at) == ("site", {"do": "closed", "to": "new"}, CLOSED_AT)


def test_what_a_platform_is_owed_of_the_old_point_still_goes_to_it(rig: Rig) -> None:
    rig.run(300)
    moved(rig)
    rig.run(120)
    outbox = rig.engine.outboxes["district"]
    outbox.connected()
    told = []
    for _ in range(50):
        for lane in (Lane.LIVE, Lane.HISTORY):
            batch = outbox.next(lane, 20)
            told += [message.text for message in batch]
            outbox.answered(message.id for message in batch)
        rig.engine.commit()
    assert any(text.startswith("MINUTE site") for text in told)
    assert any(text.startswith("MINUTE new") for text in told)


def test_a_report_of_a_later_month_leaves_the_closed_point_out(rig: Rig) -> None:
    moved(rig)
    now = datetime(2026, 5, 2, tzinfo=UTC)
    points = [
        [one["point"] for one in gather(rig.engine.store, rig.loaded, span_of("month", month, now, UTC))["points"]]
        for month in ("2026-03", "2026-04")
    ]
    assert points == [["site", "new"], ["new"]]
