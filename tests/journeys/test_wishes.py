"""What people want: announcements and sequences each have their switch, whoever asks for the message."""

from uuid import uuid4

from tests.journeys.system import System, eventually

TOML = 'format = 1\ntype = "{type}"\ntitle = "News"\n\n[[steps]]\nwhen = "now"\nsubject = "News"\nbody = "Hello {{user_name}}"\n'


def wishing(system: System, **switches: bool) -> tuple[str, str]:
    """Somebody with these switches for email: id and address."""
    name = f"wish-{uuid4().hex[:8]}"
    id = system.person(name, email=f"{name}@example.test")
    answer = system.api.patch(f"/admin/api/users/{name}/preferences", json={"email": switches})
    assert answer.status_code == 200, answer.text
    return id, f"{name}@example.test"


def test_announcements_reach_those_who_want_them_and_sequences_do_not(system: System) -> None:
    news, news_at = wishing(system, opt_in_sequences=False, opt_in_announcements=True)
    tips, tips_at = wishing(system, opt_in_sequences=True, opt_in_announcements=False)
    kind = f"announcement-{uuid4().hex[:8]}"
    published = system.command(
        "/admin/api/sequences", content=TOML.format(type=kind), headers={"content-type": "application/toml"}
    )
    assert published.status_code == 201, published.text
    for person, type, status in (
        (news, kind, 201), (news, "onboarding", 422), (tips, kind, 422), (tips, "onboarding", 201),
    ):  # fmt: skip
        answer = system.answer({"user_id": person, "sequence_type": type})
        assert answer.status_code == status, answer.text
    asked = {
        person: system.rows(
            "select schedule_multi_channel_message($1, 'announcement', 1, array['email'], now(), 'Hello {user_name}')",
            person,
        )[0][0]
        for person in (news, tips)
    }
    ended = eventually(
        lambda: (
            (
                rows := system.rows(
                    "select id, status_detail from message_deliveries where id = any($1) and status_detail <> 'pending'",
                    list(asked.values()),
                )
            )
            and len(rows) == 2
            and dict(rows)
        ),
        what="the end of both messages",
    )
    assert ended[asked[tips]] == "suppressed" and ended[asked[news]] != "suppressed"
    eventually(lambda: len(system.messages(to=news_at)) == 2 and len(system.messages(to=tips_at)) == 1)
    why = system.cli("why", tips).stdout
    assert "The person wants no announcements by Email." in why and "wants no announcements" in why.splitlines()[0]
