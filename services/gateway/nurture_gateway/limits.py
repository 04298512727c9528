"""How often somebody may ask. Pure: callers bring the time. Each replica counts on its own.

The generic cell rate algorithm (ITU-T I.371): one number a key, the time at which what was taken is paid off. A minute's worth
may come at once; after that it trickles back evenly.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

KEYS = 10_000
"""Keys remembered; whoever has not asked for longest is forgotten first, which only lets them ask again."""


class Limit:
    """So many in a minute for each key."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._each = 60.0 / per_minute
        self._paid_off: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """0 when the key had one left and has used it; else the seconds until it has one. `now` in seconds, steady."""
        due = max(now, self._paid_off.get(key, now)) + self._each
        wait = due - now - 60.0
        # Sixty seconds are not a whole number of every share.
        if wait > 1e-6:
            return wait
        self._paid_off[key] = due
        self._paid_off.move_to_end(key)
        if len(self._paid_off) > KEYS:
            self._paid_off.popitem(last=False)
        return 0.0


def caller(peer: str | None, forwarded: str | None) -> str:
    """Whom an address stands for: `peer`, or the last entry of X-Forwarded-For where a proxy of ours wrote it. An IPv6 host
    has its whole /64, so that is one caller."""
    text = (forwarded or "").rpartition(",")[2].strip() or peer or ""
    try:
        address = ip_address(text)
    except ValueError:
        return text[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, 64), strict=False))
    return str(address)
