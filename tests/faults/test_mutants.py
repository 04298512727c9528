"""The checks are tested as well: each planted bug meets the fault that it cannot bear, and the named check says so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from nurture_local.verify import checks
from nurture_local.verify.verdict import Verdict

from tests.faults import row as rows
from tests.faults.conftest import Rows
from tests.faults.mutants import PLANTED
from tests.faults.process import Process
from tests.faults.row import Row
from tests.faults.stand import QUICK, eventually
from tests.faults.workload import Person

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("mutants")]

KEY_LIFETIME, PROVIDER_KEY = 2.0, 3.0
"""Seconds for which the email room trusts a key, and for which the provider knows it: 23 h and 24 h in earnest."""


@pytest.fixture
def row(mutants: Rows, request: pytest.FixtureRequest) -> Iterator[Row]:
    """A row on a stand that ends damaged; its processes are ordinary ones again at its end."""
    name = request.node.name.removeprefix("test_")
    with mutants(f"mutant {name}") as row:
        yield row
        row.stand.chaos()
        for process in row.stand.services:
            if process.env.pop("FAULT_MUTANT", None):
                process.end()
                process.start()
        row.stand.all_ready()


def plant(process: Process, mutant: str, **once: str) -> None:
    """Start a process with a bug in it, for this life and the next ones."""
    process.env["FAULT_MUTANT"] = mutant
    process.restart(**once)
    process.wait_ready()


def caught(row: Row, check: str, mutant: str, verdict: Callable[[], Verdict], ids: Callable[[], set[str]]) -> None:
    """Wait until this check, of all, says that something is wrong with these ids."""

    def bad() -> list[str]:
        said = verdict()
        assert said.check == check
        return [one.id for one in said.bad if one.id in ids()]

    found = eventually(bad, f"{check} catching {mutant}", within=40)
    rows.LINES.append(f"mutant {mutant}: caught by {check}, {len(found)} ids")


def deliveries(row: Row, people: list[Person]) -> set[str]:
    """Ids of their deliveries, as text."""
    found = row.stand.rows("select id from controller.deliveries where user_id = any($1)", [one.id for one in people])
    return {str(one["id"]) for one in found}


def test_ack_before_commit(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(3)
    plant(stand.email, "ack_before_commit", FAULT_CRASH="email.before_page")
    exits = len(stand.email.exits)
    clients.start(people)
    assert stand.email.wait_exit(exits + 1) == 137
    caught(row, "C2", "ack_before_commit", lambda: checks.c2_loss(stand.snapshot()), lambda: deliveries(row, people))


def test_fresh_key_per_attempt(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(1)
    plant(stand.email, "fresh_key_per_attempt")
    stand.chaos(close_after_accept=1)
    clients.start(people)
    caught(
        row, "C1", "fresh_key_per_attempt", lambda: checks.c1_duplicates(stand.snapshot()),
        lambda: deliveries(row, people),
    )  # fmt: skip


def test_retry_after_a_time_out(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(0, 1)
    plant(stand.telegram, "retry_after_a_time_out")
    stand.chaos(telegram={"close_after_accept": 1, "hang_seconds": 3})
    clients.start(people)
    caught(
        row, "C1", "retry_after_a_time_out", lambda: checks.c1_duplicates(stand.snapshot()),
        lambda: deliveries(row, people),
    )  # fmt: skip


def test_no_fence(row: Row, tmp_path: Path) -> None:
    stand, clients = row.stand, row.clients
    people, go_on = clients.people(1), tmp_path / "go on"
    plant(stand.email, "no_fence", FAULT_STALL=f"email.before_settle@{go_on}")
    stand.chaos(fail_next=1, status=422, name="validation_error", reply_ms=1500, webhooks="off")
    clients.start(people)
    eventually(lambda: stand.messages(to=people[0].address), "the second request, after the lease")
    go_on.touch()
    caught(row, "C3", "no_fence", lambda: checks.c3_truth(stand.snapshot()), lambda: deliveries(row, people))


def test_requeue_of_an_expired_lease(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(0, 2)
    plant(stand.telegram, "requeue_of_an_expired_lease", FAULT_CRASH="telegram.after_call")
    clients.start(people)
    caught(
        row, "C1", "requeue_of_an_expired_lease", lambda: checks.c1_duplicates(stand.snapshot()),
        lambda: deliveries(row, people),
    )  # fmt: skip


@pytest.fixture
def forgetful(row: Row) -> Iterator[Row]:
    """Keys live for seconds, at the provider and in the email room."""
    stand = row.stand
    quick = msgspec.structs.replace(QUICK, key_lifetime=KEY_LIFETIME, provider_key=PROVIDER_KEY)
    before = stand.sandbox.env["FAULT_HASTE"]
    for process in (stand.sandbox, stand.email):
        _hasten(process, msgspec.json.encode(quick).decode())
    yield row
    for process in (stand.sandbox, stand.email):
        _hasten(process, before)


def _hasten(process: Process, haste: str) -> None:
    process.env["FAULT_HASTE"] = haste
    process.end()
    process.start()
    process.wait_ready()


def lost_for_long(row: Row) -> list[Person]:
    """An email whose reply is lost, and a provider that answers again only when it has forgotten the key."""
    stand, people = row.stand, row.clients.people(1)
    stand.chaos(close_after_accept=1)
    row.clients.start(people)
    (mail,) = eventually(lambda: stand.messages(to=people[0].address), "the mail")
    stand.chaos(fail_next=1_000_000, status=503)
    key = mail["idempotency_key"]
    forgotten = (
        "select not exists (select from email.claims where id = $1 and created_at > now() - make_interval(secs => $2))"
    )
    eventually(lambda: stand.value(forgotten, UUID(key), PROVIDER_KEY + 1), "the provider to forget the key")
    stand.chaos()
    return people


def test_no_guard_of_the_key(forgetful: Row) -> None:
    row = forgetful
    plant(row.stand.email, "no_guard_of_the_key")
    people = lost_for_long(row)
    caught(
        row, "C1", "no_guard_of_the_key", lambda: checks.c1_duplicates(row.stand.snapshot()),
        lambda: deliveries(row, people),
    )  # fmt: skip


def test_the_guard_of_the_key_holds(forgetful: Row) -> None:
    """The same without the bug: what became of it is unknown until the provider's report tells."""
    people = lost_for_long(forgetful)
    stand = forgetful.stand
    settled = "select count(*) from email.claims c join controller.deliveries d on d.id = any(c.members) where d.user_id = $1 and c.state = 'settled'"
    eventually(lambda: stand.value(settled, people[0].id), "the end of its attempts")
    assert len(stand.messages(to=people[0].address)) == 1
    bad = {one.id for one in checks.c1_duplicates(stand.snapshot()).bad}
    assert not bad & deliveries(forgetful, people)


