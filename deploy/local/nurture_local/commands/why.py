"""why, score: what is decided about a person, what is known of them, in words."""

import json
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from cyclopts import Parameter

from nurture_local.commands.holds import hold_line
from nurture_local.terminal import Where, console, show_table, write

Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]
_NOT_SENT = ("skip", "expire", "fail")


def why(
    person: str,
    /,
    *,
    sequence: Annotated[str | None, Parameter(help="Only of this type.")] = None,
    limit: Annotated[int, Parameter(help="Deliveries at most, newest first; up to 200.")] = 50,
    output: Output = "table",
    data_dir: Where = None,
) -> int:
    """Say of each of PERSON's messages, newest first, why it was sent, why on that channel, or why it was not sent."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.get(f"/admin/api/users/{quote(person, safe='')}/why", sequence_type=sequence, limit=limit)
    if output == "json":
        write(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    zone = zone_of(told["person"])
    for line in [*introduction(told, zone), *(line for one in told["deliveries"] for line in account(one, zone))]:
        console.print(line, markup=False)
    if not told["deliveries"]:
        console.print("No message was decided yet.")
    return 0


def zone_of(person: dict[str, Any]) -> tzinfo:
    """The person's zone; UTC when theirs is not known here, as planning does."""
    try:
        return ZoneInfo(person.get("timezone") or "UTC")
    except (OSError, ValueError, KeyError):
        return UTC


def introduction(told: dict[str, Any], zone: tzinfo) -> list[str]:
    """Who it is, how they may be reached, what their scores are, where they stand, which starts were refused."""
    person = told["person"]
    name = person.get("first_name") or "Somebody without a name"
    known_as = person.get("external_id") or person["id"]
    facts = [f"{one['channel']} {_contact(one)}" for one in told["contacts"]] or ["no address"]
    if person.get("preferred_channel"):
        facts.append(f"prefers {person['preferred_channel']}")
    lines = [f"{name} ({known_as}): {', '.join(facts)}"]
    if told["scores"]:
        lines.append("scores: " + ", ".join(f"{kind} {score:.0f}" for kind, score in told["scores"].items()))
    lines += [f"held: {hold_line(hold)}" for hold in told.get("holds", []) if _concerns(hold, told["enrolments"])]
    for enrolment in told["enrolments"]:
        line = f"{enrolment['sequence_type']} version {enrolment['sequence_version']}: {enrolment['state']}"
        if enrolment["state"] == "active":
            line += f", step {enrolment['step']} is due {moment(enrolment.get('next_at'), zone)}"
            line += ", paused" if enrolment.get("paused") else ""
        elif enrolment.get("ended_reason") not in (None, enrolment["state"]):
            line += f" ({enrolment['ended_reason']})"
        lines.append(line)
    for refusal in told.get("refusals", []):
        reason = refusal["detail"] or f"{refusal['code'].replace('_', ' ')}."
        lines.append(f"{refusal['sequence_type']}: refused {moment(refusal['at'], zone)}: {reason}")
    return lines


def _concerns(hold: dict[str, Any], enrolments: list[dict[str, Any]]) -> bool:
    types = {one["sequence_type"] for one in enrolments if one["state"] == "active"}
    return hold["sequence_type"] in ("*", *types)


def _contact(contact: dict[str, Any]) -> str:
    if contact["consent"] != "granted":
        return "refused"
    return contact["state"] + (f" ({contact['reason']})" if contact.get("reason") else "")


def account(told: dict[str, Any], zone: tzinfo) -> list[str]:
    """One delivery: what became of it, and the reasons as they were recorded."""
    channel = told["channel"].title()
    became = told["status"] + (f" ({told['failure_reason']})" if told.get("failure_reason") else "")
    head = f"{moment(told.get('scheduled_at'), zone)}  {told['sequence_type']} step {told['step']}"
    decided = told.get("decided")
    if decided in _NOT_SENT:
        lines = ["", f"{head}: not sent, {became}", f"  why not: {_words(told['reasons'])}"]
    elif decided is None:
        lines = ["", f"{head} by {channel}: {became}", "  why: the decision is not kept any more"]
    else:
        lines = ["", f"{head} by {channel}: {became}", f"  why {channel}: {_words(told['reasons'])}"]
    known = _inputs(told.get("inputs") or {})
    if known:
        lines.append(f"  known then: {known}")
    verdict = told.get("fallback")
    if verdict:
        followed = "the other channel took over" if verdict.get("decision") == "send" else "no other channel"
        lines.append(f"  after it failed, {followed}: {_words(verdict.get('reasons') or [])}")
    return lines


def _words(reasons: list[dict[str, Any]]) -> str:
    return " ".join(dict.fromkeys(reason["text"] for reason in reasons)) or "no reason was recorded."


def _inputs(inputs: dict[str, Any]) -> str:
    scores = inputs.get("scores") or {}
    parts = [f"{kind} score {score:.0f}" for kind, score in scores.items() if isinstance(score, int | float)]
    parts += [
        f"{channel} {_contact({**contact, 'reason': None})}"
        for channel, contact in (inputs.get("contacts") or {}).items()
    ]
    return ", ".join(parts)


def moment(text: str | None, zone: tzinfo) -> str:
    """A time of the API as that person's clock shows it."""
    if not text:
        return "at no time"
    at = datetime.fromisoformat(text)
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone}"


def score(person: str, /, *, output: Output = "table", data_dir: Where = None) -> int:
    """Show PERSON's scores, 0 to 100, and what each is made from."""
    from rich.markup import escape
    from rich.table import Table

    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.get(f"/admin/api/users/{quote(person, safe='')}/scores")
    if output == "json":
        write(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("SCORE")
    table.add_column("", justify="right")
    table.add_column("BECAUSE")
    for row in told["scores"]:
        table.add_row(row["score_type"], f"{float(row['score']):.1f}", escape(factors(row.get("factors") or {})))
    show_table(table)
    return 0


def factors(known: dict[str, Any]) -> str:
    """What a score is made from, in words: a line, and one for what it shows of late."""
    if known.get("blocked"):
        return "blocked: the person refused it, or the address is dead"
    rate = f"everybody's rate is {float(known['mean']):.0%}"
    occasions = "events" if "events" in known else "messages"
    counted = int(known.get(occasions, 0))
    if not counted:
        return f"no {occasions} yet; {rate}"
    name = occasions if counted != 1 else occasions[:-1]
    made = f"{counted} {name}, older ones counting less: {known['r']:.2f} of {known['n']:.2f} answered; {rate}"
    parts: list[str] = []
    newest = next(iter(known.get("last") or []), None)
    if newest:
        parts.append(f"last: {newest['kind']} on {str(newest['at'])[:10]}, {_worth(newest)}")
    parts += [f"{channel} {float(part['score']):.1f}" for channel, part in (known.get("parts") or {}).items()]
    return "\n".join([made, "; ".join(parts)] if parts else [made])


def _worth(answer: dict[str, Any]) -> str:
    if answer["kind"] in ("opened", "clicked") and not float(answer["credit"]):
        return "taken for a machine's, worth nothing"
    return f"worth {float(answer['credit']):g}"
