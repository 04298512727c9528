"""Addresses that get no mail: what providers reported, and an operator's word on it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct
from nurture_chassis.outbox import Saying

from nurture_gateway.people import check, email_key
from nurture_gateway.problems import Problem, field_errors

Reason = Literal["bounced", "complained", "suppressed", "manual"]
"""There is no such mailbox; its reader reported a mail as spam; the provider sends it nothing; somebody closed it by hand."""


class Suppression(Struct):
    """An address, in lower case, that gets no mail; `user_id` is the person who has it now, `delivery_id` the mail that showed
    it, `note` what was said of it when it was closed by hand."""

    address: str
    reason: Reason
    at: datetime
    delivery_id: UUID | None
    note: str
    user_id: UUID | None


def key(address: str) -> str:
    """What an address is known by. Raises Problem 400 for what is none."""
    clean, errors = check({"email": address})
    if errors:
        raise field_errors([("address", reason) for _, reason in errors])
    return email_key(clean["email"])


async def close(tx: Saying, address: str, note: str, now: datetime) -> tuple[bool, Suppression]:
    """Send nothing to the address from now on; false with what there was, where it is closed already."""
    named = key(address)
    if (known := await tx.fetchrow("show_suppression", named)) is not None:
        return False, _shown(known)
    await tx.execute("close_address", named, note, now)
    return True, _shown(await tx.fetchrow("show_suppression", named))


async def lift(tx: Saying, address: str, *, complained: bool, now: datetime) -> Suppression:
    """Send to the address again; what closed it. Who called our mail spam is only written to again where somebody says that
    they know (`complained`). Raises Problem 404 or 409."""
    named = key(address)
    row = await tx.fetchrow("show_suppression", named)
    if row is None:
        raise Problem(
            "not_found", "This address is not suppressed.", hint="GET /admin/api/email/suppressions lists all."
        )
    if row["reason"] == "complained" and not complained:
        raise Problem("address_complained", "A reader of this address reported a mail as spam.")
    await tx.execute("lift_suppression", named, row["at"], now)
    return _shown(row)


def _shown(row: Any) -> Suppression:
    return Suppression(**{name: row[name] for name in Suppression.__struct_fields__})
