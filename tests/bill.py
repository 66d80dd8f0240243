"""The bill of materials: `python -m tests.bill` writes sbom.json (CycloneDX 1.5) from the pins and what is installed.

Versions are those of requirements-field.txt; licences and what needs what come from the installed packages.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILE, PINS = ROOT / "sbom.json", ROOT / "requirements-field.txt"
PROJECT = "niutang-station"
EXTRAS = ("sm4", "mqtt", "page", "tables")  # all that a station in the field may use


def pins(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Version and SHA-256 of every archive in the requirements file at *path*, by name."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if pinned := re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)(?: ;.*)? \\", line):
            name = canonicalize_name(pinned[1])
            found[name] = (pinned[2], [])
        elif hashed := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line):
            found[name][1].append(hashed[1])
        elif line and not line.startswith("#"):
            raise ValueError(f"{path}: {line!r} is no pin with its hashes")
    return found


def wanted(*extras: str) -> list[str]:
    """What pyproject.toml asks for, with *extras*."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    return sorted({canonicalize_name(Requirement(one).name) for one in asked})


def needs(name: str) -> list[str]:
    """What the installed package *name* needs on this host, its extras left out."""
    asked = (Requirement(one) for one in metadata.requires(name) or ())
    return sorted(
        {canonicalize_name(one.name) for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})}
    )


def closure(roots: list[str]) -> dict[str, list[str]]:
    """*roots* and everything below them as installed, each with what it needs."""
    found: dict[str, list[str]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = needs(name)
            waiting += found[name]
    return dict(sorted(found.items()))


def licence(name: str) -> list[dict[str, Any]]:
    """The licence that the installed package *name* states, as CycloneDX has it."""
    said = metadata.metadata(name)
    if expression := said.get("License-Expression"):
        return [{"expression": expression}]
    classified = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License ::")]
    stated = (said.get("License") or "").strip().partition("\n")[0]
    return [{"license": {"name": text}} for text in classified or [stated] if text]


def _ref(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def bill(versions: Mapping[str, str]) -> dict[str, Any]:
    """The bill of what the station needs, in *versions*."""
    from station.version import VERSION

    roots = wanted(*EXTRAS)
    tree = closure(roots)
    refs = {name: _ref(name, versions[name]) for name in tree}
    own = _ref(PROJECT, VERSION)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": PROJECT,
                "version": VERSION,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": list(_components(tree, versions, refs)),
        "dependencies": [
            {"ref": own, "dependsOn": [refs[name] for name in roots]},
            *({"ref": refs[name], "dependsOn": [refs[one] for one in below]} for name, below in tree.items()),
        ],
    }


def _components(
    tree: Mapping[str, Any], versions: Mapping[str, str], refs: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    for name in tree:
        yield {
            "type": "library",
            "bom-ref": refs[name],
            "name": name,
            "version": versions[name],
            "purl": refs[name],
            "licenses": licence(name),
        }


def main() -> None:
    """Write the bill."""
    versions = {name: version for name, (version, _) in pins(PINS).items()}
    FILE.write_text(json.dumps(bill(versions), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
