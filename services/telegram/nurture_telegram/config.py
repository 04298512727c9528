"""What the telegram room is told."""

import re
from typing import Literal

from nurture_chassis.settings import Secret, ServiceSettings, SettingsError

_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,200}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Without a bot token the channel is off. The rate is in messages per second over all chats.

    `telegram_max_attempts` bounds how often a step with `on_ambiguous = "retry"` is sent without knowing whether it arrived.
    """

    telegram_bot_token: Secret = Secret("")
    """As @BotFather gives it; without it the channel is off."""
    telegram_api_url: str = "https://api.telegram.org"
    """The Bot API, or what speaks its protocol."""
    telegram_updates: Literal["poll", "webhook", "off"] = "poll"
    """How people are heard: asked for, pushed to a webhook, or passed on by another bot (`off`)."""
    telegram_webhook_secret: Secret = Secret("")
    """Known to Telegram, the gateway and this service only."""
    telegram_concurrency: int = 4
    """Calls that one process has under way; a death leaves at most so many `unknown`."""
    telegram_rate_limit: float = 30.0
    """Messages per second over all chats and replicas; answers to what people say take a tenth of it, or one a second where
    that is more."""
    telegram_max_attempts: int = 3
    """How often a step with `on_ambiguous = "retry"` is sent without knowing whether it arrived; shown by
    `message_deliveries` as `max_attempts`."""

    def check(self) -> "Config":
        """Raises SettingsError for values that would fail only later, message by message."""
        if not self.telegram_bot_token:
            return self
        if not _TOKEN.fullmatch(self.telegram_bot_token.reveal()):
            raise SettingsError("TELEGRAM_BOT_TOKEN: it takes a token as @BotFather gives it, digits:letters")
        if not self.telegram_api_url.startswith(("http://", "https://")):
            raise SettingsError("TELEGRAM_API_URL: it takes an http or https address")
        if self.telegram_rate_limit <= 0 or not 1 <= self.telegram_concurrency <= 100:
            raise SettingsError("TELEGRAM_RATE_LIMIT takes a rate above 0, TELEGRAM_CONCURRENCY a number from 1 to 100")
        if self.telegram_max_attempts < 1:
            raise SettingsError("TELEGRAM_MAX_ATTEMPTS takes a number from 1")
        if self.telegram_updates == "webhook":
            if not _SECRET.fullmatch(self.telegram_webhook_secret.reveal()):
                raise SettingsError(
                    "TELEGRAM_WEBHOOK_SECRET: with TELEGRAM_UPDATES=webhook it takes 1 to 256 letters, digits, _ and -"
                )
            if not self.public_url.startswith("https://") and not self.nurture_sandbox:
                raise SettingsError(
                    "PUBLIC_URL: Telegram calls webhooks over https only; use it, or TELEGRAM_UPDATES=poll"
                )
        return self

    @property
    def bot_id(self) -> int:
        """The number of the bot, which is the public part of its token; 0 without one."""
        return int(self.telegram_bot_token.reveal().partition(":")[0] or 0)
