"""What is wrong with a value, in words: msgspec names types of Python, and does not say between which values one may choose."""

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_EXPECTED = re.compile(r"Expected `([^`]+)`(?: (?!, got)(.+?))?(?:, got `([^`]+)`)?")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "uuid": "a UUID",
    "datetime": "a time such as 2027-01-31T09:00:00Z",
    "date": "a day such as 2027-01-31",
}
_INVALID = {
    "Invalid UUID": _KINDS["uuid"],
    "Invalid RFC3339 encoded datetime": _KINDS["datetime"],
    "Invalid RFC3339 encoded date": _KINDS["date"],
}
_PARTS = re.compile(r"\[[^\]]*\]|[^.\[]+")


def words(message: str, annotation: Any, *, asked: bool = False) -> str:
    """A message of msgspec about a value of `annotation`, as a reason that somebody can act upon. `asked` is for values of a
    query, which are all text: that they are is nothing to tell."""
    if message.startswith("Invalid enum value") and (values := literals(annotation)):
        return f"must be {'one of ' if len(values) > 1 else ''}{', '.join(values)}"
    if message in _INVALID:
        return f"must be {_INVALID[message]}"
    if (found := _EXPECTED.fullmatch(message)) is None:
        return message
    kinds, bound, got = found.groups()
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | ") if not (asked and kind == "null"))
    return (
        f"must be {wanted}{f' {bound}' if bound else ''}{f', not {_KINDS.get(got, got)}' if got and not asked else ''}"
    )


def literals(annotation: Any) -> list[str]:
    """The values among which an annotation chooses; none where it takes any text."""
    kinds = [one for one in _alternatives(annotation) if get_origin(one) is Literal]
    return [
        value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for kind in kinds
        for value in get_args(kind)
    ]


def field(annotation: Any, path: str) -> Any:
    """The annotation at a path as msgspec writes it (`steps[0].channel`), or None where it leads nowhere."""
    for part in _PARTS.findall(path):
        inner = [field for one in _alternatives(annotation) if (field := _one(one, part)) is not None]
        if not inner:
            return None
        annotation = inner[0]
    return annotation


def _one(annotation: Any, part: str) -> Any:
    if part.startswith("["):
        return next((inside for inside in reversed(get_args(annotation)) if inside is not ...), None)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return next((known.type for known in msgspec.structs.fields(annotation) if known.encode_name == part), None)
    return None


def _alternatives(annotation: Any) -> list[Any]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(inside[0])
    return [alt for one in inside for alt in _alternatives(one)] if origin in (Union, UnionType) else [annotation]
