"""Runs the reference pipeline once, measured as the whole system is."""

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack

import asyncpg
from nurture_local import servers

from bench import pipeline, reference
from bench.measures import Pass
from bench.meter import Meter
from bench.stand import CLEAN, WEBHOOK_SECRET, Servers, SinkProcess
from bench.system import ENDING


async def _prepare(on: Servers, people: int) -> None:
    connection = await asyncpg.connect(on.database_url)
    await pipeline.prepare(connection, people)
    await connection.close(timeout=5)
    await reference.make_stream(on.nats_url)


def _start(on: Servers, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.reference", *words],
        env={
            **CLEAN,
            "NATS_URL": on.nats_url,
            "DATABASE_URL": on.database_url,
            "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(on: Servers, sink: SinkProcess, people: int, *, webhooks: bool, latency_ms: float = 0) -> Pass:
    """From due rows to the last row written."""
    asyncio.run(_prepare(on, people))
    with ExitStack() as cleanup:
        processes = {
            "ledger": _start(on, "ledger", str(people), "webhooks" if webhooks else "bare"),
            "sender": _start(on, "sender", str(sink.port)),
        }
        for process in processes.values():
            cleanup.callback(_end, process)
        said = {name: process.stdout.readline() for name, process in processes.items() if process.stdout}
        sink.ask(reset=True, latency_ms=latency_ms, webhook_port=int(said["ledger"]) if webhooks else 0)
        meter = Meter({**on.pids, **{name: process.pid for name, process in processes.items()}, "sink": sink.pid})
        planner = processes["ledger"]
        assert planner.stdin is not None and planner.stdout is not None
        due = time.monotonic()
        planner.stdin.write("go\n")
        planner.stdin.flush()
        ends = [float(word) - due for word in planner.stdout.readline().split()]
        time.sleep(ENDING)
        cpu, seen = meter.spent(), sink.ask()
    assert seen["accepted"] == people, seen
    return Pass(
        deliveries=people,
        at_provider=seen["accepted"],
        accepted=seen["last_accepted"] - due,
        sent_rows=ends[0],
        acked=seen["last_acked"] - due if webhooks else None,
        delivered_rows=ends[1] if webhooks else None,
        calls=seen["calls"],
        repeated=seen["repeated"],
        bytes_per_email=seen["bytes"] / people,
        cpu=cpu,
    )


def _end(process: "subprocess.Popen[str]") -> None:
    servers.stop(process)  # type: ignore[arg-type]
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
