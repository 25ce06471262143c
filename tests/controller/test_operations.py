"""What brokers and clients ask of the controller: shutdown, elections, reassignments, producer ids."""

import pytest
import trio

from pybroker.controller import preferred, reassignment
from pybroker.controller.topic_creation import NewTopic
from pybroker.controller.topics_admin import NewPartitions
from pybroker.metadata.znodes import (
    PreferredReplicaElectionZNode,
    ReassignPartitionsZNode,
    ReplicaAssignment,
    TopicZNode,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from tests.controller.cluster import create, state_of
from tests.controller.test_alter_partition import request_for

T0 = TopicPartition("t", 0)


async def test_controlled_shutdown_moves_leaders_and_leaves_single_replicas_alone(cluster):
    await create(cluster, "t", [(2, 3), (3, 2)])
    await create(cluster, "single", [(2,)])
    left = await cluster.api.controlled_shutdown(2, cluster.broker(2).epoch)
    assert left == []
    await cluster.settle()
    states = [(await state_of(cluster, "t", index)).state for index in range(2)]
    assert [(state.leader, state.isr) for state in states] == [(3, (3,)), (3, (3,))]
    assert (await state_of(cluster, "single")).state.leader == 2
    with pytest.raises(ApiError) as refused:
        await cluster.api.controlled_shutdown(2, cluster.broker(2).epoch - 1)
    assert refused.value.code is ErrorCode.STALE_BROKER_EPOCH


async def test_controlled_shutdown_tells_what_cannot_move(cluster):
    await create(cluster, "t", [(2, 3)])
    await cluster.broker(3).kill()
    await cluster.settle()
    assert await cluster.api.controlled_shutdown(2, cluster.broker(2).epoch) == [T0]


async def test_only_the_controller_answers(cluster):
    with pytest.raises(ApiError) as refused:
        await cluster.broker(2).api.controlled_shutdown(2, -1)
    assert refused.value.code is ErrorCode.NOT_CONTROLLER


async def move_leader_to_2(cluster):
    """Topic t is led by broker 2 although 3 is preferred, and 3 is back in the ISR."""
    topic_id = (await create(cluster, "t", [(3, 2)])).topic_id
    await cluster.broker(3).kill()
    await cluster.settle()
    await cluster.broker(3).start()
    await cluster.settle()
    state = (await state_of(cluster, "t")).state
    wish = request_for(
        cluster,
        topic_id,
        [2, 3],
        leader=2,
        leader_epoch=state.leader_epoch,
        partition_epoch=state.partition_epoch,
    )
    response = await cluster.api.alter_partition(wish, 3)
    assert response.topics[0].partitions[0].error_code == 0


async def test_preferred_election_by_request(cluster):
    await move_leader_to_2(cluster)
    outcomes = await cluster.api.elect_leaders([T0, TopicPartition("t", 9)], unclean=False)
    assert outcomes[T0] is None
    assert outcomes[TopicPartition("t", 9)].code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert (await state_of(cluster, "t")).state.leader == 3
    again = await cluster.api.elect_leaders(None, unclean=False)
    assert again[T0].code is ErrorCode.ELECTION_NOT_NEEDED


async def test_preferred_election_by_node_and_by_imbalance(cluster):
    await move_leader_to_2(cluster)
    session = cluster.broker(1).session
    await session.create(PreferredReplicaElectionZNode.path, PreferredReplicaElectionZNode.encode((T0,)))
    await cluster.settle()
    assert (await state_of(cluster, "t")).state.leader == 3
    assert await session.exists(PreferredReplicaElectionZNode.path) is None


async def test_uneven_leadership_is_mended(cluster):
    await move_leader_to_2(cluster)
    await cluster.controller.submit(preferred.rebalance)
    assert (await state_of(cluster, "t")).state.leader == 3


async def test_unclean_election_by_request(cluster):
    await create(cluster, "t", [(3, 2)])
    await cluster.broker(2).kill()
    await cluster.settle()
    await cluster.broker(2).start()
    await cluster.settle()
    await cluster.broker(3).kill()
    await cluster.settle()
    refused = await cluster.api.elect_leaders([T0], unclean=False)
    assert refused[T0].code is ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert await cluster.api.elect_leaders([T0], unclean=True) == {T0: None}
    assert (await state_of(cluster, "t")).state.leader == 2


@pytest.mark.parametrize(
    ("current", "target", "expected"),
    [
        (ReplicaAssignment((1, 2)), (3, 4), ReplicaAssignment((3, 4, 1, 2), (3, 4), (1, 2))),
        (ReplicaAssignment((1, 2)), (2, 1), ReplicaAssignment((2, 1))),
        (ReplicaAssignment((1, 2)), (2, 3), ReplicaAssignment((2, 3, 1), (3,), (1,))),
        (ReplicaAssignment((3, 4, 1, 2), (3, 4), (1, 2)), (1, 2), ReplicaAssignment((1, 2))),
        (
            ReplicaAssignment((3, 1, 2), (3,), (2,)),
            (1, 4),
            ReplicaAssignment((1, 4, 2), (4,), (2,)),
        ),
    ],
)
def test_a_reassignment_keeps_old_replicas_until_new_ones_caught_up(current, target, expected):
    assert reassignment.reassign_to(current, target) == expected


async def assignment_of(cluster, topic="t"):
    data, _ = await cluster.broker(1).session.get(TopicZNode.path(topic))
    return TopicZNode.decode(topic, data).partitions[0]


async def catch_up(cluster, topic_id, isr, leader=1):
    state = (await state_of(cluster, "t")).state
    wish = request_for(
        cluster,
        topic_id,
        isr,
        leader=leader,
        leader_epoch=state.leader_epoch,
        partition_epoch=state.partition_epoch,
    )
    response = await cluster.api.alter_partition(wish, 3)
    assert response.topics[0].partitions[0].error_code == 0
    await cluster.settle()


async def test_a_reassignment_from_wish_to_end(cluster):
    topic_id = (await create(cluster, "t", [(1, 2)])).topic_id
    assert await cluster.api.alter_reassignments({T0: (2, 3)}) == {T0: None}
    await cluster.settle()
    assert await assignment_of(cluster) == ReplicaAssignment((2, 3, 1), (3,), (1,))
    assert await cluster.api.reassignments() == {T0: ReplicaAssignment((2, 3, 1), (3,), (1,))}
    new_replica = cluster.broker(3).replicas[T0]
    assert (new_replica.adding_replicas, new_replica.leader) == ([3], 1)
    await catch_up(cluster, topic_id, [1, 2, 3])
    assert await assignment_of(cluster) == ReplicaAssignment((2, 3))
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr) == (2, (2, 3))
    assert cluster.broker(1).deleted == [T0]
    image = cluster.broker(1).publisher.current.partition(T0)
    assert (image.leader, image.replicas) == (2, (2, 3))
    assert await cluster.api.reassignments() == {}
    result = (await cluster.broker(1).admin.delete_topics(["t"], 5_000))["t"]
    await cluster.settle()
    assert result.error is ErrorCode.NONE
    assert await cluster.broker(1).session.exists(TopicZNode.path("t")) is None


