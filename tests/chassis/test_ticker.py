"""What a ticker says of itself while its work fails."""

import asyncio

import nats.errors
from hypothesis import given
from hypothesis import strategies as st
from nurture_chassis.ticker import Ticker, rest


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


@given(st.floats(0, 100), st.floats(0.1, 100), st.floats(0, 1))
def test_a_tick_comes_no_later_than_it_asked(again: float, every: float, chance: float) -> None:
    """A channel that waits for its slot would find it passed, and lose it."""
    assert 0.89 * min(again, every) <= rest(again, every, chance) <= min(again, every)
    assert 0.89 * every <= rest(None, every, chance) <= 1.11 * every
