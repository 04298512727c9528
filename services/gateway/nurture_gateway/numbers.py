"""What happened, counted: for the REST API and for pages. Every number is computed from what the other rooms publish."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from msgspec import Struct
from nurture_chassis.database import Rows

from nurture_gateway.canary import CanaryShown, canaries
from nurture_gateway.problems import field_errors

LONGEST_DAYS = 366


class Counts(Struct, kw_only=True):
    """Messages to which each of these happened, in a group: columns of the statement `analytics`. A message counts for each
    thing that happened to it, on the day it was planned. `openable` are emails that were sent and did not bounce: nobody
    tells when a Telegram message is opened. `fallbacks` were second tries on the other channel, and
    `fallback_saves` those of them that arrived."""

    planned: int = 0
    sent: int = 0
    delivered: int = 0
    openable: int = 0
    opened: int = 0
    clicked: int = 0
    bounced: int = 0
    complained: int = 0
    failed: int = 0
    suppressed: int = 0
    cancelled: int = 0
    expired: int = 0
    unknown: int = 0
    fallbacks: int = 0
    fallback_saves: int = 0


class OfSequence(Counts, kw_only=True):
    """One sequence's messages."""

    sequence_type: str


class OfStep(OfSequence, kw_only=True):
    """Those of one step."""

    step: int


class OfVariant(OfStep, kw_only=True):
    """Those of one variant of a step: an arm of an experiment."""

    variant: str


class OfChannel(Counts, kw_only=True):
    """One channel's messages."""

    channel: str


class OfDay(Counts, kw_only=True):
    """Messages that were planned on one day, in UTC."""

    day: date


class ScoreDay(Struct, kw_only=True):
    """How the scores of one kind were spread on a day, in UTC. `buckets` count those from 0, 10, … 90 on."""

    day: date
    score_type: str
    people: int
    mean: float
    p10: float
    median: float
    p90: float
    buckets: list[int]


class Rates(Struct, kw_only=True):
    """Parts of one, null where there is nothing to divide by. Bounces and deliveries are parts of what was sent, clicks of
    what was sent and did not bounce, opens of the emails among that, failures of what was planned. Over SMTP nobody reports
    deliveries."""

    delivery: float | None
    open: float | None
    click: float | None
    bounce: float | None
    failure: float | None


class Analytics(Struct, kw_only=True):
    """What became of the messages planned in the last `days` days, today included, by what one may ask them by; and how
    scores were spread on these days, where anybody had one."""

    days: int
    since: datetime
    until: datetime
    totals: Counts
    rates: Rates
    by_sequence: list[OfSequence]
    by_step: list[OfStep]
    by_variant: list[OfVariant]
    by_channel: list[OfChannel]
    by_day: list[OfDay]
    scores: list[ScoreDay]


class Queue(Struct, kw_only=True):
    """A channel's messages that have not ended (`pending`, the oldest meant for `oldest_at`), that certainly did not go out
    and that nobody has dealt with (`failed`), and of which nobody knows (`unknown`). `parked_until`: it sends nothing."""

    channel: str
    pending: int
    oldest_at: datetime | None
    failed: int
    unknown: int
    parked_until: datetime | None
    park_reason: str | None


class EmailStats(Struct, kw_only=True):
    """How email went in the last `days` days, today included; what waits; addresses that are closed, by reason."""

    days: int
    since: datetime
    until: datetime
    totals: Counts
    rates: Rates
    by_day: list[OfDay]
    queue: Queue
    suppressed_addresses: dict[str, int]


class Metrics(Struct, kw_only=True):
    """The system at this moment. `deliveries_24h` by `status_detail`, `failures_24h` by reason, of messages planned in the
    last 24 hours; `dead_letters` are those that nobody has replayed; `canaries` are those of channels that have one."""

    at: datetime
    people: dict[str, int]
    active_sequences: dict[str, int]
    active: int
    paused: int
    deliveries_24h: dict[str, int]
    failures_24h: dict[str, int]
    queues: list[Queue]
    dead_letters: int
    last_webhook_at: datetime | None
    canaries: list[CanaryShown]


