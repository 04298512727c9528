"""What a provider is to the senders: what it takes, what it answers, and whether asking twice is safe."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from nurture_email.rendering import Mail
from nurture_email.verdicts import Verdict


class Account(Struct, frozen=True, kw_only=True):
    """One provider, as its claims and its pace are kept.

    `request`: mails that it takes at once. `keyed`: the same request under the same key takes effect once, however often it
    is sent; without that, what may have arrived is never sent again. `hint`: where to look when it refuses the account.
    """

    name: str
    request: int
    keyed: bool
    hint: str


class Rate(Struct, frozen=True):
    """What the reply's headers say about the account's rate: requests a second; requests left, seconds to the next window."""

    limit: float | None = None
    remaining: int | None = None
    reset: float | None = None


class Reply(Struct, frozen=True):
    """A verdict and the rate that came with it."""

    verdict: Verdict
    rate: Rate = Rate()
    answered: bool = True
    """False: no reply came."""


class Provider(Protocol):
    """Takes 1 to `Account.request` mails as one request, under a key where it knows keys. Never raises for what a network or
    a provider can do: that is a verdict."""

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply: ...
