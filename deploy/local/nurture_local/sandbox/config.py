"""The sandbox's settings, read from the environment."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from nurture_chassis.settings import Secret, SettingsError, load


class SandboxSettings(Struct, kw_only=True, frozen=True):
    """What the sandbox is told. Times in real seconds. Without `sandbox_smtp_port` it takes no mails over SMTP.

    `sandbox_reading_seconds` is how long a `+open@` reader takes to open a delivered mail, and a `+click@` reader to
    click after that; people behind chats take as long. `sandbox_rate_limit` is requests per second over all keys,
    `sandbox_telegram_rate` messages per second of one bot.
    """

    sandbox_data: str
    sandbox_host: str = "127.0.0.1"
    sandbox_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    sandbox_smtp_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    sandbox_webhook_url: str = ""
    sandbox_rate_limit: Annotated[int, Meta(ge=1)] = 50
    sandbox_telegram_rate: Annotated[int, Meta(ge=1)] = 30
    sandbox_reading_seconds: Annotated[float, Meta(ge=0)] = 1.0
    sandbox_tags_as_array: bool = False
    resend_webhook_secret: Secret = Secret("")
    nurture_clock: str = ""
    log_level: str = "info"
    log_format: Literal["json", "text"] = "json"

    @property
    def ledger_path(self) -> Path:
        return Path(self.sandbox_data) / "ledger.sqlite3"


def read() -> SandboxSettings:
    """The settings of this process. Raises SettingsError naming what is missing or does not fit together."""
    settings = load(SandboxSettings)
    if settings.sandbox_webhook_url and not settings.resend_webhook_secret:
        raise SettingsError(
            "SANDBOX_WEBHOOK_URL is set, so RESEND_WEBHOOK_SECRET (whsec_…) must be set to sign webhooks."
        )
    return settings
