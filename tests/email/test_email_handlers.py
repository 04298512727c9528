"""What the room says about webhooks and hits, and what it does with addresses that are dead or unwilling."""

from datetime import UTC, datetime
from uuid import UUID

from email_stand import Stand
from nurture_contracts import commands, events
from nurture_contracts.ids import uuid7

AT = datetime(2026, 1, 1, tzinfo=UTC)


def webhook(type: str, delivery: UUID | None, **more: object) -> events.WebhookReceived:
    return events.WebhookReceived(webhook_id=str(uuid7()), type=type, at=AT, delivery_id=delivery, **more)  # type: ignore[arg-type]


def test_a_page_to_send_is_kept_and_wakes_the_sender(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        page = commands.SendEmails(page_id=uuid7(), items=await stand.deliveries(2))
        await room.handlers.send(page)
        await room.handlers.send(page)
        assert room.woken == 2 and len(await room.sql("select from pages")) == 1

    play(scene)


def test_dead_and_unwilling_addresses_are_suppressed_and_reported_with_their_people(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        hard, soft, angry, opened, later = await stand.deliveries(5)
        await stand.admin.execute(
            "update controller.delivery_contents set address = 'P0@x.test' where delivery_id = $1", later
        )
        stranger = uuid7()
        page = events.EmailWebhooksReceived(
            items=[
                webhook("email.bounced", hard, bounce_type="Permanent"),
                webhook("email.bounced", soft, bounce_type="Transient"),
                webhook("email.complained", angry),
                webhook("email.opened", opened),
                webhook("email.bounced", stranger, bounce_type="Permanent"),
                webhook("contact.updated", None),
            ]
        )
        await room.handlers.webhooks(page)
        await room.handlers.webhooks(page)
        said = await room.said()
        (suppressed, *again) = [message for message in said if isinstance(message, events.AddressesSuppressed)]
        assert again == [suppressed]
        people = {
            row["id"]: row["user_id"]
            for row in await stand.admin.fetch("select id, user_id from controller.deliveries")
        }
        assert {(item.user_id, item.delivery_id, item.reason) for item in suppressed.items} == {
            (people[hard], hard, "bounced"),
            (people[angry], angry, "complained"),
        }
        observed = [message for message in said if isinstance(message, events.EmailsObserved)]
        assert observed[0] == observed[1]
        assert [item.kind for item in observed[0].items] == ["bounced", "bounced", "complained", "opened", "bounced"]
        rows = await room.sql("select address_key, reason from suppressions order by 1")
        assert [tuple(row) for row in rows] == [("p0@x.test", "bounced"), ("p2@x.test", "complained")]
        await room.page([later])
        await room.work()
        assert await room.settled() == {later: ("suppressed", "bounced")}

    play(scene)


def test_hits_in_telegram_messages_are_another_rooms(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        hit = events.Hit(event_id=uuid7(), kind="clicked", delivery_id=uuid7(), at=AT, channel="telegram")
        await room.handlers.tracking(events.TrackingHit(items=[hit]))
        assert await room.said() == []

    play(scene)


def test_what_belongs_to_a_test_mail_is_said_apart(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        test, real = uuid7(), uuid7()
        await room.handlers.webhooks(
            events.EmailWebhooksReceived(
                items=[webhook("email.complained", test, test=True), webhook("email.sent", real)]
            )
        )
        hit = events.Hit(event_id=uuid7(), kind="clicked", delivery_id=real, at=AT, link="ab" * 8, signal="human")
        other = events.Hit(event_id=uuid7(), kind="opened", delivery_id=test, at=AT, test=True)
        await room.handlers.tracking(events.TrackingHit(items=[hit, other]))
        said = [
            (type(message).__name__, [(i.kind, i.delivery_id, i.link) for i in message.items])
            for message in await room.said()
        ]
        assert sorted(said) == sorted(
            [
                ("EmailsObserved", [("sent", real, None)]),
                ("TestEmailsProgressed", [("complained", test, None)]),
                ("EmailsObserved", [("clicked", real, "ab" * 8)]),
                ("TestEmailsProgressed", [("opened", test, None)]),
            ]
        )
        assert await room.sql("select from suppressions") == []

    play(scene)


async def asked(stand: Stand, address: str, purpose: str = "verification") -> tuple[UUID, UUID]:
    """A person, and a mail that asked whether the mailbox is theirs."""
    person, mail = uuid7(), uuid7()
    await stand.admin.execute(
        "insert into gateway.users (id, first_name, timezone, locale, preferred_time, created_at, updated_at)"
        " values ($1, 'Ada', 'UTC', 'en', 'morning', now(), now())", person,
    )  # fmt: skip
    await stand.admin.execute(
        "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
        " values ($1, 'email', $2, lower($2), now())", person, address,
    )  # fmt: skip
    await stand.admin.execute(
        "insert into gateway.test_messages (id, address, user_name, template, requested_at, purpose, user_id)"
        " values ($1, $2, 'Ada', 'nurture_sequence', now(), $3, $4)", mail, address, purpose, person,
    )  # fmt: skip
    return person, mail


def test_a_mail_that_asked_for_an_address_tells_of_it_as_any_other_does(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (person, mail), (_, test) = await asked(stand, "Wrong@x.test"), await asked(stand, "bounced@x.test", "test")
        await room.handlers.webhooks(
            events.EmailWebhooksReceived(
                items=[
                    webhook("email.complained", mail, test=True),
                    webhook("email.bounced", test, test=True, bounce_type="Permanent"),
                ]
            )
        )
        (closed,) = [message for message in await room.said() if isinstance(message, events.AddressesSuppressed)]
        assert [(item.user_id, item.delivery_id, item.reason) for item in closed.items] == [
            (person, mail, "complained")
        ]
        assert [row["address_key"] for row in await room.sql("select * from suppressions")] == ["wrong@x.test"]

    play(scene)


def test_nobody_is_asked_for_an_address_that_is_closed_refused_or_not_theirs_any_more(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (_, closed), (gone, refused), (_, wanted), (moved, changed), (some, partly) = [
            await asked(stand, f"{name}@x.test") for name in "abcde"
        ]
        await stand.admin.execute(
            "update gateway.contacts set address = 'new@x.test', address_key = 'new@x.test' where user_id = $1", moved
        )
        # It belongs to neither kind of message, so who wants one of them may be asked.
        await stand.admin.execute("update gateway.contacts set opt_in_sequences = false where user_id = $1", some)
        await stand.admin.execute("insert into email.suppressions values ('a@x.test', 'bounced', now(), $1)", uuid7())
        await stand.admin.execute("update gateway.contacts set consent = 'refused' where user_id = $1", gone)
        await room.page([closed, refused, wanted, changed, partly], test=True)
        await room.work()
        assert [to for _, _, to in room.provider.calls] == [["c@x.test", "e@x.test"]]
        (told,) = [message for message in await room.said() if isinstance(message, events.TestEmailsProgressed)]
        assert {item.delivery_id: (item.kind, item.reason) for item in told.items} == {
            closed: ("failed", "bounced"), refused: ("failed", "refused"), wanted: ("sent", None),
            changed: ("failed", "address_changed"), partly: ("sent", None),
        }  # fmt: skip

    play(scene)


def test_what_an_operator_lifts_is_written_to_until_the_next_report(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(4)
        await stand.admin.execute("update controller.delivery_contents set address = 'p0@x.test'")
        for id in ids:
            await stand.contact(id, "address = 'p0@x.test'")
        word = "insert into gateway.suppressions_by_hand values ('p0@x.test', $1, '', $2)"

        async def said(day: int) -> None:
            bounce = events.WebhookReceived(
                webhook_id=str(uuid7()), type="email.bounced", at=AT.replace(day=day), delivery_id=ids[0],
                bounce_type="Permanent",
            )  # fmt: skip
            await room.handlers.webhooks(events.EmailWebhooksReceived(items=[bounce]))

        async def sent(id: UUID) -> tuple[str, str | None]:
            await room.page([id])
            await room.work()
            return (await room.settled())[id]

        await said(1)
        assert await sent(ids[0]) == ("suppressed", "bounced")
        await stand.admin.execute(word, "lifted", AT.replace(day=3))
        await said(2)
        assert (await sent(ids[1]))[0] == "accepted"
        await said(4)
        assert await sent(ids[2]) == ("suppressed", "bounced")
        await stand.admin.execute("truncate gateway.suppressions_by_hand, email.suppressions")
        await stand.admin.execute(word, "closed", AT)
        assert await sent(ids[3]) == ("suppressed", "manual")

    play(scene)
