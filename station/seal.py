"""A record whose past cannot be changed unseen: sealed blocks in a chain, a key that forgets, a head kept elsewhere.

Every five minutes of running time one block is written, also when nothing came: how far each table reaches, the
SHA-256 of the rows since the block before, and, where a key was given out, a tag.  The hash of a block enters the
next one.  The key of a block makes the key of the next and is then erased, so whoever takes the card cannot seal
the past again; the head (the hash of the newest block) on a certificate, a sheet of paper or another machine shows
a tail that was cut off.  Design: forward-secure sealing as journald has it, with the two rules that its faults of
2023 teach (one seal an epoch; an epoch is checked with its own key alone).

What it cannot prove: that a value was true when it was stored, or what was written since the newest head outside.
Whoever is root on a running station can feed it false values.  On flash an erased key may linger in worn-out cells.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from station.model import StoreError, dataclass, field

try:  # Python's own SHA-256: hashlib would load OpenSSL, 3.6 MiB of the 26 that the service may have
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from hashlib import sha256

EPOCH_SECONDS = 300.0  # of monotonic time between two blocks
# Then every platform's messages.
TABLES = ("series", "clock", "setting", "event", "record", "average", "reading", "waiting", "waiting_record")
WAITING = ("waiting", "waiting_record")  # leave too, by their numbers: they are dated by the clock table alone
DATED = {"event": 1, "record": 2, "reading": 2, "average": 3, "message": 3}  # where retention looks; others stay
MOST = 20_000  # rows of a table in one block; what is more follows in the next ones
TAG_BYTES = 16
HASH_BYTES = 16  # of each table in a block: with 32 a year of blocks would take more than 15 MB
NOTHING = bytes(32)  # in the place of the hash before the first block
SEQUENCE_BITS = 40  # as in store.py: a message's id is platform << 40 | sequence
Query = Callable[[str, Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Block:
    """One seal: *upto* is the last id of each table (of messages: by platform), *at_ms* the wall clock's word."""

    epoch: int
    at_ms: int
    upto: Mapping[str, int]
    digest: bytes
    tag: bytes

    def head(self, before: bytes) -> bytes:
        """The hash of this block behind the block whose hash is *before*; 32 bytes."""
        return bytes(sha256(self.signed(before) + self.tag).digest())

    def signed(self, before: bytes) -> bytes:
        """What the tag is made over."""
        reach = json.dumps(sorted(self.upto.items()), separators=(",", ":")).encode("ascii")
        return struct.pack(">QqI", self.epoch, self.at_ms, len(reach)) + reach + self.digest + before


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a walk begins in a file that holds a later part of the chain: behind block *epoch*, whose hash is *head*.

    *released* is the last reading (id) that had left the station before the file was made.
    """

    epoch: int = 0
    head: bytes = NOTHING
    upto: Mapping[str, int] = field(default_factory=dict)
    released: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one table has of a block now: its hash, rows that are there and that there were, the oldest one's time."""

    table: str
    digest: bytes
    count: int
    sealed: int
    oldest_ms: int | None


def next_key(key: bytes) -> bytes:
    """The key of the epoch after that of *key*; there is no way back."""
    return bytes(sha256(b"niutang seal" + key).digest())


