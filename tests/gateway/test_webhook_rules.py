"""Signatures against the official library, events of every shape, and who asks for pixels and links."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_gateway.signals import classify
from nurture_gateway.webhooks import Forged, parse, signature, signing_keys, verify
from standardwebhooks import Webhook

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DELIVERY = "0198b2f4-6c00-7000-8000-000000000001"


def headers(body: bytes, *, key: bytes = KEY, stamp: int | None = None) -> dict[str, str]:
    text = str(int(NOW.timestamp()) if stamp is None else stamp)
    return {"svix-id": "msg_1", "svix-timestamp": text, "svix-signature": "v1," + signature(key, "msg_1", text, body)}


@given(st.binary(max_size=500).filter(lambda body: _utf8(body)), st.text("abc_123", min_size=1, max_size=20))
def test_our_signature_is_the_official_librarys(body: bytes, webhook_id: str) -> None:
    official = Webhook(SECRET).sign(webhook_id, NOW, body.decode())
    assert official == "v1," + signature(KEY, webhook_id, str(int(NOW.timestamp())), body)


def _utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_one_right_signature_among_several_is_enough() -> None:
    given_headers = headers(b"{}")
    right = given_headers["svix-signature"]
    other = headers(b"{}", key=b"another key, being replaced soon")["svix-signature"]
    for text in (right, f"{other} {right}", f"v2,abc nocomma v1, {right}"):
        assert verify([KEY], given_headers | {"svix-signature": text}, b"{}", NOW.timestamp()) == "msg_1"
    assert verify([b"x" * 32, KEY], given_headers, b"{}", NOW.timestamp()) == "msg_1"


@pytest.mark.parametrize(
    "change",
    [
        {"svix-signature": "nocomma"},
        {"svix-signature": ""},
        {"svix-signature": "v1,"},
        {"svix-signature": "v1,ÿ"},
        {"svix-id": "msg_2"},
        {"svix-id": ""},
        {"svix-timestamp": "yesterday"},
        {"svix-timestamp": "²"},
        {"svix-timestamp": "9" * 400},
        {"svix-timestamp": str(int(NOW.timestamp()) + 1)},
    ],
)
def test_anything_else_is_forged(change: dict[str, str]) -> None:
    with pytest.raises(Forged):
        verify([KEY], headers(b"{}") | change, b"{}", NOW.timestamp())


@pytest.mark.parametrize("age", [-301, 301, 86_400])
def test_a_stale_one_is_forged(age: int) -> None:
    stamp = int(NOW.timestamp()) - age
    with pytest.raises(Forged):
        verify([KEY], headers(b"{}", stamp=stamp), b"{}", NOW.timestamp())
    stamp = int(NOW.timestamp()) - (299 if age > 0 else -299)
    verify([KEY], headers(b"{}", stamp=stamp), b"{}", NOW.timestamp())


@given(
    st.binary(max_size=64),
    st.dictionaries(st.sampled_from(["svix-id", "svix-timestamp", "svix-signature"]), st.text(max_size=40)),
)
def test_no_header_raises_anything_but_forged(body: bytes, given_headers: dict[str, str]) -> None:
    with pytest.raises(Forged):
        verify([KEY], given_headers, body, NOW.timestamp())


def test_without_a_secret_nothing_is_right() -> None:
    assert signing_keys("") == []
    with pytest.raises(Forged):
        verify([], headers(b"{}"), b"{}", NOW.timestamp())
    with pytest.raises(ValueError, match=r".*"):
        signing_keys("whsec_not base64!")
    assert signing_keys(f"{SECRET}, {SECRET}") == [KEY, KEY]


@pytest.mark.parametrize(
    "tags",
    [
        {"delivery_id": DELIVERY, "kind": "test"},
        [{"name": "delivery_id", "value": DELIVERY}, {"name": "kind", "value": "test"}],
    ],
)
def test_tags_come_as_object_and_as_array(tags: object) -> None:
    event = {
        "type": "email.bounced",
        "created_at": "2026-01-05T08:59:00.000Z",
        "data": {"email_id": "re_1", "tags": tags},
    }
    event["data"]["bounce"] = {"type": "Permanent", "subType": "General", "message": "ada@example.org is no more"}
    read = parse("msg_1", json.dumps(event).encode(), NOW)
    assert read is not None and read.delivery_id == UUID(DELIVERY) and read.test
    assert (read.type, read.provider_id, read.bounce_type, read.bounce_subtype) == (
        "email.bounced",
        "re_1",
        "Permanent",
        "General",
    )
    assert read.at == datetime(2026, 1, 5, 8, 59, tzinfo=UTC) and read.reason is None


def test_codes_are_kept_and_free_text_is_not() -> None:
    failed = parse(
        "m", json.dumps({"type": "email.failed", "data": {"failed": {"reason": "reached_daily_quota"}}}).encode(), NOW
    )
    assert failed is not None and failed.reason == "reached_daily_quota" and failed.at == NOW
    talkative = parse(
        "m", json.dumps({"type": "email.failed", "data": {"failed": {"reason": "ada@x.org is full"}}}).encode(), NOW
    )
    assert talkative is not None and talkative.reason is None
    seed = {
        "type": "email.opened",
        "data": {"tags": [{"name": "tracking_id", "value": DELIVERY}], "timestamp": "2024-01-01T12:00:00Z"},
    }
    read = parse("m", json.dumps(seed).encode(), NOW)
    assert read is not None and read.delivery_id == UUID(DELIVERY) and read.at.year == 2024


NAMES = ["type", "data", "tags", "bounce", "name", "value", "created_at", "email_id"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(anything)
def test_no_shape_of_event_breaks_the_reader(event: object) -> None:
    read = parse("msg", json.dumps(event).encode(), NOW)
    assert (read is None) == (not isinstance(event, dict))


def test_what_is_no_json_is_no_event() -> None:
    assert parse("m", b"\xff", NOW) is None and parse("m", b"[" * 100_000, NOW) is None


CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"


@pytest.mark.parametrize(
    ("kind", "agent", "signal"),
    [
        ("clicked", FIREFOX, "human"),
        ("opened", IPHONE, "human"),
        ("opened", "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "human"),
        ("opened", f"{CHROME}/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0", "machine"),
        ("clicked", "Mozilla/5.0 (compatible; GoogleImageProxy)", "machine"),
        ("opened", "Mozilla/5.0", "machine"),
        ("opened", "", "machine"),
        ("clicked", "python-httpx/0.28.1", "machine"),
        ("clicked", "curl/8.5.0", "machine"),
        ("clicked", "TelegramBot (like TwitterBot)", "machine"),
        ("clicked", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "machine"),
        ("clicked", "Mozilla/5.0 (Linux; Android 11; CUBOT X18) AppleWebKit/537.36 Chrome/120.0 Mobile", "human"),
        ("clicked", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0 Safari/537.36", "machine"),
        ("opened", "Mozilla/5.0 (Windows NT 10.0) Barracuda Sentinel", "machine"),
        ("opened", "SomeMailer/1.0", "unknown"),
    ],
)  # fmt: skip
def test_who_it_was(kind: str, agent: str, signal: str) -> None:
    assert classify(kind, agent) == signal  # type: ignore[arg-type]


def test_a_prefetch_is_a_machine() -> None:
    assert classify("clicked", FIREFOX, "prefetch;prerender") == "machine"


@given(st.sampled_from(["opened", "clicked"]), st.text(max_size=200), st.text(max_size=20))
def test_there_is_always_an_answer(kind: str, agent: str, purpose: str) -> None:
    assert classify(kind, agent, purpose) in ("human", "machine", "unknown")  # type: ignore[arg-type]
