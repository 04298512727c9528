"""A start of many people says of everybody who was not started who it is, and why."""

from uuid import UUID

import pytest
from controller_stand import Stand
from nurture_contracts.ids import uuid7
from nurture_controller import starting


def named(result: dict[str, object]) -> dict[UUID, str]:
    refused = result["refused"]
    assert isinstance(refused, list)
    return {UUID(one["user"]): one["reason"] for one in refused}


def test_who_is_in_the_sequence_already_is_named(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(plan_batch=3)
        await stand.sequence(room, "long", "now", "30d")
        running, waiting, stranger = await stand.people(4), await stand.people(3), uuid7()
        first = await room.start("long", *running)
        assert (first.result["started"], first.result["refused"]) == (4, [])
        told = (await room.start("long", *running[:2], stranger, *waiting, *running[2:])).result
        assert (told["started"], told["running"]) == (3, 4)
        assert told["refused_by_reason"] == {"already_running": 4, "unknown_person": 1}
        assert named(told) == dict.fromkeys(running, "already_running") | {stranger: "unknown_person"}

    play(scene)


def test_where_not_all_can_be_named_those_who_run_are_left_out_first(play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "REFUSED_LISTED", 3)

    async def scene(stand: Stand) -> None:
        room = await stand.room(plan_batch=4)
        await stand.sequence(room, "long", "now", "30d")
        running, strangers = await stand.people(5), [uuid7(), uuid7()]
        await room.start("long", *running)
        told = (await room.start("long", *running, *strangers)).result
        assert told["refused_by_reason"] == {"already_running": 5, "unknown_person": 2}
        assert list(named(told).values()) == ["unknown_person", "unknown_person", "already_running"]
        assert set(strangers) < set(named(told))

    play(scene)
