"""WriteTxnMarkers (key 27), versions 0 to 2.

- A transaction's coordinator, or an administrator, has markers written into partitions that this broker
  leads. Answered when all of them are committed.
- Offsets of the transaction count, or are gone, as soon as ``__consumer_offsets`` has the marker.

Versions: 1 flexible; 2 the transaction version (KIP-1228): from 2 on the end of a transaction raises the
epoch, so a marker in the epoch of the records is late.
"""

from pybroker.coordination.effects import TransactionMarker
from pybroker.coordination.runtime.markers import TransactionMarkers
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ProducerId, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import WriteTxnMarkersRequest, WriteTxnMarkersResponse


class WriteTxnMarkersHandler(Value):
    markers: TransactionMarkers

    async def __call__(self, ctx: RequestContext, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        codes: dict[ProducerId, dict[TopicPartition, ErrorCode]] = {}
        for asked in request.markers:
            marker = TransactionMarker(
                asked.producer_id, asked.producer_epoch, asked.transaction_result, asked.transaction_version
            )
            partitions = [
                TopicPartition(topic.name, index)
                for topic in asked.topics
                for index in topic.partition_indexes
            ]
            known = [tp for tp in partitions if ctx.image.partition(tp) is not None]
            answers = codes.setdefault(asked.producer_id, {})
            answers.update(dict.fromkeys(partitions, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
            if asked.producer_id < 0 or asked.producer_epoch < 0:
                answers.update(dict.fromkeys(known, ErrorCode.INVALID_REQUEST))
                continue
            answers.update(await self.markers.append(marker, asked.coordinator_epoch, known))
        return WriteTxnMarkersResponse(
            markers=[
                WriteTxnMarkersResponse.WritableTxnMarkerResult(
                    producer_id=producer_id, topics=_by_topic(answers)
                )
                for producer_id, answers in codes.items()
            ]
        )


def _by_topic(
    codes: dict[TopicPartition, ErrorCode],
) -> list[WriteTxnMarkersResponse.WritableTxnMarkerTopicResult]:
    topics: dict[str, list[WriteTxnMarkersResponse.WritableTxnMarkerPartitionResult]] = {}
    for tp, code in codes.items():
        topics.setdefault(tp.topic, []).append(
            WriteTxnMarkersResponse.WritableTxnMarkerPartitionResult(
                partition_index=tp.partition, error_code=code
            )
        )
    return [
        WriteTxnMarkersResponse.WritableTxnMarkerTopicResult(name=name, partitions=partitions)
        for name, partitions in topics.items()
    ]
