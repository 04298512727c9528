"""Short answers to people, outside of any sequence: tried once, never waited for, and never in the way of what waits."""

import asyncio
import contextlib
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
"""An answer that would come later than this, in seconds, is none."""
REST = 3.0
"""Seconds after a reply in which the same chat gets none; of what it says in that time the last is answered."""
REPLIES_AT_ONCE, PRESSES_AT_ONCE = 2, 3
"""Calls of one process. Each process has at most REPLIES_AT_ONCE slots of the bot's pace taken for replies."""
MOST_WAITING = 1000
SHARE = "telegram-replies"
"""The account of the pace that all replicas' replies keep among themselves."""


def share(rate: float) -> float:
    """How many of the bot's messages a second may be replies: a tenth, and one where that is no more than half of them.

    Anybody can make the bot reply, as often as they like; what waits to be sent must not stand behind that.
    """
    return max(rate / 10, min(rate / 2, 1.0))


class Voice(Protocol):
    """The part of the Bot API that answers."""

    async def say(self, chat_id: str, text: str) -> Answer: ...
    async def answer_press(self, callback_id: str) -> Answer: ...


class Speaker:
    """Says what updates left to say. A reply takes a slot of `share`, then one of the bot's pace as every message does."""

    def __init__(self, voice: Voice, pace: Pace, share: Pace) -> None:
        self._voice = voice
        self._pace = pace
        self._share = share
        self._replies: dict[str, tuple[str, float]] = {}
        self._talking: set[str] = set()
        self._replying = asyncio.Semaphore(REPLIES_AT_ONCE)
        self._pressing = asyncio.Semaphore(PRESSES_AT_ONCE)
        self._presses = 0
        self._dropped = 0
        self._ending = asyncio.Event()
        self._flight: set[asyncio.Task[None]] = set()

    def tell(self, effects: Effects) -> None:
        """Begin to answer, and do not wait."""
        deadline = time.monotonic() + PATIENCE
        for callback_id in effects.answers:
            if self._presses < MOST_WAITING:
                self._presses += 1
                self._begin(self._answer(callback_id, deadline))
        for reply in effects.replies:
            self._reply(reply, deadline)

    def _reply(self, reply: Reply, deadline: float) -> None:
        if reply.chat_id not in self._talking:
            if len(self._talking) >= MOST_WAITING:
                self._drop()
                return
            self._talking.add(reply.chat_id)
            self._begin(self._talk(reply.chat_id))
        self._replies[reply.chat_id] = reply.text, deadline

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._flight.add(task)
        task.add_done_callback(self._flight.discard)

    async def _answer(self, callback_id: str, deadline: float) -> None:
        try:
            async with self._pressing:
                # A query that is too old to be answered has stopped spinning already.
                if time.monotonic() <= deadline:
                    await self._voice.answer_press(callback_id)
        finally:
            self._presses -= 1

    async def _talk(self, chat_id: str) -> None:
        try:
            while chat_id in self._replies:
                async with self._replying:
                    text, deadline = self._replies.pop(chat_id)
                    said = await self._said(chat_id, text, deadline)
                if said:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(REST):
                            await self._ending.wait()
                else:
                    self._drop()
        finally:
            self._talking.discard(chat_id)
            self._replies.pop(chat_id, None)

    async def _said(self, chat_id: str, text: str, deadline: float) -> bool:
        """False: its turn would come too late."""
        try:
            for pace in (self._share, self._pace):
                slot = await pace.slot_before(deadline)
                if slot is None or not await pace.wait(slot, deadline):
                    return False
        except UNREACHABLE:
            log.info("telegram.reply_unpaced")
        verdict = read(await self._voice.say(chat_id, text))
        if verdict.kind != "accepted":
            log.info("telegram.reply_not_sent", verdict=verdict.kind, reason=verdict.reason)
        return True

    def _drop(self) -> None:
        """Told as a number that doubles: a flood must not fill the log either."""
        self._dropped += 1
        if self._dropped & (self._dropped - 1) == 0:
            log.info("telegram.replies_dropped", so_far=self._dropped)

    async def finish(self) -> None:
        """Give answers under way a moment."""
        self._ending.set()
        if self._flight:
            await asyncio.wait(set(self._flight), timeout=PATIENCE)
            for task in self._flight:
                task.cancel()
