"""The controller's statements and the outbox's in memory against PostgreSQL, as `test_conformance.py` does for the channels."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from nurture_controller.folding import OUTCOME_KIND, facts

from tests.simulation.planned import NOW, TYPES, Planned, new_id
from tests.simulation.two_databases import Both

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
pytestmark = pytest.mark.xdist_group("simulated-statements")

KINDS = (*OUTCOME_KIND.values(), "delivered", "opened", "clicked", "bounced", "complained", "cancelled")


def test_enrolments(walk) -> None:
    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make(6, 1)
        commands = [new_id(chance) for _ in range(8)]
        claimed = started = 0

        async def start() -> int:
            people = chance.sample(planned.people, 3)
            deliveries = [chance.choice((None, *planned.deliveries["email"])) for _ in people]
            nexts = [
                NOW + timedelta(minutes=chance.randint(-30, 30), microseconds=chance.randrange(10**6)) for _ in people
            ]
            columns = (
                [new_id(chance) for _ in people],
                people,
                [1, 1, 1],
                nexts,
                ["active"] * 3,
                deliveries,
                [None] * 3,
                [None] * 3,
            )
            type = chance.choice(TYPES)
            async with pair.transaction("controller") as tx:
                held = (await tx.run("start_held", type))[0]["type"]
                args = (chance.choice(commands), UUID(int=1), type, {"a": 1}, None, NOW)
                return len(await tx.run("enrolments_start", *args, *columns, held, TRACE))

        async def advance(tx: Any, rows: list[Any]) -> None:
            late = [row for row in rows if row["held"]]
            if late:
                await tx.run(
                    "enrolments_hold_late", [row["id"] for row in late], [row["sequence_type"] for row in late]
                )
            for row in rows:
                if not row["held"]:
                    ends = chance.random() < 0.3
                    # Each at a moment of its own: of two that are due at the same one, nobody promises which is first.
                    again = NOW + timedelta(minutes=5, microseconds=chance.randrange(10**6))
                    later, due = (None if ends else again), chance.choice((None, row["next_at"]))
                    state = "completed" if ends else "active"
                    await tx.run(
                        "enrolments_advance", [row["id"]], [2], [later], [state], [None], [None], [None], [due]
                    )

        for _ in range(200):
            match chance.randrange(8):
                case 0 | 1:
                    started += await start()
                case 2 | 3:
                    at = NOW + timedelta(minutes=chance.randint(0, 20))
                    async with pair.transaction("controller") as first:
                        rows = await first.run("enrolments_claim_due", at, chance.randint(1, 3))
                        async with pair.transaction("controller") as second:
                            others = await second.run("enrolments_claim_due", at, 3)
                            await advance(second, others)
                        await advance(first, rows)
                    claimed += len(rows) + len(others)
                case 4:
                    await planned.meddle("email")
                    for type in TYPES:
                        held = type in pair.tables.committed["controller.paused_types"]
                        if chance.random() < 0.5:
                            await pair.run("controller", "enrolments_hold", type, held)
                case 5:
                    await pair.run("controller", "enrolments_next_due")
                    await pair.run("controller", "enrolments_running")
                    await pair.run("controller", "holds_of", chance.choice(("*", *TYPES)))
                    await pair.run("controller", "enrolments_running_of", chance.choice(TYPES), planned.people)
                    await pair.run("controller", "people", chance.sample(planned.people, 3), NOW)
                case 6 if chance.random() < 0.4:
                    whom = (None, None, chance.choice(planned.people), chance.choice(TYPES))
                    await pair.run("controller", "enrolments_cancel", NOW, *whom)
                case 7:
                    command = chance.choice(commands)
                    await pair.run("controller", "command_result", command)
                    await pair.run("controller", "command_settle", command, 201, {"a": [1]}, NOW)
                    await pair.run("controller", "start_cancelled", command)
                    if chance.random() < 0.3:
                        await pair.run("controller", "start_forestall", command, NOW)
            await pair.agree("controller.enrolments", "controller.paused_types", "controller.command_results")
        assert started > 20 and claimed > 30

    walk(scene)


def test_facts_and_failures(walk) -> None:
    tables = ("controller.deliveries", "controller.delivery_events", "controller.fallbacks", "controller.enrolments")

    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make(4, 2)
        members = planned.deliveries["email"]
        known: list[tuple[Any, ...]] = []
        judged = waited = 0
        for n in range(150):
            events = [chance.choice(known)] if known and chance.random() < 0.3 else []
            for _ in range(chance.randint(1, 3)):
                member = chance.choice(members)
                named = chance.choice((member, None, member, None, new_id(chance)))
                provider, kind = f"p{members.index(member)}", chance.choice(KINDS if named else KINDS[6:])
                detail = {"attempts": chance.randint(0, 3)} | (
                    {"reason": chance.choice("ab")} if chance.random() < 0.5 else {}
                )
                events.append(
                    (new_id(chance), named, provider, kind, NOW + timedelta(seconds=chance.randint(0, 99)), detail)
                )
            known += events
            async with pair.transaction("controller") as tx:
                rows = await tx.run("events_log", *map(list, zip(*events, strict=True)))
                sent = [row for row in rows if row["kind"] == "sent" and row["provider_id"]]
                ids = ([row["provider_id"] for row in sent], [row["delivery_id"] for row in sent])
                more = await tx.run("events_waiting", *ids)
                told = facts(rows + more)
                if told:
                    await tx.run("facts_fold", *map(list, zip(*told, strict=True)))
                failures = await tx.run("failures", chance.sample(members, 3))
                waited, judged = waited + len(more), judged + len(failures)
                if failures and chance.random() < 0.5:
                    columns = [[row["id"] for row in failures], [None] * len(failures), [NOW] * len(failures)]
                    await tx.run("fallbacks_note", *columns, [{"decision": "no"}] * len(failures))
                    await tx.run("enrolments_follow", [failures[0]["enrolment_id"]], [failures[0]["id"]])
            if n % 10 == 0:
                await pair.agree(*tables)
        await pair.agree(*tables)
        assert judged > 8 and waited > 2

    walk(scene)


def test_plans_and_jobs(walk) -> None:
    async def scene(pair: Both, chance: random.Random) -> None:
        planned = await Planned(pair, chance).make(4, 1)
        await pair.put(
            "controller.sequences", id=UUID(int=1), type="first", version=1, definition={}, toml="", published_at=NOW
        )
        person, enrolment = planned.people[0], planned.enrolments[0]
        for step in range(2, 6):
            ids = [new_id(chance), new_id(chance)]
            ended = chance.choice((None, NOW))
            frame = (
                [enrolment] * 2,
                [person] * 2,
                ["first"] * 2,
                [step] * 2,
                ["email", "telegram"],
                [NOW] * 2,
                [NOW] * 2,
            )
            rest = ([None, ended], [ended, None], [None] * 2, ["r"] * 2, ["v"] * 2, [None] * 2, [None, ids[0]])
            await pair.run("controller", "deliveries_plan", ids, *frame, *rest)
            words = (
                ["a"] * 2,
                ["t"] * 2,
                ["s"] * 2,
                ["b"] * 2,
                [{"n": 1}] * 2,
                [{"decision": "send"}] * 2,
                [NOW] * 2,
                [TRACE] * 2,
            )
            await pair.run("controller", "contents_plan", ids, *words)
        await pair.agree("controller.deliveries", "controller.delivery_contents")
        for whom in (planned.people[:3], None):
            await pair.run("controller", "job_open", new_id(chance), UUID(int=1), "first", whom, {}, None, NOW, TRACE)
        ends = 0
        while ends < 2:
            async with pair.transaction("controller") as first:
                (job,) = await first.run("job_claim", 2)
                async with pair.transaction("controller") as second:
                    await second.run("job_claim", 2)
                cursor = job["cursor"] + len(job["page"])
                done = cursor >= job["people"]
                await first.run("job_advance", job["command_id"], cursor, cursor, 0, {"a": 1}, [], done)
                await first.run("job_wait", job["command_id"])
                ends += done
            await pair.agree("controller.start_jobs")
        assert await pair.run("controller", "job_claim", 2) == []

    walk(scene)


def test_the_outbox_and_the_pace(walk) -> None:
    async def scene(pair: Both, chance: random.Random) -> None:
        ids: list[UUID] = []
        swept = lost = 0
        for _ in range(200):
            match chance.randrange(8):
                case 0 | 1:
                    # One a transaction: where a sweep ends among rows of the same moment is nobody's promise.
                    ids.append(new_id(chance))
                    await pair.run("email", "outbox_add", ids[-1:], [chance.choice("ab")], [b"x"], [{}])
                case 2 if ids:
                    answered = pair.tables.committed["email.refilled"][True]["n"] - chance.choice((0, 0, 1))
                    await pair.run("email", "outbox_published", chance.sample(ids, min(3, len(ids))), answered)
                case 3 | 4:
                    args = (chance.choice((0.0, 5.0)), 3, chance.choice(([], ["a"])))
                    async with pair.transaction("email") as first:
                        rows = await first.run("outbox_sweep", *args)
                        async with pair.transaction("email") as second:
                            swept += len(await second.run("outbox_sweep", *args))
                        n = pair.tables.committed["email.refilled"][True]["n"]
                        await first.run("outbox_published", [row["id"] for row in rows[:2]], n)
                case 5 if chance.random() < 0.4:
                    since = chance.choice((None, await pair.moment()))
                    await pair.put(
                        "controller.bus_losses", stream="S", subject=chance.choice("ab"), since=since, reason="r"
                    )
                    lost += 1
                    (*_, last) = await pair.run("email", "outbox_losses")
                    answered = last["answered"] - chance.choice((0, 0, 1))
                    if await pair.run("email", "outbox_answer", answered, last["n"]):
                        await pair.run("email", "outbox_refill", [last["subject"]], [last["n"]], [last["since"]])
                case 6:
                    await pair.pass_time(chance.choice((1, 6)), "email.outbox", "email.pace")
                case 7:
                    args = ("x", 0.5, chance.randint(1, 3), 1.1, 0.0)
                    await pair.run("email", "pace_reserve", *args)
                    await pair.run("email", "pace_reserve_within", "x", 0.5, 1.1, chance.choice((0.0, 1.0, 9.0)))
                    await pair.run("email", chance.choice(("pace_follow", "pace_hold")), "x", chance.choice((0.2, 0.7)))
                    if chance.random() < 0.3:
                        await pair.run("email", "pace_park", "x", 30.0, "why", 0.5)
                    elif chance.random() < 0.5:
                        await pair.run("email", "pace_unpark", "x")
            await pair.agree("email.outbox", "email.pace")
        assert swept > 5 and lost > 3

    walk(scene)
