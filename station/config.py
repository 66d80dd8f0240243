"""station.toml into frozen dataclasses; every fault is reported at once, with its line.

One loader serves `station run` and `station check`, so nothing starts on a configuration that
`check` would refuse.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers import DRIVERS, INPUTS, OUTPUTS, SCREENS
from drivers.base import BusSettings, Device, DeviceSettings, DriverError
from drivers.bus import Bus
from station import average
from station.calibrate import IDENTITY, LOCKED
from station.loader import CONTROL, Fault, Unusable, build
from station.model import ConfigError, dataclass, did_you_mean, field, fields, replace, setting
from station.parameters import catalogue
from station.places import line_of, locate
from uplink import UPLINKS
from uplink.base import UplinkSettings

GOOD = "station.toml.good"  # in the data folder: what the station ran with last (station/lastgood.py)
# What a [[rule]] table may be, by its kind.
RULES = {
    "spray": "station.rules:SprayRule",
    "sample": "station.rules:SampleRule",
    "signal": "station.rules:SignalRule",
}
# Tables of which most configurations have none; what they are made of is loaded with the first.
ALARM = "station.alarm:AlarmSettings"
CITY = "station.city:CitySettings"
PAIR = "station.working:PairSettings"
DRY_FLOW = "station.working:DryFlowSettings"
PERMIT = "station.working:PermitSettings"
QC = "station.checks:CheckSettings"
BOUNDARY = "station.boundary:BoundarySettings"
NOTIFY = "station.people:NotifySettings"
SAMPLER = "station.sampler_settings:SamplerSettings"
SAMPLER_UNIT, SAMPLER_PROFILE = "drivers.sampler:SamplerUnit", "drivers.sampler:profile_of"
TUNNEL = "station.tunnel:TunnelSettings"
SUPPLY = "station.supply:SupplySettings"
POSITION = "station.position:PositionSettings"
PAGE = "station.page.settings:PageSettings"
SCREEN = "station.led_settings:ScreenSettings"
CAMERA = "station.camera:CameraSettings"
MODEM = "station.modem.settings:ModemSettings"
# Table of station.toml -> the module of what stands beside the station (station/beside.py).  It has
# make(engine) -> list of Beside, and faults(config, folder) -> Faults; its settings are named above.
BESIDE: dict[str, str] = {
    "tunnel": "station.tunnel",
    "screen": "station.led",
    "supply": "station.supply",
    "position": "station.position",
    "sampler": "station.sampler",
    "camera": "station.camera",
    "modem": "station.modem.care",
}
LEGAL_DAYS = 1827  # raw records at least 5 years (State Council Order 820, Art. 21-26 as digested)


def resolve(target: str) -> Any:
    """What a registry's "module:Name" stands for, imported now."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _pick(registry: Mapping[str, str], key: str, default: str) -> Any:
    def pick(table: Mapping[str, Any]) -> Any:
        word = table.get(key, default)
        if not isinstance(word, str) or word not in registry:
            known = ", ".join(registry)
            raise ValueError(f'{key}: "{word}" is not one of {known}{did_you_mean(str(word), registry)}')
        return resolve(registry[word]).Settings

    return pick


def uplink_class(protocol: str) -> Any:
    """The class that speaks *protocol* to a platform."""
    return resolve(UPLINKS[protocol])


def screen_class(protocol: str) -> Any:
    """The class that speaks *protocol* to a screen: a name of drivers.SCREENS, or module:Class; ValueError for none."""
    target = SCREENS.get(protocol, protocol)
    if ":" not in target:
        known = ", ".join(SCREENS)
        raise ValueError(f'"{protocol}" is not one of {known}, nor module:Class{did_you_mean(protocol, SCREENS)}')
    try:
        return resolve(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f'"{protocol}" cannot be loaded: {error}') from error


def _only(target: str) -> Any:
    """The class of every such table, loaded with the first."""
    return lambda table: resolve(target)


