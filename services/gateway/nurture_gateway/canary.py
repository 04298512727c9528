"""The canary: every few minutes a start of its own runs through planner, bus, claim, provider and webhook, as anybody's does.

That nothing is sent looks like a quiet day from everywhere inside. Somebody who is written to all the time is missed at once.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from msgspec import Struct
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database, Rows
from nurture_chassis.outbox import Outbox
from nurture_chassis.trace import follow
from nurture_contracts.canary import PEOPLE, SEQUENCE
from nurture_contracts.commands import StartSequences
from nurture_contracts.ids import uuid7
from prometheus_client import Counter, Gauge

from nurture_gateway import triggers
from nurture_gateway.config import Config

log = structlog.get_logger()
LOOK = 2.0
"""Real seconds between looks at how it fares."""
PATIENCE = 900.0
"""Real seconds after which the next one is started although the last has neither arrived nor failed, unless the setting is
longer: while a provider is away one message waits and not one for every few minutes."""

ARRIVED_AT = Gauge(
    "nurture_canary_last_arrival_timestamp_seconds",
    "When the canary's message last arrived, in Unix time; before the first, since when one is awaited",
    ["channel"],
)
ARRIVED_IN = Gauge(
    "nurture_canary_arrival_seconds", "From the start of the last canary that arrived to its arrival", ["channel"]
)
SENT_IN = Gauge(
    "nurture_canary_sent_seconds", "From the start of the last canary that the provider took to that", ["channel"]
)
HELD = Gauge("nurture_canary_held", "1 while everything is held, so that no canary is started", ["channel"])
INTERVAL = Gauge("nurture_canary_interval_seconds", "From one canary to the next, as the setting has it", ["channel"])
ENDED = Counter("nurture_canary_runs", "Canaries that have ended, by how", ["channel", "outcome"])


class CanaryShown(Struct, kw_only=True):
    """A channel's canary. `state`: `waiting` for its first start, `under_way`, `arrived`, `held` (so nothing is started), or how
    the last one failed, with `reason`. Seconds count from a start until the provider took the message, and until it arrived."""

    channel: str
    state: str
    reason: str | None
    since: datetime
    triggered_at: datetime | None
    last_arrival_at: datetime | None
    age_seconds: float
    sent_seconds: float | None
    arrival_seconds: float | None
    command_id: UUID | None


class Canary:
    """Rows are the truth, so any replica may look; a start is its row's, so one replica makes it."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock, config: Config) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._seconds = config.canary_minutes * 60
        self._addresses = config.canaries()

    @property
    def wanted(self) -> bool:
        return bool(self._addresses)

    async def move_in(self) -> None:
        """Make the rows of channels that have one, and remove the others."""
        channels = list(self._addresses)
        people = [PEOPLE[channel] for channel in channels]
        await self._database.execute("canaries_keep", channels, people, [self._addresses[one] for one in channels])

    async def tick(self) -> None:
        """See how the last ones fared, start those that are due, tell the metrics."""
        for row in await self._database.fetch("canaries_fold"):
            if row["outcome"] != "under_way":
                ENDED.labels(row["channel"], row["outcome"]).inc()
                level = log.info if row["outcome"] == "arrived" else log.warning
                level("canary.ended", channel=row["channel"], outcome=row["outcome"], reason=row["reason"])
        rows = await self._database.fetch("list_canaries", self._seconds, max(PATIENCE, self._seconds))
        if any(row["due"] for row in rows):
            await self._start()
        for one in map(_shown, rows):
            ARRIVED_AT.labels(one.channel).set((one.last_arrival_at or one.since).timestamp())
            HELD.labels(one.channel).set(one.state == "held")
            INTERVAL.labels(one.channel).set(self._seconds)
            if one.arrival_seconds is not None:
                ARRIVED_IN.labels(one.channel).set(one.arrival_seconds)
            if one.sent_seconds is not None:
                SENT_IN.labels(one.channel).set(one.sent_seconds)

    async def _start(self) -> None:
        follow(None)
        async with self._outbox.transaction() as tx:
            for row in await tx.fetch("canaries_due", self._seconds, max(PATIENCE, self._seconds)):
                if row["late"]:
                    ENDED.labels(row["channel"], "late").inc()
                    log.warning(
                        "canary.ended", channel=row["channel"], outcome="late", command_id=str(row["command_id"])
                    )
                command_id = uuid7()
                asked = {
                    "single": True,
                    "sequence_type": SEQUENCE,
                    "user_id": row["user_id"],
                    "channel": row["channel"],
                }
                await triggers.add(tx, command_id, "trigger", asked, source="canary")
                await tx.execute("canary_begin", row["channel"], command_id)
                tx.say(
                    StartSequences(
                        command_id=command_id,
                        at=self._clock.now(),
                        sequence_type=SEQUENCE,
                        single=True,
                        user_ids=[row["user_id"]],
                    )
                )


async def canaries(rows: Rows) -> list[CanaryShown]:
    """Those that there are; none while the setting is off."""
    return [_shown(row) for row in await rows.fetch("list_canaries", None, None)]


def _shown(row: Any) -> CanaryShown:
    return CanaryShown(
        channel=row["channel"],
        state="held" if row["held"] else row["outcome"] or "waiting",
        reason=row["reason"],
        since=row["since"],
        triggered_at=row["triggered_at"],
        last_arrival_at=row["last_arrival_at"],
        age_seconds=round(row["age"], 1),
        sent_seconds=row["sent_seconds"],
        arrival_seconds=row["arrival_seconds"],
        command_id=row["command_id"],
    )
