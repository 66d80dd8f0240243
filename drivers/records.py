"""How instruments that talk by themselves, or answer in lines, write a record: one row of FORMATS each.

A format says how a record is cut out of the bytes, how it is proved and taken apart, and which of its fields is
which parameter.  What no document settles is said in its *source*; grades as in drivers/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from station.model import Mark, dataclass

MOST_HELD = 4096  # bytes kept while a record is not complete; older ones are dropped

# mg/m³ of 1 ppm of a gas at 25 °C and 101.325 kPa, the reference state of GB 3095 (3.14): molar mass / 24.465.
MOLAR_LITRES = 24.465
MOLAR_MASS = {"NO2": 46.0055, "SO2": 64.064, "CO": 28.010, "O3": 47.998, "NO": 30.006}

GRAMS = {"g": 1.0, "mg": 0.001, "kg": 1000.0}  # units a balance may show


class NotARecord(ValueError):
    """Error raised when bytes that look like a record are none; says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one record says, by the instrument's own names; *mark* and *condition* tell what it reports of itself."""

    values: Mapping[str, float | None]
    mark: Mark = Mark.N
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """The record's field *name* is *parameter* in *unit*, its number times *scale*.

    A field without *parameter* is what the variant in station.toml says it is.
    """

    name: str
    parameter: str
    unit: str
    scale: float = 1.0
    example: float = 0.0  # in *unit*, what the emulator sends
    range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is *sent* to have something done, and how the answer begins when it is *done*; b"" where there is none."""

    sent: bytes
    done: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One instrument's records.

    Lines end with a line feed; their *length* in characters counts it, where it is fixed.  Frames begin with
    *begins* and have *length* bytes.  *ask* is what has to be sent for a record; without it records come by
    themselves every *every_seconds*.  Answers without a checksum count when two of three *agree* within so much:
    a flipped bit makes another digit, and nothing else would tell.  *variants* are the parameters the nameless
    field may be.
    """

    maker: str
    title: str
    source: str
    grade: str
    baudrate: int
    parity: str = "N"
    stopbits: int = 1
    read: Callable[[bytes], Record]
    fields: tuple[Field, ...]
    begins: bytes = b""
    length: int = 0
    every_seconds: float = 1.0
    ask: bytes = b""
    reply_seconds: float = 1.0
    agree: float | None = None
    orders: Mapping[str, Order] | None = None
    variants: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # parameters taken only when station.toml asks for them


class Records:
    """Cuts what comes on a line into the records of *form*, and counts what was none; holds little."""

    def __init__(self, form: Format, read: Callable[[bytes], Record] | None = None) -> None:
        self._format, self._read = form, read or form.read
        self._held = bytearray()
        self.bad, self.dropped_bytes, self.last_fault = 0, 0, ""
        self.restart()

    def restart(self) -> None:
        """The line was opened, or is asked anew: what is held belongs to nothing."""
        self._held.clear()
        self._whole = bool(self._format.ask or self._format.begins)  # else the first line may be half of one

    def begin(self) -> None:
        """The line was silent: what comes now is the begin of a record, and what is held will not be completed."""
        self._drop(len(self._held))
        self._whole = True

    def feed(self, data: bytes) -> list[Record]:
        """The records completed by *data*."""
        self._held += data
        found: list[Record] = []
        while (piece := self._next()) is not None:
            try:
                if self._format.length and len(piece) != self._format.length:
                    raise NotARecord(f"{len(piece)} characters instead of {self._format.length}")
                found.append(self._read(piece))
            except NotARecord as error:
                self.bad, self.last_fault = self.bad + 1, str(error)
                self._drop(1 if self._format.begins else len(piece))  # a frame may begin inside a bad one
            else:
                del self._held[: len(piece)]
        return found

    def _next(self) -> bytes | None:
        """The next piece that may be a record, left in place; nothing until it is complete."""
        return self._next_frame() if self._format.begins else self._next_line()

    def _next_frame(self) -> bytes | None:
        begins, length = self._format.begins, self._format.length
        at = self._held.find(begins)
        self._drop(at if at >= 0 else max(0, len(self._held) - len(begins) + 1))
        return bytes(self._held[:length]) if at >= 0 and len(self._held) >= length else None

    def _next_line(self) -> bytes | None:
        end = self._held.find(b"\n") + 1
        if end and not self._whole:
            del self._held[:end]
            self._whole = True
            return self._next_line()
        if not end and len(self._held) > MOST_HELD:
            self._drop(len(self._held))
            self._whole = False
        return bytes(self._held[:end]) if end else None

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self.dropped_bytes += count


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii").strip("\r\n\0 ")
    except UnicodeDecodeError as error:
        raise NotARecord("bytes that are no text") from error


