"""The sandbox's pure rules."""

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nurture_local.sandbox import links
from nurture_local.sandbox.behaviour import deeds, retry_after
from nurture_local.sandbox.errors import ApiError
from nurture_local.sandbox.rate import RateLimit
from nurture_local.sandbox.validation import Mail, bare_address, check

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
FIELDS = ("from", "to", "subject", "html", "text", "cc", "bcc", "reply_to", "headers", "tags", "attachments")
VALID = {"from": "a@b.co", "to": "c@d.co", "subject": "s", "text": "t"}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.booleans())
def test_any_json_is_either_a_mail_or_one_of_resends_errors(fields, in_batch: bool) -> None:
    outcome: Mail | ApiError
    try:
        outcome = check(VALID | fields, in_batch=in_batch)
    except ApiError as error:
        outcome = error
    assert isinstance(outcome, Mail) or (outcome.status == 422 and outcome.message)


@given(st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=256))
def test_a_tag_of_allowed_characters_is_kept(value: str) -> None:
    assert check(VALID | {"tags": [{"name": "n", "value": value}]}).tag("n") == value


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a@b.co", "a@b.co"),
        ("Ann <a+open@b.co>", "a+open@b.co"),
        ("<a@b.co>", "a@b.co"),
        ("a@b", None),
        ("Ann a@b.co", None),
        ("Ann <a@b.co", None),
        ("Ann <a@b.co>\r\nBcc: x@y.z", None),
        ("a@b.co\n", "a@b.co"),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    assert bare_address(text) == address


@given(st.emails(), st.floats(0, 10))
def test_every_mail_is_sent_first_and_delivered_or_bounced_once(address: str, reading: float) -> None:
    planned = deeds(address, reading)
    kinds = [deed.kind for deed in planned]
    assert kinds[0] == "sent"
    assert ("delivered" in kinds) != ("bounced" in kinds)
    assert [deed.after for deed in planned] == sorted(deed.after for deed in planned)


@pytest.mark.parametrize(
    ("address", "kinds"),
    [
        ("ann@example.com", ["sent", "delivered"]),
        ("ann+ignore@example.com", ["sent", "delivered"]),
        ("ann+x+open@example.com", ["sent", "delivered", "opened"]),
        ("ann+click@example.com", ["sent", "delivered", "opened", "clicked"]),
        ("delivered+open@resend.dev", ["sent", "delivered"]),
        ("bounced+a+b@resend.dev", ["sent", "bounced"]),
    ],
)
def test_addresses_act(address: str, kinds: list[str]) -> None:
    assert [deed.kind for deed in deeds(address, 1.0)] == kinds


@given(st.integers(1, 3000))
def test_retry_pauses_grow_and_stay_bounded(attempts: int) -> None:
    assert 0.5 <= retry_after(attempts) <= retry_after(attempts + 1) <= 30.0


@given(
    st.sampled_from(["http", "https", "ftp", "javascript", ""]),
    st.sampled_from(["127.0.0.1:9", "localhost", "[::1]:3", "example.com", "169.254.169.254", "user@evil.test", ""]),
    st.sampled_from(["/t/o/abc", "/t/c/abc", "/u/abc", "/deep/t/c/abc", "/admin", "/t/c/../../admin", "/"]),
)
def test_no_visit_leaves_this_machine(scheme: str, host: str, path: str) -> None:
    target = links.on_this_machine(f"{scheme}://{host}{path}", "http://127.0.0.1:8001/admin/api/email/webhook")
    if target is not None:
        assert urlsplit(target).hostname in ("127.0.0.1", "localhost", "::1")
        assert "admin" not in urlsplit(target).path


def test_a_gateway_in_another_container_is_not_on_loopback() -> None:
    link = "http://127.0.0.1:8001/t/c/abc"
    assert links.on_this_machine(link, "http://gateway:8080/admin/api/email/webhook") == "http://gateway:8080/t/c/abc"


def test_the_marked_image_is_the_pixel_wherever_it_stands() -> None:
    html = '<img class="x tracking-pixel" src="/t/o/a"><img src="/t/o/b"><a href="/t/c/1">Go <b>now</b></a><a href="/x">n</a>'
    found = links.find(html, {"list-unsubscribe": "<mailto:a@b.co>, <https://h/u/t>"})
    assert found.pixel == "/t/o/a"
    assert found.clicks == [("/t/c/1", "Go now")]
    assert found.unsubscribe == "https://h/u/t"


@given(st.integers(1, 20), st.integers(1, 60))
def test_a_window_takes_its_limit_and_no_more(limit: int, calls: int) -> None:
    rate = RateLimit(limit)
    for n in range(min(limit, calls)):
        assert rate.take(100.0 + n / 1000)["ratelimit-remaining"] == str(limit - n - 1)
    for n in range(limit, calls):
        with pytest.raises(ApiError, match=f"only make {limit} requests"):
            rate.take(100.0 + n / 1000)
    assert rate.take(101.0)["ratelimit-remaining"] == str(limit - 1)
