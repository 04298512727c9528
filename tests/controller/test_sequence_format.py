"""The TOML format: what it accepts, what it says about what it refuses, and that nothing is lost on the way back."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_controller.sequence import (
    BODY_BYTES,
    STEPS,
    MessageStep,
    Sequence,
    SequenceInvalid,
    definition,
    duration,
    from_definition,
    normalised,
)
from nurture_controller.sequence_toml import dump, parse

HEAD = 'format = 1\ntype = "hello"\ntitle = "Hello"\n'
STEP = '[[steps]]\nwhen = "now"\nsubject = "Hi"\nbody = "Hello"\n'


def findings(text: str) -> dict[str, str]:
    with pytest.raises(SequenceInvalid) as caught:
        parse(text)
    assert all(finding.hint for finding in caught.value.findings)
    return {finding.where: finding.problem for finding in caught.value.findings}


def test_a_small_sequence_gets_its_defaults() -> None:
    sequence = parse(HEAD + STEP)
    assert sequence.template == "nurture_sequence"
    step = sequence.step(1)
    assert step == MessageStep(when="now", subject="Hi", body="Hello")
    assert step.channel == "auto" and step.fallback == "none" and step.on_ambiguous == "hold"
    assert sequence.step(0) is None and sequence.step(2) is None
    assert sequence.lateness_of(step) == timedelta(hours=24)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ('"bought"', "Expected `array`, got `str`"),
        ("[3]", "Expected `str`, got `int` - at `$[0]`"),
        ('["bought", "bought"]', "an event is named twice"),
        ('[""]', "is empty"),
        ('["a\\u0007b"]', "contains the control character U+0007"),
        (str([f"e{n}" for n in range(21)]), "21 events are more than 20"),
    ],
)
def test_exits_are_names_of_events(names: str, problem: str) -> None:
    assert findings(f"{HEAD}exit_on = {names}\n{STEP}") == {"exit_on": problem}


def test_a_step_overrides_template_and_lateness() -> None:
    sequence = parse(
        HEAD + 'max_lateness = "2d"\n' + STEP + 'template = "welcome_email"\nmax_lateness = "30m"\n' + STEP
    )
    first, second = sequence.steps
    assert (sequence.template_of(first), sequence.template_of(second)) == ("welcome_email", "nurture_sequence")
    assert (sequence.lateness_of(first), sequence.lateness_of(second)) == (timedelta(minutes=30), timedelta(days=2))


def test_every_finding_comes_at_once() -> None:
    text = """
    format = 1
    type = "Not A Type"
    titel = "Hello"
    [[steps]]
    body = "Hello"
    [[steps]]
    when = "now"
    delay = "1 day"
    chanel = "email"
    fallback = "pigeon"
    subject = 3
    [[steps]]
    kind = "call"
    [[steps]]
    delay = "3h"
    at = "09:00"
    body = "x"
    on_ambiguous = "twice"
    """
    found = findings(text)
    assert set(found) == {
        "type", "titel", "title", "steps[0].delay", "steps[1].delay", "steps[1].chanel", "steps[1].fallback",
        "steps[1].subject", "steps[1].body", "steps[2].kind", "steps[3].at", "steps[3].on_ambiguous",
    }  # fmt: skip


def test_a_misspelt_key_is_answered_with_the_right_one() -> None:
    with pytest.raises(SequenceInvalid) as caught:
        parse(HEAD + STEP + 'chanel = "email"\n')
    assert "`channel`" in caught.value.findings[0].hint


@pytest.mark.parametrize("head", ["", "format = 2\n", "format = true\n", 'format = "1"\n'])
def test_another_format_is_refused_before_it_is_misread(head: str) -> None:
    assert set(findings(head + STEP)) == {"format"}


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('delay = "0d"', "steps[0].delay"),
        ('delay = "367d"', "steps[0].delay"),
        ('delay = "1.5d"', "steps[0].delay"),
        ('delay = "999999w"', "steps[0].delay"),
        ('delay = "-1d"', "steps[0].delay"),
        ('delay = "1d"\nat = "24:00"', "steps[0].at"),
        ('when = "later"', "steps[0].when"),
        ('when = "now"\nat = "09:00"', "steps[0].at"),
        ('when = "now"\nchannel = "email"\nfallback = "email"', "steps[0].fallback"),
        ('when = "now"\nname = "a\\u0000b"', "steps[0].name"),
        ('when = "now"\ntemplate = "newsletter"', "steps[0].template"),
    ],
)
def test_bad_values_are_named(line: str, where: str) -> None:
    assert where in findings(HEAD + f'[[steps]]\nbody = "x"\n{line}\n')


def test_limits() -> None:
    assert "steps" in findings(HEAD)
    assert "steps" in findings(HEAD + STEP * (STEPS + 1))
    assert len(parse(HEAD + STEP * STEPS).steps) == STEPS
    big = "x" * BODY_BYTES
    assert parse(HEAD + f'[[steps]]\nwhen = "now"\nbody = "{big}"\n').steps[0].body == big
    assert "steps[0].body" in findings(HEAD + f'[[steps]]\nwhen = "now"\nbody = "{big}x"\n')
    assert "steps[0].body" in findings(HEAD + '[[steps]]\nwhen = "now"\nbody = " "\n')
    assert "" in findings("#" * 600_000)
    assert "" in findings("a = " + "[" * 5_000)
    assert "not valid TOML" in findings("format = ")[""]
    with pytest.raises(SequenceInvalid, match=r"^not valid TOML"):
        parse("format = ")


def test_both_spellings_of_a_placeholder_are_one() -> None:
    step = parse(
        HEAD + '[[steps]]\nwhen = "now"\nsubject = "{first_name}!"\nbody = "Hi {user_name} {{ user_name }}"\n'
    ).steps[0]
    assert (step.subject, step.body) == ("{{ first_name }}!", "Hi {{ user_name }} {{ user_name }}")


PIECES = st.sampled_from(["{user_name}", "{{ user_name }}", "{", "}", "{%", "%}", "a"])


@given(st.text(alphabet="{}% #\n") | st.lists(PIECES).map("".join))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_durations() -> None:
    assert [duration(text) for text in ("30m", "36h", "1d", "2w")] == [
        timedelta(minutes=30), timedelta(hours=36), timedelta(days=1), timedelta(days=14)
    ]  # fmt: skip


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), min_size=1).filter(
    lambda text: bool(text.strip()) and normalised(text) == text
)
LINE = TEXT.filter(lambda text: len(text.encode()) <= 100)
WHEN = st.one_of(
    st.just({"when": "now"}),
    st.builds(lambda n, unit: {"delay": f"{n}{unit}"}, st.integers(1, 100), st.sampled_from("mh")),
    st.builds(
        lambda n, at: {"delay": f"{n}d"} | ({"at": at} if at else {}),
        st.integers(1, 366),
        st.sampled_from([None, "preferred", "09:00", "23:59"]),
    ),
)
STEP_VALUES = st.fixed_dictionaries(
    {"body": TEXT, "channel": st.sampled_from(["email", "telegram", "auto"])},
    optional={
        "name": LINE,
        "subject": LINE,
        "template": st.sampled_from(["nurture_sequence", "welcome_email"]),
        "max_lateness": st.sampled_from(["1h", "2d"]),
        "on_ambiguous": st.sampled_from(["hold", "retry"]),
    },
)
SEQUENCES = st.builds(
    lambda steps, **head: Sequence(
        format=1, steps=tuple(MessageStep(**values, **when) for values, when in steps), **head
    ),
    steps=st.lists(st.tuples(STEP_VALUES, WHEN), min_size=1, max_size=4),
    type=st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True),
    title=LINE,
    description=st.just("") | LINE,
    exit_on=st.lists(LINE, max_size=3, unique=True).map(tuple),
    max_lateness=st.sampled_from(["24h", "3d", "90m"]),
)


@given(SEQUENCES)
def test_what_is_dumped_parses_to_the_same(sequence: Sequence) -> None:
    assert parse(dump(sequence)) == sequence


@pytest.mark.parametrize(
    "body", ['"', '""', '"""', 'a"""b', '\n"\n"', "\\", "\\\n", "\n\na\n", 'a\n"""""', "\ta\n\\u0041\n"]
)
def test_awkward_bodies_survive(body: str) -> None:
    sequence = Sequence(format=1, type="a", title='"\\', steps=(MessageStep(when="now", body=body + "x"),))
    assert parse(dump(sequence)) == sequence
    quoted = Sequence(format=1, type="a", title="t", steps=(MessageStep(when="now", body="x\n" + body),))
    assert parse(dump(quoted)) == quoted


@given(SEQUENCES)
def test_the_stored_definition_reads_back(sequence: Sequence) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(definition(sequence)))
    assert all(step["kind"] == "message" for step in stored["steps"])
    assert from_definition(stored) == sequence
