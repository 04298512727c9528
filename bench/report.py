"""What the numbers say: ratios beside their marks, and where the CPU went."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from rich.console import Console
from rich.table import Table

from bench import floors, scaling
from bench.measures import Pass, median, percentile
from bench.run import SLOW_MS, Results, Round
from bench.storage import Kept, Storage


class Row(Struct, kw_only=True):
    """One figure with its mark. `at_least` tells which side of the mark is good."""

    id: str
    what: str
    value: float
    unit: str
    mark: float
    at_least: bool
    beside: str = ""

    @property
    def holds(self) -> bool:
        return self.value >= self.mark if self.at_least else self.value <= self.mark


def rows(results: Results) -> list[Row]:
    """Every figure that can be told from what was measured; medians over the rounds."""
    found: list[Row] = []

    def add(
        id: str, what: str, value: float, unit: str, mark: float, *, at_least: bool = False, beside: str = ""
    ) -> None:
        found.append(Row(id=id, what=what, value=value, unit=unit, mark=mark, at_least=at_least, beside=beside))

    for what, rounds in (("due → sent rows", results.sent), ("due → delivered rows", results.delivered)):
        if rounds:
            add("P1", f"{what}, against the reference", _ratio(rounds), "×", 0.25, at_least=True, beside=_rates(rounds))
    if results.sent and results.floors:
        share = [
            one.system.cpu_us / floors.total(under) for one, under in zip(results.sent, results.floors, strict=False)
        ]
        ours, under = median(one.system.cpu_us for one in results.sent), median(map(floors.total, results.floors))
        add(
            "P2",
            "CPU per delivery against the floors",
            median(share),
            "×",
            6,
            beside=f"{ours:.0f} µs over {under:.0f} µs",
        )
    if results.webhooks:
        add("P4", "signed webhooks taken by one gateway",
            median(one.accepted_per_second for one in results.webhooks), "/s", 1500, at_least=True)  # fmt: skip
        add("P4", "the same through to rows",
            median(one.rows_per_second for one in results.webhooks), "/s", 1000, at_least=True)  # fmt: skip
    if results.telegram:
        passes = results.telegram
        add("TG", "Telegram: due → delivered rows, a call each, 4 in flight", median(one.per_second for one in passes), "/s", 30,
            at_least=True, beside=f"{median(one.cpu_us for one in passes):,.0f} µs CPU each; Telegram allows 30/s")  # fmt: skip
    if results.waiting:
        small, large = results.waiting
        cost = f"CPU {large.cpu_us:.1f} µs over {small.cpu_us:.1f}; wall {large.wall_us:.0f} over {small.wall_us:.0f}"
        what = f"claim at {large.waiting:,} waiting against {small.waiting:,}"
        add("P5", what, large.cpu_us / small.cpu_us, "×", 1.5, beside=cost)
    for one in results.scaled:
        beside = f"{one.rates[1]:.2f} calls per second by one"
        if one.limit < scaling.OUT_OF_REACH:
            least, most = min(one.rates.values()) / one.limit, max(one.rates.values()) / one.limit
            what = f"{one.channel}: limit in reach, the rate of 1, 2, 4 replicas, of the limit, least"
            add("RE", what, least, "×", 0.85, at_least=True, beside=beside)
            add("RE", "the same, most", most, "×", 1.0)
            continue
        for replicas, mark in ((2, 1.8), (4, 3.2)):
            what = (
                f"{one.channel}: {replicas} replicas against 1, provider of {scaling.LATENCY_MS:.0f} ms, one call each"
            )
            add("RE", what, one.ratio(replicas), "×", mark, at_least=True, beside=beside)
    if results.idle:
        most = sorted(results.idle.items(), key=lambda pair: -pair[1])[:3]
        add("P6", "idle CPU of the whole system, of a core", 100 * sum(results.idle.values()), "%", 5,
            beside=", ".join(f"{name} {100 * share:.1f}" for name, share in most))  # fmt: skip
        add("P6", "trigger → provider call when idle, p50", 1000 * percentile(results.singles, 0.5), "ms", 150)
        add("P6", "trigger → provider call when idle, p99", 1000 * percentile(results.singles, 0.99), "ms", 500)
    if results.peak:
        add("P7", "peak memory of services and NATS", sum(results.peak.values()), "MiB", 500,
            beside=f"PostgreSQL {results.postgres_now:.0f} MiB beside it")  # fmt: skip
    if results.slow and results.sent:
        ours = [
            slow.system.per_second / fast.system.per_second
            for slow, fast in zip(results.slow, results.sent, strict=False)
        ]
        bare = [
            s.reference.per_second / f.reference.per_second for s, f in zip(results.slow, results.sent, strict=False)
        ]
        add("P8", f"provider of {SLOW_MS:.0f} ms against 0 ms", median(ours), "×", 0.4, at_least=True,
            beside=f"reference {median(bare):.2f} ×; {_rates(results.slow)}")  # fmt: skip
    return found


def _ratio(rounds: Sequence[Round]) -> float:
    return median(one.system.per_second / one.reference.per_second for one in rounds)


def _rates(rounds: Sequence[Round]) -> str:
    ours, bare = (median(getattr(one, side).per_second for one in rounds) for side in ("system", "reference"))
    return f"{ours:,.0f}/s over {bare:,.0f}/s"


def machine() -> dict[str, Any]:
    """The shape of the machine, so that numbers are not read across machines."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cores": os.cpu_count(), "cpu": model, "python": platform.python_version(), "load": os.getloadavg()[0],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def document(results: Results, shape: dict[str, Any]) -> dict[str, Any]:
    """Everything, for `--json`."""
    found = [to_builtins(row) | {"holds": row.holds} for row in rows(results)]
    return {"machine": shape, "rows": found, "measured": to_builtins(results)}


