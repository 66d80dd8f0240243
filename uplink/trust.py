"""Whom an uplink believes over TLS: the system's trust or a file's, pins beside it, what is wrong in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from station.model import ConfigError, StationError

if TYPE_CHECKING:
    import ssl

EXPIRED, NOT_YET, SELF_SIGNED, SELF_SIGNED_CHAIN, NO_ISSUER, WRONG_NAME, WRONG_ADDRESS = 10, 9, 18, 19, 20, 62, 64
CERTIFICATE: Mapping[int, str] = {  # X509_V_ERR_* of OpenSSL
    EXPIRED: "its certificate has expired by this station's clock ({now})",
    NOT_YET: "its certificate is not valid yet by this station's clock ({now}); is the clock right?",
    SELF_SIGNED: "its certificate is self-signed and not trusted; put it, or who signed it, into ca_file",
    SELF_SIGNED_CHAIN: "its certificate was signed by someone not trusted here; put who signed it into ca_file",
    NO_ISSUER: "its certificate was signed by someone not trusted here; put who signed it into ca_file",
    WRONG_NAME: "its certificate is of another name",
    WRONG_ADDRESS: "its certificate is of another address",
}
_PIN = re.compile(r"[0-9A-Fa-f]{64}")


class PinMismatch(StationError):
    """Error raised when the certificate of a platform is none of those pinned."""


class Trust(NamedTuple):
    """Whom to believe, and who we are: paths of PEM files, pins as 64 hexadecimal digits."""

    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    pins: Sequence[str] = ()

    def context(self) -> ssl.SSLContext:
        """The system's trust, or *ca_file* alone; raise ConfigError where a file cannot be used."""
        import ssl

        try:
            made = ssl.create_default_context(cafile=self.ca_file and str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.ca_file}: holds no certificates ({said(error)})") from error
        if self.client_certificate:
            try:
                made.load_cert_chain(self.client_certificate, self.client_key, password="")
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"{self.client_certificate}: certificate and key cannot be used ({said(error)})"
                ) from error
        return made


def check_pins(connection: Any, pins: Sequence[str]) -> None:
    """Raise PinMismatch where *pins* are wanted and the open *connection* shows none of them."""
    if not pins:
        return
    import ssl

    from uplink.http.signing import pins_of  # its hashes come with the first pin

    shown = connection.getpeercert(True) if isinstance(connection, ssl.SSLSocket) else None
    if not (shown and {pin.lower() for pin in pins} & set(pins_of(shown))):
        raise PinMismatch("its certificate and key are none of those in pin_sha256")


def certificate_words(error: ssl.SSLCertVerificationError, now: str) -> str:
    """Why a certificate is not believed; *now* is this station's clock."""
    words = CERTIFICATE.get(error.verify_code, f"its certificate is not accepted ({error.verify_message})")
    return words.format(now=now)


def said(error: BaseException) -> str:
    """OpenSSL's or the system's words, without its file and line."""
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).replace("_", " ").lower()


def pin_faults(pins: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with pin_sha256, as (key path, sentence)."""
    for index, pin in enumerate(pins):
        if not _PIN.fullmatch(pin):
            yield f"pin_sha256[{index}]", "is not 64 hexadecimal digits"
