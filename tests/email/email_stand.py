"""The email room on real PostgreSQL with a scripted provider; the test plays the gateway's and the controller's rows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.pace import Pace
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.tokens import Tokens, link_id
from nurture_contracts import events
from nurture_contracts.base import Message
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import MESSAGES
from nurture_email.attempts import Limits
from nurture_email.handlers import Handlers
from nurture_email.rendering import Mail, Renderer, RenderSettings
from nurture_email.resend import Reply, encode
from nurture_email.sender import Provider, Sender
from nurture_email.smtp_verdicts import refused as relay_refused
from nurture_email.store import Store
from nurture_email.verdicts import Answer, MemberVerdict, Verdict, read
from nurture_email.volley_store import VolleyStore
from nurture_email.volleys import Volleys
from nurture_local import cluster_home, postgres
from nurture_local.addresses import for_role, role_password
from nurture_local.migrate import migrate
from nurture_local.ports import free_port
from nurture_local.servers import running

from tests.servers import SilentBus

SECRET_KEY = "test-secret-key-0123456789abcdef"
SETTINGS = RenderSettings(sender="Acme <hello@acme.test>", public_url="https://n.acme.test")
_BY_SUBJECT = {message.subject: message for message in MESSAGES}
EMAIL_TABLES = "email.pages, email.claims, email.links, email.suppressions, email.pace, email.outbox"


class Postgres:
    """One server with every room's schema."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        home = cluster_home.choose(folder)
        stack.callback(postgres.remove, home)
        postgres.prepare(home, "pw")
        port = free_port()
        stack.enter_context(running(postgres.spec(home, port, {"fsync": "off"}), folder / "postgres.log"))
        self.admin_url = postgres.url(port, "pw")
        asyncio.run(migrate(self.admin_url, SECRET_KEY, own_server=True))

    def url(self, role: str) -> str:
        return for_role(self.admin_url, role, role_password(SECRET_KEY, role))


class Accepts:
    """Remembers keys as Resend does; what a test puts in `next` happens to the following requests in turn."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, list[str]]] = []
        self.taken: dict[str, tuple[bytes, Reply]] = {}
        self.next: list[Callable[[Accepts, str, Sequence[Mail]], Awaitable[Reply]]] = []
        self.count = 0

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        body = b"\n".join(encode(mail) for mail in mails)
        self.calls.append((key, body, [mail.to for mail in mails]))
        if self.next:
            return await self.next.pop(0)(self, key, mails)
        return self.accept(key, mails)

    def accept(self, key: str, mails: Sequence[Mail]) -> Reply:
        body = b"\n".join(encode(mail) for mail in mails)
        if key in self.taken:
            known, reply = self.taken[key]
            return reply if known == body else refused(409, "invalid_idempotent_request")
        members = []
        for _ in mails:
            self.count += 1
            members.append(MemberVerdict(kind="accepted", provider_id=f"p{self.count}"))
        reply = Reply(Verdict(kind="accepted", members=members))
        self.taken[key] = (body, reply)
        return reply

    @property
    def delivered(self) -> list[str]:
        """Addresses that a taken request was for, in order."""
        return [msgspec.json.decode(line)["to"][0] for body, _ in self.taken.values() for line in body.split(b"\n")]


def refused(status: int, name: str, retry_after: float | None = None) -> Reply:
    return Reply(read(Answer(status=status, body={"name": name}, retry_after=retry_after), 1))


def answering(status: int, name: str, retry_after: float | None = None) -> Callable[..., Awaitable[Reply]]:
    """The provider refuses."""

    async def answer(provider: Accepts, key: str, mails: Sequence[Mail]) -> Reply:
        return refused(status, name, retry_after)

    return answer


async def took_it_silently(provider: Accepts, key: str, mails: Sequence[Mail]) -> Reply:
    """The provider took it, and the reply was lost."""
    provider.accept(key, mails)
    return Reply(Verdict(kind="ambiguous", reason="ReadError"))


async def lost_it_silently(provider: Accepts, key: str, mails: Sequence[Mail]) -> Reply:
    """The request was lost, which nobody here can know."""
    return Reply(Verdict(kind="ambiguous", reason="ReadTimeout"))


async def out_of_reach(provider: Accepts, key: str, mails: Sequence[Mail]) -> Reply:
    return Reply(Verdict(kind="not_sent", reason="ConnectError"))


async def dies(provider: Accepts, key: str, mails: Sequence[Mail]) -> Reply:
    """The worker is gone after the provider took it: nothing is written down here."""
    provider.accept(key, mails)
    raise asyncio.CancelledError


class Takes:
    """A relay: takes one mail a call and knows no keys. What a test puts in `next` happens to the following calls in turn."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.called: list[str] = []
        self.times: list[float] = []
        self.next: list[Callable[[Takes, Mail], Awaitable[Reply]]] = []
        self._heard = asyncio.Event()

    async def until(self, calls: int) -> None:
        """So many calls have begun."""
        async with asyncio.timeout(20):
            while len(self.called) < calls:
                self._heard.clear()
                await self._heard.wait()

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        (mail,) = mails
        self.called.append(mail.to)
        self.times.append(time.monotonic())
        self._heard.set()
        return await self.next.pop(0)(self, mail) if self.next else self.take(mail)

    def take(self, mail: Mail) -> Reply:
        self.delivered.append(mail.to)
        member = MemberVerdict(kind="accepted", provider_id=f"{mail.delivery_id}@acme.test")
        return Reply(Verdict(kind="accepted", members=[member]))


