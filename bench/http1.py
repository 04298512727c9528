"""Just enough HTTP/1.1 for a measuring stand: its own cost must stay small beside what is measured."""

import asyncio
from collections.abc import Awaitable, Callable

REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 503: b"Service Unavailable"}

Handler = Callable[[bytes, dict[bytes, bytes], bytes], Awaitable[tuple[int, bytes]]]
"""Path, headers in lower case and body to status and JSON."""


class _Server(asyncio.Protocol):
    """One keep-alive connection; a request is answered before the next is read."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._need = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._task is not None or len(self._buffer) < self._need:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        self._need = end + 4 + int(headers.get(b"content-length", b"0"))
        if len(self._buffer) < self._need:
            return
        body = bytes(self._buffer[end + 4 : self._need])
        del self._buffer[: self._need]
        self._need = 0
        self._task = asyncio.ensure_future(self._answer(lines[0].split(b" ")[1], headers, body))

    async def _answer(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        status, answer = await self._handler(path, headers, body)
        self._transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % (status, REASONS[status], len(answer))
            + answer
        )
        self._task = None
        self._next()


async def serve(port: int, handler: Handler) -> asyncio.Server:
    """Listen on the loopback interface; port 0 takes a free one."""
    return await asyncio.get_running_loop().create_server(lambda: _Server(handler), "127.0.0.1", port)


class Connection(asyncio.Protocol):
    """One keep-alive connection of a client, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    async def send(self, request: bytes) -> int:
        """Send a whole request; its status once the answer is complete. Raises OSError when the connection breaks."""
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._buffer[:end]).lower()
        _, _, length = head.partition(b"content-length:")
        total = end + 4 + int(length.split(b"\r\n")[0] or 0)
        if len(self._buffer) < total:
            return
        del self._buffer[:total]
        answer, self._answer = self._answer, None
        answer.set_result(int(head[9:12]))


def request(port: int, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A POST as bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body
