"""Starting and cancelling sequences, and what runs."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.spec import Example
from litestar.params import Body, QueryParameter
from msgspec import Meta, Struct
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Saying
from nurture_contracts.commands import CancelEnrolments, StartSequences

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import Count, CursorText, IdempotencyKey, Limit, made, problems, refusals
from nurture_gateway.commands import Draft, refusal, submit
from nurture_gateway.cursors import NEWEST, Cursor
from nurture_gateway.paging import page, start_of
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room
from nurture_gateway.store import resolve

MANY = 10_000
CONTEXT_BYTES = 32_768
Ref = Annotated[str, Meta(min_length=1, max_length=200, description="A person's id or external_id.")]
Refs = Annotated[list[Ref], Meta(min_length=1, description=f"Instead of `user_id`: at most {MANY:,} of them.")]
Type = Annotated[str, Meta(min_length=1, max_length=100, examples=["onboarding"], description="The sequence's type.")]
Everybody = Annotated[Literal["all"], Meta(description="Instead of `user_id`: everybody.")]
Context = Annotated[
    dict[str, Any], Meta(description="For the wording, as `{{ name }}`; its names are the sequence's own.")
]
Override = Annotated[Literal["email", "telegram"], Meta(description="This channel, whatever the person prefers.")]


class Trigger(Struct, forbid_unknown_fields=True, kw_only=True):
    """Start a sequence for exactly one of: a person, a list of people, everybody."""

    sequence_type: Type
    user_id: Ref | None = None
    user_ids: Refs | None = None
    segment: Everybody | None = None
    context: Context = {}
    override_channel: Override | None = None
    confirm: Annotated[Count, Meta(description="How many people it is for; many on a live channel need it.")] | None = (
        None
    )


class Cancel(Struct, forbid_unknown_fields=True, kw_only=True):
    """End exactly one of: an enrolment, a person's running sequence of a type, all that a trigger started, all that waits."""

    enrolment_id: UUID | None = None
    user_id: Ref | None = None
    sequence_type: Type | None = None
    command_id: UUID | None = None
    waiting: Literal[True] | None = None


class Enrolled(Struct):
    """A started enrolment and its first step. `paused` is there while its sequence, or everything, is held."""

    command_id: UUID
    enrolment_id: UUID
    user_id: UUID
    sequence_type: str
    version: int
    step: int
    channel: str | None
    scheduled_at: datetime
    paused: bool = False


class Accepted(Struct):
    """Taken and stored; `status_url` shows what became of it."""

    command_id: UUID
    status_url: str


class Cancelled(Struct):
    """How many enrolments ended."""

    command_id: UUID
    cancelled: int


class Active(Struct):
    """A running enrolment."""

    enrolment_id: UUID
    user_id: UUID
    external_id: str | None
    first_name: str | None
    sequence_type: str
    version: int
    step: int
    channel: str | None
    next_at: datetime | None
    started_at: datetime


class ActivePage(Struct):
    """A page of running enrolments, newest first."""

    items: list[Active]
    next: str | None


_ID = "0198b2f4-6c00-7000-8000-000000000001"
_ACCEPTED = {"command_id": _ID, "status_url": f"/admin/api/commands/{_ID}"}
_ENROLLED = {
    "command_id": _ID, "enrolment_id": _ID, "user_id": _ID, "sequence_type": "onboarding", "version": 1, "step": 1,
    "channel": "email", "scheduled_at": "2026-01-05T09:00:00Z",
}  # fmt: skip


