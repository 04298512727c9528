"""Pages folded on real PostgreSQL: in any order, any number of times, by several replicas at once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nurture_chassis.database import STATEMENTS, TRANSACTIONS
from nurture_contracts.commands import ExternalEvent, RecordEvents
from nurture_contracts.events import EmailsObserved, EventsRecorded, TelegramsObserved, TelegramsSettled
from nurture_contracts.ids import uuid7
from nurture_scoring.formula import weight
from scoring_stand import Stand, accepted, at, close, did, observed, tell


def story(source: random.Random, people: list[UUID], mails: list[UUID], chats: list[UUID]) -> list[Any]:
    """Everything that may happen to these messages and people, a page an event."""
    pages: list[Any] = []
    for mail in mails:
        start = at(days=source.uniform(0, 40))
        reports = [start + timedelta(seconds=source.random()) for _ in range(source.choice([0, 1, 1, 1, 2]))]
        pages += [EmailsObserved(items=[observed("delivered", mail, when)]) for when in reports]
        for _ in range(source.choice([0, 0, 1, 2, 5])):
            kind, signal = source.choice(["opened", "clicked"]), source.choice(["human", "machine", "unknown"])
            when = start + timedelta(seconds=source.choice([source.uniform(-1, 9), source.uniform(60, 64), 5e5]))
            item = observed(kind, mail, when, signal=signal, link=source.choice("abcd") if kind == "clicked" else None)
            pages.append(EmailsObserved(items=[item, observed(source.choice(["bounced", "sent"]), mail, when)]))
    for chat in chats:
        start = at(days=source.uniform(0, 40))
        pages.append(TelegramsSettled(claim_id=uuid7(), items=[accepted(chat, start)]))
        if source.random() < 0.5:
            kind = source.choice(["pressed", "replied", "clicked"])
            pages.append(
                TelegramsObserved(items=[observed(kind, chat, start + timedelta(seconds=source.uniform(1, 99)))])
            )
    for person in people:
        for _ in range(source.choice([0, 1, 3])):
            event = source.choice(["attended", "missed", "commitment_made", "commitment_kept", "signed_up", "paid"])
            pages.append(RecordEvents(items=[did(event, person, at(days=source.uniform(0, 50)))]))
    return pages


def paged(events: list[Any], source: random.Random) -> list[Any]:
    """The same events in other pages."""
    by_type: dict[type, list[Any]] = {}
    for page in events:
        by_type.setdefault(type(page), []).extend(page.items)
    pages: list[Any] = []
    for kind, items in by_type.items():
        while items:
            size = source.randint(1, 40)
            more = {"claim_id": uuid7()} if kind is TelegramsSettled else {}
            pages.append(kind(items=items[:size], **more))
            items = items[size:]
    source.shuffle(pages)
    return pages


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_tripled_and_folded_by_two_replicas_at_once(play, seed: int) -> None:
    async def scene(stand: Stand) -> None:
        source = random.Random(seed)
        people = await stand.people(30)
        mails = await stand.messages(people * 5)
        chats = await stand.messages(people * 3, "telegram")
        events = story(source, people, mails, chats) * 3
        source.shuffle(events)
        replicas = [await stand.room(), await stand.room()]
        busy = asyncio.Semaphore(12)

        async def one(page: Any) -> None:
            async with busy:
                await tell(source.choice(replicas), page)

        async with asyncio.TaskGroup() as group:
            for page in paged(events, source):
                group.create_task(one(page))
        states, means = await stand.sums()
        wanted_states, wanted_means = await stand.recomputed()
        assert len(states) > 60 and len(means) == 4
        assert close(states, wanted_states)
        assert close(means, wanted_means)
        # Whatever the order was, stored signals and goals are those of the log read in its own order.
        again = await stand.admin.fetch(
            "select delivery_id, delivered_at, goal_at, credit, signals from scoring.message_credits"
        )
        await stand.admin.execute(
            "truncate scoring.message_credits, scoring.external_events, scoring.states, scoring.means"
        )
        for page in paged(events, random.Random(0)):
            await tell(replicas[0], page)
        rows = await stand.admin.fetch(
            "select delivery_id, delivered_at, goal_at, credit, signals from scoring.message_credits"
        )
        assert sorted(map(tuple, rows), key=lambda row: row[0]) == sorted(map(tuple, again), key=lambda row: row[0])
        # And all of it once more changes nothing.
        for page in events[::7]:
            await tell(replicas[1], page)
        assert close((await stand.sums())[0], states)

    play(scene)


def test_an_answer_that_comes_before_its_delivery_is_not_lost(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        (mail,) = await stand.messages([ada])
        clicked = observed("clicked", mail, at(60), link="a", signal="human")
        await room.emails_observed(EmailsObserved(items=[clicked]))
        assert await stand.sums() == ({}, {})
        await room.emails_observed(EmailsObserved(items=[observed("delivered", mail, at())]))
        term = weight(at().timestamp())
        states, means = await stand.sums()
        assert states == {(ada, "email"): pytest.approx((0.6 * term, term))}
        assert means == {"email": pytest.approx((0.6 * term, term))}

    play(scene)


def test_a_burst_is_taken_back_when_its_third_link_comes(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        (mail,) = await stand.messages([ada])
        term = weight(at().timestamp())
        answers = []
        for kind, when, more in (
            ("delivered", at(), {}),
            ("clicked", at(60), {"link": "a", "signal": "human"}),
            ("clicked", at(60.5), {"link": "b", "signal": "human"}),
            ("clicked", at(61), {"link": "c", "signal": "human"}),
            ("clicked", at(500), {"link": "a", "signal": "unknown"}),
        ):
            await room.emails_observed(EmailsObserved(items=[observed(kind, mail, when, **more)]))
            answers.append((await stand.sums())[0][ada, "email"][0] / term)
        assert answers == pytest.approx([0, 0.6, 0.6, 0, 0.3])
        (row,) = await stand.admin.fetch("select credit, signals from scoring.message_credits")
        assert row["credit"] == 0.3 and {one["credit"] for one in row["signals"]} == {0.0, 0.3}

    play(scene)


def test_a_goal_moves_to_the_message_that_turns_out_to_be_the_last(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        (mail,) = await stand.messages([ada])
        (chat,) = await stand.messages([ada], "telegram")
        early, late = weight(at(days=1).timestamp()), weight(at(days=3).timestamp())
        await room.record_events(RecordEvents(items=[did("signed_up", ada, at(days=4))]))
        assert (await stand.sums())[0] == {}
        await room.emails_observed(EmailsObserved(items=[observed("delivered", mail, at(days=1))]))
        assert (await stand.sums())[0] == {(ada, "email"): pytest.approx((early, early))}
        await room.telegrams_settled(TelegramsSettled(claim_id=uuid7(), items=[accepted(chat, at(days=3))]))
        states, _ = await stand.sums()
        assert states[ada, "email"] == pytest.approx((0, early))
        assert states[ada, "telegram"] == pytest.approx((late, late))
        last = (await stand.scores(ada))["telegram"]["factors"]["last"]
        assert [one["kind"] for one in last] == ["goal"]

    play(scene)


def test_external_events_are_taken_once_and_strangers_become_dead_letters(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ada, ben = await stand.people(2)
        nobody = uuid7()
        attended = did("attended", ada, at())
        items = [
            attended,
            did("missed", ada, at(), event_id=attended.event_id),
            did("attended", nobody, at()),
            ExternalEvent(event_id=uuid7(), event="attended", at=at(), external_id="p1"),
            ExternalEvent(event_id=uuid7(), event="attended", at=at(), external_id="no\0body"),
            ExternalEvent(event_id=uuid7(), event="attended", at=at()),
            did("attended", ada, datetime(2400, 1, 1, tzinfo=UTC)),
            did("attended", ada, datetime(1, 1, 1, tzinfo=UTC)),
            did("a\0b", ada, at()),
        ]
        for _ in range(3):
            await room.record_events(RecordEvents(items=[*items, items[2]]))
        term = weight(at().timestamp())
        states, _ = await stand.sums()
        assert states == {
            (ada, "attendance"): pytest.approx((term, term)),
            (ben, "attendance"): pytest.approx((term, term)),
        }
        (said,) = await stand.admin.fetch("select subject, payload from scoring.outbox")
        told = msgspec.json.decode(said["payload"], type=EventsRecorded).items
        assert said["subject"] == EventsRecorded.subject and {item.user_id for item in told} == {ada, ben}
        assert {item.event_id for item in told} == {attended.event_id, items[3].event_id}
        letters = await stand.admin.fetch("select * from scoring.dead_letters")
        assert len(letters) == 6
        assert {row["durable"] for row in letters} == {"scoring-record-events"}
        assert {row["subject"] for row in letters} == {RecordEvents.subject}
        (stranger,) = [row for row in letters if str(nobody) in row["reason"]]
        page = msgspec.json.decode(stranger["payload"], type=RecordEvents)
        assert page.items == [items[2]]
        # A letter that fails again after its replay is open again; once the person exists, it counts.
        await stand.admin.execute("update scoring.dead_letters set replayed_at = now()")
        await room.record_events(page)
        assert len(await stand.admin.fetch("select from scoring.dead_letters where replayed_at is null")) == 1
        await stand.admin.execute(
            "insert into gateway.users (id, first_name, created_at, updated_at) values ($1, 'N', now(), now())", nobody
        )
        await room.record_events(page)
        assert (nobody, "attendance") in (await stand.sums())[0]

    play(scene)


def test_observations_of_strangers_and_of_impossible_times_stop_nothing(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        mail, other = await stand.messages([ada, ada])
        far = datetime(2999, 1, 1, tzinfo=UTC)
        items = [
            observed("delivered", uuid7(), at()),
            observed("delivered", mail, at()),
            observed("delivered", other, far),
            observed("clicked", mail, datetime(1, 1, 1, tzinfo=UTC)),
            observed("delivered", None, at(), provider_id="p"),  # type: ignore[arg-type]
        ]
        await room.emails_observed(EmailsObserved(items=items))
        term = weight(at().timestamp())
        assert (await stand.sums())[0] == {(ada, "email"): pytest.approx((0, term))}
        assert len(await stand.admin.fetch("select from scoring.dead_letters")) == 2

    play(scene)


def test_rows_and_statements_do_not_grow_with_the_page(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(size=1)
        people = await stand.people(100)
        mails = await stand.messages(people)

        def sent() -> float:
            return sum(
                sample.value
                for metric in STATEMENTS.collect()
                for sample in metric.samples
                if sample.name.endswith("_total")
            )

        def committed() -> float:
            return TRANSACTIONS._value.get()

        async def written() -> int:
            await room._database.pool.execute("select pg_stat_force_next_flush()")
            await room._database.pool.execute("select 1")
            return await stand.admin.fetchval(
                "select n_tup_ins + n_tup_upd from pg_stat_user_tables where relname = 'message_credits'"
            )

        delivered = EmailsObserved(items=[observed("delivered", mail, at()) for mail in mails])
        clicked = EmailsObserved(items=[observed("clicked", mail, at(60), signal="human") for mail in mails])
        for page, statements, rows in ((delivered, 4, 100), (delivered, 2, 0), (clicked, 4, 100), (clicked, 2, 0)):
            before = (sent(), committed(), await written())
            await room.emails_observed(page)
            assert (sent() - before[0], committed() - before[1], await written() - before[2]) == (statements, 1, rows)

    play(scene)
