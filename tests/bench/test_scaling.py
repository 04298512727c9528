"""Replicas of a channel: their calls add up while the limit is out of reach, and change nothing where one reaches it."""

from pathlib import Path

import pytest

from bench import scaling, stand


@pytest.mark.scaling
@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("channel", sorted(scaling.MEMBERS))
def test_calls_of_replicas_add_up(channel: str) -> None:
    with stand.folder() as folder, stand.sink() as sink:
        found = scaling.run(Path(folder) / "nurture", sink, channel, scaling.OUT_OF_REACH)
        assert sink.ask()["repeated"] == 0
    assert found.ratio(2) >= 1.8, found
    assert found.ratio(4) >= 3.2, found


@pytest.mark.scaling
@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("channel", sorted(scaling.MEMBERS))
def test_a_limit_in_reach_is_the_rate_of_any_number(channel: str) -> None:
    """Nine tenths of the limit are used, evenly; a slot that passes in a stall of the machine is lost, never made up for."""
    with stand.folder() as folder, stand.sink() as sink:
        found = scaling.run(Path(folder) / "nurture", sink, channel, scaling.IN_REACH)
        assert sink.ask()["repeated"] == 0
    rates = found.rates.values()
    assert min(rates) >= 0.85 * found.limit and max(rates) <= found.limit, found
    assert max(rates) <= 1.05 * min(rates), found
