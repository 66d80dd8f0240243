"""A still of an alarm goes to a platform over HTTPS, with its picture, and only where that was asked for."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import uplink.http
from drivers.onvif_emulator import Camera as Emulated
from drivers.onvif_emulator import Face
from station import snapshots
from station.camera import Camera
from tests import cameras
from tests.station.test_alarming import DUST
from tests.station.test_camera import TABLE
from tests.station.test_http_station import HEAD, UPLINK
from tests.station.test_three_platforms import Three
from uplink.http import template as templates
from uplink.http.emulator import Receiver

SCHEMA = json.loads((Path(uplink.http.__file__).parent / "schema.json").read_text(encoding="utf-8"))


@contextmanager
def photographed(
    folder: Path, receiver: Receiver, kinds: str = '"alarm", "snapshot"', template: str = "niutang",
    spoil: Callable[[Path], None] = lambda path: None, jpeg: bytes = cameras.JPEG,
) -> Iterator[tuple[snapshots.Kept, list[dict[str, Any]]]]:  # fmt: skip
    """A station with an alarm and its still, and what the platform has of it."""
    (folder / "gate.password").write_text("pass")
    (folder / "gate.password").chmod(0o600)
    with Emulated(Face(jpeg=jpeg)) as eye:
        one = UPLINK.format(url=receiver.url).replace('"alarm"]', f"{kinds}]")
        one = one.replace("plain = true\n", f'plain = true\ntemplate = "{template}"\n')
        station = Three(folder, HEAD + one + DUST + TABLE.replace("PORT", str(eye.port)))
        camera = next(one for one in station.engine.beside if isinstance(one, Camera))
        try:
            station.instrument.show(pm10=120.0)
            for _ in range(12):
                station.run(60, 5)
                if station.engine.alarms is not None and station.engine.alarms.states()[0]["episode"]:
                    break
            assert station.until(lambda: not any(d.owed for d in station.engine.depths().values()))
            camera._one_turn()
            assert camera.complaint == ""
            spoil(next((station.loaded.data_folder / snapshots.FOLDER).iterdir()))
            station.run(5, 5)
            assert station.until(lambda: not any(d.owed for d in station.engine.depths().values()))
            (still,) = snapshots.kept(station.engine.store)
        finally:
            station.engine.shut_down()
    bodies = [json.loads(request.body) for request in receiver.requests]
    if template == "niutang":
        validator = jsonschema.Draft202012Validator(SCHEMA)
        assert all(validator.is_valid(body) for body in bodies)
    yield still, [one for body in bodies for one in body["records"] if one["kind"] == "snapshot"]


def test_a_platform_that_takes_stills_gets_the_picture_and_its_hash(tmp_path: Path) -> None:
    with Receiver() as receiver, photographed(tmp_path, receiver) as (still, records):
        (record,) = records
        assert b64decode(record["picture"]) == cameras.JPEG
        assert record["event"]["sha256"] == still.body["sha256"]
        assert (record["point"], record["event"]["alarm"]) == ("site", "dust")
        assert "file" not in record["event"]
        spoiled = record | {"picture": "aaaa"}
        body = json.dumps({"records": [spoiled]}).encode()
        assert receiver.answer_to("/records", {}, body)[0] == 400
        assert receiver.answer_to("/records", {}, body.replace(b"aaaa", b"a*"))[0] == 400


def test_the_default_sends_none(tmp_path: Path) -> None:
    with Receiver() as receiver, photographed(tmp_path, receiver, kinds='"alarm"') as (_, records):
        assert records == []


def test_a_template_without_a_text_for_stills_sends_none(tmp_path: Path) -> None:
    text = (templates.SHIPPED / "niutang.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text("".join(x for x in text.splitlines(True) if not x.startswith("snapshot")))
    with Receiver() as receiver, photographed(tmp_path, receiver, template="own.toml") as (_, records):
        assert records == []


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_picture_that_is_not_as_on_record_is_not_sent(tmp_path: Path, how: str) -> None:
    def spoil(path: Path) -> None:
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(cameras.JPEG + b"\0")

    with Receiver() as receiver, photographed(tmp_path, receiver, spoil=spoil) as (still, records):
        (record,) = records
        assert record["picture"] == ""
        assert record["event"]["sha256"] == still.body["sha256"]


def test_a_picture_larger_than_the_platform_takes_is_left_out(tmp_path: Path) -> None:
    text = (templates.SHIPPED / "niutang.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(text.replace("[record]\n", "[record]\npicture_kb = 1\n"))
    jpeg = cameras.JPEG[:-2] + b"\0" * 2000 + b"\xff\xd9"
    with Receiver() as receiver, photographed(tmp_path, receiver, template="own.toml", jpeg=jpeg) as (_, records):
        (record,) = records
        assert record["picture"] == ""


def test_a_picture_may_stand_in_the_text_of_a_still_alone() -> None:
    text = (templates.SHIPPED / "niutang.toml").read_text(encoding="utf-8")
    with pytest.raises(templates.ConfigError, match=r"record.event: \$picture is not known here"):
        templates.parse(text.replace('"event":$event}', '"event":"$picture"}', 1))
