"""Three brokers in one process: records reach all replicas, and survive the loss of one of them."""

from pathlib import Path

import pytest
import trio

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.protocol.messages import (
    AllocateProducerIdsRequest,
    AlterPartitionReassignmentsRequest,
    AlterPartitionRequest,
    ControlledShutdownRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    FetchRequest,
    FetchResponse,
    FindCoordinatorRequest,
    IncrementalAlterConfigsRequest,
    InitProducerIdRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    ProduceRequest,
)
from pybroker.records.builder import build_batch
from pybroker.records.header import Record
from tests.support.broker import connected
from tests.support.cluster import Cluster, running_cluster
from tests.support.replicas import same_bytes

TP = TopicPartition("orders", 0)


async def create_topic(
    cluster: Cluster,
    replicas: int = 3,
    configs: dict[str, str] | None = None,
    *,
    tp: TopicPartition = TP,
    on: tuple[BrokerId, ...] = (),
) -> None:
    """One partition, with so many replicas somewhere or with replicas on these brokers."""
    assigned = CreateTopicsRequest.CreatableReplicaAssignment(partition_index=0, broker_ids=list(on))
    topic = CreateTopicsRequest.CreatableTopic(
        name=tp.topic,
        num_partitions=-1 if on else 1,
        replication_factor=-1 if on else replicas,
        assignments=[assigned] if on else [],
        configs=[
            CreateTopicsRequest.CreatableTopicConfig(name=name, value=value)
            for name, value in (configs or {}).items()
        ],
    )
    async with connected(cluster.controller) as client:
        response = await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=10_000))
    assert response.topics[0].error_code == 0, response
    await cluster.until(lambda: cluster.leader_id(tp) is not None)


async def produce(
    cluster: Cluster,
    *values: bytes,
    acks: int = -1,
    to: BrokerId | None = None,
    timeout_ms: int = 10_000,
    tp: TopicPartition = TP,
) -> ProduceRequest.PartitionProduceData:
    """One batch to the leader; the partition's answer."""
    leader = cluster.leader_id(tp) if to is None else to
    assert leader is not None
    batch = build_batch(
        [Record(number, 1_700_000_000_000, None, value) for number, value in enumerate(values)]
    )
    data = ProduceRequest.PartitionProduceData(index=tp.partition, records=bytes(batch))
    topic = ProduceRequest.TopicProduceData(name=tp.topic, partition_data=[data])
    async with connected(cluster[leader]) as client:
        response = await client.ask(ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=[topic]), 11)
    return response.responses[0].partition_responses[0]


async def fetch(
    cluster: Cluster, broker_id: BrokerId, offset: int, rack: str = "", max_wait_ms: int = 0
) -> FetchResponse.PartitionData:
    """What a consumer is answered by one broker."""
    topic_id = cluster[broker_id].image.topic_id(TP.topic)
    asked = FetchRequest.FetchPartition(
        partition=TP.partition, fetch_offset=offset, partition_max_bytes=1 << 20
    )
    request = FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=1,
        session_epoch=-1,
        rack_id=rack,
        topics=[FetchRequest.FetchTopic(topic_id=topic_id, partitions=[asked])],
    )
    async with connected(cluster[broker_id]) as client:
        response = await client.ask(request, 16)
    return response.responses[0].partitions[0]


def ends(cluster: Cluster) -> dict[BrokerId, int]:
    """The log end offset of every replica that is up."""
    found = ((one, cluster[one].replicas.find(TP)) for one in cluster.brokers)
    return {one: partition.log.log_end_offset for one, partition in found if partition is not None}


def isr(cluster: Cluster) -> set[BrokerId]:
    leader = cluster.leader_id(TP)
    return set() if leader is None else set(cluster.replica(TP, leader).isr)


