"""Analytics on real PostgreSQL: every number is what the rows say, whatever came twice, late, in another order or at once."""

import asyncio
import random
from datetime import timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg
from controller_stand import Room, Stand
from nurture_chassis.queries import Queries
from nurture_contracts.events import EmailsObserved, EmailsSettled, Observation, Settlement, TelegramsSettled
from nurture_contracts.ids import uuid7
from nurture_local import recount

SPLIT = """
format = 1
type = "split"
title = "Split"
[[steps]]
kind = "message"
when = "now"
channel = "email"
fallback = "telegram"
subject = "Hello"
body = "Good day."
[[steps.variants]]
name = "a"
weight = 1
subject = "A"
[[steps.variants]]
name = "b"
weight = 1
subject = "B"
"""
KEY = ("day", "sequence_type", "step", "variant", "channel")
FACTS = (
    "sent", "delivered", "opened", "clicked", "bounced", "complained", "failed", "suppressed", "cancelled", "expired", "unknown",
)  # fmt: skip
COUNTED = (
    "select (created_at at time zone 'UTC')::date as day, sequence_type, step::int as step, variant, channel, count(*) as planned, "
    + ", ".join(f"count({fact}_at) as {fact}" for fact in FACTS)
    + ", count(fallback_of) as fallbacks, count(*) filter (where fallback_of is not null and "
    "(delivered_at is not null or opened_at is not null or clicked_at is not null)) as fallback_saves "
    "from controller.deliveries group by 1, 2, 3, 4, 5"
)


def keyed(rows: list[asyncpg.Record]) -> dict[tuple[Any, ...], dict[str, int]]:
    found = {tuple(row[name] for name in KEY): dict(row.items()) for row in rows}
    assert len(found) == len(rows)
    return found


async def agrees(stand: Stand) -> dict[tuple[Any, ...], dict[str, int]]:
    counted = keyed(await stand.admin.fetch("select * from delivery_analytics"))
    assert counted == keyed(await stand.admin.fetch(COUNTED))
    return counted


async def started(stand: Stand, room: Room, people: int) -> list[UUID]:
    """People with both channels in a test of two variants; their deliveries."""
    await stand.admin.execute(
        "insert into telegram.channel (ready, bot_username, updates) values (true, 'bot', 'poll')"
    )
    async with room.outbox.transaction() as tx:
        status, result = await room.library.publish(tx, SPLIT, room.clock.now(), dry_run=False)
    assert status == 201, result
    ids = await stand.people(people)
    await stand.admin.execute(
        "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
        " select id, 'telegram', n::text, n::text, now() from unnest($1::uuid[]) with ordinality as u (id, n)",
        ids,
    )
    await room.start("split", *ids)
    return [row["id"] for row in await room.sql("select id from deliveries order by id")]


def reports(source: random.Random, deliveries: list[UUID], stand: Stand) -> list[EmailsSettled | EmailsObserved]:
    """What the email room might say of these, a page a few of them."""
    pages: list[EmailsSettled | EmailsObserved] = []
    for place in range(0, len(deliveries), 5):
        some = deliveries[place : place + 5]
        now = stand.clock.now()
        settled = [
            Settlement(delivery_id=id, outcome=source.choice(["accepted", "accepted", "rejected", "unknown"]), at=now, attempt=1,
                       provider_id=f"em_{id}")
            for id in some
        ]  # fmt: skip
        pages.append(EmailsSettled(claim_id=uuid7(), items=settled))
        for kind in ("delivered", "opened", "opened", "clicked", "bounced", "complained", "delayed"):
            seen = [
                Observation(event_id=uuid7(), kind=kind, at=now + timedelta(seconds=source.random() * 60), delivery_id=id,
                            bounce="hard" if kind == "bounced" else None)
                for id in some if source.random() < 0.6
            ]  # fmt: skip
            if seen:
                pages.append(EmailsObserved(items=seen))
    return pages


def test_counters_are_the_rows_whatever_comes_twice_in_any_order_by_two_controllers_at_once(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(), await stand.room()]
        deliveries = await started(stand, rooms[0], 40)
        counted = await agrees(stand)
        assert {key[3] for key in counted} == {"a", "b"} and sum(one["planned"] for one in counted.values()) == 40
        source = random.Random(20261127)
        pages = reports(source, deliveries, stand) * 2
        source.shuffle(pages)

        async def hear(room: Room, heard: list[EmailsSettled | EmailsObserved]) -> None:
            for page in heard:
                await (room.ledger.settled(page) if isinstance(page, EmailsSettled) else room.ledger.observed(page))
                await room.counting.tick()

        await asyncio.gather(hear(rooms[0], pages[::2]), hear(rooms[1], pages[1::2]))
        counted = await agrees(stand)
        total = {name: sum(one[name] for one in counted.values()) for name in (*FACTS, "fallbacks")}
        assert all(total[name] for name in ("sent", "delivered", "opened", "clicked", "bounced", "failed", "fallbacks"))
        # Heard once more, all of it changes nothing, and leaves nothing to add up.
        await rooms[0].counting.tick()
        await hear(rooms[0], pages)
        assert await agrees(stand) == counted
        assert not await rooms[0].sql("select from analytics_changes")

    play(scene)


