"""The power goes out under load: what was acknowledged is there afterwards, and the same procedure can tell when it is not."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from nats.aio.client import Client
from nurture_local import bus_state, cluster_home, durable, migrate, nats, postgres, servers
from nurture_local.cluster_home import Home
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec

from tests.faults import block_device, power, row
from tests.faults.block_device import BlockDevice
from tests.faults.bus_load import BusLoad, connected, declare, held
from tests.faults.record_load import RecordLoad
from tests.servers import SECRET_KEY, role_url

pytestmark = [pytest.mark.faults, block_device.alone]

ACKED = 2000
"""So many acknowledgements come before the cut."""
LONGER = (1, 2, 4)
"""The controls may run longer, should a disk by luck have written everything already."""
PASSWORD = "for-this-test-only"


class Verdict(NamedTuple):
    """What became of the acknowledged ones."""

    server: str
    acked: int
    lost: int

    def __str__(self) -> str:
        return f"power loss, {self.server}: acked {self.acked}, found {self.acked - self.lost}, lost {self.lost}"


def test_nats_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    with block_device.block_device(64) as disk:
        verdict = asyncio.run(_cut_bus(disk, tmp_path / "nats.log", ACKED, synced=True))
    row.LINES.append(str(verdict))
    assert verdict.acked >= ACKED
    assert verdict.lost == 0


def test_nats_as_it_comes_loses_what_it_acknowledged(tmp_path: Path) -> None:
    for longer in LONGER:
        with block_device.block_device(64) as disk:
            verdict = asyncio.run(_cut_bus(disk, tmp_path / "nats.log", ACKED * longer, synced=False))
        row.LINES.append(str(verdict))
        if verdict.lost:
            return
    pytest.fail(f"the control lost nothing: this procedure proves nothing ({verdict})")


def test_postgres_keeps_what_it_committed_and_without_syncing_does_not(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    with block_device.block_device(256) as disk:
        home = cluster_home.choose(disk.folder)
        assert home.folder.is_relative_to(disk.folder), f"PostgreSQL's account cannot reach {disk.folder}"
        # The cluster is seconds old when the power goes: what made it has to have been durable too.
        verdict = asyncio.run(_cut_record(disk, home, log, ACKED, synced=True))
        row.LINES.append(str(verdict))
        assert verdict.acked >= ACKED
        assert verdict.lost == 0
        for longer in LONGER:
            control = asyncio.run(_cut_record(disk, home, log, ACKED * longer, synced=False))
            row.LINES.append(str(control))
            if control.lost:
                return
    pytest.fail(f"the control lost nothing: this procedure proves nothing ({control})")


def test_the_instances_own_files_survive(tmp_path: Path) -> None:
    with block_device.block_device(8) as disk:
        for name in ("plain", "durable"):
            folder = disk.folder / f"{name}.part"
            folder.mkdir()
            for number in range(40):
                (folder / str(number)).write_text("what it should hold")
            durable.rename(folder, disk.folder / name) if name == "durable" else folder.rename(disk.folder / name)
        durable.write(disk.folder / "secrets.json", b"generated once")
        durable.write(disk.folder / "secrets.json", b"and once more")
        (disk.folder / "late").write_text("nobody synced this")
        disk.cut()
        disk.boot()
        assert (disk.folder / "secrets.json").read_bytes() == b"and once more"
        assert {path.read_text() for path in (disk.folder / "durable").iterdir()} == {"what it should hold"}
        assert not (disk.folder / "late").exists(), "nothing is lost here: this procedure proves nothing"


async def _cut_bus(disk: BlockDevice, log: Path, acked: int, *, synced: bool) -> Verdict:
    """Publish to a young bus until so many are acked, cut its power, start it again, and look for them."""
    port, load = free_port(), BusLoad()
    url = nats.url(port)
    with servers.running(_bus(disk.folder / "nats", port, synced=synced), log) as server:
        await declare(url)
        async with connected(url) as publisher, connected(url) as consumer:
            work = asyncio.gather(load.publish(publisher), load.consume(consumer))
            await load.until(acked)
            power.cut([server.pid], disk)
            load.over.set()
            await work
    promised, doubtful = len(load.acked), set(load.doubtful)
    disk.boot()
    with servers.running(_bus(disk.folder / "nats", port, synced=synced), log):
        async with connected(url) as client:
            lost = await load.lost(client)
            if not lost:
                await _goes_on(client, url, load, doubtful)
    return Verdict("NATS synced always" if synced else "NATS as it comes", promised, len(lost))


async def _goes_on(client: Client, url: str, load: BusLoad, doubtful: set[str]) -> None:
    """The topology is whole, and a relay that repeats what it is not sure of makes nothing twice."""
    await declare(url)
    state = await bus_state.look(url)
    assert bus_state.stream_faults(state) + bus_state.consumer_faults(state) == []
    young = set(list(load.acked)[-100:])
    assert await load.repeat(client, young) == len(young), "the bus forgot which messages it had"
    await load.repeat(client, doubtful)
    assert await held(client) == len(load.acked)


def _bus(folder: Path, port: int, *, synced: bool) -> ChildSpec:
    """The server as Nurture runs it, or the same without its one line about syncing."""
    monitor = free_port({port})
    spec = nats.spec(folder, port, monitor)
    if synced:
        return spec
    settings = folder / "nats.conf"
    words = settings.read_text()
    settings.write_text(words.replace("sync_interval: always", ""))
    assert settings.read_text() != words
    # A stream that it cannot recover is as lost as one that it forgot.
    return msgspec.structs.replace(spec, ready=http_ok(monitor, "/healthz?js-enabled-only=true"))


async def _cut_record(disk: BlockDevice, home: Home, log: Path, acked: int, *, synced: bool) -> Verdict:
    """Commit until so many are acked, cut the power, start the server again, and look for them."""
    port = free_port()
    admin = postgres.url(port, PASSWORD)
    postgres.prepare(home, PASSWORD)
    with servers.running(postgres.spec(home, port), log) as server:
        await migrate.migrate(admin, SECRET_KEY, own_server=True)
        load = RecordLoad(role_url(admin, "nurture_gateway"), synchronous_commit="on" if synced else "off")
        writing = asyncio.create_task(load.write())
        await load.until(acked)
        power.cut([server.pid], disk)
        await writing
    disk.boot()
    postgres.prepare(home, PASSWORD)
    with servers.running(postgres.spec(home, port), log):
        lost, torn = await load.verdict(admin)
    assert torn == 0, f"{torn} transactions are there in part"
    return Verdict("PostgreSQL" if synced else "PostgreSQL, synchronous_commit off", len(load.acked), lost)
