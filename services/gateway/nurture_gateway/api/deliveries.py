"""What was sent, what came of it, and why it was sent at all."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import get
from litestar.params import FromPath, QueryParameter
from msgspec import Struct
from nurture_contracts.base import Channel

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText, Limit, made, problems
from nurture_gateway.api.nurture import person
from nurture_gateway.cursors import NEWEST, Cursor
from nurture_gateway.paging import page, start_of
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room


class DeliveryListed(Struct):
    """One message to one person. `delivery_status` has seven values, `status_detail` tells more of them apart."""

    id: UUID
    user_id: UUID
    enrolment_id: UUID | None
    sequence_type: str
    message_step: int
    channel: str
    delivery_status: str
    status_detail: str
    recipient_address: str
    subject: str | None
    scheduled_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    failed_at: datetime | None
    failure_reason: str | None
    attempt_count: int
    round: int
    possible_duplicate: bool
    created_at: datetime


class DeliveryPage(Struct):
    """A page of deliveries, newest first."""

    items: list[DeliveryListed]
    next: str | None


class DeliveryShown(Struct):
    """A delivery, its timeline, the decision that led to it, and the verdict on a fallback if it failed."""

    delivery: dict[str, Any]
    events: list[dict[str, Any]]
    decision: dict[str, Any] | None
    fallback: dict[str, Any] | None


class Doubts(Struct):
    """Deliveries of which not everything is known."""

    unknown: int
    possible_duplicates: int


Status = Literal[
    "pending", "sent", "delivered", "opened", "clicked", "bounced", "complained", "failed", "suppressed", "unknown",
    "cancelled", "expired",
]  # fmt: skip
"""What `status_detail` can be, in the order of a message's life."""


@get(
    "/deliveries",
    tags=["Deliveries"],
    summary="List deliveries",
    responses={200: made(DeliveryPage, "A page"), **problems(404)},
)
async def list_deliveries(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    user: Annotated[
        str | None, QueryParameter(name="user", required=False, max_length=200, description="Id or external_id.")
    ] = None,
    status: Annotated[
        Status | None, QueryParameter(name="status", required=False, description="`status_detail`.")
    ] = None,
    sequence_type: Annotated[str | None, QueryParameter(name="sequence_type", required=False, max_length=100)] = None,
    channel: Annotated[Channel | None, QueryParameter(name="channel", required=False)] = None,
    since: Annotated[
        datetime | None,
        QueryParameter(
            name="since", required=False, description="Planned at or after, RFC 3339; UTC unless it says otherwise."
        ),
    ] = None,
    possible_duplicate: Annotated[
        bool | None,
        QueryParameter(name="possible_duplicate", required=False, description="Whether it may have come twice."),
    ] = None,
) -> dict[str, Any]:
    """Deliveries, newest first."""
    if since is not None and since.year < 1970:
        raise field_errors([("since", "is before 1970")])
    user_id = await person(room.database, user) if user else None
    start = start_of(cursor)
    rows = await room.database.fetch(
        "list_deliveries", start.id, limit + 1, user_id, status, sequence_type, channel, since, possible_duplicate
    )
    return page(rows, limit, lambda row: Cursor(NEWEST.at, row["id"]))


@get(
    "/deliveries/summary",
    tags=["Deliveries"],
    summary="Count deliveries by status",
    responses={200: made(dict[str, int], "Counts", {"delivered": 912, "opened": 40, "bounced": 3}), **problems()},
)
async def summarise_deliveries(room: TheRoom) -> dict[str, int]:
    """Counts by `status_detail`."""
    return await counts(room)


@get(
    "/deliveries/doubts",
    tags=["Deliveries"],
    summary="Count what is not certain",
    description="`unknown`: a call ended without an answer, and nothing has shown since that it arrived. "
    "`possible_duplicates`: sent again after such an end, as the step's `on_ambiguous` says. The list of deliveries takes "
    "`status=unknown` and `possible_duplicate=true`.",
    responses={200: made(Doubts, "Counts", {"unknown": 3, "possible_duplicates": 1}), **problems()},
)
async def count_doubts(room: TheRoom) -> Doubts:
    """How many deliveries are in doubt."""
    row = await room.database.fetchrow("count_doubts")
    assert row is not None
    return Doubts(row["unknown"], row["possible_duplicates"])


async def counts(room: Room) -> dict[str, int]:
    """Deliveries by status, most first."""
    rows = await room.database.fetch("count_deliveries")
    return dict(sorted(((row["status"], row["deliveries"]) for row in rows), key=lambda pair: -pair[1]))


@get(
    "/deliveries/{delivery_id:uuid}",
    tags=["Deliveries"],
    summary="Show a delivery",
    responses={200: made(DeliveryShown, "The delivery"), **problems(404)},
)
async def show_delivery(room: TheRoom, delivery_id: FromPath[UUID]) -> dict[str, Any]:
    """The delivery, its timeline and its decision."""
    delivery = await room.database.fetchval("show_delivery", delivery_id)
    if delivery is None:
        raise Problem("not_found", f"There is no delivery {delivery_id}.", hint="GET /admin/api/deliveries lists them.")
    events = await room.database.fetch("delivery_events", delivery_id)
    decision = await room.database.fetchval("delivery_decision", delivery_id)
    return {
        "delivery": delivery,
        "events": [row["event"] for row in events],
        "decision": decision["decision"] if decision else None,
        "fallback": decision["fallback"] if decision else None,
    }
