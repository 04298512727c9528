"""The room against the sandbox provider, a process of its own that speaks Resend over HTTP."""

from collections import Counter

import pytest
from email_sandbox import Sandbox
from email_stand import Stand
from nurture_chassis.settings import Secret
from nurture_email.resend import Resend

ACCEPTED = ("accepted", None)


def test_a_batch_arrives_whole_with_everything_a_reader_needs(play, sandbox: Sandbox) -> None:
    async def scene(stand: Stand) -> None:
        provider = Resend(Secret("re_test"), sandbox.url, concurrency=4)
        room = await stand.room(provider)
        ids = await stand.deliveries(100)
        await room.page(ids)
        await room.work()
        await provider.close()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        messages = sandbox.messages()
        assert Counter(message["delivery_id"] for message in messages) == Counter(map(str, ids))
        assert {message["idempotency_key"] for message in messages} == {str(row["id"]) for row in await room.claims()}
        first = next(message for message in messages if message["delivery_id"] == str(ids[7]))
        assert first["to"] == "p7@x.test" and "Hello 7, see" in first["text"] and "/t/c/" in first["html"]
        (limit,) = await room.sql("select 1 / interval_seconds as rate from pace")
        assert round(limit["rate"]) == 1000

    play(scene)


def test_a_reply_that_is_lost_leads_to_no_second_mail(play, sandbox: Sandbox) -> None:
    async def scene(stand: Stand) -> None:
        provider = Resend(Secret("re_test"), sandbox.url, concurrency=4)
        room = await stand.room(provider)
        ids = await stand.deliveries(20)
        sandbox.chaos(close_after_accept=1)
        await room.page(ids)
        await room.work()
        assert await room.settled() == {}
        await room.due()
        await room.work()
        await provider.close()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert Counter(message["delivery_id"] for message in sandbox.messages()) == Counter(map(str, ids))

    play(scene)


def test_who_refuses_after_a_lost_reply_leaves_the_rest_unknown(play, sandbox: Sandbox) -> None:
    async def scene(stand: Stand) -> None:
        provider = Resend(Secret("re_test"), sandbox.url, concurrency=4)
        room = await stand.room(provider)
        ids = await stand.deliveries(3)
        sandbox.chaos(close_after_accept=1)
        await room.page(ids)
        await room.work()
        await stand.contact(ids[0], "consent = 'refused'")
        await room.due()
        await room.work()
        await provider.close()
        assert {outcome for outcome, _ in (await room.settled()).values()} == {"unknown"}
        assert len(sandbox.messages()) == 3

    play(scene)


@pytest.mark.parametrize(("status", "name"), [(500, "application_error"), (429, "rate_limit_exceeded"), (502, None)])
def test_a_fault_of_the_provider_is_waited_out(play, sandbox: Sandbox, status: int, name: str | None) -> None:
    async def scene(stand: Stand) -> None:
        provider = Resend(Secret("re_test"), sandbox.url, concurrency=4)
        room = await stand.room(provider)
        ids = await stand.deliveries(2)
        sandbox.chaos(fail_next=1, status=status, name=name)
        await room.page(ids)
        await room.work()
        assert await room.settled() == {} and sandbox.messages() == []
        await room.sql("update pace set next_at = now()")
        await room.due()
        await room.work()
        await provider.close()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_an_address_that_the_provider_refuses_is_rejected_alone(play, sandbox: Sandbox) -> None:
    async def scene(stand: Stand) -> None:
        provider = Resend(Secret("re_test"), sandbox.url, concurrency=4)
        room = await stand.room(provider)
        ids = await stand.deliveries(4)
        await stand.admin.execute(
            "update controller.delivery_contents set address = 'not an address' where delivery_id = $1", ids[2]
        )
        await stand.contact(ids[2], "address = 'not an address'")
        await room.page(ids)
        await room.work()
        await provider.close()
        outcomes = [outcome for outcome, _ in [(await room.settled())[id] for id in ids]]
        assert outcomes == ["accepted", "accepted", "rejected", "accepted"]

    play(scene)
