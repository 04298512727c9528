"""Backup and restore: whole or not at all, as of one moment, between versions of PostgreSQL."""

import asyncio
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from database_stand import standing
from nurture_contracts.ids import uuid7
from nurture_local import backup, cli, migrate, restore
from nurture_local.backup import BackupFailed
from nurture_local.rooms import Room, rooms

from tests.servers import SECRET_KEY, Cluster, role_url


@pytest.fixture
def lived(cluster: Cluster) -> Iterator[str]:
    """A database with people, messages, odd characters and rows in a partitioned table."""
    with cluster.migrated() as url:

        async def live() -> None:
            async with standing(url) as stand:
                await stand.telegram()
                for name in ("Ada", 'O\\"Néil\t\\N', "名前\nzwei"):
                    person = await stand.person("email", "telegram", external_id=name)
                    await stand.schedule(person, metadata={"note": name, "n": 1.5})
                await stand.planned()
                await stand.admin.execute(
                    "insert into scoring.states (user_id, email_r, email_n, updated_at)"
                    " select id, 1::float8 / 3, pi(), now() from gateway.users"
                )
                await stand.admin.execute("insert into gateway.verifications select sha256(id::text::bytea), id, 'a', now(), now()"
                                          " from gateway.users")  # fmt: skip

        asyncio.run(live())
        yield url


def _rows(cluster: Cluster, url: str) -> dict[str, tuple[int, str]]:
    """Of every table: how many rows, and a hash of all of them."""

    async def ask() -> dict[str, tuple[int, str]]:
        connection = await asyncpg.connect(url)
        try:
            found = {}
            for row in await backup.tables(connection, rooms()):
                place = f"{row['schema']}.{row['name']}"
                # By columns, since the order of their positions may differ.
                values = ", ".join(row["columns"])
                line = await connection.fetchrow(
                    f"select count(*), coalesce(md5(string_agg(t::text, '' order by t::text)), '') from (select {values} from {place}) t"
                )
                found[place] = tuple(line)
            return found
        finally:
            await connection.close()

    return asyncio.run(ask())


def _restore(url: str, file: Path, **more: Any) -> restore.Restored:
    return asyncio.run(restore.restore(url, file, SECRET_KEY, **more))


def test_backup_wipe_restore_gives_the_same_rows_on_another_postgresql_and_back(
    cluster: Cluster, lived: str, external: Cluster, foreign: str, tmp_path: Path
) -> None:
    before = _rows(cluster, lived)
    assert before["gateway.users"][0] == 3 and before["controller.outbox"][0] > 0
    first = asyncio.run(backup.write(lived, tmp_path / "first.zip", SECRET_KEY))
    assert {f"{table.schema}.{table.name}": table.rows for table in first.tables} == {
        t: n for t, (n, _) in before.items()
    }
    _restore(foreign, tmp_path / "first.zip")
    assert _rows(external, foreign) == before
    assert asyncio.run(migrate.check(foreign, SECRET_KEY)) == []
    assert external.sql("select count(*) from message_deliveries", url=foreign)[0][0] == 3
    asyncio.run(backup.write(foreign, tmp_path / "second.zip", SECRET_KEY))
    # The wiped original takes it back; services find their tables and may write them.
    with pytest.raises(BackupFailed, match="holds 3 users and 3 deliveries, which would be gone"):
        _restore(lived, tmp_path / "second.zip")
    cluster.sql("insert into gateway.users (id, created_at, updated_at) values ($1, now(), now())", uuid7(), url=lived)
    _restore(lived, tmp_path / "second.zip", replace=True)
    assert _rows(cluster, lived) == before
    assert cluster.sql("select count(*) from users", url=role_url(lived, "nurture_gateway"))[0][0] == 3
    cluster.sql("select rotate_outbox()", url=role_url(lived, "nurture_controller"))
    # Counters came back as they were, and count on.
    counted = "select sum(planned)::int, sum(sent)::int from delivery_analytics"
    (planned, sent), ours = tuple(cluster.sql(counted, url=lived)[0]), role_url(lived, "nurture_controller")
    assert planned == 3
    cluster.sql("update controller.deliveries set sent_at = now() where sent_at is null", url=ours)
    assert tuple(cluster.sql(counted, url=lived)[0]) == (3, 3) != (planned, sent)


