"""Records for the tests of handlers."""

from typing import Any

from pybroker.protocol.messages import ProduceRequest
from pybroker.records.builder import build_batch
from pybroker.records.header import Record
from tests.support.broker import WireClient

NOW_MS = 1_700_000_000_000


async def produce(client: WireClient, topic: str, partition: int, count: int, **batch: Any) -> int:
    """Appends one batch of ``count`` records, and returns the offset of the first."""
    records = [Record(number, NOW_MS + number, b"key", b"value") for number in range(count)]
    data = ProduceRequest.PartitionProduceData(index=partition, records=build_batch(records, **batch))
    request = ProduceRequest(
        acks=-1,
        timeout_ms=5000,
        topic_data=[ProduceRequest.TopicProduceData(name=topic, partition_data=[data])],
    )
    answer = (await client.ask(request, 9)).responses[0].partition_responses[0]
    assert answer.error_code == 0, answer
    return int(answer.base_offset)
