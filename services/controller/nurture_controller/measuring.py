"""What the controller counts of deliveries, and the gauges of what it plans."""

from collections import Counter as Kinds
from collections.abc import Iterable

from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.measuring import age
from nurture_chassis.outbox import Saying
from nurture_contracts.base import Channel
from prometheus_client import Counter, Gauge

from nurture_controller.folding import FACTS, Row

PLANNED = Counter("nurture_deliveries_planned", "Deliveries written, by what was decided", ["channel", "decision"])
EVENTS = Counter(
    "nurture_delivery_events",
    "What became of deliveries, each report once; `sent` to `unknown` are the facts that make a status",
    ["channel", "kind"],
)
FALLBACKS = Counter(
    "nurture_fallbacks_planned", "Second tries after a certain failure, by the channel they go to", ["channel"]
)
EXITS = Counter(
    "nurture_enrolments_exited", "Sequences that ended early because of an event that they name in `exit_on`"
)
LAG = Gauge(
    "nurture_schedule_lag_seconds", "How long the most overdue step has been waiting to be planned; 0 when none is"
)
UNSETTLED = Gauge(
    "nurture_delivery_oldest_unsettled_seconds",
    "How long ago the oldest delivery that has not ended was due; 0 for none",
)
JOBS = Gauge("nurture_start_jobs_open", "Starts for many people that are not worked off yet")
HOLDS = Gauge("nurture_holds", "What is held: sequence types, or everything as one, by reason", ["reason"])
CHANNELS: tuple[Channel, ...] = ("email", "telegram")
TIMELINE = ("delayed", "unsubscribed", "pressed", "replied")

# A rate can be taken only of what has begun at nought.
for _channel in CHANNELS:
    FALLBACKS.labels(_channel)
    for _kind in (*FACTS, *TIMELINE):
        EVENTS.labels(_channel, _kind)
    for _decision in ("send", "failed", "suppressed", "expired"):
        PLANNED.labels(_channel, _decision)


def count_events(tx: Saying, channel: Channel, rows: Iterable[Row]) -> None:
    """Rows of the log that are new, or belong to a delivery only now."""
    kinds = Kinds(row["kind"] for row in rows if row["delivery_id"] is not None)
    for kind, number in kinds.items():
        tx.count(EVENTS.labels(channel, kind), number)


async def measure(database: Database, clock: Clock) -> None:
    """Ask what is due, what has not ended and what is held. In real seconds, also where business time runs faster."""
    row = await database.fetchrow("waiting_to_be_planned")
    assert row is not None
    now = clock.now()
    LAG.set(age(row["due"], now) / clock.speed)
    UNSETTLED.set(age(row["unsettled"], now) / clock.speed)
    JOBS.set(row["jobs"])
    for reason in ("paused", "restored"):
        HOLDS.labels(reason).set(row[reason])