def number(text: str) -> float:
    """The plain decimal number *text* is; none of the words float() would take.

    >>> number("+25.1"), number("000.012")
    (25.1, 0.012)
    """
    text = text.strip()
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", text):
        raise NotARecord(f"{text!r} is no number")
    return float(text)


def es642(line: bytes, *, checksum: bool = True) -> Record:
    """A line of the Met One ES-642: seven fields, the last a checksum.

    The checksum is the sum of the characters before the asterisk, in five decimal digits (ES-405 manual rev A
    p. 29, whose example this rule reproduces; a published driver describes the ES-642's alike).

    >>> es642(b"000.012,2.0,+25.1,043,1013.2,00,*01526\\r\\n").values["concentration"]
    0.012
    """
    body, asterisk, stated = _text(line).partition("*")
    words = body.split(",")
    if not asterisk or len(words) != 7 or words[6]:
        raise NotARecord("not seven fields with the checksum last")
    if checksum and (not stated.isdecimal() or int(stated) != sum(body.encode()) & 0xFFFF):
        raise NotARecord(f"checksum {stated} where the characters sum to {sum(body.encode()) & 0xFFFF:05d}")
    names = ("concentration", "flow", "temperature", "sample_humidity", "pressure")
    values = {name: number(word) for name, word in zip(names, words, strict=False)}
    if set(words[5].strip()) <= {"0"}:
        return Record(values)
    return Record(values, Mark.D, f"status {words[5].strip()}")  # what its bits mean was not found: the cautious mark


def aqt530(line: bytes) -> Record:
    """A line of the Vaisala AQT530: time, values, the names of the values, seconds since it was started.

    Gases in ppm, pressure in hPa (M212572EN-E, "ASCII CSV data message").
    """
    words = _text(line).split(",")
    names = words[-2].split(":") if len(words) > 3 else []
    if len(names) != len(words) - 3 or not {"T", "H", "P"} <= set(names) or "T" not in words[0]:
        raise NotARecord("the line does not name as many fields as it has")
    return Record({name: _maybe(word) for name, word in zip(names, words[1:-2], strict=True)})


def _maybe(word: str) -> float | None:
    return None if word.strip().lower() in ("", "nan", "null", "///") else number(word)


def plantower(frame: bytes) -> Record:
    """A frame of the Plantower PMS5003 or PMS7003: 42 4D, length 28, 13 words, the sum of all before.

    >>> captured = "42 4D 00 1C 00 03 00 04 00 04 00 03 00 04 00 04 02 16 00 A6 00 1C 00 02 00 00 00 00 97 00 02 34"
    >>> plantower(bytes.fromhex(captured)).values["pm25"]
    4.0
    """
    words = [int.from_bytes(frame[i : i + 2], "big") for i in range(2, 32, 2)]
    if words[0] != 28:
        raise NotARecord(f"a length of {words[0]} instead of 28")
    if words[-1] != sum(frame[:-2]):
        raise NotARecord(f"sum {words[-1]:04X} where the bytes sum to {sum(frame[:-2]):04X}")
    values = dict(zip(("pm1", "pm25", "pm10"), map(float, words[4:7]), strict=True))  # in the atmosphere, not CF = 1
    error = frame[29]
    return Record(values, Mark.D, f"error code {error}") if error else Record(values)


