"""Rows to begin with on both sides: people, enrolments, planned deliveries, and what others do to them."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.simulation.two_databases import Both

TRACES = tuple(f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")
NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
TYPES = ("first", "announcement")


def new_id(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128))


def some(
    pair: Both, chance: random.Random, table: str, wanted: Callable[[dict[str, Any]], bool] = lambda row: True
) -> dict[str, Any] | None:
    rows = [row for row in pair.tables.rows(table) if wanted(row)]
    return chance.choice(rows[-6:]) if rows else None


class Planned:
    """People, and deliveries to them that are planned."""

    def __init__(self, pair: Both, chance: random.Random) -> None:
        self.pair = pair
        self.chance = chance
        self.people: list[UUID] = []
        self.enrolments: list[UUID] = []
        self.deliveries: dict[str, list[UUID]] = {"email": [], "telegram": []}

    async def make(self, people: int = 5, each: int = 3) -> "Planned":
        for n in range(people):
            person = new_id(self.chance)
            self.people.append(person)
            await self.pair.put("gateway.users", id=person, first_name="P", created_at=NOW, updated_at=NOW)
            for channel, address in (("email", f"P{n}@x.test"), ("telegram", str(1000 + n))):
                if n or channel == "email":
                    await self.pair.put(
                        "gateway.contacts", user_id=person, channel=channel, address=address, address_key=address.lower(),
                        changed_at=NOW,
                    )  # fmt: skip
            for _ in range(each):
                await self._enrolment(person, n)
        return self

    async def _enrolment(self, person: UUID, n: int) -> None:
        enrolment, type = new_id(self.chance), self.chance.choice(TYPES)
        self.enrolments.append(enrolment)
        await self.pair.put(
            "controller.enrolments", id=enrolment, command_id=new_id(self.chance), user_id=person, sequence_id=UUID(int=1),
            sequence_type=type, step=1, started_at=NOW, state="completed",
        )  # fmt: skip
        for channel, address in (("email", f"P{n}@x.test"), ("telegram", str(1000 + n))):
            delivery = new_id(self.chance)
            self.deliveries[channel].append(delivery)
            await self.pair.put(
                "controller.deliveries", id=delivery, enrolment_id=enrolment, user_id=person, sequence_type=type, step=1,
                channel=channel, scheduled_at=NOW, created_at=NOW,
            )  # fmt: skip
            await self.pair.put(
                "controller.delivery_contents", delivery_id=delivery, address=address, template="t", subject="s", body="b",
                params={"on_ambiguous": self.chance.choice(("hold", "retry"))}, decision={},
                expires_at=NOW + timedelta(hours=self.chance.choice((-1, 1, 1, 1))),
                traceparent=(None, *TRACES)[len(self.deliveries[channel]) % 3],
            )  # fmt: skip

    async def meddle(self, channel: str) -> None:
        """Somebody refuses, wants less or more, has another address, is cancelled, or is held."""
        what, pair, chance = self.chance.randrange(4), self.pair, self.chance
        contact = chance.choice([key for key in pair.tables.committed["gateway.contacts"] if key[1] == channel])
        if what == 0:
            wish = chance.choice(("consent", "opt_in_sequences", "opt_in_announcements"))
            said = chance.choice(("granted", "granted", "refused"))
            await pair.change("gateway.contacts", contact, **{wish: said if wish == "consent" else said == "granted"})
        elif what == 1:
            if chance.random() < 0.5:
                await pair.change("gateway.contacts", contact, state=chance.choice(("ok", "ok", "ok", "bounced")))
            else:
                # Back and forth, and between two spellings.
                was = pair.tables.committed["gateway.contacts"][contact]["address"].lower().removeprefix("new")
                address = chance.choice((was, was, was.upper(), f"new{was}"))
                await pair.change("gateway.contacts", contact, address=address, address_key=address.lower())
        elif what == 2:
            state = chance.choice(("completed", "completed", "cancelled"))
            await pair.change("controller.enrolments", chance.choice(self.enrolments), state=state)
        elif pair.tables.committed["controller.paused_types"]:
            for type in list(pair.tables.committed["controller.paused_types"]):
                await pair.run("controller", "release", type)
        else:
            await pair.run("controller", "hold", chance.choice(("*", *TYPES)), NOW)
