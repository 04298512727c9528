"""A PostgreSQL server as an administrator finds it: reached, new enough, with sessions that last as long as they are held."""

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
from nurture_chassis.pooling import TRANSACTION_POOLER, pooled_by_transaction

from nurture_local.addresses import password_of

OLDEST = 15


class ServerRefused(Exception):
    """The database cannot be used, or not over this address; the text says why and what to do."""


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """An administrator's connection. Raises ServerRefused, never with the password in its text."""
    try:
        # No statement cache: DDL makes plans stale, and a pooler may give each transaction another session.
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=10)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ServerRefused(f"cannot connect to the database: {scrub(reason, url)}") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def problems(connection: asyncpg.Connection, url: str) -> list[str]:
    """Why Nurture cannot live here: an empty list on PostgreSQL 15 or newer, reached without a transaction-mode pooler."""
    found: list[str] = []
    version = connection.get_server_version()
    if version.major < OLDEST:
        found.append(f"this is PostgreSQL {version.major}.{version.minor}; Nurture needs {OLDEST} or newer")
    if _supabase_transactions(url) or await pooled_by_transaction(connection, lambda: connected(url)):
        found.append(TRANSACTION_POOLER)
    return found


async def refuse(connection: asyncpg.Connection, url: str) -> None:
    """Raises ServerRefused for what `problems` finds."""
    if found := await problems(connection, url):
        raise ServerRefused("; ".join(found))


def _supabase_transactions(url: str) -> bool:
    # Its transaction-mode port; asking would show the same, but only while the pooler is busy.
    parts = urlsplit(url)
    return (parts.hostname or "").endswith((".pooler.supabase.com", ".supabase.co")) and parts.port == 6543


def scrub(text: str, url: str) -> str:
    """`text` without the address's password."""
    password = password_of(url)
    return text.replace(password, "…") if password else text
