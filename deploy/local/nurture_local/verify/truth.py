"""Pure: C3 to C5, what is said of a message is what happened to it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import UUID

from nurture_local.verify import ties
from nurture_local.verify.fold import EVIDENCE, facts_of
from nurture_local.verify.history import Delivery, Snapshot
from nurture_local.verify.verdict import NO_LEDGER, Bad, Verdict, skipped


def c3_truth(history: Snapshot) -> Verdict:
    """What is said to be sent has an effect or evidence; what is said to have failed has none."""
    effects = ties.tie(history).effects if history.ledger is not None else None
    shared = _shared_provider_ids(history)
    told = evidence_of(history)
    bad: list[Bad] = []
    sent = ended = 0
    for one in history.deliveries.values():
        sent += one.left
        ended += not one.left and not one.open and one.unknown_at is None
        why = shared.get(one.id) or _untrue(one, effects, told.get(one.id, frozenset()))
        if why:
            bad.append(Bad(str(one.id), why))
    notes = [
        f"{sent:,} sent, {ended:,} ended without",
        "against the ledger" if effects is not None else "by evidence only",
    ]
    return Verdict(check="C3", name="truth", of=sent + ended, bad=bad, notes=notes)


def _untrue(one: Delivery, effects: Mapping[UUID, object] | None, told: frozenset[str]) -> str | None:
    if one.left:
        if effects is not None:
            return None if one.id in effects else "it says sent, and the ledger has no effect of it"
        # An observation names the delivery itself; an accepted call has the provider's id.
        return None if one.provider_id or told else "it says sent, without a provider id and without evidence"
    if one.open or one.unknown_at is not None:
        return None
    if effects is not None and one.id in effects:
        return f"it says {one.status}, and the ledger has an effect of it"
    return f"it says {one.status}, and yet it was {', '.join(sorted(told))}" if told else None


def _shared_provider_ids(history: Snapshot) -> dict[UUID, str]:
    holders: dict[str, UUID] = {}
    found: dict[UUID, str] = {}
    for one in history.deliveries.values():
        if one.provider_id and holders.setdefault(one.provider_id, one.id) != one.id:
            found[one.id] = f"its provider id {one.provider_id} is also that of {holders[one.provider_id]}"
    return found


def evidence_of(history: Snapshot) -> dict[UUID, frozenset[str]]:
    """Kinds of events, by delivery, that only a message which left can have."""
    found: dict[UUID, frozenset[str]] = {}
    for delivery, events in ties.by_delivery(history.events):
        kinds = frozenset(kind for event in events for kind in facts_of(event) if kind in EVIDENCE)
        if kinds:
            found[delivery] = kinds
    return found


def c4_phantoms(history: Snapshot) -> Verdict:
    """Every effect belongs to a planned delivery, went to its frozen address, and always with the same words."""
    if history.ledger is None:
        return skipped("C4", "phantoms", NO_LEDGER)
    tied = ties.tie(history)
    bad: list[Bad] = []
    for delivery, effects in tied.effects.items():
        one = history.deliveries.get(delivery)
        if one is None:
            bad.append(Bad(str(delivery), f"sent to {len(effects)} recipients, and nobody planned it"))
            continue
        if len({effect.payload_sha256 for effect in effects}) > 1:
            bad.append(Bad(str(delivery), "its effects have different words"))
        wanted = {one.address.lower(), history.moved_chats.get(one.address, one.address).lower()}
        for effect in effects:
            if effect.channel != one.channel:
                bad.append(Bad(str(delivery), f"planned for {one.channel}, and it went by {effect.channel}"))
            elif effect.recipient.lower() not in wanted:
                bad.append(Bad(str(delivery), "it went to another address than the one that was frozen with it"))
    bad += [Bad(one.provider_id, "an email that no delivery explains") for one in tied.loose if one.channel == "email"]
    chats = sum(one.channel == "telegram" for one in tied.loose)
    notes = [f"{chats:,} messages in chats are answers, or carry nothing that tells whose they are"] if chats else []
    return Verdict(check="C4", name="phantoms", of=len(history.ledger), bad=bad, notes=notes)


def c5_window(
    history: Snapshot,
    *,
    kills: Mapping[str, int] | None = None,
    concurrency: Mapping[str, int] | None = None,
    ambiguous: Mapping[str, int] | None = None,
) -> Verdict:
    """Each unknown is an ambiguous attempt without evidence, and there are at most kills × concurrency + ambiguous of them,
    each by channel. Without `kills` they are not bounded. All unknowns are listed."""
    effects = ties.tie(history).effects
    claims = ties.email_claims(history)
    told = evidence_of(history)
    unknown = [one for one in history.deliveries.values() if one.status == "unknown"]
    bad = [Bad(str(one.id), why) for one in unknown if (why := _certain(one, history, claims, told))]
    bad += list(_too_many(Counter(one.channel for one in unknown), kills, concurrency or {}, ambiguous or {}))
    listed = [Bad(str(one.id), _doubt(one, history, effects)) for one in unknown]
    arrived = sum(one.id in effects for one in unknown)
    notes = [f"{len(unknown):,} unknown"]
    if history.ledger is not None and unknown:
        notes.append(f"{arrived:,} of them had arrived")
    return Verdict(check="C5", name="window", of=len(history.deliveries), bad=bad, listed=listed, notes=notes)


def _certain(
    one: Delivery, history: Snapshot, claims: Mapping[UUID, list], told: Mapping[UUID, frozenset[str]]
) -> str | None:
    """Why an unknown should not be one."""
    if one.id in told:
        return f"unknown, and yet it was {', '.join(sorted(told[one.id]))}"
    if one.channel == "telegram":
        claim = history.telegram_claims.get(one.id)
        if claim is not None and claim.attempt == 0:
            return "unknown, and nobody ever tried to send it"
        if claim is not None and claim.outcome != "unknown":
            return f"unknown, and its claim says {claim.outcome or claim.state}"
        return None
    ends = [claim.results[one.id].outcome for claim in claims.get(one.id, ()) if one.id in claim.results]
    if claims.get(one.id) and "unknown" not in ends:
        return f"unknown, and its claims say {', '.join(ends) or 'nothing'}"
    return None


def _too_many(
    unknown: Mapping[str, int],
    kills: Mapping[str, int] | None,
    concurrency: Mapping[str, int],
    ambiguous: Mapping[str, int],
) -> Iterator[Bad]:
    if kills is None:
        return
    for channel, count in sorted(unknown.items()):
        most = kills.get(channel, 0) * concurrency.get(channel, 0) + ambiguous.get(channel, 0)
        if count > most:
            yield Bad(channel, f"{count} unknown, and the faults explain {most}")


def _doubt(one: Delivery, history: Snapshot, effects: Mapping[UUID, object]) -> str:
    reason = one.failure_reason or "no reason"
    if history.ledger is None:
        return f"{one.channel}: {reason}"
    return f"{one.channel}: {reason}; it had {'arrived' if one.id in effects else 'not arrived'}"
