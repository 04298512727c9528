"""F32: everything is gone at one moment, services, NATS and PostgreSQL; started again, everything drains, and nothing is lost."""

import time
from pathlib import Path

import pytest

from tests.faults import block_device
from tests.faults.block_device import BlockDevice
from tests.faults.conftest import Rows
from tests.faults.forkserver import Forks
from tests.faults.row import Row
from tests.faults.stand import eventually, standing
from tests.faults.workload import Clients, Load, sequence

pytestmark = pytest.mark.faults

PEOPLE = 60
OFF = 1.0
"""Seconds without power, with clients that go on asking."""
UNDER_WAY = (
    "select (select count(*) from email.claims where state = 'open')"
    " + (select count(*) from telegram.claims where state = 'sending')"
)


def in_flight(row: Row, load: Load) -> bool:
    """Whether a call is under way; a quick machine may be through with everybody, and gets more to do."""
    if not load.left and not row.stand.unfinished():
        row.clients.start(row.clients.people(4, 4, acts=("open", "ignore"), habits="24"), "all_off")
    return bool(row.stand.value(UNDER_WAY))


def off_and_on(row: Row, rounds: int, *disks: BlockDevice) -> None:
    """Under load, with calls in flight, as often as asked for; then it drains by itself, and every check is asked."""
    stand, clients = row.stand, row.clients
    clients.publish(sequence("all_off", fallback="auto"))
    stand.chaos(latency_ms=150, telegram={"latency_ms": 150})
    people = clients.people(PEOPLE, PEOPLE, acts=("open", "click", "bounce", "ignore"), habits="24567")
    with Load(clients, stand, people, "all_off", row.seed) as load:
        for number in range(rounds):
            wanted = PEOPLE * 2 * (rounds - number) // (rounds + 1)
            eventually(lambda wanted=wanted: load.left < wanted and in_flight(row, load), "calls in flight")
            row.note("everything is off")
            row.count_kill(stand.telegram)
            began = time.monotonic()
            stand.off(*disks)
            for disk in disks:
                disk.boot()
            # Nobody answers: whoever asks now asks again.
            eventually(lambda began=began: time.monotonic() - began > OFF, "a second without power")
            stand.on()
            row.note("everything is on again", fault=False)
    row.healed()
    stand.chaos()
    row.judge(messages=True)
    assert clients.counts().get("ok", 0) > 10, clients.counts()


@pytest.mark.xdist_group("single")
def test_every_process_is_killed_at_once(single: Rows) -> None:
    with single("F32 kill -9 of services, NATS and PostgreSQL at once, twice") as row:
        off_and_on(row, 2)


@block_device.alone
def test_the_power_of_the_whole_machine_goes(forks: Forks, tmp_path: Path) -> None:
    """The same with what was not synced gone too: the bus and the record come back from one disk, each as far as it was."""
    with (
        block_device.block_device(384) as disk,
        standing(tmp_path, forks, disk=disk.folder) as stand,
        Row(stand, Clients(stand), "F32 the power of a whole machine goes, twice") as row,
    ):
        assert stand.plan.home and stand.plan.home.folder.is_relative_to(disk.folder)
        off_and_on(row, 2, disk)
