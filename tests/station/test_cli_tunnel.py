"""`station tunnel` against a running station, killed and started again, in both languages."""

from __future__ import annotations

import json
from pathlib import Path

from station import tunnelhold
from station.config import load
from tests.station.commands import answer, daemon, station, until
from tests.station.conftest import CONFIG

TUNNEL = '\n[tunnel]\nmost_hours = 4\nstate_file = "state.json"\n'


def configured(tmp_path: Path, text: str = TUNNEL) -> Path:
    config = tmp_path / "station.toml"
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    config.write_text(CONFIG + text.replace('"state.json"', json.dumps(str(tmp_path / "state.json"))))
    return config


def test_a_technician_opens_it_and_it_stays_over_kill_9(tmp_path: Path) -> None:
    config = configured(tmp_path)
    where, wanted = ("--config", config), load(config).data_folder / "tunnel" / "until"
    with daemon(config) as first:
        assert station("tunnel", "status", *where).out == "No tunnel is wanted.\nNothing is connected.\n"
        refused = station("tunnel", "on", "--by", "li", "--hours", "5", *where)
        assert refused.code != 0
        assert "up to 4 h" in refused.err
        assert not wanted.exists()
        opened = station("tunnel", "on", "--by", "li", "--hours", "1", "--reason", "profile", *where)
        assert "switched on by li" in opened.out
        assert 3590 < tunnelhold.seconds_left(wanted) <= 3600
        first.process.kill()
    assert wanted.exists()
    with daemon(config):
        until(lambda: json.loads(station("tunnel", "status", "--json", *where).out)["on"])
        assert 3500 < tunnelhold.seconds_left(wanted) <= 3600
        shown = station("status", *where, env={"LANG": "zh_CN.UTF-8"})
        assert "远程通道" in shown.out
        assert "开至" in shown.out
        assert "未连接" in shown.out
        closed = station("tunnel", "off", "--by", "li", "--lang", "zh", *where)
        assert closed.out == "通道未开启。\n没有连接。\n"
        assert not wanted.exists()
        rows = json.loads(station("events", "--json", *where).out)["events"]
        codes = [row["code"] for row in rows if row["code"].startswith("tunnel")]
        assert sorted(codes) == ["tunnel_off", "tunnel_on"]


def test_orders_that_are_none_are_refused_with_a_sentence(tmp_path: Path) -> None:
    config = configured(tmp_path)
    where = ("--config", config)
    with daemon(config):
        missing = station("tunnel", "order", tmp_path / "order.json", *where)
        assert "order.json: cannot be read (No such file or directory)" in missing.err
        (tmp_path / "order.json").write_text("{}")
        (tmp_path / "order.json.sig").write_bytes(b"\xff")
        assert "is no text in UTF-8" in station("tunnel", "order", tmp_path / "order.json", *where).err
        (tmp_path / "order.json.sig").write_text("x")
        done = station("tunnel", "order", tmp_path / "order.json", *where)
        assert done.code == 1
        assert "niutang-order-1" in done.err or "clock is not trusted" in done.err


def test_without_the_table_or_a_station_there_is_none(tmp_path: Path) -> None:
    config = configured(tmp_path, "")
    assert station("tunnel", "on", "--by", "li", "--config", config).code == 69
    with daemon(config):
        assert "no [tunnel]" in station("tunnel", "on", "--by", "li", "--config", config).err
        assert answer(load(config).control_socket, "status").get("beside") is None


def test_a_table_that_cannot_be_is_refused_with_its_line(tmp_path: Path) -> None:
    done = station("check", configured(tmp_path, "\n[tunnel]\nhours = 8\nmost_hours = 4\n"))
    assert done.code == 1
    assert "tunnel.hours: 8 h are more than most_hours (4)" in done.err + done.out
