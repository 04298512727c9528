"""PostgreSQL through asyncpg: a pool per service, named queries, short transactions, everything counted."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import Counter

from nurture_chassis.guard import notice_silence
from nurture_chassis.pooling import refuse_pooler
from nurture_chassis.queries import Queries, quoted
from nurture_chassis.settings import ServiceSettings

log = structlog.get_logger()
STATEMENTS = Counter("nurture_sql_statements", "SQL statements sent, by named query", ["query"])
TRANSACTIONS = Counter("nurture_sql_transactions", "Explicit transactions committed")

Connection = asyncpg.Connection | PoolConnectionProxy
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What asyncpg says of a transaction whose server was killed under it: "cannot switch to state …".
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    # Starting, stopping, in recovery, a statement cancelled for its time-out: class 57, with 57P01 to 57P05.
    asyncpg.OperatorInterventionError,
    # No connection, memory or disk left: class 53.
    asyncpg.InsufficientResourcesError,
    # A server that lost its primary.
    asyncpg.ReadOnlySQLTransactionError,
)
"""What a database that is away, starting, stopping or out of means looks like from here; the same work succeeds later."""
COMMAND_SECONDS = 10.0
CONNECT_SECONDS = 5.0


class Rows:
    """The four ways to run a named query. `timeout` in seconds, where one may take longer than usual."""

    def __init__(self, queries: Queries) -> None:
        self.queries = queries

    def _sql(self, name: str) -> str:
        STATEMENTS.labels(name).inc()
        return self.queries[name]

    async def _run(self, method: str, name: str, args: Sequence[Any], timeout: float | None) -> Any:
        raise NotImplementedError

    async def fetch(self, name: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        return await self._run("fetch", name, args, timeout)

    async def fetchrow(self, name: str, *args: Any, timeout: float | None = None) -> asyncpg.Record | None:
        return await self._run("fetchrow", name, args, timeout)

    async def fetchval(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        return await self._run("fetchval", name, args, timeout)

    async def execute(self, name: str, *args: Any, timeout: float | None = None) -> int:
        """Rows touched."""
        tag = await self._run("execute", name, args, timeout)
        tail = tag.rsplit(" ", 1)[-1]
        return int(tail) if tail.isdigit() else 0


class Transaction(Rows):
    """An open transaction. `connection` is for COPY and other things that have no name."""

    def __init__(self, connection: Connection, queries: Queries) -> None:
        super().__init__(queries)
        self.connection = connection

    async def _run(self, method: str, name: str, args: Sequence[Any], timeout: float | None) -> Any:
        return await getattr(self.connection, method)(self._sql(name), *args, timeout=timeout)


class Database(Rows):
    """A service's own database: its role, its schema first in the search path."""

    def __init__(self, settings: ServiceSettings, schema: str, queries: Queries) -> None:
        super().__init__(queries)
        self._settings = settings
        self.schema = schema
        self.on_connect: list[Callable[[Connection], Awaitable[None]]] = []
        """Asked on each new connection before it is used; what raises keeps it from being used."""
        self.awaited = "the database"
        """What `open` waits for, in words."""
        self._pool: asyncpg.Pool | None = None

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    @property
    def connections(self) -> tuple[int, int, int]:
        """Idle, busy, and how many there may be."""
        if self._pool is None:
            return 0, 0, self._settings.database_pool_size
        idle = self._pool.get_idle_size()
        return idle, self._pool.get_size() - idle, self._pool.get_max_size()

    @property
    def pool(self) -> asyncpg.Pool:
        if self._pool is None:
            raise RuntimeError(f"the {self.schema} database is not open yet")
        return self._pool

    async def open(self) -> None:
        """Wait for the server and for every migration that this version of the room comes with; later ones do no harm.

        Raises SettingsError for the address of a pooler.
        """
        pool = await self._make_pool()
        wanted = versions(self.schema)
        said = asked = False
        while True:
            try:
                if not asked:
                    await refuse_pooler(self._settings.database_url.reveal(), int(CONNECT_SECONDS))
                    asked = True
                if not (missing := await _missing(pool, wanted)):
                    self._pool = pool
                    return
                self.awaited = f"migration {missing[0]} of schema {self.schema}"
                reason = f"schema {self.schema} has no migration {missing[0]}; run `nurture db migrate`"
            except (*UNREACHABLE, asyncpg.InvalidAuthorizationSpecificationError) as error:
                self.awaited = "the database"
                reason = f"{type(error).__name__}: the database does not answer"
            if not said:
                log.warning("database.waiting", reason=reason)
                said = True
            await asyncio.sleep(0.1)

    async def _make_pool(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._settings.database_url.reveal(),
            # No floor: asyncpg would print a traceback for each try to keep it while the server is away.
            min_size=0,
            max_size=self._settings.database_pool_size,
            init=self._greet,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            reset=_leave_as_it_is,
            server_settings={"application_name": f"nurture-{self.schema}"},
        )

    async def _greet(self, connection: asyncpg.Connection) -> None:
        # Said in the session and not when connecting: poolers refuse parameters that they do not know.
        await connection.execute(f"set search_path to {quoted(self.schema)}")
        await _prepare(connection)
        for check in self.on_connect:
            await check(connection)

    async def close(self) -> None:
        if self._pool is not None:
            try:
                async with asyncio.timeout(5):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def _run(self, method: str, name: str, args: Sequence[Any], timeout: float | None) -> Any:
        return await getattr(self.pool, method)(self._sql(name), *args, timeout=timeout)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """READ COMMITTED: correctness comes from row locks and unique keys, never from isolation levels."""
        async with self.pool.acquire() as connection:
            async with connection.transaction():
                yield Transaction(connection, self.queries)
            TRANSACTIONS.inc()


def versions(room: str) -> list[str]:
    """The migrations that a room's package and the chassis hold, in order."""
    folders = [files(package).joinpath("sql", "migrations") for package in ("nurture_chassis", f"nurture_{room}")]
    names = [file.name for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return sorted(found[1] for name in names if (found := re.match(r"(\d+).*\.sql$", name)))


async def _missing(pool: asyncpg.Pool, wanted: list[str]) -> list[str]:
    if await pool.fetchval("select to_regclass('schema_migrations')") is None:
        return wanted
    there = await pool.fetchval("select array_agg(version) from schema_migrations") or []
    return [version for version in wanted if version not in there]


async def _leave_as_it_is(_connection: asyncpg.Connection) -> None:
    """Nothing here leaves state in a session (locks end with their transaction), so a release needs no round trip."""


async def _prepare(connection: asyncpg.Connection) -> None:
    transport: Any = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        notice_silence(sock.fileno())
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
    )
