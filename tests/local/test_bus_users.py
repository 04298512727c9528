"""Each service's user of the bus, on a real server: what is its own it may do, and everything else is refused."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest
from nats.aio.client import Client
from nurture_chassis import topology
from nurture_chassis.service import Service
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import REPLAY, SendEmails
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import BY_DURABLE, CONSUMERS, MESSAGES, ROOMS, STREAMS, Stream
from nurture_local import bus_users, servers
from nurture_local.nats import spec
from nurture_local.ports import free_port

from tests.servers import Cluster, role_url

ROOT = Path(__file__).resolve().parents[2]
USERS_FILE = ROOT / "deploy/nats/users.conf"
API = (
    *(f"$JS.API.STREAM.{verb}.{stream.name}" for stream in STREAMS
      for verb in ("INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN")),
    *(f"$JS.API.CONSUMER.{verb}.{one.stream}.{one.durable}" for one in CONSUMERS
      for verb in ("INFO", "DURABLE.CREATE", "CREATE", "DELETE", "MSG.NEXT", "PAUSE")),
    *(f"$JS.ACK.{one.stream}.{one.durable}.1.1.1.1.0" for one in CONSUMERS),
    *(f"$JS.API.CONSUMER.LIST.{stream.name}" for stream in STREAMS),
    "$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.OWN", "$SYS.REQ.USER.INFO",
)  # fmt: skip
TOPOLOGY = re.compile(
    r"\$JS\.API\.(STREAM\.(INFO|CREATE|UPDATE)\.(COMMANDS|EVENTS)|CONSUMER\.LIST\.(COMMANDS|EVENTS)"
    r"|CONSUMER\.(INFO|DURABLE\.CREATE|DELETE)\.(COMMANDS|EVENTS)\.[\w-]+)"
)


def says() -> dict[str, set[str]]:
    """What each room says, as its card has it: not from the table that permissions are made from."""
    found = {}
    for room in ROOMS:
        card = (ROOT / f"services/{room}/nurture_{room}/__init__.py").read_text()
        words = re.search(r"^says(.*?)^owns", card, re.MULTILINE | re.DOTALL)
        assert words, room
        names = re.sub(r"\bReplayDeadLetters\b", " ".join(one.__name__ for one in REPLAY.values()), words[1])
        found[room] = {message.subject for message in MESSAGES if re.search(rf"\b{message.__name__}\b", names)}
    return found


def may_ask(room: str, subject: str) -> bool:
    """Whether a question to JetStream is this room's to ask."""
    durable = re.fullmatch(r"\$JS\.(?:API\.CONSUMER\.(?:INFO|MSG\.NEXT)|ACK)\.\w+\.([\w-]+)(\.[\d.]+)?", subject)
    if durable and durable[1] in BY_DURABLE and durable[1].split("-")[0] == room:
        return True
    if re.fullmatch(r"\$JS\.API\.STREAM\.MSG\.GET\.\w+", subject):
        return room in ("controller", "email", "telegram")
    return room == "controller" and bool(TOPOLOGY.fullmatch(subject))


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A server with the users of `deploy/nats`; gives the address for a user."""
    folder = tmp_path_factory.mktemp("bus")
    port = free_port()
    child = spec(folder, port, free_port({port}))
    (folder / "users.conf").write_text(USERS_FILE.read_text())
    with (folder / "nats.conf").open("a") as settings:
        settings.write("include users.conf\n")
    child.env.update({bus_users.password_variable(user): f"bus-{user}" for user in bus_users.USERS})
    with servers.running(child, folder / "nats.log"):
        yield lambda user: f"nats://{user}:bus-{user}@127.0.0.1:{port}"


def test_the_users_file_is_what_the_contracts_say() -> None:
    assert USERS_FILE.read_text() == bus_users.configuration(), "run `make docs`"


async def _said(connection: Client) -> None:
    """All that was written has been taken by the server: nats-py's ping overtakes what waits in its buffer, once."""
    await connection.flush()
    await connection.flush()


async def _violations(address: str, room: str, act: Callable[[Client], Awaitable[None]]) -> set[str]:
    """The subjects, in lower case as nats-py tells them, for which the server refused what `act` did."""
    told: list[str] = []

    async def heard(error: Exception) -> None:
        told.append(str(error))

    connection = await nats.connect(address, inbox_prefix=f"_INBOX.{room}", error_cb=heard, allow_reconnect=False)
    try:
        await act(connection)
        await _said(connection)  # the server answers in order, so all refusals are here
    finally:
        await connection.close()
    return {match[1] for line in told if (match := re.search(r'to \\?"([^"\\]+)', line))}


