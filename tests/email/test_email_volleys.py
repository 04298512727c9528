"""Sending without a key: each delivery is a claim of its own, and what may have arrived is never sent again."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from email_stand import Room, Stand, Takes, dies_sending, refusing
from nurture_chassis.database import STATEMENTS, TRANSACTIONS
from nurture_contracts import events
from nurture_contracts.ids import uuid7
from nurture_email.provider import Reply
from nurture_email.rendering import Mail
from nurture_email.smtp_verdicts import broken
from nurture_email.smtp_verdicts import refused as relay_refused

ACCEPTED = ("accepted", None)


def statements() -> Counter[str]:
    return Counter(
        {s.labels["query"]: int(s.value) for m in STATEMENTS.collect() for s in m.samples if s.name.endswith("_total")}
    )


async def lost(provider: Takes, mail: Mail) -> Reply:
    """It took the mail, and hung up."""
    provider.take(mail)
    return Reply(broken("message", "connection_lost"), answered=False)


def test_a_page_goes_mail_by_mail_in_volleys(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=8)
        ids = await stand.deliveries(100, body="The [same link](https://x.test/) for all.")
        await room.page(ids)
        before, committed = statements(), TRANSACTIONS._value.get()
        await room.work()
        spent = statements() - before
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert sorted(room.provider.delivered) == sorted(f"p{n}@x.test" for n in range(100))
        # One alone, then 7, then eights: a statement and a transaction a volley, whatever its size.
        volleys = spent["claim_volley"]
        assert 13 <= volleys <= 20 and spent["volley_settle"] == spent["outbox_add"] <= volleys
        assert TRANSACTIONS._value.get() - committed == spent["volley_settle"]
        claims = await room.claims()
        assert {claim["id"] for claim in claims} == set(ids) and all(len(claim["members"]) == 1 for claim in claims)
        (page,) = await room.sql("select * from pages")
        assert page["taken"] == 100 and page["claim_id"] is not None
        said = await room.said()
        (sent, *_) = [message for message in said if isinstance(message, events.EmailsSettled)]
        assert sent.items[0].provider_id == f"{sent.items[0].delivery_id}@acme.test"
        # Nobody will report a delivery, and scores have to hear of it.
        observed = [item for message in said if isinstance(message, events.EmailsObserved) for item in message.items]
        assert {item.delivery_id for item in observed} == set(ids)
        assert {(item.kind, item.final) for item in observed} == {("sent", True)}

    play(scene)


def test_a_page_that_comes_twice_and_a_delivery_named_twice_are_sent_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        ids, page = await stand.deliveries(3), uuid7()
        await room.page([ids[0], ids[0], ids[1]], page_id=page)
        await room.page([ids[0], ids[0], ids[1]], page_id=page)
        await room.work()
        await room.page([ids[1], ids[2]])
        while (await room.store.look()).work:
            await room.work()
        assert room.provider.delivered == ["p0@x.test", "p1@x.test", "p2@x.test"]
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_the_claim_asks_for_consent_and_everything_else(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        refused_, bounced, cancelled, late, fine = ids = await stand.deliveries(5)
        await stand.contact(refused_, "consent = 'refused'")
        await stand.contact(bounced, "state = 'bounced'")
        await stand.admin.execute("update controller.enrolments set state = 'cancelled' where id = $1", cancelled)
        await stand.admin.execute(
            "update controller.delivery_contents set expires_at = now() - interval '1 s' where delivery_id = $1", late
        )
        missing = uuid7()
        await room.page([*ids, missing])
        await room.work()
        assert await room.settled() == {
            refused_: ("suppressed", "refused"), bounced: ("suppressed", "bounced"), cancelled: ("suppressed", "cancelled"),
            late: ("expired", "too_late"), missing: ("rejected", "missing"), fine: ACCEPTED,
        }  # fmt: skip
        assert room.provider.called == ["p4@x.test"]

    play(scene)


def test_what_may_have_arrived_is_unknown_and_never_sent_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        ids = await stand.deliveries(3)
        room.provider.next = [lost]
        await room.page(ids)
        await room.work()
        await room.due()
        await room.work()
        assert await room.settled() == {
            ids[0]: ("unknown", "connection_lost"), ids[1]: ACCEPTED, ids[2]: ACCEPTED,
        }  # fmt: skip
        assert Counter(room.provider.called) == Counter(f"p{n}@x.test" for n in range(3))

    play(scene)


def test_not_now_is_tried_again_and_asks_for_consent_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        ids = await stand.deliveries(2)
        room.provider.next = [refusing("recipient", 450, "4.2.1 greylisted")] * 2
        await room.page(ids)
        await room.work()
        assert await room.settled() == {} and room.provider.delivered == []
        claims = await room.claims()
        assert all(one["state"] == "open" and not one["may_have_arrived"] and not one["lease_until"] for one in claims)
        await stand.contact(ids[0], "consent = 'refused'")
        await room.due()
        await room.work()
        assert await room.settled() == {ids[0]: ("suppressed", "refused"), ids[1]: ACCEPTED}

    play(scene)


def test_not_now_for_a_day_is_a_failure(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        (id,) = await stand.deliveries(1)
        room.provider.next = [refusing("recipient", 450, "4.2.1 greylisted")]
        await room.page([id])
        await room.work()
        await room.sql("update claims set first_call_at = now() - $1::interval", timedelta(hours=23))
        await room.due()
        await room.work()
        assert await room.settled() == {id: ("rejected", "gave_up")} and len(room.provider.called) == 1

    play(scene)


def test_a_dead_address_is_closed_and_another_refusal_is_not(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=1)
        dead, disliked, fine = ids = await stand.deliveries(3)
        room.provider.next = [
            refusing("recipient", 550, "5.1.1 nobody here"), refusing("message", 554, "5.6.0 spam"),
        ]  # fmt: skip
        await room.page(ids)
        await room.work()
        assert await room.settled() == {
            dead: ("rejected", "no_such_address_550_5.1.1"), disliked: ("rejected", "message_refused_554_5.6.0"),
            fine: ACCEPTED,
        }  # fmt: skip
        (closed,) = [message for message in await room.said() if isinstance(message, events.AddressesSuppressed)]
        assert [(item.delivery_id, item.reason) for item in closed.items] == [(dead, "bounced")]
        assert [row["address_key"] for row in await room.sql("select * from suppressions")] == ["p0@x.test"]

    play(scene)


@pytest.mark.parametrize(
    "refusal",
    [
        ("login", 535, "5.7.8 wrong password"),
        ("sender", 550, "5.7.1 not your domain"),
        ("recipient", 554, "5.7.1 relay?"),
    ],
)
def test_a_refused_account_parks_the_channel_and_loses_nobody(play, refusal: tuple[str, int, str]) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=1)
        ids = await stand.deliveries(5)
        room.provider.next = [refusing(*refusal)]
        await room.page(ids)
        await room.work()
        assert await room.sender.tick() > 1 and len(room.provider.called) == 1 and await room.settled() == {}
        (channel,) = await stand.admin.fetch("select * from public.email_channel")
        assert channel["park_reason"].startswith(("login_refused", "sender_refused", "relaying_refused"))
        await room.sql("update pace set parked_until = now(), next_at = now()")
        await room.due()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        (channel,) = await stand.admin.fetch("select * from public.email_channel")
        assert channel["park_reason"] is None

    play(scene)


def test_a_death_leaves_at_most_the_concurrency_unknown_and_nothing_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        provider = Takes()
        dying, other = [await stand.relay_room(provider, concurrency=4) for _ in range(2)]
        ids = await stand.deliveries(30)
        provider.next = [dies_sending] * 4
        await dying.page(ids)
        while dying.sender._busy < 4:
            await dying.sender.tick()
        await provider.until(4)
        for task in dying.sender._flight:
            task.cancel()
        await asyncio.gather(*dying.sender._flight, return_exceptions=True)
        await other.work()
        await other.leases_end()
        await other.work()
        settled = await other.settled()
        unknown = [id for id, end in settled.items() if end == ("unknown", "worker_lost")]
        assert len(unknown) == 4 and Counter(settled.values()) == Counter({ACCEPTED: 26, ("unknown", "worker_lost"): 4})
        assert Counter(provider.delivered) == Counter(f"p{n}@x.test" for n in range(30))

    play(scene)


def test_a_park_while_others_are_being_claimed_leaves_none_of_them_without_an_end(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=4, rate=10.0)
        ids = await stand.deliveries(4)
        release = asyncio.Event()

        async def refuses_late(provider: Takes, mail: Mail) -> Reply:
            await release.wait()
            return Reply(relay_refused("login", 535, "5.7.8"))

        room.provider.next = [refuses_late]
        await room.page(ids)
        assert await room.sender.tick() is True
        await room.provider.until(1)
        # The second tick has its slots, and waits for the first of them when the relay refuses us.
        second = asyncio.create_task(room.sender.tick())
        async with asyncio.timeout(10):
            while not room.sender._slots:  # noqa: ASYNC110 - nobody is told of slots
                await asyncio.sleep(0.001)
        release.set()
        await second
        await room.sender.finish()
        assert room.sender._busy == 0 and all(not one["lease_until"] for one in await room.claims())
        await room.sql("update pace set parked_until = now(), next_at = now()")
        await room.due()
        while (await room.store.look()).work:
            await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_an_answer_that_comes_after_the_lease_is_evidence(play) -> None:
    async def scene(stand: Stand) -> None:
        provider, go = Takes(), asyncio.Event()
        slow, other = [await stand.relay_room(provider) for _ in range(2)]

        async def waits(provider: Takes, mail: Mail) -> Reply:
            await go.wait()
            return provider.take(mail)

        (id,) = await stand.deliveries(1)
        provider.next = [waits]
        await slow.page([id])
        assert await slow.sender.tick() is True
        await provider.until(1)
        await other.leases_end()
        await other.work()
        assert await other.settled() == {id: ("unknown", "worker_lost")}
        go.set()
        await slow.sender.finish()
        (observed,) = [message for message in await other.said() if isinstance(message, events.EmailsObserved)]
        assert [(item.delivery_id, item.kind) for item in observed.items] == [(id, "sent")]
        assert provider.delivered == ["p0@x.test"]

    play(scene)


def test_two_replicas_send_nothing_twice_and_share_one_limit(play) -> None:
    async def scene(stand: Stand) -> None:
        limit, provider = 40.0, Takes()
        rooms = [await stand.relay_room(provider, rate=limit, concurrency=8) for _ in range(2)]
        ids = await stand.deliveries(90)
        for start in range(0, 90, 30):
            await rooms[0].page(ids[start : start + 30])

        async def work(room: Room) -> None:
            while (await room.store.look()).work:
                await room.sender.tick()
                await asyncio.sleep(0.001)
            await room.sender.finish()

        await asyncio.gather(*(work(room) for room in rooms))
        assert await rooms[0].settled() == dict.fromkeys(ids, ACCEPTED)
        assert Counter(provider.delivered) == Counter(f"p{n}@x.test" for n in range(90))
        times = provider.times
        assert max(sum(start <= at < start + 1.0 for at in times) for start in times) <= limit

    play(scene)


def test_what_is_held_waits_also_what_is_to_be_tried_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=2)
        ids = await stand.deliveries(6)
        room.provider.next = [refusing("recipient", 450, "4.2.1 greylisted")]
        await room.page(ids)
        assert await room.sender.tick() is True
        await room.sender.finish()
        calls = len(room.provider.called)
        await stand.admin.execute("insert into controller.paused_types values ('onboarding', now())")
        try:
            await room.due()
            # The first tick after a full volley does not look; its claim takes nothing all the same.
            ticks = [await room.sender.tick() for _ in range(4)]
            assert ticks[-2:] == [False, False]
            assert len(room.provider.called) == calls
            (test,) = [uuid7()]
            await stand.admin.execute(
                "insert into gateway.test_messages (id, address, user_name, template, requested_at)"
                " values ($1, 'me@acme.test', 'Mia', 'welcome_email', now())", test,
            )  # fmt: skip
            await room.page([test], test=True)
            await room.work()
            assert room.provider.delivered == ["me@acme.test"]
        finally:
            await stand.admin.execute("delete from controller.paused_types")
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)
