"""People as CSV: the first line names the columns, each further line says what to change about one person."""

import csv
import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from nurture_gateway.people import FIELDS, Change, check, email_key

IDENTIFYING = ("id", "external_id", "email")
ATTRIBUTE = "attr."


class Unreadable(Exception):
    """The file as a whole cannot be taken; the text says why and what to change."""


class Row(NamedTuple):
    """A line that says something about a person."""

    line: int
    change: Change


class Rejected(NamedTuple):
    """A line that was left out, and why."""

    line: int
    reason: str


def decode(body: bytes) -> str:
    """Raises Unreadable unless it is UTF-8, with or without a byte order mark."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"line {line} is not UTF-8; save the file as CSV UTF-8") from None


def read(text: str) -> Iterator[Row | Rejected]:
    """Line by line. Blank cells say nothing. Raises Unreadable when the first line does not name known columns."""
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = _columns(next(reader, []))
    seen: dict[tuple[str, str], int] = {}
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Rejected(line, f"not readable as CSV: {error}")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _row(line, columns, cells, seen)


def chunks(rows: Iterator[Row | Rejected], size: int) -> Iterator[list[Row | Rejected]]:
    """Pages of at most `size` lines."""
    while page := list(islice(rows, size)):
        yield page


def _columns(names: list[str]) -> list[str]:
    columns = [name.strip() for name in names]
    columns = [name if name.lower().startswith(ATTRIBUTE) else name.lower() for name in columns]
    if not any(columns):
        raise Unreadable("the first line must name the columns")
    unknown = [
        name for name in columns if name not in FIELDS and not (name.lower().startswith(ATTRIBUTE) and len(name) > 5)
    ]
    if unknown:
        raise Unreadable(
            f"unknown column {', '.join(repr(name) for name in unknown)}; known are {', '.join(FIELDS)} and attr.NAME "
            "(which keeps a column as an attribute)"
        )
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise Unreadable(f"column {', '.join(sorted(twice))} stands twice")
    if not set(columns) & set(IDENTIFYING):
        raise Unreadable(f"one of the columns {', '.join(IDENTIFYING)} is needed to tell people apart")
    return columns


def _row(line: int, columns: list[str], cells: list[str], seen: dict[tuple[str, str], int]) -> Row | Rejected:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        return Rejected(line, f"has {len(cells)} cells, the first line names {len(columns)} columns")
    change: Change = {}
    attributes: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=False):
        value = cell.strip()
        if not value:
            continue
        if name == "attributes":
            try:
                parsed = json.loads(value)
            except (ValueError, RecursionError):
                return Rejected(line, "attributes: must be a JSON object")
            if not isinstance(parsed, dict):
                return Rejected(line, "attributes: must be a JSON object")
            attributes = parsed | attributes
        elif name in FIELDS:
            change[name] = value
        else:
            attributes[name[len(ATTRIBUTE) :]] = value
    if attributes:
        change["attributes"] = attributes
    clean, errors = check(change)
    if errors:
        return Rejected(line, "; ".join(f"{field}: {reason}" for field, reason in errors))
    if not any(clean.get(name) for name in IDENTIFYING):
        return Rejected(line, f"one of {', '.join(IDENTIFYING)} is needed")
    return _first(line, clean, seen)


def _first(line: int, change: Change, seen: dict[tuple[str, str], int]) -> Row | Rejected:
    # Two lines for one person would make the result depend on their order, and a second import of the same file
    # would change what the first one settled.
    keys = [(name, str(change[name])) for name in ("id", "external_id", "telegram_chat_id") if name in change]
    if "email" in change:
        keys.append(("email", email_key(change["email"])))
    for key in keys:
        if key in seen:
            return Rejected(line, f"{key[0]}: stands on line {seen[key]} already")
    for key in keys:
        seen[key] = line
    return Row(line, change)
