"""Regions of a page that follow the record: rendered here once a moment for all who look, and sent when they changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import asyncpg
import structlog
from nurture_chassis.database import UNREACHABLE

log = structlog.get_logger()
Render = Callable[[], Awaitable[str]]
BEAT_SECONDS = 10.0
"""How often a stream that has nothing to say shows that it lives, and asks whether its reader may still look."""
MANY = 64
"""Streams at the same time in one process."""


class Region(NamedTuple):
    """A part of a page: its name there, what it depends on beside the record, how it is made, and every how many seconds."""

    name: str
    key: tuple[object, ...]
    render: Render
    every: float = 1.0


class Watched:
    """One region, rendered by one task for as long as anybody looks at it."""

    def __init__(self, region: Region) -> None:
        self.readers = 0
        self.text: str | None = None
        self.away = False
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self._follow(region))

    async def _follow(self, region: Region) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            text, away = self.text, False
            try:
                text = await region.render()
            except (*UNREACHABLE, asyncpg.PostgresError) as error:
                away = True
                log.warning("live.unavailable", region=region.name, error=type(error).__name__)
            if (text, away) != (self.text, self.away):
                self.text, self.away = text, away
                passed, self.changed = self.changed, asyncio.Event()
                passed.set()
            # What takes long is asked for less often: looking costs the record a tenth of one connection at most.
            await asyncio.sleep(max(region.every, 9 * (clock() - began)))


class Live:
    """All streams of this process. `stopping` ends them, so that nobody waits for what has no end. `beat` in seconds."""

    def __init__(self, stopping: asyncio.Event, beat: float = BEAT_SECONDS) -> None:
        self._stopping = stopping
        self._beat = beat
        self._watched: dict[tuple[object, ...], Watched] = {}
        self._streams = 0

    @property
    def full(self) -> bool:
        """Whether another stream would be too many."""
        return self._streams >= MANY

    async def stream(self, regions: list[Region], allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """Server-sent events: `region` names what follows, its data are HTML. Ends when `allowed` says no."""
        self._streams += 1
        taken: list[tuple[Region, Watched]] = []
        try:
            taken = [(region, self._take(region)) for region in regions]
            # A browser that loses the stream comes again after this many milliseconds.
            yield b"retry: 1500\n\n"
            shown: dict[str, str | None] = {}
            asked = asyncio.get_running_loop().time()
            while not self._stopping.is_set():
                # Taken before the texts are read: what changes after that is not missed.
                changes = [watched.changed for _, watched in taken]
                for region, watched in taken:
                    if watched.text is not None and shown.get(region.name) != watched.text:
                        shown[region.name] = watched.text
                        yield event(region.name, watched.text)
                if any(watched.away for _, watched in taken):
                    yield event("away", "")
                await _first([*changes, self._stopping], self._beat)
                if asyncio.get_running_loop().time() - asked >= self._beat:
                    asked = asyncio.get_running_loop().time()
                    if not await allowed():
                        return
                    yield b": here\n\n"
        finally:
            self._streams -= 1
            for region, watched in taken:
                self._leave(region, watched)

    def _take(self, region: Region) -> Watched:
        key = (region.name, *region.key)
        if key not in self._watched:
            self._watched[key] = Watched(region)
        self._watched[key].readers += 1
        return self._watched[key]

    def _leave(self, region: Region, watched: Watched) -> None:
        watched.readers -= 1
        if not watched.readers:
            watched.task.cancel()
            del self._watched[(region.name, *region.key)]


async def _first(events: list[asyncio.Event], seconds: float) -> None:
    """Until one of them is set, or the time is over."""
    waiting = [asyncio.create_task(one.wait()) for one in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def event(name: str, text: str) -> bytes:
    """One event of a stream; its text may have several lines."""
    lines = "".join(f"data: {line}\n" for line in text.split("\n"))
    return f"event: {name}\n{lines}\n".encode()
