"""A row of the fault matrix: something is broken, it heals, and every check is asked what has become of it."""

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from nurture_local.verify import checks
from nurture_local.verify.history import Delivery, Snapshot
from nurture_local.verify.inputs import Rate
from nurture_local.verify.verdict import Verdict

from tests.faults import crashes
from tests.faults.process import Process
from tests.faults.stand import Stand, eventually
from tests.faults.workload import Clients

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "faults"
LINES: list[str] = []
"""What the rows of this process had to say, for the end of the run."""
AROUND = 20
"""Events that an artifact shows around a bad id."""


def seed() -> int:
    """FAULT_SEED, or a new one."""
    return int(os.environ.get("FAULT_SEED") or time.time_ns() % 1_000_000_000)


class Row:
    """Counts what is done to a stand and judges what came of it. `kills` and `ambiguous` are by channel."""

    def __init__(self, stand: Stand, clients: Clients, name: str, number: int | None = None) -> None:
        self.stand = stand
        self.clients = clients
        self.name = name
        self.seed = seed() if number is None else number
        self.faults = 0
        self.kills: Counter[str] = Counter()
        self.ambiguous: Counter[str] = Counter()
        self.timeline: list[dict[str, Any]] = []
        self.verdicts: list[Verdict] = []
        self._armed: dict[str, tuple[str, int]] = {}
        self._before = self._deliveries()

    def __enter__(self) -> "Row":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            self.stand.spoilt = True
            self._keep(error)

    def note(self, what: str, fault: bool = True) -> None:
        """Write down what is done at this moment."""
        self.faults += fault
        self.timeline.append({"t": round(time.time(), 3), "what": what, "fault": fault})

    def kill(self, process: Process) -> None:
        """kill -9; what was under way in it may end unknown."""
        self.note(f"kill -9 {process.name}")
        self.count_kill(process)
        process.kill9()

    def count_kill(self, process: Process) -> None:
        """Somebody else has killed it, or will."""
        if process.room in self.stand.doubtful:
            self.kills[process.room] += 1

    def arm(self, process: Process, point: str) -> None:
        """Start a process anew so that it dies at a crash point (`name`, or `name:n` for the n-th time)."""
        process.end()
        self._armed[process.name] = point, len(process.exits) + 1
        process.start(FAULT_CRASH=point)
        process.wait_ready()

    def crashed(self, process: Process, within: float = 60) -> None:
        """Wait until a process that was armed has died."""
        point, exits = self._armed.pop(process.name)
        code = process.wait_exit(exits, within)
        assert code == crashes.CODE, f"{process.name} ended with {code}, not at {point}"
        self.count_kill(process)
        self.note(f"{process.name} died at {point}")

    def broken(self, processes: list[Process], why: str, within: float = 30) -> None:
        """Wait until each of these says that it is not ready, and says why."""

        def one(process: Process) -> None:
            eventually(
                lambda: (said := process.ready()) and not said.ok and any(why in reason for reason in said.problems),
                lambda: f"{process.name} saying that it is not ready because of {why!r} (it says {process.ready()})",
                within,
            )

        with ThreadPoolExecutor(len(processes)) as pool:
            list(pool.map(one, processes))

    def healed(self, within: float = 60) -> None:
        """Wait until the backlog has drained by itself and everybody is ready again."""
        self.note("heal", fault=False)
        self.stand.quiet(within)

    def judge(
        self,
        *,
        unknown: int | None = None,
        rates: Mapping[str, Rate] | None = None,
        messages: bool = False,
        besides: frozenset[str] = frozenset(),
    ) -> Snapshot:
        """Ask every check, and say the row's line. `unknown`: how many new ones there may be instead of what kills and
        ambiguous endings explain; `besides`: checks that this row cannot ask."""
        history = self._at_rest(rates, messages)
        new = self.new(history)
        unknowns = self.new_unknown(history)
        allowed = {
            channel: self.kills[channel] * most + self.ambiguous[channel]
            for channel, most in self.stand.doubtful.items()
        }
        by_check = {verdict.check: verdict for verdict in self.verdicts}
        most = sum(allowed.values()) if unknown is None else unknown
        self.say(
            f"faults injected {self.faults}, deliveries {len(new)}, "
            f"duplicates {len(by_check['C1'].bad)}, lost {len(by_check['C2'].bad)}, "
            f"unknown {sum(unknowns.values())} (≤ {most})"
        )
        bad = [verdict for verdict in self.verdicts if not verdict.ok and verdict.check not in besides]
        assert not bad, "\n".join(f"{one.line}: {[(b.id, b.why) for b in one.bad[:5]]}" for one in bad)
        if unknown is None:
            over = {channel: count for channel, count in unknowns.items() if count > allowed.get(channel, 0)}
            assert not over, f"more unknown than the kills explain: {over}, allowed {allowed}"
        else:
            assert sum(unknowns.values()) <= unknown, (unknowns, unknown)
        assert new, "this row sent nothing"
        return history

    def _at_rest(self, rates: Mapping[str, Rate] | None, messages: bool) -> Snapshot:
        """All verdicts over a moment in which nothing moves. Somebody may open a mail between the last look whether anything
        is under way and this one; that has to come to rest again by itself, and what does not stays a fault."""
        for _ in range(3):
            history = self.stand.snapshot(messages=messages)
            self.verdicts = self.ask(history, rates)
            if next(one for one in self.verdicts if one.check == "C8").ok:
                break
            self.stand.quiet()
        return history

    def say(self, text: str) -> None:
        """A line about this row, for the end of the run."""
        LINES.append(f"{self.name}: {text}")
        sys.stdout.write(f"{LINES[-1]}\n")

    def new(self, history: Snapshot) -> list[Delivery]:
        """Deliveries that this row caused."""
        return [one for one in history.deliveries.values() if one.id not in self._before]

    def new_unknown(self, history: Snapshot) -> dict[str, int]:
        """How many of them are unknown, by channel."""
        return dict(Counter(one.channel for one in self.new(history) if one.status == "unknown"))

    def ask(self, history: Snapshot, rates: Mapping[str, Rate] | None = None) -> list[Verdict]:
        """The checks, over the whole life of the stand."""
        return [
            checks.c1_duplicates(history),
            checks.c2_loss(history, accepted=self.clients.accepted, quiet=True),
            checks.c3_truth(history),
            checks.c4_phantoms(history),
            checks.c5_window(history),
            checks.c6_projections(history),
            checks.c7_order(history, seed=self.seed),
            checks.c8_liveness(history),
            checks.c9_suppression(history, refused=self.clients.refused),
            checks.c10_schedule(history, rates=rates),
            checks.c11_counts(history),
            checks.c12_bus(history),
        ]

    def _deliveries(self) -> set[UUID]:
        return {row["id"] for row in self.stand.rows("select id from controller.deliveries")}

    def _keep(self, error: BaseException) -> None:
        """What somebody needs who wants to know how this came about."""
        folder = ARTIFACTS / "".join(letter if letter.isalnum() else "-" for letter in self.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "seed").write_text(f"FAULT_SEED={self.seed}\n")
        (folder / "error").write_text(f"{type(error).__name__}: {error}\n")
        (folder / "timeline.jsonl").write_text("".join(json.dumps(one) + "\n" for one in self.timeline))
        (folder / "operations.txt").write_text("".join(f"{one}\n" for one in self.clients.history))
        shutil.copytree(self.stand.logs, folder / "logs", ignore_dangling_symlinks=True)
        bad = [(verdict.check, one.id, one.why) for verdict in self.verdicts for one in verdict.bad]
        with (folder / "bad.txt").open("w") as file:
            for check, id, why in bad:
                file.write(f"{check} {id}: {why}\n")
                try:
                    found = UUID(id)
                except ValueError:
                    continue
                for table, query in _TOLD.items():
                    for row in self.stand.rows(query, found)[:AROUND]:
                        file.write(f"    {table}: {dict(row.items())}\n")


_TOLD = {
    "delivery": "select * from controller.deliveries where id = $1",
    "event": "select * from controller.delivery_events where delivery_id = $1 order by received_at",
    "email": "select * from email.claims where $1 = any(members)",
    "page": "select * from email.pages where $1 = any(members)",
    "telegram": "select * from telegram.claims where delivery_id = $1",
    "command": "select * from gateway.commands where id = $1",
    "answer": "select * from controller.command_results where command_id = $1",
}
