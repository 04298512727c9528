"""The functions of the seed answer what scoring and the planner answer at this moment, for people of every kind."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from database_stand import Stand
from msgspec.structs import replace
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret
from nurture_contracts.commands import ExternalEvent, RecordEvents
from nurture_contracts.events import EmailsObserved, Observation, Settlement, TelegramsObserved, TelegramsSettled
from nurture_contracts.ids import uuid7
from nurture_controller.planning import DueEnrolment, Send, plan
from nurture_controller.sequence import MessageStep, Sequence
from nurture_controller.store import people as known_people
from nurture_scoring import credits, formula
from nurture_scoring.folding import Message
from nurture_scoring.handlers import Handlers
from nurture_scoring.recompute import Occasion, recompute

from tests.servers import SilentBus, role_url

PEOPLE = 1000
AUTO = Sequence(format=1, type="auto", title="Auto", steps=(MessageStep(when="now", body="b"),))


class History:
    """Random people: what they prefer, how they may be reached, what they got and what they did about it."""

    def __init__(self, seed: int, now: datetime) -> None:
        self.chance = random.Random(seed)
        self.now = now
        self.people = [uuid7() for _ in range(PEOPLE)]
        self.contacts = [row for person in self.people for row in self._contacts(person)]
        self.deliveries: list[tuple[UUID, UUID, str]] = []
        self.observed: dict[str, list[Observation]] = {"email": [], "telegram": []}
        self.settled: list[Settlement] = []
        self.did: list[ExternalEvent] = []
        for person in self.people:
            self._life(person)

    def _contacts(self, person: UUID) -> list[tuple[Any, ...]]:
        rows = []
        for channel in ("email", "telegram"):
            if self.chance.random() < 0.85:
                has = self.chance.random() < 0.92
                address = f"{person}-{channel}" if has else None
                states = ("ok",) * 8 + ("bounced", "complained", "suppressed", "blocked")
                state = self.chance.choice(states) if has else "blocked"
                consent = self.chance.choice(("granted",) * 9 + ("refused",))
                switches = (self.chance.random() < 0.9, self.chance.random() < 0.7)
                rows.append((person, channel, address, state, consent, *switches))
        return rows

    def _life(self, person: UUID) -> None:
        # A third are new, the others have had up to a dozen messages over four months.
        taste = {channel: self.chance.random() for channel in ("email", "telegram")}
        for _ in range(max(0, self.chance.randint(-6, 12))):
            channel = self.chance.choice(("email", "email", "telegram"))
            id, at = uuid7(), self.now - timedelta(days=self.chance.uniform(0.01, 120))
            self.deliveries.append((id, person, channel))
            if channel == "telegram":
                self.settled.append(Settlement(delivery_id=id, outcome="accepted", at=at, attempt=1))
            else:
                self.observed["email"].append(_seen("delivered", id, at))
            later = at + timedelta(seconds=self.chance.uniform(60, 800))
            while self.chance.random() < taste[channel]:
                kind = self.chance.choice(("opened", "clicked") if channel == "email" else ("pressed", "replied"))
                more = {"link": str(self.chance.randint(1, 3)), "signal": "human"} if kind == "clicked" else {}
                self.observed[channel].append(_seen(kind, id, later, **more))
        for _ in range(max(0, self.chance.randint(-4, 4))):
            event = self.chance.choice(("attended", "missed", "commitment_made", "commitment_kept", "goal_reached"))
            at = self.now - timedelta(days=self.chance.uniform(0.01, 90))
            self.did.append(ExternalEvent(event_id=uuid7(), event=event, at=at, user_id=person))


def _seen(kind: str, delivery: UUID, at: datetime, **more: Any) -> Observation:
    return Observation(event_id=uuid7(), kind=kind, delivery_id=delivery, at=at, **more)  # type: ignore[arg-type]


async def lived(stand: Stand, history: History) -> None:
    """The histories as the services write them: rows of people and deliveries, then pages through scoring's own handlers."""
    chance = history.chance
    await stand.admin.executemany(
        "insert into gateway.users (id, first_name, preferred_channel, created_at, updated_at) values ($1, 'P', $2, now(), now())",
        [(person, chance.choice((None, None, None, "email", "telegram"))) for person in history.people],
    )
    await stand.admin.executemany(
        "insert into gateway.contacts (user_id, channel, address, address_key, state, consent, opt_in_sequences,"
        " opt_in_announcements, changed_at) values ($1, $2, $3, $3, $4, $5, $6, $7, now())",
        history.contacts,
    )
    await stand.admin.executemany(
        "insert into controller.deliveries (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at)"
        " values ($1, $1, $2, 'onboarding', 1, $3, now(), now())",
        history.deliveries,
    )
    await stand.admin.execute(
        "insert into controller.delivery_contents select id, 'a', 't', 's', 'b', '{}', '{}', now() from controller.deliveries"
    )
    settings = replace(stand.config, database_url=Secret(role_url(stand.url, "nurture_scoring")))
    database = Database(settings, "scoring", Queries.of("nurture_scoring", "public"))
    await database.open()
    try:
        room = Handlers(database, Outbox(database, SilentBus()), Clock())  # type: ignore[arg-type]
        for items in _pages(history.observed["email"]):
            await room.emails_observed(EmailsObserved(items=items))
        for items in _pages(history.settled):
            await room.telegrams_settled(TelegramsSettled(claim_id=uuid7(), items=items))
        for items in _pages(history.observed["telegram"]):
            await room.telegrams_observed(TelegramsObserved(items=items))
        for items in _pages(history.did):
            await room.record_events(RecordEvents(items=items))
    finally:
        await database.close()


