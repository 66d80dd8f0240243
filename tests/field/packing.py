"""Bundles for the tests: systemd/bundle as a module, wheels of what is installed here, bundles of the stand-in."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import zipfile
from importlib import metadata
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from tests.field import standin

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def bundle_program() -> ModuleType:
    """The module that systemd/bundle is."""
    loader = SourceFileLoader("niutang_bundle", str(ROOT / "systemd" / "bundle"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


PACKER = bundle_program()


def repacked(name: str, folder: Path) -> Path:
    """The installed pure-Python package *name* as a wheel in *folder*: no index is asked."""
    found = metadata.distribution(name)
    path = folder / f"{name}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts and Path(str(file.locate())).is_file():
                archive.write(str(file.locate()), str(file))
    return path


def packed(target: Path, version: str, schema: int = 1, breaks: str = "", pip: str = "small") -> Path:
    """An unpacked bundle of the stand-in at *target*, with the "real" pip or a "small" one."""
    wheels = target / "wheels"
    wheels.mkdir(parents=True)
    standin.wheel(wheels, version, schema, breaks)
    (target / "requirements.txt").write_text(PACKER.requirements(wheels))
    repacked("pip", wheels) if pip == "real" else standin.small_pip(wheels)
    shutil.copytree(ROOT / "systemd", target / "systemd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "systemd" / "install.sh", target / "install.sh")
    shutil.copy(ROOT / "sbom.json", target)
    seal(target, version)
    return target


def seal(target: Path, version: str, **head: str) -> None:
    """Write the manifest of the bundle at *target* anew; *head* puts other lines at its top."""
    (target / "MANIFEST").unlink(missing_ok=True)
    lines = {"machine": platform.machine(), "python": PYTHON, "room": "1", **head}
    words = [f"niutang-station {version}", *(f"{key} {value}" for key, value in lines.items())]
    (target / "MANIFEST").write_text(PACKER.manifest(target, words))
