"""Fetch: what a consumer gets, and what it is told when it gets nothing."""

from typing import Any

import pytest
import trio

from pybroker.app import Broker
from pybroker.model.errors import ErrorCode
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.messages import CreateTopicsRequest, FetchRequest
from pybroker.records.batch import CompressionType, iter_records, read_batch_header
from pybroker.records.layout import MAGIC_POSITION
from pybroker.records.legacy import iter_message_set
from tests.handlers.producing import produce
from tests.support.broker import WireClient

OUT_OF_RANGE, UNKNOWN_TOPIC, INVALID_REQUEST, UNKNOWN_EPOCH = 1, 3, 42, 75
VERSION = 12


def request(*offsets: int, topic: str = "orders", **fields: Any) -> FetchRequest:
    """Partition 0 from the first offset, partition 1 from the second."""
    partitions = [
        FetchRequest.FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=1 << 20)
        for index, offset in enumerate(offsets)
    ]
    asked = FetchRequest.FetchTopic(topic=topic, partitions=partitions)
    return FetchRequest(max_wait_ms=0, min_bytes=1, topics=[asked], **fields)


async def fetch(client: WireClient, asked: FetchRequest, version: int = VERSION) -> list[Any]:
    response = await client.ask(asked, version)
    return [partition for topic in response.responses for partition in topic.partitions]


async def test_the_batch_that_holds_the_offset_is_given_whole(client: WireClient) -> None:
    await produce(client, "orders", 0, 3)
    (found,) = await fetch(client, request(2))
    header = read_batch_header(bytes(found.records))
    assert (found.error_code, found.high_watermark, header.base_offset, header.record_count) == (0, 3, 0, 3)


async def test_the_first_batch_exceeds_every_limit(client: WireClient) -> None:
    await produce(client, "orders", 0, 3)
    await produce(client, "orders", 1, 3)
    first, second = await fetch(client, request(0, 0, max_bytes=1))
    assert (len(first.records) > 1, len(second.records)) == (True, 0)


async def test_negative_limits_are_refused_for_the_first_partition_only(client: WireClient) -> None:
    await produce(client, "orders", 0, 1)
    answers = await fetch(client, request(0, 0, max_bytes=-2))
    assert sorted(one.error_code for one in answers) == [0, INVALID_REQUEST]


async def test_offsets_outside_of_the_log_are_refused_without_transactions(client: WireClient) -> None:
    (found,) = await fetch(client, request(1))
    assert (found.error_code, found.high_watermark, found.aborted_transactions) == (OUT_OF_RANGE, -1, None)


async def test_an_isolation_level_that_does_not_exist_fails_the_whole_request(client: WireClient) -> None:
    await produce(client, "orders", 0, 1)
    response = await client.ask(request(0, isolation_level=2), 13)
    assert (response.error_code, response.responses) == (ErrorCode.UNKNOWN_SERVER_ERROR, [])


async def test_an_unknown_topic_has_an_empty_list_of_transactions(client: WireClient) -> None:
    (found,) = await fetch(client, request(0, topic="unknown"))
    assert (found.error_code, found.aborted_transactions) == (UNKNOWN_TOPIC, [])


async def test_a_negative_leader_epoch_is_none_at_all(client: WireClient) -> None:
    asked = request(0)
    asked.topics[0].partitions[0].current_leader_epoch = -2
    assert [one.error_code for one in await fetch(client, asked)] == [0]
    asked.topics[0].partitions[0].current_leader_epoch = 5
    assert [one.error_code for one in await fetch(client, asked)] == [UNKNOWN_EPOCH]


async def test_an_epoch_that_the_log_knows_is_read_on(client: WireClient) -> None:
    await produce(client, "orders", 0, 3)
    asked = request(3)
    asked.topics[0].partitions[0].last_fetched_epoch = 0
    (found,) = await fetch(client, asked)
    assert (found.error_code, found.diverging_epoch.epoch) == (0, -1)


async def test_a_reader_beyond_the_end_of_its_epoch_is_told_where_that_ended(client: WireClient) -> None:
    await produce(client, "orders", 0, 3)
    asked = request(7)
    asked.topics[0].partitions[0].last_fetched_epoch = 0
    (found,) = await fetch(client, asked)
    assert (found.error_code, found.diverging_epoch.epoch, found.diverging_epoch.end_offset) == (0, 0, 3)
    assert not found.records


async def test_of_an_unknown_epoch_nothing_can_be_told(client: WireClient) -> None:
    await produce(client, "orders", 0, 3)
    asked = request(3)
    asked.topics[0].partitions[0].last_fetched_epoch = 9
    assert [one.error_code for one in await fetch(client, asked)] == [OUT_OF_RANGE]


async def test_a_broker_that_stops_answers_its_long_polls_at_once(broker: Broker, client: WireClient) -> None:
    asked = request(0)
    asked.max_wait_ms = 60_000
    await client.send(asked, VERSION)
    api = api_by_key[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.stop)
        with trio.fail_after(4):
            response = await client.receive(api, VERSION)
    assert [len(one.records) for topic in response.responses for one in topic.partitions] == [0]


@pytest.mark.parametrize(("version", "magic"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)])
async def test_old_consumers_get_the_format_that_they_know(
    client: WireClient, version: int, magic: int
) -> None:
    await produce(client, "orders", 0, 3, compression=CompressionType.GZIP)
    (found,) = await fetch(client, request(1), version)
    records = bytes(found.records)
    assert (found.error_code, found.high_watermark, records[MAGIC_POSITION]) == (0, 3, magic)
    read = iter_records(records) if magic == 2 else iter_message_set(records)
    assert [(record.offset, record.key, record.value) for record in read if record.offset > 0] == [
        (offset, b"key", b"value") for offset in (1, 2)
    ]


async def test_what_cannot_or_may_not_be_converted_is_refused(client: WireClient) -> None:
    for topic, key, value in (
        ("none", "message.downconversion.enable", "false"),
        ("zstd", "compression.type", "zstd"),
    ):
        config = CreateTopicsRequest.CreatableTopicConfig(name=key, value=value)
        asked = CreateTopicsRequest.CreatableTopic(
            name=topic, num_partitions=1, replication_factor=1, configs=[config]
        )
        created = await client.ask(CreateTopicsRequest(topics=[asked], timeout_ms=5000))
        assert created.topics[0].error_code == 0
        await produce(client, topic, 0, 1)
    for topic, version, code in (
        ("none", 3, ErrorCode.UNSUPPORTED_VERSION),
        ("none", 4, ErrorCode.NONE),
        ("zstd", 3, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        ("zstd", 9, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        ("zstd", 10, ErrorCode.NONE),
    ):
        (found,) = await fetch(client, request(0, topic=topic), version)
        assert (found.error_code, bool(found.records)) == (code, code == ErrorCode.NONE), (topic, version)
