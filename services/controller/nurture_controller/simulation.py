"""Pure: what a start would bring each of a number of people, by the very functions that plan for real. Nothing is written.

Assumed: every step is planned when it is due, scores stay as they are at the start, and every message arrives, but over
channels that are said to fail, where each bounces at once and for good.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from nurture_contracts.base import Channel

from nurture_controller.fallback import Failed, plan_fallback
from nurture_controller.people import Contacts, ContactState, Person
from nurture_controller.placing import DeliveryRow, Desk, Known, place, worded
from nurture_controller.planning import LAST_CHANNELS, DueEnrolment, Refusal, Send, first_refusal, next_due
from nurture_controller.sequence import Published
from nurture_controller.timing import zone

NOBODY = UUID(int=0)
"""Stands for ids of rows that are never written."""
_ENDS: dict[Channel, tuple[str, ContactState]] = {"email": ("bounced", "bounced"), "telegram": ("blocked", "blocked")}
"""How a message over a failing channel ends, and what its address is afterwards."""


class Event(NamedTuple):
    """A step as it is decided for a person at `at`: to be sent, or why not. `failed` says how a message then ended."""

    step: int
    at: datetime
    delivery: DeliveryRow
    failed: str | None = None


class Timeline(NamedTuple):
    """All that a start brings one person; `refusal` when it does not begin."""

    user_id: UUID
    timezone: str
    refusal: Refusal | None
    events: tuple[Event, ...]


class Assumed(NamedTuple):
    """What the walk takes for granted."""

    start_at: datetime
    failing: Collection[Channel]
    override_channel: Channel | None
    context: dict[str, Any]


def walks(
    user_ids: Iterable[UUID],
    known: Mapping[UUID, Known],
    running: Mapping[UUID, UUID],
    published: Published,
    desk: Desk,
    assumed: Assumed,
) -> list[Timeline]:
    """Everybody's way, in the order given. `running`: who is in the sequence already, with their enrolment."""
    return [walk(id, known.get(id), published, desk, assumed, running=running.get(id)) for id in user_ids]


def walk(
    user_id: UUID,
    known: Known | None,
    published: Published,
    desk: Desk,
    assumed: Assumed,
    *,
    running: UUID | None = None,
) -> Timeline:
    """One person's way from the start to the end."""
    person, contacts = known or (None, {})
    timezone = person.timezone if person else "UTC"
    refusal = first_refusal(
        sequence=published.sequence,
        person=person,
        contacts=contacts,
        running=running,
        override_channel=assumed.override_channel,
        available_channels=desk.available,
    )
    if refusal is not None or person is None:
        return Timeline(user_id, timezone, refusal, ())
    at = next_due(published.sequence, 0, assumed.start_at, person)
    step, events = 1, list[Event]()
    while at is not None:
        due = DueEnrolment(
            id=NOBODY,
            user_id=user_id,
            step=step,
            next_at=at,
            version=published.version,
            override_channel=assumed.override_channel,
            context=assumed.context,
        )
        placed = place(due, published, Known(person, contacts), at, desk, NOBODY)
        if placed.delivery is not None:
            happened, contacts = _after(
                Event(step, at, placed.delivery), due, published, person, contacts, desk, assumed
            )
            events += happened
        step, at = placed.step, placed.next_at
    return Timeline(user_id, timezone, None, tuple(events))


def _after(
    event: Event,
    due: DueEnrolment,
    published: Published,
    person: Person,
    contacts: Contacts,
    desk: Desk,
    assumed: Assumed,
) -> tuple[list[Event], Contacts]:
    """The event and what follows from it at once: a failure, and its fallback, which may fail as well."""
    channel = event.delivery.channel
    if not event.delivery.to_send or channel not in assumed.failing:
        return [event], contacts
    why, state = _ENDS[channel]
    contacts = {**contacts, channel: msgspec.structs.replace(contacts[channel], state=state)}
    event = event._replace(failed=why)
    if event.delivery.fallback_of is not None:
        return [event], contacts
    failure = Failed(
        delivery_id=NOBODY,
        channel=channel,
        why=why,
        scheduled_at=event.at,
        evidence=False,
        is_fallback=False,
        current=True,
        running=True,
    )
    decision = plan_fallback(failure, due, published.sequence, person, contacts, event.at, desk.available)
    if not isinstance(decision, Send):
        return [event], contacts
    instead = worded(decision, due, published, Known(person, contacts), event.at, desk, NOBODY, fallback_of=NOBODY)
    followed, contacts = _after(Event(due.step, event.at, instead), due, published, person, contacts, desk, assumed)
    return [event, *followed], contacts


