"""Answers that come late or never, of the provider and of the database; the edge of the 23 hours; a refusal that races a claim."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from email_stand import Accepts, Room, Stand, answering, lost_it_silently, out_of_reach, took_it_silently
from nurture_contracts import events
from nurture_email.attempts import KEY_LIFETIME, WITHHELD
from nurture_email.rendering import Renderer

ACCEPTED = ("accepted", None)


async def evidence(room: Room) -> dict[Any, tuple[str, str | None]]:
    """Kind and provider id of what was observed, by delivery."""
    pages = [page for page in await room.said() if isinstance(page, events.EmailsObserved)]
    return {item.delivery_id: (item.kind, item.provider_id) for page in pages for item in page.items}


async def age(room: Room, since: timedelta) -> None:
    """The first attempt of all claims was so long ago, by the database's clock, and their waits are over."""
    await room.sql("update claims set first_call_at = now() - $1::interval", since)
    await room.due()


async def stalled(room: Room, members: list[Any]) -> asyncio.Event:
    """A request of this replica is with the provider, and its lease has ended. Set the event to let the answer come."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def stalls(provider: Accepts, key: str, mails: Any) -> Any:
        asked.set()
        await go.wait()
        return provider.accept(key, mails)

    room.provider.next = [stalls]
    await room.page(members)
    await room.sender.tick()
    await asked.wait()
    await room.leases_end()
    return go


def test_a_late_acceptance_is_evidence_whatever_the_later_attempts_end_in(play) -> None:
    async def scene(stand: Stand) -> None:
        slow, other = await stand.room(), await stand.room()
        ids = await stand.deliveries(3)
        go = await stalled(slow, ids)
        other.provider.next = [lost_it_silently]
        await other.work()
        go.set()
        await slow.sender.finish()
        assert await evidence(slow) == {id: ("sent", f"p{n + 1}") for n, id in enumerate(ids)}
        assert await other.settled() == {}, "the claim is another's to end"
        await age(other, KEY_LIFETIME)
        await other.work()
        assert await other.settled() == dict.fromkeys(ids, ("unknown", "gave_up"))

    play(scene)


def test_a_late_refusal_is_evidence_of_nothing(play) -> None:
    async def scene(stand: Stand) -> None:
        slow, other = await stand.room(), await stand.room()
        ids = await stand.deliveries(2)
        go, asked = asyncio.Event(), asyncio.Event()

        async def refuses(provider: Accepts, key: str, mails: Any) -> Any:
            asked.set()
            await go.wait()
            return await answering(422, "validation_error")(provider, key, mails)

        slow.provider.next = [refuses]
        await slow.page(ids)
        await slow.sender.tick()
        await asked.wait()
        await slow.leases_end()
        await other.work()
        go.set()
        await slow.sender.finish()
        assert await slow.settled() == dict.fromkeys(ids, ACCEPTED) and await evidence(slow) == {}

    play(scene)


def test_a_settlement_whose_commit_was_not_answered_is_written_and_said_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        settle, lost = room.store.settle, [True]

        async def unheard(*args: Any) -> bool:
            written = await settle(*args)
            if lost:
                lost.pop()
                raise ConnectionResetError
            return written

        room.store.settle = unheard
        await room.page(ids)
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert await evidence(room) == {} and len(await room.said()) == 1

    play(scene)


def test_halves_whose_commit_was_not_answered_are_made_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(4)
        settle, lost = room.store.settle, [True]

        async def unheard(*args: Any) -> bool:
            written = await settle(*args)
            if lost:
                lost.pop()
                raise ConnectionResetError
            return written

        room.store.settle = unheard
        room.provider.next = [answering(422, "validation_error")]
        await room.page(ids)
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert sorted(room.provider.delivered) == [f"p{n}@x.test" for n in range(4)]

    play(scene)


def test_a_claim_that_was_not_answered_is_taken_up_under_its_own_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        claim_next = room.store.claim_next

        async def unheard(*args: Any) -> Any:
            await claim_next(*args)
            raise ConnectionResetError

        room.store.claim_next = unheard
        await room.page(ids)
        with pytest.raises(ConnectionResetError):
            await room.sender.tick()
        room.store.claim_next = claim_next
        await room.work()
        assert room.provider.calls == [], "its lease has not ended"
        await room.leases_end()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        (claim,) = await room.claims()
        assert [key for key, _, _ in room.provider.calls] == [str(claim["id"])]

    play(scene)


def test_until_the_edge_of_23_hours_it_is_asked_again_and_not_beyond(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        before, after = await stand.deliveries(2)
        room.provider.next = [took_it_silently, took_it_silently]
        await room.page([before])
        await room.work()
        await age(room, KEY_LIFETIME - timedelta(minutes=1))
        await room.work()
        assert len(room.provider.calls) == 2, "a wait of seconds ends before the hour does"
        await room.due()
        await room.work()
        assert await room.settled() == {before: ACCEPTED}
        assert len({key for key, _, _ in room.provider.calls}) == 1 and len(room.provider.delivered) == 1

        room.provider.next = [lost_it_silently]
        await room.page([after])
        await room.work()
        calls = len(room.provider.calls)
        await room.sql("update claims set first_call_at = now() - $1::interval where state = 'open'", KEY_LIFETIME)
        await room.due()
        await room.work()
        assert len(room.provider.calls) == calls
        assert (await room.settled())[after] == ("unknown", "gave_up")

    play(scene)


def test_a_wait_that_would_end_beyond_the_edge_ends_it_at_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [lost_it_silently]
        await room.page(ids)
        await room.work()
        await age(room, KEY_LIFETIME - timedelta(minutes=30))
        room.provider.next = [answering(429, "rate_limit_exceeded", 3600)]
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ("unknown", "gave_up"))

    play(scene)


def test_an_outage_of_more_than_a_day_leaves_no_second_key_and_no_false_failure(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        taken, never = await stand.deliveries(2)
        room.provider.next = [took_it_silently, out_of_reach]
        for id in (taken, never):
            await room.page([id])
            await room.work()
        for hours in (2, 9, 16, 22):
            # 503 may be said by something that had passed it on; nobody there to connect to has not.
            room.provider.next = [answering(503, "service_unavailable"), out_of_reach]
            await room.sql(
                "update claims set next_at = now() - interval '1 s' * n from"
                " (select id as of, row_number() over (order by created_at desc) as n from claims) as o where id = of"
            )
            await room.sql("update claims set first_call_at = now() - make_interval(hours => $1)", hours)
            await room.work()
        await age(room, timedelta(hours=26))
        room.provider.next = []
        await room.work()
        assert await room.settled() == {taken: ("unknown", "gave_up"), never: ("rejected", "gave_up")}
        keys = [key for key, _, _ in room.provider.calls]
        assert len(keys) == 10 and len(set(keys)) == 2, "recovery finds nothing left to call"
        assert room.provider.delivered == ["p0@x.test"]

    play(scene)


def test_a_request_that_is_still_running_is_asked_for_later_under_the_same_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [answering(409, "concurrent_idempotent_requests")] * 2
        await room.page(ids)
        await room.work()
        await room.due()
        await room.work()
        assert await room.settled() == {}
        await room.due()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert len({key for key, _, _ in room.provider.calls}) == 1 and len(room.provider.calls) == 3

    play(scene)


def test_a_body_that_breaks_the_renderer_is_rejected_alone(play, monkeypatch: pytest.MonkeyPatch) -> None:
    render = Renderer.render

    def breaks(self: Renderer, message: Any, settings: Any) -> Any:
        if message.address == "p1@x.test":
            raise ZeroDivisionError
        return render(self, message, settings)

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        monkeypatch.setattr(Renderer, "render", breaks)
        await room.page(ids)
        await room.work()
        assert await room.settled() == {ids[0]: ACCEPTED, ids[1]: ("rejected", "unrenderable"), ids[2]: ACCEPTED}

    play(scene)


@pytest.mark.parametrize("took_it", [True, False])
def test_what_cannot_be_rendered_any_more_may_have_arrived_before(
    play, monkeypatch: pytest.MonkeyPatch, took_it: bool
) -> None:
    render = Renderer.render

    def breaks(self: Renderer, message: Any, settings: Any) -> Any:
        if message.address == "p1@x.test":
            raise ZeroDivisionError
        return render(self, message, settings)

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        room.provider.next = [took_it_silently if took_it else lost_it_silently]
        await room.page(ids)
        await room.work()
        monkeypatch.setattr(Renderer, "render", breaks)
        await room.due()
        await room.work()
        settled = await room.settled()
        if took_it:
            assert settled == {ids[0]: ("unknown", "invalid_idempotent_request"), ids[1]: ("unknown", WITHHELD)}
        else:
            assert settled == {ids[0]: ACCEPTED, ids[1]: ("rejected", "unrenderable")}

    play(scene)


def test_no_claim_that_begins_after_a_refusal_was_answered_sends(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(concurrency=8)
        ids = await stand.deliveries(60)
        refused: dict[Any, Any] = {}

        async def refuse() -> None:
            for id in ids[::2]:
                await stand.contact(id, "consent = 'refused'")
                # What the gateway's 2xx would be: after the commit.
                refused[id] = await stand.admin.fetchval("select clock_timestamp()")

        async def send() -> None:
            for id in ids:
                await room.page([id])
                await room.sender.tick()
            await room.sender.finish()

        await asyncio.gather(refuse(), send())
        await room.work()
        settled = await room.settled()
        assert len(settled) == len(ids)
        began = {row["members"][0]: row["created_at"] for row in await room.claims()}
        for id, at in refused.items():
            assert began[id] < at or settled[id] == ("suppressed", "refused")
        assert {settled[id] for id in ids[1::2]} == {ACCEPTED}

    play(scene)
