"""What an attempt's end leads to. Pure: a verdict comes in, a settlement or another attempt goes out.

The rule behind all of it: the Bot API has no idempotency key, so a message that may have arrived is never sent again,
unless its step says `on_ambiguous = "retry"`; and it has not failed, whatever a later attempt says.
"""

from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct
from nurture_contracts.events import Outcome

from nurture_telegram.verdicts import ChatState, Verdict

BACKOFF_BASE = 1.0
BACKOFF_CAP = 60.0
PARKED = timedelta(minutes=10)
"""How long a refused bot stops the channel; a check of the bot that goes well ends it sooner."""


class Claim(Struct, frozen=True, kw_only=True):
    """One delivery, claimed for one attempt. `attempt` counts from 1 and is the fence.

    `plain`: an earlier attempt was refused for its formatting; `moved`: one was refused because the chat had moved.
    `retries`: it is sent again after an ambiguous end; `doubts` counts those that there were.
    """

    delivery_id: UUID
    user_id: UUID
    chat_id: str
    attempt: int
    plain: bool = False
    moved: bool = False
    retries: bool = False
    doubts: int = 0
    traceparent: str | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """`max_attempts` bounds the attempts that may have arrived."""

    max_attempts: int = 3


class Settle(Struct, frozen=True, kw_only=True):
    """The attempts are over. `arrived`: this last one may have, or has. `chat` is what the refusal says about the chat."""

    outcome: Outcome
    reason: str | None = None
    provider_id: str | None = None
    arrived: bool = False
    chat: ChatState | None = None


class Again(Struct, frozen=True, kw_only=True):
    """Once more, `wait` seconds from now; the message was certainly not taken, unless there is `doubt`. `hold_chat`:
    nothing else for this chat either until then."""

    wait: float = 0.0
    doubt: bool = False
    plain: bool = False
    moved_to: str | None = None
    hold_chat: bool = False


Next = Settle | Again


def decide(claim: Claim, verdict: Verdict, limits: Limits) -> Next:
    """What follows from the verdict on a claimed delivery."""
    match verdict.kind, verdict.then:
        case "accepted", _:
            named = provider_id(claim.chat_id, verdict.message_id)
            return Settle(outcome="accepted", provider_id=named, arrived=True)
        case "rejected", _:
            return refused(claim, verdict.reason, verdict.chat)
        case "ambiguous", _ if claim.retries and claim.doubts + 1 < limits.max_attempts:
            return Again(wait=backoff(claim.delivery_id, claim.attempt), doubt=True)
        case "ambiguous", _:
            return Settle(outcome="unknown", reason=verdict.reason, arrived=True)
        case _, "plain" if not claim.plain:
            return Again(plain=True)
        case _, "migrate" if not claim.moved:
            return Again(moved_to=verdict.moved_to)
        case _, "plain" | "migrate":
            return refused(claim, verdict.reason)
        case _, "wait":
            return Again(wait=verdict.retry_after or 0.0, hold_chat=True)
        case _, "park":
            # Nothing is claimed while the channel is parked, so the message is due as soon as it runs again.
            return Again(wait=BACKOFF_BASE)
        case _:
            return Again(wait=backoff(claim.delivery_id, claim.attempt))


def refused(claim: Claim, reason: str | None, chat: ChatState | None = None) -> Settle:
    """The message will not be sent. A refusal now says nothing about an attempt that may have arrived."""
    return Settle(outcome="unknown" if claim.doubts else "rejected", reason=reason, chat=chat)


def provider_id(chat_id: str, message_id: int | None) -> str:
    """How a message is named: ids of messages are unique in their chat only."""
    return f"{chat_id}:{message_id}"


def backoff(delivery_id: UUID, attempt: int) -> float:
    """Seconds until the next try: doubling to a minute, less up to a half by delivery, so that a crowd spreads out."""
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempt - 1, 16))
    draw = int.from_bytes(sha256(delivery_id.bytes + attempt.to_bytes(4, "big")).digest()[:4], "big") / 2**32
    return ceiling * (0.5 + draw / 2)
