"""The canary on a real system: it arrives by the whole path, is missed when it does not, and counts nowhere."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from nurture_contracts.canary import PEOPLE, SEQUENCE
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.system import System, eventually, running

ON = {
    "CANARY_EMAIL": "delivered+canary@resend.dev",
    "CANARY_CHAT": "900000012",
    # Every two seconds, so that a test sees several.
    "CANARY_MINUTES": "0.03",
}


def canaries(system: System) -> dict[str, dict[str, Any]]:
    return {one["channel"]: one for one in system.api.get("/admin/api/metrics").json()["canaries"]}


def gauges(system: System, name: str) -> dict[str, float]:
    text = httpx.get(f"{system.status()['gateway']}/metrics", timeout=20).text
    families = text_string_to_metric_families(text)
    return {
        sample.labels["channel"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def starts(system: System) -> int:
    return len(list(system.pages("/admin/api/commands", source="canary")))


def refused(system: System) -> list[dict[str, Any]]:
    """Calls for a canary's mail that did not simply work; somebody else's may be refused before."""
    calls = system.inbox.get("/api/calls", params={"channel": "email"}).json()
    return [call for call in calls if ON["CANARY_EMAIL"] in call["recipients"]]


def next_arrival(system: System, channel: str, after: str | None) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        one = canaries(system)[channel]
        return one if one["last_arrival_at"] and one["last_arrival_at"] != after else None

    return eventually(ask, what=f"an arrival by {channel} after {after}")


@pytest.mark.long
@pytest.mark.parametrize("provider", ["resend", "smtp"])
def test_it_arrives_by_both_channels_is_missed_when_it_does_not_and_counts_nowhere(
    provider: str, data_dir: Path
) -> None:
    with running(data_dir, env={**ON, "EMAIL_PROVIDER": provider}) as system:
        for channel in ("email", "telegram"):
            one = next_arrival(system, channel, None)
            assert one["arrival_seconds"] >= one["sent_seconds"] > 0, one
            again = next_arrival(system, channel, one["last_arrival_at"])
            assert again["age_seconds"] < again["arrival_seconds"] + 60
        assert {row["channel"] for row in system.messages()} == {"email", "telegram"}
        eventually(
            lambda: gauges(system, "nurture_canary_arrival_seconds").keys() == {"email", "telegram"},
            what="the metric of both",
        )
        assert all(
            at > 1_700_000_000 for at in gauges(system, "nurture_canary_last_arrival_timestamp_seconds").values()
        )
        page = system.api.get("/admin/api/commands", params={"source": "canary"}).json()["items"][0]
        assert page["sequence_type"] == SEQUENCE and page["people"] == 1 and len(page["trace_id"]) == 32

        # It counts nowhere: nobody else is here, so everything that counts is at zero.
        metrics = system.api.get("/admin/api/metrics").json()
        assert metrics["people"]["total"] == 0 and metrics["deliveries_24h"] == {} and metrics["active"] == 0
        assert system.counts() == {} and system.deliveries() == []
        assert all(queue["pending"] == queue["failed"] == 0 for queue in metrics["queues"])
        assert system.api.get("/admin/api/nurture/analytics").json()["totals"]["planned"] == 0
        assert system.api.get("/admin/api/commands").json()["items"] == []
        assert system.api.get("/admin/api/users").json()["items"] == []
        assert SEQUENCE not in {row["type"] for row in system.api.get("/admin/api/sequences").json()}
        assert system.rows("select 1 from scoring.states") == []
        assert system.rows("select 1 from message_deliveries") == []

        # A segment of everybody does not have it, and nobody else can get its message.
        person = system.person("one", email="one+ignore@example.test")
        assert system.trigger_all()["started"] == 1
        nobodys = system.answer({"user_id": person, "sequence_type": SEQUENCE})
        assert nobodys.status_code == 422 and nobodys.json()["code"] == "unknown_sequence"
        assert (
            system.answer({"user_id": str(PEOPLE["email"]), "sequence_type": "onboarding"}).json()["code"]
            == "person_not_found"
        )

        # The provider is away: no arrival, the age grows, one message waits and not one for every two seconds.
        system.chaos(fail_next=1_000_000, status=500)
        eventually(lambda: refused(system), what="a canary that was refused")
        last = canaries(system)["email"]
        by_telegram = canaries(system)["telegram"]["last_arrival_at"]
        next_arrival(system, "telegram", next_arrival(system, "telegram", by_telegram)["last_arrival_at"])
        now = canaries(system)["email"]
        assert now["last_arrival_at"] == last["last_arrival_at"] and now["age_seconds"] > last["age_seconds"]
        assert now["command_id"] == last["command_id"] and now["state"] == "under_way"
        system.chaos(fail_next=0)
        next_arrival(system, "email", last["last_arrival_at"])

        # Everything is paused: it says so, starts nothing, and goes on by itself.
        system.cli("pause")
        eventually(lambda: {one["state"] for one in canaries(system).values()} == {"held"}, what="held")
        assert set(gauges(system, "nurture_canary_held").values()) <= {0.0, 1.0}
        eventually(lambda: set(gauges(system, "nurture_canary_held").values()) == {1.0}, what="the metric held")
        held, seen = starts(system), canaries(system)["email"]["last_arrival_at"]
        eventually(lambda: canaries(system)["email"]["age_seconds"] > 8, what="four times of its interval")
        assert starts(system) == held
        system.cli("resume")
        next_arrival(system, "email", seen)

        page = httpx.get(f"{system.status()['gateway']}/metrics", timeout=20).text
        assert 'nurture_triggers_total{outcome="started",source="canary",type="_canary"}' in page
        system.cli("analytics", "rebuild")
        verified = system.cli("verify", "all", check=False)
        assert verified.returncode == 0, verified.stdout


def test_without_the_setting_there_is_nothing(system: System) -> None:
    assert system.api.get("/admin/api/metrics").json()["canaries"] == []
    assert system.rows("select 1 from gateway.canaries") == []
    assert system.rows("select 1 from gateway.commands where source = 'canary'") == []
    assert gauges(system, "nurture_canary_last_arrival_timestamp_seconds") == {}
