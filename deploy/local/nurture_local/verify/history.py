"""Pure: everything that the checks know, as rows. Business times are datetimes, as the services' clock told them; times
of machines (leases, claims, the ledger's `real_at`) are real ones."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

KINDS = (
    "complained", "bounced", "clicked", "opened", "delivered", "sent", "failed", "suppressed", "cancelled", "expired",
    "unknown",
)  # fmt: skip
"""Kinds of facts, strongest first: a delivery's status is its strongest fact. From `sent` up, the message left."""
LEFT = frozenset(KINDS[: KINDS.index("sent") + 1])
PENDING = "pending"


class Delivery(Struct, kw_only=True, gc=False):
    """A planned delivery, its facts, and what was frozen with it. `decided`: send, skip, expire or fail."""

    id: UUID
    enrolment_id: UUID
    user_id: UUID
    sequence_type: str
    step: int
    channel: str
    scheduled_at: datetime
    created_at: datetime
    expires_at: datetime
    address: str
    round: int = 0
    complained_at: datetime | None = None
    bounced_at: datetime | None = None
    clicked_at: datetime | None = None
    opened_at: datetime | None = None
    delivered_at: datetime | None = None
    sent_at: datetime | None = None
    failed_at: datetime | None = None
    suppressed_at: datetime | None = None
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None
    unknown_at: datetime | None = None
    failure_reason: str | None = None
    provider_id: str | None = None
    attempts: int = 0
    status: str = PENDING
    fallback_of: UUID | None = None
    variant: str | None = None
    content_sha256: str = ""
    decided: str = "send"
    on_ambiguous: str = "hold"
    by_operator: bool = False

    def fact(self, kind: str) -> datetime | None:
        return getattr(self, f"{kind}_at")

    @property
    def left(self) -> bool:
        """Whether the message is known to have left."""
        return self.sent_at is not None

    @property
    def open(self) -> bool:
        """Whether nothing has become of it yet."""
        return self.status == PENDING


class Enrolment(Struct, kw_only=True, gc=False):
    """Where somebody stands. `step` is the next one to be planned, so all before it have a delivery."""

    id: UUID
    command_id: UUID
    user_id: UUID
    sequence_type: str
    step: int
    state: str
    started_at: datetime
    next_at: datetime | None = None
    paused: bool = False
    last_delivery_id: UUID | None = None
    ended_reason: str | None = None

    @property
    def single(self) -> bool:
        """Whether it is one message that was asked for in SQL: its one delivery has its id, whatever the step."""
        return self.id == self.command_id


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """A single message that was asked for in SQL. `next_at` is None once it is planned or was cancelled."""

    id: UUID
    sequence_type: str
    requested_at: datetime
    next_at: datetime | None
    cancelled_at: datetime | None


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """A row of the log. `reason`, `attempts`, `arrived`, `final`, `signal`, `link` are from its detail."""

    event_id: UUID
    delivery_id: UUID | None
    kind: str
    at: datetime
    received_at: datetime
    provider_id: str | None = None
    reason: str | None = None
    attempts: int = 0
    arrived: bool = False
    final: bool = False
    signal: str = "unknown"
    link: str | None = None


class Page(Struct, kw_only=True):
    """A send command as a channel took it. `claim_id` is email's; None while it waits."""

    id: UUID
    members: list[UUID]
    received_at: datetime
    test: bool = False
    claim_id: UUID | None = None


class Ended(Struct, frozen=True, kw_only=True, gc=False):
    """How the attempts ended for one member of a claim."""

    outcome: str
    reason: str | None = None
    provider_id: str | None = None


class EmailClaim(Struct, kw_only=True):
    """A request to the email provider. Members without a result were certainly not sent, once the claim is settled."""

    id: UUID
    members: list[UUID]
    created_at: datetime
    next_at: datetime
    test: bool = False
    state: str = "open"
    attempt: int = 0
    refusals: int = 0
    lease_until: datetime | None = None
    first_call_at: datetime | None = None
    may_have_arrived: bool = False
    results: dict[UUID, Ended] = {}
    settled_at: datetime | None = None


class TelegramClaim(Struct, kw_only=True, gc=False):
    """One delivery and all its attempts. `moved_to`: the chat that its address has become."""

    delivery_id: UUID
    next_at: datetime
    state: str = "waiting"
    attempt: int = 0
    lease_until: datetime | None = None
    chat_id: str | None = None
    claimed_at: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    provider_id: str | None = None
    settled_at: datetime | None = None


class Letter(Struct, frozen=True, kw_only=True, gc=False):
    """A row of a room's outbox."""

    room: str
    id: UUID
    subject: str
    created_at: datetime
    published_at: datetime | None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """What no handler of a room could take."""

    room: str
    id: UUID
    durable: str
    reason: str
    at: datetime
    payload: bytes
    replayed_at: datetime | None = None


class Contact(Struct, frozen=True, kw_only=True, gc=False):
    """How a person may be reached."""

    user_id: UUID
    channel: str
    address: str | None
    state: str
    consent: str
    consent_at: datetime | None
    changed_at: datetime


class Suppression(Struct, frozen=True, kw_only=True, gc=False):
    """An address that a provider reported."""

    address_key: str
    reason: str
    at: datetime
    delivery_id: UUID


class ChatRefusal(Struct, frozen=True, kw_only=True, gc=False):
    """A chat whose person said /stop, in real time."""

    chat_id: str
    at: datetime


