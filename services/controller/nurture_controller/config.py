"""What the controller is told."""

from nurture_chassis.settings import ServiceSettings


class Config(ServiceSettings, kw_only=True, frozen=True):
    """`user_dashboard_url` may hold `{user_id}`; empty means the person's page at PUBLIC_URL. Sizes in people."""

    user_dashboard_url: str = ""
    """Behind `{dashboard_url}`; may hold `{user_id}`. Empty is the person's preference page at PUBLIC_URL."""
    telegram_link_url: str = "https://t.me"
    """Where deep links to the bot begin."""
    nats_replicas: int = 1
    """Copies of each stream: 1, or 3 on a cluster."""
    plan_batch: int = 1000
    """People that one planning transaction takes at most."""
    page_size: int = 100
    """Deliveries that one message to a channel names."""

    def dashboard_url(self, user_id: object) -> str:
        """The link behind `{{ dashboard_url }}` for one person."""
        return (self.user_dashboard_url or f"{self.public_url.rstrip('/')}/p/").replace("{user_id}", str(user_id))
