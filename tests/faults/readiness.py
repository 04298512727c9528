"""Asks every service whether it is ready, all the while, and keeps what they said."""

import threading
import time
from collections import defaultdict
from typing import NamedTuple

from tests.faults.process import Process


class Said(NamedTuple):
    """What a service said of itself at a moment, Unix seconds; no problems: it is ready."""

    at: float
    name: str
    problems: tuple[str, ...]


class Readiness:
    """Watches for the length of a `with`."""

    def __init__(self, services: list[Process], every: float = 0.2) -> None:
        self._services = services
        self._every = every
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(one,), name="readiness") for one in services]
        self.said: list[Said] = []

    def __enter__(self) -> "Readiness":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _watch(self, process: Process) -> None:
        while not self._stop.wait(self._every):
            at, answer = time.time(), process.ready()
            self.said.append(Said(at, process.name, () if answer.ok else answer.problems or ("no reason given",)))

    def reasons(self) -> dict[str, set[str]]:
        """Why each service was not ready at some time; empty when all were all the while."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in self.said:
            if one.problems:
                found[one.name].update(one.problems)
        return dict(found)
