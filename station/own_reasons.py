"""Reasons that the station gives by itself, in the operator's language.

Records and logs keep each as one fixed English phrase, with names in it: it is the code of the reason, and what was
stored before reads the same.  Here a phrase is told from what a person has written by its whole form; a person's words
stay as they are, also where they stand in a phrase (`maintenance W1: new lamp`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from station.i18n import language as in_use
from station.i18n import texts

# The phrase as stored → the key of its words; a group `rest` is a reason itself, `procedure` a word of calibrations.
PHRASES: Mapping[str, str] = {
    r"switch (?P<name>\S+)": "switch",
    r"asked for by platform (?P<name>\S+)": "platform",
    r"asked for by the platform": "the_platform",
    r"its time is over": "time_over",
    r"end of (?P<name>[A-Z]\d+)": "end_of",
    r"maintenance (?P<name>W\d+): (?P<rest>.*)": "maintenance",
    r"calibration (?P<name>K\d+): (?P<procedure>[a-z-]+)": "calibration",
    r"check (?P<name>Q\d+): zero (?P<standard>\S+)": "check_zero",
    r"check (?P<name>Q\d+): span (?P<standard>\S+)": "check_span",
    r"check (?P<name>Q\d+): check (?P<standard>\S+)": "check_standard",
    r"(?P<name>Q\d+) failed: (?P<rest>.*)": "check_failed",
    r"the station stopped; the instrument is not configured any more": "not_configured",
    r"the station was stopped while it was under way": "interrupted",
    r"(?P<name>\S+) was not told within (?P<hours>\S+) h(?:: (?P<rest>.*))?": "not_told",
    r"(?P<name>\S+) brought no result within (?P<hours>\S+) h(?:: (?P<rest>.*))?": "no_result",
    r"nobody knows whether (?P<name>\S+) was told to calibrate its (?P<procedure>zero|span)": "unknown_act",
    r'\[retention\] when_full = "answered"': "full",
}
_KNOWN = {re.compile(phrase): key for phrase, key in PHRASES.items()}


def worded(reason: str, language: str = "") -> str:
    """*reason* in *language* (the one in use, if not given) where the station has given it, else as it is.

    >>> worded("switch key", "zh"), worded("maintenance W1: switch key", "zh"), worded("换泵管", "zh")
    ('维护开关 key', '维护 W1:维护开关 key', '换泵管')
    """
    for phrase, key in _KNOWN.items():
        if found := phrase.fullmatch(reason):
            said = texts(language or in_use())
            values = {name: value or "" for name, value in found.groupdict().items()}
            if "procedure" in values:
                values["procedure"] = said.get(f"procedure.{values['procedure']}", values["procedure"])
            rest = values.pop("rest", "")
            text = said[f"own_reason.{key}"].format(**values)
            return f"{text}{said['report.colon']}{worded(rest, language)}" if rest else text
    return reason
