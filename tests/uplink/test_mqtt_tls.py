"""MQTT over TLS: whom the station believes, whom the broker believes, and what is said where it does not."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from tests.uplink.mqtt_link import Broker, Listener, MqttLink, free_port, wait
from uplink.http import certificates
from uplink.http.signing import pins_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tls")
    certificates.make(made)
    return made


class Secure(Broker):
    """A broker with a second listener, for TLS, that shows the certificate *name*."""

    def __init__(self, folder, certs, name="server", *lines):
        self.tls_port = free_port()
        super().__init__(folder, *lines, listener=(
            f"listener {self.tls_port} 127.0.0.1", f"certfile {certs}/{name}.pem", f"keyfile {certs}/{name}.key",
        ))  # fmt: skip

    @property
    def tls(self):
        return f"mqtts://localhost:{self.tls_port}"


def pins(folder):
    import ssl

    key, whole = pins_of(ssl.PEM_cert_to_DER_cert((folder / "server.pem").read_text()))
    return key, whole


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("pinned", [None, 0, 1])
def test_a_broker_of_the_own_authority_is_believed_with_or_without_a_pin(folder, tmp_path, version, pinned):
    pin = () if pinned is None else (pins(folder)[pinned].upper(),)
    with Secure(tmp_path, folder) as broker, Listener(broker.port) as platform:
        made = MqttLink(broker.tls, folder, ca_file="ca.pem", pin_sha256=pin, version=version)
        made.add(300)
        with made.up():
            assert made.drained()
        assert wait(lambda: len(platform.ids()) == 300)
        assert made.errors == []


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("server", {}, "its certificate was signed by someone not trusted here; put who signed it into ca_file"),
        ("server", {"ca_file": "client.pem"}, "not trusted"),
        ("expired", {"ca_file": "ca.pem"}, "its certificate has expired by this station's clock (20"),
        ("early", {"ca_file": "ca.pem"}, "its certificate is not valid yet by this station's clock (20"),
        ("other-name", {"ca_file": "ca.pem"}, "its certificate is of another name"),
        ("self-signed", {"ca_file": "ca.pem"}, "its certificate is self-signed and not trusted"),
        ("server", {"ca_file": "ca.pem", "pin_sha256": ("0" * 64,)}, "none of those in pin_sha256"),
    ],
)
def test_a_broker_that_is_not_believed_gets_no_byte_of_mqtt(folder, tmp_path, name, changes, words):
    with Secure(tmp_path, folder, name) as broker:
        made = MqttLink(broker.tls, folder, **changes)
        made.add(2)
        with made.up(again=False) as thread:
            thread.join(10)
        assert words in made.failed()
        assert made.failed().startswith(f"{broker.tls}: ")
        assert "as niutang-NT-7" not in broker.log()
        assert len(made.outbox.owed) == 2


def test_a_broker_that_wants_our_certificate_gets_it(folder, tmp_path):
    """What stands behind the second listener in mosquitto's configuration is that listener's."""
    wants = (f"cafile {folder}/ca.pem", "require_certificate true", "use_identity_as_username true")
    broker = Secure(tmp_path, folder, "server", *wants)
    with broker:
        named = {"client_certificate": "client.pem", "client_key": "client.key"}
        made = MqttLink(broker.tls, folder, ca_file="ca.pem", unheard="accept", **named)
        made.add(2)
        with made.up():
            assert made.drained()
        without = MqttLink(broker.tls, folder, ca_file="ca.pem")
        with without.up(again=False) as thread:
            thread.join(10)
        assert without.failed().startswith(broker.tls)


def test_tls_towards_a_port_without_it_and_the_other_way_round(folder, tmp_path):
    with Secure(tmp_path, folder) as broker:
        made = MqttLink(f"mqtts://localhost:{broker.port}", folder, ca_file="ca.pem")
        with made.up(again=False) as thread:
            thread.join(10)
        assert made.failed()
        made = MqttLink(f"mqtt://localhost:{broker.tls_port}")
        with made.up(again=False) as thread:
            thread.join(10)
        assert "does it speak MQTT 5 on this port?" in made.failed()


@pytest.mark.parametrize("broken", ["ca.pem", "client.pem"])
def test_a_file_that_holds_no_certificate_is_said(folder, tmp_path, broken):
    (tmp_path / "bad.pem").write_text("nothing")
    key = {"ca.pem": {"ca_file": "bad.pem"}, "client.pem": {"client_certificate": "bad.pem"}}[broken]
    made = MqttLink("mqtts://localhost:1", tmp_path, **key)
    with made.up(again=False) as thread:
        thread.join(10)
    assert "bad.pem: " in made.failed()


def test_a_handshake_that_never_ends_is_cut_off(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            near, _ = server.accept()
            near.recv(10)
            while near.recv(4096):
                near.sendall(b"")

        Thread(target=serve, daemon=True).start()
        made = MqttLink(f"mqtts://localhost:{server.getsockname()[1]}", folder, ca_file="ca.pem", connect_seconds=0.3)
        with made.up(again=False) as thread:
            thread.join(10)
        assert "no connection within 0.3 s" in made.failed()
