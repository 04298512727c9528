"""events send: tell what people did elsewhere."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nurture_local.terminal import FAILED, Failure, Where, console, contents, errors, usage

events = App(name="events", help="Tell what people did elsewhere: it moves their scores.")
PAGE = 1_000
"""Events in one request."""
_COLUMNS = ("event_id", "user", "event", "at")
_SHOWN = 20


@events.command
def send(
    *words: Annotated[str, Parameter(name="PERSON EVENT")],
    at: str | None = None,
    id_: Annotated[str | None, Parameter(name="--id")] = None,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"], allow_leading_hyphen=True)] = None,
    data_dir: Where = None,
) -> int:
    """Send an event: `events send PERSON EVENT`, or many: `events send --file FILE`. Exit code 1 if one was rejected.

    Parameters
    ----------
    words
        PERSON is an id or external_id; EVENT is attended, missed, commitment_made, commitment_kept, or any other name.
    at
        When it happened, ISO 8601; UTC unless it says otherwise. Now, if not given.
    id_
        The event's own id, a UUID or any text: the same id counts once, however often it is sent.
    file
        CSV with the columns user, event and, if you like, at and event_id; or the same as JSON, an object a line
        (.ndjson, .jsonl). `-` reads lines of JSON from standard input.
    """
    if file is not None:
        if words or at or id_:
            usage("events send takes PERSON EVENT, or --file alone")
        return _send(read(file), data_dir)
    if len(words) != 2:
        usage("events send takes PERSON EVENT, or --file FILE")
    event: dict[str, Any] = {"user": words[0], "event": words[1]}
    if at:
        event["at"] = instant(at)
    if id_:
        event["event_id"] = id_
    return _send([("", event)], data_dir)


def instant(text: str) -> str:
    """The time with its zone. Raises Failure."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        usage(f"--at {text}: takes ISO 8601, like 2026-01-05T09:00:00Z")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def read(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Events of a file, each with where it stands in it. Raises Failure."""
    try:
        text = contents(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"cannot read {file}: it is not UTF-8") from None
    found = _of_csv(file, text) if file.suffix.lower() == ".csv" else _of_lines(file, text)
    if not found:
        raise Failure(f"{file} holds no events")
    return found


def _of_lines(file: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise Failure(f"{file}, line {number}: this is no JSON object; nothing was sent")
        found.append((f"line {number}: ", event))
    return found


def _of_csv(file: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    missing = {"user", "event"} - set(rows.fieldnames or ())
    if missing:
        raise Failure(f"{file}: the first line does not name {' and '.join(sorted(missing))}; nothing was sent")
    try:
        return [
            (f"line {rows.line_num}: ", {name: row[name] for name in _COLUMNS if row.get(name)})
            for row in rows
            if any(row.values())
        ]
    except csv.Error as error:
        raise Failure(f"{file}, after line {rows.line_num}: {error}; nothing was sent") from None


def _send(found: list[tuple[str, dict[str, Any]]], data_dir: Path | None) -> int:
    from nurture_local.gateway import Gateway

    counts: dict[str, int] = {}
    shown = 0
    with Gateway.at(data_dir) as gateway:
        for start in range(0, len(found), PAGE):
            page = found[start : start + PAGE]
            answer = gateway.post("/admin/api/events", {"events": [event for _, event in page]})
            for result in answer["results"]:
                status = result["status"]
                counts[status] = counts.get(status, 0) + 1
                if status == "rejected":
                    shown += 1
                    if shown <= _SHOWN:
                        errors.print(f"  {page[result['index']][0]}{result.get('reason')}", markup=False)
    rejected = counts.get("rejected", 0)
    if rejected > _SHOWN:
        errors.print(f"  … and {rejected - _SHOWN} more")
    console.print(", ".join(f"{status} {count}" for status, count in counts.items()), markup=False)
    return FAILED if rejected else 0
