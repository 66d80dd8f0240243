"""Names, passwords, one-time codes and sessions, as the page and `station page` share them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from station.model import StoreError, WrongArgument
from station.page import accounts as module
from station.page.accounts import Accounts
from station.page.hosts import own_addresses
from station.page.settings import PageSettings
from station.page.throttle import MOST_KNOWN, Throttle
from tests.station.commands import Done, Here, configure

GOOD = "three plain words"


class Time:
    """Seconds that are moved by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def accounts(tmp_path: Path, time: Time) -> Accounts:
    return Accounts(tmp_path / "page", PageSettings(), time)


def test_a_code_is_good_once(accounts: Accounts) -> None:
    code = accounts.issue_code()
    assert accounts.code_holds(code)
    assert accounts.enrol(code.lower().replace("-", " "), "  Wang   Fang ", GOOD) == "Wang Fang"
    assert not accounts.code_holds(code)
    with pytest.raises(WrongArgument, match="wrong, used up or too old"):
        accounts.enrol(code, "Li Wei", GOOD)


def test_a_code_grows_old(accounts: Accounts, time: Time) -> None:
    code = accounts.issue_code()
    time.now += 24 * 3600 - 1
    assert accounts.code_holds(code)
    time.now += 1
    assert not accounts.code_holds(code)


def test_only_the_right_password_is_known(accounts: Accounts) -> None:
    accounts.enrol(accounts.issue_code(), "Wang Fang", GOOD)
    assert accounts.knows("Wang Fang", GOOD)
    assert not accounts.knows("Wang Fang", GOOD + " ")
    assert not accounts.knows("Li Wei", GOOD)
    assert not accounts.knows("", "")
    assert not accounts.knows("Wang Fang", "\ud800")  # what is no text is no password


@pytest.mark.parametrize("password", ["", "short", "123456789", "x" * 257])
def test_a_password_has_ten_characters_and_not_endless_ones(accounts: Accounts, password: str) -> None:
    with pytest.raises(WrongArgument, match="10 to 256 characters"):
        accounts.enrol(accounts.issue_code(), "Wang Fang", password)


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 41, "a\u202eb"])
def test_a_name_can_be_seen(accounts: Accounts, name: str) -> None:
    with pytest.raises(WrongArgument, match="1 to 40 characters"):
        accounts.enrol(accounts.issue_code(), name, GOOD)


def test_no_secret_stands_in_the_file_and_nobody_else_may_read_it(accounts: Accounts, tmp_path: Path) -> None:
    code = accounts.issue_code()
    accounts.enrol(code, "Wang Fang", GOOD)
    spare, token = accounts.issue_code(), accounts.open_session("Wang Fang", "10.0.0.1")
    path = tmp_path / "page" / "people.json"
    text = path.read_text(encoding="utf-8")
    for secret in (GOOD, spare, spare.replace("-", ""), token):
        assert secret not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_session_ends_by_its_length_and_by_silence(accounts: Accounts, time: Time) -> None:
    token = accounts.open_session("Wang Fang", "10.0.0.1")
    for _ in range(14):  # a page every 50 minutes keeps it awake, up to its length
        time.now += 3000
        assert accounts.session(token) is not None
    time.now += 12 * 3600 - 14 * 3000
    assert accounts.session(token) is None
    token = accounts.open_session("Wang Fang", "10.0.0.1")
    time.now += 3600 + module.SEEN_AGAIN
    assert accounts.session(token) is None


def test_looking_does_not_write_each_time(accounts: Accounts, time: Time, tmp_path: Path) -> None:
    token = accounts.open_session("Wang Fang", "10.0.0.1")
    before = (tmp_path / "page" / "people.json").stat().st_ino
    for _ in range(29):
        time.now += 10
        assert accounts.session(token) is not None
    assert (tmp_path / "page" / "people.json").stat().st_ino == before


def test_who_is_forgotten_is_signed_out(accounts: Accounts) -> None:
    accounts.enrol(accounts.issue_code(), "Wang Fang", GOOD)
    token, other = accounts.open_session("Wang Fang", "a"), accounts.open_session("Li Wei", "b")
    assert accounts.forget("Wang Fang")
    assert not accounts.forget("Wang Fang")
    assert accounts.session(token) is None
    assert accounts.session(other) is not None
    assert not accounts.knows("Wang Fang", GOOD)


def test_a_new_password_closes_the_sessions_of_the_old_one(accounts: Accounts) -> None:
    accounts.enrol(accounts.issue_code(), "Wang Fang", GOOD)
    token = accounts.open_session("Wang Fang", "a")
    accounts.enrol(accounts.issue_code(), "Wang Fang", GOOD + " more")
    assert accounts.session(token) is None
    assert not accounts.knows("Wang Fang", GOOD)


def test_another_process_sees_what_was_changed(accounts: Accounts, tmp_path: Path, time: Time) -> None:
    page = Accounts(tmp_path / "page", PageSettings(), time)
    assert not page.code_holds("x")
    code = accounts.issue_code()
    assert page.code_holds(code)
    page.enrol(code, "Wang Fang", GOOD)
    token = page.open_session("Wang Fang", "a")
    assert [one.name for one in accounts.sessions()] == ["Wang Fang"]
    assert accounts.close_all() == 1
    assert page.session(token) is None


