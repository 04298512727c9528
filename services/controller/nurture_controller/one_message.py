"""Pure: a single message that was asked for in SQL, as a sequence of its own, so that it is planned as any step is."""

from datetime import datetime, timedelta
from typing import Any, cast

from nurture_contracts.base import Channel
from nurture_contracts.ids import derived

from nurture_controller.folding import Row
from nurture_controller.people import Person
from nurture_controller.sequence import Fallback, MessageStep, Published, Sequence, Step, normalised
from nurture_controller.timing import DEFAULT_TIME, clock_time, local_instant, zone


class OneMessage(Sequence, frozen=True, kw_only=True):
    """Has one step, whatever its number."""

    number: int

    def step(self, number: int) -> Step | None:
        return self.steps[0] if number == self.number else None


def published(request: Row, title: str | None) -> Published:
    """A row of `message_requests` in the form that planning takes. `title` is that of the sequence of this type, if any.

    The id follows from the words, so that a thousand people who get the same words share one compiled template.
    """
    metadata, channels = request["metadata"], cast(list[Channel], request["channels"])
    subject = (
        metadata.get("subject") or title or request["sequence_type"].replace("_", " ").replace("-", " ").capitalize()
    )
    fallback: Fallback = "auto" if not channels else channels[1] if len(channels) > 1 else "none"
    step = MessageStep(
        when="now",
        channel=channels[0] if channels else "auto",
        fallback=fallback,
        subject=normalised(subject),
        body=normalised(request["content"]),
    )
    sequence = OneMessage(
        format=1,
        type=request["sequence_type"],
        title=title or subject,
        template=metadata.get("template") or "nurture_sequence",
        steps=(step,),
        number=request["step"],
    )
    return Published(
        derived("one-message", request["sequence_type"], request["step"], title, subject, step.body), 0, sequence
    )


def due(request: Row, person: Person | None) -> datetime:
    """When it should go out: at the time that was asked for, else when the person's preferred time comes next."""
    if request["scheduled_at"] is not None:
        return request["scheduled_at"]
    asked: datetime = request["requested_at"]
    if person is None:
        return asked
    at = clock_time(person.preferred_time) or DEFAULT_TIME
    day = asked.astimezone(zone(person.timezone)).date()
    today = local_instant(person.timezone, day, at)
    return today if today >= asked else local_instant(person.timezone, day + timedelta(days=1), at)


def asked(request: Row) -> dict[str, Any]:
    """What the decision record says of the request."""
    return {
        "by": request["requested_by"],
        "at": request["requested_at"],
        "channels": request["channels"],
        "scheduled_at": request["scheduled_at"],
    }
