"""watch: deliveries by status while they move."""

import sys
import time
from typing import Annotated, Any

from cyclopts import Parameter

from nurture_local.terminal import Failure, Where, console

ORDER = (
    "pending", "sent", "delivered", "opened", "clicked", "bounced", "complained",
    "failed", "suppressed", "unknown", "expired", "cancelled",
)  # fmt: skip
_CALM = 3.0
_SILENCE = 15.0
"""For so long word of what was sent is waited for: a relay says nothing of mails that it has taken, and webhooks may be lost."""
_COLOURS = {"pending": "yellow", "sent": "yellow", "bounced": "red", "complained": "red", "failed": "red"}


def watch(
    *,
    until_settled: Annotated[bool, Parameter(negative=())] = False,
    timeout: float | None = None,
    every: float = 1.0,
    data_dir: Where = None,
) -> int:
    """Show deliveries by status, again and again; one line per change when not on a terminal.

    Parameters
    ----------
    until_settled
        End when there are deliveries, none is pending, and nothing has changed for three seconds; while some were sent
        and nobody has reported on them yet, for fifteen.
    timeout
        Give up after so many seconds, with exit code 1 when --until-settled was asked for.
    every
        Seconds between looks.
    """
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        if sys.stdout.isatty():
            from rich.live import Live

            with Live(console=console, auto_refresh=False) as live:
                return _follow(
                    gateway, until_settled, timeout, every, lambda *seen: live.update(board(*seen), refresh=True)
                )
        shown = ""

        def plain(counts: dict[str, int], active: str) -> None:
            nonlocal shown
            text = line(counts, active)
            if text != shown:
                shown = text
                console.print(text)

        return _follow(gateway, until_settled, timeout, every, plain)


def _follow(gateway: Any, until_settled: bool, timeout: float | None, every: float, show: Any) -> int:
    began = changed = time.monotonic()
    last: dict[str, int] | None = None
    try:
        while True:
            counts = gateway.get("/admin/api/deliveries/summary")
            now = time.monotonic()
            if counts != last:
                last, changed = counts, now
            show(counts, str(gateway.get("/admin/api/metrics")["active"]))
            if until_settled and settled(counts, now - changed):
                unreported = counts.get("sent", 0)
                console.print(
                    f"settled; of {unreported} that were sent there is no report" if unreported else "settled"
                )
                return 0
            if timeout is not None and now - began >= timeout:
                if until_settled:
                    raise Failure(f"not settled after {timeout:g} s: {line(counts, '')}")
                return 0
            time.sleep(every)
    except KeyboardInterrupt:
        return 0


def settled(counts: dict[str, int], quiet: float) -> bool:
    """Whether there are deliveries and all have got as far as they will get by themselves, as far as one can tell after so
    many seconds without a change."""
    return (
        sum(counts.values()) > 0 and not counts.get("pending") and quiet >= (_SILENCE if counts.get("sent") else _CALM)
    )


def ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Statuses as a message lives through them; those that we do not know last."""
    return sorted(
        ((status, count) for status, count in counts.items() if count),
        key=lambda pair: (ORDER.index(pair[0]) if pair[0] in ORDER else len(ORDER), pair[0]),
    )


def line(counts: dict[str, int], active: str) -> str:
    words = [f"{status} {count}" for status, count in ordered(counts)] or ["no deliveries yet"]
    return "  ".join([*words, *([f"active enrolments {active}"] if active else [])])


def board(counts: dict[str, int], active: str) -> Any:
    from rich.table import Table

    total = sum(counts.values())
    table = Table(
        box=None, pad_edge=False, title=f"{total} deliveries · {active} active enrolments", title_justify="left"
    )
    table.add_column("STATUS", min_width=12)
    table.add_column("COUNT", justify="right", min_width=8)
    table.add_column("", min_width=40)
    for status, count in ordered(counts):
        colour = _COLOURS.get(status, "green")
        table.add_row(status, str(count), f"[{colour}]{'█' * max(1, round(40 * count / total))}[/]")
    return table
