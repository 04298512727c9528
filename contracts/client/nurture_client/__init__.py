"""Nurture from another program, over its REST API.

`Nurture` blocks, `AsyncNurture` awaits; both have the same methods. Every call that changes something carries an
Idempotency-Key and is repeated under it while the gateway cannot be reached, so that it takes effect once or raises.
"""

from nurture_client.answers import (
    Accepted,
    Cancelled,
    ChatLink,
    Command,
    Contact,
    Enrolled,
    EventTaken,
    Person,
    Refusal,
    UpdatesTaken,
)
from nurture_client.calls import Event, PersonFields
from nurture_client.client import AsyncNurture, Nurture
from nurture_client.errors import NurtureError, Refused, Unavailable

__all__ = [
    "Accepted",
    "AsyncNurture",
    "Cancelled",
    "ChatLink",
    "Command",
    "Contact",
    "Enrolled",
    "Event",
    "EventTaken",
    "Nurture",
    "NurtureError",
    "Person",
    "PersonFields",
    "Refusal",
    "Refused",
    "Unavailable",
    "UpdatesTaken",
]
