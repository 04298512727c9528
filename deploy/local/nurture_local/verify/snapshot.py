"""Takes a snapshot: the bus first, then the record in one transaction, then the ledger.

In this order nothing that is only on its way can look lost: what the bus had delivered is in the rows, and what the rows say
was sent is in the ledger. What the ledger took meanwhile for deliveries that the rows do not know yet is left out.
"""

import asyncio
import time
from pathlib import Path

from msgspec.structs import replace

from nurture_local.bus_state import BusSilent
from nurture_local.verify import ledger as ledgers
from nurture_local.verify import record, stream
from nurture_local.verify.history import Effect, Snapshot
from nurture_local.verify.record import Unreadable

__all__ = ["Snapshot", "Unreadable", "addresses", "take"]


async def take(
    admin_url: str,
    publish_schema: str = "public",
    ledger: Path | str | None = None,
    nats_url: str | None = None,
    *,
    messages: bool = False,
) -> Snapshot:
    """Everything that the checks need. Reads only: no consumer is made, nothing is locked.

    `messages` also reads every message of the bus.
    A ledger or a bus that cannot be read is left out, and `without` says why. Raises Unreadable.
    """
    without: dict[str, str] = {}
    bus = None
    if nats_url is None:
        without["bus"] = "its address is not known here"
    else:
        try:
            bus = await stream.stand(nats_url)
        except BusSilent as error:
            without["bus"] = str(error)
    before = time.time()
    found = await record.read(admin_url, publish_schema)
    effects: list[Effect] | None = None
    if ledger is None:
        without["ledger"] = "only a sandbox has one"
    else:
        try:
            effects = _by_then(await asyncio.to_thread(ledgers.read, ledger), found, before)
        except ledgers.NoLedger as error:
            without["ledger"] = str(error)
    if bus is not None and nats_url is not None and messages:
        try:
            bus = replace(bus, messages=await stream.messages(nats_url, bus.streams, addresses(found)))
        except BusSilent as error:
            without["messages"] = str(error)
    return replace(found, ledger=effects, bus=bus, without=without)


def _by_then(effects: list[Effect], found: Snapshot, before: float) -> list[Effect]:
    return [
        one
        for one in effects
        if one.real_at <= before or (one.delivery_id is not None and one.delivery_id in found.deliveries)
    ]


def addresses(history: Snapshot) -> frozenset[str]:
    """Every address that a person has or had, in lower case."""
    known = {one.address.lower() for one in history.contacts if one.address}
    known |= {one.address.lower() for one in history.deliveries.values() if one.address}
    return frozenset(known)