def refusing(stage: Any, code: int, text: str) -> Callable[..., Awaitable[Reply]]:
    """The relay refuses."""

    async def answer(provider: Takes, mail: Mail) -> Reply:
        return Reply(relay_refused(stage, code, text))

    return answer


async def dies_sending(provider: Takes, mail: Mail) -> Reply:
    """The worker is gone after the relay took the mail: nothing is written down here."""
    provider.take(mail)
    await asyncio.Event().wait()
    raise AssertionError


class Room:
    """One replica of the room, ticked by hand."""

    def __init__(self, database: Database, provider: Provider, settings: RenderSettings, **options: Any) -> None:
        self.database = database
        self.outbox = Outbox(database, SilentBus())  # type: ignore[arg-type]
        self.provider = provider
        self.woken = 0
        rate = options.pop("rate", 10_000.0)
        common = {"concurrency": options.pop("concurrency", 4), "limits": Limits(max_attempts=3), **options}
        renderer = Renderer(Tokens(SECRET_KEY), link_id)
        if settings.provider == "smtp":
            self.store = VolleyStore(database, self.outbox, "smtp")
            pace = Pace(database, "smtp", rate)
            self.sender = Volleys(self.store, pace, provider, renderer, Clock(), settings, rate=rate, **common)
        else:
            self.store = Store(database, self.outbox, "resend")
            pace = Pace(database, "resend", rate)
            self.sender = Sender(self.store, pace, provider, renderer, Clock(), settings, **common)
        self.handlers = Handlers(self.store, self.outbox, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def page(self, members: list[UUID], *, test: bool = False, page_id: UUID | None = None) -> None:
        await self.store.take_page(page_id or uuid7(), members, test)

    async def work(self) -> None:
        """Tick until nothing is due, each request to its end."""
        while await self.sender.tick() is True or self.sender._flight:
            await self.sender.finish()

    async def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        return await self.database.pool.fetch(statement, *args)

    async def due(self) -> None:
        """The waits of all retries are over."""
        await self.sql("update claims set next_at = now() where state = 'open' and lease_until is null")

    async def leases_end(self) -> None:
        await self.sql(
            "update claims set lease_until = now() - interval '1 s', next_at = now() where lease_until is not null"
        )

    async def claims(self) -> list[asyncpg.Record]:
        return await self.sql("select * from claims order by created_at, id")

    async def said(self) -> list[Message]:
        rows = await self.sql("select subject, payload from outbox order by created_at, id")
        return [msgspec.json.decode(row["payload"], type=_BY_SUBJECT[row["subject"]]) for row in rows]

    async def settled(self) -> dict[UUID, tuple[str, str | None]]:
        """Outcome and reason of every delivery; nobody may be settled twice."""
        found: dict[UUID, tuple[str, str | None]] = {}
        for message in await self.said():
            if isinstance(message, events.EmailsSettled):
                for item in message.items:
                    assert item.delivery_id not in found
                    found[item.delivery_id] = (item.outcome, item.reason)
        return found


class Stand:
    """What a test stands on: the administrator's connection and rooms made from the service's own role."""

    def __init__(self, server: Postgres, admin: asyncpg.Connection, stack: list[Database]) -> None:
        self._server = server
        self.admin = admin
        self._databases = stack

    async def room(self, provider: Provider | None = None, settings: RenderSettings = SETTINGS, **options: Any) -> Room:
        service = ServiceSettings(
            database_url=Secret(self._server.url("nurture_email")), nats_url="", secret_key=Secret(SECRET_KEY)
        )
        database = Database(service, "email", Queries.of("nurture_email", "public"))
        await database.open()
        self._databases.append(database)
        return Room(database, provider or Accepts(), settings, **options)

    async def relay_room(self, provider: Provider | None = None, **options: Any) -> Room:
        """A replica that sends over SMTP."""
        return await self.room(provider or Takes(), replace(SETTINGS, provider="smtp"), **options)

    async def deliveries(self, count: int, body: str = "Hello {n}, see [this](https://x.test/{n}).") -> list[UUID]:
        """Planned deliveries to as many reachable people, `p0@x.test` and on."""
        ids = [uuid7() for _ in range(count)]
        sequence = uuid7()
        await self.admin.execute(
            "insert into controller.sequences values ($1, $2, 1, '{}', 'x', now())", sequence, f"s{sequence.hex}"
        )
        people = [uuid7() for _ in ids]
        addresses = [f"p{number}@x.test" for number in range(count)]
        bodies = [body.replace("{n}", str(number)) for number in range(count)]
        await self.admin.execute(
            "insert into gateway.users (id, first_name, created_at, updated_at)"
            " select id, 'P', now(), now() from unnest($1::uuid[]) id",
            people,
        )
        await self.admin.execute(
            "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
            " select u, 'email', a, $3 || a, now() from unnest($1::uuid[], $2::text[]) as x(u, a)",
            people, addresses, sequence.hex,
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, started_at)"
            " select d, d, u, $3, $4, 1, now() from unnest($1::uuid[], $2::uuid[]) as x(d, u)",
            ids, people, sequence, f"s{sequence.hex}",
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.deliveries"
            " (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)"
            " select d, d, u, 'onboarding', 1, 'email', now(), now() from unnest($1::uuid[], $2::uuid[]) as x(d, u)",
            ids, people,
        )  # fmt: skip
        await self.admin.execute(
            "insert into controller.delivery_contents"
            " select d, a, 'nurture_sequence', 'Hi', b, '{\"user_name\": \"P\", \"step\": 1}', '{}', $4"
            " from unnest($1::uuid[], $2::text[], $3::text[]) as x(d, a, b)",
            ids, addresses, bodies, datetime.now(UTC) + timedelta(days=1),
        )  # fmt: skip
        return ids

    async def contact(self, delivery: UUID, change: str) -> None:
        """Change the contact of a delivery's person, as the gateway would: `consent = 'refused'`."""
        await self.admin.execute(
            f"update gateway.contacts set {change} where user_id = (select user_id from controller.deliveries where id = $1)",
            delivery,
        )

    async def close(self) -> None:
        for database in self._databases:
            await database.close()


@asynccontextmanager
async def standing(server: Postgres):
    admin = await asyncpg.connect(server.admin_url)
    await admin.execute(f"truncate {EMAIL_TABLES}, gateway.suppressions_by_hand")
    stand = Stand(server, admin, [])
    try:
        yield stand
    finally:
        await stand.close()
        await admin.close()
