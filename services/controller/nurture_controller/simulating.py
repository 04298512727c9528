"""Hears SimulateSequence: reads what a start would read, walks it through, and answers. Nothing is written but the answer."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.commands import SimulateSequence
from nurture_contracts.ids import uuid7

from nurture_controller.commands import answered, settle
from nurture_controller.desks import Desks
from nurture_controller.library import Library, refused
from nurture_controller.linting import publishable
from nurture_controller.sequence import Published, SequenceInvalid
from nurture_controller.simulation import Assumed, Report, walks
from nurture_controller.store import people
from nurture_controller.wording import Wordings

MOST = 10_000
"""People of a segment that are walked through; of a larger one, as many, chosen by a hash of their ids."""
PAGE = 200
SHOWN = 5
ENTRIES = 500
"""People whose timelines are told whole, and the steps that all of them may have together."""


class Simulator:
    """A page of people is one read; the walk itself is done in a thread, so that nobody else waits for it."""

    def __init__(self, outbox: Outbox, library: Library, desks: Desks, shown: int = SHOWN) -> None:
        self._outbox = outbox
        self._library = library
        self._desks = desks
        self._shown = shown

    async def simulate(self, command: SimulateSequence) -> None:
        """Answer once; a redelivery finds the answer."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            status, published = await self._sequence(tx, command)
            if not isinstance(published, Published):
                await settle(tx, command.command_id, command.at, status, published)
                return
            held = await tx.fetchrow("start_held", published.sequence.type)
            everybody = await tx.fetchrow("simulated_people", MOST) if command.segment else None
            # Words are compiled for this one answer: a draft's must never be taken for a published version's.
            desk = (await self._desks.desk(tx))._replace(wordings=Wordings())
        user_ids: list[UUID] = everybody["ids"] if everybody else command.user_ids
        report = Report(published, self._shown, ENTRIES)
        assumed = Assumed(command.start_at, frozenset(command.failing), command.override_channel, command.context)
        for start in range(0, len(user_ids), PAGE):
            page = user_ids[start : start + PAGE]
            known = await people(self._outbox.database, page, command.start_at)
            rows = await self._outbox.database.fetch("enrolments_running_of", published.sequence.type, page)
            running = {row["user_id"]: row["id"] for row in rows}
            report.add(await asyncio.to_thread(walks, page, known, running, published, desk, assumed))
        result = {
            "sequence_type": published.sequence.type,
            "version": published.version or None,
            "start_at": command.start_at,
            "of": everybody["people"] if everybody else len(user_ids),
            "held": bool(held and (held["type"] or held["everything"])),
            **report.told(),
        }
        async with self._outbox.transaction() as tx:
            if not await answered(tx, command.command_id, command.at):
                await settle(tx, command.command_id, command.at, 200, _kept(msgspec.to_builtins(result)))

    async def _sequence(self, tx: Saying, command: SimulateSequence) -> tuple[int, Published | dict[str, Any]]:
        if command.toml is not None:
            try:
                sequence, _ = publishable(command.toml)
            except SequenceInvalid as invalid:
                return refused(invalid)
            return 200, Published(uuid7(), 0, sequence)
        published = await self._library.latest(tx, command.sequence_type or "")
        if published is None:
            return 422, await self._library.unknown(tx, command.sequence_type or "")
        return 200, published


def _kept(value: Any) -> Any:
    """In the order in which jsonb keeps members, so that a repeated answer is the same to the byte."""
    if isinstance(value, dict):
        return {
            name: _kept(value[name]) for name in sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        }
    return [_kept(one) for one in value] if isinstance(value, list) else value
