"""A small HTTP/1.1 client that keeps one connection open.

Every mail causes two webhooks or more, and a general client costs ten times what this one does per call; on a machine
that also runs the system under test, that difference is what the system gets.
"""

import asyncio
from urllib.parse import urlsplit

ANSWER_SECONDS = 15.0
MAX_HEAD_BYTES = 65_536


class NoAnswer(Exception):
    """No status came back: connection refused, closed, timed out, or not HTTP."""


class Wire:
    """One call at a time; the connection is reused while calls go to the same origin."""

    def __init__(self) -> None:
        self._origin: tuple[str, str | None, int | None] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> int:
        """The status of the answer; its body is dropped and redirects are not followed. Raises NoAnswer."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.hostname, parts.port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc.rpartition('@')[2]}"]
        if body or method == "POST":
            head.append(f"content-length: {len(body)}")
        head += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join((*head, "", "")).encode() + body
        reused = self._streams is not None and origin == self._origin
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._exchange(origin, request)
                except (OSError, asyncio.IncompleteReadError):
                    self.close()
                    if not reused:
                        raise
                    # The other side may close an idle connection at any time; a repeated webhook is harmless.
                    return await self._exchange(origin, request)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NoAnswer(type(error).__name__) from None
        except BaseException:
            self.close()
            raise

    async def _exchange(self, origin: tuple[str, str | None, int | None], request: bytes) -> int:
        if self._streams is None or origin != self._origin:
            self.close()
            scheme, host, port = origin
            tls = scheme == "https"
            self._streams = await asyncio.open_connection(
                host, port or (443 if tls else 80), ssl=tls or None, limit=MAX_HEAD_BYTES
            )
            self._origin = origin
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        length = fields.get("content-length")
        if length is not None:
            await reader.readexactly(int(length))
        if fields.get("connection") == "close" or (length is None and status not in (204, 304)):
            self.close()
        return status

    def close(self) -> None:
        """Drop the connection; the next call opens one."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None
