"""The [[screen]] table: a screen beside the station that shows what is uploaded."""

from __future__ import annotations

from station.model import dataclass, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenSettings:
    """One [[screen]] table: an LED screen (LED 显示屏)."""

    name: str = setting(text="what the screen is called")
    protocol: str = setting("text", text="text, onbon, or module:Class of another (drivers/__init__.py)")
    port: str = setting(text="a serial port of its own, tcp://ADDRESS:PORT or udp://ADDRESS:PORT")
    platform: str = setting(text="the uplink whose texts it shows: the same digits, whatever they are")
    shows: str = setting("realtime", choices=("realtime", "minute", "hour"), text="which records of it")
    pages: tuple[tuple[str, ...], ...] = setting(text="pages of lines with placeholders such as {pm25.value:>6}")
    page_seconds: float = setting(10.0, low=2, high=3600, text="seconds until the next page")
    width: int = setting(128, low=16, high=4096, text="width in dots")
    height: int = setting(64, low=8, high=2048, text="height in dots")
    font: int = setting(16, low=8, high=64, text="height of a character in dots; a Latin one is half as wide")
    language: str = setting("zh", choices=("zh", "en"), text="language of names, and of words in place of values")
    old_seconds: float = setting(
        0.0,
        low=0,
        high=86400,
        text="a record older than this is shown as --, from its DataTime; 0: three intervals of real-time data (at "
        "least 2 min), 45 min of minutes, 195 min of hours",
    )
    blank_seconds: int = setting(
        300, low=0, high=65535, text="the screen itself goes blank when not renewed for so long (onbon); 0: never"
    )
    acknowledge: bool = setting(True, text="whether the screen is asked to acknowledge (onbon)")
    timeout_seconds: float = setting(2.0, low=0.1, high=10, text="time to connect, and for an acknowledgement")
    address: int = setting(1, low=0, high=65535, text="the screen's own address")
    encoding: str = setting("gb2312", choices=("gb2312", "gbk", "utf-8"), text="character set of the text")
    prefix: str = setting("", text="before each line of plain text; may hold {row} and {address}, or hex:02{row}")
    line_end: str = setting("hex:0D0A", text="behind each line of plain text, likewise")
    baudrate: int = setting(9600, low=1200, high=115200, text="bit/s of a serial port")
    parity: str = setting("N", choices=("N", "E", "O"), text="none, even or odd")
    stopbits: int = setting(1, choices=(1, 2), text="stop bits")
    rs485: str = setting("hardware", choices=("hardware", "kernel"), text="what switches the transmitter, as of a bus")

    @property
    def columns(self) -> int:
        """Half-width characters in a row."""
        return self.width * 2 // self.font

    @property
    def rows(self) -> int:
        """Rows of characters."""
        return self.height // self.font
