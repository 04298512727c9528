"""bus tail, ls, lag, dead: what is said on the bus, what it holds, who is behind, what nobody could read."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter

from nurture_local.terminal import FAILED, UNREACHABLE, Failure, Where, console, show_table, write

bus = App(name="bus", help="Look at the bus.")
Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]
_PAGE = 200


@bus.command
def tail(
    subject: str = "nurture.>",
    *,
    count: Annotated[int | None, Parameter(help="End after so many messages.")] = None,
    timeout: Annotated[float | None, Parameter(help="End after so many seconds.")] = None,
    data_dir: Where = None,
) -> int:
    """Print every message on SUBJECT as JSON: subject, id, time, headers, body. Only what is said from now on."""
    return asyncio.run(_tail(_address(data_dir), subject, count, timeout))


@bus.command(alias="list")
def ls(*, output: Output = "table", data_dir: Where = None) -> int:
    """List streams and consumers: what they hold, and what is not finished."""
    state = _look(data_dir)
    if output == "json":
        _as_json(
            {
                "streams": [
                    {
                        "stream": one.config.name,
                        "subjects": one.config.subjects,
                        "messages": one.state.messages,
                        "bytes": one.state.bytes,
                        "last_sequence": one.state.last_seq,
                    }
                    for one in state.streams
                ],
                "consumers": [_row(one) for one in state.consumers],
            }
        )
        return 0
    table = _table("STREAM", "SUBJECTS", "MESSAGES", "BYTES", "CONSUMERS")
    for one in state.streams:
        held = one.state
        counts = (f"{held.messages:,}", f"{held.bytes:,}", str(held.consumer_count))
        table.add_row(one.config.name, " ".join(one.config.subjects), *counts)
    show_table(table)
    console.print()
    show_table(_consumers(state.consumers))
    return 0


@bus.command
def lag(
    *,
    over: Annotated[int, Parameter(help="Messages that a consumer may be behind.")] = 1_000,
    output: Output = "table",
    data_dir: Where = None,
) -> int:
    """List consumers with a backlog, longest first; exit code 1 when one has more than --over messages."""
    behind = sorted((one for one in _look(data_dir).consumers if one.backlog), key=lambda one: -one.backlog)
    if output == "json":
        _as_json([_row(one) for one in behind])
    elif behind:
        show_table(_consumers(behind))
    else:
        console.print("No consumer is behind.")
    return FAILED if any(one.backlog > over for one in behind) else 0


@bus.command
def dead(
    *,
    service: Annotated[str | None, Parameter(help="Only of this service, like email.")] = None,
    replay: Annotated[
        list[UUID] | None, Parameter(negative=(), help="Put the letter of this id on the bus again.")
    ] = None,
    all_: Annotated[bool, Parameter(name="--all", negative=(), help="Also those that were replayed.")] = False,
    output: Output = "table",
    data_dir: Where = None,
) -> int:
    """List dead letters, newest first: messages that no handler could read or obey. Or replay some."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        if replay:
            for letter in replay:
                answer = gateway.post(f"/admin/api/dead-letters/{letter}/replay")
                console.print(f"replayed {answer['id']}: {answer['room']} hears it again", markup=False)
            return 0
        found = gateway.get("/admin/api/dead-letters", limit=_PAGE, service=service)
    letters = [letter for letter in found["items"] if all_ or letter["replayed_at"] is None]
    if output == "json":
        _as_json(letters)
        return 0
    for letter in letters:
        state = f"  replayed {letter['replayed_at'][:19]}" if letter["replayed_at"] else ""
        console.print(f"{letter['id']}  {letter['at'][:19]}  {letter['durable']}{state}", markup=False)
        console.print(f"  {letter['reason']}", markup=False)
        console.print(f"  {letter['subject']}: {_short(letter['payload'])}", markup=False)
    if not letters:
        console.print("No dead letters wait." if not all_ else "There are no dead letters.")
    if found["next"]:
        console.print(f"These are the newest {_PAGE}; there are more.")
    return 0


def _look(data_dir: Path | None) -> Any:
    from nurture_local import bus_state

    try:
        return asyncio.run(bus_state.look(_address(data_dir)))
    except bus_state.BusSilent as error:
        raise Failure(str(error), code=UNREACHABLE) from None


def _row(one: Any) -> dict[str, Any]:
    return {
        "consumer": one.durable,
        "stream": one.stream,
        "subject": one.config.filter_subject,
        "pending": one.num_pending,
        "ack_pending": one.num_ack_pending,
        "redelivered": one.num_redelivered,
    }


def _consumers(consumers: list[Any]) -> Any:
    table = _table("CONSUMER", "SUBJECT", "PENDING", "ACK PENDING", "REDELIVERED")
    for one in consumers:
        row = _row(one)
        counts = (f"{row[name]:,}" for name in ("pending", "ack_pending", "redelivered"))
        table.add_row(row["consumer"], row["subject"], *counts)
    return table


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 2 else "right", no_wrap=True)
    return table


def _as_json(value: Any) -> None:
    write(json.dumps(value, indent=2, ensure_ascii=False))


def _short(text: str, letters: int = 200) -> str:
    return text if len(text) <= letters else f"{text[:letters]}…"


def _address(data_dir: Path | None) -> str:
    from nurture_local.instance import DataDir, DataDirRefused

    given = os.environ.get("NATS_URL")
    if data_dir is None and given:
        return given
    data = DataDir(data_dir)
    try:
        state = data.running()
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    if state is None:
        raise Failure(f"no instance runs in {data.path}", "name one by --data-dir, or set NATS_URL", code=UNREACHABLE)
    return state.nats


def readable(subject: str, headers: dict[str, str], data: bytes, at: datetime) -> dict[str, Any]:
    """A message as it is printed; a body that is not JSON is shown as text."""
    try:
        body = json.loads(data)
    except ValueError:
        body = data.decode(errors="replace")
    return {
        "subject": subject,
        "id": headers.get("Nats-Msg-Id"),
        "time": at.isoformat(timespec="milliseconds"),
        "headers": headers,
        "body": body,
    }


async def _tail(address: str, subject: str, count: int | None, timeout: float | None) -> int:
    import nats
    from nats.errors import Error

    from nurture_local.addresses import bus_servers

    try:
        connection = await nats.connect(bus_servers(address), allow_reconnect=False, connect_timeout=3, error_cb=_quiet)
    except (OSError, Error, TimeoutError):
        raise Failure("the bus does not answer", code=UNREACHABLE) from None
    left = count
    try:
        subscription = await connection.subscribe(subject)
        await connection.flush()
        # On stderr, so that what is piped on is JSON only.
        sys.stderr.write(f"listening on {subject}\n")
        sys.stderr.flush()
        async with asyncio.timeout(timeout):
            while left is None or left > 0:
                message = await subscription.next_msg(timeout=None)
                shown = readable(message.subject, dict(message.headers or {}), message.data, datetime.now(UTC))
                text = json.dumps(shown, indent=2, ensure_ascii=False)
                console.print_json(text, ensure_ascii=False) if console.is_terminal else write(text)
                left = None if left is None else left - 1
    except (TimeoutError, asyncio.CancelledError):
        return 0
    except Error:
        raise Failure("the bus went away", code=UNREACHABLE) from None
    finally:
        await connection.close()
    return 0


async def _quiet(_: Exception) -> None:
    """nats-py would log what the command reports itself."""
