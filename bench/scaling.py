"""What 1, 2 and 4 replicas of a channel send together, by the provider's times of its calls.

The provider takes half a second a call and each replica has one call in flight. Where the limit is out of reach, the calls of
replicas add up; where one replica reaches it, more of them change nothing.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from msgspec import Struct

from bench import stand
from bench.stand import wait_for
from bench.system import Driver

LATENCY_MS = 500.0
OUT_OF_REACH = 1000.0
IN_REACH = 1.0
"""Calls per second: one replica alone could make nearly two."""
STAGES = ((1, "-2"), (2, "-3"), (4, ""))
"""How many replicas are at work once this one has been started; the plain name starts all that are left."""
EACH = 16
"""Calls of each replica that are looked at; with a limit, of all together."""
MEMBERS = {"email": 100, "telegram": 1}
PATIENCE = 300.0


class Scaled(Struct, kw_only=True):
    """Calls per second by the number of replicas, under a limit per second."""

    channel: str
    limit: float
    rates: dict[int, float]

    def ratio(self, replicas: int) -> float:
        """Against one replica."""
        return self.rates[replicas] / self.rates[1]


def rate(calls: Sequence[float], window: int) -> float:
    """Calls per second: over every window of so many in a row, the one in the middle, so that a moment in which the machine did
    something else does not count."""
    return window / median(calls[n + window] - calls[n] for n in range(len(calls) - window))


def run(folder: Path, sink: stand.SinkProcess, channel: str, limit: float) -> Scaled:
    """Start a Nurture with four replicas of the channel, fill its queue while none runs, then let 1, 2 and 4 work it off."""
    looked_at = {n: EACH if limit < OUT_OF_REACH else EACH * n for n, _ in STAGES}
    # Two calls of each at the beginning of a stage are not steady; what waits must not run out.
    people = MEMBERS[channel] * sum(wanted + 5 * n for n, wanted in looked_at.items())
    name = {"email": "RESEND", "telegram": "TELEGRAM"}[channel]
    settings = {f"{channel.upper()}_CONCURRENCY": "1", f"{name}_RATE_LIMIT": str(limit)}
    with stand.system(folder, sink, {channel: 4}, **settings) as system:
        driver = Driver(system, people if channel == "email" else 1)
        try:
            system.service("stop", channel)
            sink.ask(reset=True, latency_ms=LATENCY_MS, webhook_port=0)
            driver.plan(channel, people)
            rates: dict[int, float] = {}
            for replicas, number in STAGES:
                system.post("/admin/api/nurture/pause", wanted=(200,))
                system.service("start", f"{channel}{number}")
                # What was under way ends before the next stage is looked at.
                time.sleep(2 * LATENCY_MS / 1000)
                first = len(sink.calls()) + 2 * replicas
                last = first + looked_at[replicas]
                system.post("/admin/api/nurture/resume", wanted=(200,))
                what = f"{last} calls with {replicas} replicas"
                wait_for(lambda last=last: len(sink.calls()) > last, what, within=PATIENCE)
                window = min(looked_at[replicas] // 4, 4 * replicas)
                rates[replicas] = rate(sink.calls()[first : last + 1], window)
        finally:
            driver.close()
    return Scaled(channel=channel, limit=limit, rates=rates)
