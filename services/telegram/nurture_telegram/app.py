"""The wiring of the telegram room."""

from nurture_chassis.service import Service
from nurture_chassis.settings import load

from nurture_telegram.config import Config
from nurture_telegram.handlers import Handlers


def build() -> Service:
    """The service, not yet running."""
    service = Service("telegram", load(Config))
    handlers = Handlers(service.outbox, service.clock)
    service.bus.hear("telegram-send", handlers.send)
    return service
