"""Pure: C6 and C7, every projection is the fold of its log, in whatever order the log came."""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from uuid import UUID

from msgspec.structs import replace

from nurture_local.verify import analytics, scores, ties
from nurture_local.verify.fold import Folded, differences, fold
from nurture_local.verify.history import KINDS, Credit, Delivery, Event, Snapshot
from nurture_local.verify.verdict import Bad, Verdict
from nurture_local.verify.ways import Ways

Found = tuple[Bad, bool]
_KINDS = {
    "accepted": "sent",
    "rejected": "failed",
    "unknown": "unknown",
    "suppressed": "suppressed",
    "expired": "expired",
}
_NEAR = 1e-6
_SCORING = (
    ("email", "nurture.evt.email.observed", "scoring-email-observed"),
    ("telegram", "nurture.evt.telegram.observed", "scoring-telegram-observed"),
    ("telegram", "nurture.evt.telegram.settled", "scoring-telegram-settled"),
)
_FOLDING = (
    ("email", "nurture.evt.email.observed", "controller-email-observed"),
    ("telegram", "nurture.evt.telegram.observed", "controller-telegram-observed"),
    ("telegram", "nurture.evt.telegram.settled", "controller-telegram-settled"),
)


def c6_projections(history: Snapshot, *, streams: bool = True) -> Verdict:
    """Facts equal the fold of the log, scores equal their formula over the log, the streams hold what the outboxes said.

    `streams=False` where messages were taken from a stream on purpose."""
    ways = Ways(history)
    found = [*_logged(history, ways), *_sums(history), *(_streams(history) if streams else ())]
    bad = [one for one, may_end in found if not may_end]
    still = [one for one, may_end in found if may_end]
    notes = [
        f"{len(history.events):,} events, {len(history.scores.credits):,} credits, {len(history.scores.states):,} sums"
    ]
    if streams and history.bus is not None and history.bus.messages is not None:
        notes.append(f"{len(history.bus.messages):,} messages of the bus")
    return Verdict(check="C6", name="projections", of=len(history.deliveries), bad=bad, open=still, notes=notes)


def _logged(history: Snapshot, ways: Ways) -> Iterator[Found]:
    """Rows, claims and credits against the log, a delivery at a time."""
    ends: dict[UUID, list[tuple[str, str]]] = defaultdict(list)
    for member, outcome, channel in _ends(history):
        ends[member].append((outcome, channel))
    credits = {one.delivery_id: one for one in history.scores.credits}
    refused = _refused(history)
    unheard = next((why for way in (*_SCORING, *_FOLDING) if (why := ways.under_way(*way))), None)
    for id, one, events in ties.walk(history):
        credit = credits.pop(id, None)
        if one is None:
            yield Bad(str(id), "the log speaks of a delivery that nobody planned"), False
            continue
        yield from ((Bad(str(id), why), False) for why in differences(one, fold(one, events)))
        yield from _settled(id, ends.get(id, ()), {event.kind for event in events}, ways)
        why = None if id in refused or not analytics.counts(one) else _uncredited(one, events, credit)
        if why:
            yield Bad(str(id), f"{why}: {unheard}" if unheard else why), bool(unheard)
    for id in credits:
        yield Bad(str(id), "scoring credits a delivery that nobody planned"), False


def _settled(id: UUID, ends: Iterable[tuple[str, str]], kinds: set[str], ways: Ways) -> Iterator[Found]:
    """What a claim ended with is in the log, or on its way there."""
    for outcome, channel in ends:
        wanted = _KINDS.get(outcome, outcome)
        if wanted not in kinds and not (wanted == "suppressed" and "cancelled" in kinds):
            why = ways.under_way(channel, f"nurture.evt.{channel}.settled", f"controller-{channel}-settled")
            yield Bad(str(id), f"its claim ended {outcome}, and the log has no word of it: {why or 'lost'}"), bool(why)


def _ends(history: Snapshot) -> Iterator[tuple[UUID, str, str]]:
    for claim in history.claims:
        if claim.state == "settled" and not claim.test:
            yield from ((member, ended.outcome, "email") for member, ended in claim.results.items())
    for one in history.telegram_claims.values():
        if one.outcome is not None:
            yield one.delivery_id, one.outcome, "telegram"


def _uncredited(one: Delivery, events: Iterable[Event], credit: Credit | None) -> str | None:
    """Scoring has heard of every delivery and answer that the log has, and of no other."""
    wanted, signals = scores.heard(one, events)
    had = credit.delivered_at if credit else None
    answers = frozenset(credit.signals) if credit else frozenset()
    if (had, answers) == (wanted, frozenset(signals)):
        return None
    return f"scoring has it delivered at {had} with {len(answers)} answers, and the log at {wanted} with {len(signals)}"


def _refused(history: Snapshot) -> frozenset[UUID]:
    """Deliveries that a dead letter of scoring's speaks of: it has refused what the log took."""
    letters = b"".join(one.payload for one in history.dead_letters if one.room == "scoring")
    if not letters:
        return frozenset()
    return frozenset(id for id in history.deliveries if str(id).encode() in letters)


