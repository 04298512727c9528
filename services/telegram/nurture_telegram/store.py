"""The rows of sending: pages, claims, settlements, links. Each method is one statement or one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.events import ChatChange, ChatsChanged, Settlement, TelegramsSettled
from nurture_contracts.ids import derived, uuid7
from prometheus_client import Counter

from nurture_telegram.attempts import Again, Claim, Limits, Next, Settle
from nurture_telegram.rendering import Outbound
from nurture_telegram.verdicts import ChatState

ACCOUNT = "telegram"
CHAT_INTERVAL = 1.0
"""Seconds between two messages to one chat."""
CHANNEL_OFF = "channel_off"
POSSIBLE_DUPLICATE = "possible_duplicate"
"""The reason of an end, whatever it is, after which the message may be in its chat more than once."""
DUPLICATES = Counter("nurture_telegram_possible_duplicates", "Messages that may have come twice, as their steps allow")
_LINKS_REMEMBERED = 50_000


class Look(msgspec.Struct, frozen=True):
    """How many deliveries can be claimed, and how many seconds the channel is still parked (None: it is not)."""

    due: int
    parked: float | None


class Ended(msgspec.Struct, frozen=True):
    """An attempt that is over, and what follows."""

    claim: Claim
    following: Next


class Volley(msgspec.Struct, frozen=True):
    """What one transaction claimed. `fell`: how many fell out at this claim; they are settled already."""

    claims: list[tuple[Claim, Outbound]]
    fell: int


class Store:
    """Reads and writes of the telegram room's sending."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self._known_links: set[str] = set()
        self._beside = False

    async def tell(self, limits: Limits) -> None:
        """Let everybody read how often this room tries."""
        await self._database.execute("limits_tell", limits.max_attempts)

    async def take_page(self, page_id: UUID, members: Sequence[UUID]) -> None:
        """Keep a send command: a row for each of its deliveries."""
        await self._database.execute("page_take", page_id, list(members))

    async def look(self, most: int) -> Look:
        """What can be claimed; what is held cannot, and from here on claims work beside it."""
        row = await self._database.fetchrow("look", ACCOUNT, most)
        assert row is not None
        self._beside = row["held"]
        due = await self._database.fetchval("look_beside", most) if row["due"] and row["held"] else row["due"]
        return Look(due, row["parked"])

    async def turn(self, volley: UUID, ended: Sequence[Ended], most: int, lease: float, now: datetime) -> Volley:
        """One transaction: the last volley's ends, and the next volley marked as being sent before anything is.

        `lease` in seconds of the database's clock; `now` is business time, by which messages expire. If no answer comes, it may
        have happened all the same: `give_back` then takes the id.
        """
        async with self._outbox.transaction() as tx:
            items = await _end(tx, ended, now)
            claim = "claim_volley_beside" if self._beside else "claim_volley"
            rows = await tx.fetch(claim, most, lease, now, CHAT_INTERVAL, ACCOUNT, volley)
            fallen = [row for row in rows if row["outcome"] is not None]
            traces = [*_traces(ended), *(row["traceparent"] for row in fallen)]
            _say(tx, [*items, *_settlements(fallen, now)], traces)
        return Volley([_claimed(row) for row in rows if row["outcome"] is None], len(fallen))

    async def settle(self, ended: Sequence[Ended], now: datetime) -> None:
        """Write down the ends of a volley when no other follows at once."""
        async with self._outbox.transaction() as tx:
            _say(tx, await _end(tx, ended, now), _traces(ended))

    async def give_back(self, volleys: Sequence[UUID]) -> None:
        """Claims of these volleys were never answered, so nothing of them was sent: they wait again."""
        await self._database.execute("give_back", list(volleys))

    async def reap(self, now: datetime, limits: Limits) -> bool:
        """Settle as unknown what was being sent when its worker died, or let it be sent again. True: there may be more."""
        async with self._outbox.transaction() as tx:
            rows = await tx.fetch("reap", limits.max_attempts)
            _say(tx, _settlements([row for row in rows if row["outcome"] is not None], now))
        return len(rows) >= 500

    async def refuse_waiting(self, now: datetime) -> bool:
        """Settle what waits for a channel that is off. True when there may be more."""
        async with self._outbox.transaction() as tx:
            rows = await tx.fetch("refuse_waiting", CHANNEL_OFF)
            _say(tx, _settlements(rows, now))
        return len(rows) >= 500

    async def keep_links(self, links: Mapping[str, str]) -> None:
        """Make sure that these links are stored; a process asks the database about each of them once."""
        new = {id: url for id, url in links.items() if id not in self._known_links}
        if not new:
            return
        # Sorted, so that two replicas inserting the same links cannot wait for each other in a circle.
        await self._database.execute("links_keep", sorted(new), [new[id] for id in sorted(new)])
        if len(self._known_links) > _LINKS_REMEMBERED:
            self._known_links.clear()
        self._known_links.update(new)

    async def prune(self) -> bool:
        """Drop what is older than any message; True when there may be more."""
        return await self._database.fetchval("prune", 1000) >= 1000


