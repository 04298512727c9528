"""How fast a bot may write: about one message a second to a chat, and so many a second to all chats together."""

import math
import time

from nurture_local.sandbox.telegram.answers import too_many

CHAT_BURST = 3
_FORGET_AT = 10_000


class _Bucket:
    __slots__ = ("at", "level")

    def __init__(self, at: float, level: float) -> None:
        self.at = at
        self.level = level

    def refill(self, rate: float, size: float, now: float) -> None:
        self.level = min(size, self.level + (now - self.at) * rate)
        self.at = now

    def wait(self, rate: float) -> float:
        return max(0.0, (1 - self.level) / rate)


class FloodLimits:
    """Token buckets: a chat takes a burst of CHAT_BURST, a bot one of a whole second's messages."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._bots: dict[int, _Bucket] = {}
        self._chats: dict[tuple[int, int], _Bucket] = {}

    def take(self, bot_id: int, chat_id: int, now: float | None = None) -> None:
        """Count one message. Raises BotError (429), and then counts nothing."""
        now = time.monotonic() if now is None else now
        rate = self._per_second
        bot = self._bots.setdefault(bot_id, _Bucket(now, rate))
        chat = self._chats.setdefault((bot_id, chat_id), _Bucket(now, CHAT_BURST))
        bot.refill(rate, rate, now)
        chat.refill(1, CHAT_BURST, now)
        wait = max(bot.wait(rate), chat.wait(1))
        if wait > 0:
            raise too_many(math.ceil(wait))
        bot.level -= 1
        chat.level -= 1
        if len(self._chats) > _FORGET_AT:
            self._chats = {key: one for key, one in self._chats.items() if one.level + now - one.at < CHAT_BURST}
