"""The published sequences: the database is the truth, TOML the way in and out, this a cache of versions that never change."""

from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database, Transaction
from nurture_contracts.base import Instant
from nurture_contracts.ids import uuid7

from nurture_controller import canary, one_message
from nurture_controller.linting import publishable
from nurture_controller.sequence import Published, SequenceInvalid, definition, from_definition
from nurture_controller.sequence_toml import parse

log = structlog.get_logger()


class Library:
    """Loads and publishes sequences."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cache: dict[UUID, Published] = {canary.PUBLISHED.id: canary.PUBLISHED}

    def _remember(self, row: asyncpg.Record) -> Published:
        known = self._cache.get(row["id"])
        if known is None:
            known = Published(row["id"], row["version"], from_definition(row["definition"]))
            self._cache[row["id"]] = known
        return known

    async def latest(self, tx: Transaction, type: str) -> Published | None:
        """The version that a new enrolment gets."""
        row = await tx.fetchrow("sequence_latest", type)
        return self._remember(row) if row else None

    async def versions(self, tx: Transaction, ids: set[UUID]) -> dict[UUID, Published]:
        """The versions that enrolments are pinned to; of a single message that was asked for in SQL, its own words."""
        missing = [id for id in ids if id not in self._cache]
        if missing:
            for row in await tx.fetch("sequence_by_ids", missing):
                self._remember(row)
        found = {id: self._cache[id] for id in ids if id in self._cache}
        if single := [id for id in ids if id not in found]:
            # Not remembered: there may be as many as there are people.
            for row in await tx.fetch("requests_by_ids", single):
                found[row["id"]] = one_message.published(row, row["title"])
        return found

    async def types(self, tx: Transaction) -> list[str]:
        return [row["type"] for row in await tx.fetch("sequence_types")]

    async def unknown(self, tx: Transaction, type: str) -> dict[str, Any]:
        """The answer to whoever names a type that there is not."""
        types = await self.types(tx)
        return {
            "code": "unknown_sequence",
            "detail": f"There is no sequence {type!r}.",
            "hint": f"There are: {', '.join(types)}.",
            "sequence_types": types,
        }

    async def publish(self, tx: Transaction, toml: str, at: Instant, *, dry_run: bool) -> tuple[int, dict[str, Any]]:
        """Status and answer: 422 with findings when there is an error in it, 200 for a dry run, 201 with the version."""
        try:
            sequence, findings = publishable(toml)
        except SequenceInvalid as invalid:
            return refused(invalid)
        if dry_run:
            return 200, {"type": sequence.type, "steps": len(sequence.steps), "findings": findings}
        # Two publishes of one type at once would read the same last version; the second waits here.
        await tx.fetchval("sequence_publish_lock", sequence.type)
        version = await tx.fetchval("sequence_publish", uuid7(), sequence.type, definition(sequence), toml, at)
        log.info("sequence.published", type=sequence.type, version=version)
        return 201, {"type": sequence.type, "version": version, "steps": len(sequence.steps), "findings": findings}

    async def publish_shipped(self) -> None:
        """Give each shipped type its first version, unless an operator has published one."""
        for file in sorted(files("nurture_controller").joinpath("sequences").iterdir(), key=lambda path: path.name):
            toml = file.read_text(encoding="utf-8")
            sequence = parse(toml)
            made = await self._database.execute(
                "sequence_publish_first", uuid7(), sequence.type, definition(sequence), toml, self._clock.now()
            )
            if made:
                log.info("sequence.shipped", type=sequence.type)


def refused(invalid: SequenceInvalid) -> tuple[int, dict[str, Any]]:
    """Status and answer for a text that could not be published."""
    return 422, {
        "code": "sequence_invalid",
        "detail": str(invalid),
        "hint": "Mend what `findings` lists; `nurture sequences lint FILE` checks without publishing.",
        "findings": invalid.findings,
    }
