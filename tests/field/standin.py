"""A stand-in for the station's program: what install.sh asks of it, and nothing more, in a version that a test chooses.

`wheel` packs it as the project's own wheel.  Its database is one table; each schema above 1 adds a column.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

PROGRAM = """
import json, os, re, signal, sqlite3, sys, time
from pathlib import Path

VERSION, SCHEMA, BREAKS = {version!r}, {schema}, {breaks!r}
RECIPE = '[station]\\nname = "stand-in"\\ndata_folder = "data"   # beside this file\\npassword_file = "platform"\\n'


def root(config):
    return Path(sys.prefix.partition("/opt/niutang-station")[0] or "/")


def database(config):
    folder = root(config) / "var/lib/niutang-station"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "station.db"


def opened(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def migrate(path):
    connection = opened(path)
    has = connection.execute("PRAGMA user_version").fetchone()[0]
    if has > SCHEMA:
        sys.exit(f"was written by a newer version (schema {{has}}, this one knows {{SCHEMA}})")
    if not has:
        connection.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, version TEXT)")
        has = 1
    for step in range(has, SCHEMA):
        connection.execute(f"ALTER TABLE reading ADD COLUMN column{{step}}")
    connection.execute(f"PRAGMA user_version={{SCHEMA}}")
    return connection


def health_file(config):
    folder = root(config) / "run/niutang-station"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "health.json"


def run(config):
    if BREAKS == "start":
        sys.exit("this version breaks when it starts")
    connection = migrate(database(config))
    marker = database(config).with_name("station.db.open")
    if marker.exists() and not database(config).with_name("station.db-wal").exists():
        connection.execute("INSERT INTO reading (version) VALUES ('the log is missing')")
    marker.touch()
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    while not stop:
        connection.execute("INSERT INTO reading (version) VALUES (?)", (VERSION,))
        troubles = ["threads"] if BREAKS == "health" else []
        new = health_file(config).with_suffix(".new")
        new.write_text(json.dumps({{"version": VERSION, "troubles": troubles, "monotonic": round(time.monotonic(), 2),
                                    "pid": os.getpid(), "offline": "offline" in os.environ}}))
        new.replace(health_file(config))
        time.sleep(0.05)
        if BREAKS == "later":
            sys.exit("this version breaks after its first sign of life")
    connection.close()
    marker.unlink()
    health_file(config).unlink(missing_ok=True)


def health(config):
    try:
        said = json.loads(health_file(config).read_text())
        os.kill(said["pid"], 0)
    except (OSError, ValueError):
        return 69
    print(json.dumps({{"said": said}}))
    return 1 if said["troubles"] else 0


def check(config):
    text = config.read_text()
    if "fault" in text:
        print(f"{{config.name}}:1: fault")
        return 1
    return 0


def init(folder, name):
    if name != "plain":
        sys.exit(f'there is no recipe "{{name}}"')
    folder.mkdir(exist_ok=True)
    (folder / "station.toml").write_text(RECIPE)
    (folder / "platform").write_text("000000\\n")


def main():
    verb, *words = sys.argv[1:]
    told = dict(zip(words[::2], words[1::2]))
    if verb == "--version":
        if BREAKS == "import":
            sys.exit("this version does not even load")
        print(VERSION)
    elif verb == "init":
        init(Path(told["--output"]), told["--recipe"])
    elif verb == "check":
        return check(Path(words[-1]))
    elif verb == "run":
        run(Path(told["--config"]))
    elif verb == "migrate":
        migrate(database(Path(told["--config"])))
    elif verb == "health":
        return health(Path(told["--config"]))
"""

FACTS = """
import re, sqlite3, sys
from pathlib import Path
from station.entry import SCHEMA, VERSION


def schema_of(path):
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True).execute("PRAGMA user_version").fetchone()[0]


if __name__ == "__main__":
    print("version", VERSION)
    print("schema", SCHEMA)
    print("migrates", *range(1, SCHEMA))
    if sys.argv[1:]:
        config, root = Path(sys.argv[1]), Path(sys.argv[2])
        text = config.read_text()
        path = root / "var/lib/niutang-station/station.db"
        print("data_folder", re.search('^data_folder = "(.*?)"', text, re.M)[1])
        print("database", path)
        print("database_schema", schema_of(path) if path.exists() else "")
        print("credentials", *re.findall('^password_file = "(.*?)"', text, re.M))
        print("copies", "/mnt/copies" if "copies" in text else "")
        print("wired", "yes" if "pins" in text else "")
        print("outputs", "yes" if "pins" in text else "")
        print("ciphered", "yes" if "ciphered" in text else "")
"""


# What of pip install.sh needs, without its second of CPU; the first installation of the tests has the real one.
PIP = """
import hashlib, re, sys, zipfile
from pathlib import Path

words = sys.argv[1:]
wheels, listed = Path(words[words.index("--find-links") + 1]), Path(words[words.index("-r") + 1]).read_text()
for wheel in wheels.glob("niutang*.whl"):
    if hashlib.sha256(wheel.read_bytes()).hexdigest() not in listed:
        sys.exit("THESE PACKAGES DO NOT MATCH THE HASHES")
    (site,) = Path(sys.prefix, "lib").glob("python3.*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
script = Path(sys.prefix, "bin", "station")
script.write_text(f"#!{sys.executable}\\nimport sys\\nfrom station.entry import main\\nsys.exit(main())\\n")
script.chmod(0o755)
"""


def small_pip(folder: Path) -> Path:
    """A pip for the stand-in as a wheel in *folder*."""
    path = folder / "pip-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pip/__main__.py", PIP)
    return path


def wheel(folder: Path, version: str, schema: int = 1, breaks: str = "") -> Path:
    """The stand-in of *version* with *schema* as a wheel in *folder*.

    It *breaks* nowhere, at "import", at "start", "later" (after its first sign of life), or says by "health" that
    it is not well.
    """
    path = folder / f"niutang_station-{version}-py3-none-any.whl"
    info = f"niutang_station-{version}.dist-info"
    files = {
        "station/__init__.py": "",
        "station/entry.py": PROGRAM.format(version=version, schema=schema, breaks=breaks),
        "station/facts.py": FACTS,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: niutang-station\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nstation = station.entry:main\n",
    }
    record = [f"{name},sha256={_digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
