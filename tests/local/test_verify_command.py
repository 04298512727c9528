"""`nurture verify` on a database and a bus that the environment names: what it reads, what it finds, what it says."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import nats
import nurture_local.sandbox
import pytest
from nats.js.api import StreamConfig
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import STREAMS
from nurture_local import cli
from nurture_local.verify import checks, examine, ledger, snapshot, stream
from nurture_local.verify.place import Place
from nurture_local.verify.verdict import Bad, Verdict

from tests import servers

ENROLMENT, DELIVERY, PERSON, CLAIM = (UUID(int=(7 << 76) | (2 << 62) | number) for number in range(1, 5))
ROWS = """
insert into gateway.users (id, created_at, updated_at) values ('{person}', now(), now());
insert into gateway.contacts (user_id, channel, address, address_key, changed_at)
    values ('{person}', 'email', 'ada@example.test', 'ada@example.test', now());
insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, state, started_at)
    values ('{enrolment}', gen_random_uuid(), '{person}', gen_random_uuid(), 'onboarding', 2, 'active', now());
insert into controller.deliveries (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)
    values ('{delivery}', '{enrolment}', '{person}', 'onboarding', 1, 'email', now(), now());
insert into controller.delivery_contents
    values ('{delivery}', 'ada@example.test', 'nurture_sequence', 's', 'b', '{{}}', '{{"decision":"send"}}', now() + interval '1 day');
insert into email.pages (id, members, claim_id) values (gen_random_uuid(), array['{delivery}'::uuid], '{claim}');
insert into email.claims (id, members, state, attempt, results, settled_at)
    values ('{claim}', array['{delivery}'::uuid], 'settled', 1,
            '{{"{delivery}": {{"outcome": "accepted", "provider_id": "em_1", "late": true}}}}', now());
insert into controller.clock values (true, 2, 1700000000, 1700000500);
insert into controller.message_requests values (gen_random_uuid(), '{person}', 'reminder', 1, '{{email}}', null, 'words', '{{}}', now(), 'me', now());
insert into controller.paused_types values ('reminder', now());
insert into scoring.message_credits (delivery_id, user_id, channel, delivered_at, signals)
    values ('{delivery}', '{person}', 'email', now(), '[{{"kind":"clicked","at":1.5,"signal":"human","credit":0.6,"link":"a"}}]');
"""


@pytest.fixture
def migrated(cluster: servers.Cluster, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database that DATABASE_URL names; nothing else is known."""
    with cluster.migrated() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