def sds011(frame: bytes) -> Record:
    """A frame of the Nova SDS011: AA C0, PM2.5 and PM10 in tenths, low byte first, id, the sum of the six, AB.

    >>> sds011(bytes.fromhex("AA C0 D4 04 3A 0A A1 60 1D AB")).values
    {'pm25': 123.6, 'pm10': 261.8}
    """
    if frame[9] != 0xAB:
        raise NotARecord(f"ends with {frame[9]:02X} instead of AB")
    if frame[8] != sum(frame[2:8]) & 0xFF:
        raise NotARecord(f"sum {frame[8]:02X} where the bytes sum to {sum(frame[2:8]) & 0xFF:02X}")
    words = (int.from_bytes(frame[i : i + 2], "little") / 10 for i in (2, 4))
    return Record(dict(zip(("pm25", "pm10"), words, strict=True)))


UNSTABLE = "weight not stable"


def _grams(weight: str, unit: str) -> float:
    if unit not in GRAMS:
        raise NotARecord(f"a weight in {unit or 'nothing'}; set the balance to g")
    return number(weight.replace(" ", "")) * GRAMS[unit]


def sics(line: bytes) -> Record:
    """An answer to SI of MT-SICS: S S or S D with weight and unit, S I busy, S + and S - out of range.

    >>> sics(b"S S     100.0000 g\\r\\n").values, sics(b"S D      99.8731 g\\r\\n").condition
    ({'mass': 100.0}, 'weight not stable')
    """
    words = _text(line).split()
    match words:
        case ["S", "S", weight, unit]:
            return Record({"mass": _grams(weight, unit)})
        case ["S", "D", weight, unit]:
            _grams(weight, unit)
            return Record({"mass": None}, Mark.D, UNSTABLE)
        case ["S", "I"]:
            return Record({"mass": None}, Mark.D, "busy, or no stable weight in time")
        case ["S", "+"]:
            return Record({"mass": None}, Mark.T, "overloaded")
        case ["S", "-"]:
            return Record({"mass": None}, Mark.D, "underloaded: the pan or the jar is missing")
        case ["ES" | "ET" | "EL" as error]:
            raise NotARecord(f"the balance answers {error}, it did not understand")
    raise NotARecord(f"{' '.join(words)!r} is no answer to SI")


SBI_CODES = {
    "H": (Mark.T, "overloaded"),
    "HH": (Mark.T, "overloaded"),
    "L": (Mark.D, "underloaded: the pan or the jar is missing"),
    "LL": (Mark.D, "underloaded: the pan or the jar is missing"),
    "C": (Mark.C, "adjusting itself"),
}


def sbi(line: bytes) -> Record:
    """A print line of a Sartorius balance: 16 characters, or 22 with a header of six; the unit only when stable.

    >>> sbi(b"+   1255.7 g  \\r\\n").values, sbi(b"N     +   1255.7    \\r\\n").condition
    ({'mass': 1255.7}, 'weight not stable')
    """
    text = line.decode("ascii", "replace").rstrip("\r\n")
    if len(text) not in (14, 20):
        raise NotARecord(f"{len(text) + 2} characters instead of 16 or 22")
    value = text[-14:]
    code = value.strip()
    if code in SBI_CODES:
        mark, condition = SBI_CODES[code]
        return Record({"mass": None}, mark, condition)
    if code.startswith("Err"):
        return Record({"mass": None}, Mark.D, f"error {code[3:].strip()}")
    if "[" in value:
        raise NotARecord("digits in brackets; set the balance to SBI, not to a printer")
    if not value[11:].strip():
        number(value[:11].replace(" ", ""))
        return Record({"mass": None}, Mark.D, UNSTABLE)
    return Record({"mass": _grams(value[:11], value[11:].strip())})


_PM = tuple(
    Field(name, name, "µg/m³", example=e, range=(0, 1000)) for name, e in (("pm1", 3), ("pm25", 4), ("pm10", 4))
)
_MASS = (Field("mass", "collector_mass", "g", example=1042.3817),)

