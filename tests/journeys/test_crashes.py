"""kill -9 of one service after another in the middle of a run: every delivery ends, none is repeated, none is missing."""

from pathlib import Path

import pytest

from tests.journeys.system import eventually, running
from tests.journeys.test_walk import import_sample, ledger_and_rows_agree, reachable

CONCURRENCY = 4
"""Telegram calls under way in one process: at most so many ends stay unknown when it is killed."""


@pytest.mark.parametrize("victim", ["email", "controller", "gateway", "telegram", "scoring"])
def test_a_run_of_a_thousand_survives_the_death_of(victim: str, data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, env={"SANDBOX_RATE_LIMIT": "5", "TELEGRAM_RATE_LIMIT": "20"}) as system:
        system.chaos(latency_ms=150)
        import_sample(system, tmp_path)
        people = reachable(system)
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        channel = "telegram" if victim == "telegram" else "email"
        marks = (1, 20, 40) if victim == "telegram" else (1, 300, 600)
        for mark in marks:
            eventually(lambda mark=mark: system.ledger()["by_channel"].get(channel, 0) >= mark, what=f"{mark} messages")
            system.back(victim, system.kill(victim))
        settled = system.settled(started["command_id"])
        assert settled["started"] == len(people)
        counts = system.quiet(len(people), within=150)
        assert counts.get("unknown", 0) <= (CONCURRENCY * len(marks) if victim == "telegram" else 0), counts
        first = [
            row
            for row in system.rows("select user_id::text, fallback_of from message_deliveries")
            if not row["fallback_of"]
        ]
        assert sorted(row["user_id"] for row in first) == sorted(people)
        ledger_and_rows_agree(system)
