"""The Telegram half's pure rules."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nurture_chassis.tokens import Tokens
from nurture_local.sandbox import links
from nurture_local.sandbox.telegram import formatting, habits, markup
from nurture_local.sandbox.telegram.answers import BotError
from nurture_local.sandbox.telegram.formatting import Entity, Formatted
from nurture_local.sandbox.telegram.limits import CHAT_BURST, FloodLimits

SPECIAL = "_*[]()~`>#+-=|{}.!\\<&\n "
T = TypeVar("T")
marked = st.text(st.sampled_from(SPECIAL + "ab🙂é"), max_size=40)


def outcome(rule: Callable[[], T]) -> T | BotError:
    try:
        return rule()
    except BotError as error:
        return error


@given(marked, st.sampled_from(["HTML", "MarkdownV2", ""]))
def test_any_source_is_either_a_text_or_one_of_telegrams_errors(source: str, mode: str) -> None:
    found = outcome(lambda: formatting.parse(source, mode))
    if isinstance(found, BotError):
        assert found.code == 400 and found.description.startswith("Bad Request: ")
        return
    assert found.text == found.text.strip() != ""
    size = formatting.units(found.text)
    for entity in found.entities:
        assert 0 <= entity.offset < entity.offset + entity.length <= size


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1))
def test_escaped_text_comes_out_as_it_went_in(text: str) -> None:
    if not text.strip():
        return
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert formatting.parse(escaped, "HTML") == Formatted(text.strip())
    marked = "".join(f"\\{one}" if one in "_*[]()~`>#+-=|{}.!\\" else one for one in text)
    assert formatting.parse(marked, "MarkdownV2") == Formatted(text.strip())


@pytest.mark.parametrize(
    ("source", "mode", "text", "entities"),
    [
        ("<b>a<i>b</i></b>", "HTML", "ab", [("bold", 0, 2), ("italic", 1, 1)]),
        ("  🙂 <u>x</u> ", "HTML", "🙂 x", [("underline", 3, 1)]),
        ('<pre><code class="language-py">x</code></pre>', "HTML", "x", [("pre", 0, 1)]),
        ("<blockquote expandable>x</blockquote>", "HTML", "x", [("expandable_blockquote", 0, 1)]),
        ('<span class="tg-spoiler">x</span>&#33;', "HTML", "x!", [("spoiler", 0, 1)]),
        ("*a __b__*", "MarkdownV2", "a b", [("bold", 0, 3), ("underline", 2, 1)]),
        ("[a \\] b](https://e.org/\\))", "MarkdownV2", "a ] b", [("text_link", 0, 5)]),
        ("```py\nx*y\n```", "MarkdownV2", "x*y", [("pre", 0, 3)]),
        (">a\n>b\nc", "MarkdownV2", "a\nb\nc", [("blockquote", 0, 4)]),
        ("||x|| ~y~ `z_`", "MarkdownV2", "x y z_", [("spoiler", 0, 1), ("strikethrough", 2, 1), ("code", 4, 2)]),
    ],
)
def test_entities(source: str, mode: str, text: str, entities: list[tuple[str, int, int]]) -> None:
    found = formatting.parse(source, mode)
    assert found.text == text
    assert [(one.type, one.offset, one.length) for one in found.entities] == entities


@given(st.text(max_size=20), st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=5))
def test_shown_text_is_escaped_and_whole_whatever_the_entities(text: str, places: list[tuple[int, int]]) -> None:
    entities = sorted((Entity("bold", *place) for place in places), key=lambda one: (one.offset, -one.length))
    shown = formatting.as_html(Formatted(text, entities))
    bare = shown.replace("<b>", "").replace("</b>", "")
    assert "<" not in bare and ">" not in bare
    assert shown.count("<b>") == shown.count("</b>")
    if text.isascii():
        assert bare == formatting.as_html(Formatted(text))


def test_every_last_digit_has_a_habit_and_groups_ignore() -> None:
    assert [habits.habit(5_000_000_000 + digit) for digit in range(10)] == [
        "ignores", "reads", "reads", "replies", "presses", "presses", "follows", "has blocked the bot", "ignores",
        "blocks after one message",
    ]  # fmt: skip
    assert habits.habit(-1_000_000_000_003) == "ignores"


@given(st.uuids(), st.integers(0, 255), st.binary(min_size=8, max_size=8), st.booleans(), st.booleans())
def test_the_delivery_is_read_off_our_tokens(
    delivery: UUID, button: int, link: bytes, test: bool, telegram: bool
) -> None:
    tokens = Tokens("any secret")
    press = {"text": "x", "callback_data": tokens.press_token(delivery, button)}
    assert habits.delivery_id([], [{"text": "y", "callback_data": "other"}, press]) == str(delivery)
    click = f"https://n.example/t/c/{tokens.click_token(delivery, link.hex(), test=test, telegram=telegram)}"
    assert habits.tracked_links([Entity("text_link", 0, 1, click)], [{"text": "z", "url": click}]) == [click]
    assert habits.delivery_id([click], []) == str(delivery)


@given(st.text(max_size=64))
def test_other_callback_data_names_no_delivery_or_a_uuid(data: str) -> None:
    found = habits.delivery_id([], [{"text": "x", "callback_data": data}])
    assert found is None or str(UUID(found)) == found


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=60))
def test_no_chat_gets_more_than_its_burst_and_one_a_second(pauses: list[float]) -> None:
    limits, now, taken = FloodLimits(1000), 100.0, 0
    for pause in pauses:
        now += pause
        refusal = outcome(partial(limits.take, 1, 5_000_000_000, now))
        taken += refusal is None
        assert refusal is None or (refusal.code == 429 and refusal.parameters["retry_after"] >= 1)
    assert taken <= CHAT_BURST + (now - 100.0)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["inline_keyboard", "text", "url", "callback_data", "pay"]), inner)))  # fmt: skip
def test_any_markup_is_either_taken_or_refused(value: object) -> None:
    taken = outcome(lambda: markup.check(value))
    if isinstance(taken, BotError):
        assert taken.code == 400
        return
    assert all(button["text"] for button in markup.buttons(taken))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:9/t.me/sandbox_1_bot?start=x", "/t.me/sandbox_1_bot?start=x"),
        ("https://t.me/nurture_bot?start=x", "/t.me/nurture_bot?start=x"),
        ("https://telegram.me/nurture_bot", "/t.me/nurture_bot"),
        ("https://t.me/joinchat/abc", None),
        ("https://example.org/nurture_bot", None),
        ("https://[broken", None),
    ],
)
def test_links_to_a_bot_are_known(url: str, path: str | None) -> None:
    assert links.deep_link(url) == path
