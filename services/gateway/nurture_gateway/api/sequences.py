"""Sequences: what there is, whether a text is one, and publishing it as the next version."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.commands import PublishSequence

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, problems, raw_body, refusals
from nurture_gateway.api.holds import PAUSED, RESUMED, hold
from nurture_gateway.api.nurture import Accepted
from nurture_gateway.commands import Draft, submit
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room

LARGEST = 262_144
TOML = "application/toml"


class SequenceListed(Struct):
    """The latest version of a type."""

    type: str
    version: int
    published_at: datetime
    steps: int


class SequenceShown(Struct):
    """A published version; it never changes."""

    type: str
    version: int
    published_at: datetime
    definition: dict[str, Any]
    toml: str


class Published(Struct):
    """The version that now is the latest."""

    command_id: UUID
    type: str
    version: int


class Linted(Struct):
    """What was found; empty when there is nothing to mend."""

    command_id: UUID
    findings: list[Any]


class Text(Struct, forbid_unknown_fields=True):
    """A sequence inside JSON."""

    toml: str


_TOML_EXAMPLE = (
    'format = 1\ntype = "welcome"\n\n[[steps]]\nkind = "message"\nwhen = "now"\nchannel = "email"\n'
    'subject = "Hello {{ user_name }}"\nbody = "Good to have you."\n'
)
_BODIES: dict[str, Any] = {
    TOML: _TOML_EXAMPLE,
    "text/plain": _TOML_EXAMPLE,
    "application/json": {"toml": _TOML_EXAMPLE},
}


@get(
    "/sequences",
    tags=["Sequences"],
    summary="List sequences",
    responses={200: made(list[SequenceListed], "All"), **problems()},
)
async def list_sequences(room: TheRoom) -> list[SequenceListed]:
    """The latest version of each type."""
    rows = await room.database.fetch("list_sequences")
    return [
        SequenceListed(row["type"], row["version"], row["published_at"], len(row["definition"].get("steps", [])))
        for row in rows
    ]


@get(
    "/sequences/{type_name:str}",
    tags=["Sequences"],
    summary="Show a sequence",
    description="The latest version, or the one asked for. `Accept: application/toml` gives its TOML text.",
    responses={200: made(SequenceShown, "The version"), **problems(404)},
)
async def show_sequence(
    request: Request[Any, Any, Any],
    room: TheRoom,
    type_name: Annotated[str, PathParameter(description="The sequence's type.", max_length=100)],
    version: Annotated[int | None, QueryParameter(name="version", required=False, ge=1, le=2_000_000_000)] = None,
) -> Response[Any]:
    """One published version."""
    row = await room.database.fetchrow("show_sequence", type_name, version)
    if row is None:
        which = f"version {version} of {type_name!r}" if version else f"sequence {type_name!r}"
        raise Problem("not_found", f"There is no {which}.", hint="GET /admin/api/sequences lists what there is.")
    if "toml" in request.headers.get("accept", ""):
        return Response(row["toml"], media_type=f"{TOML}; charset=utf-8")
    return Response(SequenceShown(**dict(row.items())))


async def _toml(request: Request[Any, Any, Any]) -> str:
    kind = request.headers.get("content-type", TOML).partition(";")[0].strip().lower()
    body = await request.body()
    if kind == "application/json":
        try:
            text = msgspec.json.decode(body, type=Text).toml
        except msgspec.DecodeError as error:
            raise field_errors([("toml", str(error))]) from None
    elif kind in (TOML, "text/plain", "application/octet-stream"):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise field_errors([("toml", "is not UTF-8")]) from None
    else:
        raise Problem("unsupported_media_type", f"A sequence is {TOML}, text/plain or JSON with `toml`, not {kind}.")
    if not text.strip():
        raise field_errors([("toml", "is empty")])
    if len(text) > LARGEST:
        raise field_errors([("toml", f"must have at most {LARGEST} characters")])
    if "\x00" in text:
        raise field_errors([("toml", "must not have NUL characters")])
    return text


async def _submit(request: Request[Any, Any, Any], room: Room, dry_run: bool) -> Response[Any]:
    text = await _toml(request)

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        message = PublishSequence(command_id=command_id, at=room.clock.now(), toml=text, dry_run=dry_run)
        return Draft("publish", {"dry_run": dry_run}, message)

    return await submit(request, room, draft)


@post(
    "/sequences/lint",
    tags=["Sequences"],
    summary="Check a sequence",
    description="Publishes nothing. Findings come with their place in the text.",
    status_code=200,
    operation_class=raw_body("The sequence in TOML", _BODIES),
    responses={
        200: made(Linted, "Could be published"),
        202: made(Accepted, "The controller is away; see the status URL"),
        **refusals(415),
    },
)
async def lint_sequence(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Check without publishing."""
    return await _submit(request, room, dry_run=True)


@post(
    "/sequences",
    tags=["Sequences"],
    summary="Publish a sequence",
    description="The text becomes the next version of its type. Enrolments under way stay on the version they began with.",
    status_code=201,
    operation_class=raw_body("The sequence in TOML", _BODIES),
    responses={
        201: made(Published, "Published"),
        202: made(Accepted, "The controller is away; see the status URL"),
        **refusals(409, 415),
    },
)
async def publish_sequence(
    request: Request[Any, Any, Any], room: TheRoom, idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Publish the next version."""
    return await _submit(request, room, dry_run=False)


@post(
    "/sequences/{type_name:str}/pause",
    tags=["Sequences"],
    summary="Pause a sequence",
    description="Everybody in it stays where they are, and who is started meanwhile waits with them. Nobody is lost.",
    status_code=200,
    responses=PAUSED,
)
async def pause_sequence(
    request: Request[Any, Any, Any],
    room: TheRoom,
    type_name: Annotated[str, PathParameter(description="The sequence's type.", max_length=100)],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Hold a sequence."""
    return await hold(request, room, type_name, paused=True)


@post(
    "/sequences/{type_name:str}/resume",
    tags=["Sequences"],
    summary="Resume a sequence",
    description="Steps that came due meanwhile go out, or expire where they are later than their `max_lateness`.",
    status_code=200,
    responses=RESUMED,
)
async def resume_sequence(
    request: Request[Any, Any, Any],
    room: TheRoom,
    type_name: Annotated[str, PathParameter(description="The sequence's type.", max_length=100)],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Let a sequence go on."""
    return await hold(request, room, type_name, paused=False)
