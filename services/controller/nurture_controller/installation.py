"""Which database this is: written down at the first start, compared at every other, moved on by confirmation only."""

import structlog
from nurture_chassis.database import Database
from nurture_chassis.restored import FIX, Forgotten

log = structlog.get_logger()


class Installation:
    """The one row about this database. What the view `holds` sees by itself is written down here, with its time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> None:
        """At a start: record the identity of a new database; of one that is a copy, since when that is known."""
        await self._database.execute("installation_record")
        copied = await self._database.fetchval("installation_copied")
        if copied is not None:
            log.error("installation.copied", detail=copied, hint=FIX)

    async def older(self, forgotten: Forgotten) -> None:
        """The database went back in time: everything is held until somebody confirms it."""
        await self._database.execute("installation_older", str(forgotten))
