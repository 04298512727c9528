"""What the email room is told."""

from email.utils import parseaddr
from typing import Annotated

from msgspec import Meta
from nurture_chassis.authorities import trusting
from nurture_chassis.settings import Secret, ServiceSettings, SettingsError

from nurture_email.smtp import CA_FILE, Relay, Tls

PORTS: dict[Tls, int] = {"starttls": 587, "tls": 465, "none": 25}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Rates in requests per second. `from_email` may be an address or `Name <address>`."""

    resend_api_key: Secret = Secret("")
    """Resend's key; without it `nurture up` starts the sandbox."""
    resend_api_url: str = "https://api.resend.com"
    """Resend, or what speaks its protocol."""
    from_email: str
    """An address, or `Name <address>`, of a domain that Resend has verified or your relay may send for."""
    resend_rate_limit: float = 2.0
    """Requests per second, shared by all replicas; what Resend states itself wins."""
    smtp_host: str = ""
    """The relay, with `EMAIL_PROVIDER=smtp`; without it `nurture up` starts the sandbox."""
    smtp_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Where it listens; 0 is what belongs to SMTP_TLS: 587, 465 or 25."""
    smtp_tls: Tls = "starttls"
    """`starttls` (required, not only tried), `tls` from the first byte, or `none`, which is for a relay on this machine."""
    smtp_ca_file: str = ""
    """PEM file with the authorities that the relay's certificate may come from, instead of the system's."""
    smtp_username: str = ""
    """For the login; empty: none is tried."""
    smtp_password: Secret = Secret("")
    """For the login."""
    smtp_rate_limit: float = 10.0
    """Emails per second over SMTP, shared by all replicas."""
    email_concurrency: int = 8
    """Requests that one process has under way at most; over SMTP a death leaves at most so many `unknown`."""
    email_max_attempts: int = 3
    """How often one refusal that may pass is tried; `message_deliveries` shows it as `max_attempts`."""
    postal_address: str = ""
    """In the foot of every email, where the law wants one."""

    def check(self) -> "Config":
        """Raises SettingsError for values that would fail only later, mail by mail."""
        if "@" not in self.from_email or any(ord(letter) < 32 for letter in self.from_email):
            raise SettingsError("FROM_EMAIL: it takes an address, or a name and an address as `Name <address>`")
        if self.resend_rate_limit <= 0:
            raise SettingsError("RESEND_RATE_LIMIT: it takes requests per second, above 0")
        if self.email_provider == "resend" and not self.resend_api_key:
            raise SettingsError(
                "missing: RESEND_API_KEY. Set it, or RESEND_API_KEY_FILE to a file with it, or EMAIL_PROVIDER=smtp"
            )
        if self.email_provider == "smtp":
            self._check_relay()
        if self.email_concurrency < 1 or self.email_max_attempts < 1:
            raise SettingsError("EMAIL_CONCURRENCY and EMAIL_MAX_ATTEMPTS: each takes a number from 1")
        if self.environment == "production" and not self.public_url.startswith("https://"):
            raise SettingsError("PUBLIC_URL: in production it has to be https, or one-click unsubscribe is refused")
        return self

    def _check_relay(self) -> None:
        if not self.smtp_host:
            raise SettingsError("missing: SMTP_HOST, the relay that EMAIL_PROVIDER=smtp gives emails to")
        if self.smtp_rate_limit <= 0:
            raise SettingsError("SMTP_RATE_LIMIT: it takes emails per second, above 0")
        if bool(self.smtp_username) != bool(self.smtp_password):
            raise SettingsError("SMTP_USERNAME and SMTP_PASSWORD: a login takes both; set the other, or neither")
        if self.smtp_tls != "none":
            trusting(CA_FILE, self.smtp_ca_file)
        elif self.smtp_host not in LOOPBACK:
            if self.smtp_password:
                raise SettingsError(
                    "SMTP_TLS=none would send SMTP_PASSWORD readable over the network: use starttls or tls, or a relay on "
                    "this machine"
                )
            if self.environment == "production":
                raise SettingsError(
                    "SMTP_TLS=none would send everybody's mails readable over the network: in production use starttls or "
                    "tls, or a relay on this machine"
                )

    @property
    def relay(self) -> Relay:
        """Where mails go over SMTP. We introduce ourselves by the sender's domain."""
        domain = parseaddr(self.from_email)[1].rpartition("@")[2]
        return Relay(
            host=self.smtp_host,
            port=self.smtp_port or PORTS[self.smtp_tls],
            tls=self.smtp_tls,
            helo=domain.encode("idna").decode(),
            authorities=self.smtp_ca_file,
            username=self.smtp_username,
            password=self.smtp_password,
        )
