"""What the Bot API's answers mean, and what follows from them."""

from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_telegram.attempts import BACKOFF_CAP, Again, Claim, Limits, Settle, backoff, decide
from nurture_telegram.verdicts import DEFAULT_WAIT, FOREIGN, LONGEST_WAIT, TABLE, Answer, Kind, Row, Verdict, read

CLAIM = Claim(delivery_id=UUID(int=5), user_id=UUID(int=6), chat_id="77", attempt=1)


def refusal(code: int, description: str = "", **parameters: Any) -> Answer:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return Answer(status=code, body=body)


def fits(row: Row) -> Answer:
    """An answer that this row is for."""
    parameters = {row.parameter: -1001} if row.parameter else {}
    return refusal(row.code, f"Something: {row.part.capitalize()} for Ada", **parameters)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.code}-{row.part or row.parameter or 'any'}")
def test_every_row_of_the_table_is_found_and_says_what_follows(row: Row) -> None:
    verdict = read(fits(row))
    assert (verdict.kind, verdict.then, verdict.chat) == (row.kind, row.then, row.chat)
    assert verdict.reason == (row.reason or "bad_request")
    assert verdict.moved_to == ("-1001" if row.then == "migrate" else None)
    assert verdict.retry_after == (DEFAULT_WAIT if row.then == "wait" else None)
    assert row.chat is None or row.kind == "rejected"
    assert row.then is None or row.kind == "not_sent"


def test_each_code_of_the_table_knows_every_other_text() -> None:
    for code in {row.code for row in TABLE}:
        assert [row for row in TABLE if row.code == code][-1][1] == "", code


@pytest.mark.parametrize("status", FOREIGN)
def test_what_is_not_the_bot_apis_blames_no_message(status: int) -> None:
    kind, then = FOREIGN[status]
    verdict = read(Answer(status=status, body={"detail": "no"}, retry_after=7.0))
    assert (verdict.kind, verdict.then) == (kind, then) == ("not_sent", "wait" if status == 429 else "park")
    assert verdict.reason == f"http_{status}" and verdict.retry_after == (7.0 if then == "wait" else None)


@given(st.integers(-1000, 1000).filter(lambda code: code not in {row.code for row in TABLE}), st.text(), st.booleans())
def test_a_code_that_is_not_in_the_table_is_ambiguous(code: int, text: str, moves: bool) -> None:
    parts = " ".join(row.part for row in TABLE)
    for description in (text, parts, f"Forbidden: {parts}"):
        verdict = read(refusal(code, description, **({"migrate_to_chat_id": 5, "retry_after": 3} if moves else {})))
        assert verdict == Verdict(kind="ambiguous", reason=f"error_{code}")


@given(st.integers(100, 599).filter(lambda status: status not in FOREIGN), st.none() | st.just({}) | st.just({"ok": 1}))
def test_a_status_that_is_not_in_the_table_is_ambiguous(status: int, body: Any) -> None:
    assert read(Answer(status=status, body=body)) == Verdict(kind="ambiguous", reason=f"http_{status}")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=200, body={"ok": True, "result": {"message_id": 9}}), Verdict(kind="accepted", message_id=9)),
        (Answer(status=200, body={"ok": True}), Verdict(kind="ambiguous", reason="unreadable_reply")),
        (Answer(fault="not_sent", reason="ConnectError"), Verdict(kind="not_sent", reason="ConnectError")),
        (Answer(fault="ambiguous", reason="ReadTimeout"), Verdict(kind="ambiguous", reason="ReadTimeout")),
        (
            refusal(429, "Too Many Requests: retry after 3", retry_after=3),
            Verdict(kind="not_sent", then="wait", reason="too_many_requests", retry_after=3.0),
        ),
        (refusal(400, "Bad Request: BUTTON_DATA_INVALID"), Verdict(kind="rejected", reason="button_data_invalid")),
        (refusal(400, "Bad Request: hello Ada, mail a@x.test"), Verdict(kind="rejected", reason="bad_request")),
        (
            refusal(400, "Bad Request: chat not found", migrate_to_chat_id="-1001"),
            Verdict(kind="rejected", reason="chat_not_found", chat="gone"),
        ),
    ],
)
def test_readings(answer: Answer, expected: Verdict) -> None:
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
    assert (verdict.then == "migrate") == (verdict.moved_to is not None)
    assert verdict.chat is None or verdict.kind == "rejected"
    assert verdict.retry_after is None or 0 <= verdict.retry_after <= LONGEST_WAIT
    assert verdict.reason is None or all(c.isalnum() or c == "_" for c in verdict.reason)
    if status >= 500 and not isinstance(body, dict):
        assert verdict.kind == "ambiguous"
    following = decide(CLAIM, verdict, Limits())
    if verdict.kind == "not_sent":
        assert isinstance(following, Again), "it was certainly not taken"
    else:
        outcome = "unknown" if verdict.kind == "ambiguous" else verdict.kind
        assert isinstance(following, Settle) and following.outcome == outcome


def test_accepted_names_chat_and_message() -> None:
    ended = decide(CLAIM, Verdict(kind="accepted", message_id=9), Limits())
    assert ended == Settle(outcome="accepted", provider_id="77:9", arrived=True)


def test_formatting_and_moves_are_mended_once() -> None:
    parse = Verdict(kind="not_sent", then="plain", reason="p")
    migrate = Verdict(kind="not_sent", then="migrate", reason="m", moved_to="-1")
    assert decide(CLAIM, parse, Limits()) == Again(plain=True)
    assert decide(CLAIM, migrate, Limits()) == Again(moved_to="-1")
    tried = replace(CLAIM, plain=True, moved=True)
    assert decide(tried, parse, Limits()) == Settle(outcome="rejected", reason="p")
    assert decide(tried, migrate, Limits()) == Settle(outcome="rejected", reason="m")


VERDICTS = st.sampled_from(
    [
        Verdict(kind="accepted", message_id=9),
        Verdict(kind="ambiguous", reason="timeout"),
        Verdict(kind="rejected", reason="blocked", chat="blocked"),
        Verdict(kind="not_sent", then="plain", reason="parse_error"),
        Verdict(kind="not_sent", then="migrate", reason="chat_migrated", moved_to="-1"),
        Verdict(kind="not_sent", then="wait", retry_after=3.0),
        Verdict(kind="not_sent", then="park"),
        Verdict(kind="not_sent"),
    ]
)


@given(VERDICTS, st.booleans(), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(1, 5))
def test_doubt_is_never_forgotten(
    verdict: Verdict, retries: bool, doubts: int, plain: bool, moved: bool, most: int
) -> None:
    claim = replace(CLAIM, retries=retries, doubts=doubts, plain=plain, moved=moved)
    following = decide(claim, verdict, Limits(max_attempts=most))
    if isinstance(following, Again):
        assert following.doubt == (verdict.kind == "ambiguous")
        assert not following.doubt or (retries and doubts + 1 < most)
    else:
        assert following.arrived == (verdict.kind in ("accepted", "ambiguous"))
        assert following.outcome != "rejected" or doubts == 0, "what may have arrived has not failed"
        assert following.chat == verdict.chat


@given(st.uuids(), st.integers(1, 10_000))
def test_waits_grow_to_a_minute_and_no_further(delivery: UUID, attempt: int) -> None:
    wait = backoff(delivery, attempt)
    assert 0.5 <= wait <= BACKOFF_CAP and wait == backoff(delivery, attempt)
