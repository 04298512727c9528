"""A send command is a page; while the channel is off every member of it is refused, once, with that reason."""

from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Outbox
from nurture_contracts.commands import SendTelegrams
from nurture_contracts.events import Settlement, TelegramsSettled

CHANNEL_OFF = "channel_off"


class Handlers:
    """The messages that this room hears."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def send(self, page: SendTelegrams) -> None:
        """Answer for every member; a page that comes again was answered already."""
        async with self._outbox.transaction() as tx:
            if not await tx.execute("page_take", page.page_id, page.items):
                return
            now = self._clock.now()
            tx.say(
                TelegramsSettled(
                    claim_id=page.page_id,
                    items=[
                        Settlement(delivery_id=item, outcome="rejected", at=now, attempt=0, reason=CHANNEL_OFF)
                        for item in page.items
                    ],
                )
            )
