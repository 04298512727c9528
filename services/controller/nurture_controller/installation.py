"""Which database this is: written down at the first start, compared at every other, moved on by confirmation only.

A restored database is made whole while it is held: every room says again what it had said, so that what waits, waits where
it can be seen and cancelled.
"""

import structlog
from nurture_chassis.database import Database, Transaction
from nurture_chassis.restored import FIX, Forgotten
from nurture_contracts.topology import CONSUMERS, STREAMS

log = structlog.get_logger()
RESTORED = "the database was restored"


class Installation:
    """The one row about this database. What the view `holds` sees by itself is written down here, with its time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> None:
        """At a start: record the identity of a new database; of one that is a copy, since when that is known."""
        async with self._database.transaction() as tx:
            await tx.execute("installation_record")
            copied = await tx.fetchval("installation_copied")
            if copied is not None:
                log.error("installation.copied", detail=copied, hint=FIX)
            await tx.execute("bus_losses_lock")
            if await tx.fetchval("installation_unsaid", RESTORED):
                await _say_again(tx)

    async def older(self, forgotten: Forgotten) -> None:
        """The database went back in time: everything is held until somebody confirms it."""
        async with self._database.transaction() as tx:
            if await tx.fetchval("installation_older", str(forgotten)) is not None:
                await _say_again(tx)


async def _say_again(tx: Transaction) -> None:
    """What rooms had said to each other was heard in another life of this database: to these rows it is lost."""
    await tx.execute("bus_losses_lock")
    for stream in STREAMS:
        subjects = sorted({one.message.subject for one in CONSUMERS if one.stream == stream.name})
        await tx.execute("bus_lost", stream.name, RESTORED, subjects, [None] * len(subjects))
