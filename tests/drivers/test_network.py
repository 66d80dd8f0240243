"""Lines behind a network: Modbus TCP and serial servers, and gateways that hang up, come late or talk rubbish."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import BadReply, BusSettings, DeviceException, NoReply, PortLost
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulated_network import EmulatedGateway
from drivers.emulator import EmulatedBus
from drivers.network import HEADER, NumberedPort, address_of
from drivers.port import Speed
from station.config import load
from station.model import ConfigError, replace
from tests.drivers.fakes import thermometer
from tests.station.commands import answer, configure, daemon, served, station, until

FAST = thermometer("worst_reply_ms = 40\nreply_delay_ms = 1\n")


def bus_at(address: str) -> Bus:
    return Bus(BusSettings(name="line", port=address, baudrate=115200, gap_ms=0))


def read(bus: Bus, unit_id: int = 3) -> tuple[float, ...]:
    (request,) = FAST.plan(bus.line)
    return tuple(raw / 10 for raw in request.raws(bus.read(unit_id, request, FAST)))


@contextmanager
def gateway(**more: object) -> Iterator[EmulatedGateway]:
    with EmulatedBus(115200, 10, [EmulatedUnit(FAST, 3)], chunk=8) as line, EmulatedGateway(line, **more) as made:  # type: ignore[arg-type]
        yield made


@contextmanager
def peer(*answers: Callable[[bytes], bytes]) -> Iterator[str]:
    """A gateway that answers each request with what *answers* make of it, then hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server.accept()[0] as client:
            for answer in answers:
                if not (request := client.recv(300)):
                    return
                client.sendall(answer(request))
            client.recv(300)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()
        thread.join(5)


def reply(request: bytes, *words: int, transaction: int | None = None, unit: int | None = None) -> bytes:
    """A sound answer to *request*, a read."""
    number, _, _, asked = HEADER.unpack_from(request)
    body = bytes((request[7], 2 * len(words))) + struct.pack(f">{len(words)}H", *words)
    return HEADER.pack(number if transaction is None else transaction, 0, 1 + len(body), unit or asked) + body


@pytest.mark.parametrize("numbered", [True, False])
def test_an_instrument_behind_a_gateway_is_read_as_on_a_line(numbered: bool) -> None:
    with gateway(numbered=numbered) as there:
        bus = bus_at(there.address)
        values = [read(bus) for _ in range(20)]
        bus.close()
    assert len(set(values)) == 1
    assert there.connections == 1
    assert bus.statistics[3].requests == 20
    assert bus.statistics[3].bad_replies == bus.statistics[3].leftover_bytes == 0


@pytest.mark.parametrize("numbered", [True, False])
def test_a_gateway_that_hung_up_while_nothing_was_said_is_not_noticed(numbered: bool) -> None:
    with gateway(numbered=numbered) as there:
        bus = bus_at(there.address)
        first = read(bus)
        there.sever()
        wait_until(lambda: there._peer is None)
        assert read(bus) == first
        assert there.connections == 2
        bus.close()


def wait_until(holds: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(500):
        if holds():
            return
        done.wait(0.01)
    raise AssertionError("did not come true")


def test_a_unit_that_is_not_there_is_the_gateways_exception() -> None:
    profile = thermometer("worst_reply_ms = 3000\n")
    with gateway() as there:
        bus = bus_at(there.address)
        (request,) = profile.plan(bus.line)
        with pytest.raises(DeviceException, match=r"exception 11 \(gateway target does not answer\)"):
            bus.read(9, request, profile)
        bus.close()


def test_nobody_there_is_a_lost_port_and_found_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    bus = bus_at(f"tcp://127.0.0.1:{number}")
    with pytest.raises(PortLost, match="cannot be opened: Connection refused"):
        read(bus)
    with EmulatedBus(115200, 10, [EmulatedUnit(FAST, 3)], chunk=8) as line, EmulatedGateway(line, port=number):
        assert read(bus)
        bus.close()


def test_an_answer_to_an_older_request_is_never_a_value() -> None:
    late: list[bytes] = []

    def keep(request: bytes) -> bytes:
        late.append(reply(request, *[111] * int.from_bytes(request[10:12], "big")))
        return b""

    def stale_first(request: bytes) -> bytes:
        first, count = struct.unpack(">HH", request[8:12])
        return late[0] + reply(request, *(220 + first + n for n in range(count)))

    with peer(keep, *[stale_first] * 5) as address:
        bus = bus_at(address)
        with pytest.raises(NoReply):
            read(bus)
        assert read(bus) == (22.1, 22.2)
        port = bus._wire._port  # type: ignore[union-attr]
        assert isinstance(port, NumberedPort)
        assert port.stale >= 1
        bus.close()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (lambda r: reply(r, 1, 2, unit=9), NoReply, "no reply"),
        (lambda r: reply(r, 1, 2, transaction=77), NoReply, "no reply"),
        (lambda r: reply(r, 1), BadReply, "is not the reply"),
        (lambda r: reply(r, 1, 2)[:-1], NoReply, "no reply"),
        (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", PortLost, "Protocol error"),
        (lambda r: HEADER.pack(1, 0, 0xFFFF, 3) + bytes(300), PortLost, "Protocol error"),
        (lambda r: HEADER.pack(1, 0, 1, 3), PortLost, "Protocol error"),
    ],
)
def test_what_is_no_answer_is_no_value(answer: Callable[[bytes], bytes], error: type[Exception], said: str) -> None:
    with peer(answer) as address:
        bus = bus_at(address)
        with pytest.raises(error, match=said):
            read(bus)
        bus.close()


