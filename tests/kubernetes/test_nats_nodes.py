"""The very servers that the manifests describe, started on loopback: their files, arguments, environment, probes, users."""

import asyncio
import contextlib
import json
import re
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nurture_chassis import topology
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.topology import CONSUMERS
from nurture_local import servers
from nurture_local.ports import free_port
from nurture_local.programs import nats_server

from tests.kubernetes.nodes import Node, address, asked, start
from tests.kubernetes.rendered import ROOMS, ROOT, environment, named, workload
from tests.kubernetes.test_environment import BOTH
from tests.kubernetes.test_scaling import scaled

pytestmark = pytest.mark.xdist_group("kubernetes-nodes")


def logs_in(node: Node, **who: str) -> bool:
    """What the server says to a client that introduces itself like this, in NATS' own protocol."""
    with socket.create_connection(("127.0.0.1", node.client), timeout=10) as connection:
        lines = connection.makefile("rb")
        assert lines.readline().startswith(b"INFO ")
        told = json.dumps({"verbose": False, "pedantic": False, **who})
        connection.sendall(f"CONNECT {told}\r\nPING\r\n".encode())
        answer = lines.readline().strip()
        lines.close()
    assert answer in (b"PONG", b"-ERR 'Authorization Violation'"), answer
    return answer == b"PONG"


async def declare(url: str, replicas: int) -> None:
    settings = ServiceSettings(database_url=Secret(""), nats_url=url, secret_key=Secret("x"))
    bus = Bus(url, "controller", Database(settings, "controller", Queries("", "public")))
    await bus.connect()
    try:
        await bus.broker.start()
        await topology.ensure(bus, replicas)
    finally:
        await bus.broker.stop()


def test_files_are_those_of_deploy_nats() -> None:
    for overlay in ("small", "production"):
        (volume,) = [v["configMap"]["name"] for v in workload(overlay, "nats").pod["volumes"] if "configMap" in v]
        files = named(overlay, "ConfigMap", volume)["data"]
        assert files == {path.name: path.read_text() for path in (ROOT / "deploy/nats").glob("*.conf")}


def test_probes_are_answered_and_every_write_is_synced(cluster: list[Node]) -> None:
    container = workload("production", "nats").container
    for node in cluster:
        for probe in ("startup", "liveness", "readiness"):
            get = container[f"{probe}Probe"]["httpGet"]
            assert asked(node, get["path"]).json() == {"status": "ok"}, probe
        varz = asked(node, "/varz").json()
        assert varz["server_name"] == node.name and varz["jetstream"]["config"]["sync_always"] is True
        # nats-py would go to an address that it heard of without its user's name.
        assert not varz.get("connect_urls")
        assert asked(node, "/routez").json()["num_routes"] > 0


def led(node: Node, cluster: list[Node]) -> set[tuple[str, str]]:
    """Stream and name of the consumers that this node leads, by the page that KEDA reads; every stream is on all nodes.

    Nothing while it has not heard yet who leads a stream that was just made."""
    (account,) = asked(node, "/jsz?acc=$G&consumers=true&config=true").json()["account_details"]
    assert account["name"] == "$G"
    for stream in account["stream_detail"]:
        standing = stream["cluster"]
        assert stream["config"]["num_replicas"] == 3
        if not standing.get("leader"):
            return set()
        # A node that follows does not name itself.
        assert {node.name, standing["leader"], *(peer["name"] for peer in standing["replicas"])} == {
            one.name for one in cluster
        }
    return {
        (stream["name"], consumer["name"])
        for stream in account["stream_detail"]
        for consumer in stream.get("consumer_detail", ())
        if consumer["cluster"].get("leader") == node.name and consumer["num_pending"] == 0
    }


def test_the_controller_makes_streams_on_every_node_and_keda_finds_each_consumer(cluster: list[Node]) -> None:
    env = environment("production", workload("production", "controller"), BOTH)
    asyncio.run(declare(address("production", "controller", cluster[1]), int(env["NATS_REPLICAS"])))
    wanted = {(one.stream, one.durable) for one in CONSUMERS}

    async def all_led() -> None:
        async with asyncio.timeout(30):
            while True:
                if set().union(*(led(node, cluster) for node in cluster)) == wanted:
                    return
                await asyncio.sleep(0.1)

    asyncio.run(all_led())
    looked = {(t.metadata["stream"], t.metadata["consumer"]) for spec in scaled().values() for t in spec.triggers}
    assert looked <= wanted


@pytest.mark.parametrize("overlay", ["small", "production"])
def test_each_service_is_its_own_user_and_nobody_else_gets_in(
    overlay: str, cluster: list[Node], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        nodes = cluster if overlay == "production" else start(stack, "small", tmp_path, 1)

        for number, room in enumerate(ROOMS):
            node = nodes[number % len(nodes)]
            url = urlsplit(address(overlay, room, node))
            assert url.username == room and url.password
            assert logs_in(node, user=url.username, **{"pass": url.password})
            assert not logs_in(node, user=room, **{"pass": f"{url.password}x"})
            assert not logs_in(node)
        if overlay == "small":
            assert asked(nodes[0], "/healthz").json() == {"status": "ok"}


def test_health_of_a_single_node_is_asked_for_from_outside() -> None:
    text = (ROOT / "deploy/nats/pod.conf").read_text()
    assert workload("small", "nats").container["args"] == ["-c", "/etc/nurture/pod.conf"]
    assert re.findall(r"^http: (\S+)$", text, re.MULTILINE) == ["0.0.0.0:8222"]
    assert text.index("include container.conf") < text.index("http:"), "the last one counts"


def test_nobody_becomes_a_node_without_the_password(cluster: list[Node], tmp_path: Path) -> None:
    intruder = tmp_path / "intruder.log"
    port = free_port()
    (tmp_path / "intruder.conf").write_text(
        f'server_name: intruder\nlisten: 127.0.0.1:{port}\ncluster {{ name: nurture, listen: "127.0.0.1:{free_port({port})}"\n'
        f"routes: [nats://route:guessed@127.0.0.1:{cluster[0].peers}, nats://127.0.0.1:{cluster[1].peers}] }}\n"
    )
    with intruder.open("wb") as log:
        process = subprocess.Popen(
            [nats_server(), "-c", tmp_path / "intruder.conf"], stdout=log, stderr=subprocess.STDOUT
        )
    try:

        async def refused() -> None:
            async with asyncio.timeout(30):
                while True:
                    if all("authentication error" in node.log.read_text() for node in cluster[:2]):
                        return
                    await asyncio.sleep(0.05)

        asyncio.run(refused())
    finally:
        servers.stop(process)
    for node in cluster:
        assert "intruder" not in {route.get("remote_name") for route in asked(node, "/routez").json()["routes"]}
