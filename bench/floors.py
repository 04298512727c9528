"""The floors: what each unavoidable piece of one delivery costs on its own, well batched, CPU in microseconds a delivery."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import nats
from msgspec import Struct

from bench import pipeline, reference
from bench.meter import Meter
from bench.pipeline import BATCH, PAGE, Done, Job
from bench.stand import Servers, SinkProcess

ITEMS = 20_000
"""Enough that the 10 ms of a CPU tick are half a microsecond a delivery."""
RENDERS = 4_000


class Floor(Struct, kw_only=True):
    """CPU of the caller and of the servers, microseconds a delivery; `times` is how often one delivery needs it."""

    name: str
    client: float
    servers: float
    times: int = 1

    @property
    def each(self) -> float:
        return (self.client + self.servers) * self.times


def total(floors: list[Floor]) -> float:
    """The sum under one delivery, microseconds."""
    return sum(floor.each for floor in floors)


def run(on: Servers, sink: SinkProcess) -> list[Floor]:
    """Measure all of them; a few seconds."""
    sink.ask(reset=True, latency_ms=0, webhook_port=0)
    return asyncio.run(_run(on, sink.port))


async def _run(on: Servers, sink_port: int) -> list[Floor]:
    connection = await asyncpg.connect(on.database_url)
    await pipeline.prepare(connection, ITEMS)
    jobs = [
        Job(uuid4(), row["id"], row["user_id"], row["address"], row["name"])
        for row in await connection.fetch("select id, user_id, address, name from enrolments")
    ]
    at = pipeline.now()
    done = [
        Done(job.id, job.enrolment_id, job.user_id, job.address, "Subject of the mail", job.id.hex, at) for job in jobs
    ]
    template = pipeline.layout()
    mails = [pipeline.mail(template, job) for job in jobs[:PAGE]]

    async def claim() -> None:
        for _ in range(ITEMS // BATCH):
            await connection.fetch(pipeline.CLAIM, BATCH)

    async def insert() -> None:
        for start in range(0, ITEMS, PAGE):
            await pipeline.record(connection, done[start : start + PAGE])

    async def fold() -> None:
        for start in range(0, ITEMS, PAGE):
            page = done[start : start + PAGE]
            await connection.execute(pipeline.FOLD, [one.id for one in page], [at] * len(page))

    async def render() -> None:
        for job in jobs[:RENDERS]:
            pipeline.mail(template, job)

    meter = Meter(on.pids)
    floors = [
        await _floor("claim 1,000 and advance", claim, ITEMS, meter),
        await _floor("insert deliveries, 100 by unnest", insert, ITEMS, meter),
        await _floor("fold facts, 100 by unnest", fold, ITEMS, meter),
        await _floor("render", render, RENDERS, meter),
        await _post(sink_port, mails, meter),
        await _page(on.nats_url, jobs, meter),
    ]
    await connection.close(timeout=5)
    return floors


async def _floor(name: str, work: Callable[[], Awaitable[None]], items: int, meter: Meter, times: int = 1) -> Floor:
    meter.start()
    began = time.process_time()
    await work()
    client, servers = time.process_time() - began, sum(meter.spent().values())
    return Floor(name=name, client=client / items * 1e6, servers=servers / items * 1e6, times=times)


async def _post(sink_port: int, mails: list[dict[str, object]], meter: Meter) -> Floor:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sink_port}", timeout=20, trust_env=False) as client:

        async def post() -> None:
            for number in range(ITEMS // PAGE):
                body = pipeline.encode(mails)
                answer = await client.post("/emails/batch", content=body, headers={"Idempotency-Key": str(number)})
                msgspec.json.decode(answer.content)

        return await _floor("encode and POST, 100 a call", post, ITEMS, meter)


async def _page(nats_url: str, jobs: list[Job], meter: Meter) -> Floor:
    await reference.make_stream(nats_url)
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    subscription = await js.pull_subscribe("bench.jobs", durable="jobs", stream="BENCH")
    decoder = msgspec.json.Decoder(list[Job])

    async def publish_and_hear() -> None:
        for start in range(0, ITEMS, PAGE):
            await js.publish("bench.jobs", msgspec.json.encode(jobs[start : start + PAGE]))
            (message,) = await subscription.fetch(1, timeout=5)
            decoder.decode(message.data)
            await message.ack_sync()

    floor = await _floor("a page of 100 on the bus: publish, hear, ack", publish_and_hear, ITEMS, meter, times=2)
    await connection.close()
    return floor
