"""What the gateway is told."""

from nurture_chassis.settings import Secret, ServiceSettings, SettingsError

from nurture_gateway.webhooks import signing_keys


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Settings of the gateway, beside those of every service."""

    admin_api_key: Secret
    resend_webhook_secret: Secret = Secret("")
    telegram_webhook_secret: Secret = Secret("")
    telegram_link_url: str = "https://t.me"
    port: int = 8001

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
