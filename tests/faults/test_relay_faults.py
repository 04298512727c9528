"""F1, F2, F6, F14, F15, F18 to F20 over SMTP: a relay knows no keys, so what may have arrived is not sent again."""

from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from nurture_local.verify.history import Snapshot
from nurture_local.verify.inputs import Rate

from tests.faults.conftest import MAILS_A_SECOND, Rows
from tests.faults.row import Row, seed
from tests.faults.stand import DOUBTFUL_OVER_SMTP, eventually
from tests.faults.workload import Load, Person, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("relayed")]

CONCURRENCY = DOUBTFUL_OVER_SMTP["email"]
UNDER_LOAD, KILLS = 110, 4
DEATHS = ("before_volley:1", "after_volley:2", "after_mail:3", "before_ends:2", "after_ends:2")
"""Places in the middle of a volley, and at which time there the process ends; the first volley is of one mail."""
SENDING = "select count(*) from email.claims where state = 'open' and lease_until > now()"
WAITING = "select count(*) from email.pages where claim_id is null"
PARKED = "select park_reason from email.pace where account = 'smtp' and parked_until > now()"
RATE = {"email": Rate(per_second=MAILS_A_SECOND, slack=2)}


def calls(row: Row) -> list[dict[str, Any]]:
    """What the relay did not simply take, since the stand began."""
    return row.stand.provider.get("/api/calls", params={"channel": "email"}).json()


def start(row: Row, count: int, *acts: str) -> list[Person]:
    """Start so many people in one command."""
    people = row.clients.people(count, acts=acts or ("ignore", "open", "click"))
    row.clients.start(people)
    return people


def met(row: Row, count: int, since: int, *replies: str) -> None:
    """Wait until the relay has given each of these replies so often."""

    def enough() -> bool:
        given = Counter(
            line["reply"][:3] if line["reply"][0].isdigit() else line["reply"] for line in calls(row)[since:]
        )
        return all(given[reply] >= count for reply in replies)

    eventually(enough, f"{count} times each of {replies}")


def ended(row: Row, history: Snapshot, people: list[Person]) -> Counter[tuple[str, str | None]]:
    """What has become of these people's mails: a word for it, and why."""
    ids = {one.id for one in people}
    return Counter(
        ("sent" if one.left else one.status, None if one.left else one.failure_reason)
        for one in row.new(history)
        if one.user_id in ids
    )


def effects(history: Snapshot) -> set[UUID | None]:
    return {one.delivery_id for one in history.ledger or ()}


def test_senders_are_killed_under_load(relayed: Rows) -> None:
    """kill -9 of one of two in the middle of its calls; a death leaves its volleys unknown and the other goes on."""
    number = seed()
    with relayed(f"F2 SMTP random kill -9 of two of email under load (FAULT_SEED={number})", number) as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("relayed"))
        stand.chaos(latency_ms=250, reply_ms=100)
        people = clients.people(UNDER_LOAD, acts=("open", "click", "bounce", "ignore"))
        with Load(clients, stand, people, "relayed", number) as load:
            for kill in range(KILLS):
                if kill == KILLS - 1:
                    eventually(lambda: not load.left, "everybody to be started")
                    # Theirs may be over already on a quick machine.
                    start(row, 8)
                eventually(lambda: stand.value(SENDING), "calls under way")
                row.kill(stand.room("email")[kill % 2])
        row.healed()
        stand.chaos()
        row.judge(rates=RATE, messages=True)


def test_a_sender_ends_in_the_middle_of_a_volley(relayed: Rows) -> None:
    with relayed("F1 SMTP death at each place of a volley") as row:
        stand, (one, other) = row.stand, row.stand.room("email")
        assert other.term() == 0
        of_place: dict[str, list[Person]] = {}
        for place in DEATHS:
            # It ends cleanly before, so that what is unknown of these people is this death's.
            assert one.term() == 0
            row.arm(one, f"email.{place}")
            of_place[place] = start(row, 12, "ignore")
            row.crashed(one)
            one.wait_ready()
            eventually(lambda: not stand.value(WAITING), "the others to be claimed")
        other.start()
        row.healed()
        history = row.judge()
        for place, people in of_place.items():
            found = ended(row, history, people)
            unknown = found["unknown", "worker_lost"]
            assert found["sent", None] == len(people) - unknown
            # Before a claim nothing can have left. Ends that are written may also be those of whom an earlier death has left.
            least = place in ("after_volley:2", "after_mail:3")
            most = 0 if place == "before_volley:1" else CONCURRENCY
            assert least <= unknown <= most, (place, unknown)


