"""Who may act at the page: people with a name and a password, one-time codes that make them, and open sessions.

All of it is one small file, page/people.json in the data folder, 0600 and written whole; tokens, codes and passwords
stand in it as digests alone.  The page and `station page` share it: both read it anew when it has changed.
Passwords go through scrypt (RFC 7914) with n = 2^14, r = 8, p = 1: 16 MiB and some 50 ms a try, one try at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ELOOP, ENOTDIR
from pathlib import Path
from threading import Lock
from typing import Any

from station.model import StoreError, WrongArgument, dataclass
from station.page.settings import PageSettings

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # without what people mix up: 0 O, 1 I L
CODE_LENGTH = 12  # of 31 signs: 59 bits
COST, BLOCK, LANES = 1 << 14, 8, 1  # of scrypt
MEMORY = 32 << 20  # what OpenSSL may take for it
SHORTEST_PASSWORD, LONGEST_PASSWORD, LONGEST_NAME = 10, 256, 40
MOST_PEOPLE, MOST_SESSIONS, MOST_CODES = 50, 200, 5
SEEN_AGAIN = 300.0  # seconds; how exactly the last use of a session is kept, so that a card is not worn by looking
LOCK = "people.lock"
OWN = os.O_CLOEXEC | os.O_NOFOLLOW
_ONE_TRY = Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who is signed in; times are seconds since 1970."""

    key: str
    name: str
    since: float
    seen: float
    address: str


