"""What a seed decides: which faults there are in a run, how often each, and when."""

from collections.abc import Sequence
from random import Random


class Chance:
    """One source of chance for a whole run. `calm` ends every fault."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.crash = random.choice((0.0, 0.0, 0.003, 0.02))
        self.database = random.choice((0.0, 0.0, 0.005, 0.03))
        self.bus = random.choice((0.0, 0.0, 0.02, 0.2))
        self.acks_lost = random.choice((0.0, 0.05, 0.5))
        self.provider = random.choice((0.0, 0.1, 0.4, 0.9))
        self.favourite = random.random()
        self.slow = random.choice((0.001, 0.01, 0.2))
        self.bus_late = random.choice((0.0, 0.0, 0.5, 20.0))

    def calm(self) -> None:
        self.crash = self.database = self.bus = self.acks_lost = self.provider = self.bus_late = 0.0

    def hits(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def short(self) -> float:
        """Seconds that a step takes."""
        return self.random.expovariate(1 / self.slow)

    def reply(self, faults: Sequence[str]) -> str:
        """What becomes of a call: the first is that all is well. A run has a fault that it likes best."""
        if not self.hits(self.provider):
            return faults[0]
        if self.random.random() < 0.5:
            return faults[1 + int(self.favourite * (len(faults) - 1))]
        return self.random.choice(faults[1:])
