"""Streams of a page: one rendering for all who look, an end when it is time."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import asyncpg
from nurture_gateway.dashboard.live import Live, Region


class Shown:
    """A region whose text the test sets; counts how often it is made, and can fail as a database does."""

    def __init__(self) -> None:
        self.text = "one"
        self.made = 0
        self.error: Exception | None = None

    async def render(self) -> str:
        self.made += 1
        if self.error is not None:
            raise self.error
        return self.text

    def region(self) -> Region:
        return Region("numbers", (), self.render, every=0.01)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await scene()

    asyncio.run(main())


async def always() -> bool:
    return True


def test_readers_share_one_rendering_and_hear_changes_only() -> None:
    async def scene() -> None:
        shown, live = Shown(), Live(asyncio.Event())
        readers = [live.stream([shown.region()], always) for _ in range(5)]
        for reader in readers:
            assert await anext(reader) == b"retry: 1500\n\n"
        assert [await anext(reader) for reader in readers] == [b"event: numbers\ndata: one\n\n"] * 5
        waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
        before = shown.made
        while shown.made < before + 5:  # noqa: ASYNC110 - five looks at what has not changed
            await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        shown.text = "two\nlines"
        assert await asyncio.gather(*waiting) == [b"event: numbers\ndata: two\ndata: lines\n\n"] * 5
        for reader in readers:
            await reader.aclose()
        made = shown.made
        await asyncio.sleep(0.05)
        assert shown.made == made, "nobody looks, nothing is made"

    play(scene)


def test_what_takes_long_is_looked_at_less_often() -> None:
    async def scene() -> None:
        shown, live = Shown(), Live(asyncio.Event())
        loop = asyncio.get_running_loop()
        looks: list[float] = []

        async def slow() -> str:
            looks.append(loop.time())
            await asyncio.sleep(0.02)
            return str(len(looks))

        reader = live.stream([Region("slow", (), slow, every=0.0), shown.region()], always)
        while len(looks) < 3:
            await anext(reader)
        await reader.aclose()
        assert all(later - earlier >= 0.19 for earlier, later in pairwise(looks))

    play(scene)


def test_a_database_that_is_away_is_told_and_comes_back() -> None:
    async def scene() -> None:
        shown = Shown()
        reader = Live(asyncio.Event()).stream([shown.region()], always)
        await anext(reader)
        await anext(reader)
        shown.error = asyncpg.CannotConnectNowError("starting up")
        assert await anext(reader) == b"event: away\ndata: \n\n"
        shown.error, shown.text = None, "back"
        assert await anext(reader) == b"event: numbers\ndata: back\n\n"
        await reader.aclose()

    play(scene)


def test_a_stream_ends_when_its_reader_may_not_look_any_more() -> None:
    async def scene() -> None:
        answers = iter([True, False])

        async def allowed() -> bool:
            return next(answers)

        reader = Live(asyncio.Event(), beat=0.02).stream([Shown().region()], allowed)
        # A beat may come before the region was made for the first time.
        assert [item async for item in reader if item.startswith(b":")] == [b": here\n\n"]

    play(scene)


def test_a_process_that_stops_ends_its_streams_at_once() -> None:
    async def scene() -> None:
        stopping = asyncio.Event()
        live = Live(stopping)
        reader = live.stream([Shown().region()], always)
        await anext(reader)
        await anext(reader)
        rest = asyncio.ensure_future(anext(reader, None))
        await asyncio.sleep(0)
        stopping.set()
        assert await rest is None and not live.full

    play(scene)
