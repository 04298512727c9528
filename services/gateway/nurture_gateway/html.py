"""Pages: Jinja2 templates, autoescaped; style and script are files of our own, and nothing is loaded from elsewhere."""

import re
from datetime import datetime, timedelta
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup, escape

ASSETS = {
    "nurture.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
}
STATIC = {name: files("nurture_gateway").joinpath("static", name).read_bytes() for name in ASSETS}
SCRIPTED = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""The policy of pages with a script: our own file, and nothing inline."""

_pages = Environment(
    loader=PackageLoader("nurture_gateway"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
HTML = "text/html; charset=utf-8"
_CODE = re.compile(r"`([^`]+)`")
_UNITS = (("year", 31_557_600), ("month", 2_629_800), ("week", 604_800), ("day", 86_400), ("h", 3_600), ("min", 60))


def _coded(text: str) -> Markup:
    """Plain text whose `words in backticks` are shown as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before


def relative(at: datetime, now: datetime) -> str:
    """A moment as people say it: `5 min ago`, `in 3 days`. Minutes are the finest, so that what stands still says the same."""
    distance: timedelta = at - now
    seconds = abs(distance.total_seconds())
    for unit, size in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            words = f"{count} {unit}" + ("s" if count > 1 and unit not in ("h", "min") else "")
            return f"in {words}" if distance > timedelta() else f"{words} ago"
    return "now"


def _when(at: datetime | str | None, now: datetime, still: bool = False) -> Markup:
    """A time as an element: relative to read, exact in its title. `still`: the page's clock is not this one's."""
    if at is None:
        return Markup("–")
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        moment.isoformat(timespec="seconds"),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        Markup(" data-still") if still else "",
        relative(moment, now),
    )


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "\u2009")


def _share(part: float, whole: float) -> str:
    """A percentage, or a dash where there is nothing to divide by."""
    return f"{100 * part / whole:.1f}\u202f%" if whole else "–"


def _contact_state(contact: dict[str, Any] | None) -> Markup:
    """Why an address is not used, if it is not."""
    if contact is None or (contact["state"] == "ok" and contact["consent"] == "granted"):
        return Markup("")
    word = "refused" if contact["consent"] == "refused" else contact["state"]
    return Markup('<span class="badge {}" title="{}">{}</span>').format(
        "held" if word == "refused" else word, contact["reason"] or "", word
    )


def _because(factors: dict[str, Any]) -> str:
    """What a score is made from, in words."""
    if factors.get("blocked"):
        return "blocked: refused, or the address is dead"
    kind = "events" if "events" in factors else "messages"
    count, mean = int(factors.get(kind, 0)), f"everybody's rate is {float(factors['mean']):.0%}"
    if not count:
        return f"no {kind} yet; {mean}"
    name = kind if count != 1 else kind[:-1]
    return f"{count} {name}, older ones counting less: {factors['r']:.2f} of {factors['n']:.2f} answered; {mean}"


def _worth(answer: dict[str, Any]) -> str:
    """What an answer counts. Nothing but the speed or the kind of a machine makes an open or a click worthless."""
    if answer["kind"] in ("opened", "clicked") and not answer["credit"]:
        return "taken for a machine's, worth nothing"
    return f"worth {answer['credit']:g}"


def _asset(name: str) -> str:
    return f"/static/{name}?v={sha256(STATIC[name]).hexdigest()[:12]}"


_pages.filters.update(coded=_coded, when=_when, number=_number)
_pages.globals.update(asset=_asset, share=_share, contact_state=_contact_state, because=_because, worth=_worth)

PAGES = ("/admin/dashboard", "/admin/sign-in")
RETRY_SECONDS = 3


def for_people(path: str, accept: str) -> bool:
    """Whether somebody looks at a page of the dashboard, and is told what is wrong by a page and not by JSON."""
    return path.startswith(PAGES) and "text/html" in accept


def unavailable(problem: dict[str, Any], method: str) -> str:
    """A page that says what is away, and asks again by itself: but never sends a form again."""
    return rendered("unavailable.html", problem=problem, again=method in ("GET", "HEAD"), seconds=RETRY_SECONDS)


def rendered(template: str, **values: Any) -> str:
    """A template's text."""
    return _pages.get_template(template).render(**values)


def html(template: str, status: int = 200, policy: str | None = None, **values: Any) -> Response[bytes]:
    """A rendered page. `policy` is its Content-Security-Policy where it is not the usual one."""
    headers = {"Cache-Control": "no-store"} | ({"Content-Security-Policy": policy} if policy else {})
    body = rendered(template, **values).encode()
    return Response(body, status_code=status, media_type=HTML, headers=headers)
