"""Asks the checks of a live installation. What is only on its way is no fault, so a fault has to be there twice."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from nurture_local.verify import checks, files, snapshot
from nurture_local.verify.history import Snapshot
from nurture_local.verify.inputs import Rate
from nurture_local.verify.place import Place
from nurture_local.verify.verdict import Verdict

PATIENCE = 120.0
"""Real seconds: a lease and half a minute for whoever takes it up."""
AGAIN = 3.0
_ACCOUNTS = (("email", "resend"), ("email", "smtp"), ("telegram", "telegram"))
_KEPT_BACK = {"email": 1.0, "telegram": 0.9}
"""Share of the allowed rate that a room's pace uses."""
Examined = tuple[Snapshot, list[Verdict]]


async def duplicates(place: Place) -> Examined:
    """C1 alone."""
    return await _twice(place, lambda history: [checks.c1_duplicates(history)])


async def lost(place: Place) -> Examined:
    """C2, and C3: what is said to be sent and never was is lost as well."""
    return await _twice(place, lambda history: [checks.c2_loss(history), checks.c3_truth(history)])


async def analytics(place: Place) -> Examined:
    """C11 of the counters: every number of analytics counted once more from the log."""
    return await _twice(place, lambda history: [checks.c11_analytics(history)])


async def everything(place: Place, rest: Callable[[], dict[str, int] | None] = lambda: None) -> Examined:
    """All checks that can be asked of a live installation. `rest` gives the summary of the REST API, if there is one."""
    leaks = await asyncio.to_thread(_Searched, place)

    def ask(history: Snapshot, summary: dict[str, int] | None) -> list[Verdict]:
        return [
            checks.c1_duplicates(history),
            checks.c2_loss(history),
            checks.c3_truth(history),
            checks.c4_phantoms(history),
            checks.c5_window(history),
            checks.c6_projections(history),
            checks.c7_order(history),
            checks.c8_liveness(history, patience=PATIENCE),
            checks.c9_suppression(history),
            checks.c10_schedule(history, rates=rates(history, place)),
            checks.c11_counts(history, rest=summary if _still(history) else None),
            *leaks.verdicts(history),
        ]

    async def look() -> Examined:
        before = await asyncio.to_thread(rest)
        history = await _take(place, messages=True)
        # What changed while we looked is compared with nothing.
        summary = before if await asyncio.to_thread(rest) == before else None
        return history, await asyncio.to_thread(ask, history, summary)

    return await _again(look)


async def _twice(place: Place, ask: Callable[[Snapshot], list[Verdict]]) -> Examined:
    async def look() -> Examined:
        history = await _take(place)
        return history, await asyncio.to_thread(ask, history)

    return await _again(look)


async def _again(look: Callable[[], Awaitable[Examined]]) -> Examined:
    history, first = await look()
    if all(one.ok for one in first):
        return history, first
    await asyncio.sleep(AGAIN)
    history, second = await look()
    return history, [_still_bad(before, after) for before, after in zip(first, second, strict=True)]


async def _take(place: Place, *, messages: bool = False) -> Snapshot:
    return await snapshot.take(place.admin_url, place.publish_schema, place.ledger, place.nats_url, messages=messages)


def _still_bad(before: Verdict, after: Verdict) -> Verdict:
    """What was found both times; what is new may be on its way as the first was, and counts as open."""
    known = {bad.id for bad in before.bad}
    new = [bad for bad in after.bad if bad.id not in known]
    return replace(after, bad=[bad for bad in after.bad if bad.id in known], open=[*after.open, *new])


def _still(history: Snapshot) -> bool:
    """Whether nothing moves, so that two looks have to count the same."""
    waiting = any(one.open for one in history.deliveries.values())
    return not waiting and not any(
        one.pending + one.ack_pending for one in (history.bus.consumers if history.bus else ())
    )


def rates(history: Snapshot, place: Place) -> dict[str, Rate]:
    """What the rooms keep to now, with room for calls that gathered behind a stall of this machine. Emails that went to
    another provider before kept to another rate: the quicker one is asked for."""
    allowed: dict[str, float] = {}
    for channel, account in _ACCOUNTS:
        if history.pace.get(account):
            rate = round(_KEPT_BACK[channel] ** -1 / history.pace[account], 2)
            allowed[channel] = max(rate, allowed.get(channel, 0.0))
    return {channel: Rate(per_second=rate, slack=place.slack(channel)) for channel, rate in allowed.items()}


class _Searched:
    """The files of this machine: the store of the bus for people's addresses, the logs and the store for secrets."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._bus = files.below([place.bus_files]) if place.bus_files else []
        logs = files.below([place.logs]) if place.logs else []
        self._all = [*logs, *self._bus]
        self._secrets = list(files.search(self._all, place.secrets)) if place.secrets else []

    def verdicts(self, history: Snapshot) -> list[Verdict]:
        personal = list(files.personal(self._bus, snapshot.addresses(history)))
        size = sum(_size(path) for path in self._bus)
        secrets = checks.c13_secrets(self._secrets, canaries=len(self._place.secrets), files=len(self._all))
        return [checks.c12_bus(history, hits=personal, bytes_read=size), secrets]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
