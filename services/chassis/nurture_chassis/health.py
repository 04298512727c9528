"""What a service says about itself over HTTP: alive, ready (with reasons), metrics, its AsyncAPI document."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from faststream.specification import AsyncAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from nurture_chassis.bus import Bus

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Reply = tuple[int, str, bytes]
Page = Callable[[], Awaitable[Reply]]


def as_json(status: int, value: Any) -> Reply:
    return status, "application/json", msgspec.json.encode(value)


def asyncapi_document(bus: Bus, title: str) -> bytes:
    """AsyncAPI 3.0 of one service, generated from its subscribers and the contracts' structs."""
    document = AsyncAPI(bus.broker, title=title, version="1", schema_version="3.0.0").to_specification()
    return document.to_json().encode()


class Front:
    """Answers the chassis' own paths and hands every other request to the service's application, if it has one."""

    def __init__(self, pages: dict[str, Page], inner: Asgi | None = None) -> None:
        self._pages = pages
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(scope.get("path", "")) if scope["type"] == "http" else None
        if page is None and self._inner is not None:
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await _no_lifespan(receive, send)
            return
        if page is None:
            status, kind, body = as_json(404, {"title": "Not found", "hint": f"There are: {', '.join(self._pages)}"})
        else:
            status, kind, body = await page()
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _no_lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def metrics() -> Reply:
    return 200, CONTENT_TYPE_LATEST, generate_latest()
