"""A Debian 12 in a folder, in namespaces of its own: no network but its loopback, no init."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

PACKAGES = "python3,systemd,udev,openssh-client"  # Raspberry Pi OS Lite has them; neither pip nor python3-venv
SETUP = """
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$1/dev/pts"
mount -t tmpfs tmpfs "$1/run"
ip link set lo up
echo ready
exec sleep infinity
"""


def mirror() -> str:
    """The Debian mirror that this machine's apt is set up for."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm", "Component: main",
         "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [one for one in done.stdout.split() if "security" not in one]
    if not found:
        raise SystemExit("apt knows no mirror of Debian 12 (bookworm); add one to /etc/apt/sources.list")
    return found[0]


def base(folder: Path) -> Path:
    """The Debian that every run begins with; made once."""
    tree, mark = folder / "base", folder / "base.complete"
    if not mark.exists():
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tree, mirror()],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        mark.touch()
    return tree


class Debian:
    """A copy of the base, running as far as a folder runs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base(folder), self.root], check=True)
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", SETUP, "sh", self.root],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            raise SystemExit("no namespaces can be made here; root is needed")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self._inside = children.split()[0]

    def __enter__(self) -> Debian:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.wait()

    def words(self, *words: str, **more: str) -> list[str]:
        """The command that runs *words* in there."""
        told = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **more}
        enter = ["nsenter", "--target", self._inside, "--net", "--mount", "--pid", "chroot", str(self.root)]
        return [*enter, "env", "-i", *(f"{key}={value}" for key, value in told.items()), *words]

    def run(self, *words: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run *words* in there to their end; what they said is in stdout."""
        return subprocess.run(
            self.words(*words, **more), input=typed, text=True, check=False, timeout=600,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def start(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        """Start *words* in there; what they say is in the file *log*."""
        with (self.root / log.lstrip("/")).open("wb") as file:
            return subprocess.Popen(self.words(*words), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)

    def listing(self, *folders: str) -> list[str]:
        """Every file below *folders* with its size and the time of its last change."""
        return [
            f"{path} {os.lstat(path).st_size} {os.lstat(path).st_mtime_ns}"
            for folder in folders
            for path in sorted((self.root / folder.lstrip("/")).rglob("*"))
        ]
