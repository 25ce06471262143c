"""Fetch: what a consumer gets, and what it is told when it gets nothing."""

from typing import Any

import trio

from pybroker.app import Broker
from pybroker.model.errors import ErrorCode
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.messages import FetchRequest
from pybroker.records.batch import read_batch_header
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


async def fetch(client: WireClient, asked: FetchRequest) -> list[Any]:
    response = await client.ask(asked, VERSION)
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
