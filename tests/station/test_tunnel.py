"""The tunnel for remote care: who may switch it on, for how long, and that it never stays longer than it is wanted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from station import tunnelhold
from station.clock import boot_id
from station.model import Record, StoreError, WrongArgument
from station.signed import FORMAT, NAMESPACE, OrderRefused, read_order
from station.tunnel import Tunnel, TunnelSettings, boot_seconds
from tests.programs import program

NOW = datetime.fromisoformat("2026-03-01T08:00:00+08:00")


class Engine:
    """What a tunnel uses of an engine, with a clock that is moved."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.time, self.seconds = folder, NOW, 1000.0
        self.trusted, self.refuses = "ntp", False
        self.records: list[Record] = []
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.clock = SimpleNamespace(now=lambda: self.time, monotonic=lambda: self.seconds)
        self.settings = TunnelSettings(state_file=str(folder / "state.json"))
        self.config = SimpleNamespace(tunnel=self.settings, station=SimpleNamespace(name="gate"))
        self.loaded = SimpleNamespace(folder=folder, data_folder=folder, zone=NOW.tzinfo)
        self.store = SimpleNamespace(records=lambda kind, since, until: [r for r in self.records if r.kind == kind])
        self.store_error = "the disk refuses"
        self.beside: tuple[Tunnel, ...] = ()

    def trust(self) -> str:
        return self.trusted

    def note(self, code: str, *, urgent: bool = False, **arguments: object) -> None:
        self.notes.append((code, arguments))

    def keep(self, record: Record, *, urgent: bool = False) -> None:
        self.records.append(Record(record.kind, record.at, record.body, "", record.device, len(self.records) + 1))

    def committed(self) -> bool:
        return not self.refuses

    def withdraw(self, records: list[Record]) -> bool:
        self.records.pop()
        return True

    def pass_time(self, seconds: float) -> None:
        self.time, self.seconds = self.time + timedelta(seconds=seconds), self.seconds + seconds

    def codes(self) -> list[str]:
        return [code for code, _ in self.notes]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def started(engine: Engine) -> Tunnel:
    made = Tunnel(engine)  # type: ignore[arg-type]
    engine.beside = (made,)
    return made


def wanted_seconds(engine: Engine) -> float:
    return tunnelhold.seconds_left(engine.folder / "tunnel" / "until")


# -- who, and for how long


def test_it_is_off_until_somebody_switches_it_on_and_ends_by_itself(engine: Engine) -> None:
    one = started(engine)
    one.turn()
    assert not one.path.exists()
    shown = one.switch_on("li", 1.5, "a profile")
    assert (shown["on"], shown["by"], shown["until"]) == (True, "li", "2026-03-01T09:30:00+08:00")
    assert 5395 < wanted_seconds(engine) <= 5400
    assert one.path.stat().st_mode & 0o777 == 0o640
    engine.pass_time(5399)
    one.turn()
    assert one.path.exists()
    engine.pass_time(2)
    one.turn()
    assert not one.path.exists()
    assert engine.codes() == ["tunnel_on", "tunnel_over"]
    assert [record.body["do"] for record in engine.records] == ["on", "over"]
    assert engine.notes[0][1] == {"by": "li", "hours": "1.5", "reason": "a profile"}


@pytest.mark.parametrize("hours", [0, -1, 12.01, float("nan"), float("inf"), "2", True])
def test_hours_beyond_what_is_allowed_are_refused(engine: Engine, hours: object) -> None:
    with pytest.raises(WrongArgument, match="up to 12 h"):
        started(engine).switch_on("li", hours, "")  # type: ignore[arg-type]
    assert not engine.records


def test_nobody_is_not_enough(engine: Engine) -> None:
    with pytest.raises(WrongArgument, match="gives a name"):
        started(engine).switch_on("  ", None, "")
    with pytest.raises(WrongArgument, match="gives a name"):
        started(engine).switch_off("")