def _sums(history: Snapshot) -> Iterator[Found]:
    known = history.scores
    owed = scores.goals_owed(known.credits, known.occasions)
    for one in known.credits:
        yield from ((Bad(str(one.delivery_id), why), False) for why in _credit(one, owed.get(one.delivery_id)))
    states, means = scores.sums(known.credits, known.occasions, owed)
    for (user, kind), had in known.states.items():
        yield from _compared(str(user), kind, had, states.pop((user, kind), (0.0, 0.0)))
    for (user, kind), wanted in states.items():
        yield from _compared(str(user), kind, (0.0, 0.0), wanted)
    for kind in sorted({*known.means, *means}):
        yield from _compared("everybody", kind, known.means.get(kind, (0.0, 0.0)), means.get(kind, (0.0, 0.0)))


def _credit(one: Credit, goal_at: float | None) -> Iterator[str]:
    if one.goal_at != goal_at:
        yield f"scoring credits it with a goal at {one.goal_at}, and what its person did says {goal_at}"
    worth = scores.credit(one.signals, one.delivered_at, one.channel, goal_at)
    if not math.isclose(worth, one.credit, abs_tol=_NEAR):
        yield f"scoring credits it with {one.credit:g}, and its answers are worth {worth:g}"


def _compared(who: str, kind: str, had: tuple[float, float], wanted: tuple[float, float]) -> Iterator[Found]:
    near = _NEAR * max(1.0, abs(wanted[1]))
    if any(abs(a - b) > near for a, b in zip(had, wanted, strict=True)):
        yield Bad(who, f"{kind} R and N are {_pair(had)}, and what they are made from says {_pair(wanted)}"), False


def _pair(sums: tuple[float, float]) -> str:
    return f"{sums[0]:.6g} and {sums[1]:.6g}"


def _streams(history: Snapshot) -> Iterator[Found]:
    """What an outbox has published since its stream was made is in the stream."""
    if history.bus is None or history.bus.messages is None:
        return
    there = {(one.stream, (one.msg_id or "").partition(".")[0]) for one in history.bus.messages}
    streams = {one.name: one for one in history.bus.streams}
    for letter in history.outbox:
        stream = streams.get("COMMANDS" if letter.subject.startswith("nurture.cmd.") else "EVENTS")
        if letter.published_at is None or stream is None:
            continue
        age = (history.taken_at - letter.created_at).total_seconds()
        if stream.created_at is not None and letter.created_at < stream.created_at:
            continue  # the stream was made anew since then
        if age < stream.max_age - 3600 and (stream.name, str(letter.id)) not in there:
            yield (
                Bad(str(letter.id), f"{letter.room} published {letter.subject}, and {stream.name} does not have it"),
                False,
            )


def c7_order(history: Snapshot, *, seed: int = 0, other: Snapshot | None = None) -> Verdict:
    """The log shuffled and tripled gives the same projections. `other`: a history of the same events in another order."""
    shuffle = random.Random(seed)  # noqa: S311 - an order that can be had again, not a secret
    credits = {one.delivery_id: one for one in history.scores.credits}
    bad: list[Bad] = []
    again: list[Credit] = []
    for id, one, events in ties.walk(history):
        mixed = events * 3
        shuffle.shuffle(mixed)
        if one is None:
            continue
        bad += [Bad(str(id), f"in another order: {why}") for why in differences(one, fold(one, mixed))]
        if id in credits:
            delivered, signals = scores.heard(one, mixed)
            again.append(replace(credits[id], delivered_at=delivered, signals=signals))
    shuffle.shuffle(again)
    bad += _sums_again(history, again, shuffle)
    if other is not None:
        bad += _differ(history, other)
    notes = [f"{len(history.events):,} events × 3, seed {seed}"]
    return Verdict(check="C7", name="order", of=len(history.deliveries), bad=bad, notes=notes)


def _sums_again(history: Snapshot, credits: list[Credit], shuffle: random.Random) -> Iterator[Bad]:
    """The sums over everybody, from credits that were made from the shuffled log."""
    occasions = list(history.scores.occasions)
    shuffle.shuffle(occasions)
    _, means = scores.sums(credits, occasions, scores.goals_owed(credits, occasions))
    for kind in sorted({*means, *history.scores.means}):
        had, wanted = history.scores.means.get(kind, (0.0, 0.0)), means.get(kind, (0.0, 0.0))
        yield from (Bad(one.id, f"in another order: {one.why}") for one, _ in _compared("everybody", kind, had, wanted))


def _differ(history: Snapshot, other: Snapshot) -> Iterable[Bad]:
    for id in sorted({*history.deliveries, *other.deliveries}):
        one, two = history.deliveries.get(id), other.deliveries.get(id)
        if one is None or two is None:
            yield Bad(str(id), "it is in one history only")
        elif _projected(one) != _projected(two):
            why = "; ".join(differences(one, _projected(two)))
            yield Bad(str(id), f"the two histories differ: {why}")
    for key in sorted({*history.scores.states, *other.scores.states}, key=str):
        had, wanted = (one.scores.states.get(key, (0.0, 0.0)) for one in (history, other))
        yield from (bad for bad, _ in _compared(str(key[0]), key[1], had, wanted))


def _projected(one: Delivery) -> Folded:
    facts = {kind: at for kind in KINDS if (at := one.fact(kind)) is not None}
    return Folded(facts, one.failure_reason, one.provider_id, one.attempts)
