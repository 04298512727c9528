"""A service as `python -m` runs it, with methods of it made to fail: `python -m tests.faults.child nurture_email`.

Production code has no hooks for tests. What is changed here is named in the environment, and only in this process:

FAULT_CRASH    `<point>[:<n>]`: the process ends at the n-th time that it comes to this point (crashes.POINTS)
FAULT_STALL    `<point>@<path>`: the first time there waits until the path exists
FAULT_HASTE    JSON of haste.Haste: leases, time-outs and ticks that a test does not want to wait for
FAULT_MUTANT   the name of a planted bug (mutants.PLANTED)
FAULT_LATER    anything: the worker stands on a later version of the contracts (later.py) and makes use of it
"""

import os
import runpy
import sys

from tests.faults import crashes, haste, later, mutants


def run(module: str) -> int:
    """Change what was asked for, then run `module` as a program. Returns its exit code."""
    if crash := os.environ.pop("FAULT_CRASH", ""):
        crashes.arm(crash)
    if stall := os.environ.pop("FAULT_STALL", ""):
        crashes.stall(stall)
    if settings := os.environ.pop("FAULT_HASTE", ""):
        haste.apply(module, settings)
    if mutant := os.environ.pop("FAULT_MUTANT", ""):
        mutants.plant(mutant)
    if os.environ.pop("FAULT_LATER", ""):
        later.add(module)
    sys.argv = [module]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
