"""parse_mode MarkdownV2, with Telegram's words for what is wrong. Pure."""

import re
from typing import NamedTuple

from nurture_local.sandbox.telegram.answers import BotError, bad_request
from nurture_local.sandbox.telegram.formatting import Entity, Formatted, byte_offset, units

_RESERVED = frozenset("_*[]()~`>#+-=|{}.!")
_MARKS = (("```", "pre"), ("||", "spoiler"), ("__", "underline"), ("`", "code"))
_SINGLE = {"*": "bold", "_": "italic", "~": "strikethrough", "[": "text_link"}
_SPOKEN = {"text_link": "TextUrl", "pre": "Pre"}
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#-]+(?=\n)")


class _Open(NamedTuple):
    type: str
    mark: str
    offset: int
    at: int
    language: str | None = None


class _Scanner:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.length = 0
        self.parts: list[str] = []
        self.entities: list[Entity] = []
        self.stack: list[_Open] = []
        self.quote: int | None = None

    def put(self, piece: str, consumed: int) -> None:
        self.parts.append(piece)
        self.length += units(piece)
        self.at += consumed

    def end(self, opened: _Open, url: str | None = None) -> None:
        if self.length > opened.offset and (opened.type != "text_link" or url):
            size = self.length - opened.offset
            self.entities.append(Entity(opened.type, opened.offset, size, url, opened.language))

    def run(self) -> Formatted:
        while self.at < len(self.source):
            self.step()
        self.end_quote()
        if self.stack:
            raise self.endless(self.stack[-1])
        return Formatted("".join(self.parts), self.entities)

    def step(self) -> None:
        source, at = self.source, self.at
        character = source[at]
        if character == "\\" and at + 1 < len(source) and 0 < ord(source[at + 1]) < 127:
            self.put(source[at + 1], 2)
            return
        top = self.stack[-1] if self.stack else None
        if top and top.type in ("code", "pre"):
            if source.startswith(top.mark, at):
                self.at += len(top.mark)
                self.end(self.stack.pop())
            else:
                self.put(character, 1)
            return
        if character == "\n":
            self.put(character, 1)
            if not source.startswith(">", self.at):
                self.end_quote()
        elif character == ">" and (at == 0 or source[at - 1] == "\n"):
            self.quote = self.length if self.quote is None else self.quote
            self.at += 1
        elif character in _RESERVED:
            self.mark(top)
        else:
            self.put(character, 1)

    def mark(self, top: _Open | None) -> None:
        source, at = self.source, self.at
        if source[at] == "]" and top and top.type == "text_link":
            self.end_link()
            return
        for mark, kind in (*_MARKS, (source[at], _SINGLE.get(source[at]))):
            if kind is None or not source.startswith(mark, at):
                continue
            self.at += len(mark)
            if top and top.mark == mark and mark != "[":
                self.end(self.stack.pop())
            elif any(opened.mark == mark for opened in self.stack):
                raise self.endless(self.stack[-1])
            else:
                language = _LANGUAGE.match(source, self.at) if kind == "pre" else None
                self.at += len(language[0]) + 1 if language else 0
                self.stack.append(_Open(kind, mark, self.length, at, language[0] if language else None))
            return
        raise _refused(f"Character '{source[at]}' is reserved and must be escaped with the preceding '\\'")

    def end_link(self) -> None:
        opened = self.stack.pop()
        self.at += 1
        url = None
        if self.source.startswith("(", self.at):
            target = re.compile(r"\((?:\\.|[^)\\])*\)", re.DOTALL).match(self.source, self.at)
            if target is None:
                raise _refused(f"Can't find end of a URL at byte offset {byte_offset(self.source, self.at)}")
            url = re.sub(r"\\(.)", r"\1", target[0][1:-1])
            self.at = target.end()
        self.end(opened, url)

    def end_quote(self) -> None:
        if self.quote is not None:
            self.end(_Open("blockquote", ">", self.quote, 0))
            self.quote = None

    def endless(self, opened: _Open) -> BotError:
        spoken = _SPOKEN.get(opened.type, opened.type.capitalize())
        return _refused(f"Can't find end of {spoken} entity at byte offset {byte_offset(self.source, opened.at)}")


def parse(source: str) -> Formatted:
    """Raises BotError where Telegram cannot parse the entities."""
    return _Scanner(source).run()


def _refused(reason: str) -> BotError:
    return bad_request(f"can't parse entities: {reason}")
