"""The canary: somebody of our own for each channel, who gets a message every few minutes, so that silence is noticed."""

from typing import Final
from uuid import UUID

from nurture_contracts.base import Channel
from nurture_contracts.ids import derived

SEQUENCE: Final = "_canary"
"""Its sequence type. No published type can begin like this; statements in SQL name it as it stands here."""

PEOPLE: Final[dict[Channel, UUID]] = {"email": derived("canary", "email"), "telegram": derived("canary", "telegram")}
"""Who gets its messages: nobody among the users, and found by planning and by claims all the same."""
