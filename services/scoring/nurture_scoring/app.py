"""The wiring of the scoring room."""

from nurture_chassis.service import Service
from nurture_chassis.settings import load

from nurture_scoring.config import Config
from nurture_scoring.daily import Daily
from nurture_scoring.handlers import Handlers


def build() -> Service:
    """The service, not yet running."""
    service = Service("scoring", load(Config))
    handlers = Handlers(service.database, service.outbox, service.clock)
    service.bus.hear("scoring-email-observed", handlers.emails_observed)
    service.bus.hear("scoring-telegram-settled", handlers.telegrams_settled)
    service.bus.hear("scoring-telegram-observed", handlers.telegrams_observed)
    service.bus.hear("scoring-record-events", handlers.record_events)
    daily = Daily(service.database, service.clock)
    service.tick("score-days", daily.tick, every=3600)
    service.on_stop.append(daily.lease.release)
    return service
