"""What is shown as expired is not executed later: a command that waited too long is refused, visibly, whatever it asks for."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from controller_stand import Room, Stand
from nurture_contracts import commands as c
from nurture_contracts.ids import derived, uuid7
from nurture_contracts.life import BEGUN_WITHIN


def aged(age: timedelta) -> UUID:
    """The id of a command that the gateway took so long ago, in real time."""
    return uuid7(int((time.time() - age.total_seconds()) * 1000))


LATE = BEGUN_WITHIN + timedelta(seconds=1)
IN_TIME = BEGUN_WITHIN - timedelta(minutes=5)
ASKS: list[tuple[type[Any], dict[str, Any]]] = [
    (c.StartSequences, {"sequence_type": "once", "single": True}),
    (c.StartSequences, {"sequence_type": "once"}),
    (c.StartSequences, {"sequence_type": "once", "segment": "all"}),
    (c.CancelEnrolments, {"waiting": True}),
    (c.PauseSequence, {"sequence_type": "once", "paused": True}),
    (c.PauseSequence, {"sequence_type": "*", "paused": False, "confirm_restored": True}),
    (c.PublishSequence, {"toml": 'format = 1\ntype = "late"\ntitle = "late"\n[[steps]]\nkind = "message"\nbody = "x"'}),
    (c.SimulateSequence, {"sequence_type": "once", "segment": "all"}),
    (c.ProcessDue, {}),
    (c.ResendDeliveries, {"channel": "email"}),
    (c.ArchiveDeliveries, {"channel": "email"}),
]


async def hear(room: Room, command: Any) -> None:
    handlers = {
        c.StartSequences: room.starter.start,
        c.CancelEnrolments: room.commands.cancel,
        c.PauseSequence: room.commands.pause,
        c.PublishSequence: room.commands.publish,
        c.SimulateSequence: room.simulator.simulate,
        c.ProcessDue: room.operations.process,
        c.ResendDeliveries: room.operations.resend,
        c.ArchiveDeliveries: room.operations.archive,
    }
    await handlers[type(command)](command)


@pytest.mark.parametrize(("kind", "asked"), ASKS)
def test_a_command_that_waited_too_long_is_refused(play, kind: type[Any], asked: dict[str, Any]) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "once", "now")
        (ada, bob) = await stand.people(2)
        await room.start("once", bob)
        if kind is c.StartSequences:
            asked["user_ids"] = [ada]
        if kind is c.SimulateSequence:
            asked["start_at"] = stand.clock.now()
        before = await facts(room)
        # Business time may be anything; and what has an id that tells no time is not judged by it.
        command = kind(command_id=aged(LATE), at=stand.clock.now() + timedelta(days=900), **asked)
        for _ in range(2):
            await hear(room, command)
            await room.starter.work()
            answer = await room.answer(command.command_id)
            assert (answer.status, answer.result["code"]) == (422, "expired"), answer
        assert await facts(room) == before
        for id in (aged(IN_TIME), derived(kind.__name__)):
            stand.clock.forward(days=30)
            command = kind(command_id=id, at=stand.clock.now(), **asked)
            await hear(room, command)
            while await room.starter.work():
                pass
            assert (await room.answer(id)).result.get("code") != "expired"

    play(scene)


async def facts(room: Room) -> list[Any]:
    """What commands change."""
    tables = ("enrolments", "deliveries", "start_jobs", "paused_types", "sequences", "archived_deliveries")
    return [await room.sql(f"select * from {table} order by 1") for table in tables]


def test_what_was_executed_in_time_is_answered_whenever_it_is_asked_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "once", "now")
        (ada,) = await stand.people(1)
        told = await room.start("once", ada)
        old = aged(LATE)
        await room.sql("update command_results set command_id = $1", old)
        again = c.StartSequences(
            command_id=old, at=stand.clock.now(), sequence_type="once", single=True, user_ids=[ada]
        )
        await room.starter.start(again)
        answer = await room.answer(old)
        assert (answer.status, answer.result) == (201, told.result)

    play(scene)


def test_a_start_of_many_that_is_not_through_in_time_ends_where_it_is(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(plan_batch=2)
        await stand.sequence(room, "once", "now")
        everybody = await stand.people(7)
        command = c.StartSequences(command_id=uuid7(), at=stand.clock.now(), sequence_type="once", user_ids=everybody)
        await room.starter.start(command)
        assert await room.starter.work()
        # Nobody works on it for a week.
        old = aged(LATE)
        await room.sql("update start_jobs set command_id = $1", old)
        # Repeated by the bus meanwhile, it is still the job that answers.
        await room.starter.start(
            c.StartSequences(command_id=old, at=stand.clock.now(), sequence_type="once", user_ids=everybody)
        )
        assert await room.starter.work() and not await room.starter.work()
        answer = await room.answer(old)
        assert (answer.status, answer.result["started"]) == (200, 2)
        assert answer.result["refused_by_reason"] == {"expired": 5}
        assert answer.result["refused"] == [{"user": str(user), "reason": "expired"} for user in everybody[2:4]]
        assert len(await room.sql("select from enrolments")) == 2

    play(scene)