def test_a_damaged_file_lets_nobody_in_and_says_what_to_do(accounts: Accounts, tmp_path: Path) -> None:
    accounts.issue_code()
    for text in ("", "{", "[]", json.dumps({"people": {}})):
        (tmp_path / "page" / "people.json").write_text(text)
        with pytest.raises(StoreError, match="move it away, and station page code lets people in again"):
            Accounts(tmp_path / "page", PageSettings()).sessions()


def test_the_wait_doubles_and_is_forgotten() -> None:
    time = Time()
    throttle = Throttle(time)
    waits = []
    for _ in range(18):
        throttle.failed("a")
        waits.append(throttle.wait("a"))
        time.now += throttle.wait("a")
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]
    assert throttle.wait("b") == 0
    throttle.succeeded("a")
    assert throttle.wait("a") == 0
    for _ in range(6):
        throttle.failed("a")
    time.now += 3601
    assert throttle.wait("a") == 0


def test_the_wait_of_all_stays_short() -> None:
    time = Time()
    throttle = Throttle(time)
    for number in range(10_000):
        throttle.failed(f"10.{number >> 8}.{number & 255}.1")
    assert throttle.wait("somebody else") == 30


def test_own_addresses_are_those_the_kernel_lists(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(
        "Local:\n     |-- 192.168.8.20\n        /32 host LOCAL\n     |-- 192.168.8.255\n        /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text("fe8000000000000002155dfffe000001 02 40 20 80 eth0\n")
    assert own_addresses(tmp_path) == {"127.0.0.1", "::1", "192.168.8.20", "fe80::215:5dff:fe00:1"}
    assert own_addresses(tmp_path / "nowhere") == {"127.0.0.1", "::1"}


# -- at the console


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_the_console_gives_codes_lists_people_and_forgets_them(tmp_path: Path, command: Here) -> None:
    config = configure(tmp_path)
    config.write_text(config.read_text() + '\n[page]\nlisten = "127.0.0.1"\nport = 8123\n')
    options = ("--config", config)
    made = json.loads(command("page", "code", "--json", *options).out)
    assert made["addresses"] == ["http://localhost:8123/"]
    said: Done = command("page", "code", *options)
    assert "Open the page and type it there: http://localhost:8123/code" in said.out
    assert command("page", "people", *options).out == "Nobody has a password yet: station page code\n"
    assert command("page", "sessions", *options).out == "Nobody is signed in.\n"
    (folder,) = tmp_path.glob("**/page")
    accounts = Accounts(folder, PageSettings())
    accounts.enrol(made["code"], "王芳", GOOD)
    accounts.open_session("王芳", "192.168.8.30")
    assert command("page", "people", *options).out.startswith("王芳: password since 20")
    assert command("page", "sessions", *options).out.startswith("王芳 from 192.168.8.30: signed in 20")
    assert command("page", "forget", "王方", *options).code == 2
    assert command("page", "forget", *options).out == "1 session closed.\n"
    assert command("page", "forget", "王芳", *options).out == "王芳 has no password and no session any more.\n"


def test_a_host_that_is_no_host_is_a_fault_of_the_configuration(tmp_path: Path, command: Here) -> None:
    config = configure(tmp_path)
    config.write_text(config.read_text() + '\n[page]\nhosts = ["http://station.example"]\n')
    done = command("check", config)
    assert done.code == 1
    assert '"http://station.example" is not a host name such as station.example' in done.out


@pytest.mark.parametrize("name", ["people.lock", "people.json.new", ""])
def test_no_link_leads_root_to_another_file(accounts: Accounts, tmp_path: Path, name: str) -> None:
    """What sudo station page code writes and gives to the station's account is in its folder, whatever lies there."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "shadow").write_text("root's own\n", encoding="utf-8")
    (other / "shadow").chmod(0o600)
    before = (other / "shadow").stat()
    link = tmp_path / "page" / name
    if name:
        link.parent.mkdir()
        link.symlink_to(other / "shadow")
    else:
        (tmp_path / "page").symlink_to(other)
    if name == "people.json.new":
        accounts.issue_code()  # what is left of a write is taken away, link or not
        assert not link.is_symlink()
        assert accounts._read()["codes"]
    else:
        with pytest.raises(StoreError, match="holds a link where a file of the page belongs"):
            accounts.issue_code()
    assert (other / "shadow").read_text(encoding="utf-8") == "root's own\n"
    after = (other / "shadow").stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert [path.name for path in other.iterdir()] == ["shadow"]


def test_who_goes_on_failing_keeps_nobody_out_who_was_right_before(time: Time) -> None:
    throttle = Throttle(time)
    throttle.succeeded("192.168.1.20")
    for number in range(200):
        throttle.failed(f"10.0.0.{number}")
    assert throttle.wait("10.1.1.1") > 0
    assert throttle.wait("192.168.1.20") == 0
    for _ in range(6):
        throttle.failed("192.168.1.20")  # its own failures count as anybody's
    assert throttle.wait("192.168.1.20") > 0


def test_wrong_codes_of_others_do_not_hold_up_a_code_from_the_console(time: Time) -> None:
    throttle = Throttle(time, of_all=False)
    for number in range(200):
        throttle.failed(f"10.0.0.{number}")
    assert throttle.wait("10.1.1.1") == 0
    for _ in range(6):
        throttle.failed("10.0.0.1")
    assert throttle.wait("10.0.0.1") > 0


def test_addresses_that_were_right_are_not_remembered_without_end(time: Time) -> None:
    throttle = Throttle(time)
    for number in range(2 * MOST_KNOWN):
        throttle.succeeded(f"10.0.{number // 250}.{number % 250}")
    assert len(throttle._known) == MOST_KNOWN
