"""F3, F4: clean stops under load, processes that stand still past their leases."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Rows
from tests.faults.process import Process
from tests.faults.stand import QUICK, ROOMS, eventually

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("double")]

SENDING = (
    "select (select count(*) from email.claims where state = 'open' and lease_until > now())"
    " + (select count(*) from telegram.claims where state = 'sending')"
)


def test_a_deploy_under_load(double: Rows) -> None:
    """SIGTERM for both replicas of one room after the other: exit code 0, nothing is left in flight, nothing is unknown."""
    with double("F3 SIGTERM of every room under load") as row:
        stand, clients = row.stand, row.clients
        stand.chaos(latency_ms=250, telegram={"latency_ms": 250})
        people = clients.people(60, 60)
        for number, room in enumerate(ROOMS):
            share = [person for place, person in enumerate(people) if place % len(ROOMS) == number]
            clients.start(share)
            eventually(lambda: stand.value(SENDING) or not stand.unfinished(), "something in flight")
            replicas = stand.room(room)
            row.note(f"SIGTERM {room}")
            with ThreadPoolExecutor(len(replicas)) as pool:
                codes = list(pool.map(Process.term, replicas))
            assert codes == [0, 0], f"{room} ended with {codes}"
            if room in ("email", "telegram"):
                schema = "email.claims where state = 'open' and lease_until > now()"
                schema = schema if room == "email" else "telegram.claims where state = 'sending'"
                assert not stand.value(f"select count(*) from {schema}"), f"{room} left something in flight"
            for one in replicas:
                one.start()
            for one in replicas:
                one.wait_ready()
        row.healed()
        stand.chaos()
        row.judge(unknown=0)


def test_processes_stand_still_past_their_leases(double: Rows) -> None:
    """SIGSTOP of one of each, with calls in flight, until others have taken over; then they go on as if nothing had been."""
    assert QUICK.lease is not None
    with double("F4 SIGSTOP past the lease, then SIGCONT") as row:
        stand, clients = row.stand, row.clients
        stand.chaos(latency_ms=400, telegram={"latency_ms": 400})
        clients.start(clients.people(40, 40))
        eventually(lambda: stand.value(SENDING), "something in flight")
        stopped = [stand.room(room)[0] for room in ROOMS]
        for process in stopped:
            process.stop()
            row.note(f"SIGSTOP {process.name}")
            row.count_kill(process)
        began = time.monotonic()
        row.broken(stopped, "no answer")
        lost = "select count(*) from email.claims where state = 'open' and lease_until < now() - interval '2 s'"
        eventually(
            lambda: time.monotonic() - began > QUICK.lease * 1.5 and not stand.value(lost), "others to take over"
        )
        for process in stopped:
            process.cont()
            row.note(f"SIGCONT {process.name}", fault=False)
        row.healed()
        stand.chaos()
        row.judge()
