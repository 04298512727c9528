"""F1: a process ends at each place where that could cost something, on both channels; what follows is the same as ever."""

import pytest

from tests.faults.conftest import Rows

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("single")]

# A place in both channels, and one in another room that dies in the same run.
DEATHS = (
    ("before_page", "gateway.before_commit"),
    ("before_ack", "gateway.before_answer"),
    ("before_claim", "controller.before_commit"),
    ("after_claim", "controller.before_publish"),
    ("after_call", "controller.before_fold"),
    ("before_commit", "scoring.before_commit"),
    ("after_commit", "scoring.before_ack"),
    ("before_claim", "controller.before_ack"),
)
DOUBTFUL = ("after_claim", "after_call", "before_commit", "after_commit")
"""Only who has begun a call cannot know its end; and only Telegram has no key to ask again with."""
PEOPLE = 12


@pytest.mark.parametrize(("place", "point"), DEATHS, ids=[f"{place}-{point}" for place, point in DEATHS])
def test_a_process_ends_in_the_middle(single: Rows, place: str, point: str) -> None:
    with single(f"F1 death at {place} of both channels and at {point}") as row:
        stand, clients = row.stand, row.clients
        people = clients.people(PEOPLE, PEOPLE, acts=("open", "ignore", "click"), habits="245")
        other = stand.processes[point.partition(".")[0]]
        row.arm(other, f"{point}:2")
        for process in (stand.email, stand.telegram):
            row.arm(process, f"{process.room}.{place}")
        clients.start(people[: PEOPLE // 2])
        clients.start(people[PEOPLE // 2 :])
        attended = [{"user": one.name, "event": "attended"} for one in people]
        clients.ask("events", "/admin/api/events", {"events": attended[:PEOPLE]})
        clients.ask("events", "/admin/api/events", {"events": attended[PEOPLE:]})
        for process in (other, stand.email, stand.telegram):
            row.crashed(process)
        row.healed()
        row.judge(unknown=None if place in DOUBTFUL else 0)
