"""The wiring of the email room."""

from nurture_chassis.pace import Pace
from nurture_chassis.restored import RestoreGuard
from nurture_chassis.service import Service
from nurture_chassis.settings import load
from nurture_chassis.tokens import Tokens, link_id

from nurture_email.attempts import Limits
from nurture_email.config import Config
from nurture_email.handlers import Handlers
from nurture_email.rendering import LAYOUT_VERSION, TEMPLATES, Renderer, RenderSettings, load_layout
from nurture_email.resend import Resend
from nurture_email.sender import METER, Sender
from nurture_email.store import Store

ACCOUNT = "resend"


def build() -> Service:
    """The service, not yet running."""
    config = load(Config).check()
    service = Service("email", config)
    for template in TEMPLATES:
        load_layout(template, LAYOUT_VERSION)
    store = Store(service.database, service.outbox, ACCOUNT)
    provider = Resend(config.resend_api_key, config.resend_api_url, concurrency=config.email_concurrency)
    pace = Pace(service.database, ACCOUNT, config.resend_rate_limit)
    sender = Sender(
        store,
        pace,
        provider,
        Renderer(Tokens(config.secret_key.reveal()), link_id),
        service.clock,
        RenderSettings(sender=config.from_email, public_url=config.public_url, postal_address=config.postal_address),
        concurrency=config.email_concurrency,
        limits=Limits(max_attempts=config.email_max_attempts),
    )
    guard = RestoreGuard(service.database, service.outbox, service.bus)
    service.held.append(guard.held)
    # Whoever starts us may have brought the account in order: one call tells.
    service.before_hearing += [guard.look, pace.unpark]
    sender.wake = service.tick("email-sender", guard.before(sender.tick), every=1.0).wake
    service.measures.asks.append(lambda: METER.measure(service.database, ACCOUNT))
    service.tick("email-prune", store.prune, every=3600.0)
    handlers = Handlers(store, service.outbox, sender.wake)
    service.bus.hear("email-send", handlers.send)
    service.bus.hear("email-webhooks", handlers.webhooks)
    service.bus.hear("email-tracking", handlers.tracking)
    service.on_stop += [sender.finish, provider.close]
    return service
