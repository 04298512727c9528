"""The wiring of the telegram room."""

from nurture_chassis.lease import Lease
from nurture_chassis.pace import Pace
from nurture_chassis.restored import RestoreGuard
from nurture_chassis.service import Service
from nurture_chassis.settings import load
from nurture_chassis.tokens import link_id

from nurture_telegram.attempts import Limits
from nurture_telegram.bot_api import BotApi
from nurture_telegram.config import Config
from nurture_telegram.conversations import Effects
from nurture_telegram.handlers import Handlers
from nurture_telegram.identity import CHECK_SECONDS, Identity
from nurture_telegram.inbox import Inbox
from nurture_telegram.poller import LEASE_SECONDS, Poller
from nurture_telegram.rendering import Renderer
from nurture_telegram.sender import METER, Sender
from nurture_telegram.speaker import SHARE, Speaker, share
from nurture_telegram.store import ACCOUNT, Store

WEBHOOK_PATH = "/telegram/webhook"


def build() -> Service:
    """The service, not yet running. Without a bot token it answers `channel_off` for every delivery."""
    config = load(Config).check()
    service = Service("telegram", config)
    store = Store(service.database, service.outbox)
    tokens = config.tokens()
    inbox = Inbox(service.database, service.outbox, tokens, service.clock, config.bot_id)
    pace = Pace(service.database, ACCOUNT, config.telegram_rate_limit)
    api = _api(config)
    webhook = config.public_url.rstrip("/") + WEBHOOK_PATH
    identity = Identity(service.database, pace, api, config.telegram_updates, webhook, config.telegram_webhook_secret)
    service.tick("telegram-identity", identity.check, every=CHECK_SECONDS)
    limits = Limits(max_attempts=config.telegram_max_attempts)
    service.before_hearing.append(lambda: store.tell(limits))
    service.tick("telegram-reaper", lambda: store.reap(service.clock.now(), limits), every=5.0)
    service.measures.asks.append(lambda: METER.measure(service.database, ACCOUNT))
    service.tick("telegram-prune", store.prune, every=3600.0)
    tell = _nobody
    if api is None:
        wake = service.tick("telegram-off", lambda: store.refuse_waiting(service.clock.now()), every=30.0).wake
    else:
        sender = Sender(
            store,
            pace,
            api,
            Renderer(tokens, link_id, config.public_url),
            service.clock,
            concurrency=config.telegram_concurrency,
            rate=config.telegram_rate_limit,
            limits=limits,
        )
        guard = RestoreGuard(service.database, service.outbox, service.bus)
        service.held.append(guard.held)
        service.before_hearing.append(guard.look)
        wake = sender.wake = service.tick("telegram-sender", guard.before(sender.tick), every=1.0).wake
        service.on_stop.append(sender.finish)
        if config.telegram_updates != "off":
            speaker = Speaker(api, pace, Pace(service.database, SHARE, share(config.telegram_rate_limit)))
            tell = speaker.tell
            service.on_stop.append(speaker.finish)
        if config.telegram_updates == "poll":
            lease = Lease(service.database, "telegram-poll", LEASE_SECONDS)
            poller = Poller(api, inbox, lease, tell=tell, note=identity.note, own_webhook=webhook)
            service.before_hearing.append(poller.start)
            service.on_stop.insert(0, poller.stop)
        service.on_stop.append(api.close)
    handlers = Handlers(store, service.outbox, inbox, wake, tell)
    service.bus.hear("telegram-send", handlers.send)
    service.bus.hear("telegram-tracking", handlers.tracking)
    service.bus.hear("telegram-updates", handlers.updates)
    return service


def _api(config: Config) -> BotApi | None:
    if not config.telegram_bot_token:
        return None
    return BotApi(config.telegram_bot_token, config.telegram_api_url, concurrency=config.telegram_concurrency)


def _nobody(effects: Effects) -> None:
    """Where updates are passed on by another bot, that bot talks to people."""
