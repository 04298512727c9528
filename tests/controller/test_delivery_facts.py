"""Facts fold in any order, any number of times; the status in Python is the status in the database."""

import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, get_args
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from nurture_contracts.events import Observation, Settlement
from nurture_controller.facts import PRECEDENCE, Status, status
from nurture_controller.folding import FACTS, Logged, Told, facts, of_observation, of_settlement

AT = datetime(2026, 1, 1, tzinfo=UTC)
DELIVERIES = [UUID(int=1), UUID(int=2)]
SQL = files("nurture_controller").joinpath("sql")
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 3), timezones=st.just(UTC))
SETTLEMENTS = st.builds(
    Settlement,
    delivery_id=st.sampled_from(DELIVERIES),
    outcome=st.sampled_from(["accepted", "rejected", "unknown", "suppressed", "expired"]),
    at=TIMES,
    attempt=st.integers(1, 9),
    provider_id=st.sampled_from([None, "p1", "p2"]),
    reason=st.sampled_from([None, "cancelled", "timeout"]),
).map(lambda item: of_settlement(UUID(int=9), item))
OBSERVATIONS = st.builds(
    Observation,
    event_id=st.uuids(),
    kind=st.sampled_from(
        ["sent", "delivered", "delayed", "opened", "clicked", "pressed", "replied", "bounced", "complained",
         "suppressed", "failed", "unsubscribed"]
    ),
    at=TIMES,
    delivery_id=st.sampled_from([*DELIVERIES, None]),
    bounce=st.sampled_from([None, "hard", "soft"]),
).map(of_observation)  # fmt: skip
EVENTS = st.lists(SETTLEMENTS | OBSERVATIONS, max_size=12)


def rows(events: list[Logged]) -> list[dict[str, Any]]:
    return [event._asdict() for event in events]


def known(event: Settlement | Observation) -> Told:
    logged = of_settlement(UUID(int=9), event) if isinstance(event, Settlement) else of_observation(event)
    (told,) = facts(rows([logged]))
    return told


@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 3))
def test_order_and_repetition_change_nothing(events: list[Logged], random: Any, times: int) -> None:
    shuffled = events * times
    random.shuffle(shuffled)
    assert facts(rows(shuffled)) == facts(rows(events))


@given(EVENTS, EVENTS)
def test_a_status_never_gets_weaker(first: list[Logged], second: list[Logged]) -> None:
    order = [*PRECEDENCE, "pending"]
    before = {told.delivery_id: told for told in facts(rows(first))}
    after = {told.delivery_id: told for told in facts(rows(first + second))}
    assert before.keys() <= after.keys()
    for delivery_id, told in before.items():
        assert order.index(after[delivery_id].status) <= order.index(told.status)
        assert told.known <= after[delivery_id].known


def test_statuses() -> None:
    assert status(()) == "pending"
    for weak in ("cancelled", "expired", "unknown", "suppressed", "failed"):
        assert status({weak}) == weak and status({weak, "sent"}) == "sent"
    assert status({"opened", "sent"}) == "opened"


def test_an_answer_shows_that_the_message_left() -> None:
    for kind in ("delivered", "opened", "clicked", "pressed", "replied", "bounced", "complained"):
        told = known(Observation(event_id=UUID(int=3), kind=kind, at=AT, delivery_id=DELIVERIES[0]))
        assert told.sent_at == AT and told.status == {"pressed": "clicked", "replied": "clicked"}.get(kind, kind)
    for kind in ("delayed", "unsubscribed"):
        assert known(Observation(event_id=UUID(int=3), kind=kind, at=AT, delivery_id=DELIVERIES[0])).known == set()


def test_the_database_ranks_facts_alike() -> None:
    tables = "".join(file.read_text() for file in SQL.joinpath("migrations").iterdir())
    assert tuple(re.findall(r"when (\w+)_at is not null then '\1'", tables)) == PRECEDENCE
    assert set(FACTS) == set(PRECEDENCE) == set(get_args(Status)) - {"pending"}
    assert Told._fields[1 : len(FACTS) + 1] == tuple(f"{kind}_at" for kind in FACTS)


def test_the_view_knows_seven_words() -> None:
    mapped = dict(re.findall(r"when '(\w+)' then '(\w+)'", SQL.joinpath("publish.sql").read_text()))
    shown = {state: mapped.get(state, state) for state in get_args(Status)}
    assert set(shown.values()) == {"pending", "sent", "delivered", "failed", "bounced", "opened", "clicked"}
    assert [state for state, word in shown.items() if word == "pending"] == ["pending"]
    assert {shown[state] for state in ("suppressed", "cancelled", "expired", "unknown")} == {"failed"}
