"""Bugs planted on purpose, each a way to break one promise: the checks must catch every one of them by name."""

import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from msgspec.structs import replace

PLANTED: dict[str, Callable[[], None]] = {}


class Edit(NamedTuple):
    """A room's named query, and what stands there (once: test_machinery looks) instead of what."""

    package: str
    query: str
    old: str
    new: str


EDITS = {
    "no_fence": Edit(
        "nurture_email", "claim_settle", "fence = $2 and state = 'open'", "(fence = $2 or true) and state = 'open'"
    ),
    "requeue_of_an_expired_lease": Edit("nurture_telegram", "reap", "retries and doubts", "true and doubts"),
    "consent_read_outside_the_claim": Edit(
        "nurture_email",
        "claim_next",
        "case o.kind when 'announcement' then c.announcement_consent else c.consent end <> 'granted'",
        "false",
    ),
}


def plant(name: str) -> None:
    """Put the bug into this process."""
    PLANTED[name]()


def _planted(bug: Callable[[], None]) -> Callable[[], None]:
    PLANTED[bug.__name__] = bug
    return bug


@_planted
def ack_before_commit() -> None:
    """A message is acked before its transaction; what happens then is not the bus's business any more."""
    desk = _module("nurture_chassis.settling").Desk

    async def settle(self: Any, call_next: Any, msg: Any) -> None:
        # The server has it: a death that comes at once would else take an unsent ack with it.
        await msg.raw_message.ack_sync()
        await call_next(msg)

    desk.settle = settle


@_planted
def fresh_key_per_attempt() -> None:
    """Each attempt at an email comes under a key of its own."""
    resend = _module("nurture_email.resend").Resend
    send = resend.send

    async def afresh(self: Any, key: str, mails: Any) -> Any:
        return await send(self, str(uuid4()), mails)

    resend.send = afresh


@_planted
def retry_after_a_time_out() -> None:
    """A Telegram message is sent again when nobody knows whether it went."""
    sender = _module("nurture_telegram.sender")
    decide = sender.decide
    sender.decide = lambda claim, verdict, limits: decide(replace(claim, retries=True), verdict, limits)


@_planted
def no_fence() -> None:
    """Whoever has had a claim may write its end, also after somebody else took it."""
    _edit("no_fence")


@_planted
def requeue_of_an_expired_lease() -> None:
    """What was being sent to a chat when its worker died is sent again."""
    _edit("requeue_of_an_expired_lease")


@_planted
def no_guard_of_the_key() -> None:
    """An email is tried again under its key for as long as it takes, whatever the provider still knows of that key."""
    _module("nurture_email.attempts").KEY_LIFETIME = timedelta(days=365)


@_planted
def no_inbox() -> None:
    """An event is counted each time that it comes."""
    store = _module("nurture_scoring.store")
    keep = store.keep_events

    async def all_are_new(tx: Any, events: Any) -> set[Any]:
        await keep(tx, events)
        return set(events)

    store.keep_events = all_are_new


@_planted
def consent_read_outside_the_claim() -> None:
    """Planning has looked at consent, so the claim does not."""
    _edit("consent_read_outside_the_claim")


def _edit(mutant: str) -> None:
    """Another text for a named query."""
    edit = EDITS[mutant]
    queries = _module("nurture_chassis.queries").Queries
    make = queries.__init__

    def edited(self: Any, *args: Any) -> None:
        make(self, *args)
        self._blocks[edit.query] = self._blocks[edit.query].replace(edit.old, edit.new)

    queries.__init__ = edited


def _module(name: str) -> Any:
    return importlib.import_module(name)
