"""What is simulated is what then happens: the same people, steps, times, channels and words, with nobody started."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from controller_stand import Room, Stand
from nurture_contracts.events import EmailsObserved, EmailsSettled, Observation, Settlement, TelegramsSettled
from nurture_contracts.ids import uuid7

ZONES = ("Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Nowhere/Else")
HEAD = 'format = 1\ntype = "{type}"\ntitle = "T"\n'
STEPS = """
[[steps]]
kind = "message"
when = "now"
fallback = "auto"
subject = "Hello"
body = "Good day."

[[steps.variants]]
name = "a"

[[steps.variants]]
name = "b"
subject = "Hi"

[[steps]]
kind = "message"
delay = "1d"
subject = "Hello"
body = "About {{ user.attributes.plan }}."

[steps.wordings.low]
body = "Good day."

[[steps]]
kind = "message"
delay = "3h"
channel = "telegram"
fallback = "email"
subject = "Hello"
body = "Good day."

[steps.wordings.medium]
body = "Good day again."

[[steps]]
kind = "message"
delay = "2w"
at = "18:30"
subject = "Hello"
body = "Good day."
"""


async def people(stand: Stand, count: int) -> list[UUID]:
    """All kinds: clocks, channels, preferences, consent, scores, and what the words need."""
    ids = await stand.people(count)
    run = stand.admin.execute
    for index, id in enumerate(ids):
        await run(
            "update gateway.users set timezone = $2, preferred_time = $3, preferred_channel = $4, attributes = $5::text::jsonb"
            " where id = $1",
            id,
            ZONES[index % 4],
            ("morning", "evening", "07:15")[index % 3],
            ("telegram", None, None, "email", None)[index % 5],
            '{"plan": "pro"}' if index % 7 else "{}",
        )
        if index % 2:
            await run(
                "insert into gateway.contacts (user_id, channel, address, address_key, changed_at) values ($1, 'telegram', $2, $2, now())",
                id,
                str(1000 + index),
            )
        if index % 11 == 3:
            await run("update gateway.contacts set consent = 'refused' where user_id = $1 and channel = 'email'", id)
        if index % 13 == 4:
            await run("delete from gateway.contacts where user_id = $1", id)
    await run("insert into telegram.channel (ready, bot_username, updates) values (true, 'bot', 'poll')")
    return ids


async def happened(room: Room, stand: Stand, ids: list[UUID], failing: str | None) -> dict[UUID, list[tuple[Any, ...]]]:
    """Start everybody and let the days pass until all have ended; what was decided for each, in order."""
    await room.start("real", *ids)
    while True:
        await room.plan()
        await answered(room, stand, failing)
        next_at = await room.database.fetchval("enrolments_next_due")
        if next_at is None:
            break
        stand.clock.at = max(next_at, stand.clock.at)
    rows = await room.sql(
        "select user_id, step, scheduled_at, channel, variant, tier, fallback_of, sent_at from deliveries order by created_at, id"
    )
    found: dict[UUID, list[tuple[Any, ...]]] = {id: [] for id in ids}
    for row in rows:
        sent = row["sent_at"] is not None
        found[row["user_id"]].append(
            (
                row["step"],
                row["scheduled_at"],
                row["channel"] if sent else "",
                row["variant"],
                row["tier"],
                bool(row["fallback_of"]),
            )
        )
    return found


async def answered(room: Room, stand: Stand, failing: str | None) -> None:
    """The channels send all that waits; over a failing one it bounces, and the gateway closes the address."""
    while waiting := await room.sql("select id, user_id, channel from deliveries where unsettled"):
        now = stand.clock.now()
        for row in waiting:
            item = Settlement(delivery_id=row["id"], outcome="accepted", at=now, attempt=1, provider_id=str(row["id"]))
            page = EmailsSettled if row["channel"] == "email" else TelegramsSettled
            await room.ledger.settled(page(claim_id=uuid7(), items=[item]))
            if row["channel"] == failing:
                await stand.admin.execute(
                    "update gateway.contacts set state = 'bounced' where user_id = $1 and channel = $2",
                    row["user_id"],
                    failing,
                )
                bounce = Observation(event_id=uuid7(), kind="bounced", at=now, delivery_id=row["id"], bounce="hard")
                await room.ledger.observed(EmailsObserved(items=[bounce]))


def told(result: dict[str, Any]) -> dict[UUID, list[tuple[Any, ...]]]:
    return {
        UUID(str(one["user_id"])): [
            (
                event["step"],
                datetime.fromisoformat(event["at"]),
                event["channel"] if event["decision"] == "send" else "",
                event["variant"],
                event["tier"],
                event["fallback"],
            )
            for event in one["events"]
        ]
        for one in result["timelines"]
    }


@pytest.mark.parametrize("failing", [None, "email"])
def test_what_is_simulated_is_what_then_happens(play, failing: str | None) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await people(stand, 40)
        toml = HEAD.format(type="real") + STEPS
        async with room.outbox.transaction() as tx:
            status, answer = await room.library.publish(tx, toml, stand.clock.now(), dry_run=False)
        assert status == 201, answer
        answer = await room.simulate(*ids, sequence_type="real", failing=[failing] if failing else [])
        assert answer.status == 200
        assert not await room.sql("select 1 from enrolments") and not await room.sql("select 1 from deliveries")
        expected = told(answer.result)
        found = await happened(room, stand, ids, failing)
        assert {id: events for id, events in expected.items() if events} == {id: e for id, e in found.items() if e}
        assert sum(bool(events) for events in found.values()) == answer.result["started"]
        # Nothing of the variety is missing, so that agreement means something.
        decided = [event for events in found.values() for event in events]
        assert {event[2] for event in decided} == {"email", "telegram", ""}
        assert {event[3] for event in decided} == {"a", "b", None}
        assert answer.result["refused_by_reason"]["no_reachable_channel"] > 0
        assert any(event[5] for event in decided) is (failing is not None)

    play(scene)


def test_a_report_adds_up_and_a_repeated_command_gets_the_same_answer(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await people(stand, 30)
        text = HEAD.format(type="draft") + STEPS
        answer = await room.simulate(toml=text, segment="all")
        result = answer.result
        assert (result["people"], result["of"], result["version"]) == (30, 30, None)
        assert result["started"] + sum(result["refused_by_reason"].values()) == 30
        by_step = [step["email"] + step["telegram"] for step in result["steps"]]
        assert sum(by_step) == result["messages"] == sum(day["email"] + day["telegram"] for day in result["days"])
        for step, sent in zip(result["steps"], by_step, strict=True):
            assert sent + sum(step["not_sent"].values()) == result["started"]
        assert result["steps"][0]["variants"].keys() == {"a", "b"}
        assert result["steps"][1]["not_sent"]["wording_failed"] > 0
        again = await room.sql("select result from command_results where command_id = $1", answer.command_id)
        assert msgspec.json.encode(again[0]["result"]) == msgspec.json.encode(result)
        assert not await room.sql("select 1 from sequences where type = 'draft'")

    play(scene)


def test_who_is_in_it_already_and_texts_that_are_no_sequence_are_refused(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "now", "1d")
        one, two = await stand.people(2)
        await room.start("first", one)
        await room.hold("first", True)
        answer = await room.simulate(one, two, sequence_type="first")
        assert answer.result["held"] is True
        assert answer.result["refused_by_reason"] == {"already_running": 1}
        assert (await room.simulate(two, sequence_type="none")).status == 422
        wrong = await room.simulate(two, toml="format = 1")
        assert (wrong.status, wrong.result["code"]) == (422, "sequence_invalid")

    play(scene)


def test_a_large_segment_is_represented_by_as_many_as_can_be_walked_through(
    play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stand: Stand) -> None:
        monkeypatch.setattr("nurture_controller.simulating.MOST", 10)
        room = await stand.room()
        await stand.sequence(room, "first")
        await stand.people(25)
        answer = await room.simulate(sequence_type="first", segment="all")
        assert (answer.result["people"], answer.result["of"], answer.result["started"]) == (10, 25, 10)
        assert answer.result["days"] == [{"day": "2026-06-01", "email": 10, "telegram": 0}]
        at = datetime(2026, 6, 1, 9, tzinfo=UTC).isoformat().replace("+00:00", "Z")
        assert answer.result["busiest"] == [{"minute": at, "channel": "email", "messages": 10}]

    play(scene)
