"""kill -9 of one service after another in the middle of a run: every delivery ends, none is repeated, none is missing."""

from collections import Counter
from pathlib import Path

import pytest

from tests.journeys.system import eventually, running
from tests.journeys.test_walk import import_sample, ledger_and_rows_agree, reachable

CONCURRENCY = 4
"""Telegram calls under way in one process: at most so many ends stay unknown when it is killed."""


TURNS = (
    ("controller", "email", 1),
    ("email", "email", 100),
    ("telegram", "telegram", 5),
    ("gateway", "email", 300),
    ("email", "email", 400),
    ("telegram", "telegram", 30),
    ("scoring", "email", 500),
    ("controller", "email", 600),
    ("gateway", "email", 700),
)
"""Who dies when so many messages of a channel are in the providers' ledger."""


@pytest.mark.long
@pytest.mark.timeout(280)
def test_a_run_of_a_thousand_survives_the_death_of_each_service_in_turn(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, env={"SANDBOX_RATE_LIMIT": "2", "TELEGRAM_RATE_LIMIT": "10"}) as system:
        system.chaos(latency_ms=150)
        import_sample(system, tmp_path)
        people = reachable(system)
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        killed = Counter(victim for victim, _, _ in TURNS)
        for victim, channel, mark in TURNS:
            eventually(
                lambda channel=channel, mark=mark: system.ledger()["by_channel"].get(channel, 0) >= mark,
                what=f"{mark} messages by {channel}",
            )
            system.back(victim, system.kill(victim))
        settled = system.settled(started["command_id"])
        assert settled["started"] == len(people)
        counts = system.quiet(len(people), within=150)
        assert counts.get("unknown", 0) <= CONCURRENCY * killed["telegram"], counts
        rows = system.rows("select user_id::text, fallback_of from message_deliveries")
        assert sorted(row["user_id"] for row in rows if not row["fallback_of"]) == sorted(people)
        ledger_and_rows_agree(system)
