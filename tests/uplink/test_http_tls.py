"""Whom the HTTPS uplink believes: authorities, pins, client certificates, a proxy; certificates are self-made."""

import hashlib
import socket
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from station.model import ConfigError
from tests.uplink.http_link import SECRETS, HttpLink
from uplink.base import LinkDown
from uplink.http import certificates
from uplink.http.emulator import Receiver
from uplink.http.signing import pins_of, spki_of

ZEROS = "0" * 64


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder)
    return folder


@pytest.fixture
def receiver(tls):
    with Receiver(tls=tls) as made:
        yield made


@pytest.fixture
def link(tls):
    made = []

    def make(url, **changes):
        made.append(HttpLink(url, folder=tls, plain=False, **{"ca_file": "ca.pem", **changes}))
        return made[-1]

    yield make
    for each in made:
        each.outbox.close()


def der(tls, name="server"):
    certificate = x509.load_pem_x509_certificate((tls / f"{name}.pem").read_bytes())
    return certificate.public_bytes(serialization.Encoding.DER), certificate


def test_records_go_over_tls_on_one_connection(link, receiver):
    made = link(receiver.url, batch=2)
    made.add(8)
    with made.up():
        assert made.drained()
    assert receiver.summary()["unique"] == 8
    assert receiver.counts["broken connections"] == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", "its certificate has expired by this station's clock (20"),
        ("early", "its certificate is not valid yet by this station's clock (20"),
        ("other-name", "its certificate is of another "),
        ("self-signed", "its certificate is self-signed and not trusted; put it, or who signed it, into ca_file"),
    ],
)
def test_a_certificate_nobody_should_trust_is_one_sentence_and_nothing_is_lost(link, receiver, fault, words):
    receiver.fault(fault)
    made = link(receiver.url)
    ids = made.add(2)
    with made.up(again=False) as thread:
        thread.join(10)
    assert words in made.failed()
    assert "\n" not in made.failed()
    assert (made.outbox.owed, made.outbox.parked) == (ids, [])
    assert receiver.requests == []
    receiver.fault(None)
    with made.up():
        assert made.drained()


def test_an_authority_of_ones_own_is_not_the_systems(link, receiver):
    """Without ca_file the system's trust decides, whatever bundle a library brings."""
    with pytest.raises(LinkDown, match="signed by someone not trusted here; put who signed it into ca_file"):
        link(receiver.url, ca_file="").uplink.probe()


def test_the_pin_of_the_key_or_of_the_certificate_lets_through(link, receiver, tls):
    data, certificate = der(tls)
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for pin in (hashlib.sha256(spki).hexdigest(), hashlib.sha256(data).hexdigest().upper()):
        assert link(receiver.url, pin_sha256=(ZEROS, pin)).uplink.probe().answer_seconds >= 0


def test_another_pin_ends_it_before_a_byte_is_sent(link, receiver):
    made = link(receiver.url, pin_sha256=(ZEROS,))
    made.add(1)
    with made.up(again=False) as thread:
        thread.join(10)
    assert made.failed() == f"{receiver.url}: its certificate and key are none of those in pin_sha256"
    assert receiver.counts["requests"] == 0


@pytest.mark.parametrize("name", certificates.NAMES)
def test_the_public_key_is_found_in_every_certificate(tls, name):
    data, certificate = der(tls, name)
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki_of(data) == key
    assert pins_of(data)[1] == hashlib.sha256(data).hexdigest()


def test_what_is_no_certificate_is_refused(tls):
    data, _ = der(tls)
    for broken in (b"", b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", data[:40], b"\x30\x03\x30\x01\x02"):
        with pytest.raises(ValueError, match=r"DER|SubjectPublicKeyInfo"):
            spki_of(broken)


def test_a_client_certificate_is_shown_where_it_is_asked_for(link, tls):
    with Receiver(tls=tls, asks_client=True) as receiver:
        made = link(receiver.url, client_certificate="client.pem", client_key="client.key")
        made.add(1)
        with made.up():
            assert made.drained()
        bare = link(receiver.url)
        bare.add(1)
        with bare.up(again=False) as thread:
            thread.join(10)
        assert bare.failed().startswith(f"{receiver.url}: ")
        assert len(bare.outbox.owed) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ca_file": "server.key"}, "holds no certificates"),
        ({"ca_file": "nothing.pem"}, "holds no certificates"),
        ({"client_certificate": "ca.key"}, "certificate and key cannot be used"),
        ({"client_certificate": "client.pem", "client_key": "server.key"}, "certificate and key cannot be used"),
    ],
)
def test_files_that_cannot_be_used_are_named(link, receiver, changes, words):
    with pytest.raises(ConfigError, match=words):
        link(receiver.url, **changes).uplink.probe()


def test_what_is_no_tls_is_said(link):
    with Receiver() as plain, pytest.raises(LinkDown, match=r"TLS cannot be agreed on|broke before"):
        link(plain.url.replace("http:", "https:")).uplink.probe()


class Proxy:
    """An HTTP proxy that lets CONNECT through to loopback, if the account is right."""

    def __init__(self, refuses=False):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.heads, self._refuses, self._ends = [], refuses, []
        Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self._ends.append(near)
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            self.heads.append(head.decode())
            if self._refuses:
                near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                continue
            far = socket.create_connection(("127.0.0.1", int(head.split()[1].rpartition(b":")[2])))
            self._ends.append(far)
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for one, other in ((near, far), (far, near)):
                Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self._server, *self._ends):
            one.close()


def test_a_proxy_carries_tls_that_is_still_checked(link, receiver, tls):
    """CONNECT with the account of the credential; pins and names hold through it."""
    with Proxy() as proxy:
        through = {"proxy": f"http://127.0.0.1:{proxy.port}", "proxy_password_file": "proxy"}
        made = link(receiver.url, **through)
        made.add(3)
        with made.up():
            assert made.drained()
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{receiver.port}")
        assert "Proxy-Authorization: Basic" in proxy.heads[0]
        assert SECRETS["proxy"] not in made.uplink.settings.proxy
        with pytest.raises(LinkDown, match="none of those in pin_sha256"):
            link(receiver.url, **through, pin_sha256=(ZEROS,)).uplink.probe()


def test_a_proxy_that_refuses_is_one_sentence(link, receiver):
    with Proxy(refuses=True) as proxy, pytest.raises(LinkDown, match=r"the proxy lets nothing through \(407") as raised:
        link(receiver.url, proxy=f"http://127.0.0.1:{proxy.port}").uplink.probe()
    assert "\n" not in str(raised.value)
