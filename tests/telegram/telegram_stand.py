"""The telegram room on real PostgreSQL with a Bot API of the test's; the test plays the gateway's and the controller's rows."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.lease import Lease
from nurture_chassis.outbox import Outbox
from nurture_chassis.pace import Pace
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.tokens import Tokens, link_id
from nurture_contracts import events
from nurture_contracts.base import Message
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import MESSAGES
from nurture_telegram.attempts import Limits
from nurture_telegram.bot_api import BotApi
from nurture_telegram.conversations import Effects
from nurture_telegram.handlers import Handlers
from nurture_telegram.identity import Identity
from nurture_telegram.inbox import Inbox
from nurture_telegram.poller import Poller
from nurture_telegram.rendering import Renderer
from nurture_telegram.sender import Sender
from nurture_telegram.speaker import SHARE, Speaker, share
from nurture_telegram.store import Store
from telegram_server import TOKEN, BotServer

from tests.servers import SECRET_KEY, embedded_postgres, role_url

TOKENS = Tokens(SECRET_KEY)
PUBLIC = "https://n.acme.test"
BOT_ID = 4242
FIRST_CHAT = 1000
_BY_SUBJECT = {message.subject: message for message in MESSAGES}
_TABLES = (
    "pages, claims, chat_pace, chats, refusals, used_tokens, seen_updates, poll_offsets, links, channel, pace, outbox,"
    " leases, dead_letters"
)


class Postgres:
    """One server with every room's schema."""

    def __init__(self, stack: ExitStack) -> None:
        self.admin_url = stack.enter_context(stack.enter_context(embedded_postgres()).migrated())


class SilentBus:
    """`said` is set with each message."""

    connected = True

    def __init__(self) -> None:
        self.said = asyncio.Event()

    async def publish(self, *_: Any) -> None:
        self.said.set()


class Room:
    """One replica of the room, ticked by hand."""

    def __init__(self, database: Database, url: str, **options: Any) -> None:
        rate = options.pop("rate", 10_000.0)
        self.database = database
        self.bus = SilentBus()
        self.outbox = Outbox(database, self.bus)  # type: ignore[arg-type]
        self.store = Store(database, self.outbox)
        self.api = BotApi(Secret(TOKEN), url, concurrency=8, total=options.get("call_seconds", 35.0))
        self.inbox = Inbox(database, self.outbox, TOKENS, Clock(), BOT_ID)
        self.pace = Pace(database, "telegram", rate)
        self.speaker = Speaker(self.api, self.pace, Pace(database, SHARE, share(rate)))
        self.told: list[Effects] = []
        self.heard = asyncio.Event()
        self.woken = 0
        self.handlers = Handlers(self.store, self.outbox, self.inbox, self._wake, self.tell)
        self.identity = Identity(
            database, self.pace, self.api, "poll", f"{PUBLIC}/telegram/webhook", Secret("hook-secret")
        )
        self.sender = Sender(
            self.store,
            self.pace,
            self.api,
            Renderer(TOKENS, link_id, PUBLIC),
            Clock(),
            concurrency=options.pop("concurrency", 4),
            rate=rate,
            limits=Limits(),
            **options,
        )

    def _wake(self) -> None:
        self.woken += 1

    def tell(self, effects: Effects) -> None:
        self.told.append(effects)
        self.heard.set()
        self.speaker.tell(effects)

    def poller(self, lease: float = 60.0) -> Poller:
        return Poller(
            self.api,
            self.inbox,
            Lease(self.database, "telegram-poll", lease),
            tell=self.tell,
            note=self.identity.note,
            own_webhook=f"{PUBLIC}/telegram/webhook",
        )

    async def page(self, members: Sequence[UUID], page_id: UUID | None = None) -> None:
        await self.store.take_page(page_id or uuid7(), members)

    async def work(self) -> None:
        """Tick until nothing is due, each volley to its end."""
        while await self.sender.tick() is True or self.sender._flight is not None or self.sender._ended:
            if self.sender._flight is not None:
                await asyncio.wait({self.sender._flight})

    async def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        return await self.database.pool.fetch(statement, *args)

    async def due(self) -> None:
        """All waits are over: those of messages, of chats and of the bot."""
        await self.sql("update claims set next_at = now() where state = 'waiting'")
        await self.sql("update chat_pace set next_at = now() - interval '1 s'")
        await self.sql("update pace set next_at = now()")
        self.sender._slots.let_go()

    async def leases_end(self) -> None:
        await self.sql("update claims set lease_until = now() - interval '1 s' where state = 'sending'")

    async def reap(self) -> None:
        await self.store.reap(Clock().now(), Limits())

    async def said(self) -> list[Message]:
        rows = await self.sql("select subject, payload from outbox order by created_at, id")
        return [msgspec.json.decode(row["payload"], type=_BY_SUBJECT[row["subject"]]) for row in rows]

    async def settlements(self) -> list[events.Settlement]:
        return [item for page in await self.said() if isinstance(page, events.TelegramsSettled) for item in page.items]

    async def settled(self) -> dict[UUID, tuple[str, str | None]]:
        """Outcome and reason of every delivery; nobody may be settled twice."""
        items = await self.settlements()
        found = {item.delivery_id: (item.outcome, item.reason) for item in items}
        assert len(found) == len(items)
        return found

    async def changes(self) -> list[tuple[UUID, str]]:
        pages = [page for page in await self.said() if isinstance(page, events.ChatsChanged)]
        return [(item.user_id, item.change) for page in pages for item in page.items]

    async def observed(self) -> list[events.Observation]:
        pages = [page for page in await self.said() if isinstance(page, events.TelegramsObserved)]
        return [item for page in pages for item in page.items]