def test_what_cannot_be_put_on_record_is_not_opened_and_yet_can_be_closed(engine: Engine) -> None:
    one = started(engine)
    engine.refuses = True
    with pytest.raises(StoreError, match="nothing was done"):
        one.switch_on("li", None, "")
    assert not one.path.exists()
    engine.refuses = False
    one.switch_on("li", None, "")
    engine.refuses = True
    with pytest.raises(StoreError):
        one.switch_off("li")
    assert not one.path.exists()


# -- restarts, reboots, clocks


def test_a_restart_of_the_station_leaves_it_on_for_what_is_left(engine: Engine) -> None:
    started(engine).switch_on("li", 1, "")
    again = started(engine)
    again.turn()
    assert again.more()["on"]
    assert 3590 < wanted_seconds(engine) <= 3600
    again.switch_off("wang")
    third = started(engine)
    third.turn()
    assert not third.more()["on"]
    assert not third.path.exists()


def test_after_a_reboot_the_wall_clock_says_what_is_left_if_it_is_trusted(engine: Engine) -> None:
    started(engine).switch_on("li", 2, "")
    path = engine.folder / "tunnel" / "until"
    path.write_text(f"another-boot {boot_seconds() + 7200:.0f}\n")
    assert wanted_seconds(engine) == 0  # the unit does not go by another boot's seconds
    engine.time += timedelta(hours=1)
    one = started(engine)
    one.turn()
    assert 3590 < wanted_seconds(engine) <= 3600
    path.write_text("another-boot 7200\n")
    engine.trusted = "none"
    shut = started(engine)
    shut.turn()
    assert not shut.more()["on"]
    assert not path.exists()
    assert engine.codes()[-1] == "tunnel_over"


def test_a_clock_set_back_after_a_reboot_prolongs_nothing_beyond_what_was_asked(engine: Engine) -> None:
    started(engine).switch_on("li", 2, "")
    (engine.folder / "tunnel" / "until").unlink()
    engine.time -= timedelta(hours=20)
    one = started(engine)
    one.turn()
    assert wanted_seconds(engine) <= 7200


def test_a_stray_file_opens_nothing_for_long(engine: Engine) -> None:
    path = engine.folder / "tunnel" / "until"
    path.parent.mkdir()
    path.write_text(f"{boot_id()} {boot_seconds() + 9999:.0f}\n")
    started(engine).turn()
    assert not path.exists()


def test_what_the_unit_says_becomes_events(engine: Engine) -> None:
    one = started(engine)
    one.switch_on("li", 1, "")
    up, lost = '{"state":"up"}', '{"state":"trying","reason":"no route"}'
    for text in ('{"state":"trying"}', up, "rubbish{", up, lost):
        (engine.folder / "state.json").write_text(text)
        one.turn()
    (engine.folder / "state.json").write_text("[" * 5000)
    one.turn()
    assert engine.codes() == ["tunnel_on", "tunnel_up", "tunnel_down", "tunnel_up", "tunnel_down"]
    assert engine.notes[-1][1] == {"reason": "no route"}


# -- signed orders


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("li", "mallory"):
        words = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(words, check=True)
    kind, key, _ = (folder / "li.pub").read_text().split()
    (folder / "allowed_signers").write_text(f'li namespaces="{NAMESPACE},niutang-station" {kind} {key}\n')
    return folder


def order(**changes: object) -> str:
    told = {
        "format": FORMAT, "id": "7f3a", "station": "gate", "verb": "tunnel", "do": "on", "hours": 3, "by": "li",
        "issued": "2026-03-01T07:59:00+08:00", "expires": "2026-03-01T20:00:00+08:00",
    }  # fmt: skip
    return json.dumps({key: value for key, value in {**told, **changes}.items() if value is not None})


def sign(keys: Path, text: str, who: str = "li", namespace: str = NAMESPACE) -> str:
    words = [program("ssh-keygen"), "-q", "-Y", "sign", "-f", str(keys / who), "-n", namespace]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout


def signed_station(engine: Engine, keys: Path) -> Tunnel:
    (engine.folder / "allowed_signers").write_text((keys / "allowed_signers").read_text())
    return started(engine)


