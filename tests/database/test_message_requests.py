"""A message that is asked for in SQL: planned under the same rules as any step, once, as a delivery of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from database_stand import Stand
from nurture_contracts.commands import CancelEnrolments, PauseSequence
from nurture_contracts.events import EmailsSettled, Settlement
from nurture_contracts.ids import uuid7
from nurture_controller.sequence import kind_of


async def outbox(stand: Stand) -> list[str]:
    return [
        row["subject"] for row in await stand.admin.fetch("select subject from controller.outbox order by created_at")
    ]


def test_it_becomes_one_delivery_with_the_id_that_was_answered(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        id = await stand.schedule(
            ada, step=7, content="Hello {user_name}, {{ context.topic }}", metadata={"topic": "tea"}
        )
        assert await stand.admin.fetchval("select state from message_requests where id = $1", id) == "waiting"
        await stand.planned()
        await stand.planned()
        row = await stand.delivery(id)
        assert row is not None
        assert (row["user_id"], row["sequence_type"], row["message_step"]) == (str(ada), "onboarding", 7)
        assert (row["channel"], row["delivery_status"], row["message_content"]) == (
            "email",
            "pending",
            "Hello Ada, tea",
        )
        assert row["metadata"]["topic"] == "tea" and row["metadata"]["step"] == 7
        assert await stand.admin.fetchval("select state from message_requests where id = $1", id) == "planned"
        assert await stand.admin.fetchval("select count(*) from message_deliveries") == 1
        assert await outbox(stand) == ["nurture.cmd.email.send_emails"]
        assert await stand.admin.fetchval("select enrolment_active from outbound_messages where delivery_id = $1", id)
        decision = await stand.admin.fetchval("select decision from delivery_decisions where delivery_id = $1", id)
        assert decision["requested"]["channels"] == [] and decision["inputs"]["step"] == 7
        assert id.version == 7 and abs(id.int >> 80) // 1000 == pytest.approx(datetime.now(UTC).timestamp(), abs=60)

    play(scene)


def test_it_commits_with_its_caller(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        transaction = stand.admin.transaction()
        await transaction.start()
        await stand.schedule(ada)
        await transaction.rollback()
        await stand.planned()
        assert await stand.admin.fetchval("select count(*) from message_requests") == 0

    play(scene)


def test_two_of_a_type_and_a_running_sequence_do_not_stand_in_each_others_way(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        await stand.admin.execute(
            "insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, started_at)"
            " values ($1, $1, $2, $1, 'onboarding', 1, now())", uuid7(), ada,
        )  # fmt: skip
        ids = [await stand.schedule(ada) for _ in range(3)]
        await stand.planned()
        rows = await stand.admin.fetch("select id, enrolment_id from message_deliveries")
        assert {row["id"] for row in rows} == set(ids) and len({row["enrolment_id"] for row in rows}) == 3

    play(scene)


@pytest.mark.parametrize(
    ("channels", "reach", "went"),
    [
        (["telegram", "email"], ("email", "telegram"), "telegram"),
        (["telegram", "email"], ("email",), "email"),  # no chat: the next of the list takes its place
        (["telegram"], ("email",), None),
        ([], ("telegram",), "telegram"),
        (None, ("email", "telegram"), "email"),
    ],
)
def test_channels_are_tried_in_the_order_that_was_given(play, channels: Any, reach: tuple[str, ...], went: Any) -> None:
    async def scene(stand: Stand) -> None:
        await stand.telegram()
        ada = await stand.person(*reach)
        id = await stand.schedule(ada, channels=channels)
        await stand.planned()
        row = await stand.delivery(id)
        assert row is not None
        assert (row["channel"] if row["delivery_status"] == "pending" else None) == went
        if went is None:
            assert (row["status_detail"], row["failure_reason"]) == ("suppressed", "no_reachable_channel")

    play(scene)


def test_a_certain_failure_is_followed_by_the_next_channel(play) -> None:
    async def scene(stand: Stand) -> None:
        await stand.telegram()
        ada = await stand.person("email", "telegram")
        both, one = (
            await stand.schedule(ada, channels=["email", "telegram"]),
            await stand.schedule(ada, channels=["email"]),
        )
        await stand.planned()
        _, ledger, *_ = stand.controller()
        items = [
            Settlement(delivery_id=id, outcome="rejected", reason="invalid_to", at=datetime.now(UTC), attempt=1)
            for id in (both, one)
        ]
        await ledger.settled(EmailsSettled(claim_id=uuid7(), items=items))
        rows = await stand.admin.fetch("select fallback_of, channel, message_step, message_content from message_deliveries"
                                       " where fallback_of is not null")  # fmt: skip
        assert [tuple(row) for row in rows] == [(both, "telegram", 1, "Hello Ada")]

    play(scene)


def test_a_refusal_is_not_got_round(play) -> None:
    async def scene(stand: Stand) -> None:
        await stand.telegram()
        ada = await stand.person("email", "telegram")
        await stand.admin.execute("update gateway.contacts set consent = 'refused' where channel = 'email'")
        id = await stand.schedule(ada, channels=["email", "telegram"])
        await stand.planned()
        row = await stand.delivery(id)
        assert row is not None and row["status_detail"] == "suppressed"
        assert await outbox(stand) == []

    play(scene)


def test_an_announcement_goes_to_those_who_want_announcements_and_nothing_else_does(play) -> None:
    async def scene(stand: Stand) -> None:
        wishes = {"announcements": (False, True), "sequences": (True, False), "both": (True, True)}
        people = {name: await stand.person("email") for name in wishes}
        for name, switches in wishes.items():
            await stand.admin.execute(
                "update gateway.contacts set opt_in_sequences = $2, opt_in_announcements = $3 where user_id = $1",
                people[name], *switches,
            )  # fmt: skip
        asked = {
            (name, type): await stand.schedule(person, type=type, channels=["email"])
            for name, person in people.items()
            for type in ("announcement", "onboarding")
        }
        await stand.planned()
        rows = {key: await stand.delivery(id) for key, id in asked.items()}
        assert {key for key, row in rows.items() if row is not None and row["delivery_status"] == "pending"} == {
            ("announcements", "announcement"), ("sequences", "onboarding"), ("both", "announcement"), ("both", "onboarding"),
        }  # fmt: skip
        decision = await stand.admin.fetchval(
            "select decision from delivery_decisions where delivery_id = $1", asked["sequences", "announcement"]
        )
        assert "The person wants no announcements by Email." in [reason["text"] for reason in decision["reasons"]]

    play(scene)


def test_sql_and_the_planner_agree_on_what_an_announcement_is(play) -> None:
    types = ("announcement", "announcements", "announcement-a", "announcements_b", "announcer", "announcementx", "news",
             "my-announcement", "onboarding", "_canary")  # fmt: skip

    async def scene(stand: Stand) -> None:
        told = {type: await stand.admin.fetchval("select message_kind($1)", type) for type in types}
        assert told == {type: kind_of(type) for type in types}
        assert [type for type, kind in told.items() if kind == "announcement"] == list(types[:4])

    play(scene)


def test_it_waits_for_its_time_and_expires_after_it(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        now = datetime.now(UTC)
        soon, late = (
            await stand.schedule(ada, at=now + timedelta(hours=2)),
            await stand.schedule(ada, at=now - timedelta(days=2)),
        )
        await stand.planned()
        assert await stand.delivery(soon) is None
        row = await stand.delivery(late)
        assert row is not None and row["status_detail"] == "expired"
        stand.offset = timedelta(hours=3)
        await stand.planned()
        row = await stand.delivery(soon)
        assert (
            row is not None and row["delivery_status"] == "pending" and row["scheduled_at"] == now + timedelta(hours=2)
        )

    play(scene)


def test_without_a_time_it_goes_out_at_the_persons_own(play) -> None:
    async def scene(stand: Stand) -> None:
        # A quarter of an hour from now, on a clock that is far from ours.
        there = datetime.now(UTC) + timedelta(minutes=15)
        at = (there + timedelta(hours=14)).strftime("%H:%M")
        ada = await stand.person("email", timezone="Pacific/Kiritimati", preferred_time=at)
        id = await stand.schedule(ada, at=None)
        await stand.planned()
        assert await stand.delivery(id) is None
        stand.offset = timedelta(minutes=16)
        await stand.planned()
        row = await stand.delivery(id)
        assert row is not None and abs(row["scheduled_at"] - there) < timedelta(minutes=1)

    play(scene)


def test_a_paused_type_holds_it_and_a_cancel_ends_it(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        *_, commands, library = stand.controller()
        await library.publish_shipped()
        now = datetime.now(UTC)
        await commands.pause(PauseSequence(command_id=uuid7(), at=now, sequence_type="onboarding", paused=True))
        held = await stand.schedule(ada)
        await stand.planned()
        assert await stand.delivery(held) is None
        cancel = uuid7()
        await commands.cancel(CancelEnrolments(command_id=cancel, at=now, user_id=ada, sequence_type="onboarding"))
        await commands.pause(PauseSequence(command_id=uuid7(), at=now, sequence_type="onboarding", paused=False))
        freed = await stand.schedule(ada)
        await stand.planned()
        assert await stand.delivery(held) is None and await stand.delivery(freed) is not None
        states = dict(await stand.admin.fetch("select id, state from message_requests"))
        assert states == {held: "cancelled", freed: "planned"}
        result = await stand.admin.fetchval(
            "select result from controller.command_results where command_id = $1", cancel
        )
        assert result == {"cancelled": 1}
        # Of a type that is published, the subject is its title; otherwise what the caller says.
        row = await stand.delivery(freed)
        title = await stand.admin.fetchval("select definition ->> 'title' from sequences where type = 'onboarding'")
        assert row is not None and row["subject"] == title

    play(scene)


def test_while_everything_is_paused_it_waits(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        id = await stand.schedule(ada)
        await stand.admin.execute("insert into controller.paused_types (type, at) values ('*', now())")
        await stand.planned()
        assert await stand.delivery(id) is None
        await stand.admin.execute("delete from controller.paused_types")
        await stand.planned()
        assert await stand.delivery(id) is not None

    play(scene)


def test_words_that_cannot_be_made_fail_this_message_only(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        bad = await stand.schedule(ada, content="Hello {{ nothing.such }}")
        good = await stand.schedule(
            ada, type="news", metadata={"subject": "For {{ user_name }}", "template": "welcome_email"}
        )
        await stand.planned()
        row = await stand.delivery(bad)
        assert row is not None and (row["status_detail"], row["failure_reason"]) == ("failed", "wording_failed")
        row = await stand.delivery(good)
        assert row is not None and (row["subject"], row["template"]) == ("For Ada", "welcome_email")

    play(scene)


def test_what_cannot_be_meant_is_refused_with_its_name(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email", external_id="ada")
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("p_sequence_type", {"type": "On Boarding"}), ("p_sequence_type", {"type": None}),
            ("p_message_step", {"step": 0}), ("p_message_step", {"step": None}), ("p_message_step", {"step": 100_000}),
            ("p_channels", {"channels": ["sms"]}), ("p_channels", {"channels": ["email", "email"]}),
            ("p_channels", {"channels": [None]}), ("p_channels", {"channels": [["email"], ["telegram"]]}),
            ("p_channels", {"channels": ["email", "telegram", "email"]}),
            ("p_content", {"content": " \n"}), ("p_content", {"content": None}), ("p_content", {"content": "x" * 70_000}),
            ("p_scheduled_at", {"at": datetime.now(UTC) + timedelta(days=400)}),
            ("p_metadata", {"metadata": []}), ("p_metadata", {"metadata": {"subject": 1}}),
            ("p_metadata", {"metadata": {"template": "other"}}), ("p_metadata", {"metadata": {"x": "y" * 20_000}}),
        ]  # fmt: skip
        for name, more in wrong:
            with pytest.raises(asyncpg.InvalidParameterValueError, match=f"^{name}: ") as refusal:
                await stand.schedule(ada, **more)
            assert refusal.value.hint
        for nobody in ("nobody", str(uuid7()), ""):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="p_user_id: there is no person"):
                await stand.schedule(nobody)
        assert await stand.admin.fetchval("select count(*) from controller.message_requests") == 0
        assert isinstance(await stand.schedule("ada"), UUID)
        six = "select schedule_multi_channel_message('ada', 'onboarding', 1, '{email}', now(), 'Hello')"
        assert await stand.admin.fetchval(six) is not None

    play(scene)
