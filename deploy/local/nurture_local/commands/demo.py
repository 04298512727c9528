"""demo crash: kill services while they send, and see what became of every message."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from nurture_local.terminal import FAILED, console, errors, write

if TYPE_CHECKING:
    from nurture_local.crashing import Outcome

demo = App(name="demo", help="See promises kept, in an instance that is made for it and deleted afterwards.")


@demo.command
def crash(
    *,
    people: PositiveInt = 300,
    kills: PositiveInt = 8,
    seed: int = 1,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
) -> int:
    """Kill services with -9 while they send, and count what was lost or sent twice (about two minutes).

    It starts an instance of its own: own ports, own temporary folder, the sandbox as provider. Settings, keys and instances
    of yours are not looked at. The exit code is 0 only if nothing came twice, nothing is missing and no check of
    `verify all` found anything. Telegram has no idempotency key: what was under way in a process that died is `unknown`,
    listed, and not sent again.

    Parameters
    ----------
    people
        How many made-up people to import.
    kills
        How many processes to kill, one after another: email and telegram, then controller, gateway, scoring and nats.
    seed
        Another seed, other people and another order.
    """
    from nurture_local import crashing, throwaway

    say = errors if output == "json" else console
    say.print("A throw-away instance starts; nothing leaves this machine, and nothing of yours is touched.")
    with throwaway.instance({}) as instance:
        outcome = crashing.run(instance, people, kills, seed, lambda text: say.print(f"  {text}", markup=False))
    if output == "json":
        write(json.dumps(as_data(outcome), indent=2, ensure_ascii=False))
    else:
        console.print(table(outcome))
        for id, why in outcome.unknown:
            console.print(f"    {id}  {why}", markup=False, style="yellow")
        for line in findings(outcome):
            console.print(f"    {line}", markup=False, style="bold red")
        console.print(sentence(outcome))
    return 0 if outcome.ok else FAILED


def as_data(outcome: "Outcome") -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "ok": outcome.ok,
        "people": outcome.people,
        "started": outcome.started,
        "kills": [{"name": one.name, "messages": one.messages, "back_after": one.back_after} for one in outcome.kills],
        "messages": outcome.messages,
        "duplicates": outcome.duplicates,
        "missing": outcome.missing,
        "unknown": [{"id": id, "why": why} for id, why in outcome.unknown],
        "checks": [
            {"check": one.check, "name": one.name, "of": one.of, "bad": len(one.bad), "skipped": one.skipped}
            for one in outcome.verdicts
        ],
        "seconds": round(outcome.seconds, 1),
    }


def table(outcome: "Outcome") -> Any:
    """What was done, and what the sandbox's ledger and the record say together."""
    from rich.table import Table

    killed = Counter(one.name for one in outcome.kills)
    sent = ", ".join(f"{count:,} by {channel}" for channel, count in sorted(outcome.messages.items()))
    fine = sum(one.ok and one.skipped is None for one in outcome.verdicts)
    rows = (
        ("kills", f"{len(outcome.kills)}: {', '.join(f'{name} {count}' for name, count in killed.items())}", True),
        ("people", f"{outcome.started:,} of {outcome.people:,} started", outcome.started == outcome.people),
        ("messages", sent or "none", bool(sent)),
        ("duplicates", f"{outcome.duplicates:,}", not outcome.duplicates),
        ("missing", f"{outcome.missing:,}", not outcome.missing),
        ("unknown", f"{len(outcome.unknown):,}", True),
        ("checks", f"{fine} of {len(outcome.verdicts)} found nothing", fine == len(outcome.verdicts)),
    )
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, told, well in rows:
        shown.add_row(f"[green]✓[/] {name}" if well else f"[bold red]✗[/] {name}", told)
    return shown


def findings(outcome: "Outcome") -> list[str]:
    """Each bad id with its reason, and each check that could not look."""
    lines = [f"{one.check} {one.name}: {bad.id}  {bad.why}" for one in outcome.verdicts for bad in one.bad]
    return lines + [f"{one.check} {one.name}: not checked: {one.skipped}" for one in outcome.verdicts if one.skipped]


def sentence(outcome: "Outcome") -> str:
    """The verdict in words."""
    if not outcome.ok:
        return (
            f"[bold red]Not kept[/] after {outcome.seconds:.0f} s: see above; --seed repeats the same people and kills."
        )
    unknown = len(outcome.unknown)
    doubt = f"; {unknown} unknown, listed and not sent again" if unknown else ""
    return f"[bold green]Nothing sent twice, nothing missing[/]{doubt} ({outcome.seconds:.0f} s). The instance is gone."
