"""One run of the whole stand: what is measured, in which order."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from bench import floors, meter, scaling, stand, storage, waiting, webhooks, yardstick
from bench.floors import Floor
from bench.measures import Pass
from bench.scaling import Scaled
from bench.storage import Storage
from bench.system import Driver
from bench.waiting import Claims
from bench.webhooks import Taken

NAMES = ("sent", "delivered", "latency", "floors", "webhooks", "telegram", "idle", "storage", "waiting", "replicas")
CHATS = 1_000
SLOW_MS = 100.0
SINGLES = 50
IDLE_SECONDS = 10.0


class Round(Struct, kw_only=True):
    """System and reference one after the other, so that both see the same machine."""

    system: Pass
    reference: Pass


class Results(Struct, kw_only=True):
    """Everything that was measured; what was not asked for stays empty. Memory in MiB, singles in seconds."""

    people: int
    import_seconds: float = 0.0
    sent: list[Round] = field(default_factory=list)
    delivered: list[Round] = field(default_factory=list)
    slow: list[Round] = field(default_factory=list)
    floors: list[list[Floor]] = field(default_factory=list)
    webhooks: list[Taken] = field(default_factory=list)
    telegram: list[Pass] = field(default_factory=list)
    idle: dict[str, float] = field(default_factory=dict)
    storage: Storage | None = None
    singles: list[float] = field(default_factory=list)
    peak: dict[str, float] = field(default_factory=dict)
    postgres_now: float = 0.0
    waiting: list[Claims] = field(default_factory=list)
    scaled: list[Scaled] = field(default_factory=list)


def run(people: int, rounds: int, only: Collection[str], say: Callable[[str], None]) -> Results:
    """Start everything, measure what `only` names, stop everything."""
    results = Results(people=people)
    with ExitStack() as cleanup:
        folder: Path = cleanup.enter_context(stand.folder())
        sink = cleanup.enter_context(stand.sink())
        bare = cleanup.enter_context(stand.bare_servers(folder / "reference"))
        if set(only) - {"floors", "waiting", "replicas"}:
            say("starting Nurture")
            system = cleanup.enter_context(stand.system(folder / "nurture", sink))
            driver = Driver(system, people)
            cleanup.callback(driver.close)
            results.import_seconds = driver.import_seconds
            _warm_up(driver, say)
            if "idle" in only:
                say(f"idle for {IDLE_SECONDS:.0f} s, then {SINGLES} single triggers")
                results.idle = driver.idle(IDLE_SECONDS)
                results.singles = driver.one_by_one(SINGLES)

            if "storage" in only:
                say("storage: rows and bytes of one pass")
                results.storage = storage.run(driver)

            def both(*, webhooks: bool, latency_ms: float = 0) -> Round:
                ours = driver.run(webhooks=webhooks, latency_ms=latency_ms)
                say(f"  Nurture    {ours.per_second:7,.0f}/s {ours.cpu_us:6,.0f} µs")
                bare_pass = yardstick.run(bare, sink, people, webhooks=webhooks, latency_ms=latency_ms)
                say(f"  reference  {bare_pass.per_second:7,.0f}/s {bare_pass.cpu_us:6,.0f} µs")
                return Round(system=ours, reference=bare_pass)

            for number in range(1, rounds + 1):
                if "sent" in only:
                    say(f"round {number}: due → accepted → sent rows")
                    results.sent.append(both(webhooks=False))
                if "floors" in only:
                    say(f"round {number}: floors")
                    results.floors.append(floors.run(bare, sink))
                if "delivered" in only:
                    say(f"round {number}: due → accepted → webhook → delivered rows")
                    results.delivered.append(both(webhooks=True))
                if "latency" in only:
                    say(f"round {number}: a provider that takes {SLOW_MS:.0f} ms")
                    results.slow.append(both(webhooks=False, latency_ms=SLOW_MS))
                if "webhooks" in only:
                    say(f"round {number}: webhooks to one gateway")
                    results.webhooks.append(webhooks.run(driver, driver.passed()))
            # Last, since it adds people who would be among "all".
            for number in range(1, rounds + 1 if "telegram" in only else 1):
                say(f"round {number}: {CHATS:,} people by Telegram")
                results.telegram.append(driver.chats(CHATS))
            results.peak = {name: meter.peak_mib(pid) for name, pid in system.pids.items() if name != "postgres"}
            results.postgres_now = meter.proportional_mib(system.pids["postgres"])
        elif "floors" in only:
            results.floors = [floors.run(bare, sink) for _ in range(rounds)]
        if "waiting" in only:
            say("filling five million enrolments; this takes minutes")
            results.waiting = waiting.run(bare)
        if "replicas" in only:
            for channel in scaling.MEMBERS:
                for limit in (scaling.OUT_OF_REACH, scaling.IN_REACH):
                    say(f"1, 2 and 4 replicas by {channel}, {limit:g} calls per second allowed")
                    results.scaled.append(scaling.run(folder / f"{channel}-{limit:g}", sink, channel, limit))
    return results


def _warm_up(driver: Driver, say: Callable[[str], None]) -> None:
    # Connections opened, statements planned, templates compiled: what a first run pays once is no part of a rate.
    say(f"warming up ({driver.people:,} people imported in {driver.import_seconds:.1f} s)")
    driver.one_by_one(3)
