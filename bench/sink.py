"""The provider of the measuring stand, a process of its own: takes emails, then posts a signed `email.delivered` for each.

It speaks just enough of Resend: POST /emails and /emails/batch answer ids, a repeated Idempotency-Key the same ones.
POST /bench with fields of `Setup` sets it up and answers what it has counted, times in seconds of CLOCK_MONOTONIC, which all
processes of a machine share.
"""

import argparse
import asyncio
import os
import signal
import time
from collections import deque
from typing import Any

import msgspec
import uvloop

from bench.http1 import Connection, serve
from bench.svix import Signer

WIDE = 32
"""Webhooks in flight at most."""


class _Tag(msgspec.Struct):
    name: str
    value: str


class _Mail(msgspec.Struct):
    to: list[str]
    html: str
    tags: list[_Tag]


class Setup(msgspec.Struct, kw_only=True):
    """What a measurement asks of the sink. `webhook_port` 0: accept and say nothing more."""

    reset: bool = False
    latency_ms: float | None = None
    webhook_port: int | None = None
    webhook_path: str = "/admin/api/email/webhook"


class Sink:
    """Counts what came in and what was acknowledged."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._latency = 0.0
        self._port = 0
        self._signer: Signer | None = None
        self._number = 0
        self._batch = msgspec.json.Decoder(list[_Mail])
        self._single = msgspec.json.Decoder(_Mail)
        self._queue: deque[tuple[int, str, str]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        self.arrivals: dict[str, float] = {}
        self.began: list[float] = []
        self._replies: dict[bytes, bytes] = {}
        self.chats = 0
        self.calls = self.repeated = self.acked = self.refused = self.body_bytes = 0
        self.first_accepted = self.last_accepted = self.last_acked = 0.0
        self._queue.clear()

    async def handle(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> tuple[int, bytes]:
        if path == b"/emails/batch":
            return await self._accept(self._batch.decode(body), headers, body, batch=True)
        if path == b"/emails":
            return await self._accept([self._single.decode(body)], headers, body, batch=False)
        if path.startswith(b"/bot"):
            return await self._bot(path.rpartition(b"/")[2])
        if path == b"/bench":
            return 200, self._control(msgspec.json.decode(body or b"{}", type=Setup))
        if path == b"/bench/calls":
            return 200, msgspec.json.encode(self.began)
        if path == b"/bench/arrivals":
            wanted = msgspec.json.decode(body, type=list[str])
            return 200, msgspec.json.encode([self.arrivals.get(one) for one in wanted])
        return 404, b"{}"

    async def _bot(self, method: bytes) -> tuple[int, bytes]:
        """As much of the Bot API as sending needs."""
        if method == b"getMe":
            return 200, b'{"ok":true,"result":{"id":1234567,"is_bot":true,"first_name":"B","username":"bench_bot"}}'
        if method != b"sendMessage":
            return 200, b'{"ok":true,"result":true}'
        self.chats += 1
        self.began.append(time.monotonic())
        if self._latency:
            await asyncio.sleep(self._latency)
        result = f'{{"message_id":{self.chats},"date":{int(time.time())},"chat":{{"id":1,"type":"private"}}}}'
        return 200, f'{{"ok":true,"result":{result}}}'.encode()

    async def _accept(
        self, mails: list[_Mail], headers: dict[bytes, bytes], body: bytes, *, batch: bool
    ) -> tuple[int, bytes]:
        now = time.monotonic()
        self.calls += 1
        self.first_accepted = self.first_accepted or now
        self.body_bytes += len(body)
        key = headers.get(b"idempotency-key", b"")
        if key and (known := self._replies.get(key)):
            return 200, known
        self.began.append(now)
        ids: list[str] = []
        webhooks: list[tuple[int, str, str]] = []
        for mail in mails:
            self._number += 1
            delivery = next((tag.value for tag in mail.tags if tag.name == "delivery_id"), "")
            provider = f"{self._number:08x}-be4c-4000-8000-000000000000"
            self.repeated += delivery in self.arrivals
            self.arrivals[delivery] = now
            ids.append(f'{{"id":"{provider}"}}')
            webhooks.append((self._number, delivery, provider))
        reply = (f'{{"data":[{",".join(ids)}]}}' if batch else ids[0]).encode()
        if key:
            self._replies[key] = reply
        if self._latency:
            await asyncio.sleep(self._latency)
        self.last_accepted = time.monotonic()
        if self._port:
            self._queue.extend(webhooks)
            self._wake.set()
        return 200, reply

    def _control(self, setup: Setup) -> bytes:
        if setup.reset:
            self.reset()
        if setup.latency_ms is not None:
            self._latency = setup.latency_ms / 1000
        if setup.webhook_port is not None:
            self._port = setup.webhook_port
            self._signer = Signer(self._secret, self._port, setup.webhook_path) if self._port else None
            for worker in self._workers:
                worker.cancel()
            self._workers = {asyncio.ensure_future(self._post()) for _ in range(WIDE)} if self._port else set()
        counted: dict[str, Any] = {
            "accepted": len(self.arrivals), "chats": self.chats,
            "repeated": self.repeated, "calls": self.calls, "bytes": self.body_bytes,
            "acked": self.acked, "refused": self.refused,
            "last_accepted": self.last_accepted, "last_acked": self.last_acked,
            "first_accepted": self.first_accepted,
        }  # fmt: skip
        return msgspec.json.encode(counted)

    async def _post(self) -> None:
        connection: Connection | None = None
        try:
            while True:
                while not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                event = self._queue.popleft()
                signer = self._signer
                assert signer is not None
                try:
                    if connection is None or connection.closed:
                        connection = await Connection.open(self._port)
                    status = await connection.send(signer.webhook("email.delivered", *event))
                except OSError:
                    status = 0
                if 200 <= status < 300:
                    self.acked += 1
                    self.last_acked = time.monotonic()
                else:
                    self.refused += 1
                    self._queue.append(event)
                    self._wake.set()
                    await asyncio.sleep(0.05)
        finally:
            if connection is not None:
                connection.close()


async def _main(port: int, latency_ms: float) -> None:
    sink = Sink(os.environ["RESEND_WEBHOOK_SECRET"])
    sink._control(Setup(latency_ms=latency_ms))
    server = await serve(port, sink.handle)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopping.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    asked = parser.parse_args()
    uvloop.run(_main(asked.port, asked.latency_ms))
