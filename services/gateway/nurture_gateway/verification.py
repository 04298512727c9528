"""Whether a mailbox is the person's: a mail with a link that only its reader has. Of the link's token only the hash is kept."""

import math
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct
from nurture_chassis.outbox import Saying
from nurture_chassis.tokens import Tokens
from nurture_contracts.commands import SendEmails
from nurture_contracts.ids import uuid7

from nurture_gateway.problems import Problem

LIFETIME = timedelta(days=7)
PAUSE = timedelta(minutes=1)
"""Between two mails to one mailbox."""


class VerificationSent(Struct):
    """The mail is on its way; `status_url` shows what became of it. Its link works until `expires_at`."""

    user_id: UUID
    email_address: str
    status_url: str
    expires_at: datetime


async def ask_to_verify(tx: Saying, tokens: Tokens, user_id: UUID, now: datetime) -> VerificationSent:
    """Send the person a mail that asks whether the address is theirs. Raises Problem 409 or 429."""
    row = await tx.fetchrow("verification_wanted", user_id)
    if row is None or row["address"] is None:
        raise Problem("no_address", "The person has no email address.")
    if row["verified_at"] is not None:
        raise Problem("already_verified", f"The address was verified at {row['verified_at'].isoformat()}.")
    if row["consent"] == "refused":
        raise Problem("consent_refused", "The person has refused email.")
    if row["state"] != "ok":
        raise Problem("address_unusable", f"The address cannot be used: it is {row['state']}.")
    if row["sent_at"] is not None and now - row["sent_at"] < PAUSE:
        wait = math.ceil((PAUSE - (now - row["sent_at"])).total_seconds())
        detail = "This mailbox was asked a moment ago."
        raise Problem("too_many_requests", detail, headers={"Retry-After": str(wait)})
    mail_id, expires_at = uuid7(), now + LIFETIME
    await tx.execute(
        "add_test_message", mail_id, row["address"], row["first_name"], "nurture_sequence", now, "verification", user_id
    )
    token = hashed(tokens.verify_token(mail_id))
    await tx.execute("add_verification", token, user_id, row["address_key"], now, expires_at)
    tx.say(SendEmails(page_id=uuid7(), items=[mail_id], test=True))
    return VerificationSent(user_id, row["address"], f"/admin/api/email/test/{mail_id}", expires_at)


def hashed(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()
