"""Markdown bodies as Telegram's HTML, and as plain text for when that is refused. Pure: the same body, the same text.

Telegram knows a handful of tags and no blocks: headings become bold lines, lists become lines with bullets.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

LIMIT = 4096
"""Characters that Telegram takes after parsing, counted in UTF-16 units, the larger of the ways to count."""
SOURCE_BYTES = 30_000
"""Telegram refuses a source text above 32 KiB, however little of it is left after parsing."""
ELLIPSIS = "…"
GAP = "\n\n"
LINK_SCHEMES = ("http://", "https://", "mailto:", "tg://")
_TAGS = {"strong": "b", "em": "i", "s": "s"}
_RULE = "⸻"


class Piece(NamedTuple):
    """A stretch of text three times: as HTML, as people see it, as plain text with its links written out."""

    html: str
    shown: str
    plain: str

    def __add__(self, other: "Piece") -> "Piece":  # type: ignore[override]
        return Piece(self.html + other.html, self.shown + other.shown, self.plain + other.plain)

    def wrapped(self, tag: str) -> "Piece":
        """The same between two tags; nothing stays nothing."""
        return self if not self.shown else self._replace(html=f"<{tag}>{self.html}</{tag}>")


EMPTY = Piece("", "", "")
Link = Callable[[str], str]


def literal(text: str) -> Piece:
    """Text without any formatting."""
    return Piece(escape(text, quote=False), text, text)


def units(text: str) -> int:
    """How long Telegram finds this text."""
    return len(text.encode("utf-16-le")) // 2


def tracked(url: str) -> bool:
    """Whether clicks on this URL are ours to count."""
    return url.lower().startswith(("http://", "https://"))


def blocks(body: str, link: Link) -> list[Piece]:
    """The body's paragraphs, lists and so on, in order; `link` gives the address to put in the place of an http(s) URL."""
    return _blocks(_MARKDOWN.parse(body), link, quoted=False)


def fitted(parts: Sequence[Piece]) -> tuple[str, str]:
    """HTML and plain text, each within Telegram's limits: cut after a block, or inside the first one if that is too long."""
    html = _fitted([(part.html, part.shown) for part in parts], lambda text: escape(text, quote=False))
    return html, _fitted([(part.plain, part.plain) for part in parts], str)


def _fitted(parts: Sequence[tuple[str, str]], escaped: Callable[[str], str]) -> str:
    if _fits(parts, 0):
        return GAP.join(source for source, _ in parts)
    kept: list[tuple[str, str]] = []
    for part in parts:
        if not _fits([*kept, part], len(GAP + ELLIPSIS)):
            break
        kept.append(part)
    if kept:
        return GAP.join([*(source for source, _ in kept), ELLIPSIS])
    return escaped(_cut(parts[0][1])) + ELLIPSIS


def _fits(parts: Sequence[tuple[str, str]], reserved: int) -> bool:
    gaps = len(GAP) * max(0, len(parts) - 1)
    return (
        sum(units(shown) for _, shown in parts) + gaps + reserved <= LIMIT
        and sum(len(source.encode()) for source, _ in parts) + gaps + reserved * 3 <= SOURCE_BYTES
    )


def _cut(text: str) -> str:
    # Whole characters only: half of a surrogate pair could not be sent.
    head = text.encode("utf-16-le")[: 2 * (LIMIT - len(ELLIPSIS))].decode("utf-16-le", "ignore")
    words = head.rsplit(None, 1)[0] if len(head) < len(text) else head
    return (words if len(words) > LIMIT // 2 else head).rstrip()


def _allowed(url: str) -> bool:
    return url.lower().startswith(LINK_SCHEMES)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.validateLink = _allowed  # type: ignore[method-assign]
    return parser


_MARKDOWN = _parser()


def _blocks(tokens: Sequence[Token], link: Link, *, quoted: bool) -> list[Piece]:
    out: list[Piece] = []
    place = 0
    while place < len(tokens):
        token, end = tokens[place], _closing(tokens, place)
        inside = tokens[place + 1 : end]
        if token.type == "paragraph_open":
            out.append(_inline(inside[0].children or [], link, frozenset()))
        elif token.type == "heading_open":
            out.append(_inline(inside[0].children or [], link, frozenset({"b"})).wrapped("b"))
        elif token.type == "blockquote_open":
            # Telegram does not nest quotes.
            quote = _joined(_blocks(inside, link, quoted=True), GAP)
            out.append(quote if quoted else quote.wrapped("blockquote"))
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            out.append(_list(token, inside, link, quoted))
        elif token.type in ("fence", "code_block"):
            out.append(literal(token.content.rstrip("\n")).wrapped("pre"))
        elif token.type == "hr":
            out.append(literal(_RULE))
        place = end + 1
    return [piece for piece in out if piece.shown.strip()]


def _list(opening: Token, tokens: Sequence[Token], link: Link, quoted: bool) -> Piece:
    number = int(opening.attrGet("start") or 1)
    # Paragraphs of a list written without blank lines are hidden; its text stays as tight.
    tight = any(token.hidden for token in tokens)
    gap = "\n" if tight else GAP
    items: list[Piece] = []
    place = 0
    while place < len(tokens):
        end = _closing(tokens, place)
        bullet = f"{number}. " if opening.type == "ordered_list_open" else "• "
        content = _joined(_blocks(tokens[place + 1 : end], link, quoted=quoted), gap)
        items.append(literal(bullet) + _indented(content, len(bullet)))
        number += 1
        place = end + 1
    return _joined(items, gap)


def _indented(piece: Piece, width: int) -> Piece:
    pad = "\n" + " " * width
    return Piece(*(text.replace("\n", pad) for text in piece))


def _joined(pieces: Sequence[Piece], gap: str) -> Piece:
    whole = EMPTY
    for number, piece in enumerate(pieces):
        whole = whole + literal(gap) + piece if number else piece
    return whole


def _inline(tokens: Sequence[Token], link: Link, inside: frozenset[str]) -> Piece:
    out = EMPTY
    place = 0
    while place < len(tokens):
        token = tokens[place]
        end = _closing(tokens, place)
        if token.nesting == 1:
            content = tokens[place + 1 : end]
            tag = _TAGS.get(token.tag)
            if token.type == "link_open":
                out += _anchor(_inline(content, link, inside), str(token.attrGet("href")), link)
            elif tag is None or tag in inside:
                out += _inline(content, link, inside)
            else:
                out += _inline(content, link, inside | {tag}).wrapped(tag)
            place = end
        elif token.type == "code_inline":
            out += literal(token.content).wrapped("code")
        elif token.type in ("text", "text_special", "image"):
            out += literal(token.content)
        elif token.type == "softbreak":
            out += literal(" ")
        elif token.type == "hardbreak":
            out += literal("\n")
        place += 1
    return out


def _anchor(label: Piece, url: str, link: Link) -> Piece:
    if url.lower().startswith("mailto:"):
        # Telegram makes no links of this kind; it finds a written address by itself.
        address = url[len("mailto:") :]
        return label if address in label.shown else label + literal(f" ({address})" if label.shown else address)
    target = link(url) if tracked(url) else url
    written = literal(url) if not label.shown.strip() else label
    plain = target if written.shown == url else f"{written.plain} ({target})"
    return Piece(f'<a href="{escape(target)}">{written.html}</a>', written.shown, plain)


def _closing(tokens: Sequence[Token], place: int) -> int:
    depth = 0
    for end in range(place, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return end
    return len(tokens) - 1
