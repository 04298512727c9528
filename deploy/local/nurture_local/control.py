"""The control socket: one JSON line in, one out. Only the user who started the instance can open it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nurture_local.child import Child
from nurture_local.supervisor import NoSuchChild, Supervisor


class Unreachable(Exception):
    """Nobody answers on the control socket."""


class Control:
    """Serves status, readiness, stop/start/restart of single processes, and the end of everything.

    `looks` are questions by name that take a look at something else than processes. The one named `channels` is asked
    for every status, so it has to be quick.
    """

    def __init__(
        self,
        path: Path,
        supervisor: Supervisor,
        view: Callable[[], dict[str, Any]],
        stop: Callable[[], None],
        looks: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]] | None = None,
    ) -> None:
        self._path = path
        self._supervisor = supervisor
        self._view = view
        self._stop = stop
        self._looks = looks or {}
        self._server: asyncio.Server | None = None
        self._busy = asyncio.Lock()

    async def __aenter__(self) -> "Control":
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        finally:
            os.umask(before)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                answer = await self._answer(msgspec.json.decode(line))
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except (msgspec.DecodeError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked.get("op"):
            case "status":
                return {"ok": True, **await self._status()}
            case "where":
                return {"ok": True, **self._view()}
            case "ready":
                await self._supervisor.is_ready.wait()
                return {"ok": True, **await self._status()}
            case "down":
                self._stop()
                return {"ok": True}
            case "stop" | "start" | "restart" as verb:
                try:
                    return await self._act(verb, self._supervisor.named(str(asked.get("name"))))
                except NoSuchChild as error:
                    return {"ok": False, "error": str(error)}
            case str(op) if op in self._looks:
                return {"ok": True, **await self._looks[op]()}
            case other:
                return {"ok": False, "error": f"the control socket does not know {other!r}"}

    async def _act(self, verb: str, children: list[Child]) -> dict[str, Any]:
        async with self._busy:
            if verb in ("stop", "restart"):
                await self._supervisor.stop_children(children)
            late = await self._supervisor.start_children(children) if verb in ("start", "restart") else []
        if late:
            return {"ok": False, "error": f"not ready yet: {', '.join(late)}; see the logs"}
        return {"ok": True, "names": [child.spec.name for child in children]}

    async def _status(self) -> dict[str, Any]:
        children = list(self._supervisor.children.values())
        channels = self._looks.get("channels", _nothing)
        states, more = await asyncio.gather(asyncio.gather(*(_state(child) for child in children)), channels())
        processes = {
            child.spec.name: {"pid": child.pid, "state": state, "stage": child.spec.stage.name.lower()}
            for child, state in zip(children, states, strict=True)
        }
        return {**self._view(), **more, "ready": self._supervisor.is_ready.is_set(), "processes": processes}


async def _nothing() -> dict[str, Any]:
    return {}


async def _state(child: Child) -> str:
    if child.state != "ready":
        return child.state
    # It was ready once; whether it still is, only it can tell.
    try:
        async with asyncio.timeout(3):
            return "ready" if await child.spec.ready() else "not ready"
    except Exception:
        return "not ready"


def ask(path: str | Path, op: str, *, seconds: float = 60.0, **more: Any) -> dict[str, Any]:
    """Ask a running supervisor, from outside of any event loop. Raises Unreachable."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(seconds)
            line.connect(str(path))
            line.sendall(msgspec.json.encode({"op": op, **more}) + b"\n")
            with line.makefile("rb") as answers:
                answer = answers.readline()
    except OSError as error:
        raise Unreachable(f"the supervisor does not answer: {error.strerror or 'timed out'}") from None
    if not answer:
        raise Unreachable("the supervisor ended before it answered")
    return msgspec.json.decode(answer)
