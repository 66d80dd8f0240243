"""station/facts.py: what install.sh asks of the program, as it is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from station.facts import beneath, main
from station.store import SCHEMA_VERSION, Store
from station.version import VERSION

CONFIG = """
[station]
name = "s"
data_folder = "/var/lib/niutang-station"
[[point]]
code = "p"
name = "p"
st = "22"
[[uplink]]
name = "a"
standard = "2017"
dialect = "surface-water"
host = "127.0.0.1"
port = 9212
password_file = "a.password"
[[uplink.point]]
point = "p"
mn = "NT0000000000000000000039"
"""


def facts(out: str) -> dict[str, str]:
    """The lines of *out* as pairs."""
    return {key: value for key, _, value in (line.partition(" ") for line in out.splitlines())}


def test_the_program_says_its_version_and_the_schemas_it_can_take_over(capsys) -> None:
    assert main([]) == 0
    said = facts(capsys.readouterr().out)
    assert said == {"version": VERSION, "schema": str(SCHEMA_VERSION), "migrates": said["migrates"]}
    known = [int(one) for one in said["migrates"].split()]
    assert known == list(range(SCHEMA_VERSION - len(known), SCHEMA_VERSION))


def test_a_configuration_says_where_the_data_are_and_what_is_handed_over(tmp_path: Path, capsys) -> None:
    (folder := tmp_path / "etc/niutang-station").mkdir(parents=True)
    (folder / "station.toml").write_text(CONFIG)
    assert main([str(folder / "station.toml"), str(tmp_path)]) == 0
    said = facts(capsys.readouterr().out)
    database = beneath(tmp_path, Path("/var/lib/niutang-station/station.db"))
    assert (said["data_folder"], said["database"]) == ("/var/lib/niutang-station", str(database))
    assert (said["database_schema"], said["credentials"], said["copies"]) == ("", "a.password", "")
    assert (said["wired"], said["outputs"], said["ciphered"], said["networked"]) == ("", "", "", "")
    database.parent.mkdir(parents=True)
    Store.open(database).close()
    main([str(folder / "station.toml"), str(tmp_path)])
    assert facts(capsys.readouterr().out)["database_schema"] == str(SCHEMA_VERSION)


def test_pins_keys_and_copies_are_told(tmp_path: Path, capsys) -> None:
    text = CONFIG.replace("2017", "2025").replace('_file = "a.password"', '_file = "pw"\nkey_file = "k"')
    text += """
[[bus]]
name = "b"
port = "tcp://192.0.2.1:502"
[[bus.device]]
name = "d"
profile = "renke-fsxcs"
variant = "tenths-pm"
unit_id = 1
poll_seconds = 10
point = "p"
parameters = ["wind_speed"]
[backup]
folder = "/mnt/x"
[[output]]
name = "lamp"
kind = "lamp"
pin = 5
"""
    (tmp_path / "station.toml").write_text(text)
    assert main([str(tmp_path / "station.toml")]) == 0, capsys.readouterr().err
    said = facts(capsys.readouterr().out)
    assert (said["wired"], said["outputs"], said["ciphered"], said["copies"]) == ("yes", "yes", "yes", "/mnt/x")
    assert (said["credentials"], said["networked"]) == ("k pw", "yes")


def test_what_cannot_be_read_is_one_sentence_and_no_facts(tmp_path: Path) -> None:
    for text, sentence in (("[station", "station.toml"), (CONFIG, "file is not a database")):
        (tmp_path / "station.toml").write_text(text.replace("/var/lib/niutang-station", str(tmp_path)))
        (tmp_path / "station.db").write_text("no database, but text that is longer than a header" * 20)
        done = subprocess.run(
            [sys.executable, "-m", "station.facts", tmp_path / "station.toml"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
