"""The only wiring: settings to ledger, courier, API and pages."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send
from nurture_chassis.clock import Clock

from nurture_local.sandbox import api, inbox, ledger_api
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.config import SandboxSettings
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import NAME_OF_STATUS, ApiError, BrokenUpstream, ConnectionDropped
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.rate import RateLimit
from nurture_local.sandbox.smtp import Postbox
from nurture_local.sandbox.telegram import pages, routes
from nurture_local.sandbox.telegram.limits import FloodLimits
from nurture_local.sandbox.telegram.methods import Methods
from nurture_local.sandbox.telegram.people import People
from nurture_local.sandbox.telegram.poster import Poster
from nurture_local.sandbox.telegram.sending import Sending
from nurture_local.sandbox.telegram.updates import Updates
from nurture_local.sandbox.webhooks import Signer

MAX_BODY_BYTES = 64_000_000
HTTP = Request[Any, Any, State]
log = structlog.get_logger()


class Sandbox(NamedTuple):
    """The ASGI application, and what to call before it is stopped: long polls would hold that up."""

    app: ASGIApp
    end_polls: Callable[[], None]


def build(settings: SandboxSettings) -> Sandbox:
    """Put the sandbox together. Raises ValueError for a malformed clock or secret, LedgerBusy when it already runs."""
    ledger = Ledger(settings.ledger_path, Clock.from_setting(settings.nurture_clock), settings.sandbox_reading_seconds)
    chaos = Chaos(tags_as_array=settings.sandbox_tags_as_array)
    secret = settings.resend_webhook_secret
    signer = Signer(secret.reveal()) if secret else None
    updates = Updates(ledger, settings.sandbox_webhook_url)
    people = People(ledger, updates)
    courier = Courier(ledger, chaos, settings.sandbox_webhook_url, signer, people.carry_out)
    poster = Poster(ledger, updates, chaos)
    rate = RateLimit(settings.sandbox_rate_limit)
    limits = FloodLimits(settings.sandbox_telegram_rate)
    postbox = Postbox(ledger, courier, chaos, rate)
    sending = Sending(ledger, courier, people, limits, settings.sandbox_reading_seconds)

    ledger.open()

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        courier.start()
        poster.start()
        await postbox.open(settings.sandbox_host, settings.sandbox_smtp_port)
        try:
            yield
        finally:
            await postbox.close()
            await courier.stop()
            await poster.stop()
            ledger.close()

    app = Litestar(
        route_handlers=[
            api.send_email,
            api.send_batch,
            api.retrieve_email,
            ledger_api.messages,
            ledger_api.ledger_summary,
            ledger_api.ledger_effects,
            ledger_api.troubled_calls,
            ledger_api.show_chaos,
            ledger_api.change_chaos,
            ledger_api.reset_chaos,
            ledger_api.live,
            ledger_api.ready,
            inbox.inbox,
            inbox.message_page,
            inbox.message_html,
            inbox.play,
            inbox.stylesheet,
            routes.call_method,
            routes.say,
            routes.press,
            routes.block,
            pages.chat_page,
            pages.play_chat,
            pages.invitation,
            pages.accept,
        ],
        lifespan=[lifespan],
        state=State(
            {
                "api": api.ResendApi(ledger, courier, chaos, rate),
                "ledger": ledger,
                "courier": courier,
                "chaos": chaos,
                "people": people,
                "poster": poster,
                "telegram_methods": Methods(ledger, updates, sending),
            }
        ),
        exception_handlers={
            ApiError: _refusal,
            BrokenUpstream: _html_refusal,
            HTTPException: _framework_refusal,
            Exception: _crash,
        },
        openapi_config=None,
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
    )
    return Sandbox(_dropping(app), updates.end_polls)


def _refusal(_: HTTP, error: ApiError) -> Response[bytes]:
    return Response(error.body(), media_type="application/json", status_code=error.status, headers=error.headers)


def _html_refusal(_: HTTP, error: BrokenUpstream) -> Response[str]:
    return Response("<html><body><h1>Bad gateway</h1></body></html>", media_type="text/html", status_code=error.status)


def _framework_refusal(request: HTTP, error: HTTPException) -> Response[bytes]:
    message = {
        404: "The requested endpoint does not exist.",
        405: "This endpoint does not support the used HTTP method.",
    }.get(error.status_code, error.detail)
    name = NAME_OF_STATUS.get(error.status_code, "validation_error")
    return _refusal(request, ApiError(error.status_code, name, message))


def _crash(request: HTTP, error: Exception) -> Response[bytes]:
    if isinstance(error, ConnectionDropped):
        raise error
    # A bot's token is part of its calls' paths.
    log.error("request_failed", path=re.sub(r"^/bot[^/]*", "/bot…", request.url.path), exc_info=error)
    return _refusal(request, ApiError(500, "application_error", "An unexpected error occurred."))


def _dropping(app: ASGIApp) -> ASGIApp:
    """Close the connection where a route raised ConnectionDropped: the caller sees its request vanish."""

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ConnectionDropped:
            # ASGI has no word for this; uvicorn's `send` is bound to the request cycle, which has the transport.
            getattr(send, "__self__").transport.abort()  # noqa: B009

    return outermost
