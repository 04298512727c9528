"""A real PgBouncer before PostgreSQL: in transaction mode it is refused with the way out, in session mode all works."""

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from nurture_chassis.database import Database
from nurture_chassis.pooling import TRANSACTION_POOLER
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings, SettingsError
from nurture_local import addresses, migrate, schema_diff, server
from nurture_local.ports import free_port
from nurture_local.rooms import rooms

from tests.servers import SECRET_KEY, Cluster, role_url

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
installed = pytest.mark.skipif(
    not Path(PGBOUNCER).is_file(), reason="pgbouncer is not installed (Debian: apt install pgbouncer)"
)


@contextlib.contextmanager
def pooler(url: str, mode: str, folder: Path) -> Iterator[str]:
    """A PgBouncer before the server of `url`. Gives the administrator's address through it."""
    folder.mkdir()
    port, inner = free_port(), url.rpartition("@")[2].partition("/")[0]
    users = {"nurture_admin": addresses.password_of(url)} | {
        room.role: addresses.role_password(SECRET_KEY, room.role) for room in rooms()
    }
    (folder / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={inner.partition(':')[0]} port={inner.partition(':')[2]}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {folder / 'users.txt'}\npool_mode = {mode}\ndefault_pool_size = 20\nmax_client_conn = 200\n"
    )
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if nobody:
        for path in (folder, folder / "users.txt", folder / "pgbouncer.ini"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for path in folder.parents:
            if path.stat().st_uid == 0 and not path.stat().st_mode & 0o1:
                path.chmod(path.stat().st_mode | 0o1)
    process = subprocess.Popen(
        [PGBOUNCER, str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        user=nobody.pw_uid if nobody else None, group=nobody.pw_gid if nobody else None, extra_groups=[] if nobody else None,
    )  # fmt: skip
    try:
        through = url.replace(inner, f"127.0.0.1:{port}")
        asyncio.run(_answers(through, process))
        yield through
    finally:
        process.terminate()
        process.wait(10)


async def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.poll() is None, "pgbouncer ended"
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(url, statement_cache_size=0)
                await connection.close()
                return
            await asyncio.to_thread(threading.Event().wait, 0.05)


def _service(url: str) -> Database:
    settings = ServiceSettings(
        database_url=Secret(role_url(url, "nurture_gateway")),
        nats_url="",
        secret_key=Secret(SECRET_KEY),
        database_pool_size=4,
    )
    return Database(settings, "gateway", Queries.of("nurture_gateway", "public"))


@installed
def test_a_pooler_in_transaction_mode_is_recognised_and_refused(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.migrated() as url, pooler(url, "transaction", tmp_path / "pool") as through:
        assert TRANSACTION_POOLER in asyncio.run(schema_diff.diff(through, SECRET_KEY, "public")).clashes
        with pytest.raises(server.ServerRefused, match="session mode"):
            asyncio.run(migrate.migrate(through, SECRET_KEY, force=True))
        with pytest.raises(SettingsError, match="session mode"):
            asyncio.run(_service(through).open())


@installed
def test_through_a_pooler_in_session_mode_everything_works(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.database() as url, pooler(url, "session", tmp_path / "pool") as through:
        asyncio.run(migrate.migrate(through, SECRET_KEY))
        assert asyncio.run(schema_diff.diff(through, SECRET_KEY, "public")).changes == []

        async def work() -> None:
            database = _service(through)
            await database.open()
            try:
                places = await asyncio.gather(*(database.pool.fetchval("select current_schema()") for _ in range(8)))
                assert set(places) == {"gateway"}
                assert await database.fetchval("count_people") == 0
                value = await database.pool.fetchval("select $1::jsonb", {"a": 1})
                assert value == {"a": 1}
            finally:
                await database.close()

        asyncio.run(work())


def test_the_servers_own_address_is_no_pooler_and_supabases_port_is(cluster: Cluster) -> None:
    async def ask() -> list[str]:
        async with server.connected(cluster.url) as connection:
            return [
                *await server.problems(connection, cluster.url),
                *await server.problems(
                    connection, "postgresql://postgres.abc:pw@aws-0-eu.pooler.supabase.com:6543/postgres"
                ),
            ]

    assert asyncio.run(ask()) == [TRANSACTION_POOLER]


def test_a_service_waits_for_migrations_and_finds_its_own_schema(cluster: Cluster) -> None:
    async def work(url: str) -> None:
        database = _service(url)
        await database.open()
        try:
            assert await database.pool.fetchval("select current_schema()") == "gateway"
        finally:
            await database.close()

    with cluster.migrated() as url:
        asyncio.run(work(url))
