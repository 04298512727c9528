"""Clock, tokens, queries, codec: the chassis' parts that need no server."""

import contextlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_chassis.clock import Clock
from nurture_chassis.codec import PageCodec
from nurture_chassis.queries import Queries, quoted
from nurture_chassis.tokens import Tokens, link_id
from nurture_contracts.commands import SendEmails, StartSequences
from nurture_contracts.events import EmailsSettled
from nurture_contracts.ids import uuid7


def test_business_time_is_real_time_unless_told_otherwise() -> None:
    clock = Clock.from_setting("")
    assert abs(clock.now() - clock.real()) < timedelta(seconds=5)
    assert clock.now().tzinfo is UTC


@given(st.floats(min_value=0.1, max_value=100_000), st.floats(min_value=0, max_value=4e9))
def test_business_time_runs_at_its_speed_from_its_epoch(speed: float, epoch: float) -> None:
    real = datetime.now(UTC).timestamp()
    clock = Clock.from_setting(Clock(speed, real, epoch).to_setting())
    assert clock.real_delay(timedelta(seconds=speed)) == pytest.approx(1.0, abs=1e-4)
    passed = clock.now().timestamp() - epoch
    assert passed >= -1e-3
    assert passed <= speed * (datetime.now(UTC).timestamp() - real) + 1e-3


@pytest.mark.parametrize("text", ["x", "1@2", "0@0@0", "-1@0@0", "a@b@c"])
def test_a_clock_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NURTURE_CLOCK"):
        Clock.from_setting(text)


@given(st.uuids(), st.binary(min_size=8, max_size=8), st.booleans())
def test_tokens_say_what_was_put_in_and_serve_one_purpose(delivery: UUID, link: bytes, test: bool) -> None:
    tokens = Tokens("secret")
    opened, clicked = tokens.open_token(delivery, test=test), tokens.click_token(delivery, link.hex(), test=test)
    left = tokens.unsubscribe_token(delivery, test=test)
    assert tokens.read_open(opened) == tokens.read_unsubscribe(left) == (delivery, test)
    assert tokens.read_verify(tokens.verify_token(delivery)) == delivery
    assert tokens.read_preferences(tokens.preferences_token(delivery)) == delivery
    assert tokens.read_click(clicked) == (delivery, link.hex(), test, False)
    for wrong in (
        tokens.read_open(left),
        tokens.read_unsubscribe(opened),
        tokens.read_click(opened),
        tokens.read_open(clicked),
        tokens.read_verify(opened),
        tokens.read_preferences(left),
        tokens.read_open(tokens.verify_token(delivery)),
    ):
        assert wrong is None
    assert Tokens("other").read_open(opened) is None
    assert max(map(len, (opened, clicked, left))) < 60


@given(st.uuids(), st.lists(st.from_regex(r"\w+", fullmatch=True), min_size=2, max_size=4, unique=True))
def test_a_token_of_an_earlier_key_is_read_and_none_of_a_later_one(delivery: UUID, keys: list[str]) -> None:
    """Keys in the order in which they were in use."""
    newest = Tokens(*reversed(keys))
    for key in keys:
        assert newest.read_open(Tokens(key).open_token(delivery)) == (delivery, False)
    assert newest.open_token(delivery) == Tokens(keys[-1]).open_token(delivery)
    assert Tokens(*reversed(keys[:-1])).read_open(newest.open_token(delivery)) is None


@given(st.uuids(), st.integers(min_value=0, max_value=39), st.sampled_from("ABCxyz019-_"))
def test_a_changed_character_breaks_a_token(delivery: UUID, place: int, other: str) -> None:
    token = Tokens("secret").open_token(delivery)
    changed = token[:place] + other + token[place + 1 :]
    assert (Tokens("secret").read_open(changed) is None) == (changed != token)


@given(st.text(max_size=100))
def test_anything_else_is_no_token(text: str) -> None:
    tokens = Tokens("secret")
    assert tokens.read_open(text) is tokens.read_click(text) is tokens.read_unsubscribe(text) is None


def test_links_are_named_by_their_content() -> None:
    assert link_id("https://a.test/") == link_id("https://a.test/") != link_id("https://b.test/")
    assert len(bytes.fromhex(link_id("https://a.test/"))) == 8


def test_queries_are_found_by_name_and_a_missing_one_names_the_others() -> None:
    queries = Queries("-- name: one\n-- why\nselect 1;\n-- name: two\nselect * from {publish}.users", 'we"ird')
    assert queries["one"] == "-- why\nselect 1"
    assert queries["two"].endswith('"we""ird".users')
    with pytest.raises(LookupError, match="one, two"):
        queries["three"]
    with pytest.raises(ValueError, match="twice"):
        Queries("-- name: a\nx\n-- name: a\ny", "public")
    assert quoted('a"b') == '"a""b"'


def test_bad_items_are_set_aside_and_the_rest_goes_on() -> None:
    good = uuid7()
    body = msgspec.json.encode({"page_id": str(uuid7()), "items": [str(good), "nope", 7], "extra": 1})
    message, bad = PageCodec(SendEmails).read(body)
    assert isinstance(message, SendEmails)
    assert message.items == [good]
    assert [item.index for item in bad] == [1, 2]
    replayed = msgspec.json.decode(bad[0].payload)
    assert replayed["items"] == ["nope"]
    assert replayed["page_id"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"items":[]}', b'{"page_id":"x","items":[]}', b"\xff"])
def test_a_page_that_cannot_be_read_is_refused_whole(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        PageCodec(SendEmails).read(body)


def test_nothing_is_coerced() -> None:
    body = b'{"claim_id":"01a2068a-4a5e-7e14-9a93-ea104cd39bda","items":[{"delivery_id":"01a2068a-4a5e-7e14-9a93-ea104cd39bda"'
    body += b',"outcome":"accepted","at":"2026-03-01T09:00:00Z","attempt":"1"}]}'
    message, bad = PageCodec(EmailsSettled).read(body)
    assert isinstance(message, EmailsSettled)
    assert not message.items
    assert "attempt" in bad[0].reason


@given(st.binary(max_size=200))
def test_no_bytes_make_the_codec_fail_in_another_way(body: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        PageCodec(StartSequences).read(body)
