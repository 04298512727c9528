"""What a person has said since a mail was planned counts at the claim: which kind of mail they want, and where to."""

import pytest
from email_stand import Accepts, Room, Stand, lost_it_silently, out_of_reach, refusing, took_it_silently

ACCEPTED = ("accepted", None)
REFUSED = ("suppressed", "refused")
CHANGED = ("suppressed", "address_changed")
MOVED = "address = user_id || '@x.test', address_key = user_id || '@x.test'"


async def room_of(stand: Stand, provider: str) -> Room:
    return await (stand.room() if provider == "resend" else stand.relay_room())


@pytest.mark.parametrize("provider", ["resend", "smtp"])
@pytest.mark.parametrize("kind", ["sequence", "announcement"])
def test_each_kind_of_mail_goes_to_those_who_want_it(play, provider: str, kind: str) -> None:
    async def scene(stand: Stand) -> None:
        room = await room_of(stand, provider)
        both, sequences, announcements, neither, unsubscribed = ids = await stand.deliveries(5)
        if kind == "announcement":
            await stand.admin.execute(
                "update controller.deliveries set sequence_type = 'announcement-spring' where id = any($1::uuid[])", ids
            )
        await stand.contact(sequences, "opt_in_announcements = false")
        await stand.contact(announcements, "opt_in_sequences = false")
        await stand.contact(neither, "opt_in_sequences = false, opt_in_announcements = false")
        await stand.contact(unsubscribed, "consent = 'refused'")
        await room.page(ids)
        await room.work()
        assert await room.settled() == {
            both: ACCEPTED,
            sequences: ACCEPTED if kind == "sequence" else REFUSED,
            announcements: ACCEPTED if kind == "announcement" else REFUSED,
            neither: REFUSED,
            unsubscribed: REFUSED,
        }

    play(scene)


@pytest.mark.parametrize("provider", ["resend", "smtp"])
def test_nothing_goes_to_an_address_that_was_corrected_meanwhile(play, provider: str) -> None:
    async def scene(stand: Stand) -> None:
        room = await room_of(stand, provider)
        corrected, spelled, removed, refused, fine = ids = await stand.deliveries(5)
        await stand.contact(corrected, MOVED)
        await stand.contact(spelled, "address = 'P1@X.test'")
        await stand.contact(removed, "address = null, address_key = null, state = 'blocked'")
        await stand.contact(refused, "address = 'other@x.test', consent = 'refused'")
        await room.page(ids)
        await room.work()
        assert sorted(room.provider.delivered) == ["p1@x.test", "p4@x.test"]
        assert await room.settled() == {
            corrected: CHANGED,
            spelled: ACCEPTED,
            removed: ("suppressed", "blocked"),
            refused: REFUSED,
            fine: ACCEPTED,
        }

    play(scene)


def test_who_was_certainly_not_reached_before_the_correction_is_not_written_to_under_any_key(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(Accepts())
        corrected, fine = await stand.deliveries(2)
        room.provider.next = [out_of_reach]
        await room.page([corrected, fine])
        await room.work()
        await stand.contact(corrected, MOVED)
        await room.due()
        await room.work()
        assert await room.settled() == {corrected: CHANGED, fine: ACCEPTED}
        first, second = room.provider.calls
        # The smaller request is another one, so it has a key of its own.
        assert room.provider.delivered == ["p1@x.test"] and first[0] != second[0]

    play(scene)


@pytest.mark.parametrize("happened", [took_it_silently, lost_it_silently])
def test_what_may_have_arrived_is_repeated_as_it_was(play, happened) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(Accepts())
        corrected, fine = await stand.deliveries(2)
        room.provider.next = [happened]
        await room.page([corrected, fine])
        await room.work()
        await stand.contact(corrected, MOVED)
        await room.due()
        await room.work()
        first, second = room.provider.calls
        assert first == second, "the same bytes under the same key"
        assert await room.settled() == dict.fromkeys((corrected, fine), ACCEPTED)

    play(scene)


def test_a_relay_that_turned_it_away_for_now_does_not_get_the_old_address_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        (corrected,) = await stand.deliveries(1)
        room.provider.next = [refusing("recipient", 450, "4.2.1 try again")]
        await room.page([corrected])
        await room.work()
        await stand.contact(corrected, MOVED)
        await room.due()
        await room.work()
        assert room.provider.called == ["p0@x.test"] and await room.settled() == {corrected: CHANGED}

    play(scene)


def test_a_worker_that_died_with_the_old_address_leaves_it_unknown_over_smtp(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        (corrected,) = await stand.deliveries(1)
        await room.page([corrected])
        await room.store.claim_volley(corrected, 1, 60.0, room.sender._clock.now(), room.sender._settings)
        await stand.contact(corrected, MOVED)
        await room.leases_end()
        await room.work()
        assert room.provider.called == []
        assert (await room.settled())[corrected] == ("unknown", "worker_lost")

    play(scene)
