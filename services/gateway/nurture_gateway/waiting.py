"""Callers that wait for the controller's answer, and the answers that pass by."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from nurture_contracts.events import CommandSettled


class Waiters:
    """Futures by command id, in this process only: who waits elsewhere hears the same event there."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Future[CommandSettled]]] = {}

    @contextmanager
    def expect(self, command_id: UUID) -> Iterator[asyncio.Future[CommandSettled]]:
        """A future for the settlement. Expect before the commit: an answer may be faster than the commit's return."""
        future: asyncio.Future[CommandSettled] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(command_id, set()).add(future)
        try:
            yield future
        finally:
            rest = self._waiting[command_id]
            rest.discard(future)
            if not rest:
                del self._waiting[command_id]

    async def settle(self, event: CommandSettled) -> None:
        """Wake whoever waits here for this command."""
        for future in self._waiting.get(event.command_id, ()):
            if not future.done():
                future.set_result(event)
