"""Limits on how often somebody may ask, as routes use them: 429 says when to come back."""

import math
import time
from hashlib import sha256
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from nurture_gateway.config import Config
from nurture_gateway.limits import Limit, caller
from nurture_gateway.problems import Problem

Connection = ASGIConnection[Any, Any, Any, Any]


class Rates:
    """The gateway's limits, with numbers from its settings."""

    def __init__(self, config: Config) -> None:
        self._trust_proxy = config.trust_proxy
        self._admin = Limit(config.admin_requests_per_minute)
        self._sign_in = Limit(config.sign_in_attempts_per_minute)
        self._forged = Limit(config.bad_signatures_per_minute)

    def guard(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        """Litestar's guard for paths that need the key, after the key was found right: counts by key. Raises Problem 429."""
        key = sha256(connection.headers.get("authorization", "").encode()).hexdigest()
        _take(self._admin, key, "This key has asked too often.")

    def sign_in(self, connection: Connection) -> None:
        """One attempt to sign in, or one wrong key: counts by address. Raises Problem 429."""
        _take(self._sign_in, self._caller(connection), "There were too many attempts from this address.")

    def forged(self, connection: Connection) -> None:
        """One webhook whose signature does not hold: counts by address. Raises Problem 429."""
        _take(self._forged, self._caller(connection), "There were too many bad signatures from this address.")

    def _caller(self, connection: Connection) -> str:
        forwarded = connection.headers.get("x-forwarded-for") if self._trust_proxy else None
        return caller(connection.client.host if connection.client else None, forwarded)


def _take(limit: Limit, key: str, detail: str) -> None:
    wait = limit.take(key, time.monotonic())
    if wait:
        raise Problem("too_many_requests", detail, headers={"Retry-After": str(math.ceil(wait))})
