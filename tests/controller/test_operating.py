"""What operators ask for by hand, on real PostgreSQL: planning now, new rounds, a queue without its failures."""

import asyncio
from uuid import UUID

from controller_stand import Room, Stand
from nurture_contracts.commands import CancelEnrolments, ProcessDue, SendEmails, StartSequences
from nurture_contracts.events import EmailsSettled, Settlement
from nurture_contracts.ids import uuid7


async def deliveries(room: Room) -> list[UUID]:
    return [row["id"] for row in await room.sql("select id from deliveries order by id")]


async def end(room: Room, delivery: UUID, fact: str) -> None:
    await room.sql(f"update deliveries set {fact}_at = $2 where id = $1", delivery, room.clock.now())


async def queue(room: Room, stand: Stand) -> tuple[int, int, int]:
    (row,) = await stand.admin.fetch("select * from public.delivery_queue where channel = 'email'")
    return row["pending"], row["failed"], row["unknown"]


def test_a_pass_plans_what_is_due_once_however_many_ask_at_once(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(plan_batch=5), await stand.room(plan_batch=5), await stand.room(plan_batch=5)]
        await stand.sequence(rooms[0], "later", "1h", head='max_lateness = "2h"')
        people = await stand.people(12)
        await rooms[0].start("later", *people)
        await stand.admin.execute(
            "update gateway.contacts set consent = 'refused' where user_id = any($1::uuid[])", people[:2]
        )
        assert (await rooms[0].process()).result == {"planned": 0, "sent": 0, "skipped": 0, "failed": 0}
        stand.clock.forward(hours=1)
        answers = [answer.result for answer in await asyncio.gather(*(room.process() for room in rooms))]
        answers += [(await rooms[0].process()).result]
        totals = {name: sum(answer[name] for answer in answers) for name in answers[0]}
        assert totals == {"planned": 12, "sent": 10, "skipped": 2, "failed": 0}
        assert len({row["enrolment_id"] for row in await rooms[0].sql("select enrolment_id from deliveries")}) == 12

    play(scene)


