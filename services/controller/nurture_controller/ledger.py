"""Folds: what was said about deliveries goes into the log and the facts, a page a transaction."""

from nurture_chassis.outbox import Outbox
from nurture_contracts.base import Channel
from nurture_contracts.events import EmailsObserved, EmailsSettled, TelegramsObserved, TelegramsSettled

from nurture_controller.falling_back import FallbackPlanner
from nurture_controller.folding import Logged, facts, of_observation, of_settlement
from nurture_controller.measuring import count_events


class Ledger:
    """Hears outcomes and events of every channel."""

    def __init__(self, outbox: Outbox, fallbacks: FallbackPlanner) -> None:
        self._outbox = outbox
        self._fallbacks = fallbacks

    async def settled(self, page: EmailsSettled | TelegramsSettled) -> None:
        """The attempts at these deliveries are over."""
        # Telegram reports no delivery: what its servers took is in the chat.
        arrived = isinstance(page, TelegramsSettled)
        events = [of_settlement(page.claim_id, item, arrived=arrived) for item in page.items]
        await self._fold("telegram" if arrived else "email", events)

    async def observed(self, page: EmailsObserved | TelegramsObserved) -> None:
        """Something happened to messages that left."""
        channel = "telegram" if isinstance(page, TelegramsObserved) else "email"
        await self._fold(channel, [of_observation(item) for item in page.items])

    async def _fold(self, channel: Channel, events: list[Logged]) -> None:
        if not events:
            return
        async with self._outbox.transaction() as tx:
            rows = await tx.fetch("events_log", *(list(column) for column in zip(*events, strict=True)))
            sent = [row for row in rows if row["kind"] == "sent" and row["provider_id"]]
            if sent:
                # An event may have come before we knew which delivery its provider id means.
                rows += await tx.fetch(
                    "events_waiting", [row["provider_id"] for row in sent], [row["delivery_id"] for row in sent]
                )
            count_events(tx, channel, rows)
            told = facts(rows)
            if told:
                await tx.execute("facts_fold", *(list(column) for column in zip(*told, strict=True)))
                await self._fallbacks.follow(tx, rows)
