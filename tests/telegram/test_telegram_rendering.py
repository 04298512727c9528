"""Bodies as Telegram's HTML: only its tags, only what must be escaped, never too long, always the same."""

from html.parser import HTMLParser
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nurture_chassis.tokens import Tokens, link_id
from nurture_local.sandbox.telegram import html_mode
from nurture_telegram.bodies import LIMIT, SOURCE_BYTES, blocks, fitted, units
from nurture_telegram.rendering import Outbound, Renderer, Text, Unrenderable

TOKENS = Tokens("a-secret-key-for-tests-only-0123456789")
DELIVERY = UUID(int=(7 << 76) | (2 << 62) | 5)
RENDERER = Renderer(TOKENS, link_id, "https://n.acme.test/")
TAGS = {"b", "i", "u", "s", "code", "pre", "blockquote", "a"}


def render(body: str, **params: object) -> Text:
    return RENDERER.render(Outbound(delivery_id=DELIVERY, chat_id="77", body=body, params=params))


def html(body: str) -> str:
    return fitted(blocks(body, lambda url: f"L:{url}"))[0]


def plain(body: str) -> str:
    return fitted(blocks(body, lambda url: f"L:{url}"))[1]


class Parsed(HTMLParser):
    """What Telegram would make of it: fails on tags that do not nest, keeps the text that people see."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.hrefs: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert [name for name, _ in attrs] == (["href"] if tag == "a" else [])
        assert tag not in self.open or tag != "blockquote"
        self.hrefs += [value or "" for _, value in attrs]
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a declaration")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Hello *you* **there** ~~not~~ `a<b`", "Hello <i>you</i> <b>there</b> <s>not</s> <code>a&lt;b</code>"),
        ("# Big **news**\n\nText", "<b>Big news</b>\n\nText"),
        ("- one\n- two\n  - deep\n- three", "• one\n• two\n  • deep\n• three"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("> a quote\n>\n> > inside", "<blockquote>a quote\n\ninside</blockquote>"),
        ("```python\nif a < b:\n    go()\n```", "<pre>if a &lt; b:\n    go()</pre>"),
        ("one\ntwo  \nthree", "one two\nthree"),
        ("a\n\n---\n\nb", "a\n\n⸻\n\nb"),
        ('<b>no</b> & "quotes"', '&lt;b&gt;no&lt;/b&gt; &amp; "quotes"'),
        ("[here](https://x.test/?a=1&b=2)", '<a href="L:https://x.test/?a=1&amp;b=2">here</a>'),
        ("<https://x.test/>", '<a href="L:https://x.test/">https://x.test/</a>'),
        ("[me](tg://user?id=5)", '<a href="tg://user?id=5">me</a>'),
        ("[mail](mailto:a@x.test), <b@x.test>", "mail (a@x.test), b@x.test"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("![a cat](https://x.test/cat.png)", "a cat"),
    ],
)
def test_markdown_becomes_what_telegram_knows(body: str, expected: str) -> None:
    assert html(body) == expected


def test_without_formatting_links_are_written_out() -> None:
    assert (
        plain("**Go** [here](https://x.test/) or <https://y.test/>")
        == "Go here (L:https://x.test/) or L:https://y.test/"
    )
    assert plain("a < b & c") == "a < b & c"


def test_links_are_ours_and_remembered() -> None:
    text = render("[a](https://x.test/a) and [again](https://x.test/a)")
    (href, other) = Parsed(text.html).hrefs
    assert href == other and href.startswith("https://n.acme.test/t/c/")
    clicked = TOKENS.read_click(href.rpartition("/")[2])
    assert clicked is not None and clicked.telegram and clicked.delivery_id == DELIVERY
    assert text.links == {clicked.link: "https://x.test/a"} and clicked.link == link_id("https://x.test/a")


def test_buttons_carry_a_tracked_address_or_a_signed_press() -> None:
    text = render("Hi", buttons=[{"text": "Open", "url": "https://x.test/"}, {"text": "Yes", "press": "yes"}])
    opens, yes = text.buttons
    assert opens.url is not None and opens.callback_data is None and set(text.links.values()) == {"https://x.test/"}
    assert yes.url is None and yes.callback_data is not None and len(yes.callback_data.encode()) <= 64
    assert TOKENS.read_press(yes.callback_data) == (DELIVERY, 1)


@pytest.mark.parametrize(
    "buttons",
    [
        "no list", [{}], [{"text": "x"}], [{"text": " ", "press": "y"}], [{"text": "x", "url": "https://x", "press": "y"}],
        [{"text": "x", "url": "javascript:alert(1)"}], ["x"], [{"text": "x", "press": "y"}] * 101,
    ],
)  # fmt: skip
def test_a_button_that_cannot_be_made_is_an_error(buttons: object) -> None:
    with pytest.raises(Unrenderable):
        render("Hi", buttons=buttons)


def test_empty_bodies_and_foreign_chats_are_errors() -> None:
    for body in ("", " \n\n", "![](https://x.test/i.png)", "[](mailto:)"):
        with pytest.raises(Unrenderable, match="empty_message"):
            render(body)
    with pytest.raises(Unrenderable, match="bad_chat_id"):
        RENDERER.render(Outbound(delivery_id=DELIVERY, chat_id="@ada", body="Hi", params={}))


def test_a_long_body_is_cut_after_a_paragraph() -> None:
    body = "\n\n".join(f"**{n}** " + "word " * 100 for n in range(20))
    shown = Parsed(html(body)).text
    assert shown.endswith("word\n\n…") and units(shown) <= LIMIT and shown.count("\n\n") == 8
    assert plain(body) == shown


def test_one_endless_paragraph_is_cut_between_words() -> None:
    shown = html("*a* " + "wörd & " * 2000)
    text = Parsed(shown).text
    assert text.endswith("…") and LIMIT - 10 < units(text) <= LIMIT and "<" not in shown
    assert units(html("\N{PILE OF POO}" * 5000)) <= LIMIT
    assert html("x" * 4096) == "x" * 4096 and units(html("x" * 4097)) == 4096


def test_a_source_full_of_links_stays_within_telegrams_limit() -> None:
    text = render("\n\n".join(f"[a](https://x.test/{n})" for n in range(900)))
    assert len(text.html.encode()) <= SOURCE_BYTES and text.html.endswith("…") and units(text.plain) <= LIMIT
    whole = render(" ".join(f"[a](https://x.test/{n})" for n in range(900)))
    assert len(whole.html.encode()) <= SOURCE_BYTES


MARKDOWN = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["**", "*", "~~", "`", "\n\n", "\n", "  \n", "# ", "> ", ">> ", "- ", "1. ", "   ", "```", "<b>", "</i>", "&amp;",
             "&", "[x](https://x.test/)", "[", "](", ")", "![", "<https://y.test>", '"', "\\", "---\n", "<!--", "\x00", "\U0001f600"]
        ),
    ),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(MARKDOWN)
def test_any_body_is_well_formed_and_says_what_was_written(body: str) -> None:
    parts = blocks(body, lambda url: f"L:{url}")
    assert parts == blocks(body, lambda url: f"L:{url}")
    if not parts:
        return
    source, text = fitted(parts)
    parsed = Parsed(source)
    assert parsed.tags <= TAGS
    assert parsed.text == "\n\n".join(part.shown for part in parts)
    assert html_mode.parse(source).text == parsed.text, "the sandbox is as strict as Telegram"
    assert units(parsed.text) <= LIMIT and units(text) <= LIMIT


@settings(max_examples=60, deadline=None)
@given(MARKDOWN, st.integers(20, 400))
def test_any_body_fits_however_long(body: str, times: int) -> None:
    parts = blocks((body + "\n\n") * times, lambda url: f"L:{url}")
    if parts:
        source, text = fitted(parts)
        assert units(Parsed(source).text) <= LIMIT and units(text) <= LIMIT and len(source.encode()) <= SOURCE_BYTES
