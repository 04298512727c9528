"""How long a command lives, for the gateway, which shows it, and for whoever executes it."""

import time
from datetime import timedelta
from uuid import UUID

COMMAND_LIFE = timedelta(days=7)
"""From when on, in real time, a command that nobody has answered is shown as expired and its key may mean another one."""
BEGUN_WITHIN = COMMAND_LIFE - timedelta(hours=1)
"""How old a command may be when its room takes it up. It is less, so that nothing begins that is shown as expired, though clocks
differ."""


def made_ago(id: UUID) -> timedelta | None:
    """How long ago, in real time, a UUIDv7 was made; None for an id that does not tell."""
    return timedelta(seconds=time.time() - (id.int >> 80) / 1000) if id.version == 7 else None
