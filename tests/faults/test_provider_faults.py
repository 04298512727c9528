"""F18 to F21: what a provider can do to a call. An email is asked again under its key, a Telegram message is not."""

from pathlib import Path
from typing import Any

import pytest
from nurture_local.sandbox.odds import Fate

from tests.faults.conftest import Rows
from tests.faults.row import Row
from tests.faults.stand import eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

EMAILS, CHATS = 5, 8
SILENT = "28"
"""Chats that give no sign of what they got: nothing but the call's own end can tell what became of a message."""


def troubled(row: Row, channel: str, since: int) -> list[dict[str, Any]]:
    """Calls of a channel that did not simply work, but for repeats that were told the first answer."""
    lines = row.stand.provider.get("/api/calls", params={"channel": channel}).json()
    return [line for line in lines[since:] if line["reply"] != "replayed"]


def spoil(row: Row, chaos: dict[str, object], *, email: int, telegram: int) -> dict[str, int]:
    """Let the provider misbehave until it has done so to that many calls of each channel. Returns how many messages were
    concerned."""
    stand = row.stand
    since = {
        one: len(stand.provider.get("/api/calls", params={"channel": one}).json()) for one in ("email", "telegram")
    }
    stand.chaos(**chaos)
    people = row.clients.people(EMAILS, CHATS, habits=SILENT)
    row.clients.start(people[EMAILS:])
    for number, person in enumerate(people[:EMAILS]):
        row.clients.start_one(person)
        if number < email:
            # Of mails that wait together one call would take all.
            eventually(
                lambda number=number: len(troubled(row, "email", since["email"])) > number, "a call for one email"
            )
    eventually(
        lambda: (
            len(troubled(row, "email", since["email"])) >= email
            and len(troubled(row, "telegram", since["telegram"])) >= telegram
        ),
        f"{email} troubled calls for emails and {telegram} for messages",
    )
    stand.chaos()
    row.healed()
    lines = {channel: troubled(row, channel, since[channel]) for channel in since}
    for channel, calls in lines.items():
        row.note(f"{len(calls)} calls for {channel}: {chaos}", fault=False)
        row.faults += len(calls)
    return {channel: sum(len(line["recipients"]) for line in calls) for channel, calls in lines.items()}


@pytest.mark.parametrize("fate", ["lost", "failed_after", "failed"])
def test_the_end_of_a_call_is_not_known(single: Rows, fate: Fate) -> None:
    with single(f"F18 F19 calls that are {fate}") as row:
        met = spoil(row, {"odds": {fate: 1.0}, "telegram": {"odds": {fate: 1.0}}}, email=3, telegram=3)
        # Nobody can tell what became of those messages, so each of them is unknown, and no other is.
        row.ambiguous["telegram"] += met["telegram"]
        history = row.judge()
        assert row.new_unknown(history) == {"telegram": met["telegram"]}


def test_too_many_requests(single: Rows) -> None:
    with single("F20 429 with retry-after") as row:
        refused = {"odds": {"refused": 1.0}, "retry_after": 1}
        spoil(row, refused | {"telegram": refused}, email=2, telegram=2)
        row.judge(unknown=0)


def test_an_earlier_request_still_runs(single: Rows) -> None:
    with single("F21 409, the key's first request still runs") as row:
        spoil(row, {"fail_next": 2, "status": 409, "name": "concurrent_idempotent_requests"}, email=2, telegram=0)
        row.judge(unknown=0)


def test_the_key_is_taken_by_another_request(single: Rows) -> None:
    """Whatever it was, something was sent under this key: unknown, and never another key."""
    with single("F21 409, the key means another request") as row:
        met = spoil(row, {"fail_next": 1, "status": 409, "name": "invalid_idempotent_request"}, email=1, telegram=0)
        row.ambiguous["email"] += met["email"]
        history = row.judge()
        assert row.new_unknown(history) == {"email": met["email"]}


def test_a_long_outage(single: Rows) -> None:
    """503 for emails; then the provider is gone altogether, for both channels."""
    with single("F20 an outage: 503, then nobody there") as row:
        stand, clients = row.stand, row.clients
        stand.chaos(fail_next=1_000_000, status=503)
        emails = clients.people(EMAILS)
        for person in emails:
            clients.start_one(person)
        tried = "select count(*) from email.claims where state = 'open' and may_have_arrived and lease_until is null"
        eventually(lambda: stand.value(tried), "emails that were tried")
        row.note("503 for emails")
        stand.sandbox.end()
        row.note("the provider is away")
        clients.start(clients.people(EMAILS, CHATS, habits=SILENT))
        tried = "select count(*) from telegram.claims where state = 'waiting' and attempt > 0"
        eventually(lambda: stand.value(tried), "messages that were tried and certainly not sent")
        stand.sandbox.start()
        stand.sandbox.wait_ready()
        row.healed()
        row.judge(unknown=0)


def test_a_late_finish_writes_nothing(single: Rows, tmp_path: Path) -> None:
    """F4 in slow motion: a sender stalls until its lease is over, with a refusal in its hands. Somebody else has asked again
    meanwhile, and the mail was taken: the refusal must not become its end."""
    with single("F4 a sender stalls past its lease with a refusal in its hands") as row:
        stand, clients = row.stand, row.clients
        (person,) = clients.people(1)
        go_on = tmp_path / "go on"
        stand.email.end()
        stand.email.start(FAULT_STALL=f"email.before_settle@{go_on}")
        stand.email.wait_ready()
        stand.chaos(fail_next=1, status=422, name="validation_error", reply_ms=1500)
        clients.start_one(person)
        eventually(lambda: stand.messages(to=person.address), "the second request, after the lease")
        row.note("the sender went on")
        go_on.touch()
        row.healed()
        stand.chaos()
        row.judge(unknown=0)
        assert stand.value("select status from controller.deliveries where user_id = $1", person.id) == "delivered"
        assert any("fence_lost" in line for line in stand.email.words(40))
