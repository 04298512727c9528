"""A history made by hand, whole and good: people, starts, deliveries of both channels and every kind of end. Tests break it.

Everything is written down here as the rooms would have written it; nothing is computed by what is tested.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from hypothesis import HealthCheck, settings
from msgspec.structs import replace
from nurture_contracts.topology import CONSUMERS, STREAMS
from nurture_local.verify.history import (
    Answer,
    Bus,
    BusMessage,
    Command,
    Consumer,
    Contact,
    Counted,
    Credit,
    Delivery,
    Effect,
    EmailClaim,
    Ended,
    Enrolment,
    Event,
    Letter,
    Page,
    Scores,
    Snapshot,
    Stream,
    TelegramClaim,
)
from nurture_local.verify.verdict import Verdict

CALM = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
"""A busy machine is no failure."""
T0 = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""The landmark of the scores is near, so that weights are about one."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def weight(moment: datetime) -> float:
    return 2 ** ((moment - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() / (30 * 86_400))


class Made:
    """Rows as they come; `snapshot` puts them together."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.deliveries: dict[UUID, Delivery] = {}
        self.enrolments: dict[UUID, Enrolment] = {}
        self.events: list[Event] = []
        self.pages: list[Page] = []
        self.claims: list[EmailClaim] = []
        self.telegram_pages: list[Page] = []
        self.telegram_claims: dict[UUID, TelegramClaim] = {}
        self.contacts: list[Contact] = []
        self.commands: dict[UUID, Command] = {}
        self.answers: dict[UUID, Answer] = {}
        self.outbox: list[Letter] = []
        self.messages: list[BusMessage] = []
        self.effects: list[Effect] = []
        self.credits: list[Credit] = []
        self.analytics: dict[Counted, dict[str, int]] = {}
        self.states: dict[tuple[UUID, str], tuple[float, float]] = {}
        self.means: dict[str, tuple[float, float]] = {}

    def id(self) -> UUID:
        return UUID(int=(7 << 76) | (2 << 62) | next(self._numbers))

    def person(self) -> tuple[UUID, str, str]:
        """Somebody with both addresses: id, email, chat."""
        user, number = self.id(), next(self._numbers)
        email, chat = f"p{number}@example.test", str(1_000_000 + number)
        for channel, address in (("email", email), ("telegram", chat)):
            self.contacts.append(
                Contact(user_id=user, channel=channel, address=address, state="ok", consent="granted", consent_at=None,
                        changed_at=at(0))
            )  # fmt: skip
        return user, email, chat

    def start(self, user: UUID, *, step: int = 2) -> Enrolment:
        """A single start, answered and told."""
        command, enrolment = self.id(), self.id()
        self.commands[command] = Command(
            id=command, kind="trigger", state="settled", created_at=at(0), expires_at=at(7 * 86_400), status=201,
            settled_at=at(0.2), enrolment_id=enrolment,
        )  # fmt: skip
        self.answers[command] = Answer(command_id=command, status=201, at=at(0.1), enrolment_id=enrolment)
        self.said("gateway", "nurture.cmd.controller.start_sequences", 0)
        self.said("controller", "nurture.evt.controller.command_settled", 0.1)
        self.enrolments[enrolment] = Enrolment(
            id=enrolment, command_id=command, user_id=user, sequence_type="onboarding", step=step, state="active",
            started_at=at(0), next_at=at(86_400),
        )  # fmt: skip
        return self.enrolments[enrolment]

    def planned(self, enrolment: Enrolment, channel: str, address: str, **more: object) -> Delivery:
        one = Delivery(
            id=self.id(), enrolment_id=enrolment.id, user_id=enrolment.user_id, sequence_type="onboarding", channel=channel,
            address=address, **{"step": 1, "scheduled_at": at(0), "created_at": at(0.1), "expires_at": at(86_400), **more},
        )  # fmt: skip
        self.deliveries[one.id] = one
        enrolment.last_delivery_id = one.id
        if one.decided == "send":
            self.said("controller", f"nurture.cmd.{channel}.send_{channel}s", 0.1)
        return one

    def happened(self, one: Delivery, kind: str, seconds: float, **more: object) -> Event:
        event = Event(
            event_id=self.id(), delivery_id=one.id, kind=kind, at=at(seconds), received_at=at(seconds + 0.1), **more
        )
        self.events.append(event)
        return event

    def said(self, room: str, subject: str, seconds: float) -> Letter:
        letter = Letter(
            room=room, id=self.id(), subject=subject, created_at=at(seconds), published_at=at(seconds + 0.1)
        )
        self.outbox.append(letter)
        stream = "COMMANDS" if ".cmd." in subject else "EVENTS"
        self.messages.append(
            BusMessage(
                stream=stream, seq=len(self.messages) + 1, at=at(seconds), subject=subject, msg_id=str(letter.id)
            )
        )
        return letter

    def taken(self, one: Delivery, seconds: float, provider_id: str, key: str | None = None, **more: object) -> Effect:
        effect = Effect(
            seq=len(self.effects) + 1, channel=one.channel, at=at(seconds), real_at=at(seconds).timestamp(),
            recipient=one.address, provider_id=provider_id, payload_sha256=f"sha of {one.id}", delivery_id=one.id, key=key,
            **more,
        )  # fmt: skip
        self.effects.append(effect)
        return effect

    def email(
        self, enrolment: Enrolment, address: str, *, outcome: str = "accepted", answer: str | None = None
    ) -> Delivery:
        """Planned, taken over, claimed, called, settled, folded, delivered and perhaps answered."""
        one = self.planned(enrolment, "email", address)
        provider_id = f"em_{one.id.int & 0xFFFF}" if outcome == "accepted" else None
        reason = {"rejected": "validation_error", "unknown": "gave_up", "suppressed": "refused"}.get(outcome)
        claim = EmailClaim(
            id=self.id(), members=[one.id], created_at=at(0.5), next_at=at(60), state="settled", attempt=1,
            first_call_at=at(0.5), results={one.id: Ended(outcome=outcome, reason=reason, provider_id=provider_id)},
            settled_at=at(2),
        )  # fmt: skip
        self.claims.append(claim)
        self.pages.append(Page(id=self.id(), members=[one.id], received_at=at(0.3), claim_id=claim.id))
        self.said("email", "nurture.evt.email.settled", 2)
        kind = {"accepted": "sent", "rejected": "failed"}.get(outcome, outcome)
        self.happened(one, kind, 2, provider_id=provider_id, reason=reason, attempts=1)
        setattr(one, f"{kind}_at", at(2))
        one.status, one.provider_id, one.failure_reason, one.attempts = kind, provider_id, reason, 1
        if outcome == "accepted":
            self.taken(one, 1, str(provider_id), str(claim.id))
            self.happened(one, "delivered", 3, provider_id=provider_id)
            one.delivered_at, one.status = at(3), "delivered"
            self._answered(one, answer, 3)
        return one

    def telegram(
        self, enrolment: Enrolment, chat: str, *, outcome: str = "accepted", answer: str | None = None, **more: object
    ) -> Delivery:
        one = self.planned(enrolment, "telegram", chat, **more)
        provider_id = f"{chat}:{one.id.int & 0xFFFF}" if outcome == "accepted" else None
        reason = {"unknown": "worker_lost", "rejected": "blocked"}.get(outcome)
        self.telegram_claims[one.id] = TelegramClaim(
            delivery_id=one.id, next_at=at(0.3), state="settled", attempt=1, chat_id=chat, claimed_at=at(0.5),
            outcome=outcome, reason=reason, provider_id=provider_id, settled_at=at(2),
        )  # fmt: skip
        self.telegram_pages.append(Page(id=self.id(), members=[one.id], received_at=at(0.3)))
        self.said("telegram", "nurture.evt.telegram.settled", 2)
        kind = {"accepted": "sent", "rejected": "failed"}.get(outcome, outcome)
        arrived = outcome == "accepted"
        self.happened(one, kind, 2, provider_id=provider_id, reason=reason, attempts=1, arrived=arrived)
        setattr(one, f"{kind}_at", at(2))
        one.status, one.provider_id, one.failure_reason, one.attempts = kind, provider_id, reason, 1
        if arrived:
            self.taken(one, 1, str(provider_id))
            one.delivered_at, one.status = at(2), "delivered"
            self._answered(one, answer, 2)
        return one

    def _answered(self, one: Delivery, answer: str | None, delivered: float) -> None:
        """Scoring's side of a delivery, and of an answer 100 s later by a person."""
        worth = {"opened": 0.2 * 0.6, "clicked": 0.6, "pressed": 1.0, None: 0.0}[answer]
        signals: tuple[tuple[str, float, str, str | None], ...] = ()
        if answer is not None:
            self.happened(one, answer, delivered + 100, signal="human", link="l1" if answer == "clicked" else None)
            fact = "clicked" if answer == "pressed" else answer
            setattr(one, f"{fact}_at", at(delivered + 100))
            one.status = fact
            signals = ((answer, at(delivered + 100).timestamp(), "human", "l1" if answer == "clicked" else None),)
        self.credits.append(
            Credit(delivery_id=one.id, user_id=one.user_id, channel=one.channel, delivered_at=at(delivered).timestamp(),
                   goal_at=None, credit=worth, signals=signals)
        )  # fmt: skip
        n = weight(at(delivered))
        for sums, key in ((self.states, (one.user_id, one.channel)), (self.means, one.channel)):
            had = sums.get(key, (0.0, 0.0))  # pyright: ignore[reportCallIssue, reportArgumentType]
            sums[key] = (had[0] + worth * n, had[1] + n)  # pyright: ignore[reportArgumentType]

    def bus(self) -> Bus:
        ends = {
            stream.name: max((m.seq for m in self.messages if m.stream == stream.name), default=0) for stream in STREAMS
        }
        return Bus(
            read_at=at(1000),
            streams=[
                Stream(name=one.name, messages=len(self.messages), last_seq=ends[one.name], created_at=at(-10),
                       max_age=one.max_age, duplicate_window=one.duplicate_window)
                for one in STREAMS
            ],
            consumers=[Consumer(durable=one.durable, stream=one.stream, delivered_seq=ends[one.stream]) for one in CONSUMERS],
            messages=list(self.messages),
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        counts: dict[str, int] = {}
        for one in self.deliveries.values():
            counts[one.status] = counts.get(one.status, 0) + 1
        return Snapshot(
            taken_at=at(1000), now=at(1000), deliveries=dict(self.deliveries), enrolments=dict(self.enrolments),
            events=list(self.events), pages=list(self.pages), claims=list(self.claims),
            telegram_pages=list(self.telegram_pages), telegram_claims=dict(self.telegram_claims), outbox=list(self.outbox),
            contacts=list(self.contacts), commands=dict(self.commands), answers=dict(self.answers),
            scores=Scores(states=dict(self.states), means=dict(self.means), credits=list(self.credits)),
            counts=counts, analytics=self.analytics, ledger=list(self.effects), bus=self.bus(),
        )  # fmt: skip


def good() -> Made:
    """Each end once: emails delivered, clicked, refused for good with a fallback, forbidden, in doubt; a chat that answers,
    a chat in doubt; a step that was left out."""
    made = Made()
    user, email, chat = made.person()
    made.email(made.start(user), email, answer="clicked")
    made.telegram(made.start(user), chat, answer="pressed")
    user, email, chat = made.person()
    enrolment = made.start(user)
    failed = made.email(enrolment, email, outcome="rejected")
    made.telegram(enrolment, chat, fallback_of=failed.id)
    made.email(made.start(user), email, outcome="suppressed")
    user, email, chat = made.person()
    made.email(made.start(user), email)
    made.email(made.start(user), email, outcome="unknown")
    made.telegram(made.start(user), chat, outcome="unknown")
    skipped = made.planned(made.start(user), "email", "", decided="skip")
    made.analytics = {
        Counted(T0.date(), "onboarding", 1, None, "email"): {
            "planned": 6, "sent": 2, "delivered": 2, "clicked": 1, "failed": 1, "suppressed": 2, "unknown": 1,
        },
        Counted(T0.date(), "onboarding", 1, None, "telegram"): {
            "planned": 3, "sent": 2, "delivered": 2, "clicked": 1, "unknown": 1, "fallbacks": 1, "fallback_saves": 1,
        },
    }  # fmt: skip
    skipped.suppressed_at, skipped.status, skipped.failure_reason = (
        skipped.created_at,
        "suppressed",
        "no_reachable_channel",
    )
    return made


def one_of(history: Snapshot, channel: str, status: str) -> Delivery:
    """The first delivery of that channel and status."""
    return next(one for one in history.deliveries.values() if one.channel == channel and one.status == status)


def with_claim(history: Snapshot, delivery: UUID, **changes: object) -> Snapshot:
    """The history with the email claim of a delivery changed."""
    claims = [replace(one, **changes) if delivery in one.members else one for one in history.claims]
    return replace(history, claims=claims)


Broken = Callable[[Snapshot], tuple[Snapshot, UUID | str]]


def planted(break_it: Broken, check: Callable[[Snapshot], Verdict], why: str) -> None:
    """The check is content before, and afterwards names the very id, with the reason."""
    history = good().snapshot()
    before = check(history)
    assert (before.bad, before.skipped) == ([], None) and before.of > 0
    history, id = break_it(history)
    found = [(bad.id, bad.why) for bad in check(history).bad]
    assert any(bad == str(id) and why in told for bad, told in found), found


def second_effect(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "clicked")
    assert history.ledger is not None
    (effect,) = [effect for effect in history.ledger if effect.delivery_id == one.id]
    again = replace(effect, seq=99, provider_id="again", real_at=effect.real_at + 5)
    return replace(history, ledger=[*history.ledger, again]), one.id
