"""How many signed webhooks one gateway takes, and how fast they become facts. `python -m bench.webhooks PORT` is the poster."""

import asyncio
import os
import subprocess
import sys
import time

import msgspec
import uvloop
from msgspec import Struct
from nurture_local import servers

from bench.http1 import Connection
from bench.meter import Meter
from bench.stand import CLEAN, WEBHOOK_SECRET
from bench.svix import Signer
from bench.system import PATIENCE, Driver, wait_for

WIDE = 32
KIND = "email.opened"


class Taken(Struct, kw_only=True):
    """Webhooks about existing deliveries. CPU in seconds by process."""

    webhooks: int
    accepted_per_second: float
    rows_per_second: float
    refused: int
    cpu: dict[str, float]


def run(driver: Driver, sequence_type: str) -> Taken:
    """Post `email.opened` for every delivery of a pass, 32 wide on kept connections."""
    rows = driver.rows.all(
        "select id::text, provider_id from controller.deliveries where sequence_type = $1 and provider_id is not null",
        sequence_type,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.webhooks", str(driver.system.gateway_port)],
        env={**CLEAN, "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode([tuple(row) for row in rows]) + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        meter = Meter(driver.system.pids)
        began = time.monotonic()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        seconds, refused = msgspec.json.decode(process.stdout.readline())
        sql = "select count(*) from controller.deliveries where sequence_type = $1 and opened_at is not null"
        wait_for(lambda: driver.rows.value(sql, sequence_type) == len(rows), "opened rows", within=PATIENCE, every=0.1)
        through = time.monotonic() - began
        return Taken(
            webhooks=len(rows),
            accepted_per_second=len(rows) / seconds,
            rows_per_second=len(rows) / through,
            refused=refused,
            cpu=meter.spent(),
        )
    finally:
        servers.stop(process)
        process.stdin.close()
        process.stdout.close()


async def _post(port: int) -> None:
    signer = Signer(os.environ["RESEND_WEBHOOK_SECRET"], port)
    deliveries = msgspec.json.decode(sys.stdin.buffer.readline(), type=list[tuple[str, str]])
    requests = [signer.webhook(KIND, number, *one) for number, one in enumerate(deliveries)]
    connections = [await Connection.open(port) for _ in range(WIDE)]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.readline)
    refused = 0

    async def work(connection: Connection) -> None:
        nonlocal refused
        while requests:
            refused += await connection.send(requests.pop()) >= 300

    began = time.monotonic()
    await asyncio.gather(*(work(connection) for connection in connections))
    print(msgspec.json.encode((time.monotonic() - began, refused)).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_post(int(sys.argv[1])))