def _pages(items: list[Any]) -> list[list[Any]]:
    return [items[start : start + 400] for start in range(0, len(items), 400)]


async def scores_from_scratch(stand: Stand, history: History, now: float) -> dict[tuple[UUID, str], float]:
    """Every person's scores by formula.py, from stored messages and events alone."""
    messages = [
        Message(
            delivery_id=row["delivery_id"],
            user_id=row["user_id"],
            channel=row["channel"],
            delivered_at=row["delivered_at"].timestamp() if row["delivered_at"] else None,
            signals=credits.read(row["answers"]),
        )
        for row in await stand.admin.fetch("select *, signals::text as answers from scoring.message_credits")
    ]
    events = await stand.admin.fetch("select user_id, event, at from scoring.external_events")
    states, means = recompute(messages, [Occasion(r["user_id"], r["event"], r["at"].timestamp()) for r in events])
    # Overall everybody is the sum of both channels, blocked or not.
    means["overall"] = tuple(map(sum, zip(*(means.get(kind, (0, 0)) for kind in ("email", "telegram")), strict=True)))  # type: ignore[assignment]
    heard = {
        row["user_id"]
        for row in await stand.admin.fetch("select user_id from scoring.states where updated_at is not null")
    }
    shut = {
        (person, channel)
        for person, channel, address, state, consent, *wants in history.contacts
        if consent == "refused" or not any(wants) or (address is not None and state != "ok")
    }
    open_ = {
        person
        for person, _, address, state, consent, *wants in history.contacts
        if address is not None and state == "ok" and consent == "granted" and any(wants)
    }
    found: dict[tuple[UUID, str], float] = {}
    for person in history.people:
        parts = []
        for kind in ("email", "telegram"):
            r, n = states.get((person, kind), (0.0, 0.0))
            parts.append((r, n, (person, kind) in shut))
        for kind in formula.KINDS:
            r, n = formula.overall(*parts) if kind == "overall" else states.get((person, kind), (0.0, 0.0))
            blocked = (person, kind) in shut
            if kind == "overall":
                blocked = person not in open_ and any(part[2] for part in parts)
            # Of somebody of whom nothing was heard there is no state that could be blocked.
            zero = blocked and person in heard
            found[person, kind] = 0.0 if zero else formula.score(r, n, *means.get(kind, (0.0, 0.0)), now)
    return found


def test_a_thousand_histories(play) -> None:
    async def scene(stand: Stand) -> None:
        history = History(20261126, datetime.now(UTC))
        await lived(stand, history)
        rows = await stand.admin.fetch(
            "select u, k, calculate_engagement_score(u::text, k) as score, statement_timestamp() as now"
            " from unnest($1::uuid[]) u cross join unnest($2::text[]) k",
            history.people, list(formula.KINDS),
        )  # fmt: skip
        expected = await scores_from_scratch(stand, history, rows[0]["now"].timestamp())
        assert len(rows) == PEOPLE * len(formula.KINDS)
        worst = max(abs(float(row["score"]) - expected[row["u"], row["k"]]) for row in rows)
        assert worst <= 0.01
        assert len({row["score"] for row in rows}) > PEOPLE / 2, "the histories are too alike to show anything"

        for available in (("email", "telegram"), ("email",)):
            await stand.telegram(ready="telegram" in available)
            async with stand.outbox.transaction() as tx:
                moment = await tx.connection.fetchval("select statement_timestamp()")
                known = await known_people(tx, history.people, moment)
            wanted: dict[UUID, str | None] = {}
            for person in history.people:
                due = DueEnrolment(id=person, user_id=person, step=1, next_at=moment)
                decision = plan(due, AUTO, *known[person], moment, available)
                wanted[person] = decision.channel if isinstance(decision, Send) else None
            chosen = await stand.admin.fetch(
                "select u, get_preferred_channel(u::text) as c from unnest($1::uuid[]) u", history.people
            )
            assert {row["u"]: row["c"] for row in chosen} == wanted
            assert set(wanted.values()) == {*available, None}

    play(scene)


