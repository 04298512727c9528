"""Mends for faults of the stack: a pull that asks with heartbeats, never keeps a message back, never spins and never falls
asleep, whatever becomes of its consumer or connection; and a connection that lets go of a peer that does not answer."""

import asyncio
import contextlib
import json
import os
import socket
import time
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

log = structlog.get_logger()
HEARTBEAT = 3.0
"""Seconds between the server's signs of life while a pull waits; after two and a half of these it is asked again."""
PING = 3
"""Seconds between our pings; the third that stays unanswered ends the connection, after nine seconds."""
PAUSE = 0.5
_NANO = 1_000_000_000
_WOKEN = "woken"
_WELL = ("100", "404", "408")
"""Heartbeat, nothing there, request is over: the consumer answers."""


class Pull:
    """The pulls of one durable, in place of nats-py's `fetch`, and what is known of the consumer by their answers."""

    def __init__(self, durable: str, subscription: Any, lost: asyncio.Event) -> None:
        self.durable = durable
        self._subscription = subscription
        self._lost = lost
        self._trouble: str | None = None
        self._asking = False
        self._alive_at = 0.0
        subscription.fetch = self.fetch

    def problem(self) -> str | None:
        """Why nothing is heard, in words; None while the server answers for the consumer."""
        if self._trouble:
            return f"consumer {self.durable} {self._trouble}"
        if self._asking and time.monotonic() - self._alive_at > 4 * HEARTBEAT:
            return f"consumer {self.durable} does not answer"
        return None

    def wake(self) -> None:
        """After a reconnect: the server no longer knows what was asked, so ask again at once."""
        if not self._asking:
            return
        subscription = self._subscription._sub
        with contextlib.suppress(asyncio.QueueFull):
            subscription._pending_queue.put_nowait(
                Msg(_client=subscription._conn, headers={"Status": _WOKEN}, data=b"")
            )

    async def fetch(self, batch: int = 1, timeout: float | None = 5, **_: Any) -> list[Msg]:
        """Up to `batch` messages, as soon as there is one. Raises nats' TimeoutError when there is none, whatever the
        cause, and only after a pause: FastStream asks again without awaiting anything, and any other error, or a bare
        time-out, would end its loop for good."""
        if not self._asking:
            self._asking, self._alive_at = True, time.monotonic()
        try:
            found = self._left_over(batch) or [await self._first(timeout or HEARTBEAT)]
            if len(found) < batch:
                found += await self._also_waiting(batch - len(found))
            self._asking = False
            return found
        except nats.errors.ConnectionClosedError:
            self._lost.set()
            await asyncio.sleep(PAUSE)
            raise
        except (nats.errors.Error, OSError, TimeoutError):
            await asyncio.sleep(PAUSE)
            raise nats.errors.TimeoutError from None

    def _left_over(self, batch: int) -> list[Msg]:
        """What came by an earlier request that was given up."""
        queue, found = self._subscription._sub._pending_queue, []
        while not queue.empty() and len(found) < batch:
            message = queue.get_nowait()
            queue.task_done()
            self._subscription._sub._pending_size -= len(message.data)
            if _status(message) is None:
                found.append(message)
        return found

    async def _first(self, seconds: float) -> Msg:
        # One message only: a request for more may leave something behind at the server, and the message that comes by it
        # is held back, waiting for company, until the next time-out.
        beat = min(HEARTBEAT, seconds / 3)
        request = {"batch": 1, "expires": int(seconds * _NANO), "idle_heartbeat": int(beat * _NANO)}
        over_at = 0.0
        while True:
            if over_at <= time.monotonic():
                await self._ask(request)
                over_at = time.monotonic() + seconds - PAUSE
            message = await self._subscription._sub.next_msg(timeout=2.5 * beat)
            status = _status(message)
            if status == _WOKEN:
                over_at = 0.0
            elif status is None:
                self._well()
                return message
            elif status in _WELL:
                # The end of an earlier request, given up here, is no reason to ask once more.
                self._well()
            else:
                self._ill(status, message)
                raise nats.errors.TimeoutError

    async def _also_waiting(self, batch: int) -> list[Msg]:
        """What waits already: `no_wait` without `expires` is answered at once, by messages or by a status."""
        found: list[Msg] = []
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._ask({"batch": batch, "no_wait": True})
            while len(found) < batch:
                message = await self._subscription._sub.next_msg(timeout=1.0)
                if (status := _status(message)) is None:
                    found.append(message)
                elif status != "100":
                    break
        return found

    async def _ask(self, request: dict[str, Any]) -> None:
        # A full socket of a dead peer would hold the write for ever.
        async with asyncio.timeout(HEARTBEAT):
            payload = json.dumps(request).encode()
            await self._subscription._nc.publish(self._subscription._nms, payload, self._subscription._deliver)

    def _well(self) -> None:
        if self._trouble:
            log.info("bus.consumer_back", durable=self.durable)
        self._trouble, self._alive_at = None, time.monotonic()

    def _ill(self, status: str, message: Msg) -> None:
        words = str((message.headers or {}).get("Description", ""))
        gone = status == "503" or "Consumer Deleted" in words
        trouble = "is missing, or has no leader" if gone else f"does not serve us: {status} {words}".rstrip()
        if trouble != self._trouble:
            log.warning("bus.consumer_trouble", durable=self.durable, trouble=trouble)
        self._trouble = trouble


def _status(message: Msg) -> str | None:
    return message.headers.get("Status") if message.headers else None


def let_go(connection: Client) -> None:
    """Make a connection that is given up close at once. nats-py would first wait until everything is written, which
    never happens when the peer is gone without a word."""
    transport: Any = connection._transport
    closing = transport.close

    def close() -> None:
        writer = getattr(transport, "_io_writer", None)
        if connection.is_reconnecting and writer is not None:
            writer.transport.abort()
        else:
            closing()

    transport.close = close


def notice_silence(descriptor: int, seconds: int = 10) -> None:
    """Have the kernel end a TCP connection whose peer acknowledges nothing for so long, also an idle one; where it can."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
        for level, name, value in (
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", seconds // 2),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", seconds * 1000),
        ):
            if hasattr(socket, name):
                twin.setsockopt(level, getattr(socket, name), value)
