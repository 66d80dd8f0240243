"""What somebody who means ill sends to the page: each function tries it and returns (refused, tried)."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from itertools import count

from tests.page.house import HOST, House, Visitor, served

Counts = tuple[int, int]
SCRIPT = "<script>alert(1)</script>"
IMAGE = "\"'><img src=x onerror=alert(2)>"
NASTY = f"{SCRIPT}{IMAGE}"
VIEWS = ("overview", "alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events")


def counted(refused: Sequence[bool]) -> Counts:
    """How many of the tries were refused, and of how many."""
    return sum(refused), len(refused)


def injections(house: House) -> Counts:
    """Script in every name and text that a configuration, a person or an instrument can bring to a view.

    Refused is a view in which the text stands and no element of it does.
    """
    visitor = house.signed_in(f"Li {SCRIPT}")
    visitor.get("/field")
    visitor.post("/field/visit", do="start", purpose=NASTY, company=NASTY)
    visitor.post("/field/visit", do="note", text=NASTY)
    visitor.post("/field/maintenance", do="on", where="device:sonde", hours="1", reason=NASTY)
    refused = []
    for path in (*VIEWS, "sign-in", f"events?code={NASTY}", f"uplinks?span={NASTY}", "chart.svg?check=" + NASTY):
        body = visitor.get(f"/{path}").text
        refused.append(not re.search(r"<script>|<img src=x|onerror=alert\(2\)>", body))
    return counted(refused)


def traversals(house: House) -> Counts:
    """Paths that lead out of the folder of static files, or to a file by a name from the address."""
    visitor = house.signed_in()
    out = (
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/..%5capp.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/....//app.py", "/static/page.css%00.py",
        "/static/page.css/../../app.py", "/static/templates/layout.html", "/../station.toml", "/%2e%2e/station.toml",
        "/calibrations/..%2f..%2fstation.toml", "/calibrations/%2fetc%2fpasswd", "/calibrations/../../station.db",
        "/chart.svg?check=../../../etc/passwd", "/chart.svg?check=%2fetc%2fpasswd%00", "/data/page/people.json",
        "/page/people.json", "/station.db",
    )  # fmt: skip
    return counted([visitor.get(path).status_code in (400, 404) for path in out])


def foreign_hosts(house: House) -> Counts:
    """Names that are not ours in the Host header, as a page elsewhere brings them that points a browser here."""
    client = house.client()
    names = (
        "evil.example", "evil.example:8080", "localhost.evil.example", "localhost@evil.example",
        "evil.example#localhost",
        "192.0.2.55", "192.0.2.55:8080", "[2001:db8::1]:8080", "127.0.0.1.evil.example", "", "localhost/evil",
        "localhost:99999999",
        "2130706433", "0x7f000001", "localhost evil.example",
    )  # fmt: skip
    return counted([client.get("/sign-in", headers={"Host": name}).status_code in (400, 421) for name in names])


def forged_forms(house: House) -> Counts:
    """Forms that a page elsewhere sends in a signed-in person's name; refused is each that changes nothing."""
    visitor, other = house.signed_in("Wang Fang"), house.signed_in("Li Wei")
    visitor.get("/field"), other.get("/field")
    begin = {"do": "on", "where": "station:", "hours": "1", "reason": "forged"}
    good = visitor.token
    client = visitor.client

    def sent(fields: dict[str, str], **headers: str) -> bool:
        answer = client.post("/field/maintenance", data=fields, headers=HOST | headers)
        return answer.status_code in (400, 403)

    tries: list[Callable[[], bool]] = [
        lambda: sent(begin),
        lambda: sent(begin | {"csrf": ""}),
        lambda: sent(begin | {"csrf": "x.y"}),
        lambda: sent(begin | {"csrf": other.token}),
        lambda: sent(begin | {"csrf": good[:-1] + ("0" if good[-1] != "0" else "1")}),
        lambda: sent(begin | {"csrf": "." + good.partition(".")[2]}),
        lambda: sent(begin | {"csrf": good}, Origin="http://evil.example"),
        lambda: sent(begin | {"csrf": good}, Origin="null"),
        lambda: sent(begin | {"csrf": good}, Origin="http://localhost:9999"),
        lambda: sent(begin | {"csrf": good}, **{"Sec-Fetch-Site": "cross-site"}),
        lambda: sent(begin | {"csrf": good}, **{"Sec-Fetch-Site": "same-site"}),
        lambda: client.get("/field/maintenance", query_string=begin | {"csrf": good}, headers=HOST).status_code == 405,
        lambda: client.put("/field/maintenance", data=begin | {"csrf": good}, headers=HOST).status_code in (403, 405),
    ]
    return counted([one() for one in tries])


def login_tries(house: House, tries: int = 10_000, addresses: int = 1) -> Counts:
    """So many passwords for one name, from so many addresses; refused is each that does not get in."""
    visitor = Visitor(house.client())
    visitor.get("/sign-in")
    refused = 0
    for number in range(tries):
        answer = visitor.client.post(
            "/sign-in",
            data={"csrf": visitor.token, "name": "Wang Fang", "password": f"password {number}"},
            headers=HOST,
            environ_base={"REMOTE_ADDR": f"10.0.{number % addresses // 250}.{number % addresses % 250 + 1}"},
        )
        refused += answer.status_code in (401, 429)
    return refused, tries


def slow_clients(house: House, clients: int = 20, seconds: float = 0.5) -> Counts:
    """Clients that send a byte now and then, or nothing; refused is each that is cut off while others are served."""
    with served(house) as (server, url):
        server.whole_request_seconds = seconds
        server.adj.cleanup_interval, server.adj.channel_timeout = 0.1, seconds
        server.next_channel_cleanup = 0
        port = int(url.rpartition(":")[2])
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
        for one in socks[clients // 4 :]:  # a quarter says nothing at all
            one.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        closed: set[int] = set()
        end = time.monotonic() + 20 * seconds
        for _ in count():
            for number, one in enumerate(socks):
                if number in closed:
                    continue
                try:
                    if number >= clients // 4:
                        one.send(b"a")
                    if select.select([one], [], [], 0)[0] and one.recv(1024) == b"":
                        closed.add(number)
                except OSError:
                    closed.add(number)
            if len(closed) == clients or time.monotonic() > end:
                break
            select.select([], [], [], seconds / 20)
        for one in socks:
            one.close()
    return len(closed), clients


def greedy_clients(house: House) -> Counts:
    """A header or a body without end; refused is each that is told so, or cut off, before it is read whole."""
    tries = (
        b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 100_000,
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"2000\r\n" + b"a" * 0x2000 + b"\r\n") * 12,
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /",
    )
    refused = []
    with served(house) as (_, url):
        port = int(url.rpartition(":")[2])
        for sent in tries:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                try:
                    one.sendall(sent)
                    said = one.recv(1024)
                except OSError:
                    said = b""
            refused.append(said == b"" or said.split()[1][:1] == b"4")
    return counted(refused)
