"""Markdown bodies to HTML fragments and readable text. Pure: the same body gives the same parts, always."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from html import escape, unescape
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

LINK_SCHEMES = ("http://", "https://", "mailto:", "tg:")

STYLES: dict[int, dict[str, str]] = {
    1: {
        "p": "margin:0 0 16px",
        "h1": "margin:0 0 16px;font-size:24px;line-height:32px;font-weight:700",
        "h2": "margin:24px 0 12px;font-size:20px;line-height:28px;font-weight:700",
        "h3": "margin:24px 0 8px;font-size:17px;line-height:26px;font-weight:700",
        "h4": "margin:24px 0 8px;font-size:16px;line-height:26px;font-weight:700",
        "h5": "margin:24px 0 8px;font-size:16px;line-height:26px;font-weight:700",
        "h6": "margin:24px 0 8px;font-size:16px;line-height:26px;font-weight:700",
        "ul": "margin:0 0 16px;padding:0 0 0 24px",
        "ol": "margin:0 0 16px;padding:0 0 0 24px",
        "li": "margin:0 0 6px",
        "blockquote": "margin:0 0 16px;padding:2px 0 2px 16px;border-left:3px solid #c9d2dc",
        "pre": "margin:0 0 16px;padding:12px 14px;background:#f2f4f7;border-radius:6px;white-space:pre-wrap",
        "code": "font-family:SFMono-Regular,Menlo,Consolas,monospace;font-size:14px",
        "hr": "margin:24px 0;border:0;border-top:1px solid #dde3ea",
        "a": "color:#0b62c4;text-decoration:underline",
    }
}
"""Inline styles by layout version: some mail clients drop <style>, so the body must not depend on it.