def test_nobody_and_nonsense_get_null_and_no_error(play) -> None:
    async def scene(stand: Stand) -> None:
        ada = await stand.person("email", external_id="ada")
        for ref in ("user-id", "", str(uuid7()), "00000000-0000-0000-0000-00000000000g", "'; drop table x", None):
            assert await stand.admin.fetchval("select calculate_engagement_score($1, 'overall')", ref) is None
            assert await stand.admin.fetchval("select get_preferred_channel($1)", ref) is None
        for kind in ("nothing", "", None):
            assert await stand.admin.fetchval("select calculate_engagement_score($1, $2)", str(ada), kind) is None
        for ref in (str(ada), str(ada).upper(), "ada"):
            assert await stand.admin.fetchval("select calculate_engagement_score($1, 'overall')", ref) == 20
            assert await stand.admin.fetchval("select get_preferred_channel($1)", ref) == "email"

    play(scene)


def test_the_answer_is_by_the_clock_of_the_services(play) -> None:
    async def scene(stand: Stand) -> None:
        (ada,) = [await stand.person("email")]
        await stand.admin.execute(
            "insert into scoring.states (user_id, email_r, email_n, updated_at) values ($1, w, w, now())"
            .replace("w, w", "engagement_weight_at(now()), engagement_weight_at(now())"), ada,
        )  # fmt: skip
        today = await stand.admin.fetchval("select calculate_engagement_score($1, 'email')", str(ada))
        # A day a second: in the sandbox business time may be weeks ahead.
        clock = Clock(86_400.0, datetime.now(UTC).timestamp(), (datetime.now(UTC) + timedelta(days=60)).timestamp())
        await stand.database.execute("clock_tell", *map(float, clock.to_setting().split("@")))
        ahead = await stand.admin.fetchval("select business_now()")
        assert timedelta(0) <= clock.now() - ahead < timedelta(days=30)
        later = await stand.admin.fetchval("select calculate_engagement_score($1, 'email')", str(ada))
        assert today == 36 and 20 < later < 25
        await stand.database.execute("clock_tell", 1.0, 0.0, 0.0)
        real = await stand.admin.fetchrow("select business_now() = statement_timestamp() as same")
        assert real is not None and real["same"]

    play(scene)


OURS = """
select 'relation' as what, c.oid::regclass::text as name, has_table_privilege($1, c.oid, 'select') as may
from pg_class c where c.relnamespace = $2::text::regnamespace and c.relkind = 'v' and obj_description(c.oid, 'pg_class') like 'nurture%'
union all
select 'function', p.oid::regprocedure::text, has_function_privilege($1, p.oid, 'execute')
from pg_proc p where p.pronamespace = $2::text::regnamespace and obj_description(p.oid, 'pg_proc') like 'nurture%'
"""


def test_outsiders_get_none_of_it_and_a_granted_role_needs_no_more(play) -> None:
    async def scene(stand: Stand) -> None:
        await stand.admin.execute(
            "do $$ begin if to_regrole('anon') is null then create role anon; end if;"
            " if to_regrole('reporting') is null then create role reporting; end if; end $$"
        )
        rows = await stand.admin.fetch(OURS, "anon", "public")
        assert len(rows) > 25 and not [row["name"] for row in rows if row["may"]]
        ada = await stand.person("email")
        await stand.admin.execute("grant usage on schema public to reporting; grant select on message_deliveries to reporting;"
            "grant execute on function calculate_engagement_score, get_preferred_channel, schedule_multi_channel_message"
            " to reporting")  # fmt: skip
        async with stand.admin.transaction():
            await stand.admin.execute("set local role reporting")
            assert await stand.admin.fetchval("select get_preferred_channel($1)", str(ada)) == "email"
            assert await stand.admin.fetchval("select calculate_engagement_score($1, 'email')", str(ada)) == 20
            id = await stand.schedule(ada)
            assert await stand.admin.fetchval("select count(*) from message_deliveries") == 0
        assert id is not None
        assert not await stand.admin.fetchval("select has_schema_privilege('reporting', 'controller', 'usage')")

    play(scene)
