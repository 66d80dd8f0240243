"""What a platform asks: 9011, the work, its answer, 9012; or 9013 to a notice."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from threading import Lock

from station.model import Command, Message, Outcome, Result, dataclass, replace
from uplink.base import Commands
from uplink.hj212.frame import ANSWER_BIT, FrameTooLong, Segment
from uplink.hj212.keys import parse_key, weakness
from uplink.hj212.messages import ACCEPTED, OUTCOMES, QN_RTN, SYSTEMS, Row, moment, request
from uplink.hj212.uploads import Recall, Uploads
from uplink.hj212.verbs import Meaning, WrongField, meaning
from uplink.hj212.voice import Terms, Voice

PENDING_LIMIT = 16  # commands being carried out; above it they are refused
TELL_SECONDS = 60.0  # what was refused before it reached the desk is told so often, like ones counted
MOST_TOLD = 64  # different ones told apart; the rest is counted together
REFUSED = 2
ALARMS = "2071"


def same(left: str, right: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ.

    hmac.compare_digest would do, but its module loads hashlib: 3.6 MiB in a process that must stay small.

    >>> same("123456", "123456"), same("123456", "12345"), same("", "1")
    (True, False, False)
    """
    given, kept = left.encode("utf-8", "surrogateescape"), right.encode("utf-8", "surrogateescape")
    difference = len(given) ^ len(kept)
    for index, byte in enumerate(given):
        difference |= byte ^ (kept[index % len(kept)] if kept else 0)
    return difference == 0


