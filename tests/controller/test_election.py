"""Who leads next, by table."""

import pytest

from pybroker.controller import election
from pybroker.metadata.znodes import LeaderAndIsr, ReplicaAssignment


def state(leader, isr, epoch=3, recovery=0):
    return LeaderAndIsr(leader, epoch, isr, recovery, partition_epoch=8)


def brief(after):
    return after and (after.leader, after.isr, after.recovery_state)


@pytest.mark.parametrize(
    ("replicas", "live", "expected"),
    [
        ((1, 2, 3), {1, 2, 3}, (1, (1, 2, 3), 0)),
        ((1, 2, 3), {3, 2}, (2, (2, 3), 0)),
        ((1, 2), set(), None),
        ((), {1}, None),
    ],
)
def test_first_state(replicas, live, expected):
    after = election.first_state(replicas, live)
    assert brief(after) == expected
    assert after is None or (after.leader_epoch, after.partition_epoch) == (0, 0)


@pytest.mark.parametrize(
    ("isr", "live", "unclean", "expected"),
    [
        ((2, 3), {2, 3}, False, (2, (2, 3), 0)),
        ((2, 3), {3}, False, (3, (3,), 0)),
        ((3, 2), {2, 3}, False, (2, (3, 2), 0)),
        ((2,), {1, 3}, False, None),
        ((2,), {1, 3}, True, (1, (1,), 1)),
        ((2,), set(), True, None),
        ((2, 3), {1, 2, 3}, True, (2, (2, 3), 0)),
    ],
)
def test_offline(isr, live, unclean, expected):
    after = election.offline(state(-1, isr), (1, 2, 3), live, unclean_allowed=unclean)
    assert brief(after) == expected
    assert after is None or (after.leader_epoch, after.partition_epoch) == (4, 8)


def test_a_clean_election_keeps_the_recovery_state():
    after = election.offline(state(-1, (2,), recovery=1), (1, 2), {2}, unclean_allowed=False)
    assert brief(after) == (2, (2,), 1)


@pytest.mark.parametrize(
    ("isr", "live", "expected"),
    [((1, 2), {1, 2}, (1, (1, 2), 0)), ((2,), {1, 2}, None), ((1, 2), {2}, None)],
)
def test_preferred(isr, live, expected):
    assert brief(election.preferred(state(2, isr), (1, 2), live)) == expected


@pytest.mark.parametrize(
    ("isr", "live", "expected"),
    [((1, 2, 3), {1, 2, 3}, (3, (1, 2, 3), 0)), ((1, 2), {1, 2, 3}, (2, (1, 2), 0)), ((1,), {1, 2, 3}, None)],
)
def test_reassigned(isr, live, expected):
    moving = ReplicaAssignment((3, 2, 1), adding=(3,), removing=(1,))
    assert brief(election.reassigned(state(1, isr), moving, live)) == expected


@pytest.mark.parametrize(
    ("isr", "stopping", "expected"),
    [((1, 2), {1}, (2, (2,), 0)), ((1,), {1}, None), ((1, 2, 3), {1, 2}, (3, (3,), 0))],
)
def test_controlled_shutdown(isr, stopping, expected):
    after = election.controlled_shutdown(state(1, isr), (1, 2, 3), {1, 2, 3}, stopping)
    assert brief(after) == expected


@pytest.mark.parametrize(
    ("before", "replica", "expected"),
    [
        (state(1, (1, 2)), 1, (-1, (2,), 0)),
        (state(1, (1, 2)), 2, (1, (1,), 0)),
        (state(1, (1,)), 1, (-1, (1,), 0)),
    ],
)
def test_without_replica(before, replica, expected):
    after = election.without_replica(before, replica)
    assert brief(after) == expected
    assert after.leader_epoch == 4
