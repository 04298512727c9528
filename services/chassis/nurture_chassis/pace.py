"""One pace per provider account, shared by all replicas through one row. The order is always slot, claim, call."""

from nurture_chassis.database import Database


class Pace:
    """Slots for provider calls. `per_second` is the limit until the provider's own headers say otherwise."""

    def __init__(self, database: Database, account: str, per_second: float) -> None:
        self._database = database
        self._account = account
        self._interval = 1 / per_second
        self._agreed = False

    async def reserve(self) -> float:
        """Take the next slot; returns the real seconds to wait until it comes."""
        if not self._agreed:
            # The row outlives us and may hold another limit: ours counts until the provider states one.
            await self._database.execute("pace_follow", self._account, self._interval)
            self._agreed = True
        return await self._database.fetchval("pace_reserve", self._account, self._interval)

    async def follow(self, per_second: float) -> None:
        """Adopt the limit that the provider states in its headers; a repeated statement costs nothing."""
        interval = 1 / per_second
        if abs(interval - self._interval) > 1e-6:
            self._interval = interval
            await self._database.execute("pace_follow", self._account, interval)

    async def hold(self, seconds: float) -> None:
        """Nobody calls for that long: the provider said `retry-after`."""
        await self._database.execute("pace_hold", self._account, seconds)

    async def park(self, reason: str, seconds: float) -> None:
        """Stop the channel: the provider refuses the account, and trying again soon would not help."""
        await self._database.execute("pace_park", self._account, seconds, reason, self._interval)

    async def unpark(self) -> None:
        await self._database.execute("pace_unpark", self._account)