def tag_of(key: bytes, signed: bytes) -> bytes:
    """The tag of a block: the first 16 bytes of HMAC-SHA-256 (RFC 2104) with a *key* of 32 bytes."""
    inner, outer = (bytes(one ^ pad for one in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return bytes(sha256(outer + sha256(inner + signed).digest()).digest()[:TAG_BYTES])


def reach(query: Query, before: Mapping[str, int]) -> dict[str, int]:
    """How far the next block goes in each table: to its end, and at most MOST rows beyond the block *before*."""
    found = {}
    for table in TABLES:
        last = query(f"SELECT max(id) FROM {table}", ())[0][0] or 0
        found[table] = min(max(last, before.get(table, 0)), before.get(table, 0) + MOST)
    for (platform,) in query("SELECT id FROM platform ORDER BY id", ()):
        name, low = f"message {platform}", platform << SEQUENCE_BITS
        last = query("SELECT max(id) FROM message WHERE id BETWEEN ? AND ?", (low, low + (1 << SEQUENCE_BITS) - 1))
        sequence = (last[0][0] or low) - low
        found[name] = min(max(sequence, before.get(name, 0)), before.get(name, 0) + MOST)
    return found


def digest(query: Query, before: Mapping[str, int], upto: Mapping[str, int]) -> tuple[bytes, int]:
    """SHA-256 of the rows behind *before* up to *upto*, HASH_BYTES a table that grew, by name; and their number."""
    found = list(parts(query, before, upto))
    return b"".join(one.digest for one in found), sum(one.count for one in found)


def parts(query: Query, before: Mapping[str, int], upto: Mapping[str, int]) -> Iterator[Part]:
    """What a block says of each table that grew."""
    for table in sorted(upto):
        first, last = before.get(table, 0), upto[table]
        if last <= first:
            continue
        name, _, platform = table.partition(" ")
        low = int(platform or 0) << SEQUENCE_BITS
        rows, texts = _texts(query, name, low + first, low + last)
        made = sha256(f"{table} {len(rows)}\n".encode())
        made.update("\n".join(texts).encode())
        column = DATED.get(name)
        times = () if column is None else (row[column] for row in rows if isinstance(row[column], int))
        yield Part(table, bytes(made.digest()[:HASH_BYTES]), len(rows), last - first, min(times, default=None))


_ROW = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode  # the same text from any Python


def _texts(query: Query, table: str, first: int, last: int) -> tuple[Sequence[Any], list[str]]:
    """The rows of *table* with numbers above *first* up to *last*, and each as the text that is hashed.

    Where a cell holds what is no text any more (a damaged card), all of these rows are hashed by the bytes that stand
    there: a seal says what is stored, good or bad, and one bad cell keeps no later row from being sealed.
    """
    where = f"FROM {table} WHERE id > ? AND id <= ? ORDER BY id"
    try:
        rows = query(f"SELECT * {where}", (first, last))
        return rows, list(map(_ROW, rows))
    except TypeError:  # a text that became bytes
        pass
    except (StoreError, sqlite3.OperationalError) as error:
        if "Could not decode" not in str(error):
            raise
    names = [column[1] for column in query(f"PRAGMA table_info({table})", ())]
    bare = ", ".join(f"CASE typeof({one}) WHEN 'text' THEN '' ELSE {one} END" for one in names)
    kinds = ", ".join(f"typeof({one}) || hex(CAST({one} AS BLOB))" for one in names)
    texts = list(map(_ROW, query(f"SELECT {kinds} {where}", (first, last))))
    return query(f"SELECT {bare} {where}", (first, last)), texts


def seal(query: Query, before: Block | None, head: bytes, key: bytes | None, at_ms: int) -> Block:
    """The block behind *before*, whose hash is *head*, tagged with *key* where there is one."""
    reached: Mapping[str, int] = {} if before is None else before.upto
    upto = reach(query, reached)
    made, _ = digest(query, reached, upto)
    block = Block(1 if before is None else before.epoch + 1, at_ms, upto, made, b"")
    if key is None:
        return block
    return Block(block.epoch, at_ms, upto, made, tag_of(key, block.signed(head)))


def caught_up(query: Query, block: Block) -> bool:
    """Whether nothing was written that *block* leaves for the next ones."""
    return reach(query, block.upto) == dict(block.upto)


# -- verification


@dataclass(frozen=True, slots=True)
class Key:
    """What left the station when its key was made: the key of *epoch*, from which all later ones follow."""

    epoch: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the chain says: the first block that is wrong, and why; what was checked, and what it rests on.

    *gone* blocks are older than what is kept, their rows were deleted by retention; *keyed* counts blocks whose tag
    was checked; *anchored* is the epoch of the head that was given; *unsealed* rows came after the newest block.
    """

    blocks: int
    rows: int
    head: bytes
    last_at_ms: int | None
    bad: int | None = None
    why: str = ""
    bad_from_ms: int | None = None
    bad_to_ms: int | None = None
    gone: int = 0
    keyed: int = 0
    keyed_from: int | None = None
    anchored: int | None = None
    unsealed: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against the record."""
        return self.bad is None


def blocks_of(query: Query, origin: Origin | None = None) -> Iterator[Block]:
    """Every block as stored behind *origin*, oldest first."""
    known, last = (dict(origin.upto), origin.epoch) if origin else (dict[str, int](), 0)
    while rows := query(
        "SELECT epoch, at_ms, CAST(more AS BLOB), digest, tag FROM seal WHERE epoch > ? ORDER BY epoch LIMIT 500",
        (last,),
    ):
        for epoch, at_ms, more, made, tag in rows:
            try:
                grown = {str(table): int(count) for table, count in json.loads(more).items()}
            except (ValueError, TypeError, AttributeError):
                grown = {"": 0}  # what cannot be read is not what was written
            known = {table: known.get(table, 0) + grown.get(table, 0) for table in {**known, **grown}}
            at_ms, made, tag = _as(int, at_ms, 0), _as(bytes, made, b""), _as(bytes, tag, b"")
            yield Block(int(epoch), at_ms, known, made, tag)
        last = int(rows[-1][0])


def _as(kind: Any, value: Any, instead: Any) -> Any:
    return value if isinstance(value, kind) else instead


def growth(before: Mapping[str, int], upto: Mapping[str, int]) -> str:
    """How much further *upto* goes than *before*, as stored."""
    more = {table: last - before.get(table, 0) for table, last in upto.items()}
    return json.dumps(
        {table: count for table, count in more.items() if count or table not in before}, separators=(",", ":")
    )


def verify(
    query: Query,
    *,
    head: bytes | None = None,
    key: Key | None = None,
    kept_from_ms: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    origin: Origin | None = None,
    last: int | None = None,
) -> Verdict:
    """Check every block; *head* (8 bytes or more of one) was noted elsewhere, *key* left the station once.

    Blocks sealed before *kept_from_ms* may have lost their rows to retention, of each table the oldest first, and
    readings may have left that a later block says of in a record (`released`, station/capacity.py), if its records
    are as they were sealed; the chain is checked all the same, and so is every table that has all its rows.

    A file that begins behind *origin* is checked from there on; blocks behind *last* are left alone.
    """
    state = _Walk(query, head, key, kept_from_ms, origin or Origin())
    for block in blocks_of(query, origin):
        if last is not None and block.epoch > last:
            break
        why = state.wrong(block)
        if why:
            return state.verdict(block, why)
        progress(block.epoch)
    return state.end()


class _Walk:
    """One walk along the chain."""

    def __init__(
        self, query: Query, head: bytes | None, key: Key | None, kept_from_ms: int, origin: Origin
    ) -> None:
        self._query, self._wanted, self._kept_from_ms = query, head, kept_from_ms
        self._key, self._keyed_from = key, key.epoch if key else None
        self._current = key.key if key else b""
        for _ in range(origin.epoch + 1 - key.epoch if key else 0):
            self._current = next_key(self._current)
        self._head, self._reached, self._epoch = origin.head, dict(origin.upto), origin.epoch
        self._at_ms: int | None = None
        self._rows = self._gone = self._keyed = 0
        self._left: dict[str, int] = {}  # the time of the oldest row that is there, by table
        self._anchored: int | None = None
        self._released = origin.released  # the last reading that has left, by sealed records
        self._missing: list[tuple[Block, dict[str, int], int | None]] = []  # that lack readings, the block before each

    def wrong(self, block: Block) -> str:
        """Why *block* is not the one that was sealed, or nothing; then it is part of the walk."""
        if block.epoch != self._epoch + 1:
            return "missing"
        if self._keyed_from is not None and block.epoch >= self._keyed_from:
            if tag_of(self._current, block.signed(self._head)) != block.tag:
                return "tag"
            self._current = next_key(self._current)
            self._keyed += 1
        found = list(parts(self._query, self._reached, block.upto))
        if len(block.digest) != sum(len(one.digest) for one in found):
            return "rows"
        sealed = [block.digest[at : at + HASH_BYTES] for at in range(0, len(block.digest), HASH_BYTES)]
        wrong = [one for one, was in zip(found, sealed, strict=True) if one.digest != was]
        for one in wrong:
            if self._may_be_gone(one, block):
                continue
            if one.table != "reading" or not self._lacks_its_first(block):
                return "rows"
            self._missing.append((block, self._reached, self._at_ms))
        if not any(one.table == "record" for one in wrong):
            self._released = max(self._released, self._said_to_have_left(block))
        self._gone += bool(wrong)
        self._rows += sum(one.count for one in found if one not in wrong)
        for one in found:
            if one.oldest_ms is not None:
                self._left[one.table] = min(one.oldest_ms, self._left.get(one.table, one.oldest_ms))
        self._head = block.head(self._head)
        self._epoch, self._reached, self._at_ms = block.epoch, dict(block.upto), block.at_ms
        if self._wanted and self._head.startswith(self._wanted):
            self._anchored = block.epoch
        return ""

    def _may_be_gone(self, part: Part, block: Block) -> bool:
        """Whether retention may have deleted what *part* lacks: it takes the oldest rows of a table first.

        So nothing older of that table may be left before *block*; rows of a clock that was ahead are younger.
        """
        if block.at_ms >= self._kept_from_ms or part.count >= part.sealed:
            return False
        if part.table in WAITING:
            return self._lacks_what_waited(part, block)
        if part.table.partition(" ")[0] not in DATED:
            return False
        before = block.at_ms if self._at_ms is None else min(self._at_ms, block.at_ms)
        return self._left.get(part.table, before) >= before

    def _lacks_what_waited(self, part: Part, block: Block) -> bool:
        """Whether nothing older of that table is left than what *part* still has, its last rows."""
        first, high = self._query(f"SELECT min(id) FROM {part.table}", ())[0][0], block.upto[part.table]
        return first is not None and bool(first == high - part.count + 1 if part.count else first > high)

    def _lacks_its_first(self, block: Block) -> bool:
        """Whether the readings that *block* lacks are its first ones."""
        low, high = self._reached.get("reading", 0), block.upto.get("reading", 0)
        ((first, count),) = self._query("SELECT min(id), count(*) FROM reading WHERE id > ? AND id <= ?", (low, high))
        return count < high - low and (not count or bool(first + count - 1 == high))

    def _said_to_have_left(self, block: Block) -> int:
        """The last reading that has left by the records of *block*, which are as they were sealed."""
        rows = self._query(
            "SELECT body FROM record WHERE id > ? AND id <= ? AND kind = 'released'",
            (self._reached.get("record", 0), block.upto.get("record", 0)),
        )
        return max((int(json.loads(body)["last"]) for (body,) in rows), default=0)

    def _unexplained(self) -> tuple[Block, dict[str, int], int | None] | None:
        """The first block that lacks readings of which no sealed record says that they have left."""
        for block, reached, before_ms in self._missing:
            high = block.upto.get("reading", 0)
            ((count,),) = self._query(
                "SELECT count(*) FROM reading WHERE id > ? AND id <= ?", (reached.get("reading", 0), high)
            )
            if high - count > self._released:  # the last one that is missing
                return block, reached, before_ms
        return None

    def verdict(self, block: Block | None, why: str) -> Verdict:
        """The end of the walk at a wrong *block*, or behind the last one."""
        if (found := self._unexplained()) is not None:
            first, _, before_ms = found
            return Verdict(
                blocks=first.epoch - 1, rows=self._rows, head=self._head, last_at_ms=before_ms, bad=first.epoch,
                why="rows", bad_from_ms=before_ms, bad_to_ms=first.at_ms, gone=self._gone, keyed=self._keyed,
                keyed_from=self._keyed_from, anchored=self._anchored,
            )  # fmt: skip
        return Verdict(
            blocks=self._epoch, rows=self._rows, head=self._head, last_at_ms=self._at_ms,
            bad=self._epoch + 1 if why else None, why=why, bad_from_ms=self._at_ms if why else None,
            bad_to_ms=block.at_ms if block else None, gone=self._gone, keyed=self._keyed,
            keyed_from=self._keyed_from, anchored=self._anchored, unsealed=0 if why else self._unsealed(),
        )  # fmt: skip

    def end(self) -> Verdict:
        """The end of the chain: the head that was noted, and the epoch of the key, must have been on the way."""
        if self._wanted and self._anchored is None:
            return self.verdict(None, "head")
        if self._keyed_from is not None and self._epoch + 1 < self._keyed_from:
            return self.verdict(None, "missing")
        return self.verdict(None, "")

    def _unsealed(self) -> int:
        upto, reached, more = reach(self._query, self._reached), self._reached, 0
        while upto != reached:
            more += sum(upto.values()) - sum(reached.values())
            reached, upto = upto, reach(self._query, upto)
        return more


def short(head: bytes) -> str:
    """The first 8 bytes of a head, as people write them down.

    >>> short(bytes(range(32)))
    '0001-0203-0405-0607'
    """
    text = head[:8].hex()
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def head_in(text: str) -> bytes:
    """The head that *text* shows: 16 hexadecimal digits or more; raise ValueError for anything else.

    >>> head_in("0001-0203-0405-0607").hex()
    '0001020304050607'
    """
    digits = text.replace("-", "").replace(" ", "")
    found = bytes.fromhex(digits)
    if not 8 <= len(found) <= 32:
        raise ValueError("a head has 16 to 64 hexadecimal digits")
    return found


def heads(rows: Iterable[Block]) -> Iterator[tuple[Block, bytes]]:
    """Every block with its hash."""
    head = NOTHING
    for block in rows:
        head = block.head(head)
        yield block, head
