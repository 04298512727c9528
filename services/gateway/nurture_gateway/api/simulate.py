"""What a start would do, without doing it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, post
from litestar.openapi.spec import Example
from litestar.params import Body
from msgspec import Meta, Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.base import Channel
from nurture_contracts.commands import SimulateSequence

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, refusals
from nurture_gateway.api.nurture import Accepted, Context, Everybody, Override, Ref, Refs, Type, nobody, within_bounds
from nurture_gateway.api.sequences import LARGEST
from nurture_gateway.commands import Draft, refusal, submit
from nurture_gateway.problems import field_errors
from nurture_gateway.store import resolve


class Simulate(Struct, forbid_unknown_fields=True, kw_only=True):
    """A published sequence or the text of one, for exactly one of: a person, a list of people, everybody.

    `start_at` is now where it is left out. Every message is taken to arrive, but those over channels in `failing`, which
    bounce, so that their fallbacks show.
    """

    sequence_type: Type | None = None
    toml: (
        Annotated[str, Meta(min_length=1, max_length=LARGEST, description="Instead of a type: a sequence's text.")]
        | None
    ) = None
    user_id: Ref | None = None
    user_ids: Refs | None = None
    segment: Everybody | None = None
    start_at: Annotated[datetime, Meta(tz=True, description="Now where it is left out.")] | None = None
    context: Context = {}
    override_channel: Override | None = None
    failing: Annotated[
        list[Channel], Meta(max_length=2, description="Every message over these is taken to bounce.")
    ] = []


class SimulatedStep(Struct):
    """Messages of a step by channel; `fallbacks` and `failed` are among them. `not_sent`: why people would not get it."""

    step: int
    name: str | None
    email: int
    telegram: int
    fallbacks: int
    failed: int
    not_sent: dict[str, int]
    variants: dict[str, int]
    tiers: dict[str, int]
    first_at: datetime | None
    last_at: datetime | None


class SimulatedDay(Struct):
    """Messages of a day (UTC)."""

    day: str
    email: int
    telegram: int


class BusiestMinute(Struct):
    """The minute in which most messages of a channel come due. The channel's rate limit spreads them."""

    channel: str
    minute: datetime
    messages: int


class Because(Struct):
    """One thing that led to a decision."""

    code: str
    text: str


class SimulatedEvent(Struct):
    """A decision about a person's step: `send`, `skip`, `fail`; `failed` says how a message that was sent then ended."""

    step: int
    at: datetime
    local_time: str
    channel: str
    decision: str
    fallback: bool
    failed: str | None
    variant: str | None
    tier: str | None
    reasons: list[Because]


class Refused(Struct):
    """Why somebody would not be started."""

    code: str
    detail: str


class SimulatedTimeline(Struct):
    """All that one person would get, and when, on their own clock too."""

    user_id: UUID
    timezone: str
    refused: Refused | None
    events: list[SimulatedEvent]


class Simulated(Struct):
    """`people` of `of` were walked through (10,000 of a segment at most); the first few `timelines` are told whole."""

    command_id: UUID
    sequence_type: str
    version: int | None
    started: int
    start_at: datetime
    people: int
    of: int
    held: bool
    messages: int
    steps: list[SimulatedStep]
    days: list[SimulatedDay]
    busiest: list[BusiestMinute]
    timelines: list[SimulatedTimeline]
    refused_by_reason: dict[str, int]


@post(
    "/nurture/simulate",
    tags=["Sequences in motion"],
    summary="Simulate a start",
    description="What starting a sequence would bring to whom, when and why: decided by the functions that decide for real, "
    "with today's people, consent and scores. Nobody is started and nothing is sent.",
    status_code=200,
    responses={
        200: made(Simulated, "What would happen"),
        202: made(Accepted, "It takes longer; see the status URL"),
        **refusals(404),
    },
)
async def simulate(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        Simulate,
        Body(
            examples=[
                Example(summary="One person", value={"user_id": "customer-17", "sequence_type": "onboarding"}),
                Example(
                    summary="Everybody, with email down",
                    value={"segment": "all", "sequence_type": "onboarding", "failing": ["email"]},
                ),
            ]
        ),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Walk a start through."""
    if (data.sequence_type is None) == (data.toml is None):
        raise field_errors([("sequence_type", "give exactly one of sequence_type and toml")])
    within_bounds(data.user_id, data.user_ids, data.segment, data.context)
    asked: dict[str, Any] = {"sequence_type": data.sequence_type, "failing": data.failing}

    async def draft(tx: Saying, command_id: UUID) -> Draft:
        refs = list(dict.fromkeys(data.user_ids or ([data.user_id] if data.user_id else [])))
        found = await resolve(tx, refs) if refs else []
        if unknown := [ref for ref, id in found if id is None]:
            return refusal("simulate", asked | {"people": len(refs)}, nobody(unknown[0]))
        now = room.clock.now()
        message = SimulateSequence(
            command_id=command_id,
            at=now,
            start_at=data.start_at or now,
            sequence_type=data.sequence_type,
            toml=data.toml,
            user_ids=list(dict.fromkeys(id for _, id in found if id)),
            segment=data.segment,
            context=data.context,
            override_channel=data.override_channel,
            failing=data.failing,
        )
        return Draft("simulate", asked | {"segment": data.segment, "people": len(refs) or None}, message)

    return await submit(request, room, draft)
