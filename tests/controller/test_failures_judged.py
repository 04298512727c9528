"""A failure is judged in the transaction that learns whose it is, however it is named and whatever came first."""

import pytest
from controller_stand import Room, Stand
from nurture_contracts.events import EmailsObserved, EmailsSettled, Observation, Settlement
from nurture_contracts.ids import uuid7


@pytest.mark.parametrize("order", [("settled", "bounced"), ("bounced", "settled")])
def test_a_bounce_that_names_only_the_providers_id_is_judged(play, order: tuple[str, str]) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        (person,) = await stand.people(1)
        await room.start("first", person)
        (delivery,) = [row["id"] for row in await room.sql("select id from deliveries")]
        for what in order:
            await tell(room, stand, what, delivery)
        (row,) = await room.sql(
            "select d.status, f.decision from deliveries d left join fallbacks f on f.delivery_id = d.id"
        )
        assert row["status"] == "bounced"
        assert [reason["code"] for reason in row["decision"]["reasons"]] == ["no_fallback"]
        assert row["decision"]["inputs"]["failure"] == "hard_bounce"

    play(scene)


def test_who_has_complained_gets_nothing_on_the_other_channel(play) -> None:
    """Whatever a provider says later of the same message."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        (person,) = await stand.people(1)
        await room.start("first", person)
        (delivery,) = [row["id"] for row in await room.sql("select id from deliveries")]
        for what in ("settled", "complained", "bounced"):
            await tell(room, stand, what, delivery)
        (row,) = await room.sql("select decision from fallbacks")
        assert [reason["code"] for reason in row["decision"]["reasons"]] == ["evidence_of_delivery"]

    play(scene)


def test_what_is_said_of_a_message_that_nobody_planned_here_is_not_logged(play) -> None:
    """Another installation on the same account, or a webhook that an operator signs to try it."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        stranger = Observation(event_id=uuid7(), kind="opened", at=stand.clock.now(), delivery_id=uuid7())
        waits = Observation(event_id=uuid7(), kind="bounced", at=stand.clock.now(), provider_id="p1", bounce="hard")
        await room.ledger.observed(EmailsObserved(items=[stranger, waits]))
        assert [row["event_id"] for row in await room.sql("select event_id from delivery_events")] == [waits.event_id]

    play(scene)


async def tell(room: Room, stand: Stand, what: str, delivery) -> None:
    now = stand.clock.now()
    if what == "settled":
        item = Settlement(delivery_id=delivery, outcome="accepted", at=now, attempt=1, provider_id="p1")
        await room.ledger.settled(EmailsSettled(claim_id=uuid7(), items=[item]))
    else:
        told = Observation(event_id=uuid7(), kind=what, at=now, provider_id="p1", bounce="hard")
        await room.ledger.observed(EmailsObserved(items=[told]))
