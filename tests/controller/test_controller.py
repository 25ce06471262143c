"""The controller on the embedded store, with brokers that only remember what they were told."""

import pytest

from pybroker.controller.topic_creation import NewTopic
from pybroker.metadata.znodes import (
    ConfigEntityZNode,
    ConfigType,
    ControllerEpochZNode,
    ControllerZNode,
    DeleteTopicsTopicZNode,
    FeatureZNode,
    LeaderAndIsr,
    LogDirEventNotificationZNode,
    PartitionStateZNode,
    PreferredReplicaElectionZNode,
    ReassignPartitionsZNode,
    TopicZNode,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import UpdateMetadataRequest
from tests.controller.cluster import create, state_of


async def test_one_broker_wins_and_all_know_it(cluster):
    assert [b.controller.is_active for b in cluster.brokers.values()] == [True, False, False]
    assert [b.controller.active_id for b in cluster.brokers.values()] == [1, 1, 1]
    assert [b.publisher.current.controller_id for b in cluster.brokers.values()] == [1, 1, 1]
    assert [sorted(b.publisher.current.brokers) for b in cluster.brokers.values()] == [[1, 2, 3]] * 3
    session = cluster.broker(1).session
    assert await session.get(ControllerEpochZNode.path) == (b"1", await session.exists("/controller_epoch"))


async def test_a_new_topic_has_leaders_everywhere_before_its_creation_is_answered(cluster):
    result = await create(cluster, "t", [(1, 2), (2, 3), (3, 1)])
    assert result.error is ErrorCode.NONE
    image = cluster.broker(1).publisher.current
    topic = image.topics["t"]
    assert topic.topic_id == result.topic_id
    assert image.topic_names_by_id == {result.topic_id: "t"}
    assert [(p.leader, p.leader_epoch, p.isr) for p in topic.partitions.values()] == [
        (1, 0, (1, 2)),
        (2, 0, (2, 3)),
        (3, 0, (3, 1)),
    ]
    await cluster.settle()
    assert [b.leads() for b in cluster.brokers.values()] == [{"t-0"}, {"t-1"}, {"t-2"}]
    state = cluster.broker(2).replicas[TopicPartition("t", 0)]
    assert (state.leader, state.isr, state.replicas, state.is_new) == (1, [1, 2], [1, 2], True)


async def test_a_broker_learns_what_it_leads_before_the_metadata_that_says_so(cluster):
    await create(cluster, "t", [(1,)])
    kinds = [type(order).__name__ for order in cluster.broker(1).orders if order.topic_states]
    assert kinds[:2] == ["LeaderAndIsrRequest", "UpdateMetadataRequest"]


async def test_replicas_on_dead_brokers_are_not_in_the_first_isr(cluster):
    await cluster.broker(3).kill()
    await cluster.settle()
    await create(cluster, "t", [(3, 1, 2)])
    assert (await state_of(cluster, "t")).state.isr == (1, 2)
    image = cluster.broker(1).publisher.current
    assert image.topics["t"].partitions[0].offline == (3,)


async def test_a_dead_leader_is_replaced_from_the_isr_and_leaves_it(cluster):
    await create(cluster, "t", [(3, 2, 1)])
    await cluster.broker(3).kill()
    await cluster.settle()
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr, node.state.leader_epoch) == (2, (2, 1), 1)
    partition = cluster.broker(1).publisher.current.topics["t"].partitions[0]
    assert (partition.leader, partition.isr, partition.offline) == (2, (2, 1), (3,))
    assert sorted(cluster.broker(1).publisher.current.brokers) == [1, 2]
    assert cluster.broker(2).leads() == {"t-0"}


async def test_a_dead_follower_leaves_the_isr_and_the_leader_epoch_grows(cluster):
    await create(cluster, "t", [(1, 3)])
    await cluster.broker(3).kill()
    await cluster.settle()
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr, node.state.leader_epoch) == (1, (1,), 1)
    assert cluster.broker(1).replicas[TopicPartition("t", 0)].isr == [1]


async def test_the_last_isr_member_stays_and_leads_again_when_it_is_back(cluster):
    await create(cluster, "t", [(3,)])
    await cluster.broker(3).kill()
    await cluster.settle()
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr) == (-1, (3,))
    assert cluster.broker(1).publisher.current.topics["t"].partitions[0].leader == -1
    await cluster.broker(3).start()
    await cluster.settle()
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr, node.state.leader_epoch) == (3, (3,), 2)
    assert cluster.broker(3).leads() == {"t-0"}
    assert cluster.broker(3).publisher.current.topics["t"].partitions[0].leader == 3


