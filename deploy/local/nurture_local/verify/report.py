"""Pure: verdicts as data and as lines, with the sources that they rest on."""

from collections.abc import Iterable, Iterator
from typing import Any

from nurture_local.verify.history import Snapshot
from nurture_local.verify.timeline import clock, timeline
from nurture_local.verify.verdict import Bad, Verdict

SHOWN = 20
"""Ids shown of each check; JSON has all of them."""
MOMENTS = 12
WIDTH = 80
_MARK = {True: "✓", False: "✗"}


def sources(history: Snapshot) -> dict[str, str]:
    """What was looked at, and how much of it; of what could not be, why not."""
    claimed = sum(len(claim.members) for claim in history.claims if not claim.test)
    provider_ids = sum(one.provider_id is not None for one in history.deliveries.values())
    found = {
        "rows": f"{len(history.deliveries):,} deliveries of {len(history.enrolments):,} enrolments",
        "claims": f"{len(history.claims):,} of email for {claimed:,}, {len(history.telegram_claims):,} of telegram",
        "provider ids": f"{provider_ids:,}",
        "events": f"{len(history.events):,}",
    }
    if history.ledger is not None:
        found["ledger"] = f"{len(history.ledger):,} effects"
    if history.bus is not None:
        found["bus"] = f"{len(history.bus.consumers):,} consumers"
        if history.bus.messages is not None:
            found["bus"] += f", {len(history.bus.messages):,} messages"
    return found | {source: f"not looked at: {why}" for source, why in history.without.items()}


def as_data(history: Snapshot, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Everything, for JSON: each bad id with its reason and its timeline."""
    verdicts = list(verdicts)
    return {
        "ok": all(one.ok for one in verdicts),
        "taken_at": history.taken_at.isoformat(),
        "sources": sources(history),
        "checks": [
            {
                "check": one.check,
                "name": one.name,
                "of": one.of,
                "skipped": one.skipped,
                "bad": [{**_item(bad), "timeline": _timeline(history, bad)} for bad in one.bad],
                "open": [_item(bad) for bad in one.open],
                "listed": [_item(bad) for bad in one.listed],
                "notes": one.notes,
            }
            for one in verdicts
        ],
    }


def _item(bad: Bad) -> dict[str, str]:
    return {"id": bad.id, "why": bad.why}


def _timeline(history: Snapshot, bad: Bad) -> list[dict[str, str]]:
    return [
        {"at": moment.at.isoformat(), "source": moment.source, "what": moment.what}
        for moment in timeline(history, bad.id)
    ]


def lines(history: Snapshot, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """For people, each line as it is, 80 columns where ids allow it."""
    for source, told in sources(history).items():
        yield f"  {source:<13}{told}"
    verdicts = list(verdicts)
    for one in verdicts:
        yield from _of(history, one)
    if len(verdicts) > 1:
        yield _together(verdicts)


def _together(verdicts: list[Verdict]) -> str:
    """The answer in a line."""
    bad = [one.check for one in verdicts if not one.ok]
    looked = sum(one.skipped is None for one in verdicts)
    unlooked = "" if looked == len(verdicts) else f"; {len(verdicts) - looked} could not be made, as said above"
    if bad:
        return f"✗ {len(bad)} of {looked} checks found something: {', '.join(bad)}{unlooked}"
    return f"✓ all {looked} checks found nothing wrong{unlooked}"


def _of(history: Snapshot, one: Verdict) -> Iterator[str]:
    head = f"{one.check:<4}{one.name:<13}"
    if one.skipped is not None:
        yield f"– {head}not checked: {one.skipped}"
        return
    told = f"{len(one.bad):,} of {one.of:,}"
    if one.open:
        told += f", {len(one.open):,} open"
    words = [told, *one.notes]
    line = f"{_MARK[one.ok]} {head}{words.pop(0)}"
    for word in words:
        if len(line) + len(word) + 3 > WIDTH:
            yield line
            line = f"{'':<19}{word}"
        else:
            line += f" · {word}"
    yield line
    yield from _ids(one.bad, history)
    yield from _ids(one.listed, None)
    yield from _ids(one.open[:3], None, most=len(one.open), word="open: ")


def _ids(found: list[Bad], history: Snapshot | None, most: int = 0, word: str = "") -> Iterator[str]:
    for bad in found[:SHOWN]:
        yield f"    {bad.id}  {word}{bad.why}"
        for moment in timeline(history, bad.id, MOMENTS) if history is not None else ():
            yield f"      {clock(moment.at)}  {moment.source:<10} {moment.what}"
    left = max(most, len(found)) - min(len(found), SHOWN)
    if left > 0:
        yield f"    … and {left:,} more"
