"""What the rows lean on: processes that die and come back as told, and points that are really in the code."""

import importlib
import os
import signal
import threading
from pathlib import Path

import pytest
from nurture_chassis.queries import Queries

from tests.faults import crashes, haste, mutants
from tests.faults.forkserver import Forks, descendants
from tests.faults.haste import Haste


@pytest.mark.parametrize("name", crashes.POINTS)
def test_every_crash_point_is_in_the_code(name: str) -> None:
    point = crashes.POINTS[name]
    owner = getattr(importlib.import_module(point.module), point.owner)
    assert callable(getattr(owner, point.method))


def test_a_parameter_that_is_gone_is_noticed() -> None:
    def function(a: int, b: float = 1.0, *, c: float = 2.0) -> tuple[float, float]:
        return b, c

    haste._default(function, b=3.0, c=4.0)
    assert function(0) == (3.0, 4.0)
    with pytest.raises(LookupError, match="gone"):
        haste._default(function, gone=1.0)


def test_a_lease_outlives_the_longest_call() -> None:
    from tests.faults.stand import QUICK

    assert isinstance(QUICK, Haste) and QUICK.lease and QUICK.call and QUICK.margin
    assert QUICK.lease > QUICK.call + QUICK.margin


@pytest.mark.parametrize("edit", mutants.EDITS.values(), ids=mutants.EDITS)
def test_what_a_planted_bug_replaces_stands_in_its_query_once(edit: mutants.Edit) -> None:
    assert Queries.of(edit.package, "public")[edit.query].count(edit.old) == 1


@pytest.mark.parametrize("name", mutants.PLANTED)
def test_every_planted_bug_says_what_it_is(name: str) -> None:
    assert (mutants.PLANTED[name].__doc__ or "").strip()


@pytest.mark.faults
def test_programs_end_as_they_are_told_and_with_their_server(tmp_path: Path) -> None:
    forks = Forks()
    ends: dict[str, int] = {}
    ended = threading.Condition()

    def told(name: str, code: int) -> None:
        with ended:
            ends[name] = code
            ended.notify_all()

    def start(name: str, *argv: str) -> int:
        return forks.start(
            log=tmp_path / f"{name}.log", env={"PATH": "/usr/bin:/bin"}, ended=lambda code: told(name, code), argv=argv
        )

    try:
        killed = start("killed", "/bin/sleep", "600")
        start("said", "/bin/sh", "-c", "echo something; exit 3")
        parent = start("parent", "/bin/sh", "-c", "sleep 601 & wait")
        os.kill(killed, signal.SIGKILL)
        with ended:
            assert ended.wait_for(lambda: ends == {"killed": -9, "said": 3}, 30), ends
            assert (tmp_path / "said.log").read_text() == "something\n"
            while not (below := descendants(parent)):
                ended.wait(0.01)
    finally:
        forks.close()
    # Whatever is left of it is a corpse that nobody has collected.
    states = [Path(f"/proc/{pid}/stat") for pid in (parent, *below)]
    assert all(not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "Z" for path in states)
