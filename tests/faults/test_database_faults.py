"""F15 and F16: the reply to a COMMIT is lost, PostgreSQL stands still, its connections are black holes."""

import time

import pytest

from tests.faults.conftest import Rows
from tests.faults.stand import eventually
from tests.faults.test_bus_faults import STILL, begin, bystanders

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("wired")]

COMMITTED = b"COMMIT\x00"
"""What PostgreSQL says when it has committed."""


def test_replies_to_commits_are_lost(wired: Rows) -> None:
    """Nobody knows whether it was committed, and it was: whoever asks again finds it done."""
    with wired("F15 replies to COMMIT lost") as row:
        wire = row.stand.wires["postgres"].down
        for _ in range(8):
            lost = wire.cut(COMMITTED)
            begin(row, 2)
            eventually(lost.is_set, "a commit")
            row.note("the reply to a COMMIT is lost with its connection")
        row.healed()
        # A volley whose settlement was committed unheard is known from its rows; one that was claimed unheard may be unknown.
        row.ambiguous["telegram"] += 4 * 8
        row.judge(messages=True)


def test_postgres_stands_still(wired: Rows) -> None:
    with wired("F16 PostgreSQL SIGSTOP 5 s") as row:
        stand = row.stand
        begin(row)
        stand.postgres.stop()
        row.note("SIGSTOP postgres and its backends")
        began = time.monotonic()
        row.broken(stand.services, "the database does not answer")
        while time.monotonic() - began < STILL:
            assert not stand.gateway.ready().ok
        stand.postgres.cont()
        row.healed()
        row.judge(unknown=0)


def test_postgres_is_a_black_hole(wired: Rows) -> None:
    with wired("F16 PostgreSQL black-holed both ways 5 s") as row:
        wire = row.stand.wires["postgres"]
        begin(row)
        wire.hold()
        row.note("PostgreSQL is a black hole")
        row.broken(row.stand.services, "the database does not answer")
        wire.heal()
        bystanders(row, 0.5)
        row.healed()
        row.judge(unknown=0)