def _alarm_records(records: Iterator[Message | None]) -> Iterator[Message | None]:
    """What 2072 told, in the form of 2071: each alarm once, not its end."""
    from uplink.hj212.events import as_alarm_record  # few platforms of 2005 ask

    for record in records:
        if record is None:
            yield None
        elif text := as_alarm_record(record.text):
            yield replace(record, text=text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is being carried out."""

    segment: Segment
    row: Row
    meaning: Meaning
    command: Command


class Mailbox:
    """Results of commands on their way from any thread to the session's; once closed it swallows them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bell: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._results: deque[tuple[Asked, Result]] = deque()

    def post(self, asked: Asked, result: Result) -> bool:
        """Leave *result* and wake the session; false where there is none any more."""
        with self._lock:
            if self._bell is not None:
                self._results.append((asked, result))
                os.eventfd_write(self._bell, 1)
            return self._bell is not None

    def take(self) -> Iterator[tuple[Asked, Result]]:
        """What was left since the last time."""
        with self._lock:
            if self._results and self._bell is not None:
                os.eventfd_read(self._bell)
            taken, self._results = self._results, deque()
        yield from taken

    def fileno(self) -> int:
        """Readable while something waits."""
        assert self._bell is not None
        return self._bell

    def close(self) -> None:
        """Swallow what comes from now on."""
        with self._lock:
            if self._bell is not None:
                os.close(self._bell)
            self._bell = None


class Requests:
    """Judges what a platform asks, hands it to the desk, answers; *say* queues a frame."""

    def __init__(
        self, terms: Terms, voice: Voice, commands: Commands, uploads: Uploads, say: Callable[[bytes], None]
    ) -> None:
        self._terms, self._dialect = terms, terms.dialect
        self._voice, self._commands, self._uploads, self._say = voice, commands, uploads, say
        self._pending = 0
        self._untold: Counter[tuple[str, str]] = Counter()  # refused here, by CN and why
        self._tell_at = terms.context.monotonic() + TELL_SECONDS
        self.mailbox = Mailbox()

    # -- asked

    def asked(self, segment: Segment) -> None:
        """Answer *segment* and have done what it wants; without the answer bit only records are sent."""
        self._voice.asked.append(segment.qn)
        row = request(segment.cn, self._dialect.standard)
        if self._terms.guard.locked:
            self._count(segment, "locked")
        if self._terms.guard.locked or not (self._wants_answer(segment) or (row and row.verb == "recall")):
            self._terms.counts["ignored requests"] += 1
            return
        if self._again(segment):
            return
        code = self._judge(segment, row)
        if code != ACCEPTED or row is None:
            self._count(segment, QN_RTN[code])
            self._refuse(segment, code)
            return
        try:
            asked = self._understood(segment, row)
        except WrongField as fault:
            self._count(segment, str(fault))
            self._accept(segment, row)
            self._finish(segment, row, OUTCOMES[Outcome.CONDITIONS])
            return
        busy = self._pending >= PENDING_LIMIT
        if busy or self._commands.refusal(asked.command):
            if busy:  # else the desk has told why
                self._count(segment, "busy")
            self._refuse(segment, REFUSED)
            return
        self._accept(segment, row)
        self._pending += 1
        self._commands.submit(asked.command, partial(self._done, asked))

    def _count(self, segment: Segment, reason: str) -> None:
        """Have it told that *segment* was not done; a flood makes few events."""
        key = (ascii(segment.cn)[1:-1][:8], reason)
        known = key in self._untold or len(self._untold) < MOST_TOLD
        self._untold[key if known else ("", "more of other kinds")] += 1

    def tell(self, *, now: bool = False) -> None:
        """Note what was not done since the last time, if it is time, or *now*."""
        monotonic = self._terms.context.monotonic()
        if not (now or monotonic >= self._tell_at):
            return
        self._tell_at = monotonic + TELL_SECONDS
        untold, self._untold = self._untold, Counter()
        for (cn, reason), count in untold.items():
            self._terms.note(
                "request_not_done", platform=self._terms.settings.name, cn=cn, reason=reason, count=str(count)
            )

    def _again(self, segment: Segment) -> bool:
        """Whether *segment* came before, word for word: then its answers go out once more, and nothing is done."""
        answers = self._terms.answers.repeated(segment.build())
        if answers is None:
            return False
        self._terms.counts["repeated requests"] += 1
        self._count(segment, "repeated")
        for frame in answers:
            self._say(frame)
        return True

    def _wants_answer(self, segment: Segment) -> bool:
        if segment.flag == "" and self._dialect.flagless:
            return True
        return (segment.flags is None and segment.flag != "") or bool((segment.flags or 0) & ANSWER_BIT)

    def _judge(self, segment: Segment, row: Row | None) -> int:
        """QnRtn for a request, the first fault found."""
        point = self._terms.devices.get(segment.mn)
        if point is None:
            return 4
        if not same(segment.pw, self._voice.password):
            if self._terms.guard.wrong():
                self._locked()
            return 3
        self._terms.guard.right()
        known = segment.st == point.st or (self._dialect.st_check == "known" and segment.st in SYSTEMS)
        faults = {
            5: not known,
            6: segment.flag != "" and segment.flags is None,
            7: self._issued(segment) is None,
            8: row is None,
            REFUSED: row is not None and not self._served(row),
        }
        return next((code for code, found in faults.items() if found), ACCEPTED)

    def _served(self, row: Row) -> bool:
        """Whether there is an answer at all: 1041 has none without a habit, 2071 none where no alarms are told."""
        if row.verb == "read_report_time":
            return bool(self._dialect.report_time)
        return bool(row.verb) and (row.cn != ALARMS or "alarm" in self._terms.settings.kinds)

    def _locked(self) -> None:
        name = self._terms.settings.name
        self._terms.counts["locks"] += 1
        self._terms.changed("commands", "locked", f"{name}: three wrong passwords, its commands are ignored for 10 min")
        self._terms.changed("commands", "", "")
        self._terms.note("commands_locked", platform=name)

    def _issued(self, segment: Segment) -> datetime | None:
        """When the QN says the platform asked; None where it is no QN."""
        qn = segment.qn
        try:
            fraction = int(qn[14:]) if len(qn) == 17 and qn.isascii() and qn.isdigit() else -1
            return moment(qn[:14], self._terms.context.zone).replace(microsecond=fraction * 1000)
        except ValueError:
            return None

    def _understood(self, segment: Segment, row: Row) -> Asked:
        means = meaning(row.cn, segment.data)
        arguments = means.arguments(segment.data, self._terms.wording)
        if means.verb == "set_key" and (_unusable(arguments["key"]) or self._in_use(arguments["key"])):
            raise WrongField("NewSK is no key to be used")
        command = Command(
            means.verb,
            self._terms.settings.name,
            self._terms.devices[segment.mn].point,
            arguments,
            segment.qn,
            self._issued(segment),
        )
        return Asked(segment, row, means, command)

    def _in_use(self, key: str) -> bool:
        """Whether *key* is the one in use or the one before it: said before any file is written."""
        return self._voice.ring is not None and parse_key(key) in self._voice.ring.secrets()

    # -- answered

    def _done(self, asked: Asked, result: Result) -> None:
        """From any thread: *asked* was carried out.

        Where the connection broke meanwhile, its answers are kept: the platform asks again over the next one.
        """
        if not self.mailbox.post(asked, result) and not result.records:
            self._on_result(asked, result)

    def results(self) -> None:
        """Answer what was carried out since the last time."""
        for asked, result in self.mailbox.take():
            self._pending -= 1
            self._on_result(asked, result)

    def _on_result(self, asked: Asked, result: Result) -> None:
        outcome = result.outcome
        if outcome is Outcome.DONE:
            if asked.meaning.verb == "recall" or result.records:
                self._recall(asked, result)
                return
            outcome = self._apply(asked)
        if outcome is Outcome.DONE:
            outcome = self._direct(asked, result)
        self._finish(asked.segment, asked.row, OUTCOMES[outcome])

    def _direct(self, asked: Asked, result: Result) -> Outcome:
        """Send the direct answer, if this request has one: QN and ST of the request."""
        try:
            data = asked.meaning.answer(asked.segment.data, result.values, self._terms.wording)
        except (KeyError, ValueError):
            return Outcome.FAILED
        if data:
            self._answer(asked.segment, asked.segment.cn, data, st=self._terms.devices[asked.segment.mn].st)
        return Outcome.DONE

    def _recall(self, asked: Asked, result: Result) -> None:
        answered = self._dialect.recall_answer == "asked" and self._wants_answer(asked.segment)
        self._pending += 1  # until its last record is through

        def over(code: int) -> None:
            self._pending -= 1
            self._finish(asked.segment, asked.row, code)

        point, records = self._terms.devices[asked.segment.mn].point, iter(result.records)
        if asked.row.cn == ALARMS:
            records = _alarm_records(records)
        self._uploads.recall(Recall(asked.segment, point, records, answered, over))

    def _apply(self, asked: Asked) -> Outcome:
        """What of a command concerns this link itself."""
        apply = _APPLIED.get(asked.meaning.verb)
        return apply(self, asked.command) if apply else Outcome.DONE

    def _apply_password(self, command: Command) -> Outcome:
        self._voice.password = command.arguments["password"]
        return Outcome.DONE

    def _apply_timeouts(self, command: Command) -> Outcome:
        timing = self._terms.timing
        timing.timeout_seconds = max(1.0, float(command.arguments["seconds"]))
        timing.resends = int(command.arguments["resends"])
        return Outcome.DONE

    def _apply_key(self, command: Command) -> Outcome:
        """Use the new key; the one before it is kept until a frame under the new one is answered."""
        name, ring = self._terms.settings.name, self._voice.ring
        created = datetime.fromisoformat(command.arguments["created"])
        reason = ring.replace(parse_key(command.arguments["key"]), created) if ring else "no key_file is set"
        self._terms.note("key_refused" if reason else "key_replaced", platform=name, reason=reason)
        return Outcome.CONDITIONS if reason else Outcome.DONE

    def _accept(self, segment: Segment, row: Row) -> None:
        self._terms.counts["requests"] += 1
        if row.kind == "N":
            self._answer(segment, "9013", "")
        else:
            self._answer(segment, "9011", f"QnRtn={ACCEPTED}")

    def _refuse(self, segment: Segment, code: int) -> None:
        self._terms.counts["refused requests"] += 1
        self._answer(segment, "9011", f"QnRtn={code if code in self._dialect.qn_rtn else REFUSED}")

    def _finish(self, segment: Segment, row: Row, code: int) -> None:
        if row.kind != "N":
            self._answer(segment, "9012", f"ExeRtn={code if code in self._dialect.exe_rtn else 2}")

    def _answer(self, asked: Segment, cn: str, data: str, **rest: str) -> None:
        try:
            frame = self._voice.answer(asked, cn, data, **rest)
        except FrameTooLong:  # fields as long as a frame were echoed: nobody honest waits for this
            self._terms.counts["ignored requests"] += 1
            return
        # Only what was taken may be repeated: a wrong password is judged, and counted, every time.
        if cn != "9011" or data == f"QnRtn={ACCEPTED}":
            self._terms.answers.note(asked.build(), frame)
        self._say(frame)


_APPLIED: dict[str, Callable[[Requests, Command], Outcome]] = {
    "set_password": Requests._apply_password,
    "set_timeouts": Requests._apply_timeouts,
    "set_key": Requests._apply_key,
}


def _unusable(text: str) -> str:
    try:
        return weakness(parse_key(text))
    except ValueError as error:
        return str(error)
