"""kill -9 of one service after another in the middle of a run: every delivery ends, none is repeated, none is missing."""

from pathlib import Path

import pytest

from tests.journeys.system import eventually, running
from tests.journeys.test_walk import import_sample, reachable


@pytest.mark.parametrize("victim", ["email", "controller", "gateway"])
def test_a_run_of_a_thousand_survives_the_death_of(victim: str, data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, env={"SANDBOX_RATE_LIMIT": "5"}) as system:
        system.chaos(latency_ms=150)
        import_sample(system, tmp_path)
        people = reachable(system)
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        for mails in (1, 300, 600):
            eventually(lambda mails=mails: system.ledger()["messages"] >= mails, what=f"{mails} mails")
            system.back(victim, system.kill(victim))
        settled = system.settled(started["command_id"])
        assert settled["started"] == len(people)
        counts = system.quiet(len(people), within=150)
        ledger = system.ledger()
        assert (ledger["repeats"], ledger["messages"]) == (0, len(people)), (ledger, counts)
        assert sum(counts.values()) == len(people)
        sent = {message["delivery_id"] for message in system.messages()}
        assert {row["id"] for row in system.deliveries() if row["sent_at"]} == sent
