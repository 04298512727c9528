"""F29: workers of three versions of the contracts in one system, replaced one by one under load."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import earlier, later
from tests.faults.conftest import Rows
from tests.faults.forkserver import ROOT, Forks
from tests.faults.process import Process
from tests.faults.stand import ROOMS, Stand, eventually
from tests.faults.workload import Load, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("double")]

PREVIOUS = ROOT / "tests" / "faults" / "previous" / "nurture_contracts-0.1.0-py3-none-any.whl"
PEOPLE = 60


@contextlib.contextmanager
def versions(folder: Path) -> Iterator[tuple[Forks, Forks]]:
    """Where workers of the previous and of the next version come from."""
    with contextlib.ExitStack() as stack:
        packages = (earlier.write(PREVIOUS, folder / "earlier"), later.write(folder / "later"))
        yield tuple(stack.enter_context(contextlib.closing(Forks(first))) for first in packages)  # type: ignore[misc]


def become(process: Process, forks: Forks, **env: str) -> None:
    """A clean stop, and a start as another version."""
    assert process.term() == 0
    process.forks = forks
    process.env.update(env)
    process.start()


def heard(stand: Stand) -> set[str]:
    """Commands whose new message was heard."""
    lines = [line for process in stand.room("scoring") for line in process.words(100_000) if later.HEARD in line]
    return {json.loads(line)["command_id"] for line in lines}


def test_versions_side_by_side(double: Rows, tmp_path: Path) -> None:
    with (
        double("F29 previous and next contracts side by side, then an upgrade") as row,
        versions(tmp_path) as (old, new),
    ):
        stand, clients = row.stand, row.clients
        present = stand.gateway.forks
        pairs = [stand.room(room) for room in ROOMS]
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda pair: become(pair[0], old), pairs))
            for pair in pairs:
                pair[0].wait_ready()
            clients.publish(sequence("upgrade"))
            with Load(clients, stand, clients.people(PEOPLE, PEOPLE, habits="2456"), "upgrade", row.seed) as load:
                for place, (_, after) in enumerate(pairs):
                    # The newer one of a pair comes while the older one works; then the older one goes as well.
                    become(after, new, FAULT_LATER="1")
                    row.note(f"{after.name} is of the next version")
                    if place % 2:
                        after.wait_ready()
                eventually(lambda: load.left < PEOPLE, "half of the people to be started")
                for before, after in pairs:
                    after.wait_ready()
                    become(before, new, FAULT_LATER="1")
                    row.note(f"{before.name} is of the next version")
                stand.all_ready()
            row.healed()
            said = {
                json.loads(bytes(one["payload"]))["command_id"]
                for one in stand.rows("select payload from controller.outbox where subject = $1", later.SUBJECT)
            }
            assert said, "the next version said nothing new"
            eventually(lambda: said <= heard(stand), lambda: f"the next version to hear {said - heard(stand)}")
            for room in ("email", "telegram"):
                carried = f"select count(*) from {room}.outbox where position($1::bytea in payload) > 0"
                assert stand.value(carried, later.FIELD.encode()), f"no item of {room} carried the new field"
            row.judge(unknown=0)
            letters = stand.rows("select reason from public.dead_letters where at > now() - interval '10 minutes'")
            assert not letters, letters
        finally:
            for process in stand.services:
                process.end()
                process.forks = present
                process.env.pop("FAULT_LATER", None)
                process.start()
            stand.all_ready()
