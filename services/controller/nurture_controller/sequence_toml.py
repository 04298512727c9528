"""Sequences as TOML: read with every finding at once, written so that they read back the same."""

import re
import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import Struct

from nurture_controller.sequence import (
    BODY_BYTES,
    BUTTONS,
    EXITS,
    FORMAT,
    KINDS,
    STEPS,
    TOML_BYTES,
    Finding,
    MessageStep,
    Sequence,
    SequenceInvalid,
    Step,
    alternatives,
    duration,
    normalised,
)


def parse(text: str) -> Sequence:
    """The sequence that `text` describes. Raises SequenceInvalid with everything that is wrong with its form."""
    found: list[Finding] = []
    document = _document(text)
    if document.get("format") != FORMAT or isinstance(document.get("format"), bool):
        known = f"write `format = {FORMAT}` as the first line"
        raise SequenceInvalid([Finding("format", f"expected {FORMAT}, found {document.get('format')!r}", known)])
    fields = _fields(Sequence, document, "", found, skip=("steps",))
    steps = document.get("steps")
    if not isinstance(steps, list) or not steps:
        found.append(Finding("steps", "there is no step", "add a `[[steps]]` table with `when` or `delay`, and `body`"))
        steps = []
    if len(steps) > STEPS:
        found.append(Finding("steps", f"{len(steps)} steps are more than {STEPS}", "split the sequence in two"))
        steps = steps[:STEPS]
    read = [_step(table, f"steps[{place}]", found) for place, table in enumerate(steps)]
    if found:
        raise SequenceInvalid(found)
    return Sequence(**fields, steps=tuple(step for step in read if step))


def dump(sequence: Sequence) -> str:
    """The sequence as TOML that parses to the same sequence."""
    head = msgspec.to_builtins(sequence)
    tables = [head, *head.pop("steps")]
    for step in tables[1:]:
        if step["kind"] == "message":
            del step["kind"]
    return "\n[[steps]]\n".join("".join(f"{key} = {_toml(value)}\n" for key, value in t.items()) for t in tables)


def _document(text: str) -> dict[str, Any]:
    size = len(text.encode(errors="replace"))
    if size > TOML_BYTES:
        raise SequenceInvalid([Finding("", f"{size} bytes are more than {TOML_BYTES}", "split the sequence in two")])
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise SequenceInvalid([Finding("", f"not valid TOML: {wrong}", "bodies go between triple quotes")]) from None
    except RecursionError:
        raise SequenceInvalid([Finding("", "nested too deeply", "a sequence has one level of tables")]) from None


def _step(table: Any, where: str, found: list[Finding]) -> Step | None:
    if not isinstance(table, dict):
        found.append(Finding(where, "a step is a table", "begin each step with `[[steps]]`"))
        return None
    kind = table.get("kind", "message")
    if not isinstance(kind, str) or kind not in KINDS:
        found.append(Finding(f"{where}.kind", f"unknown kind {kind!r}", f"known kinds: {', '.join(KINDS)}"))
        return None
    before = len(found)
    fields = _fields(KINDS[kind], {k: v for k, v in table.items() if k != "kind"}, f"{where}.", found)
    _timing(table, where, found)
    _choices(fields, where, found)
    if len(found) > before:
        return None
    return _with_spelling(KINDS[kind](**fields))


def _with_spelling(step: MessageStep) -> MessageStep:
    """Both spellings of a placeholder become one, in the step's own words and in all others."""

    def spelt(words: Any) -> Any:
        changes = {key: normalised(text) for key in ("subject", "body") if (text := getattr(words, key))}
        return msgspec.structs.replace(words, **changes)

    return msgspec.structs.replace(
        spelt(step),
        variants=tuple(map(spelt, step.variants)),
        wordings={tier: spelt(words) for tier, words in step.wordings.items()},
    )


def _choices(fields: dict[str, Any], where: str, found: list[Finding]) -> None:
    arms, wordings, buttons = fields.get("variants", ()), fields.get("wordings", {}), fields.get("buttons", ())
    if arms and wordings:
        hint = "test variants in one step and word another by tier, so that each effect can be told"
        found.append(Finding(f"{where}.variants", "a step has variants or wordings, not both", hint))
    if len(arms) == 1:
        found.append(Finding(f"{where}.variants", "one variant is no choice", "add another, or none"))
    if len({arm.name for arm in arms}) != len(arms):
        found.append(Finding(f"{where}.variants", "two variants have the same name", "give each a name of its own"))
    for number, arm in enumerate(arms):
        if not 1 <= arm.weight <= 1000:
            found.append(Finding(f"{where}.variants[{number}].weight", f"{arm.weight} is no weight", "1 to 1000"))
    if len(buttons) > BUTTONS:
        found.append(Finding(f"{where}.buttons", f"{len(buttons)} buttons are more than {BUTTONS}", "keep the best"))
    for number, button in enumerate(buttons):
        if (button.url is None) == (button.press is None):
            found.append(
                Finding(f"{where}.buttons[{number}]", "needs either `url` or `press`", 'such as `press = "done"`')
            )
        for key, most in (("text", 64), ("url", 2_000), ("press", 64)):
            text = getattr(button, key)
            problem = None if text is None else _of_length(most)(text)
            if problem:
                found.append(Finding(f"{where}.buttons[{number}].{key}", problem, f"at most {most} bytes"))
    texts = [
        (place, key, getattr(words, key))
        for place, words in alternatives(arms, wordings)
        for key in ("subject", "body")
    ]
    for place, key, text in texts:
        problem = None if text is None else _problem(key, text)
        if problem:
            found.append(Finding(f"{where}.{place}.{key}", problem, _HINTS[key]))


