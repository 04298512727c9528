"""The rules about people, CSV, cursors, signals and problems: pure, so most of them as properties."""

import contextlib
import csv
import io
import string
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_gateway.answers import ordered, progress
from nurture_gateway.cursors import NEWEST, Cursor, read
from nurture_gateway.people import Clash, Found, Person, apply, check
from nurture_gateway.people_csv import Rejected, Row, Unreadable, chunks
from nurture_gateway.people_csv import decode as decode_csv
from nurture_gateway.people_csv import read as read_csv
from nurture_gateway.problems import KINDS, RESERVED, Problem

NEW = UUID(int=1)
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.dictionaries(st.text(), st.integers())
)


@given(
    st.dictionaries(
        st.sampled_from(["email", "first_name", "external_id", "timezone", "locale", "attributes", "id"]), ANYTHING
    )
)
def test_whatever_is_said_is_either_clean_or_named_as_wrong(change: dict) -> None:
    clean, errors = check(change)
    assert clean.keys() | {field for field, _ in errors} == change.keys()
    assert not clean.keys() & {field for field, _ in errors}
    again, none = check(clean)
    assert not none and again == clean


@given(st.text(max_size=300))
def test_an_address_that_is_taken_is_one_line_with_one_at(text: str) -> None:
    clean, _ = check({"email": text})
    if "email" in clean:
        address = clean["email"]
        assert address.count("@") == 1 and len(address) <= 254
        assert not any(character.isspace() or not character.isprintable() for character in address)


@pytest.mark.parametrize(
    "address",
    ["a@b", "ada+open@example.org", "o'neil@example.co.uk", "x" * 64 + "@example.org", " padded@example.org "],
)
def test_addresses_that_are_fine(address: str) -> None:
    assert check({"email": address})[1] == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "a@",
        "@b",
        "a b@c",
        "a@b@c",
        "a@b\r\nBcc: x@y",
        "Ada <a@b.c>",
        "a@.b",
        "a@b.",
        "a@b..c",
        "x" * 250 + "@b.c",
        "a@b\x00",
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    assert [field for field, _ in check({"email": address})[1]] == ["email"]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("timezone", "Europe/Berlin", "Europe/Nowhere"),
        ("timezone", "UTC", "../../etc/passwd"),
        ("telegram_chat_id", -1001234567890, "@ada"),
        ("telegram_chat_id", "42", "0"),
        ("preferred_time", "09:30", "25:00"),
        ("preferred_time", "night", "noonish"),
        ("preferred_channel", "telegram", "fax"),
        ("locale", "pt-BR", "english please"),
        ("id", str(NEW), "17"),
        ("first_name", "Zoë", "A\nB"),
        ("attributes", {"a": 1}, {"a": "\x00"}),
        ("attributes", {"a": [1, {"b": None}]}, {"a": float("nan")}),
        ("attributes", {}, {"a": "x" * 20_000}),
    ],
)
def test_fields(field: str, good: object, bad: object) -> None:
    assert check({field: good})[1] == []
    assert [name for name, _ in check({field: bad})[1]] == [field]


names = st.sampled_from(["ada", "bob", None])
changes = st.fixed_dictionaries(
    {},
    optional={
        "first_name": names,
        "timezone": st.sampled_from(["UTC", "Asia/Tokyo", None]),
        "attributes": st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 3)) | st.none(),
    },
)


@given(changes, changes)
def test_a_change_twice_is_a_change_once_and_what_is_not_said_stays(first: dict, second: dict) -> None:
    person = apply(Found(), first, NEW)
    found = Found(by_id=NEW, person=person)
    once = apply(found, second | {"id": NEW}, uuid4())
    assert apply(Found(by_id=NEW, person=once), second | {"id": NEW}, uuid4()) == once
    for field in ("first_name", "timezone", "email"):
        if field not in second:
            assert getattr(once, field) == getattr(person, field)
    assert None not in once.attributes.values()


def test_fields_of_different_people_clash() -> None:
    ada = Person(id=NEW, external_id="ada", email="ada@x")
    other = uuid4()
    for found, change, code in (
        (Found(by_id=NEW, by_external_id=other, person=ada), {"id": NEW, "external_id": "bob"}, "identity_clash"),
        (Found(by_id=NEW, by_email=other, person=ada), {"id": NEW, "email": "bob@x"}, "address_taken"),
        (Found(by_id=NEW, by_chat=other, person=ada), {"id": NEW, "telegram_chat_id": "5"}, "address_taken"),
        (Found(by_external_id=NEW, person=ada), {"id": other, "external_id": "ada"}, "identity_clash"),
        (Found(by_email=NEW, person=ada), {"external_id": "bob", "email": "ada@x"}, "address_taken"),
        (Found(by_chat=other), {"telegram_chat_id": "5"}, "address_taken"),
    ):
        with pytest.raises(Clash) as clash:
            apply(found, change, uuid4())
        assert clash.value.code == code
    unnamed = replace(ada, external_id=None)
    assert (
        apply(Found(by_email=NEW, person=unnamed), {"external_id": "ada2", "email": "ada@x"}, uuid4()).external_id
        == "ada2"
    )


