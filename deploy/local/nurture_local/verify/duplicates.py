"""Pure: C1, nobody got a message twice."""

from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

from nurture_local.verify import ties
from nurture_local.verify.history import Delivery, EmailClaim, Snapshot
from nurture_local.verify.verdict import Bad, Verdict

ARRIVED = frozenset({"accepted", "unknown"})
"""Outcomes after which a member may be with its recipient."""


def c1_duplicates(history: Snapshot) -> Verdict:
    """Nobody got a message twice: no delivery and no key twice in the ledger, none in two claims that both may have
    arrived, none with two provider ids, no second delivery of a step. Those of a step with `on_ambiguous = "retry"` are
    listed, not bad."""
    bad: list[Bad] = []
    listed: list[Bad] = []
    for delivery, why in (*_in_ledger(history), *_in_claims(history), *_by_provider_id(history)):
        one = history.deliveries.get(delivery)
        allowed = one is not None and one.on_ambiguous == "retry"
        (listed if allowed else bad).append(Bad(str(delivery), why))
    bad += [*_keys(history), *_steps(history)]
    return Verdict(
        check="C1", name="duplicates", of=len(history.deliveries), bad=bad, listed=listed,
        notes=[f"{len(listed)} may have come twice, as their step allows"] if listed else [],
    )  # fmt: skip


def _in_ledger(history: Snapshot) -> Iterator[tuple[UUID, str]]:
    tied = ties.tie(history)
    for delivery, effects in tied.effects.items():
        if len(effects) > 1:
            yield (
                delivery,
                f"{len(effects)} effects in the ledger: {', '.join(str(one.provider_id) for one in effects)}",
            )
    tests = defaultdict(list)
    for effect in tied.tests:
        tests[effect.delivery_id].append(effect.provider_id)
    for id, found in tests.items():
        if len(found) > 1:
            yield id, f"a test mail with {len(found)} effects in the ledger: {', '.join(found)}"


def _keys(history: Snapshot) -> Iterator[Bad]:
    """A request takes effect at one moment, all of it; a key with two moments took effect twice."""
    moments: dict[str, set[float]] = defaultdict(set)
    for effect in history.ledger or ():
        if effect.key is not None:
            moments[effect.key].add(effect.real_at)
    for key, at in moments.items():
        if len(at) > 1:
            yield Bad(key, f"this key took effect {len(at)} times")


def _in_claims(history: Snapshot) -> Iterator[tuple[UUID, str]]:
    for member, claims in ties.email_claims(history).items():
        arrived = [claim for claim in claims if may_have_arrived(claim, member)] if len(claims) > 1 else []
        if len(arrived) > 1:
            yield member, f"it may have arrived by {len(arrived)} claims: {', '.join(str(one.id) for one in arrived)}"


def may_have_arrived(claim: EmailClaim, member: UUID) -> bool:
    """Whether this member may be with its recipient by this claim. One without a result was certainly not sent, once the
    claim is settled; before, every attempt that began may have reached it."""
    ended = claim.results.get(member)
    if ended is not None:
        return ended.outcome in ARRIVED
    return claim.state == "open" and (claim.may_have_arrived or claim.lease_until is not None)


def _by_provider_id(history: Snapshot) -> Iterator[tuple[UUID, str]]:
    """Every source that names the provider's id of a delivery has to name the same one."""
    claimed: dict[UUID, set[str]] = defaultdict(set)
    for claim in history.claims:
        for member, ended in claim.results.items():
            if ended.provider_id:
                claimed[member].add(ended.provider_id)
    for claim in history.telegram_claims.values():
        if claim.provider_id:
            claimed[claim.delivery_id].add(claim.provider_id)
    for delivery, events in ties.by_delivery(history.events):
        told = {one.provider_id for one in events if one.provider_id}
        if len(told | claimed.get(delivery, set())) > 1:
            claimed[delivery] |= told
    for delivery, ids in claimed.items():
        if len(ids) > 1:
            yield delivery, f"{len(ids)} provider ids: {', '.join(sorted(ids))}"


def _steps(history: Snapshot) -> Iterator[Bad]:
    """At most one delivery by enrolment, step, channel and round; a second channel only as a fallback; a round beyond the
    first only by an operator."""
    first: dict[tuple[UUID, int, str, int], UUID] = {}
    own: dict[tuple[UUID, int, int], UUID] = {}
    followed: dict[UUID, UUID] = {}
    for one in history.deliveries.values():
        key = (one.enrolment_id, one.step, one.channel, one.round)
        if key in first:
            yield Bad(str(one.id), f"a second delivery of step {one.step} by {one.channel}, beside {first[key]}")
        first.setdefault(key, one.id)
        if one.round > 0 and not one.by_operator:
            yield Bad(str(one.id), f"round {one.round} of step {one.step}, and no operator asked for it")
        if one.by_operator:
            continue
        if one.fallback_of is None:
            place = (one.enrolment_id, one.step, one.round)
            if own.setdefault(place, one.id) != one.id:
                yield Bad(
                    str(one.id), f"step {one.step} was planned twice, also as {own[place]}, and this is no fallback"
                )
        else:
            yield from _fallback(history, one, followed)


def _fallback(history: Snapshot, one: Delivery, followed: dict[UUID, UUID]) -> Iterator[Bad]:
    assert one.fallback_of is not None
    if followed.setdefault(one.fallback_of, one.id) != one.id:
        yield Bad(str(one.id), f"a second fallback of {one.fallback_of}, beside {followed[one.fallback_of]}")
    failed = history.deliveries.get(one.fallback_of)
    if failed is None:
        yield Bad(str(one.id), f"a fallback of {one.fallback_of}, which is not there")
    elif failed.channel == one.channel or (failed.enrolment_id, failed.step) != (one.enrolment_id, one.step):
        yield Bad(str(one.id), f"a fallback of {failed.id}, which is not the same step on the other channel")
    elif not (failed.failed_at or failed.bounced_at or failed.suppressed_at):
        yield Bad(str(one.id), f"a fallback of {failed.id}, which is {failed.status} and never failed")
