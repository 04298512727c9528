"""Pure: C9 and C10, nothing went after a refusal, before its time, too late, or too fast."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from nurture_local.verify import ties
from nurture_local.verify.history import Delivery, Effect, Snapshot
from nurture_local.verify.inputs import Rate, Refused
from nurture_local.verify.verdict import NO_LEDGER, Bad, Verdict, skipped

LEASE_SECONDS = 60.0
"""Whether a message has expired is asked when it is claimed; a call may begin as late as the lease ends."""


def c9_suppression(history: Snapshot, *, refused: Iterable[Refused] = (), grace: float = 10.0) -> Verdict:
    """No effect later than `grace` real seconds after a refusal. `refused`: those that a client saw answered with 2xx."""
    if history.ledger is None:
        return skipped("C9", "suppression", NO_LEDGER)
    by_business = {
        (one.user_id, one.channel): one.consent_at
        for one in history.contacts
        if one.consent == "refused" and one.consent_at is not None
    }
    by_client: dict[tuple[UUID, str], float] = {}
    for word in refused:
        by_client[word.user_id, word.channel] = min(
            word.real_at, by_client.get((word.user_id, word.channel), word.real_at)
        )
    chats = {one.chat_id: one.at.timestamp() for one in history.chat_refusals}
    addresses = _reported(history)
    margin = timedelta(seconds=grace * history.speed)
    bad: list[Bad] = []
    for one, effect in _sent(history):
        who = (one.user_id, one.channel)
        said: datetime | None = by_business.get(who)
        if said is not None and effect.at > said + margin:
            bad.append(Bad(str(one.id), _late(effect.at - said, history.speed, "the person had refused the channel")))
        for at, what in (
            (by_client.get(who), "a refusal had been answered"),
            (chats.get(effect.recipient) if one.channel == "telegram" else None, "the chat had said /stop"),
            (addresses.get(effect.recipient.lower()) if one.channel == "email" else None, "the address was reported"),
        ):
            if at is not None and effect.real_at > at + grace:
                bad.append(Bad(str(one.id), _late(timedelta(seconds=effect.real_at - at), 1.0, what)))
    of = len(by_business) + len(by_client) + len(chats) + len(addresses)
    return Verdict(check="C9", name="suppression", of=of, bad=bad, notes=[f"{of:,} refusals and reports"])


def _late(by: timedelta, speed: float, what: str) -> str:
    return f"it went {by.total_seconds() / speed:.1f} s after {what}"


def _sent(history: Snapshot) -> Iterator[tuple[Delivery, Effect]]:
    for id, effects in ties.tie(history).effects.items():
        if (one := history.deliveries.get(id)) is not None:
            yield from ((one, effect) for effect in effects)


def _reported(history: Snapshot) -> dict[str, float]:
    """When we learned that an address is dead or unwilling, Unix seconds: the log has that later than the suppression."""
    learned: dict[UUID, float] = {}
    about = {one.delivery_id: one.address_key for one in history.suppressions}
    if not about:
        return {}
    for event in history.events:
        id = event.delivery_id
        if id is not None and id in about and event.kind in ("bounced", "complained"):
            learned[id] = max(event.received_at.timestamp(), learned.get(id, 0.0))
    return {about[id]: at for id, at in learned.items()}


def c10_schedule(history: Snapshot, *, rates: Mapping[str, Rate] | None = None) -> Verdict:
    """No effect before its time, or after it expired unless an attempt may have arrived before; no second busier than the
    rate of its channel."""
    if history.ledger is None:
        return skipped("C10", "schedule", NO_LEDGER)
    bad: list[Bad] = []
    excused = {id for id, claims in ties.email_claims(history).items() if any(one.may_have_arrived for one in claims)}
    late = timedelta(seconds=LEASE_SECONDS * history.speed)
    for one, effect in _sent(history):
        if effect.at < one.scheduled_at:
            bad.append(Bad(str(one.id), f"it went {one.scheduled_at - effect.at} before its time"))
        elif effect.at > one.expires_at + late and one.id not in excused:
            bad.append(Bad(str(one.id), f"it went {effect.at - one.expires_at} after it had expired"))
    busiest: list[str] = []
    for channel, rate in sorted((rates or {}).items()):
        calls = _calls(history.ledger, channel)
        most, at = densest(calls)
        busiest.append(f"{channel}: {most} calls in the busiest second, {rate.per_second:g} allowed")
        if most > rate.per_second + rate.slack:
            bad.append(Bad(channel, f"{most} calls in the second from {at:.3f}, and {rate.per_second:g} are allowed"))
        if rate.per_chat is not None:
            bad += _to_one(history.ledger, channel, rate.per_chat)
    return Verdict(check="C10", name="schedule", of=len(history.ledger), bad=bad, notes=busiest)


def _calls(ledger: Iterable[Effect], channel: str) -> list[float]:
    """When the provider was called: once for all messages of a request."""
    moments: dict[object, float] = {}
    for effect in ledger:
        if effect.channel == channel:
            moments.setdefault(effect.key or effect.seq, effect.real_at)
    return sorted(moments.values())


def densest(times: list[float], window: float = 1.0) -> tuple[int, float]:
    """The most that fall into any half-open window of that many seconds, and when it began. `times` in order."""
    most, began, first = 0, 0.0, 0
    for last, at in enumerate(times):
        while at - times[first] >= window:
            first += 1
        if last - first + 1 > most:
            most, began = last - first + 1, times[first]
    return most, began


def _to_one(ledger: Iterable[Effect], channel: str, per_chat: int) -> Iterator[Bad]:
    times: dict[str, list[float]] = defaultdict(list)
    for effect in ledger:
        if effect.channel == channel and effect.delivery_id is not None:
            times[effect.recipient].append(effect.real_at)
    for at in times.values():
        most, began = densest(sorted(at))
        if most > per_chat:
            # The address is somebody's: the moment tells enough.
            yield Bad(
                channel, f"{most} messages to one chat in the second from {began:.3f}, and {per_chat} are allowed"
            )
