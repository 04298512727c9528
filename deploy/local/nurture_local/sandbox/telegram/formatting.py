"""Formatted text: a source in one of Telegram's modes to plain text and entities, and those to safe HTML. Pure."""

import html as escaping
import re
from typing import Any

import msgspec
from msgspec import Struct

from nurture_local.sandbox.telegram.answers import bad_request

MAX_SOURCE_BYTES = 32_768
MAX_UNITS = 4096
"""UTF-16 code units, which is how Telegram counts a text and the places in it."""


class Entity(Struct, frozen=True, omit_defaults=True):
    """A part of a text with a look; `offset` and `length` in UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: str | None = None
    language: str | None = None


class Formatted(Struct, frozen=True):
    """A text as the reader sees it."""

    text: str
    entities: list[Entity] = []


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def byte_offset(source: str, position: int) -> int:
    """Where a character of `source` begins, as error texts tell it."""
    return len(source[:position].encode("utf-8", "surrogatepass"))


def parse(source: str, mode: str, entities: Any = None) -> Formatted:
    """A message's text. Raises BotError with Telegram's words for what it would refuse."""
    from nurture_local.sandbox.telegram import html_mode, markdown_mode

    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise bad_request("text is too long")
    match mode.lower():
        case "":
            found = Formatted(source, _given(entities))
        case "html":
            found = html_mode.parse(source)
        case "markdownv2":
            found = markdown_mode.parse(source)
        case "markdown":
            raise bad_request("the sandbox does not play parse_mode Markdown, which is legacy: use HTML or MarkdownV2")
        case _:
            raise bad_request("unsupported parse_mode")
    found = _trimmed(found)
    if not found.text:
        raise bad_request("message text is empty")
    if units(found.text) > MAX_UNITS:
        raise bad_request("message is too long")
    return found


def _given(entities: Any) -> list[Entity]:
    if entities is None:
        return []
    try:
        return msgspec.convert(entities, list[Entity])
    except msgspec.ValidationError:
        raise bad_request("can't parse message entities") from None


def _trimmed(found: Formatted) -> Formatted:
    """Without white space at both ends, as Telegram sends it."""
    text = found.text.strip()
    lead = units(found.text[: len(found.text) - len(found.text.lstrip())])
    end = units(text)
    kept = []
    for entity in found.entities:
        start = max(0, entity.offset - lead)
        length = min(end, entity.offset - lead + entity.length) - start
        if length > 0:
            kept.append(msgspec.structs.replace(entity, offset=start, length=length))
    return Formatted(text, sorted(kept, key=lambda entity: (entity.offset, -entity.length)))


_TAGS = {
    "bold": "b",
    "italic": "i",
    "underline": "u",
    "strikethrough": "s",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "expandable_blockquote": "blockquote",
}
_BESIDE_BLOCK = re.compile(r"\n?(</?(?:blockquote|pre)>)\n?")
_SCHEMES = ("http://", "https://", "tg://", "mailto:")


def as_html(found: Formatted) -> str:
    """Safe HTML with nothing in it but text, looks and links."""
    raw = found.text.encode("utf-16-le", "surrogatepass")

    def cut(start: int, end: int) -> str:
        return escaping.escape(raw[2 * start : 2 * end].decode("utf-16-le", "replace"))

    def render(entities: list[Entity], start: int, end: int) -> str:
        parts, at = [], start
        rest = list(entities)
        while rest:
            entity = rest.pop(0)
            first, last = max(at, entity.offset), min(end, entity.offset + entity.length)
            if first >= last:
                continue
            inside = [one for one in rest if one.offset < last]
            rest = [one for one in rest if one.offset >= last]
            parts += [cut(at, first), _wrapped(entity, render(inside, first, last))]
            at = last
        return "".join((*parts, cut(at, end)))

    # A block begins and ends a line by itself; the line break beside it would be a second one.
    return _BESIDE_BLOCK.sub("\\1", render(found.entities, 0, len(raw) // 2))


def _wrapped(entity: Entity, inner: str) -> str:
    if entity.type == "text_link" and entity.url and entity.url.lower().startswith(_SCHEMES):
        return f'<a href="{escaping.escape(entity.url)}" target="_blank" rel="noreferrer noopener">{inner}</a>'
    if entity.type == "spoiler":
        return f'<span class="spoiler">{inner}</span>'
    tag = _TAGS.get(entity.type)
    return f"<{tag}>{inner}</{tag}>" if tag else inner
