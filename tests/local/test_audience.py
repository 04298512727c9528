"""The sample audience: the same for the same seed, mixed, and acceptable to an import."""

import csv
import io
import re
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from nurture_local import audience


@settings(max_examples=25)
@given(number=st.integers(0, 300), more=st.integers(0, 100), seed=st.integers(0, 2**31))
def test_same_seed_same_people_and_a_larger_one_begins_with_the_smaller(number: int, more: int, seed: int) -> None:
    small = list(audience.people(number, seed))
    assert len(small) == number
    assert list(audience.people(number + more, seed))[:number] == small


def test_seeds_differ_in_people_and_in_their_names() -> None:
    one, two = list(audience.people(50, 1)), list(audience.people(50, 2))
    assert not {person.external_id for person in one} & {person.external_id for person in two}
    assert not ({person.email for person in one} & {person.email for person in two}) - {""}


def test_the_mix_has_everything() -> None:
    people = list(audience.people(1000))
    emails = [person.email for person in people if person.email]
    assert len(set(emails)) == len(emails)
    assert len({person.external_id for person in people}) == 1000
    assert all(email.endswith("@example.test") for email in emails)
    behaviours = {match[1] for email in emails if (match := re.search(r"\+(\w+)@", email))}
    assert behaviours == {"open", "click", "ignore", "bounce", "complain"}
    assert any("+" not in email for email in emails)
    chats = [person.telegram_chat_id for person in people if person.telegram_chat_id]
    assert {chat[-1] for chat in chats} == set("0123456789")
    assert len(set(chats)) == len(chats) and all(int(chat) >= 1000 for chat in chats)
    assert any(person.telegram_chat_id and person.email for person in people)
    assert any(person.email and not person.telegram_chat_id for person in people)
    assert any(person.telegram_chat_id and not person.email for person in people)
    assert any(not person.telegram_chat_id and not person.email for person in people)
    assert len({person.timezone for person in people}) > 10
    assert len({person.locale for person in people}) > 10
    assert all(ZoneInfo(person.timezone) for person in people)


def test_csv_has_the_documented_columns() -> None:
    rows = list(csv.DictReader(io.StringIO(audience.as_csv(audience.people(20)))))
    assert len(rows) == 20
    assert tuple(rows[0]) == (
        "external_id", "first_name", "email", "telegram_chat_id", "timezone", "locale", "preferred_time",
    )  # fmt: skip
    for row in rows:
        assert re.fullmatch(r"(morning|[0-2]\d:[0-5]\d|)", row["preferred_time"])
