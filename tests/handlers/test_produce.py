"""Produce: what is appended, and what a refusal tells."""

from typing import Any

import pytest

from pybroker.instruments.pace import Pace
from pybroker.protocol.messages import ProduceRequest
from pybroker.records.builder import build_batch
from pybroker.records.header import Record
from tests.handlers.producing import NOW_MS, produce
from tests.support.broker import ConnectionEnded, WireClient

UNKNOWN_TOPIC, CORRUPT, INVALID_TOPIC, INVALID_ACKS, OUT_OF_ORDER, NOT_AUTHORIZED, INVALID_RECORD = (
    3, 2, 17, 21, 45, 53, 87,
)  # fmt: skip
VERSION = 9


def batch(*values: bytes, key: bytes | None = b"key", **header: Any) -> bytearray:
    records = [Record(index, NOW_MS, key, value) for index, value in enumerate(values)]
    return bytearray(build_batch(records, **header))


def request(*partitions: tuple[str, int, Any], acks: int = 1, **fields: Any) -> ProduceRequest:
    """One topic entry for each partition, as a careless client would send it."""
    topics = [
        ProduceRequest.TopicProduceData(
            name=topic, partition_data=[ProduceRequest.PartitionProduceData(index=index, records=records)]
        )
        for topic, index, records in partitions
    ]
    return ProduceRequest(acks=acks, timeout_ms=5000, topic_data=topics, **fields)


async def ask(client: WireClient, *partitions: tuple[str, int, Any], **fields: Any) -> list[Any]:
    """The answers of all partitions."""
    response = await client.ask(request(*partitions, **fields), VERSION)
    return [one for topic in response.responses for one in topic.partition_responses]


async def test_offsets_count_up(client: WireClient) -> None:
    assert await produce(client, "orders", 0, 3) == 0
    assert await produce(client, "orders", 0, 2) == 3
    assert await produce(client, "orders", 1, 1) == 0


async def test_one_refused_partition_does_not_touch_the_others(client: WireClient) -> None:
    bad, good = await ask(client, ("unknown", 0, batch(b"a")), ("orders", 1, batch(b"a")))
    assert (bad.error_code, bad.base_offset, bad.log_start_offset) == (UNKNOWN_TOPIC, -1, -1)
    assert (good.error_code, good.base_offset, good.log_start_offset) == (0, 0, 0)


async def test_of_a_partition_named_twice_the_last_one_counts(client: WireClient) -> None:
    (answer,) = await ask(client, ("orders", 0, batch(b"a", b"b")), ("orders", 0, batch(b"c")))
    assert (answer.error_code, answer.base_offset) == (0, 0)
    assert await produce(client, "orders", 0, 1) == 1


async def test_others_have_their_turn_between_partitions_that_took_long(
    client: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = []

    class PaceThatIsAlwaysOver(Pace):
        def __init__(self) -> None:
            super().__init__(slice_s=0)

        async def rest(self) -> None:
            rests.append(self)
            await super().rest()

    monkeypatch.setattr("pybroker.handlers.produce.Pace", PaceThatIsAlwaysOver)
    first, second = await ask(client, ("orders", 0, batch(b"a")), ("orders", 1, batch(b"b")))
    assert (first.error_code, second.error_code) == (0, 0)
    assert len(rests) == 2


async def test_a_topic_without_partitions_is_not_answered(client: WireClient) -> None:
    empty = ProduceRequest(acks=1, topic_data=[ProduceRequest.TopicProduceData(name="orders")])
    assert (await client.ask(empty, VERSION)).responses == []


async def test_null_records_are_invalid(client: WireClient) -> None:
    (answer,) = await ask(client, ("orders", 0, None))
    assert (answer.error_code, answer.log_start_offset) == (INVALID_RECORD, -1)


async def test_a_refusal_by_the_log_tells_where_the_log_starts(client: WireClient) -> None:
    (gap,) = await ask(client, ("orders", 0, batch(b"a", producer_id=77, producer_epoch=0, base_sequence=0)))
    assert gap.error_code == 0
    wrong = batch(b"a", producer_id=77, producer_epoch=0, base_sequence=9)
    (gap,) = await ask(client, ("orders", 0, wrong))
    assert (gap.error_code, gap.log_start_offset) == (OUT_OF_ORDER, 0)


async def test_a_refusal_of_the_bytes_does_not(client: WireClient) -> None:
    torn = batch(b"a")
    torn[-1] ^= 1
    for records in (torn, b"\xff" * 80):
        (answer,) = await ask(client, ("orders", 0, records))
        assert (answer.error_code, answer.log_start_offset) == (CORRUPT, -1)
    (answer,) = await ask(client, ("orders", 0, batch(b"a") + batch(b"b")))
    assert (answer.error_code, answer.log_start_offset) == (INVALID_RECORD, -1)


async def test_wrong_records_are_named_in_kafkas_words(client: WireClient) -> None:
    (answer,) = await ask(client, ("compacted", 0, batch(b"a", b"b", key=None)))
    why = "Compacted topic cannot accept message without key in topic partition compacted-0"
    assert (answer.error_code, answer.log_start_offset) == (INVALID_RECORD, 0)
    assert [(one.batch_index, one.batch_index_error_message) for one in answer.record_errors] == [
        (0, why),
        (1, why),
    ]
    assert answer.error_message == (
        "One or more records have been rejected due to 2 record errors in total, and only showing the first "
        f"three errors at most: [RecordError(batchIndex=0, message='{why}'), "
        f"RecordError(batchIndex=1, message='{why}')]"
    )


async def test_transactional_records_need_a_transactional_id(client: WireClient) -> None:
    records = batch(b"a", producer_id=77, producer_epoch=0, base_sequence=0, is_transactional=True)
    assert [one.error_code for one in await ask(client, ("orders", 0, records))] == [NOT_AUTHORIZED]


@pytest.mark.parametrize("acks", [2, -2, 127])
async def test_acks_are_0_1_or_minus_1(client: WireClient, acks: int) -> None:
    (answer,) = await ask(client, ("orders", 0, batch(b"a")), acks=acks)
    assert (answer.error_code, answer.log_start_offset) == (INVALID_ACKS, -1)


async def test_clients_do_not_write_to_internal_topics(client: WireClient) -> None:
    answers = await ask(client, ("__consumer_offsets", 0, batch(b"a")))
    assert answers[0].error_code in (INVALID_TOPIC, UNKNOWN_TOPIC)


async def test_without_acks_an_error_closes_the_connection(client: WireClient) -> None:
    with pytest.raises(ConnectionEnded):
        await client.ask(request(("unknown", 0, batch(b"a")), acks=0), VERSION)
