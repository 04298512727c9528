"""bus ls, lag, dead: a real server's streams and consumers, and the gateway's dead letters."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nurture_contracts.topology import CONSUMERS, STREAMS
from nurture_local import bus_state, cli
from nurture_local.bus_state import BusSilent, BusState
from nurture_local.nats import spec
from nurture_local.ports import free_port
from nurture_local.probes import until

Served = Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this module's tests, with the streams and consumers of the contracts."""
    child = spec(tmp_path_factory.mktemp("nats"), port := free_port(), free_port())
    log = subprocess.DEVNULL
    process = subprocess.Popen(child.argv, env=child.env, stdout=log, stderr=log)
    url = f"nats://127.0.0.1:{port}"
    try:
        asyncio.run(asyncio.wait_for(until(child.ready), 30))
        asyncio.run(_furnish(url))
        yield url
    finally:
        process.terminate()
        process.wait(20)


async def _furnish(url: str) -> None:
    connection = await nats.connect(url, allow_reconnect=False)
    js = connection.jetstream()
    for stream in STREAMS:
        await js.add_stream(
            StreamConfig(
                name=stream.name,
                subjects=list(stream.subjects),
                max_age=stream.max_age,
                duplicate_window=stream.duplicate_window,
            )
        )
    for consumer in CONSUMERS:
        await js.add_consumer(
            consumer.stream,
            ConsumerConfig(
                durable_name=consumer.durable,
                filter_subject=consumer.message.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=consumer.ack_wait,
                max_ack_pending=consumer.max_ack_pending,
                max_deliver=-1,
            ),
        )
    for _ in range(3):
        await js.publish("nurture.cmd.email.send_emails", b"{}")
    await connection.close()


@pytest.fixture
def named(server: str, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NATS_URL", server)
    return server


@pytest.mark.usefixtures("named")
def test_ls_lists_the_topology(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["bus", "ls", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {stream["stream"]: stream["messages"] for stream in told["streams"]} == {"COMMANDS": 3, "EVENTS": 0}
    assert {one["consumer"] for one in told["consumers"]} == {consumer.durable for consumer in CONSUMERS}
    (email,) = [one for one in told["consumers"] if one["consumer"] == "email-send"]
    assert (email["pending"], email["ack_pending"], email["redelivered"]) == (3, 0, 0)
    assert cli.call(["bus", "ls"]) == 0
    shown = capsys.readouterr().out
    assert all(consumer.durable in shown and consumer.message.subject in shown for consumer in CONSUMERS)


@pytest.mark.usefixtures("named")
def test_lag_lists_who_is_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["bus", "lag"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.startswith("CONSUMER") and line.startswith("email-send")
    assert cli.call(["bus", "lag", "--over", "3"]) == 0
    assert cli.call(["bus", "lag", "--over", "2", "-o", "json"]) == 1


def test_a_bus_as_in_the_contracts_has_no_faults(server: str) -> None:
    state = asyncio.run(bus_state.look(server))
    assert bus_state.stream_faults(state) == []
    assert bus_state.consumer_faults(state) == []


def test_faults_are_told_one_by_one(server: str) -> None:
    state = asyncio.run(bus_state.look(server))
    short = BusState(state.streams[:1], [one for one in state.consumers if one.durable != "email-send"])
    assert len(bus_state.stream_faults(short)) == 1 and "is missing" in bus_state.stream_faults(short)[0]
    assert bus_state.consumer_faults(short) == ["email-send is missing"]

    async def shorten() -> None:
        connection = await nats.connect(server, allow_reconnect=False)
        js = connection.jetstream()
        events = (await js.stream_info("EVENTS")).config
        await js.update_stream(events.evolve(max_age=3600))
        await connection.close()

    asyncio.run(shorten())
    found = asyncio.run(bus_state.look(server))
    assert bus_state.stream_faults(found) == ["EVENTS: max_age is 3600 s, not 2.592e+06 s"]


def test_nobody_answers(nowhere: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    assert cli.call(["bus", "ls"]) == 3
    assert "the bus does not answer" in capsys.readouterr().err


def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    child = spec(tmp_path, port := free_port(), free_port())
    plain = tmp_path / "plain.conf"
    plain.write_text(f'listen: "127.0.0.1:{port}"\n')
    log = subprocess.DEVNULL
    process = subprocess.Popen([child.argv[0], "-c", str(plain)], env=child.env, stdout=log, stderr=log)
    try:

        async def ask() -> None:
            while True:
                try:
                    await bus_state.look(f"nats://127.0.0.1:{port}")
                except BusSilent as silent:
                    if "does not answer" not in str(silent):
                        raise

        with pytest.raises(BusSilent, match="without JetStream"):
            asyncio.run(asyncio.wait_for(ask(), 30))
    finally:
        process.terminate()
        process.wait(20)


def _letter(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "room": "email",
        "durable": "email-send",
        "subject": "nurture.cmd.email.send_emails",
        "payload": "[nonsense]" + "x" * 300,
        "reason": "items: expected a [UUID]",
        "at": "2026-01-05T09:00:00.123Z",
        "replayed_at": None,
        **more,
    }


@pytest.mark.usefixtures("nowhere")
def test_dead_letters_are_listed_and_replayed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    letters = [_letter("one"), _letter("two", replayed_at="2026-01-05T10:00:00Z")]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"id": request.url.path.split("/")[-2], "room": "email"})
        return httpx.Response(200, json={"items": letters, "next": "more"})

    seen = served(answer)
    assert cli.call(["bus", "dead", "--service", "email"]) == 0
    shown = capsys.readouterr().out
    assert dict(seen[0].url.params) == {"limit": "200", "service": "email"}
    assert "one  2026-01-05T09:00:00  email-send\n  items: expected a [UUID]\n" in shown
    assert "two" not in shown and "…" in shown and "there are more" in shown
    assert cli.call(["bus", "dead", "--all", "-o", "json"]) == 0
    assert [letter["id"] for letter in json.loads(capsys.readouterr().out)] == ["one", "two"]
    wanted = "0198b2f4-6c00-7000-8000-000000000001"
    assert cli.call(["bus", "dead", "--replay", wanted]) == 0
    assert capsys.readouterr().out == f"replayed {wanted}: email hears it again\n"
    assert seen[-1].url.path == f"/admin/api/dead-letters/{wanted}/replay"
