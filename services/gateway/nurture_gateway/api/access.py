"""Who may use the admin API: whoever holds its key."""

import hmac
from hashlib import sha256
from typing import Any

from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from nurture_gateway.api.rates import Rates
from nurture_gateway.config import Config
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room


class Keyring:
    """Compares a request's bearer token with ADMIN_API_KEY in constant time."""

    def __init__(self, config: Config, rates: Rates) -> None:
        self._hash = _hashed(config.admin_api_key.reveal())
        self._rates = rates

    def opens(self, authorization: str | None) -> bool:
        """Whether this Authorization header carries the key."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.fits(token.strip())

    def fits(self, key: str) -> bool:
        """Whether this is the key."""
        return hmac.compare_digest(_hashed(key), self._hash)

    def guard(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        """Litestar's guard: raises Problem 401, or 429 once too many keys from this address were wrong."""
        given = connection.headers.get("authorization")
        if self.opens(given):
            return
        if given:
            self._rates.sign_in(connection)
        detail = "The API key is not the right one." if given else "This path needs an API key."
        raise Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="nurture"'})


TheRoom = NamedDependency[Room]
"""The gateway's things, as a route asks for them. A route that is called often asks for nothing else: Litestar resolves
several dependencies in a task group, which costs a webhook more than checking its signature."""

TheKeyring = NamedDependency[Keyring]


def _hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()