async def test_a_replica_outside_the_isr_leads_only_if_unclean_election_is_allowed(cluster):
    await create(cluster, "kept", [(3, 2)])
    await create(cluster, "unclean", [(3, 2)], [("unclean.leader.election.enable", "true")])
    await cluster.broker(2).kill()
    await cluster.settle()
    await cluster.broker(2).start()
    await cluster.settle()
    await cluster.broker(3).kill()
    await cluster.settle()
    assert (await state_of(cluster, "kept")).state.leader == -1
    node = await state_of(cluster, "unclean")
    assert (node.state.leader, node.state.isr, node.state.recovery_state) == (2, (2,), 1)


async def test_a_bounced_broker_is_a_failure_and_a_start(cluster):
    await create(cluster, "t", [(3, 2)])
    before = cluster.broker(3).epoch
    await cluster.broker(3).restart_at_once()
    await cluster.settle()
    assert cluster.broker(3).epoch > before
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr) == (2, (2,))
    state = cluster.broker(3).replicas[TopicPartition("t", 0)]
    assert (state.leader, state.leader_epoch) == (2, node.state.leader_epoch)
    assert sorted(cluster.broker(3).publisher.current.topics) == ["t"]


async def test_a_dead_controller_is_replaced_and_the_next_goes_on(cluster):
    await create(cluster, "t", [(1, 2, 3)])
    await cluster.broker(1).kill()
    await cluster.settle()
    assert cluster.controller.epoch == 2
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.controller_epoch) == (2, 2)
    assert cluster.broker(3).publisher.current.controller_id == cluster.controller.active_id
    result = await create(cluster, "u", [(2, 3)])
    assert result.error is ErrorCode.NONE


