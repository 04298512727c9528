"""What the Bot API's answers mean, and what follows from them."""

from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_telegram.attempts import BACKOFF_CAP, Again, Claim, Settle, backoff, decide
from nurture_telegram.verdicts import LONGEST_WAIT, Answer, Kind, Verdict, read

CLAIM = Claim(delivery_id=UUID(int=5), user_id=UUID(int=6), chat_id="77", attempt=1)


def refusal(code: int, description: str = "", **parameters: Any) -> Answer:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return Answer(status=code, body=body)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=200, body={"ok": True, "result": {"message_id": 9}}), Verdict(kind="accepted", message_id=9)),
        (Answer(status=200, body={"ok": True}), Verdict(kind="unknown", reason="unreadable_reply")),
        (Answer(status=200, body=None), Verdict(kind="unknown", reason="http_200")),
        (Answer(status=502, body=None), Verdict(kind="unknown", reason="http_502")),
        (Answer(status=403, body=None), Verdict(kind="account", reason="http_403")),
        (Answer(status=404, body={"detail": "no"}), Verdict(kind="account", reason="http_404")),
        (
            Answer(status=429, body=None, retry_after=7.0),
            Verdict(kind="not_sent", reason="http_429", retry_after=7.0),
        ),
        (Answer(fault="not_sent", reason="ConnectError"), Verdict(kind="not_sent", reason="ConnectError")),
        (Answer(fault="unknown", reason="ReadTimeout"), Verdict(kind="unknown", reason="ReadTimeout")),
        (
            refusal(429, "Too Many Requests: retry after 3", retry_after=3),
            Verdict(kind="not_sent", reason="too_many_requests", retry_after=3.0),
        ),
        (refusal(429), Verdict(kind="not_sent", reason="too_many_requests", retry_after=5.0)),
        (
            refusal(403, "Forbidden: bot was blocked by the user"),
            Verdict(kind="rejected", reason="blocked", chat="blocked"),
        ),
        (
            refusal(403, "Forbidden: user is deactivated"),
            Verdict(kind="rejected", reason="deactivated", chat="gone"),
        ),
        (
            refusal(403, "Forbidden: bot can't initiate conversation with a user"),
            Verdict(kind="rejected", reason="not_started", chat="blocked"),
        ),
        (refusal(403, "Forbidden: something new"), Verdict(kind="rejected", reason="forbidden", chat="blocked")),
        (
            refusal(400, "Bad Request: chat not found"),
            Verdict(kind="rejected", reason="chat_not_found", chat="gone"),
        ),
        (
            refusal(400, "Bad Request: anything", migrate_to_chat_id=-1001),
            Verdict(kind="migrate", reason="chat_migrated", moved_to="-1001"),
        ),
        (
            refusal(400, "Bad Request: can't parse entities: Unclosed start tag at byte offset 0"),
            Verdict(kind="parse", reason="parse_error"),
        ),
        (refusal(400, "Bad Request: message is too long"), Verdict(kind="rejected", reason="too_long")),
        (refusal(400, "Bad Request: BUTTON_DATA_INVALID"), Verdict(kind="rejected", reason="button_data_invalid")),
        (refusal(400, "Bad Request: hello Ada, mail a@x.test"), Verdict(kind="rejected", reason="bad_request")),
        (refusal(401, "Unauthorized"), Verdict(kind="account", reason="unauthorized")),
        (refusal(404, "Not Found"), Verdict(kind="account", reason="bot_not_found")),
        (refusal(409, "Conflict"), Verdict(kind="not_sent", reason="conflict", retry_after=5.0)),
        (refusal(413, "Request Entity Too Large"), Verdict(kind="rejected", reason="error_413")),
        (refusal(500, "Internal Server Error"), Verdict(kind="unknown", reason="error_500")),
    ],
)
def test_the_table(answer: Answer, expected: Verdict) -> None:
    assert read(answer) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"ok": st.booleans() | JSON},
        optional={
            "error_code": st.integers(0, 700) | JSON,
            "description": st.text(max_size=60) | JSON,
            "parameters": st.fixed_dictionaries({}, optional={"retry_after": JSON, "migrate_to_chat_id": JSON}) | JSON,
            "result": st.fixed_dictionaries({}, optional={"message_id": JSON}) | JSON,
        },
    ),
)


@given(st.integers(100, 599), BODIES, st.none() | st.floats())
def test_any_answer_gets_a_verdict_and_any_verdict_an_end(status: int, body: Any, retry_after: float | None) -> None:
    verdict = read(Answer(status=status, body=body, retry_after=retry_after))
    assert verdict.kind in get_args(Kind)
    assert (verdict.kind == "accepted") == (verdict.message_id is not None)
    assert (verdict.kind == "migrate") == (verdict.moved_to is not None)
    assert verdict.chat is None or verdict.kind == "rejected"
    assert verdict.retry_after is None or 0 <= verdict.retry_after <= LONGEST_WAIT
    assert verdict.reason is None or all(c.isalnum() or c == "_" for c in verdict.reason)
    if status >= 500 and not isinstance(body, dict):
        assert verdict.kind == "unknown"
    following = decide(CLAIM, verdict)
    if verdict.kind in ("accepted", "rejected", "unknown"):
        assert isinstance(following, Settle) and following.outcome == verdict.kind
    else:
        assert isinstance(following, Again), "it was certainly not taken"


def test_accepted_names_chat_and_message() -> None:
    ended = decide(CLAIM, Verdict(kind="accepted", message_id=9))
    assert ended == Settle(outcome="accepted", provider_id="77:9")


def test_formatting_and_moves_are_mended_once() -> None:
    parse, migrate = Verdict(kind="parse", reason="p"), Verdict(kind="migrate", reason="m", moved_to="-1")
    assert decide(CLAIM, parse) == Again(plain=True)
    assert decide(CLAIM, migrate) == Again(moved_to="-1")
    tried = Claim(**{name: getattr(CLAIM, name) for name in CLAIM.__struct_fields__} | {"plain": True, "moved": True})
    assert decide(tried, parse) == Settle(outcome="rejected", reason="p")
    assert decide(tried, migrate) == Settle(outcome="rejected", reason="m")


@given(st.uuids(), st.integers(1, 10_000))
def test_waits_grow_to_a_minute_and_no_further(delivery: UUID, attempt: int) -> None:
    wait = backoff(delivery, attempt)
    assert 0.5 <= wait <= BACKOFF_CAP and wait == backoff(delivery, attempt)
