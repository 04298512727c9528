"""The budget per hundred emails, counted from outside: statements, transactions, publishes, provider calls, rows."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.system import System, eventually, running

IDLE = {
    "outbox_sweep", "outbox_rotate", "waiting_here", "waiting_to_send", "waiting_to_be_planned", "enrolments_next_due", "lease_take",
    "topology_noted", "topology_note_stream", "topology_note_consumers", "outbox_losses",
    "work_waiting", "next_work", "forget_keys", "forget_pages", "pace_state", "command_progress", "find_command",
    "count_deliveries", "list_deliveries", "presence_note", "presence_forget", "analytics_fold",
}  # fmt: skip
"""Questions that tickers ask on an idle system too, and those of this test itself."""


class Spent(NamedTuple):
    """What one run cost, per hundred emails."""

    statements: dict[str, float]
    transactions: dict[str, float]
    publishes: float
    provider_calls: float
    rows: float

    @property
    def round_trips(self) -> float:
        return sum(self.statements.values()) + 2 * sum(self.transactions.values())


def counters(system: System) -> Counter[tuple[str, str]]:
    ports = json.loads((system.data_dir / "instance.json").read_text())["ports"]
    found: Counter[tuple[str, str]] = Counter()
    for service in ("controller", "email"):
        text = httpx.get(f"http://127.0.0.1:{ports[service]}/metrics", timeout=20).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "nurture_sql_statements_total" and sample.labels["query"] not in IDLE:
                    found[service, f"sql {sample.labels['query']}"] += int(sample.value)
                elif sample.name == "nurture_sql_transactions_total":
                    found[service, "transactions"] += int(sample.value)
                elif sample.name == "nurture_messages_said_total":
                    found[service, "said"] += int(sample.value)
    return found


def written(system: System) -> int:
    """Rows that any statement of the run wrote, as PostgreSQL counts them; that a process is there costs nobody's budget."""
    (row,) = system.rows(
        "select coalesce(sum(n_tup_ins + n_tup_upd), 0)::bigint as n from pg_stat_user_tables "
        "where schemaname in ('controller', 'email') and relname <> 'presence'"
    )
    return row["n"]


def settled_count(system: System) -> int:
    before = -1

    def still() -> bool:
        nonlocal before
        before, now = written(system), before
        return before == now

    eventually(still, what="PostgreSQL's counters to come to rest")
    return before


def spend(system: System, people: int, directory: Path) -> Spent:
    """Import that many new people, start them all, wait until all is sent; what did it take?"""
    file = directory / f"{people}.csv"
    lines = (f"p{people}-{n},P{n},p{people}-{n}@example.test,UTC" for n in range(people))
    file.write_text("external_id,first_name,email,timezone\n" + "\n".join(lines) + "\n")
    system.cli("people", "import", str(file))
    earlier = sum(system.counts().values())
    calls = {message["idempotency_key"] for message in system.messages()}
    rows, before = settled_count(system), counters(system)
    system.trigger_all()
    system.quiet(earlier + people, within=120)
    spent = counters(system)
    spent.subtract(before)
    hundreds = people / 100
    new_calls = {message["idempotency_key"] for message in system.messages()} - calls
    statements = {
        service: sum(n for (s, name), n in spent.items() if s == service and name.startswith("sql")) / hundreds
        for service in ("controller", "email")
    }
    transactions = {service: spent[service, "transactions"] / hundreds for service in ("controller", "email")}
    return Spent(
        statements,
        transactions,
        (spent["controller", "said"] + spent["email", "said"]) / hundreds,
        len(new_calls) / hundreds,
        (settled_count(system) - rows) / people,
    )


@pytest.mark.long
@pytest.mark.timeout(280)
def test_a_hundred_emails_stay_within_the_budget_whatever_their_number(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, env={"SANDBOX_RATE_LIMIT": "200"}) as system:
        # Up to `sent`: what comes back later has a budget of its own.
        system.chaos(webhooks="off")
        small, large = spend(system, 1_000, tmp_path), spend(system, 10_000, tmp_path)
    for spent in (small, large):
        assert spent.provider_calls <= 1.5, spent
        assert spent.publishes <= 4, spent
        assert spent.round_trips <= 25, spent
        assert spent.rows <= 5.3, spent
    assert large.round_trips <= small.round_trips * 1.2, (small, large)
    assert large.transactions["email"] <= 3.5, large
    assert large.provider_calls <= 1.1, large
