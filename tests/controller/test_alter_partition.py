"""Leaders propose ISRs; the controller checks epochs before it writes them."""

import pytest

from pybroker.controller.alter_partition import judge
from pybroker.metadata.znodes import LeaderAndIsr, PartitionStateZNode
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import AlterPartitionRequest
from tests.controller.cluster import create, state_of

NOW = PartitionStateZNode(LeaderAndIsr(1, leader_epoch=5, isr=(1, 2), partition_epoch=7), 1)
RECOVERING = PartitionStateZNode(
    LeaderAndIsr(1, leader_epoch=5, isr=(1,), recovery_state=1, partition_epoch=7), 1
)


@pytest.mark.parametrize(
    ("now", "wanted", "error"),
    [
        (None, LeaderAndIsr(1, 5, (1,), 0, 7), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (NOW, LeaderAndIsr(1, 6, (1,), 0, 7), ErrorCode.NOT_CONTROLLER),
        (NOW, LeaderAndIsr(1, 5, (1,), 0, 8), ErrorCode.NOT_CONTROLLER),
        (NOW, LeaderAndIsr(1, 4, (1,), 0, 7), ErrorCode.FENCED_LEADER_EPOCH),
        (NOW, LeaderAndIsr(1, 5, (1,), 0, 6), ErrorCode.INVALID_UPDATE_VERSION),
        (NOW, LeaderAndIsr(1, 5, (1, 9), 0, 7), ErrorCode.INELIGIBLE_REPLICA),
        (NOW, LeaderAndIsr(1, 5, (1,), 1, 7), ErrorCode.INVALID_REQUEST),
        (RECOVERING, LeaderAndIsr(1, 5, (1, 2), 1, 7), ErrorCode.INVALID_REQUEST),
    ],
)
def test_what_is_refused(now, wanted, error):
    verdict = judge(now, wanted, {1, 2, 3}, version=3)
    assert verdict is not None
    assert (verdict.error, verdict.state) == (error, None)


def test_old_leaders_get_a_code_they_know_for_an_ineligible_replica():
    verdict = judge(NOW, LeaderAndIsr(1, 5, (1, 9), 0, 7), {1, 2}, version=1)
    assert verdict is not None
    assert verdict.error is ErrorCode.OPERATION_NOT_ATTEMPTED


def test_a_repeated_request_is_a_success_even_with_the_old_partition_epoch():
    verdict = judge(NOW, LeaderAndIsr(1, 5, (1, 2), 0, 6), {1}, version=3)
    assert verdict is not None
    assert verdict.state == NOW.state


@pytest.mark.parametrize("wanted", [LeaderAndIsr(1, 5, (1,), 0, 7), LeaderAndIsr(1, 5, (1, 2, 3), 0, 7)])
def test_a_fresh_isr_of_live_brokers_is_accepted(wanted):
    assert judge(NOW, wanted, {1, 2, 3}, version=3) is None


def request_for(cluster, topic_id, isr, *, leader=1, epoch=None, partition_epoch=0, leader_epoch=0):
    members = [AlterPartitionRequest.BrokerState(broker_id=member) for member in isr]
    partition = AlterPartitionRequest.PartitionData(
        partition_index=0,
        leader_epoch=leader_epoch,
        new_isr_with_epochs=members,
        partition_epoch=partition_epoch,
    )
    return AlterPartitionRequest(
        broker_id=leader,
        broker_epoch=cluster.broker(leader).epoch if epoch is None else epoch,
        topics=[AlterPartitionRequest.TopicData(topic_id=topic_id, partitions=[partition])],
    )


async def test_an_accepted_isr_is_written_keeps_the_leader_epoch_and_is_told_to_all(cluster):
    topic_id = (await create(cluster, "t", [(1, 2, 3)])).topic_id
    response = await cluster.api.alter_partition(request_for(cluster, topic_id, [1, 3]), 3)
    (answer,) = response.topics[0].partitions
    assert (response.error_code, answer.error_code) == (0, 0)
    assert (answer.leader_id, answer.leader_epoch, answer.isr, answer.partition_epoch) == (1, 0, [1, 3], 1)
    node = await state_of(cluster, "t")
    assert (node.state.isr, node.state.leader_epoch, node.state.partition_epoch) == ((1, 3), 0, 1)
    await cluster.settle()
    partition = cluster.broker(2).publisher.current.partition(TopicPartition("t", 0))
    assert partition is not None
    assert (partition.isr, partition.partition_epoch) == ((1, 3), 1)
    orders = [o for o in cluster.broker(2).orders if type(o).__name__ == "LeaderAndIsrRequest"]
    assert len(orders) == 1


async def test_an_earlier_incarnation_of_a_broker_is_refused(cluster):
    topic_id = (await create(cluster, "t", [(1, 2)])).topic_id
    stale = request_for(cluster, topic_id, [1], epoch=cluster.broker(1).epoch - 1)
    response = await cluster.api.alter_partition(stale, 3)
    assert response.error_code == ErrorCode.STALE_BROKER_EPOCH


async def test_an_unknown_topic_id_is_answered_per_partition(cluster):
    response = await cluster.api.alter_partition(request_for(cluster, b"x" * 16, [1]), 3)
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
