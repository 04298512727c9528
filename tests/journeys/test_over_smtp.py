"""A run over SMTP: people on both channels, faults of the relay, deaths of the email service; the bounced are reached by Telegram."""

from pathlib import Path

import pytest

from tests.journeys.system import System, eventually, running
from tests.journeys.test_verify import verified
from tests.journeys.test_walk import import_sample, ledger_and_rows_agree, reachable

CONCURRENCY = 8
"""Calls under way in one process: at most so many emails stay unknown when it is killed."""
KILLS = (40, 250)
"""It dies when so many emails are in the relay's ledger."""


@pytest.mark.long
@pytest.mark.timeout(280)
def test_people_on_both_channels_over_smtp_with_deaths_in_between(data_dir: Path, tmp_path: Path) -> None:
    env = {"EMAIL_PROVIDER": "smtp", "SMTP_RATE_LIMIT": "40", "SANDBOX_RATE_LIMIT": "1000"}
    with running(data_dir, env=env) as system:
        assert "sandbox (SMTP)" in system.cli("status").stdout
        # People who bounce, and some of them have a chat.
        file = tmp_path / "bouncers.csv"
        rows = "".join(f"b{n},B{n},nobody{n}+bounce@example.test,{810_000_001 + n * 10},email\n" for n in range(20))
        file.write_text("external_id,first_name,email,telegram_chat_id,preferred_channel\n" + rows)
        import_sample(system, tmp_path, 500)
        system.cli("people", "import", str(file))
        people = reachable(system)
        system.chaos(latency_ms=100, odds={"seed": 7, "refused": 0.03, "failed": 0.02, "lost": 0.01})
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        for mark in KILLS:
            eventually(lambda mark=mark: system.ledger()["by_channel"].get("email", 0) >= mark, what=f"{mark} emails")
            system.back("email", system.kill("email"))
        assert system.settled(started["command_id"])["started"] == len(people)
        counts = system.quiet(len(people), within=180)

        lost = [call for call in system.inbox.get("/api/calls?channel=email").json() if call["reply"] == "lost"]
        unknown = system.rows("select failure_reason as reason from message_deliveries where status_detail = 'unknown'")
        assert len(unknown) <= CONCURRENCY * len(KILLS) + len(lost), counts
        ledger_and_rows_agree(system)
        the_bounced_were_reached_by_telegram(system)
        verified(system, "all")


def the_bounced_were_reached_by_telegram(system: System) -> None:
    failed = system.rows(
        "select id, failure_reason from message_deliveries where channel = 'email' and status_detail = 'failed'"
    )
    assert len(failed) >= 20 and {row["failure_reason"] for row in failed} == {"no_such_address_550_5.1.1"}
    saved = system.rows(
        "select f.channel, f.sent_at from message_deliveries f where f.fallback_of = any($1)",
        [row["id"] for row in failed],
    )
    assert len(saved) >= 20 and {row["channel"] for row in saved} == {"telegram"}
    assert all(row["sent_at"] for row in saved)
    closed = system.rows(
        "select c.state from gateway.contacts c join controller.deliveries d on d.user_id = c.user_id "
        "where c.channel = 'email' and d.id::text = any($1)", [str(row["id"]) for row in failed],
    )  # fmt: skip
    assert {row["state"] for row in closed} == {"bounced"}
