"""`deploy/compose.yaml` as testcontainers' containers: what users run is what is tested, without compose in between."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from docker.types import Healthcheck
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IMAGES = {name: os.environ[name] for name in ("POSTGRES_IMAGE", "NATS_IMAGE", "NURTURE_TAG") if os.environ.get(name)}
"""Other images than compose.yaml's own, as its users name them."""
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def services(told: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of the file with `told` and IMAGES in place of its variables."""
    values = {**told, **IMAGES}

    def replace(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        if kind == "-":
            return values.get(name) or default
        return values[name]

    return yaml.safe_load(_VARIABLE.sub(replace, (DEPLOY / "compose.yaml").read_text()))["services"]


def container(
    name: str, service: Mapping[str, Any], network: Network, run: str, labels: Mapping[str, str]
) -> DockerContainer:
    """One service as a container that is not started yet, reached by its name in the network; volumes are named for `run`."""
    made = DockerContainer(service["image"]).with_network(network).with_network_aliases(name)
    environment: dict[str, Any] = service.get("environment", {})
    made.with_envs(**{key: "" if value is None else str(value) for key, value in environment.items()})
    if "command" in service:
        made.with_command([str(word) for word in service["command"]])
    for published in service.get("ports", ()):
        address, outside, inside = published.split(":")
        made.ports[f"{inside}/tcp"] = (address, int(outside))
    for volume in service.get("volumes", ()):
        source, place, *mode = volume.split(":")
        folder = str((DEPLOY / source).resolve()) if source.startswith((".", "/")) else f"{run}-{source}"
        made.with_volume_mapping(folder, place, *(mode or ["rw"]))
    more: dict[str, Any] = {
        key: service[key] for key in ("user", "read_only", "cap_drop", "security_opt", "shm_size") if key in service
    }
    if test := service.get("healthcheck", {}).get("test"):
        second = 10**9
        more["healthcheck"] = Healthcheck(
            test=test, interval=second, timeout=3 * second, retries=3, start_period=60 * second
        )
    if "stop_signal" in service:
        more["stop_signal"] = service["stop_signal"]
    made.with_kwargs(labels=dict(labels), hostname=name, **more)
    made.tmpfs = dict.fromkeys(service.get("tmpfs", ()), "")
    return made
