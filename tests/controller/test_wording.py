"""What people read: values filled in, never able to break out, and a failure that concerns one person only."""

import time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nurture_controller.people import Person
from nurture_controller.sequence import MessageStep, Sequence
from nurture_controller.template_language import one_line
from nurture_controller.wording import OUTPUT_BYTES, SUBJECT_CHARACTERS, Wording, WordingFailed, Wordings

URL = "https://nurture.example/people/0192"


def words(
    body: str,
    *,
    name: str = "Ada",
    subject: str | None = "Hi",
    attributes: dict[str, Any] | None = None,
    **context: Any,
) -> Wording:
    sequence = Sequence(format=1, type="a", title="A", steps=(MessageStep(when="now", subject=subject, body=body),))
    person = Person(id=UUID(int=1), first_name=name, attributes=attributes or {})
    return Wordings().render("v1", sequence, 1, person, context, URL)


def test_a_message_is_filled_in() -> None:
    made = words(
        "Hi {{ user_name }}, step {{ sequence.step }} of *{{ sequence.title }}*: [go]({{ dashboard_url }})\n\n"
        "{% for item in context.items %}\n- {{ item.name }}\n{% endfor %}\n"
        "{{ user.attributes.plan | default('free') }} {{ context.score | round }} {{ user.timezone }}",
        subject="{{ first_name }}: {{ context.items | length }} things",
        items=[{"name": "one"}, {"name": "two"}],
        score=71.6,
    )
    assert made.subject == "Ada: 2 things"
    assert made.body == f"Hi Ada, step 1 of *A*: [go]({URL})\n\n- one\n- two\nfree 72 UTC"


@pytest.mark.parametrize("name", ["", "   "])
def test_somebody_without_a_name_is_greeted_all_the_same(name: str) -> None:
    assert words("Hi {{ user_name }}!", name=name).body == "Hi there!"


def test_an_empty_or_null_value_counts_as_missing_for_default() -> None:
    body = "{{ first_name | default('friend') }} {{ user.attributes.plan | d('free') }}"
    assert words(body, name="", attributes={"plan": None}).body == "friend free"


@pytest.mark.parametrize(
    ("body", "variable"),
    [
        ("{{ user.attributes.plan }}", "user.attributes.plan"),
        ("{{ user.attributes.company.name | upper }}", "user.attributes.company.name"),
        ("{{ context.items[0].x }}", "context.items.0.x"),
        ("{{ 'a' ~ context.b }}", "context.b"),
        ("{% if context.score > 5 %}x{% endif %}y", "context.score"),
    ],
)
def test_a_missing_value_is_named(body: str, variable: str) -> None:
    with pytest.raises(WordingFailed) as caught:
        words(body)
    assert caught.value.variable == variable and variable in caught.value.detail


def test_a_missing_value_is_false_in_conditions_and_empty_in_loops() -> None:
    body = "a{% if user.attributes.vip %}b{% endif %}{% for x in context.list %}c{% endfor %}"
    body += "{% if context.p == 'pro' %}d{% endif %}"
    assert words(body).body == "a"


@pytest.mark.parametrize(
    "body",
    [
        "{{ user.attributes }}",
        "{{ context.list }}",
        "{{ 1 / 0 }}",
        "{{ context.list + 1 }}",
        "{% if false %}x{% endif %}",
    ],
)
def test_other_failures_concern_one_person_only(body: str) -> None:
    with pytest.raises(WordingFailed):
        words(body, list=[1])


def test_names_in_data_never_reach_methods() -> None:
    made = words(
        "{{ context.items }} {{ context.keys }} {{ context.x.items | default('none') }}", items="i", keys="k", x={}
    )
    assert made.body == "i k none"


def test_what_publication_would_refuse_is_not_run_either() -> None:
    with pytest.raises(WordingFailed, match="not allowed"):
        words("{{ 'a' * 999999999 }}")


def test_output_is_bounded() -> None:
    many = ["x" * 100] * 10_000
    with pytest.raises(WordingFailed, match="longer"):
        words("{% for a in context.many %}{{ a }}{% endfor %}", many=many)
    with pytest.raises(WordingFailed, match="longer"):
        words("{{ context.long }}", long="é" * (OUTPUT_BYTES - 10))