FORMATS: Mapping[str, Format] = {
    "metone-es642": Format(
        maker="Met One",
        title="ES-642 dust monitor (ES-405 alike)",
        source="A published driver (the line, B); ES-405 manual rev A p. 29 for the checksum; 9600 bit/s from the "
        "driver; what the status bits mean was not found. The humidity is the sample's and is not taken.",
        grade="B",
        baudrate=9600,
        read=es642,
        length=40,
        variants=("tsp", "pm10", "pm25", "pm1"),  # what its inlet lets through
        fields=(
            Field("concentration", "", "µg/m³", 1000, example=68.0, range=(0, 100_000)),
            Field("temperature", "air_temperature", "°C", example=25.1),
            Field("pressure", "air_pressure", "kPa", 0.1, example=101.32),
        ),
    ),
    "vaisala-aqt530": Format(
        maker="Vaisala",
        title="AQT530 air quality transmitter, ASCII CSV",
        source="M212572EN-E, ASCII CSV data message; 115200 8N1 and one captured line from a published driver",
        grade="A",
        baudrate=115200,
        read=aqt530,
        every_seconds=60,
        optional=("so2",),
        fields=(
            Field("T", "air_temperature", "°C", example=22.2, range=(-40, 60)),
            Field("H", "humidity", "%", example=24.9, range=(0, 100)),
            Field("P", "air_pressure", "kPa", 0.1, example=98.41),
            *(
                Field(gas, gas.lower(), "mg/m³", MOLAR_MASS[gas] / MOLAR_LITRES, example=ppm * MOLAR_MASS[gas] / 24.465)
                for gas, ppm in (("NO2", 0.020), ("SO2", 0.004), ("CO", 0.170), ("O3", -0.001), ("NO", 0.004))
            ),
            Field("PM1", "pm1", "µg/m³", example=0.3),
            Field("PM2.5", "pm25", "µg/m³", example=0.5),
            Field("PM10", "pm10", "µg/m³", example=0.6),
        ),
    ),
    "plantower-pms5003": Format(
        maker="Plantower",
        title="PMS5003 / PMS7003 particle sensor (TTL level)",
        source="Data sheet, and a captured frame. The values for the atmosphere are taken, not those with CF = 1.",
        grade="A",
        baudrate=9600,
        read=plantower,
        begins=b"\x42\x4d",
        length=32,
        fields=_PM,
    ),
    "nova-sds011": Format(
        maker="Nova Fitness",
        title="SDS011 particle sensor (TTL level)",
        source="Data sheet",
        grade="A",
        baudrate=9600,
        read=sds011,
        begins=b"\xaa\xc0",
        length=10,
        fields=(
            Field("pm25", "pm25", "µg/m³", example=12.3, range=(0, 999.9)),
            Field("pm10", "pm10", "µg/m³", example=26.1, range=(0, 999.9)),
        ),
    ),
    "mtsics-balance": Format(
        maker="Mettler Toledo",
        title="balance or weigh module, MT-SICS level 0 and 1",
        source="Operating instructions of AL/AT balances (S S, S I, S +, S -); S D, ES, ET, EL and the tare from the "
        "public command set and from working drivers (B)",
        grade="A",
        baudrate=9600,
        read=sics,
        ask=b"SI\r\n",
        agree=0.01,
        orders={"tare": Order(b"T\r\n", b"T S")},
        fields=_MASS,
    ),
    "sbi-balance": Format(
        maker="Sartorius",
        title="balance, SBI print lines of 16 or 22 characters",
        source="Operating instructions of the LE, FB, CPA and MSE series. Set manual output without stability; "
        "the serial settings differ by model and are a menu's",
        grade="A",
        baudrate=9600,
        read=sbi,
        ask=b"\x1bP\r\n",
        agree=0.01,
        orders={"tare": Order(b"\x1bU\r\n")},
        fields=_MASS,
    ),
}
