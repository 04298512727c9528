"""Short answers to people, outside of any sequence: tried once, never waited for."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import Pace

from nurture_telegram.conversations import Effects, Reply
from nurture_telegram.verdicts import Answer, read

log = structlog.get_logger()
PATIENCE = 5.0


class Voice(Protocol):
    """The part of the Bot API that answers."""

    async def say(self, chat_id: str, text: str) -> Answer: ...
    async def answer_press(self, callback_id: str) -> Answer: ...


class Speaker:
    """Says what updates left to say; replies take their slots of the bot's pace as every message does."""

    def __init__(self, voice: Voice, pace: Pace) -> None:
        self._voice = voice
        self._pace = pace
        self._flight: set[asyncio.Task[None]] = set()

    def tell(self, effects: Effects) -> None:
        """Begin to answer, and do not wait."""
        for callback_id in effects.answers:
            self._begin(self._answer(callback_id))
        for reply in effects.replies:
            self._begin(self._reply(reply))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._flight.add(task)
        task.add_done_callback(self._flight.discard)

    async def _answer(self, callback_id: str) -> None:
        # A query that is too old to be answered has stopped spinning already.
        await self._voice.answer_press(callback_id)

    async def _reply(self, reply: Reply) -> None:
        deadline = time.monotonic() + PATIENCE
        try:
            in_time = await self._pace.wait(await self._pace.slot(), deadline)
        except UNREACHABLE:
            in_time = True
        if not in_time:
            log.info("telegram.reply_dropped")
            return
        verdict = read(await self._voice.say(reply.chat_id, reply.text))
        if verdict.kind != "accepted":
            log.info("telegram.reply_not_sent", verdict=verdict.kind, reason=verdict.reason)

    async def finish(self) -> None:
        """Give answers under way a moment."""
        if self._flight:
            await asyncio.wait(set(self._flight), timeout=PATIENCE)
            for task in self._flight:
                task.cancel()
