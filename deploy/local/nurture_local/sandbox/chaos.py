"""Faults on demand, for tests: set over `POST /api/chaos`, kept in memory, gone with the process."""

import asyncio
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from nurture_local.sandbox.errors import NAME_OF_STATUS, ApiError, BrokenUpstream, ConnectionDropped
from nurture_local.sandbox.odds import Fate, Odds
from nurture_local.sandbox.telegram.faults import TelegramFaults, TelegramFaultsChange

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Mode = Literal["on", "off", "duplicate", "shuffle"]


class ChaosSettings(Struct, kw_only=True):
    """What goes wrong with send calls and webhooks.

    `fail_next` calls are refused with `status` (and `name`, `retry_after`) and have no effect. `close_after_accept`
    calls take effect, then the connection closes without a reply. Both kinds hang for `hang_seconds` before they
    end; a call refused that way has had no effect, a closed one has. `latency_ms` delays every call, `reply_ms` every reply
    after its effect. `odds` are faults by chance. `webhooks`: off holds them back until it is on again, duplicate posts each
    twice, shuffle mixes their order (mail only). `telegram` is about the Bot API's calls.
    """

    fail_next: Count = 0
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    name: str | None = None
    retry_after: Count = 1
    close_after_accept: Count = 0
    hang_seconds: Seconds = 0
    latency_ms: Seconds = 0
    reply_ms: Seconds = 0
    odds: Odds = field(default_factory=Odds)
    tags_as_array: bool = False
    webhooks: Mode = "on"
    telegram: TelegramFaults = field(default_factory=TelegramFaults)


class ChaosChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Fields to change; the others stay."""

    fail_next: Count | UnsetType = UNSET
    status: Annotated[int, Meta(ge=400, le=599)] | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    retry_after: Count | UnsetType = UNSET
    close_after_accept: Count | UnsetType = UNSET
    hang_seconds: Seconds | UnsetType = UNSET
    latency_ms: Seconds | UnsetType = UNSET
    reply_ms: Seconds | UnsetType = UNSET
    odds: Odds | UnsetType = UNSET
    tags_as_array: bool | UnsetType = UNSET
    webhooks: Mode | UnsetType = UNSET
    telegram: TelegramFaultsChange | UnsetType = UNSET


class Chaos:
    """The faults in force."""

    def __init__(self, *, tags_as_array: bool = False) -> None:
        self._tags_as_array = tags_as_array
        self.settings = ChaosSettings(tags_as_array=tags_as_array)

    def reset(self) -> None:
        """Back to no faults."""
        self.settings = ChaosSettings(tags_as_array=self._tags_as_array)

    def change(self, change: ChaosChange) -> None:
        """Set the fields that `change` names."""
        _set(self.settings, change, ("telegram",))
        if isinstance(change.telegram, TelegramFaultsChange):
            _set(self.settings.telegram, change.telegram)

    async def before_effect(self) -> Fate:
        """Delay or refuse a send call; what else is to become of it. Raises ApiError or BrokenUpstream."""
        settings = self.settings
        if settings.latency_ms:
            await asyncio.sleep(settings.latency_ms / 1000)
        if not settings.fail_next:
            match fate := settings.odds.draw():
                case "refused":
                    raise _refusal(429, None, settings.retry_after)
                case "failed":
                    raise _refusal(500, None, 0)
            return fate
        settings.fail_next -= 1
        status, name, retry_after = settings.status, settings.name, settings.retry_after
        await asyncio.sleep(settings.hang_seconds)
        if status in (502, 504) and name is None:
            raise BrokenUpstream(status)
        raise _refusal(status, name, retry_after)

    async def after_effect(self, fate: Fate) -> None:
        """Delay the reply to an accepted call, or spoil it. Raises ConnectionDropped or ApiError, marked as effective."""
        settings = self.settings
        if settings.reply_ms:
            await asyncio.sleep(settings.reply_ms / 1000)
        if settings.close_after_accept:
            settings.close_after_accept -= 1
            await asyncio.sleep(settings.hang_seconds)
            fate = "lost"
        if fate == "lost":
            raise ConnectionDropped
        if fate == "failed_after":
            error = _refusal(500, None, 0)
            error.effective = True
            raise error


def _refusal(status: int, name: str | None, retry_after: int) -> ApiError:
    error_name = name or NAME_OF_STATUS.get(status, "application_error")
    headers = {"retry-after": str(retry_after)} if status == 429 else {}
    return ApiError(status, error_name, f"The sandbox was told to answer {status} {error_name}.", headers)


def _set(settings: Struct, change: Struct, besides: tuple[str, ...] = ()) -> None:
    for name in change.__struct_fields__:
        value = getattr(change, name)
        if value is not UNSET and name not in besides:
            setattr(settings, name, value)
