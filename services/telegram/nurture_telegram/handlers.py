"""What the room hears: pages to send, hits on tracked links, updates that came over HTTP."""

from collections.abc import Callable

from nurture_chassis.bus import Refused
from nurture_chassis.outbox import Outbox
from nurture_contracts.commands import SendTelegrams
from nurture_contracts.events import Hit, Observation, TelegramsObserved, TelegramUpdatesReceived, TrackingHit

from nurture_telegram.conversations import Effects
from nurture_telegram.inbox import Inbox
from nurture_telegram.store import Store


class Handlers:
    """`wake` tells whoever works on waiting deliveries; `tell` answers people, or does not where another bot does."""

    def __init__(
        self, store: Store, outbox: Outbox, inbox: Inbox, wake: Callable[[], None], tell: Callable[[Effects], None]
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._inbox = inbox
        self._wake = wake
        self._tell = tell

    async def send(self, page: SendTelegrams) -> None:
        """Keep the page; from here on rows and leases drive the sending."""
        if page.items:
            await self._store.take_page(page.page_id, page.items)
            self._wake()

    async def tracking(self, page: TrackingHit) -> None:
        """Say what was clicked in Telegram messages; mails are another room's."""
        hits = [hit for hit in page.items if hit.channel == "telegram" and not hit.test]
        if hits:
            async with self._outbox.transaction() as tx:
                tx.say(TelegramsObserved(items=[_observation(hit) for hit in hits]))

    async def updates(self, page: TelegramUpdatesReceived) -> None:
        """Handle updates from the webhook, or passed on by another bot. Raises Refused when the page is not there."""
        items = await self._inbox.page(page.page_id)
        if items is None:
            raise Refused(f"there is no inbound page {page.page_id}; pages are kept 35 days")
        self._tell(await self._inbox.take(items))


def _observation(hit: Hit) -> Observation:
    return Observation(
        event_id=hit.event_id, kind=hit.kind, at=hit.at, delivery_id=hit.delivery_id, link=hit.link, signal=hit.signal
    )
