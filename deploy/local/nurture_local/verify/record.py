"""Reads the record: every table that the checks need, in one REPEATABLE READ transaction that can only read."""

from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from nurture_chassis.clock import Clock
from nurture_chassis.queries import Queries

from nurture_local.verify.history import (
    Answer,
    ChatRefusal,
    Command,
    Contact,
    Counted,
    Credit,
    DeadLetter,
    Delivery,
    EmailClaim,
    Ended,
    Enrolment,
    Event,
    Fallback,
    Letter,
    Occasion,
    Page,
    Request,
    Scores,
    Snapshot,
    StartJob,
    Suppression,
    TelegramClaim,
)
from nurture_local.verify.log import EventLog

_PATIENCE = 10
_LONGEST = 600.0
_AT_ONCE = 2000
T = TypeVar("T")


class Unreadable(Exception):
    """The database does not answer, is not Nurture's, or this role may not read it; the text says which."""


class _Signal(msgspec.Struct, frozen=True):
    kind: str
    at: float
    signal: str = "unknown"
    link: str | None = None


_results = msgspec.json.Decoder(dict[UUID, Ended])
_signals = msgspec.json.Decoder(list[_Signal])


async def read(url: str, publish_schema: str) -> Snapshot:
    """What the database holds at this moment; the rest of the snapshot is left empty. Raises Unreadable."""
    text = files("nurture_local.verify").joinpath("queries.sql").read_text(encoding="utf-8")
    queries = Queries(text, publish_schema)
    try:
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=_PATIENCE, command_timeout=_LONGEST)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Driver messages may quote the address, and with it the password.
        raise Unreadable(f"the database does not answer ({type(error).__name__})") from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _Reader(connection, queries).snapshot()
    except asyncpg.InsufficientPrivilegeError as error:
        raise Unreadable(f"this role may not read everything ({error}); use the one that migrates") from None
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError) as error:
        raise Unreadable(f"the database is not migrated for this version ({error})") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unreadable(f"the database went away ({type(error).__name__})") from None
    finally:
        await connection.close(timeout=_PATIENCE)


class _Reader:
    """One transaction. Ids that stand in many rows are one object here."""

    def __init__(self, connection: asyncpg.Connection, queries: Queries) -> None:
        self._connection = connection
        self._queries = queries
        self._ids: dict[UUID, UUID] = {}
        self._words: dict[str, str] = {}

    async def snapshot(self) -> Snapshot:
        moment = await self._connection.fetchrow(self._queries["moment"])
        assert moment is not None
        if not moment["migrated"]:
            raise Unreadable("the database is not Nurture's, or not migrated: `nurture db migrate`")
        deliveries = {one.id: one for one in await self._all("deliveries", self._delivery)}
        clock = await self._clock()
        return Snapshot(
            taken_at=moment["at"],
            now=clock.at(moment["at"]),
            speed=clock.speed,
            deliveries=deliveries,
            enrolments={one.id: one for one in await self._all("enrolments", self._of(Enrolment))},
            requests=await self._all("requests", self._of(Request)),
            paused_types=frozenset([type for (type,) in await self._all("paused_types", tuple)]),
            events=await self._log(),
            pages=await self._all("email_pages", self._of(Page)),
            claims=await self._all("email_claims", self._claim),
            telegram_pages=await self._all("telegram_pages", self._of(Page)),
            telegram_claims={
                one.delivery_id: one for one in await self._all("telegram_claims", self._of(TelegramClaim))
            },
            moved_chats=dict(await self._all("moved_chats", tuple)),
            outbox=await self._all("outbox", self._of(Letter)),
            contacts=await self._all("contacts", self._of(Contact)),
            suppressions=await self._all("suppressions", self._of(Suppression)),
            chat_refusals=await self._all("chat_refusals", self._of(ChatRefusal)),
            fallbacks=await self._all("fallbacks", self._of(Fallback)),
            commands={one.id: one for one in await self._all("commands", self._of(Command))},
            answers={one.command_id: one for one in await self._all("answers", self._of(Answer))},
            jobs={one.command_id: one for one in await self._all("jobs", self._of(StartJob))},
            dead_letters=await self._all("dead_letters", self._of(DeadLetter)),
            scores=await self._scores(),
            tests=frozenset([id for (id,) in await self._all("tests", tuple)]),
            counts={status: int(count) for status, count in await self._all("counts", tuple)},
            analytics=dict(await self._all("analytics", self._counters)),
            refilling=frozenset([room for (room,) in await self._all("refilling", tuple)]),
            **await self._pace(),
        )

    async def _clock(self) -> Clock:
        """Real time where no controller has told its own."""
        row = await self._connection.fetchrow(self._queries["clock"])
        return Clock(*row) if row else Clock()

    async def _rows(self, name: str) -> AsyncIterator[asyncpg.Record]:
        async for row in self._connection.cursor(self._queries[name], prefetch=_AT_ONCE):
            yield row

    async def _all(self, name: str, make: Callable[[asyncpg.Record], T]) -> list[T]:
        return [make(row) async for row in self._rows(name)]

    def _of(self, kind: Callable[..., T]) -> Callable[[asyncpg.Record], T]:
        """Rows whose columns are the fields."""
        return lambda row: kind(**{name: self._one(value) for name, value in row.items()})

    def _one(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return self._ids.setdefault(value, value)
        if isinstance(value, list):
            return [self._one(one) for one in value]
        return value

    def _word(self, text: str) -> str:
        return self._words.setdefault(text, text)

    def _delivery(self, row: asyncpg.Record) -> Delivery:
        values = {name: self._one(value) for name, value in row.items()}
        values["content_sha256"] = values.pop("content")
        values["decided"] = self._word(values["decided"] or "send")
        for name in ("sequence_type", "channel", "status"):
            values[name] = self._word(values[name])
        return Delivery(**values)

    def _claim(self, row: asyncpg.Record) -> EmailClaim:
        values = {name: self._one(value) for name, value in row.items()}
        ended = _results.decode(values["results"])
        values["results"] = {self._one(member): one for member, one in ended.items()}
        return EmailClaim(**values)

    def _counters(self, row: asyncpg.Record) -> tuple[Counted, dict[str, int]]:
        values = dict(row.items())
        return Counted(**{name: values.pop(name) for name in Counted._fields}), values

    async def _log(self) -> EventLog:
        log = EventLog()
        async for row in self._rows("events"):
            log.append(Event(**dict(row)))
        return log

    async def _scores(self) -> Scores:
        kinds = ("email", "telegram", "attendance", "commitment")
        states: dict[tuple[UUID, str], tuple[float, float]] = {}
        async for row in self._rows("score_states"):
            for kind in kinds:
                sums = (row[f"{kind}_r"], row[f"{kind}_n"])
                if any(sums):
                    states[self._one(row["user_id"]), kind] = sums
        return Scores(
            states=states,
            means={row["kind"]: (row["r"], row["n"]) async for row in self._rows("score_means")},
            credits=await self._all("credits", self._credit),
            occasions=await self._all("occasions", self._of(Occasion)),
        )

    def _credit(self, row: asyncpg.Record) -> Credit:
        values = {name: self._one(value) for name, value in row.items()}
        told = _signals.decode(values["signals"]) if values["signals"] != "[]" else ()
        values["signals"] = tuple((one.kind, one.at, one.signal, one.link) for one in told)
        return Credit(**values)

    async def _pace(self) -> dict[str, Any]:
        rows = await self._all("pace", tuple)
        return {
            "pace": {account: interval for account, interval, _ in rows},
            "parked": {account: reason for account, _, reason in rows if reason},
        }
