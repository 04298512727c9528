"""Analytics counted anew from the deliveries, in one transaction, while services go on.

Every change of a delivery appends a row to `analytics_changes` in its own transaction, and the controller's tick adds such rows
up in `analytics_counts`. In one snapshot both tables stand for exactly the deliveries in it, so all that it sees of them can be
replaced by a count of these deliveries; what commits meanwhile is in none of the three, and is added later as ever. Only
adding up waits.
"""

import asyncpg
from msgspec import Struct
from nurture_contracts.canary import SEQUENCE

from nurture_local.server import connected

_KEY = "day, sequence_type, step, variant, channel"
_FACTS = (
    "sent", "delivered", "opened", "clicked", "bounced", "complained", "failed", "suppressed", "cancelled", "expired", "unknown",
)  # fmt: skip
_NAMES = ", ".join(("planned", *_FACTS, "fallbacks", "fallback_saves"))
_SUMS = ", ".join(f"sum({name})::bigint as {name}" for name in _NAMES.split(", "))
_COUNT = f"""
create temporary table recounted on commit drop as
select (created_at at time zone 'UTC')::date as day, sequence_type, step, coalesce(variant, '') as variant, channel,
    count(*) as planned, {", ".join(f"count({fact}_at) as {fact}" for fact in _FACTS)}, count(fallback_of) as fallbacks,
    count(*) filter (
        where fallback_of is not null and coalesce(delivered_at, opened_at, clicked_at) is not null) as fallback_saves
from controller.deliveries where sequence_type <> '{SEQUENCE}' group by 1, 2, 3, 4, 5
"""  # noqa: S608 - names of our own
_WRONG = f"""
with told as (
    select {_KEY}, {_SUMS} from (
        select * from controller.analytics_counts union all select * from controller.analytics_changes) c
    group by {_KEY}
)
select count(*) from (select * from told where planned <> 0) t full join recounted r using ({_KEY})
where ({", ".join(f"t.{name}" for name in _NAMES.split(", "))})
    is distinct from ({", ".join(f"r.{name}" for name in _NAMES.split(", "))})
"""  # noqa: S608 - names of our own


class Recounted(Struct, frozen=True, kw_only=True):
    """How many rows of counters there are now, for how many deliveries, and how many of them were wrong before."""

    counters: int
    deliveries: int
    wrong: int


async def rebuild(url: str) -> Recounted:
    """Count anew. `url` is the administrator's. Raises ServerRefused, and LookupError where there are no such tables."""
    async with connected(url) as connection:
        if await connection.fetchval("select to_regclass('controller.analytics_counts')") is None:
            raise LookupError("there are no counters in this database: nurture db migrate")
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("set local statement_timeout = 0")
            # Before the snapshot is taken: what was being added up is then in it, and nothing is added up until the end.
            await connection.execute("lock table controller.analytics_counts in share row exclusive mode")
            return await _replace(connection)


async def _replace(connection: asyncpg.Connection) -> Recounted:
    await connection.execute(_COUNT)
    wrong: int = await connection.fetchval(_WRONG) or 0
    await connection.execute("delete from controller.analytics_changes")
    await connection.execute("delete from controller.analytics_counts")
    await connection.execute(f"insert into controller.analytics_counts ({_KEY}, {_NAMES}) select * from recounted")  # noqa: S608
    row = await connection.fetchrow(
        "select count(*) as counters, coalesce(sum(planned), 0)::bigint as n from recounted"
    )
    assert row is not None
    return Recounted(counters=row["counters"], deliveries=row["n"], wrong=wrong)
