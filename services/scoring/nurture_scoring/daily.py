"""Scores over time: how they are spread, kept for each day, without a row a person."""

import time

from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.lease import Lease

SECONDS = 5.0
PATIENCE = 120.0
"""Real seconds that the one statement may take: a few for a million people."""
SHARE = 100.0
"""It rests so many times as long as it has worked, so that many people make it rarer and never a burden."""


class Daily:
    """A tick of the scoring room's: today's rows once more, in one statement. One replica does it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.lease = Lease(database, "score-days", SECONDS * 6)

    async def tick(self) -> float:
        """Keep today as of now. Returns the real seconds to rest."""
        if not await self.lease.hold():
            return SECONDS
        began = time.monotonic()
        await self._database.execute("keep_day", self._clock.now(), timeout=PATIENCE)
        return max(SECONDS, SHARE * (time.monotonic() - began))