def test_an_answer_in_pieces_is_put_together() -> None:
    with EmulatedBus(115200, 10, [EmulatedUnit(FAST, 3)], chunk=8) as line:
        pauses = iter([0.0, 0.12, 0.12] * 40)
        with EmulatedGateway(line, numbered=False, hold=lambda: next(pauses)) as there:
            bus = bus_at(there.address)
            assert len({read(bus) for _ in range(5)}) == 1
            assert bus.statistics[3].bad_replies == 0
            bus.close()


def test_a_connection_that_breaks_inside_an_exchange_is_a_lost_port() -> None:
    with peer() as address:
        bus = bus_at(address)
        with pytest.raises(PortLost, match="the port is lost"):
            read(bus)


def test_another_speed_cannot_be_asked_of_a_line_behind_a_network() -> None:
    with gateway(numbered=False) as there:
        bus = bus_at(there.address)
        with pytest.raises(PortLost, match="set where it is"), bus.speaking(Speed(9600)):
            read(bus)
        bus.close()


def test_a_library_of_others_serves_the_same_registers() -> None:
    """The independent peer: pymodbus' TCP server."""
    with pymodbus({1: [215, 640]}) as port:
        bus = bus_at(f"tcp://127.0.0.1:{port}")
        assert read(bus, 3) == (21.5, 64.0)
        (request,) = FAST.plan(bus.line)
        with pytest.raises(DeviceException, match="exception 2"):
            bus.read(3, replace(request, address=900, places=()), FAST)
        bus.close()


@contextmanager
def pymodbus(blocks: dict[int, list[int]]) -> Iterator[int]:
    """A pymodbus server of unit 3 with *blocks* of registers."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    found: dict[str, object] = {}

    async def serve() -> None:
        data = [SimData(address, values=values, datatype=DataType.REGISTERS) for address, values in blocks.items()]
        server = ModbusTcpServer(SimDevice(3, simdata=data), address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        found["server"] = server
        found["port"] = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield int(found["port"])  # type: ignore[call-overload]
    finally:
        asyncio.run_coroutine_threadsafe(found["server"].shutdown(), loop).result(5)  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp://gateway.local", "is no IP address"),
        ("tcp://192.168.1.20:0", "0 is no TCP port"),
        ("tcp://192.168.1.20:70000", "70000 is no TCP port"),
        ("rtu+tcp://192.168.1.20", "needs its port"),
        ("udp://192.168.1.20:502", "is no address such as"),
        ("tcp://192.168.1.256", "is no IP address"),
        ("tcp://192.168.1.20:502/x", "is no address such as"),
    ],
)
def test_an_address_that_is_none_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        address_of(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([('port = "port"', 'port = "tcp://pi.local"')], "bus[0].port: tcp://pi.local: pi.local is no IP address"),
        ([('port = "port"', 'port = "tcp://10.0.0.9"\nrs485 = "kernel"')], "rs485: is of a port of this machine"),
        ([('port = "port"', 'port = "tcp://10.0.0.9"'), ("unit_id = 1", "unit_id = 1\nbaudrate = 4800")],
         "bus[0].device[0].baudrate: is set where the line is"),
        ([('port = "port"', 'port = "tcp://10.0.0.9"'),
          ('profile = "deltaohm-pmsense"\nunit_id = 1', 'driver = "stream"\nprofile = "palas-aqguard"')],
         '"stream" speaks no Modbus'),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, changes: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(configure(tmp_path, *changes))
    assert said in str(refused.value)


def test_an_address_stays_as_it_is_written(tmp_path: Path) -> None:
    loaded = load(configure(tmp_path, ('port = "port"', 'port = "tcp://10.0.0.9:1502"')))
    assert loaded.config.bus[0].port == "tcp://10.0.0.9:1502"
    assert not [one for one in loaded.warnings if "is not there" in one]


def test_a_station_reads_an_emulated_instrument_behind_a_gateway(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    config = configure(tmp_path, ('port = "port"', f'port = "tcp://127.0.0.1:{number}"'))
    with served("emulate", "bus", config):
        until(lambda: station("read", "dust", "--config", config).code == 0, 20)
        with daemon(config):
            socket_path = load(config).control_socket
            until(lambda: answer(socket_path)["devices"][0]["answers"], 20)


def test_an_emulated_gateway_is_on_this_machine_alone(tmp_path: Path) -> None:
    config = configure(tmp_path, ('port = "port"', 'port = "tcp://10.0.0.9"'))
    done = station("emulate", "bus", config)
    assert done.code == 2
    assert "an emulated gateway is on this machine alone" in done.err
