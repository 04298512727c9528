"""The whole system in containers on a network of its own, with the face that the journeys know."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.errors import DockerException
from docker.models.containers import Container
from nurture_local import compose_env
from nurture_local.ports import free_port
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.containers import definition
from tests.journeys.system import System, eventually

ROOMS = ("controller", "email", "telegram", "scoring", "gateway")
LABEL = "nurture.tests"
SERVERS = ("postgres", "nats", "sandbox")
_TOLD = ("NURTURE_URL", "NURTURE_API_KEY", "SECRET_KEY", "RESEND_WEBHOOK_SECRET", "NURTURE_SANDBOX")
"""What a command is told that is typed beside the containers."""


def engine() -> docker.DockerClient:
    """A client of the Docker engine. Skips where there is none; fails where NURTURE_REQUIRE holds the word `docker`."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        if "docker" in os.environ.get("NURTURE_REQUIRE", "").split():
            pytest.fail(f"a Docker engine is required here: {error}")
        pytest.skip(f"no Docker engine answers: {error}")
    return client


def remove(client: docker.DockerClient, label: str) -> None:
    """Everything that bears the label: containers, then volumes and networks."""
    for one in client.containers.list(all=True, filters={"label": label}):
        one.remove(force=True, v=True)
    for volume in client.volumes.list(filters={"label": label}):
        volume.remove(force=True)
    for network in client.networks.list(filters={"label": label}):
        network.remove()


