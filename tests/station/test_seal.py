"""Sealed blocks: a record that a station wrote, changed in every way an owner of the card could."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from station import cli_seal
from station import seal as module
from station.backup import restore, take
from station.control import ControlRefused
from station.model import StoreError, WrongArgument
from station.salvage import recover
from station.seal import (
    NOTHING,
    Block,
    Key,
    Verdict,
    blocks_of,
    digest,
    growth,
    head_in,
    heads,
    next_key,
    reach,
    tag_of,
    verify,
)
from station.sealing import give_key, shown
from station.store import Store, connect
from station.verbs import verbs
from tests.station.commands import Here, configure, daemon, until
from tests.station.conftest import Rig

KEY = bytes(range(32))
TRIES = 40  # tests/bench/bench_seal.py does 300 of each


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A database of three hours, sealed with KEY from its first block on, and its head."""
    rig = Rig(tmp_path_factory.mktemp("sealed"))
    with rig.engine.store.transaction():
        assert give_key(rig.engine.store, KEY) == 1
    rig.run(3 * 3600, step=5)
    rig.engine.shut_down()
    with closing(Store(connect(rig.loaded.database, read_only=True))) as store:
        found = shown(store)
    assert found is not None
    return rig.loaded.database, bytes.fromhex(found["head"])


