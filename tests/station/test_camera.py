"""[[camera]]: a still of each alarm on record with its hash, within its bounds, and what goes wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers.onvif_emulator import Camera as Emulated
from drivers.onvif_emulator import Face
from station import snapshots
from station.camera import LATE, LEAST_FREE, Camera, CameraSettings, entry
from station.model import ConfigError, StationError, StoreError, WrongArgument
from station.snapshots import FOLDER
from tests import cameras
from tests.station.commands import Here, configure
from tests.station.conftest import CONFIG
from tests.station.test_alarming import DUST, NOON
from tests.station.test_records import Site

TABLE = """
[[camera]]
name = "gate"
kind = "jpeg"
url = "http://127.0.0.1:PORT/still"
user = "admin"
password_file = "gate.password"
per_hour = 2
timeout_seconds = 2
budget_mb = 10
"""


class Yard(Site):
    """A station with a dust alarm and a camera, half a minute before the hour."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        (folder / "gate.password").write_text("pass\n")
        (folder / "gate.password").chmod(0o600)
        super().__init__(folder, CONFIG + DUST + TABLE.replace("PORT", str(port)) + more, NOON - timedelta(seconds=30))

    @property
    def camera(self) -> Camera:
        one = next(one for one in self.engine.beside if isinstance(one, Camera))
        self.engine.committed = self.engine.commit  # type: ignore[assignment,method-assign]
        return one

    @property
    def stills(self) -> Path:
        return self.loaded.data_folder / FOLDER

    def ring(self) -> None:
        """Past the limit until there is an alarm of it."""
        self._until(120.0, ringing=True)

    def _until(self, pm10: float, *, ringing: bool) -> None:
        assert self.engine.alarms is not None
        self.instrument.show(pm10=pm10)
        for _ in range(12):
            if bool(self.engine.alarms.states()[0]["episode"]) is ringing:
                return
            self.run(60, 5)
        raise AssertionError("the alarm did not change")

    def calm(self) -> None:
        """Until the alarm is over."""
        self._until(20.0, ringing=False)

    def records(self, do: str) -> list[dict[str, object]]:
        self.engine.commit()
        return [dict(one.body) for one in snapshots.everything(self.engine.store) if one.body["do"] == do]

    def events(self, code: str) -> list[dict[str, object]]:
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]


@pytest.fixture
def eye() -> Iterator[Emulated]:
    with Emulated(Face(jpeg=cameras.JPEG)) as made:
        yield made


@pytest.fixture
def yard(tmp_path: Path, eye: Emulated) -> Iterator[Yard]:
    made = Yard(tmp_path, eye.port)
    yield made
    made.engine.shut_down()


def test_an_alarm_has_one_still_on_record_with_its_hash(yard: Yard, eye: Emulated) -> None:
    yard.camera._one_turn()
    assert yard.records("taken") == []  # it was looked at, and nothing kept
    yard.ring()
    yard.camera._one_turn()
    yard.camera._one_turn()
    (body,) = yard.records("taken")
    (kept,) = snapshots.kept(yard.engine.store)
    assert (body["alarm"], body["camera"], body["width"], kept.point) == ("dust", "gate", 1, "site")
    assert body["episode"] == body["asked"]
    assert (yard.stills / kept.file).read_bytes() == cameras.JPEG
    assert (yard.stills / kept.file).stat().st_mode & 0o777 == 0o640
    assert yard.events("snapshot_taken")[0]["sha256"] == body["sha256"]
    said = f"{kept.at.astimezone(yard.loaded.zone):%Y-%m-%d %H:%M:%S}"
    assert yard.camera.shown()["words"] == {"camera_last": said}  # the station's time, as on every screen


def test_a_restart_takes_no_second_still_of_the_same_alarm(yard: Yard) -> None:
    yard.ring()
    yard.camera._one_turn()
    yard.engine.commit()
    yard.restart()
    yard.camera._one_turn()
    assert len(yard.records("taken")) == 1


def test_a_storm_of_alarms_has_no_more_stills_than_an_hour_may_have(yard: Yard) -> None:
    for _ in range(3):
        yard.ring()
        yard.camera._one_turn()
        yard.calm()
        yard.camera._one_turn()
    assert len(yard.records("taken")) == 2
    yard.clock.advance(LATE.total_seconds())
    yard.camera._one_turn()
    (missed,) = yard.records("missed")
    assert missed["reason"] == "2 stills in an hour were taken (per_hour)"
    assert yard.events("snapshot_missed")[0]["alarm"] == "dust"


def test_stills_taken_under_a_clock_that_was_ahead_use_up_no_hour(yard: Yard) -> None:
    now = yard.clock.now()
    yard.camera._one_turn()
    yard.camera._taken_at = [now + timedelta(days=40)] * 2  # before the clock was set back
    yard.ring()
    yard.camera._one_turn()
    assert len(yard.records("taken")) == 1


