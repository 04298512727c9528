"""pause, resume: a sequence or everything, and a restored database that is confirmed."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from nurture_local.terminal import Where, console, usage

_PATIENCE = 15.0
Type = Annotated[str | None, Parameter(name="TYPE")]


def pause(type_: Type = None, /, *, data_dir: Where = None) -> int:
    """Hold TYPE, or everything. Within a second no message is claimed any more; triggers are taken and wait.

    What is under way at a provider may still arrive, and test mails go out all the same. Nobody is lost.
    """
    held = act("pause", data_dir, {"sequence_type": type_} if type_ else {})
    console.print(f"paused {_named(held)}: running enrolments that wait: {held['enrolments']}", markup=False)
    return 0


def resume(
    type_: Type = None,
    /,
    *,
    confirm_restored: Annotated[bool, Parameter(name="--confirm-restored", negative=())] = False,
    data_dir: Where = None,
) -> int:
    """Let TYPE, or everything, go on. What came due meanwhile goes out at the usual pace, or expires when it is too late.

    A database that was copied or restored is held by itself; without --confirm-restored this says what was seen.

    Parameters
    ----------
    confirm_restored
        This database is the one to go on with, and no other copy of it sends.
    """
    if type_ and confirm_restored:
        usage("--confirm-restored is about the whole database: leave TYPE out")
    body: dict[str, Any] = {"sequence_type": type_} if type_ else {}
    held = act("resume", data_dir, body | ({"confirm_restored": True} if confirm_restored else {}))
    show_resumed(held)
    return 0


def show_resumed(held: dict[str, Any]) -> None:
    """Who goes on, and what still does not."""
    console.print(f"resumed {_named(held)}: enrolments that go on: {held['enrolments']}", markup=False)
    for hold in held.get("holds", []):
        console.print(f"still held: {hold_line(hold)}", markup=False)


def act(
    verb: str, data_dir: Path | None, body: dict[str, Any] | None = None, type_: str | None = None
) -> dict[str, Any]:
    """Pause or resume over REST and wait for the controller's answer. Raises Failure."""
    from nurture_local.gateway import Gateway

    path = f"/admin/api/sequences/{quote(type_, safe='')}/{verb}" if type_ else f"/admin/api/nurture/{verb}"
    with Gateway.at(data_dir) as gateway:
        return gateway.result(gateway.post(path, body), _PATIENCE)


def hold_line(hold: dict[str, Any]) -> str:
    """One hold in words."""
    what = "everything" if hold["sequence_type"] == "*" else hold["sequence_type"]
    why = hold["reason"] if not hold.get("detail") else f"{hold['reason']}: {hold['detail']}"
    return f"{what} since {str(hold['at'])[:19]} ({why})"


def _named(held: dict[str, Any]) -> str:
    return "everything" if held["type"] == "*" else str(held["type"])