def test_a_fallback_that_arrives_saves_and_an_operators_round_counts_once_more(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (first,) = await started(stand, room, 1)
        now = stand.clock.now()
        refused = Settlement(delivery_id=first, outcome="rejected", at=now, attempt=1, reason="invalid_address")
        await room.ledger.settled(EmailsSettled(claim_id=uuid7(), items=[refused]))
        (second,) = await room.sql("select id from deliveries where fallback_of = $1", first)
        taken = Settlement(delivery_id=second["id"], outcome="accepted", at=now, attempt=1, provider_id="1:2")
        for _ in range(2):
            await room.ledger.settled(TelegramsSettled(claim_id=first, items=[taken]))
        counted = {key[4]: one for key, one in (await agrees(stand)).items()}
        assert (counted["email"]["failed"], counted["email"]["fallbacks"]) == (1, 0)
        assert {name: counted["telegram"][name] for name in ("planned", "delivered", "fallbacks", "fallback_saves")} == {
            "planned": 1, "delivered": 1, "fallbacks": 1, "fallback_saves": 1,
        }  # fmt: skip
        (arm,) = await stand.admin.fetch("select * from experiment_counts")
        assert (arm["assigned"], arm["sent"], arm["delivered"], arm["click_rate"]) == (1, 1, 1, 0)
        assert (await room.resend(first, may_have_arrived=True)).status == 201
        assert {key[4]: one["planned"] for key, one in (await agrees(stand)).items()} == {"email": 2, "telegram": 1}

    play(scene)


def test_the_migration_counts_what_is_there(play) -> None:
    text = files("nurture_controller").joinpath("sql", "migrations", "0009_analytics.sql").read_text()

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        deliveries = await started(stand, room, 6)
        source = random.Random(7)
        for page in reports(source, deliveries, stand):
            await (room.ledger.settled(page) if isinstance(page, EmailsSettled) else room.ledger.observed(page))
        counted = await agrees(stand)
        async with stand.admin.transaction():
            # As it was before it, with views that are made again afterwards.
            await stand.admin.execute(
                "drop function controller.count_deliveries() cascade; drop table controller.analytics_counts,"
                " controller.analytics_changes cascade; set local search_path = controller"
            )
            await stand.admin.execute(text)
            await stand.admin.execute("set local search_path = public")
            views = files("nurture_controller").joinpath("sql", "publish.sql").read_text()
            await stand.admin.execute(Queries(f"-- name: views\n{views}", "public")["views"])
            assert await agrees(stand) == counted

    play(scene)


def test_counters_that_were_tampered_with_are_rebuilt_exactly_while_facts_come_in(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(), await stand.room()]
        deliveries = await started(stand, rooms[0], 30)
        pages = reports(random.Random(11), deliveries, stand)
        # Some of it added up, some not yet; then somebody writes into the tables.
        for page in pages[:6]:
            await (rooms[0].ledger.settled(page) if isinstance(page, EmailsSettled) else rooms[0].ledger.observed(page))
        await rooms[0].counting.tick()
        for page in pages[6:10]:
            await (rooms[0].ledger.settled(page) if isinstance(page, EmailsSettled) else rooms[0].ledger.observed(page))
        await stand.admin.execute("update controller.analytics_counts set sent = sent + 7 where variant = 'a'")
        await stand.admin.execute("delete from controller.analytics_counts where variant = 'b'")
        await stand.admin.execute(
            "insert into controller.analytics_changes select '2020-01-01', 'gone', 1, '', 'email', 5, 0, 0, 0, 0, 0, 0, 0, 0, 0,"
            " 0, 0, 0, 0"
        )
        wrong: list[int] = []

        async def hear(room: Room, heard: list[EmailsSettled | EmailsObserved]) -> None:
            for page in heard:
                await (room.ledger.settled(page) if isinstance(page, EmailsSettled) else room.ledger.observed(page))
                await room.counting.tick()

        async def repair() -> None:
            for _ in range(4):
                wrong.append((await recount.rebuild(stand.admin_url)).wrong)
                await asyncio.sleep(0)

        rest = pages[10:]
        await asyncio.gather(hear(rooms[0], rest[::2]), hear(rooms[1], rest[1::2]), repair())
        counted = await agrees(stand)
        assert wrong[0] > 1 and wrong[1:] == [0, 0, 0]
        assert "gone" not in {key[1] for key in counted}
        done = await recount.rebuild(stand.admin_url)
        assert (done.counters, done.deliveries, done.wrong) == (
            len(counted), sum(one["planned"] for one in counted.values()), 0,
        )  # fmt: skip
        assert await agrees(stand) == counted

    play(scene)
