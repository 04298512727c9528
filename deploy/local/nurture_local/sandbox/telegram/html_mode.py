"""parse_mode HTML: the few tags that Telegram knows, with its words for what is wrong. Pure."""

import html as escaping
import re
from typing import NamedTuple

from nurture_local.sandbox.telegram.answers import BotError, bad_request
from nurture_local.sandbox.telegram.formatting import Entity, Formatted, byte_offset, units

_TAG = re.compile(
    r"<(?P<close>/)?(?P<name>[A-Za-z][A-Za-z0-9-]*)"
    r"(?P<attributes>(?:\s+[A-Za-z-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'>]+))?)*)\s*>"
)
_ATTRIBUTE = re.compile(r"([A-Za-z-]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
_REFERENCE = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
}


class _Open(NamedTuple):
    name: str
    attributes: dict[str, str]
    offset: int
    at_byte: int


def parse(source: str) -> Formatted:
    """Raises BotError where Telegram cannot parse the entities."""
    parts: list[str] = []
    entities: list[Entity] = []
    stack: list[_Open] = []
    length = at = 0
    while at < len(source):
        character = source[at]
        if character == "<":
            match = _TAG.match(source, at)
            if match is None:
                raise _unreadable_tag(source, at)
            if match["close"]:
                _close(source, at, match["name"].lower(), stack, length, entities)
            else:
                stack.append(_opened(source, at, match, length))
            at = match.end()
            continue
        reference = _REFERENCE.match(source, at) if character == "&" else None
        piece = escaping.unescape(reference[0]) if reference else character
        at = reference.end() if reference else at + 1
        parts.append(piece)
        length += units(piece)
    if stack:
        raise _refused(f'Can\'t find end tag corresponding to start tag "{stack[-1].name}"')
    return Formatted("".join(parts), entities)


def _opened(source: str, at: int, match: re.Match[str], length: int) -> _Open:
    name, place = match["name"].lower(), byte_offset(source, at)
    attributes = {
        key.lower(): escaping.unescape(a or b or c or "") for key, a, b, c in _ATTRIBUTE.findall(match["attributes"])
    }
    if name not in _TYPES:
        raise _refused(f'Unsupported start tag "{name}" at byte offset {place}')
    if name == "span" and attributes.get("class") != "tg-spoiler":
        raise _refused(f'Tag "span" must have class "tg-spoiler" at byte offset {place}')
    return _Open(name, attributes, length, place)


def _close(source: str, at: int, name: str, stack: list[_Open], length: int, entities: list[Entity]) -> None:
    place = byte_offset(source, at)
    if not stack:
        raise _refused(f"Unexpected end tag at byte offset {place}")
    opened = stack.pop()
    if opened.name != name:
        raise _refused(f'Unmatched end tag at byte offset {place}, expected "</{opened.name}>", found "</{name}>"')
    if length == opened.offset:
        return
    kind, url, language = _TYPES[name], None, None
    if name == "a":
        url = opened.attributes.get("href")
        if not url:
            return
    elif name == "code" and stack and stack[-1].name == "pre":
        return
    elif name == "blockquote" and "expandable" in opened.attributes:
        kind = "expandable_blockquote"
    entities.append(Entity(kind, opened.offset, length - opened.offset, url, language))


def _unreadable_tag(source: str, at: int) -> BotError:
    place = byte_offset(source, at)
    if ">" not in source[at:]:
        return _refused(f"Unclosed start tag at byte offset {place}")
    found = re.match(r"</?([^\s>]*)", source[at:])
    return _refused(f'Unsupported start tag "{found[1] if found else ""}" at byte offset {place}')


def _refused(reason: str) -> BotError:
    return bad_request(f"can't parse entities: {reason}")
