"""What planning needs beside people and sequences, read anew every few seconds: above all, which channels can send."""

import time

from nurture_chassis.database import Transaction
from nurture_contracts.base import Channel

from nurture_controller.config import Config
from nurture_controller.placing import Desk
from nurture_controller.wording import Wordings

FRESH_SECONDS = 2.0
INVITATION = "invitation"
"""Stands in a stored body where the email room puts a token of the person: no token is kept anywhere."""


class Desks:
    """Hands out the current `Desk`."""

    def __init__(self, config: Config, wordings: Wordings) -> None:
        self._config = config
        self._wordings = wordings
        self._desk: Desk | None = None
        self._read_at = 0.0

    async def desk(self, tx: Transaction) -> Desk:
        """One small question every two real seconds, not one a page."""
        if self._desk is None or time.monotonic() - self._read_at > FRESH_SECONDS:
            row = await tx.fetchrow("telegram_channel")
            ready = row is not None and row["ready"]
            bot = row["bot_username"] if row is not None and ready else None
            channels: tuple[Channel, ...] = ("email", "telegram") if ready else ("email",)
            invitation = f"{self._config.telegram_link_url}/{bot}?start={INVITATION}" if bot else ""
            self._desk = Desk(self._wordings, self._config.dashboard_url, invitation, channels)
            self._read_at = time.monotonic()
        return self._desk
