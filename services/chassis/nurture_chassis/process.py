"""How the process of a service begins: without what libraries would take along only because it is installed."""

import sys
from importlib import import_module

LEFT_OUT = ("aiohttp", "rich")
"""nats-py reads the first for WebSockets, structlog the second for coloured tracebacks: 10 MiB of each service
and a third of its imports, and no service uses either. Both take their absence well."""


def main(app: str) -> None:
    """Run the service that the function `build` of this module wires, until it is told to stop."""
    for name in LEFT_OUT:
        # What Python finds here in place of a module it reports as not installed.
        sys.modules.setdefault(name, None)  # pyright: ignore[reportArgumentType]
    from nurture_chassis.service import run

    run(import_module(app).build)