def show(results: Results, shape: dict[str, Any], console: Console) -> None:
    console.print(
        f"\n{results.people:,} people, {shape['cores']} cores ({shape['cpu']}), Python {shape['python']}, "
        f"load {shape['load']:.1f} at the start, {shape['at']}"
    )
    table = Table(title="Ratios and marks", title_justify="left")
    for name in ("", "what", "measured", "first mark", "", "beside it"):
        table.add_column(name, justify="right" if name in ("measured", "first mark") else "left")
    for row in rows(results):
        sign = "≥" if row.at_least else "≤"
        table.add_row(
            row.id, row.what, f"{_short(row.value)} {row.unit}", f"{sign} {row.mark:g} {row.unit}",
            "[green]holds[/]" if row.holds else "[red]missed[/]", row.beside,
        )  # fmt: skip
    console.print(table)
    _show_cpu(results, console)
    if results.floors:
        _show_floors(results, console)
    if results.storage:
        _show_storage(results.storage, console)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _show_cpu(results: Results, console: Console) -> None:
    passes: list[tuple[str, Pass]] = []
    for name, rounds in (("sent", results.sent), ("delivered", results.delivered)):
        if rounds:
            middle = sorted(rounds, key=lambda one: one.system.cpu_us)[len(rounds) // 2]
            passes += [(f"Nurture, {name}", middle.system), (f"reference, {name}", middle.reference)]
    if not passes:
        return
    table = Table(title="CPU milliseconds per 1,000 deliveries", title_justify="left")
    names = list(dict.fromkeys(name for _, one in passes for name in one.cpu if name != "sink"))
    for name in ("", *names, "sum", "(sink)", "s to accepted", "s to rows", "calls"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in passes:
        spent = {process: seconds / one.deliveries * 1e6 for process, seconds in one.cpu.items()}
        table.add_row(
            name, *(f"{spent[process]:.0f}" if process in spent else "" for process in names), f"{one.cpu_us:.0f}",
            f"{spent['sink']:.0f}", f"{one.accepted:.2f}", f"{one.seconds:.2f}", str(one.calls),
        )  # fmt: skip
    console.print(table)


def _show_storage(storage: Storage, console: Console) -> None:
    table = Table(title=f"What {storage.deliveries:,} emails leave, planned to delivered", title_justify="left")
    for name in ("", "rows each", "bytes each"):
        table.add_column(name, justify="right" if name else "left")
    for name, kept in sorted(storage.tables.items(), key=lambda pair: -pair[1].bytes):
        if kept.bytes >= storage.deliveries:
            _kept(table, name, kept, storage.deliveries)
    _kept(table, "PostgreSQL, all tables", _sum(storage.tables), storage.deliveries)
    _kept(table, "write-ahead log", Kept(rows=0, bytes=storage.log_bytes), storage.deliveries)
    for name, kept in (*storage.streams.items(), ("JetStream, both", _sum(storage.streams))):
        _kept(table, name, kept, storage.deliveries)
    _kept(table, "beside them, each person", _sum(storage.people), storage.deliveries)
    console.print(table)


def _sum(all_kept: dict[str, Kept]) -> Kept:
    return Kept(rows=sum(one.rows for one in all_kept.values()), bytes=sum(one.bytes for one in all_kept.values()))


def _kept(table: Table, name: str, kept: Kept, each: int) -> None:
    table.add_row(name, f"{kept.rows / each:.2f}", f"{kept.bytes / each:,.0f}")


def _show_floors(results: Results, console: Console) -> None:
    table = Table(title="Floors, CPU µs per delivery", title_justify="left")
    for name in ("", "caller", "servers", "times", "sum"):
        table.add_column(name, justify="right" if name else "left")
    under = sorted(results.floors, key=floors.total)[len(results.floors) // 2]
    for floor in under:
        table.add_row(floor.name, f"{floor.client:.1f}", f"{floor.servers:.1f}", str(floor.times), f"{floor.each:.1f}")
    table.add_row("sum", "", "", "", f"{floors.total(under):.1f}")
    console.print(table)
