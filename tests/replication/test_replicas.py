"""The controller's orders: accepted by broker epoch, controller epoch and leader epoch, in that order."""

import gc
import weakref
from copy import deepcopy
from pathlib import Path

import pytest
import trio

from pybroker.instruments.pace import Pace
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import LeaderAndIsrRequest, StopReplicaRequest
from pybroker.replication.replicas import PARTITIONS_SET_ASIDE
from tests.replication.hosts import TOPIC_ID, TP, US, Host, batch


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def order(
    *,
    leader: int = US,
    leader_epoch: int = 0,
    replicas: tuple[int, ...] = (US,),
    controller_epoch: int = 1,
    broker_epoch: int = 10,
    topic_id: bytes = TOPIC_ID,
) -> LeaderAndIsrRequest:
    state = LeaderAndIsrRequest.LeaderAndIsrPartitionState(
        partition_index=TP.partition,
        controller_epoch=controller_epoch,
        leader=leader,
        leader_epoch=leader_epoch,
        isr=list(replicas),
        replicas=list(replicas),
    )
    topic = LeaderAndIsrRequest.LeaderAndIsrTopicState(
        topic_name=TP.topic, topic_id=topic_id, partition_states=[state]
    )
    return LeaderAndIsrRequest(
        controller_id=US, controller_epoch=controller_epoch, broker_epoch=broker_epoch, topic_states=[topic]
    )


def apply(host: Host, request: LeaderAndIsrRequest) -> ErrorCode:
    response = trio.run(host.replicas.apply_leader_and_isr, request)
    if response.error_code:
        return ErrorCode(response.error_code)
    return ErrorCode(response.topics[0].partition_errors[0].error_code)


def stop(host: Host, *, leader_epoch: int, delete: bool) -> ErrorCode:
    state = StopReplicaRequest.StopReplicaPartitionState(
        partition_index=TP.partition, leader_epoch=leader_epoch, delete_partition=delete
    )
    topic = StopReplicaRequest.StopReplicaTopicState(topic_name=TP.topic, partition_states=[state])
    request = StopReplicaRequest(controller_id=US, controller_epoch=1, broker_epoch=10, topic_states=[topic])
    response = trio.run(host.replicas.stop_replica, request)
    return ErrorCode(response.partition_errors[0].error_code)


def test_a_leader_is_made_with_its_log_on_disk(host: Host, tmp_path: Path) -> None:
    assert apply(host, order()) is ErrorCode.NONE
    assert (tmp_path / "orders-0" / "partition.metadata").exists()
    assert [(change.partition.tp, change.is_leader) for change in host.changes] == [(TP, True)]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order(broker_epoch=9), ErrorCode.STALE_BROKER_EPOCH),
        (order(broker_epoch=-1, leader_epoch=9), ErrorCode.NONE),
        (order(broker_epoch=11, leader_epoch=9), ErrorCode.NONE),
        (order(controller_epoch=0, leader_epoch=9), ErrorCode.STALE_CONTROLLER_EPOCH),
        (order(leader_epoch=5), ErrorCode.STALE_CONTROLLER_EPOCH),
        (order(leader_epoch=4), ErrorCode.STALE_CONTROLLER_EPOCH),
        (order(leader_epoch=6, replicas=(2, 3), leader=2), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (order(leader_epoch=6, topic_id=bytes(15) + b"x"), ErrorCode.INCONSISTENT_TOPIC_ID),
        (order(leader_epoch=6), ErrorCode.NONE),
    ],
)
def test_orders_are_taken_by_their_epochs(host: Host, request_: LeaderAndIsrRequest, code: ErrorCode) -> None:
    assert apply(host, order(leader_epoch=5)) is ErrorCode.NONE
    assert apply(host, request_) is code


def test_a_topic_created_anew_does_not_take_over_the_old_ones_log(tmp_path: Path) -> None:
    before = Host(tmp_path)
    apply(before, order())
    before.logs.close()
    after = Host(tmp_path)
    assert apply(after, order(topic_id=bytes(15) + b"x")) is ErrorCode.INCONSISTENT_TOPIC_ID
    assert after.replicas.find(TP) is None


def test_stopping_keeps_the_data_and_deleting_moves_it_away(host: Host, tmp_path: Path) -> None:
    apply(host, order())
    partition = host.replicas.find(TP)
    assert partition is not None
    partition.append(batch(b"a"))
    assert stop(host, leader_epoch=0, delete=False) is ErrorCode.NONE
    assert not partition.is_leader
    assert partition.log.log_end_offset == 1
    assert stop(host, leader_epoch=-2, delete=True) is ErrorCode.NONE
    assert host.replicas.find(TP) is None
    assert [path.name for path in tmp_path.glob("orders-0*")] != ["orders-0"]
    assert len(list(tmp_path.glob("orders-0.*-delete"))) == 1


def test_a_topics_partitions_are_those_that_are_here(host: Host) -> None:
    request = order()
    (topic,) = request.topic_states
    topic.partition_states.append(deepcopy(topic.partition_states[0]))
    topic.partition_states[1].partition_index = TP.partition + 1
    other = deepcopy(topic)
    other.topic_name, other.topic_id = "orders-2", bytes(15) + b"x"
    request.topic_states.append(other)
    assert host.replicas.of_topic(TP.topic) == []
    assert apply(host, request) is ErrorCode.NONE
    second = TopicPartition(TP.topic, TP.partition + 1)
    assert [partition.tp for partition in host.replicas.of_topic(TP.topic)] == [TP, second]
    assert stop(host, leader_epoch=-2, delete=True) is ErrorCode.NONE
    assert [partition.tp for partition in host.replicas.of_topic(TP.topic)] == [second]
    assert len(host.replicas.log_dir_failed(str(host.folder))) == 3
    assert host.replicas.of_topic(TP.topic) == host.replicas.of_topic("orders-2") == []


