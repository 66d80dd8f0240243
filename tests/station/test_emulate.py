"""`station emulate bus` serves instruments that have a line to themselves, too."""

from pathlib import Path

import pytest

from drivers.base import DeviceBusy, NoReply
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.profile import load as load_profile
from station.config import load
from station.emulate import Lines, Replay, lines, obey_lines
from station.model import ConfigError, WrongArgument
from tests.station.commands import configure

CONFIG = """
[station]
name = "streams"
data_folder = "data"

[[point]]
code = "site"
name = "Site"
st = "39"

[[bus]]
name = "balance"
port = "balance"

[[bus.device]]
name = "jar"
driver = "stream"
profile = "mtsics-balance"
point = "site"
"""


def test_a_replayed_balance_is_served_and_can_fail(tmp_path: Path) -> None:
    """At the configured port, with values of a CSV file, faults switched by name."""
    (tmp_path / "station.toml").write_text(CONFIG)
    (tmp_path / "jar.csv").write_text("time,collector_mass\n2026-06-01T00:00:00Z,1042.3817\n")
    loaded = load(tmp_path / "station.toml")
    (bus,) = loaded.config.bus
    with lines(loaded, {"jar": Replay(tmp_path / "jar.csv")}) as found:
        line = Bus(bus)
        (jar,) = loaded.devices(bus, line)
        assert [s.value for s in jar.read()] == [1042.3817]
        found.set_fault("jar", "silent")
        with pytest.raises(NoReply):
            jar.read()
        with pytest.raises(WrongArgument, match=r'^there is no fault "exception"; known: none, silent, late, noise'):
            found.set_fault("jar", "exception")
        found.set_fault("jar", "none")
        assert [s.value for s in jar.read()] == [1042.3817]
        line.close()


def test_a_second_emulator_does_not_take_over_the_lines_of_the_first(tmp_path: Path) -> None:
    """Wherever the names lead; when the first is gone, and be it killed, the next may."""
    (tmp_path / "station.toml").write_text(CONFIG)
    (tmp_path / "here").symlink_to(tmp_path)
    loaded = load(tmp_path / "station.toml")
    sentence = r"here/balance: is served by another emulator; stop it, or use --links FOLDER$"
    with lines(loaded, {}) as first:
        served = (tmp_path / "balance").readlink()
        with pytest.raises(ConfigError, match=sentence), lines(loaded, {}, tmp_path / "here"):
            pass
        assert (tmp_path / "balance").readlink() == served
        assert first.buses["balance"].path == str(tmp_path / "balance")
    with lines(loaded, {}):
        assert (tmp_path / "balance").is_symlink()


def test_faults_of_a_device_and_of_its_line_are_mixed_by_rate(tmp_path: Path) -> None:
    """By the names in the configuration; a rate that is none is named."""
    device = 'profile = "laumas-tlb"\nunit_id = 1\n'
    (tmp_path / "station.toml").write_text(
        CONFIG.replace('driver = "stream"\nprofile = "mtsics-balance"\n', device)
        .replace('"jar"', '"scale"')
        .replace('port = "balance"', 'port = "balance"\nbaudrate = 115200\ngap_ms = 0')
    )
    loaded = load(tmp_path / "station.toml")
    (bus,) = loaded.config.bus
    with lines(loaded, {}, seed=3) as found:
        line = Bus(bus)
        (scale,) = loaded.devices(bus, line)
        found.set_fault("scale", "busy:0.5")
        found.set_fault("balance", "echo:0.5")
        refused = 0
        for _ in range(40):
            try:
                scale.read()
            except DeviceBusy:
                refused += 1
        assert 10 <= refused <= 30
        assert 10 <= line.statistics[1].echoes <= 30
        found.set_fault("scale", "none")
        found.set_fault("balance", "none")
        assert scale.read()
        with pytest.raises(
            WrongArgument, match=r"^scale: busy:2: the rate is not a number from 0 to 1, as in busy:0.1$"
        ):
            found.set_fault("scale", "busy:2")
        with pytest.raises(WrongArgument, match=r'^there is no fault "late"; known: none, echo, short-echo, crackle'):
            found.set_fault("balance", "late")
        line.close()


def test_what_happens_to_an_instrument_is_typed_as_a_fault_is(tmp_path: Path) -> None:
    """A wiper, a power cut; it is no fault, and no rate goes with it."""
    unit = EmulatedUnit(load_profile("yosemitech-y4000"))
    found = Lines(units={"sonde": unit})
    found.set_fault("sonde", "trouble")
    assert len(unit.conditions) == len(unit.profile.status)
    found.set_fault("sonde", "none")
    assert unit.conditions == set()
    with pytest.raises(WrongArgument, match='there is no fault "wipper"'):
        found.set_fault("sonde", "wipper")


def test_an_emulated_instrument_is_put_into_something_by_typing_it(tmp_path: Path) -> None:
    """As a bottle or a buffer is put in: the other values stay; what cannot be is said in a sentence."""
    path = configure(tmp_path)
    loaded = load(path)
    (bus,) = loaded.config.bus
    with lines(loaded, {}) as found:
        line = Bus(bus)
        (dust,) = loaded.devices(bus, line)
        obey = obey_lines(found)
        assert obey("dust pm25=82.5") == "dust measures pm25 82.5 from now on"
        assert obey("dust pm25 = 82") == "dust measures pm25 82 from now on"
        assert {s.parameter: s.value for s in dust.read()} == {"pm25": 82.0, "pm10": 68.9}
        line.close()
        for typed, said in (
            ("dust ph=7", 'dust measures no "ph"; known: '),
            ("dust pm2=7", 'dust measures no "pm2"; did you mean pm25?'),
            ("dust pm25=many", 'dust: "many" is not a number such as 12.5'),
            ("dust pm25=nan", 'dust: "nan" is not a number such as 12.5'),
            ("duster pm25=1", '"duster" is no emulated Modbus device; known: dust'),
            ("pm25=1", '"" is no emulated Modbus device; known: dust'),
        ):
            with pytest.raises(WrongArgument) as error:
                obey(typed)
            assert str(error.value).startswith(said)