async def test_a_reassignment_can_be_taken_back(cluster):
    await create(cluster, "t", [(1, 2)])
    await cluster.api.alter_reassignments({T0: (1, 3)})
    assert await cluster.api.alter_reassignments({T0: None}) == {T0: None}
    await cluster.settle()
    assert await assignment_of(cluster) == ReplicaAssignment((1, 2))
    assert cluster.broker(3).deleted == [T0]
    again = await cluster.api.alter_reassignments({T0: None})
    assert again[T0].code is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


async def test_a_reassignment_goes_on_under_a_new_controller(cluster):
    topic_id = (await create(cluster, "t", [(2,)])).topic_id
    await cluster.api.alter_reassignments({T0: (3,)})
    await cluster.broker(1).kill()
    await cluster.settle()
    await catch_up(cluster, topic_id, [2, 3], leader=2)
    data, _ = await cluster.broker(2).session.get(TopicZNode.path("t"))
    assert TopicZNode.decode("t", data).partitions[0] == ReplicaAssignment((3,))
    assert (await state_of(cluster, "t")).state.leader == 3


async def test_a_partition_that_never_had_a_leader_just_begins_elsewhere(cluster):
    await cluster.broker(3).kill()
    admin = cluster.broker(1).admin
    await admin.create_topics([NewTopic("t", assignments={0: (3,)})], 0)
    await cluster.settle()
    assert await cluster.api.alter_reassignments({T0: (2,)}) == {T0: None}
    assert await assignment_of(cluster) == ReplicaAssignment((2,))
    assert (await state_of(cluster, "t")).state.leader == 2


