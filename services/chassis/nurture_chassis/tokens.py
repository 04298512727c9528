"""Signed link tokens: ids and an HMAC, nothing else. A token made for one purpose is worthless for another.

Layout: version byte | flags | delivery id (16) | link id (8, clicks only) | first 12 bytes of HMAC-SHA256, base64url.
"""

import base64
import hmac
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

VERSION = 1
MAC_BYTES = 12
_TEST = 1


class Opened(NamedTuple):
    """What an open or unsubscribe token names."""

    delivery_id: UUID
    test: bool


class Clicked(NamedTuple):
    """What a click token names; `link` is 16 hex digits."""

    delivery_id: UUID
    link: str
    test: bool


def link_id(url: str) -> str:
    """Links are content-addressed: the first 8 bytes of the URL's SHA-256, in hex."""
    return sha256(url.encode()).digest()[:8].hex()


class Tokens:
    """Makes and reads tokens under SECRET_KEY; each purpose has a key derived from it."""

    def __init__(self, secret_key: str) -> None:
        self._keys = {
            purpose: hmac.new(secret_key.encode(), f"nurture-link:{purpose}".encode(), sha256).digest()
            for purpose in ("open", "click", "unsubscribe")
        }

    def _make(self, purpose: str, body: bytes) -> str:
        mac = hmac.new(self._keys[purpose], body, sha256).digest()[:MAC_BYTES]
        return base64.urlsafe_b64encode(body + mac).rstrip(b"=").decode()

    def _read(self, purpose: str, token: str, length: int) -> bytes | None:
        if len(token) > 80:
            return None
        try:
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        wanted = hmac.new(self._keys[purpose], body, sha256).digest()[:MAC_BYTES]
        if not hmac.compare_digest(mac, wanted) or len(body) != length or body[0] != VERSION:
            return None
        return body

    def open_token(self, delivery_id: UUID, *, test: bool = False) -> str:
        return self._make("open", bytes((VERSION, _TEST if test else 0)) + delivery_id.bytes)

    def unsubscribe_token(self, delivery_id: UUID, *, test: bool = False) -> str:
        return self._make("unsubscribe", bytes((VERSION, _TEST if test else 0)) + delivery_id.bytes)

    def click_token(self, delivery_id: UUID, link: str, *, test: bool = False) -> str:
        return self._make("click", bytes((VERSION, _TEST if test else 0)) + delivery_id.bytes + bytes.fromhex(link))

    def read_open(self, token: str) -> Opened | None:
        """None for anything this installation did not make."""
        body = self._read("open", token, 18)
        return Opened(UUID(bytes=body[2:]), bool(body[1] & _TEST)) if body else None

    def read_unsubscribe(self, token: str) -> Opened | None:
        body = self._read("unsubscribe", token, 18)
        return Opened(UUID(bytes=body[2:]), bool(body[1] & _TEST)) if body else None

    def read_click(self, token: str) -> Clicked | None:
        body = self._read("click", token, 26)
        return Clicked(UUID(bytes=body[2:18]), body[18:].hex(), bool(body[1] & _TEST)) if body else None
