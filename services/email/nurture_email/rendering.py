"""Mails from frozen rows. Pure: the same message, settings and keys give the same bytes, in every process.

Layouts are MJML, compiled once per process, then Jinja2 in a sandbox. A layout version is never edited after a release:
a new look is a new version, so that a retry after an upgrade repeats the request that its idempotency key stands for.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parseaddr
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape
from mjml import mjml2html
from msgspec import Struct

from nurture_email.bodies import fill, fragments, tracked

LAYOUT_VERSION = 1
TEMPLATES = ("nurture_sequence", "welcome_email")
SENDER_ID = "nurture"
_PREHEADER_LENGTH = 110
# Keeps clients that show a longer preview from running on into the layout.
_PREHEADER_PADDING = Markup("&#8199;&#65279;&#847; ") * 30
_BREAKS = re.compile(r"[\r\n\x00\x85\u2028\u2029]")
_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


class Unrenderable(Exception):
    """This message can never become a mail; the text is a reason without personal data."""


class Outbound(Struct, frozen=True, kw_only=True):
    """One frozen message: what the controller wrote, or a test mail."""

    delivery_id: UUID
    address: str
    template: str
    subject: str
    body: str
    params: dict[str, Any]
    test: bool = False


class RenderSettings(Struct, frozen=True, kw_only=True):
    """What a mail depends on beside its message, and whom it is given to; frozen with the claim."""

    sender: str
    public_url: str
    postal_address: str = ""
    layout: int = LAYOUT_VERSION
    provider: str = "resend"


class Tag(Struct, frozen=True):
    """A label that comes back with the provider's webhooks: letters, digits, `_` and `-` only."""

    name: str
    value: str


class Mail(Struct, frozen=True, kw_only=True):
    """A finished mail for one recipient."""

    delivery_id: UUID
    sender: str
    to: str
    subject: str
    html: str
    text: str
    headers: dict[str, str]
    tags: list[Tag]
    links: dict[str, str]
    """Link id to URL, for every tracked link in it."""


class LinkTokens(Protocol):
    """Signs link tokens."""

    def open_token(self, delivery_id: UUID, *, test: bool = False) -> str: ...
    def click_token(self, delivery_id: UUID, link: str, *, test: bool = False) -> str: ...

    def chat_token(self, user_id: UUID, made_at: int) -> str: ...
    def unsubscribe_token(self, delivery_id: UUID, *, test: bool = False) -> str: ...
    def verify_token(self, mail_id: UUID) -> str: ...