class Fallback(Struct, frozen=True, kw_only=True, gc=False):
    """The verdict after a failure."""

    delivery_id: UUID
    fallback_id: UUID | None
    at: datetime
    decision: str


class Command(Struct, frozen=True, kw_only=True, gc=False):
    """What somebody asked for, as the gateway holds it. `started`: how many people its answer says were started."""

    id: UUID
    kind: str
    state: str
    created_at: datetime
    expires_at: datetime
    status: int | None = None
    settled_at: datetime | None = None
    started: int | None = None
    enrolment_id: UUID | None = None


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What the controller answered to a command."""

    command_id: UUID
    status: int
    at: datetime
    started: int | None = None
    enrolment_id: UUID | None = None


class StartJob(Struct, frozen=True, kw_only=True, gc=False):
    """A start for many people, and how far it has come."""

    command_id: UUID
    people: int
    cursor: int
    started: int
    running: int
    done: bool


class Credit(Struct, frozen=True, kw_only=True, gc=False):
    """What scoring holds of a message; times in Unix seconds. `signals`: (kind, at, signal, link)."""

    delivery_id: UUID
    user_id: UUID
    channel: str
    delivered_at: float | None
    goal_at: float | None
    credit: float
    signals: tuple[tuple[str, float, str, str | None], ...] = ()


class Occasion(Struct, frozen=True, kw_only=True, gc=False):
    """What a person did elsewhere; `at` in Unix seconds."""

    user_id: UUID
    event: str
    at: float


class Scores(Struct, frozen=True, kw_only=True):
    """What scoring holds: R and N by person and kind, and over everybody, and what they are made from."""

    states: Mapping[tuple[UUID, str], tuple[float, float]] = {}
    means: Mapping[str, tuple[float, float]] = {}
    credits: Sequence[Credit] = ()
    occasions: Sequence[Occasion] = ()


class Counted(NamedTuple):
    """What counters are kept by; `day` in UTC, the one on which deliveries were planned."""

    day: date
    sequence_type: str
    step: int
    variant: str | None
    channel: str


class Effect(Struct, frozen=True, kw_only=True, gc=False):
    """A message that a sandbox provider took. `at` is business time, `real_at` Unix seconds. For emails `key` is the claim's
    id; `delivery_id` is None for an answer in a chat, or where the message carried no link of ours."""

    seq: int
    channel: str
    at: datetime
    real_at: float
    recipient: str
    provider_id: str
    payload_sha256: str
    delivery_id: UUID | None = None
    key: str | None = None


class Stream(Struct, frozen=True, kw_only=True):
    """A stream: ages in seconds, real time of its making."""

    name: str
    messages: int
    first_seq: int = 1
    last_seq: int
    created_at: datetime | None = None
    max_age: float = 0.0
    duplicate_window: float = 600.0


class Consumer(Struct, frozen=True, kw_only=True):
    """A durable: not delivered yet, delivered but not acked, and where it stands."""

    durable: str
    stream: str
    pending: int = 0
    ack_pending: int = 0
    delivered_seq: int = 0


class BusMessage(Struct, frozen=True, kw_only=True, gc=False):
    """A message of a stream. `personal`: addresses found in it."""

    stream: str
    seq: int
    at: datetime
    subject: str
    msg_id: str | None
    personal: tuple[str, ...] = ()


class Bus(Struct, kw_only=True):
    """The bus as it was at `read_at`, before the rows were read. `messages` is None where they were not read."""

    read_at: datetime
    streams: Sequence[Stream] = ()
    consumers: Sequence[Consumer] = ()
    messages: Sequence[BusMessage] | None = None


class Snapshot(Struct, kw_only=True):
    """What was known at one moment. `taken_at` is real time, `now` business time, which runs `speed` times as fast.

    `ledger` and `bus` are None where there were none; `without` says why, by source. `pace` is seconds between two calls, by
    account (`resend`, `telegram`). `held`: why nothing is planned or sent, where somebody has stopped everything.
    `refilling`: rooms that have not said again yet what the bus has lost.
    """

    taken_at: datetime
    now: datetime
    speed: float = 1.0
    deliveries: Mapping[UUID, Delivery] = {}
    enrolments: Mapping[UUID, Enrolment] = {}
    requests: Sequence[Request] = ()
    paused_types: frozenset[str] = frozenset()
    events: Sequence[Event] = ()
    pages: Sequence[Page] = ()
    claims: Sequence[EmailClaim] = ()
    telegram_pages: Sequence[Page] = ()
    telegram_claims: Mapping[UUID, TelegramClaim] = {}
    moved_chats: Mapping[str, str] = {}
    outbox: Sequence[Letter] = ()
    contacts: Sequence[Contact] = ()
    suppressions: Sequence[Suppression] = ()
    chat_refusals: Sequence[ChatRefusal] = ()
    fallbacks: Sequence[Fallback] = ()
    commands: Mapping[UUID, Command] = {}
    answers: Mapping[UUID, Answer] = {}
    jobs: Mapping[UUID, StartJob] = {}
    dead_letters: Sequence[DeadLetter] = ()
    scores: Scores = Scores()
    tests: frozenset[UUID] = frozenset()
    counts: Mapping[str, int] = {}
    analytics: Mapping[Counted, Mapping[str, int]] = {}
    pace: Mapping[str, float] = {}
    parked: Mapping[str, str] = {}
    held: str | None = None
    refilling: frozenset[str] = frozenset()
    ledger: Sequence[Effect] | None = None
    bus: Bus | None = None
    without: Mapping[str, str] = {}