class ContainerSystem(System):
    """`containers` by service. Database and bus are published on this machine's loopback."""

    def __init__(self, folder: Path, client: docker.DockerClient) -> None:
        # The image that would remove what a killed test leaves cannot be had everywhere; our label says what is ours.
        testcontainers_config.ryuk_disabled = True
        self.client = client
        self.run = f"nurture-test-{secrets.token_hex(4)}"
        self.label = f"{LABEL}={self.run}"
        ports = {name: str(free_port()) for name in ("GATEWAY_PORT", "SANDBOX_PORT")}
        self.told = compose_env.make({}, {**ports, "RESEND_RATE_LIMIT": "2"})
        self.definition = definition.services(self.told)
        # As an operator who published them would reach them.
        database, bus = free_port(), free_port()
        self.definition["postgres"]["ports"] = [f"127.0.0.1:{database}:5432"]
        self.definition["nats"]["ports"] = [f"127.0.0.1:{bus}:4222"]
        where = {
            **{name: self.told[name] for name in _TOLD},
            "DATABASE_URL": f"postgresql://nurture_admin:{self.told['POSTGRES_PASSWORD']}@127.0.0.1:{database}/nurture",
            "NATS_URL": f"nats://operator:{self.told['NATS_OPERATOR_PASSWORD']}@127.0.0.1:{bus}",
            # In the sandbox this is where its ledger is, for `verify`.
            "RESEND_API_URL": self.told["NURTURE_SANDBOX_URL"],
        }
        super().__init__(folder / "none", env=where)
        self.containers: dict[str, DockerContainer] = {}
        self.network = Network(docker_network_kw={"labels": self._labels})

    @property
    def _labels(self) -> dict[str, str]:
        return {LABEL: self.run}

    def up(self) -> "ContainerSystem":
        for volume in ("postgres", "nats", "sandbox"):
            self.client.volumes.create(f"{self.run}-{volume}", labels=self._labels)
        self.network.create()
        for name in SERVERS:
            self._start(name)
        self.well("postgres", "nats")
        migration = self._start("migrate").wait()
        assert migration["StatusCode"] == 0, self.logs("migrate")
        for name in ROOMS:
            self._start(name)
        self.well("sandbox", *ROOMS)
        self.database = self.env["DATABASE_URL"]
        key = {"Authorization": f"Bearer {self.told['ADMIN_API_KEY']}"}
        self.api = httpx.Client(base_url=self.told["NURTURE_URL"], headers=key, timeout=30)
        self.inbox = httpx.Client(base_url=self.told["NURTURE_SANDBOX_URL"], timeout=30)
        return self

    def _start(self, name: str, service: str = "", image: str = "") -> Container:
        service = service or name
        told = {**self.definition[service], **({"image": image} if image else {})}
        made = definition.container(name, told, self.network, self.run, self._labels)
        self.containers[name] = made.start()
        return self.container(name)

    def beside(self, service: str, image: str = "") -> None:
        """One more container of a service, as `--scale` would make it, called SERVICE-2."""
        self._start(f"{service}-2", service, image)

    def remove(self, name: str) -> tuple[int, float]:
        """A clean stop, and no container any more. Returns the exit code and how many seconds it took."""
        ended = self.end(name)
        self.container(name).remove(v=True)
        del self.containers[name]
        return ended

    def replace(self, service: str, image: str = "", *, wait: bool = True) -> tuple[int, float]:
        """As compose does when an image has changed. Returns how the one before ended."""
        ended = self.remove(service)
        self._start(service, service, image)
        if wait:
            self.well(service)
        return ended

    def container(self, name: str) -> Container:
        """As docker sees it now."""
        found = self.containers[name].get_wrapped_container()
        found.reload()
        return found

    def well(self, *names: str) -> None:
        """Wait until containers are healthy."""
        for name in names:
            eventually(lambda name=name: self._is_healthy(name), within=90, what=f"a healthy {name}")

    def _is_healthy(self, name: str) -> bool:
        state = self.container(name).attrs["State"]
        assert state["Status"] == "running", f"{name}: {state}\n{self.logs(name)}"
        return state["Health"]["Status"] == "healthy"

    def logs(self, name: str) -> str:
        return self.containers[name].get_wrapped_container().logs().decode(errors="replace")

    def status(self) -> dict[str, Any]:
        """Where it is, in the words of `nurture status -o json`."""
        return {
            "gateway": self.told["NURTURE_URL"],
            "api_key": self.told["NURTURE_API_KEY"],
            "sandbox": self.told["NURTURE_SANDBOX_URL"],
            "database": self.env["DATABASE_URL"],
            "nats": self.env["NATS_URL"],
        }

    def service(self, action: str, name: str) -> None:
        """`stop` or `start`."""
        if action == "stop":
            assert self.end(name)[0] == 0, self.logs(name)
        else:
            self.begin(name)

    def kill(self, service: str) -> int:
        """kill -9 of its first process. Returns that process's pid on this machine."""
        pid = self.container(service).attrs["State"]["Pid"]
        self.container(service).kill("SIGKILL")
        self.container(service).wait()
        return pid

    def begin(self, *names: str) -> None:
        """Start stopped containers again and wait until all are well."""
        for name in names:
            self.container(name).start()
        self.well(*names)

    def end(self, name: str) -> tuple[int, float]:
        """`docker stop`. Returns the exit code and how many seconds it took."""
        found, began = self.container(name), time.monotonic()
        found.stop(timeout=20)
        took = time.monotonic() - began
        return self.container(name).attrs["State"]["ExitCode"], took

    def users_on_the_bus(self) -> set[str]:
        """As whom somebody is connected, by the server's own word."""
        told = self.containers["nats"].exec(["wget", "-q", "-O", "-", "http://127.0.0.1:8222/connz?auth=1"])
        connections: list[dict[str, Any]] = httpx.Response(200, content=told.output).json()["connections"]
        return {one["authorized_user"] for one in connections}

    def down(self) -> None:
        self.api.close()
        self.inbox.close()
        remove(self.client, self.label)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[ContainerSystem]:
    """A system in containers for the length of a block; where it failed, `folder` holds its logs."""
    client = engine()
    system = ContainerSystem(folder, client)
    try:
        yield system.up()
    finally:
        for name in system.containers:
            (folder / f"{name}.log").write_text(system.logs(name))
        system.down()
        client.close()


@contextlib.contextmanager
def well_spoken(folder: Path) -> Iterator[ContainerSystem]:
    """The same, and at its end no service may have asked the bus for what its user may not."""
    with running(folder) as system:
        yield system
        refusals = [line for line in system.logs("nats").splitlines() if "Violation" in line]
        assert not refusals, "services asked the bus for what their users may not"
