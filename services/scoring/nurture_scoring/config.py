"""What the scoring room is told."""

from nurture_chassis.settings import ServiceSettings


class Config(ServiceSettings, kw_only=True, frozen=True):
    """Nothing of its own."""
