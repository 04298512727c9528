"""One-time links to the dashboard, for whoever holds the key."""

from datetime import datetime
from typing import Any

from litestar import Response, post
from msgspec import Struct

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems


class SignInLink(Struct):
    """Opens the dashboard signed in, once."""

    url: str
    expires_at: datetime


_EXAMPLE = {"url": "https://nurture.example.org/admin/sign-in/8Jx…", "expires_at": "2026-01-05T09:05:00Z"}


@post(
    "/sign-in-links",
    tags=["Dashboard"],
    summary="Make a one-time link to the dashboard",
    description="Whoever opens it first, within five minutes, is signed in. `nurture open` does this.",
    status_code=201,
    responses={201: made(SignInLink, "The link", _EXAMPLE), **problems()},
)
async def make_sign_in_link(room: TheRoom) -> Response[Any]:
    """A link that signs in once."""
    token, expires_at = await room.sessions.make_link()
    url = f"{room.config.public_url.rstrip('/')}/admin/sign-in/{token}"
    return Response(SignInLink(url, expires_at), status_code=201)
