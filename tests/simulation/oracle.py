"""What must hold, at every claim, at every commit, and at rest. At rest the checks of `nurture verify` are asked as well."""

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from nurture_local.verify import checks
from nurture_local.verify.fold import differences, fold
from nurture_local.verify.history import Effect, Snapshot

from tests.simulation.rooms import CONCURRENCY
from tests.simulation.snapshot import snapshot

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_CLAIMS = ("claim_next", "claim_next_beside", "claim_volley", "claim_volley_beside")
_CERTAIN = ("failed_at", "bounced_at", "suppressed_at")
_WISHES = ("complained_at",)


class Violation(NamedTuple):
    """A broken promise, by the name of its invariant."""

    invariant: str
    what: str


class Oracle:
    """Collects violations. Knows what is committed, what providers took and what clients were told; nothing else."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.claims = 0
        self._arrived: Counter[UUID | None] = Counter()

    def violated(self, invariant: str, what: str) -> None:
        self._world.note(f"VIOLATED {invariant}: {what}")
        self.violations.append(Violation(invariant, what))

    def _committed(self, table: str, key: Any) -> dict[str, Any]:
        return self._world.tables.committed[table].get(key) or {}

    # ── at every claim ───────────────────────────────────────────────────────────────────────────────────────────────

    def heard(self, process: "Process", name: str, answer: Any) -> None:
        """A statement has answered; nothing else has happened since it looked at its tables."""
        if name not in _CLAIMS:
            return
        for row in answer:
            self.claims += 1
            if process.room == "email":
                # Without a key only what may have arrived goes on in a pause, and that is not sent again.
                again = row["may_have_arrived"] if self._world.provider == "smtp" else row["attempt"] > 1
                for member in row["ids"] or ():
                    self._may_be_claimed("email", member, opened=again, repeats=row["may_have_arrived"])
            elif row["outcome"] is None:
                self._may_be_claimed("telegram", row["delivery_id"], opened=False, repeats=False)

    def _may_be_claimed(self, channel: str, member: UUID, *, opened: bool, repeats: bool) -> None:
        """`repeats`: the same request again, which may have arrived."""
        delivery = self._committed("controller.deliveries", member)
        contact = self._committed("gateway.contacts", (delivery["user_id"], channel))
        if contact.get("consent") != "granted":
            self.violated("consent", f"{member} is claimed after its person has refused {channel}")
        address = self._committed("controller.delivery_contents", member)["address"]
        if not repeats and contact.get("address") != address:
            self.violated("address", f"{member} is claimed for {address}, which is not its person's any more")
        held = self._world.tables.committed["controller.paused_types"]
        if not opened and held.keys() & {"*", delivery["sequence_type"]}:
            self.violated("held", f"{member} is claimed while {list(held)} is held")

    # ── at every effect ─────────────────────────────────────────────────────────────────────────────────────────────────

    def took(self, effect: Effect) -> None:
        """A provider has taken a message."""
        self._arrived[effect.delivery_id] += 1
        content = self._committed("controller.delivery_contents", effect.delivery_id)
        if self._arrived[effect.delivery_id] > 1 and content["params"].get("on_ambiguous") != "retry":
            self.violated("C1 duplicates", f"{effect.delivery_id} was taken twice")

    # ── at every commit ──────────────────────────────────────────────────────────────────────────────────────────────

    def committed(self, changed: dict[str, dict[Any, Any]]) -> None:
        for table in changed:
            if self._world.trace is not None and not table.endswith(".outbox"):
                self._world.note(f"committed {table}: {_short(changed[table])}")
        for id, row in changed.get("controller.deliveries", {}).items():
            if id not in self._world.tables.committed["controller.deliveries"]:
                if row["fallback_of"] is None:
                    self._in_order(row, changed)
                else:
                    self._follows_a_failure(row, changed)

    def _in_order(self, new: dict[str, Any], changed: dict[str, dict[Any, Any]]) -> None:
        """Nothing is planned past a delivery that has not ended."""
        known = {**self._world.tables.committed["controller.deliveries"], **changed["controller.deliveries"]}
        for row in known.values():
            if row["enrolment_id"] == new["enrolment_id"] and row["step"] < new["step"] and row["status"] == "pending":
                self.violated("order", f"step {new['step']} is planned while {row['id']} of step {row['step']} is open")

    def _follows_a_failure(self, new: dict[str, Any], changed: dict[str, dict[Any, Any]]) -> None:
        """A fallback is for what certainly did not arrive, and whose person did not ask for silence."""
        failed = {**self._world.tables.committed["controller.deliveries"], **changed["controller.deliveries"]}[
            new["fallback_of"]
        ]
        if not any(failed[name] for name in _CERTAIN) or failed["status"] not in ("failed", "bounced", "suppressed"):
            self.violated("fallback", f"{new['id']} follows {failed['id']}, which is {failed['status']}")

    # ── at rest ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def quiet(self) -> bool:
        """Whether nothing is under way any more."""
        rows = self._world.tables.rows
        return (
            self._world.bus.quiet
            and not self._world.clients.busy
            and all(row["published_at"] for room in self._world.statements for row in rows(f"{room}.outbox"))
            and not any(row["status"] == "pending" for row in rows("controller.deliveries"))
            and not any(row["state"] == "active" for row in rows("controller.enrolments"))
            and all(row["state"] == "settled" for row in rows("email.claims"))
            and all(row["state"] == "settled" for row in rows("telegram.claims"))
            and all(row["done"] for row in rows("controller.start_jobs"))
        )

    def at_rest(self) -> None:
        """Everything that has to be so once nothing is under way."""
        world, history = self._world, snapshot(self._world)
        verdicts = [
            checks.c1_duplicates(history),
            checks.c2_loss(history, accepted=world.clients.starts, quiet=True),
            checks.c3_truth(history),
            checks.c4_phantoms(history),
            checks.c5_window(
                history,
                kills=self._lost_workers(),
                concurrency={"telegram": CONCURRENCY, "email": CONCURRENCY},
                ambiguous=self._ambiguous(),
            ),
            checks.c8_liveness(history),
        ]
        for verdict in verdicts:
            for bad in verdict.bad:
                self.violated(f"{verdict.check} {verdict.name}", f"{bad.id}: {bad.why}")
        self._folds(history)
        self._judged()
        logged = world.tables.committed["controller.delivery_events"]
        for id in sorted(world.clients.reported - logged.keys()):
            self.violated("events", f"{id} was reported and answered with 2xx, and the log does not have it")
        for command in world.clients.starts:
            if self._committed("gateway.commands", command)["state"] != "settled":
                self.violated("commands", f"{command} was answered with 2xx and never settled")

    def _lost_workers(self) -> dict[str, int]:
        # A worker that stands still longer than its lease is taken for dead.
        return {room: self._world.deaths[room] + self._world.stops[room] for room in ("email", "telegram")}

    def _ambiguous(self) -> dict[str, int]:
        # Without a key unknown ends are promised to be few; with one an email is asked for again until that is too old.
        every = len(self._world.tables.rows("controller.deliveries"))
        email = self._world.relay.ambiguous if self._world.provider == "smtp" else every
        return {"email": email, "telegram": self._world.bot.ambiguous}

    def _folds(self, history: Snapshot) -> None:
        for one in history.deliveries.values():
            events = [event for event in history.events if event.delivery_id == one.id]
            for why in differences(one, fold(one, events)):
                self.violated("fold", f"{one.id}: {why}")

    def _judged(self) -> None:
        """Each failure has its verdict, with or without a fallback."""
        tables = self._world.tables
        for row in tables.rows("controller.deliveries"):
            planned = self._committed("controller.delivery_contents", row["id"])["decision"]["decision"] != "send"
            judged = row["id"] in tables.committed["controller.fallbacks"]
            if not planned and not judged and any(row[name] for name in _CERTAIN):
                self.violated(
                    "judged", f"{row['id']} is {row['status']}, and nobody has judged whether something follows"
                )


def _short(rows: dict[Any, Any]) -> str:
    names = (
        "id",
        "event_id",
        "delivery_id",
        "status",
        "state",
        "kind",
        "attempt",
        "fence",
        "outcome",
        "consent",
        "step",
        "next_at",
    )
    return "; ".join(
        "gone" if row is None else " ".join(f"{name}={row[name]}" for name in names if row.get(name) is not None)
        for row in rows.values()
    )
