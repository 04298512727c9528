"""What the room hears: pages to send, the provider's webhooks, hits on tracking links."""

from collections.abc import Callable

from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.commands import SendEmails
from nurture_contracts.events import (
    EmailsObserved,
    EmailWebhooksReceived,
    Observation,
    TestEmailsProgressed,
    TrackingHit,
)

from nurture_email.observations import of_hit, of_webhook, report
from nurture_email.store import Store, suppress


class Handlers:
    """`wake` tells the sender that there is work."""

    def __init__(self, store: Store, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._store = store
        self._outbox = outbox
        self._wake = wake

    async def send(self, page: SendEmails) -> None:
        """Keep the page; from here on rows and leases drive the sending."""
        if page.items:
            await self._store.take_page(page.page_id, page.items, page.test)
            self._wake()

    async def webhooks(self, page: EmailWebhooksReceived) -> None:
        """Say what was observed; addresses that are dead or unwilling are suppressed in the same transaction."""
        seen = [(webhook.test, of_webhook(webhook)) for webhook in page.items]
        real = [observation for test, observation in seen if observation and not test]
        tests = [observation for test, observation in seen if observation and test]
        # Of tests too: who was asked whether a mailbox is theirs may have complained, or there is none.
        reports = [found for _, observation in seen if observation and (found := report(observation))]
        async with self._outbox.transaction() as tx:
            await suppress(tx, reports)
            _say(tx, real, tests)

    async def tracking(self, page: TrackingHit) -> None:
        """Say what was opened and clicked in mails."""
        hits = [hit for hit in page.items if hit.channel == "email"]
        real = [of_hit(hit) for hit in hits if not hit.test]
        tests = [of_hit(hit) for hit in hits if hit.test]
        async with self._outbox.transaction() as tx:
            _say(tx, real, tests)


def _say(tx: Saying, real: list[Observation], tests: list[Observation]) -> None:
    if real:
        tx.say(EmailsObserved(items=real))
    if tests:
        tx.say(TestEmailsProgressed(items=tests))