def test_an_alarm_dated_ahead_of_a_clock_that_was_set_back_is_given_up_in_time(yard: Yard, eye: Emulated) -> None:
    eye.face.password = "another"
    yard.ring()
    yard.camera._one_turn()
    yard.clock.step(-86400.0)
    yard.camera._one_turn()
    assert yard.records("missed") == []
    yard.clock.advance(LATE.total_seconds() + 60)
    yard.camera._one_turn()
    assert len(yard.records("missed")) == 1


def test_an_alarm_whose_camera_is_dead_is_missed_with_the_reason_and_told_once(yard: Yard, eye: Emulated) -> None:
    eye.face.password = "another"
    yard.ring()
    for _ in range(4):
        yard.camera._one_turn()
    assert len(yard.events("beside_failed")) == 1
    assert "does not let this account in" in yard.camera.shown()["error"]
    assert yard.camera.shown()["words"]["camera_waiting"] == 1
    yard.clock.advance(LATE.total_seconds() + 60)
    yard.camera._one_turn()
    (missed,) = yard.records("missed")
    assert "does not let this account in" in str(missed["reason"])
    eye.face.password = "pass"
    yard.camera._one_turn()
    assert yard.camera.complaint == ""
    assert yard.records("taken") == []  # what it would show is not the alarm


def test_an_alarm_of_the_day_before_is_left_alone_after_a_restart(yard: Yard) -> None:
    yard.ring()
    yard.camera._one_turn()
    yard.engine.commit()
    yard.clock.advance(26 * 3600)
    yard.restart()
    yard.camera._one_turn()
    assert (len(yard.records("taken")), yard.records("missed")) == (1, [])


def test_an_alarm_that_began_while_the_station_was_off_is_missed(yard: Yard) -> None:
    yard.ring()
    yard.engine.commit()
    yard.clock.advance(LATE.total_seconds() + 1)
    yard.restart()
    yard.camera._one_turn()
    assert yard.records("missed")[0]["reason"] == "the station did not run when it began"


def test_a_still_of_a_real_stream_is_kept(tmp_path: Path) -> None:
    with cameras.streaming() as url:
        yard = Yard(tmp_path, 9)
        camera = yard.camera
        (tmp_path / "gate.password").write_text(cameras.ACCOUNT[1])
        camera.settings = CameraSettings(
            name="gate", url=url, user=cameras.ACCOUNT[0], password_file="gate.password", width=320
        )
        body = camera.take("Wang", "")
        yard.engine.shut_down()
    assert (body["width"], body["height"]) == (320, 180)


