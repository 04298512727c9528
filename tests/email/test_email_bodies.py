from hypothesis import given
from hypothesis import strategies as st
from nurture_email import bodies

PIECES = st.sampled_from(
    [
        "Hi Ana,", "**bold** and *slanted*", "- one", "- ", "  nested", "    four spaces", "1. first", "7) seven", "> said",
        "# Title", "---", "===", "```", "~~~", "[a](https://x.test/?a=1&b=2)", "[r]", "[r]: https://x.test", "![p](http://i)",
        "<https://y.test>", "<b>raw</b>", "<!-- c -->", "\\", "tail  ", " ", "\t", "`code`", "a\x00b", "mail <a@b.test>", "+",
        "*", "1.", "&amp; &", "Zoë’s day", "2024. A year", "\u00a0", "\u2028",
    ]
)  # fmt: skip
BODIES = st.lists(st.tuples(PIECES, st.sampled_from(["\n", "\n\n", "\n \n", "\n\n\n", " "]))).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)


def whole(body: str) -> tuple[str, str]:
    parts = [bodies._fragment.__wrapped__(body.strip("\n"), 1)] if body.strip("\n") else []
    return joined(parts)


def joined(parts: list[bodies.Fragment]) -> tuple[str, str]:
    html = "".join(bodies.fill(part.html, lambda url: f"«{url}»") for part in parts)
    text = "\n\n".join(bodies.fill(part.text, lambda url: f"«{url}»") for part in parts)
    return html, text


@given(BODIES)
def test_cutting_a_body_changes_nothing_in_its_html(body: str) -> None:
    assert joined(bodies.fragments(body, 1))[0] == whole(body)[0]


@given(st.text(alphabet="ab1. -*+>#`~[]():!<&\\\n\t_=\"'", max_size=60))
def test_cutting_any_text_changes_nothing_in_its_html(body: str) -> None:
    assert joined(bodies.fragments(body, 1))[0] == whole(body)[0]


@given(st.text(alphabet="aZ ,;.?!'’()…–9_é", min_size=1, max_size=30))
def test_the_short_way_for_plain_paragraphs_is_exact(body: str) -> None:
    fragment = bodies._fragment.__wrapped__(body, 1)
    tokens = bodies._MARKDOWN.parse(body)
    bodies._dress(tokens, bodies.STYLES[1])
    assert "".join(fragment.html) == bodies._MARKDOWN.renderer.render(tokens, bodies._MARKDOWN.options, {})


@given(st.text())
def test_any_text_renders_and_keeps_its_tags_to_itself(body: str) -> None:
    html, _ = joined(bodies.fragments(body, 1))
    assert "<script" not in html and "<img" not in html


def text_of(body: str) -> str:
    return joined(bodies.fragments(body, 1))[1]


def test_text_part_reads_like_a_typed_mail() -> None:
    body = "# Hello\n\nOne\nline, **bold**.\n\n- a\n- b\n  - c\n\n1. x\n\n   y\n\n> q\n\n```\ncode\n```"
    assert text_of(body) == "Hello\n\nOne line, bold.\n\n- a\n- b\n  - c\n\n1. x\n\n   y\n\n> q\n\n    code"


def test_links_in_text_stand_behind_their_words() -> None:
    assert text_of("[see](https://x.test/a) and <https://y.test> and [write](mailto:a@b.test)") == (
        "see («https://x.test/a») and «https://y.test» and write (a@b.test)"
    )


def test_only_known_schemes_become_links() -> None:
    html, _ = joined(bodies.fragments("[a](javascript:alert(1)) [b](/path) [c](data:text/html,x) [d](tg://resolve)", 1))
    assert html.count("<a ") == 1 and 'href="tg://resolve"' in html


def test_html_in_a_body_is_shown_not_obeyed() -> None:
    html, _ = joined(bodies.fragments('<img src="http://x.test/p.gif" onerror="x">', 1))
    assert "&lt;img" in html


def test_a_tracked_url_is_the_url_not_its_html() -> None:
    (fragment,) = bodies.fragments("[a](https://x.test/?a=1&b=2)", 1)
    assert fragment.html[1] == fragment.text[1] == "https://x.test/?a=1&b=2"
