"""What operators ask for by hand. Each is a command: stored, done by the controller, answered as every command is."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, post
from litestar.openapi.spec import Example
from litestar.params import Body, FromPath
from msgspec import Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.base import Channel
from nurture_contracts.commands import ArchiveDeliveries, ProcessDue, ResendDeliveries

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, refusals
from nurture_gateway.api.nurture import Accepted
from nurture_gateway.commands import Draft, submit
from nurture_gateway.room import Room


class Processed(Struct):
    """A planning pass: steps that were planned, of these handed to their channel, not to be sent (no consent, no channel, too
    late), and impossible to make."""

    command_id: UUID
    planned: int
    sent: int
    skipped: int
    failed: int


class Resend(Struct, forbid_unknown_fields=True, kw_only=True):
    """`may_have_arrived`: send it although it did arrive, or may have (`unknown`), or went out on the other channel."""

    may_have_arrived: bool = False


class Resent(Struct):
    """The new delivery, and the one that it is another round of."""

    command_id: UUID
    delivery_id: UUID
    resend_of: UUID
    round: int
    channel: str
    sequence_type: str


class Retried(Struct):
    """How many were sent once more, how many a further call would send, and why the rest of the queue is not."""

    command_id: UUID
    retried: int
    remaining: int
    refused_by_reason: dict[str, int]


class Archived(Struct):
    """How many left the queue."""

    command_id: UUID
    archived: int


_ID = "0198b2f4-6c00-7000-8000-000000000001"
_LATER = made(Accepted, "The controller is away; see the status URL")
PROCESSED = {
    200: made(Processed, "Done", {"command_id": _ID, "planned": 12, "sent": 10, "skipped": 2, "failed": 0}),
    202: _LATER,
    **refusals(),
}
_AT_ONCE = (
    "Up to a page of due steps at once, instead of within a second. Several calls at once plan different people; nobody is "
    "planned twice. Nothing is planned while everything is paused."
)


async def process(request: Request[Any, Any, Any], room: Room) -> Response[Any]:
    """Run one planning pass."""

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        return Draft("process", {}, ProcessDue(command_id=command_id, at=room.clock.now()))

    return await submit(request, room, draft)


async def resend(
    request: Request[Any, Any, Any], room: Room, delivery_id: UUID, *, may_have_arrived: bool = False
) -> Response[Any]:
    """Send one delivery once more, as a new round."""

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        message = ResendDeliveries(
            command_id=command_id, at=room.clock.now(), delivery_id=delivery_id, may_have_arrived=may_have_arrived
        )
        return Draft("resend", {"delivery_id": delivery_id, "may_have_arrived": may_have_arrived}, message)

    return await submit(request, room, draft)


async def retry(request: Request[Any, Any, Any], room: Room, channel: Channel) -> Response[Any]:
    """Send once more what a channel's queue certainly did not send."""

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        message = ResendDeliveries(command_id=command_id, at=room.clock.now(), channel=channel)
        return Draft("retry", {"channel": channel}, message)

    return await submit(request, room, draft)


async def clear_failed(request: Request[Any, Any, Any], room: Room, channel: Channel) -> Response[Any]:
    """Take failures out of a channel's queue."""

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        message = ArchiveDeliveries(command_id=command_id, at=room.clock.now(), channel=channel)
        return Draft("archive", {"channel": channel}, message)

    return await submit(request, room, draft)


@post(
    "/nurture/process",
    tags=["Sequences in motion"],
    summary="Plan what is due now",
    description=_AT_ONCE,
    status_code=200,
    responses=PROCESSED,
)
async def process_due(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """One planning pass."""
    return await process(request, room)


@post(
    "/email/queue/process",
    tags=["Email"],
    summary="Plan what is due now, from the queue",
    description=f"The same as `/admin/api/nurture/process`: what is planned goes to the channels at once. {_AT_ONCE}",
    status_code=200,
    responses=PROCESSED,
)
async def process_queue(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """One planning pass."""
    return await process(request, room)


@post(
    "/email/queue/clear-failed",
    tags=["Email"],
    summary="Take failed mails out of the queue",
    description="They are archived, not deleted: their rows, their timelines and every count stay.",
    status_code=200,
    responses={
        200: made(Archived, "Done", {"command_id": _ID, "archived": 3}),
        202: _LATER,
        **refusals(),
    },
)
async def clear_email_queue(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Archive failed mails."""
    return await clear_failed(request, room, "email")


@post(
    "/email/queue/retry",
    tags=["Email"],
    summary="Send failed mails once more",
    description="Only mails that were refused, or provably never sent: each as a new round, to the address that the person has "
    "now, up to a thousand a call. `unknown` is never among them; `POST /admin/api/deliveries/{id}/resend` takes one.",
    status_code=200,
    responses={
        200: made(
            Retried,
            "Done",
            {"command_id": _ID, "retried": 3, "remaining": 0, "refused_by_reason": {"address_unusable": 1}},
        ),
        202: _LATER,
        **refusals(),
    },
)
async def retry_email_queue(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Send failed mails once more."""
    return await retry(request, room, "email")


@post(
    "/deliveries/{delivery_id:uuid}/resend",
    tags=["Deliveries"],
    summary="Send a message once more",
    description="As a new round of the same step on the same channel: the same words, the address of now. Refused where the "
    "person's word or a closed address forbids it, while the message has not ended, and where it arrived or may have, "
    "unless the body says `may_have_arrived`.",
    status_code=201,
    responses={
        201: made(
            Resent,
            "Planned",
            {
                "command_id": _ID, "delivery_id": _ID, "resend_of": _ID, "round": 1, "channel": "email",
                "sequence_type": "onboarding",
            },
        ),
        202: _LATER,
        **refusals(404, 409),
    },
)  # fmt: skip
async def resend_delivery(
    request: Request[Any, Any, Any],
    room: TheRoom,
    delivery_id: FromPath[UUID],
    data: Annotated[
        Resend | None,
        Body(
            examples=[
                Example(summary="It failed", value={}),
                Example(summary="Nobody knows", value={"may_have_arrived": True}),
            ]
        ),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Send one message once more."""
    return await resend(request, room, delivery_id, may_have_arrived=bool(data and data.may_have_arrived))
