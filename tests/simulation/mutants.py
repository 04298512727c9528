"""Bugs planted on purpose, each a way to break one promise: the simulation has to find every one, by the invariant named here."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import uuid4

import nurture_controller.fallback
import nurture_controller.falling_back
import nurture_email.attempts
import nurture_email.sender
import nurture_telegram.sender
from msgspec.structs import replace
from nurture_chassis.outbox import Outbox
from nurture_email.calls import Calls
from nurture_email.volley_store import VolleyStore

from tests.simulation.statements import controller, deliveries, email, telegram
from tests.simulation.tables import Session
from tests.simulation.world import World


class Mutant(NamedTuple):
    """`caught_by`: invariants that may notice it first. `near`: a seed from which on it is found soon, for those in haste.
    `provider`: whom emails are given to."""

    plant: Callable[[World, ExitStack], None]
    caught_by: frozenset[str]
    near: int
    provider: str

    def __call__(self, world: World, stack: ExitStack) -> None:
        self.plant(world, stack)


MUTANTS: dict[str, Mutant] = {}


def _caught_by(*invariants: str, near: int = 0, provider: str = "resend") -> Callable[[Any], Any]:
    def keep(plant: Callable[[World, ExitStack], None]) -> Callable[[World, ExitStack], None]:
        MUTANTS[plant.__name__] = Mutant(plant, frozenset(invariants), near, provider)
        return plant

    return keep


def _everywhere(world: World, name: str, statement: Any) -> None:
    for known in world.statements.values():
        if name in known:
            known[name] = statement


@_caught_by("C2 lost", "C8 liveness", "events", "commands")
def marked_before_it_is_published(world: World, stack: ExitStack) -> None:
    """The outbox takes a message for published, whatever the bus says."""
    put = Outbox._put

    async def hopeful(self: Outbox, letters: Any) -> Any:
        return [None for _ in await put(self, letters)]

    stack.enter_context(patch.object(Outbox, "_put", hopeful))


@_caught_by("C2 lost", "C8 liveness", "events", "commands")
def acked_before_it_is_stored(world: World, stack: ExitStack) -> None:
    """A message is acked when it comes, and its transaction may still fail."""

    async def ack_first(process: Any, one: Any, durable: str, handler: Any) -> bool:
        world.bus.ack(durable, one)
        await process.handle(one, durable, handler)
        return True

    world.ack_policy = ack_first


@_caught_by("C2 lost", "C8 liveness", "events", "commands")
def loss_of_the_bus_is_not_made_good(world: World, stack: ExitStack) -> None:
    """What was published before the bus was wiped is not said again."""
    _everywhere(world, "outbox_refill", lambda s, *_: 0)


@_caught_by("C1 duplicates")
def fresh_key_per_attempt(world: World, stack: ExitStack) -> None:
    """Each attempt at an email comes under a key of its own."""
    send = world.resend.send
    world.resend.send = lambda key, mails: send(str(uuid4()), mails)  # type: ignore[method-assign]


@_caught_by("C1 duplicates")
def key_trusted_for_ever(world: World, stack: ExitStack) -> None:
    """An email is tried again under its key, whatever the provider still knows of that key."""
    nurture_email.attempts.KEY_LIFETIME = timedelta(days=365)


@_caught_by("C1 duplicates", "C3 truth")
def refusal_after_a_doubt_is_believed(world: World, stack: ExitStack) -> None:
    """An email that may have arrived has failed, because a later attempt was refused."""
    decide = nurture_email.sender.decide

    def sure(claim: Any, *rest: Any) -> Any:
        return decide(replace(claim, may_have_arrived=False), *rest)

    stack.enter_context(patch.object(nurture_email.sender, "decide", sure))


@_caught_by("C1 duplicates", near=60)
def reaper_sends_again(world: World, stack: ExitStack) -> None:
    """What was being sent to a chat when its worker died is sent again."""

    def reap(s: Session, most: int) -> Any:
        for row in s.rows("claims"):
            if (
                row["state"] == "sending"
                and row["lease_until"] < s.now
                and s.lock("claims", row["delivery_id"], "skip")
            ):
                s.update("claims", row["delivery_id"], state="waiting", lease_until=None, next_at=s.now)
        return []

    world.statements["telegram"]["reap"] = reap


@_caught_by("C1 duplicates")
def chat_is_written_to_again_after_a_time_out(world: World, stack: ExitStack) -> None:
    """A Telegram message is sent again when nobody knows whether it went."""
    decide = nurture_telegram.sender.decide

    def again(claim: Any, *rest: Any) -> Any:
        return decide(replace(claim, retries=True), *rest)

    stack.enter_context(patch.object(nurture_telegram.sender, "decide", again))


@_caught_by("C1 duplicates", near=61, provider="smtp")
def mail_without_a_key_is_sent_again(world: World, stack: ExitStack) -> None:
    """Over SMTP an email of a worker that died is sent again, as if there were a key."""
    prepare = Calls.prepare

    def again(self: Calls, taken: Any) -> Any:
        return prepare(self, replace(taken, claim=replace(taken.claim, may_have_arrived=False)))

    stack.enter_context(patch.object(Calls, "prepare", again))


@_caught_by("C5 window", near=118, provider="smtp")
def claims_that_were_not_answered_are_left(world: World, stack: ExitStack) -> None:
    """Over SMTP nobody gives back what was claimed although no answer came."""

    async def nothing(self: Any, volleys: Any) -> None: ...

    stack.enter_context(patch.object(VolleyStore, "give_back", nothing))


@_caught_by("consent", near=12)
def consent_not_asked_by_the_claim(world: World, stack: ExitStack) -> None:
    """Planning has looked at consent, so the claims do not."""
    for room in (email, telegram):
        fell = room._fell

        def lenient(*args: Any, fell: Any = fell) -> Any:
            why = fell(*args)
            return None if why == "suppressed/refused" else why

        stack.enter_context(patch.object(room, "_fell", lenient))


@_caught_by("address", near=22)
def address_not_asked_by_the_claim(world: World, stack: ExitStack) -> None:
    """What was planned goes where it was planned to go."""
    for room in (email, telegram):
        fell = room._fell

        def lenient(*args: Any, fell: Any = fell) -> Any:
            why = fell(*args)
            return None if why in ("suppressed/address_changed", "suppressed/chat_changed") else why

        stack.enter_context(patch.object(room, "_fell", lenient))


@_caught_by("held", near=67)
def hold_not_asked_by_the_claim(world: World, stack: ExitStack) -> None:
    """A pause holds planning and nothing else."""
    stack.enter_context(patch.object(email, "_held", lambda s: set()))
    stack.enter_context(patch.object(telegram, "_held", lambda s: set()))


@_caught_by("fallback")
def fallback_on_unknown(world: World, stack: ExitStack) -> None:
    """What nobody knows of is taken for failed."""
    never, failing = nurture_controller.fallback.NEVER, nurture_controller.falling_back.FAILING
    reasons = {"unknown", "worker_lost", "gave_up"}
    stack.enter_context(patch.object(nurture_controller.fallback, "NEVER", never - reasons))
    stack.enter_context(patch.object(nurture_controller.falling_back, "FAILING", failing | {"unknown"}))


@_caught_by("order", near=14)
def plans_past_an_open_delivery(world: World, stack: ExitStack) -> None:
    """The next step does not wait for the one before it."""

    def claim(s: Session, now: Any, limit: int) -> Any:
        return [row | {"last_status": None} for row in controller.enrolments_claim_due(s, now, limit)]

    world.statements["controller"]["enrolments_claim_due"] = claim


@_caught_by("fold")
def fold_takes_the_last(world: World, stack: ExitStack) -> None:
    """A fact is the time that was told last, not the earliest."""
    stack.enter_context(patch.object(deliveries, "_least", lambda old, new: new if new is not None else old))


@_caught_by("C2 lost", "commands", near=319)
def command_is_evaluated_again(world: World, stack: ExitStack) -> None:
    """A command that comes twice is not known by its answer."""
    world.statements["controller"]["command_result"] = lambda s, command_id: []
