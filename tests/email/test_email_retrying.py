"""Attempts after trouble: the same key and bytes, leases, fences, consent in between, the end after 23 hours."""

import asyncio

from email_stand import (
    SETTINGS,
    Accepts,
    Stand,
    dies,
    lost_it_silently,
    out_of_reach,
    took_it_silently,
)
from msgspec.structs import replace
from nurture_contracts.events import EmailsObserved, EmailsSettled
from nurture_email.attempts import WITHHELD

ACCEPTED = ("accepted", None)


def test_a_lost_reply_is_asked_for_again_with_the_same_bytes_under_the_same_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(5)
        room.provider.next = [took_it_silently]
        await room.page(ids)
        await room.work()
        assert await room.settled() == {}
        await room.due()
        upgraded = await stand.room(
            room.provider, replace(SETTINGS, sender="New <new@acme.test>", postal_address="Elsewhere 1")
        )
        await upgraded.work()
        (first, second) = room.provider.calls
        assert first == second
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert len(room.provider.delivered) == 5
        (claim,) = await room.claims()
        assert (claim["attempt"], claim["state"]) == (2, "settled")

    play(scene)


def test_a_worker_that_died_is_repeated_when_its_lease_ends_and_not_before(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(5)
        room.provider.next = [dies]
        await room.page(ids)
        await room.work()
        assert len(room.provider.calls) == 1 and await room.settled() == {}
        await room.leases_end()
        await room.work()
        first, second = room.provider.calls
        assert first == second and len(room.provider.delivered) == 5
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        (claim,) = await room.claims()
        assert claim["may_have_arrived"] and claim["fence"] == 2

    play(scene)


def test_a_late_writer_is_refused_by_the_fence(play) -> None:
    async def scene(stand: Stand) -> None:
        slow, other = await stand.room(), await stand.room()
        other.provider.taken = slow.provider.taken
        go, asked = asyncio.Event(), asyncio.Event()

        async def stalls(provider: Accepts, key: str, mails):
            asked.set()
            await go.wait()
            return provider.accept(key, mails)

        slow.provider.next = [stalls]
        ids = await stand.deliveries(3)
        await slow.page(ids)
        await slow.sender.tick()
        await asked.wait()
        await slow.leases_end()
        await other.work()
        assert await other.settled() == dict.fromkeys(ids, ACCEPTED)
        go.set()
        await slow.sender.finish()
        settled, late = await slow.said()
        assert isinstance(settled, EmailsSettled) and isinstance(late, EmailsObserved)
        assert {(one.delivery_id, one.kind) for one in late.items} == {(id, "sent") for id in ids}
        assert slow.provider.calls == other.provider.calls

    play(scene)


def test_a_call_never_begins_with_too_little_lease(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(lease=29.0)
        await room.page(await stand.deliveries(2))
        await room.sender.tick()
        await room.sender.finish()
        assert room.provider.calls == []
        (claim,) = await room.claims()
        assert (claim["state"], claim["may_have_arrived"], claim["lease_until"]) == ("open", False, None)

    play(scene)


def test_who_refuses_after_a_request_that_never_left_is_dropped_and_the_rest_gets_a_new_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        room.provider.next = [out_of_reach]
        await room.page(ids)
        await room.work()
        await stand.contact(ids[1], "consent = 'refused'")
        await room.due()
        await room.work()
        await room.work()
        (first, _, _), (second, _, to) = room.provider.calls
        assert first != second and to == ["p0@x.test", "p2@x.test"]
        assert await room.settled() == {ids[0]: ACCEPTED, ids[1]: ("suppressed", "refused"), ids[2]: ACCEPTED}

    play(scene)


def test_who_refuses_after_a_request_that_may_have_arrived_is_left_out_under_the_same_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        room.provider.next = [lost_it_silently]
        await room.page(ids)
        await room.work()
        await stand.contact(ids[1], "consent = 'refused'")
        await room.due()
        await room.work()
        (first, _, _), (second, _, to) = room.provider.calls
        assert first == second and to == ["p0@x.test", "p2@x.test"]
        assert await room.settled() == {ids[0]: ACCEPTED, ids[1]: ("suppressed", "refused"), ids[2]: ACCEPTED}

    play(scene)


def test_a_conflict_shows_that_the_larger_request_was_taken_and_nobody_is_sent_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        room.provider.next = [took_it_silently]
        await room.page(ids)
        await room.work()
        await stand.contact(ids[1], "consent = 'refused'")
        await room.due()
        await room.work()
        assert await room.settled() == {
            ids[0]: ("unknown", "invalid_idempotent_request"),
            ids[1]: ("unknown", WITHHELD),
            ids[2]: ("unknown", "invalid_idempotent_request"),
        }
        await room.due()
        await room.work()
        assert len(room.provider.calls) == 2 and len(room.provider.delivered) == 3

    play(scene)


def test_consent_given_back_does_not_enlarge_the_request_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [lost_it_silently, took_it_silently]
        await room.page(ids)
        await room.work()
        await stand.contact(ids[0], "consent = 'refused'")
        await room.due()
        await room.work()
        await stand.contact(ids[0], "consent = 'granted'")
        await room.due()
        await room.work()
        assert [to for _, _, to in room.provider.calls] == [["p0@x.test", "p1@x.test"], ["p1@x.test"], ["p1@x.test"]]
        assert await room.settled() == {ids[0]: ("suppressed", "refused"), ids[1]: ACCEPTED}

    play(scene)


def test_what_may_have_arrived_does_not_expire(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [took_it_silently]
        await room.page(ids)
        await room.work()
        await stand.admin.execute(
            "update controller.delivery_contents set expires_at = now() - interval '1 s' where delivery_id = any($1)",
            ids,
        )
        await room.due()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_after_23_hours_nothing_is_called_any_more(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        doubtful, unsent = await stand.deliveries(2)
        room.provider.next = [lost_it_silently, out_of_reach]
        for id in (doubtful, unsent):
            await room.page([id])
            await room.work()
        await room.sql("update claims set first_call_at = now() - interval '23 hours'")
        await room.due()
        await room.work()
        assert len(room.provider.calls) == 2
        assert await room.settled() == {doubtful: ("unknown", "gave_up"), unsent: ("rejected", "gave_up")}

    play(scene)
