"""Who is signed in to the dashboard: sessions and one-time links. Tokens are random; rows hold their MACs only."""

import base64
import hmac
import secrets
from datetime import datetime

from nurture_chassis.database import Rows

LINK_SECONDS = 300
TOKEN_BYTES = 32


class Sessions:
    """Opens, finds and ends sessions. `hours` is how long one lives without being used."""

    def __init__(self, rows: Rows, admin_api_key: str, hours: int) -> None:
        self._rows = rows
        self._key = admin_api_key.encode()
        self.hours = hours

    def _mac(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(), "sha256")

    async def open(self) -> str:
        """A new session's token, for its cookie."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._rows.execute("add_session", self._mac(token), self.hours)
        return token

    async def holds(self, token: str) -> bool:
        """Whether this token's session is open; its life is prolonged."""
        return bool(await self._rows.fetchval("find_session", self._mac(token), self.hours))

    async def end(self, token: str) -> None:
        """Sign out."""
        await self._rows.execute("end_session", self._mac(token))

    async def make_link(self) -> tuple[str, datetime]:
        """A token that signs in once, and when it expires."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        return token, await self._rows.fetchval("add_sign_in_link", self._mac(token), LINK_SECONDS)

    async def use_link(self, token: str) -> str | None:
        """A session's token for a link's; None when it was used, is too old or never was."""
        return await self.open() if await self._rows.fetchval("use_sign_in_link", self._mac(token)) else None


def form_token(cookie: str) -> str:
    """What a form must carry to be believed: derived from the cookie, which a page from elsewhere cannot read."""
    return base64.urlsafe_b64encode(hmac.digest(cookie.encode(), b"nurture-form", "sha256")[:18]).decode()


def same(given: str, wanted: str) -> bool:
    """Compares in constant time, whatever the characters."""
    return hmac.compare_digest(given.encode(), wanted.encode())
