import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_chassis.tokens import Tokens, link_id
from nurture_email import testmail
from nurture_email.rendering import Mail, Outbound, Renderer, RenderSettings, Unrenderable, brand_of
from nurture_email.resend import encode

GOLDEN = Path(__file__).with_name("golden")
SETTINGS = RenderSettings(
    sender="Acme Coaching <hello@acme.test>", public_url="https://n.acme.test", postal_address="Acme, 1 Main Street"
)
TOKENS = Tokens("a secret key that only tests use")
RENDERER = Renderer(TOKENS, link_id)
BODY = (Path(__file__).with_name("golden") / "body.md").read_text(encoding="utf-8")
MESSAGE = Outbound(
    delivery_id=UUID("018f3f60-0000-7000-8000-000000000001"),
    address="ana@example.test",
    template="nurture_sequence",
    subject="Your first week & what comes next",
    body=BODY,
    params={
        "user_name": "Ana",
        "dashboard_url": "https://app.acme.test/me?from=mail",
        "sequence_type": "onboarding",
        "sequence_version": 3,
        "step": 1,
        "variant": "b",
    },
)


@dataclass
class Seen:
    links: list[str]
    images: list[dict[str, str | None]]
    remote: list[str]


def look(html: str) -> Seen:
    seen = Seen([], [], re.findall(r"@import|url\(", html))

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                seen.links.append(dict(attrs).get("href") or "")
            elif tag == "img":
                seen.images.append(dict(attrs))
            elif tag in ("link", "script", "iframe"):
                seen.remote.append(tag)

    Reader().feed(html)
    return seen


def rendered(**changes: object) -> Mail:
    return RENDERER.render(replace(MESSAGE, **changes), SETTINGS)


@pytest.mark.parametrize("template", ["nurture_sequence", "welcome_email"])
def test_a_released_layout_keeps_its_bytes(template: str) -> None:
    """A difference here means other bytes under a key that is in use: make a new layout version instead."""
    mail = rendered(template=template)
    for suffix, value in (("html", mail.html), ("txt", mail.text)):
        golden = GOLDEN / f"{template}@1.{suffix}"
        assert value == golden.read_text(encoding="utf-8")


def test_the_same_row_gives_the_same_bytes_in_another_renderer() -> None:
    again = Renderer(Tokens("a secret key that only tests use"), link_id).render(MESSAGE, SETTINGS)
    assert encode(again) == encode(rendered())


def test_every_web_link_is_tracked_and_the_pixel_comes_last() -> None:
    mail = rendered()
    seen = look(mail.html)
    own = [link for link in seen.links if link.startswith("https://n.acme.test/t/c/")]
    others = [link for link in seen.links if link not in own]
    assert sorted(others) == [
        "https://n.acme.test/u/" + TOKENS.unsubscribe_token(MESSAGE.delivery_id),
        "mailto:help@acme.test",
    ]
    clicked = [TOKENS.read_click(link.rsplit("/", 1)[1]) for link in own]
    assert all(click and click.delivery_id == MESSAGE.delivery_id and mail.links[click.link] for click in clicked)
    assert set(mail.links.values()) == {"https://app.acme.test/plan?week=1&x=2", "https://app.acme.test/me?from=mail"}
    (pixel,) = seen.images
    assert pixel["class"] == "tracking-pixel"
    opened = TOKENS.read_open(str(pixel["src"]).removeprefix("https://n.acme.test/t/o/"))
    assert opened and opened.delivery_id == MESSAGE.delivery_id
    assert mail.html.rindex("<img") > mail.html.rindex("</a>")


def test_nothing_is_loaded_from_anywhere_but_the_pixel() -> None:
    for template in ("nurture_sequence", "welcome_email"):
        seen = look(rendered(template=template).html)
        assert seen.remote == [] and len(seen.images) == 1


def test_headers_and_tags() -> None:
    mail = rendered()
    unsubscribe = "https://n.acme.test/u/" + TOKENS.unsubscribe_token(MESSAGE.delivery_id)
    assert mail.headers == {
        "List-Unsubscribe": f"<{unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Feedback-ID": "onboarding:1:b:nurture",
        "List-Id": "<onboarding.n.acme.test>",
        "X-Entity-Ref-ID": str(MESSAGE.delivery_id),
    }
    assert [(tag.name, tag.value) for tag in mail.tags] == [("delivery_id", str(MESSAGE.delivery_id))]
    assert unsubscribe in mail.html and unsubscribe in mail.text and "Acme, 1 Main Street" in mail.text


def test_a_test_mail_says_so_in_every_token_and_tag() -> None:
    message = testmail.compose(
        MESSAGE.delivery_id, "x@y.test", "welcome_email", {"user_name": "*Ana*\n"}, "https://n.acme.test"
    )
    mail = RENDERER.render(message, SETTINGS)
    assert ("kind", "test") in [(tag.name, tag.value) for tag in mail.tags]
    assert "Hello *Ana*," in mail.text
    own = [link.rsplit("/", 1)[1] for link in look(mail.html).links if "/t/c/" in link]
    assert own and all(click and click.test for click in map(TOKENS.read_click, own))


def test_the_question_whose_a_mailbox_is_carries_a_token_that_no_link_of_ours_keeps() -> None:
    params = {"user_name": "Ana", "purpose": "verification"}
    message = testmail.compose(MESSAGE.delivery_id, "x@y.test", "nurture_sequence", params, "https://n.acme.test/")
    mail = RENDERER.render(message, SETTINGS)
    page = f"https://n.acme.test/v/{TOKENS.verify_token(MESSAGE.delivery_id)}"
    assert mail.subject == "Is this your address?" and page in mail.html and page in mail.text
    assert not mail.links and page.rpartition("/")[2] not in message.body


@pytest.mark.parametrize("field", ["subject", "address"])
@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\x00", "\u2028"])
def test_a_line_break_in_a_header_is_refused(field: str, break_: str) -> None:
    with pytest.raises(Unrenderable) as refused:
        rendered(**{field: f"a{break_}Bcc: x@y.test"})
    assert "x@y.test" not in str(refused.value)


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(Unrenderable):
        rendered(template="../../etc/passwd")
    with pytest.raises(Unrenderable):
        RENDERER.render(MESSAGE, replace(SETTINGS, layout=99))


def test_what_people_are_called_is_text_in_html() -> None:
    mail = rendered(template="welcome_email", params={**MESSAGE.params, "user_name": "<script>{{ 7 * 7 }}"})
    assert "<script>" not in mail.html and "&lt;script&gt;{{ 7 * 7 }}" in mail.html


@given(st.text(), st.text(), st.text(alphabet=st.characters(exclude_characters="\r\n\x00\x85\u2028\u2029")), st.text())
def test_every_body_and_name_can_be_sent(body: str, name: str, subject: str, sequence: str) -> None:
    mail = rendered(
        body=body, subject=subject, params={"user_name": name, "sequence_type": sequence, "step": 2, "variant": None}
    )
    assert all(re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value) for value in mail.headers.values())
    assert mail.headers["Feedback-ID"].count(":") == 3


def test_tokens_are_short_enough_for_one_header_line() -> None:
    token = TOKENS.unsubscribe_token(MESSAGE.delivery_id)
    assert len(f"https://nurture.example.com/u/{token}") < 75


def test_brand_is_the_senders_name_or_domain() -> None:
    assert brand_of("Acme <a@acme.test>") == "Acme"
    assert brand_of("a@acme.test") == "acme.test"
