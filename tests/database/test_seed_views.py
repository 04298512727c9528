"""The tables of the seed as views: all of its columns under their names, its SQL as it stands, an index for who asks by id."""

import hashlib
from datetime import UTC, datetime, timedelta

import asyncpg
from database_stand import Stand
from nurture_contracts.ids import uuid7

COLUMNS = {
    "users": {
        "id": "text", "external_id": "text", "first_name": "text", "email": "text", "telegram_chat_id": "text",
        "timezone": "text", "locale": "text", "preferred_channel": "text", "preferred_time": "text",
    },
    "message_deliveries": {
        "id": "uuid", "user_id": "text", "sequence_type": "text", "message_step": "integer", "channel": "text",
        "delivery_status": "text", "recipient_address": "text", "message_content": "text",
        **dict.fromkeys(
            ("scheduled_at", "sent_at", "delivered_at", "opened_at", "clicked_at", "failed_at", "created_at"),
            "timestamp with time zone",
        ),
        "failure_reason": "text", "tracking_id": "text", "attempt_count": "integer", "max_attempts": "integer",
        "metadata": "jsonb", "status_detail": "text",
    },
    "engagement_scores": {
        "id": "uuid", "user_id": "text", "score_type": "text", "score": "numeric", "factors": "jsonb",
        "calculated_at": "timestamp with time zone", "valid_until": "timestamp with time zone",
    },
    "user_email_preferences": {
        "id": "uuid", "user_id": "text", "email_address": "text", "is_verified": "boolean", "verification_token": "text",
        "verification_sent_at": "timestamp with time zone", "verified_at": "timestamp with time zone",
        "opt_in_sequences": "boolean", "opt_in_announcements": "boolean", "preferred_time": "text", "timezone": "text",
        "unsubscribed_at": "timestamp with time zone", "created_at": "timestamp with time zone",
    },
}  # fmt: skip

TROUBLESHOOTING = """
SELECT routine_name FROM information_schema.routines WHERE routine_name = 'calculate_engagement_score';
SELECT calculate_engagement_score('user-id', 'overall');
SELECT * FROM message_deliveries ORDER BY created_at DESC LIMIT 10;
SELECT * FROM engagement_scores WHERE user_id = 'target-user-id';
SELECT * FROM user_email_preferences WHERE user_id = 'target-user-id';
"""


def test_every_column_is_there_under_its_name(play) -> None:
    async def scene(stand: Stand) -> None:
        for view, columns in COLUMNS.items():
            rows = await stand.admin.fetch(
                "select column_name, data_type from information_schema.columns where table_schema = 'public' and table_name = $1",
                view,
            )
            found = {row["column_name"]: row["data_type"] for row in rows}
            assert columns.items() <= found.items(), view

    play(scene)


def test_the_troubleshooting_sql_runs_as_it_stands(play) -> None:
    async def scene(stand: Stand) -> None:
        answers = [
            await stand.admin.fetch(statement) for statement in TROUBLESHOOTING.strip().split(";\n") if statement
        ]
        assert [row["routine_name"] for row in answers[0]] == ["calculate_engagement_score"]
        assert answers[1][0][0] is None
        assert answers[2:] == [[], [], []]
        ada = await stand.person("email")
        await stand.schedule(ada)
        await stand.planned()
        assert [row["user_id"] for row in await stand.admin.fetch(TROUBLESHOOTING.split(";\n")[2])] == [str(ada)]
        both = "select d.message_content from users u join message_deliveries d on d.user_id = u.id where u.id = $1"
        assert [row[0] for row in await stand.admin.fetch(both, str(ada))] == ["Hello Ada"]

    play(scene)


def test_the_status_is_one_of_seven_words_with_ours_beside_it(play) -> None:
    async def scene(stand: Stand) -> None:
        told = {
            None: "pending", "sent": "sent", "delivered": "delivered", "opened": "opened", "clicked": "clicked",
            "bounced": "bounced", "complained": "delivered", "failed": "failed", "suppressed": "failed",
            "cancelled": "failed", "expired": "failed", "unknown": "failed",
        }  # fmt: skip
        ada = await stand.person("email")
        for fact, word in told.items():
            id = await stand.schedule(ada)
            await stand.planned()
            if fact:
                await stand.admin.execute(f"update controller.deliveries set {fact}_at = now() where id = $1", id)
            row = await stand.delivery(id)
            assert row is not None
            assert (row["delivery_status"], row["status_detail"]) == (word, fact or "pending")
            assert (row["failed_at"] is not None) is (word in ("failed", "bounced")), fact

    play(scene)


