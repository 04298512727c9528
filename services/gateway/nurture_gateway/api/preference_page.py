"""A person's own page: what they get, where and when. The link in a message opens it; its token names the message."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import UNSET

from nurture_gateway.api.access import TheRoom
from nurture_gateway.html import html
from nurture_gateway.people import PREFERRED_TIMES
from nurture_gateway.preferences import (
    ChannelChange,
    Preferences,
    PreferencesChange,
    change_preferences,
    preferences,
)
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room

CHANNELS = ("email", "telegram")


@get("/p/{token:str}", include_in_schema=False)
async def show_page(room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """The form as it stands. Looking changes nothing."""
    user_id = await _whose(room, token)
    return _unknown() if user_id is None else _page(await preferences(room.database, user_id))


@post("/p/{token:str}", status_code=200, include_in_schema=False)
async def save_page(request: Request[Any, Any, Any], room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """What the person chose: stored before this answers."""
    user_id = await _whose(room, token)
    if user_id is None:
        return _unknown()
    form = await request.form()
    before = await preferences(room.database, user_id)
    try:
        async with room.outbox.transaction() as tx:
            after = await change_preferences(tx, user_id, _chosen(form, before), room.clock.now())
    except Problem as problem:
        return _page(before, status=problem.status, wrong=problem.detail)
    return _page(after, saved=True)


async def _whose(room: Room, token: str) -> UUID | None:
    delivery_id = room.tokens.read_preferences(token)
    return None if delivery_id is None else await room.database.fetchval("delivery_person", delivery_id)


def _chosen(form: Any, before: Preferences) -> PreferencesChange:
    """The form as a change. What is wanted on a channel is the person's own word, so it ends a refusal there."""
    channels: dict[str, Any] = {}
    for channel in CHANNELS:
        known = getattr(before, channel)
        if known is None or known.address is None:
            continue
        sequences, announcements = (f"{channel}_{kind}" in form for kind in ("sequences", "announcements"))
        back = (sequences or announcements) and known.consent == "refused"
        channels[channel] = ChannelChange(
            opt_in_sequences=sequences, opt_in_announcements=announcements, consent="granted" if back else UNSET
        )
    channel = str(form.get("preferred_channel", ""))
    return PreferencesChange(
        preferred_channel=channel if channel in CHANNELS else None,
        preferred_time=str(form.get("preferred_time", "")) or UNSET,
        timezone=str(form.get("timezone", "")) or UNSET,
        **channels,
    )


def _page(shown: Preferences, *, status: int = 200, saved: bool = False, wrong: str = "") -> Response[bytes]:
    reached = [
        (name, one) for name in CHANNELS if (one := getattr(shown, name)) is not None and one.address is not None
    ]
    own = () if shown.preferred_time in PREFERRED_TIMES else (shown.preferred_time,)
    times = (*PREFERRED_TIMES, *own)
    return html("preferences.html", status, shown=shown, channels=reached, times=times, saved=saved, wrong=wrong)


def _unknown() -> Response[bytes]:
    return html("preferences.html", 404, shown=None)
