"""The embedded NATS server: JetStream that syncs every write, on the loopback interface only."""

import json
from pathlib import Path

import msgspec

from nurture_local import durable
from nurture_local.ports import LOOPBACK
from nurture_local.probes import http_get
from nurture_local.processes import ChildSpec, Stage
from nurture_local.programs import nats_server


class NotDurable(Exception):
    """The server that answers does not sync its store; promises about the bus would not hold."""


def url(port: int) -> str:
    return f"nats://{LOOPBACK}:{port}"


def configuration(port: int, monitor: int, store: Path) -> str:
    # NATS reads JSON strings as its own, so paths with blanks or quotes survive.
    return "\n".join(
        (
            'server_name: "nurture"',
            f'listen: "{LOOPBACK}:{port}"',
            f'http: "{LOOPBACK}:{monitor}"',
            "jetstream {",
            f"  store_dir: {json.dumps(str(store))}",
            "  sync_interval: always",
            "}",
            "",
        )
    )


def spec(folder: Path, port: int, monitor: int) -> ChildSpec:
    """The server as a child; its configuration and store lie in `folder`, which is made when absent."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = folder / "nats.conf"
    # Synced: of a file that a power cut has emptied the server makes its defaults, every interface and nothing kept.
    durable.write(settings, configuration(port, monitor, folder.resolve() / "store").encode())

    async def ready() -> bool:
        try:
            status, _ = await http_get(monitor, "/healthz?js-enabled-only=true")
            if status != 200:
                return False
            _, body = await http_get(monitor, "/varz")
        except (OSError, TimeoutError):
            return False
        if not syncs(body):
            raise NotDurable(f"the NATS server on port {port} does not run with sync_interval: always")
        return True

    return ChildSpec(
        name="nats",
        stage=Stage.BUS,
        argv=(str(nats_server()), "-c", str(settings)),
        # One machine has other uses for its memory than garbage that Go has not collected yet.
        env={"PATH": "/usr/bin:/bin", "GOMEMLIMIT": "48MiB", "GOGC": "50"},
        ready=ready,
    )


def syncs(varz: bytes) -> bool:
    """Whether a server's /varz says that JetStream syncs each write before it acknowledges."""
    config = msgspec.json.decode(varz).get("jetstream", {}).get("config", {})
    return config.get("sync_always") is True
