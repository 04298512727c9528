"""`nurture up --demo` where it must not: refused before anything is started, made or deleted."""

import asyncio
import tomllib
from pathlib import Path

import asyncpg
import pytest
from nurture_local import audience, cli, showcase
from nurture_local.instance import DataDir, State

from tests import servers


def test_the_audience_has_everybody_that_the_numbers_need() -> None:
    people = list(audience.people(showcase.PEOPLE, showcase.SEED))
    assert len(people) == 200
    saved = [one for one in people if "+bounce@" in one.email and one.telegram_chat_id[-1:] not in ("", "7", "9")]
    answering = [one for one in people if one.telegram_chat_id[-1:] in ("3", "4", "5") and not one.email]
    assert len(saved) >= 5 and len(answering) >= 5
    for act in ("open", "click", "ignore", "bounce", "complain"):
        assert any(f"+{act}@" in one.email for one in people)
    assert {"7", "9"} <= {one.telegram_chat_id[-1:] for one in people}


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    "live", [{"RESEND_API_KEY": "re_real", "FROM_EMAIL": "a@example.com"}, {"TELEGRAM_BOT_TOKEN": "12345:secret"}]
)
def test_live_keys_refuse_it_and_nothing_is_deleted(
    live: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataDir(tmp_path / "mine")
    data.create()
    data.write(State())
    for name, value in live.items():
        monkeypatch.setenv(name, value)
    assert cli.call(["up", "--demo", "--fresh", "--detach", "--data-dir", str(data.path)]) == 2
    told = capsys.readouterr()
    assert "works with the sandbox only" in told.err and data.exists
    assert not any(value in told.err for value in live.values())


@pytest.mark.usefixtures("nowhere")
def test_people_of_ones_own_refuse_it_and_people_of_the_demo_do_not(
    cluster: servers.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with cluster.migrated() as url:

        async def add(external_id: str | None) -> None:
            connection = await asyncpg.connect(url)
            await connection.execute(
                "insert into gateway.users (id, external_id, created_at, updated_at) values (gen_random_uuid(), $1, now(), now())",
                external_id,
            )
            await connection.close()

        asyncio.run(add(f"sample-{showcase.SEED}-000001"))
        showcase.refuse(url)
        asyncio.run(add("sample-1-000001"))
        asyncio.run(add(None))
        monkeypatch.setenv("DATABASE_URL", url)
        assert cli.call(["up", "--demo", "--detach", "--data-dir", str(tmp_path / "demo")]) == 1
        told = capsys.readouterr().err
        assert "2 people of yours are here" in told and "nothing was done" in told and not (tmp_path / "demo").exists()
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush-hush@127.0.0.1:1/nothing")
    assert cli.call(["up", "--demo", "--detach", "--data-dir", str(tmp_path / "demo")]) == 1
    told = capsys.readouterr().err
    assert "does not answer" in told and "hush-hush" not in told


def test_an_empty_database_has_nobody(database: str) -> None:
    showcase.refuse(database)


def test_its_letters_go_on_while_somebody_looks() -> None:
    steps = tomllib.loads(showcase.letters())["steps"]
    assert len(steps) == 100 == len({step["name"] for step in steps})
    later = [int(step["delay"].removesuffix("d")) for step in steps[2:]]
    assert max(later) <= 3, "a day of the dashboard without any message would look like a standstill"
    assert sum(later) * 86_400 / showcase.SPEED > 3600, "an hour of real time"


def test_it_says_when_more_comes_and_where() -> None:
    told = showcase.pace(3600, "nurture", " --data-dir d")
    assert told.startswith("60 minutes pass in a second") and "for about 93 minutes" in told
    assert showcase.pace(3600, "nurture", " --data-dir d").endswith("nurture open --data-dir d")
    assert showcase.pace(1, "nurture", "").endswith("nurture up --demo")
