"""Analytics: what folds have appended is added up, so that reading them stays cheap."""

from nurture_chassis.database import Database

PAGE = 5000
SECONDS = 5.0


class Counting:
    """A tick of the controller's. Counts are true at every moment, also before it: the view adds up both tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tick(self) -> bool:
        """Add up one page; any number of controllers may. True when there may be more."""
        return await self._database.fetchval("analytics_fold", PAGE) == PAGE