def test_a_backup_is_of_one_moment(cluster: Cluster, lived: str, tmp_path: Path) -> None:
    async def both() -> tuple[backup.Manifest, int]:
        writer, stop, begun, written = await asyncpg.connect(lived), asyncio.Event(), asyncio.Event(), 0

        async def write() -> None:
            nonlocal written
            while not stop.is_set():
                id = uuid7()
                async with writer.transaction():
                    await writer.execute(
                        "insert into gateway.users (id, created_at, updated_at) values ($1, now(), now())", id
                    )
                    await writer.execute("insert into scoring.states (user_id, updated_at) values ($1, now())", id)
                written += 1
                if written == 3:
                    begun.set()

        busy = asyncio.create_task(write())
        await begun.wait()
        manifest = await backup.write(lived, tmp_path / "b.zip", None)
        stop.set()
        await busy
        await writer.close()
        assert written > 3, "nothing was written meanwhile, so this shows nothing"
        return manifest, written

    manifest, written = asyncio.run(both())
    rows = {f"{table.schema}.{table.name}": table.rows for table in manifest.tables}
    assert 3 < rows["gateway.users"] == rows["scoring.states"] <= 3 + written


def _damaged(file: Path, entry: str) -> Path:
    """The same archive with one entry's first byte changed and its own checksum made to fit."""
    other = file.with_name("damaged.zip")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, b"?" + data[1:] if name == entry else data)
    return other


