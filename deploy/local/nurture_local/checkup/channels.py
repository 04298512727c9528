"""Pure: whether the channels can send, and whether what comes back reaches us."""

import re
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

from nurture_chassis.settings import email_mode

from nurture_local.checkup.facts import Facts
from nurture_local.checkup.finding import Finding, fail, ok, skip, warn

_ADDRESS = re.compile(r"[^@\s<>,;\"]+@((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,})", re.IGNORECASE)
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared, not bound
_NOWHERE = ("localhost", "test", "example", "invalid", "local", "example.com", "example.org", "example.net")
"""Domains that nobody can verify with a provider (RFC 2606, RFC 6761, RFC 6762)."""
_ELSEWHERE = "only the instance itself knows; run this beside it"
_STATED_BY_DEFAULT = {"RESEND_RATE_LIMIT": "2", "SMTP_RATE_LIMIT": "10"}


def public_url(facts: Facts) -> Finding:
    url = _setting(facts, "gateway", "PUBLIC_URL")
    if url is None:
        return skip("public url", _ELSEWHERE)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not facts.any_live:
        return ok("public url", url, "anything, in the sandbox")
    wanted, fix = "https, and reachable from anywhere", "set PUBLIC_URL to the gateway's public https address; restart"
    if host in _LOOPBACK or host.endswith(".localhost") or host.startswith("127."):
        return fail("public url", f"{url} is this machine only: links in messages lead nowhere", wanted, fix)
    if parts.scheme != "https":
        return fail("public url", f"{url} is not https: one-click unsubscribe is refused", wanted, fix)
    return ok("public url", url, wanted)


def email(facts: Facts) -> list[Finding]:
    """Mode, sender, key, rate, whether it is parked, webhooks."""
    if facts.live is None:
        return [skip("email mode", "the gateway did not tell")]
    said = email_mode("smtp" if _over_smtp(facts) else "resend", live=facts.live)
    mode = ok("email mode", said if facts.live else f"{said}: nothing leaves this machine")
    if facts.settings is None:
        return [mode, skip("email settings", _ELSEWHERE), *_email_record(facts)]
    if _over_smtp(facts):
        return [mode, _sender(facts), _relay(facts), *_email_record(facts)]
    return [mode, _sender(facts), _key(facts), _webhook_secret(facts), *_email_record(facts)]


def _over_smtp(facts: Facts) -> bool:
    told = (facts.front.health or {}).get("email", "") if facts.front else ""
    return _setting(facts, "email", "EMAIL_PROVIDER") == "smtp" or (facts.settings is None and "SMTP" in str(told))


def _relay(facts: Facts) -> Finding:
    if not facts.live:
        return ok("smtp relay", "the sandbox", "none, in the sandbox")
    host, port, tls = (_setting(facts, "email", name) for name in ("SMTP_HOST", "SMTP_PORT", "SMTP_TLS"))
    user = _setting(facts, "email", "SMTP_USERNAME")
    place = host if port in (None, "0") else f"{host}:{port}"
    authority = _setting(facts, "email", "SMTP_CA_FILE")
    trusted = f", trusting {authority}" if authority and tls != "none" else ""
    found = f"{place}, {tls or 'starttls'}{trusted}, {f'as {user}' if user else 'without a login'}"
    if tls == "none" and host not in _LOOPBACK:
        return warn(
            "smtp relay", found, "TLS", "mails cross the network readable: set SMTP_TLS=starttls or tls; restart"
        )
    return ok("smtp relay", found, "a host that relays for FROM_EMAIL's domain")


def _sender(facts: Facts) -> Finding:
    given = _setting(facts, "email", "FROM_EMAIL") or ""
    domain_of = "that your relay sends for" if _over_smtp(facts) else "verified with Resend"
    wanted = "an address, or Name <address>" + (f", of a domain {domain_of}" if facts.live else "")
    found = _ADDRESS.fullmatch(parseaddr(given)[1])
    if not found:
        fix = "set FROM_EMAIL, like Nurture <hello@your-domain>; restart"
        return fail("sender", given or "FROM_EMAIL is not set", wanted, fix)
    domain = found[1].lower()
    if (facts.live and domain.rpartition(".")[2] in _NOWHERE) or (facts.live and domain in _NOWHERE):
        return fail("sender", f"{given}: {domain} cannot be verified", wanted, "set FROM_EMAIL to your own domain")
    if facts.live and domain == "resend.dev":
        fix = "verify a domain of your own and set FROM_EMAIL to it"
        return warn("sender", f"{given}: Resend delivers from there to yourself only", wanted, fix)
    return ok("sender", given, wanted)


