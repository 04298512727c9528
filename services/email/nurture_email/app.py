"""The wiring of the email room."""

from nurture_chassis.pace import Pace
from nurture_chassis.restored import RestoreGuard
from nurture_chassis.service import Service
from nurture_chassis.settings import load
from nurture_chassis.tokens import link_id

from nurture_email import resend, smtp
from nurture_email.attempts import Limits
from nurture_email.calls import METER
from nurture_email.config import Config
from nurture_email.handlers import Handlers
from nurture_email.rendering import LAYOUT_VERSION, TEMPLATES, Renderer, RenderSettings, load_layout
from nurture_email.sender import Sender
from nurture_email.store import Store
from nurture_email.volley_store import VolleyStore
from nurture_email.volleys import Volleys


def build() -> Service:
    """The service, not yet running."""
    config = load(Config).check()
    service = Service("email", config)
    for template in TEMPLATES:
        load_layout(template, LAYOUT_VERSION)
    store, sender = _over_smtp(service, config) if config.email_provider == "smtp" else _over_resend(service, config)
    guard = RestoreGuard(service.database, service.outbox, service.bus)
    service.held.append(guard.held)

    async def tell_limits() -> None:
        await service.database.execute("limits_tell", config.email_max_attempts)

    # Whoever starts us may have brought an account in order, or changed to the other: one call tells.
    service.before_hearing += [
        guard.look,
        tell_limits,
        *(Pace(service.database, one.name, 1.0).unpark for one in (resend.ACCOUNT, smtp.ACCOUNT)),
    ]
    sender.wake = service.tick("email-sender", guard.before(sender.tick), every=1.0).wake
    service.measures.asks.append(lambda: METER.measure(service.database, config.email_provider))
    service.tick("email-prune", store.prune, every=3600.0)
    handlers = Handlers(store, service.outbox, sender.wake)
    service.bus.hear("email-send", handlers.send)
    service.bus.hear("email-webhooks", handlers.webhooks)
    service.bus.hear("email-tracking", handlers.tracking)
    return service


def _over_resend(service: Service, config: Config) -> tuple[Store, Sender]:
    store = Store(service.database, service.outbox, resend.ACCOUNT.name)
    provider = resend.Resend(config.resend_api_key, config.resend_api_url, concurrency=config.email_concurrency)
    sender = Sender(
        store,
        Pace(service.database, resend.ACCOUNT.name, config.resend_rate_limit),
        provider,
        _renderer(config),
        service.clock,
        _settings(config),
        concurrency=config.email_concurrency,
        limits=Limits(max_attempts=config.email_max_attempts),
    )
    service.on_stop += [sender.finish, provider.close]
    return store, sender


def _over_smtp(service: Service, config: Config) -> tuple[VolleyStore, Volleys]:
    store = VolleyStore(service.database, service.outbox, smtp.ACCOUNT.name)
    provider = smtp.Smtp(config.relay)
    sender = Volleys(
        store,
        Pace(service.database, smtp.ACCOUNT.name, config.smtp_rate_limit),
        provider,
        _renderer(config),
        service.clock,
        _settings(config),
        concurrency=config.email_concurrency,
        rate=config.smtp_rate_limit,
        limits=Limits(max_attempts=config.email_max_attempts),
    )
    service.on_stop += [sender.finish, provider.close]
    return store, sender


def _renderer(config: Config) -> Renderer:
    return Renderer(config.tokens(), link_id)


def _settings(config: Config) -> RenderSettings:
    return RenderSettings(
        sender=config.from_email,
        public_url=config.public_url,
        postal_address=config.postal_address,
        provider=config.email_provider,
    )
