"""Dead letters of one room, handed once more to the handler that could not take them."""

from uuid import UUID

import structlog
from asyncpg import Record

from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.settling import LASTING, UNREADABLE, Refused, check_schema
from nurture_chassis.trace import of_headers, span

log = structlog.get_logger()


class Letters:
    """What a letter was refused for it may be refused for again: then it stays open, with the reason of today.

    It does not go over the bus, where it would come to other rooms as well, which had no trouble with it, and where this
    room's user may not say what others say to it.
    """

    def __init__(self, database: Database, bus: Bus, outbox: Outbox) -> None:
        self._database = database
        self._bus = bus
        self._outbox = outbox

    async def replay(self, ids: list[UUID]) -> None:
        """Try open letters again; one that was replayed is left alone. Raises what may pass by itself, like a lost database."""
        await self._outbox.replay(ids)
        for letter in await self._database.fetch("dead_letters_open", ids):
            subject, durable = letter["subject"], letter["durable"]
            with span(f"replay {subject}", "consumer", of_headers(letter["headers"])) as work:
                reason = await self._try(letter)
                if reason is None:
                    await self._database.execute("dead_letter_done", letter["id"])
                    log.info("letter.replayed", durable=durable)
                else:
                    work.fail("dead letter")
                    await self._database.execute("dead_letter_stays", letter["id"], reason)
                    log.warning("letter.refused_again", durable=durable, reason=reason)

    async def _try(self, letter: Record) -> str | None:
        """Why it could not be taken, or only in part."""
        try:
            check_schema(letter["headers"])
            taken, bad = await self._bus.take(letter["durable"], letter["payload"])
        except (Refused, *UNREADABLE) as error:
            return str(error)
        except LASTING as error:
            log.exception("letter.failed", durable=letter["durable"])
            return f"tried again at a replay: {type(error).__name__}"
        return f"{len(bad)} of {taken + len(bad)} items: {bad[0].reason}" if bad else None
