"""What msgspec says of a wrong value, in words that somebody can act upon."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from nurture_gateway import malformed


class Step(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    channel: Annotated[Literal["email", "telegram"], msgspec.Meta(description="Which.")] | None = None
    at: datetime | None = None


class Letter(msgspec.Struct, kw_only=True):
    steps: list[Step] = []
    named: dict[str, Step] = {}
    only: tuple[Step, ...] = ()
    many: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    part: float = 0
    on: bool = False
    text: Annotated[str, msgspec.Meta(max_length=3)] = ""
    id: UUID | None = None
    day: date | None = None
    sure: Literal[True] | None = None
    rows: list[Annotated[int, msgspec.Meta(ge=1)]] = []


@pytest.mark.parametrize(
    ("value", "where", "why"),
    [
        ({"steps": [{}, {"channel": "fax"}]}, "steps[1].channel", "must be one of email, telegram"),
        ({"only": [{"channel": "fax"}]}, "only[0].channel", "must be one of email, telegram"),
        ({"named": {"a": {"channel": "fax"}}}, "named[...].channel", "must be one of email, telegram"),
        ({"steps": [{"at": "soon"}]}, "steps[0].at", "must be a time such as 2027-01-31T09:00:00Z"),
        ({"steps": {}}, "steps", "must be a list, not an object"),
        ({"steps": ["x"]}, "steps[0]", "must be an object, not text"),
        ({"many": "x"}, "many", "must be a whole number, not text"),
        ({"many": 0}, "many", "must be a whole number >= 1"),
        ({"part": "x"}, "part", "must be a number, not text"),
        ({"on": "x"}, "on", "must be true or false, not text"),
        ({"sure": False}, "sure", "must be true"),
        ({"text": "long"}, "text", "must be text of length <= 3"),
        ({"text": 1}, "text", "must be text, not a whole number"),
        ({"id": "x"}, "id", "must be a UUID"),
        ({"id": 1}, "id", "must be a UUID or null, not a whole number"),
        ({"day": "x"}, "day", "must be a day such as 2027-01-31"),
        ({"rows": [0]}, "rows[0]", "must be a whole number >= 1"),
    ],
)
def test_a_wrong_value_is_told_in_words(value: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(value, Letter)
    message, _, place = str(error.value).partition(" - at ")
    path = place.strip("`").removeprefix("$.")
    assert (path, malformed.words(message, malformed.field(Letter, path))) == (where, why)


def test_what_is_asked_in_a_query_is_text_and_nothing_is_not_asked() -> None:
    assert malformed.words("Expected `int | null`, got `str`", int | None, asked=True) == "must be a whole number"


def test_a_message_of_another_form_stays_as_it_is() -> None:
    assert malformed.words("Something else", None) == "Something else"
    assert malformed.words("Invalid enum value 'x'", None) == "Invalid enum value 'x'"
    assert malformed.field(Letter, "steps[0].nobody.knows") is None
