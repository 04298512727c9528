"""People by the thousand, from CSV."""

import asyncio
from typing import Any

from litestar import Request, Response, post
from msgspec import Struct
from nurture_chassis.outbox import Saying

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, raw_body, refusals
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.people import Clash
from nurture_gateway.people_csv import Rejected, Row, Unreadable, chunks, decode, read
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room
from nurture_gateway.store import write_people

CHUNK = 2_000
LARGEST = 32 * 1024 * 1024


class RejectedLine(Struct):
    """A line that was left out."""

    line: int
    reason: str


class Imported(Struct):
    """What became of the lines; those that were rejected kept nothing else from being imported."""

    created: int
    updated: int
    unchanged: int
    rejected: list[RejectedLine]


_CSV = "external_id,first_name,email,timezone,attr.plan\ncustomer-17,Ada,ada@example.org,Europe/Berlin,free\n"


@post(
    "/users/import",
    tags=["People"],
    summary="Import people from CSV",
    description="The first line names the columns: id, external_id, first_name, email, telegram_chat_id, timezone, locale, "
    "preferred_time, preferred_channel, attributes (a JSON object), attr.NAME. Finds people by id, then external_id, then "
    "email. Blank cells change nothing. The same file again changes nothing.",
    status_code=200,
    request_max_body_size=LARGEST,
    operation_class=raw_body("People, a line each", {"text/csv": _CSV}),
    responses={
        200: made(
            Imported,
            "Imported",
            {"created": 1, "updated": 0, "unchanged": 0, "rejected": [{"line": 3, "reason": "email: …"}]},
        ),
        **refusals(415),
    },
)
async def import_people(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Upsert people from a CSV file, in one transaction."""
    kind = (request.headers.get("content-type") or "text/csv").partition(";")[0].strip().lower()
    if kind not in ("text/csv", "text/plain", "application/csv", "application/octet-stream"):
        raise Problem("unsupported_media_type", f"An import is text/csv, not {kind}.")
    return await bring_in(request, room, await request.body())


async def bring_in(request: Request[Any, Any, Any], room: Room, text: bytes) -> Response[bytes]:
    """Import this CSV, whether it is the request's body or a file in a form."""

    async def effect(tx: Saying) -> Answer:
        return answer(200, await _import(tx, room, text))

    return await once(request, room, effect)


async def _import(tx: Saying, room: Room, body: bytes) -> Imported:
    done = Imported(0, 0, 0, [])
    changed: dict[Any, int] = {}
    try:
        for lines in chunks(read(decode(body)), CHUNK):
            done.rejected += [RejectedLine(line.line, line.reason) for line in lines if isinstance(line, Rejected)]
            rows = [line for line in lines if isinstance(line, Row)]
            results = (
                await write_people(tx, [row.change for row in rows], room.clock.now(), changed.keys()) if rows else []
            )
            for row, result in zip(rows, results, strict=True):
                if isinstance(result, Clash):
                    done.rejected.append(RejectedLine(row.line, f"{result.field}: {result.reason}"))
                    continue
                changed[result.person.id] = row.line
                if result.created:
                    done.created += 1
                elif result.changed:
                    done.updated += 1
                else:
                    done.unchanged += 1
            # Parsing a page takes milliseconds in which nobody else is served.
            await asyncio.sleep(0)
    except Unreadable as error:
        raise Problem("malformed_csv", str(error)) from None
    done.rejected.sort(key=lambda line: line.line)
    return done
