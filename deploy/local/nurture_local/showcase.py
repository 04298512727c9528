"""What `up --demo` brings to life: made-up people, three sequences, and what these people do elsewhere.

What they do with their messages is in their addresses and chats (`audience`), and the sandbox does it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.resources import files

import asyncpg

from nurture_local import audience
from nurture_local.gateway import Gateway
from nurture_local.terminal import Failure

SPEED = 3600.0
"""Business seconds per real second: an hour a second, a day in 24."""
PEOPLE, SEED = 200, 79
"""An audience in which everything happens: seven whose mail bounces and who have a chat, some who answer on every channel."""
LETTER = "letters"
_STEPS = 100
"""As many as a sequence may have: after three quarters of a year somebody who comes late still sees it move."""
_RHYTHM = ("2d", "2d", "3d")
_LATER = """
[[steps]]
name = "letter_{number}"
delay = "{delay}"
channel = "auto"
fallback = "auto"
subject = "Letter {number}: what is left out today?"
body = '''
Hi {{{{ user_name }}}},

another day, and another thing that nobody would miss. Which one is it?

[Choose the one thing]({{{{ dashboard_url }}}})
'''
"""
PROMISES = (
    "walk to work",
    "read ten pages before the news",
    "call my sister on Sunday",
    "write for ten minutes after the first coffee",
)
_DIARY = (("attended", 3), ("commitment_made", 4), ("commitment_kept", 8), ("missed", 7))
"""What every how many-th person has done in the last days."""
_STRANGERS = "select count(*) from gateway.users where external_id is null or not starts_with(external_id, $1)"


def refuse(url: str) -> None:
    """Raises Failure where a database holds people that are not of the demo: it would write to them."""
    try:
        people = asyncio.run(_strangers(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Driver messages may quote the address, and with it the password.
        raise Failure(
            f"cannot see whose people are here: the database does not answer ({type(error).__name__})"
        ) from None
    if people:
        raise Failure(
            f"{people:,} people of yours are here, and the demo would write to them and turn their clock: nothing was done",
            "give it a place of its own: nurture up --demo --data-dir .nurture-demo",
        )


async def _strangers(url: str) -> int:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        if not await connection.fetchval("select to_regclass('gateway.users') is not null"):
            return 0
        return await connection.fetchval(_STRANGERS, f"sample-{SEED}-")
    finally:
        await connection.close(timeout=10)


def furnish(gateway: Gateway, tell: Callable[[str], None]) -> None:
    """Bring everything that is not there yet; `tell` gets a line for each. Raises Failure."""
    crowd = list(audience.people(PEOPLE, SEED))
    made = gateway.post_text("/admin/api/users/import", audience.as_csv(iter(crowd)), "text/csv")
    tell(f"people: {made['created']} made up, {made['updated'] + made['unchanged']} there already")
    if not any(one["type"] == LETTER for one in gateway.get("/admin/api/sequences")):
        answer = gateway.post_text("/admin/api/sequences", letters(), "application/toml")
        if "status_url" in answer and gateway.settled(answer["status_url"], 15) is None:
            raise Failure("the controller does not answer", f"see {answer['status_url']}")
    told = gateway.get("/admin/api/nurture/analytics", days=366)
    begun = {one["sequence_type"] for one in told["by_sequence"]}
    names = [one.external_id for one in crowd]
    for sequence, who in (("onboarding", None), ("commitment_follow_up", names[::2]), (LETTER, names)):
        if sequence in begun:
            tell(f"{sequence}: begun before")
            continue
        _start(gateway, sequence, who)
        tell(f"{sequence}: begins for {'everybody' if who is None else len(who)}")
    counted = _live(gateway, names, datetime.fromisoformat(told["until"]))
    tell(f"events: {counted} of attendance and commitments")


def letters() -> str:
    """The demo's own sequence: what the file says, and then letters for as long as one may go on."""
    begin = files("nurture_local").joinpath("showcase.toml").read_text(encoding="utf-8")
    written = begin.count("[[steps]]")
    return begin + "".join(
        _LATER.format(number=number, delay=_RHYTHM[number % len(_RHYTHM)]) for number in range(written + 1, _STEPS + 1)
    )


def _start(gateway: Gateway, sequence: str, who: list[str] | None) -> None:
    if sequence != "commitment_follow_up":
        whom = {"segment": "all"} if who is None else {"user_ids": who}
        gateway.post("/admin/api/nurture/trigger", {"sequence_type": sequence, **whom})
        return
    assert who is not None
    for place, promise in enumerate(PROMISES):
        body = {"sequence_type": sequence, "user_ids": who[place :: len(PROMISES)], "context": {"commitment": promise}}
        gateway.post("/admin/api/nurture/trigger", body)


def _live(gateway: Gateway, names: list[str], now: datetime) -> int:
    """Say what people did in the last days; an event that is known already counts no second time."""
    events = [
        {"user": name, "event": event, "event_id": f"demo-{event}-{name}", "at": (now - timedelta(hours=place % 96)).isoformat()}
        for event, every in _DIARY
        for place, name in enumerate(names)
        if place % every == 0
    ]  # fmt: skip
    answer = gateway.post("/admin/api/events", {"events": events})
    return sum(one["status"] == "accepted" for one in answer["results"])


def pace(speed: float, nurture: str, where: str) -> str:
    """What comes next, and when. `where` names the instance to commands."""
    if speed == 1:
        faster = f"{nurture} down{where}, then {nurture} up --demo{where}"
        return f"Time runs as usual here, so later steps come in days; faster: {faster}"
    lasts = _STEPS * 7 / len(_RHYTHM) * 86_400 / speed / 60
    return (
        f"{speed / 60:g} minutes pass in a second, and later steps come while you look, for about {lasts:.0f} minutes: "
        f"{nurture} open{where}"
    )
