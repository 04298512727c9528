"""A rolling upgrade: containers of an earlier version beside today's, under load, then replaced one service at a time."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.containers import earlier_images
from tests.containers.system import ROOMS, ContainerSystem
from tests.containers.test_containers import SENDING, people, unknown
from tests.journeys.system import eventually
from tests.journeys.test_walk import ledger_and_rows_agree

PEOPLE = 400
AT_ONCE = 10
WORKERS = tuple(room for room in ROOMS if room != "gateway")
"""Rooms that may have two containers; the gateway's port on this machine is one."""
_WORDS = """
import inspect, json, msgspec, nurture_contracts as it
from nurture_contracts import commands, events
kinds = {n: [f.encode_name for f in msgspec.structs.fields(k)] for m in (commands, events) for n, k in vars(m).items()
         if inspect.isclass(k) and issubclass(k, msgspec.Struct)}
print(json.dumps({"from": it.__file__, "kinds": kinds}))
"""


@pytest.fixture
def earlier(contained: ContainerSystem, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Earlier images by room. Afterwards every container is of today's again and none stands beside."""
    present = {room: contained.definition[room]["image"] for room in ROOMS}
    made = earlier_images.build(contained.client, present, contained.run, tmp_path / "earlier")
    try:
        yield made
    finally:
        for name in [name for name in contained.containers if name.endswith("-2")]:
            contained.remove(name)
        for room in ROOMS:
            if contained.container(room).attrs["Config"]["Image"] != present[room]:
                contained.replace(room)
        for image in made.values():
            contained.client.images.remove(image, force=True)


@contextlib.contextmanager
def load(system: ContainerSystem, ids: list[str]) -> Iterator[list[str]]:
    """Starts people, some at once, while the block lasts, then the rest at once; what fails is asked again under its key.

    Yields the answered commands, to which it adds.
    """
    answered: list[str] = []
    over = threading.Event()

    def ask() -> None:
        for place in range(0, len(ids), AT_ONCE):
            key, body = str(uuid4()), {"user_ids": ids[place : place + AT_ONCE], "sequence_type": "onboarding"}

            def taken(key: str = key, body: dict[str, object] = body) -> str | None:
                try:
                    answer = system.trigger(body, key=key)
                except httpx.TransportError:
                    return None  # the gateway is being replaced
                return answer.json()["command_id"] if answer.status_code in (200, 202) else None

            answered.append(str(eventually(taken, within=120, what="an answer to a trigger")))
            over.wait(0.3)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield answered
        finally:
            over.set()
        asking.result()


def test_a_rolling_upgrade_loses_nothing_and_sends_nothing_twice(
    contained: ContainerSystem, earlier: dict[str, str], tmp_path: Path
) -> None:
    before, in_doubt = sum(contained.counts().values()), unknown(contained)
    present = json.loads(contained.containers["email"].exec(["python", "-c", _WORDS]).output)
    for room in ROOMS:
        contained.replace(room, earlier[room], wait=False)
    contained.well(*ROOMS)
    past = json.loads(contained.containers["email"].exec(["python", "-c", _WORDS]).output)
    assert past["from"].startswith(earlier_images.PLACE)
    changed = [name for name, fields in present["kinds"].items() if fields != past["kinds"][name]]
    assert changed, "the earlier contracts are today's"
    for room in WORKERS:
        contained.beside(room)
    contained.well(*(f"{room}-2" for room in WORKERS))

    mark = people(contained, tmp_path, PEOPLE)
    ids = [one["id"] for one in contained.pages("/admin/api/users") if one["external_id"].startswith(mark)]
    assert len(ids) == PEOPLE
    contained.chaos(latency_ms=300, telegram={"latency_ms": 100})
    took: dict[str, float] = {}
    commands: list[str] = []
    share = PEOPLE // len(ROOMS)
    for place, room in enumerate(ROOMS):
        with load(contained, ids[place * share : (place + 1) * share]) as answered:
            eventually(lambda: contained.rows(SENDING)[0]["n"], what="something in flight")
            code, took[room] = contained.replace(room)
            assert code == 0, room
        commands += answered
    contained.chaos()

    started = sum(contained.settled(command)["started"] for command in commands)
    assert started == PEOPLE
    contained.quiet(before + PEOPLE, within=150)
    ledger_and_rows_agree(contained)
    first = contained.rows(
        "select count(*) as n, count(distinct user_id) as people from message_deliveries "
        "where message_step = 1 and fallback_of is null and user_id::text = any($1)", ids,
    )[0]  # fmt: skip
    lost, twice = PEOPLE - first["people"], first["n"] - first["people"]
    doubts, repeats = unknown(contained) - in_doubt, contained.ledger()["repeats"]
    letters = contained.rows("select count(*) as n from dead_letters")[0]["n"]
    print(
        f"\nupgrade of {len(ROOMS)} services beside {len(WORKERS)} of the new version, messages that differ: {len(changed)}; "
        f"{len(commands)} triggers for {PEOPLE} people, lost {lost}, twice {twice}, "
        f"taken twice by a provider {repeats}, unknown {doubts}, dead letters {letters}; longest stop {max(took.values()):.1f} s"
    )
    assert (lost, twice, repeats, doubts, letters) == (0, 0, 0, 0, 0)
    assert max(took.values()) < 10, took
