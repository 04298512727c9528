"""Numbers over REST: the system now, what became of messages, how email does."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from nurture_gateway import numbers, variants
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems

Days = Annotated[
    int,
    QueryParameter(
        name="days",
        required=False,
        ge=1,
        le=numbers.LONGEST_DAYS,
        description="Days back, today included; they begin at midnight UTC.",
    ),
]


@get(
    "/metrics",
    tags=["Health"],
    summary="The system now",
    responses={200: made(numbers.Metrics, "The numbers of this moment"), **problems()},
)
async def show_metrics(room: TheRoom) -> numbers.Metrics:
    """People, what runs, the last 24 hours, queues, errors."""
    return await numbers.metrics(room.database, room.clock.now())


@get(
    "/nurture/analytics",
    tags=["Deliveries"],
    summary="What became of messages",
    description="Each message counts on the day it was planned, for everything that happened to it. Test mails never count.",
    responses={200: made(numbers.Analytics, "Counts"), **problems()},
)
async def show_analytics(room: TheRoom, days: Days = 30) -> numbers.Analytics:
    """Counts by sequence, step, variant, channel and day."""
    return await numbers.analytics(room.database, days, room.clock.now())


@get(
    "/nurture/analytics/variants",
    tags=["Deliveries"],
    summary="Which variant does better",
    description="The variants of each step against each other, over all versions in which they are the same, with a bound on "
    "error that holds however often one looks. Each person counts once a step, whatever was sent again or on another channel; "
    "opens and machines' clicks count nothing.",
    responses={200: made(variants.Variants, "Each step that has variants"), **problems(404)},
)
async def show_variants(
    room: TheRoom,
    sequence_type: Annotated[
        str, QueryParameter(name="sequence_type", min_length=1, max_length=100, description="The sequence's type.")
    ],
    version: Annotated[
        int | None,
        QueryParameter(
            name="version", required=False, ge=1, le=2_000_000_000, description="Its latest where it is left out."
        ),
    ] = None,
) -> variants.Variants:
    """Counts, evidence and what may be concluded."""
    return await variants.variants(room.database, sequence_type, version)


@get(
    "/email/stats",
    tags=["Email"],
    summary="How email does",
    responses={200: made(numbers.EmailStats, "Counts"), **problems()},
)
async def show_email_stats(room: TheRoom, days: Days = 7) -> numbers.EmailStats:
    """Counts of email, its queue, and closed addresses."""
    return await numbers.email_stats(room.database, days, room.clock.now())


@get(
    "/email/queue",
    tags=["Email"],
    summary="What email has before it",
    responses={200: made(numbers.Queue, "The queue"), **problems()},
)
async def show_email_queue(room: TheRoom) -> numbers.Queue:
    """Messages that wait, that failed and that nobody knows of."""
    return await numbers.queue(room.database, "email")
