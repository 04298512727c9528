"""Each service's role tries every table, sequence and function of every other room, and is refused."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from nurture_contracts.topology import ROOMS

from tests.servers import Cluster, role_url

OBJECTS = """
select n.nspname as room, c.relname as name, c.relkind::text as kind from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1) and c.relkind in ('r', 'p', 'v', 'S') order by 1, 2
"""


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    with cluster.migrated() as url:
        yield url


@pytest.mark.parametrize("room", ROOMS)
def test_a_role_opens_its_own_tables_and_nobody_elses(cluster: Cluster, database: str, room: str) -> None:
    found = cluster.sql(OBJECTS, list(ROOMS), url=database)
    assert {row["room"] for row in found} == set(ROOMS)
    attempts = {
        "S": ("select nextval('{}')",),
        "v": ("select 1 from {} limit 0",),
        "r": ("select 1 from {} limit 0", "delete from {} where false", "truncate {}", "alter table {} add x int", "drop table {}"),
    }  # fmt: skip

    async def refused(connection: asyncpg.Connection, statement: str) -> bool:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            return True
        return False

    async def scene() -> None:
        connection = await asyncpg.connect(role_url(database, f"nurture_{room}"))
        try:
            for row in found:
                place = f'{row["room"]}."{row["name"]}"'
                kind = "r" if row["kind"] == "p" else row["kind"]
                if row["room"] != room:
                    for attempt in attempts[kind]:
                        assert await refused(connection, attempt.format(place)), (room, attempt.format(place))
                elif kind == "r":
                    assert not await refused(connection, f"select 1 from {place} limit 0"), place
                    assert await refused(connection, f"drop table {place}"), "the schema is the migrations' to change"
            for other in ROOMS:
                assert await refused(connection, f"create table {other}.mine (id int)")
            assert await refused(connection, "create role more")
            assert await refused(
                connection, "set role nurture_controller" if room != "controller" else "set role nurture_email"
            )
        finally:
            await connection.close()

    asyncio.run(scene())
