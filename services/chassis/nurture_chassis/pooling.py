"""Poolers between us and PostgreSQL: whether a session is ours for as long as we hold it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg

from nurture_chassis.settings import SettingsError

TRANSACTION_POOLER = (
    "DATABASE_URL leads through a pooler in transaction mode: each transaction may get another session, and the services "
    "keep prepared statements and a search path in theirs. Use the pooler's session mode (Supabase: port 5432 in place of "
    "6543; PgBouncer: pool_mode = session), or the server's own address"
)
_ROUNDS = 3
_FORGOTTEN = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


async def pooled_by_transaction(
    ours: asyncpg.Connection, another: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
) -> bool:
    """Whether somebody else's transaction gets the very session that we hold, or ours changes when we look again."""
    try:
        own = await ours.fetchval("select pg_backend_pid()")
        async with another() as other:
            for _ in range(_ROUNDS):
                async with other.transaction():
                    if await other.fetchval("select pg_backend_pid()") == own:
                        return True
                    if await _now(ours) != own:
                        return True
    except _FORGOTTEN:
        # What was prepared a moment ago is not known there: it was another session.
        return True
    return False


async def _now(ours: asyncpg.Connection) -> int | None:
    try:
        return await ours.fetchval("select pg_backend_pid()", timeout=5)
    except TimeoutError:
        # Only a pooler that has lent our session to the other one keeps us waiting.
        return None


async def refuse_pooler(url: str, connect_seconds: int) -> None:
    """Raises SettingsError when the address leads through a pooler in transaction mode."""

    @asynccontextmanager
    async def plain() -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=int(connect_seconds))
        try:
            yield connection
        finally:
            await connection.close(timeout=connect_seconds)

    async with plain() as ours:
        if await pooled_by_transaction(ours, plain):
            raise SettingsError(TRANSACTION_POOLER)
