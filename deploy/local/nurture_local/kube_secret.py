"""The Secret that `deploy/kubernetes` takes its values from: compose's, and addresses of a database that is elsewhere."""

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct
from nurture_chassis import settings
from nurture_chassis.settings import Secret, SettingsError

from nurture_local import bus_users, compose_env
from nurture_local.addresses import bus_password, for_role, role_password
from nurture_local.rooms import ROOMS

ROUTE = "NATS_ROUTE_PASSWORD"
"""By which the nodes of a NATS cluster know each other."""
CA_FILE = "SMTP_CA_FILE"
_MOUNTED = (CA_FILE, compose_env.AUTHORITY)
_HEAD = """\
# Written by `nurture kube-secret`. Whoever reads this file can do everything.
apiVersion: v1
kind: Secret
metadata:
  name: nurture
  labels: {app.kubernetes.io/part-of: nurture}
type: Opaque
stringData:
"""
_NEEDED = ("DATABASE_URL", "PUBLIC_URL", "FROM_EMAIL")
_NEEDED_BY = {"smtp": ("SMTP_HOST",), "resend": ("RESEND_API_KEY", "RESEND_WEBHOOK_SECRET")}
_LINE = re.compile(r'^  ([A-Z][A-Z0-9_]*): (".*")$', re.MULTILINE)


def read(text: str) -> dict[str, str]:
    """The values of a file that `write` made. Raises ValueError where a value is not as `write` writes it."""
    return {name: json.loads(value) for name, value in _LINE.findall(text)}


def write(values: Mapping[str, str]) -> str:
    """A manifest; JSON's strings are YAML's too, as long as nothing in them needs JSON's escapes. Raises NotWritable."""
    for name, value in values.items():
        if not value.isprintable():
            raise compose_env.NotWritable(f"{name} holds a character that cannot be printed")
    return _HEAD + "".join(f"  {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def database_url_of(room: str) -> str:
    """The key under which a room finds the database."""
    return f"{room.upper()}_DATABASE_URL"


def make(before: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """All values: what `before` had is kept, the rest follows from it and from the environment.

    `before` may also be what `compose_env.read` gives, for an installation that moves. Raises SettingsError.
    """
    _all_there(before, environ)
    fresh = compose_env.make({}, {})
    before = {**{name: fresh[name] for name in ("SECRET_KEY", "ADMIN_API_KEY")}, **before, "ENVIRONMENT": "production"}
    # Of the relay's authority the Secret holds where pods find it; on this machine there is nothing at that place.
    mounted = _MOUNTED in (*before.items(), *environ.items())
    before, environ = (
        {name: told[name] for name in told if (name, told[name]) != _MOUNTED} for told in (before, environ)
    )
    made = compose_env.make(before, environ)
    if made["EMAIL_PROVIDER"] == "smtp" and (mounted or made.get(CA_FILE)):
        made[CA_FILE] = compose_env.AUTHORITY
    told = settings.load(_Address, environ).database_url
    database = told.reveal() if told else before["DATABASE_URL"]
    if urlsplit(database).scheme not in ("postgresql", "postgres"):
        raise SettingsError(
            "DATABASE_URL: it takes the administrator's address of a PostgreSQL that the cluster reaches, postgresql://…"
        )
    if not made["PUBLIC_URL"].startswith("https://"):
        raise SettingsError("PUBLIC_URL: set where people and providers will reach the gateway, https://…")
    secret_key = made["SECRET_KEY"]
    roles = {room: f"nurture_{room}" for room in ROOMS}
    return {
        **{name: made[name] for name in compose_env.GIVEN if made.get(name)},
        "DATABASE_URL": database,
        **{
            database_url_of(room): for_role(database, role, role_password(secret_key, role))
            for room, role in roles.items()
        },
        **{name: made[name] for name in map(bus_users.password_variable, bus_users.USERS)},
        ROUTE: bus_password(secret_key, "route"),
    }


class _Address(Struct, frozen=True):
    database_url: Secret | None = None


def _all_there(before: Mapping[str, str], environ: Mapping[str, str]) -> None:
    provider = environ.get("EMAIL_PROVIDER") or before.get("EMAIL_PROVIDER") or "resend"
    needed = (*_NEEDED, *_NEEDED_BY.get(provider, ()))
    missing = [name for name in needed if not (environ.get(name) or environ.get(f"{name}_FILE") or before.get(name))]
    if missing:
        raise SettingsError(f"missing: {', '.join(missing)}. In a cluster everything is real: set each, or NAME_FILE")
