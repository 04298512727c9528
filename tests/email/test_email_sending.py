"""Pages, claims, attempts and settlements on real PostgreSQL."""

import asyncio
from collections import Counter
from uuid import UUID

from email_stand import (
    Accepts,
    Stand,
    answering,
)
from nurture_chassis.database import STATEMENTS, TRANSACTIONS
from nurture_contracts import events
from nurture_contracts.ids import uuid7

ACCEPTED = ("accepted", None)


def statements() -> Counter[str]:
    return Counter(
        {s.labels["query"]: int(s.value) for m in STATEMENTS.collect() for s in m.samples if s.name.endswith("_total")}
    )


def test_waiting_pages_share_a_request_up_to_a_hundred(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(121)
        for members in (ids[:40], ids[40:80], ids[80:120], ids[120:]):
            await room.page(members)
        await room.work()
        provider = room.provider
        assert [len(to) for _, _, to in provider.calls] == [80, 41]
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert [row["id"] for row in await room.claims()] == [UUID(key) for key, _, _ in provider.calls]

    play(scene)


def test_members_keep_their_order_and_get_their_own_provider_id(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(30)
        await room.page(ids)
        await room.work()
        (settled,) = await room.said()
        assert isinstance(settled, events.EmailsSettled)
        provider_ids = {item.delivery_id: item.provider_id for item in settled.items}
        assert [provider_ids[id] for id in ids] == [f"p{number + 1}" for number in range(30)]

    play(scene)


def test_a_page_that_comes_again_changes_nothing(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids, page_id = await stand.deliveries(250), uuid7()
        await room.page(ids, page_id=page_id)
        await room.work()
        await room.page(ids, page_id=page_id)
        await room.work()
        assert [len(to) for _, _, to in room.provider.calls] == [100, 100, 50]

    play(scene)


def test_a_delivery_named_twice_is_sent_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        await room.page([ids[0], ids[0], ids[1]])
        await room.work()
        assert room.provider.delivered == ["p0@x.test", "p1@x.test"]

    play(scene)


def test_a_hundred_emails_cost_two_transactions_and_a_fixed_number_of_statements(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(concurrency=8)
        ids = await stand.deliveries(500, body="The [same link](https://x.test/) for all.")
        for start in range(0, 500, 100):
            await room.page(ids[start : start + 100])
        before, committed = statements(), TRANSACTIONS._value.get()
        for _ in range(5):
            assert await room.sender.tick() is True
        await room.sender.finish()
        spent = statements() - before
        assert TRANSACTIONS._value.get() - committed == 5  # the settlements; a claim is one statement
        assert spent.pop("pace_reserve") >= 5
        spent.pop("pace_reserve_within", None)  # a busy machine loses slots
        assert spent.pop("outbox_losses") >= 1  # a look every 5 s, however many emails
        assert spent == Counter(
            claim_next=5, claim_settle=5, outbox_add=5, look=1, links_keep=spent["links_keep"],
            pace_follow=1,  # once in the life of a process
        )  # fmt: skip
        assert 1 <= spent["links_keep"] <= 5

    play(scene)


def test_idle_ticks_ask_one_question_each(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        before = statements()
        for _ in range(5):
            assert await room.sender.tick() is False
        assert statements() - before == Counter(look=5)

    play(scene)


def test_consent_suppression_cancelling_and_lateness_are_checked_by_the_claim(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(8)
        refused, bounced, cancelled, late, listed, gone, fine, other = ids
        await stand.contact(refused, "consent = 'refused'")
        await stand.contact(bounced, "state = 'bounced'")
        await stand.admin.execute("update controller.enrolments set state = 'cancelled' where id = $1", cancelled)
        await stand.admin.execute(
            "update controller.delivery_contents set expires_at = now() - interval '1 s' where delivery_id = $1", late
        )
        await stand.admin.execute(
            "insert into email.suppressions values ('p4@x.test', 'complained', now(), $1)", uuid7()
        )
        await stand.admin.execute(
            "update controller.delivery_contents set address = 'P4@X.test' where delivery_id = $1", listed
        )
        await stand.admin.execute(
            "delete from gateway.contacts where user_id = (select user_id from controller.deliveries where id = $1)",
            gone,
        )
        missing = uuid7()
        await room.page([*ids, missing])
        await room.work()
        assert await room.settled() == {
            refused: ("suppressed", "refused"),
            bounced: ("suppressed", "bounced"),
            cancelled: ("suppressed", "cancelled"),
            late: ("expired", "too_late"),
            listed: ("suppressed", "complained"),
            gone: ("suppressed", "no_contact"),
            missing: ("rejected", "missing"),
            fine: ACCEPTED,
            other: ACCEPTED,
        }
        assert room.provider.delivered == ["p6@x.test", "p7@x.test"]

    play(scene)


def test_when_all_fell_out_nothing_is_called(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        for id in ids:
            await stand.contact(id, "consent = 'refused'")
        await room.page(ids)
        await room.work()
        assert room.provider.calls == []
        assert await room.settled() == dict.fromkeys(ids, ("suppressed", "refused"))

    play(scene)


def test_a_mail_that_cannot_be_made_is_rejected_alone(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        await stand.admin.execute(
            "update controller.delivery_contents set subject = E'a\\nBcc: x' where delivery_id = $1", ids[1]
        )
        await room.page(ids)
        await room.work()
        assert await room.settled() == {
            ids[0]: ACCEPTED, ids[1]: ("rejected", "line_break_in_subject"), ids[2]: ACCEPTED,
        }  # fmt: skip

    play(scene)


def test_one_bad_member_does_not_take_the_batch_with_it(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(8)

        async def strict(provider: Accepts, key: str, mails):
            if any(mail.to == "p5@x.test" for mail in mails):
                return await answering(422, "validation_error")(provider, key, mails)
            return provider.accept(key, mails)

        room.provider.next = [strict] * 20
        await room.page(ids)
        await room.work()
        expected = dict.fromkeys(ids, ACCEPTED) | {ids[5]: ("rejected", "validation_error")}
        assert await room.settled() == expected

    play(scene)


def test_an_account_refusal_parks_the_channel_and_loses_nobody(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(5)
        room.provider.next = [answering(403, "invalid_api_key")]
        await room.page(ids[:3])
        await room.work()
        await room.page(ids[3:])
        assert await room.sender.tick() > 1
        assert len(room.provider.calls) == 1 and await room.settled() == {}
        (channel,) = await stand.admin.fetch("select * from public.email_channel")
        assert channel["park_reason"] == "invalid_api_key" and channel["parked_until"] is not None
        await room.sql("update pace set parked_until = now(), next_at = now()")
        await room.due()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        (channel,) = await stand.admin.fetch("select * from public.email_channel")
        assert channel["park_reason"] is None

    play(scene)


def test_a_rate_limit_moves_the_pace_of_all_replicas(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [answering(429, "rate_limit_exceeded", 30)]
        await room.page(ids[:1])
        await room.work()
        await other.page(ids[1:])
        assert await other.sender.tick() > 20
        assert other.provider.calls == []
        (claim, *_) = await room.claims()
        assert not claim["may_have_arrived"]

    play(scene)


def test_two_replicas_claim_no_delivery_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        provider = Accepts()
        rooms = [await stand.room(provider) for _ in range(2)]
        ids = await stand.deliveries(1500)
        for start in range(0, 1500, 30):
            await rooms[0].page(ids[start : start + 30])

        async def until_done(room) -> None:
            while (await room.store.look()).work:
                await room.sender.tick()
                await asyncio.sleep(0)
            await room.sender.finish()

        await asyncio.gather(*(until_done(room) for room in rooms))
        assert Counter(provider.delivered) == Counter(f"p{number}@x.test" for number in range(1500))
        assert await rooms[0].settled() == dict.fromkeys(ids, ACCEPTED)
        assert len({key for key, _, _ in provider.calls}) == len(provider.calls)

    play(scene)


def test_the_settlement_is_written_when_the_database_is_back(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        settle, failures = room.store.settle, [ConnectionResetError(), TimeoutError()]

        async def flaky(*args):
            if failures:
                raise failures.pop()
            return await settle(*args)

        room.store.settle = flaky
        await room.page(ids)
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_links_are_stored_before_they_are_sent(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3, body="[a](https://x.test/a) [b](https://x.test/b?{n}=1)")
        stored: list[int] = []

        async def counts(provider: Accepts, key: str, mails):
            stored.append(await stand.admin.fetchval("select count(*) from public.email_links"))
            return provider.accept(key, mails)

        room.provider.next = [counts]
        await room.page(ids)
        await room.work()
        assert stored == [4]

    play(scene)


def test_a_test_mail_stays_out_of_every_statistic(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids, test, unknown = await stand.deliveries(2), uuid7(), uuid7()
        await stand.admin.execute(
            "insert into gateway.test_messages (id, address, user_name, template, requested_at)"
            " values ($1, 'me@acme.test', 'Mia', 'welcome_email', now())", test,
        )  # fmt: skip
        await room.page(ids[:1])
        await room.page([test, unknown], test=True)
        await room.page(ids[1:])
        await room.work()
        assert sorted(to for _, _, to in room.provider.calls) == [["me@acme.test"], ["p0@x.test", "p1@x.test"]]
        (progressed,) = [m for m in await room.said() if isinstance(m, events.TestEmailsProgressed)]
        assert {item.delivery_id: item.kind for item in progressed.items} == {test: "sent", unknown: "failed"}
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_old_rows_go_and_younger_ones_stay(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        await room.page(ids[:1])
        await room.work()
        await room.sql("update pages set received_at = now() - interval '36 days'")
        await room.sql("update claims set settled_at = now() - interval '36 days'")
        await room.page(ids[1:])
        await room.store.prune()
        assert [row["members"] for row in await room.sql("select members from pages")] == [ids[1:]]
        assert await room.claims() == []

    play(scene)
