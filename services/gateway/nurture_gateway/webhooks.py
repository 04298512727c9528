"""Provider webhooks: is the signature right, and which ids does the event name. Bodies are never passed on."""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from nurture_contracts.events import WebhookReceived

TOLERANCE = 300
"""Seconds that a signature may be old, or ahead of our clock."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Forged(Exception):
    """The request was not signed with our secret, or too long ago."""


def signing_keys(secret: str) -> list[bytes]:
    """The keys of RESEND_WEBHOOK_SECRET: one `whsec_…`, or several with commas while one is being replaced.

    Raises ValueError when one is not base64."""
    keys = [
        base64.b64decode(part.strip().removeprefix("whsec_"), validate=True)
        for part in secret.split(",")
        if part.strip()
    ]
    if any(len(key) < 8 for key in keys):
        raise ValueError("a webhook secret is too short")
    return keys


def signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Standard Webhooks v1: HMAC-SHA256 over `id.timestamp.body`."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()


def verify(keys: list[bytes], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The webhook's id. `now` in Unix seconds of real time. Raises Forged, saying which part did not hold."""
    webhook_id, stamp, given = (headers.get(f"svix-{name}") or headers.get(f"webhook-{name}") or "" for name in _PARTS)
    if not (webhook_id and stamp and given):
        raise Forged("svix-id, svix-timestamp and svix-signature are needed")
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        raise Forged("svix-timestamp is not in Unix seconds")
    if abs(now - int(stamp)) > TOLERANCE:
        raise Forged(f"svix-timestamp is more than {TOLERANCE} s away from now")
    try:
        wanted = [signature(key, webhook_id, stamp, body).encode() for key in keys]
        items = (item.partition(",") for item in given.split())
        candidates = [value.encode("ascii") for version, _, value in items if version == "v1"]
    except UnicodeEncodeError:
        raise Forged("the signature headers are not ASCII") from None
    # Every pair is compared, so that the time says nothing about which one came close.
    if not sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in candidates):
        raise Forged("no signature fits the body and our secret")
    return webhook_id


_PARTS = ("id", "timestamp", "signature")


def parse(webhook_id: str, body: bytes, now: datetime) -> WebhookReceived | None:
    """Ids and codes of an event of any type; None when the body is no JSON object. `now` stands in for a missing time."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    data = _dict(event.get("data"))
    tags = _tags(data.get("tags"))
    bounce, failed, suppressed = (_dict(data.get(name)) for name in ("bounce", "failed", "suppressed"))
    return WebhookReceived(
        webhook_id=webhook_id[:200],
        type=_code(event.get("type")) or "unknown",
        at=_instant(event.get("created_at")) or _instant(data.get("timestamp")) or now,
        delivery_id=_uuid(tags.get("delivery_id") or tags.get("tracking_id")),
        provider_id=_code(data.get("email_id")),
        bounce_type=_code(bounce.get("type")),
        bounce_subtype=_code(bounce.get("subType")),
        reason=_code(failed.get("reason")) or _code(suppressed.get("type")),
        test=tags.get("kind") == "test",
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tags(value: Any) -> dict[str, Any]:
    # An object today, an array of {name, value} in older payloads and in the provider's own examples.
    if isinstance(value, list):
        return {
            item["name"]: item.get("value")
            for item in value
            if isinstance(item, dict) and isinstance(item.get("name"), str)
        }
    return _dict(value)


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _code(value: Any) -> str | None:
    # Free text may quote an address, and addresses do not travel on the bus.
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
