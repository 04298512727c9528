"""A short turn of the simulation: some seeds keep every promise, each planted bug is found, and a seed is a run."""

import subprocess
import sys

import pytest

from tests.simulation.__main__ import hunt, runs
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import run


@pytest.mark.parametrize(("first", "provider"), [(0, "resend"), (1000, "resend"), (0, "smtp"), (1000, "smtp")])
def test_promises_hold(first: int, provider: str) -> None:
    told = runs(range(first, first + 30), provider)
    assert not told.violations, f"python -m tests.simulation --seed {told.violations[0][0]} # {provider}"
    # A run in which nothing happens keeps every promise.
    assert told.counts["sent"] > 100 and told.counts["deaths"] > 100 and told.counts["unknown"] > 10


@pytest.mark.parametrize("seed", [5555, 5678])
def test_runs_that_once_broke_a_promise(seed: int) -> None:
    """A sweep and a refill of the outbox, each waiting for what the other had locked."""
    assert not runs(range(seed, seed + 1), "resend").violations


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    found = hunt(name, MUTANTS[name].near)
    assert found is not None
    assert found[1].invariant in MUTANTS[name].caught_by


def test_a_seed_is_a_run() -> None:
    """Also in a process that hashes otherwise, and after other runs."""
    run(5)
    here = run(4, trace=True).trace
    assert here is not None
    there = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "4"],
        env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.splitlines()[:-1] == here
