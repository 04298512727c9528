"""A database that went back in time has forgotten what it sent; whoever sends from it must not go on unasked.

A message's row is committed before the message is published. So a message on the bus without a row, or a row that this
process committed and does not find again, means that an older backup was restored. To confirm it is the operator's part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import nats.errors
import nats.js.errors
import structlog
from nurture_contracts.base import Message
from nurture_contracts.commands import SendEmails, SendTelegrams
from nurture_contracts.events import CommandSettled, EmailsSettled, TelegramsSettled

from nurture_chassis.bus import Bus
from nurture_chassis.database import Connection, Database
from nurture_chassis.outbox import Outbox

log = structlog.get_logger()
Tick = Callable[[], Awaitable[bool | float | None]]
TELLING: tuple[type[Message], ...] = (SendEmails, SendTelegrams, EmailsSettled, TelegramsSettled, CommandSettled)
"""The last of each of these tells whether the database still knows what was planned, sent and answered."""
KEPT = timedelta(days=7)
"""Outbox rows live longer than this; of what is older, nothing can be told."""
FIX = "nurture resume --confirm-restored"


class Forgotten(NamedTuple):
    """A message that was said at `at` and that the database does not know any more."""

    what: str
    at: datetime

    def __str__(self) -> str:
        return f"the database is older than the bus: it does not know {self.what}, said {self.at:%Y-%m-%d %H:%M:%S} UTC"


class WentBack(ConnectionError):
    """The server behind a new connection does not hold what this process committed."""


class RestoreGuard:
    """Keeps a ticker idle while the database is older than what was said, until that is confirmed.

    `tell` hears of what was forgotten, and again after a failure of its own.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        bus: Bus,
        tell: Callable[[Forgotten], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._bus = bus
        self._tell = tell
        self._forgotten: Forgotten | None = None
        self._seen = self._noted = False
        self._confirmed_at: datetime | None = None
        self._forgiven: UUID | None = None
        database.on_connect.append(self._check)

    async def look(self) -> None:
        """Before anything is done: does the database know the last that was said? Waits for the bus."""
        since = await self._database.fetchval("installation_since")
        if since is None:
            # No controller has started on this database yet, so nothing was ever sent from it.
            return
        for message in TELLING:
            last = await self._last_said(message)
            if last and said_at(last) > since and not await self._database.fetchval("said", last):
                self._forgotten = Forgotten(f"{message.__name__} {last}", said_at(last))
                await self._note(self._forgotten)
                return

    def before(self, tick: Tick) -> Tick:
        """The same tick, idle while something is forgotten and nobody has confirmed that."""

        async def guarded() -> bool | float | None:
            if self._forgotten is not None and not await self._confirmed(self._forgotten):
                return None
            return await tick()

        return guarded

    def held(self) -> list[str]:
        """Why nothing is sent, in words; empty when nothing is in the way."""
        return [f"{self._forgotten}. Nothing is sent until you confirm it: {FIX}"] if self._forgotten else []

    async def _last_said(self, message: type[Message]) -> UUID | None:
        stream = "COMMANDS" if message.subject.startswith("nurture.cmd.") else "EVENTS"
        while True:
            try:
                found = await self._bus.jetstream.get_last_msg(stream, message.subject)
                break
            except nats.js.errors.NotFoundError:
                return None
            except (nats.errors.Error, TimeoutError) as error:
                log.info("restored.waiting_for_bus", error=type(error).__name__)
                await asyncio.sleep(0.5)
        try:
            # A message that was said again carries its row's id and a number.
            id = UUID((found.headers or {}).get("Nats-Msg-Id", "").partition(".")[0])
        except ValueError:
            return None
        return id if id.version == 7 else None

    async def _check(self, connection: Connection) -> None:
        """On each new connection: a server that was restored behind our back has cut the old ones.

        All new ones fail until a ticker has taken notice, so that none works on unawares.
        """
        last = self._outbox.last
        fresh = last is not None and last != self._forgiven and datetime.now(UTC) - said_at(last) < KEPT
        if self._forgotten is None and last is not None and fresh:
            if await connection.fetchval(self._database.queries["outbox_knows"], last):
                return
            self._forgotten, self._seen, self._noted = Forgotten(f"message {last}", said_at(last)), False, False
        if self._forgotten is not None and not self._seen:
            raise WentBack(str(self._forgotten))

    async def _note(self, forgotten: Forgotten) -> None:
        self._seen = True
        self._confirmed_at = await self._database.fetchval("installation_confirmed")
        if self._tell is not None:
            await self._tell(forgotten)
        self._noted = True
        log.error("restored.database_is_older", what=forgotten.what, at=forgotten.at.isoformat(), hint=FIX)

    async def _confirmed(self, forgotten: Forgotten) -> bool:
        if not self._noted:
            await self._note(forgotten)
            return False
        if await self._database.fetchval("installation_confirmed") == self._confirmed_at:
            return False
        log.info("restored.confirmed")
        self._forgotten, self._forgiven = None, self._outbox.last
        return True


def said_at(id: UUID) -> datetime:
    """The time inside a UUIDv7."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
