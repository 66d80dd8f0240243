"""What the running station refuses, in the language of who looks: errors are English, for logs, and say what to type.

The sentences that people meet at the page are known here by their form, and said anew without commands that a phone
does not have; one that is not known is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import tzinfo

from station.i18n import t, texts
from station.texts import in_zone

# By the key of the text: the whole sentence.  What is named goes into the text.
FORMS: Mapping[str, str] = {
    "no_alarm": r'there is no alarm "(?P<name>.*?)".*',
    "alarm_over": r'"(?P<name>.+)" has no alarm to acknowledge: it is (?P<state>\w+)',
    "alarm_seen": r'"(?P<name>.+)" was acknowledged by (?P<user>.+) at (?P<time>\d.+)',
    "maintenance_on": (
        r"(?P<what>.+) is under maintenance already: (?P<name>W\d+)(?: of (?P<user>.+))? until (?P<time>\d.+);"
        r" end it first: .+"
    ),
    "maintenance_over": r"(?P<name>W\d+) was over at (?P<time>\d.+)",
    "visit_on": r"(?P<name>V\d+) of (?P<user>.+) is under way since (?P<time>\d.+); end it first: .+",
    "no_visit": r"no visit is under way; begin one: .+",
    "check_on": r"(?P<check>.+): (?P<name>Q\d+) is under way at (?P<device>.+)",
    "no_check": r".+: no check (?P<check>.+) is under way",
    "check_marked": (
        r"(?P<check>.+): (?P<point>.+) is marked (?P<mark>[A-Z]) \((?P<name>M\d+), (?P<user>.+?): (?P<reason>.*)\)"
    ),
    "check_calibrated": r"(?P<check>.+): (?P<device>.+) is being calibrated \((?P<name>K\d+)\)",
    "check_silent": r"(?P<check>.+): (?P<device>.+) does not answer",
    "check_measuring": r"(?P<check>.+): (?P<device>.+): a measurement is under way",
    "check_expired": r"(?P<check>.+): expired: the standard (?P<standard>.+) was good until (?P<last>\S+)",
    "check_command": r"(?P<check>.+): bus (?P<bus>.+) is at work on a platform's command",
    "unanswered": r"\S+: the station (?:did not answer within|went away|closed the connection) .+",
    "may_not": r"(?:\S+: )?this user may not ask.+",
    "not_running": r"\S+: no station is running .+",
    "no_database": r"\S+: is not there yet; start the station first: .+",
}
_FORMS = {key: re.compile(form) for key, form in FORMS.items()}
_WORDS: Mapping[str, Callable[[str], str]] = {
    "state": lambda word: t(f"alarm_state.{word}") if f"alarm_state.{word}" in texts("en") else word,
    "what": lambda name: t("maintenance.station") if name == "the station" else name,
    "user": lambda name: name or t("maintenance.unsigned"),
    "mark": lambda letter: f"{letter} {t(f'mark.{letter}')}",
}


def known(sentence: str, zone: tzinfo) -> str:
    """*sentence* in the language in use where it is known, else nothing; moments in the station's *zone*."""
    plain = in_zone(sentence, zone)
    for key, form in _FORMS.items():
        if found := form.fullmatch(plain):
            said = {name: _WORDS.get(name, str)(text or "") for name, text in found.groupdict().items()}
            return t(f"page_refused.{key}", **said)
    return ""


def worded(sentence: str, zone: tzinfo) -> str:
    """A refusal as somebody at the page reads it."""
    return t("page.refused", text=known(sentence, zone) or in_zone(sentence, zone))