def test_subjects_are_one_line_of_bounded_length() -> None:
    made = words("x", name="Ada\r\nBcc: all@example.com", subject="Hi\n{{ user_name }} & co")
    assert made.subject == "Hi Ada Bcc: all@example.com & co"
    assert len(words("x", name="n" * 9_000, subject="{{ user_name }}").subject) == SUBJECT_CHARACTERS
    assert words("x", subject=None).subject == ""
    with pytest.raises(WordingFailed, match="subject"):
        words("x", name="", subject="{{ first_name }}")


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = st.text(st.sampled_from("*_[](){}<>&;:/!#+-=.~`|\\\"'$@ \n\r\t\u2028\u00a0aA19%w") | st.characters())


@given(HOSTILE, st.sampled_from(["Hi {}, welcome", "{}", "- x\n\n{}", "a {} b {}", "{}\n---x", "x\n{}"]))
@example("[click](https://evil.example)", "Hi {}, welcome")
@example("<script>alert(1)</script>", "{}")
@example("<https://evil.example>", "{}")
@example("\n\n# Heading\n\n1. list", "{}")
@example("1. list", "{}")
@example("- list", "{}")
@example("---", "x\n{}")
@example("&lt;b&gt;", "{}")
@example("a\\", "{}")
@example("    code", "{}")
@example("<script", "{}")
@example("<!-- x", "{}")
@example("| a | b |", "{}")
def test_no_value_breaks_out_of_its_place(name: str, frame: str) -> None:
    shown = one_line(name)
    body = "Begin\n\n" + frame.replace("{}", "{{ context.value }}") + "\n\nEnd"
    made, plain = words(body, value=name), words(body, value="X" if shown else "")
    assert _shape(made.body) == _shape(plain.body)
    assert _text(made.body) == _text(plain.body.replace("X", "\x00")).replace("\ufffd", shown)


def _shape(markdown: str) -> list[str]:
    tokens = MARKDOWN.parse(markdown)
    return [t.type for t in tokens] + [
        c.type for t in tokens for c in t.children or [] if c.type not in ("text", "text_special")
    ]


def _text(markdown: str) -> str:
    tokens = MARKDOWN.parse(markdown)
    return "|".join("".join(c.content or "\n" for c in t.children or []) for t in tokens if t.type == "inline")


@given(st.text())
def test_an_encoded_value_stays_inside_its_link(value: str) -> None:
    body = words("[x](https://example.com/?q={{ context.value | urlencode }}) end", value=value).body
    inline = MARKDOWN.parse(body)[1]
    assert [child.type for child in inline.children or []] == ["link_open", "text", "link_close", "text"]


@given(HOSTILE)
def test_a_subject_never_has_a_line_break(name: str) -> None:
    subject = words("x", name=name, subject="Hi {{ user_name }}!").subject
    assert subject == " ".join(subject.splitlines()) and subject.startswith("Hi ")


def test_words_are_compiled_once_for_all_people() -> None:
    """Compiling costs what dozens of renderings cost, so a thousand people must not pay for it a thousand times."""
    body = "Hi {{ user_name }},\n\nSee [it]({{ dashboard_url }}).\n" * 5
    step = MessageStep(when="now", subject="Hi {{ user_name }}", body=body)
    sequence = Sequence(format=1, type="a", title="A", steps=(step,))
    person = Person(id=UUID(int=1), first_name="Ada")

    def spent(wordings: list[Wordings]) -> float:
        started = time.process_time()
        for one in wordings:
            one.render("v1", sequence, 1, person, {}, URL)
        return time.process_time() - started

    shared = Wordings()
    shared.render("v1", sequence, 1, person, {}, URL)
    assert min(spent([shared] * 60) for _ in range(3)) * 5 < min(
        spent([Wordings() for _ in range(60)]) for _ in range(3)
    )


def test_compiled_steps_are_bounded() -> None:
    wordings, person = Wordings(keep=2), Person(id=UUID(int=1), first_name="Ada")
    sequence = Sequence(format=1, type="a", title="A", steps=(MessageStep(when="now", body="x"),))
    for version in range(10):
        assert wordings.render(version, sequence, 1, person, {}, URL).body == "x"
    with pytest.raises(WordingFailed, match="no step 2"):
        wordings.render(0, sequence, 2, person, {}, URL)
