"""The list of addresses that get no mail: look, close one, lift one."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.openapi.spec import Example
from litestar.params import Body, FromPath, QueryParameter
from msgspec import Meta, Struct
from nurture_chassis.outbox import Saying

from nurture_gateway import suppressions
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText, IdempotencyKey, Limit, made, problems, refusals
from nurture_gateway.cursors import Cursor
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.paging import page, start_of
from nurture_gateway.suppressions import Reason, Suppression

_SHOWN = {
    "address": "ada@example.org",
    "reason": "bounced",
    "at": "2027-01-05T18:00:00Z",
    "delivery_id": "0198b2f4-6c00-7000-8000-000000000001",
    "note": "",
    "user_id": "0198b2f4-6c00-7000-8000-000000000002",
}


class SuppressionPage(Struct):
    """A page of addresses, those closed last first."""

    items: list[Suppression]
    next: str | None


class AddressClosed(Struct, forbid_unknown_fields=True, kw_only=True):
    """An address, and why it gets no mail."""

    address: Annotated[str, Meta(max_length=320)]
    note: Annotated[str, Meta(max_length=500)] = ""


@get(
    "/email/suppressions",
    tags=["Email"],
    summary="List addresses that get no mail",
    responses={200: made(SuppressionPage, "A page"), **problems()},
)
async def list_suppressions(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    q: Annotated[
        str | None, QueryParameter(name="q", required=False, max_length=320, description="How the address begins.")
    ] = None,
    reason: Annotated[Reason | None, QueryParameter(name="reason", required=False)] = None,
) -> dict[str, Any]:
    """Reported by the provider (`bounced`, `complained`, `suppressed`), or closed by hand (`manual`)."""
    start = start_of(cursor)
    rows = await room.database.fetch("list_suppressions", start.at, start.id, limit + 1, q or None, reason)
    told = page(rows, limit, lambda row: Cursor(row["at"], row["place"]))
    return told | {"items": [{name: item[name] for name in Suppression.__struct_fields__} for item in told["items"]]}


@post(
    "/email/suppressions",
    tags=["Email"],
    summary="Close an address",
    description="No mail goes there from the answer on, whoever has the address, also where messages wait already. 200 for one "
    "that is closed already.",
    status_code=201,
    responses={
        201: made(
            Suppression,
            "Closed",
            _SHOWN | {"reason": "manual", "delivery_id": None, "note": "belongs to somebody else"},
        ),
        200: made(Suppression, "It was closed", _SHOWN),
        **refusals(),
    },
)
async def close_address(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        AddressClosed,
        Body(
            examples=[
                Example(summary="By hand", value={"address": "ada@example.org", "note": "belongs to somebody else"})
            ]
        ),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Close it."""

    async def effect(tx: Saying) -> Answer:
        new, told = await suppressions.close(tx, data.address, data.note, room.clock.now())
        return answer(201 if new else 200, told)

    return await once(request, room, effect)


@delete(
    "/email/suppressions/{address:str}",
    tags=["Email"],
    summary="Lift a suppression",
    description="Mails go there again, until the next report. A provider has a list of its own: lift it there as well, or its "
    "next word closes the address again. Consent is not changed.",
    status_code=200,
    responses={200: made(Suppression, "What it was", _SHOWN), **problems(404, 409)},
)
async def lift_suppression(
    room: TheRoom,
    address: FromPath[str],
    although_complained: Annotated[
        bool,
        QueryParameter(
            name="although_complained", required=False, description="Also where a reader reported a mail as spam."
        ),
    ] = False,
) -> Suppression:
    """Lift it."""
    async with room.outbox.transaction() as tx:
        return await suppressions.lift(tx, address, complained=although_complained, now=room.clock.now())
