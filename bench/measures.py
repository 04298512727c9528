"""Numbers of a run, as they are kept, compared and written to JSON."""

import statistics
from collections.abc import Iterable

from msgspec import Struct


class Pass(Struct, kw_only=True):
    """One way of N deliveries from due to their rows. Seconds since they were due; CPU in seconds by process.

    `settled` is when the trigger's own answer stood at the gateway.
    `at_provider` counts distinct deliveries there, `repeated` those that came again; `delivered` counts rows.
    """

    deliveries: int
    at_provider: int
    delivered: int = 0
    accepted: float
    sent_rows: float
    acked: float | None = None
    delivered_rows: float | None = None
    calls: int
    repeated: int
    bytes_per_email: float
    cpu: dict[str, float]
    settled: float | None = None

    @property
    def seconds(self) -> float:
        """Until the last row."""
        return max(self.sent_rows, self.delivered_rows or 0.0)

    @property
    def per_second(self) -> float:
        return self.deliveries / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of everything but the sink, microseconds a delivery."""
        return sum(seconds for name, seconds in self.cpu.items() if name != "sink") / self.deliveries * 1e6


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all stay at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
