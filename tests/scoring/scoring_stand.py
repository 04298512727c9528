"""The scoring room on real PostgreSQL; the test plays the controller's and the gateway's rows and says what happened."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import ExternalEvent, RecordEvents
from nurture_contracts.events import EmailsObserved, Observation, Settlement, TelegramsObserved, TelegramsSettled
from nurture_contracts.ids import uuid7
from nurture_scoring import credits
from nurture_scoring.folding import Message
from nurture_scoring.formula import Kind
from nurture_scoring.handlers import Handlers
from nurture_scoring.recompute import Occasion, recompute

from tests.servers import SECRET_KEY, SilentBus, role_url

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
CLOCK = Clock(1.0, time.time(), (START + timedelta(days=60)).timestamp())
"""Business time goes on from the end of every story here, whatever the real date is."""


def at(seconds: float = 0.0, days: float = 0.0) -> datetime:
    """A time of the story."""
    return START + timedelta(days=days, seconds=seconds)


def observed(kind: str, delivery: UUID, when: datetime, **more: Any) -> Observation:
    return Observation(event_id=uuid7(), kind=kind, delivery_id=delivery, at=when, **more)  # type: ignore[arg-type]


def accepted(delivery: UUID, when: datetime) -> Settlement:
    return Settlement(delivery_id=delivery, outcome="accepted", at=when, attempt=1)


def did(event: str, person: UUID, when: datetime, **more: Any) -> ExternalEvent:
    return ExternalEvent(event_id=more.pop("event_id", None) or uuid7(), event=event, at=when, user_id=person, **more)


class Stand:
    """One room, and the administrator's connection beside it."""

    def __init__(self, url: str, admin: asyncpg.Connection, rooms: list[Database]) -> None:
        self.url = url
        self.admin = admin
        self._rooms = rooms

    async def room(self, size: int = 8) -> Handlers:
        """A replica's handlers, under the service's own role."""
        settings = ServiceSettings(
            database_url=Secret(role_url(self.url, "nurture_scoring")),
            nats_url="",
            secret_key=Secret(SECRET_KEY),
            database_pool_size=size,
        )
        database = Database(settings, "scoring", Queries.of("nurture_scoring", "public"))
        await database.open()
        self._rooms.append(database)
        return Handlers(database, Outbox(database, SilentBus()), CLOCK)  # type: ignore[arg-type]

    async def people(self, count: int) -> list[UUID]:
        """Persons `p0`, `p1`, … with an email address and a chat."""
        ids = [uuid7() for _ in range(count)]
        await self.admin.execute(
            "insert into gateway.users (id, external_id, first_name, created_at, updated_at)"
            " select u, 'p' || (n - 1), 'P', now(), now() from unnest($1::uuid[]) with ordinality as x(u, n)",
            ids,
        )
        await self.admin.execute(
            "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
            " select u, c, u::text || c, u::text || c, now() from unnest($1::uuid[]) u, unnest(array['email', 'telegram']) c",
            ids,
        )
        return ids

    async def messages(self, people: Iterable[UUID], channel: str = "email") -> list[UUID]:
        """A planned delivery to each of these people, in order."""
        people = list(people)
        ids = [uuid7() for _ in people]
        await self.admin.execute(
            "insert into controller.deliveries"
            " (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)"
            " select d, d, u, 'onboarding', 1, $3, now(), now() from unnest($1::uuid[], $2::uuid[]) as x(d, u)",
            ids, people, channel,
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.delivery_contents"
            " select d, 'a', 'nurture_sequence', 'Hi', 'b', '{}', '{}', now() from unnest($1::uuid[]) as x(d)",
            ids,
        )
        return ids

    async def sums(self) -> tuple[dict[tuple[UUID, Kind], tuple[float, float]], dict[Kind, tuple[float, float]]]:
        """States and means as folded; what is zero is left out."""
        rows = await self.admin.fetch(
            "select s.user_id, k.* from scoring.states s cross join lateral (values ('email', email_r, email_n),"
            " ('telegram', telegram_r, telegram_n), ('attendance', attendance_r, attendance_n),"
            " ('commitment', commitment_r, commitment_n)) k(kind, r, n) where k.r <> 0 or k.n <> 0"
        )
        means = await self.admin.fetch("select kind, r, n from scoring.means where r <> 0 or n <> 0")
        return (
            {(row["user_id"], row["kind"]): (row["r"], row["n"]) for row in rows},
            {row["kind"]: (row["r"], row["n"]) for row in means},
        )

    async def recomputed(
        self,
    ) -> tuple[dict[tuple[UUID, Kind], tuple[float, float]], dict[Kind, tuple[float, float]]]:
        """The same from the stored messages and events."""
        messages = [
            Message(
                delivery_id=row["delivery_id"],
                user_id=row["user_id"],
                channel=row["channel"],
                delivered_at=row["delivered_at"].timestamp() if row["delivered_at"] else None,
                signals=credits.read(row["answers"]),
            )
            for row in await self.admin.fetch("select *, signals::text as answers from scoring.message_credits")
        ]
        events = await self.admin.fetch("select user_id, event, at from scoring.external_events")
        return recompute(messages, [Occasion(row["user_id"], row["event"], row["at"].timestamp()) for row in events])

    async def scores(self, person: UUID) -> dict[str, asyncpg.Record]:
        rows = await self.admin.fetch("select * from engagement_details where user_id = $1", person)
        return {row["score_type"]: row for row in rows}


def close(ours: dict[Any, tuple[float, float]], theirs: dict[Any, tuple[float, float]]) -> bool:
    """Equal to a billionth of what was summed; sums of nothing may be absent."""
    nothing = (0.0, 0.0)
    for key in ours.keys() | theirs.keys():
        for one, other in zip(ours.get(key, nothing), theirs.get(key, nothing), strict=True):
            if abs(one - other) > 1e-9 * max(1.0, ours.get(key, nothing)[1], theirs.get(key, nothing)[1]):
                return False
    return True


async def tell(room: Handlers, page: Any) -> None:
    """Give a page to the handler of its type."""
    handler = {
        EmailsObserved: room.emails_observed,
        TelegramsObserved: room.telegrams_observed,
        TelegramsSettled: room.telegrams_settled,
        RecordEvents: room.record_events,
    }[type(page)]
    await handler(page)


@asynccontextmanager
async def standing(url: str) -> AsyncIterator[Stand]:
    rooms: list[Database] = []
    admin = await asyncpg.connect(url)
    await admin.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda v: msgspec.json.encode(v).decode(), decoder=msgspec.json.decode
    )
    try:
        yield Stand(url, admin, rooms)
    finally:
        for database in rooms:
            await database.close()
        await admin.close()
