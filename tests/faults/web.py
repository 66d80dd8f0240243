"""Rows 46 and 47: the local page attacked, over the real application and, where it is about connections, its server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from tests.faults.outcome import CannotRun, Outcome

DAY = 86400.0
HEADERS = (
    "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy",
    "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy", "Cache-Control",
)  # fmt: skip


@contextmanager
def house(folder: Path) -> Iterator[Any]:
    """A station that runs, with its page; raise CannotRun where what the page needs is not installed."""
    if find_spec("flask") is None or find_spec("waitress") is None:
        raise CannotRun("the extra [page] is not installed")
    if find_spec("tests.page.attacks") is None:
        raise CannotRun("the page's attacks (tests/page/attacks.py) are not in this tree")
    folder.mkdir(exist_ok=True)
    made = import_module("tests.page.house").House(folder)
    try:
        made.bench.run(130)
        made.begin()
        yield made
    finally:
        made.close()


def attacked(folder: Path, rounds: int) -> Outcome:
    """Row 46: script in names, paths out of the folder, foreign hosts, forged forms, slow and greedy clients."""
    refused: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    bare = answers = 0
    for number in range(rounds):
        with house(folder / str(number)) as one:
            for name, attack in attacks().items():
                good, of = attack(one)
                refused[name] += good
                tried[name] += of
            missing, seen = _without_headers(one)
            bare, answers = bare + missing, answers + seen
    said = "; ".join(f"{name} {refused[name]} of {tried[name]}" for name in tried)
    figure = f"refused: {said}; answers without one of the {len(HEADERS)} headers {bare} of {answers}"
    return Outcome(tried.total(), figure, refused == tried and bare == 0)


def attacks() -> dict[str, Callable[[Any], tuple[int, int]]]:
    """Each attack by its name: how many of its tries were refused, and of how many."""
    page = import_module("tests.page.attacks")
    return {
        "script in names and texts": page.injections, "paths that lead out": page.traversals,
        "foreign hosts": page.foreign_hosts, "forged forms": page.forged_forms,
        "slow clients cut off": page.slow_clients, "endless headers and bodies": page.greedy_clients,
    }  # fmt: skip


def _without_headers(one: Any) -> tuple[int, int]:
    """Answers that lack a header, of those to every path without a name in it, signed in and not, and to nonsense."""
    page = import_module("tests.page.house")
    paths = sorted(
        {rule.rule for rule in one.app.url_map.iter_rules() if not rule.arguments and "GET" in (rule.methods or ())}
    )
    visitors = one.signed_in(), page.Visitor(one.client())
    answers = [visitor.client.get(path, headers=page.HOST) for visitor in visitors for path in (*paths, "/nonsense")]
    answers.append(visitors[1].client.get("/sign-in", headers={"Host": "evil.example"}))
    answers.append(visitors[1].client.post("/sign-in", headers=page.HOST))
    return sum(any(name not in answer.headers for name in HEADERS) for answer in answers), len(answers)


def guessed(folder: Path, tries: int) -> Outcome:
    """Row 47: passwords tried for one name; the console's one-time code lets its person in meanwhile."""
    with house(folder / "house") as one:
        login_tries = import_module("tests.page.attacks").login_tries
        one.signed_in()  # the name exists
        alone, of = login_tries(one, tries)
        many, of_many = login_tries(one, tries, 250)
        visitor = one.signed_in("Li Wei")
        console = visitor.get("/overview").status_code == 200
    figure = (
        f"let in 0 by {of} passwords from one address and {of_many} from 250 of them: {alone + many} refused; possible"
        f" guesses a day {_a_day(1)} from one address, {_a_day(1 << 30)} from any number; a one-time code of the"
        f" console {'still lets in' if console else 'DOES NOT LET IN'}"
    )
    return Outcome(of + of_many, figure, alone + many == of + of_many and console)


def _a_day(addresses: int) -> int:
    """How many passwords the page's throttle lets somebody try in a day who never waits longer than he has to."""
    now = [0.0]
    throttle = import_module("station.page.throttle").Throttle(lambda: now[0])
    for number in count():
        address = str(number % addresses)
        now[0] += throttle.wait(address)
        if now[0] >= DAY:
            return number
        throttle.failed(address)
    raise AssertionError
