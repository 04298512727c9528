"""Takes a snapshot: the bus first, then the record in one transaction, then the ledger as far as it was by then.

In this order nothing that is only on its way can look lost or made up: what the bus had delivered is in the rows, and what
the rows say was sent is in the ledger.
"""

from pathlib import Path

from nurture_chassis.clock import Clock

from nurture_local.verify.history import Snapshot

__all__ = ["Snapshot", "take"]


async def take(
    admin_url: str,
    publish_schema: str = "public",
    ledger: Path | None = None,
    nats_url: str | None = None,
    *,
    clock: Clock | None = None,
    messages: bool = False,
) -> Snapshot:
    """Everything that the checks need. Reads only: no consumer is made, nothing is locked.

    `clock` is the installation's business clock where it is not real time; `messages` also reads every message of the bus.
    Raises Unreadable.
    """
    raise NotImplementedError
