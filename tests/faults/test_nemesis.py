"""F2, F5, F6, F14: kill -9 of anything at any moment, two of everything, a provider that fails by chance, people who leave."""

import pytest
from nurture_local.verify.inputs import Rate

from tests.faults.conftest import CHATS_A_SECOND, EMAILS_A_SECOND, Rows
from tests.faults.nemesis import Nemesis
from tests.faults.row import seed
from tests.faults.workload import Load, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("double")]

EMAILS, CHATS = 220, 160
KILLS = 26
CHANCE = 0.04
RATES = {
    # What a replica that dies or stalls between its slot and its call may bring into the next second.
    "email": Rate(per_second=EMAILS_A_SECOND, slack=2),
    "telegram": Rate(per_second=CHATS_A_SECOND, slack=2, per_chat=1),
}


def test_everything_is_killed_at_random_under_load(double: Rows) -> None:
    number = seed()
    with double(
        f"F2 F5 F6 F14 random kill -9 of two of everything, NATS and PostgreSQL (FAULT_SEED={number})", number
    ) as row:
        stand, clients = row.stand, row.clients
        clients.publish(sequence("nemesis", fallback="auto"))
        people = clients.people(EMAILS, CHATS, acts=("open", "click", "bounce", "complain", "ignore"), habits="2456893")
        odds = {"seed": number, "refused": CHANCE, "failed": CHANCE, "failed_after": CHANCE, "lost": CHANCE}
        stand.chaos(odds=odds, retry_after=1, webhooks="duplicate", telegram={"odds": odds, "retry_after": 1})
        with Load(clients, stand, people, "nemesis", number), Nemesis(row) as nemesis:
            nemesis.rest(KILLS)
        # Ambiguous by the provider's doing: a call that had its effect, or failed, and could not tell.
        row.healed(within=120)
        stand.chaos()
        lines = stand.provider.get("/api/calls", params={"channel": "telegram"}).json()
        row.ambiguous["telegram"] += sum(line["reply"] in ("lost", "500") for line in lines)
        row.faults += len(lines)
        row.judge(rates=RATES, messages=True)
        assert clients.counts().get("ok", 0) > 20, clients.counts()
