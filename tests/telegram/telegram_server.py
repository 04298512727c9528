"""A Bot API that does as it is told: it keeps what it took, and misbehaves per chat, a behaviour a message."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

TOKEN = "4242:a-token-that-must-not-show"

Reply = tuple[int, Any] | None
Behaviour = Callable[["BotServer", dict[str, Any]], Awaitable[Reply]]


def error(code: int, description: str, **parameters: Any) -> Behaviour:
    """The refusal as Telegram words it."""

    async def answer(server: "BotServer", request: dict[str, Any]) -> Reply:
        body = {"ok": False, "error_code": code, "description": description}
        return code, body | ({"parameters": parameters} if parameters else {})

    return answer


async def takes(server: "BotServer", request: dict[str, Any]) -> Reply:
    return 200, {"ok": True, "result": server.take(request)}


async def takes_and_hangs_up(server: "BotServer", request: dict[str, Any]) -> Reply:
    """Delivered, and the answer is lost."""
    server.take(request)
    return None


async def takes_and_stays_silent(server: "BotServer", request: dict[str, Any]) -> Reply:
    """Delivered, and the answer comes when nobody waits any more."""
    server.take(request)
    await server.silence.wait()
    return None


async def takes_and_breaks(server: "BotServer", request: dict[str, Any]) -> Reply:
    server.take(request)
    return 502, "<html>Bad Gateway</html>"


BLOCKED = error(403, "Forbidden: bot was blocked by the user")
DEACTIVATED = error(403, "Forbidden: user is deactivated")
NOT_FOUND = error(400, "Bad Request: chat not found")
UNPARSABLE = error(400, "Bad Request: can't parse entities: Unsupported start tag")
UNAUTHORIZED = error(401, "Unauthorized")


class BotServer:
    """`next[chat]` are behaviours for that chat's coming messages; `sent` is what people really got."""

    def __init__(self) -> None:
        self.next: dict[int, list[Behaviour]] = {}
        self.sent: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.updates: list[dict[str, Any]] = []
        self.poll_reply: Reply = None
        self.webhook_url = ""
        self.webhook_info: dict[str, Any] = {}
        self.me: Reply = (200, {"ok": True, "result": {"id": 4242, "is_bot": True, "username": "acme_bot"}})
        self.confirmed = 0
        self.silence = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.in_flight = 0
        self.most_in_flight = 0
        self._polled = asyncio.Condition()
        self._moved = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()

    def take(self, request: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(request)
        return {"message_id": len(self.sent), "chat": {"id": request["chat_id"], "type": "private"}, "date": 0}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until messages that arrive make this true."""
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    def texts(self, chat: int) -> list[str]:
        return [request["text"] for request in self.sent if request["chat_id"] == chat]

    def requests(self, method: str) -> list[dict[str, Any]]:
        return [request for name, request in self.calls if name == method]

    async def push(self, *updates: dict[str, Any]) -> None:
        async with self._polled:
            self.updates += updates
            self._polled.notify_all()

    async def _answer(self, method: str, request: dict[str, Any]) -> Reply:
        self.calls.append((method, request))
        match method:
            case "sendMessage":
                return await self._send(request)
            case "getUpdates":
                return await self._poll(request)
            case "getMe":
                return self.me
            case "getWebhookInfo":
                return 200, {"ok": True, "result": {"url": self.webhook_url, **self.webhook_info}}
            case "deleteWebhook":
                self.webhook_url, self.webhook_info, self.poll_reply = "", {}, None
                return 200, {"ok": True, "result": True}
            case "setWebhook":
                self.webhook_url = request["url"]
                self.webhook_info = {"pending_update_count": 0, "allowed_updates": request["allowed_updates"]}
                return 200, {"ok": True, "result": True}
            case _:
                return 200, {"ok": True, "result": True}

    async def _send(self, request: dict[str, Any]) -> Reply:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._moved.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            behaviours = self.next.get(int(request["chat_id"]))
            return await (behaviours.pop(0) if behaviours else takes)(self, request)
        finally:
            self.in_flight -= 1

    async def _poll(self, request: dict[str, Any]) -> Reply:
        if self.poll_reply is not None:
            return self.poll_reply
        offset = request.get("offset") or 0
        self.confirmed = max(self.confirmed, offset)
        async with self._polled:
            try:
                async with asyncio.timeout(min(request["timeout"], 2)):
                    await self._polled.wait_for(lambda: any(u["update_id"] >= offset for u in self.updates))
            except TimeoutError:
                return 200, {"ok": True, "result": []}
        return 200, {"ok": True, "result": [u for u in self.updates if u["update_id"] >= offset][:100]}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1]
                assert path.startswith(f"/bot{TOKEN}/"), path
                length = next(
                    int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")
                )
                reply = await self._answer(path.rpartition("/")[2], json.loads(await reader.readexactly(length)))
                if reply is None:
                    return
                status, body = reply
                raw = (body if isinstance(body, str) else json.dumps(body)).encode()
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def __aenter__(self) -> "BotServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.silence.set()
        self._server.close()
        for writer in list(self._connections):
            writer.close()
