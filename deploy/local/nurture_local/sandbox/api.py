"""Resend's API: send one, send a batch, read one back. Checks come in Resend's order: key, rate, idempotency, fields."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from nurture_local.sandbox import calls, records
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import ApiError, BrokenUpstream, ConnectionDropped, invalid
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.rate import RateLimit
from nurture_local.sandbox.validation import Mail, check

MAX_BATCH = 100
HTTP = Request[Any, Any, State]


class ResendApi:
    """What the routes do. One instance a process: it knows which idempotency keys are being worked on."""

    def __init__(self, ledger: Ledger, courier: Courier, chaos: Chaos, rate: RateLimit) -> None:
        self._ledger = ledger
        self._courier = courier
        self._chaos = chaos
        self._rate = rate
        self._running_keys: set[str] = set()

    def admit(self, request: HTTP, *, sending: bool) -> dict[str, str]:
        """Check the key and the rate; the headers every answer carries. Raises ApiError."""
        if not request.headers.get("user-agent"):
            raise ApiError(403, "error_1010", "Requests without a User-Agent header are rejected (error code: 1010).")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise ApiError(401, "missing_api_key", "Missing API key in the authorization header.")
        if not key.startswith("re_"):
            raise ApiError(403, "invalid_api_key", "API key is invalid.")
        if key.startswith("re_suspended"):
            raise ApiError(403, "suspended_api_key", "This API key is suspended.")
        headers = self._rate.take()
        if key.startswith("re_restricted") and not sending:
            raise ApiError(401, "restricted_api_key", "This API key is restricted to only send emails.", headers)
        return headers

    async def send(self, request: HTTP) -> bytes:
        """POST /emails."""

        def one(payload: Any) -> tuple[list[Mail], Callable[[list[str]], bytes]]:
            return [check(payload)], lambda ids: msgspec.json.encode({"id": ids[0]})

        return await self._effect(request, one)

    async def send_batch(self, request: HTTP) -> bytes:
        """POST /emails/batch."""
        mode = request.headers.get("x-batch-validation", "strict")

        def batch(payload: Any) -> tuple[list[Mail], Callable[[list[str]], bytes]]:
            return check_batch(payload, mode)

        return await self._effect(request, batch)

    async def _effect(
        self, request: HTTP, read: Callable[[Any], tuple[list[Mail], Callable[[list[str]], bytes]]]
    ) -> bytes:
        fate = await self._chaos.before_effect()
        body = await request.body()
        key = request.headers.get("idempotency-key")
        if key is None:
            response = await self._accept(body, read, None, "")
        else:
            response = await self._once(key, _call(request), body, read)
        await self._chaos.after_effect(fate)
        return response

    async def note(self, request: HTTP, reply: str, *, effective: bool) -> None:
        """Write down a call that did not simply work."""
        body = await request.body()
        digest = sha256(_call(request) + body).hexdigest()
        line = calls.of_mails(body, request.headers.get("idempotency-key"), digest, reply, effective)
        await self._ledger.write(lambda connection: calls.keep(connection, line))

    async def _once(self, key: str, call: bytes, body: bytes, read: Callable[..., Any]) -> bytes:
        if not 1 <= len(key) <= 256:
            raise ApiError(400, "invalid_idempotency_key", "The idempotency key must be between 1 and 256 characters.")
        if key in self._running_keys:
            raise ApiError(
                409, "concurrent_idempotent_requests", "Another request with the same idempotency key is in progress."
            )
        self._running_keys.add(key)
        try:
            request_sha256 = sha256(call + body).hexdigest()
            known = await self._ledger.remembered(key)
            if known is None:
                return await self._accept(body, read, key, request_sha256)
            if known.request_sha256 != request_sha256:
                raise ApiError(
                    409,
                    "invalid_idempotent_request",
                    "This idempotency key was used with another request payload within the last 24 hours.",
                )
            line = calls.of_mails(body, key, request_sha256, "replayed", False)
            await self._ledger.write(lambda connection: calls.keep(connection, line))
            return known.response
        finally:
            self._running_keys.discard(key)

    async def _accept(self, body: bytes, read: Callable[..., Any], key: str | None, request_sha256: str) -> bytes:
        try:
            payload = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise invalid(f"The request body is not valid JSON: {error}", 400) from None
        mails, answer = read(payload)
        if not mails:
            return answer([])
        response = await self._ledger.accept(mails, key, request_sha256, answer)
        self._courier.wake()
        return response

    async def retrieve(self, email_id: str) -> dict[str, Any]:
        """GET /emails/{id}."""
        try:
            known_form = str(UUID(email_id))
        except ValueError:
            raise invalid("The `id` must be a valid UUID.") from None
        message = await self._ledger.read(lambda connection: records.find(connection, known_form))
        if message is None or message.channel != "email":
            raise ApiError(404, "not_found", "Email not found")
        return {
            "object": "email",
            "id": message.id,
            **message.envelope,
            "from": message.sender,
            "created_at": message.at,
            "subject": message.subject,
            "html": message.html,
            "text": message.text,
            "tags": message.tags,
            "scheduled_at": None,
            "last_event": message.state,
        }


def _call(request: HTTP) -> bytes:
    """What belongs to a request's identity beside its body."""
    return f"{request.method} {request.url.path}\n".encode()


