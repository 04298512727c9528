"""People: create, change, find."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Saying

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText, IdempotencyKey, Limit, made, problems, refusals
from nurture_gateway.api.nurture import person
from nurture_gateway.cursors import Cursor
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.paging import page, start_of
from nurture_gateway.people import Change, Clash, check
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.store import write_people

Text = Annotated[str, Meta(max_length=1000)]
Chat = Annotated[int | str | UnsetType | None, Meta(description="Telegram's numeric chat id.")]


class Fields(Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields that are left out stay as they are; null clears; attributes merge, and null removes one."""

    external_id: Text | UnsetType | None = UNSET
    email: Text | UnsetType | None = UNSET
    telegram_chat_id: Chat = UNSET
    timezone: Text | UnsetType | None = UNSET
    locale: Text | UnsetType | None = UNSET
    preferred_time: Annotated[
        Text | UnsetType | None,
        Meta(description="`morning`, `afternoon`, `evening`, `night` or a local time like 09:30."),
    ] = UNSET
    preferred_channel: Literal["email", "telegram"] | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


class PersonChange(Fields, forbid_unknown_fields=True, kw_only=True):
    """What to change about a person."""

    first_name: Text | UnsetType | None = UNSET


class PersonUpsert(Fields, forbid_unknown_fields=True, kw_only=True):
    """A person, new or known by id, external_id or email (in this order)."""

    first_name: Annotated[str, Meta(min_length=1, max_length=200)]
    id: UUID | UnsetType | None = UNSET


class ContactShown(Struct):
    """An address and whether it may be used: `state` is about the address, `consent` is the person's word."""

    channel: str
    address: str | None
    state: str
    reason: str | None
    consent: str
    changed_at: datetime


class PersonShown(Struct):
    """A person."""

    id: UUID
    external_id: str | None
    first_name: str
    email: str | None
    telegram_chat_id: str | None
    timezone: str
    locale: str
    preferred_time: str
    preferred_channel: str | None
    attributes: dict[str, Any]
    contacts: list[ContactShown]
    created_at: datetime
    updated_at: datetime


class PeoplePage(Struct):
    """A page of people, newest first."""

    items: list[PersonShown]
    next: str | None


_EXAMPLE = {
    "external_id": "customer-17",
    "first_name": "Ada",
    "email": "ada@example.org",
    "timezone": "Europe/Berlin",
    "locale": "en",
    "attributes": {"plan": "free"},
}
PATH_REF = PathParameter(description="Id or external_id.", max_length=200)


def shown(row: Any) -> dict[str, Any]:
    """A row of `show_person` or a list as PersonShown."""
    addresses = {contact["channel"]: contact["address"] for contact in row["contacts"]}
    values = dict(row.items()) | {"email": addresses.get("email"), "telegram_chat_id": addresses.get("telegram")}
    return {name: values[name] for name in PersonShown.__struct_fields__}


def stated(data: Fields) -> Change:
    """What the caller said, checked and in stored form. Raises Problem 400 naming each field that is wrong."""
    said = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    if said.get("id", 0) is None:
        del said["id"]
    clean, errors = check(said)
    if errors:
        raise field_errors(errors)
    return clean


async def _written(tx: Saying, change: Change, now: datetime) -> tuple[bool, dict[str, Any]]:
    (result,) = await write_people(tx, [change], now)
    if isinstance(result, Clash):
        raise Problem(
            result.code,
            f"{result.field} {result.reason}.",
            errors=[{"field": result.field, "reason": result.reason}],
        )
    return result.created, await _show(tx, result.person.id)


async def _show(rows: Rows, user_id: UUID) -> dict[str, Any]:
    row = await rows.fetchrow("show_person", user_id)
    if row is None:
        raise Problem("person_not_found", f"There is no person {str(user_id)!r}.")
    return shown(row)


@post(
    "/users",
    tags=["People"],
    summary="Create or update a person",
    description="Finds the person by id, then external_id, then email; creates one if there is none.",
    status_code=201,
    responses={201: made(PersonShown, "Created"), 200: made(PersonShown, "Updated"), **refusals(409)},
)
async def upsert_person(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[PersonUpsert, Body(examples=[Example(summary="By external id", value=_EXAMPLE)])],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Create or update one person."""
    change = stated(data)

    async def effect(tx: Saying) -> Answer:
        created, body = await _written(tx, change, room.clock.now())
        return answer(201 if created else 200, body, f"/admin/api/users/{body['id']}")

    return await once(request, room, effect)


@get(
    "/users",
    tags=["People"],
    summary="List people",
    responses={200: made(PeoplePage, "A page"), **problems()},
)
async def list_people(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    q: Annotated[
        str | None,
        QueryParameter(
            name="q",
            required=False,
            min_length=1,
            max_length=200,
            description="How external_id, address or name begins.",
        ),
    ] = None,
) -> dict[str, Any]:
    """People, newest first."""
    start = start_of(cursor)
    if q is None:
        rows = await room.database.fetch("list_people", start.at, start.id, limit + 1)
    else:
        pattern = q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        rows = await room.database.fetch("search_people", start.at, start.id, limit + 1, pattern)
    found = page(rows, limit, lambda row: Cursor(row["created_at"], row["id"]))
    return found | {"items": [shown(row) for row in rows[:limit]]}


@get(
    "/users/{ref:str}",
    tags=["People"],
    summary="Show a person",
    responses={200: made(PersonShown, "The person"), **problems(404)},
)
async def show_person(room: TheRoom, ref: Annotated[str, PATH_REF]) -> dict[str, Any]:
    """One person with every contact."""
    return await _show(room.database, await person(room.database, ref))


@patch(
    "/users/{ref:str}",
    tags=["People"],
    summary="Change a person",
    description="Fields that are left out stay; null clears; attributes merge.",
    responses={200: made(PersonShown, "The person, changed"), **refusals(404, 409)},
)
async def change_person(
    request: Request[Any, Any, Any],
    room: TheRoom,
    ref: Annotated[str, PATH_REF],
    data: Annotated[
        PersonChange, Body(examples=[Example(value={"timezone": "America/New_York", "attributes": {"plan": None}})])
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Change one person."""
    change = stated(data)

    async def effect(tx: Saying) -> Answer:
        user_id = await person(tx, ref)
        _, body = await _written(tx, change | {"id": user_id}, room.clock.now())
        return answer(200, body)

    return await once(request, room, effect)
