"""Pure: everything that is known of an id, in the order in which it happened."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from msgspec import Struct

from nurture_local.verify import ties
from nurture_local.verify.history import Delivery, Snapshot


class Moment(Struct, frozen=True, order=True):
    """Something that was written down; `source` says where."""

    at: datetime
    source: str
    what: str


def timeline(history: Snapshot, id: str, most: int = 20) -> list[Moment]:
    """The last `most` moments of a delivery, an enrolment or a command. Nothing for what is none of these.

    Rows of the rooms have business time; claims, pages and the bus have real time, and so may stand elsewhere at `--speed`.
    """
    try:
        wanted = UUID(id)
    except ValueError:
        return []
    one = history.deliveries.get(wanted)
    if one is not None:
        found = list(_of_delivery(history, one))
    elif wanted in history.enrolments:
        found = list(_of_enrolment(history, wanted))
    else:
        found = list(_of_command(history, wanted))
    return sorted(found)[-most:]


def _of_delivery(history: Snapshot, one: Delivery) -> Iterator[Moment]:
    step = f"step {one.step} by {one.channel}" + (f", as a fallback of {one.fallback_of}" if one.fallback_of else "")
    yield Moment(one.created_at, "row", f"planned: {step}")
    for page in (*history.pages, *history.telegram_pages):
        if one.id in page.members:
            yield Moment(page.received_at, one.channel, f"taken over in page {page.id}")
    for claim in history.claims:
        if one.id not in claim.members:
            continue
        first = claim.first_call_at or claim.created_at
        yield Moment(first, one.channel, f"claim {claim.id}, {claim.attempt} attempts, {claim.state}")
        ended = claim.results.get(one.id)
        if claim.settled_at is not None:
            told = f"{ended.outcome} {ended.reason or ended.provider_id or ''}".strip() if ended else "not sent"
            yield Moment(claim.settled_at, one.channel, f"settled by claim {claim.id}: {told}")
    sending = history.telegram_claims.get(one.id)
    if sending is not None and sending.claimed_at is not None:
        yield Moment(sending.claimed_at, one.channel, f"claimed, attempt {sending.attempt}")
    if sending is not None and sending.settled_at is not None:
        yield Moment(sending.settled_at, one.channel, f"settled: {sending.outcome} {sending.reason or ''}".strip())
    for event in history.events:
        if event.delivery_id == one.id:
            yield Moment(event.at, "log", " ".join(filter(None, (event.kind, event.reason))))
    for effect in ties.tie(history).effects.get(one.id, ()):
        yield Moment(effect.at, "ledger", f"taken by the provider as {effect.provider_id.rpartition(':')[2]}")


def _of_enrolment(history: Snapshot, id: UUID) -> Iterator[Moment]:
    one = history.enrolments[id]
    yield Moment(one.started_at, "row", f"started by command {one.command_id}; stands at step {one.step}, {one.state}")
    if one.next_at is not None:
        yield Moment(one.next_at, "row", f"step {one.step} is due" + (", paused" if one.paused else ""))
    for delivery in history.deliveries.values():
        if delivery.enrolment_id == id:
            yield Moment(delivery.created_at, "row", f"step {delivery.step}: delivery {delivery.id}, {delivery.status}")


def _of_command(history: Snapshot, id: UUID) -> Iterator[Moment]:
    command, answer = history.commands.get(id), history.answers.get(id)
    if command is not None:
        yield Moment(command.created_at, "gateway", f"a {command.kind} was accepted")
        if command.settled_at is not None:
            yield Moment(command.settled_at, "gateway", f"the caller is told {command.status}")
    if answer is not None:
        yield Moment(answer.at, "controller", f"answered {answer.status}")
    started = [one.started_at for one in history.enrolments.values() if one.command_id == id]
    if started:
        yield Moment(min(started), "row", f"{len(started)} enrolments")


def clock(at: datetime) -> str:
    """As a timeline shows it."""
    return f"{at.astimezone(UTC):%H:%M:%S.%f}"[:-3]
