"""Comparing variants reads each table in one go, however many people a test has."""

import json
from typing import Any

import pytest
from database_stand import Stand
from nurture_chassis.queries import Queries

PEOPLE = 20_000
COUNTS = Queries.of("nurture_gateway", "public")["variant_counts"]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


@pytest.mark.parametrize("versions", ["null::int[]", "array[1]"], ids=["alone", "versions"])
def test_nothing_but_the_version_is_looked_up_person_by_person(play, versions: str) -> None:
    async def scene(stand: Stand) -> None:
        await stand.admin.execute(
            "with made as (insert into controller.sequences values (gen_random_uuid(), 'split', 1, '{}', 'x', now()) returning id),"
            " made_up as materialized (select n, gen_random_uuid() as id, gen_random_uuid() as enrolment_id, gen_random_uuid() as user_id"
            f"  from generate_series(1, {PEOPLE}) n),"
            " began as (insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, state, started_at)"
            "  select enrolment_id, id, user_id, (select id from made), 'split', 2, 'completed', now() from made_up),"
            " got as (insert into controller.deliveries (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at,"
            "  created_at, sent_at, variant) select id, enrolment_id, user_id, 'split', 1, 'email', now(), now(), now(),"
            "  case when n % 2 = 0 then 'a' else 'b' end from made_up)"
            " insert into scoring.message_credits (delivery_id, user_id, channel, credit)"
            "  select id, user_id, 'email', case when n % 20 = 0 then 0.6 else 0 end from made_up"
        )
        await stand.admin.execute("analyze")
        asked = COUNTS.replace("$1", "'split'").replace("$2", "1").replace("$3", versions)
        counted = {row["variant"]: (row["people"], row["conversions"]) for row in await stand.admin.fetch(asked)}
        assert counted == {"a": (PEOPLE // 2, PEOPLE // 20), "b": (PEOPLE // 2, 0)}
        (told,) = json.loads(await stand.admin.fetchval(f"explain (analyze, format json) {asked}"))
        looked_up = {
            node.get("Relation Name") for node in nodes(told["Plan"])
            if node["Actual Loops"] > 100 and node.get("Relation Name") != "sequences"
        } - {None}  # fmt: skip
        assert looked_up <= ({"enrolments"} if versions != "null::int[]" else set())

    play(scene)
