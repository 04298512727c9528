"""Pure: what checks are told beside the history."""

from uuid import UUID

from msgspec import Struct


class Refused(Struct, frozen=True, kw_only=True):
    """Somebody's refusal of a channel was answered with 2xx at `real_at`, Unix seconds."""

    user_id: UUID
    channel: str
    real_at: float


class Rate(Struct, frozen=True, kw_only=True):
    """A provider takes so many calls a second; `slack` more are allowed to arrive together. `per_chat`: to one recipient."""

    per_second: float
    slack: int = 1
    per_chat: int | None = None


class Sample(Struct, frozen=True):
    """How many of something a process had at a moment, Unix seconds."""

    at: float
    value: int
