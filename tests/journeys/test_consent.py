"""Unsubscribing: GET shows, POST acts, and once it has answered 200 nothing that is claimed later is sent."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tests.journeys.system import System, eventually, running
from tests.journeys.test_walk import import_sample, reachable

UNSUBSCRIBE = re.compile(r"https?://[^\s\"<>]+/u/[A-Za-z0-9_-]+")


def link(message: dict[str, str]) -> str:
    found = UNSUBSCRIBE.search(message["html"])
    assert found
    return found.group().split("//", 1)[1].split("/", 1)[1]


def test_a_look_at_the_link_changes_nothing_and_a_post_ends_email(system: System) -> None:
    name = f"ben-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test")
    system.answer({"user_id": person, "sequence_type": "onboarding"})
    (message,) = eventually(lambda: system.messages(to=f"{name}@example.test"))
    path = f"/{link(message)}"
    assert system.api.get(path, headers={"Authorization": ""}).status_code == 200
    assert system.answer({"user_id": person, "sequence_type": "re_engagement"}).status_code == 201
    answer = system.api.post(path, data={"List-Unsubscribe": "One-Click"}, headers={"Authorization": ""})
    assert answer.status_code == 200
    refused = system.answer({"user_id": person, "sequence_type": "commitment_follow_up"})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_reachable_channel")


@pytest.mark.long
def test_no_claim_after_the_answer_sends_to_that_person(data_dir: Path, tmp_path: Path) -> None:
    """A run of a thousand is in full flow while people leave: each gets nothing that was claimed after their 200."""
    with running(data_dir, env={"SANDBOX_RATE_LIMIT": "1"}) as system:
        import_sample(system, tmp_path)
        people = reachable(system)
        # Everybody has a first message, which has the link, before the run that must heed it.
        system.trigger_all("re_engagement")
        system.quiet(len(people))
        first = {m["to"]: m for m in system.messages(channel="email")}
        # Twenty of those whose turn comes last, so that they have time to leave on a busy machine as well.
        lasting = [to for to in first if not any(mark in to for mark in ("+bounce@", "+complain@"))]
        leaving = lasting[-200::10]
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        begun = system.ledger()["messages"]
        eventually(lambda: system.ledger()["messages"] > begun, what="the run's first mails")

        def leave(to: str) -> datetime:
            assert system.api.post(f"/{link(first[to])}", data={"List-Unsubscribe": "One-Click"}).status_code == 200
            return datetime.now().astimezone()

        with ThreadPoolExecutor(8) as leavers:
            left_at = dict(zip(leaving, leavers.map(leave, leaving), strict=True))
        system.settled(started["command_id"])
        eventually(lambda: not system.counts().get("pending"), within=90, what="the end of the run")
        claimed = system.rows(
            "select o.address, o.delivery_id::text, c.created_at from email.claims c cross join unnest(c.members) as m (id) "
            "join outbound_messages o on o.delivery_id = m.id where o.address = any($1)",
            leaving,
        )
        sent = {message["delivery_id"] for message in system.messages()}
        for address, delivery, claimed_at in claimed:
            assert delivery not in sent or claimed_at <= left_at[address], (address, delivery)
        spared = [row for row in system.deliveries(sequence_type="onboarding") if row["status_detail"] == "suppressed"]
        assert {row["recipient_address"] for row in spared} & set(leaving), "nobody left in time to be spared"
        assert system.ledger()["repeats"] == 0
