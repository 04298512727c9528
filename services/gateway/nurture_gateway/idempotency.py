"""The same Idempotency-Key and body: the same effect once, and the same answer, for seven days."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from litestar import Request, Response
from nurture_chassis.outbox import Saying
from nurture_contracts.life import COMMAND_LIFE

from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room
from nurture_gateway.shell import request_id

PROBLEM_JSON = "application/problem+json"
ATTEMPTS = 4


class Key(NamedTuple):
    """A request's key: `scope` is method and path, so that one key may serve two paths."""

    scope: str
    key: str
    body_hash: bytes


class Answer(NamedTuple):
    """What a request got: enough to give it again, byte for byte."""

    status: int
    body: bytes
    location: str | None = None

    def response(self) -> Response[bytes]:
        """The answer as HTTP."""
        headers = {"Location": self.location} if self.location else {}
        media_type = PROBLEM_JSON if self.status >= 400 else "application/json"
        return Response(self.body, status_code=self.status, headers=headers, media_type=media_type)


def answer(status: int, content: Any, location: str | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, msgspec.json.encode(content), location)


async def key_of(request: Request[Any, Any, Any]) -> Key | None:
    """The request's key, or None when it has none and so is like no other. Raises Problem on an unusable one."""
    # A form on a page cannot set a header; its key is a field.
    key = request.headers.get("idempotency-key") or request.scope["state"].get("form_key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise field_errors([("Idempotency-Key", "must have 1 to 255 printable ASCII characters")])
    content = sha256(request.url.query.encode() + b"\n" + await request.body()).digest()
    return Key(f"{request.method} {request.url.path}", key, content)


async def reserve(tx: Saying, key: Key) -> Answer | UUID | None:
    """Take the key for this transaction. If it was taken before: the answer given then, or the command that answers.

    Raises Problem when the key came with another body."""
    if await tx.fetchval("reserve_key", *key, COMMAND_LIFE):
        return None
    row = await tx.fetchrow("find_key", key.scope, key.key)
    if row is None:
        raise Problem("unavailable", "This key has just expired; repeat the request.")
    if row["body_hash"] != key.body_hash:
        raise Problem("key_reused", "This Idempotency-Key was used for a request with another body.")
    return row["command_id"] or Answer(row["status"], row["body"], row["location"])


async def once(
    request: Request[Any, Any, Any], room: Room, effect: Callable[[Saying], Awaitable[Answer]]
) -> Response[bytes]:
    """Run `effect` and store its answer under the request's key, in one transaction; a repeat gets the stored answer.

    A refusal is stored as well: what was refused once under a key stays refused under it.
    """
    key = await key_of(request)
    try:
        return (await _attempt(room, key, effect)).response()
    except Problem as problem:
        if key is None or problem.status == 429 or problem.status >= 500 or problem.code == "key_reused":
            raise
        refusal = answer(problem.status, problem.body(request_id(request.scope)))

    async def refuse(_tx: Saying) -> Answer:
        return refusal

    return (await _attempt(room, key, refuse)).response()


async def _attempt(room: Room, key: Key | None, effect: Callable[[Saying], Awaitable[Answer]]) -> Answer:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with room.outbox.transaction() as tx:
                if key is not None:
                    earlier = await reserve(tx, key)
                    if isinstance(earlier, Answer):
                        return earlier
                made = await effect(tx)
                if key is not None:
                    await tx.execute("answer_key", key.scope, key.key, made.status, made.body, made.location)
                return made
        except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
            # Somebody took the same identifier between our look and our write: look again.
            if attempt == ATTEMPTS:
                raise Problem("unavailable", "Other requests keep changing the same rows.") from None
    raise AssertionError("unreachable")
