"""Pure: C8, nothing stands still."""

from collections.abc import Iterator
from datetime import timedelta

from nurture_contracts.topology import CONSUMERS

from nurture_local.verify.history import Snapshot
from nurture_local.verify.verdict import Bad, Verdict

Found = tuple[Bad, bool]


def c8_liveness(history: Snapshot, *, patience: float = 0.0) -> Verdict:
    """Nothing stands still. `patience`: real seconds that something may be under way; 0 for a system that should be quiet.
    With patience, work that waits in a queue is no fault, however long the queue is."""
    found = [
        *_deliveries(history, patience), *_leases(history, patience), *_said(history, patience), *_consumers(history, patience),
        *_due(history, patience), *_commands(history, patience),
    ]  # fmt: skip
    waiting = [one for one in history.deliveries.values() if one.open]
    notes = []
    if waiting:
        oldest = max((history.now - one.created_at).total_seconds() for one in waiting) / history.speed
        notes.append(f"{len(waiting):,} not ended, the oldest for {oldest:,.0f} s")
    letters = [
        Bad(str(one.id), f"{one.durable}: {one.reason}") for one in history.dead_letters if one.replayed_at is None
    ]
    if letters:
        notes.append(f"{len(letters):,} dead letters wait for somebody")
    return Verdict(
        check="C8", name="liveness",
        of=len(history.deliveries) + len(history.outbox) + len(history.commands) + len(history.enrolments),
        bad=[bad for bad, fault in found if fault], open=[bad for bad, fault in found if not fault], listed=letters, notes=notes,
    )  # fmt: skip


def _deliveries(history: Snapshot, patience: float) -> Iterator[Found]:
    for one in history.deliveries.values():
        if one.open:
            yield (
                Bad(str(one.id), f"nothing has become of it; planned {one.created_at:%Y-%m-%d %H:%M:%S}"),
                patience == 0,
            )


def _leases(history: Snapshot, patience: float) -> Iterator[Found]:
    claims = [(one.id, one.lease_until, one.state == "open") for one in history.claims]
    claims += [(one.delivery_id, one.lease_until, one.state == "sending") for one in history.telegram_claims.values()]
    for id, until, held in claims:
        if held and until is not None:
            late = (history.taken_at - until).total_seconds()
            if late > patience:
                yield Bad(str(id), f"its lease ran out {late:.0f} s ago, and nobody took it up"), True
            elif patience == 0:
                yield Bad(str(id), f"it is being sent until {until:%H:%M:%S}"), True


def _said(history: Snapshot, patience: float) -> Iterator[Found]:
    for letter in history.outbox:
        if letter.published_at is None:
            age = (history.taken_at - letter.created_at).total_seconds()
            yield (
                Bad(str(letter.id), f"{letter.room} has not published {letter.subject} for {age:.0f} s"),
                age > patience,
            )


def _consumers(history: Snapshot, patience: float) -> Iterator[Found]:
    if history.bus is None:
        return
    ends = {one.name: one.last_seq for one in history.bus.streams}
    known = {one.durable: one for one in history.bus.consumers}
    for wanted in CONSUMERS:
        one = known.get(wanted.durable)
        if one is None:
            yield Bad(wanted.durable, "this consumer is missing"), True
        elif one.delivered_seq > ends.get(one.stream, 0):
            yield (
                Bad(
                    one.durable, f"it stands at {one.delivered_seq}, and {one.stream} ends at {ends.get(one.stream, 0)}"
                ),
                True,
            )
        elif one.pending + one.ack_pending > 0:
            yield Bad(one.durable, f"{one.pending} messages before it, {one.ack_pending} not acked"), patience == 0


def _due(history: Snapshot, patience: float) -> Iterator[Found]:
    last = history.now - timedelta(seconds=patience * history.speed)
    for one in history.enrolments.values():
        if one.state != "active" or one.paused or one.next_at is None or one.next_at > last:
            continue
        before = history.deliveries.get(one.last_delivery_id) if one.last_delivery_id else None
        waits = before is not None and before.open
        late = (history.now - one.next_at).total_seconds() / history.speed
        why = f"step {one.step} has been due for {late:.0f} s"
        if waits:
            yield Bad(str(one.id), f"{why}; the one before it has not ended"), patience == 0
        else:
            yield Bad(str(one.id), f"{why}, and nobody plans it"), not history.held

    for one in history.requests:
        if one.next_at is not None and one.next_at <= last and one.sequence_type not in history.paused_types:
            late = (history.now - one.next_at).total_seconds() / history.speed
            yield Bad(str(one.id), f"asked for in SQL and due for {late:.0f} s, and nobody plans it"), not history.held


def _commands(history: Snapshot, patience: float) -> Iterator[Found]:
    for one in history.commands.values():
        job = history.jobs.get(one.id)
        if one.state == "settled" or one.expires_at <= history.taken_at:
            continue
        age = (history.taken_at - one.created_at).total_seconds()
        working = job is not None and not job.done
        yield (
            Bad(str(one.id), f"a {one.kind} that has not been answered for {age:.0f} s"),
            age > patience and not (working and patience),
        )
