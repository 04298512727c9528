"""The yardstick: the bare batched pipeline on the same stack, without decisions, faults or records of why.

Two processes, as `python -m bench.reference ledger|sender`. The ledger claims due rows by the thousand, publishes pages of
100 and awaits their acks, writes pages of outcomes, and, when asked, takes signed webhooks and folds them (one that overtakes
its outcome is counted and lost: no faults handled). The sender renders a page, sends it as one batch, publishes its outcome.
"""

import asyncio
import base64
import contextlib
import os
import sys
import time
from collections import deque
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import nats
import nats.errors
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

from bench import pipeline
from bench.http1 import serve
from bench.pipeline import BATCH, PAGE, Done, Job

CALLS = 8
"""Batches in flight at most, as many as Nurture's default."""
WINDOW = 0.01
_JOBS, _DONE, _SEEN = "bench.jobs", "bench.done", "bench.seen"


async def make_stream(nats_url: str) -> None:
    """A fresh stream and its consumers."""
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await js.delete_stream("BENCH")
    await js.add_stream(StreamConfig(name="BENCH", subjects=["bench.>"], retention=RetentionPolicy.LIMITS))
    for subject in (_JOBS, _DONE, _SEEN):
        durable = subject.partition(".")[2]
        config = ConsumerConfig(
            durable_name=durable, filter_subject=subject, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=64
        )
        await js.add_consumer("BENCH", config)
    await connection.close()


async def _pages(js: nats.js.JetStreamContext, subject: str):
    subscription = await js.pull_subscribe(subject, durable=subject.partition(".")[2], stream="BENCH")
    while True:
        try:
            messages = await subscription.fetch(4, timeout=5)
        except (nats.errors.TimeoutError, TimeoutError):
            continue
        for message in messages:
            yield message


class Ledger:
    """Plans, and writes what became of it."""

    def __init__(self, pool: asyncpg.Pool, js: nats.js.JetStreamContext, secret: str) -> None:
        self._pool = pool
        self._js = js
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._waiting: deque[tuple[UUID, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()
        self._webhook = msgspec.json.Decoder(_Webhook)

    async def plan(self) -> None:
        """Claim, publish before the commit, until nothing is due."""
        while True:
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(pipeline.CLAIM, BATCH)
                jobs = [Job(uuid4(), row["id"], row["user_id"], row["address"], row["name"]) for row in rows]
                await asyncio.gather(
                    *(
                        self._js.publish(_JOBS, msgspec.json.encode(jobs[start : start + PAGE]))
                        for start in range(0, len(jobs), PAGE)
                    )
                )
            if len(rows) < BATCH:
                return

    async def record(self, people: int) -> float:
        """Write outcomes until everybody has one. Returns when that was."""
        decoder, recorded = msgspec.json.Decoder(list[Done]), 0
        async for message in _pages(self._js, _DONE):
            page = decoder.decode(message.data)
            async with self._pool.acquire() as connection:
                await pipeline.record(connection, page)
            await message.ack_sync()
            recorded += len(page)
            if recorded >= people:
                return time.monotonic()
        raise AssertionError("unreachable")

    async def webhook(self, path: bytes, headers: dict[bytes, bytes], body: bytes) -> tuple[int, bytes]:
        """Verified, in a page on the bus, then answered."""
        if not pipeline.signed(self._key, headers, body):
            return 401, b"{}"
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._webhook.decode(body).data.tags.delivery_id, stored))
        self._arrived.set()
        await stored
        return 200, b"{}"

    async def store_webhooks(self) -> None:
        """What came within a moment goes out as one page."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(WINDOW)
            page = [self._waiting.popleft() for _ in range(min(200, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            await self._js.publish(_SEEN, msgspec.json.encode([id for id, _ in page]))
            for _, stored in page:
                stored.set_result(None)

    async def fold(self, people: int) -> float:
        """Webhooks into rows until everybody has one. Returns when that was."""
        decoder, folded = msgspec.json.Decoder(list[UUID]), 0
        async for message in _pages(self._js, _SEEN):
            ids = sorted(decoder.decode(message.data))
            async with self._pool.acquire() as connection:
                await connection.execute(pipeline.FOLD, ids, [pipeline.now()] * len(ids))
            await message.ack_sync()
            folded += len(ids)
            if folded >= people:
                return time.monotonic()
        raise AssertionError("unreachable")


class _Tags(msgspec.Struct):
    delivery_id: UUID


class _Data(msgspec.Struct):
    tags: _Tags


class _Webhook(msgspec.Struct):
    data: _Data


async def ledger(people: int, webhooks: bool) -> None:
    """Says its port when ready, begins at the first line from stdin, says two times of the monotonic clock at the end."""
    bus = await nats.connect(os.environ["NATS_URL"])
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=3, max_size=4)
    work = Ledger(pool, bus.jetstream(), os.environ["RESEND_WEBHOOK_SECRET"])
    server = await serve(0, work.webhook)
    recording = asyncio.create_task(work.record(people))
    tasks = [recording]
    if webhooks:
        storing = asyncio.create_task(work.store_webhooks())
        tasks.append(asyncio.create_task(work.fold(people)))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await work.plan()
    ends = await asyncio.gather(*tasks)
    if webhooks:
        storing.cancel()
    print(*ends, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def sender(sink_port: int) -> None:
    """Sends until stdin ends."""
    bus = await nats.connect(os.environ["NATS_URL"])
    js, template = bus.jetstream(), pipeline.layout()
    places = asyncio.Semaphore(CALLS)
    decoder = msgspec.json.Decoder(list[Job])
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{sink_port}", timeout=20, trust_env=False,
        headers={"Content-Type": "application/json", "Authorization": "Bearer re_bench"},
        limits=httpx.Limits(max_connections=CALLS, max_keepalive_connections=CALLS),
    )  # fmt: skip

    async def send(message: nats.aio.msg.Msg) -> None:
        jobs = decoder.decode(message.data)
        mails = [pipeline.mail(template, job) for job in jobs]
        answer = await client.post(
            "/emails/batch", content=pipeline.encode(mails), headers={"Idempotency-Key": str(jobs[0].id)}
        )
        ids, at = msgspec.json.decode(answer.raise_for_status().content)["data"], pipeline.now()
        done = [
            Done(job.id, job.enrolment_id, job.user_id, job.address, mail["subject"], sent["id"], at)
            for job, mail, sent in zip(jobs, mails, ids, strict=True)
        ]
        await js.publish(_DONE, msgspec.json.encode(done))
        await message.ack_sync()
        places.release()

    async def run() -> None:
        flight: set[asyncio.Task[None]] = set()
        async for message in _pages(js, _JOBS):
            await places.acquire()
            task = asyncio.create_task(send(message))
            flight.add(task)
            task.add_done_callback(flight.discard)

    running = asyncio.create_task(run())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    running.cancel()


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    uvloop.run(ledger(int(rest[0]), rest[1] == "webhooks") if role == "ledger" else sender(int(rest[0])))
