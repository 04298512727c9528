"""F5: two of every service side by side give the results of one, and keep each limit together."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from nurture_local.verify import checks
from nurture_local.verify.inputs import Rate
from nurture_local.verify.timing import densest

from tests.faults.conftest import PACED, Rows
from tests.faults.process import Process
from tests.faults.row import Row
from tests.faults.workload import Person, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("paced")]

EMAILS, CHATS = PACED * 6, PACED * 4
AT_ONCE = 8
CROWDS = 6
"""So many at most, until each of two has had a share: a quick machine may start one crowd within two or three calls."""
RATES = {"email": Rate(per_second=PACED), "telegram": Rate(per_second=PACED, per_chat=1)}
"""One call more may arrive in a second than its rate: the ledger is written after the provider's own work."""
WORK = {
    "gateway": 'nurture_messages_said_total{subject="nurture.cmd.controller.start_sequences"}',
    "controller": 'nurture_messages_heard_total{durable="controller-start",ended="done"}',
    "email": "nurture_provider_calls_total",
    "telegram": "nurture_provider_calls_total",
    "scoring": "nurture_messages_heard_total",
}
"""What tells that a process of the room has had its share."""


def worked(process: Process) -> float:
    lines = httpx.get(f"http://127.0.0.1:{process.port}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(WORK[process.room]))


def ask_both(row: Row, person: Person, type: str) -> set[str]:
    """The same request under the same key at both gateways at once; the commands that it was told of."""
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"user_id": person.name, "sequence_type": type}
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda gateway: gateway.post("/admin/api/nurture/trigger", json=body, headers=headers),
                row.stand.gateways,
            )
        )
    assert {answer.status_code for answer in answers} <= {201, 202}, [answer.text for answer in answers]
    return {answer.json()["command_id"] for answer in answers}


def crowd(row: Row, type: str) -> list[Person]:
    """Start people one by one, by both gateways in turn, so that each is a request and a page of its own; a few asked of both
    at once."""
    people = row.clients.people(EMAILS, CHATS, acts=("open", "click", "ignore"), habits="2456")
    twice, once = people[::10], [person for place, person in enumerate(people) if place % 10]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        commands = [pool.submit(ask_both, row, person, type) for person in twice]
        answers = list(pool.map(lambda person: row.clients.start_one(person, type), once))
    assert all(answer is not None and answer.is_success for answer in answers)
    assert all(len(command.result()) == 1 for command in commands), "one key, two commands"
    return people


def test_two_of_everything_do_what_one_does(paced: Rows) -> None:
    """Everybody gets one message, with their name, at their address, whoever of two took the request, planned it, sent it
    and heard of it; and in every window of a second, wherever it begins, both senders together keep the limit."""
    with paced("F5 two of every service, under one limit each") as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("twofold"))
        before = {process.name: worked(process) for process in stand.services}
        people: list[Person] = []
        shares: dict[str, int] = {}
        while not (shares and all(shares.values())) and len(people) < CROWDS * (EMAILS + CHATS):
            people += crowd(row, "twofold")
            row.note("two of each at their limits")
            row.healed()
            shares = {process.name: round(worked(process) - before[process.name]) for process in stand.services}
        history = row.judge(unknown=0, rates=RATES)
        assert history.ledger is not None
        new = {one.id: one for one in row.new(history)}
        assert Counter(one.user_id for one in new.values()) == Counter({person.id: 1 for person in people})
        got = Counter(effect.recipient for effect in history.ledger if effect.delivery_id in new)
        assert got == Counter({person.address: 1 for person in people})
        words = {person.address: person.name.title() for person in people}
        for message in stand.messages():
            if message["delivery_id"] in map(str, new):
                assert words[message["to"]] in (message["subject"] or "") + (message["text"] or ""), message
        row.say(f"{'; '.join(checks.c10_schedule(history, rates=RATES).notes)}; work by replica {shares}")
        telegrams = sorted(
            one.real_at for one in history.ledger if one.channel == "telegram" and one.delivery_id in new
        )
        assert densest(telegrams)[0] > PACED / 2, "nobody came near the limit"
        assert all(shares.values()), f"one of two did nothing: {shares}"