def test_what_is_damaged_newer_or_no_backup_is_refused_and_nothing_is_touched(
    cluster: Cluster, lived: str, tmp_path: Path
) -> None:
    file = tmp_path / "b.zip"
    asyncio.run(backup.write(lived, file, SECRET_KEY))
    assert file.stat().st_mode & 0o777 == 0o600 and [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    with pytest.raises(BackupFailed, match="exists already"):
        asyncio.run(backup.write(lived, file, SECRET_KEY))
    before = _rows(cluster, lived)
    cut, junk, newer = tmp_path / "cut.zip", tmp_path / "junk.zip", tmp_path / "newer.zip"
    cut.write_bytes(file.read_bytes()[:-40])
    junk.write_bytes(b"no archive at all")
    fewer = tuple(Room(r.name, tuple(f for f in r.folders if r.name != "scoring"), r.publish) for r in rooms())
    for bad, match, more in (
        (cut, "no whole backup", {}),
        (junk, "no whole backup", {}),
        (newer, "there is no file", {}),
        (_damaged(file, "gateway/users.copy"), "damaged: gateway/users.copy is not what was written", {}),
        (file, "made by a newer version, which had the migrations scoring/0000", {"found": fewer}),
    ):
        with pytest.raises(BackupFailed, match=match):
            _restore(lived, bad, replace=True, **more)
    assert _rows(cluster, lived) == before


def test_a_restore_that_fails_in_the_middle_leaves_the_database_as_it_was(
    cluster: Cluster, lived: str, tmp_path: Path
) -> None:
    file, wrong = tmp_path / "b.zip", tmp_path / "wrong.zip"
    asyncio.run(backup.write(lived, file, SECRET_KEY))
    # A manifest that promises one row more than there is: noticed after almost everything was put back.
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(wrong, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == backup.MANIFEST:
                manifest = json.loads(data)
                manifest["tables"][-1]["rows"] += 1
                data = json.dumps(manifest).encode()
            target.writestr(name, data)
    before = _rows(cluster, lived)
    with pytest.raises(BackupFailed, match="rows after the restore"):
        _restore(lived, wrong, replace=True)
    assert _rows(cluster, lived) == before and asyncio.run(migrate.check(lived, SECRET_KEY)) == []


def test_services_at_work_and_views_of_others_stop_a_restore(cluster: Cluster, lived: str, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    asyncio.run(backup.write(lived, file, SECRET_KEY))

    async def with_a_service() -> None:
        connection = await asyncpg.connect(
            role_url(lived, "nurture_email"), server_settings={"application_name": "nurture-email"}
        )
        try:
            with pytest.raises(BackupFailed, match=r"services are at work on this database \(nurture-email\)"):
                await restore.restore(lived, file, SECRET_KEY, replace=True)
        finally:
            await connection.close()

    asyncio.run(with_a_service())
    cluster.sql("create view mine as select id from gateway.users", url=lived)
    with pytest.raises(BackupFailed, match=r"drop public\.mine first"):
        _restore(lived, file, replace=True)
    assert len(cluster.sql("select * from mine", url=lived)) == 3


def test_a_backup_of_an_earlier_version_is_brought_to_this_one(
    cluster: Cluster, external: Cluster, foreign: str, tmp_path: Path
) -> None:
    def upto(last: int) -> tuple[Room, ...]:
        """The rooms as they were before gateway's migration `last`, which published nothing."""
        early = tmp_path / f"early-{last}"
        early.mkdir()
        for version, path in next(room for room in rooms() if room.name == "gateway").migrations().items():
            if int(version) < last:
                (early / path.name).write_text(path.read_text())
        return tuple(
            Room(r.name, (early,), None) if r.name == "gateway" else Room(r.name, r.folders, None) for r in rooms()
        )

    with cluster.database() as url:
        asyncio.run(migrate.migrate(url, SECRET_KEY, found=upto(4)))
        cluster.sql(
            "insert into gateway.users (id, created_at, updated_at) values ($1, now(), now())", uuid7(), url=url
        )
        asyncio.run(backup.write(url, tmp_path / "early.zip", SECRET_KEY))
    manifest, _ = _restore(foreign, tmp_path / "early.zip")
    assert max(manifest.applied["gateway"]) == "0003"
    assert asyncio.run(migrate.check(foreign, SECRET_KEY)) == []
    assert external.sql("select count(*) from users", url=foreign)[0][0] == 1


def test_what_a_controller_has_worked_on_is_held_after_a_restore(cluster: Cluster, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "9999_guard.sql").write_text(
        "-- migrate:up\ncreate table if not exists installation (one boolean primary key default true, identity text not null,"
        " confirmed_at timestamptz not null default now(), restored_at timestamptz, evidence text);\n"
    )
    guarded = tuple(Room(r.name, (*r.folders, more), r.publish) if r.name == "controller" else r for r in rooms())
    with cluster.database() as url:
        asyncio.run(migrate.migrate(url, SECRET_KEY, found=guarded))
        asyncio.run(backup.write(url, tmp_path / "new.zip", SECRET_KEY, guarded))
        assert _restore(url, tmp_path / "new.zip", found=guarded).held is False
        cluster.sql("insert into controller.installation (identity) values ('this')", url=url)
        asyncio.run(backup.write(url, tmp_path / "used.zip", SECRET_KEY, guarded))
        assert _restore(url, tmp_path / "used.zip", found=guarded).held is True
        (row,) = cluster.sql("select restored_at is not null as at, evidence from controller.installation", url=url)
        assert row["at"] and row["evidence"].startswith("the backup used.zip of 20")


def test_on_this_machine_an_instance_that_does_not_run_is_started_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lived: str, cluster: Cluster
) -> None:
    for name in ("DATABASE_URL", "SUPABASE_URL", "SECRET_KEY", "RESEND_API_KEY", "NURTURE_DATA_DIR", "PUBLISH_SCHEMA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    asyncio.run(backup.write(lived, tmp_path / "b.zip", "another-key-0123456789"))
    for command in (["db", "check"], ["db", "plan"], ["db", "backup"]):
        assert cli.call(command) == 3, command
    assert cli.call(["db", "restore", "nothing.zip"]) == 1 and "there is no file nothing.zip" in capsys.readouterr().err
    assert cli.call(["db", "restore", "b.zip"]) == 0
    told = capsys.readouterr().out
    assert "Restored" in told and "SECRET_KEY is another than when this backup was made" in told
    assert cli.call(["db", "check"]) == 0 and cli.call(["db", "plan"]) == 0
    assert cli.call(["db", "backup", "again.zip"]) == 0
    assert "It does not hold SECRET_KEY" in capsys.readouterr().out
    with zipfile.ZipFile("b.zip") as one, zipfile.ZipFile("again.zip") as other:
        first, second = backup.read(one), backup.read(other)
    assert [(t.entry, t.rows) for t in first.tables] == [(t.entry, t.rows) for t in second.tables]
    assert cli.call(["db", "restore", "b.zip"]) == 1 and "restore with --replace" in capsys.readouterr().err
    assert cli.call(["db", "restore", "b.zip", "--replace"]) == 0
