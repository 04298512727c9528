"""Pages of updates into rows and events, each update once, in one transaction with the place where polling goes on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox, Saying
from nurture_chassis.tokens import Invited, Tokens
from nurture_contracts.events import ChatsChanged, TelegramsObserved

from nurture_telegram.attempts import provider_id
from nurture_telegram.conversations import Chat, Conversation, Effects, Facts, Invitation
from nurture_telegram.updates import Pressed, Reacted, Started, Update, Wrote, parse


class Inbox:
    """What people do in chats with one bot."""

    def __init__(self, database: Database, outbox: Outbox, tokens: Tokens, clock: Clock, bot_id: int) -> None:
        self._database = database
        self._outbox = outbox
        self._tokens = tokens
        self._clock = clock
        self._bot_id = bot_id

    async def page(self, page_id: UUID) -> list[Any] | None:
        """Raw updates that came over HTTP; None when there is no such page."""
        return await self._database.fetchval("inbound_page", page_id)

    async def offset(self) -> int | None:
        """The first update that polling has not seen; None: from the oldest that there is."""
        return await self._database.fetchval("offset_find", self._bot_id)

    async def take(self, raw: Sequence[Any], *, next_offset: int | None = None) -> Effects:
        """Do what raw updates lead to, once each, and return what is left to say to people."""
        updates = {update.update_id: update for update in map(parse, raw) if update is not None}
        async with self._outbox.transaction() as tx:
            rows = await tx.fetch("updates_see", self._bot_id, sorted(updates)) if updates else []
            fresh = {row["update_id"] for row in rows}
            effects = await self._hear(tx, [updates[id] for id in sorted(fresh)])
            if next_offset is not None:
                await tx.execute("offset_move", self._bot_id, next_offset)
        return effects

    async def _hear(self, tx: Saying, updates: list[Update]) -> Effects:
        if not updates:
            return Effects()
        facts = await self._facts(tx, updates)
        now = self._clock.now()
        effects = Conversation(facts, now, self._clock.real()).hear(updates)
        await _save(tx, effects, now)
        if effects.changes:
            tx.say(ChatsChanged(items=effects.changes))
        if effects.observations:
            tx.say(TelegramsObserved(items=effects.observations))
        return effects

    async def _facts(self, tx: Saying, updates: Sequence[Update]) -> Facts:
        said = [update.said for update in updates if update.said is not None]
        chat_ids = sorted({one.chat_id for one in said if not isinstance(one, Pressed)})
        messages = {
            provider_id(one.chat_id, number)
            for one in said
            if isinstance(one, Wrote | Reacted)
            and (number := one.to_message if isinstance(one, Wrote) else one.message) is not None
        }
        chats = await tx.fetch("chats_known", chat_ids) if chat_ids else []
        known = await tx.fetch("messages_known", sorted(messages)) if messages else []
        return Facts(
            bot_id=self._bot_id,
            chats={row["chat_id"]: _chat(row) for row in chats},
            invitations=await self._invitations(tx, [one for one in said if isinstance(one, Started)]),
            messages={row["provider_id"]: row["delivery_id"] for row in known},
            read_press=self._tokens.read_press,
            read_link=self._read_link,
        )

    def _read_link(self, url: str) -> UUID | None:
        clicked = self._tokens.read_click(url.rpartition("/t/c/")[2])
        return clicked.delivery_id if clicked is not None and clicked.telegram else None

    async def _invitations(self, tx: Saying, starts: Sequence[Started]) -> dict[str, Invitation]:
        """The linking tokens among what was sent. A good one is taken here, by the chat that sent it first."""
        first = {start.token: start.chat_id for start in reversed(starts)}
        found: dict[str, Invited] = {
            token: read for token in first if (read := self._tokens.read_chat(token)) is not None
        }
        if not found:
            return {}
        people = {
            row["id"]: row["word_at"]
            for row in await tx.fetch("people_known", [read.user_id for read in found.values()])
        }
        hashes = {_hash(token): token for token, read in found.items() if read.user_id in people}
        rows = await tx.fetch("tokens_take", list(hashes), [first[token] for token in hashes.values()])
        taken = {row["hash"] for row in rows}
        before = await tx.fetch("tokens_used", [hash for hash in hashes if hash not in taken])
        users = {hashes[row["hash"]]: row["chat_id"] for row in before}
        return {
            token: Invitation(
                user_id=read.user_id,
                made_at=datetime.fromtimestamp(read.made_at, UTC),
                known=read.user_id in people,
                word_at=people.get(read.user_id),
                by=users.get(token),
            )
            for token, read in found.items()
        }


async def _save(tx: Saying, effects: Effects, now: datetime) -> None:
    chats = effects.chats
    if stopped := {chat_id: chat for chat_id, chat in chats.items() if chat.stopped_at is not None}:
        words = list(stopped.values())
        await tx.execute(
            "refusals_keep", list(stopped), [chat.user_id for chat in words], [chat.stopped_at for chat in words]
        )
    if linked := {chat_id: chat.user_id for chat_id, chat in chats.items() if chat.linked}:
        await tx.execute("refusals_drop", [chat_id for chat_id in linked if not chats[chat_id].refused])
        await tx.execute("chats_replace", list(linked.values()), list(linked))
    if owned := {chat_id: chat for chat_id, chat in chats.items() if chat.user_id is not None}:
        await tx.execute(
            "chats_save",
            list(owned),
            [chat.user_id for chat in owned.values()],
            [chat.state for chat in owned.values()],
            [chat.linked for chat in owned.values()],
            now,
        )


def _chat(row: Any) -> Chat:
    names = ("user_id", "state", "refused", "latest", "word_at")
    return msgspec.convert({name: row[name] for name in names}, Chat)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
