"""A sequence as its author writes it: TOML, format 1. The database keeps the parsed definition and the text."""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

FORMAT = 1
TOML_BYTES = 512 * 1024
BODY_BYTES = 64 * 1024
STEPS = 100
LONGEST_DAYS = 366

Template = Literal["nurture_sequence", "welcome_email"]
StepChannel = Literal["email", "telegram", "auto"]
Fallback = Literal["email", "telegram", "none"]
Severity = Literal["error", "warning"]

PLACEHOLDERS = ("user_name", "first_name", "dashboard_url")
"""Names that may also be written in single braces, as `{user_name}`."""

RESERVED = ("variants", "wordings", "on_ambiguous", "fallback_window")
"""Step keys that a later format will give a meaning to."""


class Finding(Struct, frozen=True):
    """Something about a sequence that its author should know. `where` is a path such as `steps[1].delay`, from 0."""

    where: str
    problem: str
    hint: str
    severity: Severity = "error"


class SequenceInvalid(ValueError):
    """The text is no sequence that could be published. `findings` says why, all at once."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(f"{f.where}: {f.problem}" for f in findings if f.severity == "error"))
        self.findings = findings


class MessageStep(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="message"
):
    """Send one message. Either `when = "now"` or a `delay` after the step before (after the start, for the first)."""

    name: str | None = None
    when: Literal["now"] | None = None
    delay: str | None = None
    at: str | None = None
    channel: StepChannel = "auto"
    fallback: Fallback = "none"
    template: Template | None = None
    max_lateness: str | None = None
    subject: str | None = None
    body: str


Step = MessageStep
"""A union by the tag `kind`, once there is a second kind."""

KINDS: dict[str, type[Step]] = {"message": MessageStep}


class Sequence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message sequence. Steps are counted from 1 wherever people or tables speak of them."""

    format: Literal[1]
    type: str
    title: str
    description: str = ""
    template: Template = "nurture_sequence"
    max_lateness: str = "24h"
    steps: tuple[Step, ...]

    def step(self, number: int) -> Step | None:
        """The step of that number, from 1; None beyond the last."""
        return self.steps[number - 1] if 1 <= number <= len(self.steps) else None

    def template_of(self, step: Step) -> Template:
        """The layout that a step's email gets."""
        return step.template or self.template

    def lateness_of(self, step: Step) -> timedelta:
        """How late a step may go out before it expires."""
        return duration(step.max_lateness or self.max_lateness)


@lru_cache(maxsize=1024)
def duration(text: str) -> timedelta:
    """`30m`, `36h`, `1d` or `2w` as a time span. Raises ValueError for anything else, nothing and over a year."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"`{text}` is not a duration")
    span = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not timedelta(0) < span <= timedelta(days=LONGEST_DAYS):
        raise ValueError(f"`{text}` is not between 1m and {LONGEST_DAYS}d")
    return span


def definition(sequence: Sequence) -> dict[str, Any]:
    """The parsed form for the database."""
    return msgspec.to_builtins(sequence)


def from_definition(stored: Mapping[str, Any]) -> Sequence:
    """The sequence of a stored definition. Raises msgspec.ValidationError if it is not one."""
    return msgspec.convert(stored, Sequence)


def normalised(text: str) -> str:
    """`{user_name}` as `{{ user_name }}`, outside of what is Jinja already."""
    return _SINGLE_BRACES.sub(lambda m: m[1] or f"{{{{ {m[2]} }}}}", text)


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
    if len(found) > before:
        return None
    for key in ("subject", "body"):
        if fields.get(key):
            fields[key] = normalised(fields[key])
    return KINDS[kind](**fields)


def _timing(table: dict[str, Any], where: str, found: list[Finding]) -> None:
    if ("when" in table) == ("delay" in table):
        problem = "both `when` and `delay` are given" if "when" in table else "neither `when` nor `delay` is given"
        found.append(Finding(f"{where}.delay", problem, 'give one: `when = "now"`, or a delay such as `delay = "1d"`'))
    elif "at" in table and not str(table.get("delay", "")).endswith(("d", "w")):
        found.append(Finding(f"{where}.at", "a time of day needs a delay in whole days", 'write `delay = "1d"`'))
    if table.get("fallback", "none") == table.get("channel", "auto"):
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
    if key in RESERVED:
        return f"`{key}` is reserved for a later format", "leave it out"
    near = get_close_matches(key, known, 1)
    return f"unknown key `{key}`", f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _problem(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        control = _CONTROL.search(value)
        if control:
            return f"contains the control character U+{ord(control[0]):04X}"
        check = _CHECKS.get(name)
        return check(value) if check else None
    return None


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
    if not isinstance(value, str):
        return str(value)
    lines = "\n" in value
    text = value.replace("\\", "\\\\").replace('"', '\\"') if not lines else value.replace("\\", "\\\\")
    text = _TOML_CONTROL.sub(lambda m: m[0] if lines and m[0] == "\n" else f"\\u{ord(m[0]):04X}", text)
    if not lines:
        return f'"{text}"'
    return f'"""\n{_CLOSING.sub(_ESCAPED_QUOTE, text)}"""'


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,6})([mhdw])")
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TOML_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CLOSING = re.compile(r'"(?="|\Z)')
_ESCAPED_QUOTE = r'\\"'
_SINGLE_BRACES = re.compile(rf"(\{{\{{.*?\}}\}}|\{{%.*?%\}}|\{{#.*?#\}})|\{{({'|'.join(PLACEHOLDERS)})\}}", re.DOTALL)

_CHECKS: dict[str, Callable[[str], str | None]] = {
    "type": _is_type,
    "title": _of_length(200),
    "description": _of_length(4_000, least=0),
    "max_lateness": _is_duration,
    "name": _of_length(100),
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
    "name": "a short name for people, at most 100 bytes",
    "when": 'only `when = "now"`; otherwise use `delay`',
    "delay": _DURATION_HINT,
    "at": '`at = "preferred"` or a time such as `at = "09:00"`',
    "channel": "`email`, `telegram` or `auto`",
    "fallback": "`email`, `telegram` or `none`",
    "subject": "one line of at most 1000 bytes",
    "body": f"a Markdown text of at most {BODY_BYTES} bytes",
}
