"""`station gaps`, `resend`, `uplink test|trace`, `provision`, as typed, against the emulated platform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.station.commands import configure, daemon, served, station, until
from uplink.hj212.emulator import Platform


@pytest.fixture
def platform() -> object:
    with Platform(sets_clock=True) as made:
        yield made


def site(tmp_path: Path, platform: Platform) -> Path:
    """A station that reports to *platform*; its instrument is not there, which is reported too."""
    return configure(tmp_path / "site", ("port = 9\n", f"port = {platform.port}\n"),
                     ("realtime_seconds = 30", "realtime_seconds = 5"))  # fmt: skip


def test_an_uplink_that_answers_is_said_with_its_times(tmp_path: Path, platform: Platform) -> None:
    """One connection, one exchange."""
    config = site(tmp_path, platform)
    done = station("uplink", "test", "district", "--config", config, "--json")
    found = json.loads(done.out)
    assert (done.code, found["name"]) == (0, "district")
    assert found["answer_seconds"] >= 0
    assert abs(found["clock_seconds"]) <= 2
    said = station("uplink", "test", "district", "--config", config).out
    assert "connected in" in said
    assert "the platform's clock is" in said


def test_an_uplink_that_is_not_there_is_one_sentence(tmp_path: Path, platform: Platform) -> None:
    """Exit 69; an unknown name is a wrong argument."""
    config = site(tmp_path, platform)
    platform.fault("down")
    done = station("uplink", "test", "district", "--config", config)
    assert (done.code, done.said) == (69, [f"127.0.0.1:{platform.port}: connection refused"])
    unknown = station("uplink", "test", "distrct", "--config", config)
    assert (unknown.code, unknown.said) == (2, ['there is no platform "distrct"; did you mean district?'])


def test_a_running_link_is_watched_tested_and_asked_for_more(tmp_path: Path, platform: Platform) -> None:
    """Frames pass by without the password; what was answered is queued again; gaps are listed with their reason."""
    config = site(tmp_path, platform)
    with served("emulate", "bus", config) as line, daemon(config):
        assert "serving" in line.says("serving")
        assert until(lambda: platform.summary()["records"] >= 2, 20)
        seen = station("uplink", "trace", "district", "--for", "8", "--config", config)
        assert seen.code == 0
        assert "→ ##" in seen.out
        assert "CN=9014" in seen.out
        assert "PW=***" in seen.out
        assert "123456" not in seen.out
        assert "connected since" in station("uplink", "test", "district", "--config", config).out
        again = station("resend", "--platform", "district", "--from", "2020-01-01", "--to", "2100-01-01",
                        "--config", config)  # fmt: skip
        assert again.code == 0
        assert "messages queued for district" in again.out
        gaps = station("gaps", "--from", "2020-01-01", "--config", config, "--json")
        (found,) = json.loads(gaps.out)["platforms"]
        assert {row["kind"] for row in found["rows"]} == {"realtime", "minute", "hour", "day"}
        assert gaps.code in (0, 1)
    stopped = station("gaps", "--config", config, "--lang", "zh")
    assert "应有" in stopped.out
    refused = station("resend", "--platform", "district", "--from", "2020-01-01", "--to", "2021-01-01",
                      "--config", config)  # fmt: skip
    assert (refused.code, refused.said) == (69, ["no station is running; start it first, it does the sending"])


def test_a_running_link_over_which_everything_is_refused_is_not_well(tmp_path: Path, platform: Platform) -> None:
    """Exit 69 with what the platform says; status tells when the refused records go again, in the station's time."""
    config = site(tmp_path, platform)
    platform.fault("refuse")
    with served("emulate", "bus", config) as line, daemon(config):
        assert "serving" in line.says("serving")
        done = until(
            lambda: (
                (it := station("uplink", "test", "district", "--config", config)).code == 69
                and "refuses records" in it.err
                and it
            ),
            30,
        )
        assert "nothing was sent for this and no clock was compared" in done.out
        assert "tried again at 20" in done.err
        assert "T" not in done.err.partition("tried again at ")[2]
        assert "district: refused records are sent again at 20" in station("status", "--config", config).out


def test_an_mn_is_taken_from_a_platform_and_kept(tmp_path: Path) -> None:
    """1001, 1002, and the file that the configuration can take it from."""
    (tmp_path / "password").write_text("123456")
    with Platform(assigns="A" * 24) as platform:
        done = station("provision", tmp_path / "mn", "--host", "127.0.0.1", "--port", platform.port,
                       "--password-file", tmp_path / "password", "--json")  # fmt: skip
    assert (done.code, json.loads(done.out)["mn"]) == (0, "A" * 24)
    assert (tmp_path / "mn").read_text() == "A" * 24 + "\n"


def test_a_script_ends_with_a_verdict(tmp_path: Path) -> None:
    """No station comes: the step that wants one fails, in words and by the exit code."""
    (tmp_path / "script.toml").write_text('[[step]]\ncn = "1011"\nmn = "X"\nseconds = 0.2\n')
    done = station("emulate", "platform", "--port", "0", "--script", tmp_path / "script.toml", "--json")
    verdict = json.loads(done.out)
    assert (done.code, verdict["passed"]) == (1, False)
    assert verdict["steps"][0]["faults"]
