"""doctor: what is wrong, and how to mend it."""

import json
from typing import Annotated, Literal

from cyclopts import Parameter

from nurture_local.terminal import FAILED, Failure, Where, console, write

_MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[bold red]✗[/]", "skip": "[dim]–[/]"}


def doctor(
    *, output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table", data_dir: Where = None
) -> int:
    """Check everything, and say of each: what was found, what is wanted, how to mend it.

    Of an instance that is only named by NURTURE_URL (and, if set, NATS_URL and DATABASE_URL) it checks what it can see
    from here, and says what it could not. The exit code is 1 when a check failed; warnings do not count.
    """
    import msgspec

    from nurture_local.checkup.diagnosis import diagnose
    from nurture_local.checkup.facts import gather
    from nurture_local.instance import DataDirRefused

    try:
        findings = diagnose(gather(data_dir))
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    failed = [one for one in findings if one.verdict == "fail"]
    if output == "json":
        write(json.dumps({"ok": not failed, "checks": msgspec.to_builtins(findings)}, indent=2, ensure_ascii=False))
        return FAILED if failed else 0
    from rich.markup import escape

    width = max(len(one.check) for one in findings)
    for one in findings:
        line = f"{_MARKS[one.verdict]} [bold]{one.check:<{width}}[/] {escape(one.found)}"
        if one.wanted and one.verdict != "skip":
            line += f" [dim]· wanted: {escape(one.wanted)}[/]"
        if one.fix:
            line += f" · fix: {escape(one.fix)}"
        console.print(line)
    counts = {verdict: sum(one.verdict == verdict for one in findings) for verdict in _MARKS}
    told = f"{counts['ok']} well, {counts['warn']} warnings, {counts['fail']} failed"
    console.print(told + (f", {counts['skip']} not checked" if counts["skip"] else ""))
    return FAILED if failed else 0
