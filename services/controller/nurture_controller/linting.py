"""What an author should know before a sequence is published. Errors refuse publication, warnings do not."""

from collections.abc import Iterator

from nurture_controller import template_language
from nurture_controller.sequence import Finding, MessageStep, Sequence, SequenceInvalid
from nurture_controller.sequence_toml import parse
from nurture_controller.template_rules import remarks

SUBJECT_CHARACTERS = 150
TELEGRAM_CHARACTERS = 4_096
ANSWERS = frozenset({"delivered", "opened", "clicked", "pressed", "replied", "bounced", "complained", "unsubscribed"})


def publishable(text: str) -> tuple[Sequence, list[Finding]]:
    """The sequence that `text` describes, with warnings. Raises SequenceInvalid with all findings on any error."""
    sequence = parse(text)
    found = lint(sequence)
    if any(finding.severity == "error" for finding in found):
        raise SequenceInvalid(found)
    return sequence, found


def lint(sequence: Sequence) -> list[Finding]:
    """All findings about a parsed sequence, in the order of its steps."""
    return [
        *_exits(sequence),
        *_names(sequence),
        *(found for place, step in enumerate(sequence.steps) for found in _step(step, place)),
    ]


def _exits(sequence: Sequence) -> Iterator[Finding]:
    for place, event in enumerate(sequence.exit_on):
        if event in ANSWERS:
            problem = f"`{event}` is what a message meets with, and no event that somebody tells"
            hint = "only names that come with POST /admin/api/events end a sequence"
            yield Finding(f"exit_on[{place}]", problem, hint, "warning")


def _names(sequence: Sequence) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for place, step in enumerate(sequence.steps):
        if step.name and first.setdefault(step.name, place) != place:
            problem = f"`{step.name}` is also the name of steps[{first[step.name]}]"
            yield Finding(f"steps[{place}].name", problem, "give each step a name of its own")


def _step(step: MessageStep, place: int) -> Iterator[Finding]:
    where = f"steps[{place}]"
    if place and step.when == "now":
        problem = "goes out together with the step before"
        yield Finding(f"{where}.when", problem, 'give it a delay, such as `delay = "1d"`', "warning")
    by_email = step.channel in ("email", "auto") or step.fallback in ("email", "auto")
    if by_email and not step.subject:
        yield Finding(f"{where}.subject", "an email needs a subject", "add `subject`")
    by_telegram = step.channel in ("telegram", "auto") or step.fallback in ("telegram", "auto")
    if by_telegram and len(step.body) > TELEGRAM_CHARACTERS:
        problem = f"{len(step.body)} characters are more than Telegram's {TELEGRAM_CHARACTERS}"
        yield Finding(f"{where}.body", problem, "shorten it, or send it by email only", "warning")
    if step.on_ambiguous == "retry":
        yield from _retrying(where, by_telegram, by_email)
    if step.subject and len(step.subject) > SUBJECT_CHARACTERS:
        problem = f"{len(step.subject)} characters are more than inboxes show"
        yield Finding(f"{where}.subject", problem, "60 characters fit nearly everywhere", "warning")
    if step.subject and "\n" in step.subject.strip():
        yield Finding(f"{where}.subject", "has more than one line", "lines are joined with spaces", "warning")
    if step.subject:
        yield from _template(step.subject, f"{where}.subject", template_language.SUBJECT)
    yield from _template(step.body, f"{where}.body", template_language.BODY)
    for place_of, words in step.other_words():
        if words.subject:
            yield from _template(words.subject, f"{where}.{place_of}.subject", template_language.SUBJECT)
        if words.body:
            yield from _template(words.body, f"{where}.{place_of}.body", template_language.BODY)


def _retrying(where: str, by_telegram: bool, by_email: bool) -> Iterator[Finding]:
    if by_telegram:
        problem = "Telegram may get this message twice: it is sent again when a call's end is not known"
        hint = "keep the default, `hold`, unless a message that is lost is worse than one that comes twice"
        yield Finding(f"{where}.on_ambiguous", problem, hint, "warning")
    if by_email:
        problem = (
            "has no meaning for email: under an idempotency key a mail is asked for again without a second one, and over SMTP it "
            "is not sent again"
        )
        hint = "leave it out" if not by_telegram else "it holds for Telegram only"
        yield Finding(f"{where}.on_ambiguous", problem, hint, "warning")


def _template(source: str, where: str, environment: template_language.Environment) -> Iterator[Finding]:
    for remark in remarks(source, environment):
        yield Finding(where, f"line {remark.line}: {remark.problem}", remark.hint, remark.severity)
