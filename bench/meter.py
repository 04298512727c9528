"""CPU time and memory of processes, read from /proc: the same measure for everything that runs."""

import os
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    # The program's name stands in brackets and may hold blanks; the fields after it are plain.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """A process and its children (PostgreSQL has one for each connection)."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def cpu(pid: int, *, children: bool = False) -> float:
    """CPU seconds of a process so far, all its threads; with `children` also theirs and of those that have ended."""
    fields = _stat(pid)
    total = sum(int(field) for field in fields[11 : 15 if children else 13])
    for child in family(pid)[1:] if children else ():
        try:
            total += sum(int(field) for field in _stat(child)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / TICKS


def peak_mib(pid: int) -> float:
    """The most resident memory that a process has held, MiB."""
    return _field(f"/proc/{pid}/status", "VmHWM:")


def proportional_mib(pid: int) -> float:
    """What a process and its children hold now, shared pages counted once, MiB; 0 where the system does not say."""
    total = 0.0
    for one in family(pid):
        try:
            total += _field(f"/proc/{one}/smaps_rollup", "Pss:")
        except OSError:
            continue
    return total


def _field(path: str, name: str) -> float:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


class Meter:
    """CPU spent by named processes between `start` and `spent`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        # Only PostgreSQL works through children; the supervisor's are counted by their own names.
        return {name: cpu(pid, children=name == "postgres") for name, pid in self._pids.items()}

    def spent(self) -> dict[str, float]:
        """CPU seconds by name."""
        return {name: seconds - self._before[name] for name, seconds in self._now().items()}
