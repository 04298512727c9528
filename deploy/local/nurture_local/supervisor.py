"""Starts the children in their order, keeps them running, and stops them in the reverse order."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from nurture_local.child import STOP_PATIENCE, CannotStart, Child, Output
from nurture_local.processes import SERVERS, ChildSpec, Recorded, record

CRASHES_ALLOWED = 4
"""During the first start; afterwards a child may crash as often as it likes."""
START_PATIENCE = 90.0


class StartFailed(Exception):
    """The system did not come up. `culprits` are the names of the children that were not ready."""

    def __init__(self, text: str, culprits: list[str]) -> None:
        super().__init__(text)
        self.culprits = culprits


class NoSuchChild(Exception):
    """No process of that name; the text lists the names."""


class Supervisor:
    """One table of processes. `save` gets every change of pids, `migrate` runs between servers and services."""

    def __init__(
        self,
        specs: list[ChildSpec],
        output: Output,
        *,
        report: Callable[[str], None],
        migrate: Callable[[], Awaitable[None]],
        save: Callable[[dict[str, Recorded]], None],
        stop_patience: float = STOP_PATIENCE,
    ) -> None:
        self.children = {spec.name: Child(spec, output, report, self._changed) for spec in specs}
        self.is_ready = asyncio.Event()
        self._migrate = migrate
        self._save = save
        self._stop_patience = stop_patience
        self._pids: dict[str, int | None] = {}
        self._stopping = False

    async def start(self, seconds: float = START_PATIENCE) -> None:
        """Returns when everything is ready. Raises StartFailed, or what the migration raised."""
        deadline = time.monotonic() + seconds
        servers = [child for child in self.children.values() if child.spec.stage in SERVERS]
        services = [child for child in self.children.values() if child.spec.stage not in SERVERS]
        await self._begin(servers, deadline)
        await self._migrate()
        await self._begin(services, deadline)
        self.is_ready.set()

    async def _begin(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.start()
        waiting = [asyncio.create_task(child.until_ready(CRASHES_ALLOWED)) for child in children]
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await asyncio.gather(*waiting)
        except CannotStart as error:
            name = str(error)
            raise StartFailed(f"{name} ends again and again before it is ready", [name]) from None
        except TimeoutError:
            late = [child.spec.name for child in children if child.state != "ready"]
            raise StartFailed(f"not ready in time: {', '.join(late)}", late) from None
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def stop(self) -> None:
        """Stop everything: gateway, services, provider, bus, database, each stage at once."""
        self._stopping = True
        for stage in sorted({child.spec.stage for child in self.children.values()}, reverse=True):
            await self.stop_children([child for child in self.children.values() if child.spec.stage == stage])

    async def stop_children(self, children: list[Child]) -> None:
        await asyncio.gather(*(child.stop(self._stop_patience) for child in children))

    async def start_children(self, children: list[Child], seconds: float = 30.0) -> list[str]:
        """Start these and wait. Returns the names of those that are not ready after `seconds`."""
        if self._stopping:
            return [child.spec.name for child in children]
        for child in children:
            child.start()
        waiting = [asyncio.create_task(child.until_ready()) for child in children]
        await asyncio.wait(waiting, timeout=seconds)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [child.spec.name for child in children if child.state != "ready"]

    def named(self, name: str) -> list[Child]:
        """`email` means every replica of it, `email-2` that one. Raises NoSuchChild."""
        found = [child for child in self.children.values() if child.spec.name.rpartition("-")[0] == name]
        found += [self.children[name]] if name in self.children else []
        if not found:
            raise NoSuchChild(f"there is no process {name!r}; there are: {', '.join(self.children)}")
        return found

    def recorded(self) -> dict[str, Recorded]:
        """Pid and start of every child that runs."""
        found = {name: record(pid) for name, pid in self._pids.items() if pid}
        return {name: child for name, child in found.items() if child}

    def _changed(self) -> None:
        pids = {name: child.pid for name, child in self.children.items()}
        if pids != self._pids:
            self._pids = pids
            self._save(self.recorded())
