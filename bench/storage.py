"""What one email leaves behind: rows and bytes in PostgreSQL by table, write-ahead log, messages and bytes in JetStream."""

import asyncio

from msgspec import Struct
from nurture_local import bus_state

from bench.measures import Pass
from bench.system import Driver

ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
_TABLES = """
select n.nspname || '.' || coalesce(p.relname, c.relname) as name, sum(pg_total_relation_size(c.oid))::bigint as bytes
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_inherits i on i.inhrelid = c.oid left join pg_class p on p.oid = i.inhparent
where c.relkind = 'r' and n.nspname = any($1) group by 1
"""
"""Every table with its indexes and what lies beside it (TOAST); partitions as the whole that they are part of."""


class Kept(Struct, kw_only=True):
    """Rows (or messages) and bytes of one table or stream."""

    rows: int
    bytes: int


class Storage(Struct, kw_only=True):
    """What grew in one pass of emails that were planned, sent and delivered; tables with room for what was updated."""

    deliveries: int
    people: dict[str, Kept]
    tables: dict[str, Kept]
    log_bytes: int
    streams: dict[str, Kept]
    run: Pass


def run(driver: Driver) -> Storage:
    """One pass with webhooks; `people` is what the people's tables held before it, since they were imported once."""
    _vacuum(driver)
    tables, log, streams = _tables(driver), _log(driver), _streams(driver)
    done = driver.run(webhooks=True)
    _vacuum(driver)
    now = _tables(driver)
    return Storage(
        deliveries=done.deliveries,
        people={name: kept for name, kept in tables.items() if name in ("gateway.users", "gateway.contacts")},
        tables=_grown(tables, now),
        log_bytes=_log(driver) - log,
        streams=_grown(streams, _streams(driver)),
        run=done,
    )


def _vacuum(driver: Driver) -> None:
    # As autovacuum does in its own time: dead rows become room for the next ones, and are not measured as new.
    driver.rows.value("vacuum analyze")
    driver.rows.value("checkpoint")


def _tables(driver: Driver) -> dict[str, Kept]:
    return {
        row["name"]: Kept(rows=driver.rows.value(f"select count(*) from {row['name']}"), bytes=row["bytes"])
        for row in driver.rows.all(_TABLES, list(ROOMS))
    }


def _log(driver: Driver) -> int:
    return driver.rows.value("select (pg_current_wal_insert_lsn() - '0/0')::bigint")


def _streams(driver: Driver) -> dict[str, Kept]:
    seen = asyncio.run(bus_state.look(driver.system.nats_url))
    return {one.config.name: Kept(rows=one.state.messages, bytes=one.state.bytes) for one in seen.streams}


def _grown(before: dict[str, Kept], after: dict[str, Kept]) -> dict[str, Kept]:
    none = Kept(rows=0, bytes=0)
    grown = {
        name: Kept(rows=kept.rows - before.get(name, none).rows, bytes=kept.bytes - before.get(name, none).bytes)
        for name, kept in after.items()
    }
    return {name: kept for name, kept in grown.items() if kept.bytes > 0 or kept.rows > 0}