@pytest.mark.parametrize("room", ROOMS)
def test_a_service_says_and_asks_what_is_its_own_and_nothing_else(bus: Callable[[str], str], room: str) -> None:
    subjects = [
        *(message.subject for message in MESSAGES),
        *API,
        *(f"_INBOX.{other}.x" for other in ROOMS),
        "any.thing",
    ]
    own = says()[room] | {subject for subject in API if may_ask(room, subject)}

    async def scene() -> None:
        operator = await nats.connect(bus("operator"))
        passing = await operator.subscribe(">")
        await _said(operator)

        async def say(connection: Client) -> None:
            for subject in subjects:
                await connection.publish(subject, b"{}")

        refused = await _violations(bus(room), room, say)
        await operator.flush()
        arrived = {(await passing.next_msg()).subject for _ in range(passing.pending_msgs)}
        await operator.close()
        assert refused == {subject.lower() for subject in subjects if subject not in own}
        assert arrived & set(subjects) == own, "the server's word is not its deed"

    asyncio.run(scene())


@pytest.mark.parametrize("room", ROOMS)
def test_a_service_hears_its_own_inbox_only(bus: Callable[[str], str], room: str) -> None:
    overheard = {"nurture.evt.controller.command_settled"} if room == "gateway" else set()
    others = [f"_INBOX.{other}.>" for other in ROOMS if other != room]
    wanted = [*(message.subject for message in MESSAGES), *others, ">", "nurture.>", "_INBOX.>", "$JS.>", "$SYS.>"]

    async def listen(connection: Client) -> None:
        for subject in [*wanted, f"_INBOX.{room}.>"]:
            await connection.subscribe(subject)

    refused = asyncio.run(_violations(bus(room), room, listen))
    assert refused == {subject.lower() for subject in wanted if subject not in overheard}


def test_nobody_comes_in_without_a_password(bus: Callable[[str], str]) -> None:
    port = urlsplit(bus("email")).port

    async def answer(**credentials: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reader.readline()  # INFO
            told = json.dumps({"verbose": False, "pedantic": False, **credentials})
            writer.write(f"CONNECT {told}\r\nPING\r\n".encode())
            return await asyncio.wait_for(reader.readline(), 10)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    assert asyncio.run(answer(user="email", **{"pass": "bus-email"})) == b"PONG\r\n"
    for wrong in ({}, {"user": "email", "pass": "bus-gateway"}, {"user": "nobody", "pass": "bus-nobody"}):
        assert b"Authorization Violation" in asyncio.run(answer(**wrong))


def test_services_work_as_their_users(bus: Callable[[str], str], cluster: Cluster) -> None:
    """The controller makes the bus, the email room says, hears and acks: nothing of it is refused."""
    with cluster.migrated() as database:

        def service(room: str) -> Service:
            settings = ServiceSettings(
                database_url=Secret(role_url(database, f"nurture_{room}")),
                nats_url=bus(room),
                secret_key=Secret("x" * 40),
            )
            return Service(room, settings)

        async def scene() -> None:
            controller, email = service("controller"), service("email")
            heard: asyncio.Queue[SendEmails] = asyncio.Queue()
            email.bus.hear("email-send", heard.put)

            async def own_the_bus() -> None:
                await topology.ensure(controller.bus)
                (commands, _) = STREAMS
                assert isinstance(commands, Stream)
                found = await topology.find_stream(controller.bus, commands.name)
                assert found
                await topology.mend_stream(controller.bus, commands, 1, {**found.config, "max_age": 1})
                one = BY_DURABLE["scoring-replay"]
                await topology.drop_consumer(controller.bus, one)
                await topology.make_consumer(controller.bus, one)
                assert await topology.message_time(controller.bus, commands.name, 1_000) is None

            controller.before_hearing.append(own_the_bus)
            serving = [asyncio.create_task(one.serve()) for one in (controller, email)]
            try:
                page = SendEmails(page_id=uuid7(), items=[uuid7()])
                async with asyncio.timeout(30):
                    while await controller.why_not_ready() or await email.why_not_ready():  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                    async with controller.outbox.transaction() as tx:
                        tx.say(page)
                    assert (await heard.get()).page_id == page.page_id
                    # Acked, too: the consumer has nothing open.
                    while (await email.bus.jetstream.consumer_info("COMMANDS", "email-send")).num_ack_pending:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                    last = await email.bus.jetstream.get_last_msg("COMMANDS", SendEmails.subject)
                assert last.data
                _, _, document = await email._asyncapi()
                assert b"bus-email" not in document, "everybody may read the AsyncAPI document"
            finally:
                for one in (controller, email):
                    one.stop()
                await asyncio.gather(*serving)

        asyncio.run(scene())


def test_the_conf_files_are_taken_by_the_server(tmp_path: Path) -> None:
    from nurture_local.programs import nats_server

    environ = {bus_users.password_variable(user): "bus-x" for user in bus_users.USERS}
    done = subprocess.run(
        [str(nats_server()), "-t", "-c", str(ROOT / "deploy/nats/container.conf")],
        env=environ,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
