"""Migrations: applied once, rights per room, views that replace only our own, nothing foreign touched."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_local import addresses, migrate, publish, server
from nurture_local.rooms import Room, RoomBroken
from nurture_local.rooms import rooms as shipped

from tests.servers import SECRET_KEY, Cluster, role_url

VIEW = "create or replace view {publish}.pets as select id, name from gateway.pets;\n"
GRANT = "grant select on {publish}.pets to nurture_email;\n"


@pytest.fixture
def rooms(tmp_path: Path) -> tuple[Room, Room]:
    """A gateway with a table and a view, an email room with a table."""
    return (
        _room(
            tmp_path,
            "gateway",
            {"0001_pets.sql": "create table pets (id int generated always as identity, name text);"},
            f"-- What others may read.\n{VIEW}{GRANT}",
        ),
        _room(tmp_path, "email", {"0001_mails.sql": "create table mails (id int);"}, None),
    )


def _room(folder: Path, name: str, migrations: dict[str, str], views: str | None) -> Room:
    sql = folder / name
    (sql / "migrations").mkdir(parents=True)
    for file, text in migrations.items():
        (sql / "migrations" / file).write_text(f"-- migrate:up\n{text}\n")
    if views is not None:
        (sql / "publish.sql").write_text(views)
    return Room(name, (sql / "migrations",), sql / "publish.sql" if views is not None else None)


def _migrate(url: str, rooms: tuple[Room, ...], **more: Any) -> list[str]:
    return asyncio.run(migrate.migrate(url, SECRET_KEY, found=rooms, **more))


def _check(url: str, rooms: tuple[Room, ...], secret: str | None = SECRET_KEY) -> list[str]:
    return asyncio.run(migrate.check(url, secret, found=rooms))


def test_no_two_migrations_of_a_room_have_one_number(tmp_path: Path) -> None:
    """The chassis' and a room's are one row of numbers; of two files with one number, only one would run."""
    for room in shipped():
        versions = list(room.migrations())
        assert {"0000", "0901"} <= set(versions) and all(len(version) == 4 for version in versions)
    room = _room(tmp_path, "email", {"0001_mails.sql": "", "0001_letters.sql": ""}, None)
    with pytest.raises(RoomBroken, match="email: 0001_"):
        room.migrations()


def test_everything_is_applied_once(database: str, rooms: tuple[Room, Room]) -> None:
    steps = ["gateway/0001_pets.sql", "email/0001_mails.sql", migrate.REST]
    assert _check(database, rooms) == steps
    assert _migrate(database, rooms, own_server=True) == steps
    assert _check(database, rooms) == []
    assert _migrate(database, rooms, own_server=True) == []


def test_a_new_migration_is_pending_until_applied(database: str, rooms: tuple[Room, Room]) -> None:
    _migrate(database, rooms)
    (rooms[1].folders[0] / "0002_more.sql").write_text("-- migrate:up\nalter table mails add size int;\n")
    assert _check(database, rooms, None) == ["email/0002_more.sql"]
    _migrate(database, rooms)
    assert _check(database, rooms) == []


def test_another_secret_key_gives_the_roles_other_passwords(
    cluster: Cluster, database: str, rooms: tuple[Room, Room]
) -> None:
    _migrate(database, rooms)
    assert _check(database, rooms, "another-secret-key-0123456789") == [migrate.REST]
    asyncio.run(migrate.migrate(database, "another-secret-key-0123456789", found=rooms))
    with pytest.raises(asyncpg.InvalidPasswordError):
        cluster.sql("select 1", url=role_url(database, "nurture_email"))
    _migrate(database, rooms)
    assert cluster.sql("select 1", url=role_url(database, "nurture_email"))


def test_a_role_writes_its_own_schema_and_reads_only_what_is_published(
    cluster: Cluster, database: str, rooms: tuple[Room, Room]
) -> None:
    _migrate(database, rooms, own_server=True)
    gateway, email = role_url(database, "nurture_gateway"), role_url(database, "nurture_email")
    cluster.sql("insert into pets (name) values ('Rex')", url=gateway)  # its search path is its schema
    assert [row["name"] for row in cluster.sql("select name from public.pets", url=email)] == ["Rex"]
    for statement in (
        "select * from gateway.pets",
        "insert into public.pets (name) values ('no')",
        "create table mine (id int)",
        "create table public.mine (id int)",
        "update schema_migrations set version = '9'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            cluster.sql(statement, url=email)
    assert cluster.sql("show statement_timeout", url=email)[0][0] == "30s"


def test_a_table_made_later_by_the_administrator_is_the_roles_too(
    cluster: Cluster, database: str, rooms: tuple[Room, Room]
) -> None:
    _migrate(database, rooms)
    cluster.sql("create table email.later (id int)", url=database)
    cluster.sql("insert into later values (1)", url=role_url(database, "nurture_email"))


def test_a_view_may_lose_a_column(cluster: Cluster, database: str, rooms: tuple[Room, Room]) -> None:
    _migrate(database, rooms)
    assert rooms[0].publish is not None
    rooms[0].publish.write_text(VIEW.replace("id, name", "name") + GRANT)
    assert _migrate(database, rooms) == [migrate.REST]
    assert list(cluster.sql("select * from public.pets", url=database)) == []


@pytest.mark.parametrize(
    ("statement", "kind"), [("create table pets (id int)", "table"), ("create view pets as select 1 as id", "view")]
)
def test_a_foreign_relation_stops_publication_and_stays(
    cluster: Cluster, database: str, rooms: tuple[Room, Room], statement: str, kind: str
) -> None:
    cluster.sql(statement, url=database)
    with pytest.raises(publish.NameTaken, match=f"public.pets exists already: a {kind} of .*PUBLISH_SCHEMA"):
        _migrate(database, rooms)
    assert cluster.sql("select to_regnamespace('gateway') is null", url=database)[0][0]
    assert [column for row in cluster.sql("select * from pets", url=database) for column in row] in ([], [1])
    asyncio.run(migrate.migrate(database, SECRET_KEY, "nurture pub", found=rooms))
    assert list(cluster.sql('select * from "nurture pub".pets', url=database)) == []


def test_a_foreign_schema_is_refused_untouched(cluster: Cluster, database: str, rooms: tuple[Room, Room]) -> None:
    cluster.sql("create schema email", url=database)
    with pytest.raises(migrate.MigrationFailed, match="schema email exists and is not Nurture's"):
        _migrate(database, rooms)
    assert cluster.sql("select to_regnamespace('gateway') is null", url=database)[0][0]


def test_platform_roles_get_nothing(cluster: Cluster, database: str, rooms: tuple[Room, Room]) -> None:
    cluster.sql("do $$ begin if to_regrole('anon') is null then create role anon; end if; end $$", url=database)
    cluster.sql("alter default privileges in schema public grant all on tables to anon", url=database)
    _migrate(database, rooms)
    assert not cluster.sql("select has_table_privilege('anon', 'public.pets', 'select')", url=database)[0][0]
    cluster.sql("alter default privileges in schema public revoke all on tables from anon", url=database)


def test_a_failing_migration_names_schema_and_reason_and_no_password(database: str, rooms: tuple[Room, Room]) -> None:
    (rooms[1].folders[0] / "0002_bad.sql").write_text("-- migrate:up\ncreate table nonsense (id nothing);\n")
    with pytest.raises(migrate.MigrationFailed, match="schema email failed") as failure:
        _migrate(database, rooms)
    assert "nothing" in str(failure.value)
    assert str(addresses.password_of(database)) not in str(failure.value)


def _catalog(cluster: Cluster, url: str) -> list[Any]:
    """Every relation, function, schema and comment that a migration could leave behind."""
    return cluster.sql(
        "select n.nspname::text, c.relname::text, obj_description(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " union all select nspname, null, obj_description(oid) from pg_namespace where nspname !~ '^pg_'"
        " union all select 'function', oid::regprocedure::text, obj_description(oid) from pg_proc"
        " where pronamespace = 'public'::regnamespace order by 1, 2, 3",
        url=url,
    )


def test_a_failure_in_the_last_file_of_the_last_room_leaves_nothing_behind(
    cluster: Cluster, database: str, rooms: tuple[Room, Room]
) -> None:
    before = _catalog(cluster, database)
    bad = rooms[1].folders[0] / "0003_bad.sql"
    (rooms[0].folders[0] / "0002_more.sql").write_text("-- migrate:up\nalter table pets add colour text;\n")
    (rooms[1].folders[0] / "0002_good.sql").write_text("-- migrate:up\ncreate table more (id int);\n")
    bad.write_text("-- migrate:up\ncreate table last (id int);\n\nselect 1/0;\n")
    for _ in range(2):
        with pytest.raises(migrate.MigrationFailed, match=r"schema email failed in 0003_bad.sql.*Nothing was changed"):
            _migrate(database, rooms)
        assert _catalog(cluster, database) == before
    # The same from a database that is in use: what was there stays as it was.
    bad.rename(bad.with_suffix(".away"))
    _migrate(database, rooms)
    cluster.sql("insert into gateway.pets (name) values ('Rex')", url=database)
    before = _catalog(cluster, database)
    bad.with_suffix(".away").rename(bad)
    (rooms[0].folders[0] / "0003_drop.sql").write_text("-- migrate:up\nalter table pets drop column colour;\n")
    with pytest.raises(migrate.MigrationFailed):
        _migrate(database, rooms)
    assert _catalog(cluster, database) == before
    assert cluster.sql("select name from pets", url=database)[0][0] == "Rex"
    bad.write_text("-- migrate:up\ncreate table last (id int);\n")
    assert _migrate(database, rooms)[:2] == ["gateway/0003_drop.sql", "email/0003_bad.sql"]


def test_a_migration_may_change_what_a_view_shows_and_operators_keep_their_grants(
    cluster: Cluster, database: str, rooms: tuple[Room, Room]
) -> None:
    _migrate(database, rooms)
    cluster.sql(
        "do $$ begin if to_regrole('reporting') is null then create role reporting; end if; end $$", url=database
    )
    cluster.sql("grant select on public.pets to reporting", url=database)
    (rooms[0].folders[0] / "0002_wide.sql").write_text("-- migrate:up\nalter table pets alter name type varchar(9);\n")
    _migrate(database, rooms)
    assert cluster.sql("select has_table_privilege('reporting', 'public.pets', 'select')", url=database)[0][0]
    # Somebody's own view on ours cannot be dropped for them: it is named, and nothing happens.
    cluster.sql("create view mine as select name from public.pets", url=database)
    (rooms[0].folders[0] / "0003_wider.sql").write_text(
        "-- migrate:up\nalter table pets alter name type varchar(99);\n"
    )
    with pytest.raises(publish.NameTaken, match="view mine depends on view"):
        _migrate(database, rooms)
    assert _check(database, rooms, None) == ["gateway/0003_wider.sql"]
    assert list(cluster.sql("select * from mine", url=database)) == []


def test_what_is_no_longer_published_goes(cluster: Cluster, database: str, rooms: tuple[Room, Room]) -> None:
    assert rooms[0].publish is not None
    rooms[0].publish.write_text(
        f"{VIEW}create function {{publish}}.one() returns int language sql as $$ select 1 $$;\n"
    )
    _migrate(database, rooms)
    cluster.sql("create view others as select 1 as id", url=database)
    rooms[0].publish.write_text(VIEW.replace("pets as", "animals as"))
    _migrate(database, rooms)
    names = [row[0] for row in cluster.sql("select viewname from pg_views where schemaname = 'public'", url=database)]
    assert sorted(names) == ["animals", "others"]
    assert not cluster.sql("select 1 from pg_proc where proname = 'one'", url=database)
    # Nor does a schema that was published into before keep a view that later migrations would stumble over.
    asyncio.run(migrate.migrate(database, SECRET_KEY, "elsewhere", found=rooms))
    names = [
        row[0]
        for row in cluster.sql(
            "select schemaname || '.' || viewname from pg_views where viewname = 'animals'", url=database
        )
    ]
    assert names == ["elsewhere.animals"]


def test_a_migration_outside_of_a_transaction_is_refused(database: str, rooms: tuple[Room, Room]) -> None:
    (rooms[1].folders[0] / "0002_no.sql").write_text("-- migrate:up transaction:false\nselect 1;\n")
    with pytest.raises(migrate.MigrationFailed, match=r"0002_no\.sql asks to run outside of a transaction"):
        _migrate(database, rooms)


def test_the_real_rooms_migrate_and_migrate_again(cluster: Cluster) -> None:
    with cluster.migrated() as url:
        assert asyncio.run(migrate.check(url, SECRET_KEY)) == []
        views = {row[0] for row in cluster.sql("select viewname from pg_views where schemaname = 'public'", url=url)}
        assert {"users", "contacts", "message_deliveries", "user_email_preferences"} <= views
        assert asyncio.run(migrate.migrate(url, SECRET_KEY, own_server=True, force=True)) == []


def test_a_server_that_is_away_is_told_without_the_password() -> None:
    with pytest.raises(server.ServerRefused) as failure:
        asyncio.run(migrate.check("postgresql://somebody:hush-hush@127.0.0.1:1/db"))
    assert "hush-hush" not in str(failure.value)


def test_supabase_pooler_users_keep_their_project() -> None:
    url = "postgresql://postgres.abcdefghij:pw@aws-0-eu-central-1.pooler.supabase.com:5432/postgres?sslmode=require"
    assert addresses.for_role(url, "nurture_email", "p/w") == (
        "postgresql://nurture_email.abcdefghij:p%2Fw@aws-0-eu-central-1.pooler.supabase.com:5432/postgres?sslmode=require"
    )
    assert (
        addresses.for_role("postgresql://me@host/db", "nurture_email", "pw") == "postgresql://nurture_email:pw@host/db"
    )


@given(password=st.text(min_size=1, alphabet=st.characters(codec="ascii", exclude_characters="/?#@:%[]")))
def test_an_address_for_eyes_has_no_password(password: str) -> None:
    shown = addresses.without_password(
        f"postgresql://user:{password}@host:5432/db?sslmode=require&password={quote(password)}"
    )
    assert shown == "postgresql://user@host:5432/db?sslmode=require"


def test_created_names_are_read_from_sql() -> None:
    sql = 'CREATE VIEW {publish}."a_b" as x; create or replace function {publish}.f(id uuid) returns int'
    assert list(publish.created(sql)) == [("view", "a_b"), ("function", "f")]
    spaced = "-- a word\ncreate view  {publish}.a_b\n as x;\ncreate function {publish}.g() as $$ select 1; $$; grant ';' to x"
    assert publish.created(spaced)["view", "a_b"] == publish.created("create view {publish}.a_b as x")["view", "a_b"]
    assert publish.statements(spaced)[1:] == ["create function {publish}.g() as $$ select 1; $$", "grant ';' to x"]
