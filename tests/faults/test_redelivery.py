"""F27: whoever handles messages is slower than the patience of the bus, so that all of them come again and again."""

import asyncio
import contextlib
from collections.abc import Iterator

import asyncpg
import msgspec
import pytest

from tests.faults.conftest import Rows
from tests.faults.stand import QUICK, Stand, eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("double")]

PEOPLE = 40
MOST = 8
TABLES = "email.pages, telegram.pages, controller.start_jobs, controller.delivery_events"


@contextlib.contextmanager
def locked(stand: Stand, tables: str) -> Iterator[None]:
    """Nobody gets at these tables meanwhile."""
    with asyncio.Runner() as runner:
        connection: asyncpg.Connection = runner.run(asyncpg.connect(stand.admin_url))
        try:
            runner.run(connection.execute(f"begin; lock table {tables} in access exclusive mode"))
            yield
            runner.run(connection.execute("commit"))
        finally:
            runner.run(connection.close())


def patience(stand: Stand, haste: str, ack_wait: float | None) -> None:
    """Let the controllers give every consumer other patience."""
    assert ack_wait is not None
    for process in stand.room("controller"):
        process.env["FAULT_HASTE"] = haste
        process.restart()
    for process in stand.room("controller"):
        process.wait_ready()
    eventually(
        lambda: all(one["config"]["ack_wait"] == ack_wait * 1e9 for one in stand.jsz().values()), "the other patience"
    )


def redelivered(stand: Stand) -> int:
    """How many messages are under way for a second time or more. Never are more under way than a consumer allows."""
    consumers = stand.jsz()
    busy = {name: one["num_ack_pending"] for name, one in consumers.items() if one["num_ack_pending"] > MOST}
    assert not busy, f"more than {MOST} under way: {busy}"
    return sum(one["num_redelivered"] for one in consumers.values())


def test_messages_come_again_and_again(double: Rows) -> None:
    with double("F27 a redelivery storm: ack_wait 1 s, and tables that are locked for longer") as row:
        stand, clients = row.stand, row.clients
        usual = stand.controller.env["FAULT_HASTE"]
        storm = msgspec.structs.replace(QUICK, ack_wait=1.0, max_ack_pending=MOST)
        people = clients.people(PEOPLE, PEOPLE, acts=("open", "ignore"), habits="245")
        try:
            patience(stand, msgspec.json.encode(storm).decode(), 1.0)
            for place in range(4):
                with locked(stand, TABLES):
                    clients.start(people[place::4])
                    row.note("tables are locked")
                    row.faults += eventually(lambda: redelivered(stand), "messages to come again")
                eventually(lambda: not redelivered(stand), "the storm to pass")
        finally:
            patience(stand, usual, QUICK.ack_wait)
        row.healed()
        row.judge(unknown=0)
