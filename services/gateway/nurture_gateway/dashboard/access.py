"""Who sees the dashboard: a browser with a session. Every form carries a token that only our own pages know."""

import secrets
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.response import Redirect

from nurture_gateway.config import Config
from nurture_gateway.problems import Problem
from nurture_gateway.sessions import Sessions, form_token, same

SIGN_IN = "/admin/sign-in"
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
FORM_KEY = "form_key"


class SignInNeeded(Exception):
    """Nobody is signed in."""


class Doorkeeper:
    """Knows a browser by its cookie. With PUBLIC_URL on https its cookies are for https only."""

    def __init__(self, config: Config, sessions: Sessions) -> None:
        self.sessions = sessions
        self._secure = urlsplit(config.public_url).scheme == "https"
        # A browser takes a __Host- cookie from this very host over https only.
        prefix = "__Host-" if self._secure else ""
        self._session, self._visit = f"{prefix}nurture_session", f"{prefix}nurture_visit"

    def _cookie(self, name: str, value: str, seconds: int | None) -> Cookie:
        return Cookie(name, value=value, path="/", httponly=True, samesite="lax", secure=self._secure, max_age=seconds)

    def let_in(self, response: Response[Any], token: str) -> None:
        """Give the browser its session."""
        response.cookies.append(self._cookie(self._session, token, 7 * 86400))
        response.cookies.append(self._cookie(self._visit, "", 0))

    def show_out(self, response: Response[Any]) -> None:
        """Take the session away from the browser."""
        response.cookies.append(self._cookie(self._session, "", 0))

    def token(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
        """The session's token as the browser gives it, or an empty text."""
        return connection.cookies.get(self._session, "")

    async def knows(self, connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
        """Whether somebody is signed in there."""
        token = self.token(connection)
        return bool(token) and await self.sessions.holds(token)

    def greet(self, request: Request[Any, Any, Any]) -> tuple[str, Cookie]:
        """Before anybody is signed in: a token for the sign-in form, and the cookie that it belongs to."""
        visit = request.cookies.get(self._visit) or secrets.token_urlsafe(18)
        return form_token(visit), self._cookie(self._visit, visit, 3600)

    async def expected(self, request: Request[Any, Any, Any]) -> None:
        """The sign-in form comes from our page. Raises Problem 403."""
        await _check(request, request.cookies.get(self._visit, ""))

    async def check(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Before every page: raises SignInNeeded, and Problem 403 for a form that is not ours."""
        if not await self.knows(connection):
            raise SignInNeeded
        token = self.token(connection)
        connection.scope["state"][FORM_TOKEN] = form_token(token)
        if isinstance(connection, Request) and connection.method == "POST":
            form = await _check(connection, token)
            if key := form.get("once"):
                connection.scope["state"][FORM_KEY] = str(key)


async def _check(request: Request[Any, Any, Any], cookie: str) -> Any:
    form = await request.form()
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if elsewhere or not cookie or not same(str(form.get(FORM_TOKEN, "")), form_token(cookie)):
        raise Problem("foreign_form", "This form is not from a page of this dashboard, or that page is too old.")
    return form


def door_for(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Where a browser without a session is led: from a page to the sign-in form, and from there back."""
    accept = request.headers.get("accept", "*/*")
    if request.method != "GET" or not ("text/html" in accept or "*/*" in accept):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return Redirect(f"{SIGN_IN}?next={quote(request.url.path + query, safe='')}", status_code=303)


def within(path: str | None) -> str:
    """Where to go after signing in: a page of the dashboard and nowhere else."""
    home = "/admin/dashboard"
    if path and (path == home or path.startswith((home + "/", home + "?"))) and path.isprintable() and "\\" not in path:
        return path
    return home
