"""cancel: end running enrolments, with the messages of theirs that wait."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from nurture_local.terminal import Where, console, usage

_PATIENCE = 60.0


def cancel(
    *words: Annotated[str, Parameter(name="PERSON TYPE")],
    command: Annotated[UUID | None, Parameter(help="All that the trigger with this command id started.")] = None,
    waiting: Annotated[bool, Parameter(negative=())] = False,
    data_dir: Where = None,
) -> int:
    """End sequences in motion: `cancel PERSON TYPE`, `cancel --command ID`, or `cancel --waiting`.

    Messages that have not left are not sent. Who was cancelled can be triggered again.

    Parameters
    ----------
    words
        PERSON is an id or external_id; TYPE is a sequence, like onboarding.
    waiting
        Everybody for whom a message waits or a step is due now: in a restored database, what may have been sent before.
    """
    if (len(words) == 2) + (command is not None) + waiting != 1 or len(words) not in (0, 2):
        usage("cancel takes PERSON TYPE, or --command ID, or --waiting")
    body: dict[str, Any] = {"waiting": True} if waiting else {}
    if words:
        body = {"user_id": words[0], "sequence_type": words[1]}
    elif command is not None:
        body = {"command_id": str(command)}
    ended = _cancelled(data_dir, body)
    console.print(f"cancelled: {ended}" if ended else "cancelled: 0, there was nothing in motion")
    return 0


def _cancelled(data_dir: Path | None, body: dict[str, Any]) -> int:
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        return gateway.result(gateway.post("/admin/api/nurture/cancel", body), _PATIENCE)["cancelled"]
