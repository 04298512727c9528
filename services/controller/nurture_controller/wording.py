"""The words that one person gets: a step's subject and body, filled in. Templates are compiled once per version."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from jinja2 import Template
from msgspec import Struct

from nurture_controller.people import Person
from nurture_controller.sequence import Sequence, Tier
from nurture_controller.template_language import BODY, SUBJECT, Environment, MissingValue, NoText, as_url
from nurture_controller.template_rules import paths, remarks

OUTPUT_BYTES = 256 * 1024
SUBJECT_CHARACTERS = 250
NAMELESS = "there"
"""`user_name` of a person whose name is not known: `Hi {{ user_name }}` becomes `Hi there`."""


class WordingFailed(Exception):
    """A step has no words for this person. `variable` names the value that is missing, if that is why."""

    def __init__(self, detail: str, variable: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.variable = variable


class Wording(NamedTuple):
    """Plain subject (empty where the step has none) and Markdown body."""

    subject: str
    body: str


class _Compiled(Struct, frozen=True):
    subject: Template | None
    body: Template
    asked: frozenset[str]


_Key = tuple[Hashable, int, str | None, Tier | None]


class Wordings:
    """Compiled words, kept by (sequence version, step, variant, tier); the oldest goes when there are more than `keep`."""

    def __init__(self, keep: int = 1024) -> None:
        self._keep = keep
        self._compiled: dict[_Key, _Compiled] = {}

    def render(
        self,
        sequence_id: Hashable,
        sequence: Sequence,
        number: int,
        person: Person,
        context: dict[str, Any],
        dashboard_url: str,
        *,
        telegram_url: str = "",
        variant: str | None = None,
        tier: Tier | None = None,
    ) -> Wording:
        """Step `number` (from 1) of a version in the words for `person`. Raises WordingFailed for this person only.

        `telegram_url` is empty for a person who has a chat already, so that `{% if telegram_url %}` asks for one.
        """
        key = (sequence_id, number, variant, tier)
        compiled = self._compiled.get(key) or self._compile(key, sequence)
        values = _values(sequence, number, person, context, dashboard_url, telegram_url)
        try:
            subject = "" if compiled.subject is None else _filled(compiled.subject, values)
            body = _filled(compiled.body, values)
        except MissingValue as missing:
            name = _full_name(missing.name, compiled.asked)
            raise WordingFailed(f"`{name}` has no value and no default", name) from None
        except NoText:
            raise WordingFailed("a group of values is printed where a text is expected") from None
        except WordingFailed:
            raise
        except Exception as wrong:
            # What a template does with a person's data is that person's failure, not the batch's.
            raise WordingFailed(f"the template failed with {type(wrong).__name__}") from None
        return Wording(_subject(subject, compiled), _body(body))

    def _compile(self, key: _Key, sequence: Sequence) -> _Compiled:
        _, number, variant, tier = key
        step = sequence.step(number)
        if step is None:
            raise WordingFailed(f"there is no step {number}")
        subject, body = step.words(variant, tier)
        compiled = compiled_words(subject, body)
        while len(self._compiled) >= self._keep:
            del self._compiled[next(iter(self._compiled))]
        self._compiled[key] = compiled
        return compiled


def compiled_words(subject: str | None, body: str) -> _Compiled:
    """Templates of a step's words. Checked again here: what is in the database need not have come through publication."""
    return _Compiled(
        subject=_template(subject, SUBJECT) if subject else None,
        body=_template(body, BODY),
        asked=paths(body, BODY) | paths(subject or "", SUBJECT),
    )


def _template(source: str, environment: Environment) -> Template:
    for remark in remarks(source, environment):
        if remark.severity == "error":
            raise WordingFailed(f"the template is not allowed: line {remark.line}: {remark.problem}")
    return environment.from_string(source)


def _values(
    sequence: Sequence, number: int, person: Person, context: dict[str, Any], dashboard_url: str, telegram_url: str
) -> dict[str, Any]:
    name = person.first_name
    return {
        "user_name": name if name and not name.isspace() else NAMELESS,
        "first_name": name,
        "user": {
            "first_name": name,
            "locale": person.locale,
            "timezone": person.timezone,
            "attributes": person.attributes,
        },
        "context": context,
        "sequence": {"type": sequence.type, "title": sequence.title, "step": number},
        "dashboard_url": as_url(dashboard_url),
        "telegram_url": as_url(telegram_url),
    }


def _filled(template: Template, values: dict[str, Any]) -> str:
    left = OUTPUT_BYTES
    pieces: list[str] = []
    for piece in template.root_render_func(template.new_context(values, shared=True)):
        left -= len(piece)
        if left < 0:
            raise WordingFailed(f"the text is longer than {OUTPUT_BYTES} bytes")
        pieces.append(piece)
    return "".join(pieces)


def _subject(text: str, compiled: _Compiled) -> str:
    if compiled.subject is None:
        return ""
    line = " ".join(text.split())
    if not line:
        raise WordingFailed("the subject is empty")
    return line if len(line) <= SUBJECT_CHARACTERS else line[: SUBJECT_CHARACTERS - 1].rstrip() + "…"


def _body(text: str) -> str:
    if not text.isascii() and len(text) * 4 > OUTPUT_BYTES and len(text.encode()) > OUTPUT_BYTES:
        raise WordingFailed(f"the text is longer than {OUTPUT_BYTES} bytes")
    body = text.strip("\n")
    if not body.strip():
        raise WordingFailed("the text is empty")
    return body


def _full_name(name: str, asked: frozenset[str]) -> str:
    full = sorted(path for path in asked if path.rpartition(".")[2] == name)
    return " or ".join(full) or name
