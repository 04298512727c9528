"""From one provider to the other while something is under way: nothing is lost, and nothing goes to both."""

from email_stand import Accepts, Stand, dies_sending, out_of_reach, refusing, took_it_silently

ACCEPTED = ("accepted", None)


def test_from_resend_to_smtp_nothing_is_lost_or_sent_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        resend, smtp = await stand.room(Accepts()), await stand.relay_room()
        arrived, waiting, fresh = [await stand.deliveries(3) for _ in range(3)]

        resend.provider.next = [took_it_silently, out_of_reach]
        for page in (arrived, waiting):
            await resend.page(page)
            await resend.work()
        await smtp.page(fresh)
        await smtp.due()
        await smtp.work()
        assert await smtp.settled() == (
            dict.fromkeys(arrived, ("unknown", "provider_changed")) | dict.fromkeys([*waiting, *fresh], ACCEPTED)
        )
        assert len(smtp.provider.delivered) == 6

    play(scene)


def test_from_smtp_to_resend_nothing_is_lost_or_sent_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        resend, smtp = await stand.room(Accepts()), await stand.relay_room(concurrency=1)
        ids = await stand.deliveries(6)
        smtp.provider.next = [dies_sending]
        await smtp.page(ids)
        # Of this page one is being sent when the worker dies, and one is to be tried again.
        assert await smtp.sender.tick() is True
        await smtp.provider.until(1)
        for task in smtp.sender._flight:
            task.cancel()
        again = await stand.relay_room(concurrency=1)
        again.provider.next = [refusing("recipient", 450, "4.2.1 greylisted")]
        assert await again.sender.tick() is True
        await again.sender.finish()
        await resend.leases_end()
        await resend.due()
        await resend.work()
        assert await resend.settled() == ({ids[0]: ("unknown", "provider_changed")} | dict.fromkeys(ids[1:], ACCEPTED))
        assert sorted(resend.provider.delivered) == [f"p{n}@x.test" for n in range(1, 6)]

    play(scene)
