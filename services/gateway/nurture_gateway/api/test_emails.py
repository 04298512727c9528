"""Test mails: to any address, for no person, outside every statistic."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.openapi.spec import Example
from litestar.params import Body, FromPath
from msgspec import Meta, Struct
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Saying
from nurture_contracts.commands import SendEmails
from nurture_contracts.ids import uuid7

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, problems, refusals
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.people import check
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room

FACTS = ("failed", "bounced", "clicked", "opened", "delivered", "sent")
"""From the last word to the first: the first fact that is there is the status."""

_EXAMPLE = {"email_address": "test@example.com", "user_name": "Test User", "template_type": "nurture_sequence"}


class TestEmail(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where a test mail goes and what it looks like."""

    email_address: Annotated[str, Meta(max_length=254)]
    user_name: Annotated[str, Meta(min_length=1, max_length=200)] = "Test User"
    template_type: Literal["nurture_sequence", "welcome_email"] = "nurture_sequence"


class TestAccepted(Struct):
    """Stored; `status_url` shows what became of it."""

    id: UUID
    tracking_id: str
    status_url: str


class TestShown(Struct):
    """A test mail and its facts."""

    id: UUID
    tracking_id: str
    status: str
    address: str
    user_name: str
    template: str
    requested_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    bounced_at: datetime | None
    failed_at: datetime | None
    failure_reason: str | None


@post(
    "/email/test",
    tags=["Email"],
    summary="Send a test mail",
    status_code=202,
    responses={202: made(TestAccepted, "Stored, will be sent"), **refusals()},
)
async def send_test(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        TestEmail,
        Body(examples=[Example(value=_EXAMPLE)]),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Send one test mail."""
    return await order(request, room, data)


async def order(request: Request[Any, Any, Any], room: Room, data: TestEmail) -> Response[Any]:
    """What `send_test` does, for pages as well. Raises Problem."""
    clean, errors = check({"email": data.email_address, "first_name": data.user_name})
    if errors:
        names = {"email": "email_address", "first_name": "user_name"}
        raise field_errors([(names[field], reason) for field, reason in errors])

    async def effect(tx: Saying) -> Answer:
        test_id = uuid7()
        now = room.clock.now()
        await tx.execute(
            "add_test_message", test_id, clean["email"], clean["first_name"], data.template_type, now, "test", None
        )
        tx.say(SendEmails(page_id=uuid7(), items=[test_id], test=True))
        url = f"/admin/api/email/test/{test_id}"
        return answer(202, TestAccepted(test_id, str(test_id), url), url)

    return await once(request, room, effect)


@get(
    "/email/test/{test_id:uuid}",
    tags=["Email"],
    summary="Show a test mail",
    responses={200: made(TestShown, "The test mail"), **problems(404)},
)
async def show_test(room: TheRoom, test_id: FromPath[UUID]) -> TestShown:
    """What became of a test mail."""
    return await shown(room.database, test_id)


async def shown(rows: Rows, test_id: UUID) -> TestShown:
    """A test mail's facts. Raises Problem 404."""
    row = await rows.fetchrow("show_test_message", test_id)
    if row is None:
        raise Problem(
            "not_found", f"There is no test mail {test_id}.", hint="POST /admin/api/email/test sends one and names it."
        )
    return TestShown(tracking_id=str(row["id"]), status=status_of(row), **dict(row.items()))


def status_of(row: Any) -> str:
    """A test mail's facts in a word."""
    return next((fact for fact in FACTS if row[f"{fact}_at"] is not None), "queued")
