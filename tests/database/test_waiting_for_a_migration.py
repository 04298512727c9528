"""A service of a new version that is started before its migration was run: it waits, says for what, and goes on."""

import asyncio

from nurture_chassis.database import Database, versions
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings

from tests.servers import SECRET_KEY, Cluster, role_url


def opening(cluster: Cluster, url: str, missing: str) -> tuple[str, bool]:
    """What a scoring service waits for, and whether it opens once it is there."""
    settings = ServiceSettings(
        database_url=Secret(role_url(url, "nurture_scoring")), nats_url="", secret_key=Secret(SECRET_KEY)
    )
    database = Database(settings, "scoring", Queries.of("nurture_scoring", "public"))

    async def run() -> tuple[str, bool]:
        task = asyncio.create_task(database.open())
        try:
            async with asyncio.timeout(30):
                while True:
                    await asyncio.sleep(0.02)
                    if database.awaited != "the database":
                        break
                assert not database.is_open
                awaited = database.awaited
                cluster.sql("insert into scoring.schema_migrations (version) values ($1)", missing, url=url)
                await task
            return awaited, database.is_open
        finally:
            task.cancel()
            await database.close()

    return asyncio.run(run())


def test_it_waits_for_the_last_of_its_own_and_for_the_chassis(cluster: Cluster) -> None:
    known = versions("scoring")
    for missing in (known[-1], max(version for version in known if version < "0900")):
        with cluster.migrated() as url:
            cluster.sql("delete from scoring.schema_migrations where version = $1", missing, url=url)
            assert opening(cluster, url, missing) == (f"migration {missing} of schema scoring", True)


def test_a_migration_of_a_later_version_is_no_reason_to_wait(cluster: Cluster) -> None:
    async def run(url: str) -> None:
        settings = ServiceSettings(
            database_url=Secret(role_url(url, "nurture_scoring")), nats_url="", secret_key=Secret(SECRET_KEY)
        )
        database = Database(settings, "scoring", Queries.of("nurture_scoring", "public"))
        async with asyncio.timeout(30):
            await database.open()
        await database.close()

    with cluster.migrated() as url:
        cluster.sql("insert into scoring.schema_migrations (version) values ('0899')", url=url)
        asyncio.run(run(url))