def test_csv_keeps_good_lines_and_names_bad_ones() -> None:
    text = (
        "External_ID,first_name,email,attr.plan,attributes\r\n"
        "a,Ada,ada@x.org,free,\r\n"
        "b,Bob,not an address,,\r\n"
        "\r\n"
        'c,"Zoë\nsecond line",z@x.org,,\r\n'
        "d,Dan,ADA@x.org,,\r\n"
        'e,Eve,eve@x.org,pro,"{""n"": 5}"\r\n'
        "f,Fay,fay@x.org,,{broken\r\n"
        ",,,free,\r\n"
        "g,Gus,gus@x.org,,,surplus\r\n"
    )
    rows = list(read_csv(decode_csv(b"\xef\xbb\xbf" + text.encode())))
    assert [row.line for row in rows if isinstance(row, Row)] == [2, 8]
    assert rows[-1].line == 11
    bad = {row.line: row.reason for row in rows if isinstance(row, Rejected)}
    assert bad.keys() == {3, 5, 7, 9, 10, 11}
    assert "email" in bad[3] and "line 2" in bad[7] and "attributes" in bad[9] and "external_id" in bad[10]
    eve = next(row for row in rows if row.line == 8)
    assert isinstance(eve, Row) and eve.change["attributes"] == {"plan": "pro", "n": 5}


@pytest.mark.parametrize(
    "text", ["", "\n", "name,email\n", "first_name\nAda\n", "email,email\na@b,c@d\n", "attr.,email\n"]
)
def test_csv_with_an_unusable_head_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(Unreadable):
        list(read_csv(text))
    with pytest.raises(Unreadable, match="line 2"):
        decode_csv(b"email\n\xff\xfe")


cells = st.text(string.printable + "äß漢", max_size=20)


@given(st.lists(st.tuples(cells, cells, cells), max_size=30))
def test_every_line_of_a_csv_is_accounted_for_and_no_text_breaks_it(lines: list[tuple[str, str, str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["external_id", "email", "first_name"])
    writer.writerows(lines)
    rows = [row for page in chunks(read_csv(out.getvalue()), 7) for row in page]
    assert len(rows) == sum(1 for line in lines if any(cell.strip() for cell in line))


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1)), st.uuids())
def test_a_cursor_comes_back_as_it_was(at: datetime, identity: UUID) -> None:
    cursor = Cursor(at.replace(tzinfo=UTC), identity)
    assert read(cursor.text()) == cursor and read(None) == NEWEST


@given(st.text(max_size=60))
def test_a_cursor_of_somebody_elses_is_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read(text).text() == text


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.integers()), st.integers(400, 599))
def test_a_problem_keeps_its_own_members(members: dict[str, int], status: int) -> None:
    body = Problem("some_code", "why", status=status, members=members).body("id")
    assert body["status"] == status and body["detail"] == "why" and body["request_id"] == "id"
    assert body.keys() == RESERVED | members.keys()


def test_every_kind_of_problem_has_a_hint() -> None:
    assert all(kind.hint and kind.title and 400 <= kind.status < 600 for kind in KINDS.values())


def test_refusals_of_the_gateway_and_of_the_controller_are_one_list() -> None:
    early = [{"user": "x", "reason": "unknown_person"}, {"user": "y", "reason": "unknown_person"}]
    merged = progress(
        early,
        {
            "started": 3,
            "running": 1,
            "refused": [{"user": "z", "reason": "no_channel"}],
            "refused_by_reason": {"no_channel": 1},
        },
    )
    assert merged["refused_by_reason"] == {"unknown_person": 2, "no_channel": 1}
    assert merged["refused_count"] == 3 and len(merged["refused"]) == 3 and merged["started"] == 3


@given(st.dictionaries(st.sampled_from(["step", "zebra", "enrolment_id", "alpha", "channel"]), st.integers()))
def test_an_answer_has_one_order(result: dict[str, int]) -> None:
    backwards = dict(reversed(list(result.items())))
    assert list(ordered(result)) == list(ordered(backwards)) and ordered(result) == result
