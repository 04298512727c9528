"""What a person has said since a message was planned counts at the claim: which kind of message they want, and which chat is
theirs."""

from typing import Any

import pytest
from nurture_contracts.ids import uuid7
from telegram_server import takes_and_hangs_up
from telegram_stand import Stand

ACCEPTED = ("accepted", None)
REFUSED = ("suppressed", "refused")
CHANGED = ("suppressed", "chat_changed")


@pytest.mark.parametrize("kind", ["sequence", "announcement"])
def test_each_kind_of_message_goes_to_those_who_want_it(play, kind: str) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        both, sequences, announcements, neither, unsubscribed = ids = await stand.deliveries(5)
        if kind == "announcement":
            await stand.admin.execute(
                "update controller.deliveries set sequence_type = 'announcement' where id = any($1::uuid[])", ids
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


def test_nothing_goes_to_a_chat_that_was_corrected_by_hand_meanwhile(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        corrected, removed, moved, followed, fine = ids = await stand.deliveries(5)
        await stand.contact(corrected, "address = '77', address_key = '77'")
        await stand.contact(removed, "address = null, address_key = null, state = 'blocked'")
        # Telegram gave these chats other ids; of one the contact has the new id already.
        for delivery, chat in ((moved, "1002"), (followed, "1003")):
            await room.sql(
                "insert into chats (chat_id, user_id, state, moved_to) values ($1, $2, 'replaced', '-' || $1)",
                chat, await stand.person(delivery),
            )  # fmt: skip
        await stand.contact(followed, "address = '-1003', address_key = '-1003'")
        await room.page(ids)
        await room.work()
        assert sorted(request["chat_id"] for request in stand.bot.sent) == [-1003, -1002, 1004]
        assert await room.settled() == {
            corrected: CHANGED,
            removed: ("suppressed", "blocked"),
            moved: ACCEPTED,
            followed: ACCEPTED,
            fine: ACCEPTED,
        }

    play(scene)


def test_what_may_have_arrived_in_the_chat_before_is_not_sent_again_and_stays_unknown(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (corrected,) = await stand.deliveries(1, params={"on_ambiguous": "retry"})
        stand.bot.next: dict[int, list[Any]] = {1000: [takes_and_hangs_up]}
        await room.page([corrected])
        await room.work()
        await stand.contact(corrected, "address = '77', address_key = '77'")
        await room.due()
        await room.work()
        assert [request["chat_id"] for request in stand.bot.sent] == [1000]
        assert await room.settled() == {corrected: ("unknown", "withheld_after_attempt")}

    play(scene)


def test_a_wish_does_not_make_a_chat_ones_own_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1)
        # Somebody else has linked the chat, and the word of it is still on its way to the contact.
        await room.sql("insert into chats (chat_id, user_id, linked_at) values ('1000', $1, now())", uuid7())
        await stand.contact(delivery, "opt_in_announcements = false, changed_at = now() + interval '1 minute'")
        await room.page([delivery])
        await room.work()
        assert await room.settled() == {delivery: CHANGED} and stand.bot.sent == []

    play(scene)
