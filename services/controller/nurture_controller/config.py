"""What the controller is told."""

from nurture_chassis.settings import ServiceSettings


class Config(ServiceSettings, kw_only=True, frozen=True):
    """`user_dashboard_url` may hold `{user_id}`; empty means the person's page at PUBLIC_URL. Sizes in people."""

    user_dashboard_url: str = ""
    telegram_link_url: str = "https://t.me"
    nats_replicas: int = 1
    plan_batch: int = 1000
    page_size: int = 100

    def dashboard_url(self, user_id: object) -> str:
        """The link behind `{{ dashboard_url }}` for one person."""
        return (self.user_dashboard_url or f"{self.public_url}/").replace("{user_id}", str(user_id))
