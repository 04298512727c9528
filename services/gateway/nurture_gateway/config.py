"""What the gateway is told."""

import re
from typing import Annotated

from msgspec import Meta
from nurture_chassis.settings import Secret, ServiceSettings, SettingsError
from nurture_contracts.base import Channel

from nurture_gateway.webhooks import signing_keys

_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")
_CHAT = re.compile(r"-?[0-9]{1,20}")
PerMinute = Annotated[int, Meta(ge=1, le=10_000_000)]


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Settings of the gateway, beside those of every service."""

    admin_api_key: Secret
    """Opens everything under `/admin`; generated once for a local instance."""
    resend_webhook_secret: Secret = Secret("")
    """The signing secret of Resend's webhook, `whsec_…`; without it webhooks are refused. SMTP has none."""
    telegram_webhook_secret: Secret = Secret("")
    """Sent by Telegram with each update."""
    telegram_link_url: str = "https://t.me"
    """Where deep links to the bot begin."""
    port: int = 8001
    """Where the gateway listens."""
    admin_requests_per_minute: PerMinute = 60_000
    """By API key."""
    sign_in_attempts_per_minute: PerMinute = 30
    """By address; a wrong API key is an attempt."""
    bad_signatures_per_minute: PerMinute = 300
    """By address, on webhook paths. What is signed rightly is never limited."""
    trust_proxy: bool = False
    """A proxy of ours stands before the gateway and adds the caller's address to X-Forwarded-For."""
    session_hours: Annotated[int, Meta(ge=1, le=168)] = 12
    """How long a browser stays signed in to the dashboard without being used."""
    canary_email: str = ""
    """An address that gets a message every few minutes, so that silence is noticed, such as Resend's `delivered@resend.dev`.
    Empty: no canary by email."""
    canary_chat: str = ""
    """The same for Telegram: the number of a chat with the bot."""
    canary_minutes: Annotated[float, Meta(gt=0, le=1440)] = 5.0
    """Minutes from one canary to the next."""
    nurture_sandbox_url: str = ""
    """Where the sandbox shows what was sent; the dashboard links to it."""

    def canaries(self) -> dict[Channel, str]:
        """The canary's address on each channel that has one. Raises SettingsError on what is no address."""
        if self.canary_email and not _ADDRESS.fullmatch(self.canary_email):
            raise SettingsError("CANARY_EMAIL: it takes one address, like delivered@resend.dev")
        if self.canary_chat and not _CHAT.fullmatch(self.canary_chat):
            raise SettingsError("CANARY_CHAT: it takes the number of a chat, like 777000012")
        found: dict[Channel, str] = {"email": self.canary_email, "telegram": self.canary_chat}
        return {channel: address for channel, address in found.items() if address}

    def webhook_keys(self) -> list[bytes]:
        """Empty when no secret is set: every webhook is then refused. Raises SettingsError on a secret of another form."""
        wanted = self.environment == "production" and self.email_provider == "resend"
        if wanted and not self.resend_webhook_secret:
            raise SettingsError(
                "missing: RESEND_WEBHOOK_SECRET. In production, outcomes of emails come by signed webhooks only."
            )
        try:
            return signing_keys(self.resend_webhook_secret.reveal())
        except ValueError:
            raise SettingsError(
                "RESEND_WEBHOOK_SECRET: expected `whsec_` and base64, as the provider shows it"
            ) from None
