"""trigger: start a sequence for one person or for everybody."""

import json
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nurture_local.terminal import Failure, Where, console, usage

_PATIENCE = 600.0
_SHORT_PATIENCE = 15.0


def trigger(
    *words: Annotated[str, Parameter(name="PERSON TYPE")],
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    context: Annotated[list[str] | None, Parameter(name=["--context", "-c"], negative=())] = None,
    channel: Literal["email", "telegram"] | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative=())] = False,
    wait: bool = True,
    data_dir: Where = None,
) -> int:
    """Start a sequence: `trigger PERSON TYPE`, or `trigger --all TYPE`.

    Parameters
    ----------
    words
        PERSON is an id or external_id; TYPE is a sequence, like onboarding.
    all_
        Everybody who can be reached, in one call.
    context
        KEY=VALUE for the wording; the value may be JSON. May be given several times.
    channel
        Send over this channel whatever the person's preference.
    yes
        On a live channel: do not ask before many people are written to.
    wait
        Wait until everybody is started or refused, 10 minutes at most (one person: 15 s).
    """
    from nurture_local.gateway import Gateway

    wanted = 1 if all_ else 2
    if len(words) != wanted:
        usage("trigger takes PERSON TYPE, or --all TYPE")
    body: dict[str, Any] = {"sequence_type": words[-1], "context": dict(map(pair, context or []))}
    body |= {"segment": "all"} if all_ else {"user_id": words[0]}
    if channel:
        body["override_channel"] = channel
    with Gateway.at(data_dir) as gateway:
        try:
            answer = gateway.post("/admin/api/nurture/trigger", body)
        except Failure as failure:
            people = failure.problem.get("people")
            if failure.problem.get("code") != "confirm_needed" or not isinstance(people, int):
                raise
            _confirm(people, yes)
            answer = gateway.post("/admin/api/nurture/trigger", body | {"confirm": people})
        if wait and "status_url" in answer:
            report = gateway.settled(answer["status_url"], _PATIENCE if all_ else _SHORT_PATIENCE)
            answer = answer if report is None else report if all_ else report["result"]
        _show(answer)
    return 0


def _show(answer: dict[str, Any]) -> None:
    if "enrolment_id" in answer:
        console.print(
            f"{answer['sequence_type']} version {answer['version']} started: step {answer['step']} "
            f"by {answer['channel']} at {answer['scheduled_at']} (enrolment {answer['enrolment_id']})",
            markup=False,
        )
    elif "refused_by_reason" in answer:
        console.print(f"started {answer['started']}, refused {answer['refused_count']}")
        for reason, count in answer["refused_by_reason"].items():
            console.print(f"  {count} refused: {reason.replace('_', ' ')}", markup=False)
    else:
        console.print(f"accepted, will be done: {answer.get('status_url', answer)}", markup=False)


def pair(word: str) -> tuple[str, Any]:
    """`KEY=VALUE` with VALUE read as JSON where it is JSON. Raises Failure."""
    key, equals, value = word.partition("=")
    if not key or not equals:
        usage(f"--context {word}: takes KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _confirm(people: int, yes: bool) -> None:
    if yes:
        return
    if sys.stdin.isatty():
        answer = console.input(f"The channel is LIVE and this concerns {people} people. Send? [y/N] ")
        if answer.strip().lower() in ("y", "yes"):
            return
        raise Failure("nothing was sent")
    raise Failure(f"the channel is LIVE and this concerns {people} people", "repeat with --yes to send")
