"""Programs from Debian that some tests start on loopback: servers, a browser, tools of systemd."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "mosquitto": "mosquitto",
    "chromium": "chromium fonts-noto-cjk",
    "ffmpeg": "ffmpeg",
    "stunnel": "stunnel4",
    "gst-launch-1.0": "gstreamer1.0-tools gir1.2-gst-rtsp-server-1.0 python3-gst-1.0 gstreamer1.0-plugins-base"
    " gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly",
    "chronyd": "chrony",
    "chronyc": "chrony",
    "wg": "wireguard-tools",
    "wg-quick": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "ip": "iproute2",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "ssh-keygen": "openssh-client",
}
"""Each program and the packages that bring it; `.ci/run` installs all of them."""


def program(name: str) -> str:
    """Path of the program *name*; without it the test is skipped, or fails where everything has to run (CI=true)."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed (apt-get install {PACKAGES[name]})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