async def test_deletion_goes_brokers_first_then_the_store(cluster):
    await create(cluster, "t", [(1, 2), (2, 3)])
    await create(cluster, "stays", [(1,)])
    results = await cluster.broker(2).admin.delete_topics(["t", "missing"], 5_000)
    assert [(name, result.error) for name, result in results.items()] == [
        ("t", ErrorCode.NONE),
        ("missing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    await cluster.settle()
    assert [sorted(map(str, b.deleted)) for b in cluster.brokers.values()] == [
        ["t-0"],
        ["t-0", "t-1"],
        ["t-1"],
    ]
    session = cluster.broker(1).session
    for path in (
        TopicZNode.path("t"),
        ConfigEntityZNode.path(ConfigType.TOPIC, "t"),
        DeleteTopicsTopicZNode.path("t"),
    ):
        assert await session.exists(path) is None
    assert [sorted(b.publisher.current.topics) for b in cluster.brokers.values()] == [["stays"]] * 3
    stops = [o for o in cluster.broker(2).orders if type(o).__name__ == "StopReplicaRequest"]
    flags = [s.delete_partition for o in stops for t in o.topic_states for s in t.partition_states]
    assert flags == [False, False, True, True]
    assert {s.leader_epoch for o in stops for t in o.topic_states for s in t.partition_states} == {-2}


async def test_a_dead_replica_parks_the_deletion_until_it_returns(cluster):
    await create(cluster, "t", [(1, 3)])
    await cluster.broker(3).kill()
    await cluster.settle()
    result = (await cluster.broker(1).admin.delete_topics(["t"], 5_000))["t"]
    assert result.error is ErrorCode.NONE
    await cluster.settle()
    session = cluster.broker(1).session
    assert await session.exists(TopicZNode.path("t")) is not None
    refused = await create(cluster, "t", [(1,)])
    assert refused.error is ErrorCode.TOPIC_ALREADY_EXISTS
    assert refused.message == "Topic 't' is marked for deletion."
    await cluster.broker(3).start()
    await cluster.settle()
    assert await session.exists(TopicZNode.path("t")) is None
    assert list(map(str, cluster.broker(3).deleted)) == ["t-0"]
    assert (await create(cluster, "t", [(1,)])).error is ErrorCode.NONE


async def test_a_new_controller_finishes_a_deletion(cluster):
    await create(cluster, "t", [(2, 3)])
    cluster.cut.update((2, 3))
    await cluster.broker(2).session.create(DeleteTopicsTopicZNode.path("t"))
    await cluster.settle()
    await cluster.broker(1).kill()
    cluster.cut.clear()
    await cluster.until(lambda: cluster.broker(3).publisher.current.topics == {})
    assert await cluster.broker(2).session.exists(TopicZNode.path("t")) is None
    assert cluster.broker(3).publisher.current.topics == {}


async def test_a_zombie_controller_writes_nothing_and_resigns(cluster):
    """A pause: its session is gone and another one was elected, but no watch has told it yet."""
    await create(cluster, "t", [(2, 3)])
    zombie = cluster.broker(1).controller
    session = cluster.broker(1).session
    session._listeners.clear()
    session._forget_watches()
    await cluster.store.expire_session(session.session_id)
    await cluster.settle()
    assert zombie.is_active
    assert sum(broker.controller.is_active for broker in cluster.brokers.values()) == 2
    before = await state_of(cluster, "t")
    forged = LeaderAndIsr(1, 99, (1,), partition_epoch=before.state.partition_epoch)

    async def write(term):
        return await term.partition_store.update({TopicPartition("t", 0): forged})

    with pytest.raises(ApiError) as refused:
        await zombie.submit(write)
    assert refused.value.code is ErrorCode.NOT_CONTROLLER
    assert await state_of(cluster, "t") == before
    await cluster.settle()
    assert not zombie.is_active
    assert zombie.active_id == cluster.controller.active_id


async def test_brokers_refuse_an_old_controller_epoch(cluster):
    await create(cluster, "t", [(2, 3)])
    old_epoch = cluster.controller.epoch
    await cluster.broker(1).kill()
    await cluster.settle()
    broker = cluster.broker(3)
    stale = UpdateMetadataRequest(controller_id=1, controller_epoch=old_epoch, broker_epoch=broker.epoch)
    assert broker.handle(stale).error_code == ErrorCode.STALE_CONTROLLER_EPOCH


async def test_the_controller_hands_over_when_asked(cluster):
    await cluster.controller.resign()
    await cluster.settle()
    assert cluster.controller.epoch == 2
    assert await cluster.broker(1).session.exists(ControllerZNode.path) is not None


async def test_a_lost_session_registers_again_and_everything_goes_on(cluster):
    await create(cluster, "t", [(1, 2)])
    epoch = cluster.broker(1).epoch
    await cluster.store.expire_session(cluster.broker(1).session.session_id)
    await cluster.settle()
    assert cluster.broker(1).epoch > epoch
    assert sorted(cluster.broker(2).publisher.current.brokers) == [1, 2, 3]
    assert cluster.controller.epoch == 2
    assert (await state_of(cluster, "t")).state.leader == 2


async def test_requests_are_repeated_until_the_broker_answers(cluster):
    cluster.cut.add(2)
    await cluster.broker(1).session.set(
        ControllerZNode.path, (await cluster.broker(1).session.get(ControllerZNode.path))[0]
    )
    topic = NewTopic("t", assignments={0: (2,)})
    results = await cluster.broker(1).admin.create_topics([topic], 5_000)
    assert results["t"].error is ErrorCode.NONE
    assert cluster.broker(2).leads() == set()
    cluster.cut.clear()
    await cluster.until(lambda: cluster.broker(2).leads() == {"t-0"})


async def test_a_failed_disk_makes_its_replicas_offline(cluster):
    await create(cluster, "t", [(2, 3)])
    cluster.broker(2).failed_disks.add(TopicPartition("t", 0))
    await cluster.broker(2).session.create(
        LogDirEventNotificationZNode.sequence_prefix, LogDirEventNotificationZNode.encode(2), sequential=True
    )
    await cluster.settle()
    node = await state_of(cluster, "t")
    assert (node.state.leader, node.state.isr) == (3, (3,))
    assert cluster.broker(1).publisher.current.topics["t"].partitions[0].offline == (2,)
    assert await cluster.broker(1).session.children(LogDirEventNotificationZNode.path) == []


async def test_a_broker_that_lacks_a_finalized_feature_is_not_let_in(cluster):
    session = cluster.broker(1).session
    await session.set(FeatureZNode.path, FeatureZNode(1, {"f": 2}).encode())
    await cluster.controller.resign()
    await cluster.settle()
    assert sorted(cluster.controller._term.context.brokers) == []


async def test_nodes_that_nobody_can_read_stop_nothing_else(cluster):
    await create(cluster, "t", [(2,), (3,)])
    session = cluster.broker(1).session
    await session.set(PartitionStateZNode.path(TopicPartition("t", 0)), b"?")
    await session.create("/brokers/topics/broken", b"[]")
    await session.create("/brokers/ids/9", b"{}", ephemeral=True)
    await session.create(PreferredReplicaElectionZNode.path, b"nonsense")
    await session.create(ReassignPartitionsZNode.path, b"nonsense")
    await cluster.controller.resign()
    await cluster.settle()
    assert cluster.controller.epoch == 2
    assert (await create(cluster, "u", [(1,)])).error is ErrorCode.NONE
    assert cluster.broker(3).publisher.current.topics["t"].partitions[1].leader == 3
