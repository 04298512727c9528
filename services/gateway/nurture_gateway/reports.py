"""Bounces and complaints that come back as mail: which delivery each is about, and what became of it. Pure.

A mail that went over SMTP has its delivery's id in its Message-ID, and whoever reports on it sends the mail back, or its header:
delivery status notifications (RFC 3464) from mail servers, abuse reports (RFC 5965) from mailbox providers. Nobody can invent
one for somebody else: the id is known to those who have the mail. Words and addresses in reports are not passed on.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from hashlib import sha256
from uuid import UUID

from nurture_contracts.events import WebhookReceived

_ACTIONS = {"failed": "email.bounced", "delayed": "email.delivery_delayed", "delivered": "email.delivered"}
_COMPLAINTS = frozenset({"abuse", "fraud", "virus"})
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_GONE = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4"})
"""No such mailbox or domain, not an address, moved for good, a domain that takes no mail, a mailbox that was closed, a domain
that has no server. Other failures are about the message, or pass: they end the delivery, not the address."""
_OURS = re.compile(r"<([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})@")


class NoReport(ValueError):
    """The mail says nothing about the way of one of ours; the text says why."""


def read(mail: bytes, now: datetime) -> WebhookReceived:
    """What the report says, as an event of the provider that came at `now`. The same one is the same event. Raises NoReport."""
    report = message_from_bytes(mail)
    # Only its own parts: the mail that comes back may have any.
    parts = _listed(report)
    status, complaint = _first(parts, "message/delivery-status"), _first(parts, "message/feedback-report")
    if status is None and complaint is None:
        raise NoReport("it is neither a bounce nor a complaint that a program can read")
    fields = _listed(status if status is not None else complaint)
    kind, code = _status(fields) if status is not None else (_complaint(fields), "")
    delivery = _ours(_names(report, parts, fields))
    if delivery is None:
        raise NoReport("it does not say which mail of ours it is about")
    name = report["Message-ID"] or sha256(mail).hexdigest()
    return WebhookReceived(
        webhook_id="report_" + sha256(f"{name} {kind} {delivery}".encode(errors="replace")).hexdigest()[:32],
        type=kind,
        at=now,
        delivery_id=delivery,
        bounce_type=("Permanent" if code in _GONE else "Transient") if kind == "email.bounced" else None,
        bounce_subtype=code or None,
    )


def _listed(message: Message | None) -> list[Message]:
    payload = message.get_payload() if message is not None else None
    return [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []


def _first(parts: list[Message], kind: str) -> Message | None:
    return next((part for part in parts if part.get_content_type() == kind), None)


def _status(fields: list[Message]) -> tuple[str, str]:
    """Kind and status code, of the first recipient that is told of: our mails have one."""
    told = next((one for one in fields if one["Action"]), None)
    if told is None:
        raise NoReport("it has no recipient with an action")
    action = str(told["Action"]).strip().lower()
    if action not in _ACTIONS:
        raise NoReport(f"it says that the mail went on ({action[:20]})")
    codes = (found[1] for name in ("Status", "Diagnostic-Code") if (found := _STATUS.search(str(told[name] or ""))))
    # Servers that know no better say 5.0.0, and have the true one in the words of the server that refused.
    known = [code for code in codes if not code.endswith(".0.0")]
    return _ACTIONS[action], known[0] if known else ""


def _complaint(fields: list[Message]) -> str:
    kind = str(fields[0]["Feedback-Type"] or "").strip().lower() if fields else ""
    if kind not in _COMPLAINTS:
        raise NoReport(f"it is no complaint ({kind[:20] or 'no Feedback-Type'})")
    return "email.complained"


def _names(report: Message, parts: list[Message], fields: list[Message]) -> Iterator[str]:
    """Where a report may name the mail, the surest first."""
    for part in parts:
        if part.get_content_type() == "text/rfc822-headers":
            header = part.get_payload(decode=True)
            yield str(message_from_bytes(header)["Message-ID"] or "") if isinstance(header, bytes) else ""
        elif part.get_content_type() not in ("message/delivery-status", "message/feedback-report"):
            yield from (str(inner["Message-ID"] or "") for inner in _listed(part))
    for message, name in [
        *((one, "X-Original-Message-ID") for one in fields),
        (report, "In-Reply-To"),
        (report, "References"),
    ]:
        yield str(message[name] or "")


def _ours(names: Iterable[str]) -> UUID | None:
    found = next((match for name in names if (match := _OURS.search(name))), None)
    return UUID(found[1]) if found else None
