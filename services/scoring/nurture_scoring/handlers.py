"""What the room hears: what happened to messages, and what people did elsewhere. Each page is one transaction."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database, Transaction
from nurture_chassis.outbox import Outbox
from nurture_contracts.base import Message as Page
from nurture_contracts.commands import ExternalEvent, RecordEvents
from nurture_contracts.events import (
    EmailsObserved,
    EventKind,
    EventsRecorded,
    Observation,
    RecordedEvent,
    Settlement,
    TelegramsObserved,
    TelegramsSettled,
)
from prometheus_client import Counter, Gauge

from nurture_scoring import credits, folding, occasions, store
from nurture_scoring.folding import Changes, Message, News
from nurture_scoring.formula import weight

log = structlog.get_logger()
COMPUTED = Counter("nurture_scores_computed", "People whose scores were moved by something that happened, page by page")
LAST = Gauge("nurture_scores_last_computed_timestamp_seconds", "When scores were moved last, in Unix time")
AHEAD = timedelta(days=1)
"""An event may be this much later than now; one from further ahead would outweigh everything that is true."""
EARLIEST_YEAR = 1970


class Handlers:
    """Every handler is a fold: order and repetition change nothing."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def telegrams_settled(self, page: TelegramsSettled) -> None:
        """What the messenger took is delivered."""
        news: dict[UUID, News] = {}
        for item in page.items:
            if item.outcome == "accepted" and not self._untimely(item):
                news.setdefault(item.delivery_id, News()).deliver(item.at.timestamp())
        await self._fold(news)

    async def emails_observed(self, page: EmailsObserved) -> None:
        """Deliveries count, answers are credited; where nobody reports deliveries, what was sent counts."""
        await self._observed("scoring-email-observed", page.items, ("delivered",), EmailsObserved)

    async def telegrams_observed(self, page: TelegramsObserved) -> None:
        """The same. A message that turns out to have been sent after all has been delivered."""
        await self._observed("scoring-telegram-observed", page.items, ("delivered", "sent"), TelegramsObserved)

    async def _observed(
        self, durable: str, items: Sequence[Observation], delivered: tuple[EventKind, ...], page: type[Page]
    ) -> None:
        news: dict[UUID, News] = {}
        refused: list[tuple[Observation, str]] = []
        for item in items:
            arrived = item.kind in delivered or item.final
            signal = None if arrived else credits.of_observation(item)
            if item.delivery_id is None or (signal is None and not arrived):
                continue
            if reason := self._untimely(item):
                refused.append((item, reason))
                continue
            one = news.setdefault(item.delivery_id, News())
            if signal is None:
                one.deliver(item.at.timestamp())
            else:
                one.answer(signal)
        if refused:
            async with self._database.transaction() as tx:
                await store.keep_letters(tx, durable, refused, page)
            log.error("scoring.refused", durable=durable, items=len(refused), reason=refused[0][1])
        await self._fold(news)

    def _untimely(self, item: Observation | Settlement | ExternalEvent) -> str | None:
        if item.at.year < EARLIEST_YEAR:
            return f"at is before {EARLIEST_YEAR}"
        return "at is more than a day ahead of now" if item.at > self._clock.now() + AHEAD else None

    async def _fold(self, news: dict[UUID, News]) -> None:
        if not news:
            return
        async with self._database.transaction() as tx:
            held = await store.hold_messages(tx, list(news))
            if len(held.messages) < len(news):
                log.warning("scoring.unknown_deliveries", deliveries=len(news) - len(held.messages))
            changes = Changes()
            pairs: list[tuple[Message, Message]] = []
            for id, before in held.messages.items():
                pairs.append((before, folding.told(before, news[id])))
                changes.see(before.user_id, news[id].latest)
            concerned = [pair for pair in pairs if pair[0].user_id in held.with_goals] if held.with_goals else []
            since = folding.since_when(concerned, {})
            await self._settle(tx, changes, pairs, since)
            await store.save(tx, changes, held.latest)
        _tell(len(changes.latest))

    async def _settle(
        self, tx: Transaction, changes: Changes, pairs: Iterable[tuple[Message, Message]], since: dict[UUID, float]
    ) -> None:
        if since:
            line, goals = await store.read_line(tx, since)
            before = line | {one.delivery_id: one for one, _ in pairs}
            after = line | {one.delivery_id: one for _, one in pairs}
            after |= folding.owe(after.values(), goals, since)
            pairs = [(before[id], one) for id, one in after.items()]
        folding.settle(changes, pairs)

    async def record_events(self, page: RecordEvents) -> None:
        """Keep what is new, and say so: a sequence may end by it. People whom nobody knows make that item a dead letter, the
        others go on."""
        durable = "scoring-record-events"
        people = await store.find_people(self._database, page.items)
        refused: list[tuple[ExternalEvent, str]] = []
        events: dict[UUID, tuple[UUID, ExternalEvent]] = {}
        for item, user_id in zip(page.items, people, strict=True):
            if reason := self._why_not(item, user_id):
                refused.append((item, reason))
            elif user_id is not None:
                events.setdefault(item.event_id, (user_id, item))
        moved = 0
        async with self._outbox.transaction() as tx:
            if refused:
                await store.keep_letters(tx, durable, refused, RecordEvents)
            if events:
                new = sorted(await store.keep_events(tx, events))
                moved = await self._count(tx, [events[id] for id in new])
                if new:
                    tx.say(EventsRecorded(items=[_recorded(*events[id]) for id in new]))
        _tell(moved)
        if refused:
            log.error("scoring.refused", durable=durable, items=len(refused), reason=refused[0][1])

    def _why_not(self, item: ExternalEvent, user_id: UUID | None) -> str | None:
        if item.user_id is None and item.external_id is None:
            return "neither user_id nor external_id says who did it"
        if user_id is None:
            who = f"id {item.user_id}" if item.user_id else f"external id {item.external_id!r}"
            return f"there is no person with the {who}; create them and replay this letter"
        return occasions.wrong_name(item.event) or self._untimely(item)

    async def _count(self, tx: Transaction, events: Sequence[tuple[UUID, ExternalEvent]]) -> int:
        """How many people it concerned."""
        changes = Changes()
        goals: dict[UUID, float] = {}
        for user_id, item in events:
            at = item.at.timestamp()
            changes.see(user_id, at)
            if occasions.is_goal(item.event):
                changes.goals[user_id] = changes.goals.get(user_id, 0) + 1
                goals[user_id] = min(at, goals.get(user_id, at))
            else:
                kind, r, n = occasions.COUNTS[item.event]
                changes.add(kind, user_id, r * weight(at), n * weight(at))
        await self._settle(tx, changes, (), folding.since_when((), goals))
        await store.save(tx, changes, {})
        return len(changes.latest)


def _recorded(user_id: UUID, item: ExternalEvent) -> RecordedEvent:
    return RecordedEvent(event_id=item.event_id, user_id=user_id, event=item.event, at=item.at)


def _tell(people: int) -> None:
    if people:
        COMPUTED.inc(people)
        LAST.set_to_current_time()
