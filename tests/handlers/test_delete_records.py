"""DeleteRecords moves the log start, and only where and as far as it may."""

from pathlib import Path

import pytest

from pybroker.app import Broker
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import (
    CreateTopicsRequest,
    DeleteRecordsRequest,
    ListOffsetsRequest,
)
from tests.handlers.producing import produce
from tests.support.broker import WireClient, connected, running_broker

OUT_OF_RANGE, UNKNOWN_TOPIC, NOT_LEADER, TIMED_OUT, INVALID_TOPIC, POLICY_VIOLATION = 1, 3, 6, 7, 17, 44
EARLIEST = -2
Answer = tuple[int, int]


async def delete(
    client: WireClient, topic: str, *offsets: tuple[int, int], timeout_ms: int = 1000
) -> list[Answer]:
    """Code and low watermark of each partition, in the order of the partitions."""
    partitions = [
        DeleteRecordsRequest.DeleteRecordsPartition(partition_index=index, offset=offset)
        for index, offset in offsets
    ]
    asked = DeleteRecordsRequest.DeleteRecordsTopic(name=topic, partitions=partitions)
    answer = await client.ask(DeleteRecordsRequest(topics=[asked], timeout_ms=timeout_ms))
    found = sorted(answer.topics[0].partitions, key=lambda one: one.partition_index)
    return [(one.error_code, one.low_watermark) for one in found]


async def earliest(client: WireClient, topic: str) -> int:
    partition = ListOffsetsRequest.ListOffsetsPartition(partition_index=0, timestamp=EARLIEST)
    asked = ListOffsetsRequest.ListOffsetsTopic(name=topic, partitions=[partition])
    return int((await client.ask(ListOffsetsRequest(topics=[asked]), 7)).topics[0].partitions[0].offset)


async def test_records_before_an_offset_are_gone(client: WireClient) -> None:
    await produce(client, "orders", 0, 5)
    assert await delete(client, "orders", (0, 3)) == [(0, 3)]
    assert await earliest(client, "orders") == 3


async def test_minus_one_is_the_high_watermark(client: WireClient) -> None:
    await produce(client, "orders", 0, 5)
    assert await delete(client, "orders", (0, -1), (1, -1)) == [(0, 5), (0, 0)]


async def test_what_is_gone_already_is_no_error(client: WireClient) -> None:
    await produce(client, "orders", 0, 5)
    await delete(client, "orders", (0, 4))
    assert await delete(client, "orders", (0, 2)) == [(0, 4)]


async def test_offsets_outside_of_the_log_are_refused(client: WireClient) -> None:
    await produce(client, "orders", 0, 5)
    assert await delete(client, "orders", (0, 6), (1, -2)) == [(OUT_OF_RANGE, -1)] * 2
    assert await earliest(client, "orders") == 0


async def test_topics_that_are_compacted_only_or_unknown_or_internal_are_refused(client: WireClient) -> None:
    await produce(client, "compacted", 0, 1)
    assert await delete(client, "compacted", (0, 1)) == [(POLICY_VIOLATION, -1)]
    assert await delete(client, "missing", (0, 1)) == [(UNKNOWN_TOPIC, -1)]
    assert await delete(client, "orders", (7, 0)) == [(UNKNOWN_TOPIC, -1)]
    internal = CreateTopicsRequest.CreatableTopic(
        name="__consumer_offsets", num_partitions=1, replication_factor=1
    )
    await client.ask(CreateTopicsRequest(topics=[internal], timeout_ms=5000))
    assert await delete(client, "__consumer_offsets", (0, 0)) == [(INVALID_TOPIC, -1)]


async def test_of_a_partition_named_twice_the_last_offset_counts(client: WireClient) -> None:
    await produce(client, "orders", 0, 5)
    assert await delete(client, "orders", (0, 1), (0, 2)) == [(0, 2)]


async def test_an_offset_that_a_replica_has_not_reached_times_out(
    broker: Broker, client: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(client, "orders", 0, 5)
    partition = broker.replicas.find(TopicPartition("orders", 0))
    assert partition is not None
    monkeypatch.setattr(type(partition), "low_watermark", property(lambda _partition: 1))
    assert await delete(client, "orders", (0, 3), timeout_ms=10) == [(TIMED_OUT, 1)]


async def test_the_log_start_survives_a_restart(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        topic = CreateTopicsRequest.CreatableTopic(name="t", num_partitions=1, replication_factor=1)
        await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=5000))
        await produce(client, "t", 0, 5)
        await delete(client, "t", (0, 3))
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        assert await earliest(client, "t") == 3
