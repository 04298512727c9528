"""On a PostgreSQL of the user's own, with a `users` table of theirs in it: a message asked for in SQL, a backup, a restore."""

from pathlib import Path

import pytest

from tests.journeys.system import System, eventually, running
from tests.servers import SECRET_KEY, external_postgres


@pytest.mark.long
@pytest.mark.xdist_group("own-database")
def test_a_database_of_the_users_own(tmp_path: Path) -> None:
    with external_postgres() as cluster, cluster.database("template0") as url:
        cluster.sql("create table public.users (id int primary key)", url=url)
        cluster.sql("insert into public.users values (1)", url=url)
        env = {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "PUBLISH_SCHEMA": "nurture", "DATABASE_POOL_SIZE": "2"}
        with running(tmp_path / "data", env=env) as system:
            system.database = url
            _asked_in_sql(system)
            file = tmp_path / "b.zip"
            system.cli("db", "backup", str(file))
            held = system.cli("db", "restore", str(file), "--replace", check=False)
            assert held.returncode == 1 and "stop it first" in held.stderr
        before = cluster.sql("select count(*) from nurture.message_deliveries", url=url)[0][0]
        cluster.sql("delete from controller.deliveries", url=url)
        system.cli("db", "restore", str(file), "--replace")
        assert cluster.sql("select count(*) from nurture.message_deliveries", url=url)[0][0] == before > 0
        assert system.cli("db", "plan").stdout.endswith("The database is up to date.\n")
        assert [tuple(row) for row in cluster.sql("select * from public.users", url=url)] == [(1,)]


def _asked_in_sql(system: System) -> None:
    person = system.person("sally", email="sally+click@example.test")
    (asked,) = system.rows(
        "select nurture.schedule_multi_channel_message($1, 'onboarding', 2, array['email'], now(),"
        ' \'Hello {user_name}, see [this](https://example.test/tea)\', \'{"subject": "Tea", "campaign": "spring"}\')',
        person,
    )
    id = asked[0]

    def clicked() -> bool:
        rows = system.rows("select * from nurture.message_deliveries where id = $1", id)
        return bool(rows) and rows[0]["delivery_status"] == "clicked"

    eventually(clicked, what="a click on the message that was asked for in SQL")
    (row,) = system.rows(
        "select *, metadata ->> 'campaign' as campaign from nurture.message_deliveries where id = $1", id
    )
    assert (row["user_id"], row["message_step"], row["subject"], row["campaign"]) == (person, 2, "Tea", "spring")
    assert [message["subject"] for message in system.messages()] == ["Tea"]
    told = system.cli("why", "sally").stdout
    assert "onboarding" in told and "clicked" in told

    def same() -> bool:
        (now,) = system.rows("select nurture.calculate_engagement_score($1, 'email') as score", person)
        scores = system.api.get(f"/admin/api/users/{person}/scores").json()["scores"]
        shown = next(score["score"] for score in scores if score["score_type"] == "email")
        return shown != 20 and abs(float(now["score"]) - shown) <= 0.01

    eventually(same, what="the score that REST and SQL agree about")
    assert system.rows("select nurture.get_preferred_channel('sally') as channel")[0]["channel"] == "email"
