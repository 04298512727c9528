"""What the gateway is told."""

from typing import Annotated

from msgspec import Meta
from nurture_chassis.settings import Secret, ServiceSettings, SettingsError

from nurture_gateway.webhooks import signing_keys

PerMinute = Annotated[int, Meta(ge=1, le=10_000_000)]


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Settings of the gateway, beside those of every service."""

    admin_api_key: Secret
    """Opens everything under `/admin`; generated once for a local instance."""
    resend_webhook_secret: Secret = Secret("")
    """The signing secret of Resend's webhook, `whsec_…`; without it webhooks are refused."""
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
    nurture_sandbox_url: str = ""
    """Where the sandbox shows what was sent; the dashboard links to it."""

    def webhook_keys(self) -> list[bytes]:
        """Empty when no secret is set: every webhook is then refused. Raises SettingsError on a secret of another form."""
        if self.environment == "production" and not self.resend_webhook_secret:
            raise SettingsError(
                "missing: RESEND_WEBHOOK_SECRET. In production, outcomes of emails come by signed webhooks only."
            )
        try:
            return signing_keys(self.resend_webhook_secret.reveal())
        except ValueError:
            raise SettingsError(
                "RESEND_WEBHOOK_SECRET: expected `whsec_` and base64, as the provider shows it"
            ) from None
