"""[[camera]]: a still of each alarm, taken while it is young, and whenever a person wants one.

A camera is asked within seconds of an alarm.  One that fails is tried again with growing pauses; a still that would
show something else than the alarm (LATE) is not taken any more, and that it was missed is a record.  So is what a
storm of alarms has more than `per_hour`.  Without an alarm a camera is looked at now and then, and nothing is kept:
one that died is known before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from station import snapshots
from station.beside import Beside
from station.config import is_there, resolve, secret_path
from station.loader import Fault
from station.model import Record, StationError, StoreError, WrongArgument, dataclass, did_you_mean, setting
from station.snapshots import FOLDER, KIND, NOTE, Kept

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine

LOOK_SECONDS = 3.0
LATE = timedelta(minutes=15)  # of an alarm: what is seen later is something else
HOUR = timedelta(hours=1)
LOOK_BACK = timedelta(days=1)  # for what became of an alarm before a restart
TIDY_SECONDS = 6 * 3600.0
LEAST_FREE = 64 << 20  # bytes of the disk that stills never take, where [disk] has no floor
PATIENCE = 5.0  # seconds a person waits for another's still, beside what taking it takes
SCHEMES = {"rtsp": ("rtsp",), "onvif": ("http", "https"), "jpeg": ("http", "https")}
MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """One [[camera]] table."""

    name: str = setting(text="what it is called on screens and in records")
    url: str = setting(text="address without an account: of the stream, of ONVIF's device service, or of a JPEG")
    kind: str = setting("rtsp", choices=tuple(SCHEMES), text="what the address is of")
    user: str = setting("", text="account at the camera; one that may only look")
    password_file: str = setting("", text="name of the file with its password, as for the platforms")
    alarms: tuple[str, ...] = setting((), text="alarms that it takes a still of; empty: of every one")
    per_hour: int = setting(6, low=1, high=120, text="at most so many stills of alarms in an hour")
    timeout_seconds: float = setting(20.0, low=2, high=60, text="a still takes no longer")
    width: int = setting(1920, low=0, high=8192, text="a still of a stream is made no wider, pixels; 0: as it comes")
    most_kb: int = setting(4096, low=64, high=32768, text="a still has no more KiB")
    budget_mb: int = setting(1000, low=10, high=100_000, text="its stills take no more MB; the oldest leave, on record")
    look_minutes: int = setting(60, low=0, high=10080, text="how often it is looked at without an alarm; 0: never")


# -- what is wrong with a table


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What cannot work in the [[camera]] tables."""
    known = [one.name for one in config.alarms]
    names = set[str]()
    for index, one in enumerate(config.camera):
        place = f"camera[{index}]"
        if one.name in names or not one.name.strip() or not one.name.isprintable():
            yield Fault(f"{place}.name", f'"{one.name}" is already there, or is no name')
        names.add(one.name)
        yield from (Fault(f"{place}.{key}", text) for key, text in _address_faults(one))
        for name in one.alarms:
            if name not in known:
                hint = did_you_mean(name, known)
                yield Fault(f"{place}.alarms", f'there is no alarm "{name}"{hint}')
        if bool(one.user) != bool(one.password_file):
            yield Fault(f"{place}.password_file", "user and password_file go together")


def _address_faults(one: CameraSettings) -> Iterator[tuple[str, str]]:
    try:
        parts = urlsplit(one.url)
        usable = parts.scheme in SCHEMES[one.kind] and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or not one.url.isprintable() or set(one.url) & set(" \"'\\<>"):
        yield "url", f"is no address such as {SCHEMES[one.kind][0]}://192.168.1.64/…, which kind = \"{one.kind}\" needs"
    elif "@" in parts.netloc:
        yield "url", "holds an account: write it into user and password_file, for this file is copied and shown"
    if ":" in one.user or not (one.user.isprintable() or not one.user):
        yield "user", "holds a colon or what cannot be printed"


