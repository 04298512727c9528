"""The wiring of the controller."""

from nurture_chassis.restored import RestoreGuard
from nurture_chassis.service import Service
from nurture_chassis.settings import load
from nurture_contracts.canary import PEOPLE

from nurture_controller import counting, keeping, measuring
from nurture_controller.advancing import Planner
from nurture_controller.commands import Commands
from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.exiting import Exits
from nurture_controller.falling_back import FallbackPlanner
from nurture_controller.installation import Installation
from nurture_controller.ledger import Ledger
from nurture_controller.library import Library
from nurture_controller.operating import Operations
from nurture_controller.requests import Requests
from nurture_controller.simulating import Simulator
from nurture_controller.starting import Starter
from nurture_controller.wording import Wordings


def build() -> Service:
    """The service, not yet running."""
    config = load(Config)
    service = Service("controller", config)
    library = Library(service.database, service.clock)
    desks = Desks(config, Wordings())
    starter = Starter(service.outbox, library, service.clock, config, desks)
    planner = Planner(service.outbox, library, service.clock, config, desks)
    requests = Requests(service.outbox, library, service.clock, config, desks)
    operations = Operations(service.outbox, service.clock, config, planner, requests)
    commands = Commands(service.outbox, library)
    simulator = Simulator(service.outbox, library, desks)
    ledger = Ledger(service.outbox, FallbackPlanner(library, service.clock, config, desks))
    keeper = keeping.Keeper(service.database, service.bus, config.nats_replicas)

    async def tell_clock() -> None:
        await service.database.execute("clock_tell", *map(float, service.clock.to_setting().split("@")))

    installation = Installation(service.database)
    guard = RestoreGuard(service.database, service.outbox, service.bus, installation.older)
    service.held.append(guard.held)
    # Before hearing anything, so that every service finds its consumers; a second controller leaves it to the holder.
    service.before_hearing += [installation.look, guard.look, library.publish_shipped, tell_clock, keeper.tick]
    service.on_stop.append(keeper.lease.release)
    service.bus.hear("controller-start", starter.start)
    service.bus.hear("controller-cancel", commands.cancel)
    service.bus.hear("controller-publish", commands.publish)
    service.bus.hear("controller-simulate", simulator.simulate)
    service.bus.hear("controller-email-settled", ledger.settled)
    service.bus.hear("controller-email-observed", ledger.observed)
    service.bus.hear("controller-pause", commands.pause)
    service.bus.hear("controller-process", operations.process)
    service.bus.hear("controller-resend", operations.resend)
    service.bus.hear("controller-archive", operations.archive)
    service.bus.hear("controller-events-recorded", Exits(service.outbox, service.clock).recorded)
    service.bus.hear("controller-telegram-settled", ledger.settled)
    service.bus.hear("controller-telegram-observed", ledger.observed)
    service.measures.asks.append(lambda: measuring.measure(service.database, service.clock))
    starter.wake_jobs = service.tick("start-jobs", starter.work, every=2.0).wake
    service.tick("planning", guard.before(planner.tick), every=1.0)
    service.tick("requests", guard.before(requests.tick), every=1.0)
    service.tick("analytics", counting.Counting(service.database).tick, every=counting.SECONDS)

    async def forget_canary() -> bool:
        page = 1000
        return (
            await service.database.fetchval("canary_forget", list(PEOPLE.values()), service.clock.now(), page) >= page
        )

    service.tick("canary-forget", forget_canary, every=3600.0)
    service.bus.on_reconnect.append(service.tick("topology", keeper.tick, every=keeping.SECONDS).wake)
    return service
