"""/metrics of a station that lives, of one that does not, and of a board; who may read it; /healthz."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families as parsed
from prometheus_client.samples import Sample

from station.clock import boot_id
from station.command_line import SYSTEM_SOCKET
from station.config import Loaded, load
from station.host import Host
from station.model import ConfigError, Mark, replace
from station.page import metrics as page_metrics
from station.page.app import create_app
from station.page.metrics import METRICS, Collector, health
from station.page.source import Source
from station.texts import SYSTEM_CONFIG
from tests.page import filled
from tests.page.filled import CONFIG, NOW, FixedSource
from tests.page.house import House

HOST = {"Host": "localhost:8080"}


def station(folder: Path, config: str = CONFIG) -> Loaded:
    """A station with an empty record."""
    return filled.station(folder, config, filled=False)


def scraped(client: FlaskClient) -> dict[str, list[Sample]]:
    """Samples by their name."""
    answer = client.get("/metrics", headers=HOST)
    assert answer.status_code == 200, answer.text
    found: dict[str, list[Sample]] = {}
    for family in parsed(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def one(found: dict[str, list[Sample]], name: str, **labels: str) -> float:
    """The value of the only sample *name* with these *labels*."""
    (sample,) = [s for s in found["niutang_" + name] if labels.items() <= s.labels.items()]
    return sample.value


def test_a_living_station_tells_everything_it_knows(house: House) -> None:
    found = scraped(house.client())

    assert one(found, "up") == 1
    assert one(found, "reading_value", point="river", parameter="ph", device="sonde", unit="") == 7.625
    assert one(found, "reading_value", parameter="so2", unit="mg/m³") == 120
    assert one(found, "reading_mark", parameter="ph") in set(Mark)
    assert 0 <= one(found, "reading_age_seconds", parameter="ph") < 60
    assert one(found, "device_up", bus="line", device="sonde", unit_id="2") == 1
    assert one(found, "bus_requests_total", device="sonde") > 10
    assert one(found, "bus_errors_total", device="cems", unit_id="1", error="crc_errors") == 0
    (platform,) = house.source.status()["platforms"]
    assert one(found, "platform_connected", platform="district") == platform["connected"]
    assert one(found, "outbox_messages", platform="district", state="parked") == platform["parked"]
    assert one(found, "outbox_messages", platform="district", state="owed") >= 0
    assert one(found, "outbox_oldest_age_seconds", platform="district") >= 0
    states = {s.labels["state"]: s.value for s in found["niutang_alarm_state"] if s.labels["alarm"] == "so2-high"}
    assert (set(states), sum(states.values())) == (set(page_metrics.STATES), 1)
    assert one(found, "qc_check_overdue", check="span") == 0
    assert one(found, "clock_trust", source="ntp") == 1
    assert one(found, "disk_free_bytes") > 0
    assert one(found, "database_bytes") > 4096
    assert one(found, "readings_stored_total") > 100
    (info,) = found["niutang_station_info"]
    assert info.labels["name"] == "Qianxi 千溪站"


def test_what_is_exposed_is_what_is_declared(house: House) -> None:
    for family in parsed(house.client().get("/metrics", headers=HOST).text):
        name = family.name.removeprefix("niutang_")
        kind, text, labels = METRICS[name.removesuffix("_info")]
        assert family.type == ("gauge" if kind == "info" else kind)
        assert family.documentation == text
        for sample in family.samples:
            assert kind == "info" or set(sample.labels) == set(labels)


def test_names_follow_the_conventions() -> None:
    for name, (kind, text, labels) in METRICS.items():
        assert name.replace("_", "").isalnum()
        assert name == name.lower()
        assert text.endswith(".")
        assert kind in ("gauge", "counter", "info")
        assert not name.endswith(("_total", "_info", "_ms", "_minutes", "_percent", "_mb"))
        assert all(label.replace("_", "").isalpha() for label in labels)


def test_a_station_that_does_not_run_says_what_its_record_says(tmp_path: Path) -> None:
    loaded = filled.station(tmp_path)

    found = scraped(create_app(loaded, FixedSource(loaded)).test_client())

    assert one(found, "up") == 0
    assert one(found, "reading_current", parameter="pm25") == 0
    assert "niutang_bus_requests_total" not in found
    assert "niutang_start_time_seconds" not in found


def test_without_a_database_the_absence_is_told(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(CONFIG, encoding="utf-8")
    loaded = load(tmp_path / "station.toml")

    found = scraped(create_app(loaded, Source(loaded)).test_client())

    assert one(found, "up") == 0
    assert "niutang_database_bytes" not in found


def live(**more: object) -> dict[str, object]:
    """What a running station says that has next to nothing."""
    return {"running": True, "started": NOW.isoformat(), "store": {"error": ""}, "devices": [], "platforms": []} | more


def test_names_from_outside_are_escaped_and_bounded(tmp_path: Path) -> None:
    loaded = station(tmp_path)
    name = 'x" } niutang_up 7\n# HELP\\' + "y" * 500
    value = {"point": name, "parameter": "pm25", "value": 1.0, "unit": "µg/m³", "mark": "N", "time": NOW.isoformat()}
    device = {"name": name, "bus": name, "answers": True, "last_reply": None, "missed": 0, "values": [value] * 3}
    source = FixedSource(loaded, live(devices=[device]))

    found = scraped(create_app(loaded, source).test_client())

    assert len(found["niutang_up"]) == 1
    labels = found["niutang_reading_value"][0].labels
    assert len(labels["point"]) == page_metrics.LONGEST_LABEL
    assert labels["point"].startswith('x" } niutang_up 7 # HELP\\y')
    assert one(found, "readings_left_out") == 0


def test_names_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """Two samples of the same labels, and Prometheus takes nothing of the whole scrape."""
    loaded = station(tmp_path)
    alarms = [
        {"name": "y" * 90 + end, "point": "gate", "parameter": "pm25", "state": "normal"} for end in ("a", "b", "b")
    ]

    answer = create_app(loaded, FixedSource(loaded, live(alarms=alarms))).test_client().get("/metrics", headers=HOST)

    lines = [line.rpartition(" ")[0] for line in answer.text.splitlines() if "niutang_alarm_state{" in line]
    assert len(lines) == len(set(lines)) == 2 * len(page_metrics.STATES)
    assert all(len(line) < 2 * page_metrics.LONGEST_LABEL + 60 for line in lines)


def test_too_many_values_are_left_out_and_counted(tmp_path: Path) -> None:
    loaded = station(tmp_path)
    value = {"point": "gate", "value": 1.0, "unit": "", "mark": "N", "time": NOW.isoformat()}
    values = [value | {"parameter": f"p{n}"} for n in range(2100)]
    device = {"name": "d", "bus": "b", "answers": True, "last_reply": None, "missed": 0, "values": values}

    found = scraped(create_app(loaded, FixedSource(loaded, live(devices=[device]))).test_client())

    assert len(found["niutang_reading_value"]) == 2000
    assert one(found, "readings_left_out") == 100


def test_seals_copies_and_the_clock_are_told(tmp_path: Path) -> None:
    loaded = station(tmp_path)
    at = NOW - timedelta(hours=1)
    status = live(
        seal={"epoch": 7, "head": "00", "at_ms": int(at.timestamp() * 1000), "keyed": True},
        backup={"time": at.isoformat(), "bytes": 4096},
        clock={"trust": "rtc", "waiting": 3, "platforms": {"district": {"seconds": -2.5}}},
    )

    found = scraped(create_app(loaded, FixedSource(loaded, status)).test_client())

    assert one(found, "seal_head_age_seconds") == 3600
    assert (one(found, "seal_blocks_total"), one(found, "seal_keyed")) == (7, 1)
    assert (one(found, "backup_age_seconds"), one(found, "backup_size_bytes")) == (3600, 4096)
    assert (one(found, "clock_trust", source="rtc"), one(found, "clock_trust", source="ntp")) == (1, 0)
    assert one(found, "clock_waiting_readings") == 3
    assert one(found, "platform_clock_offset_seconds", platform="district") == -2.5


def test_the_board_tells_heat_and_supply(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, text in {
        "sys/class/thermal/thermal_zone0/temp": "61250\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    }.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    source = FixedSource(station(tmp_path / "s"), live())

    found = {s.name + str(sorted(s.labels.items())): s.value
             for family in Collector(source, Host(root)).collect() for s in family.samples}  # fmt: skip

    assert found["niutang_host_temperature_celsius[]"] == 61.25
    for name in ("undervoltage", "throttled"):
        for since in ("now", "boot"):
            assert found[f"niutang_host_{name}[('since', '{since}')]"] == 1


def test_a_host_that_is_no_pi_has_no_such_metrics(tmp_path: Path) -> None:
    names = {family.name for family in Collector(FixedSource(station(tmp_path), live()), Host(tmp_path)).collect()}

    assert not any("host" in name for name in names)


@pytest.fixture
def guarded(tmp_path: Path) -> FlaskClient:
    (tmp_path / "scrape").write_text("a long random word\n")
    more = 'metrics_from = ["192.168.1.20", "10.0.0.0/24", "fd00::/8"]\nmetrics_token_file = "scrape"\n'
    loaded = station(tmp_path, CONFIG + more)
    return create_app(loaded, FixedSource(loaded, live())).test_client()


@pytest.mark.parametrize(
    ("address", "headers", "code"),
    [
        ("127.0.0.1", {"Host": "localhost:8080"}, 200),
        ("::1", {"Host": "[::1]:8080"}, 200),
        ("::ffff:127.0.0.1", {"Host": "127.0.0.1:8080"}, 200),
        ("192.168.1.20", {"Host": "localhost"}, 200),
        ("::ffff:10.0.0.9", {"Host": "localhost"}, 200),
        ("fd00::1", {"Host": "localhost"}, 200),
        ("192.168.1.21", {"Host": "localhost"}, 403),
        ("", {"Host": "localhost"}, 403),
        ("192.168.1.21", {"Host": "localhost", "Authorization": "Bearer a long random word"}, 200),
        ("192.168.1.21", {"Host": "localhost", "Authorization": "Bearer a long random"}, 403),
        ("192.168.1.21", {"Host": "localhost", "Authorization": "Bearer "}, 403),
        ("192.168.1.21", {"Host": "localhost", "Authorization": "Basic a long random word"}, 403),
        ("192.168.1.21", {"Host": "localhost", "Authorization": "Bearer ä"}, 403),
    ],
)
def test_who_may_read_metrics(guarded: FlaskClient, address: str, headers: dict[str, str], code: int) -> None:
    answer = guarded.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address})

    assert answer.status_code == code


def test_behind_a_proxy_by_another_name_nobody_passes_for_this_machine(tmp_path: Path) -> None:
    loaded = station(tmp_path, CONFIG + 'hosts = ["station.example"]\n')
    client = create_app(loaded, FixedSource(loaded, live())).test_client()

    answer = client.get("/metrics", headers={"Host": "station.example"}, environ_base={"REMOTE_ADDR": "127.0.0.1"})

    assert answer.status_code == 403


def test_an_empty_token_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "scrape").write_text("\n")
    loaded = station(tmp_path, CONFIG + 'metrics_token_file = "scrape"\n')

    with pytest.raises(ConfigError, match="scrape is empty; put a long random word into it"):
        create_app(loaded, FixedSource(loaded, live()))


def test_what_is_no_address_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(CONFIG + 'metrics_from = ["everybody"]\n', encoding="utf-8")

    with pytest.raises(ConfigError, match=r'page.metrics_from\[0\]: "everybody" is not an address or network'):
        load(tmp_path / "station.toml")


def test_openmetrics_is_spoken_to_who_asks_for_it(house: House) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    answer = house.client().get("/metrics", headers=HOST | {"Accept": accept})

    assert answer.content_type.startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


# -- /healthz


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Path, FlaskClient]:
    loaded = station(tmp_path)
    return tmp_path / "health.json", create_app(loaded, FixedSource(loaded, live())).test_client()


def sign(path: Path, monotonic: float, troubles: list[str], boot: str = "") -> None:
    said = {"monotonic": monotonic, "boot": boot or boot_id(), "troubles": troubles, "store_error": "secret path"}
    path.write_text(json.dumps(said), encoding="utf-8")


def test_health_is_that_of_the_sign_of_life(watched: tuple[Path, FlaskClient], monkeypatch: pytest.MonkeyPatch) -> None:
    path, client = watched
    read = page_metrics.sign_of_life
    monkeypatch.setattr(page_metrics, "sign_of_life", lambda file, longest: read(file, longest, lambda: 1000.0))

    def asked() -> tuple[int, str, list[str]]:
        answer = client.get("/healthz", headers=HOST, environ_base={"REMOTE_ADDR": "10.9.9.9"})
        assert "secret" not in answer.text
        assert "/" not in answer.text
        said = json.loads(answer.text)
        return answer.status_code, said["state"], said["reasons"]

    assert asked() == (503, "absent", ["absent"])
    sign(path, 990, [])
    assert asked() == (200, "well", [])
    sign(path, 990, ["store", "devices"])
    assert asked() == (503, "trouble", ["store", "devices"])
    sign(path, 800, [])
    assert asked() == (503, "stale", ["stale"])
    sign(path, 990, [], "another boot")
    assert asked() == (503, "stale", ["stale"])
    path.write_text("{", encoding="utf-8")
    assert asked() == (503, "stale", ["stale"])


def test_the_sign_of_life_is_looked_for_beside_the_sockets(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(CONFIG.replace('health_file = "health.json"', ""), encoding="utf-8")
    loaded = load(tmp_path / "station.toml")
    (tmp_path / "run").mkdir()
    source = Source(loaded, (tmp_path / "data" / "control.sock", tmp_path / "run" / "control.sock"))

    assert page_metrics.health_file(source) == tmp_path / "data" / "health.json"
    sign(tmp_path / "run" / "health.json", 0, [])
    assert page_metrics.health_file(source) == tmp_path / "run" / "health.json"
    assert health(source)["state"] == "stale"


def test_an_installed_station_is_found_where_its_unit_listens(tmp_path: Path) -> None:
    installed = replace(station(tmp_path), path=SYSTEM_CONFIG)

    assert Source(installed).sockets == (installed.control_socket, SYSTEM_SOCKET)
    assert Source(station(tmp_path)).sockets == (tmp_path / "data" / "control.sock",)


def test_supply_and_position_are_figures_and_what_is_not_known_is_none() -> None:
    status = {
        "beside": [
            {"table": "supply", "name": "nut", "error": "", "on_battery": True, "percent": 40.0, "volts": None},
            {"table": "position", "name": "gpsd", "error": "silent", "fix": False, "moved": True},
        ]
    }
    rows = page_metrics._beside(None, status, NOW)  # type: ignore[arg-type]  # it asks nothing of the source
    found = {(name, labels): value for name, labels, value in rows}
    assert found == {
        ("beside_failing", ("supply", "nut")): 0.0,
        ("supply_on_battery", ()): 1.0,
        ("supply_battery_ratio", ()): 0.4,
        ("beside_failing", ("position", "gpsd")): 1.0,
        ("position_fix", ()): 0.0,
        ("position_moved", ()): 1.0,
    }


def test_the_modem_is_told(tmp_path: Path) -> None:
    loaded = station(tmp_path)
    seen = {
        "why_down": "", "registration": "roaming", "rsrp": -85, "sinr": None, "rssi": -67, "clock_offset": 1.5,
        "steps_today": 2, "month": "2026-12", "received": 1000, "sent": 500, "budget_mb": 30, "operator": 'X"',
        "apn": "a", "iccid": "1", "imei": "2",
    }  # fmt: skip
    row = {"table": "modem", "name": "4G", "error": "", "silent": 0, "words": {}, "modem": seen}
    other = {"table": "screen", "name": "gate", "error": "", "silent": 0}

    found = scraped(create_app(loaded, FixedSource(loaded, live(beside=[row, other]))).test_client())

    assert (one(found, "modem_link_down", modem="4G"), one(found, "modem_registered", modem="4G")) == (0, 1)
    assert (one(found, "modem_rsrp_dbm", modem="4G"), "niutang_modem_sinr_db" in found) == (-85, False)
    assert one(found, "modem_month_bytes", modem="4G", direction="sent") == 500
    assert one(found, "modem_budget_bytes", modem="4G") == 30_000_000
    assert one(found, "modem_identity", modem="4G", operator='X"', imei="2") == 1
