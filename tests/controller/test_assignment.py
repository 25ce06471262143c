"""Replicas are spread as Kafka spreads them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.controller.assignment import (
    AssignableBroker,
    assign_replicas,
    check_assignment,
    check_new_partitions,
    rack_alternated,
)
from pybroker.model.errors import ApiError, ErrorCode


def brokers(count, racks=None):
    return [AssignableBroker(i, racks and racks[i]) for i in range(count)]


def test_leaders_go_round_and_followers_shift_each_round():
    """The example in Kafka's AdminUtils: 5 brokers, 10 partitions, 3 replicas."""
    expected = {
        0: (0, 1, 2),
        1: (1, 2, 3),
        2: (2, 3, 4),
        3: (3, 4, 0),
        4: (4, 0, 1),
        5: (0, 2, 3),
        6: (1, 3, 4),
        7: (2, 4, 0),
        8: (3, 0, 1),
        9: (4, 1, 2),
    }
    assert assign_replicas(brokers(5), 10, 3, lambda n: 0, fixed_start_index=0) == expected


def test_racks_alternate():
    """The example in Kafka's AdminUtils."""
    racks = {0: "rack1", 1: "rack3", 2: "rack3", 3: "rack2", 4: "rack2", 5: "rack1"}
    assert rack_alternated(racks) == [0, 3, 1, 5, 4, 2]
    assigned = assign_replicas(brokers(6, racks), 7, 3, lambda n: 0, fixed_start_index=0)
    assert assigned == {
        0: (0, 3, 1),
        1: (3, 1, 5),
        2: (1, 5, 4),
        3: (5, 4, 2),
        4: (4, 2, 0),
        5: (2, 0, 3),
        6: (0, 4, 2),
    }


def test_new_partitions_go_on_with_their_index():
    assert assign_replicas(brokers(3), 2, 2, lambda n: 0, fixed_start_index=0, first_partition=3) == {
        3: (0, 2),
        4: (1, 0),
    }


@settings(max_examples=60)
@given(
    count=st.integers(1, 9),
    partitions=st.integers(1, 20),
    rack_count=st.integers(0, 4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_replicas_differ_and_leaders_and_racks_are_even(count, partitions, rack_count, seed, data):
    racks = {i: f"r{i % rack_count}" for i in range(count)} if rack_count else None
    factor = data.draw(st.integers(1, count))
    chance = random.Random(seed)
    assigned = assign_replicas(brokers(count, racks), partitions, factor, chance.randrange)
    assert list(assigned) == list(range(partitions))
    leaders = [replicas[0] for replicas in assigned.values()]
    loads = [leaders.count(broker) for broker in range(count)]
    assert max(loads) - min(loads) <= 1
    for replicas in assigned.values():
        assert len(set(replicas)) == factor
        if racks:
            assert len({racks[r] for r in replicas}) == min(factor, len(set(racks.values())))


@pytest.mark.parametrize(
    ("partitions", "factor", "racks", "code", "message"),
    [
        (0, 1, None, ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0."),
        (1, 0, None, ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0."),
        (
            1,
            3,
            None,
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor: 3 larger than available brokers: 2.",
        ),
        (
            1,
            1,
            {0: "r", 1: None},
            ErrorCode.UNKNOWN_SERVER_ERROR,
            "Not all brokers have rack information for replica rack aware assignment.",
        ),
    ],
)
def test_what_cannot_be_assigned(partitions, factor, racks, code, message):
    with pytest.raises(ApiError) as refused:
        assign_replicas(brokers(2, racks), partitions, factor, lambda n: 0)
    assert (refused.value.code, refused.value.message) == (code, message)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ({0: (1, 2), 1: (1,)}, "All partitions should have the same number of replicas"),
        ({0: (1, 1)}, "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(1, 1))"),
        ({0: (1,), 2: (1,)}, "partitions should be a consecutive 0-based integer sequence"),
        ({1: (1,)}, "partitions should be a consecutive 0-based integer sequence"),
    ],
)
def test_assignments_given_for_a_new_topic(assignment, message):
    with pytest.raises(ApiError) as refused:
        check_assignment(assignment)
    assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("assignment", "code", "message"),
    [
        (
            {3: ()},
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Cannot have replication factor of 0 for partition id 3.",
        ),
        (
            {3: (1, 1)},
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Duplicate brokers not allowed in replica assignment: 1, 1 for partition id 3.",
        ),
        (
            {3: (1, 9)},
            ErrorCode.BROKER_NOT_AVAILABLE,
            "Some brokers specified for partition id 3 are not available. Specified brokers: 1, 9, "
            "available brokers: 1, 2.",
        ),
        (
            {3: (1,), 4: (2, 1)},
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Inconsistent replication factor between partitions, partition 0 has 2 while partitions [3] "
            "have replication factors [1], respectively.",
        ),
    ],
)
def test_assignments_given_for_more_partitions(assignment, code, message):
    with pytest.raises(ApiError) as refused:
        check_new_partitions(assignment, 2, [2, 1])
    assert (refused.value.code, refused.value.message) == (code, message)