def secret_faults(config: Config, folder: Path) -> Iterator[Fault]:
    """Passwords that are not there, or are none."""
    for index, one in enumerate(config.camera):
        if not one.password_file:
            continue
        place, path = f"camera[{index}].password_file", secret_path(one.password_file, folder)
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            how = f"make it: printf '%s' PASSWORD > {path} && chmod 600 {path}"
            yield Fault(place, f"{path} cannot be read ({why}); {how}")
            continue
        if not text or not text.isprintable():
            yield Fault(place, f"{path} holds no usable password")


def warnings(config: Config, folder: Path) -> Iterator[Fault]:
    """What to think about: no ffmpeg on this host, a password that others can read."""
    for index, one in enumerate(config.camera):
        if one.kind != "jpeg" and not resolve("drivers.still:has_ffmpeg")():
            yield Fault(f"camera[{index}].kind", "ffmpeg is not installed, and without it no stream is looked at:"
                                                 " apt-get install ffmpeg")  # fmt: skip
        path = secret_path(one.password_file, folder) if one.password_file else None
        if path is not None and is_there(path) and os.access(path, os.R_OK) and path.stat().st_mode & 0o077:
            yield Fault(f"camera[{index}].password_file", f"{path} can be read by others; chmod 600 it")


def make(engine: Engine) -> list[Beside]:
    """Every camera of station.toml."""
    return [Camera(engine, one) for one in engine.config.camera]


# -- one camera