def test_not_now_is_tried_again(relayed: Rows) -> None:
    """450 and 451 are about a mail, 421 is about all of them for a while."""
    with relayed("F19 F20 SMTP 450, 451, 421: not now") as row:
        stand, since = row.stand, len(calls(row))
        stand.chaos(fail_next=1, status=502, odds={"seed": row.seed, "refused": 0.4, "failed": 0.4})
        start(row, 20)
        met(row, 1, since, "421", "450", "451")
        stand.chaos()
        row.healed()
        row.faults += len(calls(row)) - since
        history = row.judge(unknown=0, rates=RATE)
        assert {one.left for one in row.new(history)} == {True}


def test_never_is_a_failure(relayed: Rows) -> None:
    """550 for a mailbox that is not there, 554 for a mail: each is told to nobody again, and nobody got it."""
    with relayed("F19 SMTP 550, 554: never") as row:
        stand, since = row.stand, len(calls(row))
        stand.chaos(fail_next=3, status=422)
        gone, others = start(row, 4, "bounce"), start(row, 9)
        met(row, 3, since, "554")
        met(row, 4, since, "550")
        stand.chaos()
        row.healed()
        row.faults += len(calls(row)) - since
        history = row.judge(unknown=0)
        assert ended(row, history, gone) == {("failed", "no_such_address_550_5.1.1"): 4}
        assert ended(row, history, others) == {("failed", "message_refused_554_5.6.0"): 3, ("sent", None): 6}
        closed = "select count(*) from gateway.contacts where user_id = any($1) and state = 'bounced'"
        assert stand.value(closed, [one.id for one in gone]) == 4


def test_a_refused_login_fails_nobody(relayed: Rows) -> None:
    """The channel stands still until somebody has brought the account in order and starts the service again."""
    with relayed("F20 SMTP 530: the login is refused") as row:
        stand, since = row.stand, len(calls(row))
        stand.chaos(fail_next=1_000_000, status=401)
        people = start(row, 20)
        eventually(lambda: stand.rows(PARKED), "the channel to stand still")
        assert stand.value(PARKED) == "login_required_530_5.7.0"
        row.faults += len(calls(row)) - since
        assert len(calls(row)) - since <= 2 * CONCURRENCY, "it asked on and on"
        stand.chaos()
        for process in stand.room("email"):
            assert process.term() == 0
            process.start()
        row.healed()
        assert ended(row, row.judge(unknown=0), people) == {("sent", None): 20}


def test_the_word_of_a_relay_is_lost(relayed: Rows) -> None:
    """It took the mail and hung up: unknown, each of them and no other, and nobody gets it again."""
    with relayed("F18 SMTP the relay takes a mail and hangs up") as row:
        stand, since = row.stand, len(calls(row))
        stand.chaos(close_after_accept=3, odds={"seed": row.seed, "failed_after": 0.2})
        # Nobody opens anything, which would tell that it came.
        people = start(row, 20, "ignore")
        met(row, 3, since, "lost")
        row.healed()
        stand.chaos()
        lost = [UUID(id) for line in calls(row)[since:] for id in line["deliveries"]]
        row.faults += len(lost)
        row.ambiguous["email"] += len(lost)
        history = row.judge()
        assert {one.id for one in row.new(history) if one.status == "unknown"} == set(lost) <= effects(history)
        assert ended(row, history, people)["unknown", "connection_lost"] == len(lost)