class Stand:
    """What a test stands on: the administrator's connection, a Bot API, and rooms made from the service's own role."""

    def __init__(self, server: Postgres, admin: asyncpg.Connection, bot: BotServer) -> None:
        self._server = server
        self.admin = admin
        self.bot = bot
        self._rooms: list[Room] = []

    async def room(self, **options: Any) -> Room:
        service = ServiceSettings(
            database_url=Secret(role_url(self._server.admin_url, "nurture_telegram")),
            nats_url="",
            secret_key=Secret(SECRET_KEY),
        )
        database = Database(service, "telegram", Queries.of("nurture_telegram", "public"))
        await database.open()
        room = Room(database, options.pop("url", self.bot.url), **options)
        self._rooms.append(room)
        return room

    async def deliveries(
        self, count: int, body: str = "Hello {n}.", params: dict[str, Any] | None = None
    ) -> list[UUID]:
        """Planned deliveries to as many reachable people, in chats 1000 and on."""
        ids, people = [uuid7() for _ in range(count)], [uuid7() for _ in range(count)]
        sequence = uuid7()
        chats = [str(FIRST_CHAT + number) for number in range(count)]
        bodies = [body.replace("{n}", str(number)) for number in range(count)]
        await self.admin.execute(
            "insert into controller.sequences values ($1, $2, 1, '{}', 'x', now())", sequence, f"s{sequence.hex}"
        )
        await self.admin.execute(
            "insert into gateway.users (id, first_name, created_at, updated_at)"
            " select id, 'P', now(), now() from unnest($1::uuid[]) id",
            people,
        )
        await self.admin.execute(
            "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
            " select u, 'telegram', a, a, now() from unnest($1::uuid[], $2::text[]) as x(u, a)",
            people, chats,
        )  # fmt: skip
        for id, person, chat, text in zip(ids, people, chats, bodies, strict=True):
            await self.delivery(person, chat, text, params, id=id, sequence=sequence)
        return ids

    async def delivery(
        self,
        person: UUID,
        chat: str,
        body: str = "Hello.",
        params: dict[str, Any] | None = None,
        *,
        id: UUID | None = None,
        sequence: UUID | None = None,
    ) -> UUID:
        """One planned delivery to this chat."""
        delivery = id or uuid7()
        if sequence is None:
            sequence = await self.admin.fetchval("select id from controller.sequences limit 1")
        await self.admin.execute(
            "insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, started_at)"
            " values ($1, $1, $2, $3, $4, 1, now())",
            delivery, person, sequence, f"s{delivery.hex}",
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.deliveries"
            " (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)"
            " values ($1, $1, $2, 'onboarding', 1, 'telegram', now(), now())",
            delivery, person,
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.delivery_contents"
            " (delivery_id, address, template, subject, body, params, decision, expires_at)"
            " values ($1, $2, 'nurture_sequence', '', $3, $4, '{}', $5)",
            delivery, chat, body, msgspec.json.encode(params or {}).decode(), datetime.now(UTC) + timedelta(days=1),
        )  # fmt: skip
        return delivery

    async def person(self, delivery: UUID) -> UUID:
        return await self.admin.fetchval("select user_id from controller.deliveries where id = $1", delivery)

    async def contact(self, delivery: UUID, change: str) -> None:
        """Change the contact of a delivery's person, as the gateway would: `consent = 'refused'`."""
        person = await self.person(delivery)
        await self.admin.execute(f"update gateway.contacts set {change} where user_id = $1", person)

    async def close(self) -> None:
        for room in self._rooms:
            await room.sender.finish(1)
            await room.speaker.finish()
            await room.api.close()
            await room.outbox.close()
            await room.database.close()


@asynccontextmanager
async def standing(server: Postgres):
    admin = await asyncpg.connect(server.admin_url)
    await admin.execute("set search_path = telegram")
    await admin.execute(f"truncate {_TABLES}")
    await admin.execute("truncate gateway.contacts, gateway.inbound_pages")
    async with BotServer() as bot:
        stand = Stand(server, admin, bot)
        try:
            yield stand
        finally:
            bot.silence.set()
            if bot.gate is not None:
                bot.gate.set()
            await stand.close()
            await admin.close()
