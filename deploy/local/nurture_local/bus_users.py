"""The bus users, one for each service, and what each may say and hear, from the contracts' table. Pure, but for `main`.

`python -m nurture_local.bus_users FILE` writes the block for NATS' configuration; passwords stay in the environment.
"""

import sys
from pathlib import Path

from msgspec import Struct
from nurture_contracts.topology import MESSAGES, OVERHEARD, ROOMS, STREAMS, heard_by, said_by

OPERATOR = "operator"
"""For people and the `nats` and `nurture` commands: everything."""
USERS = (*ROOMS, OPERATOR)
_OWNER = "controller"
"""Makes and mends streams and consumers."""
_GUARDED = ("controller", "email", "telegram")
"""Rooms that ask a stream for the last that was said, to see whether the database still knows it."""
_HEAD = """\
# Users of the bus: generated from the contracts by `make docs`. Passwords come from the server's environment.
"""


class Permissions(Struct, frozen=True):
    """Subjects that a user may publish and subscribe to, wildcards as NATS has them; nothing else."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def password_variable(user: str) -> str:
    """The environment variable in which the server finds a user's password."""
    return f"NATS_{user.upper()}_PASSWORD"


def permissions(room: str) -> Permissions:
    """What a service does on the bus: say its messages, pull and ack by its own consumers, hear answers in its own inbox."""
    publish = [message.subject for message in MESSAGES if room in said_by(message)]
    for consumer in heard_by(room):
        place = f"{consumer.stream}.{consumer.durable}"
        publish += [f"$JS.API.CONSUMER.INFO.{place}", f"$JS.API.CONSUMER.MSG.NEXT.{place}", f"$JS.ACK.{place}.>"]
    for stream in STREAMS:
        if room in _GUARDED:
            publish.append(f"$JS.API.STREAM.MSG.GET.{stream.name}")
        if room == _OWNER:
            publish += [f"$JS.API.STREAM.{verb}.{stream.name}" for verb in ("INFO", "CREATE", "UPDATE")]
            publish.append(f"$JS.API.CONSUMER.LIST.{stream.name}")
            publish += [f"$JS.API.CONSUMER.{verb}.{stream.name}.*" for verb in ("INFO", "DURABLE.CREATE", "DELETE")]
    overheard = [message.subject for message in OVERHEARD.get(room, ())]
    return Permissions(tuple(sorted(publish)), (f"_INBOX.{room}.>", *overheard))


def configuration() -> str:
    """The `authorization` block of a NATS server."""
    users = [_user(room) for room in ROOMS]
    users.append(f"    {{ user: {OPERATOR}, password: ${password_variable(OPERATOR)} }}")
    return _HEAD + "authorization {\n  users = [\n" + "\n".join(users) + "\n  ]\n}\n"


def _user(room: str) -> str:
    allowed = permissions(room)

    def listed(subjects: tuple[str, ...]) -> str:
        return "".join(f'\n          "{subject}"' for subject in subjects)

    return (
        f"    {{ user: {room}, password: ${password_variable(room)}, permissions: {{\n"
        f"        publish: [{listed(allowed.publish)}\n        ]\n"
        f"        subscribe: [{listed(allowed.subscribe)}\n        ]\n"
        "    } }"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(configuration(), encoding="utf-8")