def test_connections_to_the_relay_break(relayed: Rows) -> None:
    """Before the message nothing can have been sent, so the mail goes again; from DATA on nobody can tell."""
    with relayed("F9 F18 SMTP connections break before, at and after the message") as row:
        wire = row.stand.wires["relay"]
        before = [wire.up.cut(b"RCPT TO:") for _ in range(3)] + [wire.down.cut(b"2.1.5 Ok")]
        people = start(row, 8, "ignore")
        for seen in before:
            eventually(seen.is_set, "a connection that broke before its message")
            row.note("a connection breaks before its message")
        asked, told = wire.down.cut(b"354 "), wire.down.cut(b"queued as")
        people += start(row, 8, "ignore")
        for seen in (asked, told):
            eventually(seen.is_set, "a connection that broke from its message on")
            row.note("a connection breaks from its message on")
        row.ambiguous["email"] += 2
        row.healed()
        history = row.judge()
        assert ended(row, history, people) == {("unknown", "connection_lost"): 2, ("sent", None): 14}
        arrived = [one.id in effects(history) for one in row.new(history) if one.status == "unknown"]
        assert sorted(arrived) == [False, True]


def test_the_relay_is_a_black_hole(relayed: Rows) -> None:
    """Nobody answers and nobody hangs up: calls end by their time-out, and only those of a message may be unknown."""
    with relayed("F9 SMTP the relay is black-holed both ways") as row:
        stand, wire = row.stand, row.stand.wires["relay"]
        stand.chaos(latency_ms=1000)
        begun = wire.down.notice(b"354 ")
        people = start(row, 20, "ignore")
        eventually(begun.is_set, "a message under way")
        wire.hold()
        row.note("the relay is a black hole")
        eventually(lambda: stand.rows(PARKED), "the channel to stand still")
        wire.heal()
        stand.chaos()
        row.ambiguous["email"] += CONCURRENCY * len(stand.room("email"))
        row.healed()
        found = ended(row, row.judge(), people)
        assert set(found) <= {("sent", None), ("unknown", "timeout")} and found["unknown", "timeout"], found


def test_the_relay_goes_and_comes_back(relayed: Rows) -> None:
    """What it had in its hands when it went is unknown; everything else waits for it, and nobody asks for each mail."""
    with relayed("F20 SMTP the relay is away, and back") as row:
        stand = row.stand
        stand.chaos(latency_ms=500)
        start(row, 20)
        eventually(lambda: stand.value(SENDING) >= CONCURRENCY // 2, "a volley under way")
        stand.sandbox.end()
        row.note("the relay is away")
        row.ambiguous["email"] += CONCURRENCY * len(stand.room("email"))
        eventually(lambda: stand.rows(PARKED), "the channel to stand still")
        assert stand.value(PARKED) == "relay_unreachable"
        late = start(row, 10)
        stand.sandbox.start()
        stand.sandbox.wait_ready()
        row.healed()
        history = row.judge()
        assert ended(row, history, late) == {("sent", None): 10}
        assert {one.failure_reason for one in row.new(history) if one.status == "unknown"} <= {"connection_lost"}


@pytest.mark.parametrize("server", ["postgres", "nats"])
def test_a_server_is_killed_in_the_middle_of_a_volley(relayed: Rows, server: str) -> None:
    """The calls end, and their ends are kept until they can be written down and said."""
    with relayed(f"F6 F14 SMTP kill -9 {server} in the middle of a volley") as row:
        stand = row.stand
        stand.chaos(latency_ms=600, reply_ms=100)
        people: list[Person] = []
        for _ in range(2):
            # Each time of its own: a server may take so long to come back that all before are sent.
            people += start(row, 16)
            eventually(lambda: stand.value(SENDING) >= CONCURRENCY // 2, "a volley under way")
            row.kill(stand.processes[server])
            stand.processes[server].wait_ready()
        stand.chaos()
        row.healed()
        assert ended(row, row.judge(unknown=0, messages=True), people) == {("sent", None): 32}


def test_replies_to_commits_of_a_volley_are_lost(relayed: Rows) -> None:
    """Whoever asks again finds it written; what was claimed and not heard of is given back."""
    with relayed("F15 SMTP replies to COMMIT lost") as row:
        wire = row.stand.wires["postgres"].down
        people: list[Person] = []
        for _ in range(4):
            lost = wire.cut(b"COMMIT\x00")
            people += start(row, 6)
            eventually(lost.is_set, "a commit")
            row.note("the reply to a COMMIT is lost with its connection")
        row.healed()
        assert ended(row, row.judge(unknown=0), people) == {("sent", None): 24}
