"""What the gateway hears: answers to commands, dead addresses, chats, the progress of test mails."""

from nurture_chassis.database import Database
from nurture_contracts.events import AddressesSuppressed, ChatsChanged, CommandSettled, TestEmailsProgressed

from nurture_gateway import triggers
from nurture_gateway.waiting import Waiters


class Handlers:
    """What every handler does is not changed by a repetition."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database = database
        self._waiters = waiters

    async def settled(self, event: CommandSettled) -> None:
        """Write the controller's answer beside the command, and wake whoever waits for it here."""
        row = await self._database.fetchrow("settle_command", event.command_id, event.status, event.result)
        if row is not None:
            triggers.settled(dict(row.items()), event.status, event.result)
        await self._waiters.settle(event)

    async def suppressed(self, event: AddressesSuppressed) -> None:
        """Close the addresses that a provider reported, where people still have them."""
        items = event.items
        if items:
            await self._database.execute(
                "suppress_contacts",
                [item.channel for item in items],
                [item.delivery_id for item in items],
                [item.reason for item in items],
                [item.at for item in items],
            )

    async def chats(self, event: ChatsChanged) -> None:
        """Fold what became of chats into addresses, their state, and consent: linking grants it, /stop refuses it."""
        items = event.items
        if not items:
            return
        linked = [item for item in items if item.change == "linked"]
        words = [item for item in items if item.change in ("linked", "stopped")]
        at = max(item.at for item in items)
        async with self._database.transaction() as tx:
            if linked:
                people = [item.user_id for item in linked]
                await tx.execute("chats_release", people, at)
                await tx.execute("chats_link", people, [item.at for item in linked])
            if words:
                await tx.execute(
                    "chats_consent",
                    [item.user_id for item in words],
                    ["granted" if item.change == "linked" else "refused" for item in words],
                    [item.at for item in words],
                )
            await tx.execute("chats_state", [item.user_id for item in items], at)

    async def test_progress(self, event: TestEmailsProgressed) -> None:
        """Add what is new about test mails."""
        items = [item for item in event.items if item.delivery_id is not None]
        if items:
            await self._database.execute(
                "progress_test_messages",
                [item.delivery_id for item in items],
                [item.kind for item in items],
                [item.at for item in items],
                [item.reason for item in items],
            )
