"""The email room's statements where a provider knows no key."""

from tests.simulation.statements import email as _email
from tests.simulation.statements.chassis import _after
from tests.simulation.tables import Session as _Session


def look_volley_beside(s: _Session):
    work = any(_goes_on(s, row) for row in _email._due(s))
    return [{"work": work or any(row["claim_id"] is None and not _email._is_held(s, row) for row in s.rows("pages"))}]


def claim_volley(s: _Session, volley, lease, now, settings, places):
    if _email._held(s):
        return []
    return _claim(s, volley, lease, now, settings, places, _email._due(s), s.rows("pages"))


def claim_volley_beside(s: _Session, volley, lease, now, settings, places):
    due = [row for row in _email._due(s) if _goes_on(s, row)]
    pages = [row for row in s.rows("pages") if not _email._is_held(s, row)]
    return _claim(s, volley, lease, now, settings, places, due, pages)


def _goes_on(s: _Session, row):
    return row["may_have_arrived"] or row["lease_until"] is not None or not _email._is_held(s, row)


def _claim(s: _Session, volley, lease, now, settings, places, due, pages):
    taken = []
    for row in sorted(due, key=lambda row: (row["next_at"], row["id"])):
        if len(taken) < places and s.lock("claims", row["id"], "skip"):
            taken.append(row)
    part, type = _part(s, places - len(taken), pages)
    answer = []
    until = _after(s.now, lease)
    for row in taken:
        arrived = row["may_have_arrived"] or row["lease_until"] is not None
        messages, fell, fallen = _checked(
            s, [one for one in row["members"] if str(one) not in row["results"]], now, arrived
        )
        claim = s.update(
            "claims", row["id"], attempt=row["attempt"] + 1, fence=row["fence"] + 1, may_have_arrived=arrived,
            lease_until=until, next_at=until, first_call_at=row["first_call_at"] or s.now, volley=volley,
            render=row["render"] or settings, results={**row["results"], **fallen},
        )  # fmt: skip
        answer.append(_email._told(s, claim, messages, fell))
    for member in dict.fromkeys(part):
        if s.get("claims", member) is not None:
            continue
        messages, fell, fallen = _checked(s, [member], now, False)
        claim = {
            **_email._NEW, "id": member, "members": [member], "sequence_type": type, "attempt": 1, "fence": 1,
            "lease_until": until, "next_at": until, "first_call_at": s.now, "render": settings, "results": fallen,
            "volley": volley, "created_at": s.now,
        }  # fmt: skip
        if s.insert("claims", member, claim):
            answer.append(_email._told(s, claim, messages, fell))
    return sorted(answer, key=lambda row: row["id"])


def _part(s: _Session, places, pages):
    """The next members of one waiting page, and of which type they are."""
    if places < 1:
        return [], ""
    for page in sorted(pages, key=lambda row: (row["received_at"], row["id"])):
        if page["claim_id"] is None and s.lock("pages", page["id"], "skip"):
            part = page["members"][page["taken"] : page["taken"] + places]
            upto = page["taken"] + len(part)
            s.update("pages", page["id"], taken=upto, claim_id=part[-1] if upto >= len(page["members"]) else None)
            return part, page["sequence_type"]
    return [], ""


def _checked(s: _Session, members, now, arrived):
    messages = {member: _email._outbound(s, member) for member in members}
    fell = {member: why for member in members if (why := _email._fell(s, messages[member], now, arrived))}
    fallen = {
        str(member): {"outcome": why.split("/")[0], "reason": why.split("/")[1], "late": arrived}
        for member, why in fell.items()
    }
    return messages, fell, fallen


def volley_settle(s: _Session, ids, fences, results):
    answer = []
    for id, fence, result in zip(ids, fences, results, strict=True):
        claim = s.get("claims", id)
        ours = claim["fence"] == fence and claim["state"] == "open"
        answer.append({"id": id, "ours": ours, "before": claim["fence"] == fence and claim["state"] == "settled"})
        if ours:
            s.update("claims", id, state="settled", results=result, settled_at=s.now, lease_until=None)
    return answer


def volley_retry(s: _Session, ids, fences, waits, arrived, restarts):
    answer = []
    for id, fence, wait, may_have, restart in zip(ids, fences, waits, arrived, restarts, strict=True):
        claim = s.get("claims", id)
        if claim["fence"] == fence and claim["state"] == "open":
            s.update(
                "claims", id, lease_until=None, next_at=_after(s.now, wait), may_have_arrived=may_have,
                first_call_at=None if restart else claim["first_call_at"],
            )  # fmt: skip
            answer.append({"id": id})
    return answer


def volley_give_back(s: _Session, volleys):
    rows = [
        row for row in s.rows("claims") if row["volley"] in volleys and row["state"] == "open" and row["lease_until"]
    ]
    for row in rows:
        s.update("claims", row["id"], lease_until=None, next_at=s.now)
    return [{"id": row["id"]} for row in rows]
