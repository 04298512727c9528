"""A power cut: every process stands still at one moment, the disks lose what was not synced, and nobody lives on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from nurture_local.processes import started

from tests.faults.block_device import BlockDevice

_PATIENCE = 10.0


def cut(roots: Iterable[int], *devices: BlockDevice, spared: Iterable[int] = ()) -> list[int]:
    """Cut the power of these processes, all that they started, and the devices. Returns the pids that died.

    Everybody is stopped first, so that nothing can be said between the moment of the disks and the end of the processes.
    `spared` processes live elsewhere and notice nothing.
    """
    frozen = freeze(roots, set(spared))
    for device in devices:
        device.cut()
    for pid in frozen:
        _send(pid, signal.SIGKILL)
    _until(lambda: not any(started(pid) for pid in frozen), "these outlive a SIGKILL")
    return frozen


def freeze(roots: Iterable[int], spared: set[int]) -> list[int]:
    """SIGSTOP whole families, parents first: a stopped parent starts no child behind our back."""
    stopped: list[int] = []
    generation = [pid for pid in roots if pid not in spared]
    while generation:
        for pid in generation:
            _send(pid, signal.SIGSTOP)
        _until(lambda living=generation: all(_fields(pid)[0] in "TtZX" for pid in living), "these do not stop")
        stopped += generation
        generation = [pid for pid in _children(set(generation)) if pid not in spared]
    return stopped


def _children(parents: set[int]) -> list[int]:
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if int(_fields(pid)[1]) in parents]


def _fields(pid: int) -> list[str]:
    """State and parent's pid, from what follows the program's name in brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return ["X", "0"]


def _until(done: Callable[[], bool], otherwise: str) -> None:
    tick, deadline = threading.Event(), time.monotonic() + _PATIENCE
    while not done():
        assert time.monotonic() < deadline, otherwise
        tick.wait(0.005)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
