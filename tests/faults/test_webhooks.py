"""F23: what providers report comes three times, shuffled, before the reply to its own call, forged and stale."""

import contextlib
import random
import sqlite3
import time
from collections import Counter

import pytest
from nurture_local.sandbox.ledger import Due
from nurture_local.sandbox.webhooks import Signer, payload
from nurture_local.verify import checks

from tests.faults.conftest import Rows
from tests.faults.stand import Stand, eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

ACTS = ("open", "click", "bounce", "complain", "ignore")
EMAILS, CHATS = 20, 10
TRIES = 5
_DUE = (
    "select e.seq, e.webhook_id, e.kind, e.via, e.link, e.at, e.happens_at, e.attempts, m.id, m.at, m.sender, m.subject, "
    "m.envelope, m.headers, m.tags, null from events e join messages m on m.seq = e.message_seq "
    "where e.via = 'webhook' and e.done_at is null"
)


def reports(stand: Stand) -> list[Due]:
    """Webhooks that the provider has not posted yet."""
    with contextlib.closing(sqlite3.connect(f"file:{stand.ledger_path}?mode=ro", uri=True)) as ledger:
        return [Due(*row) for row in ledger.execute(_DUE)]


def post(stand: Stand, headers: dict[str, str], body: bytes) -> int:
    headers = {**headers, "content-type": "application/json", "Authorization": ""}
    return stand.gateways[0].post("/admin/api/email/webhook", content=body, headers=headers).status_code


def test_reports_come_three_times_shuffled_and_early(single: Rows) -> None:
    with single("F23 webhooks three times, shuffled, before the reply") as row:
        stand, clients = row.stand, row.clients
        signer = Signer(stand.sandbox.env["RESEND_WEBHOOK_SECRET"])
        # The reply takes longer than the reports: they come for a mail that is still being sent.
        stand.chaos(reply_ms=1200, webhooks="off", telegram={"reply_ms": 300})
        open_claims, started = "select count(*) from email.claims where state = 'open'", 0
        # Again where this machine stood still for so long that the reply was first.
        while started == 0 or (not stand.value(open_claims) and started < TRIES * EMAILS):
            clients.start(clients.people(EMAILS, CHATS, acts=ACTS, habits="3456"))
            started += EMAILS
            eventually(
                lambda wanted=started: len({event.email_id for event in reports(stand)}) >= wanted,
                "the provider's reports",
            )
        assert stand.value(open_claims), "the reply was first"
        copies = reports(stand) * 2
        random.Random(row.seed).shuffle(copies)
        for event in copies:
            body = payload(event, tags_as_array=event.seq % 2 == 0)
            assert post(stand, signer.headers(event.webhook_id, int(time.time()), body), body) == 200
        row.note(f"{len(copies)} reports before the reply")
        row.faults += len(copies)
        stand.chaos(reply_ms=0, webhooks="shuffle", telegram={"reply_ms": 0})
        row.healed()
        history = row.judge(unknown=0)
        # Each of them counts once, also in the numbers that pages show.
        counted = checks.c11_analytics(history)
        assert counted.of and not counted.bad, counted.bad
        row.note(f"{counted.of} counters, as the log has them", fault=False)
        new = {one.id for one in row.new(history)}
        kinds = Counter((one.delivery_id, one.kind) for one in history.events if one.delivery_id in new)
        assert max(count for (_, kind), count in kinds.items() if kind in ("delivered", "bounced", "complained")) == 1
        statuses = {one.status for one in row.new(history) if one.channel == "email"}
        assert statuses == {"opened", "clicked", "bounced", "complained", "delivered"}


def test_forged_and_stale_reports_change_nothing(single: Rows) -> None:
    with single("F23 webhooks forged and stale") as row:
        stand, clients = row.stand, row.clients
        stand.chaos(webhooks="off")
        clients.start(clients.people(4))
        (event, *_) = eventually(lambda: reports(stand), "a report")
        true, false = Signer(stand.sandbox.env["RESEND_WEBHOOK_SECRET"]), Signer("whsec_" + "YW5vdGhlciBzZWNyZXQ=")
        body, now = payload(event, tags_as_array=False).replace(b"email.sent", b"email.complained"), int(time.time())
        good = true.headers("msg_forged", now, body)
        refused = {
            "another secret": (false.headers("msg_forged", now, body), body),
            "another body": (good, body + b" "),
            "another id": (good | {"svix-id": "msg_other"}, body),
            "too old": (true.headers("msg_forged", now - 600, body), body),
            "from the future": (true.headers("msg_forged", now + 600, body), body),
            "no signature": ({}, body),
        }
        for what, (headers, sent) in refused.items():
            assert post(stand, headers, sent) == 401, what
            row.note(what)
        garbage = b"no report at all"
        assert post(stand, true.headers("msg_garbage", now, garbage), garbage) == 200
        row.note("garbage, signed")
        stand.chaos()
        row.healed()
        row.judge(unknown=0)
        complained = "select count(*) from controller.deliveries where complained_at is not null and provider_id = $1"
        assert not stand.value(complained, event.email_id)