def test_an_older_leader_epoch_cannot_stop_a_replica(host: Host) -> None:
    apply(host, order(leader_epoch=3))
    assert stop(host, leader_epoch=2, delete=True) is ErrorCode.FENCED_LEADER_EPOCH


def test_stopping_what_is_not_here_succeeds(host: Host) -> None:
    assert stop(host, leader_epoch=0, delete=True) is ErrorCode.NONE


def test_clients_are_told_why_a_partition_is_not_served_here(host: Host) -> None:
    with pytest.raises(ApiError) as unknown:
        host.replicas.leader(ClusterImage(), TopicPartition("nothing", 0))
    assert unknown.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    apply(host, order(leader=2, replicas=(US, 2)))
    with pytest.raises(ApiError) as elsewhere:
        host.replicas.leader(ClusterImage(), TP)
    assert elsewhere.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


@pytest.mark.parametrize(
    "tp", [TopicPartition("../evil", 0), TopicPartition("a\0b", 0), TopicPartition("a", -1)]
)
def test_a_name_that_is_no_topic_never_becomes_a_directory(
    host: Host, tmp_path: Path, tp: TopicPartition
) -> None:
    request = order()
    request.topic_states[0].topic_name = tp.topic
    request.topic_states[0].partition_states[0].partition_index = tp.partition
    before = sorted(tmp_path.iterdir())
    assert apply(host, request) is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_disk_refuses_clients_and_controller_alike(host: Host) -> None:
    apply(host, order())
    assert host.replicas.log_dir_failed("/elsewhere") == []
    assert host.replicas.log_dir_failed(str(host.folder)) == [TP]
    assert not host.changes[-1].is_leader
    assert host.replicas.find(TP) is None
    with pytest.raises(ApiError) as refused:
        host.replicas.leader(ClusterImage(), TP)
    assert refused.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert apply(host, order(leader_epoch=1)) is ErrorCode.KAFKA_STORAGE_ERROR
    assert stop(host, leader_epoch=1, delete=True) is ErrorCode.KAFKA_STORAGE_ERROR


async def test_orders_let_others_have_their_turn_and_follow_one_another(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pybroker.replication.replicas.Pace", lambda: Pace(slice_s=0))
    lead, drop = order(), StopReplicaRequest(controller_id=US, controller_epoch=1, broker_epoch=10)
    (topic,) = lead.topic_states
    topic.partition_states = [deepcopy(topic.partition_states[0]) for _ in range(10)]
    for number, state in enumerate(topic.partition_states):
        state.partition_index = number
    states = [
        StopReplicaRequest.StopReplicaPartitionState(partition_index=number, delete_partition=True)
        for number in range(10)
    ]
    drop.topic_states = [
        StopReplicaRequest.StopReplicaTopicState(topic_name=TP.topic, partition_states=states)
    ]
    hosted = [0]

    async def look() -> None:
        while True:
            if hosted[-1] != len(host.replicas):
                hosted.append(len(host.replicas))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as others:
        others.start_soon(look)
        async with trio.open_nursery() as orders:
            orders.start_soon(host.replicas.apply_leader_and_isr, lead)
            await trio.lowlevel.checkpoint()
            orders.start_soon(host.replicas.stop_replica, drop)
        others.cancel_scope.cancel()
    top = hosted.index(10)
    assert len(hosted) > 10, "an order was followed in one stretch"
    assert hosted[: top + 1] == sorted(hosted[: top + 1])
    assert hosted[top:] == sorted(hosted[top:], reverse=True)


async def test_an_order_that_is_refused_names_the_reason_for_each_partition(host: Host) -> None:
    response = await host.replicas.apply_leader_and_isr(order(broker_epoch=9))
    (topic,) = response.topics
    codes = [response.error_code, *(error.error_code for error in topic.partition_errors)]
    assert codes == [ErrorCode.STALE_BROKER_EPOCH] * 2


def test_a_strange_name_matters_only_where_a_log_would_be_made(host: Host) -> None:
    elsewhere = order(replicas=(2, 3), leader=2)
    here = order()
    for request in (elsewhere, here):
        request.topic_states[0].partition_states[0].partition_index = -1
    assert apply(host, elsewhere) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert apply(host, here) is ErrorCode.INVALID_TOPIC_EXCEPTION


def test_what_stays_is_out_of_the_collectors_sight_and_goes_with_its_last_reference(host: Host) -> None:
    """The collector's walk through the objects of thousands of partitions would hold everybody up."""
    request = order()
    (state,) = request.topic_states[0].partition_states
    request.topic_states[0].partition_states = [
        with_index(state, index) for index in range(PARTITIONS_SET_ASIDE)
    ]
    try:
        assert apply(host, request) is ErrorCode.NONE
        partitions = [weakref.ref(partition) for partition in host.replicas]
        assert len(partitions) == PARTITIONS_SET_ASIDE
        seen = {id(each) for each in gc.get_objects()}
        assert not [partition for partition in partitions if id(partition()) in seen]
        assert stop(host, leader_epoch=0, delete=True) is ErrorCode.NONE
        host.changes.clear()
        assert sum(partition() is None for partition in partitions) == 1
    finally:
        gc.unfreeze()


def with_index(
    state: LeaderAndIsrRequest.LeaderAndIsrPartitionState, index: int
) -> LeaderAndIsrRequest.LeaderAndIsrPartitionState:
    state = deepcopy(state)
    state.partition_index = index
    return state
