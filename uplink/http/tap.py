"""The requests and answers of a live link, for as long as somebody looks; secrets are masked before they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, quote_plus

from uplink.hj212.tap import Seen, Tap, shown

MOST_CHARACTERS = 4000
HIDDEN = ("authorization", "proxy-authorization", "cookie", "set-cookie")


class HttpTap(Tap):
    """Keeps the newest requests and answers between two looks; what is in *secrets* never stands in one.

    >>> tap = HttpTap(lambda: 0.0)
    >>> tap.secrets.add("pa/ss")
    >>> tap.look(0), tap.tell("out", "POST /x?p=pa%2Fss", {"Authorization": "Bearer 1"}, '{"key":"pa/ss"}')
    ([], None)
    >>> [seen.text for seen in tap.look(0)]
    ['POST /x?p=*** Authorization: *** {"key":"***"}']
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__(monotonic)
        self.secrets: set[str] = set()

    def tell(self, way: str, head: str, headers: Mapping[str, str], body: str) -> None:
        """A request went out, or an answer came in; dropped unless somebody looks."""
        if not self.watched:
            self._seen.clear()
            return
        named = [f"{k}: {'***' if k.lower() in HIDDEN else v}" for k, v in headers.items()]
        text = masked(" ".join([head, *named, body]), self.secrets)
        cut = f" … {len(text) - MOST_CHARACTERS} more" if len(text) > MOST_CHARACTERS else ""
        self._count += 1
        self._seen.append(Seen(self._count, way, shown(text[:MOST_CHARACTERS]) + cut))


def masked(text: str, secrets: Iterable[str]) -> str:
    """*text* with *** for every one of *secrets*, however it was escaped.

    >>> masked('p="a\\\\"b"&q=a%22b', ['a"b'])
    'p="***"&q=***'
    """
    forms = {form for one in secrets if one for form in _forms(one)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _forms(secret: str) -> tuple[str, ...]:
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote_plus(secret),
        quote(secret),
        quote(secret, safe=""),
    )
