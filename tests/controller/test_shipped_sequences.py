"""The sequences that ship: without a finding, and with words for everybody."""

from datetime import UTC, datetime
from importlib.resources import files
from uuid import UUID

import pytest
from nurture_controller.linting import publishable
from nurture_controller.people import Person
from nurture_controller.planning import next_due
from nurture_controller.sequence import Sequence
from nurture_controller.sequence_toml import dump, parse
from nurture_controller.wording import Wordings

SHIPPED = {file.name: file.read_text() for file in files("nurture_controller").joinpath("sequences").iterdir()}


def test_three_sequences_ship() -> None:
    assert {parse(text).type + ".toml" for text in SHIPPED.values()} == set(SHIPPED)
    assert set(SHIPPED) == {"onboarding.toml", "commitment_follow_up.toml", "re_engagement.toml"}


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_is_found_and_nothing_is_lost(name: str) -> None:
    sequence, findings = publishable(SHIPPED[name])
    assert findings == []
    assert 4 <= len(sequence.steps) <= 5
    assert sequence.steps[0].when == "now" and all(step.delay for step in sequence.steps[1:])
    assert parse(dump(sequence)) == sequence


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("first_name", ["Ada", ""])
def test_there_are_words_for_everybody(name: str, first_name: str) -> None:
    sequence, _ = publishable(SHIPPED[name])
    person = Person(id=UUID(int=1), first_name=first_name)
    for number in range(1, len(sequence.steps) + 1):
        made = Wordings().render(name, sequence, number, person, {}, "https://nurture.example/people/1")
        assert made.body.startswith(f"Hi {first_name or 'there'},") and made.subject
        assert ("{" not in made.body + made.subject and "https://" in made.body) or "- **" in made.body


def test_onboarding_goes_on_for_two_mornings() -> None:
    sequence: Sequence = parse(SHIPPED["onboarding.toml"])
    person = Person(id=UUID(int=1), timezone="America/New_York")
    due = datetime(2026, 3, 7, 3, tzinfo=UTC)
    days = []
    for step in range(3):
        following = next_due(sequence, step, due, person)
        assert following is not None
        due = following
        days.append(due.isoformat())
    assert days == ["2026-03-07T03:00:00+00:00", "2026-03-07T14:00:00+00:00", "2026-03-08T13:00:00+00:00"]
