"""Pure: whether bus and database are as this version expects them."""

from nurture_contracts.topology import CONSUMERS, STREAMS

from nurture_local import bus_state
from nurture_local.checkup.channels import span
from nurture_local.checkup.facts import Facts
from nurture_local.checkup.finding import Finding, fail, ok, skip, warn

LAGGING = 1_000
"""Messages that a consumer may have before it."""
_SHOWN = 3
_RECENT = 86_400


def migrations(facts: Facts) -> Finding:
    record = facts.record
    if record is None:
        return skip("migrations", "the database is not known", "set DATABASE_URL, or run this beside the instance")
    if record["problem"]:
        return fail("migrations", record["problem"], "a database that answers", "start it, or correct DATABASE_URL")
    if record["pending"]:
        return fail("migrations", f"pending: {_some(record['pending'])}", "none pending", "nurture db migrate")
    return ok("migrations", "up to date", "none pending")


def bus(facts: Facts) -> list[Finding]:
    """Durability, streams, consumers, backlog."""
    if facts.bus is None:
        if facts.bus_trouble:
            return [fail("bus", facts.bus_trouble, "a JetStream server that answers", "start it, or correct NATS_URL")]
        return [skip("bus", "its address is not known", "set NATS_URL, or run this beside the instance")]
    streams, consumers = bus_state.stream_faults(facts.bus), bus_state.consumer_faults(facts.bus)
    mend = "nurture service restart controller, which makes them so"
    return [
        _durability(facts.syncs),
        fail("streams", _some(streams), "as in the contracts", mend)
        if streams
        else ok("streams", f"{len(STREAMS)} as in the contracts", "as in the contracts"),
        fail("consumers", _some(consumers), "as in the contracts", mend)
        if consumers
        else ok("consumers", f"{len(CONSUMERS)} as in the contracts", "as in the contracts"),
        _backlog(facts.bus),
        losses(facts),
    ]


def losses(facts: Facts) -> Finding:
    """What the bus lost within a day, and whether every room has said it again."""
    record = facts.record or {}
    last = record.get("losses")
    if last is None:
        return skip("bus losses", "the database did not tell")
    wanted = "none"
    if last["stream"] is None:
        return ok("bus losses", "none", wanted)
    found = f"{last['stream']} {span(last['age'])} ago: {last['reason']}"
    if last["silent"]:
        rooms = ", ".join(last["silent"])
        return fail("bus losses", f"{found}; not said again by {rooms}", wanted, f"is {rooms} running? Its log tells")
    if last["age"] > _RECENT:
        return ok("bus losses", f"none lately; the last was {found}", wanted)
    return warn("bus losses", f"{found}; all was said again", wanted, "read the NATS server's log, look at its disk")


def _durability(syncs: bool | None) -> Finding:
    wanted = "sync_interval: always"
    if syncs is None:
        return skip("bus durability", "the server's monitoring is not ours to ask", f"have its operator set {wanted}")
    if syncs:
        return ok("bus durability", "each write is synced before it is acknowledged", wanted)
    return fail("bus durability", "writes are synced now and then", wanted, "nurture down, then nurture up --detach")


def _backlog(state: bus_state.BusState) -> Finding:
    wanted = f"at most {LAGGING} behind"
    behind = [one for one in state.consumers if one.backlog > LAGGING]
    again = [one for one in state.consumers if one.num_redelivered]
    if behind:
        found = _some([f"{one.durable} {one.backlog} behind" for one in behind])
        return warn("consumer lag", found, wanted, "nurture bus lag; is its service up? More replicas: --replicas")
    if again:
        found = _some([f"{one.durable} tries {one.num_redelivered} again" for one in again])
        return warn("consumer lag", found, "nothing repeated", "read that service's log: its handler fails")
    return ok("consumer lag", f"{sum(one.backlog for one in state.consumers)} messages on their way", wanted)


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
