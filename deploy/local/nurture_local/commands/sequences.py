"""sequences ls, show, lint, publish, pause, resume."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter

from nurture_local.commands import holds
from nurture_local.terminal import Failure, Where, console, write

sequences = App(name="sequences", help="List, show, check, publish, pause and resume sequences.")
Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]

_PATIENCE = 15.0


@sequences.command(alias="list")
def ls(*, output: Output = "table", data_dir: Where = None) -> int:
    """List the latest version of every type."""
    from rich.table import Table

    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        found = gateway.get("/admin/api/sequences")
    if output == "json":
        write(json.dumps(found, indent=2))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("TYPE", "VERSION", "STEPS", "PUBLISHED"):
        table.add_column(column)
    for row in found:
        table.add_row(row["type"], str(row["version"]), str(row["steps"]), row["published_at"])
    console.print(table)
    return 0


@sequences.command
def show(
    type_: Annotated[str, Parameter(name="TYPE")], /, *, version: int | None = None, data_dir: Where = None
) -> int:
    """Print a sequence as TOML, ready to be edited and published again."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        write(gateway.get(f"/admin/api/sequences/{quote(type_, safe='')}", version=version)["toml"])
    return 0


@sequences.command
def lint(file: Path, /, *, data_dir: Where = None) -> int:
    """Check a TOML file; nothing is published."""
    from nurture_local.gateway import finding_line

    answer = _send("/admin/api/sequences/lint", file, data_dir)
    findings = answer.get("findings") or []
    for finding in findings:
        console.print(f"  {finding_line(finding)}", markup=False)
    console.print(f"{file}: could be published" + (f", with {len(findings)} remarks" if findings else ""), markup=False)
    return 0


@sequences.command
def publish(file: Path, /, *, data_dir: Where = None) -> int:
    """Publish a TOML file as the next version of its type."""
    answer = _send("/admin/api/sequences", file, data_dir)
    console.print(f"published {answer['type']} version {answer['version']}", markup=False)
    return 0


@sequences.command
def pause(type_: Annotated[str, Parameter(name="TYPE")], /, *, data_dir: Where = None) -> int:
    """Hold everybody in TYPE where they are, also who is started meanwhile; nobody is lost."""
    held = holds.act("pause", data_dir, type_=type_)
    console.print(f"paused {held['type']}: running enrolments that wait: {held['enrolments']}", markup=False)
    return 0


@sequences.command
def resume(type_: Annotated[str, Parameter(name="TYPE")], /, *, data_dir: Where = None) -> int:
    """Let TYPE go on. Steps that came due meanwhile go out, or expire when they are too late."""
    holds.show_resumed(holds.act("resume", data_dir, type_=type_))
    return 0


def _send(path: str, file: Path, data_dir: Path | None) -> dict[str, Any]:
    from nurture_local.gateway import Gateway

    try:
        text = file.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None
    with Gateway.at(data_dir) as gateway:
        return gateway.result(gateway.post_text(path, text, "application/toml"), _PATIENCE)