def test_a_signed_order_is_carried_out_once_also_over_a_restart(engine: Engine, keys: Path) -> None:
    one, text = signed_station(engine, keys), order()
    signature = sign(keys, text)
    assert one.obey(text, signature)["on"]
    assert engine.records[-1].body["order"] == "7f3a"
    for station in (one, started(engine)):
        with pytest.raises(OrderRefused, match="carried out before"):
            station.obey(text, signature)
    off = order(id="8", do="off", hours=None)
    assert not one.obey(off, sign(keys, off))["on"]


@pytest.mark.parametrize(
    ("changes", "who", "namespace", "reason"),
    [
        ({}, "mallory", NAMESPACE, "not one by li"),
        ({}, "li", "niutang-station", "not one by li"),  # a bundle's signature is none of an order
        ({"by": "mallory"}, "mallory", NAMESPACE, "not one by mallory"),
        ({"station": "harbour"}, "li", NAMESPACE, "for the station"),
        ({"expires": "2026-03-01T08:00:00+08:00"}, "li", NAMESPACE, "expired"),
        ({"issued": "2026-03-01T09:00:00+08:00"}, "li", NAMESPACE, "not come yet"),
        ({"issued": "2026-02-01T09:00:00+08:00"}, "li", NAMESPACE, "up to 7 days"),
        ({"expires": "2026-03-01T20:00:00"}, "li", NAMESPACE, "no time with its offset"),
        ({"verb": "shell"}, "li", NAMESPACE, "verb tunnel"),
        ({"do": "reboot"}, "li", NAMESPACE, "verb tunnel"),
        ({"hours": "3"}, "li", NAMESPACE, "no number"),
        ({"hours": 1e9}, "li", NAMESPACE, "no number"),
        ({"by": "-oProxyCommand"}, "li", NAMESPACE, "no name"),
        ({"id": ""}, "li", NAMESPACE, "id is not a text"),
        ({"reason": "a\nb"}, "li", NAMESPACE, "reason is not a text"),
        ({"command": "x"}, "li", NAMESPACE, "a key 'command'"),
        ({"format": "niutang-order-2"}, "li", NAMESPACE, "is no niutang-order-1"),
        ({"hours": 20}, "li", NAMESPACE, "up to 12 h"),
    ],
)
def test_an_order_that_is_none_opens_nothing(
    engine: Engine, keys: Path, changes: dict[str, object], who: str, namespace: str, reason: str
) -> None:
    one, text = signed_station(engine, keys), order(**changes)
    with pytest.raises((OrderRefused, WrongArgument), match=reason):
        one.obey(text, sign(keys, text, who, namespace))
    assert not one.path.exists()
    assert not engine.records


def test_an_order_with_one_changed_byte_is_refused_and_told(engine: Engine, keys: Path) -> None:
    one, text = signed_station(engine, keys), order()
    signature = sign(keys, text)
    with pytest.raises(OrderRefused, match="changed since"):
        one.obey(text.replace('"hours": 3', '"hours": 9'), signature)
    with pytest.raises(OrderRefused, match="has no signature"):
        one.obey(text, "")
    engine.trusted = "none"
    with pytest.raises(OrderRefused, match="clock is not trusted"):
        one.obey(text, signature)
    assert engine.codes() == ["tunnel_refused"]
    engine.pass_time(3601)
    with pytest.raises(OrderRefused):
        one.obey(text, "")
    assert [words["count"] for _, words in engine.notes] == [1, 3]


@pytest.mark.parametrize("text", ["", "rubbish", "[]", "[" * 3000, "1", "x" * 5000, '"\ud800"'])
def test_rubbish_is_no_order(tmp_path: Path, text: str) -> None:
    with pytest.raises(OrderRefused):
        read_order(text, "s", tmp_path / "allowed_signers", "gate", NOW)


def test_without_signers_no_order_is_taken(tmp_path: Path) -> None:
    with pytest.raises(OrderRefused, match="is not there"):
        read_order(order(), "s", tmp_path / "allowed_signers", "gate", NOW)


