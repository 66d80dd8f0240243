"""systemd/bundle: what it packs, for whom, and that the same files make the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import bill
from tests.field.packing import PACKER, PYTHON, ROOT, repacked

EPOCH = 1_790_000_000


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that --wheels names: what building the project's own wheel needs, and no more."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("setuptools", "pip"):
        repacked(name, folder)
    return folder


@pytest.fixture(scope="module")
def pins(wheels: Path) -> Path:
    """Pins of those, and one that no wheel for armv7l is published for."""
    path = wheels.with_name("pins.txt")
    absent = "cffi==2.1.1 \\\n    --hash=sha256:" + "0" * 64 + "\n"
    path.write_text("# pins\n" + PACKER.requirements(wheels) + absent)
    return path


def pack(wheels: Path, pins: Path, output: Path, *words: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Run systemd/bundle as a person would."""
    return subprocess.run(
        [sys.executable, ROOT / "systemd" / "bundle", "--python", PYTHON, "--wheels", wheels, "--pins", pins,
         "--output", output, *words],
        capture_output=True, text=True, check=False, cwd=output.parent, umask=umask,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def tar(wheels: Path, pins: Path) -> Path:
    """A bundle for armv7l."""
    done = pack(wheels, pins, wheels.with_name("out"), "--machine", "armv7l")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[1])


def manifest(tar: Path) -> list[str]:
    """The lines of the manifest in *tar*."""
    with tarfile.open(tar) as archive:
        file = archive.extractfile(f"{tar.stem}/MANIFEST")
        assert file is not None
        return file.read().decode().splitlines()


def test_the_same_files_pack_to_the_same_bytes_whoever_packs_them(tar: Path, wheels: Path, pins: Path) -> None:
    done = pack(wheels, pins, wheels.with_name("again"), "--machine", "armv7l", umask=0o077)
    assert done.stdout.split()[0] == hashlib.sha256(tar.read_bytes()).hexdigest()


def test_a_tar_is_sorted_owned_by_root_and_of_one_time(tar: Path) -> None:
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
    names = [one.name.split("/") for one in members]
    assert names == sorted(names)
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "root", "root", EPOCH)}
    assert {one.mode for one in members} == {0o755, 0o644}
    assert next(one.mode for one in members if one.name.endswith("-armv7l/install.sh")) == 0o755
    assert {one.name.split("/")[0] for one in members} == {tar.stem}


def test_the_manifest_names_every_file_with_its_hash_and_what_it_is_for(tar: Path) -> None:
    lines = manifest(tar)
    version = tomllib.loads('version = "' + PACKER.version_of(ROOT) + '"')["version"]
    assert lines[:3] == [f"niutang-station {version}", "machine armv7l", f"python {PYTHON}"]
    assert re.fullmatch(r"room \d+", lines[3])
    with tarfile.open(tar) as archive:
        files = {
            one.name.partition("/")[2]: hashlib.sha256(archive.extractfile(one).read()).hexdigest()  # type: ignore[union-attr]
            for one in archive.getmembers()
            if one.isfile() and not one.name.endswith("/MANIFEST")
        }
    assert dict(line.split(" ", 2)[:0:-1] for line in lines if line.startswith("file ")) == files
    assert lines[-1] == "end " + hashlib.sha256("".join(f"{one}\n" for one in lines[:-1]).encode()).hexdigest()
    assert {"install.sh", "requirements.txt", "sbom.json", "systemd/station.service", "systemd/README.md"} | {
        "hardware/boot/config.txt"
    } <= set(files)


def test_what_has_no_wheel_for_a_machine_is_named_with_the_package_that_has_it(tar: Path) -> None:
    assert "system cffi _cffi_backend python3-cffi-backend" in manifest(tar)
    assert not any(" wheels/cffi" in line for line in manifest(tar))


def test_the_requirements_of_a_bundle_are_its_wheels_by_hash(tar: Path) -> None:
    with tarfile.open(tar) as archive:
        archive.extractall(tar.parent, filter="data")
    folder = tar.with_suffix("")
    listed = bill.pins(folder / "requirements.txt")
    assert {one for _, hashes in listed.values() for one in hashes} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "wheels").iterdir()
    }
    assert listed["niutang-station"][0] == PACKER.version_of(ROOT)


def test_the_projects_own_wheel_has_every_module_and_file_of_data(tar: Path) -> None:
    with tarfile.open(tar) as archive:
        name = next(one for one in archive.getnames() if "/niutang_station-" in one)
        archive.extract(name, tar.parent, filter="data")
    with zipfile.ZipFile(tar.parent / name) as wheel:
        packed = {one for one in wheel.namelist() if ".dist-info/" not in one}
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in setup["packages"]
        for path in (ROOT / package.replace(".", "/")).glob("*.py")
    }
    data = {
        path.relative_to(ROOT).as_posix()
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
        if path.is_file()
    }
    assert packed == modules | data
    assert {"station/facts.py", "station/recipes/site-dust.toml"} <= packed


def test_a_pin_without_a_wheel_packs_nothing(wheels: Path, pins: Path, tmp_path: Path) -> None:
    done = pack(wheels, pins, tmp_path / "out", "--machine", "aarch64")
    assert done.returncode == 1
    assert "cffi==2.1.1" in done.stderr
    assert done.stderr.endswith("systemd/bundle: pip download failed, see above; nothing was packed\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wheel_that_is_not_the_pinned_one_packs_nothing(wheels: Path, pins: Path, tmp_path: Path) -> None:
    (other := tmp_path / "pins.txt").write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", pins.read_text()))
    done = pack(wheels, other, tmp_path / "out", "--machine", "armv7l")
    assert done.returncode == 1
    assert "HASHES" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_every_pin_of_the_field_is_asked_for_as_it_stands() -> None:
    pins = PACKER.pinned(ROOT / PACKER.PINS)
    known = bill.pins(ROOT / PACKER.PINS)
    assert set(pins) == set(known)
    for name, text in pins.items():
        assert re.findall(r"sha256:([0-9a-f]{64})", text) == known[name][1]
    assert {name for machine in PACKER.FROM_SYSTEM.values() for name in machine} <= set(known)
