"""A leader that has yet to hear what was committed before it sends no consumer back.

The leader before it had committed four records, which a consumer has read. This one has them all, but knows
of two only that they are committed, until its followers have fetched.
"""

from pathlib import Path

import pytest

from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.list_offsets import ListOffsetsHandler
from pybroker.handlers.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    LeaderAndIsrRequest,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
)
from pybroker.records.builder import RecordBatchBuilder
from pybroker.replication.fetched import Isolation
from pybroker.replication.isr import FetchTimes
from pybroker.replication.partition import Partition
from tests.replication.hosts import NOW_MS, TOPIC_ID, TP, US, Host

BEFORE, OTHER = 2, 3
KNOWN, END = 2, 4
LATEST = -1


def order(leader: int, leader_epoch: int) -> LeaderAndIsrRequest:
    state = LeaderAndIsrRequest.LeaderAndIsrPartitionState(
        partition_index=TP.partition,
        controller_epoch=1,
        leader=leader,
        leader_epoch=leader_epoch,
        isr=[BEFORE, US, OTHER],
        replicas=[BEFORE, US, OTHER],
    )
    topic = LeaderAndIsrRequest.LeaderAndIsrTopicState(
        topic_name=TP.topic, topic_id=TOPIC_ID, partition_states=[state]
    )
    return LeaderAndIsrRequest(controller_epoch=1, broker_epoch=10, topic_states=[topic])


def two_records(base_offset: int) -> bytes:
    builder = RecordBatchBuilder(base_offset=base_offset, leader_epoch=0)
    for value in (b"a", b"b"):
        builder.append(None, value, NOW_MS)
    return bytes(builder.build())


@pytest.fixture
async def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    await host.replicas.apply_leader_and_isr(order(BEFORE, leader_epoch=0))
    records = memoryview(bytearray(two_records(0) + two_records(2)))
    led(host).append_as_follower(records, KNOWN, 0)
    await host.replicas.apply_leader_and_isr(order(US, leader_epoch=1))
    return host


def led(host: Host) -> Partition:
    partition = host.replicas.find(TP)
    assert partition is not None
    return partition


def followers_fetch(host: Host) -> None:
    for follower in (BEFORE, OTHER):
        led(host).read_as_replica(
            follower,
            END,
            1000,
            min_one_batch=True,
            last_fetched_epoch=0,
            current_leader_epoch=1,
            log_start_offset=0,
            is_first_look=True,
            times=FetchTimes(),
        )


def context(key: int, version: int) -> RequestContext:
    return RequestContext(
        key, version, 0, None, ConnectionState(connection_id="c", listener="L"), ClusterImage()
    )


async def latest(host: Host, version: int) -> ListOffsetsResponse.ListOffsetsPartitionResponse:
    asked = ListOffsetsRequest.ListOffsetsPartition(partition_index=TP.partition, timestamp=LATEST)
    topic = ListOffsetsRequest.ListOffsetsTopic(name=TP.topic, partitions=[asked])
    request = ListOffsetsRequest(replica_id=-1, topics=[topic])
    answer = await ListOffsetsHandler(host.replicas)(context(2, version), request)
    return answer.topics[0].partitions[0]


@pytest.mark.parametrize("offset", range(KNOWN, END + 1))
async def test_a_consumer_that_is_ahead_waits(host: Host, offset: int) -> None:
    fetched = led(host).read(offset, 1000, Isolation.READ_UNCOMMITTED, min_one_batch=True)
    assert (fetched.read.slice, fetched.high_watermark) == (None, KNOWN)


async def test_a_consumer_is_told_that_its_last_record_is_still_there(host: Host) -> None:
    asked = OffsetForLeaderEpochRequest.OffsetForLeaderPartition(
        partition=TP.partition, current_leader_epoch=1, leader_epoch=0
    )
    topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=TP.topic, partitions=[asked])
    request = OffsetForLeaderEpochRequest(topics=[topic])
    answer = await OffsetForLeaderEpochHandler(host.replicas)(context(23, 4), request)
    (end,) = answer.topics[0].partitions
    assert (end.error_code, end.leader_epoch, end.end_offset) == (ErrorCode.NONE, 0, END)


@pytest.mark.parametrize(
    ("version", "code"), [(5, ErrorCode.OFFSET_NOT_AVAILABLE), (4, ErrorCode.LEADER_NOT_AVAILABLE)]
)
async def test_where_the_log_ends_is_not_said_before_it_is_known(
    host: Host, version: int, code: ErrorCode
) -> None:
    """An end that lies before what a consumer has read would send it back there (KIP-207)."""
    assert (await latest(host, version)).error_code == code
    followers_fetch(host)
    answer = await latest(host, version)
    assert (answer.error_code, answer.offset) == (ErrorCode.NONE, END)
