"""One child process: started, seen to become ready, started again when it dies, stopped when told."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Literal, Protocol

from nurture_local.probes import EVERY
from nurture_local.processes import ChildSpec

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
STEADY = 30.0
"""Seconds after which a crash counts as the first one again."""
STOP_PATIENCE = 15.0
_HURRY = 30.0
"""Seconds during which readiness is asked every 50 ms; after that once a second."""

State = Literal["starting", "ready", "restarting", "stopped"]


class CannotStart(Exception):
    """A child died again and again before it was ever ready; the argument is its name."""


class Output(Protocol):
    """Where a child's words go."""

    def open(self, name: str) -> int:
        """A file descriptor for stdout and stderr, or subprocess.PIPE."""
        ...

    def close(self, handle: int) -> None: ...

    async def carry(self, name: str, stream: asyncio.StreamReader) -> None:
        """Read a piped child to its end."""
        ...


def pause(crashes: int) -> float:
    """Seconds before the next start after so many crashes in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (max(crashes, 1) - 1))


class Child:
    """Runs `spec` until stopped. `changed` is called whenever the pid or the state changes."""

    def __init__(
        self, spec: ChildSpec, output: Output, report: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.pid: int | None = None
        self.crashes = 0
        self.restarts = 0
        self.failure: Exception | None = None
        self.settled = asyncio.Condition()
        self._output = output
        self._report = report
        self._changed = changed
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._let_go = asyncio.Event()

    def start(self) -> None:
        """Begin; nothing happens when it runs already."""
        if self._task is None or self._task.done():
            self._wanted = True
            self.crashes = 0
            self.failure = None
            self._let_go.clear()
            self._task = asyncio.create_task(self._run(), name=f"child {self.spec.name}")

    async def stop(self, seconds: float = STOP_PATIENCE) -> None:
        """Ask the process to end, wait up to `seconds`, then kill it and whatever it started."""
        self._wanted = False
        self._let_go.set()
        if self._task is None:
            return
        self._signal(self.spec.stop_signal)
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        if not done:
            self._report(f"{self.spec.name} did not stop within {seconds:g} s and was killed")
            self._kill()
            await asyncio.wait({self._task})

    async def until_ready(self, crashes_allowed: int | None = None) -> None:
        """Returns when ready. Raises what the probe raised, or CannotStart after more crashes than allowed."""

        def hopeless() -> bool:
            return crashes_allowed is not None and self.crashes > crashes_allowed

        async with self.settled:
            await self.settled.wait_for(lambda: self.state == "ready" or self.failure is not None or hopeless())
        if self.failure is not None:
            raise self.failure
        if self.state != "ready":
            raise CannotStart(self.spec.name)

    async def _run(self) -> None:
        while self._wanted:
            await self._set("starting", None)
            began = time.monotonic()
            code = await self._once()
            if not self._wanted:
                break
            self.crashes = 1 if time.monotonic() - began > STEADY else self.crashes + 1
            self.restarts += 1
            wait = pause(self.crashes)
            self._report(f"{self.spec.name} ended with {_words(code)}; starting it again in {wait:g} s")
            await self._set("restarting", None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._let_go.wait()
        await self._set("stopped", None)

    async def _once(self) -> int:
        handle = self._output.open(self.spec.name)
        account = self.spec.account
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=self.spec.env,
                cwd=self.spec.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C in the terminal is for the supervisor, which stops children in their order.
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            self._report(f"{self.spec.name} cannot be started: {error.strerror}")
            return -1
        finally:
            self._output.close(handle)
        if not self._wanted:
            self._signal(self.spec.stop_signal)
        await self._set("starting", self._process.pid)
        probe = asyncio.create_task(self._probe())
        stream = self._process.stdout
        carrying = asyncio.create_task(self._output.carry(self.spec.name, stream)) if stream else None
        try:
            return await self._process.wait()
        finally:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probe
            if carrying:
                # A grandchild may hold the pipe open; its words are not worth waiting for.
                await asyncio.wait({carrying}, timeout=1)
                carrying.cancel()
            self._process = None

    async def _probe(self) -> None:
        began = time.monotonic()
        try:
            while not await self.spec.ready():  # noqa: ASYNC110 - asks another process, which sets no event of ours
                await asyncio.sleep(EVERY if time.monotonic() - began < _HURRY else 1.0)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failure = error
            self._report(f"{self.spec.name}: {error}")
            async with self.settled:
                self.settled.notify_all()
            return
        if self.crashes:
            self._report(f"{self.spec.name} is ready again")
        await self._set("ready", self.pid)

    async def _set(self, state: State, pid: int | None) -> None:
        self.state, self.pid = state, pid
        self._changed()
        async with self.settled:
            self.settled.notify_all()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
