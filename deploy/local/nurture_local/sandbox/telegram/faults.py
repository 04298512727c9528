"""Faults of the Bot API on demand: the `telegram` part of `POST /api/chaos`."""

import asyncio
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from nurture_local.sandbox.errors import BrokenUpstream, ConnectionDropped
from nurture_local.sandbox.odds import Fate, Odds
from nurture_local.sandbox.telegram.answers import BotError, too_many

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Status = Annotated[int, Meta(ge=400, le=599)]
_WORDS = {
    400: "Bad Request: the sandbox was told to refuse",
    401: "Unauthorized",
    403: "Forbidden: user is deactivated",
    404: "Not Found",
    409: "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class TelegramFaults(Struct, kw_only=True):
    """What goes wrong with calls that write into chats.

    `fail_next` calls are refused with `status` (and `description`, `parameters`, `retry_after`) and have no effect.
    `close_after_accept` calls take effect, then the connection closes without a reply. Both kinds hang for
    `hang_seconds` before they end. `latency_ms` delays every call, `reply_ms` every reply after its effect; `odds` are
    faults by chance. 502 and 504 come as a web server's HTML, unless there is a `description`.
    """

    fail_next: Count = 0
    status: Status = 500
    description: str | None = None
    parameters: dict[str, Any] = {}
    retry_after: Count = 1
    close_after_accept: Count = 0
    hang_seconds: Seconds = 0
    latency_ms: Seconds = 0
    reply_ms: Seconds = 0
    odds: Odds = field(default_factory=Odds)

    async def before_effect(self) -> Fate:
        """Delay or refuse a call; what else is to become of it. Raises BotError or BrokenUpstream."""
        await asyncio.sleep(self.latency_ms / 1000)
        if not self.fail_next:
            match fate := self.odds.draw():
                case "refused":
                    raise too_many(self.retry_after)
                case "failed":
                    raise BotError(500, _WORDS[500])
            return fate
        self.fail_next -= 1
        status, description, parameters = self.status, self.description, self.parameters
        retry_after = self.retry_after
        await asyncio.sleep(self.hang_seconds)
        if status in (502, 504) and description is None:
            raise BrokenUpstream(status)
        if status == 429 and description is None:
            raise too_many(retry_after)
        raise BotError(
            status, description or _WORDS.get(status, f"The sandbox was told to answer {status}"), parameters
        )

    async def after_effect(self, fate: Fate) -> None:
        """Delay the reply to an accepted call, or spoil it. Raises ConnectionDropped or BotError, marked as effective."""
        await asyncio.sleep(self.reply_ms / 1000)
        if self.close_after_accept:
            self.close_after_accept -= 1
            await asyncio.sleep(self.hang_seconds)
            fate = "lost"
        if fate == "lost":
            raise ConnectionDropped
        if fate == "failed_after":
            error = BotError(500, _WORDS[500])
            error.effective = True
            raise error


class TelegramFaultsChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Fields to change; the others stay."""

    fail_next: Count | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    retry_after: Count | UnsetType = UNSET
    close_after_accept: Count | UnsetType = UNSET
    hang_seconds: Seconds | UnsetType = UNSET
    latency_ms: Seconds | UnsetType = UNSET
    reply_ms: Seconds | UnsetType = UNSET
    odds: Odds | UnsetType = UNSET
