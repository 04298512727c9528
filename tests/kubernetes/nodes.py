"""Pods of the manifests as processes on loopback: the same files, arguments and environment, other addresses."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
from nurture_local import servers
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.programs import nats_server

from tests.kubernetes.rendered import environment, named, workload
from tests.kubernetes.test_environment import BOTH


class Node(NamedTuple):
    """A pod of the StatefulSet, as a process: its ports, and where its log is."""

    name: str
    client: int
    monitor: int
    peers: int
    log: Path


def describe(overlay: str, folder: Path, count: int) -> Iterator[tuple[Node, ChildSpec]]:
    """Each pod as the manifests have it; only addresses and the folder of the store are this machine's."""
    one = workload(overlay, "nats")
    (volume,) = [v["configMap"]["name"] for v in one.pod["volumes"] if "configMap" in v]
    files = named(overlay, "ConfigMap", volume)["data"]
    env = environment(overlay, one, BOTH)
    taken: set[int] = set()
    for _ in range(3 * count):
        taken.add(free_port(taken))
    ports = sorted(taken)
    names = [f"{one.name}-{number}" for number in range(count)]
    nodes = [
        Node(name, *ports[3 * n : 3 * n + 3], folder / f"{name}.log")  # type: ignore[misc]
        for n, name in enumerate(names)
    ]
    for node in nodes:
        here = folder / node.name
        here.mkdir()

        def local(text: str, node: Node = node, here: Path = here) -> str:
            for peer in nodes:
                text = text.replace(f"{peer.name}.{one.spec['serviceName']}:6222", f"127.0.0.1:{peer.peers}")
            for port, own in ((4222, node.client), (6222, node.peers), (8222, node.monitor)):
                text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{own}").replace(
                    f"127.0.0.1:{port}", f"127.0.0.1:{own}"
                )
            return text.replace("/var/tmp", str(here)).replace("$(POD)", node.name)

        (mount,) = [m["mountPath"] for m in one.container["volumeMounts"] if m["name"] == "configuration"]
        for name, text in files.items():
            (here / name).write_text(local(text))
        arguments = [word.replace(mount, str(here)) for word in one.container["args"]]
        startup = one.container["startupProbe"]["httpGet"]
        assert startup["port"] == "monitor"
        yield (
            node,
            ChildSpec(
                name=node.name,
                stage=Stage.BUS,
                argv=(str(nats_server()), *arguments),
                env={"PATH": "/usr/bin:/bin", **{name: local(value) for name, value in env.items()}},
                ready=http_ok(node.monitor, startup["path"]),
                cwd=here,
            ),
        )


def start(stack: contextlib.ExitStack, overlay: str, folder: Path, count: int) -> list[Node]:
    """All of them at once: a node of a cluster is healthy only with others."""
    described = list(describe(overlay, folder, count))
    processes = []
    for node, spec in described:
        with node.log.open("ab") as log:
            process = subprocess.Popen(spec.argv, env=spec.env, cwd=spec.cwd, stdout=log, stderr=subprocess.STDOUT)
        stack.callback(servers.stop, process)
        processes.append((node, spec, process))

    async def ready() -> None:
        async with asyncio.timeout(60):
            for node, spec, process in processes:
                while not await spec.ready():
                    assert process.poll() is None, node.log.read_text()[-2000:]
                    await asyncio.sleep(0.05)

    asyncio.run(ready())
    return [node for node, _ in described]


def address(overlay: str, room: str, node: Node) -> str:
    """The bus as the room is told of it, with this node in the service's place."""
    return environment(overlay, workload(overlay, room), BOTH)["NATS_URL"].replace(
        "@nats:4222", f"@127.0.0.1:{node.client}"
    )


def asked(node: Node, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{node.monitor}{path}", timeout=5)