async def test_what_is_acknowledged_by_all_is_on_all(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        for number in range(5):
            answer = await produce(cluster, b"a%d" % number, b"b%d" % number)
            assert (answer.error_code, answer.base_offset) == (0, 2 * number)
        assert ends(cluster) == {0: 10, 1: 10, 2: 10}
        await cluster.until(
            lambda: all(cluster.replica(TP, one).high_watermark == 10 for one in cluster.brokers)
        )
        assert same_bytes(cluster, TP)


async def test_records_are_flushed_on_all_replicas_before_they_are_acknowledged(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster, configs={"flush.messages": "2"})
        assert (await produce(cluster, b"a", b"b")).error_code == 0
        durable = {one: cluster.replica(TP, one).log.recovery_point for one in cluster.brokers}
        assert durable == {0: 2, 1: 2, 2: 2}


async def test_another_replica_leads_when_the_leader_dies_and_the_old_one_catches_up(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        await produce(cluster, b"before")
        first = cluster.leader_id(TP)
        await cluster.kill(first)
        await cluster.until(lambda: cluster.leader_id(TP) not in (None, first))
        answer = await produce(cluster, b"after")
        assert (answer.error_code, answer.base_offset) == (0, 1)
        await cluster.start(first)
        await cluster.until(lambda: isr(cluster) == {0, 1, 2})
        assert ends(cluster) == {0: 2, 1: 2, 2: 2}
        assert same_bytes(cluster, TP)


async def test_a_leader_cuts_off_what_it_alone_had(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        await produce(cluster, b"for all")
        first = cluster.leader_id(TP)
        for other in cluster.brokers.keys() - {first}:
            cluster[other].fetchers.unfollow(TP)
        await produce(cluster, b"for", b"nobody", acks=1, to=first)
        await cluster.kill(first)
        await cluster.until(lambda: cluster.leader_id(TP) not in (None, first))
        await produce(cluster, b"instead")
        await cluster.start(first)
        await cluster.until(lambda: isr(cluster) == {0, 1, 2})
        assert ends(cluster) == {0: 2, 1: 2, 2: 2}
        assert same_bytes(cluster, TP)


async def test_the_isr_shrinks_and_grows_and_min_insync_replicas_is_kept(tmp_path: Path) -> None:
    async with running_cluster(
        tmp_path, {"replica.lag.time.max.ms": "400", "replica.fetch.wait.max.ms": "100"}
    ) as cluster:
        await create_topic(cluster, configs={"min.insync.replicas": "3"})
        assert (await produce(cluster, b"first")).error_code == 0
        leader = cluster.leader_id(TP)
        follower = min(cluster.brokers.keys() - {leader})
        partition = cluster.replica(TP, follower)
        cluster[follower].fetchers.unfollow(TP)
        late = await produce(cluster, b"second", timeout_ms=800)
        assert late.error_code in (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        await cluster.until(lambda: isr(cluster) == {0, 1, 2} - {follower})
        assert (await produce(cluster, b"third")).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert (await produce(cluster, b"fourth", acks=1)).error_code == 0
        assert cluster.replica(TP, leader).high_watermark == 1
        cluster[follower].fetchers.follow(partition, leader)
        await cluster.until(lambda: isr(cluster) == {0, 1, 2})
        await cluster.until(lambda: cluster.replica(TP, leader).high_watermark == 3)
        assert (await produce(cluster, b"fifth")).error_code == 0
        assert same_bytes(cluster, TP)


async def test_a_broker_that_stops_hands_its_leadership_over(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        await produce(cluster, b"one")
        first = cluster.leader_id(TP)
        with trio.fail_after(5):
            await cluster.stop(first)
        assert cluster.leader_id(TP) not in (None, first)
        assert (await produce(cluster, b"two")).error_code == 0


RACK_AWARE = {"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}


async def test_consumers_read_from_the_replica_in_their_rack(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, RACK_AWARE, size=0) as cluster:
        for broker_id in range(3):
            await cluster.start(broker_id, {"broker.rack": f"rack-{broker_id}"})
        await create_topic(cluster)
        await produce(cluster, b"one")
        leader = cluster.leader_id(TP)
        near = min(cluster.brokers.keys() - {leader})
        await cluster.until(lambda: cluster.replica(TP, near).high_watermark == 1)
        sent = await fetch(cluster, leader, 0, rack=f"rack-{near}")
        assert (sent.preferred_read_replica, sent.high_watermark, bytes(sent.records)) == (near, 1, b"")
        for rack in (f"rack-{leader}", "rack-nowhere", ""):
            found = await fetch(cluster, leader, 0, rack=rack)
            assert found.preferred_read_replica == -1
            assert found.records
        found = await fetch(cluster, near, 0, rack=f"rack-{near}")
        assert (found.error_code, found.preferred_read_replica, found.high_watermark) == (0, -1, 1)
        assert found.records == (await fetch(cluster, leader, 0)).records


async def test_a_follower_gives_consumers_nothing_beyond_its_high_watermark(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        await produce(cluster, b"one")
        leader = cluster.leader_id(TP)
        follower = min(cluster.brokers.keys() - {leader})
        await cluster.until(lambda: cluster.replica(TP, follower).high_watermark == 1)
        cluster.replica(TP, follower).high_watermark = 0
        held_back = await fetch(cluster, follower, 0)
        assert (held_back.error_code, bytes(held_back.records)) == (0, b"")
        assert (await fetch(cluster, follower, 1)).error_code == 0
        assert (await fetch(cluster, follower, 2)).error_code == ErrorCode.OFFSET_OUT_OF_RANGE


async def test_an_unclean_leader_is_followed_by_those_who_had_more(tmp_path: Path) -> None:
    impatient = {"replica.lag.time.max.ms": "400", "replica.fetch.wait.max.ms": "100"}
    async with running_cluster(tmp_path, impatient) as cluster:
        await create_topic(cluster, configs={"unclean.leader.election.enable": "true"})
        await produce(cluster, b"for all")
        first = cluster.leader_id(TP)
        for other in cluster.brokers.keys() - {first}:
            cluster[other].fetchers.unfollow(TP)
        await produce(cluster, b"lost", b"lost too", acks=1, to=first)
        await cluster.until(lambda: isr(cluster) == {first})
        await cluster.kill(first)
        await cluster.until(lambda: cluster.leader_id(TP) not in (None, first))
        await produce(cluster, b"instead")
        await cluster.start(first)
        await cluster.until(lambda: isr(cluster) == {0, 1, 2})
        assert ends(cluster) == {0: 2, 1: 2, 2: 2}
        assert same_bytes(cluster, TP)


async def test_deleted_records_are_deleted_on_all_replicas(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        for value in (b"one", b"two", b"three"):
            await produce(cluster, value)
        partition = DeleteRecordsRequest.DeleteRecordsPartition(partition_index=TP.partition, offset=2)
        topic = DeleteRecordsRequest.DeleteRecordsTopic(name=TP.topic, partitions=[partition])
        async with connected(cluster[cluster.leader_id(TP)]) as client:
            response = await client.ask(DeleteRecordsRequest(topics=[topic], timeout_ms=10_000))
        (answer,) = response.topics[0].partitions
        assert (answer.error_code, answer.low_watermark) == (0, 2)
        assert {cluster.replica(TP, one).log.log_start_offset for one in cluster.brokers} == {2}


async def coordinator_of(cluster: Cluster, group: str) -> BrokerId:
    """Asks some broker until there is one."""
    while True:
        async with connected(next(iter(cluster.brokers.values()))) as client:
            response = await client.ask(FindCoordinatorRequest(key_type=0, coordinator_keys=[group]), 4)
        (found,) = response.coordinators
        if found.error_code == 0 and found.node_id in cluster.brokers:
            return found.node_id
        await trio.sleep(0.02)


async def test_a_groups_offsets_move_with_its_coordinator(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        await create_topic(cluster)
        first = await coordinator_of(cluster, "readers")
        place = OffsetCommitRequest.OffsetCommitRequestPartition(partition_index=0, committed_offset=42)
        commit = OffsetCommitRequest(
            group_id="readers",
            topics=[OffsetCommitRequest.OffsetCommitRequestTopic(name=TP.topic, partitions=[place])],
        )

        async def committed() -> bool:
            async with connected(cluster[first]) as client:
                response = await client.ask(commit, 8)
            return response.topics[0].partitions[0].error_code == ErrorCode.NONE

        while not await committed():
            await trio.sleep(0.02)
        await cluster.kill(first)
        asked = OffsetFetchRequest.OffsetFetchRequestTopic(name=TP.topic, partition_indexes=[0])
        with trio.fail_after(20):
            while True:
                second = await coordinator_of(cluster, "readers")
                async with connected(cluster[second]) as client:
                    response = await client.ask(OffsetFetchRequest(group_id="readers", topics=[asked]), 7)
                if response.error_code == ErrorCode.NONE:
                    break
                await trio.sleep(0.02)
        assert second != first
        assert response.topics[0].partitions[0].committed_offset == 42


async def test_brokers_that_are_not_the_controller_say_so(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        controller = cluster.controller.broker_id
        other = min(cluster.brokers.keys() - {controller})
        epoch = cluster[other].broker_epoch
        requests = (
            (AlterPartitionRequest(broker_id=other, broker_epoch=epoch), 3),
            (AllocateProducerIdsRequest(broker_id=other, broker_epoch=epoch), 0),
            (ControlledShutdownRequest(broker_id=other, broker_epoch=epoch - 1), 3),
        )
        async with connected(cluster[other]) as elsewhere, connected(cluster[controller]) as there:
            for request, version in requests:
                answer = await elsewhere.ask(request, version)
                assert answer.error_code == ErrorCode.NOT_CONTROLLER
            codes = [(await there.ask(request, version)).error_code for request, version in requests]
        assert codes == [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.STALE_BROKER_EPOCH]


async def test_no_two_brokers_give_the_same_producer_id(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        given = []
        for broker in cluster.brokers.values():
            async with connected(broker) as client:
                given += [
                    (await client.ask(InitProducerIdRequest(transactional_id=None), 4)).producer_id
                    for _ in range(3)
                ]
        assert len(set(given)) == 9
        assert sorted(number // 1000 for number in given) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


async def set_config(cluster: Cluster, kind: int, name: str, **values: str) -> None:
    """Sets keys of a topic (2) or of all brokers (4); in the arguments' names a dot is an underscore."""
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[
            IncrementalAlterConfigsRequest.AlterableConfig(
                name=key.replace("_", "."), config_operation=0, value=value
            )
            for key, value in values.items()
        ],
    )
    async with connected(cluster.controller) as client:
        response = await client.ask(IncrementalAlterConfigsRequest(resources=[resource]), 1)
    assert response.responses[0].error_code == 0, response


@pytest.mark.parametrize("side", ["leader", "follower"])
async def test_a_throttled_replica_that_is_not_in_sync_is_copied_no_faster_than_it_may(
    tmp_path: Path, side: str
) -> None:
    small = {"replica.fetch.max.bytes": "1000", "replica.fetch.response.max.bytes": "1000"}
    quick = {"replica.fetch.wait.max.ms": "20", "replica.fetch.backoff.ms": "20"}
    async with running_cluster(tmp_path, {**small, **quick}, size=2) as cluster:
        beside = TopicPartition("beside", 0)
        leader, other = 0, 1
        await create_topic(cluster, on=(leader,))
        await create_topic(cluster, tp=beside, on=(leader, other))
        for _ in range(4):
            await produce(cluster, bytes(1000))
        await set_config(cluster, 2, TP.topic, **{f"{side}_replication_throttled_replicas": "*"})
        await set_config(cluster, 4, "", **{f"{side}_replication_throttled_rate": "1000"})
        throttled = f"{side}.replication.throttled.rate"
        await cluster.until(
            lambda: all(b.config.replication_rate(throttled) == 1000 for b in cluster.brokers.values())
        )
        for broker in cluster.brokers.values():
            broker.clock.freeze()
        wanted = AlterPartitionReassignmentsRequest.ReassignablePartition(
            partition_index=0, replicas=[leader, other]
        )
        topic = AlterPartitionReassignmentsRequest.ReassignableTopic(name=TP.topic, partitions=[wanted])
        async with connected(cluster.controller) as client:
            await client.ask(AlterPartitionReassignmentsRequest(topics=[topic]), 0)
        for copied in (1, 2, 3):
            await cluster.until(lambda copied=copied: ends(cluster).get(other) == copied)
            for _ in range(8):  # each has the follower fetch: it would have everything by then
                await produce(cluster, b"at full speed", tp=beside, to=leader)
            assert ends(cluster)[other] == copied
            for broker in cluster.brokers.values():
                broker.clock.advance(15_000)  # all samples are over
        await cluster.until(lambda: isr(cluster) == {0, 1})
        assert same_bytes(cluster, TP)