async def analytics(rows: Rows, days: int, now: datetime) -> Analytics:
    """Counts of the last `days` days by sequence, step, variant, channel and day, and scores. Raises Problem 400."""
    since = _since(days, now)
    found = await _grouped(rows, since, now, None)
    totals = found.get("total", [Counts()])[0]
    return Analytics(
        days=days,
        since=since,
        until=now,
        totals=totals,
        rates=rates(totals),
        by_sequence=found.get("sequence", []),
        by_step=found.get("step", []),
        by_variant=found.get("variant", []),
        by_channel=found.get("channel", []),
        by_day=_every_day(found.get("day", []), since, days),
        scores=[
            ScoreDay(**dict(row.items()))
            for row in await rows.fetch("score_days", since.date(), now.astimezone(UTC).date())
        ],
    )


async def email_stats(rows: Rows, days: int, now: datetime) -> EmailStats:
    """The same of email alone, with its queue and its closed addresses. Raises Problem 400."""
    since = _since(days, now)
    found = await _grouped(rows, since, now, "email")
    totals = found.get("total", [Counts()])[0]
    closed = await rows.fetch("count_suppressions")
    return EmailStats(
        days=days,
        since=since,
        until=now,
        totals=totals,
        rates=rates(totals),
        by_day=_every_day(found.get("day", []), since, days),
        queue=await queue(rows, "email"),
        suppressed_addresses={row["reason"]: row["addresses"] for row in closed},
    )


async def queues(rows: Rows) -> list[Queue]:
    """Both channels' queues."""
    return [Queue(**dict(row.items())) for row in await rows.fetch("list_queues")]


async def queue(rows: Rows, channel: str) -> Queue:
    """One channel's queue."""
    return next(one for one in await queues(rows) if one.channel == channel)


async def metrics(rows: Rows, now: datetime) -> Metrics:
    """The system at `now`. Five statements."""
    counts = await rows.fetchrow("metrics")
    assert counts is not None
    active = await rows.fetch("count_active")
    recent = await rows.fetch("count_recent", now - timedelta(days=1))
    statuses: dict[str, int] = {}
    failures: dict[str, int] = {}
    for row in recent:
        statuses[row["status"]] = statuses.get(row["status"], 0) + row["deliveries"]
        if row["reason"]:
            failures[row["reason"]] = failures.get(row["reason"], 0) + row["deliveries"]
    return Metrics(
        at=now,
        people={name: counts[name] for name in ("total", "by_email", "by_telegram", "unreachable")},
        active_sequences={row["sequence_type"]: row["enrolments"] for row in active},
        active=sum(row["enrolments"] for row in active),
        paused=sum(row["paused"] for row in active),
        deliveries_24h=_most_first(statuses),
        failures_24h=_most_first(failures),
        queues=await queues(rows),
        dead_letters=counts["dead_letters"],
        last_webhook_at=counts["last_webhook_at"],
        canaries=await canaries(rows),
    )


def rates(counts: Counts) -> Rates:
    """Parts of one, to four places."""
    stayed = counts.sent - counts.bounced
    return Rates(
        delivery=_part(counts.delivered, counts.sent),
        open=_part(counts.opened, counts.openable),
        click=_part(counts.clicked, stayed),
        bounce=_part(counts.bounced, counts.sent),
        failure=_part(counts.failed, counts.planned),
    )


def _part(some: int, of: int) -> float | None:
    return round(some / of, 4) if of else None


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _since(days: int, now: datetime) -> datetime:
    if not 1 <= days <= LONGEST_DAYS:
        raise field_errors([("days", f"takes 1 to {LONGEST_DAYS}")])
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


async def _grouped(rows: Rows, since: datetime, until: datetime, channel: str | None) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in await rows.fetch("analytics", since.date(), until.astimezone(UTC).date(), channel):
        name, kind = _GROUPS[row["place"]]
        if kind is OfVariant and row["variant"] is None:
            continue
        facts = Counts.__struct_fields__
        values: dict[str, Any] = {one: (row[one] or 0) if one in facts else row[one] for one in kind.__struct_fields__}
        found.setdefault(name, []).append(kind(**values))
    return found


_GROUPS: dict[int, tuple[str, type[Any]]] = {
    0b11111: ("total", Counts),
    0b01111: ("sequence", OfSequence),
    0b00111: ("step", OfStep),
    0b00011: ("variant", OfVariant),
    0b11101: ("channel", OfChannel),
    0b11110: ("day", OfDay),
}
"""`grouping(sequence_type, step, variant, channel, day)`: a bit is set for what the group runs over."""


def _every_day(found: list[OfDay], since: datetime, days: int) -> list[OfDay]:
    """A row for each day, also for those on which nothing was planned."""
    by_day = {one.day: one for one in found}
    every = (since.date() + timedelta(days=n) for n in range(days))
    return [by_day.get(day) or OfDay(day=day) for day in every]