@post(
    "/nurture/trigger",
    tags=["Sequences in motion"],
    summary="Start a sequence",
    description="One person: waits up to two seconds for the real answer. Many: always 202; people who cannot be started "
    "are listed, with the reason, under `status_url`. On a live channel many people need `confirm`: their number.",
    status_code=201,
    responses={
        201: made(Enrolled, "Started", _ENROLLED),
        202: made(Accepted, "Stored, will be done", _ACCEPTED),
        **refusals(404, 409),
    },
)
async def trigger(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        Trigger,
        Body(
            examples=[
                Example(summary="One person", value={"user_id": "customer-17", "sequence_type": "onboarding"}),
                Example(summary="A list", value={"user_ids": ["customer-17", _ID], "sequence_type": "re_engagement"}),
                Example(summary="Everybody", value={"segment": "all", "sequence_type": "onboarding", "confirm": 1000}),
            ]
        ),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Start a sequence for one, for listed people, or for everybody."""
    return await start(request, room, data)


async def start(request: Request[Any, Any, Any], room: Room, data: Trigger) -> Response[Any]:
    """What `trigger` does, for pages as well. Raises Problem."""
    within_bounds(data.user_id, data.user_ids, data.segment, data.context)
    asked: dict[str, Any] = {
        "single": data.user_id is not None,
        "sequence_type": data.sequence_type,
        "context": data.context,
        "override_channel": data.override_channel,
    }

    def message(command_id: UUID, **who: Any) -> StartSequences:
        return StartSequences(
            command_id=command_id,
            at=room.clock.now(),
            sequence_type=data.sequence_type,
            context=data.context,
            override_channel=data.override_channel,
            **who,
        )

    async def one(tx: Saying, command_id: UUID) -> Draft:
        ref = data.user_id or ""
        ((_, user_id),) = await resolve(tx, [ref])
        if user_id is None:
            return refusal("trigger", asked | {"user_id": ref}, nobody(ref))
        return Draft("trigger", asked | {"user_id": ref}, message(command_id, single=True, user_ids=[user_id]))

    async def listed(tx: Saying, command_id: UUID) -> Draft:
        refs = list(dict.fromkeys(data.user_ids or []))
        found = await resolve(tx, refs)
        ids = list(dict.fromkeys(user_id for _, user_id in found if user_id is not None))
        unknown = tuple({"user": ref, "reason": "unknown_person"} for ref, user_id in found if user_id is None)
        _confirmed(room, data.confirm, len(ids))
        draft = Draft("trigger", asked | {"people": len(ids)}, refused_early=unknown)
        if not ids:
            return draft._replace(status=200, result={"started": 0, "running": 0, "refused": []})
        return draft._replace(message=message(command_id, user_ids=ids))

    async def everybody(tx: Saying, command_id: UUID) -> Draft:
        people = await tx.fetchval("count_people")
        _confirmed(room, data.confirm, people)
        return Draft("trigger", asked | {"segment": "all", "people": people}, message(command_id, segment="all"))

    draft = one if data.user_id is not None else listed if data.user_ids is not None else everybody
    return await submit(request, room, draft)


def within_bounds(
    user_id: str | None, user_ids: list[str] | None, segment: str | None, context: dict[str, Any]
) -> None:
    """Who is meant is said in one way, and neither they nor the context are too many. Raises Problem."""
    if sum(name is not None for name in (user_id, user_ids, segment)) != 1:
        raise field_errors([("user_id", "give exactly one of user_id, user_ids and segment")])
    if user_ids and len(user_ids) > MANY:
        raise Problem("too_many_people", f"{len(user_ids)} people were named.")
    if len(msgspec.json.encode(context)) > CONTEXT_BYTES:
        raise field_errors([("context", f"must have at most {CONTEXT_BYTES} bytes")])


def _confirmed(room: Room, confirm: int | None, people: int) -> None:
    if room.config.nurture_sandbox or confirm == people:
        return
    given = "is missing" if confirm is None else f"is {confirm}"
    raise Problem(
        "confirm_needed",
        f"This is a live channel and the request concerns {people} people, but `confirm` {given}.",
        hint=f'Repeat the request with "confirm": {people}.',
        members={"people": people},
    )


def nobody(ref: str) -> Problem:
    """The problem of whoever names a person that there is not."""
    return Problem(
        "person_not_found",
        f"There is no person {ref!r}.",
        errors=[{"field": "user_id", "reason": f"there is no person {ref!r}"}],
    )


@post(
    "/nurture/cancel",
    tags=["Sequences in motion"],
    summary="Cancel running enrolments",
    description="By enrolment, by person and type, all that one trigger started, or with `waiting` all of which a message waits "
    "or a step is due (for a database that was restored). A cancel that overtakes its trigger wins.",
    status_code=200,
    responses={
        200: made(Cancelled, "Ended", {"command_id": _ID, "cancelled": 1}),
        202: made(Accepted, "Stored, will be done", _ACCEPTED),
        **refusals(404),
    },
)
async def cancel(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        Cancel,
        Body(
            examples=[
                Example(summary="A person's sequence", value={"user_id": "customer-17", "sequence_type": "onboarding"}),
                Example(summary="One enrolment", value={"enrolment_id": _ID}),
                Example(summary="A whole trigger", value={"command_id": _ID}),
                Example(summary="All that waits", value={"waiting": True}),
            ]
        ),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """End running enrolments."""
    if sum(name is not None for name in (data.user_id, data.enrolment_id, data.command_id, data.waiting)) != 1:
        raise field_errors(
            [("enrolment_id", "give exactly one of enrolment_id, user_id with sequence_type, command_id and waiting")]
        )
    if (data.user_id is None) != (data.sequence_type is None):
        raise field_errors([("sequence_type", "goes with user_id, and user_id needs it")])
    asked: dict[str, Any] = {
        "enrolment_id": data.enrolment_id,
        "user_id": data.user_id,
        "sequence_type": data.sequence_type,
        "start_command_id": data.command_id,
        **({"waiting": True} if data.waiting else {}),
    }

    async def draft(tx: Saying, command_id: UUID) -> Draft:
        user_id = None
        if data.user_id is not None:
            ((_, user_id),) = await resolve(tx, [data.user_id])
            if user_id is None:
                return refusal("cancel", asked, nobody(data.user_id))
        message = CancelEnrolments(
            command_id=command_id,
            at=room.clock.now(),
            enrolment_id=data.enrolment_id,
            user_id=user_id,
            sequence_type=data.sequence_type,
            start_command_id=data.command_id,
            waiting=data.waiting or False,
        )
        return Draft("cancel", asked, message)

    return await submit(request, room, draft)


@get(
    "/nurture/active",
    tags=["Sequences in motion"],
    summary="List running enrolments",
    responses={200: made(ActivePage, "A page"), **problems(404)},
)
async def active(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    sequence_type: Annotated[str | None, QueryParameter(name="sequence_type", required=False, max_length=100)] = None,
    user: Annotated[
        str | None, QueryParameter(name="user", required=False, max_length=200, description="Id or external_id.")
    ] = None,
) -> dict[str, Any]:
    """Running enrolments, newest first."""
    return await running(room.database, cursor, limit, sequence_type, user)


async def running(
    rows: Rows, cursor: str | None = None, limit: int = 50, sequence_type: str | None = None, user: str | None = None
) -> dict[str, Any]:
    """A page of `Active` and the next one's cursor. Raises Problem."""
    user_id = await person(rows, user) if user else None
    found = await rows.fetch("list_active", start_of(cursor).id, limit + 1, sequence_type, user_id)
    return page(found, limit, lambda row: Cursor(NEWEST.at, row["enrolment_id"]))


async def person(rows: Rows, ref: str) -> UUID:
    """The id behind a reference. Raises Problem 404."""
    ((_, user_id),) = await resolve(rows, [ref])
    if user_id is None:
        raise nobody(ref)
    return user_id
