"""What happens to messages, counted by kind and day, a page a statement: the feed that scores will be made from."""

from collections import Counter
from collections.abc import Iterable
from datetime import date

from nurture_chassis.database import Database
from nurture_contracts.events import EmailsObserved, EmailsSettled, TelegramsSettled


class Handlers:
    """The messages that this room hears."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def emails_settled(self, page: EmailsSettled) -> None:
        await self._count((f"email_{item.outcome}", item.at.date()) for item in page.items)

    async def telegrams_settled(self, page: TelegramsSettled) -> None:
        await self._count((f"telegram_{item.outcome}", item.at.date()) for item in page.items)

    async def emails_observed(self, page: EmailsObserved) -> None:
        await self._count((f"email_{item.kind}", item.at.date()) for item in page.items)

    async def _count(self, heard: Iterable[tuple[str, date]]) -> None:
        # Sorted, so that two pages never wait for each other's rows in a circle.
        counts = sorted(Counter(heard).items())
        if counts:
            await self._database.execute(
                "heard_add", [k for (k, _), _ in counts], [d for (_, d), _ in counts], [n for _, n in counts]
            )
