"""People and pages in and out of the database, by sets."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from asyncpg import Record
from nurture_chassis.database import Rows, Transaction
from nurture_chassis.outbox import Outbox, Saying
from nurture_chassis.trace import about, span
from nurture_contracts.base import Message
from nurture_contracts.events import (
    EmailWebhooksReceived,
    Hit,
    TelegramUpdatesReceived,
    TrackingHit,
    WebhookReceived,
)
from nurture_contracts.ids import uuid7

from nurture_gateway.people import Change, Clash, Found, Person, apply, email_key

log = structlog.get_logger()
_PERSON = tuple(Person.__dataclass_fields__)


class Written(NamedTuple):
    """What became of one change."""

    person: Person
    created: bool
    changed: bool


def as_uuid(ref: str) -> UUID | None:
    """The reference as a UUID, if it is one."""
    try:
        return UUID(ref) if len(ref) >= 32 else None
    except ValueError:
        return None


async def resolve(rows: Rows, refs: Sequence[str]) -> list[tuple[str, UUID | None]]:
    """Ids for UUIDs and external ids, in order; None for nobody. One statement."""
    found = await rows.fetch("resolve_people", list(refs), [as_uuid(ref) for ref in refs])
    return [(row["ref"], row["id"]) for row in found]


async def write_people(
    tx: Transaction, changes: Sequence[Change], now: datetime, earlier: Collection[UUID] = ()
) -> list[Written | Clash]:
    """Apply each change to the person it means, or to a new one. Four statements as a rule, however many there are.

    A second change for a person of this call, or one of `earlier`, is a Clash. asyncpg.UniqueViolationError means that
    somebody else has just taken an identifier: begin the transaction again.
    """
    hits = await _matched(tx, changes)
    results: list[Written | Clash | None] = [None] * len(changes)
    people: list[Person] = []
    contacts: list[tuple[UUID, str, str | None, str | None]] = []
    taken: set[UUID] = set()
    for row in hits:
        found = _found(row)
        try:
            person = apply(found, changes[row["n"]], uuid7())
            if person.id in taken or person.id in earlier:
                raise Clash("identity_clash", "id", f"person {person.id} has been changed by an earlier line")
        except Clash as clash:
            results[row["n"]] = clash
            continue
        taken.add(person.id)
        before = found.person
        results[row["n"]] = Written(person, before is None, person != before)
        if person == before:
            continue
        people.append(person)
        if person.email != (before.email if before else None):
            contacts.append((person.id, "email", person.email, email_key(person.email) if person.email else None))
        if person.telegram_chat_id != (before.telegram_chat_id if before else None):
            contacts.append((person.id, "telegram", person.telegram_chat_id, person.telegram_chat_id))
    if people:
        names = (
            "id",
            "external_id",
            "first_name",
            "timezone",
            "locale",
            "attributes",
            "preferred_channel",
            "preferred_time",
        )
        await tx.execute("save_people", *([getattr(person, name) for person in people] for name in names), now)
    if contacts:
        await tx.execute("save_contacts", *(list(column) for column in zip(*contacts, strict=True)), now)
    return [result for result in results if result is not None]


async def _matched(tx: Transaction, changes: Sequence[Change]) -> list[Record]:
    """Whom each change means, each of them locked before they were read."""
    named = (
        list(range(len(changes))),
        [change.get("id") for change in changes],
        [change.get("external_id") for change in changes],
        [email_key(change["email"]) if change.get("email") else None for change in changes],
        [change.get("telegram_chat_id") for change in changes],
    )
    held: set[UUID | None] = {None}
    while True:
        held.update(row["id"] for row in await tx.fetch("lock_people", *named))
        hits = await tx.fetch("match_people", *named)
        # While we waited, an address may have become somebody else's.
        if held.issuperset(row["id"] for row in hits):
            return hits


def _found(row: Record) -> Found:
    person = Person(**{name: row[name] for name in _PERSON}) if row["id"] is not None else None
    return Found(row["by_id"], row["by_external_id"], row["by_email"], row["by_chat"], person)


class Pages:
    """Stores what a gate collected: a row to keep and a message to pass on, in one transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def webhooks(self, items: list[WebhookReceived]) -> None:
        """Keep verified webhooks and tell the email room."""
        async with self._outbox.transaction() as tx:
            traces = await _keep(tx, uuid7(), "webhooks", items, [item.delivery_id for item in items])
            _tell(tx, EmailWebhooksReceived(items=items), "webhooks", len(items), traces)

    async def hits(self, items: list[Hit]) -> None:
        """Keep hits on links and tell the channels' rooms."""
        async with self._outbox.transaction() as tx:
            traces = await _keep(tx, uuid7(), "hits", items, [item.delivery_id for item in items])
            _tell(tx, TrackingHit(items=items), "hits", len(items), traces)

    async def updates(self, items: list[dict[str, Any]]) -> None:
        """Keep updates of the bot; the page's id is all that travels, because they say who wrote what."""
        async with self._outbox.transaction() as tx:
            page_id = uuid7()
            await _keep(tx, page_id, "telegram", items, [])
            _tell(tx, TelegramUpdatesReceived(page_id=page_id), "telegram", len(items), [])


async def _keep(tx: Rows, id: UUID, kind: str, items: list[Any], deliveries: list[UUID | None]) -> list[str]:
    """Store a page. Returns the traces that its deliveries belong to."""
    return [row["traceparent"] for row in await tx.fetch("keep_page", id, kind, items, deliveries)]


def _tell(tx: Saying, message: Message, kind: str, items: int, traceparents: list[str]) -> None:
    """Say it under the trace of what went out, where that is one."""
    with span(f"receive {kind}", "internal", about(traceparents), nurture__items=items):
        tx.say(message)
        log.info("inbound.stored", kind=kind, items=items)


def plain(row: Record) -> dict[str, Any]:
    """A row as a dictionary, in the order of its columns."""
    return dict(row.items())