def test_a_person_has_a_still_taken(yard: Yard) -> None:
    assert yard.camera.running
    body = entry(yard.engine, {"by": "Wang Fang", "note": "gate open"})
    assert (body["by"], body["note"], body["alarm"]) == ("Wang Fang", "gate open", "")
    assert len(yard.records("taken")) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"by": "Wang", "camera": "gaet"}, 'there is no camera "gaet"; did you mean gate?; known: gate'),
        ({"camera": "gate"}, "--by NAME"),
        ({"by": "Wang\n", "note": "a\nb"}, "--by NAME"),
    ],
)
def test_a_still_for_nobody_or_of_no_camera_is_refused(yard: Yard, asked: dict[str, str], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        entry(yard.engine, asked)
    assert said in str(caught.value)


def test_one_still_at_a_time(yard: Yard) -> None:
    camera = yard.camera
    camera.settings = CameraSettings(name="gate", url="http://127.0.0.1/", kind="jpeg", timeout_seconds=2)
    with camera._alone(0.0) as free, pytest.MonkeyPatch.context() as patch:
        assert free
        patch.setattr("station.camera.PATIENCE", -1.99)
        with pytest.raises(StationError, match="is busy with another still"):
            camera.take("Wang", "")


# -- room


def test_the_oldest_stills_leave_at_the_budget_and_that_is_on_record(yard: Yard, eye: Emulated) -> None:
    eye.face.jpeg = cameras.JPEG[:-2] + b"\0" * 3_600_000 + b"\xff\xd9"
    camera = yard.camera
    for n in range(3):
        camera.take("Wang", f"{n}")
        yard.clock.advance(1)
        yard.engine.commit()
    assert [one.body["note"] for one in snapshots.kept(yard.engine.store)] == ["1", "2"]
    (left,) = yard.records("left")
    assert (left["why"], len(left["files"]), left["bytes"]) == ("budget", 1, len(eye.face.jpeg))  # type: ignore[arg-type]
    assert yard.events("snapshot_left")[0]["count"] == 1
    assert len(list(yard.stills.iterdir())) == 2
    assert list(snapshots.faulty(yard.stills, snapshots.kept(yard.engine.store))) == []


def test_a_still_whose_record_grows_too_old_leaves_first(yard: Yard) -> None:
    yard.camera.take("Wang", "")
    yard.engine.commit()
    yard.clock.advance(timedelta(days=1827).total_seconds())
    yard.camera._tidy_now_and_then()
    assert yard.records("left")[0]["why"] == "age"
    assert list(yard.stills.iterdir()) == []


def test_a_file_that_should_have_left_does_so_after_a_power_cut(yard: Yard) -> None:
    yard.camera.take("Wang", "")
    yard.engine.commit()
    (one,) = snapshots.kept(yard.engine.store)
    data = (yard.stills / one.file).read_bytes()
    yard.camera._let_leave([one], "budget")
    (yard.stills / one.file).write_bytes(data)
    yard.camera._tidy_now_and_then()
    assert list(yard.stills.iterdir()) == []


def test_stills_stop_at_the_floor_of_the_disk(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(f_bavail=LEAST_FREE + (1 << 20), f_frsize=1)
    monkeypatch.setattr("station.camera.os.statvfs", lambda path: room)
    with pytest.raises(StoreError, match="68 MB are free on this disk and 67 MB stay free; no still is kept"):
        yard.camera.take("Wang", "")


def test_a_disk_that_is_full_is_a_sentence_and_leaves_nothing_half(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("station.snapshots.os.fsync", full)
    with pytest.raises(StoreError, match=r"the still cannot be kept \(No space left on device\)"):
        yard.camera.take("Wang", "")
    assert list(yard.stills.iterdir()) == []
    monkeypatch.undo()
    assert yard.records("taken") == []


# -- held against the record


def test_a_changed_or_missing_picture_is_named_by_verify(
    tmp_path: Path, eye: Emulated, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    yard = Yard(tmp_path, eye.port)
    for n in range(2):
        yard.camera.take("Wang", f"{n}")
        yard.clock.advance(1)
    yard.engine.commit()
    first, second = snapshots.kept(yard.engine.store)
    yard.engine.shut_down()
    here, config = Here(monkeypatch, capfd), tmp_path / "station.toml"
    assert here("snapshot", "verify", "--config", config).out == (
        "Every still on record is as it was taken: 2 files read.\n"
    )
    assert here("verify", "--config", config).code == 0
    (yard.stills / first.file).unlink()
    (yard.stills / second.file).write_bytes(cameras.JPEG + b"\0")
    (yard.stills / "other.jpg").write_bytes(b"")
    done = here("snapshot", "verify", "--config", config)
    assert done.code == 1
    assert f"the file of still {first.id} is gone" in done.out
    assert f"the file of still {second.id} is not as it was taken" in done.out
    assert "other.jpg is in the folder and on no record" in done.out
    done = here("verify", "--config", config, "--json")
    assert (done.code, [one["state"] for one in json.loads(done.out)["bad_stills"]]) == (1, ["gone", "changed"])
    assert "still" in here("verify", "--config", config).out
    done = here("snapshot", "list", "--config", config)
    assert done.code == 0
    assert "Wang" in done.out
    assert len(json.loads(here("snapshot", "list", "--config", config, "--json").out)["stills"]) == 2
    done = here("snapshot", "take", "--by", "Wang", "--config", config)
    assert (done.code, done.said) == (69, [f"{done.said[0]}"])
    assert "no station is running" in done.err
    monkeypatch.chdir(tmp_path)
    assert here("report", "day", "2026-03-01", "--config", config).code == 0
    report = (tmp_path / "report-2026-03-01.html").read_text(encoding="utf-8")
    assert first.body["sha256"] in report
    assert "Stills of cameras" in report


def test_a_record_names_no_file_outside(tmp_path: Path) -> None:
    body = {"file": "../../etc/passwd", "bytes": 1, "sha256": ""}
    assert snapshots.look(tmp_path, snapshots.Kept(1, NOON, "", body)) == (b"", "gone")


# -- what check says


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("http://127.0.0.1:9/still", "rtsp://127.0.0.1/1", "is no address such as http://"),
        ("http://127.0.0.1:9/still", "http://a:b@h/", "holds an account"),
        ("http://127.0.0.1:9/still", "http://127.0.0.1:99999/", "is no address"),
        ("http://127.0.0.1:9/still", "http://h/a b", "is no address"),
        ('user = "admin"', 'user = "a:b"', "holds a colon"),
        ('user = "admin"\n', "", "user and password_file go together"),
        ('"gate.password"', '"gaet.password"', "gaet.password cannot be read (No such file or directory); make it"),
        ("per_hour = 2", 'alarms = ["dsut"]', 'there is no alarm "dsut"; did you mean dust?'),
        ("per_hour = 2", "per_hour = 0", "per_hour"),
        ('"jpeg"', '"mjpeg"', "did you mean jpeg?"),
    ],
)
def test_a_table_that_cannot_work_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    from station.config import load

    (tmp_path / "gate.password").write_text("pass")
    made = configure(tmp_path)
    table = TABLE.replace("PORT", "9")
    assert old in table
    made.write_text(CONFIG + DUST + table.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(made)
    assert said in str(caught.value)


def test_check_says_that_ffmpeg_is_not_there_and_a_password_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from station.config import load

    (tmp_path / "gate.password").write_text("pass")
    (tmp_path / "gate.password").chmod(0o644)
    made = configure(tmp_path)
    made.write_text(CONFIG + DUST + TABLE.replace("jpeg", "rtsp").replace("http", "rtsp").replace("PORT", "9"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = "\n".join(load(made).warnings)
    assert "ffmpeg is not installed" in said
    assert "can be read by others; chmod 600 it" in said
