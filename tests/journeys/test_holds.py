"""Pausing while messages go out, and a database that was restored from a backup: nothing is sent that should not be."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from nurture_local.programs import postgres_package

from tests import servers
from tests.journeys.system import System, eventually, running

EMAILS, CHATS = 250, 120
WATCHED = timedelta(seconds=3)
"""How long the pause is at least: the second that it may take to reach all, and four more calls of 400 ms after it."""
CLAIMED = (
    "select count(*) as n from (select created_at as at from email.claims where attempt > 0"
    " union all select claimed_at from telegram.claims) c where at > $1::timestamptz + interval '1 s' and at < $2"
)
"""Attempts that began in a pause: after its answer and the second that it may take, before its end."""


def crowd(system: System, directory: Path) -> list[str]:
    """A few hundred new people, most by email; their external ids."""
    name = uuid4().hex[:6]
    emails, chats = [f"e{n}-{name}" for n in range(EMAILS)], [f"c{n}-{name}" for n in range(CHATS)]
    first = 600_000_000 + int(name, 16) * 10
    lines = [f"{one},E,{one}@example.test,," for one in emails]
    lines += [f"{one},C,,{first + 10 * n},telegram" for n, one in enumerate(chats)]
    file = directory / "crowd.csv"
    file.write_text("external_id,first_name,email,telegram_chat_id,preferred_channel\n" + "\n".join(lines) + "\n")
    system.cli("people", "import", str(file))
    return [*emails, *chats]


def publish(system: System) -> str:
    """A sequence of this test's own, with one step now and one much later; its type."""
    name = f"hold-{uuid4().hex[:8]}"
    step = '[[steps]]\n{}\nchannel = "auto"\nsubject = "Hi"\nbody = "Hello."\n'
    toml = f'format = 1\ntype = "{name}"\ntitle = "T"\n' + step.format('when = "now"') + step.format('delay = "30d"')
    answer = system.command("/admin/api/sequences", content=toml, headers={"content-type": "application/toml"})
    assert answer.status_code == 201, answer.text
    return name


def clock(system: System) -> datetime:
    return system.rows("select clock_timestamp() as at")[0]["at"]


def checks(system: System) -> dict[str, dict[str, str]]:
    found = json.loads(system.cli("doctor", "-o", "json", check=False).stdout)["checks"]
    return {check["check"]: check for check in found}


def test_a_pause_in_a_run_stops_claims_within_a_second_and_loses_nobody(system: System, tmp_path: Path) -> None:
    people, kind = crowd(system, tmp_path), publish(system)

    def settled() -> int:
        (row,) = system.rows(
            "select count(*) as n from message_deliveries where sequence_type = $1 and status_detail <> 'pending'", kind
        )
        return row["n"]

    system.chaos(latency_ms=400)
    try:
        started = system.trigger({"user_ids": people, "sequence_type": kind}).json()
        eventually(settled, what="the first messages")
        paused = system.command("/admin/api/nurture/pause", {})
        at = clock(system)
        assert paused.status_code == 200, paused.text
        assert [(hold["sequence_type"], hold["reason"]) for hold in paused.json()["holds"]] == [("*", "paused")]
        system.settled(started["command_id"])

        # While it holds back, the system takes orders as ever, and says everywhere that it holds back.
        name = f"late-{uuid4().hex[:8]}"
        late = system.person(name, email=f"{name}@example.test")
        answer = system.answer({"user_id": late, "sequence_type": kind})
        assert (answer.status_code, answer.json()["paused"]) == (201, True)
        assert "delivery_id" not in answer.json()
        assert "held: everything since" in system.cli("why", name).stdout
        assert (checks(system)["holds"]["verdict"], checks(system)["holds"]["fix"]) == ("warn", "nurture resume")
        stranger = system.api.get("/admin/sign-in", headers={"Authorization": ""}).text
        assert "Everything is paused since" in stranger
        assert "still held: everything" in system.cli("sequences", "resume", kind).stdout

        eventually(lambda: clock(system) > at + WATCHED, what="a pause that is long enough to tell")
        before, until = settled(), clock(system)
        assert system.rows(CLAIMED, at, until)[0]["n"] == 0
        assert before < len(people)
    finally:
        system.chaos(latency_ms=0)
        resumed = system.cli("resume").stdout
    assert resumed.startswith("resumed everything: enrolments that go on:") and "still held" not in resumed
    eventually(lambda: settled() == len(people) + 1, what="everybody's message")
    reached = Counter(message["to"] for message in system.messages())
    assert {reached[row["recipient_address"]] for row in system.deliveries(sequence_type=kind)} == {1}
    assert system.ledger()["repeats"] == 0
    assert system.api.get("/admin/api/nurture/holds").json() == []


@pytest.mark.processes("`nurture status` tells of an instance of this machine")
def test_status_tells_that_everything_is_held(system: System) -> None:
    assert system.command("/admin/api/nurture/pause", {}).status_code == 200
    try:
        assert "everything since" in system.cli("status").stdout
        assert [hold["sequence_type"] for hold in system.status()["holds"]] == ["*"]
    finally:
        system.cli("resume")
    assert system.status()["holds"] == []


