"""`station calibrate WORD` alone: an instrument, a calibration that is under way or over, or neither."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from station import calibration
from station.calibration_entry import place_of
from station.calibration_run import read_book
from station.calibration_standard import Standard
from station.clock import EPOCH
from station.config import load
from station.resumption import FOREVER
from station.store import Store
from tests.station.commands import Here, configure

NOW = datetime(2026, 12, 1, tzinfo=UTC)
IN_STATION = ["zero", "span", "two-point", "multi-point", "weights", "k-factor", "check", "repeat-check", "flow-check"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def begun(config: Path, *, cancelled: bool = False) -> None:
    """Leave K1 of dust pm25 under way, or given up."""
    loaded = load(config, secrets=False)
    store = Store.open(loaded.database)
    place = place_of(loaded, "dust", "pm25")
    made = calibration.begin(read_book([]), place, "zero", [Standard(value=0.0)], user="Wang Fang", now=NOW,
                             today=NOW.date(), mark="")  # fmt: skip
    with store.transaction():
        store.add_records([made])
    if cancelled:
        run = read_book(store.records("calibration", EPOCH, FOREVER)).named("K1")
        with store.transaction():
            store.add_records([calibration.cancel(run, user="Wang Fang", now=NOW, reason="the bottle is empty")])
    store.close()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_an_instrument_alone_gets_its_parameters_and_their_procedures(tmp_path: Path, here: Here, lang: str) -> None:
    done = here("calibrate", "dust", "--config", configure(tmp_path), "--lang", lang)
    assert (done.code, done.err) == (2, "")
    first, *rows = done.out.splitlines()
    assert first.endswith("station calibrate dust PARAMETER --procedure PROCEDURE")
    assert first.startswith({"en": "What of dust is to be calibrated?", "zh": "要校准 dust 的哪个因子?"}[lang])
    names = {row.split("(")[0].strip(): row for row in rows}
    assert [name.split(" ")[0] for name in names][:2] == ["pm25", "pm10"]
    (row,) = [row for name, row in names.items() if name.startswith("pm25")]
    assert [word for word in IN_STATION if f"{word} (" not in row] == []
    assert "ph-buffers" not in row
    assert "instrument-zero" not in row


def test_where_the_stations_coefficients_are_locked_only_the_instruments_own_are_offered(
    tmp_path: Path, here: Here
) -> None:
    """A probe with three buffers at an outlet: those, and checks."""
    config = configure(
        tmp_path, ('profile = "deltaohm-pmsense"', 'profile = "yosemitech-y532"'), ('st = "39"', 'st = "32"'),
        ('parameters = ["pm25", "pm10"]\n', 'parameters = ["ph"]\n'),
        ('baudrate = 19200\nparity = "E"', "baudrate = 9600"),
    )  # fmt: skip
    (row,) = here("calibrate", "dust", "--config", config, "--lang", "en").out.splitlines()[1:]
    offered = [part.split(" (")[0] for part in row.partition("): ")[2].split(", ") if "(" in part]
    assert offered == ["check", "repeat-check", "flow-check", "ph-buffers", "instrument-points"]


@pytest.mark.parametrize(
    ("cancelled", "said"),
    [
        (False, "K1 is under way at pm25 of dust: station calibrate dust pm25 goes on with it\n"),
        (True, "K1 is over; it was of pm25 of dust: station calibrate show K1, or station calibrate dust pm25 for a new"
               " one\n"),
    ],
)  # fmt: skip
def test_the_name_of_a_calibration_tells_where_it_was(tmp_path: Path, here: Here, cancelled: bool, said: str) -> None:
    config = configure(tmp_path)
    begun(config, cancelled=cancelled)
    done = here("calibrate", "K1", "--config", config, "--lang", "en")
    assert (done.code, done.out) == (2, said)
    chinese = here("calibrate", "K1", "--config", config, "--lang", "zh").out
    assert chinese.startswith("K1 已结束,对象是 dust 的 pm25" if cancelled else "K1 正在校准 dust 的 pm25")


def test_what_is_neither_is_one_sentence(tmp_path: Path, here: Here) -> None:
    done = here("calibrate", "dusk", "--config", configure(tmp_path), "--lang", "en")
    assert (done.code, done.out, done.err) == (2, "", 'there is no device "dusk"; did you mean dust?; known: dust\n')
