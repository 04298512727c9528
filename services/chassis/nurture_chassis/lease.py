"""A named lease in the database: one holder among all replicas, handed over when it stops or dies."""

import os
import socket

from nurture_chassis.database import Database


class Lease:
    """Hold it by calling `hold()` more often than `seconds`; a holder that stalls longer has lost it."""

    def __init__(self, database: Database, name: str, seconds: float) -> None:
        self._database = database
        self._name = name
        self._seconds = seconds
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"

    async def hold(self) -> bool:
        """True when we are the holder for the next `seconds`."""
        return await self._database.fetchval("lease_take", self._name, self._holder, self._seconds) is not None

    async def release(self) -> None:
        await self._database.execute("lease_release", self._name, self._holder)