class Copy:
    """A copy of a database in memory, to be changed."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        with closing(connect(path, read_only=True)) as source:
            source.backup(self.db)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self.db.execute(sql, parameters).fetchall()

    def check(self, **more: Any) -> Verdict:
        return verify(self.query, **more)

    def reseal(self, first: int, key_of: Callable[[int], bytes | None]) -> None:
        """What a forger does: make every block from *first* on anew, with the keys he has."""
        before, reached = NOTHING, dict[str, int]()
        for block in list(blocks_of(self.query)):
            if block.epoch >= first:
                made, _ = digest(self.query, reached, block.upto)
                forged = Block(block.epoch, block.at_ms, block.upto, made, b"")
                key = key_of(block.epoch)
                tag = b"" if key is None else tag_of(key, forged.signed(before))
                block = Block(block.epoch, block.at_ms, block.upto, made, tag)
                self.query("UPDATE seal SET digest = ?, tag = ? WHERE epoch = ?", (made, tag, block.epoch))
            before, reached = block.head(before), dict(block.upto)


def key_at(epoch: int) -> bytes:
    """The key of *epoch*, as only who holds KEY can have it."""
    key = KEY
    for _ in range(epoch - 1):
        key = next_key(key)
    return key


def test_what_was_not_changed_is_sound(written: tuple[Path, bytes]) -> None:
    path, head = written
    found = Copy(path).check(head=head, key=Key(1, KEY))
    assert found.sound
    assert (found.blocks, found.keyed, found.anchored) == (36, 36, 36)  # one each five minutes, the last at the stop
    assert found.head == head
    assert found.unsealed == 0
    with closing(connect(path, read_only=True)) as db:
        tables = ("reading", "average", "message", "event", "record", "series", "clock", "setting")
        assert found.rows == sum(db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables) > 4000


# -- nine attacks: with the head noted elsewhere all of them show


def _reading(copy: Copy, rng: random.Random) -> int:
    (last,) = copy.query("SELECT max(id) FROM reading")[0]
    return rng.randint(1, int(last))


def edit(copy: Copy, rng: random.Random) -> None:
    copy.query("UPDATE reading SET raw = raw * 0.5 WHERE id = ?", (_reading(copy, rng),))


def delete(copy: Copy, rng: random.Random) -> None:
    copy.query("DELETE FROM reading WHERE id = ?", (_reading(copy, rng),))


def swap(copy: Copy, rng: random.Random) -> None:
    one, other = sorted(rng.sample(range(1, _reading(copy, rng) + 2), 2))
    a, b = (
        copy.query("SELECT series, at_ms, raw, value, mark FROM reading WHERE id = ?", (i,))[0] for i in (one, other)
    )
    for number, row in ((one, b), (other, a)):
        put = "UPDATE reading SET series = ?, at_ms = ?, raw = ?, value = ?, mark = ? WHERE id = ?"
        copy.query(put, (*row, number))


def flag(copy: Copy, rng: random.Random) -> None:
    copy.query("UPDATE reading SET mark = 2 WHERE id = ?", (_reading(copy, rng),))


def flip(copy: Copy, rng: random.Random) -> None:
    """One bit of a block: its digest or its tag."""
    epoch, column = rng.randint(1, 36), rng.choice(["digest", "tag"])
    ((value,),) = copy.query(f"SELECT {column} FROM seal WHERE epoch = ?", (epoch,))
    changed = bytearray(value)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    copy.query(f"UPDATE seal SET {column} = ? WHERE epoch = ?", (bytes(changed), epoch))


def drop_block(copy: Copy, rng: random.Random) -> None:
    """A block goes, and those behind it move up."""
    epoch = rng.randint(1, 35)
    copy.query("DELETE FROM seal WHERE epoch = ?", (epoch,))
    copy.query("UPDATE seal SET epoch = -epoch WHERE epoch > ?", (epoch,))
    copy.query("UPDATE seal SET epoch = -epoch - 1 WHERE epoch < 0")


def cut_tail(copy: Copy, rng: random.Random) -> None:
    """The newest blocks go, with all their rows."""
    keep = rng.randint(1, 35)
    *_, block = (one for one in blocks_of(copy.query) if one.epoch <= keep)
    copy.query("DELETE FROM seal WHERE epoch > ?", (keep,))
    copy.query("DELETE FROM reading WHERE id > ?", (block.upto["reading"],))


def reseal_with(key_of: Callable[[int], bytes | None]) -> Callable[[Copy, random.Random], None]:
    def forge(copy: Copy, rng: random.Random) -> None:
        """Edit, then seal everything behind it anew."""
        edit(copy, rng)
        copy.reseal(copy.check().bad or 1, key_of)

    return forge


ATTACKS: dict[str, Callable[[Copy, random.Random], None]] = {
    "edit one value": edit,
    "delete one reading": delete,
    "swap two readings": swap,
    "change a mark": flag,
    "flip one bit of a block": flip,
    "drop a block": drop_block,
    "cut the tail off": cut_tail,
    "seal again with the stolen current key": reseal_with(lambda _: key_at(37)),
    "seal again with the key after it": reseal_with(lambda _: key_at(38)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_with_the_head_and_the_key_every_attack_shows(written: tuple[Path, bytes], name: str) -> None:
    path, head = written
    sound = Copy(path)
    for seed in range(TRIES):
        copy = Copy(path)
        ATTACKS[name](copy, random.Random(seed))
        if copy.query("SELECT * FROM reading") == sound.query("SELECT * FROM reading") and name in (
            "swap two readings",
        ):
            continue  # two rows that are alike
        assert not copy.check(head=head, key=Key(1, KEY)).sound, seed


def test_the_first_bad_block_is_named_with_its_time(written: tuple[Path, bytes]) -> None:
    path, _ = written
    copy = Copy(path)
    blocks = list(blocks_of(copy.query))
    copy.query("UPDATE reading SET mark = 2 WHERE id = ?", (blocks[10].upto["reading"],))
    found = copy.check()
    assert (found.bad, found.why) == (11, "rows")
    assert (found.bad_from_ms, found.bad_to_ms) == (blocks[9].at_ms, blocks[10].at_ms)


@pytest.mark.parametrize("table", ["average", "message", "event", "series", "clock"])
def test_every_table_of_the_record_is_sealed(written: tuple[Path, bytes], table: str) -> None:
    copy = Copy(written[0])
    (number,) = copy.query(f"SELECT max(id) FROM {table}")[0]
    copy.query(f"DELETE FROM {table} WHERE id = ?", (number,))
    assert copy.check().why == "rows"


def test_what_does_not_show_is_what_the_page_says(written: tuple[Path, bytes]) -> None:
    """Without the head a tail may be cut off; without head and key all may be made anew."""
    path, head = written
    cut = Copy(path)
    cut_tail(cut, random.Random(1))
    assert cut.check(key=Key(1, KEY)).sound
    assert cut.check(head=head).why == "head"
    anew = Copy(path)
    edit(anew, random.Random(2))
    anew.reseal(1, lambda _: None)
    assert anew.check().sound
    assert anew.check(head=head).why == "head"
    assert anew.check(key=Key(1, KEY)).why == "tag"
    insider = Copy(path)
    edit(insider, random.Random(3))
    insider.reseal(1, key_at)  # with the key file itself
    assert insider.check(key=Key(1, KEY)).sound
    assert insider.check(key=Key(1, KEY), head=head).why == "head"


def test_a_tag_that_is_taken_off_shows(written: tuple[Path, bytes]) -> None:
    copy = Copy(written[0])
    copy.query("UPDATE seal SET tag = x'' WHERE epoch >= 20")
    found = copy.check(key=Key(1, KEY))
    assert (found.bad, found.why, found.keyed) == (20, "tag", 19)


@pytest.mark.parametrize("more", ["", "[]", "{", '{"reading": "x"}', '{"reading": null}', "7"])
def test_a_block_that_cannot_be_read_is_a_wrong_one(written: tuple[Path, bytes], more: str) -> None:
    copy = Copy(written[0])
    copy.query("UPDATE seal SET more = ? WHERE epoch = 5", (more,))
    assert copy.check(key=Key(1, KEY)).bad == 5


def test_old_blocks_may_have_lost_their_rows_to_retention_and_young_ones_may_not(written: tuple[Path, bytes]) -> None:
    path, head = written
    copy = Copy(path)
    block = list(blocks_of(copy.query))[9]
    copy.query("DELETE FROM reading WHERE id <= ?", (block.upto["reading"],))
    assert copy.check(head=head, key=Key(1, KEY)).bad == 1
    found = copy.check(head=head, key=Key(1, KEY), kept_from_ms=block.at_ms + 1)
    assert (found.sound, found.gone, found.anchored) == (True, 10, 36)
    copy.query("UPDATE reading SET mark = 2 WHERE id = ?", (block.upto["reading"] + 1,))
    assert copy.check(kept_from_ms=block.at_ms + 1).bad == 11
    changed = Copy(path)
    changed.query("UPDATE reading SET mark = 2 WHERE id = 1")
    assert changed.check(kept_from_ms=block.at_ms + 1).bad == 1  # changed, not deleted


@pytest.mark.parametrize("cover", ["event", "reading", "average", "message"])
def test_a_deleted_row_covers_no_change_in_an_old_block(written: tuple[Path, bytes], cover: str) -> None:
    """station.toml on the card may say that next to nothing is kept: what is left must be what was sealed."""
    path, head = written
    blocks = list(blocks_of(Copy(path).query))
    low, high = blocks[9].upto["reading"], blocks[10].upto["reading"]
    copy = Copy(path)
    copy.query("UPDATE reading SET value = 1 WHERE id = ?", (low + 1,))
    if cover == "reading":
        copy.query("DELETE FROM reading WHERE id = ?", (high,))
    else:
        copy.query(f"DELETE FROM {cover} WHERE id IN (SELECT id FROM {cover} ORDER BY id LIMIT 500)")
    found = copy.check(head=head, key=Key(1, KEY), kept_from_ms=1 << 60)
    assert (found.sound, found.bad, found.why) == (False, 11, "rows")


@pytest.mark.parametrize("table", ["series", "clock"])
def test_what_no_retention_deletes_is_missed_however_old(written: tuple[Path, bytes], table: str) -> None:
    copy = Copy(written[0])
    copy.query(f"DELETE FROM {table}")
    assert copy.check(kept_from_ms=1 << 60).why == "rows"


def test_the_station_s_own_retention_leaves_a_sound_chain(rig: Rig) -> None:
    """Chunk by chunk, of each table for itself, with rows that a clock which was ahead has dated."""
    rig.run(1200)
    rig.clock.step(86400 * 30)
    rig.run(600)
    rig.clock.step(-86400 * 30)
    rig.run(3600)
    store, now = rig.engine.store, rig.clock.now()
    gone = 0
    for minutes in range(70, 0, -7):
        for table in ("reading", "average", "event"):
            gone += store.purge(table, now - timedelta(minutes=minutes), now)
            found = verify(store.query, kept_from_ms=1 << 60)
            assert found.sound, (table, minutes, found)
    assert gone > 1000
    assert found.gone > 5


# -- a station that seals


def test_a_block_comes_every_five_minutes_also_when_nothing_came_and_at_the_stop(rig: Rig) -> None:
    rig.run(299)
    assert rig.engine.store.newest("reading")
    assert rig.engine.store.query("SELECT count(*) FROM seal") == [(0,)]
    rig.run(400)
    assert rig.engine.store.query("SELECT epoch FROM seal") == [(1,), (2,)]
    before = rig.engine.store.query("SELECT max(id) FROM reading")
    rig.instrument.show_nothing()
    rig.run(600)
    epochs = rig.engine.store.query("SELECT epoch, more FROM seal")
    assert len(epochs) == 4
    assert before[0][0] <= sum(json.loads(more).get("reading", 0) for _, more in epochs)
    assert verify(rig.engine.store.query).sound


def test_a_wall_clock_that_is_stepped_moves_no_block(rig: Rig) -> None:
    for step in (3600, -7200, 86400 * 400):
        rig.run(600)
        rig.clock.step(step)
    rig.run(600)
    assert rig.engine.store.query("SELECT max(epoch) FROM seal")[0][0] in (7, 8)
    assert verify(rig.engine.store.query).sound


def test_a_power_cut_leaves_a_sound_chain_and_the_next_start_goes_on_with_it(rig: Rig) -> None:
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(700)
    rig.restart()
    rig.run(700)
    found = verify(rig.engine.store.query, key=Key(1, KEY))
    assert (found.sound, found.blocks, found.keyed) == (True, 4, 4)


def test_a_long_record_is_taken_in_by_several_blocks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 50)
    rig.run(900)
    blocks = list(blocks_of(rig.engine.store.query))
    steps = [new.upto["reading"] - old.upto["reading"] for old, new in pairwise(blocks)]
    assert max(steps) == 50
    assert blocks[-1].upto["reading"] > rig.engine.store.newest("reading") - 130  # five minutes of readings
    assert verify(rig.engine.store.query).sound


def test_the_key_of_the_past_is_in_no_page_of_the_file(rig: Rig) -> None:
    """Nor in its log once that is folded in; on flash, worn-out cells may still hold one (not shown here)."""
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(1300)
    rig.engine.store.query("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = rig.loaded.database.read_bytes()
    epoch = rig.engine.store.query("SELECT max(epoch) FROM seal")[0][0]
    assert [n for n in range(1, epoch + 3) if key_at(n) in raw] == [epoch + 1]


def test_the_key_of_the_past_is_not_in_the_log_of_a_running_station_either(rig: Rig) -> None:
    """Who pulls the card of a running station has its log too: nothing but the key of the next block is there."""
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(1300)
    epoch = rig.engine.store.query("SELECT max(epoch) FROM seal")[0][0]
    raw = b"".join(path.read_bytes() for path in rig.loaded.data_folder.glob("station.db*"))
    assert [n for n in range(1, epoch + 3) if key_at(n) in raw] == [epoch + 1]


@pytest.mark.parametrize("how", ["restored", "recovered", "recovered with its log"])
def test_a_file_that_was_put_aside_holds_no_key(rig: Rig, tmp_path: Path, how: str) -> None:
    """With the key in it, all that was sealed since could be sealed again."""
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(700)
    (epoch,) = rig.engine.store.query("SELECT max(epoch) FROM seal")[0]
    database = rig.loaded.database
    (tmp_path / "usb").mkdir()
    copy, _ = take(database, tmp_path / "usb", rig.clock.now())
    if how == "recovered with its log":  # as a cut leaves it, with a key that was just given
        for value in (None, key_at(epoch + 1)):
            with rig.engine.store.transaction() as db:
                db.execute("UPDATE sealing SET key = ?", (value,))
        kept = {path: path.read_bytes() for path in (database, Path(f"{database}-wal"))}
        rig.engine.store.close()
        for path, content in kept.items():
            path.write_bytes(content)
        assert key_at(epoch + 1) in kept[Path(f"{database}-wal")]
    else:
        rig.engine.store.close()
    assert key_at(epoch + 1) in database.read_bytes()
    before = rows_in(database)
    aside = restore(copy, database, rig.clock.now()) if how == "restored" else recover(rig.loaded, rig.clock.now())
    assert aside is not None
    for path in aside.parent.glob(f"{aside.name}*"):
        assert key_at(epoch + 1) not in path.read_bytes(), path.name
    assert rows_in(aside) == before
    if how != "restored":  # the record that goes on has it
        with closing(Store.open(database)) as store:
            assert store.query("SELECT key FROM sealing") == [(key_at(epoch + 1),)]


def rows_in(path: Path) -> list[Any]:
    with closing(connect(path, read_only=True)) as db:
        return db.execute("SELECT * FROM reading").fetchall() + db.execute("SELECT * FROM seal").fetchall()


def test_there_is_one_key(rig: Rig) -> None:
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    with pytest.raises(WrongArgument, match="sealed with a key already"), rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    with pytest.raises(StoreError, match="outside a transaction"):
        rig.engine.store.transaction_open().__enter__()


def test_a_copy_holds_no_key_and_a_restored_record_shows_where_it_goes_on_without(rig: Rig, tmp_path: Path) -> None:
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(700)
    shelf = tmp_path / "usb"
    shelf.mkdir()
    copy, _ = take(rig.loaded.database, shelf, rig.clock.now())
    assert key_at(3) not in copy.path.read_bytes()
    rig.run(700)
    later = shown(rig.engine.store)
    assert later is not None
    rig.engine.store.close()
    restore(copy, rig.loaded.database, rig.clock.now() + timedelta(seconds=1))
    rig.engine = rig.start()
    rig.run(700)
    assert verify(rig.engine.store.query).sound
    found = verify(rig.engine.store.query, key=Key(1, KEY))
    assert (found.bad, found.why) == (3, "tag")
    assert verify(rig.engine.store.query, head=bytes.fromhex(later["head"])).why == "head"


def test_a_chain_whose_end_is_lost_goes_on_from_its_blocks(rig: Rig) -> None:
    """The row with the head is lost (a damaged file): it is made again from the blocks, without the key."""
    rig.run(700)
    rig.engine.store.query("DELETE FROM sealing")
    rig.run(700)
    assert verify(rig.engine.store.query).blocks == 4
    assert verify(rig.engine.store.query).sound


BAD_STATE = [
    ("upto = 'x'", True),
    ("upto = ''", True),
    ("upto = '[1]'", True),
    ("upto = '{\"reading\": \"7\"}'", True),
    ("upto = CAST(x'ff00fe' AS TEXT)", True),  # no text at all: not even a SELECT of it succeeds
    ("head = x'00'", True),
    ("head = 'text'", True),
    ("epoch = 'two'", False),
    ("epoch = 7, upto = '{'", False),
    ("key = x'00'", False),
]


@pytest.mark.parametrize(("damage", "tags"), BAD_STATE)
def test_a_damaged_state_of_the_seals_stops_no_commit_and_the_chain_goes_on(
    rig: Rig, damage: str, *, tags: bool
) -> None:
    """It is made again from the blocks; with the key where that is sound; an event in the next block says so."""
    store = rig.engine.store
    with store.transaction():
        give_key(store, KEY)
    rig.run(700)
    with store.transaction() as db:
        db.execute(f"UPDATE sealing SET {damage}")
    rig.run(700)
    assert rig.engine.store_error == ""
    found = verify(store.query)
    assert (found.blocks, found.sound) == (4, True)
    ((arguments, number),) = store.query("SELECT arguments, id FROM event WHERE code = 'seal_state_damaged'")
    said = json.loads(arguments)
    assert (said["block"], said["tags"]) == (3, tags)
    before, block = [one for one in blocks_of(store.query) if one.epoch in (2, 3)]
    assert before.upto["event"] < number <= block.upto["event"]
    keyed = verify(store.query, key=Key(1, KEY))
    assert (keyed.bad, keyed.keyed) == ((None, 4) if tags else (3, 2))
    with closing(Store.open(rig.loaded.database)) as again:  # and a start finds what it can go on with
        assert has_key(again) is tags


def has_key(store: Store) -> bool:
    """Whether there is a key already."""
    try:
        with store.transaction():
            give_key(store, KEY)
    except WrongArgument:
        return True
    return False


@pytest.mark.parametrize("cell", ["CAST(x'ff00fe' AS TEXT)", "x'00ff'"])
def test_a_row_that_is_no_text_any_more_is_sealed_as_it_stands(rig: Rig, cell: str) -> None:
    """It keeps no other row from being sealed; another change to it shows, and so does the one that mends it."""
    store = rig.engine.store
    rig.run(400)
    with store.transaction() as db:
        db.execute(f"INSERT INTO event(at_ms, code, arguments) VALUES (1, 'odd', {cell})")
        bad = db.execute("SELECT last_insert_rowid()").fetchone()[0]
    rig.run(700)
    assert rig.engine.store_error == ""
    assert verify(store.query).sound
    for change in ("CAST(x'ff00fd' AS TEXT)", "'{}'"):
        copy = Copy(rig.loaded.database)
        copy.query(f"UPDATE event SET arguments = {change} WHERE id = ?", (bad,))
        assert copy.check().why == "rows"


@pytest.mark.parametrize("what", ["more = CAST(x'ff' AS TEXT)", "digest = 'x'", "tag = 7", "at_ms = 'x'"])
def test_a_damaged_block_is_a_wrong_one_and_the_next_ones_are_made(rig: Rig, what: str) -> None:
    store = rig.engine.store
    rig.run(1000)
    with store.transaction() as db:
        db.execute(f"UPDATE seal SET {what} WHERE epoch = 2")
        db.execute("UPDATE sealing SET upto = '{'")
    rig.run(700)
    assert rig.engine.store_error == ""
    found = verify(store.query)
    assert (len(list(blocks_of(store.query))) >= 5, found.sound) == (True, what.startswith(("tag", "at_ms")))


# -- parts


def test_the_tag_is_that_of_the_standard_library() -> None:
    rng = random.Random(7)
    for length in (0, 1, 63, 64, 65, 500):
        key, text = rng.randbytes(32), rng.randbytes(length)
        assert tag_of(key, text) == hmac.digest(key, text, "sha256")[:16]
    assert next_key(KEY) == hashlib.sha256(b"niutang seal" + KEY).digest()


def test_growth_and_reach_say_the_same(rig: Rig) -> None:
    rig.run(120)
    upto = reach(rig.engine.store.query, {})
    assert set(upto) == {*module.TABLES, "message 1"}
    assert json.loads(growth({}, upto)) == upto
    assert json.loads(growth(upto, upto | {"reading": upto["reading"] + 3})) == {"reading": 3}


def test_heads_chain(written: tuple[Path, bytes]) -> None:
    copy = Copy(written[0])
    *_, (block, head) = heads(blocks_of(copy.query))
    assert (block.epoch, head) == (36, written[1])


@pytest.mark.parametrize("text", ["", "0001", "zz" * 16, "00" * 33, "0001-0203-0405-06"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"16 to 64|hexadecimal"):
        head_in(text)


# -- as typed


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_a_person_takes_the_key_notes_the_head_and_verifies(rig: Rig, tmp_path: Path, here: Here) -> None:
    config, file = ("--config", rig.folder / "station.toml"), tmp_path / "key.json"
    rig.engine.store.close()
    assert (
        here("seal", "head", *config).out
        == "nothing is sealed yet; the first block comes five minutes after the start\n"
    )
    done = here("seal", "key", "--out", file, "--user", "王芳", *config)
    assert done.out.splitlines()[0] == f"the key is in {file}, and seals from block 1 on"
    assert file.stat().st_mode & 0o777 == 0o600
    again = here("seal", "key", "--out", tmp_path / "second", "--user", "王芳", *config)
    assert (again.code, (tmp_path / "second").exists()) == (2, False)
    assert (
        here("seal", "key", "--out", file, "--user", "王芳", *config).err
        == f"{file}: is there already; name another file\n"
    )
    rig.engine = rig.start()
    rig.run(700)
    head = here("seal", "head", *config).out.split()[0]
    verified = here("verify", *config, "--head", head, "--key-file", file)
    assert verified.code == 0, verified
    assert verified.out.startswith("nothing was changed: 2 blocks over ")
    assert "the head you gave is that of block 2" in verified.out
    assert "the tags of 2 blocks from block 1 on are the station's" in verified.out
    assert f"seal {head} (block 2)" in here("status", *config).out
    rig.engine.store.query("UPDATE reading SET mark = 2 WHERE id = 5")
    changed = here("verify", *config, "--json")
    found = json.loads(changed.out)
    assert (changed.code, found["ok"], found["bad"], found["why"]) == (1, False, 1, "rows")
    zh = here("verify", *config, "--lang", "zh")
    assert zh.out.splitlines()[0].startswith("已被改动:第 1 块(- 至 2026-03-01 ")
    assert here("verify", *config, "--head", "0000-0000-0000-0000").out.startswith("CHANGED: rows that block 1")
    events = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'seal_key'")
    assert [json.loads(row[0]) for row in events] == [{"epoch": 1, "user": "王芳"}]


def test_a_running_station_takes_the_key_and_seals_when_it_stops(tmp_path: Path, here: Here) -> None:
    config, file = configure(tmp_path / "site"), tmp_path / "key.json"
    with daemon(config) as process:
        done = here("seal", "key", "--out", file, "--user", "王芳", "--config", config)
        assert (done.code, done.err) == (0, "")
        until(lambda: file.exists())
        assert process.stop() == 0
    verified = here("verify", "--config", config, "--key-file", file)
    assert verified.code == 0, verified
    assert "the tags of 1 block from block 1 on" in verified.out


def test_a_key_is_given_with_its_event_or_not_at_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file goes when the station refuses: a key that was taken all the same could never be had again."""
    monkeypatch.setattr(rig.engine, "committed", lambda: False)  # the next commit is late, which is another matter
    ask = verbs(rig.engine)["seal_key"]
    assert ask({"key": KEY.hex(), "person": "Wang Fang"}) == {"epoch": 1}
    assert rig.events().count("seal_key") == 1
    with rig.engine.store.transaction() as db:
        db.execute("DELETE FROM sealing")

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(rig.engine.store, "add_events", full)
    with pytest.raises(StoreError, match="the disk is full"):
        ask({"key": KEY.hex(), "person": "Wang Fang"})
    assert rig.engine.store.query("SELECT key FROM sealing") == []


