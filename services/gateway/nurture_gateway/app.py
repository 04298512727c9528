"""The wiring of the gateway."""

import msgspec
from nurture_chassis.service import Service
from nurture_chassis.settings import load
from nurture_contracts.events import CommandSettled

from nurture_gateway.api.rates import Rates
from nurture_gateway.api.routes import application
from nurture_gateway.canary import LOOK, Canary
from nurture_gateway.config import Config
from nurture_gateway.dashboard.live import Live
from nurture_gateway.handlers import Handlers
from nurture_gateway.inbound import Gate
from nurture_gateway.room import Links, Room
from nurture_gateway.sessions import Sessions
from nurture_gateway.shell import Shell
from nurture_gateway.store import Pages


def build(config: Config | None = None) -> Service:
    """The service, not yet running. Raises SettingsError."""
    config = config or load(Config)
    config = msgspec.structs.replace(config, nurture_http_port=config.port)
    service = Service("gateway", config)
    pages = Pages(service.outbox)
    room = Room(
        config=config,
        database=service.database,
        outbox=service.outbox,
        clock=service.clock,
        tokens=config.tokens(),
        live=Live(service.stopping),
        rates=Rates(config),
        webhooks=Gate("webhooks", pages.webhooks),
        hits=Gate("hits", pages.hits),
        updates=Gate("updates", pages.updates),
        links=Links(service.database),
        sessions=Sessions(service.database, config.admin_api_key.reveal(), config.session_hours),
        why_not_ready=service.troubles,
        webhook_keys=config.webhook_keys(),
    )
    handlers = Handlers(service.database, room.waiters)
    service.bus.hear("gateway-settled", handlers.settled)
    service.bus.hear("gateway-suppressed", handlers.suppressed)
    service.bus.hear("gateway-chats", handlers.chats)
    service.bus.hear("gateway-test-progress", handlers.test_progress)
    service.bus.overhear(CommandSettled, room.waiters.settle)
    service.on_stop += [room.webhooks.close, room.hits.close, room.updates.close]

    async def sweep() -> bool:
        keys = await service.database.execute("forget_keys")
        await service.database.execute("forget_verifications", service.clock.now())
        await service.database.execute("forget_sessions")
        await service.database.execute("forget_canary")
        return await service.database.execute("forget_pages") + keys > 0

    service.tick("forget", sweep, every=600.0)

    canary = Canary(service.database, service.outbox, service.clock, config)
    service.before_hearing.append(canary.move_in)
    if canary.wanted:
        service.tick("canary", canary.tick, every=LOOK)

    service.inner = Shell(application(room), config.public_url, lambda: service.database.is_open)
    return service