def test_resume_refuses_what_makes_no_sense(system: System) -> None:
    both = system.post("/admin/api/nurture/resume", {"sequence_type": "onboarding", "confirm_restored": True})
    assert both.status_code == 400 and both.json()["errors"][0]["field"] == "confirm_restored"
    assert system.cli("resume", "onboarding", "--confirm-restored", check=False).returncode == 2
    unknown = system.command("/admin/api/nurture/pause", {"sequence_type": "no_such_type"})
    assert unknown.status_code == 404 and "onboarding" in unknown.json()["hint"]
    key = str(uuid4())
    first = system.command("/admin/api/nurture/pause", {"sequence_type": "commitment_follow_up"}, key=key)
    assert system.cli("resume", "commitment_follow_up").stdout.startswith("resumed commitment_follow_up")
    # A repeat is answered, not done again.
    assert (
        system.command("/admin/api/nurture/pause", {"sequence_type": "commitment_follow_up"}, key=key).json()
        == first.json()
    )
    assert system.api.get("/admin/api/nurture/holds").json() == []


@pytest.fixture
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres({"synchronous_commit": "on"}) as running_cluster:
        yield running_cluster


def dump_and_restore(cluster: servers.Cluster, source: str, target: str) -> None:
    """As operators do: pg_dump of a running database into a new one."""
    programs = postgres_package() / "pginstall/bin"
    password = {"PGPASSWORD": urlsplit(source).password or ""}

    def run(program: str, *arguments: str, **more: Any) -> bytes:
        done = subprocess.run([programs / program, *arguments], env=password, capture_output=True, check=False, **more)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def place(url: str) -> tuple[str, ...]:
        parts = urlsplit(url)
        return (
            "-h",
            str(parts.hostname),
            "-p",
            str(parts.port),
            "-U",
            str(parts.username),
            "-d",
            parts.path.strip("/"),
        )

    run("pg_restore", *place(target), "--exit-on-error", input=run("pg_dump", *place(source), "-Fc"))


@pytest.mark.long
def test_a_restored_backup_sends_nothing_until_somebody_vouches_for_it(
    data_dir: Path, cluster: servers.Cluster
) -> None:
    with cluster.database() as live, cluster.database() as backup:
        with running(data_dir, env={"DATABASE_URL": live}) as system:
            system.database = live
            kind = publish(system)
            people = [system.person(f"p{n}", email=f"p{n}@example.test") for n in range(3)]
            assert system.answer({"user_id": people[0], "sequence_type": kind}).status_code == 201
            system.quiet(1)
            # In the backup two messages are planned and wait; after it they are sent.
            system.service("stop", "email")
            for person in people[1:]:
                assert system.answer({"user_id": person, "sequence_type": kind}).status_code == 201
            dump_and_restore(cluster, live, backup)
            system.service("start", "email")
            system.quiet(3)
            assert system.ledger()["messages"] == 3
            # A report that came home after the restore would tell, truly, of a message that was cancelled there.
            eventually(lambda: system.counts().get("delivered") == 3, what="every report of this life")
        # The same bus and the same provider, which know more than the database does.
        with running(data_dir, env={"DATABASE_URL": backup}) as system:
            system.database = backup
            at = clock(system)
            waiting = [row for row in system.deliveries(sequence_type=kind) if row["status_detail"] == "pending"]
            assert len(waiting) == 2
            (hold,) = system.api.get("/admin/api/nurture/holds").json()
            assert (hold["sequence_type"], hold["reason"]) == ("*", "restored")
            assert "this database is a copy, or was restored" in hold["detail"]
            found = checks(system)
            assert (found["holds"]["verdict"], found["email"]["verdict"]) == ("fail", "warn")
            assert "older than the bus" in found["email"]["found"] and "--confirm-restored" in found["email"]["fix"]

            refused = system.command("/admin/api/nurture/resume", {})
            assert (refused.status_code, refused.json()["code"]) == (409, "database_restored")
            assert "confirm_restored" in refused.json()["hint"]
            told = system.cli("resume", check=False)
            assert told.returncode == 1 and "would be sent again" in told.stderr
            assert system.cli("resume", kind, check=False).returncode == 1
            assert system.cli("sequences", "resume", kind, check=False).returncode == 1

            # Made whole while it is held: what waits, waits where it can be looked at, and cancelled.
            waits = "select coalesce(sum(cardinality(members)), 0) as n from email.pages where claim_id is null"
            eventually(lambda: system.rows(waits)[0]["n"] == 2, what="the pages that wait")
            cancelled = system.command("/admin/api/nurture/cancel", {"user_id": people[2], "sequence_type": kind})
            assert cancelled.json()["cancelled"] == 1, cancelled.text
            assert system.rows("select count(*) as n from email.claims where created_at > $1", at)[0]["n"] == 0
            assert system.ledger()["messages"] == 3
            assert system.cli("resume", "--confirm-restored").stdout.startswith("resumed everything")
            # Whom nobody cancelled gets the message that this database knows of as unsent, and nobody else does.
            assert system.quiet(3).get("cancelled") == 1
            assert Counter(message["to"] for message in system.messages()) == {
                "p0@example.test": 1, "p1@example.test": 2, "p2@example.test": 1,
            }  # fmt: skip
            assert system.api.get("/admin/api/nurture/holds").json() == []
            eventually(lambda: checks(system)["email"]["verdict"] == "ok", what="an email room that sends again")
            fresh = system.person("fresh", email="fresh@example.test")
            assert system.answer({"user_id": fresh, "sequence_type": kind}).status_code == 201
            system.quiet(4)
            # Confirmed once is confirmed: the next start does not ask again.
            system.service("restart", "controller")
            system.service("restart", "email")
            assert system.api.get("/admin/api/nurture/holds").json() == []
            assert checks(system)["email"]["verdict"] == "ok"
