"""F7 to F11: NATS stands still, loses its words, its store or its memory; rows bring everything back."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Rows
from tests.faults.row import Row
from tests.faults.stand import Stand, eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("wired")]

PEOPLE = 15
STILL = 5.0
ALARM = 15.0
"""Seconds within which a lost or rewound store has to be noticed: the topology is looked after every 5 s."""


def store(stand: Stand) -> Path:
    return stand.data.path / "nats" / "store"


def begin(row: Row, people: int = PEOPLE) -> None:
    """Some people of each channel, in two commands."""
    found = row.clients.people(people, people, acts=("open", "click", "ignore"), habits="245")
    row.clients.start(found[::2])
    row.clients.start(found[1::2])


def bystanders(row: Row, seconds: float, act: Callable[[], None] = lambda: None) -> None:
    """Start somebody every quarter of a second for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for person in row.clients.people(1, 1):
            row.clients.start_one(person)
        act()


def test_nats_stands_still(wired: Rows) -> None:
    with wired("F7 nats-server SIGSTOP 5 s") as row:
        stand = row.stand
        begin(row)
        stand.nats.stop()
        row.note("SIGSTOP nats")
        began = time.monotonic()
        bystanders(row, STILL)
        assert time.monotonic() - began >= STILL
        stand.nats.cont()
        row.healed()
        # Publishes that timed out may have been stored: the same id again is no second message.
        row.judge(unknown=0, messages=True)


def test_acknowledgements_of_publishes_are_lost(wired: Rows) -> None:
    with wired("F8 PubAcks lost") as row:
        lost = []
        for _ in range(6):
            lost.append(row.stand.wires["nats"].down.cut(b'{"stream":"'))
            begin(row, 2)
            eventually(lost[-1].is_set, "a publish's acknowledgement")
            row.note("a PubAck and its connection are lost")
        row.healed()
        row.judge(unknown=0, messages=True)


def test_connections_are_half_open(wired: Rows) -> None:
    with wired("F9 NATS and the provider black-holed both ways 5 s") as row:
        wires = row.stand.wires
        begin(row)
        for name in ("nats", "provider"):
            wires[name].hold()
            row.note(f"{name} is a black hole")
        bystanders(row, STILL)
        for name in ("nats", "provider"):
            wires[name].heal()
        # A call that hung in the hole may have been written to it.
        row.healed()
        held = row.stand.value(
            "select count(*) from telegram.claims where outcome = 'unknown' and reason in ('timeout', 'ReadTimeout')"
        )
        row.ambiguous["telegram"] += held
        row.judge(messages=True)


def test_connections_are_reset(wired: Rows) -> None:
    with wired("F9 connections to NATS and PostgreSQL reset, and refused for 3 s") as row:
        wires = row.stand.wires
        begin(row)
        for name in ("nats", "postgres"):
            wires[name].refuse()
            row.note(f"{name} refuses")
        row.broken([row.stand.email], "NATS")
        row.broken([row.stand.gateway], "database")
        for name in ("nats", "postgres"):
            wires[name].heal()
        row.healed()
        row.judge(unknown=0)


def test_the_store_is_wiped(wired: Rows) -> None:
    """Topology and pending work come back from PostgreSQL, and nothing is sent twice."""
    with wired("F10 the JetStream store is wiped under load") as row:
        stand = row.stand
        begin(row)
        stand.nats.end()
        row.note("kill -9 nats, and its store is gone")
        shutil.rmtree(store(stand))
        bystanders(row, 1.0)
        row.broken(stand.services, "NATS")
        stand.nats.start()
        stand.nats.wait_ready()
        bystanders(row, 1.0)
        eventually(lambda: len(stand.jsz()) > 20, "every consumer to be there again", within=ALARM)
        row.healed()
        row.judge(unknown=0)


@pytest.mark.parametrize("part", ["all of it", "its messages"])
def test_the_store_is_an_older_one(wired: Rows, part: str) -> None:
    """A copy is put back. All of it: streams and consumers forget the same; only messages: consumers are ahead of them."""
    with wired(f"F11 an older copy of {part} of the JetStream store") as row:
        stand = row.stand
        row.clients.start(row.clients.people(2, 2))
        row.healed()
        assert stand.nats.term() in (0, 1)
        kept = stand.folder / f"kept {part}"
        shutil.copytree(store(stand), kept)
        stand.nats.start()
        stand.nats.wait_ready()
        begin(row)
        eventually(
            lambda: stand.value("select count(*) from telegram.claims where state = 'settled'"), "something to lose"
        )
        stand.nats.end()
        row.note(f"kill -9 nats, and an older copy of {part}")
        if part == "all of it":
            shutil.rmtree(store(stand))
            shutil.copytree(kept, store(stand))
        else:
            for messages in kept.rglob("msgs"):
                now = store(stand) / messages.relative_to(kept)
                shutil.rmtree(now)
                shutil.copytree(messages, now)
        stand.nats.start()
        stand.nats.wait_ready()
        bystanders(row, 2.0)
        row.healed()
        row.judge(unknown=0)
