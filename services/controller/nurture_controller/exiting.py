"""Who did elsewhere what their sequence was for leaves it: an `exit_on` that came true."""

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Outbox
from nurture_contracts.events import EventsRecorded

from nurture_controller.measuring import EXITS

log = structlog.get_logger()


class Exits:
    """Hears of events that scoring has kept. A page that comes again ends nothing twice."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock

    async def recorded(self, page: EventsRecorded) -> None:
        """End what these events end. What is planned and not sent yet is dropped by the channel's claim, which asks."""
        items = page.items
        async with self._outbox.transaction() as tx:
            ended = await tx.fetch(
                "enrolments_exit",
                self._clock.now(),
                [item.user_id for item in items],
                [item.event for item in items],
                [item.at for item in items],
            )
            for row in ended:
                tx.count(EXITS)
                log.info("sequence.exited", enrolment_id=str(row["id"]), reason=row["ended_reason"])
