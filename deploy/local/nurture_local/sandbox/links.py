"""The links of a mail that lead back to us: pixel, tracked links, one-click unsubscribe. Pure."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

from msgspec import Struct

_OURS = re.compile(r"/(?:t/o|t/c|u)/[A-Za-z0-9_\-.~=]+$")


_DEEP = re.compile(r"/([A-Za-z0-9_]+)$")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TELEGRAM_HOSTS = ("t.me", "telegram.me")


class MailLinks(Struct, frozen=True):
    """`pixel` is what a mail client loads on opening; `clicks` are tracked links with their wording.

    `telegram` are links to a bot, with their wording, as paths of the sandbox's own stand-in for t.me.
    """

    pixel: str | None
    clicks: list[tuple[str, str]]
    unsubscribe: str | None
    telegram: list[tuple[str, str]] = []


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, bool]] = []
        self.anchors: list[list[str]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "img" and attributes.get("src"):
            marked = "tracking-pixel" in (attributes.get("class") or "").split()
            self.images.append((attributes["src"] or "", marked))
        elif tag == "a" and attributes.get("href"):
            self.anchors.append([attributes["href"] or "", ""])
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.anchors[-1][1] += data


def find(html: str | None, headers: dict[str, str]) -> MailLinks:
    """The tracking pixel (the marked image, else the last one), tracked links in order, and the one-click URL."""
    finder = _Finder()
    finder.feed(html or "")
    marked = [src for src, is_marked in finder.images if is_marked]
    last = [src for src, _ in finder.images[-1:] if "/t/o/" in src]
    clicks = [(href, " ".join(text.split())) for href, text in finder.anchors if "/t/c/" in href]
    header = next((value for name, value in headers.items() if name.lower() == "list-unsubscribe"), "")
    unsubscribe = re.search(r"<(https?://[^>\s]+)>", header)
    return MailLinks(
        pixel=next(iter(marked or last), None),
        clicks=clicks,
        unsubscribe=unsubscribe.group(1) if unsubscribe else None,
        telegram=[(path, " ".join(text.split())) for href, text in finder.anchors if (path := deep_link(href))],
    )


def deep_link(url: str) -> str | None:
    """The sandbox's page for a link to a bot; None for any other link."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    on_telegram = parts.hostname in _TELEGRAM_HOSTS and parts.path.count("/") == 1
    bot = _DEEP.search(parts.path)
    if bot is None or not (on_telegram or parts.path.startswith("/t.me/")):
        return None
    return f"/t.me/{bot[1]}" + (f"?{parts.query}" if parts.query else "")


def on_this_machine(url: str, gateway: str) -> str | None:
    """Where to visit one of our links so that nothing leaves this machine; None for a link that is not ours.

    A link to a loopback address is taken as it is, unless the gateway is on another machine, or in another container. One to
    the public name goes to `gateway`'s origin instead.
    """
    parts = urlsplit(url)
    ours = _OURS.search(parts.path)
    if parts.scheme not in ("http", "https") or ours is None:
        return None
    origin = urlsplit(gateway)
    if parts.hostname in _LOOPBACK and (not origin.netloc or origin.hostname in _LOOPBACK):
        return url
    return f"{origin.scheme}://{origin.netloc}{ours.group(0)}" if origin.netloc else None
