"""Three NATS nodes with every stream on each: whichever is killed, under load, nothing is lost and the others go on."""

import time

import httpx
import pytest
from nurture_local import nats

from tests.faults import cluster
from tests.faults.conftest import Rows
from tests.faults.readiness import Readiness
from tests.faults.stand import Stand, eventually
from tests.faults.workload import Clients, Load, sequence

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("clustered")]

PEOPLE = 300
TRUE = ("NATS", ": nats.", "publishing fails", "has no leader", "Leadership Change", "does not answer", "no answer")
"""Why a service may be not ready while nodes choose new leaders, which takes NATS four to nine seconds by its own rules."""


def goes_on(stand: Stand, clients: Clients, away: str) -> None:
    """Whoever is started now gets a message, with this node still away."""
    people = clients.people(1, 1)
    clients.start(people, "clustered")
    eventually(
        lambda: all(stand.messages(to=person.address) for person in people),
        f"a message that was asked for with {away} away",
        30,
    )


def test_any_node_is_killed_while_it_leads(clustered: Rows) -> None:
    with clustered("F7 kill -9 of each of three NATS nodes, leading both streams") as row:
        stand, clients = row.stand, row.clients
        for port in stand.monitors.values():
            assert nats.syncs(httpx.get(f"http://127.0.0.1:{port}/varz").content)
        assert {one["replicas"] for one in stand.jsz().values()} == {3}
        clients.publish(sequence("clustered"))
        people = clients.people(PEOPLE, PEOPLE, acts=("open", "click", "ignore"), habits="2456")
        away: list[tuple[float, float]] = []
        with (
            Readiness(stand.services) as readiness,
            Load(clients, stand, people, "clustered", row.seed, at_once=2) as load,
        ):
            for name, node in ((name, stand.processes[name]) for name in stand.monitors):
                cluster.lead(stand.nats_url, name)
                row.note(f"kill -9 {name}, which leads")
                began = time.time()
                node.end()
                goes_on(stand, clients, name)
                if len(away) == 2:
                    # Not only does it go on: two nodes are enough for everybody to be well.
                    stand.all_ready()
                away.append((began, time.time()))
                row.note(f"start {name}", fault=False)
                node.start()
                node.wait_ready()
            assert load.left, "the load ended before the faults did"
        row.healed()
        history = row.judge(unknown=0, messages=True)
        assert history.ledger is not None
        sent = [sum(began < one.real_at < end for one in history.ledger) for began, end in away]
        row.say(
            f"messages sent with a node away {sent}, in {[round(end - began, 1) for began, end in away]} s; "
            f"services that said not ready, and why, while there was no leader: {len(readiness.reasons())}"
        )
        assert all(sent)
        lies = [one for one in readiness.said for why in one.problems if not any(known in why for known in TRUE)]
        assert not lies, f"said to be broken beside the bus: {lies[:5]}"
        assert not any(one.exits for one in stand.services), "a service ended"
        assert not stand.value("select count(*) from controller.bus_losses"), "the keeper took new leaders for a loss"