@pytest.mark.parametrize(("code", "stays"), [(69, True), (74, False), (2, False)])
def test_the_file_of_a_key_that_may_be_in_use_stays(
    rig: Rig, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, code: int, stays: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ControlRefused("the station did not answer within 30 s", code)

    monkeypatch.setattr(cli_seal, "ask_station", refuse)
    file = tmp_path / "key.json"
    done = here("seal", "key", "--out", file, "--user", "Wang Fang", "--config", rig.folder / "station.toml")
    assert (done.code, file.exists()) == (code, stays)
    assert ("before you make another" in done.err) is stays


@pytest.mark.parametrize("content", ["", "{}", '{"epoch": null, "key": ""}', '{"epoch": 1, "key": "zz"}', "[1]"])
def test_what_is_no_key_file_is_one_sentence(rig: Rig, tmp_path: Path, here: Here, content: str) -> None:
    (tmp_path / "key").write_text(content)
    done = here("verify", "--config", rig.folder / "station.toml", "--key-file", tmp_path / "key")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"{tmp_path}/key: ")


def test_a_copy_is_verified_as_a_whole_too(rig: Rig, tmp_path: Path, here: Here) -> None:
    rig.run(700)
    (tmp_path / "usb").mkdir()
    copy, _ = take(rig.loaded.database, tmp_path / "usb", rig.clock.now())
    config = ("--config", rig.folder / "station.toml")
    done = here("verify", "--database", copy.path, *config)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("nothing was changed: 2 blocks over ")
    with closing(connect(copy.path)) as db:
        db.execute("PRAGMA user_version=2")
    refused = here("verify", "--database", copy.path, *config)
    assert (refused.code, "has schema 2, this version verifies" in refused.err) == (65, True)


def test_an_event_that_no_block_holds_explains_no_missing_readings(rig: Rig, here: Here) -> None:
    """Written on the card by whoever deleted them: a full disk that never was."""
    rig.run(700)
    config = ("--config", rig.folder / "station.toml")
    rig.engine.store.query("DELETE FROM reading WHERE id <= 100")
    until = round(rig.clock.now().timestamp() * 1000)
    put = "INSERT INTO event(at_ms, code, arguments) VALUES (?, 'disk_full', json_object('until_ms', ?))"
    rig.engine.store.query(put, (until, until))
    assert here("verify", *config).code == 1