def check_batch(payload: Any, mode: str) -> tuple[list[Mail], Callable[[list[str]], bytes]]:
    """The mails of a batch that are taken, and the answer for their ids. Raises ApiError where nothing is taken."""
    if mode not in ("strict", "permissive"):
        raise invalid("The `x-batch-validation` header must be `strict` or `permissive`.")
    if not isinstance(payload, list) or not payload:
        raise invalid("The request body must be an array of 1 to 100 emails.")
    if len(payload) > MAX_BATCH:
        raise invalid(f"The batch must have at most {MAX_BATCH} emails; it has {len(payload)}.")
    mails: list[Mail] = []
    errors: list[dict[str, Any]] = []
    for index, fields in enumerate(payload):
        try:
            mails.append(check(fields, in_batch=True))
        except ApiError as error:
            if mode == "strict":
                raise ApiError(error.status, error.name, f"emails[{index}]: {error.message}") from None
            errors.append({"index": index, "message": error.message})

    def answer(ids: list[str]) -> bytes:
        reply: dict[str, Any] = {"data": [{"id": email_id} for email_id in ids]}
        if mode == "permissive":
            reply["errors"] = errors
        return msgspec.json.encode(reply)

    return mails, answer


def _json(body: bytes, headers: dict[str, str]) -> Response[bytes]:
    return Response(body, media_type="application/json", headers=headers, status_code=200)


async def _answer(api: ResendApi, request: HTTP, effect: Callable[[HTTP], Any], *, sending: bool) -> Response[bytes]:
    headers: dict[str, str] = {}
    try:
        headers = api.admit(request, sending=sending)
        return _json(await effect(request), headers)
    except (ApiError, BrokenUpstream, ConnectionDropped) as error:
        if isinstance(error, ApiError):
            error.headers = headers | error.headers
        if sending:
            await api.note(request, _words(error), effective=error.effective)
        raise


def _words(error: ApiError | BrokenUpstream | ConnectionDropped) -> str:
    match error:
        case ApiError():
            return f"{error.status} {error.name}"
        case BrokenUpstream():
            return str(error.status)
        case _:
            return "lost"


@post("/emails", status_code=200)
async def send_email(request: HTTP) -> Response[bytes]:
    api: ResendApi = request.app.state.api
    return await _answer(api, request, api.send, sending=True)


@post("/emails/batch", status_code=200)
async def send_batch(request: HTTP) -> Response[bytes]:
    api: ResendApi = request.app.state.api
    return await _answer(api, request, api.send_batch, sending=True)


@get("/emails/{email_id:str}")
async def retrieve_email(request: HTTP, email_id: str) -> Response[bytes]:
    api: ResendApi = request.app.state.api

    async def found(_: HTTP) -> bytes:
        return msgspec.json.encode(await api.retrieve(email_id))

    return await _answer(api, request, found, sending=False)
