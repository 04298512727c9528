"""The telegram room's statements about sending."""

from itertools import groupby as _groupby

from tests.simulation.statements.chassis import _after
from tests.simulation.statements.email import _held, _is_held, _outbound, _parked, _wants
from tests.simulation.tables import Session as _Session

_NEW = {
    "state": "waiting", "attempt": 0, "lease_until": None, "plain": False, "moved": False, "user_id": None, "chat_id": None,
    "claimed_at": None, "outcome": None, "reason": None, "provider_id": None, "settled_at": None, "volley": None,
    "retries": False, "doubts": 0,
}  # fmt: skip


def page_take(s: _Session, id, members):
    message = _outbound(s, members[0])
    if not s.insert("pages", id, {"id": id, "members": members, "received_at": s.now}):
        return 0
    made = 0
    for member in sorted(set(members)):
        made += s.insert("claims", member, {
            **_NEW, "delivery_id": member, "next_at": s.moment,
            "sequence_type": message["sequence_type"] if message else "",
        })  # fmt: skip
    return made


def look(s: _Session, account, most):
    return [{"due": min(most, len(_due(s))), "parked": _parked(s, account), "held": bool(_held(s))}]


def look_beside(s: _Session, most):
    return [{"due": min(most, sum(not _is_held(s, row) for row in _due(s)))}]


def claim_volley(s: _Session, most, lease, now, interval, account, volley):
    rows = [] if _held(s) else _due(s)
    return _claim(s, most, lease, now, interval, account, volley, rows)


def claim_volley_beside(s: _Session, most, lease, now, interval, account, volley):
    free = sorted((row for row in _due(s) if not _is_held(s, row)), key=lambda row: row["sequence_type"])
    of_type = [list(rows)[: most * 4] for _, rows in _groupby(free, key=lambda row: row["sequence_type"])]
    rows = sorted((row for rows in of_type for row in rows), key=lambda row: (row["next_at"], row["delivery_id"]))
    return _claim(s, most, lease, now, interval, account, volley, rows)


def _claim(s: _Session, most, lease, now, interval, account, volley, rows):
    candidates = []
    if _parked(s, account) is None:
        for row in rows:
            if len(candidates) < most * 4 and s.lock("claims", row["delivery_id"], "skip"):
                candidates.append(row)
    checked = [(row, *_checked(s, row["delivery_id"], now)) for row in candidates]
    firsts = {}
    for row, chat, _, fell in checked:
        if not fell:
            firsts.setdefault(chat, row["delivery_id"])
    chosen = dict(list(firsts.items())[:most])
    paced = {chat for chat in sorted(chosen) if _pace_chat(s, chat, _after(s.now, interval))}
    answer = []
    for row, chat, message, fell in checked:
        id = row["delivery_id"]
        if fell:
            answer.append(_fall(s, row, fell) | {"traceparent": message and message.get("traceparent")})
        elif chosen.get(chat) == id and chat in paced:
            params = message["params"]
            taken = s.update(
                "claims", id, state="sending", attempt=row["attempt"] + 1, lease_until=_after(s.now, lease),
                claimed_at=s.now, user_id=message["user_id"], chat_id=chat, volley=volley,
                retries=params.get("on_ambiguous") == "retry",
            )  # fmt: skip
            names = ("delivery_id", "attempt", "plain", "moved", "retries", "doubts", "user_id", "chat_id")
            answer.append(
                {name: taken[name] for name in names}
                | {"body": message["body"], "params": params, "outcome": None, "reason": None}
                | {"traceparent": message.get("traceparent")}
            )
        elif chat in chosen:
            s.update("claims", id, next_at=_after(s.now, interval))
    return sorted(answer, key=lambda row: row["delivery_id"])


def _checked(s: _Session, delivery_id, now):
    """Chat, message, and why it falls out, if it does."""
    message = _outbound(s, delivery_id)
    if message is None:
        return None, None, "rejected/missing"
    chat = s.get("chats", message["address"]) or {}
    moved = s.get("chats", chat.get("moved_to")) or {}
    return chat.get("moved_to") or message["address"], message, _fell(s, message, chat, moved, now)


def _fell(s: _Session, message, chat, moved, now):
    """The rule: whether this delivery may be sent at this moment."""
    contact = s.get("gateway.contacts", (message["user_id"], "telegram"))
    if not message["enrolment_active"]:
        return "suppressed/cancelled"
    if any(
        refusal and not _taken_back(refusal, chat, message, contact)
        for refusal in (s.get("refusals", id) for id in (message["address"], chat.get("moved_to")))
    ):
        return "suppressed/refused"
    if contact is None:
        return "suppressed/no_contact"
    if not _wants(contact, message):
        return "suppressed/refused"
    own = s.get("chats", contact["address"]) or {}
    now_in, then_in = own.get("moved_to") or contact["address"], chat.get("moved_to") or message["address"]
    if contact["address"] and now_in != then_in:
        return "suppressed/chat_changed"
    if contact["state"] != "ok":
        return f"suppressed/{contact['state']}"
    if chat.get("state") == "replaced" and chat["moved_to"] is None:
        return "suppressed/chat_changed"
    for one in (chat, moved):
        if one.get("state") in ("blocked", "gone"):
            return f"suppressed/{one['state']}"
    if message["expires_at"] < now:
        return "expired/too_late"
    return None


def _taken_back(refusal, chat, message, contact):
    """What the person agreed to after their /stop."""
    said = contact and contact.get("consent_at")
    return bool(said and said > refusal["at"] and (refusal["user_id"] or chat.get("user_id")) == message["user_id"])


