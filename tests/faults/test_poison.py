"""F26: messages that nobody can read. Each is set aside with its reason, and those behind it come through."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import nats
import pytest
from nurture_contracts.topology import CONSUMERS

from tests.faults.conftest import Rows
from tests.faults.stand import Stand, eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

LARGEST = 1_000_000
"""Bytes; the server's own limit for a message is a little above."""


def publish(stand: Stand, messages: list[tuple[str, bytes, dict[str, str]]]) -> None:
    """Put these on the bus, as a stranger might."""

    async def run() -> None:
        client = await nats.connect(stand.nats_url)
        try:
            for subject, body, headers in messages:
                await client.jetstream().publish(subject, body, headers=headers)
        finally:
            await client.close()

    asyncio.run(run())


def test_messages_that_nobody_can_read(single: Rows) -> None:
    with single("F26 unreadable, unknown and oversized messages") as row:
        stand, clients = row.stand, row.clients
        before = stand.value("select count(*) from public.dead_letters")
        mark = uuid4().hex

        def page(**fields: Any) -> bytes:
            return json.dumps({"page_id": str(uuid4()), "items": [], "note": mark, **fields}).encode()

        poison: list[tuple[str, bytes, dict[str, str]]] = [
            ("nurture.cmd.email.send_emails", b"{not json " + mark.encode(), {}),
            ("nurture.cmd.email.send_emails", b"\xff\xfe" + mark.encode(), {}),
            ("nurture.cmd.email.send_emails", page(items=["nobody"]), {}),
            ("nurture.cmd.telegram.send_telegrams", b'"' + mark.encode() * (LARGEST // len(mark)) + b'"', {}),
            ("nurture.cmd.telegram.send_telegrams", b"[" * 100_000 + mark.encode(), {}),
            ("nurture.cmd.controller.start_sequences", json.dumps({"command_id": mark}).encode(), {}),
            (
                "nurture.evt.email.settled",
                json.dumps({"claim_id": str(uuid4()), "items": [{"outcome": mark}]}).encode(),
                {},
            ),
            ("nurture.cmd.scoring.record_events", json.dumps({"items": mark}).encode(), {}),
        ]
        poison += [
            # A later version that says itself that we would misread it, and one that says nothing sensible.
            ("nurture.cmd.email.send_emails", page(), {"Nurture-Schema": "99"}),
            ("nurture.evt.email.observed", page(), {"Nurture-Schema": "as it pleases"}),
        ]
        # What a later version says beside what we know is left alone.
        later = [
            ("nurture.cmd.email.send_emails", page(priority={"of": "a later version"}), {"Nurture-Schema": "1"}),
            ("nurture.evt.email.observed", page(source=mark), {}),
            (f"nurture.evt.email.{mark}", b"a message that nobody hears", {}),
        ]
        publish(stand, poison + later)
        row.note(f"{len(poison)} that cannot be read, {len(later)} of a later version")
        row.faults = len(poison) + len(later)
        clients.start(clients.people(6, 6))
        row.healed()
        # One for each who hears it.
        wanted = sum(one.message.subject == subject for subject, _, _ in poison for one in CONSUMERS)
        letters = stand.rows("select reason from public.dead_letters order by at desc limit $1", wanted)
        assert stand.value("select count(*) from public.dead_letters") - before == wanted
        assert all(row["reason"] for row in letters)
        row.judge(unknown=0)
        eventually(lambda: not stand.unready(), "everybody to be ready")
