"""The proxy of the fault tests, against a plain echo server: each fault does what it says, and nothing else."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults import proxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def wire() -> Iterator[proxy.Proxy]:
    with _Server((proxy.HOST, 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with proxy.before(server.server_address[1]) as wire:
            yield wire
        server.shutdown()
        thread.join()


@pytest.fixture
def client(wire: proxy.Proxy) -> Iterator[socket.socket]:
    with dial(wire) as connection:
        yield connection


def dial(wire: proxy.Proxy) -> socket.socket:
    return socket.create_connection((proxy.HOST, wire.port), timeout=10)


def exactly(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        chunk = connection.recv(length - len(got))
        assert chunk, f"the connection ended after {got!r}"
        got += chunk
    return got


def silent(connection: socket.socket, seconds: float = 0.3) -> bool:
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)
    return False


def test_it_passes_everything_both_ways_and_the_end_too(wire: proxy.Proxy, client: socket.socket) -> None:
    payload = bytes(range(256)) * 4000
    sender = threading.Thread(target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR)))
    sender.start()
    assert exactly(client, len(payload)) == payload
    sender.join()
    assert client.recv(1) == b""
    assert wire.up.passed == wire.down.passed == len(payload)


def test_latency_keeps_chunks_back(wire: proxy.Proxy, client: socket.socket) -> None:
    wire.latency(0.1)
    before = time.monotonic()
    client.sendall(b"slow")
    assert exactly(client, 4) == b"slow"
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_hole_tells_nobody_and_what_it_held_arrives_once_it_heals(
    wire: proxy.Proxy, client: socket.socket, way: str
) -> None:
    getattr(wire, way).hold()
    client.sendall(b"held")
    assert silent(client)
    with dial(wire) as late:  # a new connection hears nothing either
        late.sendall(b"late")
        assert silent(late)
        wire.heal()
        assert exactly(late, 4) == b"late"
    assert exactly(client, 4) == b"held"


def test_reset_breaks_every_connection_and_takes_new_ones(wire: proxy.Proxy, client: socket.socket) -> None:
    client.sendall(b"x")
    exactly(client, 1)
    wire.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with dial(wire) as again:
        again.sendall(b"y")
        assert exactly(again, 1) == b"y"
    assert wire.accepted == 2


def test_refuse_lets_nobody_in_until_it_heals(wire: proxy.Proxy) -> None:
    def ask() -> bytes:
        with dial(wire) as connection:
            connection.sendall(b"x")
            return connection.recv(1)

    wire.refuse()
    with pytest.raises(ConnectionResetError):
        ask()
    wire.heal()
    assert ask() == b"x"


def test_cut_loses_the_chunk_and_its_connection(wire: proxy.Proxy, client: socket.socket) -> None:
    seen = wire.down.cut(b"COMMIT")
    client.sendall(b"BEGIN;")
    assert exactly(client, 6) == b"BEGIN;"
    client.sendall(b"CO")
    assert exactly(client, 2) == b"CO"
    client.sendall(b"MMIT")  # the bytes lie across two chunks
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert seen.wait(10)
    assert wire.up.passed == 12  # the server did get it
    with dial(wire) as again:  # once only
        again.sendall(b"COMMIT")
        assert exactly(again, 6) == b"COMMIT"


def test_duplicate_sends_the_chunk_twice(wire: proxy.Proxy, client: socket.socket) -> None:
    seen = wire.up.duplicate(b"PUB")
    client.sendall(b"PUB once")
    assert exactly(client, 16) == b"PUB oncePUB once"
    assert seen.wait(10)
    client.sendall(b"PUB")
    assert exactly(client, 3) == b"PUB"
