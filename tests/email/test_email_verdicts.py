from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_email.verdicts import MEMBERS, TABLE, Answer, Row, park_seconds, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "data", "errors", "index", "name"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.integers(100, 599), JSON, st.integers(1, 100))
def test_any_reply_is_read_and_every_member_accounted_for(status: int, body: object, count: int) -> None:
    verdict = read(Answer(status=status, body=body), count)
    assert len(verdict.members) == (count if verdict.kind == "accepted" else 0)
    for member in verdict.members:
        assert (member.provider_id is not None) == (member.kind == "accepted")


@given(st.integers(2, 100), st.data())
def test_data_goes_to_the_members_without_error_in_order(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1)))
    good = [place for place in range(count) if place not in bad]
    body = {
        "data": [{"id": f"p{place}"} for place in good],
        "errors": [{"index": i, "message": "no"} for i in sorted(bad)],
    }
    members = read(Answer(status=200, body=body), count).members
    for place, member in enumerate(members):
        expected = ("rejected", None) if place in bad else ("accepted", f"p{place}")
        assert (member.kind, member.provider_id) == expected


@given(st.integers(2, 50), st.integers(0, 60), st.booleans())
def test_counts_that_do_not_add_up_leave_nobody_accepted(count: int, given_ids: int, error: bool) -> None:
    errors = [{"index": 0, "message": "no"}] if error else []
    members = read(Answer(status=200, body={"data": [{"id": "p"}] * given_ids, "errors": errors}), count).members
    if given_ids != count - len(errors):
        assert {member.kind for member in members[len(errors) :]} == {"unknown"}
        assert not error or members[0].kind == "rejected"


def test_an_impossible_index_makes_the_whole_reply_unknown() -> None:
    body = {"data": [{"id": "a"}], "errors": [{"index": 2, "message": "counted from one?"}]}
    assert {member.kind for member in read(Answer(status=200, body=body), 2).members} == {"unknown"}


def test_an_unreadable_success_is_asked_again() -> None:
    assert read(Answer(status=200, body=None), 3).kind == "ambiguous"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.status}-{row.name or 'any'}")
def test_every_row_of_the_table_is_found(row: Row) -> None:
    for body in ({"name": row.name},) if row.name else (None, [], {"name": "something_new"}, {"name": 7}):
        verdict = read(Answer(status=row.status, body=body), 1)
        assert (verdict.kind, verdict.then) == (row.kind, row.then)


@pytest.mark.parametrize(("name", "kind"), MEMBERS.items())
def test_every_name_of_a_refused_member_is_found(name: str | None, kind: str) -> None:
    body = {"data": [{"id": "a"}], "errors": [{"index": 1, "name": name, "message": "no"}]}
    assert [member.kind for member in read(Answer(status=200, body=body), 2).members] == ["accepted", kind]


NAMES = {row.name for row in TABLE if row.name}
LISTED = {(row.status, row.name) for row in TABLE}


@given(
    st.integers(100, 599), st.none() | st.sampled_from(sorted(NAMES)) | st.from_regex(r"[a-z_]{1,40}", fullmatch=True)
)
def test_what_is_not_in_the_table_is_ambiguous(status: int, name: str | None) -> None:
    if 200 <= status < 300 or {(status, name), (status, None)} & LISTED:
        return
    verdict = read(Answer(status=status, body={"name": name}, retry_after=3.0), 5)
    assert (verdict.kind, verdict.then, verdict.members) == ("ambiguous", None, [])


@given(st.from_regex(r"[a-z][a-z_]{0,40}", fullmatch=True).filter(lambda name: name not in MEMBERS))
def test_a_member_refused_by_a_strange_name_is_unknown(name: str) -> None:
    body = {"data": [{"id": "a"}], "errors": [{"index": 1, "name": name, "message": "no"}]}
    assert [member.kind for member in read(Answer(status=200, body=body), 2).members] == ["accepted", "unknown"]


def test_a_name_that_is_not_one_never_gets_into_a_reason() -> None:
    assert read(Answer(status=422, body={"name": "ana@example.test is bad"}), 1).reason == "http_422"


def test_parking_times() -> None:
    late = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    assert park_seconds("daily_quota_exceeded", late) == 120
    assert park_seconds("invalid_api_key", late) == 600
