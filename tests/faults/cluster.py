"""Three NATS nodes, started by the very commands of deploy/nats/README.md, on free ports and a store of their own."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import nats
from msgspec import json
from nurture_contracts.topology import STREAMS
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.programs import nats_server

from tests.faults.forkserver import ROOT

_BLOCKS = re.compile(r"```console\n(.*?)```", re.DOTALL)
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_OURS = re.compile(r"(export )?(NATS_|\.venv/bin/nats-server)")


class Cluster(NamedTuple):
    """Children for the nodes, what Nurture is told of them, and each one's port for questions by its name."""

    nodes: list[ChildSpec]
    env: dict[str, str]
    monitors: dict[str, int]


def documented(folder: Path) -> Cluster:
    """What the README has people type, with other ports and stores below `folder`."""
    text = (ROOT / "deploy/nats/README.md").read_text()
    ports: dict[str, str] = {}
    for port in _ADDRESS.findall("".join(_BLOCKS.findall(text))):
        ports.setdefault(port, str(free_port({int(taken) for taken in ports.values()})))
    shell: dict[str, str] = {}
    lives = [_line(line, shell, ports) for block in _BLOCKS.findall(text) for line in block.strip().splitlines()]
    nodes: list[ChildSpec] = []
    monitors: dict[str, int] = {}
    env: dict[str, str] = {}
    for own, argv in lives:
        if argv[:1] == [".venv/bin/nats-server"]:
            name = own["NATS_NODE"]
            monitors[name] = int(own["NATS_MONITOR"].rpartition(":")[2])
            own["NATS_STORE"] = str(folder / name)
            nodes.append(_node(name, own, argv, monitors[name]))
        elif argv[:2] == [".venv/bin/nurture", "up"]:
            env = {key: own[key] for key in ("NATS_URL", "NATS_REPLICAS")}
    assert len(nodes) == 3 and env, "deploy/nats/README.md no longer starts three nodes and Nurture"
    return Cluster(nodes, env, monitors)


def _line(line: str, shell: dict[str, str], ports: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """A line as a shell reads it: the environment that its command gets, and the command. `export` adds to `shell`."""
    assert _OURS.match(line), f"deploy/nats/README.md has a command that no test runs: {line}"
    words = shlex.split(_ADDRESS.sub(lambda found: f"127.0.0.1:{ports[found[1]]}", line))
    exported = words[0] == "export"
    words = words[exported:]
    count = next((place for place, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)), len(words))
    own = dict(word.split("=", 1) for word in words[:count])
    if exported:
        shell |= own
    return {**shell, **own}, words[count:]


def _node(name: str, env: dict[str, str], argv: list[str], monitor: int) -> ChildSpec:
    return ChildSpec(
        name=name,
        stage=Stage.BUS,
        argv=(str(nats_server()), *argv[1:]),
        env={"PATH": "/usr/bin:/bin", "GOMEMLIMIT": "48MiB", **env},
        # Asked in full: a node that came back is ready once its streams and consumers have caught up.
        ready=http_ok(monitor, "/healthz"),
        cwd=ROOT,
    )


def jsz(monitor: int) -> dict[str, Any]:
    """What a node says of its streams and consumers. Raises httpx.HTTPError."""
    return httpx.get(f"http://127.0.0.1:{monitor}/jsz?streams=1&consumers=1&config=1", timeout=5).json()


def lead(urls: str, node: str, within: float = 15) -> None:
    """Have this node lead every stream."""

    async def run() -> None:
        client = await nats.connect(urls.split(","), connect_timeout=2)
        try:
            async with asyncio.timeout(within):
                for stream in STREAMS:
                    await _lead(client, stream.name, node)
        finally:
            await client.close()

    asyncio.run(run())


async def _lead(client: nats.NATS, stream: str, node: str) -> None:
    while True:
        answer = json.decode((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=2)).data)
        if answer["cluster"].get("leader") == node:
            return
        asked = json.encode({"placement": {"preferred": node}})
        await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", asked, timeout=2)
        await asyncio.sleep(0.2)
