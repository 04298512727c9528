"""variants: which words of a step do better, and how sure that is."""

import json
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nurture_local.terminal import Where, console, show_table, write


def variants(
    sequence_type: Annotated[str, Parameter(name="TYPE")],
    /,
    *,
    version: Annotated[int | None, Parameter(help="Its latest version where it is left out.")] = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    data_dir: Where = None,
) -> int:
    """Compare the variants of each step of a sequence, with a bound on error that holds however often you look.

    PEOPLE were sent the step; RESPONDED are those of them who clicked, pressed, replied or reached a goal, machines left out.
    """
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.get("/admin/api/nurture/analytics/variants", sequence_type=sequence_type, version=version)
    if output == "json":
        write(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    for step in told["steps"]:
        _show(step)
    if not told["steps"]:
        console.print(f"No step of {sequence_type} version {told['version']} has variants.", markup=False)
    return 0


def _show(step: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    which = ", ".join(map(str, step["versions"]))
    name = f" {step['name']}" if step["name"] else ""
    versions = f"version{'s' if len(step['versions']) > 1 else ''} {which}"
    console.print(f"{step['sequence_type']} step {step['step']}{name} ({versions}): {step['verdict']}", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("VARIANT")
    for column in (
        "SHARE",
        "PEOPLE",
        "DELIVERED",
        "RESPONDED",
        "RATE",
        "95 % INTERVAL",
        "COMPLAINTS",
        "UNSUBSCRIBES",
    ):
        table.add_column(column, justify="right")
    for arm in step["arms"]:
        told = arm["rate"] is not None
        table.add_row(
            escape(arm["name"]),
            f"{arm['share']:.0%}",
            *(f"{arm[field]:,}" for field in ("people", "delivered", "conversions")),
            f"{arm['rate']:.1%}" if told else "–",
            f"{arm['low']:.1%} to {arm['high']:.1%}" if told else "–",
            *(f"{arm[field]:,}" for field in ("complaints", "unsubscribes")),
        )
    show_table(table)
    evidence = f"{step['evidence']:,.0f}" if step["evidence"] >= 100 else f"{step['evidence']:.3g}"
    console.print(f"{step['words']}\nevidence {evidence}; a difference is called from 20 on\n", markup=False)
