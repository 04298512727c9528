"""docs/reference/database.md is true: its tables are those of the database, its SQL runs."""

import re
from pathlib import Path

from database_stand import Stand
from nurture_chassis.settings import ServiceSettings
from nurture_local import cli

PAGE = (Path(__file__).parents[2] / "docs/reference/database.md").read_text()
ROW = re.compile(r"^\| `([a-z_]+)` \| [^|]+ \| ((?:`\w+`(?:, )?)+) \|$", re.MULTILINE)


def test_the_page_names_every_column_and_no_other(play) -> None:
    async def scene(stand: Stand) -> None:
        told = {view: re.findall(r"`(\w+)`", columns) for view, columns in ROW.findall(PAGE)}
        assert set(told) == {
            "users",
            "message_deliveries",
            "engagement_scores",
            "user_email_preferences",
            "message_requests",
            "delivery_analytics",
            "experiment_counts",
            "score_days",
        }
        for view, columns in told.items():
            rows = await stand.admin.fetch(
                "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 order by attnum",
                view,
            )
            assert columns == [row["attname"] for row in rows], view

    play(scene)


def test_its_sql_runs_as_it_stands_and_its_signatures_are_those_of_the_functions(play) -> None:
    async def scene(stand: Stand) -> None:
        await stand.admin.execute(
            "do $$ begin if to_regrole('reporting') is null then create role reporting; end if; end $$"
        )
        blocks = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
        statements = [statement for block in blocks for statement in block.split(";\n") if statement.strip()]
        assert len(statements) >= 9
        for statement in statements:
            await stand.admin.execute(statement)
        for name, arguments, result in re.findall(r"`(\w+)\(([^)]*)\) → (\w+)`", PAGE):
            row = await stand.admin.fetchrow(
                "select pg_get_function_arguments(oid) as arguments, prorettype::regtype::text as result from pg_proc"
                " where proname = $1 and pronamespace = 'public'::regnamespace", name,
            )  # fmt: skip
            assert row is not None
            told = arguments.replace(" int,", " integer,").replace("timestamptz", "timestamp with time zone")
            assert row["arguments"].removesuffix(" DEFAULT '{}'::jsonb") == told and row["result"] == result

    play(scene)


def test_its_commands_and_settings_exist() -> None:
    for command in re.findall(r"^\| `(db \w+)", PAGE, re.MULTILINE):
        assert cli.call([*command.split(), "--help"]) == 0, command
    for name in re.findall(r"^\| `([A-Z_]+)`", PAGE, re.MULTILINE):
        assert name.lower() in ServiceSettings.__struct_fields__, name
