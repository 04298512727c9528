"""`python -m nurture_local.sandbox`: run until SIGTERM or Ctrl-C."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable

import structlog
import uvicorn
import uvloop
from nurture_chassis import logs
from nurture_chassis.settings import SettingsError

from nurture_local.sandbox import config
from nurture_local.sandbox.app import build
from nurture_local.sandbox.ledger import LedgerBusy

log = structlog.get_logger()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


class _Server(uvicorn.Server):
    """Ends long polls first: they are requests in flight, and a stop waits for those."""

    def __init__(self, config: uvicorn.Config, end_polls: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_polls = end_polls

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_polls()
        await super().shutdown(sockets)


def main() -> int:
    """Exit code: 0 stopped as asked, 1 could not start or broke, 2 a setting is wrong."""
    logs.configure("sandbox", "info", "json")
    try:
        settings = config.read()
        sandbox = build(settings)
    except (SettingsError, ValueError) as error:
        log.error("settings_wrong", reason=str(error))
        return 2
    except LedgerBusy as error:
        log.error("ledger_busy", reason=str(error))
        return 1
    logs.configure("sandbox", settings.log_level, settings.log_format)
    try:
        listener = _listen(settings.sandbox_host, settings.sandbox_port)
    except OSError as error:
        where = f"{settings.sandbox_host}:{settings.sandbox_port}"
        log.error(
            "cannot_listen", address=where, reason=error.strerror, what_to_do="set SANDBOX_PORT to a free port, or 0"
        )
        return 1
    port = listener.getsockname()[1]
    log.info("sandbox_listening", url=f"http://{settings.sandbox_host}:{port}", ledger=str(settings.ledger_path))
    # uvicorn raises the signal again after a clean stop; ended by it, the process would look killed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = _Server(
        uvicorn.Config(
            sandbox.app,  # pyright: ignore[reportArgumentType]  Litestar's and uvicorn's ASGI types differ in name only
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_keep_alive=60,
            timeout_graceful_shutdown=5,
        ),
        sandbox.end_polls,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=[listener]))
    except KeyboardInterrupt:
        log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
