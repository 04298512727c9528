"""What a claim of due enrolments costs when millions wait: the controller's own statements on its own tables."""

import asyncio
import secrets
import time

import asyncpg
from msgspec import Struct
from nurture_chassis.queries import Queries
from nurture_local import migrate
from nurture_local.addresses import with_database

from bench.meter import Meter
from bench.stand import Servers

SMALL, LARGE = 1_000_000, 5_000_000
PAGE, PAGES = 1000, 40
_SEQUENCE = """
insert into sequences (id, type, version, definition, toml, published_at)
select gen_random_uuid(), 'waiting', 1, '{}', '', now() where not exists (select from sequences)
"""
_FILL = """
insert into enrolments (id, command_id, user_id, sequence_id, sequence_type, step, next_at, started_at)
select uuidv7(), c.id, uuidv7(), s.id, 'waiting', 1,
       now() + case when n <= $2 then interval '-1 hour' else interval '1 day' + n * interval '50 milliseconds' end, now()
from generate_series(1, $1::int) n, sequences s, (select gen_random_uuid() as id) c
"""


class Claims(Struct, kw_only=True):
    """Pages of 1,000 claimed and moved on, per enrolment: wall clock and PostgreSQL's CPU in microseconds."""

    waiting: int
    wall_us: float
    cpu_us: float


def run(on: Servers) -> list[Claims]:
    """At one million and at five; minutes, most of them for filling the table."""
    return asyncio.run(_run(on))


async def _run(on: Servers) -> list[Claims]:
    url = with_database(on.database_url, "waiting")
    await migrate.migrate(url, secrets.token_urlsafe(32), own_server=True)
    connection = await asyncpg.connect(url, server_settings={"search_path": "controller"}, command_timeout=900)
    queries = Queries.of("nurture_controller", "public")
    await connection.execute(_SEQUENCE)
    found, there = [], 0
    for waiting in (SMALL, LARGE):
        while there < waiting:
            await connection.execute(_FILL, 500_000, PAGE * PAGES if there + 500_000 >= waiting else 0)
            there += 500_000
        await connection.execute("vacuum analyze enrolments")
        await connection.execute("checkpoint")
        found.append(await _claims(connection, queries, waiting, Meter({"postgres": on.pids["postgres"]})))
    await connection.close(timeout=5)
    return found


async def _claims(connection: asyncpg.Connection, queries: Queries, waiting: int, meter: Meter) -> Claims:
    now = await connection.fetchval("select now()")
    meter.start()
    began = time.monotonic()
    for _ in range(PAGES):
        async with connection.transaction():
            rows = await connection.fetch(queries["enrolments_claim_due"], now, PAGE)
            assert len(rows) == PAGE, len(rows)
            nothing = [None] * PAGE
            await connection.execute(
                queries["enrolments_advance"],
                [row["id"] for row in rows], [2] * PAGE, nothing, ["completed"] * PAGE, nothing, [now] * PAGE,
                ["completed"] * PAGE,
            )  # fmt: skip
    took, cpu = time.monotonic() - began, meter.spent()["postgres"]
    items = PAGE * PAGES
    return Claims(waiting=waiting, wall_us=took / items * 1e6, cpu_us=cpu / items * 1e6)
