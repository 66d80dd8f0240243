"""`station calibrate DEVICE` without a parameter: what the instrument measures, and how each can be calibrated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from station.cli_calibrate_record import read_all
from station.i18n import language, t
from station.model import WrongArgument

if TYPE_CHECKING:
    from station.calibration_run import Run
    from station.config import Loaded


def lines(loaded: Loaded, word: str) -> Iterator[str]:
    """What to type for the instrument, or for the calibration under way, that *word* names.

    Raise WrongArgument where there is neither.
    """
    from station.calibration import offered
    from station.calibration_entry import place_of
    from station.parameters import catalogue

    devices = {one.name for bus in loaded.config.bus for one in bus.device}
    book = read_all(loaded)
    if word not in devices and word in book.runs:
        yield _about(book.runs[word])
        return
    instrument = loaded.instrument(word) if word in devices else None
    if instrument is None:
        place_of(loaded, word, "")  # says which there are
        raise WrongArgument(f"{word} delivers nothing that can be calibrated")
    yield t("calibrate.which", device=word)
    comma = "、" if language() == "zh" else ", "
    known = catalogue()
    for parameter in instrument.units:
        ways = offered(book, place_of(loaded, word, parameter))
        name = known[parameter].name(language()) if parameter in known else parameter
        said = comma.join(f"{way} ({t(f'procedure.{way}')})" for way in ways)
        yield "  " + t("calibrate.ways", parameter=parameter, name=name, ways=said)


def _about(run: Run) -> str:
    place = {"name": run.name, "device": run.device, "parameter": run.parameter}
    if run.awaits_signature:
        return t("calibrate.is_ready", **place)
    return t("calibrate.is_open" if run.state == "open" else "calibrate.is_over", **place)
