"""What people did elsewhere, told by whoever knows: one event or a thousand, each answered on its own."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.openapi.spec import Example
from litestar.params import Body
from msgspec import Meta, Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.base import Instant
from nurture_contracts.commands import ExternalEvent, RecordEvents
from nurture_contracts.ids import derived, uuid7

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, refusals
from nurture_gateway.api.nurture import Ref
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.store import as_uuid, resolve

MANY = 1_000
PAGE = 200
AHEAD = timedelta(days=1)
EARLIEST_YEAR = 1970

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="`attended`, `missed`, `commitment_made`, `commitment_kept`, or any other name: a goal that the last "
        "message of seven days led to.",
    ),
]
Given = Annotated[
    str, Meta(min_length=1, max_length=200, description="Yours, to make a repeat harmless; a UUID or any text.")
]


class EventPosted(Struct, forbid_unknown_fields=True, kw_only=True):
    """Something a person did. `at` is now if it is left out."""

    user: Ref
    event: Name
    event_id: Given | None = None
    at: Instant | None = None


class EventsPosted(Struct, forbid_unknown_fields=True, kw_only=True):
    """One event, or up to a thousand under `events`, each of the same form."""

    user: Ref | None = None
    event: Name | None = None
    event_id: Given | None = None
    at: Instant | None = None
    events: list[Any] | None = None


class EventTaken(Struct, omit_defaults=True):
    """What became of one event. accepted: stored, will count. repeated: its id was taken before. rejected: see reason."""

    index: int
    status: Literal["accepted", "repeated", "rejected"]
    event_id: UUID | None = None
    reason: str | None = None


class EventsTaken(Struct):
    """A result for each event, in order."""

    results: list[EventTaken]


_ONE = {"user": "customer-17", "event": "attended", "at": "2026-01-05T18:00:00Z"}
_MANY = {"events": [_ONE, {"user": "customer-18", "event": "commitment_made", "event_id": "order-4711"}]}


@post(
    "/events",
    tags=["People"],
    summary="Say what people did",
    description="Feeds the scores. In a list every event is answered on its own and a bad one stops no other; a single event "
    "that cannot be taken is a problem.",
    status_code=202,
    responses={
        202: made(
            EventsTaken,
            "Stored, each with its result",
            {"results": [{"index": 0, "status": "accepted", "event_id": "0198b2f4-6c00-7000-8000-000000000001"}]},
        ),
        **refusals(404),
    },
)
async def take_events(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        EventsPosted,
        Body(examples=[Example(summary="One event", value=_ONE), Example(summary="A list", value=_MANY)]),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Take events of people."""
    single = _single(data)
    items = [single] if single is not None else [_read(item) for item in data.events or []]

    async def effect(tx: Saying) -> Answer:
        results, events = await _judge(tx, items, room.clock.now())
        if single is not None and results[0].status == "rejected":
            raise _refusal(single, results[0].reason or "")
        for start in range(0, len(events), PAGE):
            tx.say(RecordEvents(items=events[start : start + PAGE]))
        return answer(202, EventsTaken(results))

    return await once(request, room, effect)


def _single(data: EventsPosted) -> EventPosted | None:
    if data.events is not None:
        if any(value is not None for value in (data.user, data.event, data.event_id, data.at)):
            raise field_errors([("events", "does not go with the fields of a single event")])
        if len(data.events) > MANY:
            raise field_errors([("events", f"has {len(data.events)} events; one request takes {MANY:,}")])
        return None
    missing = [(name, "is missing") for name in ("user", "event") if getattr(data, name) is None]
    if missing:
        raise field_errors(missing)
    return EventPosted(user=data.user or "", event=data.event or "", event_id=data.event_id, at=data.at)


def _read(item: Any) -> EventPosted | str:
    """The event, or what is wrong with it."""
    try:
        return msgspec.convert(item, EventPosted)
    except msgspec.ValidationError as error:
        return str(error)


def _wrong(event: EventPosted, now: datetime) -> str | None:
    if not event.event.strip() or not event.event.isprintable():
        return "event: has characters that cannot be shown"
    if event.at is not None and event.at.year < EARLIEST_YEAR:
        return f"at: is before {EARLIEST_YEAR}"
    if event.at is not None and event.at > now + AHEAD:
        return "at: is more than a day ahead of now"
    return None


async def _judge(
    tx: Saying, items: list[EventPosted | str] | list[EventPosted], now: datetime
) -> tuple[list[EventTaken], list[ExternalEvent]]:
    """A result for each item, and the events to pass on. Two statements, however many there are."""
    # A NUL is in nobody's name, and the database would not even be asked.
    refs = list({item.user: None for item in items if isinstance(item, EventPosted) and "\0" not in item.user})
    people = dict(await resolve(tx, refs)) if refs else {}
    ids = [_id(item) if isinstance(item, EventPosted) else None for item in items]
    given = [id for id, item in zip(ids, items, strict=True) if isinstance(item, EventPosted) and item.event_id]
    taken = {row["event_id"] for row in await tx.fetch("known_events", given)} if given else set()
    results: list[EventTaken] = []
    events: list[ExternalEvent] = []
    for index, (item, id) in enumerate(zip(items, ids, strict=True)):
        if isinstance(item, str) or id is None:
            results.append(EventTaken(index, "rejected", reason=str(item)))
        elif reason := _wrong(item, now):
            results.append(EventTaken(index, "rejected", id, reason))
        elif (user_id := people.get(item.user)) is None:
            results.append(EventTaken(index, "rejected", id, f"user: there is no person {item.user!r}"))
        elif id in taken:
            results.append(EventTaken(index, "repeated", id))
        else:
            taken.add(id)
            results.append(EventTaken(index, "accepted", id))
            events.append(ExternalEvent(event_id=id, event=item.event, at=item.at or now, user_id=user_id))
    return results, events


def _id(item: EventPosted) -> UUID:
    if item.event_id is None:
        return uuid7()
    return as_uuid(item.event_id) or derived("external-event", item.event_id)


def _refusal(event: EventPosted, reason: str) -> Problem:
    field, _, why = reason.partition(": ")
    if field == "user":
        error = {"field": "user", "reason": "is nobody's"}
        return Problem("person_not_found", f"There is no person {event.user!r}.", errors=[error])
    return field_errors([(field, why)])
