"""What one change has to tell becomes as few requests as may be, and none that is too large."""

from pybroker.controller.context import ControllerContext
from pybroker.controller.requests import PARTITIONS_PER_REQUEST, RequestBatch, Sender
from pybroker.metadata.znodes import (
    BrokerIdZNode,
    LeaderAndIsr,
    PartitionStateZNode,
    ReplicaAssignment,
    TopicZNode,
)
from pybroker.model.endpoint import Endpoint
from pybroker.model.ids import TopicPartition


def context_with(partitions: int) -> ControllerContext:
    context = ControllerContext(epoch=4, epoch_version=4)
    for broker_id in (1, 2):
        endpoints = (Endpoint("OUT", "out", 1), Endpoint("IN", f"in{broker_id}", 2))
        context.set_broker(BrokerIdZNode(broker_id, endpoints), 100 + broker_id)
    context.set_topic("t", TopicZNode({p: ReplicaAssignment((1, 2)) for p in range(partitions)}, b"i" * 16))
    for partition in context.partitions_of("t"):
        context.leaderships[partition] = PartitionStateZNode(LeaderAndIsr(1, 3, (1, 2)), 4)
    return context


def filled(context: ControllerContext) -> RequestBatch:
    batch = RequestBatch(context, Sender(1, "IN"))
    for partition, leadership in context.leaderships.items():
        batch.add_leader_and_isr([2, -1], partition, leadership, is_new=False)
    return batch


def test_each_kind_in_its_order_and_the_batch_is_empty_afterwards():
    context = context_with(1)
    batch = filled(context)
    batch.add_stop_replica(2, TopicPartition("t", 0), delete=False)
    requests = list(batch.requests())
    assert [(broker, type(request).__name__) for broker, request in requests] == [
        (2, "LeaderAndIsrRequest"),
        (1, "UpdateMetadataRequest"),
        (2, "UpdateMetadataRequest"),
        (2, "StopReplicaRequest"),
    ]
    assert {request.controller_epoch for _, request in requests} == {4}
    assert [request.broker_epoch for _, request in requests] == [102, 101, 102, 102]
    (leader,) = requests[0][1].live_leaders
    assert (leader.broker_id, leader.host_name, leader.port) == (1, "in1", 2)
    assert list(batch.requests()) == []


def test_a_broker_that_is_gone_gets_nothing():
    context = context_with(1)
    batch = filled(context)
    context.remove_broker(2)
    assert [broker for broker, _ in batch.requests()] == [1]


def test_large_news_go_in_pieces():
    context = context_with(2 * PARTITIONS_PER_REQUEST + 1)
    sizes: dict[tuple[int, str], list[int]] = {}
    for broker, request in filled(context).requests():
        size = sum(len(topic.partition_states) for topic in request.topic_states)
        sizes.setdefault((broker, type(request).__name__), []).append(size)
    expected = [PARTITIONS_PER_REQUEST, PARTITIONS_PER_REQUEST, 1]
    assert sizes == {
        (2, "LeaderAndIsrRequest"): expected,
        (1, "UpdateMetadataRequest"): expected,
        (2, "UpdateMetadataRequest"): expected,
    }


def test_brokers_hear_of_each_other_without_any_partition():
    batch = RequestBatch(context_with(0), Sender(1, "IN"))
    batch.add_metadata([1])
    ((broker, request),) = batch.requests()
    assert (broker, request.topic_states, [b.id for b in request.live_brokers]) == (1, [], [1, 2])


def test_a_topic_being_deleted_has_leader_minus_2_and_stop_epoch_minus_2():
    context = context_with(1)
    context.to_delete.add("t")
    batch = RequestBatch(context, Sender(1, "IN"))
    batch.add_metadata([1], context.partitions_of("t"))
    batch.add_stop_replica(1, TopicPartition("t", 0), delete=True)
    batch.add_stop_replica(1, TopicPartition("t", 0), delete=False)
    (_, metadata), (_, stop) = batch.requests()
    state = metadata.topic_states[0].partition_states[0]
    assert (state.leader, state.leader_epoch) == (-2, -2)
    stopped = stop.topic_states[0].partition_states[0]
    assert (stopped.leader_epoch, stopped.delete_partition) == (-2, True)
