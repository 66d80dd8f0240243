"""When a running station seals, and where its key is: loaded with the first block, five minutes after a start."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from station.clock import to_ms
from station.model import StoreError, WrongArgument
from station.seal import EPOCH_SECONDS, NOTHING, Block, blocks_of, caught_up, growth, heads, next_key, seal
from station.store import Event, Store, connect

log = logging.getLogger(__name__)

KEY_BYTES = 32
SHOWN = 40  # characters of what is damaged that a message repeats


def seal_due(store: Store, now: datetime) -> float:
    """Inside a transaction: write the next block; seconds until the one after it is due.

    The key of the block is replaced by the next one in the same transaction.
    """
    try:
        before, head, key = _standing(store)
    except ValueError as error:
        before, head, key = _from_chain(store, now, str(error))
    block = seal(store.query, before, head, key, to_ms(now))
    reached = {} if before is None else before.upto
    with store.transaction_open() as db:
        db.execute(
            "INSERT INTO seal(epoch, at_ms, more, digest, tag) VALUES (?, ?, ?, ?, ?)",
            (block.epoch, block.at_ms, growth(reached, block.upto), block.digest, block.tag),
        )
        keep = (block.epoch, json.dumps(dict(block.upto)), block.head(head), None if key is None else next_key(key))
        db.execute("INSERT OR REPLACE INTO sealing(id, epoch, upto, head, key) VALUES (1, ?, ?, ?, ?)", keep)
    return EPOCH_SECONDS if caught_up(store.query, block) else 0.0


def forget_past(store: Store) -> None:
    """After the commit of a block: no page of the log may hold a key that was used."""
    with suppress(StoreError):  # the next commit says what is wrong with the disk
        if store.query("SELECT 1 FROM sealing WHERE key IS NOT NULL"):
            store.fold_log()


def forget_key(database: Path) -> None:
    """Overwrite the key in a file that was put aside: who finds it could seal again what came after it.

    Where its page cannot be read any more nothing is done.
    """
    log_file, index = (database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm"))
    alone = not log_file.exists()
    try:
        with closing(connect(database, read_only=True, damaged=True)) as db:
            size = int(db.execute("PRAGMA page_size").fetchone()[0])
            page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sealing'").fetchone()
            row = db.execute("SELECT key FROM sealing WHERE key IS NOT NULL").fetchone()
        if alone:  # who only reads leaves its own behind
            log_file.unlink(missing_ok=True)
            index.unlink(missing_ok=True)
        if page and row:
            _overwrite(database, bytes(row[0]), (page[0] - 1) * size, size)
            _overwrite(log_file, bytes(row[0]), 0, -1)
    except (StoreError, sqlite3.Error, OSError, TypeError) as error:
        log.warning("%s: the key of its seals may still stand in it (%s); keep the file from others", database, error)


def _overwrite(path: Path, key: bytes, start: int, size: int) -> None:
    with suppress(FileNotFoundError), path.open("r+b") as file:
        file.seek(start)
        held = file.read(size)
        at = held.find(key)
        while at >= 0:
            file.seek(start + at)
            file.write(bytes(len(key)))
            at = held.find(key, at + 1)
        file.flush()
        os.fsync(file.fileno())


def state(store: Store) -> tuple[Block | None, bytes, bytes | None]:
    """The newest block (without what only a verifier needs), the head, and the key of the next block."""
    try:
        return _standing(store)
    except ValueError:
        return (*_walked(store), None)


def _standing(store: Store) -> tuple[Block | None, bytes, bytes | None]:
    """The same; raise ValueError where what is stored of it is not what a station writes."""
    rows = store.query("SELECT epoch, CAST(upto AS BLOB), head, key FROM sealing WHERE id = 1")
    if not rows:
        return (*_walked(store), None)
    epoch, upto, head, key = rows[0]
    reached = json.loads(upto)  # a ValueError, also where it is no text
    if not (isinstance(reached, dict) and all(type(last) is int and last >= 0 for last in reached.values())):
        raise ValueError(f"{str(reached)[:SHOWN]!a} is not how far tables were sealed")
    if not (isinstance(epoch, int) and isinstance(head, bytes) and len(head) == len(NOTHING) and _may_be_key(key)):
        raise ValueError("block, head or key are not what they were written as")
    return (Block(epoch, 0, reached, b"", b"") if epoch else None), head, key


def _may_be_key(key: Any) -> bool:
    return key is None or (isinstance(key, bytes) and len(key) == KEY_BYTES)


def _from_chain(store: Store, now: datetime, why: str) -> tuple[Block | None, bytes, bytes | None]:
    """Inside a transaction: the row of the state is damaged, so the chain says it; an event marks the next block.

    The key of the next block is kept where the row still has it beside the number of the chain's last block; else no
    later block has a tag, and whoever has the file of the key sees from which block on.
    """
    before, head = _walked(store)
    last = 0 if before is None else before.epoch
    ((epoch, key),) = store.query("SELECT epoch, key FROM sealing WHERE id = 1")
    key = key if epoch == last and _may_be_key(key) else None
    log.error("%s: the state of the seals is damaged (%s); it goes on from block %d", store.where, why, last)
    said = {"block": last + 1, "error": why, "tags": key is not None}
    store.add_events([Event(now, "seal_state_damaged", said)])
    return before, head, key


def _walked(store: Store) -> tuple[Block | None, bytes]:
    """The newest block and the head from the chain alone: of a new database, or one that was salvaged in parts."""
    last, head = None, NOTHING
    for last, head in heads(blocks_of(store.query)):  # noqa: B007 - the last one counts
        pass
    return last, head


def give_key(store: Store, key: bytes) -> int:
    """Inside a transaction: seal with *key* from the next block on; its epoch.

    Raise WrongArgument where there is a key already.
    """
    before, head, known = state(store)
    if known is not None:
        raise WrongArgument(
            "the record is sealed with a key already; it left the station once and cannot be had again"
        )
    epoch = 0 if before is None else before.epoch
    upto = json.dumps({} if before is None else dict(before.upto))
    with store.transaction_open() as db:
        db.execute(
            "INSERT OR REPLACE INTO sealing(id, epoch, upto, head, key) VALUES (1, ?, ?, ?, ?)",
            (epoch, upto, head, key),
        )
    return epoch + 1


def shown(store: Store) -> dict[str, Any] | None:
    """The newest head for screens and sheets: epoch, head (hexadecimal), at; None before the first block."""
    rows = store.query(
        "SELECT s.epoch, s.head, b.at_ms, s.key IS NOT NULL FROM sealing s JOIN seal b ON b.epoch = s.epoch"
    )
    if not rows:
        return None
    epoch, head, at_ms, keyed = rows[0]
    return {"epoch": int(epoch), "head": bytes(head).hex(), "at_ms": int(at_ms), "keyed": bool(keyed)}