class Accounts:
    """The people of the page whose file lies in *folder*."""

    def __init__(self, folder: Path, settings: PageSettings, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._path = folder / "people.json"
        self._lock = Lock()
        self._stamp: tuple[int, int] | None = None
        self._kept: dict[str, Any] = {}

    # -- codes

    def issue_code(self) -> str:
        """A new one-time code; whoever types it at the page may name himself and choose a password."""
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        until = self._clock() + self._settings.code_hours * 3600
        with self._change() as kept:
            kept["codes"] = [*kept["codes"], {"digest": _digest(code), "until": until}][-MOST_CODES:]
        return "-".join(code[n : n + 4] for n in range(0, CODE_LENGTH, 4))

    def code_holds(self, typed: str) -> bool:
        """Whether *typed* is a code that can still be used."""
        return any(self._is(one, typed) for one in self._read()["codes"])

    def enrol(self, typed: str, name: str, password: str) -> str:
        """Give *name* the *password*, which uses the code up; the name as it is kept.  Raise WrongArgument.

        Who has forgotten a password asks for another code and takes the same name again.
        """
        name = named(name)
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise WrongArgument(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        salt = secrets.token_bytes(16)
        entry = {"salt": salt.hex(), "hash": _scrypt(password, salt).hex(), "since": self._clock()}
        with self._change() as kept:
            good = [one for one in kept["codes"] if self._is(one, typed)]
            if not good:
                raise WrongArgument("this code is wrong, used up or too old; station page code makes another")
            if name not in kept["people"] and len(kept["people"]) >= MOST_PEOPLE:
                raise WrongArgument(f"there are {MOST_PEOPLE} people; station page forget NAME makes room")
            kept["codes"].remove(good[0])
            kept["people"][name] = entry
            kept["sessions"] = {key: one for key, one in kept["sessions"].items() if one["name"] != name}
        return name

    def _is(self, one: dict[str, Any], typed: str) -> bool:
        plain = "".join(sign for sign in typed.upper() if sign.isalnum())
        return hmac.compare_digest(str(one["digest"]), _digest(plain)) and self._clock() < float(one["until"])

    # -- people

    def people(self) -> dict[str, float]:
        """When each name was given its password, seconds since 1970."""
        return {name: one["since"] for name, one in self._read()["people"].items()}

    def knows(self, name: str, password: str) -> bool:
        """Whether *password* is that of *name*; an unknown name takes as long to say so."""
        entry = self._read()["people"].get(name.strip())
        salt = bytes.fromhex(entry["salt"]) if entry else bytes(16)
        found = _scrypt(password[:LONGEST_PASSWORD], salt).hex()
        return hmac.compare_digest(found, str(entry["hash"]) if entry else "0" * len(found)) and entry is not None

    def forget(self, name: str) -> bool:
        """Take *name* off the list and close its sessions; whether there was such a name."""
        with self._change() as kept:
            there = kept["people"].pop(name, None) is not None
            kept["sessions"] = {key: one for key, one in kept["sessions"].items() if one["name"] != name}
        return there

    # -- sessions

    def open_session(self, name: str, address: str) -> str:
        """The token of a new session of *name*, for a cookie; only its digest is kept."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._change() as kept:
            others = sorted(kept["sessions"].items(), key=lambda one: one[1]["seen"])[-(MOST_SESSIONS - 1) :]
            made = {"name": name, "since": now, "seen": now, "address": address}
            kept["sessions"] = {**dict(others), _digest(token): made}
        return token

    def session(self, token: str) -> Session | None:
        """The session of *token* while it holds; using it keeps it from falling asleep."""
        key, now = _digest(token), self._clock()
        found = self._read()["sessions"].get(key)
        if found is None or not self._holds(found, now):
            return None
        if now - found["seen"] > SEEN_AGAIN or now < found["seen"]:
            with self._change() as kept:
                if key in kept["sessions"]:
                    kept["sessions"][key]["seen"] = now
        return Session(key=key, name=found["name"], since=found["since"], seen=now, address=found["address"])

    def close_session(self, token: str) -> None:
        """Sign out."""
        with self._change() as kept:
            kept["sessions"].pop(_digest(token), None)

    def sessions(self) -> list[Session]:
        """Everybody who is signed in, the newest last."""
        now = self._clock()
        rows = [Session(key=key, **one) for key, one in self._read()["sessions"].items() if self._holds(one, now)]
        return sorted(rows, key=lambda one: one.since)

    def close_all(self) -> int:
        """Sign everybody out; how many that were."""
        count = len(self.sessions())
        with self._change() as kept:
            kept["sessions"] = {}
        return count

    def _holds(self, one: dict[str, Any], now: float) -> bool:
        # a clock that was set back neither ends a session nor lengthens it by more than its own length
        old, idle = now - one["since"], now - one["seen"]
        longest, asleep = self._settings.session_hours * 3600, self._settings.idle_minutes * 60 + SEEN_AGAIN
        return bool(abs(old) < longest and idle < asleep)

    # -- the file

    def _read(self) -> dict[str, Any]:
        with self._lock:
            try:
                state = self._path.stat()
            except FileNotFoundError:
                return _empty()
            except OSError as error:
                raise StoreError(f"{self._path}: cannot be read ({error.strerror})") from error
            stamp = (state.st_mtime_ns, state.st_ino)
            if stamp != self._stamp:
                self._kept, self._stamp = self._load(), stamp
            return self._kept

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return _empty() | {key: found[key] for key in _empty()}
        except FileNotFoundError:
            return _empty()
        except OSError as error:
            raise StoreError(
                f"{self._path}: cannot be read ({error.strerror}); it belongs to the station's account"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._path}: is damaged; move it away, and station page code lets people in again"
            ) from error

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        """What is kept, to be changed; written whole when nothing was raised.  One process at a time."""
        with self._opened() as folder:
            try:
                lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | OWN, 0o600, dir_fd=folder)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                kept = self._load()
                now = self._clock()
                kept["codes"] = [one for one in kept["codes"] if now < one["until"]]
                kept["sessions"] = {key: one for key, one in kept["sessions"].items() if self._holds(one, now)}
                yield kept
                self._write(kept, folder, lock)
            finally:
                os.close(lock)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, made where there is none.

        `sudo station page code` writes as root where the station's account may put what it likes: files are opened
        and given away by their numbers, and no link is followed, else that account could be given any file.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | OWN)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield folder
        finally:
            os.close(folder)

    def _unwritable(self, error: OSError) -> StoreError:
        if error.errno in (ELOOP, ENOTDIR):
            return StoreError(f"{self._folder}: holds a link where a file of the page belongs; look who made it")
        return StoreError(f"{self._folder}: cannot be written ({error.strerror}); use sudo, or the station's account")

    def _write(self, kept: dict[str, Any], folder: int, lock: int) -> None:
        new = f"{self._path.name}.new"
        try:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)  # of a write that was cut off
            number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OWN, 0o600, dir_fd=folder)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(kept, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
                if os.geteuid() == 0:  # sudo station page code: the service has to read it afterwards
                    owner = self._folder.parent.stat()
                    for one in (folder, file.fileno(), lock):
                        os.fchown(one, owner.st_uid, owner.st_gid)
            os.replace(new, self._path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror})") from error


def named(name: str) -> str:
    """*name* as it is kept; raise WrongArgument where it is none.

    >>> named("  Wang  Fang "), named("王芳")
    ('Wang Fang', '王芳')
    """
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise WrongArgument(f"a name has 1 to {LONGEST_NAME} characters that can be seen")
    return plain


def _empty() -> dict[str, Any]:
    return {"people": {}, "codes": [], "sessions": {}}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _scrypt(password: str, salt: bytes) -> bytes:
    with _ONE_TRY:
        secret = password.encode("utf-8", "surrogatepass")
        return hashlib.scrypt(secret, salt=salt, n=COST, r=BLOCK, p=LANES, maxmem=MEMORY, dklen=32)
