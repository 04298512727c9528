"""simulate: what a start would bring to whom, without starting anybody."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nurture_local.commands.trigger import pair
from nurture_local.terminal import Failure, Where, console, show_table, write

_PATIENCE = 120.0
_BAR = 40
_DAYS = 31


def simulate(
    what: Annotated[str, Parameter(name="TYPE-OR-FILE")],
    /,
    person: str | None = None,
    *,
    at: Annotated[datetime | None, Parameter(help="When it would be started; now by default.")] = None,
    channel: Literal["email", "telegram"] | None = None,
    failing: Annotated[
        list[Literal["email", "telegram"]] | None,
        Parameter(help="Take every message over this channel to bounce, to see the fallbacks.", negative=()),
    ] = None,
    context: Annotated[list[str] | None, Parameter(name=["--context", "-c"], negative=())] = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    data_dir: Where = None,
) -> int:
    """Tell what starting a sequence would do: who gets what, when and why. Nobody is started.

    Parameters
    ----------
    what
        A published sequence, like onboarding, or a TOML file that is not published yet.
    person
        Id or external_id; everybody where it is left out.
    channel
        As if it were triggered with --channel.
    context
        KEY=VALUE for the wording, as in trigger.
    """
    from nurture_local.gateway import Gateway

    body: dict[str, Any] = {"context": dict(map(pair, context or []))}
    body |= {"toml": _text(Path(what))} if what.endswith(".toml") else {"sequence_type": what}
    body |= {"user_id": person} if person else {"segment": "all"}
    if at:
        body["start_at"] = at.astimezone().isoformat()
    if channel:
        body["override_channel"] = channel
    if failing:
        body["failing"] = failing
    with Gateway.at(data_dir) as gateway:
        told = gateway.result(gateway.post("/admin/api/nurture/simulate", body), _PATIENCE)
    if output == "json":
        write(json.dumps(told, indent=2, ensure_ascii=False))
    elif person:
        _show_person(told["timelines"][0])
    else:
        _show(told)
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"cannot read {file}: it is not UTF-8") from None


def _show(told: dict[str, Any]) -> None:
    from rich.table import Table

    version = f"version {told['version']}" if told["version"] else "not published"
    people = f"{told['people']} people" + (f", chosen from {told['of']}" if told["of"] > told["people"] else "")
    console.print(
        f"{told['sequence_type']} ({version}), if it were started {_minute(told['start_at'])} UTC: {people}",
        markup=False,
    )
    if not told["people"]:
        console.print("Nobody is here yet: bring people first, with `nurture people import FILE`.", markup=False)
    console.print(f"would start {told['started']}, with {told['messages']} messages")
    for reason, count in told["refused_by_reason"].items():
        console.print(f"  {count} would be refused: {reason}", markup=False)
    if told["held"]:
        console.print("It is paused now: nothing of this would happen before it is resumed.")
    table = Table(box=None, pad_edge=False)
    for column in ("STEP", "EMAIL", "TELEGRAM", "FALLBACKS", "NOT SENT", "WORDS", "FIRST (UTC)", "LAST (UTC)"):
        table.add_column(column)
    for step in told["steps"]:
        table.add_row(
            f"{step['step']} {step['name'] or ''}".strip(),
            *(str(step[name]) for name in ("email", "telegram", "fallbacks")),
            _counts(step["not_sent"]),
            _counts(step["variants"] | step["tiers"]),
            *(_minute(step[name] or "") for name in ("first_at", "last_at")),
        )
    show_table(table)
    most = max((day["email"] + day["telegram"] for day in told["days"]), default=0)
    for day in told["days"][:_DAYS]:
        number = day["email"] + day["telegram"]
        console.print(f"{day['day']}  {'█' * max(1, round(number / most * _BAR))} {number}", markup=False)
    if len(told["days"]) > _DAYS:
        console.print(f"and {len(told['days']) - _DAYS} more days")
    for fullest in told["busiest"]:
        minute = _minute(fullest["minute"])
        console.print(f"fullest minute of {fullest['channel']}: {minute} UTC, {fullest['messages']} messages")


def _minute(moment: str) -> str:
    """An API's time in UTC, as far as people read it; empty where there is none."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _show_person(timeline: dict[str, Any]) -> None:
    if timeline["refused"]:
        console.print(f"would not be started: {timeline['refused']['detail']}", markup=False)
    for event in timeline["events"]:
        head = f"{event['local_time']} {timeline['timezone']}  step {event['step']}"
        words = " ".join(dict.fromkeys(reason["text"] for reason in event["reasons"]))
        if event["decision"] == "send":
            instead = " instead" if event["fallback"] else ""
            ended = f", which fails ({event['failed']})" if event["failed"] else ""
            console.print(f"{head} by {event['channel'].title()}{instead}{ended}", markup=False)
            console.print(f"  why: {words}", markup=False)
        else:
            console.print(f"{head}: not sent", markup=False)
            console.print(f"  why not: {words}", markup=False)