class _Tally:
    """What happens at one step, counted."""

    def __init__(self) -> None:
        self.sent = Counter[Channel]()
        self.fallbacks = self.failed = 0
        self.not_sent = Counter[str | None]()
        self.variants = Counter[str]()
        self.tiers = Counter[str]()
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None

    def add(self, event: Event) -> None:
        delivery = event.delivery
        if not delivery.to_send:
            self.not_sent[delivery.reason] += 1
            return
        self.sent[delivery.channel] += 1
        self.fallbacks += delivery.fallback_of is not None
        self.failed += event.failed is not None
        if delivery.variant:
            self.variants[delivery.variant] += 1
        if delivery.tier:
            self.tiers[delivery.tier] += 1
        self.first_at = min(event.at, self.first_at or event.at)
        self.last_at = max(event.at, self.last_at or event.at)

    def told(self) -> dict[str, Any]:
        return {
            **{channel: self.sent[channel] for channel in LAST_CHANNELS},
            "fallbacks": self.fallbacks,
            "failed": self.failed,
            "not_sent": dict(self.not_sent.most_common()),
            "variants": dict(sorted(self.variants.items())),
            "tiers": dict(sorted(self.tiers.items())),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class Report:
    """Adds up timelines; keeps the first `shown` whole, as long as these have no more than `entries` events together."""

    def __init__(self, published: Published, shown: int, entries: int) -> None:
        self._shown = shown
        self._entries = entries
        self._people = self._started = 0
        self._refused = Counter[str]()
        self._steps = {n: (step.name, _Tally()) for n, step in enumerate(published.sequence.steps, 1)}
        self._days: dict[str, Counter[Channel]] = defaultdict(Counter)
        self._minutes: dict[Channel, Counter[datetime]] = defaultdict(Counter)
        self._timelines: list[dict[str, Any]] = []

    def add(self, timelines: Iterable[Timeline]) -> None:
        for one in timelines:
            self._people += 1
            if one.refusal is None:
                self._started += 1
            else:
                self._refused[one.refusal.code] += 1
            for event in one.events:
                self._steps[event.step][1].add(event)
                if event.delivery.to_send:
                    channel, at = event.delivery.channel, event.at.astimezone(UTC)
                    self._days[at.date().isoformat()][channel] += 1
                    self._minutes[channel][at.replace(second=0, microsecond=0)] += 1
            if self._shown and len(one.events) <= self._entries:
                self._shown -= 1
                self._entries -= len(one.events)
                self._timelines.append(_shown(one))

    def told(self) -> dict[str, Any]:
        """People; messages by step, by day (UTC) and in the fullest minute of each channel; some people's timelines."""
        return {
            "people": self._people,
            "started": self._started,
            "refused_by_reason": dict(self._refused.most_common()),
            "messages": sum(sum(day.values()) for day in self._days.values()),
            "steps": [{"step": n, "name": name, **tally.told()} for n, (name, tally) in self._steps.items()],
            "days": [
                {"day": day, **{channel: counts[channel] for channel in LAST_CHANNELS}}
                for day, counts in sorted(self._days.items())
            ],
            "busiest": [_fullest(channel, minutes) for channel, minutes in sorted(self._minutes.items())],
            "timelines": self._timelines,
        }


def _fullest(channel: Channel, minutes: Counter[datetime]) -> dict[str, Any]:
    most = max(minutes.values())
    return {"channel": channel, "minute": min(at for at, n in minutes.items() if n == most), "messages": most}


def _shown(one: Timeline) -> dict[str, Any]:
    # Without names, addresses and words: the answer travels on the bus.
    there = zone(one.timezone)
    return {
        "user_id": one.user_id,
        "timezone": one.timezone,
        "refused": {"code": one.refusal.code, "detail": one.refusal.detail} if one.refusal else None,
        "events": [
            {
                "step": event.step,
                "at": event.at,
                "local_time": f"{event.at.astimezone(there):%Y-%m-%d %H:%M}",
                "channel": event.delivery.channel,
                "decision": event.delivery.decision["decision"],
                "fallback": event.delivery.fallback_of is not None,
                "failed": event.failed,
                "variant": event.delivery.variant,
                "tier": event.delivery.tier,
                "reasons": [
                    {"code": reason.code, "text": reason.text} for reason in event.delivery.decision["reasons"]
                ],
            }
            for event in one.events
        ],
    }
