"""The email room's statements. Test mails are not simulated."""

from nurture_controller.sequence import kind_of as _kind_of

from tests.simulation.statements.chassis import _after
from tests.simulation.tables import Session as _Session

_NEW = {
    "test": False, "state": "open", "attempt": 0, "refusals": 0, "fence": 0, "lease_until": None, "first_call_at": None,
    "may_have_arrived": False, "render": None, "results": {}, "settled_at": None, "volley": None,
    "sequence_type": "",
}  # fmt: skip


def page_take(s: _Session, id, members, test):
    assert not test
    message = _outbound(s, members[0])
    made = s.insert("pages", id, {
        "id": id, "members": members, "test": False, "received_at": s.moment, "claim_id": None, "taken": 0,
        "sequence_type": message["sequence_type"] if message else "",
    })  # fmt: skip
    return int(made)


def look(s: _Session, account):
    work = any(row["state"] == "open" and row["next_at"] <= s.now for row in s.rows("claims"))
    work = work or any(row["claim_id"] is None for row in s.rows("pages"))
    return [{"work": work, "parked": _parked(s, account), "held": bool(_held(s))}]


def look_beside(s: _Session):
    work = any(row["state"] == "open" and row["next_at"] <= s.now for row in s.rows("claims"))
    return [{"work": work or any(row["claim_id"] is None and not _is_held(s, row) for row in s.rows("pages"))}]


def claim_next(s: _Session, id, lease, now, settings, full):
    if _held(s):
        return []
    return _claim(s, id, lease, now, settings, full, s.rows("pages"))


def claim_next_beside(s: _Session, id, lease, now, settings, full):
    return _claim(s, id, lease, now, settings, full, [row for row in s.rows("pages") if not _is_held(s, row)])


def _claim(s: _Session, id, lease, now, settings, full, pages):
    due = next((row for row in _due(s) if s.lock("claims", row["id"], "skip")), None)
    members = []
    arrived = False
    if due:
        arrived = due["may_have_arrived"] or due["lease_until"] is not None
        members = [member for member in due["members"] if str(member) not in due["results"]]
    else:
        upto = 0
        for page in sorted(pages, key=lambda row: (row["received_at"], row["id"])):
            if page["claim_id"] is None:
                upto += len(page["members"])
                if upto <= full and s.lock("pages", page["id"], "skip"):
                    s.update("pages", page["id"], claim_id=id)
                    members += page["members"]
        members = list(dict.fromkeys(members))
        if not members:
            return []
    messages = {member: _outbound(s, member) for member in members}
    fell = {member: why for member in members if (why := _fell(s, messages[member], now, arrived))}
    fallen = {
        str(member): {"outcome": why.split("/")[0], "reason": why.split("/")[1], "late": arrived}
        for member, why in fell.items()
    }
    until = _after(s.now, lease)
    if due:
        claim = s.update(
            "claims", due["id"], attempt=due["attempt"] + 1, fence=due["fence"] + 1, may_have_arrived=arrived,
            lease_until=until, next_at=until, first_call_at=due["first_call_at"] or s.now,
            render=due["render"] or settings, results={**due["results"], **fallen},
        )  # fmt: skip
    else:
        claim = {
            **_NEW, "id": id, "members": members, "attempt": 1, "fence": 1, "lease_until": until, "next_at": until,
            "first_call_at": s.now, "render": settings, "results": fallen, "created_at": s.now,
        }  # fmt: skip
        s.insert("claims", id, claim)
    return [_told(s, claim, messages, fell)]


def _told(s: _Session, claim, messages, fell):
    """A row of the answer: the claim, and the contents of those who did not fall out."""
    kept = [message for member, message in messages.items() if member not in fell]
    columns = {
        "ids": "delivery_id", "addresses": "address", "templates": "template", "subjects": "subject", "bodies": "body",
        "params": "params",
    }  # fmt: skip
    names = (
        "id",
        "members",
        "test",
        "attempt",
        "fence",
        "refusals",
        "first_call_at",
        "may_have_arrived",
        "render",
        "results",
    )
    return {
        **{name: claim[name] for name in names}, "now": s.now, "fresh": list(fell) or None, "traceparents": _traces(messages.values()),
        **{name: [message[column] for message in kept] or None for name, column in columns.items()},
    }  # fmt: skip


