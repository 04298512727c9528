"""Requests per second as Resend counts them: one window of a second over all keys, told in `ratelimit-*` headers."""

import math
import time

from nurture_local.sandbox.errors import ApiError


class RateLimit:
    """Counts requests in windows of one real second."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._window = 0
        self._used = 0

    def take(self, now: float | None = None) -> dict[str, str]:
        """Count one request; the headers of its answer. Raises ApiError (429) over the limit."""
        now = time.monotonic() if now is None else now
        window = int(now)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        headers = {
            "ratelimit-limit": str(self._limit),
            "ratelimit-remaining": str(max(0, self._limit - self._used)),
            "ratelimit-reset": str(math.ceil(window + 1 - now)),
        }
        if self._used > self._limit:
            raise ApiError(
                429,
                "rate_limit_exceeded",
                f"Too many requests. You can only make {self._limit} requests per second.",
                headers | {"retry-after": headers["ratelimit-reset"]},
            )
        return headers
