"""What a child process is, and which process a recorded pid still means."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct


class Stage(IntEnum):
    """Children start stage by stage; they stop in the reverse order."""

    DATABASE = 0
    BUS = 1
    PROVIDER = 2
    SERVICE = 3
    GATEWAY = 4


SERVERS = frozenset({Stage.DATABASE, Stage.BUS, Stage.PROVIDER})
"""What starts before the migrations run."""


class Account(NamedTuple):
    """A user of the operating system under which a child runs."""

    uid: int
    gid: int
    name: str


class ChildSpec(Struct, frozen=True, kw_only=True):
    """How to start one child, how to see that it is ready, and the signal that stops it cleanly.

    `env` is the whole environment. `account` is None for our own user.
    """

    name: str
    stage: Stage
    argv: tuple[str, ...]
    env: dict[str, str]
    ready: Callable[[], Awaitable[bool]]
    cwd: Path | None = None
    account: Account | None = None
    stop_signal: int = signal.SIGTERM


class Recorded(Struct, frozen=True):
    """A pid together with its start, without which a pid soon means another process."""

    pid: int
    started: str


def started(pid: int) -> str | None:
    """When the process with this pid began, in the system's own words; None when there is none (or only a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    except (ProcessLookupError, PermissionError):
        return None
    # The second field is the program's name in brackets and may hold blanks; the fields after it are plain.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _started_by_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def record(pid: int) -> Recorded | None:
    start = started(pid)
    return Recorded(pid, start) if start else None


def alive(recorded: Recorded | None) -> bool:
    """Whether the very process that was recorded still runs."""
    return recorded is not None and started(recorded.pid) == recorded.started


def end(recorded: Recorded, number: int, seconds: float) -> None:
    """Send `number` to a process that is not our child, wait up to `seconds`, then kill it."""
    if not alive(recorded):
        return
    for send in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(recorded.pid, send)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive(recorded):
                return
            time.sleep(0.02)
