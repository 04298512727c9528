"""Breaks one process after another at random, in an order that its seed tells."""

import random
import threading
import time

from tests.faults.row import Row
from tests.faults.stand import ROOMS

SERVERS = ("nats", "postgres")


class Nemesis:
    """kill -9 of services and servers, in a thread. Every room and both servers get their turn before any is random."""

    def __init__(self, row: Row, *, pause: tuple[float, float] = (0.3, 0.9)) -> None:
        self._row = row
        self._pause = pause
        self._rng = random.Random(row.seed)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="nemesis")
        self.kills = 0

    def __enter__(self) -> "Nemesis":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._failure is not None:
            raise self._failure

    def rest(self, kills: int, within: float = 120) -> None:
        """Wait until it has killed so many."""
        deadline = time.monotonic() + within
        while self.kills < kills and self._thread.is_alive() and time.monotonic() < deadline:
            self._stop.wait(0.05)
        assert self.kills >= kills, f"{self.kills} kills within {within:.0f} s"

    def _run(self) -> None:
        try:
            turns = [*ROOMS, *ROOMS, *SERVERS]
            self._rng.shuffle(turns)
            while not self._stop.is_set():
                self._kill(turns.pop() if turns else self._rng.choice([*ROOMS, *ROOMS, *SERVERS]))
                self._stop.wait(self._rng.uniform(*self._pause))
        except BaseException as error:
            self._failure = error

    def _kill(self, name: str) -> None:
        processes = self._row.stand.room(name)
        living = [process for process in processes if process.pid is not None]
        if living:
            self._row.kill(self._rng.choice(living))
            self.kills += 1
