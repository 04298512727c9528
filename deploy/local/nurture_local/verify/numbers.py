"""Pure: C11, every source counts the same."""

from collections import Counter
from collections.abc import Mapping

from nurture_local.verify import analytics, ties
from nurture_local.verify.history import KINDS, PENDING, Delivery, Snapshot
from nurture_local.verify.verdict import Bad, Verdict


def c11_counts(history: Snapshot, *, rest: Mapping[str, int] | None = None) -> Verdict:
    """Views, rows, the counters of analytics, the log, the ledger and, if given, the REST summary count the same."""
    rows = Counter(_status(one) for one in history.deliveries.values() if analytics.counts(one))
    bad = _differ("the view delivery_counts", history.counts, rows)
    if rest is not None:
        bad += _differ("the REST summary", rest, rows)
    bad += analytics.differences(history)
    notes = [", ".join(f"{status} {count:,}" for status, count in sorted(rows.items()))] if rows else []
    if history.ledger is not None:
        bad += _against_ledger(history)
        notes.append(f"{len(history.ledger):,} effects")
    return Verdict(check="C11", name="counts", of=len(history.deliveries), bad=bad, notes=notes)


def _status(one: Delivery) -> str:
    """From the facts, whatever the column says."""
    return next((kind for kind in KINDS if one.fact(kind) is not None), PENDING)


def _differ(source: str, told: Mapping[str, int], rows: Mapping[str, int]) -> list[Bad]:
    return [
        Bad(status, f"{source} has {told.get(status, 0)}, and the rows are {rows.get(status, 0)}")
        for status in sorted({*told, *rows})
        if told.get(status, 0) != rows.get(status, 0)
    ]


def _against_ledger(history: Snapshot) -> list[Bad]:
    """What left, by channel, is what the ledger has without what is in doubt or not settled yet."""
    effects = ties.tie(history).effects
    sent: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for one in history.deliveries.values():
        if one.left:
            sent[one.channel] += 1
        if one.id in effects and (one.left or not (one.open or one.unknown_at is not None)):
            there[one.channel] += 1
    return [
        Bad(channel, f"{sent[channel]} say that they left by {channel}, and the ledger has {there[channel]}")
        for channel in sorted({*sent, *there})
        if sent[channel] != there[channel]
    ]
