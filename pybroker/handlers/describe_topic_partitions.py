"""DescribeTopicPartitions (key 75), version 0 (KIP-966).

- Topics in the order of their names, at most ``response_partition_limit`` partitions in one reply; a cursor
  in the reply says where the next request goes on.
- No topics asks for all; a cursor skips every name before its own.
- Unknown topics get an error each, unless all were asked for.

Left out: eligible leader replicas, which a ZooKeeper-mode cluster does not keep. Their lists are
empty, not null: Kafka's Java client 3.9 fails on null.
"""

from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage, PartitionImage, TopicImage
from pybroker.model.acl import ResourceType, every_operation_on
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER
from pybroker.model.topics import is_internal, topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse


class DescribeTopicPartitionsHandler(Value):
    max_partitions: int

    async def __call__(
        self, ctx: RequestContext, request: DescribeTopicPartitionsRequest
    ) -> DescribeTopicPartitionsResponse:
        names = _names_from_cursor(ctx.image, request)
        room = max(1, min(self.max_partitions, request.response_partition_limit))
        response = DescribeTopicPartitionsResponse(topics=[])
        for name in names:
            if room == 0:
                response.next_cursor = DescribeTopicPartitionsResponse.Cursor(
                    topic_name=name, partition_index=0
                )
                break
            topic = ctx.image.topics.get(name)
            if topic is None:
                response.topics.append(_unknown(name))
                continue
            start = _start(request, name)
            described = _describe(ctx, topic, start, room)
            response.topics.append(described)
            room -= len(described.partitions)
            end = start + len(described.partitions)
            if end < len(topic.partitions):
                response.next_cursor = DescribeTopicPartitionsResponse.Cursor(
                    topic_name=name, partition_index=end
                )
                break
        return response


def _names_from_cursor(image: ClusterImage, request: DescribeTopicPartitionsRequest) -> list[str]:
    cursor = request.cursor
    first = cursor.topic_name if cursor is not None else ""
    asked = {topic.name for topic in request.topics} or set(image.topics)
    names = sorted(name for name in asked if name >= first)
    if cursor is not None:
        if request.topics and first not in asked:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"DescribeTopicPartitionsRequest topic list should contain the cursor topic: {first}",
            )
        if cursor.partition_index < 0:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"DescribeTopicPartitionsRequest cursor partition must be valid: {cursor}",
            )
    return names


def _start(request: DescribeTopicPartitionsRequest, name: str) -> int:
    cursor = request.cursor
    return cursor.partition_index if cursor is not None and cursor.topic_name == name else 0


def _describe(
    ctx: RequestContext, topic: TopicImage, start: int, room: int
) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic:
    indexes = list(topic.partitions)[start : start + room]
    return DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=is_internal(topic.name),
        partitions=[_partition(ctx, index, topic.partitions[index]) for index in indexes],
        topic_authorized_operations=every_operation_on(ResourceType.TOPIC),
    )


def _partition(
    ctx: RequestContext, index: int, state: PartitionImage
) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition:
    leader = ctx.image.brokers.get(state.leader)
    reachable = leader is not None and leader.endpoint(ctx.listener) is not None
    return DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponsePartition(
        partition_index=index,
        leader_id=state.leader if reachable else NO_LEADER,
        leader_epoch=state.leader_epoch,
        replica_nodes=list(state.replicas),
        isr_nodes=list(state.isr),
        eligible_leader_replicas=[],
        last_known_elr=[],
        offline_replicas=list(state.offline),
    )


def _unknown(name: str) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic:
    problem = topic_name_problem(name)
    return DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic(
        error_code=ErrorCode.INVALID_TOPIC_EXCEPTION if problem else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        name=name,
        is_internal=is_internal(name),
        topic_authorized_operations=every_operation_on(ResourceType.TOPIC),
    )