def _pick_kind(registry: Mapping[str, str]) -> Any:
    def pick(table: Mapping[str, Any]) -> Any:
        word = table.get("kind", "")
        if word not in registry:
            raise ValueError(f'kind: "{word}" is not one of {", ".join(registry)}{did_you_mean(str(word), registry)}')
        return resolve(registry[word])

    return pick


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSettings:
    """The [station] table."""

    name: str = setting(text="what the station is called on screens and in reports")
    timezone: str = setting("+08:00", text="legal time of periods and frames, as an offset from UTC")
    data_folder: str = setting(text="where station.db lies; relative to the folder of station.toml")
    commit_seconds: float = setting(60.0, low=1, high=600, text="at most this much is lost by a power cut")
    closing_delay_seconds: float = setting(
        5.0, low=0, high=60, text="wait after the end of a period for the last replies; later ones make a new version"
    )
    reserve_mb: int = setting(
        8, low=0, high=1024, text="room kept on the disk and given up when it is full, in MiB; 0 keeps none"
    )
    wind_mean: str = setting(
        "weighted", choices=("weighted", "unit"), text="mean direction of winds: each by its speed, or all alike"
    )
    clock: str = setting(
        "auto",
        choices=("auto", "host"),
        text="what the time is trusted by: systemd-timesyncd or chronyd, or the host's word alone",
    )
    rtc_after_minutes: int = setting(
        30, low=0, high=1440, text="without any trusted time, go by the host's real-time clock after this; 0 = never"
    )
    clock_socket: str = setting(
        "/run/niutang-clock.sock",
        text="where the clock helper is asked when a platform sets the time (systemd/README.md)",
    )
    control_socket: str = setting(
        "", text="where tools reach the running station; control.sock in the runtime or data folder when empty"
    )
    health_file: str = setting(
        "", text="where the running station says that it is well; health.json in the runtime folder when empty"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """The [retention] table: days each kind is kept, and never less than a platform still waits for it."""

    readings_days: int = setting(LEGAL_DAYS, low=1, high=36500, text="days raw readings are kept")
    averages_days: int = setting(LEGAL_DAYS, low=1, high=36500, text="days averages are kept")
    messages_days: int = setting(LEGAL_DAYS, low=1, high=36500, text="days reported texts are kept")
    events_days: int = setting(LEGAL_DAYS, low=1, high=36500, text="days events are kept")
    records_days: int = setting(
        LEGAL_DAYS, low=1, high=36500, text="days records of checks, exposures and line statistics are kept"
    )
    when_full: str = setting(
        "keep",
        choices=("keep", "answered"),
        text="when the disk is full: nothing leaves, or the oldest raw readings that every platform has answered for",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """The [backup] table: where copies of the database go."""

    folder: str = setting("", text="where copies go, best another disk; relative to the folder of station.toml")
    keep: int = setting(2, low=1, high=1000, text="how many copies stay there")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSettings:
    """The [disk] table: how much of the disk the record may have, and what may leave it."""

    budget_mb: int = setting(
        0, low=0, high=100_000_000, text="most that the database may take, in MB; 0: as much as there is"
    )
    floor_mb: int = setting(
        0, low=0, high=100_000_000, text="an alarm when less than this is free, in MB; 0: no alarm before it is full"
    )
    release: str = setting(
        "never",
        choices=("never", "copied"),
        text="raw months stay at the budget or the floor, or leave after station backup to another disk",
    )

    @property
    def watched(self) -> bool:
        """Whether there is a budget or a floor."""
        return bool(self.budget_mb or self.floor_mb)


@dataclass(frozen=True, slots=True, kw_only=True)
class DustfallSettings:
    """The [dustfall] table: what dust-fall by hand is held against."""

    target: float = setting(
        4.5, low=0.1, high=1000, text="the township's target: monthly mean below so many t/(km²·30d)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSettings:
    """One [[point]] table: a measuring point (点位, 排口)."""

    code: str = setting(text="short code, unique in the station")
    name: str = setting(text="what the point is called on screens")
    st: str = setting(text="HJ 212 system code, such as 21 surface water, 22 air, 39 site dust")
    use: str = setting(
        "",
        choices=("", *average.USES),
        text="rule of validity for its hours and days; by st when empty",
    )
    reference_oxygen: float | None = setting(
        None, low=0, high=20, text="reference oxygen of flue gas, %: converted values beside the measured ones"
    )
    water: str = setting(
        "",
        choices=("", "river", "lake", "rural"),
        text="surface water: lakes have other classes, rural waters another guide",
    )
    depth_cm: float | None = setting(
        None, low=1, high=10000, text="depth of the water, cm: transparency of shallow water is judged by it"
    )
    longitude: float | None = setting(None, low=-180, high=180, text="degrees east")
    latitude: float | None = setting(None, low=-90, high=90, text="degrees north")
    closed: str = setting("", text="when measuring ended here, such as 2026-11-30T10:00; the archive stays")
    moved_from: str = setting("", text="the closed point whose instruments measure here now")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """One [[collector]] table: a jar on a balance that weighs by itself."""

    name: str = setting(text="what the collector is called")
    device: str = setting(text="the instrument that weighs it (collector_mass)")
    diameter_cm: float = setting(15.0, low=5, high=60, text="inner diameter of the jar's mouth, cm")
    rain: str = setting("", text="the instrument that counts the rain; without one rain is told by its weight alone")
    temperature: str = setting("", text="the instrument that measures air_temperature beside it")
    events_only: bool = setting(False, text="true for a balance that is no force-compensation cell")
    dry_hours: float = setting(6.0, low=0, high=240, text="no weight counts so long after rain")
    celsius: tuple[float, float] = setting((-10.0, 45.0), text="no weight counts outside these temperatures, °C")
    band_kelvin: float = setting(5.0, low=0.1, high=60, text="no weight counts so far from the tare's temperature")
    drift_mg: float = setting(2.0, low=0, high=1000, text="drift of the cell with its load, mg a kelvin")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusConfig(BusSettings):
    """One [[bus]] table with the instruments on it."""

    device: tuple[DeviceSettings, ...] = field(
        metadata={"pick": _pick(DRIVERS, "driver", "modbus"), "text": "the instruments on this line"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole station.toml; *folder* is where it lies."""

    station: StationSettings
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    dustfall: DustfallSettings = field(default_factory=DustfallSettings)
    point: tuple[PointSettings, ...]
    bus: tuple[BusConfig, ...] = ()
    collector: tuple[CollectorSettings, ...] = ()
    uplink: tuple[UplinkSettings, ...] = field(default=(), metadata={"pick": _pick(UPLINKS, "protocol", "hj212")})
    input: tuple[Any, ...] = field(default=(), metadata={"pick": _pick_kind(INPUTS)})
    output: tuple[Any, ...] = field(default=(), metadata={"pick": _pick_kind(OUTPUTS)})
    rule: tuple[Any, ...] = field(default=(), metadata={"pick": _pick_kind(RULES)})
    city: Any = field(default=None, metadata={"pick": _only(CITY)})
    alarm: tuple[Any, ...] = field(default=(), metadata={"pick": _only(ALARM)})
    pair: tuple[Any, ...] = field(default=(), metadata={"pick": _only(PAIR)})
    dry_flow: tuple[Any, ...] = field(default=(), metadata={"pick": _only(DRY_FLOW)})
    permit: tuple[Any, ...] = field(default=(), metadata={"pick": _only(PERMIT)})
    qc: tuple[Any, ...] = field(default=(), metadata={"pick": _only(QC)})
    boundary: tuple[Any, ...] = field(default=(), metadata={"pick": _only(BOUNDARY)})
    notify: tuple[Any, ...] = field(default=(), metadata={"pick": _only(NOTIFY)})
    tunnel: Any = field(default=None, metadata={"pick": _only(TUNNEL)})
    supply: Any = field(default=None, metadata={"pick": _only(SUPPLY)})
    position: Any = field(default=None, metadata={"pick": _only(POSITION)})
    sampler: tuple[Any, ...] = field(default=(), metadata={"pick": _only(SAMPLER)})
    page: Any = field(default=None, metadata={"pick": _only(PAGE)})
    screen: tuple[Any, ...] = field(default=(), metadata={"pick": _only(SCREEN)})
    camera: tuple[Any, ...] = field(default=(), metadata={"pick": _only(CAMERA)})
    modem: Any = field(default=None, metadata={"pick": _only(MODEM)})

    @property
    def wired(self) -> bool:
        """Whether anything hangs on the board's own pins or on a module; a rule that asks a sampler does not."""
        return bool(
            self.input or self.output or any(not (getattr(rule, "sampler", "") and self.sampler) for rule in self.rule)
        )

    @property
    def pinned(self) -> bool:
        """Whether anything hangs on the board's own pins."""
        return any(one.pin is not None for one in (*self.input, *self.output))

    @property
    def watched(self) -> bool:
        """Whether anything is held against limits or conditions."""
        return bool(self.alarms)

    @property
    def beside(self) -> tuple[str, ...]:
        """The tables of what stands beside the station that are there."""
        return tuple(table for table in BESIDE if getattr(self, table))

    @property
    def alarms(self) -> tuple[Any, ...]:
        """Everything that has the states of an alarm."""
        return (*self.alarm, *self.pair, *self.dry_flow, *self.permit)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used: the settings, where they came from and what to think about."""

    config: Config
    path: Path
    warnings: tuple[str, ...]
    content: bytes = field(default=b"", repr=False)  # as it was read

    @property
    def folder(self) -> Path:
        """The folder of station.toml; relative names start here."""
        return self.path.parent

    @property
    def data_folder(self) -> Path:
        """Where the database lies."""
        return self.folder / self.config.station.data_folder

    @property
    def database(self) -> Path:
        """The database file."""
        return self.data_folder / "station.db"

    @property
    def good_file(self) -> Path:
        """The configuration that the station ran with last (station/lastgood.py)."""
        return self.data_folder / GOOD

    @property
    def zone(self) -> timezone:
        """The station's legal time."""
        return parse_zone(self.config.station.timezone)

    @property
    def profile_folders(self) -> tuple[Path, ...]:
        """Where an operator's own profiles lie, searched before the shipped ones."""
        return (self.folder / "profiles",)

    @property
    def health_file(self) -> Path | None:
        """Where the running station gives its sign of life; None where it has no runtime folder and none is named."""
        if self.config.station.health_file:
            return self.folder / self.config.station.health_file
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return Path(runtime) / "health.json" if runtime else None

    @property
    def control_socket(self) -> Path:
        """The Unix socket of the running station."""
        if self.config.station.control_socket:
            return self.folder / self.config.station.control_socket
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return Path(runtime or self.data_folder) / "control.sock"

    @property
    def systems(self) -> dict[str, str]:
        """HJ 212 system code of each measuring point."""
        return {point.code: point.st for point in self.config.point}

    def paces(self) -> dict[tuple[str, str], float]:
        """Seconds from one value of each (point, parameter) to the next; no line is opened for it."""
        found: dict[tuple[str, str], float] = {}
        for bus in self.config.bus:
            for settings, device in zip(bus.device, self.devices(bus, Bus(bus)), strict=True):
                for parameter in device.units:
                    point = settings.points.get(parameter, settings.point)
                    found[point, parameter] = max(settings.poll_seconds, getattr(device, "every_seconds", 0.0))
        return found

    def devices(self, bus: BusConfig, line: Bus) -> list[Device]:
        """The instruments of *bus*, speaking over *line*."""
        return [make_device(settings, line, self.profile_folders) for settings in bus.device]

    def sampler(self, one: Any, line: Bus) -> Any:
        """The sampler that the [[sampler]] table *one* means, on *line*."""
        return resolve(SAMPLER_UNIT)(
            one.name, one.unit_id, one.profile, line, self.profile_folders, lambda: datetime.now(UTC),
            confirmed=one.confirmed,
        )  # fmt: skip

    def instrument(self, name: str) -> Device | None:
        """The instrument *name*, which nobody has spoken to yet: to see what it delivers and can be told."""
        for bus in self.config.bus:
            for settings in bus.device:
                if settings.name == name:
                    line = Bus(bus)  # opened by its first exchange, so never
                    return make_device(settings, line, self.profile_folders)
        return None

    def pins(self) -> Any:
        """The board's own pins, opened now; raise NoPins where there are none."""
        return resolve("drivers.gpio:Pins").open()

    def file(self, name: str) -> Path:
        """Where a file that the configuration names lies: with systemd's credentials, else beside station.toml."""
        return secret_path(name, self.folder)

    def secret(self, name: str) -> str:
        """The text of credential *name*: systemd's if it has one, else a file beside station.toml."""
        path = secret_path(name, self.folder)
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{path}: the credential cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: the credential is not UTF-8 text") from error


def make_device(settings: DeviceSettings, line: Bus, folders: Sequence[Path]) -> Device:
    """The instrument that *settings* describe, made by its driver."""
    device: Device = resolve(DRIVERS[settings.driver])(settings, line, folders, lambda: datetime.now(UTC))
    return device


def is_there(path: Path) -> bool:
    """Whether *path* can be found; a name no file can have, or in a closed folder, cannot."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises: name too long)


def secret_path(name: str, folder: Path) -> Path:
    """Where credential *name* lies: with systemd, beside station.toml, or in the folder secrets there."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and is_there(Path(credentials) / name):
        return Path(credentials) / name
    beside = folder / name
    within = folder / "secrets" / name  # what systemd reads on the service's behalf (systemd/README.md)
    return within if not is_there(beside) and within.parent.is_dir() else beside


def parse_zone(text: str) -> timezone:
    """The fixed offset written as ±hh:mm.

    >>> parse_zone("+08:00")
    datetime.timezone(datetime.timedelta(seconds=28800))
    """
    match = re.fullmatch(r"([+-])(\d\d):(00|15|30|45)", text)
    if match is None or int(match[2]) > 14:
        raise ValueError(f'"{text}" is not an offset such as +08:00')
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


TYPED = (  # what a Chinese keyboard leaves in a line that TOML does not take, and what belongs there
    ("“”‘’", 'straight quotes "…" instead of “…”'),
    ("，", 'a plain comma "," instead of "，"'),
    ("＝", 'a plain "=" instead of "＝"'),
    ("。", 'a plain "." instead of "。"'),
    ("［］【】", 'plain brackets "[" and "]" instead of full-width ones'),
    ("：；（）　", "plain ASCII signs instead of full-width ones"),
)


def load(path: Path, *, secrets: bool = True, content: bytes | None = None) -> Loaded:
    """The configuration in *path*; raise ConfigError naming every fault, one a line.

    *content* is taken as if it stood there.  Without *secrets* the credentials are not looked at: whoever asks a
    running station for its status need not be able to read them.
    """
    try:
        data = path.read_bytes() if content is None else content
        text = data.decode("utf-8-sig").replace("\r\n", "\n")  # Notepad writes a byte-order mark
    except OSError as error:
        here = "" if path.is_absolute() else f" in {Path.cwd()}; cd to the station's folder or name it with --config"
        raise ConfigError(f"{path}: cannot be read ({error.strerror}){here}") from error
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{number}: is not UTF-8 text; save the file as UTF-8 (not GBK)") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column \d+\)", str(error))
        said = str(error).partition(" (at ")[0]
        number = int(where[1]) if where else len(text.splitlines())
        wrong = "".join(text.splitlines()[number - 1 : number])
        hint = next((f"; write {right}" for marks, right in TYPED if set(marks) & set(wrong)), "")
        raise ConfigError(f"{path}:{number}: not TOML: {said}{hint}") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not a configuration: lists or tables lie too deep in one another") from error
    if text and not text.endswith("\n"):  # 6 of a 60 that was cut off is a number too
        raise ConfigError(
            f"{path}:{len(text.splitlines())}: the last line has no end, so the file may be cut short; look at it, "
            "press Enter behind the last line and save"
        )
    faults: list[Fault] = []
    warnings: list[Fault] = []
    config: Config | None = None
    try:
        config = build(Config, table, "", faults)
    except Unusable:
        faults += _faults_of_the_sound(table, faults, path.parent, secrets)
    else:
        config = _with_whole_ports(config, path.resolve().parent)
        units: dict[str, Mapping[str, str]] = {}  # what each device delivers
        hints: list[Fault] = []
        faults += _cross_faults(config, path.parent, units, hints)
        faults += _secret_faults(config, path.parent) if secrets else ()
        warnings += () if faults else [*hints, *_warnings(config, path.parent, units)]
    lines = locate(text) if faults or warnings else {}
    if config is None or faults:
        faults.sort(key=lambda fault: line_of(fault.path, lines) or 0)
        raise ConfigError("\n".join(_worded(path, fault, lines) for fault in faults))
    return Loaded(config, path.resolve(), tuple(_worded(path, fault, lines) for fault in warnings), data)


def _faults_of_the_sound(
    table: Mapping[str, Any], faults: Sequence[Fault], folder: Path, secrets: bool
) -> Sequence[Fault]:
    """What does not fit together in the tables that are without *faults* of their own."""
    from station.sound import Sound  # only what is wrong pays for it

    sound = Sound(table, faults)
    try:
        config = build(Config, sound.table, "", [])
    except Unusable:
        return ()  # no array of tables where one must be: nothing further can be said
    found = list(_cross_faults(config, folder, {}, []))
    return sound.shown([*found, *_secret_faults(config, folder)] if secrets else found)


def _with_whole_ports(config: Config, folder: Path) -> Config:
    """*config* with relative ports made whole: they start at station.toml's folder, wherever the service runs."""

    def whole(port: str) -> str:
        return port if "://" in port else str(folder / port)

    made = replace(config, bus=tuple(replace(bus, port=whole(bus.port)) for bus in config.bus))
    if not config.screen:
        return made
    return replace(made, screen=tuple(replace(one, port=whole(one.port)) for one in config.screen))


def _worded(path: Path, fault: Fault, lines: Mapping[str, int]) -> str:
    line = line_of(fault.path, lines)
    place = f"{path}:{line}" if line else str(path)
    said = f"{fault.path}: {fault.text}"
    return f"{place}: {re.sub(CONTROL, _escaped, said)}"  # what it quotes goes to a terminal


def _escaped(control: re.Match[str]) -> str:
    return f"\\x{ord(control[0]):02x}"


def _cross_faults(
    config: Config, folder: Path, units_of: dict[str, Mapping[str, str]], hints: list[Fault]
) -> Iterator[Fault]:
    """What only shows when tables are held against each other, and against profiles and files.

    What each device delivers is put into *units_of*, what is no fault and yet unusual into *hints*.
    """
    try:
        parse_zone(config.station.timezone)
    except ValueError as error:
        yield Fault("station.timezone", str(error))
    yield from _twice(("point", config.point, "code"), ("bus", config.bus, "name"), ("uplink", config.uplink, "name"))
    yield from _twice(("bus", config.bus, "port"), ("collector", config.collector, "name"))
    yield from _one_port_by_two_names(config.bus)
    if config.page is not None:
        yield from config.page.faults()
        hints.extend(config.page.hints())
    points = {point.code: point for point in config.point}
    for index, point in enumerate(config.point):
        if not re.fullmatch(r"[0-9A-Z]{2}", point.st):
            yield Fault(f"point[{index}].st", f'"{point.st}" is not two characters 0-9 A-Z (HJ 212 part 6)')
    owners: dict[tuple[str, str], str] = {}
    instruments: dict[str, Device] = {}
    names: dict[str, str] = {}
    unread: set[str] = set()  # points of instruments of which it is not known what they measure
    for b, bus in enumerate(config.bus):
        line, units, general = Bus(bus), dict[Any, str](), set[int | None]()
        if any(device.driver == "hj212" for device in bus.device) or bus.port.startswith("hj212+"):
            from station import receiving  # only who listens to senders pays for it

            yield from (Fault(f"bus[{b}].{key}", text) for key, text in receiving.faults(bus))
        elif "://" in bus.port:
            from drivers import network  # only who has one pays for it

            yield from (Fault(f"bus[{b}].{key}", text) for key, text in network.faults(bus))
        yield from _crowded(f"bus[{b}]", bus)
        for d, device in enumerate(bus.device):
            place = f"bus[{b}].device[{d}]"
            if device.name in names:
                yield Fault(f"{place}.name", f'"{device.name}" is already {names[device.name]}')
            names.setdefault(device.name, place)
            unit_id = getattr(device, "unit_id", None)
            if unit_id is not None and unit_id in units:
                yield Fault(f"{place}.unit_id", f"{unit_id} is already {units[unit_id]} on this bus")
            units.setdefault(unit_id, f'"{device.name}"')
            yield from _device_faults(
                place, device, line, folder, points, owners, units_of, hints, general, instruments
            )
            if device.name not in units_of:
                unread |= {device.point, *device.points.values()}
        for d, device in enumerate(bus.device):
            unit_id = getattr(device, "unit_id", None)
            if unit_id is not None and unit_id in general and len(bus.device) > 1:
                text = f"{unit_id} is answered by every instrument of a kind; it needs a line of its own"
                yield Fault(f"bus[{b}].device[{d}].unit_id", text)
    counted = [(pin.name, pin.counted[0]) for pin in config.input if hasattr(pin, "counted")]
    given = units_of | {name: {parameter: ""} for name, parameter in counted}
    for c, collector in enumerate(config.collector):
        yield from _collector_faults(f"collector[{c}]", collector, given)
    for u, uplink in enumerate(config.uplink):
        yield from _uplink_faults(f"uplink[{u}]", uplink, points, folder)
    yield from _one_client_twice(config.uplink)
    if any(point.closed or point.moved_from for point in config.point):
        from station import resiting  # only who has moved pays for it

        yield from resiting.faults(config)
    if config.wired:
        from station import wiring  # only who has pins pays for it

        yield from _not_of(unread, wiring.faults(config, owners, names))
    if config.city is not None:
        from station import city

        if (said := city.faults(config.city)) is not None:
            yield Fault("city.url", said)
    yield from _not_of(unread, _evaluated_faults(config, owners, folder))
    if config.notify:
        from station import people

        yield from people.faults(config, (one.name for one in (*config.alarms, *config.qc)))
    if config.beside:
        from station import beside

        yield from beside.faults(config, folder)
    if config.qc:
        from station import check_faults  # only who has checks pays for it

        yield from check_faults.faults(config, units_of, instruments)
        hints += check_faults.hints(config, units_of)


def _evaluated_faults(config: Config, owners: Mapping[tuple[str, str], str], folder: Path) -> Iterator[Fault]:
    """What is wrong in the tables of alarms, working conditions and boundaries; only who has them pays for them."""
    if config.watched:
        from station import alarm

        yield from alarm.named_twice(config)
        yield from alarm.faults(config, owners, folder)
    if config.pair or config.dry_flow or config.permit:
        from station import working

        yield from working.faults(config, owners)
    if config.boundary:
        from station import boundary

        yield from boundary.faults(config, owners)


def _crowded(place: str, bus: BusConfig) -> Iterator[Fault]:
    """An instrument that talks by itself, on a line with others."""
    for d, device in enumerate(bus.device):
        if device.alone and len(bus.device) > 1:
            others = ", ".join(f'"{other.name}"' for other in bus.device if other is not device)
            yield Fault(f"{place}.device[{d}]", f'"{device.name}" needs a line of its own, {others} cannot share it')
            return
    spoken = {device.driver if device.driver in ("dlt645", "hj212") else "modbus" for device in bus.device}
    if len(spoken) > 1:
        yield Fault(f"{place}.device", "Modbus instruments, meters of DL/T 645 and senders of HJ 212 need a line each")
    addresses: dict[str, str] = {}
    for d, device in enumerate(bus.device):
        if (address := getattr(device, "address", None)) in addresses:
            yield Fault(f"{place}.device[{d}].address", f'{address} is already "{addresses[address]}" on this bus')
        if isinstance(address, str):
            addresses.setdefault(address, device.name)


def _one_client_twice(uplinks: Sequence[UplinkSettings]) -> Iterator[Fault]:
    """A broker lets a client identifier in once: of two, each would throw the other out."""
    seen: dict[Any, int] = {}
    for index, one in enumerate(uplinks):
        if hasattr(one, "client"):
            first = seen.setdefault((one.address, one.client), index)  # type: ignore[attr-defined]
            if first != index:
                yield Fault(f"uplink[{index}].client_id", f'"{one.client}" is in use at that broker by uplink[{first}]')


def _one_port_by_two_names(buses: Sequence[BusConfig]) -> Iterator[Fault]:
    """A by-path and a by-id link may lead to one adapter."""
    seen: dict[Path, int] = {}
    for index, bus in enumerate(buses):
        port = Path(bus.port).resolve()
        if port in seen and buses[seen[port]].port != bus.port:
            yield Fault(f"bus[{index}].port", f"{bus.port} leads to {port}, as bus[{seen[port]}].port does")
        seen.setdefault(port, index)


def _twice(*groups: tuple[str, Sequence[Any], str]) -> Iterator[Fault]:
    for table, items, key in groups:
        seen: dict[str, int] = {}
        for index, item in enumerate(items):
            value = getattr(item, key)
            if value in seen:
                yield Fault(f"{table}[{index}].{key}", f'"{value}" is already {table}[{seen[value]}]')
            seen.setdefault(value, index)


def _not_of(unread: Collection[str], found: Iterable[Fault]) -> Iterator[Fault]:
    """The faults *found* but those that only say what is not measured at a point with an unread profile."""
    said = tuple(f'at point "{point}"' for point in unread)
    for fault in found:
        if not (fault.text.startswith("nothing measures") and any(one in fault.text for one in said)):
            yield fault


def _device_faults(
    place: str,
    settings: DeviceSettings,
    line: Bus,
    folder: Path,
    points: Mapping[str, PointSettings],
    owners: dict[tuple[str, str], str],
    units_of: dict[str, Mapping[str, str]],
    hints: list[Fault],
    general: set[int | None],
    instruments: dict[str, Device],
) -> Iterator[Fault]:
    try:
        device = make_device(settings, line, (folder / "profiles",))
    except DriverError as error:
        for text in str(error).splitlines():
            yield Fault(place, text)
        return
    units_of[settings.name] = device.units
    instruments[settings.name] = device
    hints += [Fault(place, text) for text in getattr(device, "hints", ())]
    general.add(getattr(device, "general_address", None))
    if settings.poll_seconds < device.poll_minimum_seconds:
        yield Fault(
            f"{place}.poll_seconds",
            f"{settings.poll_seconds:g} is below the instrument's {device.poll_minimum_seconds:g}",
        )
    for key in ("points", "calibration", "calibrate_days", "range", "constant_minutes", "rate", "spike", "rollover"):
        for parameter in getattr(settings, key):
            if parameter not in device.units:
                hint = did_you_mean(parameter, device.units)
                yield Fault(f"{place}.{key}.{parameter}", f"the instrument does not deliver it{hint}")
    for parameter, coefficients in settings.calibration.items():
        at = points.get(settings.points.get(parameter, settings.point))
        if at is not None and at.st in LOCKED and tuple(coefficients) != IDENTITY:
            text = f"ST={at.st} wants one number in instrument, station and platform; calibrate in the instrument"
            yield Fault(f"{place}.calibration.{parameter}", text)
    for key, least in (("calibrate_days", 0), ("constant_minutes", 0), ("rate", 1e-9), ("spike", 1)):
        for parameter, limit in getattr(settings, key).items():
            if limit < least:
                yield Fault(f"{place}.{key}.{parameter}", f"{limit:g} is below {least:g}")
    if settings.rollover:
        from station.counter import rollover_faults  # few instruments have one

        yield from rollover_faults(place, settings.rollover)
    for parameter, (low, high) in settings.range.items():
        if low >= high:
            yield Fault(f"{place}.range.{parameter}", f"{low:g} is not below {high:g}")
    for parameter, unit in device.units.items():
        known = catalogue().get(parameter)
        if known is None:
            yield Fault(place, f'"{parameter}" is not in the catalogue{did_you_mean(parameter, catalogue())}')
        elif known.unit != unit:
            yield Fault(place, f'{parameter} comes in "{unit}", the catalogue has "{known.unit}"')
        point = settings.points.get(parameter, settings.point)
        if (point, parameter) in owners:
            yield Fault(place, f'{parameter} at point "{point}" already comes from "{owners[point, parameter]}"')
        owners.setdefault((point, parameter), settings.name)
    for key, point in [("point", settings.point), *((f"points.{p}", c) for p, c in settings.points.items())]:
        if point not in points:
            yield Fault(f"{place}.{key}", f'there is no point "{point}"{did_you_mean(point, points)}')


def _collector_faults(
    place: str, collector: CollectorSettings, units_of: Mapping[str, Mapping[str, str]]
) -> Iterator[Fault]:
    """Instruments a collector names that there are not, or that do not measure what it wants of them."""
    wanted = {"device": "collector_mass", "rain": "rain", "temperature": "air_temperature"}
    for key, parameter in wanted.items():
        name = getattr(collector, key)
        if not name and key != "device":
            continue
        if name not in units_of:
            yield Fault(f"{place}.{key}", f'there is no device "{name}"{did_you_mean(name, units_of)}')
        elif parameter not in units_of[name]:
            yield Fault(f"{place}.{key}", f'"{name}" does not deliver {parameter}')
    if collector.celsius[0] >= collector.celsius[1]:
        yield Fault(f"{place}.celsius", f"{collector.celsius[0]:g} is not below {collector.celsius[1]:g}")


def _uplink_faults(
    place: str, uplink: UplinkSettings, points: Mapping[str, PointSettings], folder: Path
) -> Iterator[Fault]:
    for index, point in enumerate(getattr(uplink, "point", ())):
        if point.point not in points:
            hint = did_you_mean(point.point, points)
            yield Fault(f"{place}.point[{index}].point", f'there is no point "{point.point}"{hint}')
    for key, text in uplink.faults(catalogue()):
        yield Fault(f"{place}.{key}", text)
    if hasattr(uplink, "file_faults"):
        for key, text in uplink.file_faults(lambda name: secret_path(name, folder)):
            yield Fault(f"{place}.{key}", text)


def _secret_faults(config: Config, folder: Path) -> Iterator[Fault]:
    """Credentials that are not there, or that no frame could carry."""
    yield from _secrets_of_people(config, folder)
    if config.camera:
        from station import camera

        yield from camera.secret_faults(config, folder)
    for u, uplink in enumerate(config.uplink):
        name, place = getattr(uplink, "password_file", ""), f"uplink[{u}].password_file"
        if not name or not hasattr(uplink, "standard"):  # others look at their files themselves
            continue
        yield from _password_faults(place, secret_path(name, folder))
    for b, bus in enumerate(config.bus):
        for d, device in enumerate(bus.device):
            if device.driver == "hj212" and (name := getattr(device, "password_file", "")):
                yield from _password_faults(f"bus[{b}].device[{d}].password_file", secret_path(name, folder))


def _password_faults(place: str, path: Path) -> Iterator[Fault]:
    """What is wrong with the file of a PW."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        absent = isinstance(error, FileNotFoundError)
        how = f"there is no file {path}; make it: printf '%s' PASSWORD > {path} && chmod 600 {path}"
        yield Fault(place, how if absent else f"{path} cannot be read ({why})")
        return
    if not text or not text.isprintable() or set(text) & set(";,=&#"):
        yield Fault(place, f"{path} holds no usable password: 1 to 6 printable characters without ;,=&#")


def _secrets_of_people(config: Config, folder: Path) -> Iterator[Fault]:
    if config.notify:
        from station import people

        yield from people.secret_faults(config, lambda name: secret_path(name, folder))


def _warnings(config: Config, folder: Path, units_of: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    for name in (one.name for one in fields(RetentionSettings) if one.name.endswith("_days")):
        days = getattr(config.retention, name)
        if days < LEGAL_DAYS:
            yield Fault(f"retention.{name}", f"{days} days are less than the 5 years Order 820 asks for")
    for u, uplink in enumerate(config.uplink):
        if getattr(uplink, "plain", False):
            yield Fault(f"uplink[{u}].plain", "what is sent over http:// or mqtt:// can be read and changed on the way")
        if uplink.realtime_seconds < 30 and hasattr(uplink, "standard"):
            yield Fault(f"uplink[{u}].realtime_seconds", "the standard's shortest interval is 30")
        yield from _secret_warnings(f"uplink[{u}]", uplink, folder)
        yield from _silent_parameters(f"uplink[{u}]", uplink, config, units_of)
    if config.wired:
        from station import wiring

        yield from wiring.warnings(config)
    if config.camera:
        from station import camera

        yield from camera.warnings(config, folder)
    for b, bus in enumerate(config.bus):
        if bus.port.startswith("hj212+"):
            from station import receiving

            yield from (Fault(f"bus[{b}].{key}", text) for key, text in receiving.warnings(bus))
        if "://" not in bus.port and not is_there(Path(bus.port)):
            yield Fault(f"bus[{b}].port", f"{bus.port} is not there now; the station will wait for it")


def _secret_warnings(place: str, uplink: UplinkSettings, folder: Path) -> Iterator[Fault]:
    """Secrets that more accounts than the station's can read, and passwords that are longer than the standard's."""
    if hasattr(uplink, "files"):
        named = [(key, secret) for key, secret, hidden in uplink.files() if hidden]
    else:
        named = [(key, getattr(uplink, key, "")) for key in ("password_file", "key_file")]
    for key, secret in named:
        for file in (secret_path(secret, folder), secret_path(f"{secret}.old", folder)) if secret else ():
            if os.access(file, os.R_OK) and file.is_file() and file.stat().st_mode & 0o077:
                yield Fault(f"{place}.{key}", f"{file} can be read by others; chmod 600 it")
    name = getattr(uplink, "password_file", "") if hasattr(uplink, "standard") else ""
    path = secret_path(name, folder)
    if name and os.access(path, os.R_OK) and path.is_file() and len(path.read_bytes().strip()) > 6:
        yield Fault(f"{place}.password_file", f"{path} holds more than the 6 characters the standard allows")


def _silent_parameters(
    place: str, uplink: UplinkSettings, config: Config, units_of: Mapping[str, Mapping[str, str]]
) -> Iterator[Fault]:
    """What is measured at a reported point and has no factor code there: kept here, never sent."""
    spoken = getattr(uplink, "spoken", None)
    if spoken is None:
        return
    dialect = spoken()
    reported = {point.point for point in getattr(uplink, "point", ())}
    silent: dict[str, None] = {}
    measuring: list[tuple[Any, Iterable[str]]] = [(d, units_of[d.name]) for bus in config.bus for d in bus.device]
    measuring += [(one, one.parameters) for one in config.input if hasattr(one, "counted")]
    for settings, parameters in measuring:
        for parameter in parameters:
            point = settings.points.get(parameter, settings.point)
            coded = getattr(catalogue()[parameter], dialect.code) or dialect.codes.get(parameter)
            if point in reported and not coded and parameter not in getattr(uplink, "codes", {}):
                silent[parameter] = None
    if silent:
        yield Fault(f"{place}.codes", f"{', '.join(silent)}: no factor code, so not sent; give them one here if wanted")
