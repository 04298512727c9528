"""Pure: what the counters should say, counted once more from the log of events."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC

from nurture_contracts.canary import SEQUENCE

from nurture_local.verify import ties
from nurture_local.verify.fold import Folded, fold
from nurture_local.verify.history import KINDS, Counted, Delivery, Snapshot
from nurture_local.verify.verdict import Bad, Verdict

_ARRIVED = frozenset({"delivered", "opened", "clicked"})


def recounted(history: Snapshot) -> dict[Counted, Counter[str]]:
    """Counters from the log. Of the rows only what was decided when a delivery was planned is believed."""
    found: dict[Counted, Counter[str]] = {}
    for _, one, events in ties.walk(history):
        if one is not None and counts(one):
            day = one.created_at.astimezone(UTC).date()
            key = Counted(day, one.sequence_type, one.step, one.variant, one.channel)
            found.setdefault(key, Counter()).update(_counts(one, fold(one, events)))
    return found


def counts(one: Delivery) -> bool:
    """Whether numbers and scores know it: the canary's are sent as all are, and count nowhere."""
    return one.sequence_type != SEQUENCE


def _counts(one: Delivery, folded: Folded) -> Iterator[str]:
    yield "planned"
    yield from folded.facts
    if one.fallback_of is not None:
        yield "fallbacks"
        if _ARRIVED & folded.facts.keys():
            yield "fallback_saves"


def differences(history: Snapshot) -> list[Bad]:
    """Every counter that is not what the log says; its id is its key and its name."""
    told = recounted(history)
    bad: list[Bad] = []
    for key in sorted({*told, *history.analytics}, key=lambda key: tuple(map(str, key))):
        had, wanted = history.analytics.get(key, {}), told.get(key, Counter())
        for name in NAMES:
            if had.get(name, 0) != wanted[name]:
                why = f"it is counted {had.get(name, 0):,} times, and the log says {wanted[name]:,}"
                bad.append(Bad(f"{_shown(key)} {name}", why))
    return bad


def c11_analytics(history: Snapshot) -> Verdict:
    """C11 of the counters alone: `of` is how many there are."""
    cells = sum(len(counters) for counters in history.analytics.values())
    total = Counter[str]()
    for counters in history.analytics.values():
        total.update(counters)
    notes = [f"{name.replace('_', ' ')} {total[name]:,}" for name in NAMES if total[name]]
    return Verdict(check="C11", name="analytics", of=cells, bad=differences(history), notes=notes)


def _shown(key: Counted) -> str:
    variant = f"/{key.variant}" if key.variant else ""
    return f"{key.day} {key.sequence_type}/{key.step}{variant} {key.channel}"


NAMES = ("planned", *reversed(KINDS), "fallbacks", "fallback_saves")
"""What is counted."""
