"""`nurture up --demo`: every number has life within seconds, and is what the log says, whatever came twice or out of order."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.system import System, eventually, running

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMAND = ["up", "--detach", "--demo", "--data-dir", ".nurture-demo"]
SEQUENCES = {"onboarding", "commitment_follow_up", "letters"}
LIVELY = (
    "planned",
    "sent",
    "delivered",
    "opened",
    "clicked",
    "bounced",
    "complained",
    "failed",
    "suppressed",
    "fallbacks",
    "fallback_saves",
)


def analytics(system: System) -> dict[str, Any]:
    return system.api.get("/admin/api/nurture/analytics", params={"days": 366}).json()


def lively(system: System) -> dict[str, Any] | None:
    """The numbers, once none that a page shows is zero."""
    told = analytics(system)
    tenths = next((one["buckets"] for one in reversed(told["scores"]) if one["score_type"] == "overall"), None)
    # Whoever answers every message takes a few of them to reach the highest tier.
    tiers = tenths and [sum(tenths[:2]), sum(tenths[2:5])]
    alive = all(told["totals"][name] for name in LIVELY) and tiers and all(tiers)
    steps = {(one["sequence_type"], one["step"]) for one in told["by_step"] if one["opened"]}
    return told if alive and {(name, 1) for name in SEQUENCES} <= steps else None


def responded(system: System) -> bool:
    """Whether people have responded to both wordings of the demo's test."""
    (step,) = json.loads(system.cli("variants", "letters", "-o", "json").stdout)["steps"]
    return all(0 < arm["conversions"] < arm["people"] for arm in step["arms"]) and step["shares_ok"]


def verified(system: System) -> dict[str, Any]:
    done = system.cli("verify", "analytics", "-o", "json", check=False)
    (check,) = json.loads(done.stdout)["checks"]
    assert (done.returncode, check["bad"]) == (0, []), check["bad"]
    return check


@pytest.mark.long
@pytest.mark.timeout(120)
def test_every_number_has_life_within_seconds_and_is_the_logs(tmp_path: Path) -> None:
    assert f"`.venv/bin/nurture {' '.join(COMMAND)}`" in README
    data_dir = tmp_path / COMMAND[-1]
    with running(data_dir, "--demo") as system:
        system.chaos(webhooks="shuffle")
        told = eventually(
            lambda: lively(system), within=45, what=f"life in every number ({analytics(system)['totals']})"
        )
        assert {one["sequence_type"] for one in told["by_sequence"]} == SEQUENCES
        assert {one["variant"] for one in told["by_variant"]} == {"question", "statement"}
        eventually(lambda: responded(system), within=30, what="answers to both variants")
        assert {one["channel"] for one in told["by_channel"]} == {"email", "telegram"}
        assert {one["score_type"] for one in told["scores"]} == {
            "overall",
            "email",
            "telegram",
            "attendance",
            "commitment",
        }
        assert 0 < told["rates"]["bounce"] < 1
        # Reports that come twice, for a sequence that the demo leaves to its visitor.
        system.chaos(webhooks="duplicate")
        started = system.trigger({"segment": "all", "sequence_type": "re_engagement"})
        assert system.settled(started.json()["command_id"])["started"] > 150
        sent = "select count(*) from delivery_facts where sequence_type = 're_engagement' and opened_at is not null"
        eventually(lambda: system.rows(sent)[0][0] > 50, what="what people do with it")
        check = verified(system)
        assert check["of"] > 100 and any("fallback saves" in note for note in check["notes"])
        # Once more is harmless.
        people = system.api.get("/admin/api/metrics").json()["people"]["total"]
        again = system.cli("up", "--demo", "--data-dir", str(data_dir)).stdout
        assert "0 made up, 200 there already" in again and again.count("begun before") == 3 and "events: 0 of" in again
        assert system.api.get("/admin/api/metrics").json()["people"]["total"] == people == 200
        assert {
            row["n"] for row in system.rows("select count(*) as n from enrolments group by user_id, sequence_type")
        } == {1}
        # And somebody of one's own is left alone.
        system.person("mine", email="mine@example.test")
        refused = system.cli("up", "--demo", "--data-dir", str(data_dir), check=False)
        assert refused.returncode == 1 and "1 people of yours are here" in refused.stderr
