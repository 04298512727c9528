"""What every room's schema answers to: outbox, losses of the bus, pace."""

from datetime import timedelta as _span

from tests.simulation.tables import Session as _Session


def _after(moment, seconds):
    return moment + _span(seconds=seconds)


def outbox_add(s: _Session, ids, subjects, payloads, headers):
    for id, subject, payload, header in zip(ids, subjects, payloads, headers, strict=True):
        s.insert("outbox", id, {
            "id": id, "subject": subject, "payload": payload, "headers": header, "created_at": s.now, "published_at": None,
            "redrive": 0,
        })  # fmt: skip
    return len(ids)


def outbox_published(s: _Session, ids, answered):
    if s.get("refilled", True)["n"] != answered:
        return 0
    s.lock("refilled", True, "share")
    ids = [id for id in ids if (row := s.get("outbox", id)) and row["published_at"] is None]
    for id in ids:
        s.update("outbox", id, published_at=s.now)
    return len(ids)


def outbox_sweep(s: _Session, older, limit, sour):
    found = []
    for row in sorted(s.rows("outbox"), key=lambda row: row["created_at"]):
        waits = row["published_at"] is None and row["created_at"] < _after(s.now, -older)
        wanted = waits and row["subject"] not in sour and len(found) < limit
        if wanted:
            s.lock("refilled", True, "share")
        if wanted and s.lock("outbox", row["id"], "skip"):
            found.append({name: row[name] for name in ("id", "subject", "payload", "headers", "redrive")})
    return found


def outbox_losses(s: _Session):
    n = s.get("refilled", True)["n"]
    losses = sorted((row for row in s.rows("controller.bus_losses") if row["n"] > n), key=lambda row: row["n"])
    if not losses:
        return [{"answered": n, "n": None, "subject": None, "since": None}]
    return [{"answered": n, "n": row["n"], "subject": row["subject"], "since": row["since"]} for row in losses]


def outbox_answer(s: _Session, answered, loss):
    if s.get("refilled", True)["n"] != answered:
        return []
    s.update("refilled", True, n=loss)
    return [{"n": loss}]


def outbox_patience(s: _Session):
    return []


def outbox_refill(s: _Session, subjects, numbers, sinces):
    touched = 0
    for row in s.rows("outbox"):
        for subject, n, since in zip(subjects, numbers, sinces, strict=True):
            at = row["published_at"]
            if row["subject"] == subject and (at is None or since is None or at >= since):
                s.update("outbox", row["id"], published_at=None, redrive=n)
                touched += 1
                break
    return touched


def pace_reserve(s: _Session, account, interval, count, factor, after):
    row = s.get("pace", account)
    if row is None:
        step, until = interval * factor, _after(s.moment, after + interval * factor * count)
        s.insert("pace", account, {
            "account": account, "next_at": until, "interval_seconds": interval, "parked_until": None, "park_reason": None,
        })  # fmt: skip
    else:
        step = row["interval_seconds"] * factor
        first = max(row["next_at"], _after(s.moment, after), row["parked_until"] or s.moment)
        until = _after(first, step * count)
        s.update("pace", account, next_at=until)
    return [{"wait": max(0.0, (until - s.moment).total_seconds() - step * count), "step": step}]


def pace_reserve_within(s: _Session, account, interval, factor, within):
    row = s.get("pace", account)
    if row is not None and max(row["next_at"], row["parked_until"] or row["next_at"]) > _after(s.moment, within):
        return []
    return pace_reserve(s, account, interval, 1, factor, 0.0)


def pace_follow(s: _Session, account, interval):
    row = s.get("pace", account)
    if row is None or abs(row["interval_seconds"] - interval) <= 1e-6:
        return 0
    s.update("pace", account, interval_seconds=interval)
    return 1


def pace_hold(s: _Session, account, seconds):
    row = s.get("pace", account)
    if row is None:
        return 0
    s.update("pace", account, next_at=max(row["next_at"], _after(s.moment, seconds)))
    return 1


def pace_park(s: _Session, account, seconds, reason, interval):
    parked = {"parked_until": _after(s.moment, seconds), "park_reason": reason}
    if s.get("pace", account) is None:
        s.insert("pace", account, {"account": account, "next_at": s.moment, "interval_seconds": interval, **parked})
    else:
        s.update("pace", account, **parked)
    return 1


def pace_unpark(s: _Session, account):
    row = s.get("pace", account)
    if row is None or row["park_reason"] is None:
        return 0
    s.update("pace", account, parked_until=None, park_reason=None, next_at=min(row["next_at"], s.moment))
    return 1
