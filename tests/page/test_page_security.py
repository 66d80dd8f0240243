"""Who means ill gets nothing: scripts in names, paths, foreign hosts, forged forms, many passwords, slow clients."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from station.page.app import create_app
from station.page.guard import access
from station.page.serve import MOST_OF_ONE_ADDRESS
from tests.page import attacks
from tests.page.house import CONFIG, HOST, PASSWORD, House, Visitor, served


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> House:  # type: ignore[misc]
    """A station whose every name is a script."""
    text = CONFIG
    for name in ("Qianxi 千溪站", "Qianxi river outlet", "1# 锅炉烟囱", "so2-high"):
        text = text.replace(f'"{name}"', f"'''{attacks.NASTY}'''")
    text = text.replace('name = "span"', f"name = '''span {attacks.IMAGE}'''")
    made = House(tmp_path_factory.mktemp("n"), text)
    made.past()
    made.begin()
    yield made
    made.close()


def test_no_text_of_a_name_a_person_or_a_form_becomes_an_element(nasty: House) -> None:
    refused, tried = attacks.injections(nasty)
    assert (refused, tried) == (12, 12)
    page = nasty.signed_in().get("/overview").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page  # it is shown as what it is
    answer = nasty.signed_in().get(f"/chart.svg?check=span {attacks.IMAGE}")
    assert answer.status_code == 200
    assert "<img" not in answer.text


def test_pages_that_others_draw_have_neither_script_nor_origin(house: House) -> None:
    visitor = house.signed_in()
    for path in ("/calibrations/K1", "/chart.svg?check=span"):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_paths_lead_nowhere(house: House) -> None:
    refused, tried = attacks.traversals(house)
    assert (refused, tried) == (20, 20)


def test_a_foreign_host_is_refused_and_ours_are_served(house: House) -> None:
    assert attacks.foreign_hosts(house) == (15, 15)
    client = house.client()
    host = socket.gethostname().partition(".")[0]
    for name in ("localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", host, f"{host}.local:8080"):
        assert client.get("/sign-in", headers={"Host": name}).status_code == 200, name


def test_a_forged_form_does_nothing(house: House) -> None:
    assert attacks.forged_forms(house) == (13, 13)
    assert "maintenance_on" not in [code for code, _ in house.bench.events("maintenance")]


def test_ten_thousand_passwords_from_one_address_are_refused_and_the_console_still_lets_in(house: House) -> None:
    person = house.signed_in("Wang Fang")
    assert attacks.login_tries(house) == (10_000, 10_000)
    visitor = Visitor(house.client())
    visitor.get("/sign-in")
    answer = visitor.client.post(
        "/sign-in",
        data={"csrf": visitor.token, "name": "Wang Fang", "password": PASSWORD},
        headers=HOST,
        environ_base={"REMOTE_ADDR": "10.0.0.1"},
    )
    assert answer.status_code == 429  # even the right one has to wait
    assert int(answer.headers["Retry-After"]) > 0
    assert person.get("/overview").status_code == 200
    house.signed_in("Li Wei")  # by a code from the console
    house.app.extensions["guard"].passwords.forget_all()


def test_passwords_tried_from_many_addresses_wait_as_one(house: House) -> None:
    guard = house.app.extensions["guard"]
    guard.passwords.forget_all()
    refused, tried = attacks.login_tries(house, tries=120, addresses=120)
    assert refused == tried
    assert 0 < guard.passwords.wait("10.9.9.9") <= 30  # nobody is kept out for long by others
    guard.passwords.forget_all()


def test_slow_clients_are_cut_off(house: House) -> None:
    refused, tried = attacks.slow_clients(house)
    assert (refused, tried) == (20, 20)


def test_endless_headers_and_bodies_are_refused(house: House) -> None:
    refused, tried = attacks.greedy_clients(house)
    assert (refused, tried) == (6, 6)


def test_one_address_gets_so_many_connections_and_no_more(house: House) -> None:
    with served(house) as (_, url):
        port = int(url.rpartition(":")[2])
        socks = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(MOST_OF_ONE_ADDRESS + 5)]
        for one in socks[MOST_OF_ONE_ADDRESS:]:
            assert one.recv(100) == b""
        socks[0].sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert socks[0].recv(100).startswith(b"HTTP/1.1 200")
        for one in socks:
            one.close()


def test_every_answer_carries_the_headers_that_keep_a_browser_in(house: House) -> None:
    for path in ("/sign-in", "/overview", "/static/page.css", "/nowhere"):
        headers = Visitor(house.client()).get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
    assert house.signed_in().get("/overview").headers["Cache-Control"] == "no-store"


def test_no_template_has_script_or_style_in_it() -> None:
    for path in (Path(__file__).parents[2] / "station" / "page" / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=|https?://|javascript:", text), path.name
        assert re.findall(r"\|\s*safe", text) == (["|safe"] if path.name == "parts.html" else []), path.name


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(house: House) -> None:
    visitor = Visitor(house.client())
    visitor.get("/code")
    answer = visitor.post("/code", code=house.accounts.issue_code(), name="Wang Fang", password=PASSWORD)
    (cookie,) = [
        one for one in answer.headers.getlist("Set-Cookie") if one.startswith("station_session=") and "Max" in one
    ]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie  # plain HTTP in a cabinet
    over_tls = house.client()
    page = over_tls.get("/sign-in", headers=HOST, base_url="https://localhost:8080")
    assert all("Secure" in one for one in page.headers.getlist("Set-Cookie"))


def test_a_session_of_before_the_sign_in_is_worth_nothing_after_it(house: House) -> None:
    visitor = Visitor(house.client())
    visitor.client.set_cookie("station_session", "chosen by somebody else", domain="localhost")
    visitor.get("/code")
    visitor.post("/code", code=house.accounts.issue_code(), name="Wang Fang", password=PASSWORD)
    cookie = visitor.client.get_cookie("station_session", domain="localhost")
    assert cookie is not None
    assert cookie.value != "chosen by somebody else"
    assert visitor.get("/overview").status_code == 200


def test_after_signing_out_the_token_is_worth_nothing(house: House) -> None:
    visitor = house.signed_in()
    visitor.get("/overview")
    kept = visitor.client.get_cookie("station_session", domain="localhost")
    assert kept is not None
    assert visitor.post("/sign-out").status_code == 302
    visitor.client.set_cookie("station_session", kept.value, domain="localhost")
    assert visitor.get("/overview").status_code == 302


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil", "javascript:1", "evil"]
)
def test_nobody_is_sent_to_another_host_afterwards(house: House, wanted: str) -> None:
    visitor = Visitor(house.client())
    visitor.get("/code")
    answer = visitor.post("/code", code=house.accounts.issue_code(), name="Li", password=PASSWORD, next=wanted)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_view_without_a_word_about_access_is_closed(house: House) -> None:
    app = create_app(house.loaded, house.source, house.accounts)
    app.add_url_rule("/secret", "secret", lambda: "secret")
    app.add_url_rule("/open", "open", access("anyone")(lambda: "open"))
    client = app.test_client()
    assert client.get("/secret", headers=HOST).status_code == 302
    assert client.get("/secret", headers=HOST | {"Accept": "application/json"}).status_code == 401
    assert client.get("/open", headers=HOST).text == "open"


def test_an_open_view_shows_and_does_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, CONFIG + "open_view = true\n")
    try:
        house.bench.run(70)
        visitor = Visitor(house.client())
        page = visitor.get("/overview")
        assert page.status_code == 200
        assert "You are looking only" in page.text
        assert "Acknowledge" not in visitor.get("/alarms").text
        assert visitor.post("/alarms", alarm="so2-high").status_code == 401
        assert visitor.post("/field/maintenance", do="on").status_code == 401
    finally:
        house.close()


def test_what_went_wrong_inside_is_not_shown(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = house.signed_in()
    monkeypatch.setattr(house.source, "status", lambda: 1 / 0)
    answer = visitor.get("/overview")
    assert answer.status_code == 500
    assert "Something unforeseen went wrong" in answer.text
    assert "ZeroDivisionError" not in answer.text
