"""What the email room is told."""

from nurture_chassis.settings import Secret, ServiceSettings, SettingsError


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Rates in requests per second. `from_email` may be an address or `Name <address>`."""

    resend_api_key: Secret
    """Resend's key; without it `nurture up` starts the sandbox."""
    resend_api_url: str = "https://api.resend.com"
    """Resend, or what speaks its protocol."""
    from_email: str
    """An address, or `Name <address>`, of a domain that Resend has verified."""
    resend_rate_limit: float = 2.0
    """Requests per second, shared by all replicas; what Resend states itself wins."""
    email_concurrency: int = 8
    """Requests that one process has under way at most."""
    email_max_attempts: int = 3
    """How often one refusal that may pass is tried."""
    postal_address: str = ""
    """In the foot of every email, where the law wants one."""

    def check(self) -> "Config":
        """Raises SettingsError for values that would fail only later, mail by mail."""
        if "@" not in self.from_email or any(ord(letter) < 32 for letter in self.from_email):
            raise SettingsError("FROM_EMAIL: it takes an address, or a name and an address as `Name <address>`")
        if self.resend_rate_limit <= 0:
            raise SettingsError("RESEND_RATE_LIMIT: it takes requests per second, above 0")
        if self.email_concurrency < 1 or self.email_max_attempts < 1:
            raise SettingsError("EMAIL_CONCURRENCY and EMAIL_MAX_ATTEMPTS: each takes a number from 1")
        if self.environment == "production" and not self.public_url.startswith("https://"):
            raise SettingsError("PUBLIC_URL: in production it has to be https, or one-click unsubscribe is refused")
        return self