def test_a_pass_that_is_delivered_again_answers_the_same_and_plans_nothing_new(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(plan_batch=1)
        await stand.sequence(room, "later", "1h")
        await room.start("later", *await stand.people(2))
        stand.clock.forward(hours=1)
        command = ProcessDue(command_id=uuid7(), at=stand.clock.now())
        await room.operations.process(command)
        await room.operations.process(command)
        assert (await room.answer(command.command_id)).result["planned"] == 1
        assert len(await deliveries(room)) == 1

    play(scene)


def test_an_operator_sends_a_failure_once_more_to_the_address_of_now(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "now", "1d")
        (person,) = await stand.people(1)
        await room.start("first", person)
        (first,) = await deliveries(room)
        assert (await room.resend(first)).result["code"] == "still_pending"
        await end(room, first, "failed")
        await stand.admin.execute("update gateway.contacts set address = 'new@x.test', address_key = 'new@x.test'")
        stand.clock.forward(hours=3)
        again = await room.resend(first)
        assert (again.status, again.result["round"], again.result["resend_of"]) == (201, 1, str(first))
        second = UUID(again.result["delivery_id"])
        rows = await room.sql(
            "select d.scheduled_at, d.status, c.address, c.subject, c.expires_at - d.scheduled_at as time"
            " from deliveries d join delivery_contents c on c.delivery_id = d.id order by d.id"
        )
        assert [row["status"] for row in rows] == ["failed", "pending"]
        assert rows[1]["address"] == "new@x.test" and rows[1]["subject"] == rows[0]["subject"]
        assert rows[1]["scheduled_at"] == stand.clock.now() and rows[1]["time"] == rows[0]["time"]
        pages = [message.items for message in await room.said() if isinstance(message, SendEmails)]
        assert pages == [[first], [second]]
        # The round before stays as it was; whoever wants another one asks for it of the newest.
        late = await room.resend(first)
        assert (late.status, late.result["code"]) == (409, "already_resent") and str(second) in late.result["detail"]

    play(scene)


def test_what_an_old_address_did_not_get_goes_to_the_one_of_now_when_an_operator_says_so(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        await room.start("first", *await stand.people(1))
        (first,) = await deliveries(room)
        await stand.admin.execute("update gateway.contacts set address = 'new@x.test', address_key = 'new@x.test'")
        item = Settlement(
            delivery_id=first, outcome="suppressed", reason="address_changed", at=stand.clock.now(), attempt=1
        )
        await room.ledger.settled(EmailsSettled(claim_id=uuid7(), items=[item]))
        again = await room.resend(first)
        assert again.status == 201
        addresses = await room.sql("select address from delivery_contents order by delivery_id")
        assert [row["address"] for row in addresses][1:] == ["new@x.test"]

    play(scene)


def test_what_may_have_arrived_is_sent_again_only_when_the_operator_says_so(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        await room.start("first", *await stand.people(2))
        unknown, opened = await deliveries(room)
        await end(room, unknown, "unknown")
        await end(room, opened, "opened")
        for delivery in (unknown, opened):
            refused = await room.resend(delivery)
            assert (refused.status, refused.result["code"]) == (409, "may_have_arrived")
            assert (await room.resend(delivery, may_have_arrived=True)).status == 201
        nobody = await room.resend(uuid7())
        assert (nobody.status, nobody.result["code"]) == (404, "not_found")

    play(scene)


def test_nothing_is_sent_again_where_consent_or_a_suppression_forbids(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        obstacles = {
            "consent_refused": "update gateway.contacts set opt_in_sequences = false where user_id = $1",
            "address_unusable": "update gateway.contacts set state = 'bounced' where user_id = $1",
            "no_address": "delete from gateway.contacts where user_id = $1",
            "enrolment_cancelled": "update controller.enrolments set state = 'cancelled' where user_id = $1",
            "no_words": "update controller.delivery_contents c set body = '' from controller.deliveries d"
            " where d.id = c.delivery_id and d.user_id = $1",
        }
        people = await stand.people(len(obstacles) + 1)
        await room.start("first", *people)
        of = {row["user_id"]: row["id"] for row in await room.sql("select id, user_id from deliveries")}
        for person in people:
            await end(room, of[person], "failed")
        for person, (code, change) in zip(people[1:], obstacles.items(), strict=True):
            await stand.admin.execute(change, person)
            refused = await room.resend(of[person], may_have_arrived=True)
            assert (refused.status in (409, 422), refused.result["code"]) == (True, code)
        # The provider reported it and nobody told the contact yet.
        await stand.admin.execute(
            "insert into email.suppressions values ($1, 'complained', now(), $2)", f"{people[0]}@x.test", of[people[0]]
        )
        assert (await room.resend(of[people[0]])).result["code"] == "address_unusable"
        assert (await room.resend()).result == {
            "retried": 0,
            "remaining": 0,
            "refused_by_reason": {
                "address_unusable": 2, "consent_refused": 1, "enrolment_cancelled": 1, "no_address": 1, "no_words": 1,
            },
        }  # fmt: skip

    play(scene)


def test_the_queue_retries_what_certainly_never_left_and_each_once(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(), await stand.room()]
        room = rooms[0]
        await stand.sequence(room, "first")
        await room.start("first", *await stand.people(6))
        failed, expired, unknown, sent, bounced, _pending = await deliveries(room)
        for delivery, fact in (
            (failed, "failed"), (expired, "expired"), (unknown, "unknown"), (sent, "sent"), (bounced, "bounced"),
        ):  # fmt: skip
            await end(room, delivery, fact)
        assert await queue(room, stand) == (1, 2, 1)
        answers = await asyncio.gather(*(one.resend() for one in rooms))
        assert sorted(answer.result["retried"] for answer in answers) == [0, 2]
        rounds = await room.sql("select user_id, round from deliveries where round > 0")
        before = await room.sql("select user_id from deliveries where id = any($1::uuid[])", [failed, expired])
        assert sorted(row["user_id"] for row in rounds) == sorted(row["user_id"] for row in before)
        assert await queue(room, stand) == (3, 0, 1)
        assert (await room.resend()).result["retried"] == 0

    play(scene)


def test_a_cleared_queue_keeps_every_row_and_every_count(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        await room.start("first", *await stand.people(4))
        failed, expired, unknown, _pending = await deliveries(room)
        for delivery, fact in ((failed, "failed"), (expired, "expired"), (unknown, "unknown")):
            await end(room, delivery, fact)
        before = await stand.admin.fetch("select * from public.delivery_facts order by id")
        counts = await stand.admin.fetch("select * from public.delivery_counts order by status")
        assert (await room.archive("telegram")).result == {"archived": 0}
        assert (await room.archive()).result == {"archived": 2}
        assert await queue(room, stand) == (1, 0, 1)
        assert (await room.archive()).result == {"archived": 0}
        assert (await room.resend()).result["retried"] == 0
        assert await stand.admin.fetch("select * from public.delivery_facts order by id") == before
        assert await stand.admin.fetch("select * from public.delivery_counts order by status") == counts

    play(scene)


async def cancel(room: Room, **whom: object) -> int:
    command = CancelEnrolments(command_id=uuid7(), at=room.clock.now(), **whom)  # type: ignore[arg-type]
    await room.commands.cancel(command)
    return (await room.answer(command.command_id)).result["cancelled"]


async def states(stand: Stand) -> list[tuple[str, bool]]:
    """Of each enrolment, in the order of their starts: its state, and whether a channel would still send for it."""
    rows = await stand.admin.fetch(
        "select e.state, coalesce(bool_or(o.enrolment_active and d.unsettled), false) as goes_out from controller.enrolments e"
        " left join controller.deliveries d on d.enrolment_id = e.id"
        " left join public.outbound_messages o on o.delivery_id = d.id group by e.id, e.state order by e.id"
    )
    return [(row["state"], row["goes_out"]) for row in rows]


def test_a_last_message_that_waits_is_cancelled_like_any_other(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "once")
        first, second = await stand.people(2)
        await room.start("once", first, second)
        assert await states(stand) == [("completed", True)] * 2
        assert await cancel(room, user_id=first, sequence_type="once") == 1
        assert sorted(await states(stand)) == [("cancelled", False), ("completed", True)]
        await room.settle_all()
        # What has left is over, and not cancelled.
        assert await cancel(room, user_id=second, sequence_type="once") == 0

    play(scene)


def test_what_waits_is_cancelled_and_nothing_else(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "once")
        await stand.sequence(room, "later", "1h")
        await stand.sequence(room, "long", "now", "30d")
        sent, waits, due, not_due = await stand.people(4)
        await room.start("once", sent)
        await room.start("long", not_due)
        await room.settle_all()
        await room.start("later", due)
        stand.clock.forward(hours=2)
        await room.start("once", waits)
        await room.sql(
            "insert into message_requests (id, user_id, sequence_type, step, channels, scheduled_at, content, metadata,"
            " requested_at, requested_by, next_at)"
            " select gen_random_uuid(), $1, 'once', 1, '{}', at, 'Hello.', '{}', at, 'me', at"
            " from unnest(array[$2::timestamptz, $2 + interval '1 day']) at",
            sent, stand.clock.now(),
        )  # fmt: skip
        assert await cancel(room, waiting=True) == 3
        assert await cancel(room, waiting=True) == 0
        # A start of many people that is not through ends where it is.
        many = StartSequences(
            command_id=uuid7(), at=room.clock.now(), sequence_type="later", single=False, user_ids=[sent, waits]
        )
        await room.starter.start(many)
        assert await cancel(room, waiting=True) == 0
        assert await room.starter.work()
        assert (await room.answer(many.command_id)).result["started"] == 0
        found = await room.sql("select user_id, state from enrolments")
        assert {row["user_id"]: row["state"] for row in found} == {
            sent: "completed", not_due: "active", waits: "cancelled", due: "cancelled",
        }  # fmt: skip
        assert [goes for _, goes in await states(stand)] == [False] * 4
        assert len(await room.sql("select from message_requests where next_at is not null")) == 1

    play(scene)