A published version is never edited, or a retry after an upgrade would send other bytes under the same key.
"""

# NUL cannot occur in parsed Markdown (it becomes U+FFFD), so it marks the places where URLs go.
_MARK = "\x00"
_BLANK_LINES = re.compile(r"(\n(?: *\n)+)")
_LIST_LINE = re.compile(r"^ *(?:[-+*]|\d{1,9}[.)])(?: |$)", re.MULTILINE)
_INDIVISIBLE = re.compile(r"```|~~~|\]:|[\t\r\f\v]")
_PLAIN = re.compile(r"[^\W\d_](?:[^\W_]|[ ,;.?!'’()…–])*(?:[^\W_]|[,;.?!'’)…])")


class Fragment(NamedTuple):
    """Part of a body. In `html` and `text`, pieces at even places are literal, at odd places http(s) URLs to track."""

    html: tuple[str, ...]
    text: tuple[str, ...]


def _allowed(url: str) -> bool:
    return url.lower().startswith(LINK_SCHEMES)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False})
    parser.validateLink = _allowed  # type: ignore[method-assign]
    return parser


_MARKDOWN = _parser()


def fragments(body: str, version: int) -> list[Fragment]:
    """The body in independent pieces, each parsed once per process: most paragraphs are the same for everybody."""
    return [_fragment(group, version) for group in groups(body)]


def groups(body: str) -> list[str]:
    """Cut at the blank lines where CommonMark would parse both sides alone; never where a block may span them."""
    body = body.strip("\n")
    if _INDIVISIBLE.search(body):
        return [body]
    chunks = _BLANK_LINES.split(body)
    whole = chunks[:1]
    for gap, chunk in zip(chunks[1::2], chunks[2::2], strict=True):
        if chunk.startswith(" ") or (_LIST_LINE.match(chunk) and _LIST_LINE.search(whole[-1])):
            whole[-1] += gap + chunk
        else:
            whole.append(chunk)
    return whole


def fill(parts: Sequence[str], link: Callable[[str], str]) -> str:
    """The pieces as one string, `link` put in the place of each URL."""
    if len(parts) == 1:
        return parts[0]
    return "".join([link(part) if place % 2 else part for place, part in enumerate(parts)])


def tracked(url: str) -> bool:
    """Whether clicks on this URL are ours to count."""
    return url.lower().startswith(("http://", "https://"))


# Most paragraphs are the same for everybody; the personal ones would only fill the memory.
@lru_cache(maxsize=1024)
def _fragment(markdown: str, version: int) -> Fragment:
    styles = STYLES[version]
    if _PLAIN.fullmatch(markdown):
        html = f'<p style="{styles["p"]}">{escape(markdown, quote=False)}</p>\n'
        return Fragment((html,), (markdown,))
    tokens = _MARKDOWN.parse(markdown)
    text = _blocks(tokens)
    _dress(tokens, styles)
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    html = html.replace("<pre>", f'<pre style="{styles["pre"]}">')
    # The renderer escapes attributes; the URL between two marks is wanted as it is.
    pieces = [unescape(part) if place % 2 else part for place, part in enumerate(html.split(_MARK))]
    return Fragment(tuple(pieces), tuple(text.split(_MARK)))


def _dress(tokens: Iterable[Token], styles: dict[str, str]) -> None:
    for token in tokens:
        if token.nesting >= 0 and token.tag in styles:
            token.attrSet("style", styles[token.tag])
        if token.type == "fence":
            token.info = ""
        if token.type == "link_open":
            url = str(token.attrGet("href"))
            if tracked(url):
                token.attrSet("href", f"{_MARK}{url}{_MARK}")
        if token.children:
            token.children = _without_images(token.children)
            _dress(token.children, styles)


def _without_images(tokens: list[Token]) -> list[Token]:
    # Nothing remote is ever loaded by our mails but the pixel, so an image is its alternative text.
    return [Token("text", "", 0, content=token.content) if token.type == "image" else token for token in tokens]


def _blocks(tokens: Sequence[Token]) -> str:
    """What a person would have typed in a plain-text mail."""
    out: list[str] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        end = _closing(tokens, place)
        inside = tokens[place + 1 : end]
        if token.type in ("paragraph_open", "heading_open"):
            out.append(_inline(inside[0].children or []))
        elif token.type == "blockquote_open":
            out.append(_prefixed(_blocks(inside), "> ", "> "))
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            out.append(_list(token, inside))
        elif token.type in ("fence", "code_block"):
            out.append(_prefixed(token.content.rstrip("\n"), "    ", "    "))
        elif token.type == "hr":
            out.append("-" * 24)
        place = end + 1
    return _gap(tokens, 0).join(block for block in out if block)


def _gap(tokens: Sequence[Token], depth: int) -> str:
    # Paragraphs of a list written without blank lines are hidden; its text stays as tight.
    base = tokens[0].level if tokens else 0
    tight = any(token.hidden and token.nesting > 0 and token.level == base + depth for token in tokens)
    return "\n" if tight else "\n\n"


def _list(opening: Token, tokens: Sequence[Token]) -> str:
    number = int(opening.attrGet("start") or 1)
    items: list[str] = []
    place = 0
    while place < len(tokens):
        end = _closing(tokens, place)
        bullet = f"{number}. " if opening.type == "ordered_list_open" else "- "
        items.append(_prefixed(_blocks(tokens[place + 1 : end]), bullet, " " * len(bullet)) or bullet.rstrip())
        number += 1
        place = end + 1
    return _gap(tokens, 1).join(items)


def _inline(tokens: Sequence[Token]) -> str:
    out: list[str] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.type == "link_open":
            end = _closing(tokens, place)
            out.append(_link_text(_inline(tokens[place + 1 : end]), str(token.attrGet("href"))))
            place = end
        elif token.type in ("text", "code_inline", "image", "text_special"):
            out.append(token.content)
        elif token.type == "softbreak":
            out.append(" ")
        elif token.type == "hardbreak":
            out.append("\n")
        place += 1
    return "".join(out)


def _link_text(label: str, url: str) -> str:
    shown = f"{_MARK}{url}{_MARK}" if tracked(url) else url.removeprefix("mailto:")
    if not label or label in (url, url.removeprefix("mailto:")):
        return shown
    return f"{label} ({shown})"


def _closing(tokens: Sequence[Token], place: int) -> int:
    depth = 0
    for end in range(place, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return end
    return len(tokens) - 1


def _prefixed(text: str, first: str, rest: str) -> str:
    lines = text.split("\n") if text else []
    return "\n".join(
        (first if number == 0 else rest if line else rest.rstrip()) + line for number, line in enumerate(lines)
    )
