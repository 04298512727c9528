"""The system as the manifests have it, but for the cluster: NATS' three nodes, the migration and the services run with
their rendered environments, and PostgreSQL is reached as `sslmode=verify-full` wants it.
"""

import asyncio
import contextlib
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from nurture_local import kube_secret, servers
from nurture_local.addresses import with_query
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage

from tests.journeys.system import NURTURE, eventually
from tests.kubernetes.nodes import Node, asked
from tests.kubernetes.rendered import ROOMS, environment, workload
from tests.kubernetes.test_environment import BOTH, ENVIRON
from tests.servers import Cluster, embedded_postgres

pytestmark = [pytest.mark.xdist_group("kubernetes-nodes"), pytest.mark.long]
AUTHORITY = "/etc/nurture/authority/ca.crt"


def certificates(folder: Path) -> None:
    """An authority, and a certificate of it for `localhost` alone."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=authority")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.crt", "-days", "2", "-extfile", "names")  # fmt: skip


class Front:
    """TLS before a PostgreSQL that has none, as the protocol has it: a client asks first, in clear, and is told yes."""

    def __init__(self, folder: Path, behind: int) -> None:
        self.port = free_port()
        self.behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> "Front":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._greet, "127.0.0.1", self.port)
        self._up.set()
        await self._over.wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            assert await reader.readexactly(8) == bytes.fromhex("0000000804d2162f"), "TLS was not asked for"
            writer.write(b"S")
            await writer.start_tls(self._context)
            there, back = await asyncio.open_connection("127.0.0.1", self.behind)
            with contextlib.closing(writer), contextlib.closing(back):
                one, two = (asyncio.create_task(_pass(*way)) for way in ((reader, back), (there, writer)))
                await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)
                for task in (one, two):
                    task.cancel()
                await asyncio.gather(one, two, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    certificates(folder)
    return folder


@pytest.fixture(scope="module")
def database(authority: Path) -> Iterator[tuple[Cluster, str]]:
    """An empty database behind TLS, and its administrator's address as a cluster would be told of it."""
    with (
        embedded_postgres({"max_connections": "120"}) as cluster,
        Front(authority, cluster.port) as front,
        cluster.database("template0") as url,
    ):
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[0] + f"@localhost:{front.port}"
        yield cluster, parts._replace(netloc=host, query=f"sslmode=verify-full&sslrootcert={AUTHORITY}").geturl()


def process(env: Mapping[str, str], authority: Path) -> dict[str, str]:
    """The environment of a pod's process, with the volume of the authority where it is on this machine."""
    where = str(authority / "ca.crt")
    return {"PATH": os.environ["PATH"], **{name: value.replace(AUTHORITY, where) for name, value in env.items()}}


def test_the_whole_of_it_runs(
    cluster: list[Node], database: tuple[Cluster, str], authority: Path, tmp_path: Path
) -> None:
    postgres, url = database
    told = {name: value for name, value in BOTH.items() if name not in ("TELEGRAM_BOT_TOKEN", "DATABASE_URL")}
    # Nothing that a service might send goes anywhere.
    secret = kube_secret.make(
        told, {**ENVIRON, "DATABASE_URL": url, "RESEND_API_URL": f"http://127.0.0.1:{free_port()}"}
    )
    with contextlib.ExitStack() as stack:
        services: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

        def run(room: str, path: str) -> None:
            one = workload("production", room)
            number = ROOMS.index(room) % len(cluster)
            env = environment("production", one, secret)
            env["NATS_URL"] = env["NATS_URL"].replace("@nats:4222", f"@127.0.0.1:{cluster[number].client}")
            port = free_port()
            own = {"NURTURE_HTTP_HOST": "127.0.0.1", "NURTURE_HTTP_PORT": str(port), "PORT": str(port)}
            spec = ChildSpec(
                name=room, stage=Stage.SERVICE, argv=(sys.executable, "-m", f"nurture_{room}"),
                env={**process(env, authority), **own}, ready=http_ok(port, path), cwd=tmp_path,
            )  # fmt: skip
            services[room] = (stack.enter_context(servers.running(spec, tmp_path / f"{room}.log", 90)), port)

        # Pods that start before the migration: alive, and they say for what they wait.
        run("scoring", workload("production", "scoring").container["livenessProbe"]["httpGet"]["path"])

        def scoring(status: int, words: str) -> bool:
            answer = httpx.get(f"http://127.0.0.1:{services['scoring'][1]}/health/ready", trust_env=False, timeout=10)
            return answer.status_code == status and words in answer.text

        eventually(lambda: scoring(503, "starting: waiting for the database"))

        job = workload("production", "migrate")
        done = subprocess.run(
            [NURTURE, *job.container["command"][1:]], env=process(environment("production", job, secret), authority),
            cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

        # The controller makes what the others wait for.
        for room in ("controller", "email", "telegram", "gateway"):
            run(room, workload("production", room).container["readinessProbe"]["httpGet"]["path"])
        eventually(lambda: scoring(200, "ready"))
        sessions = postgres.sql(
            "select distinct usename from pg_stat_activity where usename like 'nurture\\_%'", url=None
        )
        assert {row["usename"] for row in sessions} >= {f"nurture_{room}" for room in ROOMS}
        streams = asked(cluster[0], "/jsz?streams=1&config=1").json()["account_details"][0]["stream_detail"]
        assert {one["name"]: one["config"]["num_replicas"] for one in streams} == {"COMMANDS": 3, "EVENTS": 3}
        for room in ROOMS:
            log = (tmp_path / f"{room}.log").read_text()
            assert "not_permitted" not in log and not re.search(r'"level": ?"error"', log), log[-2000:]
        for room in reversed(ROOMS):
            assert servers.stop(services[room][0]) == 0, room


def test_another_authority_or_another_name_is_refused(
    database: tuple[Cluster, str], authority: Path, tmp_path: Path
) -> None:
    certificates(tmp_path)
    _, url = database

    async def connects(address: str) -> None:
        await (await asyncpg.connect(address, timeout=10)).close()

    def at(folder: Path) -> str:
        return with_query(url, sslrootcert=str(folder / "ca.crt"))

    asyncio.run(connects(at(authority)))
    for wrong in (at(tmp_path), at(authority).replace("@localhost:", "@127.0.0.1:")):
        with pytest.raises(ssl.SSLCertVerificationError):
            asyncio.run(connects(wrong))
