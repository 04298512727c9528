"""A webhook as Resend posts it: the payload of an event and its Svix signature. Pure."""

import base64
import hmac
from hashlib import sha256
from typing import Any

import msgspec

from nurture_local.sandbox.ledger import Due

_BOUNCE = {
    "message": "The recipient's email server rejected the message: the mailbox does not exist.",
    "type": "Permanent",
    "subType": "General",
    "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
}


def payload(event: Due, *, tags_as_array: bool) -> bytes:
    """The raw body. The same event gives the same bytes on every try."""
    tags: list[dict[str, str]] = msgspec.json.decode(event.tags)
    data: dict[str, Any] = {
        "created_at": event.created_at,
        "email_id": event.email_id,
        "message_id": f"<{event.email_id}@sandbox.invalid>",
        "from": event.sender,
        "to": msgspec.json.decode(event.envelope)["to"],
        "subject": event.subject,
    }
    if tags:
        data["tags"] = tags if tags_as_array else {tag["name"]: tag["value"] for tag in tags}
    if event.kind == "bounced":
        data["bounce"] = _BOUNCE
    return msgspec.json.encode({"type": f"email.{event.kind}", "created_at": event.at, "data": data})


class Signer:
    """Signs with a `whsec_…` secret as Svix does: HMAC-SHA256 over `id.timestamp.body`."""

    def __init__(self, secret: str) -> None:
        """Raises ValueError when the part after `whsec_` is not base64."""
        try:
            self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            raise ValueError("RESEND_WEBHOOK_SECRET is not whsec_ followed by base64") from None

    def headers(self, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three `svix-*` headers. `timestamp` is real Unix seconds: receivers refuse old ones."""
        mac = hmac.new(self._key, b"%s.%d.%s" % (webhook_id.encode(), timestamp, body), sha256).digest()
        return {
            "svix-id": webhook_id,
            "svix-timestamp": str(timestamp),
            "svix-signature": f"v1,{base64.b64encode(mac).decode()}",
        }
