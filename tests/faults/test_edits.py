"""F22: between the attempts at a message, its sequence is written anew, or its enrolment is cancelled."""

import contextlib
import sqlite3

import pytest

from tests.faults.conftest import Rows
from tests.faults.stand import Stand, eventually
from tests.faults.workload import Person, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

PEOPLE = 4


def taken_requests(stand: Stand) -> dict[str, str]:
    """The bytes that each key stands for at the provider."""
    with contextlib.closing(sqlite3.connect(f"file:{stand.ledger_path}?mode=ro", uri=True)) as ledger:
        return dict(ledger.execute("select key, request_sha256 from idempotency"))


def refused_requests(stand: Stand, people: list[Person]) -> dict[str, set[str]]:
    """The bytes of the attempts that came to nothing, by key."""
    addresses, found = {person.address for person in people}, dict[str, set[str]]()
    for line in stand.provider.get("/api/calls", params={"channel": "email"}).json():
        if addresses & set(line["recipients"]):
            found.setdefault(line["key"], set()).add(line["payload_sha256"])
    return found


def all_tried(stand: Stand, people: list[Person]) -> bool:
    """Whether each of them was in an attempt; how many were in one request does not matter."""
    lines = stand.provider.get("/api/calls", params={"channel": "email"}).json()
    return {person.address for person in people} <= {one for line in lines for one in line["recipients"]}


def test_a_new_version_does_not_change_what_was_tried(single: Rows) -> None:
    with single("F22 words change between attempts") as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("edited"))
        people = clients.people(PEOPLE)
        stand.chaos(fail_next=1_000_000, status=500)
        for person in people:
            clients.start_one(person, "edited")
        eventually(lambda: all_tried(stand, people), "a first attempt at each")
        row.note("another version is published")
        clients.publish(sequence("edited").replace("here it is", "this is not what it was"))
        stand.chaos()
        row.healed()
        row.judge(unknown=0)
        taken = taken_requests(stand)
        for key, tried in refused_requests(stand, people).items():
            assert tried == {taken[key]}, "an attempt had other bytes than the one before"


def test_a_cancelled_enrolment_is_not_tried_again(single: Rows) -> None:
    """Who was cancelled before any claim gets nothing; who was cancelled between attempts may have got something."""
    with single("F22 cancelled before and between attempts") as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("cancelled", later=1))
        people = clients.people(2 * PEOPLE)
        before, between = people[:PEOPLE], people[PEOPLE:]

        def cancel(some: list[Person]) -> None:
            for person in some:
                answer = clients.answer(
                    "cancel", "/admin/api/nurture/cancel", {"user_id": person.name, "sequence_type": "cancelled"}
                )
                assert answer is not None and answer.json()["cancelled"] == 1, answer and answer.text
                row.note(f"cancel {person.name}")

        stand.chaos(fail_next=1_000_000, status=500)
        for person in between:
            clients.start_one(person, "cancelled")
        eventually(lambda: all_tried(stand, between), "a first attempt at each")
        assert stand.email.term() == 0
        cancel(between)
        for person in before:
            clients.start_one(person, "cancelled")
        cancel(before)
        stand.email.start()
        stand.chaos()
        row.healed()
        # The attempts failed after the provider had read them: nobody can tell, and none of them had an effect.
        row.ambiguous["email"] += PEOPLE
        history = row.judge()
        statuses = {one.user_id: one.status for one in row.new(history)}
        assert [statuses[person.id] for person in before] == ["cancelled"] * PEOPLE
        assert {statuses[person.id] for person in between} <= {"unknown"}
        assert not [
            mail for mail in stand.messages(channel="email") if mail["to"] in {person.address for person in people}
        ]
