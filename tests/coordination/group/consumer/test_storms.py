"""Rebalance storms: joins, leaves, crashes, restarts in the other protocol, moves of the coordinator."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.coordination.group.consumer.storm import ACTIONS, Storm, blow


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), max_size=40))
@example([("old static", 0), ("change protocol", 0), ("change protocol", 0)])  # amid the first rebalance
@example([("new static", 0), ("change protocol", 0), ("grow", 1)])  # nobody is told that he leads
@example(
    [
        *[("new", 0), ("new", 0), ("old static", 0), ("leave", 0), ("leave", 0), ("new", 0), ("leave", 1)],
        *[("move", 0), ("change protocol", 0)],  # all that was assigned has gone with the others
    ]
)
def test_small_storms(steps: list[tuple[str, int]]) -> None:
    storm = Storm(partitions=5)
    for action, number in steps:
        storm.step(action, number)
    storm.settle()


@pytest.mark.parametrize("seed", [1])
def test_a_storm_of_a_hundred_members(seed: int) -> None:
    storm = blow(seed, members=100, steps=60, partitions=120)
    assert len(storm.live()) > 50
