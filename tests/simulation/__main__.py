"""`python -m tests.simulation`: many seeds, then every planted bug. `--seed N` tells one run from beginning to end."""

import argparse
import gc
import itertools
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.mutants import MUTANTS
from tests.simulation.oracle import Violation
from tests.simulation.world import World, run

PAGE = 50
SEARCH = 400
"""Seeds in which a planted bug has to be found."""


class Told(NamedTuple):
    """What some runs came to."""

    counts: Counter[str]
    violations: list[tuple[int, Violation]]


def told(world: World) -> Counter[str]:
    """What happened in a run, in numbers."""
    return Counter({
        "steps": world.steps,
        "deaths": sum(world.deaths.values()),
        "claims": world.oracle.claims,
        "deliveries": len(world.tables.rows("controller.deliveries")),
        "sent": len(world.ledger.effects),
        "unknown": sum(row["status"] == "unknown" for row in world.tables.rows("controller.deliveries")),
        "virtual hours": round(world.loop.time() / 3600),
    })  # fmt: skip


def runs(seeds: range, provider: str = "resend") -> Told:
    counts: Counter[str] = Counter()
    violations: list[tuple[int, Violation]] = []
    for seed in seeds:
        world = run(seed, provider=provider)
        counts += told(world)
        violations += [(seed, one) for one in world.oracle.violations]
    return Told(counts, violations)


def hunt(name: str, first: int, seeds: int = SEARCH) -> tuple[int, Violation] | None:
    """In how many seeds a planted bug is found, and by what."""
    for n in range(seeds):
        world = run(first + n, provider=MUTANTS[name].provider, sabotage=MUTANTS[name])
        if world.oracle.violations:
            return n + 1, world.oracle.violations[0]
    return None


def _many(first: int, count: int) -> bool:
    began = time.perf_counter()
    pages = [range(start, min(start + PAGE, first + count)) for start in range(first, first + count, PAGE)]
    providers = ["smtp" if _flag(page.start, first) else "resend" for page in pages]
    # Runs are short and their workers too: what they leave behind in circles may stay.
    with ProcessPoolExecutor(os.cpu_count(), initializer=gc.set_threshold, initargs=(100_000,)) as pool:
        found = list(pool.map(runs, pages, providers))
        took = time.perf_counter() - began
        print(f"{count} seeds from {first} in {took:.1f} s: {count / took:.0f} seeds/s, {_numbers(found)}")
        violations = [one for page in found for one in page.violations]
        print(f"violations: {len(violations)}")
        for seed, violation in violations[:20]:
            print(f"  --seed {seed}{_flag(seed, first)}: {violation.invariant}: {violation.what}")
        hunts = list(pool.map(hunt, MUTANTS, itertools.repeat(first)))
    for name, caught in zip(MUTANTS, hunts, strict=True):
        print(f"planted {name}: {f'found in {caught[0]} seeds by {caught[1].invariant}' if caught else 'NOT FOUND'}")
    print(f"planted bugs found: {sum(map(bool, hunts))} of {len(MUTANTS)}")
    return not violations and all(hunts)


def _flag(seed: int, first: int) -> str:
    """Of each four pages of seeds one is over SMTP."""
    return " --smtp" if (seed - first) // PAGE % 4 == 3 else ""


def _numbers(found: list[Told]) -> str:
    counts: Counter[str] = sum((page.counts for page in found), Counter())
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _one(seed: int, provider: str, planted: str | None) -> bool:
    world = run(seed, provider=provider, trace=True, sabotage=MUTANTS[planted] if planted else None)
    assert world.trace is not None
    print("\n".join(world.trace))
    print(f"seed {seed}: {_numbers([Told(told(world), [])])}; violations: {len(world.oracle.violations)}")
    return not world.oracle.violations


def main() -> int:
    """0: every promise held and every planted bug was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="tell this run, step by step")
    parser.add_argument("--smtp", action="store_true", help="in this run emails go over SMTP")
    parser.add_argument("--planted", choices=MUTANTS, help="with this bug in it")
    asked = parser.parse_args()
    good = (
        _many(asked.first, asked.seeds)
        if asked.seed is None
        else _one(asked.seed, "smtp" if asked.smtp else "resend", asked.planted)
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