def _timing(table: dict[str, Any], where: str, found: list[Finding]) -> None:
    if ("when" in table) == ("delay" in table):
        problem = "both `when` and `delay` are given" if "when" in table else "neither `when` nor `delay` is given"
        found.append(Finding(f"{where}.delay", problem, 'give one: `when = "now"`, or a delay such as `delay = "1d"`'))
    elif "at" in table and not str(table.get("delay", "")).endswith(("d", "w")):
        found.append(Finding(f"{where}.at", "a time of day needs a delay in whole days", 'write `delay = "1d"`'))
    if table.get("fallback", "none") == table.get("channel", "auto") != "auto":
        hint = 'name the other channel, or `fallback = "none"`'
        found.append(Finding(f"{where}.fallback", "the fallback is the channel itself", hint))


def _fields(
    kind: type[Struct], table: dict[str, Any], prefix: str, found: list[Finding], skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    known = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in skip}
    strange = [key for key in table if key not in known and key not in skip]
    found += [Finding(f"{prefix}{key}", *_unknown(key, tuple(known))) for key in strange]
    values: dict[str, Any] = {}
    for name, field in known.items():
        where = f"{prefix}{name}"
        if name not in table:
            if field.required:
                found.append(Finding(where, "is missing", _HINTS.get(name, f"add `{name}`")))
            continue
        try:
            value = msgspec.convert(table[name], field.type)
        except msgspec.ValidationError as wrong:
            found.append(Finding(where, str(wrong), _HINTS.get(name, f"see the format of `{name}`")))
            continue
        problem = _problem(name, value)
        if problem:
            found.append(Finding(where, problem, _HINTS[name]))
        else:
            values[name] = value
    return values


def _unknown(key: str, known: tuple[str, ...]) -> tuple[str, str]:
    near = get_close_matches(key, known, 1)
    return f"unknown key `{key}`", f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _problem(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        control = _CONTROL.search(value)
        if control:
            return f"contains the control character U+{ord(control[0]):04X}"
        check = _CHECKS.get(name)
        return check(value) if check else None
    return _are_events(value) if name == "exit_on" else None


def _are_events(names: tuple[str, ...]) -> str | None:
    if len(names) > EXITS:
        return f"{len(names)} events are more than {EXITS}"
    if len(set(names)) < len(names):
        return "an event is named twice"
    return next((problem for name in names if (problem := _problem("event", name))), None)


def _of_length(most: int, least: int = 1) -> Callable[[str], str | None]:
    def check(value: str) -> str | None:
        if least and not value.strip():
            return "is empty"
        size = len(value.encode())
        return f"{size} bytes are more than {most}" if size > most else None

    return check


def _is_duration(value: str) -> str | None:
    try:
        duration(value)
    except ValueError as wrong:
        return str(wrong)
    return None


def _is_type(value: str) -> str | None:
    return None if _TYPE.fullmatch(value) else f"`{value[:80]}` is not a type name"


def _is_time(value: str) -> str | None:
    return None if value == "preferred" or _CLOCK.fullmatch(value) else f"`{value[:80]}` is not a time of day"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if not isinstance(value, str):
        return str(value)
    lines = "\n" in value
    text = value.replace("\\", "\\\\").replace('"', '\\"') if not lines else value.replace("\\", "\\\\")
    text = _TOML_CONTROL.sub(lambda m: m[0] if lines and m[0] == "\n" else f"\\u{ord(m[0]):04X}", text)
    if not lines:
        return f'"{text}"'
    return f'"""\n{_CLOSING.sub(_ESCAPED_QUOTE, text)}"""'


_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TOML_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CLOSING = re.compile(r'"(?="|\Z)')
_ESCAPED_QUOTE = r'\\"'

_CHECKS: dict[str, Callable[[str], str | None]] = {
    "type": _is_type,
    "title": _of_length(200),
    "description": _of_length(4_000, least=0),
    "max_lateness": _is_duration,
    "fallback_window": _is_duration,
    "name": _of_length(100),
    "event": _of_length(100),
    "delay": _is_duration,
    "at": _is_time,
    "subject": _of_length(1_000),
    "body": _of_length(BODY_BYTES),
}
_DURATION_HINT = "a whole number and m, h, d or w, such as 30m, 36h, 1d, 2w"
_HINTS = {
    "type": "lower-case letters, digits, - and _, beginning with a letter, at most 64: such as `onboarding`",
    "title": "a short name for people, at most 200 bytes",
    "description": "a text of at most 4000 bytes",
    "template": "`nurture_sequence` or `welcome_email`",
    "max_lateness": _DURATION_HINT,
    "exit_on": f'names of events that POST /admin/api/events tells, at most {EXITS}: such as `exit_on = ["purchased"]`',
    "name": "a short name for people, at most 100 bytes",
    "when": 'only `when = "now"`; otherwise use `delay`',
    "delay": _DURATION_HINT,
    "at": '`at = "preferred"` or a time such as `at = "09:00"`',
    "channel": "`email`, `telegram` or `auto`",
    "fallback": "`auto` (the other channel), `email`, `telegram` or `none`",
    "fallback_window": _DURATION_HINT,
    "on_ambiguous": "`hold`, or `retry` to send again what may have arrived",
    "wordings": "tables `low`, `medium`, `high`, each with `subject` or `body`",
    "variants": "tables with `name`, `weight`, and `subject` or `body`",
    "buttons": 'tables such as `{ text = "Done", press = "done" }` or `{ text = "Open", url = "https://…" }`',
    "subject": "one line of at most 1000 bytes",
    "body": f"a Markdown text of at most {BODY_BYTES} bytes",
}
