"""What the user has set, checked before anything starts."""

import os
import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from nurture_chassis import settings
from nurture_chassis.authorities import trusting
from nurture_chassis.settings import Secret, SettingsError

SANDBOX_SENDER = "Nurture <hello@nurture.localhost>"
TelegramMode = Literal["LIVE (Telegram)", "sandbox", "off"]
_BOT_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
SUPABASE_HINT = (
    "SUPABASE_URL is the address of Supabase's REST interface, and Nurture speaks to PostgreSQL itself: set DATABASE_URL "
    "to the connection string, which the project's page at supabase.com shows under `Connect`: `Session pooler` (port "
    "5432), or `Direct connection` where IPv6 is at hand. SUPABASE_KEY is not needed"
)
MAY_REPEAT = frozenset({"controller", "email", "telegram", "scoring"})


class Configuration(Struct, kw_only=True, frozen=True):
    """The settings of a whole installation, by their environment names."""

    database_url: Secret | None = None
    nats_url: str | None = None
    secret_key: Secret | None = None
    secret_key_previous: Secret | None = None
    environment: Literal["development", "production"] = "development"
    public_url: str | None = None
    publish_schema: str = "public"
    admin_api_key: Secret | None = None
    port: int | None = None
    resend_api_key: Secret | None = None
    resend_api_url: str = "https://api.resend.com"
    resend_webhook_secret: Secret | None = None
    from_email: str | None = None
    email_provider: Literal["resend", "smtp"] = "resend"
    smtp_host: str | None = None
    smtp_port: int = 0
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    smtp_ca_file: str = ""
    smtp_username: str = ""
    smtp_password: Secret | None = None
    telegram_bot_token: Secret | None = None
    telegram_api_url: str = "https://api.telegram.org"
    telegram_link_url: str = "https://t.me"
    telegram_updates: Literal["poll", "webhook", "off"] = "poll"
    telegram_webhook_secret: Secret | None = None

    @property
    def live(self) -> bool:
        """Whether emails leave this machine."""
        return bool(self.smtp_host if self.email_provider == "smtp" else self.resend_api_key)

    @property
    def what_is_live(self) -> str:
        """The setting that makes messages real; to be unset where they must not be."""
        if not self.live:
            return "TELEGRAM_BOT_TOKEN"
        return "SMTP_HOST" if self.email_provider == "smtp" else "RESEND_API_KEY"

    @property
    def telegram(self) -> TelegramMode:
        """Without a token, Telegram is played by the sandbox only where emails are too: people get no half of each."""
        if self.telegram_bot_token:
            return "LIVE (Telegram)"
        return "off" if self.live or self.environment == "production" else "sandbox"

    @property
    def any_live(self) -> bool:
        """Whether messages of some channel leave this machine."""
        return self.live or bool(self.telegram_bot_token)


class Options(Struct, kw_only=True, frozen=True):
    """What was asked for on the command line. `speed` is business seconds per real second."""

    port: int | None = None
    replicas: dict[str, int] = {}
    speed: float | None = None


def supabase_without_address(environ: Mapping[str, str]) -> str | None:
    """What to say when Supabase's REST address is set and no database's is; None when all is well."""
    told = any(environ.get(name, "").strip() for name in ("SUPABASE_URL", "SUPABASE_URL_FILE"))
    address = any(environ.get(name, "").strip() for name in ("DATABASE_URL", "DATABASE_URL_FILE"))
    return SUPABASE_HINT if told and not address else None


def load(environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read and check the settings. Raises SettingsError that names what is missing."""
    if trouble := supabase_without_address(environ):
        raise SettingsError(trouble)
    found = settings.load(Configuration, environ)
    _check_provider(found)
    if found.environment == "production":
        provider = ("smtp_host",) if found.email_provider == "smtp" else ("resend_api_key", "resend_webhook_secret")
        needed = (*provider, "secret_key", "admin_api_key")
        missing = [name.upper() for name in needed if not getattr(found, name)]
        if missing:
            raise SettingsError(
                f"ENVIRONMENT=production refuses to start without {', '.join(missing)}. Set each (or NAME_FILE), or "
                "leave ENVIRONMENT unset to run with the sandbox, which sends nothing"
            )
    token = found.telegram_bot_token
    if token and not _BOT_TOKEN.fullmatch(token.reveal()):
        raise SettingsError(
            "TELEGRAM_BOT_TOKEN is not what a bot's token looks like, digits:letters: set the one that @BotFather gave, "
            "or leave it unset to run with the sandbox"
        )
    if found.live and not found.from_email:
        domain = "that your relay sends for" if found.email_provider == "smtp" else "that is verified with Resend"
        raise SettingsError(
            f"{found.what_is_live} is set, so emails would be real, but FROM_EMAIL is not: set it to a sender of a domain "
            f"{domain}, like `Nurture <hello@example.com>`"
        )
    return found


def _check_provider(found: Configuration) -> None:
    """Who emails are given to has to be clear: half of one provider's settings beside another's is somebody's mistake."""
    if found.email_provider == "resend":
        if found.smtp_host:
            raise SettingsError(
                "SMTP_HOST is set, but emails go to Resend: set EMAIL_PROVIDER=smtp as well, or unset SMTP_HOST"
            )
        return
    if not found.smtp_host and found.resend_api_key:
        raise SettingsError(
            "EMAIL_PROVIDER=smtp, and RESEND_API_KEY is set, but SMTP_HOST is not: set SMTP_HOST to your relay, or unset "
            "EMAIL_PROVIDER to send through Resend, or unset RESEND_API_KEY to run with the sandbox"
        )
    beside = [name for name in ("smtp_username", "smtp_password", "smtp_ca_file") if getattr(found, name)]
    if not found.smtp_host and beside:
        raise SettingsError(f"{beside[0].upper()} is set, but SMTP_HOST is not: set it to your relay")
    if bool(found.smtp_username) != bool(found.smtp_password):
        raise SettingsError("SMTP_USERNAME and SMTP_PASSWORD: a login takes both; set the other, or neither")
    if found.smtp_tls != "none":
        trusting("SMTP_CA_FILE", found.smtp_ca_file)


def check_options(options: Options, configuration: Configuration) -> None:
    """Raises SettingsError for options that contradict the settings."""
    if options.speed is not None and options.speed <= 0:
        raise SettingsError("--speed takes a number above 0: business seconds per real second")
    if options.speed not in (None, 1) and configuration.any_live:
        name = configuration.what_is_live
        raise SettingsError(f"--speed works with the sandbox only: unset {name}, or leave --speed away")


def replicas(words: list[str]) -> dict[str, int]:
    """`email=2` → {"email": 2}. Raises SettingsError."""
    counts: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in MAY_REPEAT or not number.isdigit() or int(number) < 1:
            raise SettingsError(
                f"--replicas {word}: takes NAME=NUMBER with NAME one of {', '.join(sorted(MAY_REPEAT))}, like email=2"
            )
        counts[name] = int(number)
    return counts
