"""Whether a stream is still the noted one: never an alarm while it only goes on, always one when something is gone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_chassis.wholeness import SLACK, Holding, Standing, harm, must_look

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
AGE = 3600.0


class Stream:
    """A model of a stream with limits retention: appends, and what is older than its age goes from the front."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.times: dict[int, datetime] = {}
        self.last_seq = 0
        self.last_at: datetime | None = None

    def step(self, seconds: int, messages: int) -> None:
        self.now += timedelta(seconds=seconds)
        for _ in range(messages):
            self.last_seq, self.last_at = self.last_seq + 1, self.now
            self.times[self.last_seq] = self.now
        self.times = {seq: at for seq, at in self.times.items() if at + timedelta(seconds=AGE) > self.now}

    def holding(self) -> Holding:
        first = min(self.times, default=self.last_seq + 1)
        return Holding(
            created=BEGAN,
            first_seq=first,
            first_at=self.times.get(first),
            last_seq=self.last_seq,
            last_at=self.last_at,
            vanished=self.last_seq - first + 1 - len(self.times),
        )


def judged(noted: Holding, stream: Stream, *standings: Standing) -> str | None:
    found = stream.holding()
    there = stream.times.get(noted.last_seq) if must_look(noted, found, AGE, stream.now) else None
    return harm(noted, found, there, standings, AGE, stream.now)


def standing(delivered: int) -> Standing:
    return Standing(durable="email-send", created=BEGAN, delivered=delivered, floor=0, pending=0, ack_pending=0)


steps = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 3)), max_size=12)


@given(steps, steps)
def test_a_stream_that_only_goes_on_is_whole(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    stream = Stream()
    for step in before:
        stream.step(*step)
    noted = stream.holding()
    for step in after:
        stream.step(*step)
    assert judged(noted, stream, standing(stream.last_seq)) is None


@given(steps, st.integers(1, 5), st.integers(0, 12), st.integers(0, 100))
def test_a_rewound_stream_is_not_whatever_it_took_since(
    before: list[tuple[int, int]], lost: int, since: int, seconds: int
) -> None:
    stream = Stream()
    for step in before:
        stream.step(*step)
    older = stream.last_seq, stream.last_at, dict(stream.times)
    stream.step(1, lost)
    noted = stream.holding()
    stream.last_seq, stream.last_at, stream.times = older
    stream.step(seconds + 1, since)
    assert judged(noted, stream)


@given(st.integers(1, 5), st.integers(0, 5))
def test_messages_that_vanish_are_missed_wherever_they_stood(gone: int, since: int) -> None:
    stream = Stream()
    stream.step(1, 5)
    noted = stream.holding()
    del stream.times[gone]
    stream.step(10, since)
    assert judged(noted, stream) or (gone == 5 and not since)
    # The last one shows once the stream goes on.
    stream.step(10, 1)
    assert judged(noted, stream)


def test_another_stream_of_the_name_and_a_consumer_beyond_its_end_are_told() -> None:
    stream = Stream()
    stream.step(1, 5)
    noted = stream.holding()
    assert (judged(replace(noted, created=BEGAN - timedelta(1)), stream) or "").startswith("it was made again")
    assert judged(noted, stream, standing(6)) == "email-send has heard 6, the stream ends at 5"


@pytest.mark.parametrize("late", [timedelta(0), SLACK / 2])
def test_a_message_at_the_end_of_its_life_is_not_missed(late: timedelta) -> None:
    stream = Stream()
    stream.step(1, 1)
    noted = stream.holding()
    stream.now += timedelta(seconds=AGE) - late
    stream.times = {}
    stream.last_seq += 1
    stream.last_at = stream.times[stream.last_seq] = stream.now
    assert judged(noted, stream) is None
