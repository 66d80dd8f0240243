"""The tunnels of systemd/README.md, as far as they can be checked without a platform: options, addresses, no secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "systemd"
STUNNEL, WIREGUARD = FOLDER / "stunnel" / "niutang-platform.conf", FOLDER / "wireguard" / "niutang.conf"
# Of stunnel(8), the service's; the global ones are those that Debian's stunnel@ wants (its README.Debian).
OF_STUNNEL = {
    "client", "accept", "connect", "CAfile", "verifyChain", "verifyPeer", "checkHost", "sslVersionMin", "delay",
    "TIMEOUTconnect", "TIMEOUTclose", "TIMEOUTidle", "socket",
}  # fmt: skip
OF_WIREGUARD = {  # of wg-quick(8) and wg(8)
    "Interface": {"Address", "PostUp", "PrivateKey", "ListenPort", "DNS", "MTU", "Table"},
    "Peer": {"PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"},
}


def sections(path: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every section with its pairs, what stands before the first under no name; a line that is none of it fails."""
    found: list[tuple[str, list[tuple[str, str]]]] = [("", [])]
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line[0] in ";#":
            continue
        if header := re.fullmatch(r"\[([\w.-]+)\]", line):
            found.append((header[1], []))
            continue
        pair = re.fullmatch(r"(\w+) = (\S.*)", line)
        assert pair, f"{path.name}: {line!r}"
        found[-1][1].append((pair[1], pair[2]))
    return found if found[0][1] else found[1:]


def uplinks() -> list[dict[str, object]]:
    """The [[uplink]] tables that the tunnels' chapter shows."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    chapter = text.split("## A tunnel for HJ 212")[1].split("\n## ")[0]
    return [tomllib.loads(block)["uplink"][0] for block in re.findall(r"```toml\n(.*?)```", chapter, re.DOTALL)]


def test_stunnel_checks_who_the_platform_is_and_listens_for_this_host_alone() -> None:
    (_, before), (name, pairs) = sections(STUNNEL)
    assert dict(before) == {"foreground": "yes", "setuid": "stunnel4", "setgid": "stunnel4"}
    told = dict(pairs)
    assert name == "platform"
    assert len(told) == len(pairs)
    assert set(told) <= OF_STUNNEL
    assert (told["client"], told["verifyChain"], told["sslVersionMin"]) == ("yes", "yes", "TLSv1.2")
    assert told["checkHost"] == told["connect"].rpartition(":")[0]
    assert told["CAfile"].startswith("/etc/stunnel/")
    host, _, port = told["accept"].rpartition(":")
    assert uplinks()[0] == {"host": host, "port": int(port)}
    assert host == "127.0.0.1"


def test_wireguard_carries_the_platform_alone_and_holds_no_private_key() -> None:
    found = sections(WIREGUARD)
    assert [name for name, _ in found] == ["Interface", "Peer"]
    for name, pairs in found:
        assert {key for key, _ in pairs} <= OF_WIREGUARD[name]
    interface, peer = (dict(pairs) for _, pairs in found)
    assert "PrivateKey" not in interface
    assert interface["PostUp"] == "wg set %i private-key /etc/wireguard/niutang.key"
    assert interface["Address"].endswith("/32")
    address, _, width = peer["AllowedIPs"].partition("/")
    assert (width, uplinks()[1]["host"]) == ("32", address)
    assert int(peer["PersistentKeepalive"]) <= 25  # a NAT forgets a silent flow after half a minute


def test_the_readmes_commands_name_the_files_as_they_are_installed() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path, unit in ((STUNNEL, f"stunnel@{STUNNEL.stem}"), (WIREGUARD, f"wg-quick@{WIREGUARD.stem}")):
        assert f"systemd/{path.relative_to(FOLDER)}" in text
        assert f"systemctl enable --now {unit}" in text
