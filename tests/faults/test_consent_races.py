"""F24: people take back their consent at the moment in which something is claimed for them."""

import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Rows
from tests.faults.stand import Stand
from tests.faults.workload import Person, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

PAIRS = 120
AT_ONCE = 6
MEASURED = 8


def until_claimed(stand: Stand, began: dict[Person, float]) -> float:
    """Seconds from the request to the claim, in the middle of these people."""
    rows = stand.rows(
        "select o.user_id, max(c.created_at) as at from email.claims c cross join unnest(c.members) as m (id) "
        "join public.outbound_messages o on o.delivery_id = m.id where o.user_id = any($1) group by 1",
        [person.id for person in began],
    )
    claimed = {row["user_id"]: row["at"].timestamp() for row in rows}
    return statistics.median(claimed[person.id] - at for person, at in began.items())


def test_nothing_is_claimed_after_the_answer(single: Rows) -> None:
    with single(f"F24 {PAIRS} refusals race {PAIRS} claims") as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("race_first"))
        clients.publish(sequence("race_second"))
        people = clients.people(PAIRS + MEASURED)
        clients.start(people, "race_first")
        row.healed()
        mails = {mail["to"]: mail for mail in stand.messages(channel="email")}
        began: dict[Person, float] = {}

        def start(person: Person) -> None:
            began[person] = time.time()
            clients.start_one(person, "race_second")

        for person in people[PAIRS:]:
            start(person)
        row.healed()
        usual = until_claimed(stand, began)
        rng, wait = random.Random(row.seed), threading.Event()
        # Some refuse before they are claimed, some after: around the moment at which that happens on this machine.
        offsets = {person: rng.uniform(0.2, 1.8) * usual for person in people[:PAIRS]}

        def leave(person: Person) -> None:
            wait.wait(offsets[person])
            assert clients.unsubscribe(person, mails[person.address])

        with ThreadPoolExecutor(2 * AT_ONCE) as pool:
            row.note(f"{PAIRS} people leave, about {usual:.3f} s after they were started")
            row.faults = PAIRS
            acts = [pool.submit(act, person) for person in people[:PAIRS] for act in (start, leave)]
            for act in acts:
                act.result()
        row.healed()
        history = row.judge(unknown=0)
        refused_at = {one.user_id: one.real_at for one in clients.refused}
        sent = {effect.delivery_id for effect in history.ledger or ()}
        raced = {
            one.id: one for one in row.new(history) if one.sequence_type == "race_second" and one.user_id in refused_at
        }
        for claim in history.claims:
            for member in claim.members:
                if member in raced and member in sent:
                    assert claim.created_at.timestamp() <= refused_at[raced[member].user_id], member
        spared = [one for one in raced.values() if one.id not in sent]
        assert spared and len(spared) < len(raced), f"{len(spared)} of {len(raced)} were spared: that was no race"
