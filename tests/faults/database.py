"""A connection to the record that a test keeps while everything around it is broken."""

import asyncio
import threading
from typing import Any

import asyncpg


class Database:
    """A connection of the test's own, past every proxy, in a loop that stays; made anew when the server was killed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None
        self._lock = threading.Lock()

    def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Ask; again for ten seconds while the server is away. Raises what it said last."""
        with self._lock:
            return self._runner.run(self._fetch(query, *args))

    async def _fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        for attempt in range(100):
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=5)
                return await self._connection.fetch(query, *args, timeout=20)
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError):
                if attempt == 99:
                    raise
                await asyncio.sleep(0.1)
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._runner.close()
