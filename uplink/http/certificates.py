"""Certificates for trying: an authority of one's own, a server, a client, and servers nobody should trust."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from station.model import ConfigError

NAMES = ("ca", "server", "client", "expired", "early", "other-name", "self-signed")
HOSTS = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")


def make(folder: Path) -> None:
    """Write NAME.pem and NAME.key for every one of NAMES into *folder*, where they are not there yet."""
    if all((folder / f"{name}.pem").exists() for name in NAMES):
        return
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise ConfigError(
            f"{folder}: certificates are made with the package cryptography: pip install 'niutang-station[sm4]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    day, now = timedelta(days=1), datetime.now(UTC)
    good = (now - day, now + 365 * day)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("niutang trial authority", authority, None, None, good, authority=True)
    _write(folder, "ca", root, authority)
    for name, host, valid in (
        ("server", "", good),
        ("client", "", good),
        ("expired", "", (now - 30 * day, now - day)),
        ("early", "", (now + 30 * day, now + 60 * day)),
        ("other-name", "another.example", good),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder, name, _certificate(host or "localhost", key, root, authority, valid, other=host), key)
    key = ec.generate_private_key(ec.SECP256R1())
    _write(folder, "self-signed", _certificate("localhost", key, None, None, good), key)


def _certificate(
    name: str, key: Any, root: Any, signer: Any, valid: tuple[datetime, datetime], *, authority: bool = False,
    other: str = "",
) -> Any:  # fmt: skip
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(other)] if other else [x509.DNSName(host) for host in HOSTS]
    if not other:
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(root.subject if root else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(signer or key, hashes.SHA256())
    return made


def _write(folder: Path, name: str, certificate: Any, key: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(folder / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
