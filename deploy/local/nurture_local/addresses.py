"""Addresses: the database administrator's, those of the service roles made from it, and the bus servers'."""

import base64
import hmac
import re
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_POOLED_USER = re.compile(r"^postgres\.(\w+)$")


def role_password(secret_key: str, role: str) -> str:
    """The password of a service role: an HMAC of its name under SECRET_KEY, so that nobody has to keep it."""
    return _derived(secret_key, f"db-role:{role}")


def bus_password(secret_key: str, user: str) -> str:
    """The password of a bus user, made the same way. It begins with a letter, or NATS might read it as a number."""
    return "bus-" + _derived(secret_key, f"bus-user:{user}")


def _derived(secret_key: str, name: str) -> str:
    mac = hmac.new(secret_key.encode(), name.encode(), sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def for_role(url: str, role: str, password: str) -> str:
    """The same database, as a service role.

    Supabase's pooler finds the project by a suffix of the user name (`postgres.projectref`); a role needs it too.
    """
    parts = urlsplit(url)
    pooled = _POOLED_USER.match(parts.username or "")
    user = f"{role}.{pooled[1]}" if pooled else role
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password, safe='')}@{_host(parts.netloc)}"))


def with_query(url: str, **values: str) -> str:
    """The same address with these query parameters set."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **values}
    return urlunsplit(parts._replace(query=urlencode(query)))


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name, safe='')}"))


def without_password(url: str) -> str:
    """For people's eyes: the password is left out."""
    parts = urlsplit(url)
    user = (parts.username or "") + "@" if parts.username else ""
    query = urlencode([(key, value) for key, value in parse_qsl(parts.query) if "pass" not in key.lower()])
    return urlunsplit(parts._replace(netloc=user + _host(parts.netloc), query=query))


def bus_servers(nats_url: str) -> list[str]:
    """NATS_URL may name several servers of a cluster, separated by commas."""
    return [server.strip() for server in nats_url.split(",") if server.strip()]


def password_of(url: str) -> str | None:
    """As it stands in the address, still percent-encoded."""
    return urlsplit(url).password


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
