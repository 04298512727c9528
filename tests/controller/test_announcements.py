"""Announcements go to those who want announcements, whoever asks for them; everything else to those who want sequences."""

from uuid import UUID

from controller_stand import Room, Stand
from nurture_contracts.events import EmailsSettled, Settlement
from nurture_contracts.ids import uuid7

SWITCHES = {"announcements": (False, True), "sequences": (True, False), "both": (True, True), "neither": (False, False)}


async def people(stand: Stand) -> dict[str, UUID]:
    found = dict(zip(SWITCHES, await stand.people(len(SWITCHES)), strict=True))
    for name, switches in SWITCHES.items():
        await stand.admin.execute(
            "update gateway.contacts set opt_in_sequences = $2, opt_in_announcements = $3 where user_id = $1",
            found[name], *switches,
        )  # fmt: skip
    return found


async def planned(room: Room, type: str) -> set[UUID]:
    return {
        row["user_id"]
        for row in await room.sql("select user_id from deliveries where unsettled and sequence_type = $1", type)
    }


def test_a_bulk_start_and_its_simulation_reach_those_who_want_it(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        everybody = await people(stand)
        for type, wanting in (("announcement-spring", ("announcements", "both")), ("first", ("sequences", "both"))):
            await stand.sequence(room, type)
            told = await room.simulate(*everybody.values(), sequence_type=type)
            assert told.result["refused_by_reason"] == {"no_reachable_channel": 2}
            answer = await room.start(type, *everybody.values())
            assert answer.result["refused_by_reason"] == {"no_reachable_channel": 2} and answer.result["started"] == 2
            assert await planned(room, type) == {everybody[name] for name in wanting}
        single = await room.start("announcement-spring", everybody["sequences"])
        assert single.status == 422
        assert single.result["detail"].startswith("The person wants no announcements by Email.")

    play(scene)


def test_a_step_that_comes_due_asks_what_is_wanted_by_then(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "announcement", "now", "1d")
        (person,) = await stand.people(1)
        await room.start("announcement", person)
        await room.settle_all()
        await stand.admin.execute("update gateway.contacts set opt_in_announcements = false")
        stand.clock.forward(hours=25)
        await room.plan()
        assert await room.statuses() == ["sent", "suppressed"]

    play(scene)


def test_a_refusal_that_the_claim_met_is_explained_by_its_switch(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "announcement")
        (person,) = await stand.people(1)
        await room.start("announcement", person)
        (delivery,) = [row["id"] for row in await room.sql("select id from deliveries")]
        await stand.admin.execute("update gateway.contacts set opt_in_announcements = false")
        item = Settlement(delivery_id=delivery, outcome="suppressed", reason="refused", at=stand.clock.now(), attempt=1)
        await room.ledger.settled(EmailsSettled(claim_id=uuid7(), items=[item]))
        (row,) = await room.sql("select decision from fallbacks")
        assert row["decision"]["reasons"][0]["text"].startswith("The person wants no announcements by Email.")
        refused = await room.resend(delivery)
        assert refused.result["code"] == "consent_refused"
        await stand.admin.execute("update gateway.contacts set opt_in_announcements = true, opt_in_sequences = false")
        assert (await room.resend(delivery)).status == 201

    play(scene)
