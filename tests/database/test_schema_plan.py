"""`nurture db plan` and `migrate` on somebody else's PostgreSQL: what would change, what clashes, who gets to see nothing."""

import asyncio
from collections import Counter

import asyncpg
import pytest
from nurture_local import cli, configuration, migrate, publish, schema_diff
from nurture_local.rooms import rooms
from nurture_local.schema_diff import Change, Diff

from tests.servers import SECRET_KEY, Cluster

PLATFORM = (
    "do $$ begin if to_regrole('anon') is null then create role anon; end if;"
    " if to_regrole('authenticated') is null then create role authenticated; end if; end $$",
    "grant usage on schema public to anon, authenticated",
    *(
        f"alter default privileges grant {what} to anon, authenticated"
        for what in ("all on tables", "all on functions", "usage on schemas")
    ),
)
"""What a hosted platform such as Supabase prepares: whatever is made is everybody's."""


def diff(url: str, schema: str = "public", secret: str | None = SECRET_KEY) -> Diff:
    return asyncio.run(schema_diff.diff(url, secret, schema))


def test_the_plan_of_an_empty_database_is_everything_and_touches_nothing(external: Cluster, foreign: str) -> None:
    name = foreign.partition("?")[0].rpartition("/")[2]
    # Any write would be refused now, so a plan that comes back has written nothing.
    external.sql(f'alter database "{name}" set default_transaction_read_only = on')
    found = diff(foreign)
    assert found.clashes == [] and found.server.startswith("PostgreSQL 1")
    counts = Counter((change.action, change.what) for change in found.changes)
    files = sum(len(room.migrations()) for room in rooms())
    published = Counter(kind for kind, _ in publish.wanted(rooms()))
    roles = counts["make", "role"] + counts["set", "role"]  # another test's database may have made them
    assert (counts["make", "schema"], roles, counts["apply", "migration"]) == (5, 5, files)
    assert (counts["make", "view"], counts["make", "function"]) == (published["view"], published["function"])
    assert Change("make", "view", "public.message_deliveries") in found.changes


def test_what_is_up_to_date_has_an_empty_plan_and_what_is_not_is_named(external: Cluster, foreign: str) -> None:
    asyncio.run(migrate.migrate(foreign, SECRET_KEY))
    assert diff(foreign).changes == []
    external.sql("delete from scoring.schema_migrations where version = '0003'", url=foreign)
    external.sql("drop index scoring.states_by_text", url=foreign)
    external.sql("comment on view users is 'nurture 0123456789abcdef'", url=foreign)
    external.sql("drop function get_preferred_channel", url=foreign)
    external.sql("create view former as select 1 as id", url=foreign)
    external.sql("comment on view former is 'nurture'", url=foreign)
    assert diff(foreign).changes == [
        Change("apply", "migration", "scoring/0003_by_text.sql"),
        Change("change", "view", "public.users"),
        Change("make", "function", "public.get_preferred_channel"),
        Change("drop", "view", "public.former"),
    ]
    other = diff(foreign, secret="another-secret-key-0123456789").changes
    assert Change("set", "role", "nurture_email") in other
    asyncio.run(migrate.migrate(foreign, SECRET_KEY, force=True))
    assert diff(foreign).changes == []


def test_on_a_platform_with_its_own_users_the_clash_is_named_and_another_schema_works(
    external: Cluster, foreign: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for statement in PLATFORM:
        external.sql(statement, url=foreign)
    external.sql("create table public.users (id uuid primary key, name text)", url=foreign)
    monkeypatch.setenv("DATABASE_URL", foreign)
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    assert cli.call(["db", "plan"]) == 1
    told = capsys.readouterr().out
    assert "public.users exists already: a table of nurture_admin that is not Nurture's" in told
    assert "PUBLISH_SCHEMA=nurture" in told and "the role anon is there and will be allowed nothing" in told
    assert (
        "nothing was touched" in told
        and external.sql("select 1 from pg_namespace where nspname = 'gateway'", url=foreign) == []
    )
    assert cli.call(["db", "migrate"]) == 1 and "public.users exists already" in capsys.readouterr().err
    monkeypatch.setenv("PUBLISH_SCHEMA", "nurture")
    assert cli.call(["db", "plan"]) == 0 and cli.call(["db", "migrate"]) == 0 and cli.call(["db", "check"]) == 0
    assert "The database is up to date." in capsys.readouterr().out
    assert external.sql("select count(*) from public.users", url=foreign)[0][0] == 0

    refused = asyncio.run(_refusals(foreign))
    assert len(refused) > 25 and {"nurture.message_deliveries", "nurture.users", "gateway.users"} <= set(refused)
    assert [name for name, was in refused.items() if not was] == []


async def _refusals(url: str) -> dict[str, bool]:
    """Each relation and function of ours → whether anon and authenticated are refused when they really try."""
    connection = await asyncpg.connect(url)
    try:
        asks = await connection.fetch(
            "select format('%I.%I', n.nspname, c.relname) as name, format('select * from %I.%I', n.nspname, c.relname) as ask"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = any($1) and c.relkind in ('v', 'r', 'p')"
            " union all select p.oid::regprocedure::text, format('select %I.%I(%s)', n.nspname, p.proname,"
            "   (select string_agg('null::' || format_type(t, null), ', ') from unnest(p.proargtypes) t))"
            " from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = any($1)",
            ["nurture", *(room.name for room in rooms())],
        )
        found: dict[str, bool] = {}
        for name, ask in asks:
            found[name] = True
            for role in ("anon", "authenticated"):
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute(f"set local role {role}")
                try:
                    await connection.execute(ask)
                    found[name] = False
                except asyncpg.InsufficientPrivilegeError:
                    pass
                await transaction.rollback()
        return found
    finally:
        await connection.close()


def test_what_the_administrator_may_not_do_is_a_clash(external: Cluster, foreign: str) -> None:
    external.sql(
        "do $$ begin if to_regrole('modest') is null then create role modest login password 'pw'; end if; end $$"
    )
    host = foreign.partition("@")[2]
    clashes = diff(f"postgresql://modest:pw@{host}").clashes
    assert [clash.partition(":")[0] for clash in clashes] == [
        "modest may not make roles (CREATEROLE)",
        "modest may not make schemas in this database (CREATE)",
        "modest may not make views in the schema public (CREATE)",
    ]
    external.sql("create schema email", url=foreign)
    assert any("the schema email exists and is not Nurture's" in clash for clash in diff(foreign).clashes)


def test_supabases_rest_address_alone_is_refused_with_the_way_to_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "DATABASE_URL_FILE", "RESEND_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUPABASE_URL", "https://abcdefgh.supabase.co")
    for command in (["db", "plan"], ["db", "check"], ["db", "migrate"], ["db", "backup"], ["up"]):
        assert cli.call(command) == 2, command
        said = capsys.readouterr().err
        assert "set DATABASE_URL" in said and "`Connect`" in said and "Session pooler" in said
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@db.abcdefgh.supabase.co/postgres")
    assert configuration.load().database_url
