"""`nurture verify` on a running system: everything agrees after a walk, and nothing is cried about while it still sends."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.backends import in_containers
from tests.journeys.system import System, eventually

PEOPLE = 60


def verified(system: System, *what: str) -> dict[str, Any]:
    done = system.cli("verify", *what, "-o", "json", check=False, timeout=120)
    found = json.loads(done.stdout)
    bad = {one["check"]: one["bad"] for one in found["checks"] if one["bad"]}
    assert (done.returncode, bad) == (0, {}), bad
    return {one["check"]: one for one in found["checks"]} | {"sources": found["sources"]}


def test_everything_agrees_with_the_ledger_also_on_the_way(system: System, pytestconfig: pytest.Config) -> None:
    name = f"verified-{uuid4().hex[:8]}"
    ids = [
        system.person(
            f"{name}-{number}",
            **({"email": f"{name}-{number}+click@example.test"} if number % 2 else {"telegram_chat_id": f"77{uuid4().int % 10**8}4"}),
        )
        for number in range(PEOPLE)
    ]  # fmt: skip
    system.chaos(latency_ms=100)
    started = system.trigger({"user_ids": ids, "sequence_type": "onboarding"})
    assert started.status_code == 202, started.text
    # Whatever has not ended at this moment is open, not lost.
    verified(system, "lost")
    system.chaos(latency_ms=0)
    assert system.settled(started.json()["command_id"])["started"] == PEOPLE

    query = "select count(*) from controller.deliveries where user_id = any($1::uuid[]) and not unsettled"

    def ended() -> bool:
        return system.rows(query, ids)[0][0] >= PEOPLE

    eventually(ended, what="the end of every delivery")
    found = verified(system, "all")
    assert not any("not looked at" in told for told in found["sources"].values())
    assert set(found["sources"]) == {"rows", "claims", "provider ids", "events", "ledger", "bus"}
    skipped = {check: one["skipped"] for check, one in found.items() if check != "sources" and one["skipped"]}
    # Containers' logs are not files of this machine: test_compose.py looks for secrets in them.
    assert skipped == ({"C13": "no secrets are known here"} if in_containers(pytestconfig) else {})
    assert found["C1"]["of"] >= PEOPLE and found["C4"]["of"] >= PEOPLE
    counted = verified(system, "analytics")["C11"]
    assert counted["of"] >= len(("planned", "sent", "delivered")) and any(
        "delivered" in note for note in counted["notes"]
    )
    shown = system.cli("verify", "duplicates").stdout
    assert f"✓ C1  duplicates   0 of {found['C1']['of']:,}" in shown