def test_preferences_and_verification_of_an_address(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email", timezone="Europe/Berlin", preferred_time="evening")

        async def preferences() -> asyncpg.Record:
            row = await stand.admin.fetchrow("select * from user_email_preferences where user_id = $1", str(ada))
            assert row is not None
            return row

        before = await preferences()
        assert before["opt_in_sequences"] and before["opt_in_announcements"] and not before["is_verified"]
        assert (before["timezone"], before["preferred_time"]) == ("Europe/Berlin", "evening")
        assert before["verification_token"] is before["verification_sent_at"] is before["verified_at"] is None
        hash, now = hashlib.sha256(b"a token that is kept nowhere").digest(), datetime.now(UTC)
        await stand.admin.execute(
            "insert into gateway.verifications values ($1, $2, $3, $4, $5)", hash, ada, f"{ada}@test", now, now + timedelta(days=1),
        )  # fmt: skip
        sent = await preferences()
        assert sent["verification_sent_at"] == now and sent["verification_token"] == "kept as a hash only"
        await stand.admin.execute("update gateway.verifications set verified_at = $1", now)
        assert (await preferences())["is_verified"] and (await preferences())["verification_token"] is None
        # The proof is that of the address: another one is not proved by it.
        await stand.admin.execute("update gateway.contacts set address = 'new@test', address_key = 'new@test'")
        assert not (await preferences())["is_verified"]
        await stand.admin.execute("update gateway.contacts set address = $1, address_key = $1", f"{ada}@test")
        assert (await preferences())["is_verified"]
        await stand.admin.execute("update gateway.contacts set opt_in_sequences = false")
        assert not (await preferences())["opt_in_sequences"] and (await preferences())["opt_in_announcements"]

    play(scene)


def test_whoever_wants_no_sequences_is_not_planned_for(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email")
        await stand.admin.execute("update gateway.contacts set opt_in_sequences = false")
        id = await stand.schedule(ada)
        await stand.planned()
        row = await stand.delivery(id)
        assert row is not None and row["status_detail"] == "suppressed"
        assert await stand.admin.fetchval("select consent from contacts where user_id = $1", ada) == "refused"

    play(scene)


LOOK_UPS = {
    "select * from users where id = $1": "users_by_text",
    "select * from user_email_preferences where user_id = $1": "users_by_text",
    "select * from engagement_scores where user_id = $1": "states_by_text",
    "select * from message_deliveries order by created_at desc limit 10": "deliveries_newest",
    "select * from people where id = $1::uuid": "users_pkey",
    "select * from deliveries where user_id = $1::uuid": "deliveries_of_user",
    "select * from deliveries where id = $1::uuid": "deliveries_pkey",
    "select * from engagement_details where user_id = $1::uuid": "states_pkey",
}
"""Questions, and the index that answers each."""


def test_a_look_up_goes_by_an_index(play) -> None:
    async def scene(stand: Stand) -> None:
        people = [uuid7() for _ in range(3000)]
        for statement in (
            "insert into gateway.users (id, created_at, updated_at) select unnest($1::uuid[]), now(), now()",
            "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
            " select u, 'email', u::text, u::text, now() from unnest($1::uuid[]) u",
            "insert into controller.deliveries (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)"
            " select u, u, u, 'onboarding', 1, 'email', now(), now() from unnest($1::uuid[]) u",
            "insert into controller.delivery_contents select u, 'a', 't', 's', 'b', '{}', '{}', now() from unnest($1::uuid[]) u",
            "insert into scoring.states (user_id, updated_at) select unnest($1::uuid[]), now()",
        ):
            await stand.admin.execute(statement, people)
        await stand.admin.execute("analyze gateway.users, gateway.contacts, controller.deliveries, controller.delivery_contents,"
                                  " scoring.states")  # fmt: skip
        for asked, index in LOOK_UPS.items():
            literal = asked.replace("$1", f"'{people[0]}'")
            plan = "\n".join(row[0] for row in await stand.admin.fetch(f"explain {literal}"))
            assert index in plan, plan

    play(scene)
