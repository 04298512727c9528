"""What a ticker says of itself while its work fails."""

import asyncio

import nats.errors
from nurture_chassis.ticker import Ticker


def test_it_names_the_kind_of_error_and_not_its_words() -> None:
    asyncio.run(_fails_then_works())


async def _fails_then_works() -> None:
    ends: list[Exception | None] = [nats.errors.TimeoutError(), OSError("password"), KeyError("token"), None]
    said: list[str | None] = []
    over = asyncio.Event()

    async def work() -> float:
        said.append(ticker.failing)
        if len(said) > len(ends):
            over.set()
            return 60
        end = ends[len(said) - 1]
        ticker.wake()
        if end:
            raise end
        return 60

    ticker = Ticker("work", work, every=60)
    ticker.start()
    await asyncio.wait_for(over.wait(), 10)
    await ticker.stop()
    assert said == [None, None, None, "KeyError", None]