def _fall(s: _Session, row, fell):
    outcome, reason = fell.split("/")
    if row["doubts"]:
        outcome, reason = "unknown", "withheld_after_attempt" if row["doubts"] == 1 else "possible_duplicate"
    s.update("claims", row["delivery_id"], state="settled", outcome=outcome, reason=reason, settled_at=s.now)
    return {
        "delivery_id": row["delivery_id"], "attempt": row["attempt"], "plain": False, "moved": False, "retries": False,
        "doubts": row["doubts"], "user_id": None, "chat_id": None, "body": None, "params": None, "outcome": outcome,
        "reason": reason,
    }  # fmt: skip


def _pace_chat(s: _Session, chat, until):
    if s.insert("chat_pace", chat, {"chat_id": chat, "next_at": until}):
        return True
    s.lock("chat_pace", chat)
    if s.get("chat_pace", chat)["next_at"] > s.now:
        return False
    s.update("chat_pace", chat, next_at=until)
    return True


def _due(s: _Session):
    rows = [row for row in s.rows("claims") if row["state"] == "waiting" and row["next_at"] <= s.now]
    return sorted(rows, key=lambda row: (row["next_at"], row["delivery_id"]))


def settle(s: _Session, ids, attempts, outcomes, reasons, provider_ids, arrivals):
    answer = []
    ends = zip(ids, attempts, outcomes, reasons, provider_ids, arrivals, strict=True)
    for id, attempt, outcome, reason, provider_id, arrived in sorted(ends, key=lambda end: end[0]):
        claim = s.get("claims", id)
        if claim is None:
            continue
        ours = claim["state"] == "sending" and claim["attempt"] == attempt
        proof = outcome == "accepted" and attempt <= claim["attempt"]
        if not ours and not (proof and (claim["state"] != "settled" or claim["outcome"] == "unknown")):
            continue
        doubts = claim["doubts"] + int(arrived if ours else claim["state"] == "sending")
        s.update(
            "claims", id, state="settled", outcome=outcome, reason=reason, provider_id=provider_id, lease_until=None,
            settled_at=s.now, doubts=doubts,
        )  # fmt: skip
        answer.append({"delivery_id": id, "doubled": outcome in ("accepted", "unknown") and doubts > 1})
    return answer


def try_again(s: _Session, ids, attempts, waits, plains, moveds, doubts):
    answer = []
    for id, attempt, wait, plain, moved, doubt in zip(ids, attempts, waits, plains, moveds, doubts, strict=True):
        claim = s.get("claims", id)
        if claim and claim["attempt"] == attempt and claim["state"] == "sending":
            s.update(
                "claims", id, state="waiting", lease_until=None, next_at=_after(s.now, wait), plain=claim["plain"] or plain,
                moved=claim["moved"] or moved, doubts=claim["doubts"] + int(doubt),
            )  # fmt: skip
            answer.append({"delivery_id": id})
    return answer


def give_back(s: _Session, volleys):
    rows = [row for row in s.rows("claims") if row["state"] == "sending" and row["volley"] in volleys]
    for row in rows:
        s.update("claims", row["delivery_id"], state="waiting", lease_until=None, next_at=s.now)
    return [{"delivery_id": row["delivery_id"]} for row in rows]


def chats_hold(s: _Session, chats, waits):
    for chat, wait in sorted(zip(chats, waits, strict=True)):
        until = _after(s.now, wait)
        if not s.insert("chat_pace", chat, {"chat_id": chat, "next_at": until}):
            s.lock("chat_pace", chat)
            s.update("chat_pace", chat, next_at=max(s.get("chat_pace", chat)["next_at"], until))
    return len(chats)


def chats_mark(s: _Session, chats, users, states):
    touched = 0
    for chat, user, state in sorted(zip(chats, users, states, strict=True)):
        known = {"chat_id": chat, "user_id": user, "state": state, "moved_to": None, "linked_at": None}
        if s.insert("chats", chat, known):
            touched += 1
        elif s.get("chats", chat)["state"] != "replaced":
            s.update("chats", chat, state=state, user_id=user)
            touched += 1
    return touched


def chat_move(s: _Session, chat, moved_to, user):
    if refused := s.get("refusals", chat):
        moved = {**refused, "chat_id": moved_to}
        if not s.insert("refusals", moved_to, moved) and s.get("refusals", moved_to)["at"] < moved["at"]:
            s.update("refusals", moved_to, at=moved["at"], user_id=moved["user_id"])
    new = {"chat_id": moved_to, "user_id": user, "state": "ok", "moved_to": None, "linked_at": None}
    s.insert("chats", moved_to, new)
    if not s.insert("chats", chat, {**new, "chat_id": chat, "state": "replaced", "moved_to": moved_to}):
        s.update("chats", chat, state="replaced", moved_to=moved_to)
    return 1


def reap(s: _Session, most):
    answer = []
    for row in s.rows("claims"):
        if row["state"] != "sending" or row["lease_until"] >= s.now or not s.lock("claims", row["delivery_id"], "skip"):
            continue
        end = {"state": "settled", "outcome": "unknown", "reason": "worker_lost", "settled_at": s.now}
        if row["retries"] and row["doubts"] + 1 < most:
            end = {"state": "waiting", "next_at": s.now, "outcome": None, "reason": None, "settled_at": None}
        claim = s.update("claims", row["delivery_id"], lease_until=None, doubts=row["doubts"] + 1, **end)
        answer.append({
            "delivery_id": claim["delivery_id"], "attempt": claim["attempt"], "outcome": claim["outcome"],
            "reason": "possible_duplicate" if claim["doubts"] > 1 else claim["reason"],
        })  # fmt: skip
    return answer


def links_keep(s: _Session, ids, urls):
    return 0
