"""DescribeProducers (key 61), version 0 (KIP-664).

- The idempotent and transactional producers that a partition remembers, as this replica knows them, whether
  it leads or follows. A producer without an open transaction has -1 as its start offset.
- A topic that cannot exist is INVALID_TOPIC_EXCEPTION, an unknown one UNKNOWN_TOPIC_OR_PARTITION, for each of
  its partitions.
"""

from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeProducersRequest, DescribeProducersResponse
from pybroker.replication.replicas import Replicas

UNKNOWN_TOPIC = "This server does not host this topic-partition."


class DescribeProducersHandler(Value):
    replicas: Replicas

    async def __call__(
        self, ctx: RequestContext, request: DescribeProducersRequest
    ) -> DescribeProducersResponse:
        return DescribeProducersResponse(
            topics=[
                DescribeProducersResponse.TopicResponse(
                    name=topic.name,
                    partitions=[
                        self._describe(ctx.image, TopicPartition(topic.name, index))
                        for index in topic.partition_indexes
                    ],
                )
                for topic in request.topics
            ]
        )

    def _describe(
        self, image: ClusterImage, tp: TopicPartition
    ) -> DescribeProducersResponse.PartitionResponse:
        reply = DescribeProducersResponse.PartitionResponse(partition_index=tp.partition)
        try:
            _check_topic(image, tp.topic)
            partition = self.replicas.hosted(image, tp)
        except ApiError as error:
            reply.error_code = error.code
            reply.error_message = error.message
            return reply
        reply.active_producers = [
            DescribeProducersResponse.ProducerState(
                producer_id=producer.producer_id,
                producer_epoch=producer.producer_epoch,
                last_sequence=producer.last_sequence,
                last_timestamp=producer.last_timestamp,
                coordinator_epoch=producer.coordinator_epoch,
                current_txn_start_offset=producer.txn_first_offset,
            )
            for producer in partition.log.producers.active().values()
        ]
        return reply


def _check_topic(image: ClusterImage, topic: str) -> None:
    problem = topic_name_problem(topic)
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if topic not in image.topics:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC)