def _traces(messages):
    return [message["traceparent"] for message in messages if message and message.get("traceparent")] or None


def _due(s: _Session):
    rows = [row for row in s.rows("claims") if row["state"] == "open" and row["next_at"] <= s.now]
    return sorted(rows, key=lambda row: row["next_at"])


def _fell(s: _Session, message, now, arrived):
    """The rule: whether this member may be sent to at this moment."""
    if message is None:
        return "rejected/missing"
    if not message["enrolment_active"]:
        return "suppressed/cancelled"
    if known := s.get("suppressions", message["address"].lower()):
        return f"suppressed/{known['reason']}"
    contact = s.get("gateway.contacts", (message["user_id"], "email"))
    if contact is None:
        return "suppressed/no_contact"
    if not _wants(contact, message):
        return "suppressed/refused"
    if contact["address"] and contact["address"].lower() != message["address"].lower() and not arrived:
        return "suppressed/address_changed"
    if contact["state"] != "ok":
        return f"suppressed/{contact['state']}"
    if message["expires_at"] < now and not arrived:
        return "expired/too_late"
    return None


def _wants(contact, message):
    """The person's word and the switch for this kind of message, as the view `contacts` puts them together."""
    return contact["consent"] == "granted" and contact[f"opt_in_{_kind_of(message['sequence_type'])}s"]


def _outbound(s: _Session, delivery_id):
    """A row of the view `outbound_messages`."""
    delivery = s.get("controller.deliveries", delivery_id)
    if delivery is None:
        return None
    enrolment = s.get("controller.enrolments", delivery["enrolment_id"])
    return {
        **s.get("controller.delivery_contents", delivery_id), "user_id": delivery["user_id"],
        "enrolment_active": enrolment["state"] != "cancelled", "sequence_type": delivery["sequence_type"],
    }  # fmt: skip


def _held(s: _Session):
    return {row["type"] for row in s.rows("controller.paused_types")}


def _is_held(s: _Session, row):
    return bool(_held(s) & {"*", row["sequence_type"]})


def _parked(s: _Session, account):
    row = s.get("pace", account)
    until = row and row["parked_until"]
    return (until - s.moment).total_seconds() if until and until > s.moment else None


def links_keep(s: _Session, ids, urls):
    return 0


def claim_settle(s: _Session, id, fence, results):
    claim = s.get("claims", id)
    ours = claim["fence"] == fence and claim["state"] == "open"
    if ours:
        s.update("claims", id, state="settled", results=results, settled_at=s.now, lease_until=None)
    return [{"ours": ours, "before": claim["fence"] == fence and claim["state"] == "settled"}]


def claim_follow_up(s: _Session, id, members, test, attempt, refusals, first_call_at, wait):
    s.insert("claims", id, {
        **_NEW, "id": id, "members": members, "attempt": attempt, "refusals": refusals, "first_call_at": first_call_at,
        "next_at": _after(s.now, wait), "created_at": s.now,
    })  # fmt: skip
    return 1


def claim_retry(s: _Session, id, fence, wait, may_have_arrived, restart):
    claim = s.get("claims", id)
    if claim["fence"] != fence or claim["state"] != "open":
        return []
    s.update(
        "claims", id, lease_until=None, next_at=_after(s.now, wait), may_have_arrived=may_have_arrived,
        first_call_at=None if restart else claim["first_call_at"],
    )  # fmt: skip
    return [{"id": id}]


def suppress(s: _Session, deliveries, reasons, ats):
    found = []
    for delivery, reason, at in zip(deliveries, reasons, ats, strict=True):
        if message := _outbound(s, delivery):
            found.append((message["address"].lower(), at, delivery, reason, message["user_id"]))
    for address, at, delivery, reason, _ in sorted(found, key=lambda one: one[:2]):
        s.insert("suppressions", address, {"address_key": address, "reason": reason, "at": at, "delivery_id": delivery})
    return [{"delivery_id": d, "user_id": user, "reason": reason, "at": at} for _, at, d, reason, user in found]
