"""What lint says about templates: what could hurt us, what could embarrass the author."""

import time

import pytest
from nurture_controller.linting import lint, publishable
from nurture_controller.sequence import Finding, MessageStep, Sequence, SequenceInvalid


def of_body(body: str, **step: object) -> list[Finding]:
    step = {"when": "now", "channel": "email", "subject": "Hi"} | step
    return lint(Sequence(format=1, type="a", title="A", steps=(MessageStep(body=body, **step),)))  # type: ignore[arg-type]


def errors(body: str) -> list[str]:
    return [f"{finding.problem} / {finding.hint}" for finding in of_body(body) if finding.severity == "error"]


@pytest.mark.parametrize(
    "body",
    [
        "Hi {{ user_name }}, {{ first_name | default('you') | upper }}",
        "{% if user.attributes.plan == 'pro' %}Pro{% elif user.locale in ['de', 'at'] %}De{% else %}Free{% endif %}",
        "{% for item in context.items %}{{ loop.index }}. {{ item.name }}\n{% endfor %}",
        "{% for week in context.weeks %}{% for day in week.days %}{{ day }}{% endfor %}{% endfor %}",
        "{{ context.plan | default('free') }} {{ user['attributes']['plan'] | d('x') }}",
        "{% if context.plan %}{{ context.plan }}{% endif %}{{ context.a if context.a else 'b' }}",
        "[go]({{ dashboard_url }}) [go](https://example.com/?n={{ first_name | urlencode }})",
        "{{ context.score | default(0) | round }} of {{ sequence.step + 1 }} in {{ sequence.title }}",
        "{# a note #}100 % {{ '{literal}' }}",
        "{% if user.attributes.plan is defined and not user.attributes.plan is none %}x{% endif %}",
    ],
)
def test_good_templates_pass_without_a_word(body: str) -> None:
    assert of_body(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ user_name.__class__ }}",
        "{{ user.attributes._secret }}",
        "{{ user['__class__'] }}",
        "{{ user_name.upper() }}",
        "{{ range(1000000000) }}",
        "{{ lipsum(n=100000) }}",
        "{{ cycler }}",
        "{{ self }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%1000000000d' % 5 }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ user_name | attr('x') }}",
        "{{ user_name | replace('a', 'aaaaaaaa') }}",
        "{{ '%s' | format(user_name) }}",
        "{{ user_name | safe }}",
        "{{ user_name[0:3] }}",
        "{{ (1, 2)[0] }}",
        "{{ {'a': 1} }}",
        "{{ user_name | default(*context.a) }}",
        "{% set a = user_name %}",
        "{% set a %}x{% endset %}",
        "{% macro m() %}x{% endmacro %}",
        "{% filter upper %}x{% endfilter %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{% with a = 1 %}{% endwith %}",
        "{% call user_name() %}{% endcall %}",
        "{% for a in [1, 2] %}{% endfor %}",
        "{% for a in context.a recursive %}{% endfor %}",
        "{% for a, b in context.a %}{% endfor %}",
        "{% for a in context.a %}{% for b in context.a %}{% endfor %}{% endfor %}",
        "{% for a in context.a %}{% for b in a.x %}{% for c in a.x %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ loop.index }}",
        "{% for a in context.a %}{{ loop.cycle }}{% endfor %}",
        "{{ user_name is sameas none }}",
        "{{ user_name.first }}",
        "{{ user }}",
        "{{ sequence.steps }}",
        "{{ nobody }}",
        "{{ 'unclosed",
        "{% if user_name %}",
        "{{ " + "1" * 5_000 + " }}",
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
        "{{ " + "user_name" + " | upper" * 3_000 + " }}",
        "{{ user" + ".a" * 3_000 + " }}",
        "{% if user_name %}" * 60 + "{% endif %}" * 60,
        "{% for a in context.a %}" + "{% for a in a.a %}" * 30 + "{% endfor %}" * 31,
    ],
)
def test_what_is_not_allowed_is_an_error_and_is_found_quickly(body: str) -> None:
    started = time.process_time()
    assert errors(body)
    assert time.process_time() - started < 2.0


def test_unknown_names_get_a_suggestion() -> None:
    assert "`user_name`" in errors("{{ usr_name }}")[0]
    assert "`user.attributes.plan`" in errors("{{ user.plan }}")[0]
    assert "unknown placeholder `{first_nam}`" in errors("Hi\n{first_nam}")[0]
    assert "layout adds it" in errors("{{ unsubscribe_url }}")[0] and "layout adds it" in errors("{tracking_url}")[0]
    assert "`upper`" in errors("{{ user_name | uper }}")[0]


def test_the_line_is_named() -> None:
    assert "line 3" in of_body("a\n\nb {nobody}")[0].problem
    assert "line 2" in of_body("a\n{{ nobody }}")[0].problem


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{{ user.attributes.plan }}", "fails for people without `user.attributes.plan`"),
        ("{{ context.a.b }}", "fails for people without"),
        ("{% if context.a %}{{ context.b }}{% endif %}", "`context.b`"),
        ("[x](https://example.com/?n={{ first_name }})", "not encoded"),
        ("<b>Hi</b>", "shown as it is"),
        ("x" * 5_000, ""),
    ],
)
def test_what_may_go_wrong_is_a_warning(body: str, says: str) -> None:
    found = of_body(body, channel="auto" if not says else "email")
    assert [finding.severity for finding in found] == ["warning"]
    assert says in found[0].problem


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"channel": "telegram"}, ["twice"]),
        ({"channel": "email"}, ["no meaning for email"]),
        ({"channel": "auto"}, ["twice", "no meaning for email"]),
        ({"channel": "email", "fallback": "telegram"}, ["twice", "no meaning for email"]),
    ],
)
def test_a_step_that_is_retried_is_told_what_that_means(step: dict[str, str], says: list[str]) -> None:
    found = of_body("Hello", on_ambiguous="retry", **step)
    assert [(finding.where, finding.severity) for finding in found] == [("steps[0].on_ambiguous", "warning")] * len(
        says
    )
    assert all(part in finding.problem for part, finding in zip(says, found, strict=True))
    assert of_body("Hello", on_ambiguous="hold", **step) == []


def test_steps_are_looked_at_as_steps() -> None:
    now = MessageStep(when="now", name="a", body="x", channel="telegram")
    steps = (now, now, MessageStep(delay="1d", body="x", subject="a\nb"), MessageStep(delay="1d", body="x"))
    found = {finding.where: finding.severity for finding in lint(Sequence(format=1, type="a", title="A", steps=steps))}
    assert found == {
        "steps[1].name": "error",
        "steps[1].when": "warning",
        "steps[2].subject": "warning",
        "steps[3].subject": "error",
    }


def test_publishable_refuses_errors_and_keeps_warnings() -> None:
    head = 'format = 1\ntype = "a"\ntitle = "A"\n[[steps]]\nwhen = "now"\nsubject = "s"\n'
    sequence, warnings = publishable(head + 'body = "{{ context.a }}"\n')
    assert sequence.type == "a" and len(warnings) == 1
    with pytest.raises(SequenceInvalid):
        publishable(head + 'body = "{{ nobody }}"\n')


def test_an_answer_to_a_message_is_no_event_that_ends_a_sequence() -> None:
    step = MessageStep(when="now", channel="email", subject="Hi", body="Hello")
    found = lint(Sequence(format=1, type="a", title="A", exit_on=("bought", "clicked"), steps=(step,)))
    assert [(one.where, one.severity) for one in found] == [("exit_on[1]", "warning")]
