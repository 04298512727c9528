"""The room as a process between NATS and PostgreSQL."""

import asyncio
import os
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import nats
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.topology import ensure
from nurture_contracts.commands import RecordEvents
from nurture_contracts.ids import uuid7
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.servers import running
from scoring_stand import CLOCK, Stand, at, close, did, standing
from test_scoring_folding import paged, story

from tests.servers import SECRET_KEY, Cluster, role_url

DURABLES = (
    "scoring-email-observed",
    "scoring-telegram-settled",
    "scoring-telegram-observed",
    "scoring-record-events",
)


async def _declare(url: str) -> None:
    settings = ServiceSettings(database_url=Secret(""), nats_url=url, secret_key=Secret(SECRET_KEY))
    bus = Bus(url, "test", Database(settings, "scoring", Queries("", "public")))
    await bus.connect()
    await bus.broker.start()
    await ensure(bus)
    await bus.broker.stop()


def _replica(name: str, url: str, nats_url: str, folder: Path, stack: ExitStack) -> None:
    port = free_port()
    spec = ChildSpec(
        name=name,
        stage=Stage.SERVICE,
        argv=(sys.executable, "-m", "nurture_scoring"),
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": role_url(url, "nurture_scoring"),
            "NATS_URL": nats_url,
            "SECRET_KEY": SECRET_KEY,
            "NURTURE_CLOCK": CLOCK.to_setting(),
            "NURTURE_HTTP_PORT": str(port),
        },
        ready=http_ok(port, "/health/ready"),
    )
    stack.enter_context(running(spec, folder / f"{name}.log"))


async def _settled(jetstream: Any) -> None:
    async with asyncio.timeout(60):
        for durable in DURABLES:
            stream = "COMMANDS" if durable == "scoring-record-events" else "EVENTS"
            while True:
                info = await jetstream.consumer_info(stream, durable)
                if not info.num_pending and not info.num_ack_pending:
                    break
                await asyncio.sleep(0.02)


def test_a_shuffled_tripled_log_through_two_replicas_equals_its_recomputation(
    cluster: Cluster, nats_url: str, tmp_path: Path
) -> None:
    async def scene(stand: Stand) -> None:
        source = random.Random(7)
        people = await stand.people(40)
        mails = await stand.messages(people * 6)
        chats = await stand.messages(people * 3, "telegram")
        events = story(source, people, mails, chats) * 3
        source.shuffle(events)
        client = await nats.connect(nats_url)
        jetstream = client.jetstream()
        pages = paged(events, source)
        stranger = RecordEvents(items=[did("attended", uuid7(), at()), did("attended", people[0], at())])
        for page in [*pages[: len(pages) // 2], stranger, *pages[len(pages) // 2 :]]:
            await jetstream.publish(page.subject, msgspec.json.encode(page))
        await _settled(jetstream)
        await client.close()
        ours, means = await stand.sums()
        theirs, wanted = await stand.recomputed()
        assert len(ours) > 80 and close(ours, theirs) and close(means, wanted)
        assert await stand.admin.fetchval("select count(*) from scoring.dead_letters") == 1

    async def whole(url: str) -> None:
        async with asyncio.timeout(120), standing(url) as stand:
            await scene(stand)

    with cluster.migrated() as url, ExitStack() as stack:
        asyncio.run(_declare(nats_url))
        for name in ("one", "two"):
            _replica(name, url, nats_url, tmp_path, stack)
        asyncio.run(whole(url))
