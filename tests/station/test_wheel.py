"""What a user installs: the wheel, away from the checkout, with its data files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from station.version import VERSION
from tests.station.commands import ROOT

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def build(source: Path, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`pip wheel` of *source* into *folder*."""
    line = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "-q", "-w", str(folder), *words]
    return subprocess.run(line, cwd=source, env=os.environ | more, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("station", "drivers", "uplink"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    done = build(source, folder, "--no-build-isolation", **OFFLINE)
    if "invalid command 'bdist_wheel'" in done.stderr or "No module named 'setuptools" in done.stderr:
        done = build(source, folder)  # the setuptools of this environment is too old or absent; pip fetches one
        if done.returncode and "No matching distribution found for setuptools" in done.stdout + done.stderr:
            pytest.skip("neither a setuptools of 70.1 or later here, nor an index to fetch one from")
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    words = ["-m", "pip", "install", "--no-deps", "-q", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, *words], env=os.environ | OFFLINE, check=True, capture_output=True)
    return folder


def installed(site: Path, *words: object, lang: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    """`station` from the wheel, far from the checkout."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "COV_"))}
    return subprocess.run(
        [sys.executable, "-P", "-m", "station.entry", *map(str, words)],
        cwd="/", env=env | {"PYTHONPATH": str(site), "LANG": lang}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_holds_every_data_file_and_nothing_else(wheel: Path) -> None:
    """Profiles, catalogues, texts, examples, typed or not; no tests, no caches."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    data = [
        *ROOT.glob("drivers/profiles/*.toml"), *ROOT.glob("station/locale/*.toml"), *ROOT.glob("station/*.toml"),
        *ROOT.glob("station/recipes/*.toml"), *ROOT.glob("station/recipes/profiles/*.toml"),
        *ROOT.glob("station/templates/*.toml"),
        *ROOT.glob("station/example/*"), *ROOT.glob("drivers/*.py"), *ROOT.glob("station/*.py"),
        *ROOT.glob("uplink/*.py"), *ROOT.glob("uplink/hj212/*.py"),
        *ROOT.glob("uplink/http/*.py"), *ROOT.glob("uplink/http/*.json"),
        *ROOT.glob("uplink/http/templates/*.toml"),
        *ROOT.glob("station/page/*.py"), *ROOT.glob("station/page/templates/*.html"),
        *(one for one in ROOT.glob("station/page/static/**/*") if one.is_file()),
        *ROOT.glob("uplink/mqtt/*.py"), *ROOT.glob("station/modem/*.py"), *ROOT.glob("drivers/samplers/*.toml"),
        ROOT / "station" / "page" / "README.zh.md",
    ]  # fmt: skip
    expected = {path.relative_to(ROOT).as_posix() for path in data if path.is_file()}
    assert expected - names == set()
    assert {name for name in names if name.split("/")[0] not in {"station", "drivers", "uplink"}} == set()
    assert {name for name in names - expected if not name.endswith("README.md")} == set()


def test_the_installed_station_is_not_the_checkout(site: Path) -> None:
    """Else the tests below would prove nothing."""
    env = os.environ | {"PYTHONPATH": str(site)}
    words = [sys.executable, "-P", "-c", "import station.cli; print(station.cli.__file__)"]
    done = subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(site / "station" / "cli.py")


def test_the_installed_station_checks_the_shipped_example(site: Path, tmp_path: Path) -> None:
    """It finds profiles and catalogue beside itself."""
    shutil.copy(site / "station" / "example" / "station.toml", tmp_path)
    (tmp_path / "district.password").touch(mode=0o600)
    (tmp_path / "district.password").write_text("123456")
    done = installed(site, "check", tmp_path / "station.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (
        f"{tmp_path}/station.toml: no faults (5 devices on 2 buses, 3 points, 1 platform)"
    )


def test_the_installed_station_speaks_both_languages(site: Path) -> None:
    """The locale files came along."""
    assert "环境监测站" in installed(site, "--help", lang="zh_CN.UTF-8").stdout
    assert "Environmental monitoring station" in installed(site, "--help").stdout
    assert installed(site, "--version").stdout == f"station, version {VERSION}\n"