def _key(facts: Facts) -> Finding:
    if not facts.live:
        return ok("resend key", "none needed: the sandbox takes its own", "none, in the sandbox")
    form = _setting(facts, "email", "secret")
    fix = "set RESEND_API_KEY to a key from the provider's dashboard; restart"
    if form == "missing":
        return fail("resend key", "RESEND_API_KEY is not set", "re_…", fix)
    if form == "unusual" and _setting(facts, "email", "usual_api"):
        return warn("resend key", "RESEND_API_KEY is set and looks unlike a key of Resend's", "re_…", fix)
    return ok("resend key", "set (not shown)", "re_…")


def _webhook_secret(facts: Facts) -> Finding:
    form = _setting(facts, "gateway", "secret")
    if form in ("well-formed", "in a file"):
        return ok("webhook secret", "set (not shown)", "whsec_…")
    kind = fail if facts.live else warn
    fix = "set RESEND_WEBHOOK_SECRET to the signing secret that the provider shows for our endpoint; restart"
    return kind("webhook secret", f"{form}: webhooks are refused", "whsec_…", fix)


def _email_record(facts: Facts) -> list[Finding]:
    record = facts.record
    if record is None or record["problem"] or record.get("email") is None:
        why = "the database is not known" if record is None else "the database did not tell"
        return [skip("rate limit", why), skip("email channel", why), skip("webhooks", why)]
    channel = record["email"]
    parked = _parked("email channel", channel, "nurture service restart email, once the account is in order")
    if _over_smtp(facts):
        none = ok("webhooks", "SMTP has none: opens and clicks come by our own links, bounces to FROM_EMAIL's mailbox")
        return [ok("rate limit", f"{_limit(facts, 'SMTP_RATE_LIMIT')} emails/s", "what the relay takes"), parked, none]
    rate, told = channel["rate"], _limit(facts, "RESEND_RATE_LIMIT")
    stated = f"{rate:g} requests/s, as last stated" if rate else f"{told} requests/s until the provider states its own"
    seen = record["webhooks"] or {"age": None, "unanswered": 0}
    return [ok("rate limit", stated, "the account's own"), parked, _webhooks(facts, seen)]


def _limit(facts: Facts, name: str) -> str:
    return _setting(facts, "email", name) or _STATED_BY_DEFAULT[name]


def _webhooks(facts: Facts, seen: dict[str, Any]) -> Finding:
    age, unanswered = seen["age"], seen["unanswered"]
    wanted = "events of what was sent"
    url = (_setting(facts, "gateway", "PUBLIC_URL") or "PUBLIC_URL") + "/admin/api/email/webhook"
    fix = f"add {url} in the provider's dashboard, with all email events"
    if unanswered:
        found = "none yet" if age is None else f"the last came {span(age)} ago"
        return warn("webhooks", f"{found}, and {unanswered} requests sent since had none", wanted, fix)
    if age is None:
        if facts.live:
            return warn("webhooks", "none yet", wanted, f"{fix}; then nurture email test YOUR-ADDRESS")
        return ok("webhooks", "none yet", wanted)
    return ok("webhooks", f"the last came {span(age)} ago", wanted)


def telegram(facts: Facts) -> list[Finding]:
    """Mode, getMe, updates, whether it is parked."""
    mode = _setting(facts, "telegram", "mode")
    channel = (facts.record or {}).get("telegram")
    if mode == "off":
        return [ok("telegram mode", "off: TELEGRAM_BOT_TOKEN is not set", "a token, for the second channel")]
    first = ok("telegram mode", mode) if mode else skip("telegram mode", _ELSEWHERE)
    if channel is None:
        return [first, skip("telegram bot", "the database did not tell")]
    mend = "set TELEGRAM_BOT_TOKEN to what @BotFather gave you; restart"
    wanted = "getMe knows the bot"
    if not channel["ready"]:
        bot = fail("telegram bot", channel["problem"] or "getMe was not answered yet", wanted, mend)
        return [first, bot, _parked("telegram channel", channel, "it is tried again by itself")]
    name = f"@{channel['bot_username']}" if channel["bot_username"] else "a bot without a name"
    return [first, ok("telegram bot", name, wanted), _updates(channel), _parked("telegram channel", channel, mend)]


def _updates(channel: dict[str, Any]) -> Finding:
    wanted = "answers, presses and blocks reach us"
    if channel["problem"]:
        fix = "stop whatever else asks for updates, or set TELEGRAM_UPDATES=off and let it pass them on"
        return warn("telegram updates", f"{channel['updates']}: {channel['problem']}; sending goes on", wanted, fix)
    return ok("telegram updates", channel["updates"], wanted)


def _parked(check: str, channel: dict[str, Any], fix: str) -> Finding:
    if channel["parked_until"]:
        reason = channel["park_reason"] or "no reason was given"
        return fail(check, f"parked until {channel['parked_until']}: {reason}", "sending", fix)
    return ok(check, "not parked", "sending")


def span(seconds: float) -> str:
    """`3 min`: the largest unit that fits."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _setting(facts: Facts, service: str, name: str) -> Any:
    return (facts.settings or {}).get(service, {}).get(name)
