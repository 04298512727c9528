"""A sequence as its author writes it: TOML, format 1. The database keeps the parsed definition and the text."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

FORMAT = 1
TOML_BYTES = 512 * 1024
BODY_BYTES = 64 * 1024
STEPS = 100
BUTTONS = 8
LONGEST_DAYS = 366
EXITS = 20

Template = Literal["nurture_sequence", "welcome_email"]
StepChannel = Literal["email", "telegram", "auto"]
Fallback = Literal["email", "telegram", "auto", "none"]
Tier = Literal["low", "medium", "high"]
OnAmbiguous = Literal["hold", "retry"]
Severity = Literal["error", "warning"]
MessageKind = Literal["sequence", "announcement"]
"""What people agree to apart."""

PLACEHOLDERS = ("user_name", "first_name", "dashboard_url")
"""Names that may also be written in single braces, as `{user_name}`."""


class Finding(Struct, frozen=True):
    """Something about a sequence that its author should know. `where` is a path such as `steps[1].delay`, from 0."""

    where: str
    problem: str
    hint: str
    severity: Severity = "error"


class SequenceInvalid(ValueError):
    """The text is no sequence that could be published. `findings` says why, all at once."""

    def __init__(self, findings: list[Finding]) -> None:
        errors = [finding for finding in findings if finding.severity == "error"]
        super().__init__("; ".join(f"{f.where}: {f.problem}" if f.where else f.problem for f in errors))
        self.findings = findings


class Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Other words for a step; what is left out is taken from the step."""

    subject: str | None = None
    body: str | None = None


class Variant(Words, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One arm of an A/B test. A person keeps the arm they were given; people are split by `weight`."""

    name: str
    weight: int = 1


class Button(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A button under a Telegram message: a link to follow (`url`), or an answer to give (`press`)."""

    text: str
    url: str | None = None
    press: str | None = None


class MessageStep(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="message"
):
    """Send one message. Either `when = "now"` or a `delay` after the step before (after the start, for the first).

    `on_ambiguous` is for Telegram, which cannot tell what became of a call without an answer: `hold` leaves the delivery
    `unknown`, `retry` sends it again, so that it comes at least once and maybe twice.
    """

    name: str | None = None
    when: Literal["now"] | None = None
    delay: str | None = None
    at: str | None = None
    channel: StepChannel = "auto"
    fallback: Fallback = "none"
    fallback_window: str | None = None
    template: Template | None = None
    max_lateness: str | None = None
    on_ambiguous: OnAmbiguous = "hold"
    subject: str | None = None
    body: str
    wordings: dict[Tier, Words] = {}
    variants: tuple[Variant, ...] = ()
    buttons: tuple[Button, ...] = ()

    def words(self, variant: str | None, tier: Tier | None) -> tuple[str | None, str]:
        """Subject and body for a variant, else for a tier, else the step's own."""
        other: Words | None = next((arm for arm in self.variants if arm.name == variant), None)
        other = other or (self.wordings.get(tier) if tier else None) or Words()
        return other.subject or self.subject, other.body or self.body

    def other_words(self) -> list[tuple[str, Words]]:
        """Every alternative with its place, such as `variants[0]` or `wordings.low`."""
        return alternatives(self.variants, self.wordings)


Step = MessageStep
"""A union by the tag `kind`, once there is a second kind."""

KINDS: dict[str, type[Step]] = {"message": MessageStep}


class Sequence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message sequence. Steps are counted from 1 wherever people or tables speak of them.

    `exit_on` are events elsewhere (`POST /admin/api/events`) that end it for whoever did one after their start.
    """

    format: Literal[1]
    type: str
    title: str
    description: str = ""
    template: Template = "nurture_sequence"
    max_lateness: str = "24h"
    exit_on: tuple[str, ...] = ()
    steps: tuple[Step, ...]

    def step(self, number: int) -> Step | None:
        """The step of that number, from 1; None beyond the last."""
        return self.steps[number - 1] if 1 <= number <= len(self.steps) else None

    @property
    def kind(self) -> MessageKind:
        """What people have to want for its messages to be sent to them."""
        return kind_of(self.type)

    def template_of(self, step: Step) -> Template:
        """The layout that a step's email gets."""
        return step.template or self.template

    def window_of(self, step: Step) -> timedelta:
        """For how long after its time a failed step may still be sent on the other channel."""
        return duration(step.fallback_window or "24h")

    def lateness_of(self, step: Step) -> timedelta:
        """How late a step may go out before it expires."""
        return duration(step.max_lateness or self.max_lateness)


class Published(NamedTuple):
    """One immutable version."""

    id: UUID
    version: int
    sequence: Sequence


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


@lru_cache(maxsize=1024)
def kind_of(sequence_type: str) -> MessageKind:
    """Announcements are what is of type `announcement`, or of one that begins so: `announcement-spring`. `message_kind` in
    publish.sql says the same to those who claim."""
    return "announcement" if _ANNOUNCEMENT.match(sequence_type) else "sequence"


def definition(sequence: Sequence) -> dict[str, Any]:
    """The parsed form for the database."""
    return msgspec.to_builtins(sequence)


def from_definition(stored: Mapping[str, Any]) -> Sequence:
    """The sequence of a stored definition. Raises msgspec.ValidationError if it is not one."""
    return msgspec.convert(stored, Sequence)


def normalised(text: str) -> str:
    """`{user_name}` as `{{ user_name }}`, outside of what is Jinja already."""
    return _SINGLE_BRACES.sub(lambda m: m[1] or f"{{{{ {m[2]} }}}}", text)


def alternatives(arms: tuple[Variant, ...], wordings: dict[Tier, Words]) -> list[tuple[str, Words]]:
    """Other words of a step, each with its place."""
    found: list[tuple[str, Words]] = [(f"variants[{n}]", arm) for n, arm in enumerate(arms)]
    return found + [(f"wordings.{tier}", words) for tier, words in wordings.items()]


_ANNOUNCEMENT = re.compile(r"announcements?([_-]|\Z)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,6})([mhdw])")
_SINGLE_BRACES = re.compile(rf"(\{{\{{.*?\}}\}}|\{{%.*?%\}}|\{{#.*?#\}})|\{{({'|'.join(PLACEHOLDERS)})\}}", re.DOTALL)