class Camera(Beside):
    """A camera: looks at the alarms, takes stills, and keeps its part of the disk within its budget."""

    def __init__(self, engine: Engine, settings: CameraSettings) -> None:
        super().__init__(engine, "camera", settings.name)
        self.settings, self.folder = settings, engine.loaded.data_folder / FOLDER
        self._one = Lock()  # one still at a time
        self._pending: dict[tuple[str, str], dict[str, Any]] = {}
        self._done: set[tuple[str, str]] | None = None  # (alarm, episode) that need nothing more
        self._taken_at: list[datetime] = []
        self._next_look = self._next_tidy = 0.0
        self._last = ""
        self._missed = 0

    # -- turns

    def turn(self) -> float:
        """Take what alarms are due; tidy up, look at the camera, where it is time."""
        self._begin()
        self._find()
        self._give_up()
        for key in list(self._pending):
            if not self._may_take():
                self._pending[key]["crowded"] = True
                continue
            self._take_of(key)
        self._tidy_now_and_then()
        self._look_now_and_then()
        return LOOK_SECONDS

    def _begin(self) -> None:
        """Once: what the record says of alarms that have their still or missed it."""
        if self._done is not None:
            return
        since = self.engine.clock.now() - LOOK_BACK - HOUR
        done = set[tuple[str, str]]()
        for one in snapshots.everything(self.engine.store, since, self.settings.name):
            if one.body.get("do") in ("taken", "missed") and one.body.get("episode"):
                done.add((one.body["alarm"], one.body["episode"]))
                if one.body["do"] == "taken":
                    self._taken_at.append(one.at)
        self._done = done
        if self.settings.look_minutes:
            self._next_look = self.engine.clock.monotonic()

    def _find(self) -> None:
        alarms, now = self.engine.alarms, self.engine.clock.now()
        assert self._done is not None
        for row in alarms.states() if alarms is not None else ():
            key = (str(row["name"]), str(row["episode"]))
            if not row["episode"] or key in self._done or key in self._pending or not self._wants(row["name"]):
                continue
            asked = datetime.fromisoformat(row["episode"])
            if now - asked > LOOK_BACK:  # what came of it was not read at the start
                self._done.add(key)
                continue
            self._pending[key] = {"point": row["point"], "asked": asked, "late": now - asked > LATE,
                                  "until": self.engine.clock.monotonic() + LATE.total_seconds()}  # fmt: skip

    def _wants(self, alarm: str) -> bool:
        return not self.settings.alarms or alarm in self.settings.alarms

    def _may_take(self) -> bool:
        """Whether the hour has room for one more still of an alarm."""
        now = self.engine.clock.now()
        self._taken_at = [at for at in self._taken_at if now - HOUR < at <= now]  # the clock may have been set back
        return len(self._taken_at) < self.settings.per_hour

    def _give_up(self) -> None:
        """An alarm that is too old has no still; that is kept."""
        now = self.engine.clock.now()
        for key, one in list(self._pending.items()):
            if now - one["asked"] <= LATE and self.engine.clock.monotonic() < one["until"]:
                continue
            if one["late"]:
                reason = "the station did not run when it began"
            elif one.get("crowded"):
                reason = f"{self.settings.per_hour} stills in an hour were taken (per_hour)"
            else:
                reason = self.complaint or "the camera took too long"
            body = {"do": "missed", "camera": self.settings.name, "alarm": key[0], "episode": key[1],
                    "asked": one["asked"].isoformat(timespec="seconds"), "reason": reason}  # fmt: skip
            self.engine.keep(Record(NOTE, now, body, one["point"], self.settings.name), urgent=True)
            self.engine.note("snapshot_missed", camera=self.settings.name, alarm=key[0], reason=reason)
            self._settle(key)
            self._missed += 1

    def _settle(self, key: tuple[str, str]) -> None:
        assert self._done is not None
        self._pending.pop(key, None)
        self._done.add(key)

    def _take_of(self, key: tuple[str, str]) -> None:
        one = self._pending[key]
        with self._alone(0.0) as free:
            if not free:
                return  # a person's is being taken
            said = {"alarm": key[0], "episode": key[1], "asked": one["asked"]}
            self._keep(said, one["point"])
        self._taken_at.append(self.engine.clock.now())
        self._settle(key)

    @contextmanager
    def _alone(self, patience: float) -> Iterator[bool]:
        free = self._one.acquire(timeout=patience) if patience else self._one.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._one.release()

    # -- a still

    def take(self, person: str, note: str) -> dict[str, Any]:
        """From another thread: take a still because *person* wants one; what is on record of it."""
        with self._alone(self.settings.timeout_seconds + PATIENCE) as free:
            if not free:
                raise StationError(f"{self.settings.name}: is busy with another still; ask again")
            return self._keep({"by": person, "note": note, "asked": self.engine.clock.now()}, "")

    def _keep(self, said: Mapping[str, Any], point: str) -> dict[str, Any]:
        settings, engine = self.settings, self.engine
        self._floor(settings.most_kb << 10)
        found = self._picture()
        taken = engine.clock.now()
        self._make_room(len(found.jpeg))
        name, digest = snapshots.put(self.folder, taken, found.jpeg)
        body = {
            "do": "taken", "camera": settings.name, "file": name, "sha256": digest, "bytes": len(found.jpeg),
            "width": found.width, "height": found.height, "alarm": "", "episode": "", "by": "", "note": "", **said,
            "asked": said["asked"].isoformat(timespec="seconds"), "taken": taken.isoformat(timespec="seconds"),
        }  # fmt: skip
        engine.keep(Record(KIND, taken, body, point, settings.name), urgent=True)
        engine.note("snapshot_taken", urgent=True, camera=settings.name, alarm=body["alarm"], user=body["by"],
                    sha256=digest)  # fmt: skip
        self._last = f"{taken.astimezone(engine.loaded.zone):%Y-%m-%d %H:%M:%S}"
        self._next_look = engine.clock.monotonic() + settings.look_minutes * 60
        return body

    def _picture(self) -> Any:
        """A picture of the camera; raise StationError."""
        one = self.settings
        password = self.engine.loaded.secret(one.password_file) if one.password_file else ""
        account = resolve("drivers.camera_http:Account")(one.user, password)
        limits = resolve("drivers.still:Limits")(
            seconds=one.timeout_seconds, most_bytes=one.most_kb << 10, width=one.width
        )
        if one.kind == "onvif":
            return resolve("drivers.onvif:Onvif")(one.url, account, limits, self._alive).still()
        take = resolve(f"drivers.still:{'from_http' if one.kind == 'jpeg' else 'from_stream'}")
        return take(one.url, account, limits, self._alive)

    def _alive(self) -> bool:
        return self.running

    def _look_now_and_then(self) -> None:
        monotonic, every = self.engine.clock.monotonic(), self.settings.look_minutes * 60
        if self._pending or not every or (monotonic < self._next_look and not self.complaint):
            return
        with self._alone(0.0) as free:
            if free:
                self._picture()
                self._next_look = monotonic + every

    # -- room

    def _floor(self, size: int) -> None:
        """Raise StoreError where a still of *size* bytes would take what the record needs."""
        try:
            found = os.statvfs(self.folder if self.folder.exists() else self.folder.parent)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be looked at ({error.strerror})") from error
        config = self.engine.config
        floor = max(config.disk.floor_mb * MB, LEAST_FREE, 4 * (config.station.reserve_mb << 20))
        free = found.f_bavail * found.f_frsize
        if free - size < floor:
            raise StoreError(f"{self.folder}: {free / MB:.0f} MB are free on this disk and {floor / MB:.0f} MB stay"
                             " free; no still is kept")  # fmt: skip

    def _make_room(self, size: int) -> None:
        """Let the oldest stills of this camera leave where its budget would not hold *size* bytes more."""
        mine = self._mine()
        over = sum(one.size for one in mine) + size - self.settings.budget_mb * MB
        leaving = []
        for one in mine:
            if over <= 0:
                break
            leaving.append(one)
            over -= one.size
        self._let_leave(leaving, "budget")

    def _mine(self) -> list[Kept]:
        return [one for one in snapshots.kept(self.engine.store) if one.body["camera"] == self.settings.name]

    def _let_leave(self, leaving: Sequence[Kept], why: str) -> None:
        """The record first, and durable; then the files."""
        if not leaving:
            return
        now = self.engine.clock.now()
        size = sum(one.size for one in leaving)
        body = {"do": "left", "camera": self.settings.name, "why": why, "ids": [one.id for one in leaving],
                "files": [one.file for one in leaving], "bytes": size}  # fmt: skip
        self.engine.keep(Record(NOTE, now, body, "", self.settings.name), urgent=True)
        self.engine.note("snapshot_left", camera=self.settings.name, count=len(leaving), why=why,
                         mb=round(size / MB, 1))  # fmt: skip
        if not self.engine.committed():
            raise StoreError(f"{self.folder}: the disk did not take in time that stills leave; they stay")
        self._unlink(one.file for one in leaving)

    def _unlink(self, names: Iterator[str]) -> None:
        for name in names:
            if snapshots.FILE.fullmatch(name):
                try:
                    (self.folder / name).unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(f"{self.folder / name}: cannot be removed ({error.strerror})") from error

    def _tidy_now_and_then(self) -> None:
        """Stills whose record is about to be too old leave; so do files of such as have left, and half written ones."""
        monotonic = self.engine.clock.monotonic()
        if monotonic < self._next_tidy:
            return
        self._next_tidy = monotonic + TIDY_SECONDS
        old = self.engine.clock.now() - timedelta(days=self.engine.config.retention.records_days) + timedelta(days=1)
        self._let_leave([one for one in self._mine() if one.at < old], "age")
        taken, left = snapshots.read(snapshots.everything(self.engine.store, device=self.settings.name))
        self._unlink(one.file for one in taken if one.id in left)

    # -- what is shown

    def more(self) -> dict[str, Any]:
        """The last still, how many alarms wait for theirs, how many missed it since the start."""
        words: dict[str, Any] = {}
        if self._last:
            words["camera_last"] = self._last
        if self._pending:
            words["camera_waiting"] = len(self._pending)
        if self._missed:
            words["camera_missed"] = self._missed
        return {"words": words}


def entry(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """What `station snapshot take` asks: camera, by, note; raise StationError."""
    cameras = {one.called: one for one in engine.beside if isinstance(one, Camera)}
    if not cameras:
        raise WrongArgument("there is no [[camera]] in station.toml")
    name, person, note = (str(request.get(key) or "").strip() for key in ("camera", "by", "note"))
    name = name or (next(iter(cameras)) if len(cameras) == 1 else "")
    if name not in cameras:
        known = ", ".join(cameras)
        raise WrongArgument(f'there is no camera "{name}"{did_you_mean(name, cameras)}; known: {known}')
    if not person or not person.isprintable() or not (note.isprintable() or not note):
        raise WrongArgument("a still is taken for a person, whose name is on record: --by NAME")
    found = cameras[name].take(person[:64], note[:200])
    if not engine.committed():
        raise StoreError("the still is kept and its record waits for the disk, which is slow or full")
    return found
