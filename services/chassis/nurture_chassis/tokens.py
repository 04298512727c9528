"""Signed link tokens: ids and an HMAC, nothing else. A token made for one purpose is worthless for another.

Layout: version byte | flags | delivery id (16) | link id (8, clicks only) | first 12 bytes of HMAC-SHA256, base64url.
A chat token names a person and the second it was made in (4 bytes) instead; 45 characters, which a deep link can carry.
"""

import base64
import hmac
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

VERSION = 1
MAC_BYTES = 12
_TEST = 1
_TELEGRAM = 2


class Opened(NamedTuple):
    """What an open or unsubscribe token names."""

    delivery_id: UUID
    test: bool


class Clicked(NamedTuple):
    """What a click token names; `link` is 16 hex digits."""

    delivery_id: UUID
    link: str
    test: bool
    telegram: bool = False


class Invited(NamedTuple):
    """What a chat token names: whom to link, and when it was made (Unix seconds)."""

    user_id: UUID
    made_at: int


def link_id(url: str) -> str:
    """Links are content-addressed: the first 8 bytes of the URL's SHA-256, in hex."""
    return sha256(url.encode()).digest()[:8].hex()


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:MAC_BYTES]


class Tokens:
    """Makes tokens under a secret key, and reads them under it and those that were in use before.

    Each purpose has a key derived from it.
    """

    def __init__(self, secret_key: str, *earlier: str) -> None:
        self._keys = {
            purpose: [
                hmac.new(key.encode(), f"nurture-link:{purpose}".encode(), sha256).digest()
                for key in (secret_key, *earlier)
            ]
            for purpose in ("open", "click", "unsubscribe", "chat", "press", "verify", "preferences")
        }

    def _make(self, purpose: str, body: bytes) -> str:
        mac = _mac(self._keys[purpose][0], body)
        return base64.urlsafe_b64encode(body + mac).rstrip(b"=").decode()

    def _read(self, purpose: str, token: str, length: int) -> bytes | None:
        if len(token) > 80:
            return None
        try:
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(body) != length or body[0] != VERSION:
            return None
        return body if any(hmac.compare_digest(mac, _mac(key, body)) for key in self._keys[purpose]) else None

    def open_token(self, delivery_id: UUID, *, test: bool = False) -> str:
        return self._make("open", bytes((VERSION, _TEST if test else 0)) + delivery_id.bytes)

    def unsubscribe_token(self, delivery_id: UUID, *, test: bool = False) -> str:
        return self._make("unsubscribe", bytes((VERSION, _TEST if test else 0)) + delivery_id.bytes)

    def click_token(self, delivery_id: UUID, link: str, *, test: bool = False, telegram: bool = False) -> str:
        flags = (_TEST if test else 0) | (_TELEGRAM if telegram else 0)
        return self._make("click", bytes((VERSION, flags)) + delivery_id.bytes + bytes.fromhex(link))

    def chat_token(self, user_id: UUID, made_at: int) -> str:
        """For `/start <token>`: links the chat that sends it to this person."""
        return self._make("chat", bytes((VERSION, 0)) + user_id.bytes + made_at.to_bytes(4, "big"))

    def press_token(self, delivery_id: UUID, button: int) -> str:
        """`callback_data` of a button, at most 64 bytes: which delivery, which button (0 to 255)."""
        return self._make("press", bytes((VERSION, button)) + delivery_id.bytes)

    def verify_token(self, mail_id: UUID) -> str:
        """For the link that shows that a mailbox is somebody's: which mail it stood in."""
        return self._make("verify", bytes((VERSION, 0)) + mail_id.bytes)

    def preferences_token(self, delivery_id: UUID) -> str:
        """For the page of whoever got this message."""
        return self._make("preferences", bytes((VERSION, 0)) + delivery_id.bytes)

    def read_open(self, token: str) -> Opened | None:
        """None for anything this installation did not make."""
        body = self._read("open", token, 18)
        return Opened(UUID(bytes=body[2:]), bool(body[1] & _TEST)) if body else None

    def read_unsubscribe(self, token: str) -> Opened | None:
        body = self._read("unsubscribe", token, 18)
        return Opened(UUID(bytes=body[2:]), bool(body[1] & _TEST)) if body else None

    def read_click(self, token: str) -> Clicked | None:
        body = self._read("click", token, 26)
        if body is None:
            return None
        return Clicked(UUID(bytes=body[2:18]), body[18:].hex(), bool(body[1] & _TEST), bool(body[1] & _TELEGRAM))

    def read_chat(self, token: str) -> Invited | None:
        body = self._read("chat", token, 22)
        return Invited(UUID(bytes=body[2:18]), int.from_bytes(body[18:], "big")) if body else None

    def read_verify(self, token: str) -> UUID | None:
        body = self._read("verify", token, 18)
        return UUID(bytes=body[2:]) if body else None

    def read_preferences(self, token: str) -> UUID | None:
        """The delivery that the link came with."""
        body = self._read("preferences", token, 18)
        return UUID(bytes=body[2:]) if body else None

    def read_press(self, token: str) -> tuple[UUID, int] | None:
        """Delivery and button."""
        body = self._read("press", token, 18)
        return (UUID(bytes=body[2:]), body[1]) if body else None