# -- what holds it


class Holding:
    """A tunnelhold in a process of its own."""

    def __init__(self, folder: Path, *words: str, most: str = "1") -> None:
        self.until, self.state = folder / "until", folder / "state.json"
        self.command = [
            sys.executable, "-I", tunnelhold.__file__, "--until", str(self.until), "--state", str(self.state),
            "--most", most, *words,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def want(self, seconds: float) -> None:
        self.until.write_text(f"{boot_id()} {boot_seconds() + seconds:.0f}\n")

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        return self.process

    def said(self, state: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                found = json.loads(self.state.read_text())
            except (OSError, ValueError):
                found = {}
            if found.get("state") == state:
                return str(found["reason"])
            time.sleep(0.02)
        raise AssertionError(f"never said {state}")


def test_up_and_down_are_done_once_each_and_down_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hold = Holding(tmp_path, "between", "--", "sh", "-c", f"echo up >>{log}", "--", "sh", "-c", f"echo down >>{log}")
    hold.want(600)
    process = hold.start()
    hold.said("up")
    hold.until.unlink()
    assert process.wait(15) == 0
    assert log.read_text() == "up\ndown\n"
    assert json.loads(hold.state.read_text())["state"] == "down"


def test_sigterm_takes_it_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hold = Holding(tmp_path, "between", "--", "true", "--", "touch", str(log))
    hold.want(600)
    process = hold.start()
    hold.said("up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert log.exists()


def test_an_up_that_fails_is_taken_down_and_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hold = Holding(tmp_path, "between", "--", "sh", "-c", "echo no key >&2; exit 3", "--", "touch", str(log))
    hold.want(600)
    process = hold.start()
    assert process.wait(15) == 1
    assert hold.said("trying") == "sh: no key"
    assert log.exists()


@pytest.mark.parametrize("text", ["", "rubbish", "no-such-boot 99999999", f"{boot_id()} x", f"{boot_id()} -5"])
def test_a_file_that_says_nothing_holds_nothing_up(tmp_path: Path, text: str) -> None:
    hold = Holding(tmp_path, "run", "--", "touch", str(tmp_path / "ran"))
    hold.until.write_text(text)
    assert hold.start().wait(15) == 0
    assert not (tmp_path / "ran").exists()


def test_a_command_that_keeps_running_is_ended_with_all_it_has_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hold = Holding(tmp_path, "run", "--", "sh", "-c", f"sleep 600 & echo $! >{pid}; wait")
    hold.want(600)
    process = hold.start()
    while not (pid.exists() and pid.read_text().strip()):
        time.sleep(0.02)
    hold.until.unlink()
    assert process.wait(20) == 0
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":  # nobody may wait for an orphan here
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_the_file_says_does_not_outdo_the_most(tmp_path: Path) -> None:
    hold = Holding(tmp_path, "run", "--", "sleep", "600", most="0.0003")  # about a second
    hold.want(86400)
    assert hold.start().wait(15) == 0


def test_it_begins_again_with_pauses_and_says_what_was_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnelhold, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(tunnelhold, "FIRST_PAUSE", 0.05)
    (tmp_path / "until").write_text(f"{boot_id()} {boot_seconds() + 600:.0f}\n")
    hold = tunnelhold.Hold(tmp_path / "until", tmp_path / "state.json", 1.0)
    count = tmp_path / "count"
    thread = threading.Thread(target=hold.run, args=(["sh", "-c", f"echo x >>{count}; echo refused >&2; exit 255"],))
    thread.start()
    while not count.exists() or len(count.read_text().split()) < 3:
        time.sleep(0.02)
    said = json.loads((tmp_path / "state.json").read_text())
    hold.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert (said["state"], said["reason"]) == ("trying", "refused")


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    hold = Holding(tmp_path, "run", "--", str(tmp_path / "no-such-ssh"))
    hold.want(600)
    process = hold.start()
    deadline = time.monotonic() + 15
    while "No such file" not in (hold.state.read_text() if hold.state.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
