"""Overview: how the system is, what it did in the last day, and what needs somebody."""

from typing import Any, get_args

from litestar import Request, Response, get

from nurture_gateway import numbers
from nurture_gateway.api import commands
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.dead_letters import Service
from nurture_gateway.api.deliveries import Status
from nurture_gateway.dashboard.live import Region
from nurture_gateway.dashboard.shown import page
from nurture_gateway.html import rendered
from nurture_gateway.room import Room

SERVICES = get_args(Service)
STATUSES = get_args(Status)


async def services(room: Room) -> list[dict[str, Any]]:
    """Each service with its state in a word, why, and its processes."""
    rows = await room.database.fetch("service_presence")
    return [_service(name, [row for row in rows if row["room"] == name]) for name in SERVICES]


def _service(name: str, rows: list[Any]) -> dict[str, Any]:
    there = [row for row in rows if not row["silent"]]
    problems = sorted({problem for row in there for problem in row["problems"]})
    held = sorted({reason for row in there for reason in row["held"]})
    state = "away" if not there else "troubled" if problems else "held" if held else "ready"
    return {
        "name": name,
        "state": state,
        "because": problems or held,
        "processes": len(there),
        "silent": len(rows) - len(there),
        "seen_at": max((row["seen_at"] for row in rows), default=None),
        "started_at": min((row["started_at"] for row in there), default=None),
    }


async def _numbers(room: Room) -> dict[str, Any]:
    return {
        "services": await services(room),
        "metrics": await numbers.metrics(room.database, room.clock.now()),
        "statuses": STATUSES,
        "failures": await room.database.fetch("recent_failures", 6),
        "commands": (await commands.listed(room.database, limit=5))["items"],
        "troubles": await room.database.fetch("channel_troubles"),
        # Services say when they were seen by the real clock; the rest is business time.
        "real": room.clock.real(),
    }


def regions(room: Room) -> list[Region]:
    """What moves on this page."""

    async def render() -> str:
        return rendered("dashboard/overview_now.html", now=room.clock.now(), **await _numbers(room))

    return [Region("overview", (), render, every=4.0)]


@get(include_in_schema=False)
async def show_overview(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """The page."""
    return await page(
        request, room, "overview", "overview.html", types=await type_choices(room), user="", **await _numbers(room)
    )


async def type_choices(room: Room) -> list[tuple[str, str]]:
    """The published types, for a field to choose from."""
    return [(row["type"], row["type"].replace("_", " ")) for row in await room.database.fetch("list_sequences")]
