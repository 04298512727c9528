"""A TCP proxy that behaves as badly as a network can, for any protocol without TLS.

It runs in a thread of its own, so a test may be plain or asynchronous, and the processes under test only need its port:

    with proxy.before(nats_port) as wire:
        service = ... f"nats://127.0.0.1:{wire.port}"
        wire.hold()                                  # half-open: nothing passes, nobody is told
        wire.heal()                                  # what was held arrives now, as TCP would retransmit it
        reply = wire.down.cut(b'"stream"')           # the next PubAck is lost with its connection
        assert reply.wait(10)

`up` is the way from the client to the server, `down` the way back; each has its own faults.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

HOST = "127.0.0.1"
CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing the socket sends RST."""


class _Match:
    """Something to do once, when these bytes pass. `seen` is set when it was done."""

    def __init__(self, wanted: bytes, act: str) -> None:
        self.wanted = wanted
        self.act = act
        self.seen = threading.Event()


class Way:
    """One direction of all connections. Each setting holds for what passes from now on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.latency = 0.0
        """Seconds that each chunk is kept back."""
        self.passed = 0
        """Bytes that went through."""
        self._open = True
        self._matches: list[_Match] = []
        self._wake: Callable[[], None] = lambda: None

    def hold(self) -> None:
        """A black hole: nothing passes, also no end of a connection. What is sent meanwhile arrives after `heal`."""
        self._open = False

    def heal(self) -> None:
        """No more latency, no hole; matches that nothing met are forgotten."""
        self.latency, self._matches, self._open = 0.0, [], True
        self._wake()

    def cut(self, wanted: bytes) -> threading.Event:
        """The next chunk with these bytes is lost, and both ends of its connection get RST. Returns what tells it."""
        return self._expect(wanted, "cut")

    def duplicate(self, wanted: bytes) -> threading.Event:
        """The next chunk with these bytes arrives twice. Meant for protocols whose messages fit a chunk."""
        return self._expect(wanted, "duplicate")

    def notice(self, wanted: bytes) -> threading.Event:
        """Nothing happens to the next chunk with these bytes; a test learns that it passed."""
        return self._expect(wanted, "notice")

    def _expect(self, wanted: bytes, act: str) -> threading.Event:
        match = _Match(wanted, act)
        self._matches = [*self._matches, match]
        return match.seen

    def _met(self, recent: bytes) -> _Match | None:
        found = next((match for match in self._matches if match.wanted in recent), None)
        if found:
            self._matches = [match for match in self._matches if match is not found]
        return found


class Proxy:
    """A listening port before one server. Every method may be called from any thread."""

    def __init__(self, server_port: int, server_host: str = HOST) -> None:
        self._server = (server_host, server_port)
        self._loop = asyncio.new_event_loop()
        self._connections: set[_Connection] = set()
        self._changed = asyncio.Event()
        self._deaf = False
        self.port = 0
        self.accepted = 0
        """Connections taken so far."""
        self.up, self.down = Way("up"), Way("down")
        self.up._wake = self.down._wake = self._stir

    @property
    def connected(self) -> int:
        """Connections that stand now."""
        return len(self._connections)

    def hold(self) -> None:
        """Half-open TCP: both ways are black holes."""
        self.up.hold()
        self.down.hold()

    def heal(self) -> None:
        """Everything passes again, new connections too."""
        self._deaf = False
        self.up.heal()
        self.down.heal()

    def reset(self) -> None:
        """RST to both ends of every connection; new ones are taken."""
        self._ask(self._reset())

    def refuse(self) -> None:
        """RST to all, and to whoever connects until `heal`."""
        self._deaf = True
        self.reset()

    def latency(self, seconds: float) -> None:
        """The same delay on both ways."""
        self.up.latency = self.down.latency = seconds

    async def _reset(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def _stir(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    def _ask(self, work: Any) -> Any:
        answer: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return answer.result(10)

    async def _serve(self, ready: threading.Event, stopping: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stopping.wait()
        server.close()
        await self._reset()
        while self._connections:
            await asyncio.gather(*(one.done.wait() for one in self._connections))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            if not self._deaf:
                with contextlib.suppress(OSError):
                    server_reader, server_writer = await asyncio.open_connection(*self._server, limit=CHUNK)
                    connection.writers.append(server_writer)
                    await connection.run(
                        self._pump(self.up, reader, server_writer), self._pump(self.down, server_reader, writer)
                    )
        finally:
            connection.abort()
            self._connections.discard(connection)
            connection.done.set()

    async def _pump(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before = b""
        while True:
            chunk = await reader.read(CHUNK)
            if way.latency:
                await asyncio.sleep(way.latency)
            while not way._open:
                self._changed.clear()
                await self._changed.wait()
            if not chunk:
                writer.write_eof()
                return
            match = way._met(before + chunk)
            if match and match.act == "cut":
                match.seen.set()
                raise ConnectionResetError
            writer.write(chunk)
            if match and match.act == "duplicate":
                writer.write(chunk)
            await writer.drain()
            way.passed += len(chunk)
            if match:
                match.seen.set()
            # Bytes that are looked for may lie across two chunks.
            longest = max((len(one.wanted) for one in way._matches), default=1)
            before = (before + chunk)[-longest + 1 :] if longest > 1 and not match else b""


class _Connection:
    """A client's socket and the server's, which end together."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.done = asyncio.Event()
        self._pumps: list[asyncio.Task[None]] = []
        self._aborted = False

    async def run(self, *pumps: Any) -> None:
        """Until both ways have ended, or one of them failed."""
        if self._aborted:
            for pump in pumps:
                pump.close()
            return
        self._pumps = [asyncio.ensure_future(pump) for pump in pumps]
        finished, _ = await asyncio.wait(self._pumps, return_when=asyncio.FIRST_EXCEPTION)
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if all(pump.exception() is None for pump in finished if not pump.cancelled()):
            for writer in self.writers:
                writer.close()

    def abort(self) -> None:
        self._aborted = True
        for pump in self._pumps:
            pump.cancel()
        for writer in self.writers:
            if writer.is_closing():
                continue
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@contextlib.contextmanager
def before(server_port: int, server_host: str = HOST) -> Iterator[Proxy]:
    """A proxy on a free port for the length of a `with`."""
    proxy = Proxy(server_port, server_host)
    ready, stopping = threading.Event(), asyncio.Event()

    def body() -> None:
        asyncio.set_event_loop(proxy._loop)
        with asyncio.Runner(loop_factory=lambda: proxy._loop) as runner:
            runner.run(proxy._serve(ready, stopping))

    thread = threading.Thread(target=body, name="proxy", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the proxy does not listen")
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
