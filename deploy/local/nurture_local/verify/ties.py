"""Pure: which rows belong to which delivery, found once for all checks that ask."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from uuid import UUID

from msgspec import Struct

from nurture_local.verify.history import Delivery, Effect, EmailClaim, Event, Page, Snapshot


class Ties(Struct, kw_only=True):
    """Effects by delivery. `tests` are those of test mails; `loose` belong to nothing that we know of, which for Telegram
    is an answer in a chat."""

    effects: dict[UUID, list[Effect]]
    tests: list[Effect]
    loose: list[Effect]


def tie(history: Snapshot) -> Ties:
    """Effects by the delivery that they name, else by the provider's id, else by being word for word a tied one again."""
    found = Ties(effects={}, tests=[], loose=[])
    nameless: list[Effect] = []
    words: dict[tuple[str, str], UUID] = {}
    named = provider_ids(history) if any(one.delivery_id is None for one in history.ledger or ()) else {}
    for effect in history.ledger or ():
        delivery = effect.delivery_id or named.get(effect.provider_id)
        if delivery is None:
            nameless.append(effect)
        elif delivery in history.tests:
            found.tests.append(effect)
        else:
            found.effects.setdefault(delivery, []).append(effect)
            if effect.delivery_id is None:
                words[effect.recipient, effect.payload_sha256] = delivery
    for effect in nameless:
        # A message without a link of ours names nobody; sent a second time it is still the same words to the same chat.
        delivery = words.get((effect.recipient, effect.payload_sha256))
        if delivery is None:
            found.loose.append(effect)
        else:
            found.effects[delivery].append(effect)
    return found


def provider_ids(history: Snapshot) -> dict[str, UUID]:
    """Deliveries by the provider's id, as claims and rows have it."""
    found = {one.provider_id: one.id for one in history.deliveries.values() if one.provider_id}
    for claim in history.telegram_claims.values():
        if claim.provider_id:
            found[claim.provider_id] = claim.delivery_id
    return found


def email_claims(history: Snapshot) -> dict[UUID, list[EmailClaim]]:
    """Claims by member, oldest first; test mails' are left out."""
    found: dict[UUID, list[EmailClaim]] = {}
    for claim in sorted(history.claims, key=lambda one: one.created_at):
        if not claim.test:
            for member in claim.members:
                found.setdefault(member, []).append(claim)
    return found


def pages(history: Snapshot) -> dict[UUID, Page]:
    """The page by which each delivery came to its channel."""
    return {
        member: page for page in (*history.pages, *history.telegram_pages) if not page.test for member in page.members
    }


def by_delivery(events: Sequence[Event]) -> Iterator[tuple[UUID, list[Event]]]:
    """The log a delivery at a time. Events that wait for their delivery are left out."""
    ordered: Iterator[Event] | list[Event] = iter(events)
    if not getattr(events, "grouped", False):
        ordered = sorted((one for one in events if one.delivery_id is not None), key=_id)
    for delivery, group in groupby(ordered, key=lambda one: one.delivery_id):
        if delivery is not None:
            yield delivery, list(group)


def walk(history: Snapshot) -> Iterator[tuple[UUID, Delivery | None, list[Event]]]:
    """Every delivery with its events, a delivery at a time; one that only the log knows comes as None."""
    seen: set[UUID] = set()
    for id, events in by_delivery(history.events):
        seen.add(id)
        yield id, history.deliveries.get(id), events
    for id, one in history.deliveries.items():
        if id not in seen:
            yield id, one, []


def _id(event: Event) -> UUID:
    assert event.delivery_id is not None
    return event.delivery_id
