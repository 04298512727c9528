"""bus tail: what is said on the bus, as it is said."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nurture_local.terminal import UNREACHABLE, Failure, Where, console, write

bus = App(name="bus", help="Look at the bus.")


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

    try:
        connection = await nats.connect(address, allow_reconnect=False, connect_timeout=3, error_cb=_quiet)
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