class Renderer:
    """Renders mails; `link_id` names a URL by its content (16 hex digits)."""

    def __init__(self, tokens: LinkTokens, link_id: Callable[[str], str]) -> None:
        self._tokens = tokens
        self._link_id = lru_cache(maxsize=8192)(link_id)

    def _invitation(self, url: str, params: Mapping[str, Any]) -> str:
        made_at = int(datetime.fromisoformat(str(params["invited"])).timestamp())
        return url.rpartition("=")[0] + "=" + self._tokens.chat_token(UUID(str(params["user_id"])), made_at)

    def render(self, message: Outbound, settings: RenderSettings) -> Mail:
        """Raises Unrenderable for an unknown template, or a line break where a header would be split by it."""
        layout = load_layout(message.template, settings.layout)
        params = message.params
        base = settings.public_url.rstrip("/")
        delivery, test = message.delivery_id, message.test
        links: dict[str, str] = {}
        hrefs: dict[str, str] = {}
        invitation = params.get("telegram_url")

        def track(url: str) -> str:
            # A link stands in both parts; its token is signed once.
            href = hrefs.get(url)
            if href is None and url == invitation:
                # Personal, and for one use: made from what is frozen, stored nowhere, and not for us to count.
                href = hrefs[url] = self._invitation(url, params)
            if href is None and url == params.get("verify_url"):
                href = hrefs[url] = url + self._tokens.verify_token(delivery)
            if href is None:
                link = self._link_id(url)
                links[link] = url
                href = hrefs[url] = f"{base}/t/c/{self._tokens.click_token(delivery, link, test=test)}"
            return href

        body = fragments(message.body, settings.layout)
        text = "\n\n".join([fill(part.text, track) for part in body])
        html = "".join([fill(part.html, track) for part in body])
        dashboard = str(params.get("dashboard_url") or "")
        unsubscribe = f"{base}/u/{self._tokens.unsubscribe_token(delivery, test=test)}"
        brand = brand_of(settings.sender)
        page = layout.render(
            subject=message.subject,
            preheader=escape(_preheader([part.text for part in body])) + _PREHEADER_PADDING,
            brand=brand,
            user_name=params.get("user_name") or "",
            message_content=Markup(html),  # noqa: S704 - made by our own Markdown renderer, raw HTML off
            dashboard_url=track(dashboard) if tracked(dashboard) else "",
            unsubscribe_url=unsubscribe,
            tracking_url=f"{base}/t/o/{self._tokens.open_token(delivery, test=test)}",
            postal_address=settings.postal_address,
        )
        if tracked(dashboard):
            text += f"\n\nOpen your dashboard: {track(dashboard)}"
        text += f"\n\n-- \nYou receive this email because you are signed up with {brand}.\nUnsubscribe: {unsubscribe}\n"
        if settings.postal_address:
            text += f"{settings.postal_address}\n"
        return Mail(
            delivery_id=delivery,
            sender=_one_line("sender", settings.sender),
            to=_one_line("address", message.address),
            subject=_one_line("subject", message.subject),
            html=page,
            text=text,
            headers=_headers(message, base, unsubscribe),
            tags=[Tag("delivery_id", str(delivery)), *([Tag("kind", "test")] if test else [])],
            links=links,
        )


def _headers(message: Outbound, base: str, unsubscribe: str) -> dict[str, str]:
    sequence = _token(message.params.get("sequence_type") or ("test" if message.test else "none"))
    step, variant = _token(message.params.get("step", 0)), _token(message.params.get("variant") or "a")
    headers = {
        "List-Unsubscribe": f"<{unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Feedback-ID": f"{sequence}:{step}:{variant}:{SENDER_ID}",
        "List-Id": f"<{sequence}.{_host(base)}>",
        "X-Entity-Ref-ID": str(message.delivery_id),
    }
    return {name: _one_line(name, value) for name, value in headers.items()}


@lru_cache(maxsize=64)
def _host(url: str) -> str:
    return urlsplit(url).hostname or "localhost"


def _token(value: object) -> str:
    # Feedback-ID separates by colons and List-Id by dots, so neither may come from a name.
    return _NOT_TOKEN.sub("-", str(value))[:40] or "-"


def _one_line(what: str, value: str) -> str:
    if _BREAKS.search(value):
        raise Unrenderable(f"line_break_in_{_token(what).lower()}")
    return value


@lru_cache(maxsize=64)
def brand_of(sender: str) -> str:
    """The sender's display name, else its domain."""
    name, address = parseaddr(sender)
    return name or address.rpartition("@")[2] or sender


def _preheader(parts: list[tuple[str, ...]]) -> str:
    # Literal pieces only: a URL tells nobody anything in a preview.
    words: list[str] = []
    for pieces in parts:
        words += "".join(pieces[::2]).replace("()", "").split()
        if sum(map(len, words)) > _PREHEADER_LENGTH:
            break
    text = " ".join(words)
    return text if len(text) <= _PREHEADER_LENGTH else text[:_PREHEADER_LENGTH].rsplit(" ", 1)[0] + "…"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(autoescape=True, undefined=StrictUndefined)
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=16)
def load_layout(template: str, version: int) -> Template:
    """A layout, compiled. Raises Unrenderable when there is no such template or version."""
    if template not in TEMPLATES:
        raise Unrenderable("unknown_template")
    source = files("nurture_email").joinpath("layouts", f"{template}@{version}.mjml")
    if not source.is_file():
        raise Unrenderable("unknown_layout_version")
    return _ENVIRONMENT.from_string(str(mjml2html(source.read_text(encoding="utf-8"))))
