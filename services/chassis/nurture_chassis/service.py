"""The life of a service: open what it stands on, hear, tick, serve its HTTP, and stop cleanly in the reverse order."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

import asyncpg
import nats.errors
import structlog
import uvicorn
import uvloop
from nurture_contracts.commands import ReplayDeadLetters

from nurture_chassis import logs, measuring, spans
from nurture_chassis.bus import Bus
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE, Database
from nurture_chassis.health import Asgi, Front, Page, Reply, as_json, asyncapi_document, metrics
from nurture_chassis.letters import Letters
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.settings import ServiceSettings, SettingsError
from nurture_chassis.ticker import Ticker

log = structlog.get_logger()
EXIT_CONFIG = 78
"""sysexits' EX_CONFIG: starting again without another setting is useless."""
PRESENCE_SECONDS = 5.0
"""How often a process writes down that it is there; one that is silent for three times that is away."""
DATABASE_SECONDS = 1.5
"""How long a question for the health page may take; orchestrators ask with a time-out of their own."""
STOP_SECONDS = 16.0
"""For each step of stopping: a little more than handlers under way are given."""
EXIT_TEMPORARY = 75
"""sysexits' EX_TEMPFAIL: the supervisor should start the process again."""


class Service:
    """Everything that one service process stands on; `app.py` of a room wires its handlers and ticks to this."""

    def __init__(self, room: str, settings: ServiceSettings) -> None:
        self.room = room
        self.settings = settings
        self.clock = Clock.from_setting(settings.nurture_clock)
        self.database = Database(settings, room, Queries.of(f"nurture_{room}", settings.publish_schema))
        self.bus = Bus(settings.nats_url, room, self.database)
        self.outbox = Outbox(self.database, self.bus)
        self.before_hearing: list[Callable[[], Awaitable[None]]] = []
        self.on_stop: list[Callable[[], Awaitable[None]]] = []
        self.on_end: list[Callable[[], None]] = []
        self.problems: list[Callable[[], list[str]]] = []
        self.held: list[Callable[[], list[str]]] = []
        """Why a service that is well does not send, in words: `ready` says so and stays ready."""
        self.tickers: list[Ticker] = []
        self.inner: Asgi | None = None
        self._ready = False
        self._awaited = ""
        self._asking: asyncio.Task[bool] | None = None
        self.stopping = asyncio.Event()
        """Set by SIGTERM: answers that have no end should come to one now."""
        self.letters = Letters(self.database, self.bus, self.outbox)
        self.bus.hear(f"{room}-replay", self._replay)
        self.tick("outbox-mark", self.outbox.mark, every=0.25)
        self.bus.on_reconnect.append(self.tick("outbox-relay", self.outbox.relay, every=5.0).wake)
        self.tick("outbox-rotate", self._rotate, every=3600.0)
        self.instance = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self.tick("presence", self._say_present, every=PRESENCE_SECONDS)
        self.measures = measuring.Measures(self.database)
        self.tick("measures", self.measures.tick, every=measuring.LONGEST)
        measuring.tell(self, lambda: self.bus.connected)

    def tick(self, name: str, work: Callable[[], Awaitable[bool | float | None]], *, every: float) -> Ticker:
        """Run `work` every so many seconds and whenever the returned ticker is woken."""
        ticker = Ticker(name, work, every=every)
        self.tickers.append(ticker)
        return ticker

    async def _replay(self, letters: ReplayDeadLetters) -> None:
        """Hand this room's dead letters to their handlers again; one that was replayed is left alone."""
        await self.letters.replay(letters.items)

    async def _rotate(self) -> None:
        await self.database.fetchval("outbox_rotate", timeout=60)
        await self.database.execute("presence_forget")

    async def _say_present(self) -> None:
        held = [reason for ask in self.held for reason in ask()]
        await self.database.execute("presence_note", self.instance, self.troubles(), held)

    async def _leave(self) -> None:
        await self.database.execute("presence_leave", self.instance, timeout=1)

    async def live(self) -> Reply:
        return as_json(200, {"status": "alive", "service": self.room})

    async def ready(self) -> Reply:
        problems = await self.why_not_ready()
        told = {"status": "not ready" if problems else "ready", "problems": problems}
        if held := [reason for ask in self.held for reason in ask()]:
            told["held"] = held
        return as_json(503 if problems else 200, told)

    async def serving(self) -> Reply:
        """Whether requests should come here: without the bus too, since what is asked for is a row first."""
        problems = self._closed() or ([] if await self._database_answers() else ["the database does not answer"])
        return as_json(
            503 if problems else 200, {"status": "not serving" if problems else "serving", "problems": problems}
        )

    async def why_not_ready(self) -> list[str]:
        """Reasons in words; an empty list means ready. Answers within two seconds, whatever hangs."""
        problems = self.troubles()
        if self._ready and not await self._database_answers():
            problems.append("the database does not answer")
        return problems

    def troubles(self) -> list[str]:
        """The reasons that are known without asking anybody."""
        if closed := self._closed():
            return closed
        problems = [*self.bus.problems(), *self.outbox.problems()]
        problems += [f"{one.name} keeps failing: {why}" for one in self.tickers if (why := one.failing)]
        for ask in self.problems:
            problems += ask()
        return problems

    def _closed(self) -> list[str]:
        if self._ready:
            return []
        awaited = self._awaited or f"waiting for {self.database.awaited}"
        return ["stopping"] if self.stopping.is_set() else [f"starting: {awaited}"]

    async def _database_answers(self) -> bool:
        # One question at a time, and never cancelled: asyncpg would wait for a server that hangs to confirm the cancel.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_database())
        done, _ = await asyncio.wait({self._asking}, timeout=DATABASE_SECONDS)
        return bool(done) and self._asking.result()

    async def _ask_database(self) -> bool:
        try:
            await self.database.pool.fetchval("select 1")
        except (*UNREACHABLE, asyncpg.PostgresError):
            return False
        return True

    async def _metrics(self) -> Reply:
        return metrics()

    async def _asyncapi(self) -> Reply:
        return 200, "application/json", asyncapi_document(self.bus, f"nurture {self.room}")

    def pages(self) -> dict[str, Page]:
        """The paths that every service answers."""
        return {
            "/health/live": self.live,
            "/health/ready": self.ready,
            "/health/serving": self.serving,
            "/metrics": self._metrics,
            "/asyncapi": self._asyncapi,
        }

    def stop(self) -> None:
        """What SIGTERM asks for."""
        self.stopping.set()

    async def serve(self) -> int:
        """Run until SIGTERM or SIGINT. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = _Server(
            uvicorn.Config(
                Front(self.pages(), self.inner),
                host=self.settings.nurture_http_host,
                port=self.settings.nurture_http_port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
                server_header=False,
                proxy_headers=False,
            )
        )
        if endpoint := self.settings.otel_exporter_otlp_endpoint:
            self.on_end.append(spans.record(self.room, endpoint))
        http = asyncio.create_task(server.serve())
        watch = asyncio.create_task(measuring.watch_loop(), name="loop-lag")
        opening = asyncio.create_task(self._open())
        stopping = asyncio.create_task(self.stopping.wait())
        lost = asyncio.create_task(self.bus.lost.wait())
        try:
            await asyncio.wait({opening, stopping, lost, http}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
                log.info("service.ready", port=self.settings.nurture_http_port)
                await asyncio.wait({stopping, lost, http}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed = http.done() and not self.stopping.is_set()
            self._ready = False
            opened = opening.done() and opening.exception() is None
            opening.cancel()
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError, SystemExit):
                await http
            await self._close(opened)
            for task in (stopping, lost, watch):
                task.cancel()
        return EXIT_TEMPORARY if failed or self.bus.lost.is_set() else 0

    async def _open(self) -> None:
        await self.database.open()
        self._awaited = "waiting for NATS"
        await self.bus.connect()
        for prepare in self.before_hearing:
            await self._prepare(prepare)
        self._awaited = "waiting for the controller to make our consumers"
        await self.bus.start()
        for ticker in self.tickers:
            ticker.start()
        self._ready = True

    async def _prepare(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Servers that are still starting are waited for, not fled from."""
        while True:
            try:
                return await prepare()
            except (*UNREACHABLE, nats.errors.Error) as error:
                # NATS says what it refuses; what the database's driver says may hold an address.
                words = str(error) if isinstance(error, nats.errors.Error) else type(error).__name__
                if words != self._awaited:
                    self._awaited = words
                    log.warning("service.waiting", error=words)
                await asyncio.sleep(0.5)

    async def _close(self, opened: bool) -> None:
        """In order, each within its time: what cannot be finished now, rows remember."""
        steps: list[Callable[[], Awaitable[None]]] = []
        if opened:
            steps += [self._stop_ticking, *self.on_stop, self.outbox.close, self._leave]
        for step in (*steps, self.bus.stop):
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await step()
            except Exception as error:
                log.warning("service.left_undone", step=getattr(step, "__qualname__", "?"), error=type(error).__name__)
        await self.database.close()
        for end in self.on_end:
            await asyncio.to_thread(end)
        log.info("service.stopped")

    async def _stop_ticking(self) -> None:
        await asyncio.gather(*(ticker.stop() for ticker in self.tickers))


class _Server(uvicorn.Server):
    """Signals belong to the service, not to its HTTP server."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def run(service_of: Callable[[], Service]) -> None:
    """Build the service inside its event loop, run it and exit with its code."""

    async def main() -> int:
        try:
            service = service_of()
        except SettingsError as error:
            sys.stderr.write(f"cannot start: {error}\n")
            return EXIT_CONFIG
        logs.configure(service.room, service.settings.log_level, service.settings.log_format)
        try:
            return await service.serve()
        except SettingsError as error:
            log.error("service.refused", reason=str(error))
            return EXIT_CONFIG

    sys.exit(uvloop.run(main()))
