"""One process of a system under test: the test decides when it lives, stands still and dies."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

from nurture_local.probes import EVERY
from nurture_local.processes import ChildSpec

from tests.faults.forkserver import Forks, descendants, kill_all

RESTART_PAUSE = 0.2
"""Seconds until a process that ended is started again: the supervisor's first pause."""


class Ready(NamedTuple):
    """What /health/ready said; `problems` has the reasons, or that nobody answered."""

    ok: bool
    problems: tuple[str, ...] = ()


class Process:
    """Runs until told otherwise: whenever it ends, it is started again, as the supervisor would do."""

    def __init__(self, spec: ChildSpec, forks: Forks, log: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.room = spec.name.partition("-")[0]
        self.env = dict(spec.env)
        self.log = log
        self.module = spec.argv[2] if spec.argv[1:2] == ("-m",) else None
        self.port = int(self.env.get("NURTURE_HTTP_PORT", 0))
        self.pid: int | None = None
        self.exits: list[int] = []
        self.forks = forks
        """Who starts it next time: one that stands on another version makes it a process of that version."""
        self._kept = False
        self._changed = threading.Condition()

    def start(self, **once: str) -> None:
        """Start it. `once` is added to the environment of this life only."""
        with self._changed:
            assert self.pid is None, f"{self.name} runs already"
            self._kept = True
            self._begin(once)

    def _begin(self, once: dict[str, str]) -> None:
        account = self.spec.account
        self.pid = self.forks.start(
            log=self.log,
            env={**self.env, **once},
            ended=self._ended,
            module=self.module,
            argv=self.spec.argv,
            cwd=self.spec.cwd,
            uid=account.uid if account else None,
            gid=account.gid if account else None,
        )
        self._changed.notify_all()

    def _ended(self, code: int) -> None:
        with self._changed:
            self.pid = None
            self.exits.append(code)
            self._changed.notify_all()
            if self._kept:
                timer = threading.Timer(RESTART_PAUSE, self._again)
                timer.daemon = True
                timer.start()

    def _again(self) -> None:
        with self._changed:
            if self._kept and self.pid is None:
                self._begin({})

    def restart(self, **once: str) -> None:
        """kill -9 and a start with `once` in its environment; the life after that is an ordinary one."""
        if self.pid is not None:
            self.end()
        self.start(**once)

    def kill9(self) -> int:
        """kill -9, also for the processes below it. It comes back by itself. Returns the pid that died."""
        with self._changed:
            pid, before = self.pid, len(self.exits)
            if pid is None:
                return 0
            kill_all(pid)
            self._changed.wait_for(lambda: len(self.exits) > before, 20)
            return pid

    def end(self) -> None:
        """kill -9 for good."""
        self.leave()
        self.kill9()

    def leave(self) -> None:
        """From now on nobody starts it again when it ends."""
        with self._changed:
            self._kept = False

    def wait_gone(self, within: float = 20) -> None:
        """Wait until it has ended and that is known here."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.pid is None, within), f"{self.name} still runs"

    def term(self, within: float = 30) -> int:
        """The signal that stops it cleanly; it stays down. Returns the exit code."""
        with self._changed:
            self._kept, pid, before = False, self.pid, len(self.exits)
            assert pid is not None, f"{self.name} does not run"
            os.kill(pid, self.spec.stop_signal)
            gone = self._changed.wait_for(lambda: len(self.exits) > before, within)
            assert gone, f"{self.name} did not end within {within:.0f} s of its stop signal"
            return self.exits[-1]

    def stop(self) -> None:
        """SIGSTOP: it stands still and knows nothing of it."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            for one in (self.pid, *descendants(self.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, number)

    def wait_exit(self, exits: int, within: float = 60) -> int:
        """Wait until it has ended so many times in all. Returns the last exit code."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.exits) >= exits, within), (
                f"{self.name} ended {len(self.exits)} times within {within:.0f} s, not {exits}: see {self.log}"
            )
            return self.exits[exits - 1]

    def ready(self, seconds: float = 4) -> Ready:
        """What it says of itself now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            problems = json.loads(answer.read()).get("problems", [])
            return Ready(answer.status == 200, tuple(problems))
        except (OSError, http.client.HTTPException, ValueError):
            return Ready(False, ("no answer",))
        finally:
            connection.close()

    def wait_ready(self, within: float = 60) -> None:
        """Wait until it is up and says that it is ready."""
        deadline = time.monotonic() + within
        pause = threading.Event()
        while not (self.pid is not None and asyncio.run(self.spec.ready())):
            assert time.monotonic() < deadline, (
                f"{self.name} was not ready within {within:.0f} s ({self.ready() if self.port else 'no answer'}): "
                f"the end of {self.log}:\n" + "\n".join(self.words(15))
            )
            pause.wait(EVERY)

    def words(self, lines: int) -> list[str]:
        """The last lines that it said."""
        return self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