@pytest.fixture
def planted(migrated: str) -> str:
    """A delivery whose email was accepted, and of which the controller has not heard."""

    async def fill() -> None:
        connection = await asyncpg.connect(migrated)
        await connection.execute(ROWS.format(person=PERSON, enrolment=ENROLMENT, delivery=DELIVERY, claim=CLAIM))
        await connection.close()

    asyncio.run(fill())
    return migrated


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    """A bus with both streams, a message said twice over, and an address in another."""

    async def furnish(url: str) -> None:
        connection = await nats.connect(url, allow_reconnect=False)
        js = connection.jetstream()
        for one in STREAMS:
            await js.add_stream(
                StreamConfig(name=one.name, subjects=list(one.subjects), duplicate_window=one.duplicate_window)
            )
        for number in range(3):
            await js.publish("nurture.cmd.email.send_emails", b"{}", headers={"Nats-Msg-Id": str(number)})
        await js.delete_msg("COMMANDS", 2)
        await js.publish("nurture.evt.email.settled", b'{"to":"ada@example.test"}', headers={"Nats-Msg-Id": "9.1"})
        await connection.close()

    with servers.embedded_nats() as url:
        asyncio.run(furnish(url))
        yield url


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = cli.call(["verify", *words, "-o", "json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("migrated")
def test_an_empty_installation_has_lost_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["verify", "lost"]) == 0
    shown = capsys.readouterr().out
    assert "C2  lost         0 of 0" in shown
    assert "ledger       not looked at: only a sandbox has one" in shown
    assert "bus          not looked at: its address is not known here" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.splitlines()[-1] == "✓ all 2 checks found nothing wrong"
    code, found = told(capsys, "all")
    assert (code, found["ok"]) == (0, True)
    assert [one["check"] for one in found["checks"]] == [f"C{number}" for number in range(1, 14)]
    skipped = {one["check"] for one in found["checks"] if one["skipped"]}
    assert skipped == {"C4", "C9", "C10", "C12", "C13"}


@pytest.mark.usefixtures("planted")
def test_what_is_lost_is_named_with_what_happened_around_it(
    capsys: pytest.CaptureFixture[str], bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "AGAIN", 0.0)
    code, found = told(capsys, "lost")
    (check, truth) = found["checks"]
    assert (code, check["bad"]) == (0, [])
    assert check["open"][0]["id"] == str(DELIVERY) and "the bus was not looked at" in check["open"][0]["why"]
    assert truth["bad"] == []
    # With a bus that nobody hears, it waits for the bus to be mended; with one where all is heard, it is lost.
    monkeypatch.setenv("NATS_URL", bus)
    code, found = told(capsys, "lost")
    assert code == 0 and "is missing until the bus is mended" in found["checks"][0]["open"][0]["why"]
    asyncio.run(_hear(bus))
    code, found = told(capsys, "lost")
    (bad,) = found["checks"][0]["bad"]
    assert (code, bad["id"]) == (1, str(DELIVERY))
    assert f"settled as accepted by claim {CLAIM}" in bad["why"] and "nothing is on its way" in bad["why"]
    assert sorted(moment["source"] for moment in bad["timeline"]) == ["email", "email", "email", "row"]
    assert cli.call(["verify", "lost"]) == 1
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "✗ 1 of 2 checks found something: C2"
    assert f"    {DELIVERY}  settled as accepted" in shown and "planned: step 1 by email" in shown


async def _hear(url: str) -> None:
    connection = await nats.connect(url, allow_reconnect=False)
    js = connection.jetstream()
    consumer = await js.pull_subscribe("nurture.evt.email.settled", "controller-email-settled", stream="EVENTS")
    for message in await consumer.fetch(1, timeout=5):
        await message.ack_sync()
    await connection.close()


def test_a_snapshot_is_what_the_tables_hold(planted: str, bus: str) -> None:
    # Of several servers any may answer.
    history = asyncio.run(snapshot.take(planted, nats_url=f"nats://127.0.0.1:1, {bus}", messages=True))
    one = history.deliveries[DELIVERY]
    assert (one.address, one.decided, one.status, len(one.content_sha256)) == (
        "ada@example.test",
        "send",
        "pending",
        32,
    )
    (claim,) = history.claims
    assert claim.results[DELIVERY].provider_id == "em_1" and history.pages[0].claim_id == claim.id
    (credit,) = history.scores.credits
    assert credit.signals == (("clicked", 1.5, "human", "a"),)
    assert history.contacts[0].address == "ada@example.test"
    assert history.counts == {"pending": 1}
    assert ([one.sequence_type for one in history.requests], history.paused_types) == (["reminder"], {"reminder"})
    business = 1_700_000_500 + (history.taken_at.timestamp() - 1_700_000_000) * 2
    assert (history.speed, history.now.timestamp()) == (2, pytest.approx(business))
    assert history.bus is not None
    assert [(one.stream, one.seq, one.msg_id, one.personal) for one in history.bus.messages or ()] == [
        ("COMMANDS", 1, "0", ()),
        ("COMMANDS", 3, "2", ()),
        ("EVENTS", 1, "9.1", ("ada@example.test",)),
    ]
    assert not checks.c12_bus(history).ok


def test_a_snapshot_changes_nothing(planted: str, bus: str) -> None:
    async def scene() -> None:
        connection = await asyncpg.connect(planted)
        before = await asyncio.gather(
            stream.stand(bus), connection.fetchval("select pg_current_wal_insert_lsn()::text")
        )
        await snapshot.take(planted, nats_url=bus, messages=True)
        after = await stream.stand(bus)
        assert after.consumers == before[0].consumers and after.streams == before[0].streams
        assert await connection.fetchval("select count(*) from controller.deliveries") == 1
        await connection.close()

    asyncio.run(scene())


def test_a_database_that_is_none_of_ours_is_told(
    database: str, nowhere: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    assert cli.call(["verify", "all"]) == 3
    assert "nurture db migrate" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:hush-hush@127.0.0.1:1/nothing")
    assert cli.call(["verify", "duplicates"]) == 3
    told = capsys.readouterr()
    assert "does not answer" in told.err and "hush-hush" not in told.err + told.out


def test_a_counter_that_is_not_what_the_log_says_is_named(
    planted: str, cluster: servers.Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examine, "AGAIN", 0.0)
    code, found = told(capsys, "analytics")
    (check,) = found["checks"]
    assert (code, check["bad"], check["notes"]) == (0, [], ["planned 1"]) and check["of"] == 14
    # Somebody counted by hand.
    cluster.sql("update controller.analytics_changes set clicked = 2", url=planted)
    assert cli.call(["verify", "analytics"]) == 1
    shown = capsys.readouterr().out
    assert "✗ C11 analytics    1 of 14" in shown
    assert "onboarding/1 email clicked  it is counted 2 times, and the log says 0" in shown


def test_a_role_that_may_not_read_is_told(
    migrated: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", servers.role_url(migrated, "nurture_email"))
    assert cli.call(["verify", "lost"]) == 3
    assert "use the one that migrates" in capsys.readouterr().err


@pytest.mark.usefixtures("nowhere")
def test_without_an_instance_it_says_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["verify", "all"]) == 3
    assert "DATABASE_URL" in capsys.readouterr().err


def test_a_fault_has_to_be_there_twice(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two reads something may move; what only one of them saw is open, not bad."""
    monkeypatch.setattr(examine, "AGAIN", 0.0)
    answers = iter([["a", "b"], ["b", "c"]])

    def check(_: object) -> Verdict:
        return Verdict(check="C1", name="duplicates", of=3, bad=[Bad(id, "why") for id in next(answers)])

    monkeypatch.setattr(checks, "c1_duplicates", check)
    place = Place(admin_url=migrated, publish_schema="public", nats_url=None)
    _, (verdict,) = asyncio.run(examine.duplicates(place))
    assert ([bad.id for bad in verdict.bad], [bad.id for bad in verdict.open]) == (["b"], ["c"])


def test_a_summary_that_moves_while_the_rows_are_read_is_compared_with_nothing(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no rows, so that each number of REST is wrong; one that stands still is said to be."""
    monkeypatch.setattr(examine, "AGAIN", 0.0)
    place = Place(admin_url=migrated, publish_schema="public", nats_url=None)
    moving = iter(range(1, 9))
    for rest, wrong in ((lambda: {"sent": 1}, ["sent"]), (lambda: {"sent": next(moving)}, [])):
        _, verdicts = asyncio.run(examine.everything(place, rest))
        (counts,) = [verdict for verdict in verdicts if verdict.check == "C11"]
        assert [bad.id for bad in counts.bad] == wrong


def test_the_ledger_is_read_as_the_sandbox_writes_it(tmp_path: Path) -> None:
    home = Path(nurture_local.sandbox.__file__).parent
    path, delivery = tmp_path / "ledger.sqlite3", uuid7()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript((home / "schema.sql").read_text() + (home / "telegram" / "tables.sql").read_text())
    for seq, channel, to, id, key in (
        (1, "email", "a@example.test", str(delivery), "key"),
        (2, "telegram", "77", None, None),
    ):
        connection.execute(
            "insert into messages values (?,?,?,'2026-01-01T12:00:00.5Z',1.5,?,'s','s',?,?,?,'{}','{}','[]','[]',null,null)",
            (seq, f"id-{seq}", channel, to, id, key, "f" * 64),
        )
    connection.execute(
        "insert into telegram_turns (message_id, bot_id, chat_id, kind, at, message_seq, text) values (9, 1, 77, 'bot', '', 2, '')"
    )
    mail, message = ledger.read(path)
    assert (mail.delivery_id, mail.key, mail.provider_id, mail.real_at) == (delivery, "key", "id-1", 1.5)
    assert (message.delivery_id, message.provider_id, message.recipient) == (None, "77:9", "77")
    connection.close()
    with pytest.raises(ledger.NoLedger, match="no ledger"):
        ledger.read(tmp_path / "nothing")
    (tmp_path / "broken").write_text("no database")
    with pytest.raises(ledger.NoLedger, match="cannot be read"):
        ledger.read(tmp_path / "broken")