def _say(tx: Saying, items: list[Settlement], traces: Sequence[str | None] = ()) -> None:
    if items:
        tx.say(TelegramsSettled(claim_id=uuid7(), items=items), about=traces)


def _traces(ended: Sequence[Ended]) -> list[str | None]:
    return [end.claim.traceparent for end in ended]


async def _end(tx: Saying, ended: Sequence[Ended], now: datetime) -> list[Settlement]:
    """Write the ends, as far as they are ours to write, and return what to say about them."""
    settles = [(end.claim, end.following) for end in ended if isinstance(end.following, Settle)]
    agains = [(end.claim, end.following) for end in ended if isinstance(end.following, Again)]
    if agains:
        await _try_again(tx, agains)
    if not settles:
        return []
    rows = await tx.fetch(
        "settle",
        [claim.delivery_id for claim, _ in settles],
        [claim.attempt for claim, _ in settles],
        [settle.outcome for _, settle in settles],
        [settle.reason for _, settle in settles],
        [settle.provider_id for _, settle in settles],
        [settle.arrived for _, settle in settles],
    )
    doubled = {row["delivery_id"]: row["doubled"] for row in rows}
    DUPLICATES.inc(sum(doubled.values()))
    settles = [(claim, settle) for claim, settle in settles if claim.delivery_id in doubled]
    await _mark_chats(tx, settles, now)
    # Telegram names a message by its chat, and a chat is somebody's address: that name stays in this room.
    return [
        Settlement(
            delivery_id=claim.delivery_id,
            outcome=settle.outcome,
            at=now,
            attempt=claim.attempt,
            reason=POSSIBLE_DUPLICATE if doubled[claim.delivery_id] else settle.reason,
        )
        for claim, settle in settles
    ]


async def _try_again(tx: Saying, agains: Sequence[tuple[Claim, Again]]) -> None:
    await tx.execute(
        "try_again",
        [claim.delivery_id for claim, _ in agains],
        [claim.attempt for claim, _ in agains],
        [again.wait for _, again in agains],
        [again.plain for _, again in agains],
        [again.moved_to is not None for _, again in agains],
        [again.doubt for _, again in agains],
    )
    held = {claim.chat_id: again.wait for claim, again in agains if again.hold_chat}
    if held:
        await tx.execute("chats_hold", list(held), list(held.values()))
    for claim, again in agains:
        if again.moved_to is not None:
            await tx.execute("chat_move", claim.chat_id, again.moved_to, claim.user_id)


async def _mark_chats(tx: Saying, settles: Sequence[tuple[Claim, Settle]], now: datetime) -> None:
    marked: list[tuple[Claim, ChatState]] = [
        (claim, settle.chat) for claim, settle in settles if settle.chat is not None
    ]
    if not marked:
        return
    await tx.execute(
        "chats_mark",
        [claim.chat_id for claim, _ in marked],
        [claim.user_id for claim, _ in marked],
        [chat for _, chat in marked],
    )
    changes = [
        ChatChange(event_id=derived("chat", claim.delivery_id, chat), user_id=claim.user_id, change=chat, at=now)
        for claim, chat in marked
    ]
    tx.say(ChatsChanged(items=changes))


def _settlements(rows: Sequence[Any], now: datetime) -> list[Settlement]:
    DUPLICATES.inc(sum(row["reason"] == POSSIBLE_DUPLICATE for row in rows))
    return [
        Settlement(
            delivery_id=row["delivery_id"], outcome=row["outcome"], at=now, attempt=row["attempt"], reason=row["reason"]
        )
        for row in rows
    ]


def _claimed(row: Any) -> tuple[Claim, Outbound]:
    names = ("delivery_id", "user_id", "chat_id", "attempt", "plain", "moved", "retries", "doubts", "traceparent")
    claim = Claim(**{name: row[name] for name in names})
    return claim, Outbound(delivery_id=claim.delivery_id, chat_id=claim.chat_id, body=row["body"], params=row["params"])