def test_no_inbox(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(3)
    plant(stand.scoring, "no_inbox", FAULT_CRASH="scoring.before_ack")
    exits = len(stand.scoring.exits)
    clients.ask("events", "/admin/api/events", {"events": [{"user": one.name, "event": "attended"} for one in people]})
    assert stand.scoring.wait_exit(exits + 1) == 137
    ids = {str(one.id) for one in people}
    caught(row, "C6", "no_inbox", lambda: _about(checks.c6_projections(stand.snapshot()), ids), lambda: ids)


def _about(verdict: Verdict, people: set[str]) -> Verdict:
    """The verdict with people in place of what is said of them (`person/kind`)."""
    bad = [msgspec.structs.replace(one, id=id) for one in verdict.bad for id in people if id in one.id]
    return msgspec.structs.replace(verdict, bad=bad)


def test_consent_read_outside_the_claim(row: Row) -> None:
    stand, clients = row.stand, row.clients
    people = clients.people(2)
    clients.start(people, "re_engagement")
    mails = [eventually(lambda one=one: stand.messages(to=one.address), "the first mail")[0] for one in people]
    stand.email.end()
    clients.start(people, "onboarding")
    eventually(lambda: len(deliveries(row, people)) == 2 * len(people), "the second message to be planned")
    for person, mail in zip(people, mails, strict=True):
        assert clients.unsubscribe(person, mail)
    stand.email.env["FAULT_MUTANT"] = "consent_read_outside_the_claim"
    stand.email.start()
    # They were not claimed before they refused, so no call was under way either.
    caught(
        row, "C9", "consent_read_outside_the_claim",
        lambda: checks.c9_suppression(stand.snapshot(), refused=clients.refused, grace=0.0),
        lambda: deliveries(row, people),
    )  # fmt: skip


def test_every_planted_bug_has_its_test() -> None:
    assert {name.removeprefix("test_") for name in globals()} >= set(PLANTED)
