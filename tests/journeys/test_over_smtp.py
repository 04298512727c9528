"""A run over SMTP: people on both channels, faults of the relay, deaths of the email service; the bounced are reached by Telegram,
also those whose mail comes back after the relay has taken it."""

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
        who_bounces_later_is_reached_by_telegram_too(system, tmp_path)
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


RETURNED = """\
From: MAILER-DAEMON@mx.example.test
Message-ID: <{name}@mx.example.test>
Content-Type: multipart/report; report-type=delivery-status; boundary=cut

--cut
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.test

Final-Recipient: rfc822; somebody@example.test
Action: failed
Status: 5.1.1

--cut
Content-Type: text/rfc822-headers

Message-ID: <{name}@nurture.localhost>

--cut--
"""


def who_bounces_later_is_reached_by_telegram_too(system: System, folder: Path) -> None:
    taken = system.rows(
        "select d.id, d.user_id from message_deliveries d join gateway.contacts c on c.user_id::text = d.user_id and "
        "c.channel = 'telegram' and c.state = 'ok' where d.channel = 'email' and d.status_detail = 'sent' limit 3"
    )
    assert taken, "nobody has both channels and a mail of which nothing more was heard"
    for row in taken:
        mail = folder / f"{row['id']}.eml"
        mail.write_text(RETURNED.format(name=row["id"]))
        told = [system.cli("email", "report", str(mail)).stdout for _ in range(2)]
        assert told == [f"stored: bounced {row['id']}\n"] * 2
    ids = [row["id"] for row in taken]

    def reached() -> bool:
        (count,) = system.rows(
            "select count(*) as n from message_deliveries f join message_deliveries d on d.id = f.fallback_of "
            "where d.id = any($1) and d.status_detail = 'bounced' and f.channel = 'telegram' and f.sent_at is not null", ids,
        )  # fmt: skip
        return count["n"] == len(ids)

    eventually(reached, what="a Telegram message for each mail that came back")
    states = system.rows(
        "select state from gateway.contacts where channel = 'email' and user_id::text = any($1)",
        [row["user_id"] for row in taken],
    )
    assert {row["state"] for row in states} == {"bounced"}
