"""The part of Jinja2 that sequences may use: plain data in, text out, and nothing that can grow without bound."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from jinja2 import ChainableUndefined, Undefined
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

LOOP_FIELDS = frozenset({"index", "index0", "first", "last", "length"})


class MissingValue(Exception):
    """A template needs a value that this person does not have. `name` is the last part of its path."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NoText(Exception):
    """A template prints something that is not a text or a number."""


class Missing(ChainableUndefined):
    """A value that is not there: false in conditions, empty in loops, an error where it would be printed."""

    def _needed(self, *_args: Any, **_named: Any) -> Any:
        raise MissingValue(self._undefined_name or "a value")

    _fail_with_undefined_error = _needed  # type: ignore[assignment]
    __str__ = __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = _needed  # type: ignore[assignment]
    __floordiv__ = __rfloordiv__ = __neg__ = __pos__ = _needed  # type: ignore[assignment]
    __lt__ = __le__ = __gt__ = __ge__ = _needed  # type: ignore[assignment]


class Verbatim(str):
    """Text that is safe where it stands and is not escaped again."""

    __slots__ = ()


class Environment(ImmutableSandboxedEnvironment):
    """Looks values up in plain data only, so that no method and no Python attribute is ever in reach."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict):
            value = obj.get(attribute)
            return Missing(name=attribute) if value is None else value
        if isinstance(obj, LoopContext) and attribute in LOOP_FIELDS:
            return getattr(obj, attribute)
        return Missing(name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, list) and isinstance(argument, int):
            value = obj[argument] if -len(obj) <= argument < len(obj) else None
            return Missing(name=str(argument)) if value is None else value
        return self.getattr(obj, argument) if isinstance(argument, str) else Missing(name=str(argument))


def one_line(value: object) -> str:
    """A value as one line of plain text: no line breaks, control or direction-changing characters."""
    return " ".join(_UNSEEN.sub(" ", _text(value)).split())


def in_markdown(value: object) -> str:
    """A value as literal text inside Markdown: whatever it holds, it begins no markup, link, HTML or new line."""
    if isinstance(value, Verbatim):
        return value
    text = _text(value)
    if text.isalnum():
        return text
    text = " ".join(_UNSEEN.sub(" ", text).split())
    text = _ACTIVE.sub(lambda m: _ENTITIES.get(m[0]) or f"\\{m[0]}", text)
    # These mean something only where a line begins, and a value may stand there.
    return _LEADING.sub(r"\1\\\2", text)


def as_url(value: str) -> Verbatim:
    """A URL of ours, made safe to stand in a Markdown link."""
    return Verbatim(value if _URL.fullmatch(value) else quote(value, safe=":/?#@!$&'*+,;=%-._~"))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Undefined):
        return str(value)
    raise NoText


def _default(value: Any, instead: Any = "", blank: bool = False) -> Any:
    absent = value is None or isinstance(value, Undefined) or value == "" or (blank and not value)
    return instead if absent else value


def _join(values: Any, separator: Any = ", ") -> str:
    # A text is a sequence of letters to Jinja; joining those again and again would grow exponentially.
    if not isinstance(values, list):
        raise NoText
    return _text(separator).join(_text(value) for value in values)


def _round(value: Any, digits: Any = 0) -> int | float:
    places = max(0, min(int(digits), 6))
    return round(float(value), places) if places else round(float(value))


def _truncate(value: Any, length: Any = 255) -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, length - 1)].rstrip() + "…"


def _urlencode(value: Any) -> Verbatim:
    return Verbatim(quote(_text(value), safe="").replace("_", "%5F").replace("~", "%7E"))


def _end(place: int) -> Callable[[Any], Any]:
    return lambda values: values[place] if values else Missing(name="an entry")


def _length(values: Any) -> int:
    return len(values)


FILTERS: dict[str, Callable[..., Any]] = {
    "default": _default,
    "d": _default,
    "upper": lambda value: _text(value).upper(),
    "lower": lambda value: _text(value).lower(),
    "capitalize": lambda value: _text(value).capitalize(),
    "title": lambda value: _text(value).title(),
    "trim": lambda value: _text(value).strip(),
    "truncate": _truncate,
    "round": _round,
    "join": _join,
    "first": _end(0),
    "last": _end(-1),
    "length": _length,
    "count": _length,
    "urlencode": _urlencode,
}

TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "none": lambda value: value is None or isinstance(value, Undefined),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "even": lambda value: value % 2 == 0,
    "odd": lambda value: value % 2 == 1,
}

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_ACTIVE = re.compile(r"[\\`*_{}\[\]()<>&|~\"$]|:(?=//)|(?<=www)\.")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}
_LEADING = re.compile(r"\A(\d{0,9})([-+=#.])")
_URL = re.compile(r"[A-Za-z0-9:/?#@!$&'+,;=%._~-]*")


def _environment(finalize: Callable[[object], str]) -> Environment:
    environment = Environment(
        undefined=Missing, finalize=finalize, trim_blocks=True, lstrip_blocks=True, autoescape=False, cache_size=0
    )
    environment.globals.clear()
    environment.filters.clear()
    environment.filters.update(FILTERS)
    environment.tests.clear()
    environment.tests.update(TESTS)
    return environment


BODY = _environment(in_markdown)
SUBJECT = _environment(one_line)
