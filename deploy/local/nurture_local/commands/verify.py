"""verify duplicates, lost, analytics, all: whether the record, the bus and the sandbox's ledger agree."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from nurture_local.terminal import FAILED, UNREACHABLE, Failure, Where, console, write

verify = App(
    name="verify",
    help="Look for anything that was lost or sent twice: rows, claims, provider ids, events and the bus against each other, in "
    "the sandbox against its ledger too. It only reads, and may run while messages are being sent.",
)
Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]


@verify.command
def duplicates(*, output: Output = "table", data_dir: Where = None) -> int:
    """Nobody got a message twice. Prints `0 of N`, or each id with the reason and what happened around it."""
    from nurture_local.verify import examine

    return _told(data_dir, output, examine.duplicates)


@verify.command
def lost(*, output: Output = "table", data_dir: Where = None) -> int:
    """Every start has its enrolments, every step its delivery, every delivery an end or a place where it waits; what is
    said to be sent was sent."""
    from nurture_local.verify import examine

    return _told(data_dir, output, examine.lost)


@verify.command
def analytics(*, output: Output = "table", data_dir: Where = None) -> int:
    """Every number of analytics, counted once more from the log of events. Prints `0 of N`, or each counter that differs."""
    from nurture_local.verify import examine

    return _told(data_dir, output, examine.analytics)


@verify.command(name="all")
def all_(*, output: Output = "table", data_dir: Where = None) -> int:
    """Every check: also phantoms, unknowns, projections and their order, what stands still, refusals, times and rates,
    counts, the bus, secrets. Exit code 1 when one found something."""
    from nurture_local.gateway import Gateway
    from nurture_local.verify import examine

    def rest() -> dict[str, int] | None:
        try:
            with Gateway.at(data_dir) as gateway:
                return gateway.get("/admin/api/deliveries/summary")
        except Failure:
            return None  # the gateway may be down; what the record says stands by itself

    return _told(data_dir, output, lambda place: examine.everything(place, rest if place.running else lambda: None))


def _told(data_dir: Path | None, output: str, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> int:
    from nurture_local.verify import place, report
    from nurture_local.verify.record import Unreadable

    found = place.find(data_dir)
    try:
        history, verdicts = asyncio.run(ask(found))
    except Unreadable as error:
        raise Failure(str(error), code=UNREACHABLE) from None
    failed = not all(one.ok for one in verdicts)
    if output == "json":
        write(json.dumps(report.as_data(history, verdicts), indent=2, ensure_ascii=False))
    else:
        for line in report.lines(history, verdicts):
            console.print(line, markup=False, style=_style(line))
    return FAILED if failed else 0


def _style(line: str) -> str:
    return {"✓": "green", "✗": "bold red", "–": "dim"}.get(line[:1], "")
