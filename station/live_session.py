"""The live screen in a person's hands: pages, keys, and questions whose answers go to the station."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from station import i18n
from station.cells import BLANK, BOLD, LOUD, PLAIN, Cell, Line, Piece
from station.i18n import t
from station.live import SECTIONS, Place, aged, flowing, head, pages, sections, under_maintenance
from station.live_source import Desk, Done, Looked, Source
from station.model import dataclass, field
from station.own_reasons import worded as own_words
from station.screen import _name, _unit
from station.screen_words import number
from station.terminal import ENTER, ESCAPE, INTERRUPT, LOOK, NEXT, PREVIOUS, RUBOUT, STOP, Terminal
from station.texts import in_zone, wall

if TYPE_CHECKING:
    from station.config import Loaded

FORGET_SECONDS = 600.0  # a name is not kept for whoever comes to the console next
LONGEST_ANSWER = 120  # characters
MOST_MINUTES = 72 * 60  # of maintenance at once
LEAST_ROWS, LEAST_COLUMNS = 6, 20
KEYS = {" ": NEXT, "n": NEXT, "p": PREVIOUS, "b": PREVIOUS}


@dataclass(frozen=True, slots=True)
class Step:
    """One question: what it is for, its text, and what may be chosen (value, label) by number."""

    name: str
    text: str
    choices: Sequence[tuple[str, str]] = ()
    default: str = ""
    needed: bool = True


@dataclass(slots=True)
class Dialog:
    """Questions that are under way, what was answered, and what is done with the answers."""

    steps: Sequence[Step]
    then: Callable[[dict[str, str]], Callable[[], Done]]
    answers: dict[str, str] = field(default_factory=dict)
    typed: str = ""
    complaint: str = ""

    @property
    def step(self) -> Step:
        """The question that is asked now."""
        return self.steps[len(self.answers)]


class Session:
    """Serves one terminal until the person leaves."""

    def __init__(self, loaded: Loaded, terminal: Terminal, every: float, columns: int = 0) -> None:
        self._loaded, self._terminal, self._every, self._columns = loaded, terminal, every, columns
        self._source = Source(loaded)
        self._desk = Desk(self._source.look, every, terminal.wake)
        self._points = {point.code: point.name for point in loaded.config.point}
        self._looked: Looked | None = None
        self._trouble = ""
        self._page, self._pages = 0, 1
        self._begins: dict[str, int] = {}
        self._message: list[str] = []
        self._waiting = 0  # orders that the station has not answered yet
        self._dialog: Dialog | None = None
        self._user, self._user_at = "", 0.0

    def run(self) -> None:
        """Until q, Ctrl-C, SIGTERM, or the line is gone."""
        self._desk.start()
        whole, leaving = True, False
        while not leaving or self._waiting:
            events = self._terminal.wait(self._every if whole else 0.25)
            while self._desk.outcomes:
                self._take(self._desk.outcomes.popleft())
            for event in events:
                if not self.press(event):
                    if leaving or event == STOP:
                        return
                    leaving = True  # what was asked for is waited for; a second q does not wait
            whole = self._terminal.show(self.rows())

    def _take(self, outcome: Looked | Done | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Done):
            self._waiting -= 1
            self._message = [*in_zone(outcome.text, self._loaded.zone).splitlines(), *_samples(outcome.samples)]
            return
        self._trouble = outcome.trouble
        if outcome.found is not None or self._looked is None or self._looked.found is None:
            self._looked = outcome

    # -- keys

    def press(self, event: str) -> bool:
        """What a key does; False when the person leaves."""
        if event == STOP:
            return False
        if event == LOOK:
            return True
        if self._dialog is not None:
            self._answer(self._dialog, event)
            return True
        self._message = []
        key = KEYS.get(event, event)
        if key in ("q", INTERRUPT):
            return False
        if key in (NEXT, PREVIOUS):
            self._page = (self._page + (1 if key == NEXT else -1)) % self._pages
        elif key.isdecimal() and 0 < int(key) <= len(SECTIONS):
            self._page = self._begins.get(SECTIONS[int(key) - 1], self._page)
        elif key == "l":
            self._switch_language()
        elif key in _ACTIONS:
            self._begin(key)
        return True

    def _switch_language(self) -> None:
        other = "en" if i18n.language() == "zh" else "zh"
        if self._terminal.script.can(i18n.texts(other)["live.me"]):
            i18n.use(other)
        else:
            self._message = [t("live.no_chinese", encoding=self._terminal.script.encoding)]

    def _begin(self, key: str) -> None:
        """Ask what *key* needs to know, where the running station could do it."""
        found = self._found()
        if found is None or not found["running"]:
            self._message = [t("live.not_running")]
            return
        self._dialog = _ACTIONS[key](self, found)
        if self._dialog is None:
            self._message = [t(f"live.none_{key}")]

    def _answer(self, dialog: Dialog, event: str) -> None:
        if event in (ESCAPE, INTERRUPT):
            self._dialog, self._message = None, [t("live.given_up")]
        elif event == RUBOUT:
            dialog.typed = dialog.typed[:-1]
        elif event == ENTER:
            self._enter(dialog)
        elif len(event) == 1 and len(dialog.typed) < LONGEST_ANSWER:
            dialog.typed += event
        if self._dialog is dialog and len(event) == 1 and len(dialog.step.choices) in range(1, 10):
            self._enter(dialog)  # one digit says all

    def _enter(self, dialog: Dialog) -> None:
        step, text = dialog.step, dialog.typed.strip() or dialog.step.default
        dialog.typed = dialog.complaint = ""
        if step.choices:
            number = int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else 0
            if not 0 < number <= len(step.choices):
                dialog.complaint = t("live.choose", most=len(step.choices))
                return
            text = step.choices[number - 1][0]
        elif step.name == "minutes" and not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST_MINUTES):
            dialog.complaint = t("live.minutes", most=MOST_MINUTES)
            return
        elif step.needed and not text:
            dialog.complaint = t("live.needed")
            return
        dialog.answers[step.name] = text
        if step.name == "user":
            self._user, self._user_at = text, time.monotonic()
        if len(dialog.answers) == len(dialog.steps):
            self._dialog, self._message = None, [t("live.asked")]
            self._waiting += 1
            self._desk.do(dialog.then(dialog.answers))

    def _who(self) -> Step:
        """Who does it: an entry names a person.  The last name is offered for some minutes."""
        known = self._user if time.monotonic() - self._user_at < FORGET_SECONDS else ""
        return Step("user", t("live.ask_user_again", user=known) if known else t("live.ask_user"), (), known)

    # -- what can be done

    def _acknowledge(self, found: Mapping[str, Any]) -> Dialog | None:
        rows = [row for row in found.get("alarms") or () if row["episode"] and not row["acknowledged"]]
        choices = [(row["name"], f"{row['name']}: {t('alarm_state.' + row['state'])}") for row in rows]
        steps = [
            Step("name", t("live.ask_alarm"), choices),
            self._who(),
            Step("note", t("live.ask_note"), needed=False),
        ]

        def then(answers: dict[str, str]) -> Callable[[], Done]:
            said = t("alarms.acknowledged", name=answers["name"], user=answers["user"])
            return lambda: self._source.ask("alarms", lambda _: Done(said), action="ack", fields=answers)

        return Dialog(steps, then) if rows else None

    def _maintain(self, found: Mapping[str, Any]) -> Dialog | None:
        choices = [(code, name if name == code else f"{name} ({code})") for code, name in self._points.items()]
        steps = [
            Step("point", t("live.ask_point"), [*choices, ("", t("maintenance.station"))]),
            self._who(),
            Step("reason", t("live.ask_reason")),
            Step("minutes", t("live.ask_minutes"), default="60"),
        ]

        def then(answers: dict[str, str]) -> Callable[[], Done]:
            fields = {"do": "on", "seconds": 60 * int(answers["minutes"])}
            fields |= {key: answers[key] for key in ("point", "user", "reason") if answers[key]}

            def say(body: Mapping[str, Any]) -> Done:
                what = body["what"] or t("maintenance.station")
                last = wall(body["last"], self._loaded.zone)
                return Done(t("maintained.on", name=body["name"], what=what, last=last))

            return lambda: self._source.ask("field", say, what="maintenance", fields=fields)

        return Dialog(steps, then)

    def _end(self, found: Mapping[str, Any]) -> Dialog | None:
        choices = [
            (one["name"], f"{one['name']} {one['what'] or t('maintenance.station')}: {own_words(one['reason'])}")
            for one in under_maintenance(found)
        ]
        steps = [Step("name", t("live.ask_maintenance"), choices), self._who()]

        def then(answers: dict[str, str]) -> Callable[[], Done]:
            fields = {"do": "off", **answers}
            said = t("maintained.off", name=answers["name"], user=answers["user"])
            return lambda: self._source.ask("field", lambda _: Done(said), what="maintenance", fields=fields)

        return Dialog(steps, then) if choices else None

    def _read(self, found: Mapping[str, Any]) -> Dialog | None:
        choices = [(device["name"], device["name"]) for device in found["devices"]]

        def then(answers: dict[str, str]) -> Callable[[], Done]:
            device = answers["device"]

            def say(samples: list[dict[str, Any]]) -> Done:
                return Done(t("live.was_read", device=device) if samples else t("read.nothing_new"), samples)

            return lambda: self._source.ask("read", say, device=device)

        return Dialog([Step("device", t("live.ask_device"), choices)], then) if choices else None

    def _order(self, found: Mapping[str, Any]) -> Dialog | None:
        outputs = (found.get("pins") or {}).get("outputs") or ()
        choices = [(one["name"], f"{one['name']}: {t('output.on' if one['on'] else 'output.off')}") for one in outputs]
        actions = [("off", t("output.off")), ("on", t("output.on"))]
        steps = [
            Step("name", t("live.ask_output"), choices),
            Step("action", t("live.ask_order"), actions),
            self._who(),
            Step("reason", t("live.ask_reason")),
        ]

        def then(answers: dict[str, str]) -> Callable[[], Done]:
            order = {"name": answers["name"], "action": answers["action"], "reason": answers["reason"]}

            def say(now: Mapping[str, Any]) -> Done:
                state = t("output.on" if now["on"] else "output.off")
                return Done(t("output.now", name=order["name"], state=state, why=t(f"why.{now['why']}")))

            return lambda: self._source.ask("output", say, person=answers["user"], user="", seconds=None, **order)

        return Dialog(steps, then) if choices else None

    # -- what is shown

    def _found(self) -> Mapping[str, Any] | None:
        if self._looked is None or self._looked.found is None:
            return None
        return aged(self._looked.found, time.monotonic() - self._looked.at)

    def rows(self) -> list[list[Cell]]:
        """The screen as it ought to be now, cell by cell."""
        columns, height = self._terminal.size
        width = min(columns, self._columns or columns)
        script = self._terminal.script
        if width < LEAST_COLUMNS or height < LEAST_ROWS:
            lines: list[Line] = [[(t("live.too_small", columns=LEAST_COLUMNS, rows=LEAST_ROWS), PLAIN)]]
        else:
            lines = self._lines(Place(width=width, script=script, zone=self._loaded.zone, points=self._points), height)
        lines += [[] for _ in range(height - len(lines))]
        rows = [script.cells(line, columns) for line in lines[:height]]
        rows[-1] = [*script.cells(lines[height - 1], columns - 1), BLANK]  # its last cell would scroll
        return rows

    def _lines(self, place: Place, height: int) -> list[Line]:
        found, trouble = self._found(), in_zone(self._trouble, self._loaded.zone)
        if self._looked is None:
            trouble = t("live.looking")
        top = head(found, self._loaded.config.station.name, trouble, place)[: height // 2]
        body: list[list[Line]] = [[]]
        if self._dialog is not None:
            foot, body = self._prompt(self._dialog, place), [self._question(self._dialog, place)]
        else:
            foot = self._foot(found, place)[: height // 2]
            if found is not None:
                body, self._begins = pages(sections(found, place), height - len(top) - len(foot))
            self._pages = len(body)
            self._page = min(self._page, self._pages - 1)
        shown = body[0 if self._dialog is not None else self._page][: height - len(top) - len(foot)]
        return [*top, *shown, *([] for _ in range(height - len(top) - len(shown) - len(foot))), *foot]

    def _question(self, dialog: Dialog, place: Place) -> list[Line]:
        lines: list[Line] = [[]]
        lines += [[(text, BOLD)] for text in place.script.wrapped(dialog.step.text, place.width)]
        for number_, (_, label) in enumerate(dialog.step.choices, 1):
            lines += [[(text, PLAIN)] for text in place.script.wrapped(f" {number_} {label}", place.width)]
        if dialog.complaint:
            lines += [[(text, LOUD)] for text in place.script.wrapped(dialog.complaint, place.width)]
        return lines

    def _prompt(self, dialog: Dialog, place: Place) -> list[Line]:
        """What is typed, its end in sight."""
        typed = dialog.typed
        while place.script.width(typed) > place.width - 5:
            typed = typed[1:]
        return [[(t("live.esc"), PLAIN)], [("> ", BOLD), (typed, PLAIN), (" ", LOUD)]]

    def _foot(self, found: Mapping[str, Any] | None, place: Place) -> list[Line]:
        said: list[Line] = []
        for text in self._message:
            said += [[(line, LOUD)] for line in place.script.wrapped(text, place.width)]
        keys: list[Piece] = []
        if self._pages > 1:
            keys += [(f"{self._page + 1}/{self._pages}", BOLD), (f"n {t('live.next')}", PLAIN)]
        if found is not None and found["running"]:
            if any(row["episode"] and not row["acknowledged"] for row in found.get("alarms") or ()):
                keys.append((f"a {t('live.acknowledge')}", BOLD))
            keys.append((f"m {t('live.maintain')}", PLAIN))
            if under_maintenance(found):
                keys.append((f"e {t('live.end')}", BOLD))
            keys += [(f"r {t('live.read')}", PLAIN)]
            if (found.get("pins") or {}).get("outputs"):
                keys.append((f"o {t('live.order')}", PLAIN))
        other = i18n.texts("en" if i18n.language() == "zh" else "zh")["live.me"]
        if place.script.can(other):
            keys.append((f"l {other}", PLAIN))
        return [*said, *flowing([*keys, (f"q {t('live.quit')}", PLAIN)], place)]


_ACTIONS: Mapping[str, Callable[[Session, Mapping[str, Any]], Dialog | None]] = {
    "a": Session._acknowledge,
    "e": Session._end,
    "m": Session._maintain,
    "o": Session._order,
    "r": Session._read,
}


def _samples(samples: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """What a reading brought, a value a line."""
    return [
        f"{_name(one['parameter'])} {number(one['value'], one['parameter'])} {_unit(one['unit'])} {one['mark']}"
        for one in samples or ()
    ]
