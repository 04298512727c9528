"""Waiting for what no event of ours tells."""

import asyncio
from collections.abc import Callable
from typing import Any


async def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """The first truthy answer, of a function or of a coroutine."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            answer = await answer if asyncio.iscoroutine(answer) else answer
            if answer:
                return answer
            await asyncio.sleep(0.02)
