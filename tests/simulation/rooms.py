"""What each room does in a process: the product's classes, wired as its `app.py` wires them."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from nurture_chassis.pace import Pace
from nurture_chassis.settings import Secret
from nurture_contracts.events import AddressesSuppressed, ChatsChanged, CommandSettled
from nurture_controller.advancing import Planner
from nurture_controller.commands import Commands
from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.falling_back import FallbackPlanner
from nurture_controller.ledger import Ledger
from nurture_controller.library import Library
from nurture_controller.starting import Starter
from nurture_controller.wording import Wordings
from nurture_email import attempts as email_attempts
from nurture_email.handlers import Handlers as EmailHandlers
from nurture_email.rendering import RenderSettings
from nurture_email.sender import Sender as EmailSender
from nurture_email.store import Store as EmailStore
from nurture_email.volley_store import VolleyStore
from nurture_email.volleys import Volleys
from nurture_telegram import attempts as telegram_attempts
from nurture_telegram.handlers import Handlers as TelegramHandlers
from nurture_telegram.sender import Sender as TelegramSender
from nurture_telegram.store import Store as TelegramStore

from tests.simulation.providers import MailRenderer, TextRenderer

if TYPE_CHECKING:
    from tests.simulation.process import Process

CONCURRENCY = 4
_WORDINGS = Wordings()
_SETTINGS = RenderSettings(sender="Acme <hello@acme.test>", public_url="https://n.acme.test")
_CONFIG = Config(
    database_url=Secret(""), nats_url="", secret_key=Secret("0123456789abcdef" * 2), plan_batch=4, page_size=3
)


def controller(process: "Process") -> None:
    library, desks = Library(process.database, process.clock), Desks(_CONFIG, _WORDINGS)
    starter = Starter(process.outbox, library, process.clock, _CONFIG, desks)
    planner = Planner(process.outbox, library, process.clock, _CONFIG, desks)
    commands = Commands(process.outbox, library)
    ledger = Ledger(process.outbox, FallbackPlanner(library, process.clock, _CONFIG, desks))
    process.hear("controller-start", starter.start)
    process.hear("controller-cancel", commands.cancel)
    process.hear("controller-pause", commands.pause)
    for channel in ("email", "telegram"):
        process.hear(f"controller-{channel}-settled", ledger.settled)
        process.hear(f"controller-{channel}-observed", ledger.observed)
    held = {"controller.paused_types"}
    starter.wake_jobs = process.tick("jobs", starter.work, every=2.0, tables={"controller.start_jobs"}).wake

    async def plan() -> bool | float | None:
        again = await planner.tick()
        # It looks every minute though nothing is due; a change wakes it here.
        return None if again == 60.0 else again

    process.tick("planning", plan, every=1.0, tables={"controller.enrolments"} | held)


def email(process: "Process") -> None:
    world = process.world
    limits = email_attempts.Limits(max_attempts=3)
    if world.provider == "smtp":
        store = VolleyStore(process.database, process.outbox, "smtp")
        sender = Volleys(
            store, Pace(process.database, "smtp", 10.0), _Watched(process, world.relay.send), MailRenderer(),  # type: ignore[arg-type]
            process.clock, replace(_SETTINGS, provider="smtp"), concurrency=CONCURRENCY, rate=10.0, limits=limits,
        )  # fmt: skip
    else:
        store = EmailStore(process.database, process.outbox, "resend")
        sender = EmailSender(
            store, Pace(process.database, "resend", 10.0), _Watched(process, world.resend.send), MailRenderer(),  # type: ignore[arg-type]
            process.clock, _SETTINGS, concurrency=CONCURRENCY, limits=limits,
        )  # fmt: skip
    tables = {"email.claims", "email.pages", "email.pace", "controller.paused_types"}
    due = _first(process, "email.claims", lambda row: row["next_at"] if row["state"] == "open" else None)
    handlers = EmailHandlers(store, process.outbox, lambda: sender.wake())
    sender.wake = process.tick("sender", sender.tick, every=1.0, tables=tables, due=due).wake
    process.hear("email-send", handlers.send)
    process.hear("email-webhooks", handlers.webhooks)
    process.hear("email-tracking", handlers.tracking)


def telegram(process: "Process") -> None:
    world = process.world
    store = TelegramStore(process.database, process.outbox)
    limits = telegram_attempts.Limits(max_attempts=3)
    sender = TelegramSender(
        store, Pace(process.database, "telegram", 20.0), _Watched(process, world.bot.send), TextRenderer(),  # type: ignore[arg-type]
        process.clock, concurrency=CONCURRENCY, rate=20.0, limits=limits,
    )  # fmt: skip
    handlers = TelegramHandlers(store, process.outbox, None, lambda: sender.wake(), lambda effects: None)  # type: ignore[arg-type]
    tables = {"telegram.claims", "telegram.pace", "controller.paused_types"}
    due = _first(process, "telegram.claims", lambda row: row["next_at"] if row["state"] == "waiting" else None)
    lost = _first(process, "telegram.claims", lambda row: row["lease_until"])
    sender.wake = process.tick("sender", sender.tick, every=1.0, tables=tables, due=due).wake
    process.tick(
        "reaper", lambda: store.reap(process.clock.now(), limits), every=5.0, tables={"telegram.claims"}, due=lost, lazy=True
    )  # fmt: skip
    process.hear("telegram-send", handlers.send)
    process.hear("telegram-tracking", handlers.tracking)


def gateway(process: "Process") -> None:
    """Its HTTP side is played by the clients of the simulation."""

    async def settled(event: CommandSettled) -> None:
        await process.database.execute("settle_command", event.command_id, event.status, event.result)

    async def suppressed(event: AddressesSuppressed) -> None:
        columns = [(item.channel, item.delivery_id, item.reason, item.at) for item in event.items]
        await process.database.execute("suppress_contacts", *(list(column) for column in zip(*columns, strict=True)))

    async def chats(event: ChatsChanged) -> None:
        at = max(item.at for item in event.items)
        await process.database.execute("chats_state", [item.user_id for item in event.items], at)

    process.hear("gateway-settled", settled)
    process.hear("gateway-suppressed", suppressed)
    process.hear("gateway-chats", chats)


ROOMS: dict[str, Callable[["Process"], None]] = {
    "gateway": gateway, "controller": controller, "email": email, "telegram": telegram,
}  # fmt: skip


class _Watched:
    """A provider as one process calls it: the call may be the last thing that it does."""

    def __init__(self, process: "Process", send: Any) -> None:
        self._process = process
        self._send = send

    async def send(self, *args: Any, **options: Any) -> Any:
        await self._process.call_leaves(args)
        reply = await self._send(*args, **options)
        self._process.call_ends()
        return reply


def _first(process: "Process", table: str, at: Callable[[dict], Any]) -> Callable[[], float]:
    """When the first row of a table is due that is not due yet."""

    def due() -> float:
        now = process.world.loop.now
        times = [time for row in process.world.tables.rows(table) if (time := at(row)) is not None and time > now]
        return process.world.seconds(min(times)) if times else math.inf

    return due
