"""What the handlers of the gateway share: one place to look up what a request can reach."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.tokens import Tokens
from nurture_contracts.events import Hit, WebhookReceived

from nurture_gateway.api.rates import Rates
from nurture_gateway.config import Config
from nurture_gateway.dashboard.live import Live
from nurture_gateway.inbound import Gate
from nurture_gateway.sessions import Sessions
from nurture_gateway.waiting import Waiters

LINKS = 10_000


class Links:
    """Where tracked links lead. Links are content-addressed, so a known one never changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, str] = OrderedDict()

    async def url(self, link: str, *, telegram: bool = False) -> str | None:
        """The stored target, if there is one and a browser may be sent there."""
        url = self._known.get(link)
        if url is not None:
            self._known.move_to_end(link)
            return url
        url = await self._database.fetchval("telegram_link_url" if telegram else "link_url", link)
        if url is None or not url.lower().startswith(("http://", "https://")):
            return None
        self._known[link] = url
        if len(self._known) > LINKS:
            self._known.popitem(last=False)
        return url


@dataclass(frozen=True, kw_only=True)
class Room:
    """The gateway's things, wired in `app.py` and handed to every route."""

    config: Config
    database: Database
    outbox: Outbox
    clock: Clock
    tokens: Tokens
    webhooks: Gate[WebhookReceived]
    hits: Gate[Hit]
    updates: Gate[dict[str, Any]]
    links: Links
    sessions: Sessions
    live: Live
    rates: Rates
    why_not_ready: Callable[[], list[str]] = field(default=list)
    waiters: Waiters = field(default_factory=Waiters)
    webhook_keys: list[bytes] = field(default_factory=list)

    @property
    def preference_page(self) -> str:
        """What messages link to where nobody set USER_DASHBOARD_URL, before it is known whose page it is."""
        return f"{self.config.public_url.rstrip('/')}/p/"
