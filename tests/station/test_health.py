"""The sign of life: written by the running station as one whole file, fresh or stale by the boot's own clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers.base import NoReply
from station import health
from station.clock import boot_id
from tests.station.commands import Here, configure, daemon, until
from tests.station.conftest import CONFIG, Rig

NAMED = ("closing_delay_seconds = 2\n", 'closing_delay_seconds = 2\nhealth_file = "sign.json"\n')


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


@pytest.fixture
def named(tmp_path: Path) -> Rig:
    """A station that gives its sign of life to sign.json."""
    return Rig(tmp_path, CONFIG.replace(*NAMED))


def sign(rig: Rig) -> dict[str, object]:
    found = json.loads((rig.folder / "sign.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_running_station_says_how_it_is_every_half_minute_and_takes_it_back_in_the_end(named: Rig) -> None:
    named.run(4)
    assert not (named.folder / "sign.json").exists()  # it is ready without
    named.run(10)
    first = sign(named)
    assert first["troubles"] == []
    assert (first["devices"], first["devices_lost"], first["boot"]) == (1, [], boot_id())
    assert first["platforms"] == [{"name": "district", "connected": False, "owed": first["platforms"][0]["owed"]}]  # type: ignore[index]
    named.run(20)
    assert sign(named) == first
    named.run(10)
    assert sign(named)["monotonic"] == first["monotonic"] + 30  # type: ignore[operator]
    assert (named.folder / "sign.json").stat().st_mode & 0o777 == 0o640
    assert not (named.folder / "sign.json.new").exists()
    named.engine.shut_down()
    assert not (named.folder / "sign.json").exists()


def test_it_says_when_no_instrument_answers_and_when_the_database_refuses(
    named: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    named.instrument.go_silent(error=NoReply("dust: no reply within 0.5 s"))
    named.run(40)
    assert (sign(named)["troubles"], sign(named)["devices_lost"]) == (["devices"], ["dust"])
    monkeypatch.setattr(named.engine, "_store_error", "the disk is full")
    found = health.of(named.engine)
    monkeypatch.undo()
    assert (found["troubles"], found["store_error"]) == (["store", "devices"], "the disk is full")
    named.clock.advance(61)  # nobody's heart beats meanwhile
    assert health.of(named.engine)["troubles"] == ["threads", "devices"]
    assert "uplink district" in health.of(named.engine)["silent_threads"]
    named.engine.shut_down()


def test_a_place_that_cannot_be_written_is_said_once_and_stops_nothing(
    named: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    (named.folder / "sign.json.new").mkdir()
    named.run(100)
    said = [record.getMessage() for record in caplog.records if "sign.json" in record.getMessage()]
    assert len(said) == 1
    assert "monitoring will take the station for dead" in said[0]
    assert named.engine.store.newest("reading") > 0
    named.engine.shut_down()


def test_without_a_runtime_folder_and_a_name_nothing_is_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    rig.run(60)
    assert list(rig.folder.rglob("health.json*")) == []


def test_the_file_lies_in_the_runtime_folder_that_systemd_makes(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path / 'run'}:/another")
    assert rig.loaded.health_file == tmp_path / "run" / "health.json"


BODY = {"monotonic": 1000.0, "boot": "b1", "troubles": []}


@pytest.mark.parametrize(
    ("body", "monotonic", "state", "age"),
    [
        (BODY, 1000.0, "well", 0.0),
        (BODY, 1090.0, "well", 90.0),
        (BODY, 1090.2, "stale", 90.2),
        (BODY, 500.0, "stale", -500.0),  # of the future: not of this boot, whatever it says
        ({**BODY, "boot": "b0"}, 1001.0, "stale", None),
        ({**BODY, "troubles": ["store"]}, 1001.0, "trouble", 1.0),
        ({**BODY, "monotonic": "soon"}, 1001.0, "stale", None),
        ([], 1001.0, "stale", None),
    ],
)
def test_a_sign_is_fresh_by_the_boots_own_clock(
    tmp_path: Path, body: object, monotonic: float, state: str, age: float | None
) -> None:
    (tmp_path / "sign.json").write_text(json.dumps(body))
    seen = health.read(tmp_path / "sign.json", 90, lambda: monotonic, lambda: "b1")
    assert (seen.state, seen.age_seconds) == (state, age)


def test_half_a_file_is_stale_and_none_is_absent(tmp_path: Path) -> None:
    (tmp_path / "sign.json").write_text('{"monotonic": 10')
    assert health.read(tmp_path / "sign.json", 90).state == "stale"
    assert health.read(tmp_path / "nothing.json", 90).state == "absent"


def test_monitoring_sees_a_station_come_and_go(tmp_path: Path, here: Here) -> None:
    """The daemon as a process of its own: absent (69), well or in trouble (0, 1), stale (69), absent again."""
    config = configure(tmp_path / "s", NAMED)
    file = config.with_name("sign.json")
    assert here("health", "--config", config).code == 69
    with daemon(config) as process:
        until(file.exists, 15)
        done = here("health", "--config", config)
        assert done.code == 1  # its port is not there
        assert done.out.startswith("trouble, ")
        assert "no instrument answers" in done.out
        assert json.loads(here("health", "--json", "--config", config).out)["said"]["station"] == "test"
        body = json.loads(file.read_text())
        health.write(file, {**body, "troubles": []})
        assert here("health", "--config", config).code == 0
        health.write(file, {**body, "monotonic": body["monotonic"] - 1000})
        done = here("health", "--config", config)
        assert (done.code, done.out[:6]) == (69, "stale:")
        assert here("health", "--max-age", "2000", "--config", config).code in (0, 1)
        assert process.stop() == 0
    done = here("health", "--config", config, "--lang", "zh")
    assert (done.code, "不存在" in done.out) == (69, True)