async def test_reassignment_by_the_node_of_old_tools(cluster):
    topic_id = (await create(cluster, "t", [(1,)])).topic_id
    session = cluster.broker(1).session
    wishes = {T0: (3,), TopicPartition("missing", 0): (1,)}
    await session.create(ReassignPartitionsZNode.path, ReassignPartitionsZNode.encode(wishes))
    await cluster.settle()
    left = ReassignPartitionsZNode.decode((await session.get(ReassignPartitionsZNode.path))[0])
    assert left == {T0: (3,)}
    await catch_up(cluster, topic_id, [1, 3])
    assert await session.exists(ReassignPartitionsZNode.path) is None
    assert await assignment_of(cluster) == ReplicaAssignment((3,))


@pytest.mark.parametrize("target", [(), (1, 1), (-1,), (1, 9)])
async def test_an_impossible_target_is_refused(cluster, target):
    await create(cluster, "t", [(1,)])
    outcomes = await cluster.api.alter_reassignments({T0: target})
    assert outcomes[T0].code is ErrorCode.INVALID_REPLICA_ASSIGNMENT


async def test_deletion_waits_for_a_running_reassignment(cluster):
    topic_id = (await create(cluster, "t", [(1,)])).topic_id
    await cluster.api.alter_reassignments({T0: (3,)})
    result = (await cluster.broker(2).admin.delete_topics(["t"], 50))["t"]
    assert result.error is ErrorCode.REQUEST_TIMED_OUT
    assert await cluster.broker(1).session.exists(TopicZNode.path("t")) is not None
    await catch_up(cluster, topic_id, [1, 3])
    assert await cluster.broker(1).session.exists(TopicZNode.path("t")) is None


async def test_added_partitions_get_leaders(cluster):
    await create(cluster, "t", [(1, 2)])
    results = await cluster.broker(2).admin.create_partitions([NewPartitions("t", 3)], 5_000)
    assert (results["t"].error, results["t"].num_partitions) == (ErrorCode.NONE, 3)
    topic = cluster.broker(2).publisher.current.topics["t"]
    assert [partition.replicas for partition in topic.partitions.values()] == [(1, 2), (2, 3), (3, 1)]


async def test_producer_id_blocks_follow_each_other(cluster):
    first = await cluster.api.allocate_producer_ids(1, cluster.broker(1).epoch)
    second = await cluster.api.allocate_producer_ids(2, cluster.broker(2).epoch)
    assert (first, second) == (range(1000), range(1000, 2000))
    with pytest.raises(ApiError) as refused:
        await cluster.api.allocate_producer_ids(2, 0)
    assert refused.value.code is ErrorCode.STALE_BROKER_EPOCH


async def test_work_of_a_caller_who_gave_up_is_still_done(cluster):
    with trio.CancelScope() as scope:
        scope.cancel()
        await create(cluster, "t", [(1,)])
    await cluster.settle()
    assert cluster.controller.is_active
