"""Ways to see that a server is ready, cheap enough to be asked every 50 ms."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

from nurture_local.ports import LOOPBACK

EVERY = 0.05
_PATIENCE = 2.0


async def http_get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on the loopback interface; status 0 from what does not speak HTTP. Raises OSError or
    TimeoutError when nobody answers."""
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    # Another program may have taken the port meanwhile: a NATS server greets with words of its own.
    speaks = head.startswith(b"HTTP/") and len(words) > 1 and words[1].isdigit()
    return (int(words[1]) if speaks else 0), body


def http_ok(port: int, path: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            status, _ = await http_get(port, path)
        except (OSError, TimeoutError):
            return False
        return status == 200

    return ready


def postgres_accepts(port: int) -> Callable[[], Awaitable[bool]]:
    """What pg_isready asks: a server that is starting up refuses, one that is up wants to see a password."""
    words = b"user\0nurture_admin\0database\0postgres\0\0"
    opening = struct.pack("!ii", len(words) + 8, 196608) + words

    async def ready() -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    writer.write(opening)
                    return await reader.read(1) == b"R"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return ready


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    while not await ready():  # noqa: ASYNC110 - asks another process, which sets no event of ours
        await asyncio.sleep(EVERY)
