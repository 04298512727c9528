"""What a look at the processes' settings and into the database tells. The supervisor makes it: only it has the secrets.

No secret leaves this module: of each it tells no more than whether it is there and looks as it should.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import migrate
from nurture_local.rooms import ROOMS
from nurture_local.server import ServerRefused

_PATIENCE = 5
_SHOWN = {
    "gateway": ("PUBLIC_URL", "ENVIRONMENT", "NURTURE_CLOCK"),
    "email": (
        "FROM_EMAIL",
        "EMAIL_PROVIDER",
        "RESEND_RATE_LIMIT",
        "SMTP_HOST",
        "SMTP_PORT",
        "SMTP_TLS",
        "SMTP_CA_FILE",
        "SMTP_USERNAME",
        "SMTP_RATE_LIMIT",
    ),
    "telegram": ("TELEGRAM_UPDATES",),
}
_FORMS = {
    "RESEND_API_KEY": re.compile(r"re_[A-Za-z0-9_]{16,}"),
    "RESEND_WEBHOOK_SECRET": re.compile(r"whsec_[A-Za-z0-9+/=_-]{16,}"),
    "TELEGRAM_BOT_TOKEN": re.compile(r"[0-9]{5,20}:[A-Za-z0-9_-]{20,200}"),
}
_SECRETS = {"gateway": "RESEND_WEBHOOK_SECRET", "email": "RESEND_API_KEY", "telegram": "TELEGRAM_BOT_TOKEN"}
_USUAL_API = {"email": ("RESEND_API_URL", "api.resend.com"), "telegram": ("TELEGRAM_API_URL", "api.telegram.org")}


def settings_in_force(environments: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """By service: the settings that may be shown, and of its secret `missing`, `well-formed`, `unusual` or `in a file`.

    `usual_api` says whether calls go to the provider's own address.
    """
    told: dict[str, Any] = {}
    for service, names in _SHOWN.items():
        env = environments.get(service, {})
        told[service] = {name: env[name] for name in names if env.get(name)}
        told[service]["secret"] = _form(_SECRETS[service], env)
        if service in _USUAL_API:
            name, host = _USUAL_API[service]
            told[service]["usual_api"] = (urlsplit(env[name]).hostname if env.get(name) else host) == host
    told["sandbox"] = bool(environments.get("email", {}).get("NURTURE_SANDBOX"))
    told["telegram"]["mode"] = telegram_mode(environments.get("telegram", {}))
    return told


def telegram_mode(env: Mapping[str, str]) -> str:
    """As the supervisor decided; without its word, `off` without a token, `sandbox` when the calls stay on this machine."""
    # A Bot API server of the user's own is on this machine too, and what it is given leaves all the same.
    if told := env.get("NURTURE_TELEGRAM"):
        return told
    if _form("TELEGRAM_BOT_TOKEN", env) == "missing":
        return "off"
    host = urlsplit(env.get("TELEGRAM_API_URL") or "https://api.telegram.org").hostname or ""
    return "sandbox" if host in ("127.0.0.1", "localhost", "::1") else "LIVE (Telegram)"


def _form(name: str, env: Mapping[str, str]) -> str:
    value = env.get(name)
    if not value:
        return "in a file" if env.get(f"{name}_FILE") else "missing"
    return "well-formed" if _FORMS[name].fullmatch(value) else "unusual"


async def database(admin_url: str, secret_key: str | None, publish_schema: str) -> dict[str, Any]:
    """What the record says of itself and of the channels. Never raises; `problem` says what went wrong.

    Each part is None where it cannot be read, as before the first migration. `skew` is the database's clock before
    ours in seconds, `rate` requests per second.
    """
    report: dict[str, Any] = {"problem": None, "pending": None, "skew": None}
    try:
        async with asyncio.timeout(2 * _PATIENCE):
            report["pending"] = await migrate.check(admin_url, secret_key, publish_schema)
            connection = await asyncpg.connect(admin_url, statement_cache_size=0, timeout=_PATIENCE)
            try:
                report["skew"] = await _skew(connection)
                report["email"] = await _row(connection, _EMAIL, publish_schema)
                report["telegram"] = await _row(connection, _TELEGRAM, publish_schema)
                report["webhooks"] = await _row(connection, _WEBHOOKS, publish_schema)
                report["losses"] = await _row(connection, _LOSSES, publish_schema)
            finally:
                await connection.close(timeout=_PATIENCE)
    except (migrate.MigrationFailed, ServerRefused) as error:
        report["problem"] = str(error)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Driver messages may quote the address, and with it the password.
        report["problem"] = f"the database does not answer ({type(error).__name__})"
    return report


async def glance(admin_url: str, publish_schema: str) -> dict[str, Any]:
    """What can be told quickly: the Telegram channel's own word about itself, and what is held; empty when nobody can tell."""
    try:
        async with asyncio.timeout(1):
            connection = await asyncpg.connect(admin_url, statement_cache_size=0, timeout=1)
            try:
                telegram = await _row(connection, _TELEGRAM, publish_schema)
                return {"telegram": telegram, "holds": await _holds(connection, publish_schema)}
            finally:
                await connection.close(timeout=1)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return {}


_EMAIL = (
    "select c.parked_until::text, c.park_reason, 1 / nullif(p.interval_seconds, 0) as rate"
    # Of the provider that was called last.
    " from {publish}.email_channel c left join lateral"
    " (select interval_seconds from email.pace order by next_at desc limit 1) p on true"
)
_TELEGRAM = (
    "select ready, bot_username, updates, problem, parked_until::text, park_reason from {publish}.telegram_channel"
)
_HOLDS = "select sequence_type, reason, at::text, detail from {publish}.holds order by sequence_type <> '*', 1, 2"
# A claim settled for a quarter of an hour should have been followed by a webhook; pages come at real time as claims do.
_WEBHOOKS = (
    "select extract(epoch from now() - l.at)::float8 as age,"
    " (select count(*) from email.claims c where c.state = 'settled' and not c.test"
    "    and c.settled_at > coalesce(l.at, '-infinity') and c.settled_at < now() - interval '15 minutes') as unanswered"
    " from (select max(received_at) as at from gateway.inbound_pages where kind = 'webhooks') l"
)
_ANSWERED = " union all ".join(f"select '{room}' as room, n from {room}.refilled" for room in ROOMS)  # noqa: S608 - our names
# What the bus lost last, and the rooms that have not said it again: their services have not run since.
_LOSSES = (
    "select l.stream, l.reason, extract(epoch from clock_timestamp() - l.at)::float8 as age,"
    " coalesce((select array_agg(r.room order by r.room) from ({answered}) r"
    "    where r.n < (select max(n) from {publish}.bus_losses)), '{}') as silent"
    " from (select 1) one left join lateral (select * from {publish}.bus_losses order by n desc limit 1) l on true"
).replace("{answered}", _ANSWERED)


async def _row(connection: asyncpg.Connection, query: str, publish_schema: str) -> dict[str, Any] | None:
    try:
        row = await connection.fetchrow(query.replace("{publish}", quoted(publish_schema)))
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError):
        return None
    return dict(row) if row else None


async def _holds(connection: asyncpg.Connection, publish_schema: str) -> list[dict[str, Any]]:
    try:
        rows = await connection.fetch(_HOLDS.replace("{publish}", quoted(publish_schema)))
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []
    return [dict(row) for row in rows]


async def _skew(connection: asyncpg.Connection) -> float:
    before = time.time()
    theirs = await connection.fetchval("select extract(epoch from clock_timestamp())::float8")
    return float(theirs or 0) - (before + time.time()) / 2
